"""Are the views fit for stereo, and do they agree? Names the view that is black, blurred, swapped or moved."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..capture.errors import UserError
from .stereo_types import StereoView, ViewAgreement

LEAST_FOREGROUND = 0.005
"""A subject covers at least this share of the picture."""
BLURRED_BELOW = 0.5
DISAGREES_BELOW = 0.35
WEAK_TEXTURE_SNR = 1.2


def check_views(
    views: Sequence[StereoView], centre: str, expected: Sequence[str] = ()
) -> tuple[list[StereoView], dict[str, str], dict[str, float]]:
    """Usable views, problems by view name, and relative sharpness by view name.

    Names in `expected` that have no view are problems, too. Raises UserError on a duplicate name, when the centre view
    is missing or empty, or fewer than two are left.
    """
    names = [view.name for view in views]
    if len(set(names)) < len(names):
        raise UserError(f"views {', '.join(names)}: a name appears twice; each camera gives one view")
    if centre not in names:
        raise UserError(f'no view is called "{centre}" (the centre view); given: {", ".join(names) or "none"}')
    problems = {name: "missing; the camera gave no picture" for name in expected if name not in names}
    for view in views:
        share = float(view.mask.mean())
        if share < LEAST_FOREGROUND:
            dark = float(view.image.max(initial=0)) < 0.05
            problems[view.name] = (
                f"the picture is black ({100 * share:.1f} % foreground); was the flash fired, the shutter open?"
                if dark
                else f"no subject found ({100 * share:.1f} % foreground, expected at least {100 * LEAST_FOREGROUND} %)"
            )
    if centre in problems:
        raise UserError(f'centre view "{centre}": {problems[centre]}')
    usable = [view for view in views if view.name not in problems]
    if len(usable) < 2:
        told = "; ".join(f'"{name}": {problem}' for name, problem in problems.items())
        raise UserError(f"stereo needs two usable views, found {len(usable)}" + (f" ({told})" if told else ""))
    detail = {view.name: _detail(view) for view in usable}
    middle = float(np.median(list(detail.values())))
    sharpness = {name: value / max(middle, 1e-9) for name, value in detail.items()}
    return usable, problems, sharpness


def agreement_of(
    shares: Mapping[str, Mapping[str, float]], sharpness: Mapping[str, float], problems: Mapping[str, str]
) -> dict[str, ViewAgreement]:
    """Verdict on every view from the confirmed shares of all pairs (view -> other -> share or NaN).

    A view's own figure is the mean over its two best partners: one bad view then spoils only its own. Where no view
    matches any other reliably, the texture is to blame, of which `warnings_of` tells, and no view in particular.
    """
    nothing_matches = not any(np.isfinite(value) for pairs in shares.values() for value in pairs.values())
    agreement = {name: ViewAgreement(0.0, 0.0, problem) for name, problem in problems.items()}
    for name in shares:
        pairs = [0.5 * (shares[name][other] + shares[other][name]) for other in shares[name]]
        found = sorted((value for value in pairs if np.isfinite(value)), reverse=True)[:2]
        confirmed = float(np.mean(found)) if found else 0.0
        problem = ""
        if sharpness[name] < BLURRED_BELOW:
            problem = f"blurred: {100 * sharpness[name]:.0f} % of the other views' fine texture; focus, or motion?"
        elif confirmed < DISAGREES_BELOW and not nothing_matches:
            problem = (
                f"only {100 * confirmed:.0f} % of its surface agrees with the other views; "
                "was the camera moved, are images swapped, or is its calibration of another day?"
            )
        agreement[name] = ViewAgreement(confirmed, sharpness[name], problem)
    return agreement


def warnings_of(agreement: Mapping[str, ViewAgreement], snr: float, has_proxy: bool) -> tuple[str, ...]:
    """What the operator must know, the worst first."""
    warnings = [f'view "{name}": {verdict.problem}' for name, verdict in agreement.items() if verdict.problem]
    bad = len(warnings)
    if bad and bad * 2 >= len(agreement):
        warnings.append(
            f"{bad} of {len(agreement)} views have problems: don't trust this depth; check the calibration first"
        )
    if snr < WEAK_TEXTURE_SNR:
        warnings.append(
            f"the skin shows little texture (signal to noise {snr:.1f}, needed {WEAK_TEXTURE_SNR}): "
            + ("depth relies on the proxy surface" if has_proxy else "give a proxy surface, more light or a lower ISO")
        )
    return tuple(warnings)


def _detail(view: StereoView) -> float:
    """Fine contrast of the foreground's inside, less the noise: what two shifted copies of the picture share."""
    inside = cv2.erode(view.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if inside.sum() < 100:
        return 0.0
    fine = view.image - cv2.GaussianBlur(view.image, (0, 0), 1.5)
    across = float(np.mean((fine[:, 1:] * fine[:, :-1])[inside[:, 1:]]))
    return float(np.sqrt(max(across, 1e-10)))
