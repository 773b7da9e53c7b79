"""Tools for displacement fields on the left half head: patches, the mouth split, lids that ride on the eyeball.

All positions and offsets are millimetres in the sculpting frame; `Frame` holds what every field needs of the mean.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .face_contours import EYE_CENTRE_MM, MOUTH_HALF_MM, lip_line_y_mm
from .face_grid import EYE_INNER, EYE_OUTER, ROW_EYE, half_grid
from .face_primitives import ease
from .face_wrap import lid_rim_mm, mean_half_mm

LID_SHELL_MM = (16.6, 13.9, 13.9)
"""Radii of the ellipsoid about the eyeball on which the lids glide."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates of the half head and the two splits of its skin."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    lower_lip: np.ndarray
    """(count,) 0 above the mouth, 1 below, 0.5 at the corner and outwards of it; jumps across the closed lips."""
    lid_column: np.ndarray
    """(count,) position along the lid margin (0 inner, 1 outer corner), -1 elsewhere."""
    lid_height_mm: np.ndarray
    """(count,) distance in y above (+) or below (-) the lid margin of the same column; far off elsewhere."""

    def patch(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        """Gaussian weight exp(-r^2) about `centre`."""
        gap = [((c - c0) / r) ** 2 for c, c0, r in zip((self.x, self.y, self.z), centre, radii, strict=True)]
        return np.exp(-(gap[0] + gap[1] + gap[2]))

    def offset(
        self, dx: np.ndarray | float = 0.0, dy: np.ndarray | float = 0.0, dz: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Stacks three components into (count, 3)."""
        return np.stack([np.broadcast_to(np.asarray(d, float), self.x.shape) for d in (dx, dy, dz)], -1)


@lru_cache(maxsize=1)
def frame() -> Frame:
    """The frame of the mean head."""
    grid, points = half_grid(), mean_half_mm()
    x, y, z = points.T
    lid_column, lid_height = np.full(grid.count, -1.0), np.full(grid.count, 99.0)
    columns = np.arange(EYE_INNER, EYE_OUTER + 1)
    along = (columns - EYE_INNER) / (EYE_OUTER - EYE_INNER)
    lids = ((range(ROW_EYE - 45, ROW_EYE + 1), grid.upper, 1.0), (range(ROW_EYE, ROW_EYE + 40), grid.lower, -1.0))
    for rows, ids, sign in lids:
        margin_y = points[ids[ROW_EYE, columns], 1]
        for row in rows:
            vertex = ids[row, columns]
            lid_column[vertex] = along
            lid_height[vertex] = sign * np.maximum(sign * (points[vertex, 1] - margin_y), 0.0)
    # Points on the lower margin count as below it.
    lid_height[grid.lower[ROW_EYE, EYE_INNER + 1 : EYE_OUTER]] = -1e-9
    return Frame(x, y, z, _lower_lip_share(points), lid_column, lid_height)


def _lower_lip_share(points: np.ndarray) -> np.ndarray:
    """How much each point goes with the lower lip: the opening of a slit in an elastic sheet, saturated to 0..1."""
    grid = half_grid()
    x, y, _ = points.T
    # Beyond the corner the dividing line climbs through the cheek towards the jaw joint.
    beyond = np.maximum(x - MOUTH_HALF_MM, 0.0)
    rise = y - lip_line_y_mm(np.minimum(x, MOUTH_HALF_MM)) - 0.9 * beyond * beyond / (beyond + 25.0)
    side = np.where(rise >= 0.0, 1.0, -1.0)
    side[grid.bag_upper[0]], side[grid.bag_lower[0, :-1]] = 1.0, -1.0
    rise[grid.bag_upper[0]] = rise[grid.bag_lower[0]] = 0.0
    opening = side * np.abs(np.imag(np.sqrt((x + 1j * rise) ** 2 - MOUTH_HALF_MM**2 + 0j)))
    t = np.clip(opening / MOUTH_HALF_MM, -1.0, 1.0)
    return 0.5 - 0.5 * (1.5 * t - 0.5 * t**3)


def shell_z_mm(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the lid shell at frontal (x, y), held at its rim."""
    u = (x - EYE_CENTRE_MM[0] + 0.2) / LID_SHELL_MM[0]
    v = (y - EYE_CENTRE_MM[1]) / LID_SHELL_MM[1]
    return EYE_CENTRE_MM[2] + LID_SHELL_MM[2] * np.sqrt(np.maximum(1.0 - u * u - v * v, 0.08))


def lid_glide(f: Frame, margin_dx: np.ndarray, margin_dy: np.ndarray, reach_mm: float, upper: bool) -> np.ndarray:
    """Offsets (count, 3) of one lid whose margin moves by (dx, dy), gliding on the shell; given evenly along it.

    The motion fades away from the margin over `reach_mm`.
    """
    own = (f.lid_column >= 0.0) & ((f.lid_height_mm >= 0.0) if upper else (f.lid_height_mm < 0.0))
    fade = np.where(own, np.clip(1.0 - np.abs(f.lid_height_mm) / reach_mm, 0.0, 1.0), 0.0)
    fade = fade * fade * (1.0 + 0.5 * (1.0 - fade))
    steps = np.linspace(0.0, 1.0, len(margin_dx))
    dx = fade * np.interp(f.lid_column, steps, margin_dx)
    dy = fade * np.interp(f.lid_column, steps, margin_dy)
    near = ease(np.abs(f.lid_height_mm), reach_mm, 0.3 * reach_mm)
    dz = near * (shell_z_mm(f.x + dx, f.y + dy) - shell_z_mm(f.x, f.y))
    return f.offset(dx, dy, np.where(own, dz, 0.0))


def carry_hidden(offsets: np.ndarray, eye_shift: np.ndarray | None = None) -> np.ndarray:
    """Gives lid rims and mouth bag (in place) the offsets that follow from lid margin and lip line."""
    grid, points = half_grid(), mean_half_mm()
    shift = np.zeros(3) if eye_shift is None else eye_shift
    moved = points[grid.lid[0]] + offsets[grid.lid[0]]
    offsets[grid.lid[1:]] = lid_rim_mm(moved - shift) + shift - points[grid.lid[1:]]
    # Deeper in the bag both walls follow their common motion, so that it stays closed at the back.
    common = 0.5 * (offsets[grid.bag_upper[0]] + offsets[grid.bag_lower[0]])
    depth = np.linspace(0.0, 1.0, len(grid.bag_upper))
    for bag in (grid.bag_upper, grid.bag_lower):
        lip = offsets[bag[0]].copy()
        for ring, d in zip(bag[1:], depth[1:], strict=True):
            own = ease(np.array(d), 1.0, 0.35)
            offsets[ring] = (own * lip + (1.0 - own) * common) * (1.0 - 0.5 * d)
    return offsets
