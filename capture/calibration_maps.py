"""Maps that make frames comparable: dark frame, flat field and colour matrix of each camera.

They lie in one folder per calibration, `calibration/<date>/<camera>/`, each optional; docs/formats.md describes them.
Missing maps change nothing: no dark frame subtracts zero, no flat field divides by one, no matrix keeps camera RGB.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .files import sha256_file, write_json
from .image_files import read_tiff, write_tiff
from .rig_models import Rig

Image = NDArray[np.float32]

DARK_FILE, FLAT_FILE, COLOUR_FILE = "dark.tif", "flat.tif", "colour.json"
# A flat field corrects fall-off; a map that says less light than this arrives is damaged or of something else.
FLAT_LOWEST, FLAT_HIGHEST = 0.02, 20.0
# Dark frames are small: mean offsets beyond this share of the white level are no dark frames.
DARK_HIGHEST = 0.2


@dataclass(frozen=True, eq=False)
class DarkFrame:
    """Mean of dark frames: `level` (H, W) float32 of the mosaic, above black, as share of the white level."""

    level: Image

    def __post_init__(self) -> None:
        _check(self.level, 2, "dark frame")
        if abs(float(self.level.mean())) > DARK_HIGHEST:
            raise ValueError(f"dark frame with a mean of {self.level.mean():.3g}, but expected nearly 0")


@dataclass(frozen=True, eq=False)
class FlatField:
    """Relative sensitivity `gain` (h, w, 3) float32 over the picture, about 1; frames are divided by it.

    Any size with the picture's aspect: lens fall-off is smooth, a tenth of the picture's size does.
    """

    gain: Image

    def __post_init__(self) -> None:
        _check(self.gain, 3, "flat field")
        if self.gain.min() < FLAT_LOWEST or self.gain.max() > FLAT_HIGHEST:
            raise ValueError(
                f"flat field from {self.gain.min():.3g} to {self.gain.max():.3g}, but expected about 1 "
                f"({FLAT_LOWEST} to {FLAT_HIGHEST})"
            )

    def channel(self, index: int, height: int, width: int) -> Image:
        """One colour's gain at another size, bilinear."""
        plane = np.ascontiguousarray(self.gain[..., index])
        if plane.shape == (height, width):
            return plane
        return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, eq=False)
class ColourMatrix:
    """`matrix` (3, 3): output RGB = matrix @ camera RGB, both linear. `output` names the colours it gives."""

    matrix: NDArray[np.float64]
    output: str = "linear sRGB (D65)"

    def __post_init__(self) -> None:
        if self.matrix.shape != (3, 3) or not np.isfinite(self.matrix).all():
            raise ValueError(f"{self.matrix.shape=}, but expected a finite (3, 3) matrix")
        if abs(np.linalg.det(self.matrix)) < 1e-6:
            raise ValueError("colour matrix is singular")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Maps of one camera; `content` hashes them, so that developed images know what they were made with."""

    dark: DarkFrame | None = None
    flat: FlatField | None = None
    colour: ColourMatrix | None = None
    content: str = ""


def _check(image: np.ndarray, dimensions: int, what: str) -> None:
    colours = dimensions == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.ndim != dimensions or not colours or image.dtype != np.float32 or not image.size:
        shape = "(H, W)" if dimensions == 2 else "(h, w, 3)"
        raise ValueError(f"{what} of shape {image.shape} and {image.dtype}, but expected {shape} float32")
    if not np.isfinite(image).all():
        raise ValueError(f"{what} holds NaN or infinity")


def save_calibration(folder: str | Path, calibration: Calibration) -> None:
    """Write the maps that are there into `folder` (that of one camera)."""
    folder = Path(folder)
    if calibration.dark is not None:
        write_tiff(folder / DARK_FILE, calibration.dark.level, unit="share of the white level", of="raw mosaic")
    if calibration.flat is not None:
        write_tiff(folder / FLAT_FILE, calibration.flat.gain, unit="relative sensitivity, frames are divided by it")
    if calibration.colour is not None:
        rows = calibration.colour.matrix.tolist()
        write_json(folder / COLOUR_FILE, {"schema_version": 1, "matrix": rows, "output": calibration.colour.output})


def load_calibration(folder: str | Path) -> Calibration:
    """Read the maps of one camera; those that are not in `folder` are None.

    Raises UserError when the folder is missing or a map is damaged or implausible.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {DARK_FILE}, {FLAT_FILE}, {COLOUR_FILE} of one camera")
    paths = [folder / name for name in (DARK_FILE, FLAT_FILE, COLOUR_FILE)]
    content = " ".join(f"{path.name}={sha256_file(path)}" for path in paths if path.is_file())
    dark, flat, colour = paths
    try:
        return Calibration(
            DarkFrame(read_tiff(dark)[0]) if dark.is_file() else None,
            FlatField(read_tiff(flat)[0]) if flat.is_file() else None,
            _read_colour(colour) if colour.is_file() else None,
            content,
        )
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: {error}; calibrate this camera again, or remove the file") from None


def _read_colour(path: Path) -> ColourMatrix:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema_version") != 1:
        raise ValueError(f"{path.name} is no colour matrix of schema_version 1")
    return ColourMatrix(np.array(content["matrix"], np.float64), str(content.get("output", "")))


def load_calibrations(folder: str | Path, rig: Rig) -> dict[str, Calibration]:
    """Calibrations by serial number, of the rig's cameras that have a folder of their name below `folder`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one folder per camera with {DARK_FILE}, {FLAT_FILE} ...")
    return {c.serial: load_calibration(folder / c.name) for c in rig.cameras if (folder / c.name).is_dir()}
