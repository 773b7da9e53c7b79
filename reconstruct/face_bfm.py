"""Basel Face Models 2017 and 2019: the statismo `.h5` files as the University of Basel distributes them.

Three linear models `shape`, `color` and `expression`, each `model/mean` (3N), `model/pcaBasis` (3N x K, unit columns)
and `model/pcaVariance` (K); `shape/representer/cells` holds the triangles (3 x T) and `/metadata/landmarks/json` named
points on the mean. Millimetres, x to the subject's left, y up, z forward. Known files and vertex counts:

    model2017-1_bfm_nomouth.h5     53,149        model2019_bfm.h5        47,439
    model2017-1_face12_nomouth.h5  28,588        model2019_face12.h5     27,657
                                                 model2019_fullHead.h5   58,203

Other counts load as well. Columns are rescaled by sqrt(variance), so that coefficients are standard normal.

The mean of the expression model is not zero (millimetres around the mouth). It is part of the mean face here, as in eos
and in Basel's own software, so that beta = 0 is the average expression; `neutral_mean` leaves it out.

The colour model is taken as sRGB-encoded, 0..1 or 0..255 by its mean, and turned into linear light to first order.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from .face_frame import SKIN_LINEAR, frame_origin, landmarks_from_ibug, linear_albedo, outward, read_table
from .face_model import FaceModel
from .face_regions import label_regions
from .face_uv import cylindrical_uv, read_vertex_uv

log = logging.getLogger(__name__)

BFM2017_VERTICES = 53149
KNOWN = {
    53149: "BFM2017",
    28588: "BFM2017 face12",
    47439: "BFM2019",
    27657: "BFM2019 face12",
    58203: "BFM2019 full head",
}
SNAP_MM = 3.0
"""A named point further than this from every vertex is not on this mesh."""


def is_bfm(file: Any) -> bool:
    """True for an open HDF5 file that holds a statismo shape model."""
    return "shape/model/mean" in file


def load_bfm(path: Path, uv_path: Path | None = None, neutral_mean: bool = False) -> FaceModel:
    """Load a Basel Face Model `.h5` file.

    `uv_path`: a `.mat` or `.npz` file with one texture coordinate per vertex (N, 2), v running down, such as
    `texture_uv.mat` of the released proxy code; without it UVs are cylindrical (see `face_uv`).
    Landmarks: the published iBUG table for the 53,149-vertex model, completed from the file's named points; named
    points alone for other variants. What neither gives stays -1: always the jaw contour, which is matched dynamically.
    Raises UserError for truncated files, other kinds of HDF5, and datasets of the wrong shape.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if not is_bfm(file):
                raise UserError(
                    f"{path}: expected a Basel Face Model with the dataset shape/model/mean, found the top-level "
                    f"groups {', '.join(sorted(file)) or '(none)'}. Give the .h5 file as distributed by Basel."
                )
            shape_mean, identity = _linear_model(path, file, "shape", None)
            count = len(shape_mean)
            expression_mean, expression = _optional(path, file, "expression", count)
            colour_mean, colour = _optional(path, file, "color", count)
            triangles = _triangles(path, file, count)
            named = _named_points(file)
    except (OSError, RuntimeError, KeyError) as error:  # h5py's kinds for damage at different depths
        raise UserError(
            f"{path}: expected an HDF5 file, but it cannot be read ({error}). "
            "It is cut short, damaged or no HDF5 file: download or copy it again."
        ) from error

    landmarks = _landmarks(shape_mean, named)
    mean = shape_mean.astype(np.float64)
    if expression_mean is not None and not neutral_mean:
        mean = mean + expression_mean
    origin = frame_origin(mean, landmarks)
    mean -= origin
    if colour_mean is not None:
        divisor = 255.0 if np.median(colour_mean) > 1.5 else 1.0
        albedo_mean, albedo_basis = linear_albedo(colour_mean / divisor, colour / divisor)
    else:
        albedo_mean, albedo_basis = np.broadcast_to(SKIN_LINEAR, (count, 3)).copy(), colour
    triangles = outward(mean, triangles)
    uv, uv_triangles = read_vertex_uv(uv_path, count, triangles) if uv_path else cylindrical_uv(mean, triangles)
    return FaceModel(
        name=f"{KNOWN.get(count, 'Basel Face Model')} ({path.name})",
        mean_mm=mean.astype(np.float32),
        identity_mm=identity,
        expression_mm=expression,
        expression_names=tuple(f"pca{number:03d}" for number in range(len(expression))),
        expression_is_units=False,
        albedo_mean=albedo_mean,
        albedo_basis=albedo_basis,
        triangles=triangles,
        uv=uv,
        uv_triangles=uv_triangles,
        landmarks=landmarks,
        regions=label_regions(mean, landmarks, eyes_in_mesh=True),
        licence="Basel Face Model licence: non-commercial research, no redistribution (University of Basel)",
    )


