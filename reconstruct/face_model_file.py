"""Our own face model file: one HDF5 file that holds a FaceModel bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path
from .face_model import FaceModel

FORMAT = "mesoface-face-model"
SCHEMA_VERSION = 1
FRAME = (
    "x to the subject's left, y up, z out of the face; origin at the centroid of landmarks 17..67 (0-based) of the mean"
)

_ARRAYS = {
    "mean_mm": np.float32, "identity_mm": np.float32, "expression_mm": np.float32, "albedo_mean": np.float32,
    "albedo_basis": np.float32, "triangles": np.int32, "uv": np.float32, "uv_triangles": np.int32,
    "landmarks": np.int32, "regions": np.uint8,
}  # fmt: skip


def is_own_format(file: Any) -> bool:
    """True for an open HDF5 file that `save_face_model` wrote."""
    return _text(file.attrs.get("format", "")) == FORMAT


def save_face_model(model: FaceModel, path: str | Path) -> None:
    """Write `model` to `path` (HDF5, float32, lossless compression), atomically; an existing file is replaced."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["units"] = "mm"
        file.attrs["frame"] = FRAME
        file.attrs["name"] = model.name
        file.attrs["licence"] = model.licence
        file.attrs["expression_is_units"] = bool(model.expression_is_units)
        for name, kind in _ARRAYS.items():
            array = np.ascontiguousarray(getattr(model, name), kind)
            options = {"compression": "lzf", "shuffle": True} if array.size > 4096 else {}
            file.create_dataset(name, data=array, **options)
        file.create_dataset("expression_names", data=list(model.expression_names), dtype=h5py.string_dtype())


def read_face_model(path: str | Path) -> FaceModel:
    """Read a file of `save_face_model`; raises UserError for other files, damage, and a newer schema."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if not is_own_format(file):
                raise UserError(
                    f"{path}: expected a face model saved by mesoface, found the top-level groups "
                    f"{', '.join(sorted(file)) or '(none)'}. Convert it with: mesoface face-model convert"
                )
            version = int(file.attrs.get("schema_version", 0))
            if version > SCHEMA_VERSION:
                raise UserError(
                    f"{path}: schema version {version}, but this mesoface reads up to {SCHEMA_VERSION}. "
                    "Install a newer mesoface, or convert the published model again with this one."
                )
            missing = [name for name in (*_ARRAYS, "expression_names") if name not in file]
            if missing:
                raise UserError(f"{path}: datasets {', '.join(missing)} are missing. Convert the model again.")
            arrays = {name: np.asarray(file[name], kind) for name, kind in _ARRAYS.items()}
            names = tuple(_text(name) for name in np.asarray(file["expression_names"]))
            return FaceModel(
                name=_text(file.attrs.get("name", "")),
                expression_names=names,
                expression_is_units=bool(file.attrs.get("expression_is_units", False)),
                licence=_text(file.attrs.get("licence", "")),
                **arrays,
            )
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: this face model file cannot be read ({error}). It is damaged: copy or convert it again."
        ) from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
