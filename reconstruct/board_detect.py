"""Find the ChArUco board in one image: corner ids and sub-pixel places, or the reason why the view is of no use."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..capture.image_files import srgb_from_linear
from ..capture.rig_models import Targets
from ..capture.target_patterns import charuco_board

FEWEST_CORNERS = 12
"""A view with fewer says too little about its pose."""
FLAT_CONTRAST = 0.02
"""Share of the white level between dark and bright below which a picture shows nothing."""
BLUR_MODULES = 0.4
"""Width of an edge in modules of a marker (its smallest squares) from which a board counts as blurred."""
BLUR_RATIO = 2.0
"""Width of an edge against the median of the same camera's views from which a board counts as blurred."""
SHARP_PX = 3.0
"""Edges narrower than this are sharp however sharp the others are."""


@dataclass(frozen=True, eq=False)
class BoardView:
    """The board in one image. `ids` (N,) int rising, `corners_px` (N, 2) float64 (column, row), centres at integers.

    `edge_px`: width of a black-white edge in px, a measure of blur. `problem`: empty, or why the view is left out.
    """

    camera: str
    pose: int
    ids: NDArray[np.int64]
    corners_px: NDArray[np.float64]
    edge_px: float
    problem: str = ""

    @property
    def usable(self) -> bool:
        return not self.problem


def board_detector(targets: Targets) -> Any:
    """OpenCV's detector for the rig's board; not to be shared between threads."""
    return cv2.aruco.CharucoDetector(charuco_board(targets))


def detect_board(grey: np.ndarray, targets: Targets, camera: str = "", pose: int = 0) -> BoardView:
    """Look for the board in linear grey light (H, W).

    Never raises for a bad picture: the view then carries a `problem` in words.
    """
    low, high = (float(value) for value in np.percentile(grey[::4, ::4], [2, 98]))
    if high - low < FLAT_CONTRAST:
        return _nothing(camera, pose, "the image is black" if high < FLAT_CONTRAST else "the image shows nothing")
    scale = 1.0 / max(np.percentile(grey[::4, ::4], 99.5), FLAT_CONTRAST)
    encoded = np.ascontiguousarray(srgb_from_linear(np.asarray(grey, np.float32) * np.float32(scale)))
    corners, ids, marker_corners, marker_ids = board_detector(targets).detectBoard(encoded)
    markers = 0 if marker_ids is None else len(marker_ids)
    if markers == 0:
        return _nothing(camera, pose, "no marker of the board found: out of the picture, or blurred")
    edge_px = edge_width(grey, marker_corners)
    module_px = _marker_side(marker_corners) / (_modules(targets))
    order = np.argsort(np.ravel(ids)) if ids is not None else np.zeros(0, np.int64)
    found = np.ravel(ids)[order].astype(np.int64) if ids is not None else np.zeros(0, np.int64)
    places = np.reshape(corners, (-1, 2))[order].astype(np.float64) if ids is not None else np.zeros((0, 2))
    problem = ""
    if edge_px > max(BLUR_MODULES * module_px, SHARP_PX):
        problem = f"blurred: edges are {edge_px:.1f} px wide"
    elif len(found) < FEWEST_CORNERS:
        problem = f"only {len(found)} corners ({markers} markers) found, {FEWEST_CORNERS} needed"
    return BoardView(camera, pose, found, places, edge_px, problem)


def mark_blurred(views: list[BoardView]) -> list[BoardView]:
    """The views of one camera, those much less sharp than the rest marked."""
    widths = [view.edge_px for view in views if view.usable]
    if not widths:
        return views
    limit = max(BLUR_RATIO * float(np.median(widths)), SHARP_PX)
    return [
        view
        if not view.usable or view.edge_px <= limit
        else BoardView(
            view.camera,
            view.pose,
            view.ids,
            view.corners_px,
            view.edge_px,
            f"blurred: edges are {view.edge_px:.1f} px wide, {np.median(widths):.1f} px in the camera's other views",
        )
        for view in views
    ]


def edge_width(grey: np.ndarray, marker_corners: Any) -> float:
    """Width in px of the edges of the found markers: contrast over steepest slope, median over their sides.

    Each side is crossed from the marker's black frame outwards over its white margin, one module each way.
    """
    quads = np.array([np.reshape(quad, (4, 2)) for quad in marker_corners], np.float64)
    along = np.roll(quads, -1, axis=1) - quads
    middle = quads + along / 2
    length = np.linalg.norm(along, axis=2, keepdims=True)
    outward = np.stack([along[..., 1], -along[..., 0]], axis=2) / np.maximum(length, 1e-9)
    outward *= np.sign(np.sum(outward * (middle - quads.mean(axis=1, keepdims=True)), axis=2, keepdims=True))
    sides, beside = length.size, 5
    module = length.reshape(sides, 1, 1) / 7
    across = np.linspace(-1, 1, 41)[None, :, None] * module * outward.reshape(sides, 1, 2)
    offsets = np.linspace(-0.15, 0.15, beside)[:, None, None] * along.reshape(sides, 1, 1, 2)
    samples = (middle.reshape(sides, 1, 1, 2) + offsets + across[:, None]).astype(np.float32)
    flat = samples.reshape(sides * beside, -1, 2)
    image = np.asarray(grey, np.float32)
    columns, rows = (np.ascontiguousarray(flat[..., axis]) for axis in (0, 1))
    profiles = cv2.remap(image, columns, rows, cv2.INTER_LINEAR)
    profiles = profiles.reshape(sides, beside, -1).mean(axis=1)
    contrast = np.percentile(profiles, 95, axis=1) - np.percentile(profiles, 5, axis=1)
    slope = np.abs(np.diff(profiles, axis=1)).max(axis=1) / (module.ravel() / 20)
    good = contrast > FLAT_CONTRAST / 2
    return float(np.median(contrast[good] / np.maximum(slope[good], 1e-9))) if good.any() else float("inf")


def _marker_side(marker_corners: Any) -> float:
    quads = np.array([np.reshape(quad, (4, 2)) for quad in marker_corners], np.float64)
    return float(np.median(np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)))


def _modules(targets: Targets) -> int:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, targets.board_dictionary))
    return int(dictionary.markerSize) + 2


def _nothing(camera: str, pose: int, problem: str) -> BoardView:
    return BoardView(camera, pose, np.zeros(0, np.int64), np.zeros((0, 2)), float("inf"), problem)
