"""Which triangle covers which texel of a UV map: exact rasterisation, interpolation, padding, bilinear look-up.

Convention (DESIGN.md section 3): UV origin bottom-left as in OBJ, maps stored top row first, texel centres at integer
indices. `texel_from_uv` and `uv_from_texel` are the one place where the two are converted.
"""

from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True, slots=True)
class UvRaster:
    """Triangle and barycentric coordinates of every texel."""

    triangle: np.ndarray
    """(H, W) int32 triangle index, -1 outside the chart."""
    barycentric: np.ndarray
    """(H, W, 2) float32 weights of a triangle's second and third corner; the first one's is 1 minus their sum."""

    @property
    def valid(self) -> np.ndarray:
        """(H, W) bool: texels covered by a triangle."""
        return self.triangle >= 0

    def rows(self, first: int, last: int) -> "UvRaster":
        """A view of rows first..last-1."""
        return UvRaster(self.triangle[first:last], self.barycentric[first:last])


def texel_from_uv(uv: np.ndarray, size: int) -> np.ndarray:
    """(..., 2) float64 texel coordinates (column, row) of UV coordinates; texel centres are at integers."""
    uv = np.asarray(uv, np.float64)
    return np.stack([uv[..., 0] * size - 0.5, (1.0 - uv[..., 1]) * size - 0.5], -1)


def uv_from_texel(texel: np.ndarray, size: int) -> np.ndarray:
    """(..., 2) float64 UV coordinates of texel coordinates (column, row)."""
    texel = np.asarray(texel, np.float64)
    return np.stack([(texel[..., 0] + 0.5) / size, 1.0 - (texel[..., 1] + 0.5) / size], -1)


def rasterize_uv(uv: np.ndarray, uv_triangles: np.ndarray, size: int) -> UvRaster:
    """Rasterise a UV layout at size x size: a texel belongs to the triangle that holds its centre.

    uv: (U, 2) float. uv_triangles: (T, 3) int. A centre exactly on a shared edge goes to the lower triangle index;
    where a layout overlaps itself the lower index wins as well. Triangles outside the unit square are cut off.
    """
    triangle = np.full((size, size), -1, np.int32)
    barycentric = np.zeros((size, size, 2), np.float32)
    _fill_triangles(texel_from_uv(uv, size), np.ascontiguousarray(uv_triangles, np.int32), triangle, barycentric)
    return UvRaster(triangle, barycentric)


def pad_raster(raster: UvRaster, uv: np.ndarray, uv_triangles: np.ndarray, texels: int) -> UvRaster:
    """Extend the charts by `texels` texels: new ones take their nearest covered texel's triangle, extrapolated.

    Anything computed from the padded raster is then already safe for bilinear look-ups at chart borders.
    """
    triangle, barycentric = raster.triangle.copy(), raster.barycentric.copy()
    corners = texel_from_uv(uv, len(triangle))
    for _ in range(texels):
        _pad_once(corners, np.ascontiguousarray(uv_triangles, np.int32), triangle.copy(), triangle, barycentric)
    return UvRaster(triangle, barycentric)


def interpolate(raster: UvRaster, triangles: np.ndarray, vertex_values: np.ndarray) -> np.ndarray:
    """(H, W, C) float32: vertex values (N, C) or (N,) interpolated over the raster; 0 outside.

    triangles: (T, 3) int indices into `vertex_values` (a model's `triangles`, or `uv_triangles` for values per UV).
    """
    values = np.ascontiguousarray(np.asarray(vertex_values, np.float32).reshape(len(vertex_values), -1))
    out = np.zeros((*raster.triangle.shape, values.shape[1]), np.float32)
    flat = np.arange(raster.triangle.size)
    gather(raster, flat, triangles, values, out.reshape(-1, values.shape[1]))
    return out


