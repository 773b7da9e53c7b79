"""Adjust all cameras of the rig and all placements of the board together; the board's corners give scale and frame.

Start: each camera by itself (camera_calibration.py). The relative poses are averaged over the placements that two
cameras share. Then COLMAP's bundle adjustment with the corners as constant points, in a process of its own
(rig_bundle_worker.py). Residuals are computed here, by the project's own camera, so the adapter is checked each time.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import Array, RigidTransform
from .camera_calibration import CameraCalibration

FEWEST_SHARED = 3
"""Placements that a camera must share with the others to be tied to them."""
OUTLIER_SIGMAS, OUTLIER_PX = 6.0, 0.05
"""Corners further off than this many robust standard deviations, and this many px, are left out of a second round."""
WORKER_TIMEOUT_S = 600


@dataclass(frozen=True, eq=False)
class Observations:
    """Corners seen: index of camera, placement (its number, not an index) and corner id (N,), pixels (N, 2)."""

    camera: np.ndarray
    pose: np.ndarray
    corner: np.ndarray
    pixels: Array

    def chosen(self, mask: np.ndarray) -> "Observations":
        return Observations(self.camera[mask], self.pose[mask], self.corner[mask], self.pixels[mask])


@dataclass(frozen=True, eq=False)
class RigBundle:
    """Adjusted rig. `cameras` have their pose in the reference camera's frame (cam_from_world = camera from centre).

    `reference_from_board`: per placement. `residuals_px` (N, 2) = found - predicted, in the order of `observations`,
    which are those that were used; `outliers` says how many were not.
    """

    names: tuple[str, ...]
    cameras: dict[str, PinholeCamera]
    reference_from_board: dict[int, RigidTransform]
    observations: Observations
    residuals_px: Array
    outliers: int

    def rms_px(self, camera: str | None = None) -> float:
        """Root mean square length of the residuals, of one camera or of all."""
        chosen = self.residuals_px
        if camera is not None:
            chosen = chosen[self.observations.camera == self.names.index(camera)]
        return float(np.sqrt((chosen**2).sum(axis=1).mean())) if len(chosen) else float("nan")


def observations_of(calibrations: Mapping[str, CameraCalibration], names: Sequence[str]) -> Observations:
    """All corners of the views that single-camera calibration kept."""
    camera, pose, corner, pixels = [], [], [], []
    for index, name in enumerate(names):
        for number, view in calibrations[name].views.items():
            camera.append(np.full(len(view.ids), index))
            pose.append(np.full(len(view.ids), number))
            corner.append(view.ids)
            pixels.append(view.corners_px)
    return Observations(*(np.concatenate(part) for part in (camera, pose, corner, pixels)))


def adjust_rig(
    calibrations: Mapping[str, CameraCalibration],
    reference: str,
    points_mm: Array,
    without: Sequence[int] = (),
    model_folder: Path | None = None,
) -> RigBundle:
    """Joint adjustment; `points_mm` (P, 3) are the board's corners by id.

    Args:
        reference: the camera that defines the frame of the result.
        without: placements to hold out.
        model_folder: where COLMAP's own files of the adjusted model go, all placements and corners in them.

    Raises UserError naming a view that shares too few placements with the others, or when COLMAP fails.
    """
    names = (reference, *(name for name in calibrations if name != reference))
    seen = observations_of(calibrations, names)
    seen = seen.chosen(~np.isin(seen.pose, list(without)))
    from_reference = relative_poses(calibrations, names, without)
    cameras = {name: replace(calibrations[name].camera, cam_from_world=from_reference[name]) for name in names}
    boards = {int(pose): _board_start(calibrations, from_reference, names, int(pose)) for pose in np.unique(seen.pose)}
    bundle = _adjusted(RigBundle(names, cameras, boards, seen, np.zeros((0, 2)), 0), points_mm, model_folder)
    length = np.linalg.norm(bundle.residuals_px, axis=1)
    limit = np.empty(len(length))
    for index in range(len(names)):
        of_camera = seen.camera == index
        limit[of_camera] = max(OUTLIER_SIGMAS * 1.2 * float(np.median(length[of_camera])), OUTLIER_PX)
    if (length > limit).any():
        again = replace(bundle, observations=seen.chosen(length <= limit), outliers=int((length > limit).sum()))
        bundle = _adjusted(again, points_mm, model_folder)
    return bundle


def relative_poses(
    calibrations: Mapping[str, CameraCalibration], names: Sequence[str], without: Sequence[int] = ()
) -> dict[str, RigidTransform]:
    """camera from reference (the first name): mean over shared placements, along chains where needed."""
    known = {names[0]: RigidTransform(np.eye(3), np.zeros(3))}
    waiting = list(names[1:])
    while waiting:
        ties = {
            (name, via): sorted(
                set(calibrations[name].cam_from_board) & set(calibrations[via].cam_from_board) - set(without)
            )
            for name in waiting
            for via in known
        }
        (name, via), shared = max(ties.items(), key=lambda tie: len(tie[1]))
        if len(shared) < FEWEST_SHARED:
            raise UserError(
                f"view {name}: shares {len(shared)} placements of the board with the other views, {FEWEST_SHARED} are "
                "needed; hold the board where this camera and the centre camera both see it"
            )
        a, b = calibrations[name].cam_from_board, calibrations[via].cam_from_board
        turns = sum(a[pose].rotation @ b[pose].rotation.T for pose in shared)
        u, _, vt = np.linalg.svd(np.asarray(turns))
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        shift = np.median([a[pose].translation_mm - rotation @ b[pose].translation_mm for pose in shared], axis=0)
        known[name] = compose(RigidTransform(rotation, shift), known[via])
        waiting.remove(name)
    return known


def compose(second: RigidTransform, first: RigidTransform) -> RigidTransform:
    """The motion `first`, then `second`; re-orthonormalised."""
    u, _, vt = np.linalg.svd(second.rotation @ first.rotation)
    return RigidTransform(u @ vt, second.rotation @ first.translation_mm + second.translation_mm)


def write_rig_model(cameras: Mapping[str, PinholeCamera], reference: str, folder: Path) -> None:
    """Write calibrated cameras (world frame) as a COLMAP rig with one frame, binary and text, one image per camera."""
    names = (reference, *(name for name in cameras if name != reference))
    origin = cameras[reference].cam_from_world
    local = {n: replace(cameras[n], cam_from_world=compose(cameras[n].cam_from_world, origin.inverse())) for n in names}
    nothing = np.zeros(0, np.int64)
    empty = Observations(nothing, nothing, nothing, np.zeros((0, 2)))
    problem = _problem(RigBundle(names, local, {0: origin}, empty, np.zeros((0, 2)), 0), np.zeros((0, 3)))
    problem["frame_names"] = np.array(["calibration.tif"])
    with tempfile.TemporaryDirectory() as work:
        np.savez(f"{work}/in.npz", **problem)  # type: ignore[arg-type]
        _run(["model", f"{work}/in.npz", str(folder)])


def _board_start(
    calibrations: Mapping[str, CameraCalibration],
    from_reference: Mapping[str, RigidTransform],
    names: Sequence[str],
    pose: int,
) -> RigidTransform:
    """reference_from_board by the first camera (the reference, if it can) that sees the placement."""
    name = next(n for n in names if pose in calibrations[n].cam_from_board)
    return compose(from_reference[name].inverse(), calibrations[name].cam_from_board[pose])


def _adjusted(start: RigBundle, points_mm: Array, model_folder: Path | None) -> RigBundle:
    poses = list(start.reference_from_board)
    with tempfile.TemporaryDirectory() as work:
        np.savez(f"{work}/in.npz", **_problem(start, points_mm))  # type: ignore[arg-type]
        _run(["bundle", f"{work}/in.npz", f"{work}/out.npz", str(model_folder or f"{work}/model")])
        with np.load(f"{work}/out.npz") as content:
            out = dict(content)
    cameras = {}
    for index, name in enumerate(start.names):
        fx, fy, cx, cy, *lens = (float(value) for value in out["params"][index])
        k1, k2, p1, p2 = lens
        cameras[name] = replace(
            start.cameras[name],
            fx_px=fx,
            fy_px=fy,
            cx_px=cx,
            cy_px=cy,
            distortion=(k1, k2, p1, p2),
            cam_from_world=RigidTransform(out["sensor_rotation"][index], out["sensor_shift"][index]),
        )
    boards = {pose: RigidTransform(out["frame_rotation"][k], out["frame_shift"][k]) for k, pose in enumerate(poses)}
    adjusted = replace(start, cameras=cameras, reference_from_board=boards)
    return replace(adjusted, residuals_px=residuals_px(adjusted, points_mm))


def residuals_px(bundle: RigBundle, points_mm: Array) -> Array:
    """found - predicted (N, 2) of a bundle's observations."""
    seen = bundle.observations
    residual = np.full((len(seen.camera), 2), np.nan)
    for index, name in enumerate(bundle.names):
        for pose, reference_from_board in bundle.reference_from_board.items():
            chosen = (seen.camera == index) & (seen.pose == pose)
            if chosen.any():
                at = reference_from_board.apply(points_mm[seen.corner[chosen]])
                residual[chosen] = seen.pixels[chosen] - bundle.cameras[name].project(at)[0]
    return residual


