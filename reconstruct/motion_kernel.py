"""Compiled passes over pixels for the registration of a rigid head: where points go, and the normal equations."""

import math

import numba
import numpy as np

NOWHERE = -100.0
"""Pixel position given to points that are unknown."""


@numba.njit(cache=True, nogil=True)
def flow(points, rotation, shift, fx, fy, cx, cy, out):
    """Pixels (h, w, 2) float32 where points (h, w, 3) are after the motion."""
    height, width = points.shape[0], points.shape[1]
    for i in range(height):
        for j in range(width):
            x, y, z = points[i, j, 0], points[i, j, 1], points[i, j, 2]
            c = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + shift[2]
            if not c > 0.0:
                out[i, j, 0] = out[i, j, 1] = NOWHERE
                continue
            a = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + shift[0]
            b = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + shift[1]
            out[i, j, 0] = fx * a / c + cx
            out[i, j, 1] = fy * b / c + cy


@numba.njit(cache=True, nogil=True)
def equations(points, rotation, shift, fx, fy, centre, across, down, rest, trust, spread, outlier, matrix, right):
    """Add one channel's Gauss-Newton equations for a turn about `centre` and a shift.

    across, down, rest, trust (h, w): picture's slopes, residual, weight (0: not used). matrix (6, 6), right (6,).
    """
    height, width = rest.shape
    row = np.empty(6)
    inverse2 = 1.0 / (spread * spread)
    for i in range(height):
        for j in range(width):
            weight = trust[i, j]
            if weight <= 0.0:
                continue
            px, py, pz = points[i, j, 0], points[i, j, 1], points[i, j, 2]
            x = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * pz + shift[0]
            y = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * pz + shift[1]
            z = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * pz + shift[2]
            if not z > 0.0:
                continue
            # change of the value for a small motion d of the point: g . d
            gx = across[i, j] * fx / z
            gy = down[i, j] * fy / z
            gz = -(gx * x + gy * y) / z
            ax, ay, az = x - centre[0], y - centre[1], z - centre[2]
            row[0] = ay * gz - az * gy
            row[1] = az * gx - ax * gz
            row[2] = ax * gy - ay * gx
            row[3], row[4], row[5] = gx, gy, gz
            r = rest[i, j]
            ratio = r / (outlier * spread)
            robust = 1.0 + ratio * ratio
            k = weight * inverse2 / (robust * robust)
            if not math.isfinite(k * r):
                continue
            for p in range(6):
                right[p] += k * row[p] * r
                for q in range(p + 1):
                    matrix[p, q] += k * row[p] * row[q]
    for p in range(6):
        for q in range(p):
            matrix[q, p] = matrix[p, q]
