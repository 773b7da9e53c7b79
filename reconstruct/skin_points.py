"""Points of the surface at which skin is evaluated, with all that a component of the skin may ask about them."""

from dataclasses import dataclass

import numba
import numpy as np

from .skin_frame import EYE_LEFT, EYE_RIGHT, MOUTH_OPENING, Area, SkinFrame
from .uv_raster import UvRaster, gather

_EYEBALL, _MOUTH = int(Area.EYEBALL), int(Area.MOUTH)


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """Points of the surface at which skin is evaluated: the covered texels of a strip, or any others."""

    position_mm: np.ndarray
    """(M, 3) float32 on the neutral shape."""
    normal: np.ndarray
    """(M, 3) float32, nearly unit."""
    footprint_mm: np.ndarray
    """(M,) float32: side of the patch of skin that a value stands for; detail below it is averaged out."""
    weights: np.ndarray
    """(M, len(Area)) float32."""
    outline_mm: np.ndarray
    """(M, 4) float32 frontal distance to each outline of SkinFrame, positive inside, at least -30."""
    free: np.ndarray
    """(M,) float32 in [0, 1]: 0 on eyeballs, lid margins, mouth and rims, 1 from about 2-3 mm away from them."""
    base_albedo: np.ndarray
    """(M, 3) float32 linear RGB of the model."""


def vertex_table(frame: SkinFrame, albedo: np.ndarray) -> np.ndarray:
    """(N, 11 + len(Area)) float32: everything that surface points interpolate; albedo (N, 3) vertex colours."""
    return np.column_stack(
        [frame.vertices_mm, frame.normals, frame.mm_per_uv, frame.rim_mm, albedo, frame.weights]
    ).astype(np.float32)


def surface_points(
    frame: SkinFrame, table: np.ndarray, raster: UvRaster, texels: np.ndarray, map_size: int
) -> SurfacePoints:
    """Points at flat texel indices (M,) of a raster, or of a strip of one, of a map with `map_size` columns.

    table: from `vertex_table`.
    """
    values = np.empty((len(texels), table.shape[1]), np.float32)
    gather(raster, texels, frame.triangles, table, values)
    return _points(frame, values, values[:, 6] / np.float32(map_size))


def vertex_points(frame: SkinFrame, footprint_mm: float, albedo: np.ndarray) -> SurfacePoints:
    """The model's vertices themselves as surface points."""
    table = vertex_table(frame, albedo)
    return _points(frame, table, np.full(len(table), footprint_mm, np.float32))


def _points(frame: SkinFrame, values: np.ndarray, footprint: np.ndarray) -> SurfacePoints:
    position = np.ascontiguousarray(values[:, :3])
    weights = np.ascontiguousarray(values[:, 11:])
    outline = np.empty((len(values), 4), np.float32)
    free = np.empty(len(values), np.float32)
    _outline_distances(position, weights, np.ascontiguousarray(values[:, 7]), frame.outlines, outline, free)
    return SurfacePoints(
        position,
        np.ascontiguousarray(values[:, 3:6]),
        np.ascontiguousarray(footprint),
        weights,
        outline,
        free,
        np.ascontiguousarray(values[:, 8:11]),
    )


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@numba.njit(cache=True)
def ramp(low, high, x):
    """`smoothstep` for use in kernels."""
    t = min(1.0, max(0.0, (x - low) / (high - low)))
    return t * t * (3.0 - 2.0 * t)


@numba.njit(cache=True)
def _signed_distance(x, y, curve):
    best, inside, n = 1e9, False, len(curve)
    for k in range(n):
        ax, ay = curve[k, 0], curve[k, 1]
        bx, by = curve[(k + 1) % n, 0], curve[(k + 1) % n, 1]
        dx, dy = bx - ax, by - ay
        t = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12)))
        ex, ey = x - ax - t * dx, y - ay - t * dy
        best = min(best, ex * ex + ey * ey)
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * dx:
            inside = not inside
    return np.sqrt(best) if inside else -np.sqrt(best)


@numba.njit(cache=True, parallel=True)
def _outline_distances(position, weights, rim, outlines, out, free):
    low, high = np.empty((len(outlines), 3)), np.empty((len(outlines), 3))
    for o in range(len(outlines)):
        for c in range(3):
            # Lips and lids reach a little behind their outlines, never through to the back of the head.
            low[o, c] = outlines[o, :, c].min() - (15.0 if c == 2 else 6.0)
            high[o, c] = outlines[o, :, c].max() + (15.0 if c == 2 else 6.0)
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        hard = weights[i, _EYEBALL] + weights[i, _MOUTH]
        if hard > 0.999:
            # Eyeballs and mouth are never skin: no need to measure there.
            free[i] = 0.0
            out[i, :] = -30.0
            continue
        for o in range(len(outlines)):
            near = low[o, 0] < x < high[o, 0] and low[o, 1] < y < high[o, 1] and low[o, 2] < z < high[o, 2]
            out[i, o] = max(-30.0, _signed_distance(x, y, outlines[o])) if near else -30.0
        still = max(0.0, 1.0 - hard) * ramp(0.2, 2.4, rim[i])
        still *= ramp(0.6, 2.8, -out[i, EYE_RIGHT]) * ramp(0.6, 2.8, -out[i, EYE_LEFT])
        free[i] = still * ramp(-0.4, 1.8, -out[i, MOUTH_OPENING])
