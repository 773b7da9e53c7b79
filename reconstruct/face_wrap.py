"""Places the grid on the sculpted head: rays, feature curves pinned, relaxed along the surface, rims and bag added."""

from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.linalg import SuperLU, splu

from .face_contours import (
    EYE_CENTRE_MM,
    EYE_RADIUS_MM,
    MOUTH_HALF_MM,
    crease_y_mm,
    lid_margin_mm,
    lip_line_y_mm,
    lip_lower_y_mm,
    lip_upper_y_mm,
)
from .face_grid import (
    COLUMN_CHEEK,
    COLUMN_EAR,
    COLUMN_NAPE,
    COLUMNS,
    EYE_INNER,
    EYE_OUTER,
    MOUTH_CORNER,
    ROW_CREASE,
    ROW_EYE,
    ROW_GLABELLA,
    ROW_HAIRLINE,
    ROW_LIP_LOWER,
    ROW_LIP_UPPER,
    ROW_MENTON,
    ROW_MOUTH,
    ROW_NECK,
    ROW_NOSE_BASE,
    ROWS,
    half_grid,
)
from .face_primitives import ease
from .face_sculpt import head_distance_mm

# Row, origin (y, z) of its rays in mm, elevations in degrees at the front, the side and the back.
_FANS = (
    (0, 15, -78, 72, 72, 72),
    (ROW_HAIRLINE, 15, -78, 31, 30, 30),
    (ROW_GLABELLA, 10, -72, 6.5, 5, 5),
    (ROW_EYE, 10, -70, -6.8, -6, -5),
    (ROW_NOSE_BASE, 10, -70, -30.5, -33, -23),
    (ROW_MOUTH, 10, -70, -39.8, -42, -34),
    (ROW_MENTON, 10, -70, -58, -52, -45),
    (ROW_NECK, -45, -78, -65, -45, -37),
    (ROWS - 1, -150, -98, -21.8, -21.8, -21.8),
)
_AZIMUTHS_DEG = (
    (0, 0.0),
    (11, 6.2),
    (EYE_INNER, 12.3),
    (EYE_OUTER, 33.2),
    (COLUMN_CHEEK, 36.7),
    (COLUMN_EAR, 91.0),
    (COLUMN_NAPE, 127.0),
    (COLUMNS, 180.0),
)

_NECK_CUT_MM = -170.0


@lru_cache(maxsize=1)
def mean_half_mm() -> np.ndarray:
    """Vertices (count, 3) of the left half of the mean head in the sculpting frame."""
    grid = half_grid()
    points = np.zeros((grid.count, 3))
    origins, azimuth, elevation = _ray_fan()
    pinned, targets = _pins()
    # The rays themselves are turned towards the pins, so that every point still lies on the first surface met.
    x, y, z = (targets - origins[pinned]).T
    turns = np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], -1)
    turns = _spread(pinned, turns - np.stack([azimuth, elevation], -1)[pinned])
    azimuth, elevation = azimuth + turns[:, 0], elevation + turns[:, 1]
    flat = np.cos(elevation)
    directions = np.stack([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat], -1)
    skin = points[: grid.skin_count]
    skin[:] = _on_rays(origins, directions)
    skin[pinned] = targets
    _relax(skin, pinned, np.ones(len(skin)), rounds=4)
    x, y, z = skin.T
    ear = ease(x, 46.0, 56.0) * ease(np.abs(y + 17.0), 60.0, 42.0) * ease(z, -50.0, -60.0) * ease(z, -140.0, -122.0)
    _relax(skin, pinned, ear, rounds=20)
    front = ease(x, 40.0, 28.0) * ease(z, 0.0, 8.0)
    _relax(skin, pinned, front * ease(np.abs(y + 44.0), 46.0, 34.0), rounds=12)
    _relax(skin, pinned, front * ease(np.abs(y + 36.0), 24.0, 16.0), rounds=24)
    # The neck ends in a level cut.
    share = np.linspace(0.0, 1.0, ROWS - ROW_NECK)[:, None] ** 2
    skin[grid.upper[ROW_NECK:], 1] += share * (_NECK_CUT_MM - skin[grid.upper[-1], 1])
    inner = np.setdiff1d(np.arange(len(skin)), pinned)
    settled = skin[inner]
    _project(settled, 2, np.float64)
    skin[inner] = settled
    _place_cap(points)
    points[grid.lid[1:]] = lid_rim_mm(points[grid.lid[0]])
    _place_mouth_bag(points)
    points[grid.midplane, 0] = 0.0
    return points


