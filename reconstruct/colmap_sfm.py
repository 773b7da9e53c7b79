"""Cameras of a scan without calibration: COLMAP's incremental mapping with known lenses, checked, in millimetres.

COLMAP calls a model of five cameras a success whether it is right or not. Here a model counts only when every check
below holds; otherwise the scan has no cameras, and a message says why. Calibrate the rig where you can: this is for
scans that were taken without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import RigidTransform
from .colmap_features import FeatureMatches, few_matches
from .colmap_process import run_step

FEWEST_POINTS = 100
FEWEST_POINTS_OF_VIEW = 40
LARGEST_ERROR_PX = 1.5
LARGEST_DISAGREEMENT = 0.01
"""Between the cameras that two halves of the matches give, as a share of the widest baseline."""
LARGEST_TURN_DEG = 15.0
LARGEST_SHIFT = 0.15
"""From the rig file's cameras after alignment: rotation, and position as a share of the widest baseline."""


@dataclass(frozen=True, eq=False)
class SolvedCameras:
    """Cameras in world millimetres, and how well they hold."""

    cameras: dict[str, PinholeCamera]
    error_px: float
    points: int
    disagreement: float
    shift_mm: dict[str, float]
    """Distance of each camera from where the rig file has it."""


def solve_cameras(
    folder: str | Path,
    matches: FeatureMatches,
    nominal: Mapping[str, PinholeCamera],
    *,
    threads: int = 2,
    seed: int = 1,
) -> SolvedCameras:
    """Poses of all views from the matches in `folder` (see colmap_features.py).

    Args:
        nominal: cameras without distortion; lenses are taken as they are, poses give scale and frame, and a model that
            does not look like them is refused.
    Raises UserError with the reason when no model passes every check.
    """
    if words := few_matches(matches):
        raise UserError(f"structure from motion: {words}")
    if len({tuple(np.round(c.centre_mm, 6)) for c in nominal.values()}) < 3:
        raise UserError("structure from motion: the rig file needs three or more camera positions to give the scale")
    model = _mapped(folder, matches.names, None, threads, seed)
    cameras = _aligned(_posed(nominal, model), nominal)
    if not model["error_px"] < LARGEST_ERROR_PX:
        raise UserError(
            f"structure from motion: matches miss by {model['error_px']:.2f} px, allowed {LARGEST_ERROR_PX} px; "
            "calibrate the rig"
        )
    baseline = _widest(cameras)
    halves = [
        _aligned(_posed(nominal, _mapped(folder, matches.names, part, threads, seed)), cameras) for part in (0, 1)
    ]
    apart = max(float(np.linalg.norm(halves[0][name].centre_mm - halves[1][name].centre_mm)) for name in cameras)
    disagreement = apart / baseline
    if disagreement > LARGEST_DISAGREEMENT:
        raise UserError(
            f"structure from motion: two halves of the matches give cameras {apart:.1f} mm apart "
            f"({100 * disagreement:.1f} % of the baseline, allowed {100 * LARGEST_DISAGREEMENT:.0f} %); the model "
            "cannot be trusted. Calibrate the rig"
        )
    shift = {name: float(np.linalg.norm(cameras[name].centre_mm - nominal[name].centre_mm)) for name in cameras}
    _check_against(nominal, cameras, shift, baseline)
    return SolvedCameras(cameras, float(model["error_px"]), int(model["points"]), disagreement, shift)


