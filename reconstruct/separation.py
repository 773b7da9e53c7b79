"""Separate the two photographs of a polarised pair into light from inside the skin (diffuse) and gloss (specular).

    parallel = D / 2 + S          crossed = gain * (D / 2 + leak * S)

`gain` and `leak` as in polarisers.json (reconstruct/polariser_calibration.py). Gloss has the colour of the flash, so
the difference of two colour channels (over the flash's own colour) holds none of it: that difference tells the gain,
and the shift between the two frames, without any assumption on the skin but that it is not grey.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.develop import LinearImage
from ..capture.errors import UserError

WHITE = (1.0, 1.0, 1.0)
BLOCK_PX = 16
FEWEST_BLOCKS = 24
LEAST_COLOUR = 0.004
"""Colour difference, as share of the white level, below which a block of pixels tells nothing."""
PLAUSIBLE_GAIN = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class SeparatedPair:
    """diffuse, specular (H, W, 3) float32 in the units of the parallel frame, negative noise kept; diffuse as if no
    analyser were there.

    gain, leak: the corrections made (leak: mean of the map, if a map was given); gain_sigma: standard error of a gain
    that was estimated, 0 if given. clipped (H, W) bool: burnt out, or outside one of the frames. shift_px: mean motion
    (right, down) of the crossed against the parallel frame that was undone; residual: what the model leaves of the
    colour difference of the pair, relative rms.
    """

    light: str
    diffuse: np.ndarray
    specular: np.ndarray
    gain: float
    gain_sigma: float
    leak: float
    clipped: np.ndarray
    shift_px: tuple[float, float]
    residual: float


def separate_pair(
    parallel: LinearImage,
    cross: LinearImage,
    *,
    light: str = "",
    mask: np.ndarray | None = None,
    gain: float | None = None,
    leak: float | np.ndarray = 0.0,
    white: tuple[float, float, float] = WHITE,
    register: bool = True,
) -> SeparatedPair:
    """Separate one pair.

    Args:
        mask: (H, W) bool, the skin; where gain, shift and residual are measured. The whole picture when left out.
        gain: brightness of the crossed over the parallel frame for matt skin; estimated from the pair when None.
        leak: share of the gloss that the crossed frame keeps; a number or a map (H, W), see polar_leak.py.
        white: colour of the flash in the images' channels.
        register: find and undo the shift between the two frames (sub-pixel).
    Raises UserError for frames of two sizes, black frames, and where the gain cannot be told or is implausible.
    """
    name = f"light {light}" if light else "pair"
    if parallel.rgb.shape != cross.rgb.shape:
        raise UserError(
            f"{name}: parallel frame of {parallel.rgb.shape[1]}x{parallel.rgb.shape[0]} px, crossed frame of "
            f"{cross.rgb.shape[1]}x{cross.rgb.shape[0]} px; both must come from one body at one setting"
        )
    inside = np.ones(parallel.clipped.shape, bool) if mask is None else mask
    for kind, frame in (("parallel", parallel), ("crossed", cross)):
        if is_black(frame, inside):
            raise UserError(f"{name}: the {kind} frame is black; did the flash fire?")
    crossed, clipped = cross.rgb, parallel.clipped | cross.clipped
    shift = (0.0, 0.0)
    if register:
        shift = pair_shift(parallel, cross, inside, white)
        if np.hypot(*shift) > 0.02:
            crossed, outside = shifted(crossed, shift)
            clipped = parallel.clipped | (shifted(cross.clipped.astype(np.float32), shift)[0] > 0.01) | outside
    sigma = 0.0
    if gain is None:
        gain, sigma = estimate_gain(parallel.rgb, crossed, inside & ~clipped, white, name)
    diffuse, specular = split(parallel.rgb, crossed, gain, leak)
    return SeparatedPair(
        light, diffuse, specular, gain, sigma, float(np.mean(leak)), clipped, shift,
        pair_residual(parallel.rgb, crossed, gain, inside & ~clipped, white),
    )  # fmt: skip


def split(
    parallel: np.ndarray, crossed: np.ndarray, gain: float, leak: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse and specular (H, W, 3) float32 of two registered frames."""
    share = np.asarray(leak, np.float32)
    share = share[..., None] if share.ndim == 2 else share
    crossed = crossed * np.float32(1 / gain)
    specular = (parallel - crossed) / (1 - share)
    crossed -= share * specular
    crossed *= 2
    return crossed, specular


def is_black(frame: LinearImage, mask: np.ndarray) -> bool:
    """Is there next to no light on the skin?"""
    every = max(round((mask.size / 400_000) ** 0.5), 1)
    values = frame.rgb[::every, ::every, 1][mask[::every, ::every]]
    return len(values) == 0 or float(np.percentile(values, 98)) < 0.002


def colour_difference(rgb: np.ndarray, white: tuple[float, float, float]) -> np.ndarray:
    """(H, W) float32: red minus blue over the flash's colour; gloss cancels."""
    return rgb[..., 0] * np.float32(1 / white[0]) - rgb[..., 2] * np.float32(1 / white[2])


