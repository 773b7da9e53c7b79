"""Confidence-weighted smoothing of a depth map that keeps depth jumps, and filling from the nearest good pixel."""

from concurrent.futures import Executor

import cv2
import numba
import numpy as np

BAND_ROWS = 256
GOOD_SCORE = 0.85
"""Of well-textured skin without much noise."""


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
    """Jacobi steps towards the neighbours' mean, tied to the measured depth by data_weight x certainty of the score.

    depth: (H, W) float32 in any unit; neighbours differing by more than `cut` (same unit) do not pull at each other.
    Pixels outside the mask keep their values and pull at nobody. Returns a new (H, W) float32.
    """
    weight = (data_weight * certainty(score)).astype(np.float32)
    now, then = depth.astype(np.float32, copy=True), depth.astype(np.float32, copy=True)
    bands = range(0, depth.shape[0], BAND_ROWS)
    for _ in range(steps):

        def step(top: int, now: np.ndarray = now, then: np.ndarray = then) -> None:
            _jacobi(depth, weight, mask, now, then, top, BAND_ROWS, cut)

        list(pool.map(step, bands))
        now, then = then, now
    return now


def certainty(score: np.ndarray) -> np.ndarray:
    """Inverse noise variance of a depth from its ZNCC, 1 at GOOD_SCORE: signal over noise is c / (1 - c)."""
    clipped = np.clip(score, 0, 0.95)
    return np.float32((1 - GOOD_SCORE) / GOOD_SCORE) * clipped / (1 - clipped)


def texture_over_noise(score: np.ndarray) -> float:
    """Contrast of the texture over the noise, per pixel, from the ZNCC of well-matched pixels (any shape).

    Two views of a surface with texture variance S and noise variance N correlate by S / (S + N). Near 0.5 and below,
    chance alone explains the correlation.
    """
    given = score[score > 0]
    if given.size == 0:
        return 0.0
    middle = min(float(np.median(given[:: max(given.size // 200_000, 1)])), 0.9999)
    return float(np.sqrt(middle / (1 - middle)))


def fill_from_nearest(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(H, W) values with each pixel that is not good replaced by its nearest good one. Needs one good pixel."""
    from scipy.ndimage import distance_transform_edt

    nearest = np.asarray(distance_transform_edt(~good, return_distances=False, return_indices=True))
    return values[nearest[0], nearest[1]]


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
