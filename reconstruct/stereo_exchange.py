"""A view's depth seen from another view: what neighbours propose to each other, and whether they agree."""

import numba
import numpy as np

from ..capture.camera_model import PinholeCamera
from .stereo_matching import projection


def seen_from(
    depth_mm: np.ndarray, good: np.ndarray, camera: PinholeCamera, other: PinholeCamera, jump: float
) -> np.ndarray:
    """(H', W') float32 depth in `other` of the surface that `camera` has as depth (H, W), NaN where it shows nothing.

    Squares of four good pixels whose depths differ by less than the share `jump` are drawn as two triangles; the
    nearest surface wins, and surfaces seen from behind are left out.
    """
    out = np.full((other.height_px, other.width_px), np.inf, np.float32)
    matrix, shift = projection(camera, other)
    _draw_surface(np.ascontiguousarray(depth_mm, np.float32), good, matrix, shift, np.float32(jump), out)
    out[np.isinf(out)] = np.nan
    return out


def confirmed_by(
    depth_mm: np.ndarray, camera: PinholeCamera, other_mm: np.ndarray, other: PinholeCamera, tolerance_px: float
) -> np.ndarray:
    """(H, W) int8: 1 where the other view's depth leads back to the pixel within tolerance_px, 0 where it does not,
    -1 where the other view has no depth there."""
    out = np.full(depth_mm.shape, -1, np.int8)
    _lead_back(
        depth_mm, other_mm, *projection(camera, other), *projection(other, camera), np.float32(tolerance_px), out
    )
    return out


@numba.njit(cache=True, nogil=True)
def _draw_surface(depth, good, matrix, shift, jump, out):
    height, width = depth.shape
    rows, columns = out.shape
    x = np.empty(4)
    y = np.empty(4)
    w = np.empty(4)
    for v in range(height - 1):
        for u in range(width - 1):
            if not (good[v, u] and good[v, u + 1] and good[v + 1, u] and good[v + 1, u + 1]):
                continue
            low = min(min(depth[v, u], depth[v, u + 1]), min(depth[v + 1, u], depth[v + 1, u + 1]))
            high = max(max(depth[v, u], depth[v, u + 1]), max(depth[v + 1, u], depth[v + 1, u + 1]))
            if not high - low < jump * low:
                continue
            ahead = True
            for k in range(4):  # corners: upper left, upper right, lower left, lower right
                uu, vv = u + k % 2, v + k // 2
                z = np.float64(depth[vv, uu])
                p2 = (matrix[2, 0] * uu + matrix[2, 1] * vv + matrix[2, 2]) * z + shift[2]
                ahead = ahead and p2 > 0
                x[k] = ((matrix[0, 0] * uu + matrix[0, 1] * vv + matrix[0, 2]) * z + shift[0]) / p2
                y[k] = ((matrix[1, 0] * uu + matrix[1, 1] * vv + matrix[1, 2]) * z + shift[1]) / p2
                w[k] = 1 / p2
            if not ahead:
                continue
            for triangle in range(2):
                a, b, c = (0, 1, 2) if triangle == 0 else (3, 2, 1)
                area = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
                if area <= 1e-9:
                    continue
                left = max(0, int(np.ceil(min(x[a], x[b], x[c]) - 1e-6)))
                right = min(columns - 1, int(np.floor(max(x[a], x[b], x[c]) + 1e-6)))
                top = max(0, int(np.ceil(min(y[a], y[b], y[c]) - 1e-6)))
                bottom = min(rows - 1, int(np.floor(max(y[a], y[b], y[c]) + 1e-6)))
                for row in range(top, bottom + 1):
                    for column in range(left, right + 1):
                        fb = ((column - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (row - y[a])) / area
                        fc = ((x[b] - x[a]) * (row - y[a]) - (column - x[a]) * (y[b] - y[a])) / area
                        if fb >= -1e-6 and fc >= -1e-6 and fb + fc <= 1 + 1e-6:
                            z = 1 / (w[a] + fb * (w[b] - w[a]) + fc * (w[c] - w[a]))
                            if z < out[row, column]:
                                out[row, column] = z


@numba.njit(cache=True, nogil=True)
def _lead_back(depth, other, there_a, there_b, back_a, back_b, tolerance, out):
    height, width = depth.shape
    rows, columns = other.shape
    for v in range(height):
        for u in range(width):
            z = np.float64(depth[v, u])
            if not z > 0:
                continue
            p2 = there_a[2, 0] * u + there_a[2, 1] * v + there_a[2, 2] + there_b[2] / z
            x = (there_a[0, 0] * u + there_a[0, 1] * v + there_a[0, 2] + there_b[0] / z) / p2
            y = (there_a[1, 0] * u + there_a[1, 1] * v + there_a[1, 2] + there_b[1] / z) / p2
            if not (p2 > 0 and x >= 0 and y >= 0 and x < columns - 1 and y < rows - 1):
                continue
            x0, y0 = int(x), int(y)
            fx, fy = x - x0, y - y0
            upper = other[y0, x0] * (1 - fx) + other[y0, x0 + 1] * fx
            lower = other[y0 + 1, x0] * (1 - fx) + other[y0 + 1, x0 + 1] * fx
            found = upper * (1 - fy) + lower * fy
            if not found > 0:
                continue
            q2 = back_a[2, 0] * x + back_a[2, 1] * y + back_a[2, 2] + back_b[2] / found
            uu = (back_a[0, 0] * x + back_a[0, 1] * y + back_a[0, 2] + back_b[0] / found) / q2
            vv = (back_a[1, 0] * x + back_a[1, 1] * y + back_a[1, 2] + back_b[1] / found) / q2
            out[v, u] = 1 if (uu - u) ** 2 + (vv - v) ** 2 < tolerance * tolerance else 0