def _ray_fan() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins (skin_count, 3), azimuths and elevations (skin_count,) in radians of one ray per skin vertex."""
    grid = half_grid()
    fans = np.array(_FANS, float)
    rows = PchipInterpolator(fans[:, 0], fans[:, 1:])(np.arange(ROWS))[:, :, None]
    even = np.linspace(0.0, 180.0, COLUMNS + 1)
    dense = PchipInterpolator(*np.array(_AZIMUTHS_DEG).T)(np.arange(COLUMNS + 1))
    # Columns crowd towards the face; around the crown they fan out evenly.
    share = np.clip((np.arange(ROWS) / ROW_HAIRLINE), 0.0, 1.0)[:, None]
    share = share * share * (3.0 - 2.0 * share)
    azimuth = np.radians(even * (1.0 - share) + dense * share)
    c = np.cos(azimuth)
    ahead, aside, behind = rows[:, 2], rows[:, 3], rows[:, 4]
    elevation = np.radians(aside + 0.5 * (ahead - behind) * c + (0.5 * (ahead + behind) - aside) * c * c)
    shape = (ROWS, COLUMNS + 1)
    fan = np.stack(
        [np.zeros(shape), *(np.broadcast_to(v, shape) for v in (rows[:, 0], rows[:, 1], azimuth, elevation))], -1
    )
    skin = np.zeros((grid.skin_count, 5))
    skin[grid.lower], skin[grid.upper] = fan, fan
    return skin[:, :3], skin[:, 3], skin[:, 4]


def _on_rays(
    origins: np.ndarray, directions: np.ndarray, start_mm: float = 190.0, lid_crease: bool = True
) -> np.ndarray:
    """Where rays coming in from `start_mm` first meet the head."""
    reach = np.full(directions.shape[:-1], start_mm)
    for _ in range(24):
        reach -= 0.9 * _distance(origins + reach[..., None] * directions, lid_crease=lid_crease)
    return origins + reach[..., None] * directions


def _distance(points: np.ndarray, kind: type = np.float32, lid_crease: bool = True) -> np.ndarray:
    # Single precision is plenty for steps towards the surface; the last ones ask for more.
    x, y, z = np.ascontiguousarray(points.T, kind)
    return head_distance_mm((x, y, z), lid_crease)


def front_mm(xy: np.ndarray, lid_crease: bool = True) -> np.ndarray:
    """Points (n, 3) of the head's front at frontal positions (n, 2)."""
    origins = np.concatenate([xy, np.zeros((len(xy), 1))], 1)
    return _on_rays(origins, np.broadcast_to([0.0, 0.0, 1.0], origins.shape), 60.0, lid_crease)


