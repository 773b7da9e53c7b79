"""Files of the geometry stage beside the COLMAP workspace: depth prior, confidence, cameras, figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import write_json
from ..capture.image_files import read_tiff, write_png, write_tiff
from ..capture.json_files import read_format
from .camera_json import camera_entry, camera_from_entry
from .depth_prior import SIGMA_MM
from .geometry import Geometry

FORMAT = "mesoface-geometry"
SCHEMA_VERSION = 1
GEOMETRY_FILE = "geometry.json"
PREVIEW_SCALE_MM = 0.01


@dataclass(frozen=True, eq=False)
class GeometryResult:
    """What later stages read: the centre view's camera (no distortion) and its depth.

    z0_mm (H, W) float32 NaN outside the mask; confidence (H, W) float32 0..1; mask (H, W) bool; depth_mm (H, W) float32
    unsmoothed, NaN where no view measured.
    """

    centre: str
    cameras: dict[str, PinholeCamera]
    z0_mm: np.ndarray
    confidence: np.ndarray
    mask: np.ndarray
    depth_mm: np.ndarray
    pixel_mm: float
    warnings: tuple[str, ...]

    @property
    def camera(self) -> PinholeCamera:
        return self.cameras[self.centre]


def write_geometry(folder: str | Path, geometry: Geometry) -> None:
    """Write maps and geometry.json into `folder`, beside the workspace."""
    folder = Path(folder)
    prior, centre = geometry.prior, geometry.stereo.centre_map

    def depth_map(name: str, depth_mm: np.ndarray, **facts: str | float) -> None:
        description = {"unit": "mm", "along": "optical axis of the centre view", "outside": "NaN", **facts}
        write_tiff(folder / name, depth_mm, compress=True, **description)

    depth_map("z0_mm.tif", prior.z0_mm, lowpass_sigma_mm=SIGMA_MM, source=prior.source)
    depth_map("depth_mm.tif", geometry.stereo.merged.depth_mm, meaning="all views merged, unsmoothed")
    depth_map("centre_depth_mm.tif", centre.depth_mm, meaning="centre view alone, unfiltered")
    write_tiff(folder / "confidence.tif", prior.confidence, unit="share measured, 0 to 1")
    write_png(folder / "mask.png", prior.mask.astype(np.uint8) * 255)
    preview, offset_mm = _as_16_bit(prior.z0_mm)
    write_png(folder / "z0_16bit.png", preview)
    drift = geometry.drift
    write_json(
        folder / GEOMETRY_FILE,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "frame": "world of the rig file: x to the subject's left, y up, z to the centre camera; mm",
            "pixel_convention": "pixel centres at integer coordinates; COLMAP files add 0.5",
            "centre": geometry.views.centre,
            "cameras_from": geometry.views.cameras_from,
            "cameras": {name: camera_entry(view.camera) for name, view in geometry.views.views.items()},
            "pixel_mm": geometry.stereo.pixel_mm,
            "z0": {"lowpass_sigma_mm": SIGMA_MM, "source": prior.source},
            "z0_16bit": {"mm_per_unit": PREVIEW_SCALE_MM, "offset_mm": offset_mm, "outside": 0},
            "agreement": {
                name: {
                    "confirmed": _number(found.confirmed),
                    "sharpness": _number(found.sharpness),
                    "problem": found.problem,
                }
                for name, found in geometry.stereo.agreement.items()
            },
            "drift": drift
            and {
                "points": drift.tracks,
                "error_px": _number(drift.error_px),
                "drift_px": _number(drift.drift_px),
                "limit_px": _number(drift.limit_px),
                "per_camera_px": {name: _number(value) for name, value in drift.per_camera_px.items()},
            },
            # no times: the same scan gives the same file, and what is made of it stays valid
            "figures": {n: _number(value) for n, value in geometry.figures.items() if not n.startswith("seconds ")},
            "warnings": list(geometry.warnings),
        },
    )


def read_geometry(folder: str | Path) -> GeometryResult:
    """Read a finished geometry stage. Raises UserError when files are missing, damaged or do not fit each other."""
    folder = Path(folder)
    content = read_geometry_json(folder)
    try:
        cameras = {name: camera_from_entry(entry) for name, entry in content["cameras"].items()}
        camera = cameras[content["centre"]]
        pixel_mm, warnings = float(content["pixel_mm"]), tuple(content["warnings"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / GEOMETRY_FILE}: is damaged ({error!r}); run `mesoface geometry` again") from None
    maps = {name: read_tiff(folder / f"{name}.tif")[0] for name in ("z0_mm", "confidence", "depth_mm")}
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE)
    size = (camera.height_px, camera.width_px)
    if mask is None or any(image.shape != size for image in (mask, *maps.values())):
        raise UserError(f"{folder}: maps are missing or of another size than geometry.json says; run it again")
    return GeometryResult(
        content["centre"], cameras, maps["z0_mm"], maps["confidence"], mask > 0, maps["depth_mm"], pixel_mm, warnings
    )


def read_geometry_json(folder: str | Path) -> dict[str, Any]:
    """geometry.json as it is. Raises UserError when it is missing, damaged or newer."""
    made = "`mesoface geometry`"
    return read_format(
        Path(folder) / GEOMETRY_FILE, FORMAT, SCHEMA_VERSION, missing=f"expected a folder made by {made}",
        again=f"run {made} again",
    )  # fmt: skip


def _as_16_bit(z0_mm: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W) uint16 with PREVIEW_SCALE_MM per unit above the offset, 0 outside."""
    there = np.isfinite(z0_mm)
    offset_mm = float(np.floor(np.nanmin(z0_mm))) - 1.0 if there.any() else 0.0
    units = np.clip(np.rint((np.nan_to_num(z0_mm, nan=offset_mm) - offset_mm) / PREVIEW_SCALE_MM), 1, 65535)
    return np.where(there, units, 0).astype(np.uint16), offset_mm


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None
