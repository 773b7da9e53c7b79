"""Pictures of a take's contact sheet: thumbnails in the lamps' white, and what the polariser took away.

Skin reflects the lamp's own colour in its highlights, and the highlights are the difference parallel - crossed: the
take itself tells the white balance, without a chart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.image_files import srgb_from_linear
from ..capture.plan import Shot
from ..capture.quality_models import FrameFacts
from .pictures import colour_map, shrink

DISPLAY_WHITE = 0.8
"""Bright skin of the take's brighter frames is shown at this linear value."""
STRONGEST_GAIN = 4.0


@dataclass(frozen=True)
class Look:
    """One rendering for all frames, so that their brightness can be compared: gains of red, green and blue."""

    gains: tuple[float, float, float]

    def show(self, linear: np.ndarray) -> np.ndarray:
        """Linear camera RGB (h, w, 3) as uint8 sRGB."""
        return srgb_from_linear(linear * np.array(self.gains, np.float32))


def take_look(shots: Sequence[Shot], facts: Mapping[int, FrameFacts]) -> Look:
    """White balance and brightness from the frames that are there."""
    white = np.ones(3)
    highlights = np.zeros(3)
    for parallel, cross in pairs(shots, facts):
        one, other = facts[parallel.index].face, facts[cross.index].face
        if one.shape == other.shape:
            difference = one - other
            brightness = difference.mean(axis=2)
            chosen = (brightness > np.percentile(brightness, 98)) & (one.max(axis=2) < 0.95)
            if chosen.any():
                highlights += np.maximum(difference[chosen].mean(axis=0), 0)
    if highlights.min() > 0:
        ratio = highlights[1] / highlights
        white = np.clip(ratio, 1 / STRONGEST_GAIN, STRONGEST_GAIN)
    bright = [np.percentile(f.face.max(axis=2), 99) for f in facts.values() if f.face.size]
    level = float(np.median(bright)) if bright else DISPLAY_WHITE
    brightness = DISPLAY_WHITE / max(level, 0.02)
    return Look((float(white[0] * brightness), float(white[1] * brightness), float(white[2] * brightness)))


def pairs(shots: Sequence[Shot], facts: Mapping[int, FrameFacts]) -> list[tuple[Shot, Shot]]:
    """(parallel, crossed) shots of every pair whose two frames are there."""
    found: dict[int, dict[str, Shot]] = {}
    for shot in shots:
        if shot.pair is not None and shot.index in facts:
            found.setdefault(shot.pair, {})[shot.kind] = shot
    return [(f["parallel"], f["cross"]) for _, f in sorted(found.items()) if len(f) == 2]


def face_picture(facts: FrameFacts, look: Look, width_px: int) -> np.ndarray:
    """The box of the face as uint8 sRGB."""
    return look.show(shrink(facts.face, width_px))


def frame_picture(facts: FrameFacts, look: Look) -> np.ndarray:
    """The whole frame as uint8 sRGB, at the size of its preview."""
    return look.show(facts.preview)


def difference(parallel: FrameFacts, cross: FrameFacts, width_px: int) -> np.ndarray | None:
    """parallel - crossed (h, w), mean of the colours in percent of the white level; None for bodies of other sizes."""
    if parallel.face.shape != cross.face.shape:
        return None
    return 100 * shrink((parallel.face - cross.face).mean(axis=2), width_px)


def difference_limit(differences: Sequence[np.ndarray]) -> float:
    """One end of the colour scale for all pairs, a round number of percent."""
    if not differences:
        return 1.0
    high = max(float(np.median([np.percentile(np.abs(d), 99.5) for d in differences])), 0.05)
    step = 10.0 ** np.floor(np.log10(high))
    return float(step * min(n for n in (1, 2, 5, 10) if n * step >= high * 0.999))


def difference_picture(values: np.ndarray, limit: float) -> np.ndarray:
    """Red where the parallel frame is brighter, blue where the crossed one is; uint8 RGB."""
    return colour_map(values, -limit, limit, diverging=True)


def scale_picture(width_px: int = 240, height_px: int = 10) -> np.ndarray:
    """The colour bar of `difference_picture`."""
    ramp = colour_map(np.linspace(-1, 1, width_px)[None], -1, 1, diverging=True)
    return cv2.resize(ramp, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
