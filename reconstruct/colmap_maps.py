"""COLMAP's depth and normal maps: `W&H&C&` and planar little-endian float32.

pycolmap 4.2.1's own NormalMap writes the channels interleaved, which COLMAP's fusion reads as garbage (normals off by
60 degrees) although pycolmap reads it back unharmed; so maps are written and read here.
"""

from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_bytes

HEADER_BYTES = 64


def write_map(path: str | Path, values: np.ndarray) -> None:
    """Write (H, W) depth (0 = none) or (H, W, 3) normals as float32, atomically."""
    planes = np.asarray(values, "<f4")
    planes = planes[..., None] if planes.ndim == 2 else planes
    if planes.ndim != 3:
        raise ValueError(f"{values.shape=}, but expected (H, W) or (H, W, 3)")
    height, width, channels = planes.shape
    head = f"{width}&{height}&{channels}&".encode()
    write_bytes(path, head + np.ascontiguousarray(planes.transpose(2, 0, 1)).tobytes())


def read_map(path: str | Path) -> np.ndarray:
    """(H, W) or (H, W, C) float32. Raises UserError naming the file when it is missing or not a whole map."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a COLMAP depth or normal map") from None
    fields = data[:HEADER_BYTES].split(b"&", 3)
    try:
        width, height, channels = (int(field) for field in fields[:3])
        start = sum(len(field) + 1 for field in fields[:3])
        if min(width, height, channels) < 1 or len(data) - start != 4 * width * height * channels:
            raise ValueError(f"{len(data) - start} bytes of numbers for {width} x {height} x {channels}")
    except ValueError as error:
        raise UserError(f"{path}: not a whole COLMAP map ({error}); write it again") from None
    planes = np.frombuffer(data, "<f4", offset=start).reshape(channels, height, width)
    values = planes.transpose(1, 2, 0)
    return np.ascontiguousarray(values[..., 0] if channels == 1 else values)
