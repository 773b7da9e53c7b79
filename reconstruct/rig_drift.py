"""Has the rig moved since it was calibrated? Reprojection errors of points matched in a scan, against the calibration.

    drift = check_drift(calibrated, tracks)
    drift.warnings          # empty, or words that name the view

Optional: `refine_poses` moves the cameras so that a scan's own matches agree, with lenses kept as calibrated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import Array, RigidTransform
from .rig_files import CalibratedRig
from .targets_rays import ray_directions

TOLERANCE_PX = 0.3
"""By how much the error may exceed the baseline, in px of the checked images."""
FEWEST_TRACKS = 30
MISMATCH_RATIO, SMALLEST_MISMATCH_PX = 3.0, 0.2
"""A track with an error above this multiple of the median, and above this many px, is a wrong match."""

Track = Mapping[str, Array]
"""One point of the subject: camera name -> its pixel (2,), column and row, in the distorted image."""


@dataclass(frozen=True)
class Drift:
    """Reprojection errors in px (median over the tracks, and per camera) after triangulation with the stored cameras.

    `moved`: the view that has most probably moved, "" when none has.
    """

    tracks: int
    error_px: float
    per_camera_px: dict[str, float]
    limit_px: float
    moved: str
    warnings: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        return self.error_px > self.limit_px


def check_drift(rig: CalibratedRig, tracks: Sequence[Track], matching_px: float = 0.0) -> Drift:
    """Triangulate tracks with the stored calibration and compare their errors with its baseline + 0.3 px.

    Args:
        tracks: at least 30 that are seen by two or more calibrated cameras, at the calibration's image size; a minority
            of wrong matches is tolerated.
        matching_px: error that matches of this kind have even with a perfect rig, added to the limit.

    Raises UserError when there are too few tracks to tell.
    """
    cameras = rig.cameras
    used = _usable(_pixels(cameras, tracks))
    if len(used) < FEWEST_TRACKS:
        raise UserError(
            f"drift check: {len(used)} points matched in two or more views, {FEWEST_TRACKS} are needed; "
            "is a view black, blurred or of another subject?"
        )
    errors = _errors(cameras, used)
    error = _typical(errors)
    per_camera = {
        name: float(np.nanmedian(column))
        for name, column in zip(cameras, errors.T, strict=True)
        if np.isfinite(column).any()
    }
    baseline = float(np.sqrt(np.mean(np.square(list(rig.baseline_px.values())))))
    limit = baseline + matching_px + TOLERANCE_PX
    if error <= limit:
        return Drift(len(used), error, per_camera, limit, "", ())
    moved, rest = _most_suspect(cameras, used)
    if moved and rest <= max(limit, 0.6 * error):
        words = (
            f"view {moved}: has moved since the calibration (matched points miss by {error:.2f} px, {rest:.2f} px "
            f"without it, allowed {limit:.2f} px); calibrate the rig again, or leave this view out"
        )
    else:
        moved = ""
        words = (
            f"matched points miss by {error:.2f} px, allowed {limit:.2f} px, in no single view alone: several cameras "
            "have moved, or the calibration is of another rig; calibrate again"
        )
    return Drift(len(used), error, per_camera, limit, moved, (words,))


def reprojection_errors(cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track]) -> Array:
    """Distances (N, C) in px of the triangulated points' projections from the matches; NaN where a view has none."""
    return _errors(cameras, _pixels(cameras, tracks))


def triangulated(cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track]) -> Array:
    """Points (N, 3) mm nearest to the rays of each track (least squares of distances)."""
    return _points(cameras, _pixels(cameras, tracks))


def _pixels(cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track]) -> Array:
    """(N, C, 2), NaN where a camera has no match."""
    pixels = np.full((len(tracks), len(cameras), 2), np.nan)
    for row, track in enumerate(tracks):
        for column, name in enumerate(cameras):
            if name in track:
                pixels[row, column] = track[name]
    return pixels


