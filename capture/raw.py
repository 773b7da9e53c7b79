"""Decode a raw file to the sensor's own linear numbers: one float per pixel, minus black, never clipped at black.

Noise around black belongs to the signal: clipping it (as LibRaw's own development does) lifts a true zero by 10 DN,
and differences of parallel and crossed frames live there. Black and white levels are the file's own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .exif import Exif, read_exif

Cfa = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
CFA_PATTERNS: tuple[Cfa, ...] = ("RGGB", "GRBG", "GBRG", "BGGR")

CLIPPED_SHARE_OF_RANGE = 0.99
"""A pixel at or above this part of the range counts as saturated: sensors bend a little below the level in the file."""

SMALLEST_RANGE_DN = 200
UNKNOWN_CROP = 0xFFFF
SAME_ASPECT = 0.01


@dataclass(frozen=True, eq=False)
class RawImage:
    """A mosaic in sensor numbers above black.

    `mosaic` (H, W) float32, both even: sensor number minus the black level of its colour; negative by noise.
    `range_dn`: white level minus mean black level, so mosaic / range_dn is 1 at the white level.
    `cfa`: colours of the top left 2 x 2 pixels, row by row. `exif` tells body, time and settings.
    """

    mosaic: NDArray[np.float32]
    cfa: Cfa
    black_dn: tuple[float, float, float, float]
    white_dn: float
    exif: Exif

    def __post_init__(self) -> None:
        if self.mosaic.ndim != 2 or self.mosaic.dtype != np.float32 or self.mosaic.size == 0:
            raise ValueError(f"{self.mosaic.shape=} {self.mosaic.dtype=}, but expected (H, W) float32")
        if self.mosaic.shape[0] % 2 or self.mosaic.shape[1] % 2 or self.cfa not in CFA_PATTERNS:
            raise ValueError(f"{self.mosaic.shape=} {self.cfa=}, but expected even sizes and one of {CFA_PATTERNS}")
        if not self.range_dn > 0:
            raise ValueError(f"{self.black_dn=} {self.white_dn=}, but expected white above black")

    @property
    def range_dn(self) -> float:
        return self.white_dn - sum(self.black_dn) / 4

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return self.mosaic.shape[1], self.mosaic.shape[0]

    @property
    def clipped_dn(self) -> float:
        """Numbers of `mosaic` from here on are saturated."""
        return CLIPPED_SHARE_OF_RANGE * self.range_dn

    @property
    def serial(self) -> str:
        return self.exif.serial

    @property
    def model(self) -> str:
        return self.exif.model

    def plane(self, row: int, column: int) -> NDArray[np.float32]:
        """View (H/2, W/2) of the pixels at this place (0 or 1) of every 2 x 2 block."""
        return self.mosaic[row::2, column::2]


def read_raw(path: str | Path, size_px: tuple[int, int] | None = None, any_scale: bool = False) -> RawImage:
    """Decode a CR2 or DNG.

    Args:
        size_px: (width, height) the picture must have, the rig's sensor size. Bodies record a margin around it, which
            is cut away as the file tells. None takes the size the file gives.
        any_scale: take another size of the same aspect too, such as that of rendered frames.

    Raises UserError for a file that is missing, empty, truncated, a JPEG, no Bayer image, of another size, or with
    implausible black and white levels; the message says what to do.
    """
    path = Path(path)
    exif = _check_head(path)
    import rawpy

    try:
        with rawpy.imread(str(path)) as raw:
            return _convert(path, raw, exif, size_px, any_scale)
    except (rawpy.LibRawIOError, rawpy.LibRawDataError) as error:
        raise UserError(
            f"{path}: the file is truncated or damaged ({_words(error)}); copy it from the card again"
        ) from None
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise UserError(f"{path}: cannot be decoded ({_words(error)}); expected a CR2 or DNG raw file") from None


def _check_head(path: Path) -> Exif:
    """Say plainly what is wrong with files that are no raw files at all."""
    try:
        with path.open("rb") as handle:
            head = handle.read(12)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise UserError(f"{path}: the file is empty; copy it from the card again")
    if head[:3] == b"\xff\xd8\xff":
        raise UserError(f"{path}: a JPEG, but expected a raw file; set image_format to RAW and use the CR2")
    if head[:2] in (b"II", b"MM"):
        return read_exif(path)
    return Exif()  # CR3 and others: LibRaw may know them


def _convert(path: Path, raw: Any, exif: Exif, size_px: tuple[int, int] | None, any_scale: bool) -> RawImage:
    pattern = raw.raw_pattern
    if pattern is None or np.shape(pattern) != (2, 2):
        raise UserError(f"{path}: the sensor's colours are not in a 2 x 2 Bayer pattern; this camera is not supported")
    letters = [chr(raw.color_desc[index]) for index in np.ravel(pattern)]
    numbers = raw.raw_image_visible
    top, left, height, width = _window(path, raw, size_px, any_scale)
    # cutting an odd number of rows or columns away swaps the pattern's rows or columns
    order = [2 * ((row + top) % 2) + (column + left) % 2 for row in (0, 1) for column in (0, 1)]
    cfa = "".join(letters[place] for place in order)
    if cfa not in CFA_PATTERNS:
        raise UserError(f"{path}: colour filter pattern {cfa}; expected one of {', '.join(CFA_PATTERNS)}")
    by_colour = [float(level) for level in raw.black_level_per_channel]
    black = tuple(by_colour[int(np.ravel(pattern)[place])] for place in order)
    white = float(raw.white_level)
    if min(black) < 0 or white > 65535 or white - max(black) < SMALLEST_RANGE_DN or max(black) > 0.5 * white:
        raise UserError(f"{path}: black levels {black} and white level {white:g} make no sense; is the file damaged?")
    mosaic = numbers[top : top + height, left : left + width].astype(np.float32)
    # LibRaw fills what is missing of a compressed file with zeros; a sensor's own zeros lie at the black level
    if min(black) > 16 and not mosaic[-2:].any():
        raise UserError(f"{path}: the last rows are missing, the file is truncated; copy it from the card again")
    for place, level in enumerate(black):
        mosaic[place // 2 :: 2, place % 2 :: 2] -= np.float32(level)
    return RawImage(mosaic, cfa, black, white, exif)  # pyright: ignore[reportArgumentType]


def _window(path: Path, raw: Any, size_px: tuple[int, int] | None, any_scale: bool) -> tuple[int, int, int, int]:
    """(top, left, height, width) inside the visible pixels: the crop the camera intends, or all of them."""
    sizes = raw.sizes
    height, width = raw.raw_image_visible.shape
    left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
    crop = (sizes.crop_width, sizes.crop_height)
    known = UNKNOWN_CROP not in (sizes.crop_left_margin, sizes.crop_top_margin) and min(crop) > 0
    has_crop = known and min(left, top) >= 0 and left + crop[0] <= width and top + crop[1] <= height
    inner = (top, left, crop[1] - crop[1] % 2, crop[0] - crop[0] % 2)
    natural = inner if has_crop else (0, 0, height - height % 2, width - width % 2)
    if size_px is None:
        return natural
    if size_px == (width, height):
        return 0, 0, height, width
    if has_crop and size_px == crop:
        return inner
    if any_scale and abs(natural[3] * size_px[1] / (natural[2] * size_px[0]) - 1) < SAME_ASPECT:
        return natural
    found = f"{width}x{height}" + (f" (cropped {crop[0]}x{crop[1]})" if has_crop else "")
    raise UserError(
        f"{path}: picture of {found} px, but the rig's sensor has {size_px[0]}x{size_px[1]} px; "
        "set the body to full-size RAW, or correct sensor.width_px and height_px in rig.toml"
    )


def _words(error: Exception) -> str:
    text = error.args[0] if error.args else str(error)
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
