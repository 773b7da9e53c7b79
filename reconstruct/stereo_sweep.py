"""The multi-view surface sweep of one view: a plane sweep at a coarse level, then offsets from the current surface.

Sweeping offsets lets the matching window follow the slant of the skin; each level halves the step, so the cost grows
linearly with the number of pixels.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from .stereo_matching import Peak, Pixels, Window, sweep
from .stereo_smooth import fill_from_nearest, median, smooth_depth
from .stereo_types import StereoOptions, StereoView

MARGIN_PX = 24
"""Image kept around the foreground at full resolution; windows at its border need it."""
PASSES = ((3.0, 0.5, 5, 1.0), (1.25, 0.25, 3, 2.0))
"""Per refinement pass: half range and increment in source pixels, median size, factor of the data weight."""
COARSE_RADIUS_PX = 2


@dataclass(frozen=True, eq=False)
class SweptDepth:
    """Depth of one view before any check."""

    depth_mm: np.ndarray
    """(H, W) float32, NaN outside the mask."""
    score: np.ndarray
    """(H, W) float32, 0 outside the mask."""
    step: float
    """Relative change of depth that moves the nearest source by 1 px at full resolution."""


def sweep_view(
    reference: StereoView,
    sources: Sequence[StereoView],
    range_mm: tuple[float, float],
    pool: Executor,
    options: StereoOptions,
    proxy_mm: np.ndarray | None = None,
) -> SweptDepth:
    """Depth of `reference` by comparison with `sources`, nearest first.

    Args:
        range_mm: nearest and farthest depth looked for.
        proxy_mm: (H, W) depth of a proxy surface, NaN where it has none; the search then stays within
            options.proxy_range_mm of it (where it is NaN: of its nearest pixel).
    """
    window_px = _crop_window(reference.mask)
    if window_px is None:
        return _empty(reference)
    x0, y0, width, height = window_px
    inner = np.s_[y0 : y0 + height, x0 : x0 + width]
    levels = _levels(reference, range_mm, options)
    own = _pyramid(reference.image[inner], reference.mask[inner], reference.camera.cropped(*window_px), levels)
    others = [_pyramid(*_cropped(source), levels) for source in sources]
    middle_mm = sum(range_mm) / 2
    baseline_mm = float(np.linalg.norm(reference.camera.centre_mm - sources[0].camera.centre_mm))
    full_step = middle_mm / (reference.camera.fx_px * baseline_mm)

    coarsest = levels[0]
    step = full_step * coarsest
    ref, srcs = own[coarsest], [pyramid[coarsest] for pyramid in others]
    if proxy_mm is None:
        depth = _plane_sweep(ref, srcs, range_mm, step, pool)
    else:
        depth = _proxy_sweep(ref, srcs, _resized_proxy(proxy_mm[inner], ref), step, middle_mm, pool, options)
    score = np.zeros_like(depth)
    for level in levels[1:] if len(levels) > 1 else levels:
        ref, srcs = own[level], [pyramid[level] for pyramid in others]
        depth = cv2.resize(depth, ref.image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        depth, score = _refine(ref, srcs, depth, full_step * level, middle_mm, pool, options)
    return _placed(reference, inner, depth, score, levels[-1], full_step)


def _refine(
    ref: Pixels,
    sources: list[Pixels],
    depth: np.ndarray,
    step: float,
    middle_mm: float,
    pool: Executor,
    options: StereoOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Two passes over offsets from `depth` (H, W); returns depth and score."""
    window = Window.of(ref, options.radius_px)
    score = np.zeros_like(depth)
    for half, increment, size, factor in PASSES:
        offsets = np.linspace(-half, half, 2 * round(half / increment) + 1) * step
        peak = sweep(window, sources, 1 / depth, 1 / (1 + offsets), pool)
        seen = peak.score > -1
        found = np.where(seen, depth * (1 + offsets[0] + peak.offset * np.float32(increment * step)), depth)
        score = np.where(seen, peak.score, np.float32(0))
        depth = smooth_depth(
            median(found, size), score, ref.mask, pool,
            steps=options.smooth_steps, data_weight=options.smooth_data * factor, cut=4 * step * middle_mm,
        )  # fmt: skip
    return depth, score


def _plane_sweep(
    ref: Pixels, sources: list[Pixels], range_mm: tuple[float, float], step: float, pool: Executor
) -> np.ndarray:
    """Coarse depth from fronto-parallel planes half a source pixel apart."""
    near, far = range_mm
    count = max(math.ceil((far - near) / ((far + near) / 2) / (0.5 * step)) + 1, 5)
    planes = near * (far / near) ** (np.arange(count) / (count - 1))
    window = Window.of(ref, COARSE_RADIUS_PX)
    peak = sweep(window, sources, np.ones_like(ref.image), 1 / planes, pool, blur_scores=True)
    depth = (near * (far / near) ** (np.maximum(peak.offset, 0) / (count - 1))).astype(np.float32)
    good = (peak.score > 0.4) & ref.mask & (peak.offset > 0) & (peak.offset < count - 1)
    depth = fill_from_nearest(depth, good) if good.any() else np.full_like(depth, (near + far) / 2)
    depth = median(depth, 5)
    return smooth_depth(depth, np.where(good, peak.score, 0), ref.mask, pool, steps=20, data_weight=0.2, cut=8.0)


