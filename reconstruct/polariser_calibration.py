"""Polarisers per pair: how much of a highlight the crossed frame keeps (leak), and how the pair's brightness compares.

The black satin ball has next to no body colour, so nearly all its light in the parallel frame is gloss. What of it
appears in the crossed frame is the leak of films, analyser and their alignment. The relative gain comes from the matt
card, which looks alike in both frames but for the analyser's own transmission.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from ..capture.calibration_maps import FlatField
from .calibration_take import CalibrationTake
from .flat_field import flattened
from .light_intensity import card_pairs

SHINY, DARKEST = 0.5, 0.02
"""Part of the highlight's peak from which pixels count; peak (share of white) below which there is no highlight."""
CLIPPED = 0.98
FEWEST_PIXELS = 12
LARGE_LEAK = 0.03


@dataclass(frozen=True)
class PolariserPair:
    """One flash's pair. crossed / parallel brightness of matt skin is `gain`; the crossed frame keeps `leak` of gloss.

    Specular light = (parallel - crossed / gain) / (1 - leak). `sigma`: standard error of the leak.
    """

    light: str
    leak: float
    sigma: float
    gain: float
    highlight_px: tuple[float, float]


def calibrate_polarisers(
    takes: Sequence[CalibrationTake],
    gains: Mapping[str, float],
    field: FlatField | None = None,
    cross_field: FlatField | None = None,
) -> tuple[dict[str, PolariserPair], tuple[str, ...]]:
    """Leak per flash from the gloss ball of flat takes; `gains` (crossed over parallel, from the card) default to 1."""
    pairs: dict[str, PolariserPair] = {}
    warnings: list[str] = []
    for take in takes:
        leak_max = max(take.rig.limits.leak_max, LARGE_LEAK)
        for light, (parallel, crossed) in card_pairs(take.shots, take.rig, pose=1).items():
            if crossed is None:
                warnings.append(f"light {light}: no crossed frame of the gloss ball, so no leak")
                continue
            gain = gains.get(light, 1.0)
            bright = flattened(take.linear(parallel), field).mean(axis=2)
            dim = flattened(take.linear(crossed), cross_field or field).mean(axis=2) / gain
            pair = fit_leak(bright, dim, light, gain)
            if isinstance(pair, str):
                warnings.append(pair)
                continue
            pairs[light] = pair
            if pair.leak > leak_max:
                warnings.append(
                    f"light {light}: {100 * pair.leak:.1f} % of the highlight is left in the crossed frame; turn its "
                    "film (`mesoface rig check` prints the angle)"
                )
    return pairs, tuple(warnings)


def fit_leak(parallel: np.ndarray, crossed: np.ndarray, light: str, gain: float = 1.0) -> PolariserPair | str:
    """Slope of crossed over parallel (H, W) in the highlight; or words that say why there is none."""
    smooth = cv2.GaussianBlur(np.asarray(parallel, np.float32), (0, 0), 1.5)
    peak = float(smooth.max())
    if peak < DARKEST:
        return f"light {light}: no highlight on the gloss ball; did it fire?"
    row, column = (int(value) for value in np.unravel_index(int(smooth.argmax()), smooth.shape))
    _, labels = cv2.connectedComponents((smooth > SHINY * peak).astype(np.uint8))
    shiny = labels == labels[row, column]
    if (parallel[shiny] > CLIPPED).mean() > 0.02:
        return f"light {light}: the highlight on the gloss ball is burnt out, so its leak is not measured; dim the lamp"
    if shiny.sum() < FEWEST_PIXELS:
        return (
            f"light {light}: the highlight on the gloss ball has {int(shiny.sum())} pixels, too few; use a duller ball"
        )
    x, y = parallel[shiny].astype(np.float64), crossed[shiny].astype(np.float64)
    # the body light of the ball is a constant here; it drops out of the slope
    spread = ((x - x.mean()) ** 2).sum()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    rest = y - y.mean() - slope * (x - x.mean())
    sigma = float(np.sqrt((rest**2).sum() / max(len(x) - 2, 1) / spread))
    return PolariserPair(light, max(slope, 0.0), sigma, gain, (float(column), float(row)))


def polarisers_description(pairs: Mapping[str, PolariserPair]) -> dict[str, Any]:
    """Content of polarisers.json."""
    return {
        "meaning": "gain = crossed over parallel brightness of unpolarised light; leak = share of a highlight that the "
        "crossed frame keeps; specular = (parallel - crossed / gain) / (1 - leak)",
        "pairs": [asdict(pair) for pair in pairs.values()],
    }