def gather(raster: UvRaster, texels: np.ndarray, triangles: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Interpolate `values` (N, C) float32 at flat texel indices (M,) into `out` (M, C) float32."""
    _gather(
        raster.triangle.reshape(-1),
        raster.barycentric.reshape(-1, 2),
        texels,
        np.ascontiguousarray(triangles, np.int32),
        values,
        out,
    )


def dilate(values: np.ndarray, valid: np.ndarray, texels: int) -> np.ndarray:
    """A copy of `values` (H, W) or (H, W, C) float32 with invalid texels within `texels` of a valid one filled.

    Each ring takes the mean of the valid ones among its eight neighbours.
    """
    out = np.array(values, np.float32).reshape(*valid.shape, -1)
    known = valid.copy()
    for _ in range(texels):
        known_before = known.copy()
        _dilate_once(out, known_before, known)
    return out.reshape(values.shape)


def sample_uv(values: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear look-up of a square map (S, S) or (S, S, C) at `uv` (M, 2): (M,) or (M, C) float32, clamped at edges."""
    maps = np.ascontiguousarray(values, np.float32).reshape(*values.shape[:2], -1)
    out = np.zeros((len(uv), maps.shape[2]), np.float32)
    _bilinear(maps, texel_from_uv(uv, len(maps)), out)
    return out[:, 0] if values.ndim == 2 else out


@numba.njit(cache=True)
def _fill_triangles(corners, triangles, triangle, barycentric):
    size = triangle.shape[0]
    # The tolerance closes hairline gaps that rounding would leave along shared edges; `triangle < 0` keeps it exact.
    slack = 1e-9
    for t in range(len(triangles)):
        x0, y0 = corners[triangles[t, 0], 0], corners[triangles[t, 0], 1]
        x1, y1 = corners[triangles[t, 1], 0], corners[triangles[t, 1], 1]
        x2, y2 = corners[triangles[t, 2], 0], corners[triangles[t, 2], 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-12:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2) - 1e-6)))
        right = min(size - 1, int(np.floor(max(x0, x1, x2) + 1e-6)))
        top = max(0, int(np.ceil(min(y0, y1, y2) - 1e-6)))
        bottom = min(size - 1, int(np.floor(max(y0, y1, y2) + 1e-6)))
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                b1 = ((column - x0) * (y2 - y0) - (x2 - x0) * (row - y0)) / area
                b2 = ((x1 - x0) * (row - y0) - (column - x0) * (y1 - y0)) / area
                if b1 >= -slack and b2 >= -slack and b1 + b2 <= 1.0 + slack and triangle[row, column] < 0:
                    triangle[row, column] = t
                    barycentric[row, column, 0] = b1
                    barycentric[row, column, 1] = b2


@numba.njit(cache=True)
def _pad_once(corners, triangles, before, triangle, barycentric):
    size = triangle.shape[0]
    for row in range(size):
        for column in range(size):
            if before[row, column] >= 0:
                continue
            best, nearest = -1, 9.0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    y, x = row + dy, column + dx
                    if 0 <= y < size and 0 <= x < size and before[y, x] >= 0 and dx * dx + dy * dy < nearest:
                        nearest = dx * dx + dy * dy
                        best = before[y, x]
            if best >= 0:
                x0, y0 = corners[triangles[best, 0], 0], corners[triangles[best, 0], 1]
                x1, y1 = corners[triangles[best, 1], 0], corners[triangles[best, 1], 1]
                x2, y2 = corners[triangles[best, 2], 0], corners[triangles[best, 2], 1]
                area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
                b1 = ((column - x0) * (y2 - y0) - (x2 - x0) * (row - y0)) / area
                b2 = ((x1 - x0) * (row - y0) - (column - x0) * (y1 - y0)) / area
                # A sliver would throw the point far away: hold the weights within one triangle of the border.
                barycentric[row, column, 0] = min(2.0, max(-1.0, b1))
                barycentric[row, column, 1] = min(2.0, max(-1.0, b2))
                triangle[row, column] = best


@numba.njit(cache=True, parallel=True)
def _gather(triangle, barycentric, texels, triangles, values, out):
    for i in numba.prange(len(texels)):
        t = triangle[texels[i]]
        if t < 0:
            continue
        b1, b2 = barycentric[texels[i], 0], barycentric[texels[i], 1]
        b0 = np.float32(1.0) - b1 - b2
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for c in range(values.shape[1]):
            out[i, c] = b0 * values[i0, c] + b1 * values[i1, c] + b2 * values[i2, c]


@numba.njit(cache=True)
def _dilate_once(out, before, known):
    height, width, channels = out.shape
    for row in range(height):
        for column in range(width):
            if before[row, column]:
                continue
            count = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    y, x = row + dy, column + dx
                    if 0 <= y < height and 0 <= x < width and before[y, x]:
                        count += 1
            if count == 0:
                continue
            for c in range(channels):
                total = 0.0
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        y, x = row + dy, column + dx
                        if 0 <= y < height and 0 <= x < width and before[y, x]:
                            total += out[y, x, c]
                out[row, column, c] = total / count
            known[row, column] = True


@numba.njit(cache=True)
def _bilinear(maps, texel, out):
    height, width, channels = maps.shape
    for i in range(len(texel)):
        x = min(max(texel[i, 0], 0.0), width - 1.0)
        y = min(max(texel[i, 1], 0.0), height - 1.0)
        x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
        fx, fy = x - x0, y - y0
        for c in range(channels):
            top = maps[y0, x0, c] * (1.0 - fx) + maps[y0, x0 + 1, c] * fx
            bottom = maps[y0 + 1, x0, c] * (1.0 - fx) + maps[y0 + 1, x0 + 1, c] * fx
            out[i, c] = top * (1.0 - fy) + bottom * fy
