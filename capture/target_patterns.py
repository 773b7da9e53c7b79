"""Flat calibration targets as patterns: rectangles on an uneven grid, each with a reflectance.

Board, chart and card are all of that kind, so one small data structure serves printing, rendering and truth.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .rig_models import Targets
from .rigid import Array

PAPER, INK = 0.85, 0.04
"""Diffuse reflectance of white paper and of printed black."""
CARD = 0.6
"""Diffuse reflectance of the matt card."""
CHART_FRAME = 0.03

# The classic 24-patch chart: name and sRGB (D65, 8 bit) as its maker publishes them; rows from brown to black.
CLASSIC24 = (
    ("dark skin", (115, 82, 68)), ("light skin", (194, 150, 130)), ("blue sky", (98, 122, 157)),
    ("foliage", (87, 108, 67)), ("blue flower", (133, 128, 177)), ("bluish green", (103, 189, 170)),
    ("orange", (214, 126, 44)), ("purplish blue", (80, 91, 166)), ("moderate red", (193, 90, 99)),
    ("purple", (94, 60, 108)), ("yellow green", (157, 188, 64)), ("orange yellow", (224, 163, 46)),
    ("blue", (56, 61, 150)), ("green", (70, 148, 73)), ("red", (175, 54, 60)), ("yellow", (231, 199, 31)),
    ("magenta", (187, 86, 149)), ("cyan", (8, 133, 161)), ("white", (243, 243, 242)),
    ("neutral 8", (200, 200, 200)), ("neutral 6.5", (160, 160, 160)), ("neutral 5", (122, 122, 121)),
    ("neutral 3.5", (85, 85, 85)), ("black", (52, 52, 52)),
)  # fmt: skip
CHART_COLUMNS = 6


@dataclass(frozen=True, eq=False)
class Pattern:
    """Cell (row, column) spans x_edges_mm[column : column + 2] and y_edges_mm[row : row + 2]; x right, y down.

    The origin is the middle of the target; edges rise. `cells` (rows, columns) holds indices into `reflectance`
    (n, 3), linear RGB, 0 to 1.
    """

    x_edges_mm: Array
    y_edges_mm: Array
    cells: np.ndarray
    reflectance: Array

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        return float(np.ptp(self.x_edges_mm)), float(np.ptp(self.y_edges_mm))


def charuco_board(targets: Targets) -> Any:
    """OpenCV's description of the board, for `cv2.aruco.CharucoDetector`. Its frame starts at the top left corner."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, targets.board_dictionary))
    return cv2.aruco.CharucoBoard(targets.board_squares, targets.board_square_mm, targets.board_marker_mm, dictionary)


def board_corners_mm(targets: Targets) -> Array:
    """Inner corners of the squares (N, 3) in the pattern's frame (origin in the middle), in the order of their ids."""
    corner = [side * targets.board_square_mm / 2 for side in targets.board_squares]
    return np.asarray(charuco_board(targets).getChessboardCorners(), np.float64) - [*corner, 0.0]


def board_pattern(targets: Targets, paper_mm: float = 0.0) -> Pattern:
    """The ChArUco board, as OpenCV 4.6 and later detect it: the square at the top left is black.

    With `paper_mm` it lies on white paper that is so much larger on every side.
    """
    across, down = targets.board_squares
    square, marker = targets.board_square_mm, targets.board_marker_mm
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, targets.board_dictionary))
    modules = int(dictionary.markerSize) + 2  # with the black frame
    margin = (square - marker) / 2
    inside = np.concatenate([[0.0], margin + marker * np.arange(modules + 1) / modules])
    width = len(inside)

    def edges(count: int) -> Array:
        return np.append((square * np.arange(count)[:, None] + inside).ravel(), count * square) - count * square / 2

    cells = np.ones((down * width, across * width), np.int64)
    number = 0
    for row in range(down):
        for column in range(across):
            part = cells[row * width : (row + 1) * width, column * width : (column + 1) * width]
            if (row + column) % 2 == 0:
                part[:] = 0
            else:
                bits = cv2.aruco.generateImageMarker(dictionary, number, modules)
                part[1 : 1 + modules, 1 : 1 + modules] = bits > 127
                number += 1
    x, y = edges(across), edges(down)
    if paper_mm > 0:
        x, y = (np.array([side[0] - paper_mm, *side, side[-1] + paper_mm]) for side in (x, y))
        cells = np.pad(cells, 1, constant_values=1)
    return Pattern(x, y, cells, np.array([[INK] * 3, [PAPER] * 3]))


def card_pattern(targets: Targets) -> Pattern:
    """The matt card: one cell."""
    x, y = (np.array([-side / 2, side / 2]) for side in targets.flat_mm)
    return Pattern(x, y, np.zeros((1, 1), np.int64), np.full((1, 3), CARD))


def chart_pattern(targets: Targets) -> Pattern:
    """The colour chart: cell value k is patch k (row by row), the last value is the black frame."""
    patch, gap = targets.chart_patch_mm, targets.chart_gap_mm
    colours = linear_from_srgb(np.array([colour for _, colour in CLASSIC24]) / 255)
    rows, frame = len(colours) // CHART_COLUMNS, len(colours)

    def edges(count: int) -> Array:
        steps = np.cumsum([0.0, gap, *[patch, gap] * count])
        return steps - steps[-1] / 2

    cells = np.full((2 * rows + 1, 2 * CHART_COLUMNS + 1), frame, np.int64)
    cells[1::2, 1::2] = np.arange(frame).reshape(rows, CHART_COLUMNS)
    return Pattern(edges(CHART_COLUMNS), edges(rows), cells, np.vstack([colours, [CHART_FRAME] * 3]))


def patch_centres_mm(targets: Targets) -> Array:
    """Middles (24, 3) of the chart's patches in the pattern's frame."""
    pattern = chart_pattern(targets)
    x, y = (edges[1:-1:2] + targets.chart_patch_mm / 2 for edges in (pattern.x_edges_mm, pattern.y_edges_mm))
    columns, rows = np.meshgrid(x, y)
    return np.stack([columns.ravel(), rows.ravel(), np.zeros(columns.size)], axis=1)


def linear_from_srgb(encoded: Array) -> Array:
    """Linear values of sRGB-encoded ones, both 0 to 1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
