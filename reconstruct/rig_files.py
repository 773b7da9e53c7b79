"""The calibrated rig as later stages use it, and its files: calibration.json and a COLMAP rig model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import write_json
from ..capture.json_files import read_format
from .camera_json import camera_entry, camera_from_entry
from .rig_bundle import write_rig_model

FORMAT = "mesoface-calibration"
SCHEMA_VERSION = 1
RIG_FILE = "calibration.json"
MODEL_FOLDER = "rig"


@dataclass(frozen=True, eq=False)
class CalibratedRig:
    """Cameras of a rig after calibration, in the rig file's world frame (rig_alignment.py tells how it is fixed).

    `cameras`: with distortion k1 k2 p1 p2, at the size of the calibration images; `camera(name, size)` scales.
    `baseline_px`: rms reprojection error of each camera in calibration, the baseline of the drift check.
    `figures`: numbers for people; `warnings`: what was wrong but not fatal, for example a view left out.
    """

    rig_name: str
    centre: str
    cameras: dict[str, PinholeCamera]
    serials: dict[str, str]
    baseline_px: dict[str, float]
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the centre camera's calibration images."""
        camera = self.cameras[self.centre]
        return camera.width_px, camera.height_px

    def camera(self, name: str, size_px: tuple[int, int] | None = None) -> PinholeCamera:
        """One camera, scaled to an image size. Raises UserError for a view that was not calibrated."""
        if name not in self.cameras:
            raise UserError(f'view "{name}" is not in the calibration; calibrated: {", ".join(self.cameras)}')
        return self.cameras[name] if size_px is None else self.cameras[name].scaled(*size_px)

    def save(self, folder: str | Path) -> None:
        """Write calibration.json, and rig/ as a COLMAP model (binary and text) for other programs."""
        folder = Path(folder)
        write_rig_model(self.cameras, self.centre, folder / MODEL_FOLDER)
        write_json(
            folder / RIG_FILE,
            {
                "format": FORMAT,
                "schema_version": SCHEMA_VERSION,
                "rig": self.rig_name,
                "frame": "world of the rig file: x to the subject's left, y up, z to the centre camera; mm; fixed by "
                "the best fit of all cameras to their nominal poses",
                "pixel_convention": "pixel centres at integer coordinates; the COLMAP model in rig/ adds 0.5",
                "distortion": "OpenCV k1 k2 p1 p2",
                "centre": self.centre,
                "cameras": {name: self._entry(name) for name in self.cameras},
                "figures": self.figures,
                "warnings": list(self.warnings),
            },
        )

    def _entry(self, name: str) -> dict[str, Any]:
        return {
            "serial": self.serials[name],
            **camera_entry(self.cameras[name]),
            "rms_px": self.baseline_px[name],
        }

    @classmethod
    def load(cls, folder: str | Path) -> "CalibratedRig":
        """Read the folder of `save`. Raises UserError when calibration.json is missing, newer or damaged."""
        path = Path(folder) / RIG_FILE
        content = read_format(
            path, FORMAT, SCHEMA_VERSION, missing="expected a folder made by `mesoface calibrate`",
            again="calibrate again, or restore it from a copy",
        )  # fmt: skip
        try:
            entries = content["cameras"]
            made = cls(
                rig_name=str(content["rig"]),
                centre=str(content["centre"]),
                cameras={name: camera_from_entry(entry) for name, entry in entries.items()},
                serials={name: str(entry["serial"]) for name, entry in entries.items()},
                baseline_px={name: float(entry["rms_px"]) for name, entry in entries.items()},
                figures=dict(content["figures"]),
                warnings=tuple(content["warnings"]),
            )
            made.cameras[made.centre]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: is damaged ({error!r}); calibrate again, or restore it from a copy") from None
        return made
