"""Hairs drawn on the skin: brows, short-cropped scalp hair, beard stubble; strokes in space, painted on the albedo."""

from dataclasses import dataclass

import numba
import numpy as np

from .skin_frame import Area, SkinFrame
from .skin_points import SurfacePoints, smoothstep
from .skin_spots import scatter, tangent, turn
from .surface_cells import CellLists, build_cells, find_cell

_CELL_MM = 1.6


@dataclass(frozen=True, slots=True)
class Strokes:
    """K straight pieces of hair."""

    start_mm: np.ndarray
    """(K, 3) float64."""
    end_mm: np.ndarray
    """(K, 3) float64."""
    radius_mm: np.ndarray
    """(K, 2) float64 at start and end."""
    tone: np.ndarray
    """(K,) float64 lightness of the hair, about 1."""
    cells: CellLists


@dataclass(frozen=True, slots=True)
class Hair:
    """All hairs of a head."""

    brows: Strokes
    scalp: Strokes
    stubble: Strokes


def place_hair(frame: SkinFrame, rng: np.random.Generator, stubble: float) -> Hair:
    """Draw a head's hairs; `stubble` in [0, 1] scales the number of beard hairs."""
    brow_rng, scalp_rng, beard_rng = rng.spawn(3)
    return Hair(_brows(frame, brow_rng), _scalp(frame, scalp_rng), _stubble(frame, beard_rng, stubble))


def paint_strokes(
    strokes: Strokes, points: SurfacePoints, colour: np.ndarray, albedo: np.ndarray, cover: np.ndarray
) -> None:
    """Paint hairs of `colour` (3,) times their tone over `albedo` (M, 3), raising `cover` (M,); both float32."""
    _paint(
        points.position_mm, points.normal, points.footprint_mm, strokes.start_mm, strokes.end_mm, strokes.radius_mm,
        strokes.tone, strokes.cells.slots, strokes.cells.items, strokes.cells.cell_mm, colour, albedo, cover,
    )  # fmt: skip


def scalp_cover(frame: SkinFrame) -> np.ndarray:
    """(N,) in [0, 1]: where scalp hair grows; none in front of the hairline whatever the labels say."""
    brow = frame.landmarks_mm[17:27, 1].mean()
    root = frame.landmarks_mm[27]
    # Faces divide in thirds: the hairline is as far above the brows as the nose's base is below them.
    third = brow - frame.landmarks_mm[33, 1]
    forward = smoothstep(-12.0, 8.0, frame.vertices_mm[:, 2] - (root[2] - 60.0))
    low = smoothstep(-6.0, 6.0, brow + 0.78 * third - frame.vertices_mm[:, 1])
    return frame.weights[:, Area.SCALP] * (1.0 - forward * low) * smoothstep(0.5, 4.0, frame.rim_mm)


def _strokes(roots: np.ndarray, bends: list[np.ndarray], radius: np.ndarray, tone: np.ndarray) -> Strokes:
    """Join points root, bends[0], bends[1], ... (each (K, 3)) of K hairs whose radius (K,) tapers to a third."""
    points = [roots, *bends]
    n = len(points) - 1
    start, end = np.concatenate(points[:-1]), np.concatenate(points[1:])
    shares = 1.0 - 0.7 * (np.arange(n + 1) / n) ** 1.5
    widths = np.concatenate([np.stack([radius * shares[k], radius * shares[k + 1]], 1) for k in range(n)])
    # Hair radius and half a texel of a coarse map.
    reach = 0.28
    cells = build_cells(np.minimum(start, end) - reach, np.maximum(start, end) + reach, _CELL_MM)
    return Strokes(start, end, widths, np.tile(tone, n), cells)


def _grow(
    frame: SkinFrame, roots: np.ndarray, heading: np.ndarray, length: np.ndarray, bend: np.ndarray, pieces: int
) -> list[np.ndarray]:
    """Follow hairs over the skin: `bend` (K,) radians turned over the whole length."""
    points, direction, at = [], heading, roots
    for _ in range(pieces):
        normal = frame.normals_at(at)
        direction = turn(normal, tangent(normal, direction), bend / pieces)
        at = frame.snap(at + direction * (length / pieces)[:, None])
        points.append(at)
    return points


def _brows(frame: SkinFrame, rng: np.random.Generator) -> Strokes:
    roots, heading = [], []
    for rows in ([21, 20, 19, 18, 17], [22, 23, 24, 25, 26]):
        spine = frame.landmarks_mm[rows]
        count = 330
        u = np.clip(rng.beta(1.05, 1.25, count), 0.0, 1.0)
        v = rng.normal(0.0, 0.42, count).clip(-1.0, 1.0)
        # Thickest over the inner third, a narrow tail; thin at the very start.
        half = 3.6 * np.interp(u, [0.0, 0.12, 0.4, 0.75, 1.0], [0.7, 1.0, 0.95, 0.6, 0.22])
        at = np.stack([np.interp(u, np.linspace(0, 1, 5), spine[:, k]) for k in range(3)], 1)
        # Landmarks run along the brow's upper part.
        at[:, 1] += v * half - 1.2
        roots.append(frame.snap(at))
        along = np.stack(
            [np.interp(u, np.linspace(0.125, 0.875, 4), np.diff(spine, axis=0)[:, k]) for k in range(3)], 1
        )
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        # Upright at the inner end, then lying down; the upper hairs comb downwards, the lower ones upwards.
        rise = np.interp(u, [0.0, 0.15, 0.4, 0.8, 1.0], [1.9, 0.9, 0.45, 0.2, 0.0]) - 0.5 * v * (u > 0.15)
        rise += rng.normal(0.0, 0.16, count)
        heading.append(along + rise[:, None] * [0.0, 1.0, 0.0])
    roots, heading = np.concatenate(roots), np.concatenate(heading)
    length = rng.uniform(6.0, 10.5, len(roots)) * np.where(np.abs(heading[:, 1]) > 1.0, 0.75, 1.0)
    bend = np.where(heading[:, 0] > 0, -1.0, 1.0) * rng.normal(0.35, 0.25, len(roots))
    return _strokes(roots, _grow(frame, roots, heading, length, bend, 4), rng.uniform(0.05, 0.09, len(roots)),
                    np.exp(0.25 * rng.standard_normal(len(roots))))  # fmt: skip


