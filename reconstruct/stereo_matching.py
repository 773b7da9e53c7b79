"""ZNCC between a view and its neighbours over hypotheses of depth, with a streaming peak: no cost volume.

A hypothesis is a whole surface, w = base x factor with w = 1 / depth, so that windows follow the slant of the current
surface. Windows leave out the background of the reference view. Everything runs strip by strip in a few image rows of
memory; the kernels release the GIL, so strips run in threads.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from ..capture.camera_model import PinholeCamera
from .stereo_pyramid import Pixels

STRIP_ROWS = 96
VARIANCE_FLOOR = 2e-5
"""Added to both variances: a window without texture scores low instead of at random."""
LEAST_SHARE = 0.3
"""Windows with less foreground than this share have no score."""


@dataclass(frozen=True, eq=False)
class Window:
    """The reference view's side of the ZNCC."""

    pixels: Pixels
    radius_px: int
    mean: np.ndarray
    """(H, W) float32 mean of the window's foreground."""
    deviation: np.ndarray
    """(H, W) float32 sqrt(variance + VARIANCE_FLOOR), 0 where the window is too empty."""
    count: np.ndarray
    """(H, W) int16 foreground pixels in the window."""

    @classmethod
    def of(cls, pixels: Pixels, radius_px: int) -> "Window":
        mean, deviation = (np.zeros(pixels.image.shape, np.float32) for _ in range(2))
        count = np.zeros(pixels.image.shape, np.int16)
        _window_statistics(pixels.image, pixels.mask, radius_px, mean, deviation, count)
        return cls(pixels, radius_px, mean, deviation, count)


@dataclass(frozen=True, eq=False)
class Peak:
    """Best hypothesis of every pixel."""

    offset: np.ndarray
    """(H, W) float32 index of the hypothesis, between samples."""
    score: np.ndarray
    """(H, W) float32 ZNCC, -1 where no source sees the pixel."""


