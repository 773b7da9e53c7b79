"""Do the two frames of a pair show parallel and crossed light? Brightness, highlights, and the highlight's leak.

The highlight on skin has the colour of the lamp, the light from inside the skin that of the skin. Where the difference
parallel - crossed shows a highlight, a crossed frame that leaks is paler than the same skin in the other crossed
frames, whose highlights lie elsewhere. That needs no model of shape or gloss.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .plan import Shot
from .quality_face import face_window
from .quality_models import Take

Image = NDArray[np.float32]

SMOOTH_MM = 3.0
# Skin darker than this part of a frame's median lies in shadow: its colour is noise and light from other skin.
SHADOW = 0.3
FEWEST_OTHERS = 3
# Highlights count from this part of the strongest; below the other, skin is free of them.
HIGHLIGHT, NO_HIGHLIGHT = 0.3, 0.1
FEWEST_PIXELS = 20
ROUNDS = 6
# Error of the leak over the residual of its fit: the largest of 90 pairs of ten virtual subjects was 0.74.
LEAK_ERROR = 0.8
# Saturated in the parallel frame: the highlight is stronger than it looks.
SATURATED = 0.9


@dataclass(frozen=True)
class PairFigures:
    """`ratio`: crossed over parallel brightness of the face. `highlight`: strength of what is brighter in the parallel
    frame over the face's level; `counter`: the same for the crossed frame. `leak`: share of the highlight left in the
    crossed frame, None when it could not be measured; it is right to about `leak_error`."""

    ratio: float
    highlight: float
    counter: float
    leak: float | None
    leak_error: float = 0.0


def pair_figures(take: Take) -> dict[int, PairFigures]:
    """Figures of every pair of which both frames are there and lit; by pair number."""
    lit = {p: pair for p, pair in take.pairs.items() if not any(take.is_dark(shot) for shot in pair)}
    frames = {shot.index: _smooth(take, shot) for pair in lit.values() for shot in pair}
    paleness = {p: _paleness(take, cross, frames[cross.index]) for p, (_, cross) in lit.items()}
    figures = {}
    for pair, (parallel, cross) in lit.items():
        mask = _mask(take, cross)
        one, other = frames[parallel.index], frames[cross.index]
        if one.shape != other.shape:
            continue  # bodies of different sensors
        others = [image for p, image in paleness.items() if p != pair and image.shape == mask.shape]
        ratio = take.facts[cross.index].face_level / take.facts[parallel.index].face_level
        gain = float(np.median(one[mask].mean(axis=1)) / max(np.median(other[mask].mean(axis=1)), 1e-6))
        level = float(one[mask].mean())
        difference = (one.mean(axis=2) - gain * other.mean(axis=2))[mask] / level
        highest, lowest = np.percentile(difference, [99.5, 0.5])
        leak, error = None, 0.0
        if len(others) >= FEWEST_OTHERS:
            leak, error = _leak(one, other, mask, paleness[pair], np.stack(others))
        figures[pair] = PairFigures(float(ratio), float(highest), float(-lowest), leak, error)
    return figures


def _mask(take: Take, shot: Shot) -> NDArray[np.bool_]:
    return face_window(take.rig, shot.camera, *take.facts[shot.index].view_px).mask


def _smooth(take: Take, shot: Shot) -> Image:
    facts = take.facts[shot.index]
    return cv2.GaussianBlur(facts.face, (0, 0), max(0.5, SMOOTH_MM / 2 / facts.mm_per_px))


def _paleness(take: Take, shot: Shot, frame: Image) -> Image:
    """log(blue / red) of lit skin (h, w), NaN elsewhere."""
    mask = _mask(take, shot)
    lit = mask & (frame[..., 1] > SHADOW * np.median(frame[..., 1][mask]))
    red, blue = np.maximum(frame[..., 0], 1e-4), np.maximum(frame[..., 2], 1e-4)
    return np.where(lit, np.log(blue / red), np.nan).astype(np.float32)


def _leak(
    parallel: Image, cross: Image, mask: NDArray[np.bool_], own: Image, others: Image
) -> tuple[float | None, float]:
    """Share of the highlight in `cross`, and its error: how much too blue it is where parallel - cross has one."""
    known = mask & np.isfinite(own) & (np.isfinite(others).sum(axis=0) >= FEWEST_OTHERS)
    known &= parallel.max(axis=2) < SATURATED
    if known.sum() < 10 * FEWEST_PIXELS:
        return None, 0.0
    skin = np.exp(np.nanmedian(others[:, known], axis=0))  # blue over red of this skin without a highlight
    red, blue = cross[known][:, 0], cross[known][:, 2]
    too_blue = blue - skin * red
    expected = (parallel[known] - cross[known]).mean(axis=1) * (1 - skin)
    strongest = np.percentile(expected, 99)
    bright, plain = expected > HIGHLIGHT * strongest, expected < NO_HIGHLIGHT * strongest
    if strongest <= 0 or min(bright.sum(), plain.sum()) < FEWEST_PIXELS:
        return None, 0.0
    # light from other skin tints a whole frame a little: measure from the skin without highlight
    tint = np.median(too_blue[plain] / red[plain])
    y, x = (too_blue - tint * red)[bright].astype(np.float64), expected[bright].astype(np.float64)
    weights, slope, residual = np.ones_like(x), 0.0, y
    for _ in range(ROUNDS):
        slope = float((weights * x * y).sum() / (weights * x * x).sum())
        residual = y - slope * x
        spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
        weights = 1 / (1 + (residual / (1.5 * spread)) ** 2)
    # what is not explained hangs together over the face (light from other skin), so it doesn't average out
    return slope, LEAK_ERROR * float(np.sqrt((weights * residual**2).sum() / (weights * x * x).sum()))