def _proxy_sweep(
    ref: Pixels,
    sources: list[Pixels],
    proxy: np.ndarray,
    step: float,
    middle_mm: float,
    pool: Executor,
    options: StereoOptions,
) -> np.ndarray:
    """Coarse depth from offsets around a proxy surface; where nothing matches, the proxy itself."""
    reach = options.proxy_range_mm / middle_mm
    count = max(math.ceil(2 * reach / (0.5 * step)) + 1, 5)
    offsets = np.linspace(-reach, reach, count)
    window = Window.of(ref, COARSE_RADIUS_PX)
    peak = sweep(window, sources, 1 / proxy, 1 / (1 + offsets), pool, blur_scores=True)
    good = (peak.score > 0.3) & ref.mask
    ratio = np.where(good, 1 + offsets[0] + peak.offset * (offsets[1] - offsets[0]), 1.0).astype(np.float32)
    ratio = smooth_depth(
        median(ratio, 5), np.where(good, peak.score, 0.3), ref.mask, pool, steps=20, data_weight=0.2
    )  # fmt: skip
    return proxy * ratio


def _resized_proxy(proxy_mm: np.ndarray, ref: Pixels) -> np.ndarray:
    """The proxy at a level's size, complete."""
    good = np.isfinite(proxy_mm)
    if not good.any():
        raise ValueError("the proxy's depth has no finite pixel inside the foreground")
    weight = cv2.resize(good.astype(np.float32), ref.image.shape[::-1], interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(good, proxy_mm, 0).astype(np.float32), ref.image.shape[::-1], interpolation=cv2.INTER_AREA)
    return fill_from_nearest(total / np.maximum(weight, 1e-6), weight > 0.5).astype(np.float32)


def _levels(view: StereoView, range_mm: tuple[float, float], options: StereoOptions) -> list[int]:
    """Pyramid levels as divisors, coarsest first: powers of two times the finest level."""
    pixel_mm = sum(range_mm) / 2 / view.camera.fx_px
    halvings = max(round(math.log2(options.coarse_mm / (pixel_mm * options.finest_level))), 1)
    while halvings > 1 and min(view.image.shape) / (options.finest_level * 2**halvings) < 24:
        halvings -= 1
    return [options.finest_level * 2**k for k in range(halvings, -1, -1)]


def _crop_window(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """x, y, width, height of the foreground with a margin; None without foreground."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        return None
    left, top = max(int(columns[0]) - MARGIN_PX, 0), max(int(rows[0]) - MARGIN_PX, 0)
    right = min(int(columns[-1]) + 1 + MARGIN_PX, mask.shape[1])
    bottom = min(int(rows[-1]) + 1 + MARGIN_PX, mask.shape[0])
    return left, top, right - left, bottom - top


def _cropped(view: StereoView) -> tuple[np.ndarray, np.ndarray, PinholeCamera]:
    window_px = _crop_window(view.mask) or (0, 0, view.mask.shape[1], view.mask.shape[0])
    x0, y0, width, height = window_px
    inner = np.s_[y0 : y0 + height, x0 : x0 + width]
    return view.image[inner], view.mask[inner], view.camera.cropped(*window_px)


def _pyramid(
    image: np.ndarray, mask: np.ndarray, camera: PinholeCamera, levels: list[int]
) -> dict[int, Pixels]:
    """The view at every level by area averages; sizes need not be divisible, the calibration follows exactly."""
    pyramid = {}
    for level in levels:
        width, height = max(round(image.shape[1] / level), 1), max(round(image.shape[0] / level), 1)
        across, down = width / image.shape[1], height / image.shape[0]
        scaled = replace(
            camera,
            width_px=width,
            height_px=height,
            fx_px=camera.fx_px * across,
            fy_px=camera.fy_px * down,
            cx_px=(camera.cx_px + 0.5) * across - 0.5,
            cy_px=(camera.cy_px + 0.5) * down - 0.5,
        )
        if level == 1:
            pyramid[level] = Pixels(np.ascontiguousarray(image), np.ascontiguousarray(mask), scaled)
        else:
            share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            pyramid[level] = Pixels(small, share > 0.5, scaled)
    return pyramid


def _placed(
    view: StereoView, inner: tuple[slice, slice], depth: np.ndarray, score: np.ndarray, level: int, step: float
) -> SweptDepth:
    """The crop's result in an image of the view's size, NaN outside the mask."""
    size = (inner[1].stop - inner[1].start, inner[0].stop - inner[0].start)
    if level > 1:
        depth = cv2.resize(depth, size, interpolation=cv2.INTER_LINEAR)
        score = cv2.resize(score, size, interpolation=cv2.INTER_LINEAR)
    empty = _empty(view)
    mask = view.mask[inner]
    empty.depth_mm[inner] = np.where(mask, depth, np.float32(np.nan))
    empty.score[inner] = np.where(mask, score, np.float32(0))
    return replace(empty, step=step)


def _empty(view: StereoView) -> SweptDepth:
    return SweptDepth(
        np.full(view.image.shape, np.nan, np.float32), np.zeros(view.image.shape, np.float32), 0.0
    )
