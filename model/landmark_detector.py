"""Our own landmark detector: boxes, the network, and a second and third look at the face it found."""

from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..reconstruct.landmarks import Landmarks
from .face_box import (
    FaceSquare,
    cascade_squares,
    in_picture,
    mirrored_crop,
    overlap,
    searched_squares,
    square_matrix,
)
from .landmark_data import CROP_PX, MIRRORED, cut, face_square, grey_of, standardised
from .landmark_net import load_network, predict, shipped_network
from .landmark_train import eye_roll

PASSES = 3
"""Looks at a face: the detector's box, then twice the box of the landmarks themselves."""
PRESENCE = 0.5
"""Least probability of a face in the last look."""
SHARP_PX, BLURRED_PX = 7.0, 16.0
"""Spread of a point's heat map in crop px: up to the first a point weighs 1, from the second on 0.05."""
UNSETTLED_PX = 12.0
"""Median spread of a look that has gone astray: on faces it is 6 to 8, on half a face 16, though the network is sure
that there is one."""


class LandmarkNetwork:
    """The `LandmarkDetector` that comes with mesoface. Needs torch; finds faces of about a tenth of the picture."""

    name = "network"

    def __init__(self, weights: Path | None = None) -> None:
        """weights: a file written by `mesoface train landmarks`; None: the shipped one. Raises UserError."""
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise UserError(
                "landmarks: mesoface's own detector needs PyTorch, which is not installed. "
                "Install it with `pip install torch`, or give landmarks from a file."
            ) from error
        self.network: Any = shipped_network() if weights is None else load_network(weights)

    def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
        """Faces of an image (H, W, 3) float32 in [0, 1], the largest first; an empty list when there is none."""
        if image_srgb.ndim != 3 or image_srgb.shape[2] != 3:
            raise ValueError(f"image {image_srgb.shape}: expected (H, W, 3)")
        grey = grey_of(np.asarray(image_srgb, np.float32))
        found = self._landmarks(grey, cascade_squares(grey))
        if not found:
            found = self._landmarks(grey, searched_squares(self.network, grey))
        return sorted(found, key=lambda face: -face.size_px)

    def _landmarks(self, grey: np.ndarray, squares: list[FaceSquare]) -> list[Landmarks]:
        faces: list[tuple[FaceSquare, Landmarks]] = []
        for square in squares:
            points, spread, presence, last = self._look(255 * grey, square)
            settled = len(spread) > 0 and float(np.median(spread)) < UNSETTLED_PX
            if settled and presence >= PRESENCE and all(overlap(last, other) < 0.35 for other, _ in faces):
                faces.append((last, self._face(points, spread, grey.shape)))
        return [face for _, face in faces]

    def _look(self, grey: np.ndarray, square: FaceSquare) -> tuple[np.ndarray, np.ndarray, float, FaceSquare]:
        """Points (68, 2) picture px, spread (68,) crop px, probability, and the square of the last look."""
        points = spread = np.zeros(0)
        presence = 0.0
        for look in range(PASSES):
            if look:
                centre, side = face_square(points)
                square = FaceSquare((float(centre[0]), float(centre[1])), side, eye_roll(points))
            matrix = square_matrix(square)
            crop = standardised(cut(grey, matrix))[None]
            found, spreads, logits = predict(self.network, np.stack([crop, mirrored_crop(crop)]))
            other = found[1][MIRRORED] * [-1, 1] + [CROP_PX - 1, 0]
            points = in_picture(0.5 * (found[0] + other), matrix)
            spread = 0.5 * (spreads[0] + spreads[1][MIRRORED]) + 0.5 * np.linalg.norm(found[0] - other, axis=1)
            presence = float(logits.mean())
            if presence < 0.02:
                break
        return points, spread, presence, square

    def _face(self, points: np.ndarray, spread: np.ndarray, shape: tuple[int, ...]) -> Landmarks:
        trust = np.clip((BLURRED_PX - spread) / (BLURRED_PX - SHARP_PX), 0.05, 1.0)
        outside = (points < -1).any(1) | (points > np.array([shape[1], shape[0]])).any(1)
        return Landmarks(points, np.where(outside, 0.05, trust), "network")
