"""Tools for displacement fields on the left half head: patches, the mouth split, lids that ride on the eyeball.

All positions and offsets are millimetres in the sculpting frame; `Frame` holds what every field needs of the mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.sparse import diags
from scipy.spatial import KDTree

from .face_contours import MOUTH_HALF_MM, lip_line_y_mm
from .face_grid import EYE_INNER, EYE_OUTER, ROW_EYE, half_grid
from .face_primitives import ease
from .face_wrap import front_mm, lid_rim_mm, mean_half_mm, skin_links, symmetric_lu


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates of the half head and the split of its skin at the mouth."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    lower_lip: np.ndarray
    """(count,) 0 above the mouth, 1 below, 0.5 at the corner and outwards of it; jumps across the closed lips."""

    def patch(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        """Gaussian weight exp(-r^2) about `centre`; its tail over the midline is rounded, to mirror without a kink."""
        x0, y0, z0 = centre
        soft = min(0.6 * x0, 5.0)
        across = (np.hypot(self.x, soft) - np.hypot(x0, soft)) / radii[0]
        up, ahead = (self.y - y0) / radii[1], (self.z - z0) / radii[2]
        return np.exp(-(across**2 + up**2 + ahead**2))

    def offset(
        self, dx: np.ndarray | float = 0.0, dy: np.ndarray | float = 0.0, dz: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Stacks three components into (count, 3)."""
        return np.stack([np.broadcast_to(np.asarray(d, float), self.x.shape) for d in (dx, dy, dz)], -1)


@lru_cache(maxsize=1)
def frame() -> Frame:
    """The frame of the mean head."""
    points = mean_half_mm()
    x, y, z = points.T
    return Frame(x, y, z, _lower_lip_share(points))


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


@lru_cache(maxsize=1)
def _glide_surface() -> RectBivariateSpline:
    """Depth z(x, y) of the mean's front about the eye, lids drawn over the aperture, without the crease."""
    x, y = np.arange(2.0, 76.0, 0.5), np.arange(-40.0, 40.0, 0.5)
    places = np.stack(np.meshgrid(x, y, indexing="ij"), -1)
    return RectBivariateSpline(x, y, front_mm(places.reshape(-1, 2), lid_crease=False)[:, 2].reshape(places.shape[:2]))


def lid_glide(f: Frame, upper: np.ndarray, lower: np.ndarray, reach_mm: tuple[float, float]) -> np.ndarray:
    """Offsets (count, 3) of lids whose margins move by (dx, dy), given evenly along them as (n, 2), on the surface.

    The skin between the margins and `reach_mm` (above, below) follows as an elastic plate would.
    """
    grid = half_grid()
    steps, columns = np.linspace(0.0, 1.0, len(upper)), slice(EYE_INNER, EYE_OUTER + 1)
    along = np.linspace(0.0, 1.0, EYE_OUTER - EYE_INNER + 1)
    motion = np.zeros((grid.skin_count, 2))
    for ids, of_margin in ((grid.lower, lower), (grid.upper, upper)):
        motion[ids[ROW_EYE, columns]] = np.stack([np.interp(along, steps, of_margin[:, k]) for k in (0, 1)], -1)
    motion = _lid_plate(reach_mm)(motion)
    offsets = np.zeros((grid.count, 3))
    ids = np.flatnonzero(np.abs(motion).sum(1) > 1e-9)
    (x, y), (dx, dy), depth = (f.x[ids], f.y[ids]), motion[ids].T, _glide_surface()
    offsets[ids] = np.stack([dx, dy, depth.ev(x + dx, y + dy) - depth.ev(x, y)], -1)
    return offsets


@lru_cache(maxsize=8)
def _lid_plate(reach_mm: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Spreads motions (skin_count, k) of the lid margins: a bending plate, sprung ever harder outwards."""
    grid = half_grid()
    skin = mean_half_mm()[: grid.skin_count]
    margin = grid.lid[0]
    away_mm, _ = KDTree(skin[margin]).query(skin)
    # Above or below the line through the corners, softly, for the plate to be smooth beyond them.
    (x0, y0, _), (x1, y1, _) = skin[grid.upper[ROW_EYE, [EYE_INNER, EYE_OUTER]]]
    above = ease(skin[:, 1] - y0 - (skin[:, 0] - x0) * (y1 - y0) / (x1 - x0), -5.0, 5.0)
    share = away_mm / (reach_mm[1] + above * (reach_mm[0] - reach_mm[1]))
    free = share < 1.3
    free[margin] = False
    links = skin_links()
    laplace = diags(np.asarray(links.sum(1)).ravel()) - links
    # The margin itself is hinged: bending is counted off it only.
    bent = diags((~np.isin(np.arange(len(skin)), margin)).astype(float))
    plate = laplace @ bent @ laplace + diags(0.02 * ease(share, 0.3, 1.2))
    solve = symmetric_lu(plate[free][:, free].tocsc()).solve
    coupling = plate[free][:, margin]

    def spread(motion: np.ndarray) -> np.ndarray:
        result = np.zeros_like(motion)
        result[margin] = motion[margin]
        result[free] = solve(np.asarray(-(coupling @ motion[margin])))
        return result

    return spread


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
