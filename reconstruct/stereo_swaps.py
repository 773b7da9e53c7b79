"""Were the images of two cameras exchanged? Tried at low resolution, once views disagree.

Exchanged views do not simply fail: a face is nearly symmetric and every pair still finds something to match, so the
agreement sinks everywhere and points at nobody. Putting them back raises it for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .stereo_pyramid import build_pyramid
from .stereo_types import StereoView, ViewAgreement

PIXEL_MM = 1.5
"""Resolution of the trial."""
SUSPECT_BELOW = 0.68
"""A view that agrees with the others on less than this share gives reason for the trial."""
CLEARLY = 0.1
"""An exchange must raise the agreement by this much."""


@dataclass(frozen=True)
class Swap:
    """Two views whose images fit better the other way round."""

    names: tuple[str, str]
    given: float
    """Mean share of their surfaces on which the views agree, as given ..."""
    exchanged: float
    """... and with the two images exchanged."""


def suspects(agreement: Mapping[str, ViewAgreement]) -> tuple[str, ...]:
    """Views that may have been exchanged: those that disagree. None where nothing agrees at all for lack of texture."""
    found = {name: verdict.confirmed for name, verdict in agreement.items() if verdict.sharpness > 0}
    return tuple(name for name, confirmed in found.items() if confirmed < SUSPECT_BELOW and max(found.values()) > 0)


def find_swap(
    views: Sequence[StereoView],
    suspected: Sequence[str],
    middle_mm: float,
    agreement_of_views: Callable[[Sequence[StereoView]], float],
) -> Swap | None:
    """The exchange of two suspected images that makes all views agree clearly better, if there is one.

    agreement_of_views: mean agreement (0..1) of views at low resolution. middle_mm: distance of the subject.
    """
    if len(suspected) < 2:
        return None
    given = agreement_of_views([_reduced(view, middle_mm) for view in views])
    best: Swap | None = None
    for first, second in combinations([view for view in views if view.name in suspected], 2):
        if first.image.shape != second.image.shape:
            continue
        trial = []
        for view in views:
            other = {first.name: second, second.name: first}.get(view.name, view)
            trial.append(_reduced(replace(view, image=other.image, mask=other.mask), middle_mm))
        found = agreement_of_views(trial)
        if found > (best.exchanged if best else given + CLEARLY):
            best = Swap((first.name, second.name), given, found)
    return best


def told(swap: Swap, agreement: Mapping[str, ViewAgreement]) -> dict[str, ViewAgreement]:
    """The agreement with the swap as the problem of both views; what it explains in others is taken back."""
    first, second = swap.names
    made = {name: replace(verdict, problem="") if verdict.sharpness > 0 else verdict
            for name, verdict in agreement.items()}  # fmt: skip
    for name, other in ((first, second), (second, first)):
        problem = (
            f'its image looks swapped with that of "{other}": the views agree on {100 * swap.exchanged:.0f} % of their '
            f"surfaces when the two are exchanged, on {100 * swap.given:.0f} % as given; check which camera is which"
        )
        made[name] = replace(made[name], problem=problem)
    return made


def _reduced(view: StereoView, middle_mm: float) -> StereoView:
    """The view's foreground at about PIXEL_MM per pixel."""
    divisor = max(round(PIXEL_MM * view.camera.fx_px / middle_mm), 1)
    pixels = build_pyramid(view, [divisor]).levels[divisor]
    return StereoView(view.name, pixels.image, pixels.camera, pixels.mask)
