"""The uniform views of a scan, developed and undistorted, with their cameras: what stereo starts from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..capture.calibration_maps import Calibration, load_calibrations
from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .rig_files import CalibratedRig
from .scan_source import Frame, ScanSource, nominal_at
from .stereo_mask import foreground_mask
from .undistort import undistort

CameraSource = Literal["calibration", "described", "sfm"]
CLOSEST_MM = 20.0
"""Two bodies nearer than this (behind a beam splitter) are one view."""
FEWEST_VIEWS = 2


@dataclass(frozen=True, eq=False)
class UniformView:
    """One view: linear (H, W, 3) float32 undistorted, mask (H, W) bool of the subject, camera without distortion."""

    name: str
    frame: Frame
    linear: np.ndarray
    clipped: np.ndarray
    mask: np.ndarray
    camera: PinholeCamera


@dataclass(frozen=True, eq=False)
class UniformViews:
    """All views of a scan that can be used, the centre among them.

    `cameras_from`: calibration; described (rendered or imported cameras, taken as exact); or sfm (described lenses,
    poses still to be found).
    """

    views: dict[str, UniformView]
    centre: str
    cameras_from: CameraSource
    baseline_px: dict[str, float]
    """Reprojection error of each camera in calibration, at this image size; 0 without calibration."""
    warnings: tuple[str, ...]

    def placed(self, cameras: Mapping[str, PinholeCamera]) -> "UniformViews":
        """The same views with other poses."""
        return replace(self, views={n: replace(v, camera=cameras[n]) for n, v in self.views.items() if n in cameras})


def load_uniform_views(
    source: ScanSource,
    calibration: Path | None = None,
    *,
    cameras: Literal["auto", "described", "sfm"] = "auto",
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> UniformViews:
    """Develop and undistort every uniform frame.

    Args:
        calibration: folder of `mesoface calibrate`; gives cameras, dark frames and flat fields.
        cameras: without a calibration, "described" trusts the poses of the rig file, "sfm" finds them from the images;
            "auto" trusts rendered and imported ones, and finds those of a take.

    Frames that are missing or show nobody are left out with a warning that names the view. Raises UserError when fewer
    than two are left, the centre view is not there, images differ in size, or the calibration is of another rig.
    """
    rig = None if calibration is None else CalibratedRig.load(calibration)
    used_cameras: CameraSource = "calibration" if rig else "described" if source.trusted else "sfm"
    if rig is None and cameras != "auto":
        used_cameras = cameras
    if rig is not None:
        _same_rig(source, rig, calibration)
    maps = _maps(source, calibration)
    frames, warnings = dict(source.uniform), []
    for stem in source.missing:
        if "uniform" in stem:
            warnings.append(f"view {stem.split('_uniform_')[-1]}: its uniform frame is missing; going on without it")
    if source.centre not in frames:
        raise UserError(
            f"{source.folder}: the uniform frame of the centre view ({source.centre}) is missing; shoot step 0 again "
            "with `mesoface take reshoot`, or fetch it with `mesoface take resume`"
        )
    frames = {source.centre: frames.pop(source.centre), **frames}  # the centre is nobody's twin
    sizes: dict[str, tuple[int, int]] = {}
    views: dict[str, UniformView] = {}
    for place, (name, frame) in enumerate(frames.items()):
        progress(f"developing {name}", place, len(frames))
        image = source.linear(frame, maps.get(source.serials.get(name, "")))
        sizes[name] = (image.rgb.shape[1], image.rgb.shape[0])
        if sizes[name] != (first := next(iter(sizes.values()))):
            raise UserError(
                f"view {name}: {frame.path.name} has {_text(sizes[name])} px, view {next(iter(sizes))} has "
                f"{_text(first)} px; all bodies must deliver images of one size"
            )
        camera = rig.camera(name, sizes[name]) if rig else nominal_at(source, name, sizes[name])
        if twin := _twin(camera, views):
            warnings.append(f"view {name}: stands in the same place as {twin}; left out of stereo")
            continue
        flat = undistort(image, camera)
        mask = foreground_mask(flat.linear) & flat.valid
        if not mask.any():
            if name == source.centre:
                raise UserError(f"view {name}: {frame.path.name} shows nobody (black?); the centre view is needed")
            warnings.append(f"view {name}: {frame.path.name} shows nobody (black?); going on without it")
            continue
        views[name] = UniformView(name, frame, flat.linear, flat.clipped, mask, flat.camera)
    if len(views) < FEWEST_VIEWS:
        raise UserError(f"{source.folder}: only view {', '.join(views)} is usable; depth needs at least two views")
    baseline = {
        name: rig.baseline_px[name] * sizes[name][0] / rig.cameras[name].width_px if rig else 0.0 for name in views
    }
    return UniformViews(views, source.centre, used_cameras, baseline, tuple(warnings))


def _maps(source: ScanSource, calibration: Path | None) -> dict[str, Calibration]:
    if calibration is None or source.rig is None or source.origin != "take":
        return {}
    return load_calibrations(calibration, source.rig)


def _same_rig(source: ScanSource, rig: CalibratedRig, folder: Path | None) -> None:
    unknown = [name for name in source.uniform if name not in rig.cameras]
    if source.centre in unknown or len(source.uniform) - len(unknown) < FEWEST_VIEWS:
        raise UserError(
            f"{folder}: calibrates views {', '.join(rig.cameras)}, but the scan has {', '.join(source.uniform)}; "
            "give the calibration of this rig"
        )
    if unknown:
        raise UserError(f"{folder}: has no calibration of view {', '.join(unknown)}; shoot a board take that shows it")
    for name in source.uniform:
        body = source.serials.get(name)
        if body and rig.serials.get(name) and body != rig.serials[name]:
            raise UserError(
                f"view {name}: this scan was shot with body {body}, but {folder} calibrates body "
                f"{rig.serials[name]}; give the calibration of this rig, or calibrate again"
            )


def _twin(camera: PinholeCamera, views: Mapping[str, UniformView]) -> str:
    near = [n for n, v in views.items() if np.linalg.norm(v.camera.centre_mm - camera.centre_mm) < CLOSEST_MM]
    return near[0] if near else ""


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
