"""Folds of skin: irregular curves on the surface with a fold-shaped, volume-preserving cross-section."""

from dataclasses import dataclass, field

import numba
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.special import k1e

from .skin_frame import SkinFrame
from .skin_points import SurfacePoints
from .surface_cells import CellLists, build_cells, find_cell
from .surface_noise import gradient_noise

_STEP_MM = 0.8
_STRIDE_MM = 2.8
_REACH = 4.0
"""Where the cross-section has died out, in half-widths."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold: where it runs, how deep it can get, and which movements deepen it."""

    path_mm: np.ndarray
    """(n, 3) float64 points on the neutral skin, about 0.8 mm apart."""
    depth_mm: np.ndarray
    """(n,) float64 depth at full strength, tapering to 0 at both ends."""
    half_width_mm: np.ndarray
    """(n,) float64: distance from the bottom to where the groove meets its shoulder."""
    lean: float
    """-1..1: how much wider and fuller the fold is on the left of its path than on the right."""
    gains: dict[str, float] = field(default_factory=dict)
    """Strength per unit of activation."""
    rest_young: float = 0.0
    """Strength at rest at age 0."""
    rest_old: float = 0.0
    """Strength at rest at age 1."""


@dataclass(frozen=True, slots=True)
class FoldField:
    """The folds of one expression, ready for evaluation."""

    nodes: np.ndarray
    """(n, 12) float64: position, unit side direction (left of the path), depth mm, half-width mm, lean, rounding and
    bulge of the cross-section, reach of the fold mm."""
    segments: np.ndarray
    """(K, 2) int64: first node of each segment and the number of its fold; nodes of a segment are consecutive."""
    cells: CellLists


def roughen(frame: SkinFrame, points_mm: np.ndarray, rng: np.random.Generator, wander_mm: float = 0.6) -> np.ndarray:
    """(n, 3) float64: a smooth curve through `points_mm` (k, 3) on the skin, made to wander sideways irregularly."""
    points = points_mm[np.isfinite(points_mm).all(1)]
    chord = np.r_[0.0, np.cumsum(np.maximum(np.linalg.norm(np.diff(points, axis=0), axis=1), 1e-6))]
    count = max(4, int(chord[-1] / _STEP_MM) + 1)
    path = (
        CubicSpline(chord, points)(np.linspace(0.0, chord[-1], count))
        if len(points) > 2
        else np.linspace(points[0], points[-1], count)
    )
    path = frame.snap(path)
    side = _sides(frame, path)
    # Two scales: a slow drift of the whole line and a slight unrest. Anything quicker looks scratched, not folded.
    drift = _wave(rng, count, 26.0) * wander_mm + _wave(rng, count, 7.0) * 0.2 * wander_mm
    return frame.snap(path + drift[:, None] * side)


def march(
    frame: SkinFrame, start_mm: np.ndarray, heading: np.ndarray, length_mm: float, bend_deg_per_mm: float
) -> np.ndarray:
    """(n, 3) float64: a path of true length over the skin from a point, in a direction, turning steadily."""
    point, direction = frame.snap(np.asarray(start_mm, np.float64)[None])[0], np.asarray(heading, np.float64)
    path = [point]
    angle = np.deg2rad(bend_deg_per_mm) * _STRIDE_MM
    for _ in range(max(2, round(length_mm / _STRIDE_MM))):
        normal = frame.normals_at(path[-1][None])[0]
        direction = direction - normal * (normal @ direction)
        direction /= max(np.linalg.norm(direction), 1e-9)
        direction = np.cos(angle) * direction + np.sin(angle) * np.cross(normal, direction)
        path.append(frame.snap((path[-1] + _STRIDE_MM * direction)[None])[0])
    return np.array(path)


def make_fold(
    path_mm: np.ndarray,
    depth_mm: float,
    half_width_mm: float,
    rng: np.random.Generator,
    *,
    lean: float = 0.0,
    gaps: float = 0.3,
    taper_mm: float = 7.0,
    gains: dict[str, float],
    rest: tuple[float, float],
) -> Fold:
    """A fold along `path_mm` with depth and width varying at random; `gaps` in [0, 1] is how interrupted it is."""
    n = len(path_mm)
    length = _STEP_MM * n
    s = np.arange(n) * (length / max(n - 1, 1))
    ends = np.clip(np.minimum(s, length - s) / min(taper_mm, 0.45 * length), 0.0, 1.0)
    ends = ends * ends * (3.0 - 2.0 * ends)
    unrest = 1.0 + 0.22 * _wave(rng, n, 9.0) + 0.12 * _wave(rng, n, 3.0)
    open_share = _wave(rng, n, 11.0)
    broken = 1.0 - gaps * np.clip((open_share - 0.6) / 0.8, 0.0, 1.0) * 0.95
    depth = depth_mm * ends * np.clip(unrest, 0.25, 1.35) * broken
    # Shallow parts of a fold are narrow ones too.
    width = half_width_mm * np.clip(1.0 + 0.2 * _wave(rng, n, 8.0), 0.6, 1.5) * (0.62 + 0.38 * np.sqrt(ends * broken))
    return Fold(path_mm, depth, width, lean, gains, *rest)


