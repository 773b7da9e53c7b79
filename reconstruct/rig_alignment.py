"""Put a calibrated rig into the world frame of the rig file, and notice what does not fit that file.

Pictures of a board fix the cameras among themselves, not their place in the room: six freedoms remain. They are chosen
so that all cameras together come as near as possible to their nominal poses (positions and directions, robustly). So
errors of the tape measure average out over the bodies, and the nominal positions of lamps and face stay meaningful.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import Array, RigidTransform
from .rig_bundle import compose

POSITION_MM, DIRECTION_DEG = 5.0, 0.5
"""How well a rig file knows its cameras: weights of positions and directions against each other."""
SCALE_TOLERANCE = 0.025
"""Deviation of the cameras' distances from the nominal ones beyond which the board's size is wrong."""
MOVED_MM, MOVED_DEG = 30.0, 4.0
"""Beyond this a camera does not stand where the rig file says."""
MOST_PERMUTED = 7


@dataclass(frozen=True, eq=False)
class Alignment:
    """`cameras` in the world frame. Deviations from the nominal poses per camera (those with a nominal pose)."""

    cameras: dict[str, PinholeCamera]
    world_from_reference: RigidTransform
    scale_ratio: float
    """Calibrated over nominal distances between cameras; 1 when the board has the size that the rig file says."""
    offset_mm: dict[str, float]
    turn_deg: dict[str, float]
    warnings: tuple[str, ...]


def align_to_nominal(
    cameras: Mapping[str, PinholeCamera],
    nominal: Mapping[str, PinholeCamera],
    reference: str,
    square_mm: float,
) -> Alignment:
    """Move the rig to where its nominal poses say it stands.

    Args:
        cameras: calibrated, in any common frame. nominal: from the rig file, for the cameras that have a pose there.
        square_mm: side of the board's squares in the rig file, for the message about a wrong one.

    Raises UserError when the board's size is wrong or views are exchanged.
    """
    known = [name for name in cameras if name in nominal]
    if len(known) < 2:
        return _without_nominal(cameras, nominal, reference, known)
    ratio = scale_ratio(cameras, nominal, known)
    exchanged = exchanged_views(cameras, nominal, known)
    if exchanged:
        words = " and ".join(f'"{name}"' for name in exchanged)
        raise UserError(
            f"views {words} are exchanged: each stands where the rig file puts the other; exchange their serial "
            "numbers in the rig file, and calibrate again with --rig"
        )
    if abs(ratio - 1) > SCALE_TOLERANCE:
        raise UserError(
            f"the cameras stand {ratio:.3f} times as far apart as the rig file says: the board has another size than "
            f"is given there. If the cameras' positions are right, its squares are {square_mm / ratio:.2f} mm, not "
            f"{square_mm:g} mm: measure the printed board with a calliper and correct board_square_mm and "
            "board_marker_mm, then calibrate again with --rig"
        )
    world_from_rig = _fit(cameras, nominal, known)
    moved = _moved(cameras, world_from_rig)
    offset, turn = _deviations(moved, nominal, known)
    warnings = tuple(
        f"view {name}: stands {offset[name]:.0f} mm and {turn[name]:.1f} degrees from its place in the rig file; "
        "correct its pose there, or put it back"
        for name in known
        if offset[name] > MOVED_MM or turn[name] > MOVED_DEG
    )
    return Alignment(moved, world_from_rig, ratio, offset, turn, warnings)


def scale_ratio(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], known: Sequence[str]
) -> float:
    """Calibrated over nominal camera distances, median over the pairs (a moved camera spoils only its own)."""
    ratios = []
    for a, b in combinations(known, 2):
        planned = float(np.linalg.norm(nominal[a].centre_mm - nominal[b].centre_mm))
        if planned > 10 * POSITION_MM:
            ratios.append(float(np.linalg.norm(cameras[a].centre_mm - cameras[b].centre_mm)) / planned)
    return float(np.median(ratios)) if ratios else 1.0


def exchanged_views(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], known: Sequence[str]
) -> tuple[str, ...]:
    """Names of views that fit the rig file much better with their places exchanged; empty when all is well.

    The reference may be among them. Independent of the scale, so that a wrong board is not taken for this.
    """
    if len(known) < 3 or len(known) > MOST_PERMUTED:
        return ()
    found = np.array([cameras[name].centre_mm for name in known])
    planned = np.array([nominal[name].centre_mm for name in known])
    # viewing directions count as a second point per camera, and make mirrored arrangements differ
    reach = 0.5 * float(np.linalg.norm(planned - planned.mean(axis=0), axis=1).mean())
    ahead = np.array([cameras[name].cam_from_world.rotation[2] for name in known]) * reach
    planned_ahead = np.array([nominal[name].cam_from_world.rotation[2] for name in known]) * reach

    def misfit(order: Sequence[int]) -> float:
        targets = np.concatenate([planned[list(order)], planned[list(order)] + planned_ahead[list(order)]])
        scale = np.linalg.norm(targets - targets.mean(axis=0)) / np.linalg.norm(found - found.mean(axis=0))
        points = np.concatenate([found, found + ahead / max(scale, 1e-9)])
        return float(np.sqrt(np.mean(_similarity_residual(points, targets) ** 2)))

    as_named = misfit(range(len(known)))
    best = min(permutations(range(len(known))), key=misfit)
    if as_named < MOVED_MM or misfit(best) > 0.3 * as_named:
        return ()
    return tuple(known[k] for k in range(len(known)) if best[k] != k)


def _similarity_residual(points: Array, targets: Array) -> Array:
    """Distances (N,) that remain after the best similarity transform of `points` to `targets`."""
    a, b = points - points.mean(axis=0), targets - targets.mean(axis=0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = (singular * signs).sum() / (a**2).sum()
    return np.linalg.norm(b - scale * a @ rotation.T, axis=1)


def _fit(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], known: Sequence[str]
) -> RigidTransform:
    """world from rig, by robust least squares over positions and directions."""
    first = known[0]
    start = compose(nominal[first].cam_from_world.inverse(), cameras[first].cam_from_world)
    pivot = start.apply(np.mean([cameras[name].centre_mm for name in known], axis=0))

    def moved_by(step: Array) -> RigidTransform:
        turn = Rotation.from_rotvec(step[:3] / 1000).as_matrix()
        return compose(RigidTransform(turn, pivot - turn @ pivot + step[3:]), start)

    def residuals(step: Array) -> Array:
        world_from_rig, parts = moved_by(step), []
        for name in known:
            parts.append((world_from_rig.apply(cameras[name].centre_mm) - nominal[name].centre_mm) / POSITION_MM)
            there = cameras[name].cam_from_world.rotation @ world_from_rig.rotation.T
            turn = Rotation.from_matrix(nominal[name].cam_from_world.rotation.T @ there).as_rotvec(degrees=True)
            parts.append(turn / DIRECTION_DEG)
        return np.concatenate(parts)

    return moved_by(least_squares(residuals, np.zeros(6), loss="soft_l1").x)


def _moved(cameras: Mapping[str, PinholeCamera], world_from_rig: RigidTransform) -> dict[str, PinholeCamera]:
    rig_from_world = world_from_rig.inverse()
    return {
        name: replace(camera, cam_from_world=compose(camera.cam_from_world, rig_from_world))
        for name, camera in cameras.items()
    }


def _deviations(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], known: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    offset = {name: float(np.linalg.norm(cameras[name].centre_mm - nominal[name].centre_mm)) for name in known}
    turn = {
        name: float(
            np.rad2deg(
                Rotation.from_matrix(
                    cameras[name].cam_from_world.rotation @ nominal[name].cam_from_world.rotation.T
                ).magnitude()
            )
        )
        for name in known
    }
    return offset, turn


def _without_nominal(
    cameras: Mapping[str, PinholeCamera], nominal: Mapping[str, PinholeCamera], reference: str, known: Sequence[str]
) -> Alignment:
    """Fewer than two nominal poses: one camera, the reference if possible, takes the place it has or 950 mm away."""
    name = known[0] if known else reference
    if known:
        place = nominal[name].cam_from_world
    else:
        place = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 950.0]))
    world_from_rig = compose(place.inverse(), cameras[name].cam_from_world)
    moved = _moved(cameras, world_from_rig)
    warning = (
        f"the rig file gives {len(known)} camera poses: the world frame hangs on view {name} alone, and a wrong size "
        "of the board would not be noticed"
    )
    return Alignment(moved, world_from_rig, 1.0, *_deviations(moved, nominal, known), (warning,))
