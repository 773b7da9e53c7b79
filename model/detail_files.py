"""A displacement map on disk: float TIFF in mm, 16-bit PNG that carries its scale, and OpenEXR where it can be had."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_bytes, write_json
from ..capture.image_files import write_tiff

FORMAT = "mesoface-detail"
SCHEMA_VERSION = 1
JSON_FILE, TIFF_FILE, PNG_FILE, EXR_FILE = (
    "displacement.json", "displacement_mm.tif", "displacement.png", "displacement_mm.exr",
)  # fmt: skip
ZERO_UNIT = 32768
"""What 0 mm is in the PNG, exactly: it stays 0 in programs that subtract a middle."""
LEAST_MM = 0.01


def write_displacement(folder: Path, displacement_mm: np.ndarray, facts: dict[str, Any]) -> list[str]:
    """Write a map (S, S) float32 mm into `folder` in every format; returns the names of the files.

    displacement.json says how to read them: mm = (unit - zero_unit) . mm_per_unit; `facts` are added to it.
    """
    peak = max(float(np.abs(displacement_mm).max()), LEAST_MM)
    mm_per_unit = peak / (65535 - ZERO_UNIT)
    units = np.rint(displacement_mm.astype(np.float64) / mm_per_unit + ZERO_UNIT).astype(np.uint16)
    formula = "mm = (value - zero_unit) * mm_per_unit"
    write_tiff(folder / TIFF_FILE, displacement_mm.astype(np.float32), unit="mm", along="base normal", outside=0)
    words = {
        "Description": "displacement along the outward normal of the proxy", "formula": formula, "unit": "mm",
        "mm_per_unit": repr(mm_per_unit), "zero_unit": str(ZERO_UNIT), "offset_mm": repr(-ZERO_UNIT * mm_per_unit),
    }  # fmt: skip
    write_bytes(folder / PNG_FILE, with_png_text(png_bytes(units), words))
    names = [TIFF_FILE, PNG_FILE, JSON_FILE]
    if write_exr(folder / EXR_FILE, displacement_mm):
        names.append(EXR_FILE)
    write_json(
        folder / JSON_FILE,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "unit": "mm",
            "along": "outward normal of the proxy, smoothed",
            "size": len(displacement_mm),
            "formula": formula,
            "mm_per_unit": mm_per_unit,
            "zero_unit": ZERO_UNIT,
            "offset_mm": -ZERO_UNIT * mm_per_unit,
            "lowest_mm": float(displacement_mm.min()),
            "highest_mm": float(displacement_mm.max()),
            "layout": "texture space of the face model, top row first; UV origin bottom-left",
            "files": names,
            **facts,
        },
    )
    return names


def read_displacement_png(path: str | Path) -> np.ndarray:
    """(S, S) float32 mm of a 16-bit PNG with its scale inside. Raises UserError for another picture."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a displacement.png") from None
    words, units = png_text(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if units is None or units.dtype != np.uint16 or "mm_per_unit" not in words:
        raise UserError(f"{path}: is no 16-bit PNG with a scale in mm; expected one made by `mesoface synthesize`")
    return ((units.astype(np.float64) - float(words["zero_unit"])) * float(words["mm_per_unit"])).astype(np.float32)


def write_exr(path: Path, values: np.ndarray) -> bool:
    """Write (S, S) float32 as OpenEXR, channel Y; False when the library is not installed."""
    try:
        import OpenEXR  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    library: Any = OpenEXR
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage, "unit": "mm"}
    with library.File(header, {"Y": np.ascontiguousarray(values, np.float32)}) as file:
        file.write(str(path))
    return True


def png_bytes(image: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) RGB, uint8 or uint16, as a PNG file's bytes."""
    pixels = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    made, data = cv2.imencode(".png", pixels)
    if not made:
        raise OSError("cannot encode a PNG")
    return data.tobytes()


def with_png_text(png: bytes, words: dict[str, str]) -> bytes:
    """A PNG file's bytes with tEXt chunks (Latin-1) after its header."""
    chunks = b""
    for key, text in words.items():
        body = b"tEXt" + key.encode("latin-1") + b"\0" + text.encode("latin-1")
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunks + png[33:]  # signature and IHDR are 8 + 25 bytes


def png_text(png: bytes) -> dict[str, str]:
    """The tEXt chunks of a PNG file's bytes."""
    words, at = {}, 8
    while at + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"tEXt":
            key, _, text = png[at + 8 : at + 8 + length].partition(b"\0")
            words[key.decode("latin-1")] = text.decode("latin-1")
        at += 12 + length
    return words
