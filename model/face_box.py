"""Where the faces are in a picture: scikit-image's bundled LBP cascade, turned pictures, the network's own search."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .landmark_data import CROP_PX, crop_matrix, cut, standardised
from .landmark_net import predict

SEARCH_PX = 360
"""Longer side of the picture that the cascade looks at."""
SMALLEST_PX = 40
"""Smallest face in it: a tenth of the picture."""
TURNS_DEG = (0.0, -30.0, 30.0)


@dataclass(frozen=True, slots=True)
class FaceSquare:
    """A place to look for landmarks."""

    centre_px: tuple[float, float]
    side_px: float
    roll_rad: float


@lru_cache(maxsize=1)
def _cascade() -> Any:
    import skimage.data
    from skimage.feature import Cascade

    return Cascade(skimage.data.lbp_frontal_face_cascade_filename())


def cascade_squares(grey: np.ndarray, turns_deg: tuple[float, ...] = TURNS_DEG) -> list[FaceSquare]:
    """Squares around upright faces, largest first, by the LBP cascade; the first turn that finds any ends the search.

    grey: (H, W) float32 in [0, 1]. The cascade knows frontal faces (yaw to about 30 degrees) turned by up to 15.
    """
    import cv2

    height, width = grey.shape
    shrink = min(1.0, SEARCH_PX / max(height, width))
    reduced = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    small = cv2.resize(grey, reduced, interpolation=cv2.INTER_AREA)
    if shrink == 1.0 and max(height, width) < SEARCH_PX / 2:
        shrink = SEARCH_PX / 2 / max(height, width)
        small = cv2.resize(grey, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_CUBIC)
    middle = (np.array(small.shape[::-1]) - 1) / 2
    for turn in turns_deg:
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), turn, 1.0)
        turned = (
            small if turn == 0 else cv2.warpAffine(small, matrix, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        )
        longest = min(turned.shape)
        found = _cascade().detect_multi_scale(
            img=np.clip(turned, 0, 1).astype(np.float64), scale_factor=1.15, step_ratio=1.0,
            min_size=(min(SMALLEST_PX, longest),) * 2, max_size=(longest, longest),
        )  # fmt: skip
        squares = []
        for box in found:
            # The cascade's window spans from the brows to below the mouth; the landmarks reach the chin.
            centre = np.array([box["c"] + 0.5 * box["width"], box["r"] + 0.56 * box["height"]])
            centre = np.linalg.inv(matrix[:, :2]) @ (centre - matrix[:, 2])
            side = 1.18 * float(box["width"])
            x, y = (centre + 0.5) / shrink - 0.5
            squares.append(FaceSquare((float(x), float(y)), side / shrink, float(np.deg2rad(turn))))
        if squares:
            return sorted(squares, key=lambda square: -square.side_px)
    return []


def searched_squares(network: Any, grey: np.ndarray, limit: int = 4) -> list[FaceSquare]:
    """Squares where the network itself sees a face, by sliding it over the picture at four sizes; best first.

    For faces the cascade misses: turned, dark, partly covered. grey: (H, W) float32 in [0, 1].
    """
    height, width = grey.shape
    reach = min(height, width)
    places = []
    for share in (1.1, 0.78, 0.55, 0.38):
        side = share * reach
        step = 0.25 * side
        for y in np.linspace(0, height - 1, max(1, round(height / step)) + 2)[1:-1]:
            for x in np.linspace(0, width - 1, max(1, round(width / step)) + 2)[1:-1]:
                places.append(FaceSquare((float(x), float(y)), side, 0.0))
    scores = []
    for first in range(0, len(places), 32):
        some = places[first : first + 32]
        crops = np.stack([standardised(cut(255 * grey, square_matrix(p)))[None] for p in some])
        scores.append(predict(network, crops)[2])
    order = np.argsort(-np.concatenate(scores))
    return [places[k] for k in order[:limit] if np.concatenate(scores)[k] > 0.5]


def square_matrix(square: FaceSquare) -> np.ndarray:
    """(2, 3) picture px to crop px; pixel centres at integers in both."""
    return crop_matrix(np.array(square.centre_px), square.side_px, square.roll_rad)


def in_picture(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Crop px (68, 2) back to picture px."""
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def overlap(a: FaceSquare, b: FaceSquare) -> float:
    """Intersection over union of two squares, turns ignored."""
    gap = np.abs(np.array(a.centre_px) - b.centre_px)
    common = np.clip((a.side_px + b.side_px) / 2 - gap, 0, min(a.side_px, b.side_px)).prod()
    return float(common / (a.side_px**2 + b.side_px**2 - common))


def mirrored_crop(crop: np.ndarray) -> np.ndarray:
    """A crop seen in a mirror; column c becomes CROP_PX - 1 - c."""
    assert crop.shape[-1] == CROP_PX
    return np.ascontiguousarray(crop[..., ::-1])