def _pins() -> tuple[np.ndarray, np.ndarray]:
    """Vertices held on feature curves, and where (n, 3)."""
    grid = half_grid()
    vertices, places = [], []

    def pin(ids: np.ndarray, xy: np.ndarray) -> None:
        vertices.append(ids)
        places.append(xy)

    along = np.linspace(0.0, 1.0, EYE_OUTER - EYE_INNER + 1)
    pin(grid.upper[ROW_EYE, EYE_INNER : EYE_OUTER + 1], lid_margin_mm(along, True))
    pin(grid.lower[ROW_EYE, EYE_INNER + 1 : EYE_OUTER], lid_margin_mm(along, False)[1:-1])
    crease_x = np.linspace(18.5, 46.6, len(along))
    pin(grid.upper[ROW_CREASE, EYE_INNER : EYE_OUTER + 1], np.stack([crease_x, crease_y_mm(crease_x)], -1))
    x = MOUTH_HALF_MM * np.linspace(0.0, 1.0, MOUTH_CORNER + 1) ** 0.96
    line = lip_line_y_mm(x)
    pin(grid.upper[ROW_MOUTH, : MOUTH_CORNER + 1], np.stack([x, line], -1))
    pin(grid.lower[ROW_MOUTH, :MOUTH_CORNER], np.stack([x, line], -1)[:-1])
    # Near the corner the borders run into the line, where grid rows need room: they are followed only up to there.
    near = slice(0, MOUTH_CORNER - 13)
    pin(grid.upper[ROW_LIP_UPPER, near], np.stack([x, lip_upper_y_mm(x)], -1)[near])
    pin(grid.upper[ROW_LIP_LOWER, near], np.stack([x, lip_lower_y_mm(x)], -1)[near])
    return np.concatenate(vertices), front_mm(np.concatenate(places))


@lru_cache(maxsize=1)
def _skin_edges() -> tuple[np.ndarray, np.ndarray]:
    """Grid edges (both ways) between skin vertices, cut at the slits."""
    grid = half_grid()
    u, w = grid.upper, grid.lower
    pairs = [(u[:, :-1], u[:, 1:]), (w[:-1], u[1:])]
    for row, columns in ((ROW_EYE, slice(EYE_INNER, EYE_OUTER + 1)), (ROW_MOUTH, slice(0, MOUTH_CORNER + 1))):
        pairs.append((w[row, columns][:-1], w[row, columns][1:]))
    a = np.concatenate([p.ravel() for p, _ in pairs])
    b = np.concatenate([q.ravel() for _, q in pairs])
    return np.concatenate([a, b]), np.concatenate([b, a])


@lru_cache(maxsize=1)
def skin_links() -> csr_matrix:
    """Adjacency (skin_count, skin_count) of the skin, 0 or 1."""
    a, b = _skin_edges()
    n = half_grid().skin_count
    return csr_matrix((np.ones(len(a)), (a, b)), shape=(n, n))


def _spread(pinned: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Smooth offsets (skin_count, k) that meet those of the pins: a bending plate on soft springs, so they fade."""
    grid, links = half_grid(), skin_links()
    laplace = diags(np.asarray(links.sum(1)).ravel()) - links
    plate = (laplace @ laplace + 1e-5 * diags(np.ones(grid.skin_count))).tocsc()
    held = np.zeros(grid.skin_count, bool)
    held[pinned] = held[grid.upper[:, COLUMN_EAR:]] = True
    held[grid.upper[:ROW_HAIRLINE]] = held[grid.upper[ROW_NECK:]] = True
    result = np.zeros((grid.skin_count, offsets.shape[1]))
    result[pinned] = offsets
    free = ~held
    load = -(plate[free][:, held] @ result[held])
    result[free] = symmetric_lu(plate[free][:, free]).solve(np.asarray(load))
    # Azimuth (column 0) is odd across the midline.
    column = np.zeros(grid.skin_count)
    column[grid.lower] = column[grid.upper] = np.arange(COLUMNS + 1)
    result[:, 0] *= np.tanh(column / 3.0)
    return result


def symmetric_lu(matrix: csc_matrix) -> SuperLU:
    """Factors of a symmetric positive definite matrix, ordered for speed."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _project(points: np.ndarray, rounds: int = 1, kind: type = np.float32) -> np.ndarray:
    """Newton steps (in place) onto the surface; returns the last unit normals."""
    step, normals = 0.05, np.zeros_like(points)
    for _ in range(rounds):
        here = _distance(points, kind)
        slope = np.stack([_distance(points + step * axis, kind) - here for axis in np.eye(3)], -1) / step
        size = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 0.2)
        points -= np.clip(here[:, None] / size, -4.0, 4.0) * slope / size
        normals = slope / size
    return normals


