"""Maps and images on disk: TIFF (float32 maps, 16-bit linear images) and 8-bit PNG, each with its units inside."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from .errors import UserError
from .files import atomic_path, write_bytes


def write_tiff(path: str | Path, image: np.ndarray, *, compress: bool = True, **description: Any) -> None:
    """Write (H, W) or (H, W, 3) float32, uint16 or uint8 as TIFF, atomically.

    `description` (units, black level, frame, ...) goes into the ImageDescription tag as JSON. Float maps are deflated,
    because their background compresses (unless `compress` is False); sensor images are not, because noise doesn't.
    """
    if image.dtype not in (np.float32, np.uint16, np.uint8):
        raise ValueError(f"{path}: TIFF takes float32, uint16 or uint8, not {image.dtype}")
    compression = "zlib" if image.dtype == np.float32 and compress else None
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            image,
            photometric="rgb" if image.ndim == 3 else "minisblack",
            compression=compression,
            compressionargs={"level": 1} if compression else None,
            rowsperstrip=64,
            description=json.dumps(description, allow_nan=False),
            metadata=None,
        )


def read_tiff(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a TIFF of `write_tiff`: the array, and its description ({} for a foreign TIFF).

    Raises UserError naming the file when it is missing or not a whole TIFF.
    """
    with _opened(path) as handle:
        return handle.asarray(), _description(handle)


def read_tiff_description(path: str | Path) -> dict[str, Any]:
    """The description alone, without reading the pixels. Raises UserError as `read_tiff`."""
    with _opened(path) as handle:
        return _description(handle)


@contextmanager
def _opened(path: str | Path) -> Iterator[tifffile.TiffFile]:
    try:
        with tifffile.TiffFile(path) as handle:
            yield handle
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # tifffile and zlib raise many kinds for a damaged file
        raise UserError(f"{path}: not a readable TIFF ({error}); if it is damaged, copy or render it again") from None


def _description(handle: tifffile.TiffFile) -> dict[str, Any]:
    text = handle.pages[0].description  # pyright: ignore[reportAttributeAccessIssue]
    try:
        description = json.loads(text)
    except ValueError:
        description = {}
    return description if isinstance(description, dict) else {}


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) RGB uint8 or uint16 as PNG, atomically."""
    pixels = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{path}: {pixels.shape} {pixels.dtype} cannot be a PNG")
    write_bytes(path, data.tobytes())  # a full disk is told by the system; imwrite would only say no


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """uint8 sRGB of linear values; 0..1 is black to white, the rest is clipped."""
    clipped = np.clip(linear, 0, 1)
    encoded = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
