"""Normals of a depth map in camera axes."""

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera

STRIP_ROWS = 512


def normals_from_depth(depth_mm: np.ndarray, camera: PinholeCamera, sigma_px: float) -> np.ndarray:
    """(H, W, 3) float32 unit normals towards the camera (z < 0), NaN where the depth (H, W) is NaN.

    The depth is blurred by a Gaussian of sigma_px first, its plane fitted where neighbours are missing, so normals at
    a border stay unbiased.
    """
    height, width = depth_mm.shape
    normals = np.full((height, width, 3), np.nan, np.float32)
    halo = int(np.ceil(4 * sigma_px)) + 1
    columns, rows = (axis.astype(np.float32) for axis in camera.normalised_grid())
    for top in range(0, height, STRIP_ROWS):
        first, last = max(top - halo, 0), min(top + STRIP_ROWS + halo, height)
        strip = depth_mm[first:last]
        if np.isnan(strip).all():
            continue
        slope_x, slope_y, smooth = _gradient(strip, sigma_px)
        inner = slice(top - first, min(top + STRIP_ROWS, height) - first)
        normals[top : top + STRIP_ROWS] = _normals(
            smooth[inner], slope_x[inner], slope_y[inner], columns, rows[top : top + STRIP_ROWS], camera
        )
    normals[np.isnan(depth_mm)] = np.nan
    return normals


def _gradient(depth: np.ndarray, sigma_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slopes per px in x and y, and the smoothed depth: Gaussian-weighted fits of a plane to the valid pixels."""
    valid = np.isfinite(depth)
    weight = valid.astype(np.float32)
    middle = np.float32(np.mean(depth[valid]))
    value = np.where(valid, depth - middle, 0).astype(np.float32)
    reach = int(np.ceil(4 * sigma_px))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    g = np.exp(-0.5 * np.square(offsets / np.float32(sigma_px)))
    g /= g.sum()
    # correlation with (offset x g) gives the first moments of the neighbourhood, in units of sigma
    first, second = g * offsets / sigma_px, g * np.square(offsets / sigma_px)

    def moment(plane: np.ndarray, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(plane, cv2.CV_32F, kx, ky, borderType=cv2.BORDER_CONSTANT)

    w, wx, wy = moment(weight, g, g), moment(weight, first, g), moment(weight, g, first)
    wxx, wyy, wxy = moment(weight, second, g), moment(weight, g, second), moment(weight, first, first)
    z, zx, zy = moment(value, g, g), moment(value, first, g), moment(value, g, first)
    w = np.maximum(w, 1e-6)
    mx, my, mz = wx / w, wy / w, z / w
    cxx, cyy, cxy = wxx / w - mx * mx, wyy / w - my * my, wxy / w - mx * my
    cxz, cyz = zx / w - mx * mz, zy / w - my * mz
    determinant = np.maximum(cxx * cyy - cxy * cxy, 1e-4)
    ax, ay = (cyy * cxz - cxy * cyz) / determinant, (cxx * cyz - cxy * cxz) / determinant
    return ax / np.float32(sigma_px), ay / np.float32(sigma_px), mz - ax * mx - ay * my + middle


def _normals(
    z: np.ndarray, zx: np.ndarray, zy: np.ndarray, columns: np.ndarray, rows: np.ndarray, camera: PinholeCamera
) -> np.ndarray:
    """Cross product of the surface's derivatives along x and y; z and its slopes per px, (h, W)."""
    x, y = columns[None, :], rows[:, None]
    # X = (x z, y z, z) with x, y linear in the pixel: n ~ X_v x X_u, divided by z
    a, b = zx * np.float32(camera.fx_px), zy * np.float32(camera.fy_px)
    normal = np.stack([a, b, -(z + x * a + y * b)], axis=2)
    length = np.sqrt((normal * normal).sum(2, keepdims=True))
    return normal / np.maximum(length, 1e-12)