def _relax(skin: np.ndarray, pinned: np.ndarray, weight: np.ndarray, rounds: int) -> None:
    """Evens the spacing along the surface, in place, as far as `weight` (0..1) lets it: for steep flanks."""
    grid, links = half_grid(), skin_links()
    mean = diags(1.0 / np.asarray(links.sum(1)).ravel()) @ links
    free = weight > 1e-3
    free[pinned] = free[grid.upper[[0, -1]]] = False
    middle = np.zeros(len(skin), bool)
    middle[grid.upper[:, 0]] = middle[grid.lower[:, 0]] = middle[grid.upper[:, -1]] = True
    ids = np.flatnonzero(free)
    on_midline, mean = middle[ids], mean[ids]
    for round_ in range(rounds):
        points = skin[ids]
        normals = _project(points)
        pull = mean @ skin - points
        # The first rounds let the sheet lift off, which undoes tangles; the others slide along the surface.
        if round_ >= rounds // 2:
            pull -= (pull * normals).sum(1, keepdims=True) * normals
        pull[on_midline, 0] = 0.0
        skin[ids] = points + 0.6 * weight[ids, None] * pull


def _place_cap(points: np.ndarray) -> None:
    """Rings of the crown, on rays between the first row and straight up."""
    grid = half_grid()
    origin = np.array([0.0, 15.0, -78.0])
    for ring, elevation_deg in zip(grid.cap, (77.5, 82.5, 86.5, 90.0), strict=True):
        azimuth = np.radians(np.linspace(0.0, 180.0, len(ring))) if len(ring) > 1 else np.zeros(1)
        e = np.radians(elevation_deg)
        rays = np.stack([np.sin(azimuth) * np.cos(e), np.full(len(ring), np.sin(e)), np.cos(azimuth) * np.cos(e)], -1)
        points[ring] = _on_rays(np.broadcast_to(origin, rays.shape), rays)


def lid_rim_mm(margin_mm: np.ndarray) -> np.ndarray:
    """Rings (LID_RINGS, L, 3) of a lid edge about 2 mm thick, from the margin (L, 3) to just under the eyeball."""
    centre = np.array(EYE_CENTRE_MM)
    margin = margin_mm - centre
    ends = margin * ((EYE_RADIUS_MM - 0.6) / np.linalg.norm(margin, axis=1, keepdims=True))
    shares = np.array([0.12, 0.35, 0.62, 0.85, 1.0])[:, None, None]
    return centre + margin + shares * (ends - margin)


def _place_mouth_bag(points: np.ndarray) -> None:
    """Inner lips running back from the lip line into a flat, closed pocket."""
    grid = half_grid()
    depths_mm = (0.7, 1.6, 2.8, 4.5, 7.0, 10.0, 14.0, 19.0, 25.0, 31.0, 36.0)
    gaps_mm = (0.06, 0.12, 0.25, 0.45, 0.9, 1.6, 2.6, 3.8, 4.5, 3.5, 0.0)
    for bag, side in ((grid.bag_lower, -1.0), (grid.bag_upper, 1.0)):
        line = points[bag[0]].copy()
        flat = np.sqrt(np.clip(1.0 - (line[:, 0] / MOUTH_HALF_MM) ** 2, 0.0, 1.0))
        for ring, depth, gap in zip(bag[1:], depths_mm, gaps_mm, strict=True):
            narrowing = 1.0 - 0.006 * depth
            points[ring] = line * [narrowing, 1.0, 1.0] + np.stack(
                [0.0 * flat, side * gap * flat, -depth * (0.55 + 0.45 * flat)], -1
            )
