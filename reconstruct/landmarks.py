"""The 68 landmarks of a face in a picture (iBUG order), and what finds them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

COUNT = 68
JAW = slice(0, 17)
"""The contour, from the subject's right ear over the chin (8) to the left ear."""
BROWS = slice(17, 27)
NOSE = slice(27, 36)
EYE_RIGHT = slice(36, 42)
"""The subject's right eye, outer corner first."""
EYE_LEFT = slice(42, 48)
"""The subject's left eye, inner corner first."""
MOUTH = slice(48, 68)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """One face in one picture. Raises ValueError when shapes, weights or NaNs do not fit each other."""

    points_px: np.ndarray
    """(68, 2) float64 column, row, pixel centres at integers; iBUG order, 0-based; NaN where unknown."""
    weights: np.ndarray
    """(68,) float64 >= 0: 1 for a trusted point, 0 where unknown."""
    source: str
    """Where they come from: `file: face.pts`, `network`, `mediapipe`, ..."""

    def __post_init__(self) -> None:
        points, weights = np.array(self.points_px, np.float64), np.array(self.weights, np.float64)
        if points.shape != (COUNT, 2) or weights.shape != (COUNT,):
            raise ValueError(f"landmarks of shape {points.shape}, weights {weights.shape}: expected (68, 2) and (68,)")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError("weights of landmarks must be finite and not negative")
        unknown = ~np.isfinite(points).all(1)
        points[unknown], weights[unknown] = np.nan, 0.0
        points.flags.writeable = weights.flags.writeable = False
        object.__setattr__(self, "points_px", points)
        object.__setattr__(self, "weights", weights)

    @property
    def known(self) -> np.ndarray:
        """(68,) bool: points with a position and a weight above zero."""
        return self.weights > 0

    @property
    def interocular_px(self) -> float:
        """Distance of the outer eye corners (landmarks 36 and 45) in px; NaN when one is unknown."""
        return float(np.linalg.norm(self.points_px[36] - self.points_px[45]))

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the known points; NaN when none is known."""
        points = self.points_px[self.known]
        if not len(points):
            return (np.nan, np.nan, np.nan, np.nan)
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        return left, top, right, bottom

    @property
    def size_px(self) -> float:
        """Longer side of the box of all known points; NaN when none is known."""
        left, top, right, bottom = self.box_px
        return max(right - left, bottom - top)

    def moved(self, scale: float, offset_px: tuple[float, float] = (0.0, 0.0)) -> "Landmarks":
        """In another picture: `scale` times the size, then shifted. Scaling keeps the outer edge of the first pixel."""
        points = (self.points_px + 0.5) * scale - 0.5 + np.asarray(offset_px, np.float64)
        return Landmarks(points, self.weights, self.source)


class LandmarkDetector(Protocol):
    """Finds faces and their landmarks."""

    name: str

    def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
        """Faces of an image (H, W, 3) float32 in [0, 1], the largest first; an empty list when there is none."""
        ...


def landmarks_from_points(points_px: np.ndarray, source: str) -> Landmarks:
    """Landmarks (68, 2) with weight 1 wherever both coordinates are known."""
    points = np.asarray(points_px, np.float64)
    return Landmarks(points, np.where(np.isfinite(points).all(-1), 1.0, 0.0), source)