def _linear_model(path: Path, file: Any, group: str, vertices: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 3) float32 and rescaled basis (K, N, 3) float32."""
    read = {}
    for name in ("mean", "pcaBasis", "pcaVariance"):
        key = f"{group}/model/{name}"
        if key not in file:
            raise UserError(
                f"{path}: expected the dataset {key}, found only {', '.join(sorted(file.get(f'{group}/model', {})))} "
                f"in {group}/model. The file is incomplete: download it again."
            )
        read[name] = np.asarray(file[key], np.float32)
    mean, basis, variance = read["mean"].ravel(), read["pcaBasis"], read["pcaVariance"].ravel()
    rows = 3 * vertices if vertices is not None else mean.size
    if not mean.size or mean.size % 3 or mean.size != rows or basis.shape != (rows, variance.size):
        wanted = f"3 x {vertices}" if vertices is not None else "3N"
        raise UserError(
            f"{path}: expected {group}/model with mean ({wanted}), pcaBasis ({wanted} x K) and pcaVariance (K), found "
            f"mean {read['mean'].shape}, pcaBasis {basis.shape} and pcaVariance {read['pcaVariance'].shape}. "
            "The file was altered: take the one that Basel distributes."
        )
    if not all(np.isfinite(array).all() for array in (mean, basis, variance)) or (variance < 0).any():
        raise UserError(
            f"{path}: {group}/model holds values that are not finite or a negative variance. Download the file again."
        )
    scaled = basis * np.sqrt(variance)
    return mean.reshape(-1, 3), np.ascontiguousarray(scaled.T).reshape(variance.size, -1, 3)


def _optional(path: Path, file: Any, group: str, vertices: int) -> tuple[np.ndarray | None, np.ndarray]:
    if f"{group}/model" in file:
        return _linear_model(path, file, group, vertices)
    log.warning("%s: no %s model in this file; the face model has none", path, group)
    return None, np.zeros((0, vertices, 3), np.float32)


def _triangles(path: Path, file: Any, vertices: int) -> np.ndarray:
    key = "shape/representer/cells"
    cells = np.asarray(file[key]) if key in file else np.zeros((0, 0))
    if cells.ndim != 2 or 3 not in cells.shape or cells.size == 0:
        found = f"shape {cells.shape}" if key in file else "no such dataset"
        raise UserError(
            f"{path}: expected {key} (3 x T triangles), found {found}. Take the file that Basel distributes."
        )
    cells = cells.T if cells.shape[0] == 3 else cells
    if cells.min() < 0 or cells.max() >= vertices:
        raise UserError(
            f"{path}: {key} refers to vertex {int(cells.max())}, but shape/model/mean holds {vertices} vertices. "
            "Shape and triangles come from different files: take the one that Basel distributes."
        )
    return np.ascontiguousarray(cells, np.int32)


def _named_points(file: Any) -> dict[str, np.ndarray]:
    """Named points (3,) of the file's landmark JSON; empty where it has none or the text is of another form."""
    if "metadata/landmarks/json" not in file:
        return {}
    raw = np.asarray(file["metadata/landmarks/json"][()]).ravel()
    text = bytes(raw.astype(np.uint8)) if raw.dtype.kind in "iu" else raw[0]
    try:
        entries = json.loads(text.decode() if isinstance(text, bytes) else str(text))
        return {str(entry["id"]): np.asarray(entry["coordinates"], np.float64).reshape(3) for entry in entries}
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s: landmark metadata cannot be read (%s)", file.filename, error)
        return {}


def _landmarks(mean: np.ndarray, named: dict[str, np.ndarray]) -> np.ndarray:
    landmarks = np.full(68, -1, np.int32)
    if len(mean) == BFM2017_VERTICES:
        landmarks = landmarks_from_ibug(read_table("landmarks_bfm2017.json")["ibug_to_vertex"], len(mean))
    table: dict[str, list[str]] = read_table("landmarks_bfm_names.json")["ibug_to_names"]
    for number, names in table.items():
        if landmarks[int(number) - 1] < 0 and all(name in named for name in names):
            # A midpoint of two surface points lies a little below the surface: the nearest vertex settles it.
            distance = np.linalg.norm(mean - np.mean([named[name] for name in names], 0), axis=1)
            if distance.min() <= SNAP_MM:
                landmarks[int(number) - 1] = distance.argmin()
    return landmarks
