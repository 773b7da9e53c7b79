"""Landmark models that users fetch themselves: where they go, and what to say when they are missing."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError


def data_folder() -> Path:
    """The user's folder for model files: `$XDG_DATA_HOME/mesoface`, by default ~/.local/share/mesoface."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "mesoface"


def model_file(path: str | Path | None, file_name: str, where: str) -> Path:
    """`path`, or `file_name` in the data folder. Raises UserError saying where to get it and where to put it."""
    chosen = data_folder() / file_name if path is None else Path(path).expanduser()
    if not chosen.is_file():
        raise UserError(
            f"{chosen}: no such file. Get {file_name} from {where} and put it there, or give its path. "
            "It is not ours to ship."
        )
    return chosen


def import_extra(module: str, extra: str) -> Any:
    """An optional library. Raises UserError naming the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"this landmark detector needs {module}, which cannot be imported ({error}). "
            f"Install it with: pip install 'mesoface[{extra}]'"
        ) from error


def as_uint8(image_srgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of an image (H, W, 3) in [0, 1], contiguous as C++ libraries want it."""
    image = np.asarray(image_srgb)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype.kind != "f":
        raise ValueError(f"image is {image.dtype} {image.shape}, expected float (H, W, 3) in [0, 1]")
    return np.ascontiguousarray(np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255), np.uint8)
