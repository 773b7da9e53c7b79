"""Write a raw mosaic as a DNG file, for cameras that only exist in the simulator.

Little-endian TIFF: header, IFD0, Exif IFD, then the pixels in one uncompressed strip. LibRaw recognises the content,
not the suffix, so the same bytes named .CR2 decode too. Tags follow the DNG 1.4 specification and Exif 2.3.
"""

import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import atomic_path

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
FORMATS = {BYTE: "B", ASCII: "s", SHORT: "H", LONG: "I", RATIONAL: "II", SRATIONAL: "ii"}
STRIP_OFFSETS, EXIF_IFD = 273, 34665

# XYZ (D65) to linear sRGB, times 10000: the simulated sensor's colours are sRGB's.
COLOR_MATRIX = (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572)
DATETIME = re.compile(r"\d{4}:\d{2}:\d{2} \d{2}:\d{2}:\d{2}")

UNIQUE_ID = re.compile(r"([0-9a-fA-F]{32})?")

Entry = tuple[int, int, tuple | bytes]


def mosaic_rggb(rgb: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Sample an image (H,W,3) through an RGGB colour filter array -> (H,W), same dtype.

    Raises ValueError on an odd height or width, or another shape.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[0] % 2 or rgb.shape[1] % 2:
        raise ValueError(f"{rgb.shape=}, but expected (even height, even width, 3)")
    mosaic = rgb[..., 1].copy()
    mosaic[0::2, 0::2] = rgb[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = rgb[1::2, 1::2, 2]
    return mosaic


@dataclass(frozen=True)
class DngFacts:
    """What a camera notes beside its pixels.

    black_level, white_level: sensor values of no light and of saturation, 0 <= black < white <= 65535.
    model: maker and model, for example "Canon EOS 760D"; its first word becomes the maker.
    serial: body serial number.
    datetime_text: time of exposure as Exif writes it, "YYYY:MM:DD hh:mm:ss"; subsecond_text: its decimals, digits.
    unique_id: 32 hexadecimal digits that no other image has (Exif ImageUniqueID), or "" to leave it out.
    """

    black_level: int
    white_level: int
    model: str
    serial: str
    iso: int
    exposure_s: float
    f_number: float
    datetime_text: str
    subsecond_text: str = "00"
    unique_id: str = ""


def write_dng(path: str | Path, mosaic: NDArray[np.uint16], facts: DngFacts) -> None:
    """Write an RGGB `mosaic` (H,W) uint16 as a DNG, atomically.

    Raises ValueError on odd sizes, another dtype or values out of range.
    """
    head = dng_head(mosaic, facts)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(head)
        handle.write(np.ascontiguousarray(mosaic, "<u2").data)


def dng_bytes(mosaic: NDArray[np.uint16], facts: DngFacts) -> bytes:
    """The bytes that `write_dng` writes. Raises ValueError as it does."""
    return dng_head(mosaic, facts) + np.ascontiguousarray(mosaic, "<u2").tobytes()


def dng_head(mosaic: NDArray[np.uint16], facts: DngFacts) -> bytes:
    """Everything before the pixels, which follow as little-endian uint16, row by row."""
    black_level, white_level, model, serial = facts.black_level, facts.white_level, facts.model, facts.serial
    iso, exposure_s, f_number, datetime_text = facts.iso, facts.exposure_s, facts.f_number, facts.datetime_text
    if mosaic.ndim != 2 or mosaic.dtype != np.uint16 or mosaic.size == 0 or mosaic.shape[0] % 2 or mosaic.shape[1] % 2:
        raise ValueError(f"{mosaic.shape=} {mosaic.dtype=}, but expected (even height, even width) uint16")
    if not 0 <= black_level < white_level <= 65535:
        raise ValueError(f"{black_level=} {white_level=}, but expected 0 <= black < white <= 65535")
    if not DATETIME.fullmatch(datetime_text):
        raise ValueError(f'{datetime_text=}, but expected "YYYY:MM:DD hh:mm:ss"')
    if not (0 < iso <= 65535 and 1e-5 <= exposure_s <= 3600 and 0.1 <= f_number <= 1000 and model.split() and serial):
        raise ValueError(f"{iso=} {exposure_s=} {f_number=} {model=} {serial=}: out of range or empty")
    if not facts.subsecond_text.isdecimal() or not UNIQUE_ID.fullmatch(facts.unique_id):
        raise ValueError(
            f"{facts.subsecond_text=} {facts.unique_id=}: expected digits, and 32 hexadecimal digits or none"
        )
    height, width = mosaic.shape
    exif: list[Entry] = [
        (33434, RATIONAL, _ratio(exposure_s)),
        (33437, RATIONAL, _ratio(f_number)),
        (34855, SHORT, (iso,)),
        (36867, ASCII, _text(datetime_text)),
        (37521, ASCII, _text(facts.subsecond_text)),  # SubSecTimeOriginal
        *([(42016, ASCII, _text(facts.unique_id))] if facts.unique_id else []),
        (42033, ASCII, _text(serial)),
    ]
    main: list[Entry] = [
        (254, LONG, (0,)),  # NewSubfileType: the full image
        (256, LONG, (width,)),
        (257, LONG, (height,)),
        (258, SHORT, (16,)),  # BitsPerSample
        (259, SHORT, (1,)),  # Compression: none
        (262, SHORT, (32803,)),  # PhotometricInterpretation: colour filter array
        (271, ASCII, _text(model.split()[0])),
        (272, ASCII, _text(model)),
        (STRIP_OFFSETS, LONG, (0,)),
        (274, SHORT, (1,)),  # Orientation: top left first
        (277, SHORT, (1,)),  # SamplesPerPixel
        (278, LONG, (height,)),  # RowsPerStrip
        (279, LONG, (2 * width * height,)),  # StripByteCounts
        (284, SHORT, (1,)),  # PlanarConfiguration
        (306, ASCII, _text(datetime_text)),
        (33421, SHORT, (2, 2)),  # CFARepeatPatternDim
        (33422, BYTE, (0, 1, 1, 2)),  # CFAPattern: red, green, green, blue
        (EXIF_IFD, LONG, (0,)),
        (50706, BYTE, (1, 4, 0, 0)),  # DNGVersion
        (50707, BYTE, (1, 1, 0, 0)),  # DNGBackwardVersion
        (50708, ASCII, _text(model)),  # UniqueCameraModel
        (50714, SHORT, (black_level,)),
        (50717, SHORT, (white_level,)),
        (50721, SRATIONAL, tuple(part for value in COLOR_MATRIX for part in (value, 10000))),
        (50728, RATIONAL, (1, 1) * 3),  # AsShotNeutral: channels are equal on white
        (50735, ASCII, _text(serial)),
        (50778, SHORT, (21,)),  # CalibrationIlluminant1: D65
    ]
    # The first build, with zeros in both offsets, only tells how long IFD0 gets.
    exif_offset = 8 + len(_directory(main, 8))
    exif_bytes = _directory(exif, exif_offset)
    pixels_offset = -(-(exif_offset + len(exif_bytes)) // 16) * 16
    offsets = {STRIP_OFFSETS: (pixels_offset,), EXIF_IFD: (exif_offset,)}
    main_bytes = _directory([(tag, kind, offsets.get(tag, value)) for tag, kind, value in main], 8)
    head = b"II" + struct.pack("<HI", 42, 8) + main_bytes + exif_bytes
    return head.ljust(pixels_offset, b"\0")


def _directory(entries: list[Entry], offset: int) -> bytes:
    """One TIFF directory at file position `offset`: its entries, then the values too long for an entry."""
    overflow_offset = offset + 2 + 12 * len(entries) + 4
    table, overflow = b"", b""
    for tag, kind, value in sorted(entries, key=lambda entry: entry[0]):
        if isinstance(value, bytes):
            data, count = value, len(value)
        else:
            count = len(value) // len(FORMATS[kind])
            data = struct.pack("<" + FORMATS[kind] * count, *value)
        if len(data) > 4:
            position = overflow_offset + len(overflow)
            overflow += data + b"\0" * (len(data) % 2)
            data = struct.pack("<I", position)
        table += struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", 0) + overflow


def _text(value: str) -> bytes:
    return value.encode("ascii", "replace") + b"\0"


def _ratio(value: float) -> tuple[int, int]:
    """A short fraction: 0.00625 -> 1/160, 5.6 -> 28/5."""
    ratio = Fraction(value).limit_denominator(100_000)
    return ratio.numerator, ratio.denominator
