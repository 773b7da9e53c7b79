"""Move the cameras of a calibrated rig so that a scan's own matches agree, lenses kept as calibrated.

Matches alone know neither where the rig is nor how large. Each camera is therefore held at its stored pose by a robust
spring: cameras that stand as calibrated keep the frame and the scale (best fit to the stored poses), and one that has
moved goes where its matches say without dragging the others along.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import Array
from .rig_tracks import RigPoses, Track, TrackTable

FEWEST_TRACKS, FEWEST_OF_CAMERA = 60, 20
MOST_TRACKS = 500
"""More make it slower, not better."""
STILL_MM, STILL_DEG = 0.1, 0.01
"""Within these a camera counts as unmoved: what calibration itself leaves uncertain."""
HELD = np.repeat([np.deg2rad(STILL_DEG), STILL_MM], 3)
ANNEALING = (100.0, 10.0, 1.0)
"""The springs start this many times wider, so that a camera far off finds its way."""
ROBUST_PX = 0.5
STIFF = 3.0
"""Weight of the springs: a camera leaves its place only when matches say so beyond what noise of 1 px would."""
MOST_STEPS, CONVERGED = 15, 0.03


@dataclass(frozen=True, eq=False)
class RefinedPoses:
    """`cameras` with new poses. Mean errors in px before and after, of the matches taken for right.

    Per camera, how far its centre moved, how far it turned, and how far its picture of the subject shifted.
    """

    cameras: dict[str, PinholeCamera]
    tracks: int
    before_px: float
    after_px: float
    moved_mm: dict[str, float]
    turned_deg: dict[str, float]
    shift_px: dict[str, float]


def refine_poses(cameras: Mapping[str, PinholeCamera], tracks: Sequence[Track]) -> RefinedPoses:
    """Poses that fit the tracks best; focal lengths, principal points, distortions, frame and scale are kept.

    Args:
        cameras: as calibrated, of the pictures in which the tracks were found (scaled or undistorted as these are).
        tracks: matched points; a minority of wrong ones is found and left out.

    Raises UserError when there are too few tracks: 60 in all, 20 in each view.
    """
    table = TrackTable.of(cameras, tracks)
    if len(cameras) < 3:
        raise UserError(f"poses are not refined: {len(cameras)} views, 3 are needed to tell which of them has moved")
    if len(table) < FEWEST_TRACKS:
        raise UserError(
            f"poses are not refined: {len(table)} points matched in two or more views, {FEWEST_TRACKS} are needed; "
            "go on with the stored calibration, or calibrate again"
        )
    for name, count in zip(cameras, table.seen.sum(axis=0), strict=True):
        if count < FEWEST_OF_CAMERA:
            raise UserError(
                f"poses are not refined: view {name} has {count} matched points, {FEWEST_OF_CAMERA} are needed; "
                "go on with the stored calibration, or without this view"
            )
    poses, kept = refined(table, RigPoses.of(cameras))
    if len(kept) < FEWEST_TRACKS // 2:
        raise UserError(
            f"poses are not refined: only {len(kept)} of {len(table)} matched points fit together; are these pictures "
            "of one subject at one time, and is the calibration that of this rig?"
        )
    return described(cameras, kept, poses)


def refined(table: TrackTable, stored: RigPoses) -> tuple[RigPoses, TrackTable]:
    """Poses, and the tracks without wrong matches; the table may hold too few for a sensible answer."""
    table = table.thinned(MOST_TRACKS)
    poses, kept = stored, table.cleaned(stored)
    for springs in ANNEALING:
        if not len(kept):
            break
        poses = _solved(kept, stored, poses, springs)
        kept = table.cleaned(poses)
    return (_returned(kept, stored, poses), kept) if len(kept) else (poses, kept)


def described(cameras: Mapping[str, PinholeCamera], kept: TrackTable, poses: RigPoses) -> RefinedPoses:
    """Cameras at `poses` (same order), and how they differ from those they were."""
    stored = RigPoses.of(cameras)
    points, _ = kept.solve(poses)
    moved = {name: poses.camera(column, camera) for column, (name, camera) in enumerate(cameras.items())}
    turned, shift = {}, {}
    for column, (name, camera) in enumerate(cameras.items()):
        turn = Rotation.from_matrix(poses.rotations[column] @ stored.rotations[column].T)
        turned[name] = float(np.rad2deg(turn.magnitude()))
        here = points[kept.seen[:, column]]
        apart = np.linalg.norm(moved[name].project(here)[0] - camera.project(here)[0], axis=1)
        shift[name] = float(np.median(apart)) if len(apart) else float("nan")
    return RefinedPoses(
        cameras=moved,
        tracks=len(kept),
        before_px=float(np.nanmean(kept.errors_px(stored))),
        after_px=float(np.nanmean(kept.errors_px(poses))),
        moved_mm={
            name: float(np.linalg.norm(moved[name].centre_mm - camera.centre_mm)) for name, camera in cameras.items()
        },
        turned_deg=turned,
        shift_px=shift,
    )


def _returned(table: TrackTable, stored: RigPoses, poses: RigPoses) -> RigPoses:
    """Cameras that went away for next to nothing are put back, one by one, where that costs no more."""
    cost = _cost(table, stored, poses)
    for column in np.argsort(-np.linalg.norm(poses.centres_mm - stored.centres_mm, axis=1)):
        if np.linalg.norm(poses.centres_mm[column] - stored.centres_mm[column]) < 2 * STILL_MM:
            break
        centres = poses.centres_mm.copy()
        centres[column] = stored.centres_mm[column]
        trial = _solved(table, stored, RigPoses(poses.rotations, centres), 1.0)
        if (other := _cost(table, stored, trial)) < cost:
            poses, cost = trial, other
    return poses


def _cost(table: TrackTable, stored: RigPoses, poses: RigPoses) -> float:
    """What `_solved` makes small with springs of their own width."""
    length = np.linalg.norm(table.solve(poses)[1][table.seen], axis=1) / ROBUST_PX
    away = _away(stored, poses, 1.0)
    springs = np.log1p((away[:, :3] ** 2).sum(axis=1)) + np.log1p((away[:, 3:] ** 2).sum(axis=1))
    return float(2 * (np.sqrt(1 + length**2) - 1).sum() + STIFF * springs.sum())


def _away(stored: RigPoses, poses: RigPoses, springs: float) -> Array:
    """Turns and shifts (C, 6) from the stored poses, in widths of the springs."""
    turned = Rotation.from_matrix(poses.rotations @ np.swapaxes(stored.rotations, 1, 2)).as_rotvec()
    return np.concatenate([turned, poses.centres_mm - stored.centres_mm], axis=1) / (springs * HELD)


def _solved(table: TrackTable, stored: RigPoses, start: RigPoses, springs: float) -> RigPoses:
    """Turns (rad, about the camera's own centre) and centres (mm) of all cameras, by reweighted Gauss-Newton steps.

    The points are eliminated from each step's equations (Schur complement), so only 6 numbers per camera are solved.
    """
    poses, count = start, len(table.names)
    for _ in range(MOST_STEPS):
        matrix, right = _normal_equations(table, poses)
        away, held = _away(stored, poses, springs), springs * HELD
        # a spring whose force fades with distance (Cauchy), turns and shifts each by themselves
        squares = np.repeat(np.stack([(away[:, :3] ** 2).sum(axis=1), (away[:, 3:] ** 2).sum(axis=1)], axis=1), 3, 1)
        pull = STIFF / (1 + squares)
        matrix[np.diag_indices(6 * count)] += (pull / held**2).ravel()
        right -= (pull * away / held).ravel()
        step = np.linalg.solve(matrix, right).reshape(count, 6)
        turns = Rotation.from_rotvec(step[:, :3]).as_matrix()
        poses = RigPoses(turns @ poses.rotations, poses.centres_mm + step[:, 3:])
        if np.abs(step / HELD).max() < CONVERGED:
            break
    return poses


def _normal_equations(table: TrackTable, poses: RigPoses) -> tuple[Array, Array]:
    """Matrix (6C, 6C) and right side (6C,) of one step, in units of ROBUST_PX; long offsets count less."""
    points, offsets = table.solve(poses)
    count, seen = len(table.names), table.seen
    offsets = np.nan_to_num(offsets) / ROBUST_PX
    weight = seen / np.sqrt(1 + (offsets**2).sum(axis=2))
    at = np.einsum("cij,ncj->nci", poses.rotations, points[:, None] - poses.centres_mm)
    x, y, z = at[..., 0], at[..., 1], np.maximum(at[..., 2], 1.0)
    focal, zero = table.focal_px / ROBUST_PX / z, np.zeros_like(z)
    by_place = np.stack(
        [np.stack([focal, zero, -focal * x / z], axis=2), np.stack([zero, focal, -focal * y / z], axis=2)], axis=2
    )
    cross = np.stack(
        [np.stack([zero, z, -y], axis=2), np.stack([-z, zero, x], axis=2), np.stack([y, -x, zero], axis=2)], axis=2
    )  # turn x place
    by_point = by_place @ poses.rotations
    by_pose = np.concatenate([by_place @ cross, -by_point], axis=3)
    weighted = by_pose * weight[..., None, None]
    own = np.einsum("ncki,nckj->cij", weighted, by_pose)
    mixed = np.einsum("ncki,nckj->ncij", weighted, by_point)
    of_points = np.einsum("nc,ncki,nckj->nij", weight, by_point, by_point)
    of_points += 1e-9 * np.trace(of_points, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    gradient = -np.einsum("ncki,nck->ci", weighted, offsets).ravel()
    gradient_points = -np.einsum("nc,ncki,nck->ni", weight, by_point, offsets)
    tied = mixed.reshape(len(points), 6 * count, 3)
    through = tied @ np.linalg.inv(of_points)
    matrix = np.zeros((count, 6, count, 6))
    matrix[np.arange(count), :, np.arange(count)] = own
    flat = matrix.reshape(6 * count, 6 * count) - np.einsum("nik,njk->ij", through, tied, optimize=True)
    return flat, gradient - np.einsum("nik,nk->i", through, gradient_points)
