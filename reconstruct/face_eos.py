"""eos `.bin` models (Surrey Face Model and others) through the eos-py package, an optional dependency.

The format is a cereal archive that only eos reads reliably. Millimetres, y up, z forward; the `sfm_shape_3448.bin` that
eos ships has 3,448 vertices, shape only. Its six emotion blend shapes lie in a second file beside it,
`expression_blendshapes_3448.bin`, which is read where present. eos stores v running down: it is flipped.
"""

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from .face_frame import SKIN_LINEAR, frame_origin, landmarks_from_ibug, linear_albedo, outward, read_table
from .face_model import FaceModel
from .face_regions import label_regions
from .face_uv import cylindrical_uv

log = logging.getLogger(__name__)

SFM_VERTICES = 3448


def load_eos(path: Path) -> FaceModel:
    """Load an eos morphable model: shape, colour where it has one, and expressions (PCA or blend shapes).

    Landmarks: definitions in the model whose names are iBUG numbers, else the published table for 3,448 vertices.
    Blend shape names are emotions, so `expression_is_units` is false. Raises UserError where eos-py is missing, the
    file is unreadable, or its content is inconsistent.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected an eos model file, found no such file. Check the path.")
    try:
        library = importlib.import_module("eos").morphablemodel
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{path}: eos .bin models need the package eos-py, which cannot be imported ({error}). "
            "Install it with: pip install mesoface[eos]"
        ) from error
    try:
        model = library.load_model(str(path))
    except Exception as error:  # pybind11 raises what the C++ code throws: RuntimeError, MemoryError, ValueError
        raise UserError(
            f"{path}: expected an eos morphable model, but eos-py cannot read it ({error}). "
            "It is damaged, of another eos version or another kind of .bin file."
        ) from error
    return convert_eos(model, path, _blendshapes_beside(library, path, model))


def convert_eos(model: Any, path: Path, blendshapes: list[Any]) -> FaceModel:
    """A FaceModel from an eos MorphableModel object; `path` is for names and messages."""
    shape = model.get_shape_model()
    mean, identity = _pca(path, shape, None)
    count = len(mean)
    expression, names = np.zeros((0, count, 3), np.float32), ()
    separate = model.get_expression_model() if model.has_separate_expression_model() else None
    if isinstance(separate, list):
        blendshapes = separate
    elif separate is not None:
        expression_mean, expression = _pca(path, separate, count)
        mean = mean + expression_mean
        names = tuple(f"pca{number:03d}" for number in range(len(expression)))
    if blendshapes:
        offsets = [np.asarray(shape.deformation, np.float32).reshape(-1, 3) for shape in blendshapes]
        if any(len(offset) != count for offset in offsets):
            raise UserError(f"{path}: expected blend shapes of {count} vertices. Take both files from one eos release.")
        expression, names = np.stack(offsets), tuple(str(shape.name) for shape in blendshapes)

    triangles = np.asarray(shape.get_triangle_list(), np.int32).reshape(-1, 3)
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= count:
        raise UserError(f"{path}: its triangles do not fit its {count} vertices. The file is damaged: copy it again.")
    definitions = model.get_landmark_definitions() or {}
    landmarks = landmarks_from_ibug({str(name): int(vertex) for name, vertex in definitions.items()}, count)
    if (landmarks < 0).all() and count == SFM_VERTICES:
        landmarks = landmarks_from_ibug(read_table("landmarks_sfm3448.json")["ibug_to_vertex"], count)
    if (landmarks < 0).all():
        log.warning("%s: no landmarks known; the origin is the vertices' centroid and no region is labelled", path)
    mean = mean - frame_origin(mean, landmarks)
    albedo_mean, albedo_basis = np.broadcast_to(SKIN_LINEAR, (count, 3)).copy(), np.zeros((0, count, 3), np.float32)
    if model.has_color_model():
        colour_mean, colour_basis = _pca(path, model.get_color_model(), count)
        divisor = 255.0 if np.median(colour_mean) > 1.5 else 1.0
        albedo_mean, albedo_basis = linear_albedo(colour_mean / divisor, colour_basis / divisor)
    uv, uv_triangles, triangles = _texture(model, mean, triangles)
    return FaceModel(
        name=f"eos model ({path.name})",
        mean_mm=mean.astype(np.float32),
        identity_mm=identity,
        expression_mm=expression,
        expression_names=names,
        expression_is_units=False,
        albedo_mean=albedo_mean,
        albedo_basis=albedo_basis,
        triangles=triangles,
        uv=uv,
        uv_triangles=uv_triangles,
        landmarks=landmarks,
        regions=label_regions(mean, landmarks, eyes_in_mesh=True),
        licence="as stated by the model's publisher (Surrey Face Model: see the eos repository, share/)",
    )


def _pca(path: Path, model: Any, vertices: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 3) float64 and rescaled basis (K, N, 3) float32 of an eos PcaModel."""
    mean = np.asarray(model.get_mean(), np.float64).ravel()
    basis = np.asarray(model.get_rescaled_pca_basis(), np.float32).reshape(mean.size, -1)
    if not mean.size or mean.size % 3 or (vertices is not None and mean.size != 3 * vertices):
        raise UserError(
            f"{path}: expected {vertices or 'N'} x 3 values in each of its models, found {mean.size}. "
            "The file is damaged: copy it again."
        )
    return mean.reshape(-1, 3), np.ascontiguousarray(basis.T).reshape(-1, mean.size // 3, 3)


def _texture(model: Any, mean: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """UVs, UV triangles and the triangles wound outwards; a cylinder's where the model has no texture coordinates."""
    turned = outward(mean, triangles)
    uv = np.asarray(model.get_texture_coordinates(), np.float32).reshape(-1, 2)
    own = np.asarray(model.get_texture_triangle_indices(), np.int32).reshape(-1, 3)
    if not len(own) and len(uv) == len(mean):
        own = triangles
    if not len(uv) or own.shape != triangles.shape or own.min() < 0 or own.max() >= len(uv):
        return *cylindrical_uv(mean, turned), turned
    if turned is not triangles:
        own = np.ascontiguousarray(own[:, ::-1])
    return np.stack([uv[:, 0], 1 - uv[:, 1]], 1), own, turned


def _blendshapes_beside(library: Any, path: Path, model: Any) -> list[Any]:
    count = model.get_shape_model().get_data_dimension() // 3
    beside = path.with_name(f"expression_blendshapes_{count}.bin")
    if not beside.is_file():
        return []
    try:
        return list(library.load_blendshapes(str(beside)))
    except Exception as error:  # as above
        raise UserError(f"{beside}: eos-py cannot read these blend shapes ({error}). Copy the file again.") from error
