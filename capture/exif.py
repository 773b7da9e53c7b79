"""Exif of a raw file: which body made it, when, and with which settings.

DNG and CR2 are both TIFF files, so one small reader serves; LibRaw decodes pixels but does not tell the body's serial
number. Tags are those of TIFF 6.0 and Exif 2.3; the serial number of older Canon bodies is in their MakerNote.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

MAKE, MODEL, EXIF_IFD, DNG_SERIAL = 271, 272, 34665, 50735
SHUTTER, F_NUMBER, ISO, TAKEN, SUBSECOND, MAKER_NOTE, BODY_SERIAL = 33434, 33437, 34855, 36867, 37521, 37500, 42033
CANON_SERIAL = 12

# Bytes per value of the TIFF types 1 to 12, and how struct reads those that matter here.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
TYPE_CODES = {3: "H", 4: "I", 8: "h", 9: "i"}
MOST_ENTRIES = 1000
LONGEST_TEXT = 256

Value = str | float | int


@dataclass(frozen=True)
class Exif:
    """What a raw file says about its exposure. Text is "" and a number None where the file is silent.

    `taken` is the body's clock as written, "YYYY:MM:DD hh:mm:ss" with ".ff" when hundredths are known; bodies write
    their local time.
    """

    make: str = ""
    model: str = ""
    serial: str = ""
    taken: str = ""
    iso: int | None = None
    aperture: float | None = None
    shutter_s: float | None = None


def read_exif(path: str | Path) -> Exif:
    """Read the Exif of a TIFF-like raw file (DNG, CR2, NEF, ARW).

    Raises UserError when the file is missing or is no TIFF. Damaged or absent tags leave their fields empty.
    """
    try:
        with Path(path).open("rb") as handle:
            return _read(handle, path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _read(handle: BinaryIO, path: str | Path) -> Exif:
    head = handle.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if len(head) < 8 or not order or struct.unpack(order + "H", head[2:4])[0] != 42:
        raise UserError(f"{path}: no raw file (expected a CR2 or DNG, which start as a TIFF does); copy it again")
    main = _directory(handle, order, struct.unpack(order + "I", head[4:])[0])
    exif_offset = main.get(EXIF_IFD)
    exif = _directory(handle, order, int(exif_offset)) if isinstance(exif_offset, int) else {}
    # The maker note's entry is read as its file position; Canon's is a bare directory with offsets from the file start.
    canon: dict[int, Value] = {}
    note = exif.get(MAKER_NOTE)
    if _text(main.get(MAKE)).lower().startswith("canon") and isinstance(note, int):
        canon = _directory(handle, order, note)
    serial = _text(exif.get(BODY_SERIAL)) or _text(main.get(DNG_SERIAL))
    if not serial and isinstance(canon.get(CANON_SERIAL), int):
        serial = f"{canon[CANON_SERIAL]:010d}"
    taken, hundredths = _text(exif.get(TAKEN)), _text(exif.get(SUBSECOND))
    return Exif(
        make=_text(main.get(MAKE)),
        model=_text(main.get(MODEL)),
        serial=serial,
        taken=f"{taken}.{hundredths}" if taken and hundredths.isdecimal() else taken,
        iso=int(iso) if isinstance(iso := exif.get(ISO), (int, float)) and iso > 0 else None,
        aperture=_positive(exif.get(F_NUMBER)),
        shutter_s=_positive(exif.get(SHUTTER)),
    )


def _directory(handle: BinaryIO, order: str, offset: int) -> dict[int, Value]:
    """First value of every entry of the directory at `offset`; {} when it is not there or makes no sense."""
    handle.seek(offset)
    count_bytes = handle.read(2)
    count = struct.unpack(order + "H", count_bytes)[0] if len(count_bytes) == 2 else 0
    if count > MOST_ENTRIES:
        return {}
    table = handle.read(12 * count)
    found: dict[int, Value] = {}
    for start in range(0, len(table) - 11, 12):
        tag, kind, length = struct.unpack(order + "HHI", table[start : start + 8])
        field = table[start + 8 : start + 12]
        value = _value(handle, order, tag, kind, length, field)
        if value is not None:
            found[tag] = value
    return found


def _value(handle: BinaryIO, order: str, tag: int, kind: int, length: int, field: bytes) -> Value | None:
    if kind not in TYPE_BYTES or length < 1:
        return None
    size = TYPE_BYTES[kind] * length
    position = struct.unpack(order + "I", field)[0]
    if tag == MAKER_NOTE:
        return position
    if kind == 2:
        data = field[:size]
        if size > 4:
            handle.seek(position)
            data = handle.read(min(size, LONGEST_TEXT))
        return data.split(b"\0")[0].decode("ascii", "replace").strip()
    if kind in TYPE_CODES:
        width = TYPE_BYTES[kind]
        if size <= 4:
            return struct.unpack(order + TYPE_CODES[kind], field[:width])[0]
        return None
    if kind in (5, 10):
        handle.seek(position)
        data = handle.read(8)
        if len(data) < 8:
            return None
        numerator, denominator = struct.unpack(order + ("II" if kind == 5 else "ii"), data)
        return numerator / denominator if denominator else None
    return None


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""


def _positive(value: Value | None) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None
