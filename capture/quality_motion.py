"""Measure how the subject moved between exposures, whatever the light does.

Brightness follows the lamp, so its edges move when another flash fires. Colour ratios don't: of light that was
scattered in the skin, log(red / green) and log(green / blue) depend on the skin alone. They are registered with a
rotation and a shift by Gauss-Newton steps from coarse to fine, weighted by their noise and by how well each pixel fits
(highlights are white, so in a parallel frame they are outliers).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

# Pixel sizes in mm at which the registration runs, as far as the picture is that fine.
COARSEST_MM, FINEST_MM = 4.0, 1.0
STEPS_PER_LEVEL = 8
# A colour ratio is high-passed at this distance: the colour of the light and of large shadows drops out.
HIGH_PASS_MM = 25.0
# Below this share of the white level a colour ratio is noise.
DARKEST = 0.004
# Residuals beyond this many times their typical size hardly count.
OUTLIER = 2.0
LONGEST_STEP_PX, SHORTEST_STEP_PX = 1.5, 0.02
FEWEST_PX = 40


@dataclass(frozen=True)
class Shift:
    """Motion of the face in the picture: by `right_mm`, `down_mm` at its middle, turned by `turn_deg` clockwise.

    `largest_mm` is the root-mean-square distance that the points of the face moved. `overlap` is the part of the face
    (0 to 1) that was lit in both pictures; below about 0.1 the figures mean little.
    """

    right_mm: float
    down_mm: float
    turn_deg: float
    largest_mm: float
    overlap: float


@dataclass(frozen=True, eq=False)
class ColourRatios:
    """Logarithms of two colour ratios (h, w, 2) float32, their weights (h, w), at several sizes, coarsest first."""

    levels: tuple[tuple[float, Image, Image], ...]
    shape: tuple[int, int]
    mm_per_px: float

    @property
    def radius_mm(self) -> float:
        """Root-mean-square distance of the face's points from its middle, about: what a turn is weighted with."""
        return 0.35 * self.mm_per_px * min(self.shape)


def colour_ratios(face: Image, mask: NDArray[np.bool_], mm_per_px: float) -> ColourRatios:
    """Prepare the box of a face (h, w, 3), linear RGB in shares of the white level, for `measure_shift`."""
    levels = []
    size_mm = COARSEST_MM
    while size_mm >= FINEST_MM * 0.99:
        scale = min(1.0, mm_per_px / size_mm)
        if scale < 1 or not levels or size_mm == COARSEST_MM:
            levels.append((mm_per_px / scale, *_level(face, mask, scale, mm_per_px)))
        if scale >= 1:
            break
        size_mm /= 2
    return ColourRatios(tuple(levels), face.shape[:2], mm_per_px)


def _level(face: Image, mask: NDArray[np.bool_], scale: float, mm_per_px: float) -> tuple[Image, Image]:
    size = (max(8, round(face.shape[1] * scale)), max(8, round(face.shape[0] * scale)))
    small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.8)
    darkest = small.min(axis=2)
    safe = np.maximum(small, DARKEST / 2)
    ratios = np.log(safe[..., :2] / safe[..., 1:]).astype(np.float32)
    # shot noise: the variance of a log is that of the signal over its square
    weight = (inside * np.clip((darkest - DARKEST) / (4 * DARKEST), 0, 1)).astype(np.float32)
    sigma = HIGH_PASS_MM * scale / mm_per_px / 2
    total = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4)
    mean = cv2.GaussianBlur(ratios * weight[..., None], (0, 0), sigma) / total[..., None]
    return (ratios - mean).astype(np.float32), weight


def measure_shift(reference: ColourRatios, moved: ColourRatios) -> Shift:
    """Where the face of `reference` went in `moved`; both prepared with the same mask and size.

    Raises ValueError when the two differ in size.
    """
    if reference.shape != moved.shape or len(reference.levels) != len(moved.levels):
        raise ValueError(f"{reference.shape=} {moved.shape=}: faces of one size expected")
    guess_mm = np.zeros(3)  # right, down in mm; turn in radians times the face's radius in mm
    radius_mm = reference.radius_mm
    overlap = 0.0
    for (mm_per_px, ratios, weight), (_, other, other_weight) in zip(reference.levels, moved.levels, strict=True):
        guess_mm, overlap = _refine(guess_mm, radius_mm, mm_per_px, ratios, weight, other, other_weight)
    turn = guess_mm[2] / radius_mm
    return Shift(
        right_mm=float(guess_mm[0]),
        down_mm=float(guess_mm[1]),
        turn_deg=float(np.rad2deg(turn)),
        largest_mm=float(np.linalg.norm(guess_mm)),
        overlap=float(overlap),
    )


def _refine(
    guess_mm: NDArray,
    radius_mm: float,
    mm_per_px: float,
    ratios: Image,
    weight: Image,
    other: Image,
    other_weight: Image,
) -> tuple[NDArray, float]:
    """Gauss-Newton at one size; returns the better guess and the lit part of the face."""
    height, width = weight.shape
    middle = (width - 1) / 2, (height - 1) / 2
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x -= np.float32(middle[0])
    y -= np.float32(middle[1])
    slopes = [(_slope(ratios[..., c], 1), _slope(ratios[..., c], 0)) for c in range(2)]
    overlap = 0.0
    for _ in range(STEPS_PER_LEVEL):
        turn, shift_px = guess_mm[2] / radius_mm, guess_mm[:2] / mm_per_px
        cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        map_x = cosine * x - sine * y + np.float32(middle[0] + shift_px[0])
        map_y = sine * x + cosine * y + np.float32(middle[1] + shift_px[1])
        warped, lit = (
            np.asarray(cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float32)
            for image in (other, other_weight)
        )
        both = np.sqrt(weight * lit)
        overlap = float(both.sum() / (weight.size * np.pi / 4))
        chosen = both > 0.05
        if chosen.sum() < FEWEST_PX:
            return guess_mm, 0.0
        at_x, at_y, trust = x[chosen], y[chosen], both[chosen]
        matrix, right = np.zeros((3, 3)), np.zeros(3)
        for channel, (slope_x, slope_y) in enumerate(slopes):
            residual = warped[..., channel][chosen] - ratios[..., channel][chosen]
            residual -= np.median(residual)
            spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-6
            weights = trust / ((1 + (residual / (OUTLIER * spread)) ** 2) ** 2 * spread**2)
            # mean of both pictures' gradients: a better step than either alone
            across = (slope_x[chosen] + _slope(warped[..., channel], 1)[chosen]) / 2
            down = (slope_y[chosen] + _slope(warped[..., channel], 0)[chosen]) / 2
            steps = np.stack([across, down, (down * at_x - across * at_y) * np.float32(mm_per_px / radius_mm)])
            matrix += (steps * weights) @ steps.T
            right += steps @ (weights * residual)
        matrix += np.eye(3) * 1e-3 * np.trace(matrix) / 3
        step_px = np.linalg.solve(matrix, right)
        length = float(np.linalg.norm(step_px))
        guess_mm = guess_mm - step_px * min(1.0, LONGEST_STEP_PX / max(length, 1e-9)) * mm_per_px
        if length < SHORTEST_STEP_PX:
            break
    return guess_mm, overlap


def _slope(image: Image, axis: int) -> Image:
    kernel = np.array([[-0.5, 0, 0.5]], np.float32)
    along = kernel if axis == 1 else kernel.T
    return np.asarray(cv2.filter2D(image, -1, along, borderType=cv2.BORDER_REFLECT), np.float32)
