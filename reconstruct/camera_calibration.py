"""Calibrate one camera from its board views: focal lengths, principal point, distortion, and the board's poses.

This is the start for the joint adjustment of the rig (rig_bundle.py), and the place where single bad views show.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rig_models import Pose, RigCamera, Targets
from ..capture.rigid import Array, RigidTransform
from ..capture.target_patterns import board_corners_mm
from .board_detect import FEWEST_CORNERS, BoardView

FEWEST_VIEWS = 5
"""Placements of the board that one camera needs; fewer leave focal length and distance apart by guess only."""
BAD_VIEW_RATIO, BAD_VIEW_PX = 3.0, 0.3
"""A view is left out when its residual exceeds the median of the views by this ratio, and this many px."""
OUTLIER_PX = 5.0
"""Single corners this far off belong to no board."""
HOPELESS_PX = 3.0
"""Residual of a whole camera from which the corners cannot be those of the board that the rig file describes."""


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """One camera: `camera` (with distortion, in its own frame), and per placement `cam_from_board` and residuals.

    Board frame: origin in its middle, x right, y down, z into it. `residuals_px` (N, 2) = found - predicted, in the
    order of `views[pose].ids`.
    """

    camera: PinholeCamera
    views: dict[int, BoardView]
    cam_from_board: dict[int, RigidTransform]
    residuals_px: dict[int, Array]
    dropped: dict[int, str]

    @property
    def rms_px(self) -> float:
        """Root mean square length of the residuals."""
        every = np.concatenate(list(self.residuals_px.values()))
        return float(np.sqrt((every**2).sum(axis=1).mean()))


def nominal_camera(camera: RigCamera, size_px: tuple[int, int]) -> PinholeCamera:
    """The camera as the rig file describes it at this image size; one that is "uncalibrated" stands in the origin."""
    if camera.pose is not None:
        return PinholeCamera.from_rig(camera).scaled(*size_px)
    posed = camera.model_copy(update={"pose": Pose(position_mm=(0.0, 0.0, 1000.0))})
    return replace(
        PinholeCamera.from_rig(posed).scaled(*size_px), cam_from_world=RigidTransform(np.eye(3), np.zeros(3))
    )


def calibrate_camera(
    name: str, views: list[BoardView], nominal: PinholeCamera, targets: Targets, tangential: bool = False
) -> CameraCalibration:
    """Calibrate from the usable views of one camera; k3 is zero, so are p1 and p2 unless `tangential`.

    `nominal` gives image size and the first guess of the lens. Raises UserError naming the view when there are too few
    views, or when the corners do not fit the board.
    """
    usable = {view.pose: view for view in views if view.usable}
    dropped = {view.pose: view.problem for view in views if not view.usable}
    for _ in range(3):
        if len(usable) < FEWEST_VIEWS:
            reasons = "; ".join(f"placement {pose}: {why}" for pose, why in sorted(dropped.items())[:4])
            raise UserError(
                f"view {name}: the board is usable in {len(usable)} of {len(views)} placements, {FEWEST_VIEWS} are "
                f"needed{f' ({reasons})' if reasons else ''}; shoot the board again, sharp and inside of this view"
            )
        made = _calibrate(usable, nominal, targets, tangential)
        bad = _bad_views(made)
        if not bad:
            break
        usable = {pose: view for pose, view in usable.items() if pose not in bad}
        dropped |= bad
    made = replace(made, dropped=dropped)
    if made.rms_px > HOPELESS_PX:
        across, down = targets.board_squares
        raise UserError(
            f"view {name}: corners miss the board by {made.rms_px:.1f} px; the board in the pictures is not "
            f"{across} x {down} squares of {targets.board_dictionary} with markers of "
            f"{targets.board_marker_mm / targets.board_square_mm:.2f} of a square: correct [targets] in the rig file"
        )
    return made


def board_pose(camera: PinholeCamera, view: BoardView, targets: Targets) -> RigidTransform | None:
    """cam_from_board of one view by a calibrated camera; None when no pose fits."""
    points = board_corners_mm(targets)[view.ids]
    done, turn, shift = cv2.solvePnP(points, view.corners_px, camera.matrix_px, np.array(camera.distortion))
    return _pose(turn, shift) if done else None


def _calibrate(
    views: dict[int, BoardView], nominal: PinholeCamera, targets: Targets, tangential: bool
) -> CameraCalibration:
    corners = board_corners_mm(targets)
    points = [corners[view.ids].astype(np.float32) for view in views.values()]
    pixels = [view.corners_px.astype(np.float32) for view in views.values()]
    flags = cv2.CALIB_FIX_K3 | cv2.CALIB_USE_INTRINSIC_GUESS | (0 if tangential else cv2.CALIB_ZERO_TANGENT_DIST)
    _, matrix, lens, turns, shifts = cv2.calibrateCamera(
        points, pixels, (nominal.width_px, nominal.height_px), nominal.matrix_px, np.zeros(5), flags=flags
    )
    k1, k2, p1, p2 = (float(value) for value in np.ravel(lens)[:4])
    camera = replace(
        nominal,
        fx_px=float(matrix[0, 0]),
        fy_px=float(matrix[1, 1]),
        cx_px=float(matrix[0, 2]),
        cy_px=float(matrix[1, 2]),
        distortion=(k1, k2, p1, p2),
        cam_from_world=RigidTransform(np.eye(3), np.zeros(3)),
    )
    poses = {pose: _pose(turn, shift) for pose, turn, shift in zip(views, turns, shifts, strict=True)}
    kept, residuals = {}, {}
    for pose, view in views.items():
        residual = view.corners_px - camera.project(poses[pose].apply(corners[view.ids]))[0]
        near = np.linalg.norm(residual, axis=1) < max(OUTLIER_PX, 4 * float(np.median(np.abs(residual))))
        kept[pose] = replace(view, ids=view.ids[near], corners_px=view.corners_px[near])
        residuals[pose] = residual[near]
    return CameraCalibration(camera, kept, poses, residuals, {})


def _bad_views(made: CameraCalibration) -> dict[int, str]:
    rms = {pose: _rms(residual) for pose, residual in made.residuals_px.items()}
    median = float(np.median(list(rms.values())))
    bad = {
        pose: f"its corners are {value:.2f} px off, {median:.2f} px in the other views (moved or bent board?)"
        for pose, value in rms.items()
        if value > max(BAD_VIEW_RATIO * median, median + BAD_VIEW_PX)
    }
    few = {
        pose: f"only {len(view.ids)} corners fit the board"
        for pose, view in made.views.items()
        if len(view.ids) < FEWEST_CORNERS
    }
    return few | bad


def _rms(residual: Array) -> float:
    return float(np.sqrt((residual**2).sum(axis=1).mean())) if len(residual) else float("inf")


def _pose(turn: Any, shift: Any) -> RigidTransform:
    return RigidTransform(
        _rotation(np.asarray(cv2.Rodrigues(np.asarray(turn))[0])), np.asarray(shift, np.float64).ravel()
    )


def _rotation(matrix: np.ndarray) -> Array:
    """The rotation nearest to a nearly orthonormal matrix."""
    u, _, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    return np.asarray(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt, np.float64)
