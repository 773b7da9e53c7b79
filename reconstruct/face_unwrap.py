"""Texture layout of the procedural head: cylinder-like skin chart, cut at the back, and two eyeball discs below it.

The skin chart is a weighted barycentric (Tutte) embedding of the half head into half a rectangle. Its weights are
positive and its border convex, so no two triangles overlap; lid rims and mouth bag open up inside the chart.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix, diags

from .face_grid import (
    BAG_RINGS,
    COLUMN_CHEEK,
    COLUMN_EAR,
    COLUMNS,
    LID_RINGS,
    MOUTH_CORNER,
    ROW_GLABELLA,
    ROW_HAIRLINE,
    ROW_MENTON,
    ROW_NECK,
    ROWS,
    HalfGrid,
    half_grid,
    mirrored,
)
from .face_wrap import symmetric_lu

SKIN_LOW, SKIN_HIGH = 0.13, 0.999
"""Range of v covered by skin; eyeballs lie below."""
SKIN_LEFT, SKIN_RIGHT = 0.001, 0.999
EYEBALL_DISC_RADIUS = 0.058
EYEBALL_DISC_CENTRES = ((0.25, 0.064), (0.10, 0.064))
"""Disc centres (u, v) of the subject's left and right eyeball."""


@dataclass(frozen=True, slots=True)
class Unwrap:
    """Texture coordinates of the whole skin: one per vertex, then duplicates for the back seam and the crown."""

    uv: np.ndarray
    """(U, 2)."""
    triangles: np.ndarray
    """(T, 3) into `uv`, beside the whole-head triangles."""


