"""Develop raw files to linear light: float32, 1.0 at the white level, nothing clipped, nothing stretched.

Order, all in float32:
    1 mosaic - black of each colour              (raw.py; negative noise stays)
    2 mark saturated pixels                      (on the sensor's own numbers, before anything moves them)
    3 / (white - black)                          -> shares of the white level
    4 - dark frame                               (if calibrated)
    5 / flat field of the pixel's colour         (if calibrated)
    6 demosaic                                   (linear: malvar, bilinear; or half, without interpolation)
    7 colour matrix                              (if calibrated; else linear camera RGB)
No white balance, no curve: the same light gives the same numbers in every frame, so frames may be subtracted.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .calibration_maps import Calibration
from .demosaic import METHODS, Method, demosaic, red_place
from .errors import UserError
from .exif import read_exif
from .files import sha256_file, sha256_json
from .image_files import read_tiff_description, write_png, write_tiff
from .raw import RawImage, read_raw

DEVELOP_VERSION = 1
"""Goes up when the same file gives other numbers; part of the content hash."""

# Half the side of the square of mosaic pixels that a developed pixel is made of.
REACH_PX = {"malvar": 2, "bilinear": 1, "half": 0}
STRIP_ROWS = 256
CAMERA_RGB = "linear camera RGB"


@dataclass(frozen=True, eq=False)
class LinearImage:
    """Linear light (H, W, 3) float32 in shares of the white level, may be negative by noise.

    `clipped` (H, W) bool: made of at least one saturated pixel, so brighter than it looks. `colour` names the colours.
    """

    rgb: NDArray[np.float32]
    clipped: NDArray[np.bool_]
    colour: str = CAMERA_RGB

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.float32:
            raise ValueError(f"{self.rgb.shape=} {self.rgb.dtype=}, but expected (H, W, 3) float32")
        if self.clipped.shape != self.rgb.shape[:2] or self.clipped.dtype != np.bool_:
            raise ValueError(f"{self.clipped.shape=} {self.clipped.dtype=}, but expected {self.rgb.shape[:2]} bool")


@dataclass(frozen=True)
class Developed:
    """One file of `develop_files`: the image written, and whether it was there already."""

    source: Path
    image: Path
    reused: bool


def develop(
    raw: RawImage, calibration: Calibration | None = None, method: Method = "malvar", workers: int = 1
) -> LinearImage:
    """Develop a decoded raw file; see the module's text for the order of operations.

    24 MP take about 0.6 GB beside the mosaic. Raises UserError when a map's size or aspect is not the picture's.
    """
    calibration = calibration or Calibration()
    clipped = _clipped(raw, method)
    mosaic = _corrected(raw, calibration)
    rgb = demosaic(mosaic, raw.cfa, method, workers)
    if calibration.colour is None:
        return LinearImage(rgb, clipped)
    matrix = calibration.colour.matrix.T.astype(np.float32)
    for top in range(0, len(rgb), STRIP_ROWS):
        strip = rgb[top : top + STRIP_ROWS]
        strip[:] = strip @ matrix
    return LinearImage(rgb, clipped, calibration.colour.output)


def _clipped(raw: RawImage, method: Method) -> NDArray[np.bool_]:
    saturated = (raw.mosaic >= raw.clipped_dn).astype(np.uint8)
    if method == "half":
        return saturated.reshape(saturated.shape[0] // 2, 2, saturated.shape[1] // 2, 2).max(axis=(1, 3)) > 0
    side = 2 * REACH_PX[method] + 1
    return cv2.dilate(saturated, np.ones((side, side), np.uint8)) > 0


def _corrected(raw: RawImage, calibration: Calibration) -> NDArray[np.float32]:
    """Mosaic in shares of the white level, minus dark frame, over flat field."""
    mosaic = raw.mosaic * np.float32(1 / raw.range_dn)
    if calibration.dark is not None:
        if calibration.dark.level.shape != mosaic.shape:
            raise UserError(f"dark frame of {_size(calibration.dark.level)} for a picture of {_size(mosaic)}: {_AGAIN}")
        mosaic -= calibration.dark.level
    if calibration.flat is not None:
        height, width = mosaic.shape[0] // 2, mosaic.shape[1] // 2
        rows, columns = calibration.flat.gain.shape[:2]
        if abs(rows * width / (columns * height) - 1) > 0.01:
            raise UserError(f"flat field of {_size(calibration.flat.gain)} for a picture of {_size(mosaic)}: {_AGAIN}")
        # half a pixel of the full picture between the colours of a block does not show in a smooth map
        gains = [calibration.flat.channel(index, height, width) for index in range(3)]
        red_row, red_column = red_place(raw.cfa)
        for row in (0, 1):
            for column in (0, 1):
                colour = int(row != red_row) + int(column != red_column)  # 0 red, 1 green, 2 blue
                mosaic[row::2, column::2] /= gains[colour]
    return mosaic


_AGAIN = "calibrate the camera again at this picture size"


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} px"


def develop_files(
    paths: Sequence[str | Path],
    out: str | Path,
    workers: int | None = None,
    calibrations: Mapping[str, Calibration] | None = None,
    method: Method = "malvar",
    size_px: tuple[int, int] | None = None,
    done: Callable[[Developed], None] = lambda developed: None,
) -> list[Developed]:
    """Develop files in parallel into `out`: STEM.tif (float32) and STEM.clipped.png; those up to date stay.

    Args:
        workers: files at a time, in threads (decoding and filters run outside Python's lock); default one per core.
            Each takes about 1 GB at 24 MP.
        calibrations: by camera serial number. size_px: (width, height) the pictures must have.
        done: called as each file is finished.

    Up to date means: same raw bytes, method, calibration and version of this module, and the image is whole.
    Raises UserError for the first file that cannot be developed; finished ones stay.
    """
    if method not in METHODS:
        raise UserError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    sources, folder = [Path(path) for path in paths], Path(out)
    stems = [source.stem for source in sources]
    if double := {stem for stem in stems if stems.count(stem) > 1}:
        raise UserError(f"{', '.join(sorted(double))}: several files of this name; develop them into different folders")

    def work(source: Path) -> Developed:
        result = _develop_file(source, folder, calibrations or {}, method, size_px)
        done(result)
        return result

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return list(pool.map(work, sources))


def _develop_file(
    source: Path, folder: Path, calibrations: Mapping[str, Calibration], method: Method, size_px: tuple[int, int] | None
) -> Developed:
    image, mask = folder / f"{source.stem}.tif", folder / f"{source.stem}.clipped.png"
    calibration = calibrations.get(read_exif(source).serial, Calibration())
    content = {"source_sha256": sha256_file(source), "method": method, "calibration": calibration.content}
    content_hash = sha256_json({**content, "develop_version": DEVELOP_VERSION})
    if mask.is_file() and image.is_file() and _content_hash(image) == content_hash:
        return Developed(source, image, True)
    raw = read_raw(source, size_px)
    developed = develop(raw, calibration, method)
    write_png(mask, developed.clipped.astype(np.uint8) * 255)
    facts: dict[str, Any] = {
        "encoding": "linear",
        "unit": "share of the white level",
        "colour": developed.colour,
        "black_dn": list(raw.black_dn),
        "white_dn": raw.white_dn,
        "serial": raw.serial,
        "iso": raw.exif.iso,
        "aperture": raw.exif.aperture,
        "shutter_s": raw.exif.shutter_s,
        "taken": raw.exif.taken,
        **content,
        "content_hash": content_hash,
    }
    write_tiff(image, developed.rgb, compress=False, **facts)
    return Developed(source, image, False)


def _content_hash(image: Path) -> str:
    """What an image was made of; "" when it is no whole image of ours."""
    try:
        return str(read_tiff_description(image).get("content_hash", ""))
    except UserError:
        return ""