def _best(models: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    if not models:
        raise UserError("structure from motion: COLMAP found no model at all; calibrate the rig, or add texture")
    model = max(models, key=lambda found: (len(found["images"]), found["points"]))
    if missing := [name for name in names if f"{name}.png" not in model["images"]]:
        raise UserError(
            f"structure from motion: views {', '.join(missing)} could not be placed ({len(model['images'])} of "
            f"{len(names)} were); calibrate the rig"
        )
    thin = [name for name in names if model["images"][f"{name}.png"]["points"] < FEWEST_POINTS_OF_VIEW]
    if model["points"] < FEWEST_POINTS or thin:
        raise UserError(
            f"structure from motion: only {model['points']} points, views {', '.join(thin) or 'all'} see fewer than "
            f"{FEWEST_POINTS_OF_VIEW}; the model cannot be trusted. Calibrate the rig"
        )
    return model


def _mapped(folder: str | Path, names: tuple[str, ...], part: int | None, threads: int, seed: int) -> dict[str, Any]:
    """The best model of all matches, or of one half of them. Raises UserError when it is too poor."""
    arguments = {"folder": str(folder), "threads": threads, "seed": seed, "part": part}
    return _best(run_step("map_incrementally", arguments).values["models"], names)


def _posed(cameras: Mapping[str, PinholeCamera], model: dict[str, Any]) -> dict[str, PinholeCamera]:
    made = {}
    for name, camera in cameras.items():
        found = model["images"][f"{name}.png"]
        pose = RigidTransform(np.array(found["rotation"]), np.array(found["translation"]))
        made[name] = replace(camera, cam_from_world=pose)
    return made


def _aligned(cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera]) -> dict[str, PinholeCamera]:
    """Turned, moved and scaled so that camera centres and viewing directions fit the rig file's best.

    Umeyama's least squares over the centres and, so that nearly collinear rigs cannot turn about their line, points
    ahead of and above each camera.
    """
    names = list(cameras)
    reach = float(np.mean([np.linalg.norm(nominal[name].centre_mm) for name in names]))
    ours = np.stack([cameras[name].centre_mm for name in names])
    theirs = np.stack([nominal[name].centre_mm for name in names])
    scale = _spread(theirs) / _spread(ours)
    rotation = _rotation(cameras, nominal, scale, reach)
    # with the turn known, scale and shift follow from the centres alone
    turned = (ours - ours.mean(0)) @ rotation.T
    scale = float((turned * (theirs - theirs.mean(0))).sum() / (turned**2).sum())
    if not scale > 0:
        raise UserError("structure from motion: the model is a mirror image of the rig file's cameras; it is wrong")
    shift = theirs.mean(0) - scale * rotation @ ours.mean(0)
    made = {}
    for name in names:
        pose = cameras[name].cam_from_world
        turn = pose.rotation @ rotation.T
        made[name] = replace(
            cameras[name], cam_from_world=RigidTransform(turn, scale * pose.translation_mm - turn @ shift)
        )
    return made


def _rotation(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], scale: float, reach: float
) -> np.ndarray:
    """(3, 3) world turn that carries our axes and centres onto the nominal ones (Kabsch)."""
    a, b = [], []
    ours = np.stack([camera.centre_mm for camera in cameras.values()]) * scale
    theirs = np.stack([nominal[name].centre_mm for name in cameras])
    for place, name in enumerate(cameras):
        for axis in range(3):
            a.append(reach * cameras[name].cam_from_world.rotation[axis])
            b.append(reach * nominal[name].cam_from_world.rotation[axis])
        a.append(ours[place] - ours.mean(0))
        b.append(theirs[place] - theirs.mean(0))
    u, _, vt = np.linalg.svd(np.stack(b).T @ np.stack(a))
    return np.asarray(u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt, np.float64)


def _spread(points: np.ndarray) -> float:
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum()))


def _widest(cameras: Mapping[str, PinholeCamera]) -> float:
    return max(float(np.linalg.norm(a.centre_mm - b.centre_mm)) for a, b in combinations(cameras.values(), 2))


def _check_against(
    nominal: Mapping[str, PinholeCamera], cameras: Mapping[str, PinholeCamera], shift: dict[str, float], baseline: float
) -> None:
    for name, camera in cameras.items():
        relative = camera.cam_from_world.rotation @ nominal[name].cam_from_world.rotation.T
        turn_deg = float(np.degrees(np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1))))
        if turn_deg > LARGEST_TURN_DEG or shift[name] > LARGEST_SHIFT * baseline:
            raise UserError(
                f"structure from motion: camera {name} comes out {shift[name]:.0f} mm and {turn_deg:.1f} deg from "
                "where the rig file has it. Either the rig file is wrong or the model is; correct it, or calibrate"
            )
