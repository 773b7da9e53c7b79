"""What a camera sees of a triangle mesh: depth per pixel by a z-buffer, exact in perspective."""

import numba
import numpy as np

from ..capture.camera_model import PinholeCamera


def depth_from_mesh(camera: PinholeCamera, vertices_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(H, W) float32 depth along the optical axis of the nearest surface through each pixel's centre, NaN beside it.

    vertices_mm: (N, 3) world. triangles: (T, 3) int. Both sides of a triangle are seen; triangles that reach behind
    the camera are left out. Raises ValueError when the camera has distortion.
    """
    if camera.has_distortion:
        raise ValueError(f"the z-buffer takes an undistorted camera, but {camera.distortion=}")
    pixels, depth_mm = camera.project(np.asarray(vertices_mm, np.float64).reshape(-1, 3))
    inverse = np.zeros((camera.height_px, camera.width_px))
    _draw(pixels, depth_mm, np.ascontiguousarray(triangles, np.int64).reshape(-1, 3), inverse)
    with np.errstate(divide="ignore"):
        return np.where(inverse > 0, 1 / inverse, np.nan).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _draw(pixels, depth, triangles, inverse):
    height, width = inverse.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if not (depth[a] > 1e-6 and depth[b] > 1e-6 and depth[c] > 1e-6):
            continue
        ax, ay = pixels[a, 0], pixels[a, 1]
        bx, by = pixels[b, 0], pixels[b, 1]
        cx, cy = pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-12:
            continue
        left = max(0.0, np.ceil(min(ax, bx, cx) - 1e-9))
        right = min(width - 1.0, np.floor(max(ax, bx, cx) + 1e-9))
        top = max(0.0, np.ceil(min(ay, by, cy) - 1e-9))
        bottom = min(height - 1.0, np.floor(max(ay, by, cy) + 1e-9))
        # 1 / depth is linear in the image
        wa, wb, wc = 1 / depth[a], 1 / depth[b], 1 / depth[c]
        for row in range(int(top), int(bottom) + 1):
            for column in range(int(left), int(right) + 1):
                fb = ((column - ax) * (cy - ay) - (cx - ax) * (row - ay)) / area
                fc = ((bx - ax) * (row - ay) - (column - ax) * (by - ay)) / area
                if fb >= -1e-9 and fc >= -1e-9 and fb + fc <= 1 + 1e-9:
                    w = wa + fb * (wb - wa) + fc * (wc - wa)
                    if w > inverse[row, column]:
                        inverse[row, column] = w
