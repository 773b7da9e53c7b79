"""The multi-view surface sweep of one view: a plane sweep at a coarse level, then offsets from the current surface.

Sweeping offsets lets the matching window follow the slant of the skin; each level halves the step, so the cost grows
linearly with the number of pixels.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np

from .stereo_matching import Window, score_surface, sweep
from .stereo_pyramid import Pixels, Pyramid
from .stereo_smooth import fill_from_nearest, median, smooth_depth, texture_over_noise
from .stereo_types import StereoOptions

Pass = tuple[float, float, int, float]
"""Half range and increment in source pixels, size of the median, factor of the data weight."""
SEARCH: Pass = (3.0, 0.5, 5, 1.0)
POLISH: Pass = (1.25, 0.25, 3, 2.0)
COARSE_RADIUS_PX = 2
CLEAR_SNR = 2.0
"""Texture over noise above which depth needs no further smoothing."""


@dataclass(eq=False)
class ViewSweep:
    """Depth of one view in the making."""

    reference: Pyramid
    sources: Sequence[Pyramid]
    """Nearest first."""
    range_mm: tuple[float, float]
    options: StereoOptions
    pool: Executor
    depth: np.ndarray
    """(h, w) float32 mm at the level reached last, defined everywhere."""
    score: np.ndarray
    """(h, w) float32, 0 where nothing was matched."""

    @classmethod
    def start(
        cls,
        reference: Pyramid,
        sources: Sequence[Pyramid],
        range_mm: tuple[float, float],
        options: StereoOptions,
        pool: Executor,
        proxy_mm: np.ndarray | None = None,
    ) -> "ViewSweep":
        """The coarse sweep: over planes, or around a proxy's depth (H, W) of the whole view, NaN where it has none."""
        made = cls(reference, sources, range_mm, options, pool, np.zeros((0, 0)), np.zeros((0, 0)))
        coarsest = max(reference.levels)
        if proxy_mm is None:
            made.depth = _plane_sweep(*made.pixels(coarsest), range_mm, made.step(coarsest), pool)
        else:
            proxy = _resized_proxy(proxy_mm[reference.inner], reference.levels[coarsest])
            made.depth = _proxy_sweep(*made.pixels(coarsest), proxy, made.step(coarsest), pool, options)
        made.score = np.zeros_like(made.depth)
        return made

    @property
    def middle_mm(self) -> float:
        return sum(self.range_mm) / 2

    def pixels(self, level: int) -> tuple[Pixels, list[Pixels]]:
        """The view and its sources at a level."""
        return self.reference.levels[level], [source.levels[level] for source in self.sources]

    def pixel_mm(self, level: int) -> float:
        """Size of a pixel on the subject."""
        return self.middle_mm / self.reference.view.camera.fx_px * level

    def step(self, level: int) -> float:
        """Relative change of depth that moves the nearest source by one pixel."""
        centres = (self.reference.view.camera.centre_mm, self.sources[0].view.camera.centre_mm)
        return self.pixel_mm(level) / float(np.linalg.norm(centres[0] - centres[1]))

    def window(self, level: int) -> Window:
        least, most = self.options.radius_px
        radius_px = int(np.clip(round(self.options.radius_mm / self.pixel_mm(level)), least, most))
        return Window.of(self.reference.levels[level], radius_px)

    def refine(self, level: int, passes: Sequence[Pass]) -> None:
        """Passes over offsets from the current surface, at a level."""
        ref, sources = self.pixels(level)
        depth = cv2.resize(self.depth, ref.image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        window, step = self.window(level), self.step(level)
        for half, increment, size, factor in passes:
            offsets = np.linspace(-half, half, 2 * round(half / increment) + 1) * step
            peak = sweep(window, sources, 1 / depth, 1 / (1 + offsets), self.pool)
            seen = peak.score > -1
            factors = 1 + offsets[0] + peak.offset * np.float32(increment * step)
            found = np.where(seen, depth * factors, depth).astype(np.float32)
            self.score = np.where(seen, peak.score, np.float32(0))
            data_weight, steps = self._smoothing(level, self.score)
            depth = smooth_depth(
                median(found, size), self.score, ref.mask, self.pool,
                steps=steps, data_weight=factor * data_weight, cut=4 * step * self.middle_mm,
            )  # fmt: skip
        self.depth = depth

    def consider(self, proposals: Sequence[np.ndarray], level: int) -> None:
        """Take other views' depths (h, w), NaN where they have none, wherever they match better than our own."""
        ref, sources = self.pixels(level)
        window = self.window(level)
        best = score_surface(window, sources, 1 / self.depth, self.pool)
        depth = self.depth.copy()
        for proposal in proposals:
            given = np.isfinite(proposal)
            surface = np.where(given, proposal, self.depth).astype(np.float32)
            score = np.where(given, score_surface(window, sources, 1 / surface, self.pool), np.float32(-1))
            better = score > best
            depth[better], best[better] = surface[better], score[better]
        data_weight, steps = self._smoothing(level, best)
        self.depth = smooth_depth(
            median(depth, 5), np.maximum(best, 0), ref.mask, self.pool,
            steps=steps, data_weight=data_weight, cut=4 * self.step(level) * self.middle_mm,
        )  # fmt: skip

    def _smoothing(self, level: int, score: np.ndarray) -> tuple[float, int]:
        """Data weight and number of Jacobi steps for a blur of smooth_mm; of up to twice that on weak texture."""
        snr = texture_over_noise(score[self.reference.levels[level].mask])
        blur_mm = self.options.smooth_mm * float(np.clip(CLEAR_SNR / max(snr, 1e-6), 1.0, 2.0))
        reach_px = max(blur_mm / self.pixel_mm(level), 0.3)
        return 1 / reach_px**2, int(np.clip(6 * reach_px**2, 4, 64))


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
    score = np.where(good, peak.score, 0)
    return smooth_depth(median(depth, 5), score, ref.mask, pool, steps=20, data_weight=0.2, cut=8.0)


def _proxy_sweep(
    ref: Pixels, sources: list[Pixels], proxy: np.ndarray, step: float, pool: Executor, options: StereoOptions
) -> np.ndarray:
    """Coarse depth from offsets around a proxy surface (h, w); where nothing matches, the proxy itself."""
    reach = options.proxy_range_mm / float(np.median(proxy[ref.mask] if ref.mask.any() else proxy))
    count = max(math.ceil(2 * reach / (0.5 * step)) + 1, 5)
    offsets = np.linspace(-reach, reach, count)
    peak = sweep(Window.of(ref, COARSE_RADIUS_PX), sources, 1 / proxy, 1 / (1 + offsets), pool, blur_scores=True)
    good = (peak.score > 0.3) & ref.mask
    ratio = np.where(good, 1 + offsets[0] + peak.offset * (offsets[1] - offsets[0]), 1.0).astype(np.float32)
    score = np.where(good, peak.score, 0)
    return proxy * smooth_depth(median(ratio, 5), score, ref.mask, pool, steps=20, data_weight=0.2)


def _resized_proxy(proxy_mm: np.ndarray, ref: Pixels) -> np.ndarray:
    """The proxy at a level's size, complete."""
    good = np.isfinite(proxy_mm)
    if not good.any():
        raise ValueError("the proxy's depth has no finite pixel inside the foreground")
    size = ref.image.shape[::-1]
    share = cv2.resize(good.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(good, proxy_mm, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return fill_from_nearest(total / np.maximum(share, 1e-6), share > 0.5).astype(np.float32)