def _points(cameras: Mapping[str, PinholeCamera], pixels: Array) -> Array:
    matrices, rights = np.zeros((len(pixels), 3, 3)), np.zeros((len(pixels), 3))
    for column, camera in enumerate(cameras.values()):
        rows = np.flatnonzero(np.isfinite(pixels[:, column, 0]))
        rays = ray_directions(camera, pixels[rows, column])
        across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
        matrices[rows] += across
        rights[rows] += across @ camera.centre_mm
    return np.asarray(np.linalg.solve(matrices + 1e-9 * np.eye(3), rights[..., None])[..., 0], np.float64)


def _offsets(cameras: Mapping[str, PinholeCamera], pixels: Array) -> Array:
    """Projection minus match (N, C, 2)."""
    points = _points(cameras, pixels)
    return np.stack([camera.project(points)[0] for camera in cameras.values()], axis=1) - pixels


def _errors(cameras: Mapping[str, PinholeCamera], pixels: Array) -> Array:
    return np.linalg.norm(_offsets(cameras, pixels), axis=2)


def refine_poses(
    cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track], reference: str
) -> tuple[dict[str, PinholeCamera], float]:
    """Poses that fit the tracks best, lenses and the reference camera kept; and the error in px that is left.

    Points are triangulated anew for every trial, so only poses are unknown. Wrong matches are left out. The tracks
    cannot know the scale: the mean distance of the cameras from the reference stays as it was.
    """
    names = [name for name in cameras if name != reference]
    ordered = {reference: cameras[reference], **{name: cameras[name] for name in names}}
    used = _usable(_pixels(ordered, tracks))

    def posed(steps: Array) -> dict[str, PinholeCamera]:
        moved = {reference: cameras[reference]}
        for name, step in zip(names, steps.reshape(-1, 6), strict=True):
            pose = cameras[name].cam_from_world
            turn = Rotation.from_rotvec(step[:3] / 1000).as_matrix()
            shifted = RigidTransform(turn @ pose.rotation, turn @ pose.translation_mm + step[3:])
            moved[name] = replace(cameras[name], cam_from_world=shifted)
        return moved

    def distance(moved: Mapping[str, PinholeCamera]) -> float:
        return float(np.mean([np.linalg.norm(moved[n].centre_mm - moved[reference].centre_mm) for n in names]))

    def residuals(steps: Array) -> Array:
        moved = posed(steps)
        offsets = _offsets(moved, used)[np.isfinite(used)]
        return np.append(np.nan_to_num(offsets, nan=1e3), 1e3 * (distance(moved) - distance(cameras)))

    steps = np.zeros(6 * len(names))
    for _ in range(3):
        steps = least_squares(residuals, steps, loss="soft_l1", f_scale=0.5, x_scale="jac", xtol=1e-6, ftol=1e-6).x
        worst = np.nanmax(_errors(posed(steps), used), axis=1)
        kept = worst <= max(MISMATCH_RATIO * float(np.median(worst)), SMALLEST_MISMATCH_PX)
        if kept.all():
            break
        used = used[kept]
    moved = posed(steps)
    return moved, _typical(_errors(moved, used))


def _most_suspect(cameras: Mapping[str, PinholeCamera], pixels: Array) -> tuple[str, float]:
    """The view without which the others agree best, and their error then; ("", inf) with fewer than three views."""
    best, least = "", float("inf")
    for column, suspect in enumerate(cameras):
        others = {name: camera for name, camera in cameras.items() if name != suspect}
        rest = _usable(np.delete(pixels, column, axis=1))
        if len(rest) >= FEWEST_TRACKS // 2:
            error = _typical(_errors(others, rest))
            if error < least:
                best, least = suspect, error
    return best, least


def _usable(pixels: Array) -> Array:
    """The tracks that two or more views see."""
    return pixels[np.isfinite(pixels[..., 0]).sum(axis=1) >= 2]


def _typical(errors: Array) -> float:
    """Median over the tracks of their mean error: one wrong match spoils its whole track, but few tracks are wrong."""
    return float(np.median(np.nanmean(errors, axis=1)))
