"""Confidence-weighted smoothing of a depth map that keeps depth jumps, and filling from the nearest good pixel."""

from concurrent.futures import Executor

import cv2
import numba
import numpy as np

BAND_ROWS = 256


def smooth_depth(
    depth: np.ndarray,
    score: np.ndarray,
    mask: np.ndarray,
    pool: Executor,
    *,
    steps: int,
    data_weight: float,
    cut: float = np.inf,
) -> np.ndarray:
    """Jacobi steps towards the neighbours' mean, tied to the measured depth by data_weight x max(score, 0)^2.

    depth: (H, W) float32 in any unit; neighbours differing by more than `cut` (same unit) do not pull at each other.
    Pixels outside the mask keep their values and pull at nobody. Returns a new (H, W) float32.
    """
    weight = (data_weight * np.square(np.maximum(score, 0))).astype(np.float32)
    now, then = depth.astype(np.float32, copy=True), depth.astype(np.float32, copy=True)
    bands = range(0, depth.shape[0], BAND_ROWS)
    for _ in range(steps):
        list(
            pool.map(
                lambda top, now=now, then=then: _jacobi(depth, weight, mask, now, then, top, BAND_ROWS, cut), bands
            )
        )
        now, then = then, now
    return now


def fill_from_nearest(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(H, W) values with each pixel that is not good replaced by its nearest good one. Needs one good pixel."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~good, return_distances=False, return_indices=True)
    return values[rows, columns]


def median(values: np.ndarray, size: int) -> np.ndarray:
    """Median over size x size px, size 3 or 5, of (H, W) float32."""
    return cv2.medianBlur(np.ascontiguousarray(values, np.float32), size)


@numba.njit(cache=True, nogil=True)
def _jacobi(data, weight, mask, now, out, top, rows, cut):
    height, width = data.shape
    for y in range(top, min(top + rows, height)):
        for x in range(width):
            if not mask[y, x]:
                continue
            here = now[y, x]
            total, share = weight[y, x] * data[y, x], weight[y, x]
            if y > 0 and mask[y - 1, x] and abs(now[y - 1, x] - here) < cut:
                total += now[y - 1, x]
                share += 1
            if y < height - 1 and mask[y + 1, x] and abs(now[y + 1, x] - here) < cut:
                total += now[y + 1, x]
                share += 1
            if x > 0 and mask[y, x - 1] and abs(now[y, x - 1] - here) < cut:
                total += now[y, x - 1]
                share += 1
            if x < width - 1 and mask[y, x + 1] and abs(now[y, x + 1] - here) < cut:
                total += now[y, x + 1]
                share += 1
            out[y, x] = total / share if share > 0 else here