def fold_strength(fold: Fold, activations: dict[str, float], age: float) -> float:
    """Strength in [0, 1.15] of a fold at an age in [0, 1] under unit activations: rest plus movement, saturating."""
    moved = sum(gain * max(0.0, activations.get(unit, 0.0)) for unit, gain in fold.gains.items())
    rest = fold.rest_young + (fold.rest_old - fold.rest_young) * age**1.3
    total = rest + moved * (0.62 + 0.38 * age)
    # Folding meets resistance: beyond full strength it hardly deepens.
    return total if total < 0.8 else 0.8 + 0.35 * (1.0 - np.exp(-(total - 0.8) / 0.35))


def fold_field(
    frame: SkinFrame, folds: list[Fold], activations: dict[str, float], age: float, gain: float
) -> FoldField:
    """Nodes and cells of all folds that are at least 0.004 mm deep; `gain` scales every depth."""
    nodes, segments = [], []
    count = 0
    for number, fold in enumerate(folds):
        strength = gain * fold_strength(fold, activations, age)
        if strength * fold.depth_mm.max() < 0.004:
            continue
        n = len(fold.path_mm)
        # A fold that deepens also pulls in skin from the sides.
        width = fold.half_width_mm * (0.85 + 0.2 * strength)
        # Fine lines are V-shaped, wide folds are rounded valleys.
        rounding = np.clip(0.14 + 0.16 * (width - 0.7), 0.12, 0.42)
        nodes.append(np.column_stack([
            fold.path_mm, _sides(frame, fold.path_mm), strength * fold.depth_mm, width, np.full(n, fold.lean),
            rounding, _bulge(rounding), np.full(n, _REACH * width.max() * (1.0 + 0.35 * abs(fold.lean))),
        ]))  # fmt: skip
        segments.append(np.column_stack([count + np.arange(n - 1), np.full(n - 1, number)]))
        count += n
    if not nodes:
        return FoldField(
            np.zeros((2, 12)), np.zeros((0, 2), np.int64), build_cells(np.zeros((0, 3)), np.zeros((0, 3)), 4.0)
        )
    node, segment = np.concatenate(nodes), np.concatenate(segments).astype(np.int64)
    a, b = node[segment[:, 0]], node[segment[:, 0] + 1]
    # The margin holds the warp of space in the kernel.
    reach = (a[:, 11] + 0.5)[:, None]
    low, high = np.minimum(a[:, :3], b[:, :3]) - reach, np.maximum(a[:, :3], b[:, :3]) + reach
    return FoldField(node, segment, build_cells(low, high, 4.0))


def fold_displacement(folds: FoldField, points: SurfacePoints, seed: np.uint64) -> np.ndarray:
    """(M,) float32 mm: grooves below and bulges above the surface, mean about zero; zero where `points.free` is."""
    out = np.zeros(len(points.position_mm), np.float32)
    _folds(
        points.position_mm, points.normal, points.footprint_mm, folds.nodes, folds.segments, folds.cells.slots,
        folds.cells.items, folds.cells.cell_mm, seed, out,
    )  # fmt: skip
    return out * points.free


def _wave(rng: np.random.Generator, count: int, wavelength_mm: float) -> np.ndarray:
    """(count,) smooth random curve of about unit variance."""
    # Three times the length is drawn and the middle kept, so that ends are like the rest.
    sigma = wavelength_mm / (4.0 * _STEP_MM)
    pad = int(4.0 * sigma) + 1
    wave = gaussian_filter1d(rng.standard_normal(count + 2 * pad), sigma)[pad : pad + count]
    return wave * np.sqrt(2.0 * np.sqrt(np.pi) * sigma)


def _sides(frame: SkinFrame, path: np.ndarray) -> np.ndarray:
    ahead = np.gradient(path, axis=0)
    side = np.cross(frame.normals_at(path), ahead)
    side = gaussian_filter1d(side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9), 1.0, axis=0)
    return side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)