def _scalp(frame: SkinFrame, rng: np.random.Generator) -> Strokes:
    cover = scalp_cover(frame)
    roots, normal, _ = scatter(frame, 0.55 * np.where(cover > 0.12, cover, 0.0), rng, spacing=0.55)
    if len(roots) == 0:
        return _strokes(roots, [roots, roots], np.zeros(0), np.zeros(0))
    # Whorl on the crown: hair falls away from it, forwards in front and downwards behind.
    crown = frame.vertices_mm[:, 1].max()
    away = roots - [frame.landmarks_mm[27, 0] + 8.0, crown + 10.0, frame.landmarks_mm[27, 2] - 130.0]
    heading = turn(normal, tangent(normal, away), 0.5 + 0.35 * rng.standard_normal(len(roots)))
    length = rng.uniform(2.5, 5.5, len(roots))
    middle = roots + heading * 0.5 * length[:, None]
    # On these short lengths a head is flat to a tenth of a millimetre or two: no need to snap a hundred thousand hairs.
    end = middle + turn(normal, heading, 0.3 * rng.standard_normal(len(roots))) * 0.5 * length[:, None]
    sag = (normal * (length**2 / 180.0)[:, None]) * 0.5
    return _strokes(roots, [middle - 0.25 * sag, end - sag], rng.uniform(0.05, 0.1, len(roots)),
                    np.exp(0.3 * rng.standard_normal(len(roots))))  # fmt: skip


def _stubble(frame: SkinFrame, rng: np.random.Generator, amount: float) -> Strokes:
    corner = frame.landmarks_mm[[48, 54]]
    weights = frame.weights
    beard = weights[:, [Area.PERIORAL, Area.CHIN, Area.JAW]].sum(1) + 0.7 * weights[:, Area.CHEEK]
    # Below a line from the ears to the nose's wings, thinner high on the cheek.
    line = corner[:, 1].mean() + 4.0 + 0.16 * np.abs(frame.vertices_mm[:, 0] - corner[:, 0].mean())
    upper_lip = (
        smoothstep(38.0, 26.0, np.abs(frame.vertices_mm[:, 0] - corner[:, 0].mean())) * weights[:, Area.PERIORAL]
    )
    low = np.maximum(smoothstep(-6.0, 8.0, line - frame.vertices_mm[:, 1]), upper_lip)
    density = 0.55 * amount * beard * low * (1.0 - weights[:, Area.LIP]) ** 3
    roots, normal, _ = scatter(frame, np.where(density > 0.02, density, 0.0), rng, spacing=0.6)
    heading = tangent(normal, np.array([0.0, -1.0, 0.0]) + 0.3 * rng.standard_normal(normal.shape))
    length = rng.uniform(0.3, 0.9, len(roots))[:, None]
    return _strokes(roots, [roots + heading * length], rng.uniform(0.04, 0.065, len(roots)),
                    np.exp(0.25 * rng.standard_normal(len(roots))))  # fmt: skip


@numba.njit(cache=True, parallel=True)
def _paint(position, normal, footprint, start, end, radius, tone, slots, items, cell_mm, colour, albedo, cover):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        first, last = find_cell(slots, cell_mm, x, y, z)
        nx, ny, nz = np.float64(normal[i, 0]), np.float64(normal[i, 1]), np.float64(normal[i, 2])
        texel = np.float64(footprint[i])
        clear, shade, total = 1.0, 0.0, 0.0
        for e in range(first, last):
            k = items[e]
            ax, ay, az = start[k, 0], start[k, 1], start[k, 2]
            ex, ey, ez = end[k, 0] - ax, end[k, 1] - ay, end[k, 2] - az
            s = ((x - ax) * ex + (y - ay) * ey + (z - az) * ez) / max(ex * ex + ey * ey + ez * ez, 1e-12)
            s = min(1.0, max(0.0, s))
            dx, dy, dz = x - ax - s * ex, y - ay - s * ey, z - az - s * ez
            height = dx * nx + dy * ny + dz * nz
            distance = np.sqrt(max(0.0, dx * dx + dy * dy + dz * dz - height * height))
            r = radius[k, 0] + s * (radius[k, 1] - radius[k, 0])
            # Share of the texel that the hair covers: a box of the texel's width slid over the hair.
            share = min(distance + r, 0.5 * texel) - max(distance - r, -0.5 * texel)
            if share <= 0.0:
                continue
            share = min(1.0, share / texel)
            clear *= 1.0 - share
            shade += share * tone[k]
            total += share
        if total > 0.0:
            light = min(2.0, max(0.4, shade / total))
            for c in range(3):
                albedo[i, c] += (1.0 - clear) * (colour[c] * light - albedo[i, c])
            cover[i] = max(cover[i], 1.0 - clear)
