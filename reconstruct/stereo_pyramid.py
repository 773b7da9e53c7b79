"""Views cropped to their foreground, at several resolutions, each with its exact calibration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from .stereo_types import StereoOptions, StereoView

MARGIN_PX = 24
"""Image kept around the foreground at full resolution, so that nothing of it lies at the border."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """One view at one pyramid level."""

    image: np.ndarray
    """(H, W) float32."""
    mask: np.ndarray
    """(H, W) bool."""
    camera: PinholeCamera


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A view's foreground at all levels."""

    view: StereoView
    inner: tuple[slice, slice]
    """Rows and columns of the view that were kept."""
    levels: dict[int, Pixels]
    """Divisor of the resolution -> pixels."""

    def placed(self, values: np.ndarray, fill: float) -> np.ndarray:
        """A level's result (h, w) as an image of the view's size; `fill` outside its mask."""
        size = (self.inner[1].stop - self.inner[1].start, self.inner[0].stop - self.inner[0].start)
        if values.shape != size[::-1]:
            values = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        full = np.full(self.view.mask.shape, fill, np.float32)
        full[self.inner] = np.where(self.view.mask[self.inner], values, np.float32(fill))
        return full


def level_divisors(view: StereoView, middle_mm: float, options: StereoOptions) -> list[int]:
    """Pyramid levels, coarsest first: the finest one times powers of two until a pixel covers about coarse_mm."""
    finest = options.finest_level
    pixel_mm = middle_mm / view.camera.fx_px * finest
    halvings = max(round(math.log2(options.coarse_mm / pixel_mm)), 1)
    while halvings > 1 and min(view.image.shape) / (finest * 2**halvings) < 32:
        halvings -= 1
    return [finest * 2**k for k in range(halvings, -1, -1)]


def build_pyramid(view: StereoView, divisors: Sequence[int]) -> Pyramid:
    """Area averages of the view's foreground; sizes need not be divisible, the calibration follows exactly.

    Raises ValueError for a view without foreground.
    """
    x0, y0, width, height = _crop_window(view.mask)
    inner = (slice(y0, y0 + height), slice(x0, x0 + width))
    image, mask = np.ascontiguousarray(view.image[inner]), np.ascontiguousarray(view.mask[inner])
    camera = view.camera.cropped(x0, y0, width, height)
    levels = {}
    for divisor in divisors:
        size = (max(round(width / divisor), 1), max(round(height / divisor), 1))
        if divisor == 1:
            levels[divisor] = Pixels(image, mask, camera)
        else:
            share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            levels[divisor] = Pixels(
                cv2.resize(image, size, interpolation=cv2.INTER_AREA), share > 0.5, stretched(camera, *size)
            )
    return Pyramid(view, inner, levels)


def stretched(camera: PinholeCamera, width_px: int, height_px: int) -> PinholeCamera:
    """The camera of its image resized to any size, even with another aspect; pixels need not stay square."""
    across, down = width_px / camera.width_px, height_px / camera.height_px
    return replace(
        camera,
        width_px=width_px,
        height_px=height_px,
        fx_px=camera.fx_px * across,
        fy_px=camera.fy_px * down,
        cx_px=(camera.cx_px + 0.5) * across - 0.5,
        cy_px=(camera.cy_px + 0.5) * down - 0.5,
    )


def _crop_window(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width, height of the foreground with its margin."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        raise ValueError("a view without foreground has no pyramid")
    left, top = max(int(columns[0]) - MARGIN_PX, 0), max(int(rows[0]) - MARGIN_PX, 0)
    right = min(int(columns[-1]) + 1 + MARGIN_PX, mask.shape[1])
    bottom = min(int(rows[-1]) + 1 + MARGIN_PX, mask.shape[0])
    return left, top, right - left, bottom - top