def _bulge(rounding: np.ndarray) -> np.ndarray:
    """Height of the shoulders that makes each half of the cross-section integrate to zero."""
    # The groove's integral over t > 0, of exp((e - sqrt(t^2 + e^2)) / a), is e exp(x) K1(x) with x = e / a; the
    # swell's is 1.1 sqrt(pi) / 4.
    return rounding * k1e(rounding / 0.42) / (1.1 * np.sqrt(np.pi) / 4.0)


@numba.njit(cache=True)
def _section(t, rounding, bulge):
    # A V with a rounded bottom whose flanks turn convex into the shoulders, and beside it a bulge that holds the volume
    # taken from the groove.
    groove = np.exp((rounding - np.sqrt(t * t + rounding * rounding)) / 0.42)
    swell = (t - 0.6) / 1.1
    return -groove + (bulge * swell * swell * np.exp(-swell * swell) if t > 0.6 else 0.0)


@numba.njit(cache=True, parallel=True)
def _folds(position, normal, footprint, nodes, segments, slots, items, cell_mm, seed, out):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        first, last = find_cell(slots, cell_mm, x, y, z)
        if first == last:
            continue
        nx, ny, nz = np.float64(normal[i, 0]), np.float64(normal[i, 1]), np.float64(normal[i, 2])
        # A small warp of space frays the lines; the same warp everywhere, so nothing tears.
        x += 0.11 * gradient_noise(x / 2.4, y / 2.4, z / 2.4, seed)
        y += 0.11 * gradient_noise(x / 2.4, y / 2.4, z / 2.4, seed + np.uint64(1))
        rough = 1.0 + 0.14 * gradient_noise(x / 3.6, y / 3.6, z / 3.6, seed + np.uint64(2))
        total, best, weight = 0.0, 1e9, 0.0
        depth, width, lean, rounding, bulge, across = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        fold = np.int64(-1)
        for e in range(first, last + 1):
            number = segments[items[e], 1] if e < last else np.int64(-2)
            if number != fold:
                if depth > 0.0:
                    # Coarse texels average the groove: the same volume, wider.
                    w = width / weight
                    blurred = np.sqrt(w * w + (0.8 * footprint[i]) ** 2)
                    distance = np.sqrt(best)
                    tilt = lean / weight * (across / weight) / (distance + 0.25 * w)
                    section = _section(distance / (blurred * (1.0 + 0.35 * tilt)), rounding / weight, bulge / weight)
                    total += rough * (depth / weight) * (w / blurred) * section * (1.0 + 0.3 * tilt)
                best, weight = 1e9, 0.0
                depth, width, lean, rounding, bulge, across = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                fold = number
            if e == last:
                break
            n = segments[items[e], 0]
            ax, ay, az = nodes[n, 0], nodes[n, 1], nodes[n, 2]
            ex, ey, ez = nodes[n + 1, 0] - ax, nodes[n + 1, 1] - ay, nodes[n + 1, 2] - az
            s = ((x - ax) * ex + (y - ay) * ey + (z - az) * ez) / max(ex * ex + ey * ey + ez * ez, 1e-12)
            s = min(1.0, max(0.0, s))
            dx, dy, dz = x - ax - s * ex, y - ay - s * ey, z - az - s * ez
            height = dx * nx + dy * ny + dz * nz
            square = max(0.0, dx * dx + dy * dy + dz * dz - height * height)
            # Height over the tangent plane counts only beyond what a coarse mesh misplaces a fold by.
            beyond = max(0.0, abs(height) - 0.5)
            square += beyond * beyond
            inside = 1.0 - square / (nodes[n, 11] * nodes[n, 11])
            if inside <= 0.0:
                continue
            best = min(best, square)
            # Distance is that to the nearest piece; depth, width and side are blended over all pieces near by, as they
            # would jump where two far parts of a bent fold are equally close.
            near = 1.0 / (square + 0.1)
            near = near * near * near * inside * inside
            weight += near
            depth += near * (nodes[n, 6] + s * (nodes[n + 1, 6] - nodes[n, 6]))
            width += near * (nodes[n, 7] + s * (nodes[n + 1, 7] - nodes[n, 7]))
            lean += near * nodes[n, 8]
            rounding += near * (nodes[n, 9] + s * (nodes[n + 1, 9] - nodes[n, 9]))
            bulge += near * (nodes[n, 10] + s * (nodes[n + 1, 10] - nodes[n, 10]))
            across += near * (dx * nodes[n, 3] + dy * nodes[n, 4] + dz * nodes[n, 5])
        # Where folds cross, skin does not fold twice as deep, nor bulge twice as high between them.
        if total < -0.65:
            total = -0.65 - 0.45 * (1.0 - np.exp((total + 0.65) / 0.45))
        elif total > 0.22:
            total = 0.22 + 0.2 * (1.0 - np.exp((0.22 - total) / 0.2))
        out[i] = total
