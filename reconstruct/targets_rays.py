"""Rays through a lens with distortion: the way from a pixel of the distorted image into the world."""

import numba
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import Array


def ray_directions(camera: PinholeCamera, pixels: Array) -> Array:
    """Unit directions (N, 3) in world axes of the rays through image points (N, 2) = (column, row)."""
    middle, focal = np.array([camera.cx_px, camera.cy_px]), np.array([camera.fx_px, camera.fy_px])
    bent = np.ascontiguousarray((np.asarray(pixels, np.float64) - middle) / focal)
    straight = _undistort_all(bent, np.array(camera.distortion, np.float64))
    rays = np.column_stack([straight, np.ones(len(straight))]) @ camera.cam_from_world.rotation
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


@numba.njit(cache=True, nogil=True)
def undistort(x: float, y: float, distortion: np.ndarray) -> tuple[float, float]:
    """x/z, y/z of the ray that OpenCV's distortion (k1, k2, p1, p2) bends to (x, y); by Newton's method."""
    k1, k2, p1, p2 = distortion[0], distortion[1], distortion[2], distortion[3]
    u, v = x, y
    if k1 == 0.0 and k2 == 0.0 and p1 == 0.0 and p2 == 0.0:
        return u, v
    for _ in range(20):
        r2 = u * u + v * v
        radial = 1 + r2 * (k1 + r2 * k2)
        slope = k1 + 2 * r2 * k2  # of the radial factor along r2
        off_x = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u) - x
        off_y = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v - y
        du_x = radial + 2 * u * u * slope + 2 * p1 * v + 6 * p2 * u
        cross = 2 * u * v * slope + 2 * p1 * u + 2 * p2 * v
        dv_y = radial + 2 * v * v * slope + 6 * p1 * v + 2 * p2 * u
        determinant = du_x * dv_y - cross * cross
        step_u = (off_x * dv_y - off_y * cross) / determinant
        step_v = (off_y * du_x - off_x * cross) / determinant
        u, v = u - step_u, v - step_v
        if abs(step_u) + abs(step_v) < 1e-13:
            break
    return u, v


@numba.njit(cache=True, nogil=True)
def _undistort_all(bent: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    straight = np.empty_like(bent)
    for i in range(len(bent)):
        straight[i, 0], straight[i, 1] = undistort(bent[i, 0], bent[i, 1], distortion)
    return straight