def estimate_gain(
    parallel: np.ndarray,
    crossed: np.ndarray,
    mask: np.ndarray,
    white: tuple[float, float, float] = WHITE,
    name: str = "pair",
) -> tuple[float, float]:
    """Brightness of the crossed over the parallel frame, and its standard error.

    The median over blocks of the ratio of their colour differences: sums over blocks, so that noise does not bias it.
    Raises UserError when the skin has too little colour, or for a gain that no pair has.
    """
    size = (mask.shape[1] // BLOCK_PX, mask.shape[0] // BLOCK_PX)
    if min(size) < 1:
        raise UserError(f"{name}: images of {mask.shape[1]}x{mask.shape[0]} px are too small to compare a pair")
    window = np.s_[: size[1] * BLOCK_PX, : size[0] * BLOCK_PX]
    weight = mask[window].astype(np.float32)

    def blocks(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, size, interpolation=cv2.INTER_AREA)

    covered = blocks(weight)
    first = blocks(colour_difference(parallel[window], white) * weight)
    second = blocks(colour_difference(crossed[window], white) * weight)
    good = (covered > 0.5) & (np.minimum(first, second) > LEAST_COLOUR * covered)
    if good.sum() < FEWEST_BLOCKS:
        raise UserError(
            f"{name}: too little skin colour in the pair to compare its exposures ({int(good.sum())} blocks of "
            f"{BLOCK_PX} px); give the gains of a calibration"
        )
    ratio, importance = (second[good] / first[good]).astype(np.float64), first[good].astype(np.float64)
    gain = _weighted_median(ratio, importance)
    spread = 1.4826 * _weighted_median(np.abs(ratio - gain), importance)
    near = np.abs(ratio - gain) < 3 * spread + 1e-6
    gain = float(np.average(ratio[near], weights=importance[near]))
    if not PLAUSIBLE_GAIN[0] < gain < PLAUSIBLE_GAIN[1]:
        raise UserError(
            f"{name}: the crossed frame is {gain:.2f} times as bright as the parallel one (skin colour); expected "
            "about 1. Are both frames of the same flash?"
        )
    return gain, float(spread / np.sqrt(near.sum()))


def pair_residual(
    parallel: np.ndarray, crossed: np.ndarray, gain: float, mask: np.ndarray, white: tuple[float, float, float]
) -> float:
    """Relative rms difference of the pair's colour differences, smoothed over 2 px so that noise counts less."""
    first = cv2.GaussianBlur(colour_difference(parallel, white), (0, 0), 2.0)
    second = cv2.GaussianBlur(colour_difference(crossed, white), (0, 0), 2.0)
    good = mask & (first > 2 * LEAST_COLOUR)
    if not good.any():
        return float("nan")
    return float(np.sqrt(np.mean((second[good] / gain - first[good]) ** 2) / np.mean(first[good] ** 2)))


def pair_shift(
    parallel: LinearImage, cross: LinearImage, mask: np.ndarray, white: tuple[float, float, float]
) -> tuple[float, float]:
    """Shift (right, down) in px of the crossed against the parallel frame, by Gauss-Newton on colour differences."""
    scale = max(1, round(max(mask.shape) / 1500))
    size = (mask.shape[1] // scale, mask.shape[0] // scale)

    def prepared(frame: LinearImage) -> np.ndarray:
        image = cv2.resize(colour_difference(frame.rgb, white), size, interpolation=cv2.INTER_AREA)
        image = cv2.GaussianBlur(image, (0, 0), 1.5)
        return np.sqrt(np.maximum(image, 0) + np.float32(LEAST_COLOUR))  # noise about equal everywhere

    first, second = prepared(parallel), prepared(cross)
    bad = (parallel.clipped | cross.clipped | ~mask).astype(np.float32)
    good = cv2.resize(bad, size, interpolation=cv2.INTER_AREA) < 0.01
    shift = np.zeros(2)
    for sigma in (4.0, 1.0):
        a, b = cv2.GaussianBlur(first, (0, 0), sigma), cv2.GaussianBlur(second, (0, 0), sigma)
        for _ in range(6):
            moved, outside = shifted(b, (float(shift[0]), float(shift[1])))
            mean = (a + moved) / 2
            across = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=1 / 8)[good & ~outside].astype(np.float64)
            down = cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=1 / 8)[good & ~outside].astype(np.float64)
            rest = (moved - a)[good & ~outside].astype(np.float64)
            # a gain between the frames is a constant factor, so let one be fitted along
            level = a[good & ~outside].astype(np.float64)
            spread = 1.4826 * np.median(np.abs(rest)) + 1e-9
            weight = 1 / (1 + (rest / (3 * spread)) ** 2) ** 2
            basis = np.stack([across, down, level])
            matrix = (basis * weight) @ basis.T
            step = np.linalg.solve(matrix + 1e-9 * np.trace(matrix) * np.eye(3), (basis * weight) @ rest)[:2]
            shift -= np.clip(step, -2, 2)
            if np.hypot(*step) < 0.005:
                break
    return float(shift[0] * scale), float(shift[1] * scale)


def shifted(image: np.ndarray, shift_px: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The picture at x + shift, y + shift (undoes a motion by `shift_px`), and where nothing is known (H, W) bool."""
    matrix = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]], np.float64)
    size = (image.shape[1], image.shape[0])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x = np.arange(size[0]) + shift_px[0]
    y = np.arange(size[1]) + shift_px[1]
    outside = ((x < 0) | (x > size[0] - 1))[None] | ((y < 0) | (y > size[1] - 1))[:, None]
    return moved, outside


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
