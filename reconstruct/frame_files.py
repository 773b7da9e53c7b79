"""One exposure of a virtual camera on disk: its numbers as a TIFF, and the mosaic of them as a DNG."""

from pathlib import Path

import numpy as np

from ..capture.dng import DngFacts, mosaic_rggb, write_dng
from ..capture.image_files import write_tiff
from ..capture.plan import Shot
from ..capture.rig_models import RigCamera
from .sensor import Sensor


def write_frame(
    image: Path, raw: Path, numbers: np.ndarray, sensor: Sensor, camera: RigCamera, shot: Shot, minute: int, second: int
) -> None:
    """Write both files of `shot`: sensor numbers (H, W, 3) uint16, taken on 1 January 2026, 12:minute:second."""
    write_tiff(
        image, numbers, encoding="linear", black_level=sensor.black_level, white_level=sensor.white_level,
        shot=shot.stem, camera=shot.camera,
    )  # fmt: skip
    exposure = camera.exposure
    facts = DngFacts(
        black_level=sensor.black_level,
        white_level=sensor.white_level,
        model=camera.model,
        serial=camera.serial,
        iso=exposure.iso,
        exposure_s=exposure.shutter_s,
        f_number=exposure.aperture,
        datetime_text=f"2026:01:01 12:{minute:02d}:{second:02d}",
    )
    write_dng(raw, mosaic_rggb(numbers), facts)