def unwrap_skin(half_mm: np.ndarray) -> Unwrap:
    """Unwraps the head whose left half is `half_mm` (count, 3)."""
    grid, mirror = half_grid(), mirrored()
    half_uv = _half_chart(grid, half_mm)
    mirrored_uv = half_uv * [-1.0, 1.0] + [SKIN_LEFT + SKIN_RIGHT, 0.0]
    uv = np.where((mirror.sign > 0)[:, None], half_uv[mirror.half], mirrored_uv[mirror.half])
    corners = mirror.triangles.copy()
    # The right half meets the back midline at u = SKIN_LEFT: its own copies of those vertices.
    seam = np.flatnonzero(grid.back_seam)
    copy_of = np.arange(len(uv))
    copy_of[seam] = len(uv) + np.arange(len(seam))
    corners[len(corners) // 2 :] = copy_of[corners[len(corners) // 2 :]]
    uv = np.concatenate([uv, mirrored_uv[seam]])
    # The crown is one vertex but a whole edge of the chart: each of its triangles gets its own point there.
    crown = grid.cap[-1][0]
    rows, slot = np.nonzero(mirror.triangles == crown)
    base = [corners[rows, (slot + k) % 3] for k in (1, 2)]
    tops = np.stack([0.5 * (uv[base[0], 0] + uv[base[1], 0]), np.full(len(rows), SKIN_HIGH)], -1)
    corners[rows, slot] = len(uv) + np.arange(len(rows))
    return Unwrap(np.concatenate([uv, tops]), corners)


def _half_chart(grid: HalfGrid, points: np.ndarray) -> np.ndarray:
    """Chart (count, 2) of the left half in [0.5, SKIN_RIGHT] x [SKIN_LOW, SKIN_HIGH]."""
    wide, high = _spacing(grid, points)
    across = 0.5 * (SKIN_LEFT + SKIN_RIGHT) + 0.5 * (SKIN_RIGHT - SKIN_LEFT) * _running(wide)
    # The cap's three rings and the crown take the first steps of v.
    steps = _running(np.concatenate([np.full(4, 2.2 * high[0]), high]))
    down = SKIN_HIGH - (SKIN_HIGH - SKIN_LOW) * steps
    uv = np.zeros((grid.count, 2))
    for k, (ring, step) in enumerate(zip(grid.cap[:-1], (2, 4, 8), strict=True)):
        uv[ring] = np.stack([across[::step], np.full(len(ring), down[3 - k])], -1)
    uv[grid.cap[-1]] = across[0], down[0]
    down = down[4:]

    first, second, weight = _springs(grid, wide, high)
    n = grid.count + 1
    links = csr_matrix((weight, (first, second)), shape=(n, n))
    links = links + links.T
    laplace = (diags(np.asarray(links.sum(1)).ravel()) - links).tocsc()
    cap = np.concatenate(grid.cap)
    frame = np.unique(np.concatenate([grid.upper[0], grid.upper[-1], grid.upper[:, -1], cap]))
    uv[grid.upper[0]] = np.stack([across, np.full(COLUMNS + 1, down[0])], -1)
    uv[grid.upper[-1]] = np.stack([across, np.full(COLUMNS + 1, down[-1])], -1)
    uv[grid.upper[:, -1]] = np.stack([np.full(ROWS, across[-1]), down], -1)
    middle = np.flatnonzero(grid.midplane & ~grid.back_seam)
    uv[middle, 0] = across[0]
    for axis, held in ((0, np.union1d(frame, middle)), (1, frame)):
        free = np.setdiff1d(np.arange(n), held)
        load = -(laplace[free][:, held] @ uv[held, axis])
        solved = symmetric_lu(laplace[free][:, free]).solve(load)
        uv[free[:-1], axis] = solved[:-1]
    return uv


def _running(steps: np.ndarray) -> np.ndarray:
    """Cumulated steps from 0 to 1."""
    return np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()


def _spacing(grid: HalfGrid, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chart steps between columns (COLUMNS,) and rows (ROWS - 1,): mean lengths, less for hair, neck and back."""
    p = points[grid.upper]
    across = np.linalg.norm(np.diff(p[ROW_GLABELLA - 15 : ROW_MENTON], axis=1), axis=-1).mean(0)
    # The median passes over eye and mouth, whose openings are not part of the skin's own length.
    down = np.median(np.linalg.norm(p[1:, :90] - points[grid.lower[:-1, :90]], axis=-1), axis=1)
    down = gaussian_filter1d(down, 1.5, mode="nearest")
    share_across = PchipInterpolator((0, COLUMN_CHEEK, COLUMN_EAR, COLUMNS), (1.0, 0.95, 0.55, 0.35))(
        np.arange(COLUMNS) + 0.5
    )
    share_down = PchipInterpolator(
        (0, ROW_HAIRLINE, ROW_GLABELLA, ROW_MENTON, ROW_NECK, ROWS), (0.4, 0.6, 1.0, 0.95, 0.5, 0.4)
    )(np.arange(ROWS - 1) + 0.5)
    return across * share_across, down * share_down


def _springs(grid: HalfGrid, wide: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (first, second) and stiffness: the inverse of the wished chart step. Vertex `count` closes the eye hole."""
    u, w = grid.upper, grid.lower
    a, b, s = [], [], []

    def tie(first: np.ndarray, second: np.ndarray, step: np.ndarray | float) -> None:
        first, second, step = np.broadcast_arrays(first, second, step)
        a.append(first.ravel())
        b.append(second.ravel())
        s.append(1.0 / np.asarray(step, float).ravel())

    # Along a row the stiffness also scales with the row's height, as in a sheet of cloth.
    tie(u[:, :-1], u[:, 1:], wide[None, :] * np.ones((ROWS, 1)))
    tie(w[:-1], u[1:], high[:, None] * np.ones((1, COLUMNS + 1)))
    split = w != u
    row, column = np.nonzero(split[:, :-1] | split[:, 1:])
    tie(w[row, column], w[row, column + 1], wide[column])
    loop = grid.lid
    tie(loop[1:], np.roll(loop[1:], -1, 1), 8.0)
    tie(loop[:-1], loop[1:], 0.6)
    tie(loop[LID_RINGS], np.array(grid.count), 3.0)
    for bag in (grid.bag_upper, grid.bag_lower):
        tie(bag[1:, :-1], bag[1:, 1:], 4.0 * wide[:MOUTH_CORNER])
        tie(bag[:-1], bag[1:], np.linspace(0.8, 0.7, BAG_RINGS)[:, None])
    return np.concatenate(a), np.concatenate(b), np.concatenate(s)


def unwrap_eyeball(polar_rad: np.ndarray, turn_rad: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Disc chart (..., 2): pole of gaze in the middle, the iris enlarged, the back of the ball at the rim."""
    radius = EYEBALL_DISC_RADIUS * (polar_rad / np.pi) ** 0.7
    return np.stack([centre[0] + radius * np.cos(turn_rad), centre[1] + radius * np.sin(turn_rad)], -1)