def _problem(bundle: RigBundle, points_mm: Array) -> dict[str, np.ndarray]:
    cameras, seen = [bundle.cameras[name] for name in bundle.names], bundle.observations
    poses = list(bundle.reference_from_board)
    place = {pose: index for index, pose in enumerate(poses)}
    frames = list(bundle.reference_from_board.values())
    return {
        "names": np.array(bundle.names),
        "sizes": np.array([[c.width_px, c.height_px] for c in cameras]),
        "params": np.array([[c.fx_px, c.fy_px, c.cx_px, c.cy_px, *c.distortion] for c in cameras]),
        "sensor_rotation": np.array([c.cam_from_world.rotation for c in cameras]),
        "sensor_shift": np.array([c.cam_from_world.translation_mm for c in cameras]),
        "frame_rotation": np.array([frame.rotation for frame in frames]),
        "frame_shift": np.array([frame.translation_mm for frame in frames]),
        "frame_names": np.array([f"board{pose:03d}.tif" for pose in poses]),
        "points": np.asarray(points_mm, np.float64),
        "camera": seen.camera,
        "frame": np.array([place[int(pose)] for pose in seen.pose], np.int64),
        "point": seen.corner,
        "pixels": seen.pixels,
    }


def _run(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "mesoface.reconstruct.rig_bundle_worker", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WORKER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"joint adjustment of the rig took longer than {WORKER_TIMEOUT_S} s; use fewer takes") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"joint adjustment of the rig failed (exit code {done.returncode}: {last}); `mesoface doctor` checks "
            "whether pycolmap works, else look at the single views in the report"
        )
