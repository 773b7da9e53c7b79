"""Constants of the proxy fit."""

from dataclasses import dataclass
from typing import Literal

from ..capture.errors import UserError

NOISE_RANGE_MM = (0.1, 5.0)
"""An estimated noise stays within."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """Constants of the fit; the defaults were chosen on virtual subjects 0-99."""

    camera: Literal["perspective", "orthographic", "affine"] = "perspective"
    """`affine`: the paper's 8 free parameters; `orthographic`: one scale, no skew, so that shape cannot hide in it;
    `perspective`: with the foreshortening of an unknown distance, or of a known `focal_px`."""
    focal_px: float | None = None
    """Focal length in px of the picture as it is, when known (from EXIF): it fixes the distance."""
    inverse_distance_per_mm: float = 0.0008
    """Prior of an unknown distance, 1.25 m."""
    inverse_distance_sigma_per_mm: float = 0.0004
    contour: Literal["auto", "outline", "vertices", "none"] = "auto"
    """Landmarks 0-16 that the face itself hides: on the visible outline (as people annotate), at their vertices
    behind it (as 3D detectors and rendered truth have it), left out, or whichever of the first two fits better."""
    noise_mm: float | None = None
    """Standard deviation of a landmark, and of the model, on the face; in px it grows with the face. None: estimated
    from the residuals and the numbers spent on explaining them, between `NOISE_RANGE_MM`."""
    lambda_identity: float = 1.0
    """lambda_s of Eq. 4: weight of the standard normal prior."""
    lambda_expression: float = 12.0
    """The same for the expression when it is fitted; 12 means a standard deviation of 0.29."""
    prior_sigma: float = 0.0
    """Standard deviation of an expression prior: 0 keeps the expression at it, as the paper does; above, landmarks
    correct it."""
    rounds: int = 40

    def __post_init__(self) -> None:
        for name in ("noise_mm", "focal_px", "lambda_identity", "lambda_expression"):
            value = getattr(self, name)
            if value is not None and not 1e-6 <= value <= 1e6:
                raise UserError(f"proxy fit: {name} is {value}, allowed are 1e-6 to 1e6")
        if not 0 <= self.prior_sigma <= 10:
            raise UserError(f"proxy fit: prior_sigma is {self.prior_sigma}, allowed are 0 (fixed) to 10")
        if not 1 <= self.rounds <= 1000:
            raise UserError(f"proxy fit: rounds is {self.rounds}, allowed are 1 to 1000")
