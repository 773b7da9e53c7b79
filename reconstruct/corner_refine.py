"""Place the board's corners by comparing the picture with a drawing of the board, as the calibrated camera sees it.

A corner detector looks at a few pixels around a corner and errs by 0.06 px, most where edges run along the pixel
rows. Here, all edges within half a square count: the drawing (exact pixel averages, targets_planar.py) is blurred as
the picture is, and each corner's neighbourhood is shifted and its brightness fitted until both agree. What remains is
the noise of the sensor, about 0.01 px.
"""

from dataclasses import replace

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rig_models import Targets
from ..capture.rigid import Array, RigidTransform
from ..capture.target_patterns import Pattern, board_corners_mm, board_pattern
from .board_detect import BoardView
from .targets_planar import planar_view

PAPER_MM = 5.0
REACH_SQUARES, LARGEST_REACH_PX, SMALLEST_REACH_PX = 0.45, 40, 3
"""Half the side of a corner's neighbourhood: part of a square's side as seen, and its limits."""
SMOOTHING_PX = 0.8
"""Both pictures are smoothed so much at least: shifts of a smooth picture follow its slope."""
BLURS_PX = (0.0, 0.5, 0.8, 1.1, 1.5, 2.0, 2.7, 3.6)
"""Blurs of the drawing that are tried."""
WORST_MISFIT = 0.25
"""Residual over contrast from which a neighbourhood shows something else: a finger, a reflection."""
FARTHEST_PX = 1.5


def refine_corners(
    grey: np.ndarray, view: BoardView, camera: PinholeCamera, cam_from_board: RigidTransform, targets: Targets
) -> BoardView:
    """The view with its corners placed anew; corners that do not look like the board's are dropped.

    Args:
        grey: linear light (H, W).
        camera: calibrated lens of the view; its pose is ignored.
        cam_from_board: where the board is, from the corners as detected; to about 1 px.

    Call it again with the calibration that follows from the result: offsets from the drawing then vanish.
    """
    places, _ = replace(camera, cam_from_world=cam_from_board).project(board_corners_mm(targets))
    window = _window(places, camera)
    if window is None:
        return view
    left, top, right, bottom = window
    local = replace(camera, cam_from_world=cam_from_board).cropped(left, top, right - left, bottom - top)
    pattern: Pattern = board_pattern(targets, PAPER_MM)
    drawing = planar_view(local, RigidTransform(np.eye(3), np.zeros(3)), pattern).reflectance[..., 1]
    picture = np.ascontiguousarray(np.asarray(grey, np.float32)[top:bottom, left:right])
    picture = cv2.GaussianBlur(picture, (0, 0), SMOOTHING_PX)
    drawing = _as_blurred(drawing, picture)
    reach = _reach(places, targets)
    slope_x, slope_y = (cv2.Sobel(drawing, cv2.CV_32F, dx, dy, ksize=1) / 2 for dx, dy in ((1, 0), (0, 1)))
    ids, corners = [], []
    for number in view.ids:
        offset = _offset(picture, drawing, slope_x, slope_y, places[number] - [left, top], reach)
        if offset is not None:
            ids.append(number)
            corners.append(places[number] + offset)
    return replace(view, ids=np.array(ids, np.int64), corners_px=np.array(corners, np.float64).reshape(-1, 2))


def _window(places: Array, camera: PinholeCamera) -> tuple[int, int, int, int] | None:
    """The part of the picture that holds the board: left, top, right, bottom."""
    if not np.isfinite(places).all():
        return None
    margin = LARGEST_REACH_PX + 4
    left, top = np.maximum(np.floor(places.min(axis=0)).astype(int) - margin, 0)
    right = min(int(np.ceil(places[:, 0].max())) + margin, camera.width_px)
    bottom = min(int(np.ceil(places[:, 1].max())) + margin, camera.height_px)
    return (int(left), int(top), right, bottom) if right - left > 8 and bottom - top > 8 else None


def _reach(places: Array, targets: Targets) -> int:
    """Half the side of a neighbourhood in px, from the shortest side of a square as seen."""
    across, down = targets.board_squares[0] - 1, targets.board_squares[1] - 1
    grid = places.reshape(down, across, 2)
    sides = [np.linalg.norm(np.diff(grid, axis=axis), axis=2).min() for axis in (0, 1)]
    return int(np.clip(REACH_SQUARES * min(sides), SMALLEST_REACH_PX, LARGEST_REACH_PX))


def _as_blurred(drawing: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The drawing with the blur under which it resembles the picture most."""
    inside = np.flatnonzero(drawing)[::7]
    seen = picture.ravel()[inside]

    def blurred(sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(drawing, (0, 0), float(np.hypot(sigma, SMOOTHING_PX)))

    def likeness(sigma: float) -> float:
        return float(np.corrcoef(blurred(sigma).ravel()[inside], seen)[0, 1])

    return blurred(max(BLURS_PX, key=likeness))


def _offset(
    picture: np.ndarray, drawing: np.ndarray, slope_x: np.ndarray, slope_y: np.ndarray, place: Array, reach: int
) -> Array | None:
    """By how much (2,) px the picture is shifted against the drawing around a place; None when they do not fit."""
    column, row = (round(float(value)) for value in place)
    if min(column, row) < reach or column + reach >= drawing.shape[1] or row + reach >= drawing.shape[0]:
        return None
    part = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
    steps = np.arange(-reach, reach + 1, dtype=np.float64) / reach
    drawn = drawing[part].astype(np.float64)
    # brightness may change across the neighbourhood: gain with a slope in both directions, and an offset
    gains = np.stack([drawn, drawn * steps, drawn * steps[:, None], np.ones_like(drawn)]).reshape(4, -1)
    seen = picture[part].ravel().astype(np.float64)
    light = np.linalg.lstsq(gains @ gains.T, gains @ seen, rcond=None)[0]
    gain = (light[0] + light[1] * steps + light[2] * steps[:, None]).ravel()
    terms = np.concatenate([gains, [-gain * slope_x[part].ravel(), -gain * slope_y[part].ravel()]])
    solution = np.linalg.lstsq(terms @ terms.T, terms @ seen, rcond=None)[0]
    misfit = seen - solution @ terms
    contrast = float(light[0] * np.ptp(drawn))
    offset = np.asarray(solution[4:], np.float64)
    if contrast <= 0 or np.sqrt((misfit**2).mean()) > WORST_MISFIT * contrast or np.abs(offset).max() > FARTHEST_PX:
        return None
    return offset
