"""How far predicted displacement is from the truth: errors in micrometres, normals, and transfer by wavelength."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from ..reconstruct.detail_truth import band
from ..reconstruct.normal_fusion import masked_blur

HEADLINE_MM = (1.0, 8.0)
"""Wrinkles and larger pores: the band that counts."""
SHORTEST_TEXELS = 2.0
LONGEST_SHARE = 1 / 4
"""Of a patch's side: longer wavelengths are not judged."""
MARGIN_SHARE = 1 / 8
"""Of a patch's side: so near to its border nothing is judged."""
HALF_GAIN = 0.1874
"""Sigma of the Gaussian over the wavelength that it passes by half: sqrt(2 ln 2) / (2 pi)."""
ERROR_BIN_UM, ERROR_BINS = 0.5, 8000
ANGLE_BIN_DEG, ANGLE_BINS = 0.05, 1800


def octaves_mm(texel_mm: float, patch_px: int) -> tuple[tuple[float, float], ...]:
    """Bands of wavelengths, an octave each, from two texels to a quarter of a patch."""
    edges = [SHORTEST_TEXELS * texel_mm]
    while edges[-1] * 2 <= LONGEST_SHARE * patch_px * texel_mm + 1e-9:
        edges.append(edges[-1] * 2)
    return tuple(pairwise(edges))


def octave_parts(stack: np.ndarray, valid: np.ndarray, texel_mm: float, patch_px: int) -> np.ndarray:
    """(bands, P, P, C) float32: maps (P, P, C) in `octaves_mm`, gain about a half at both ends; over `valid` (P, P)."""
    bands = octaves_mm(texel_mm, patch_px)
    edges = [low for low, _ in bands] + [bands[-1][1]]
    weight = valid.astype(np.float32)
    low = [masked_blur(stack, weight, HALF_GAIN * edge / texel_mm) for edge in edges]
    return np.stack([(fine - coarse) * weight[..., None] for fine, coarse in pairwise(low)])


def judged_texels(valid: np.ndarray) -> np.ndarray:
    """(P, P) bool: valid with valid neighbours, away from the patch's border."""
    side = len(valid)
    margin = max(round(MARGIN_SHARE * side), 1)
    inside = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inside[:margin] = inside[side - margin :] = False
    inside[:, :margin] = inside[:, side - margin :] = False
    return inside


@dataclass(frozen=True, eq=False)
class PatchParts:
    """Heights of one patch in all bands, computed once for the truth and once for each method."""

    height_mm: np.ndarray
    """(P, P)."""
    headline_mm: np.ndarray
    """(P, P) of `HEADLINE_MM`."""
    octaves_mm: np.ndarray
    """(bands, P, P)."""
    normal: np.ndarray
    """(P, P, 3) float32 unit."""


def patch_parts(heights_mm: Sequence[np.ndarray], valid: np.ndarray, texel_mm: float) -> list[PatchParts]:
    """Parts of several height maps (P, P) mm of one patch."""
    stack = np.stack([np.where(valid, height, 0) for height in heights_mm], -1).astype(np.float32)
    split = octave_parts(stack, valid, texel_mm, len(valid))
    made = []
    for number in range(stack.shape[2]):
        height = np.ascontiguousarray(stack[..., number])
        flat = not height.any()
        headline = np.zeros_like(height) if flat else band(height, valid, *HEADLINE_MM, texel_mm)
        down, across = np.gradient(height, texel_mm)
        normal = np.stack([-across, -down, np.ones_like(across)], -1)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        made.append(PatchParts(height, headline, split[..., number], normal))
    return made


@dataclass(frozen=True, slots=True)
class BandScore:
    """One band of wavelengths over all judged texels."""

    shortest_mm: float
    longest_mm: float
    rmse_um: float
    true_um: float
    """RMS of the truth: the error of the zero map."""
    gain: float
    """Of the prediction along the truth: 1 is right, 0 for the zero map."""
    correlation: float


@dataclass(frozen=True, slots=True)
class Score:
    """A method over a group of patches."""

    patches: int
    texels: int
    rmse_um: float
    median_um: float
    normal_mean_deg: float
    normal_median_deg: float
    headline: BandScore
    octaves: tuple[BandScore, ...]


class Tally:
    """Sums over patches, from which a score follows; small whatever the number of patches."""

    def __init__(self, texel_mm: float, patch_px: int) -> None:
        self.bands = (HEADLINE_MM, *octaves_mm(texel_mm, patch_px))
        self.patches, self.texels = 0, 0
        self.squares, self.angle_sum = 0.0, 0.0
        self.errors = np.zeros(ERROR_BINS, np.int64)
        self.angles = np.zeros(ANGLE_BINS, np.int64)
        self.sums = np.zeros((len(self.bands), 4))
        """Per band: own^2, true^2, own . true, (own - true)^2, in mm^2."""

    def add(self, found: PatchParts, truth: PatchParts, judged: np.ndarray) -> None:
        """Count the judged (P, P) texels of a patch."""
        count = int(judged.sum())
        if not count:
            return
        self.patches, self.texels = self.patches + 1, self.texels + count
        error = (found.height_mm - truth.height_mm)[judged].astype(np.float64)
        self.squares += float(error @ error)
        self.errors += _histogram(np.abs(error) * 1000 / ERROR_BIN_UM, ERROR_BINS)
        cosine = np.einsum("ij,ij->i", found.normal[judged], truth.normal[judged]).astype(np.float64)
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        self.angle_sum += float(angle.sum())
        self.angles += _histogram(angle / ANGLE_BIN_DEG, ANGLE_BINS)
        pairs = [(found.headline_mm, truth.headline_mm), *zip(found.octaves_mm, truth.octaves_mm, strict=True)]
        for number, (own, true) in enumerate(pairs):
            own, true = own[judged].astype(np.float64), true[judged].astype(np.float64)
            difference = own - true
            self.sums[number] += (own @ own, true @ true, own @ true, difference @ difference)

    def score(self) -> Score:
        """Of everything that was added; NaN where nothing was."""
        count = max(self.texels, 1)
        bands = [
            BandScore(
                low, high, _um(error / count), _um(true / count), float(product / max(true, 1e-18)),
                float(product / max(np.sqrt(own * true), 1e-18)),
            )
            for (low, high), (own, true, product, error) in zip(self.bands, self.sums, strict=True)
        ]  # fmt: skip
        return Score(
            self.patches, self.texels, _um(self.squares / count), _median(self.errors) * ERROR_BIN_UM,
            self.angle_sum / count, _median(self.angles) * ANGLE_BIN_DEG, bands[0], tuple(bands[1:]),
        )  # fmt: skip


def _um(square_mm2: float) -> float:
    return float(1000 * np.sqrt(square_mm2))


def _histogram(place: np.ndarray, bins: int) -> np.ndarray:
    return np.bincount(np.minimum(place.astype(np.int64), bins - 1), minlength=bins)


def _median(histogram: np.ndarray) -> float:
    """In bins, interpolated within one."""
    total = int(histogram.sum())
    if not total:
        return float("nan")
    cumulated = np.cumsum(histogram)
    at = int(np.searchsorted(cumulated, total / 2))
    before = cumulated[at] - histogram[at]
    return float(at + (total / 2 - before) / max(int(histogram[at]), 1))
