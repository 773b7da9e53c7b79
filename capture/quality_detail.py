"""Sharpness and noise of one frame, at the scale of the skin in millimetres."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .quality_face import FaceWindow
from .raw import RawImage

Image = NDArray[np.float32]

# Detail of this size (Gaussian sigma) is looked at, where the pixels are small enough for it.
DETAIL_MM = 0.15
DETAIL_SMALLEST_PX = 0.8
# Skin darker than this part of the face's median lies in shadow.
SHADOW = 0.3
DARKEST = 0.01
HIGHEST_CONTRAST = 0.3

MID_GREY = 0.18
BLOCK = 8
QUIET_PERCENTILE = 20
# The 20th percentile of a variance estimated from n normal numbers lies about 0.84 standard errors low.
QUIET_BIAS = 1 - 0.84 * np.sqrt(2 / (BLOCK * BLOCK - 1))
# With fewer blocks on the face than this a pixel is about a millimetre: skin itself differs from pixel to pixel.
FEWEST_BLOCKS = 200
# White noise is as strong between pixels further apart; texture is not.
TEXTURE_GROWTH = 1.5


def sharpness(green: Image, window: FaceWindow, noise_gain: float) -> float:
    """Contrast of fine detail in the lit part of a face, without the noise's share; 0 when nothing is lit.

    Args:
        green: (H, W) float32 green of the whole picture, shares of the white level.
        window: the face in a picture of that size.
        noise_gain: variance of the noise over the signal; 0 when unknown.
    """
    sigma_px = max(DETAIL_MM / window.mm_per_px, DETAIL_SMALLEST_PX)
    box = window.cut(green)
    fine, middle, base = (cv2.GaussianBlur(box, (0, 0), factor * sigma_px) for factor in (1, 2, 4))
    large = cv2.GaussianBlur(box, (0, 0), 8 * sigma_px)
    if not window.mask.any():
        return 0.0
    lit = window.mask & (large > max(SHADOW * float(np.median(large[window.mask])), DARKEST))
    if lit.sum() < 50:
        return 0.0
    contrast = (fine[lit] - middle[lit]) / base[lit]
    # white noise of variance v leaves v times the kernel's energy
    a, b = sigma_px, 2 * sigma_px
    kernel_energy = 1 / (4 * np.pi * a * a) + 1 / (4 * np.pi * b * b) - 1 / (np.pi * (a * a + b * b))
    noise = kernel_energy * noise_gain * float(np.mean(1 / base[lit]))
    energy = float(np.mean(np.minimum(contrast**2, HIGHEST_CONTRAST**2))) - noise
    return float(np.sqrt(max(energy, 0.0)))


def noise_gain(raw: RawImage, window: FaceWindow) -> tuple[float | None, bool]:
    """Variance of the noise over the signal, in shares of the white level; and whether it is only an upper bound.

    Each green pixel is compared with the four greens diagonally around it, which cancels shading; the quietest blocks
    of the face count. `window` belongs to a picture of half the raw size. None when too little is lit.
    """
    row, column = divmod(raw.cfa.index("G"), 2)
    one, other = window.cut(raw.plane(row, column)), window.cut(raw.plane(1 - row, 1 - column))
    rows = (-1, 0) if row == 0 else (0, 1)
    columns = (0, 1) if column == 1 else (-1, 0)
    around = sum(_shifted(other, y, x) for y in rows for x in columns) / 4
    centre = _shifted(one, 0, 0)
    near = _blocks(centre - around).var(axis=1, ddof=1) / (1 + 1 / 4)
    # the same comparison between pixels twice as far apart
    wide = sum(_shifted(one, y, x) for y in (-1, 1) for x in (-1, 1)) / 4
    far = _blocks(centre - wide).var(axis=1, ddof=1) / (1 + 1 / 4)
    signal = _blocks((centre + around) / 2).mean(axis=1) / raw.range_dn
    inside = _blocks(window.mask[1:-1, 1:-1]).all(axis=1) & (signal > 2 * DARKEST)
    if inside.sum() < 12:
        return None, True
    scale = raw.range_dn**2 * signal[inside]
    near_gain, far_gain = (float(np.percentile(v[inside] / scale, QUIET_PERCENTILE)) for v in (near, far))
    too_coarse = inside.sum() < FEWEST_BLOCKS or far_gain > TEXTURE_GROWTH * near_gain
    return near_gain / QUIET_BIAS, bool(too_coarse)


def noise_at_mid_grey(gain: float) -> float:
    """Noise over signal at 18 % of the white level, for a noise whose variance is `gain` times the signal."""
    return float(np.sqrt(max(gain, 0.0) / MID_GREY))


def _shifted(image: Image, y: int, x: int) -> Image:
    height, width = image.shape
    return image[1 + y : height - 1 + y, 1 + x : width - 1 + x]


def _blocks(image: np.ndarray) -> np.ndarray:
    """(h, w) -> (blocks, 64), dropping what does not fill a block."""
    height, width = (side - side % BLOCK for side in image.shape)
    cut = image[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return cut.transpose(0, 2, 1, 3).reshape(-1, BLOCK * BLOCK)