def projection(reference: PinholeCamera, source: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """A (3,3), b (3,) float64: the pixel (u, v) at depth z is seen by `source` at A (u, v, 1) + b / z, homogeneous."""
    rotation = source.cam_from_world.rotation @ reference.cam_from_world.rotation.T
    shift = source.cam_from_world.translation_mm - rotation @ reference.cam_from_world.translation_mm
    matrix = source.matrix_px @ rotation @ np.linalg.inv(reference.matrix_px)
    return matrix, source.matrix_px @ shift


def sweep(
    window: Window,
    sources: list[Pixels],
    inverse_depth: np.ndarray,
    factors: np.ndarray,
    pool: Executor,
    *,
    blur_scores: bool = False,
) -> Peak:
    """Try the surfaces with 1 / depth = inverse_depth x factor for every factor, in order.

    inverse_depth: (H, W) float32, defined everywhere. factors: (K,) float64, K >= 3, evenly spaced in log depth or
    nearly so. The score of a hypothesis is the mean of its best two sources. `blur_scores` averages the scores over
    3 x 3 px before the peak is taken.
    """
    height, width = inverse_depth.shape
    offset = np.zeros((height, width), np.float32)
    score = np.full((height, width), -1, np.float32)
    pairs = [(source.image, *projection(window.pixels.camera, source.camera)) for source in sources]

    def run(first: int) -> None:
        last = min(first + STRIP_ROWS, height)
        if not window.pixels.mask[first:last].any():
            return
        halo = 1 if blur_scores else 0
        top, bottom = max(first - halo, 0), min(last + halo, height)
        found = _sweep_strip(window, pairs, inverse_depth, factors, (top, bottom), blur_scores)
        for whole, part in zip((offset, score), found, strict=True):
            whole[first:last] = part[first - top : last - top]

    list(pool.map(run, range(0, height, STRIP_ROWS)))
    return Peak(offset, score)


def score_surface(window: Window, sources: list[Pixels], inverse_depth: np.ndarray, pool: Executor) -> np.ndarray:
    """(H, W) float32 score of one surface, -1 where no source sees it."""
    height, width = inverse_depth.shape
    out = np.full((height, width), -1, np.float32)
    pairs = [(source.image, *projection(window.pixels.camera, source.camera)) for source in sources]

    def run(first: int) -> None:
        last = min(first + STRIP_ROWS, height)
        _scores(window, pairs, inverse_depth, 1.0, (first, last), out[first:last])

    list(pool.map(run, range(0, height, STRIP_ROWS)))
    return out


Pair = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A source's image and its `projection`."""


def _scores(
    window: Window, pairs: list[Pair], inverse_depth: np.ndarray, factor: float, rows: tuple[int, int], out: np.ndarray
) -> None:
    """Score of one hypothesis for some rows, into `out` (rows, W)."""
    planes = np.empty((len(pairs), *out.shape), np.float32)
    pixels = window.pixels
    for plane, (image, matrix, shift) in zip(planes, pairs, strict=True):
        _zncc(
            pixels.image, pixels.mask, window.mean, window.deviation, window.count, window.radius_px,
            inverse_depth, float(factor), image, matrix, shift, rows[0], rows[1], plane,
        )  # fmt: skip
    _mean_of_best_two(planes, out)


def _sweep_strip(
    window: Window,
    pairs: list[Pair],
    inverse_depth: np.ndarray,
    factors: np.ndarray,
    rows: tuple[int, int],
    blur_scores: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Position and height of the peak for some rows."""
    shape = (rows[1] - rows[0], inverse_depth.shape[1])
    best, before, after, previous = (np.full(shape, -1, np.float32) for _ in range(4))
    index, score = np.full(shape, -1, np.int16), np.empty(shape, np.float32)
    for number, factor in enumerate(factors):
        _scores(window, pairs, inverse_depth, factor, rows, score)
        blurred = cv2.blur(score, (3, 3), borderType=cv2.BORDER_REPLICATE) if blur_scores else score
        _advance_peak(blurred, number, best, before, after, previous, index)
    position = np.empty(shape, np.float32)
    _peak_position(best, before, after, index, len(factors) - 1, position)
    return position, best


@numba.njit(cache=True, nogil=True)
def _window_statistics(image, mask, radius, mean, deviation, count):
    height, width = image.shape
    ones, first, second = np.zeros(width), np.zeros(width), np.zeros(width)
    least = LEAST_SHARE * (2 * radius + 1) ** 2
    for row in range(-radius, height):
        entering, leaving = row + radius, row - radius - 1
        for x in range(width):
            if entering < height and mask[entering, x]:
                value = np.float64(image[entering, x])
                ones[x] += 1
                first[x] += value
                second[x] += value * value
            if leaving >= 0 and mask[leaving, x]:
                value = np.float64(image[leaving, x])
                ones[x] -= 1
                first[x] -= value
                second[x] -= value * value
        if row < 0:
            continue
        n, s, ss = 0.0, 0.0, 0.0
        for x in range(min(radius, width)):
            n, s, ss = n + ones[x], s + first[x], ss + second[x]
        for x in range(width):
            if x + radius < width:
                n, s, ss = n + ones[x + radius], s + first[x + radius], ss + second[x + radius]
            if x - radius > 0:
                n, s, ss = n - ones[x - radius - 1], s - first[x - radius - 1], ss - second[x - radius - 1]
            if n >= least and mask[row, x]:
                m = s / n
                mean[row, x] = m
                deviation[row, x] = np.sqrt(max(ss / n - m * m, 0.0) + VARIANCE_FLOOR)
                count[row, x] = n


@numba.njit(cache=True, nogil=True, fastmath=True)
def _zncc(image, mask, mean, deviation, count, radius, inverse_depth, factor, source, matrix, shift, top, bottom, out):
    """ZNCC of rows top..bottom-1 against `source`, warped by the surface 1 / z = inverse_depth * factor."""
    height, width = image.shape
    side = 2 * radius + 1
    last_x, last_y = source.shape[1] - 1.0, source.shape[0] - 1.0
    # contributions of the last `side` rows, to be taken out again, and their sums per column
    ring_j = np.zeros((side, width), np.float32)
    ring_jj = np.zeros((side, width), np.float32)
    ring_ij = np.zeros((side, width), np.float32)
    sum_j, sum_jj, sum_ij = np.zeros(width), np.zeros(width), np.zeros(width)
    seen = np.zeros((side, width), np.bool_)
    a00, a01, a02 = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    a10, a11, a12 = matrix[1, 0], matrix[1, 1], matrix[1, 2]
    a20, a21, a22 = matrix[2, 0], matrix[2, 1], matrix[2, 2]
    for row in range(top - radius, bottom + radius):
        slot = (row + side) % side
        inside = 0 <= row < height
        for x in range(width):
            j, i = np.float32(0), np.float32(0)
            visible = False
            if inside and mask[row, x]:
                w = inverse_depth[row, x] * factor
                p2 = a20 * x + a21 * row + a22 + shift[2] * w
                u = (a00 * x + a01 * row + a02 + shift[0] * w) / p2
                v = (a10 * x + a11 * row + a12 + shift[1] * w) / p2
                if p2 > 0 and u >= 1 and v >= 1 and u < last_x - 1 and v < last_y - 1:
                    visible = True
                    x0, y0 = int(u), int(v)
                    fx, fy = np.float32(u - x0), np.float32(v - y0)
                    upper = source[y0, x0] + fx * (source[y0, x0 + 1] - source[y0, x0])
                    lower = source[y0 + 1, x0] + fx * (source[y0 + 1, x0 + 1] - source[y0 + 1, x0])
                    j = upper + fy * (lower - upper)
                    i = image[row, x]
            seen[slot, x] = visible
            sum_j[x] += j - ring_j[slot, x]
            sum_jj[x] += j * j - ring_jj[slot, x]
            sum_ij[x] += i * j - ring_ij[slot, x]
            ring_j[slot, x] = j
            ring_jj[slot, x] = j * j
            ring_ij[slot, x] = i * j
        centre = row - radius
        if centre < top or centre >= bottom:
            continue
        slot = (centre + side) % side
        line = out[centre - top]
        s, ss, si = 0.0, 0.0, 0.0
        for x in range(min(radius, width)):
            s, ss, si = s + sum_j[x], ss + sum_jj[x], si + sum_ij[x]
        for x in range(width):
            if x + radius < width:
                s, ss, si = s + sum_j[x + radius], ss + sum_jj[x + radius], si + sum_ij[x + radius]
            if x - radius > 0:
                s, ss, si = s - sum_j[x - radius - 1], ss - sum_jj[x - radius - 1], si - sum_ij[x - radius - 1]
            n = count[centre, x]
            if n == 0 or not seen[slot, x]:
                line[x] = -1.0
                continue
            m = s / n
            variance = max(ss / n - m * m, 0.0) + VARIANCE_FLOOR
            line[x] = (si / n - m * mean[centre, x]) / (deviation[centre, x] * np.sqrt(variance))


@numba.njit(cache=True, nogil=True)
def _mean_of_best_two(scores, out):
    sources, height, width = scores.shape
    for y in range(height):
        for x in range(width):
            first, second = scores[0, y, x], np.float32(-1)
            for k in range(1, sources):
                value = scores[k, y, x]
                if value > first:
                    first, second = value, first
                elif value > second:
                    second = value
            out[y, x] = first if sources == 1 else np.float32(0.5) * (first + second)


@numba.njit(cache=True, nogil=True)
def _advance_peak(score, number, best, before, after, previous, index):
    height, width = score.shape
    for y in range(height):
        for x in range(width):
            value = score[y, x]
            if value > best[y, x]:
                best[y, x], before[y, x], index[y, x] = value, previous[y, x], number
                after[y, x] = -1
            elif index[y, x] == number - 1:
                after[y, x] = value
            previous[y, x] = value


@numba.njit(cache=True, nogil=True)
def _peak_position(best, before, after, index, last, out):
    height, width = best.shape
    for y in range(height):
        for x in range(width):
            k = index[y, x]
            out[y, x] = k
            if 0 < k < last:
                curvature = min(before[y, x] - 2 * best[y, x] + after[y, x], -1e-6)
                shift = 0.5 * (before[y, x] - after[y, x]) / curvature
                out[y, x] = k + min(max(shift, -0.5), 0.5)
