"""Where patches are cut: greedily where detail is strongest (training), or on a grid (inference); section 4.2.

The paper: "we iteratively reduce the displacement map gradient with a weighted Gaussian kernel". Take the strongest
gradient, put a patch there, damp the gradient around it, and repeat, region by region. The kernel's width is not
given; that of the released blending weight (50 texels at 2048) is taken.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..reconstruct.face_model import Region
from .face_areas import SKIN_REGIONS

REDUCE = 8
"""Sampling works on maps reduced by this much: a patch's place is good to a few texels."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Everything that decides where patches lie."""

    patch: int = 256
    count: int = 28
    """Patches of a face; the paper has 10 K of 706 scans."""
    damping_sigma: float = 50.0
    """Texels of a 2048 map; scales with the map."""
    least_valid: float = 0.8
    """Share of a patch's texels that must be valid."""
    regions: tuple[int, ...] = tuple(int(r) for r in SKIN_REGIONS)
    """Regions that get patches; each a share of `count` by the root of its area, so that small ones are not lost."""
    jitter: int = 8
    """Texels of random offset, so that patches of different faces do not line up."""


@dataclass(frozen=True, slots=True)
class PatchPlace:
    """Top-left texel of a patch, and the region at its centre."""

    row: int
    column: int
    region: int


def greedy_places(
    displacement_mm: np.ndarray,
    valid: np.ndarray,
    region: np.ndarray,
    options: SamplingOptions,
    rng: np.random.Generator,
) -> list[PatchPlace]:
    """Places of up to `options.count` patches, strongest displacement gradient first within each region.

    displacement_mm (S, S) float32; valid (S, S) bool; region (S, S) uint8. Fewer come back where too little is valid.
    """
    size, half = valid.shape[0], options.patch // 2
    if options.patch > size:
        raise ValueError(f"patches of {options.patch} texels from a map of {size}")
    share = cv2.boxFilter(valid.astype(np.float32), -1, (options.patch, options.patch), borderType=cv2.BORDER_CONSTANT)
    energy = _reduced(_gradient(displacement_mm, valid))
    rows, columns = (np.arange(n) * REDUCE + REDUCE // 2 for n in energy.shape)
    centres = np.ix_(np.minimum(rows, size - 1), np.minimum(columns, size - 1))
    inside = (rows >= half) & (rows <= size - half)
    allowed = (share[centres] >= options.least_valid) & inside[:, None] & inside[None, :]
    labels = region[centres]
    quotas = _quotas(labels, allowed, options)
    sigma = options.damping_sigma * size / 2048 / REDUCE
    energy = cv2.GaussianBlur(energy, (0, 0), max(sigma / 2, 0.5))
    places: list[PatchPlace] = []
    for label, quota in quotas:
        mine = allowed & (labels == label)
        for _ in range(quota):
            candidates = np.where(mine, energy, -1.0)
            best = int(np.argmax(candidates))
            at = divmod(best, energy.shape[1])
            if candidates[at] <= 0:
                break
            row, column = (
                int(np.clip(centre - half + rng.integers(-options.jitter, options.jitter + 1), 0, size - options.patch))
                for centre in (rows[at[0]], columns[at[1]])
            )
            places.append(PatchPlace(row, column, int(label)))
            energy = _damped(energy, at, sigma)
    return places


def grid_places(
    valid: np.ndarray, patch: int, overlap: float = 0.5, least_valid: float = 0.02
) -> list[tuple[int, int]]:
    """Top-left texels (row, column) of patches that cover `valid` with an overlap of 0.5 (paper) or 0.75 (released)."""
    if not 0 <= overlap < 1:
        raise ValueError(f"{overlap=}, expected 0 up to below 1")
    size, step = valid.shape[0], max(round(patch * (1 - overlap)), 1)
    starts = sorted({*range(0, size - patch + 1, step), size - patch})
    return [
        (row, column)
        for row in starts
        for column in starts
        if valid[row : row + patch, column : column + patch].mean() >= least_valid
    ]


def _gradient(displacement_mm: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Absolute slope per texel; 0 at and beside texels that are not valid."""
    across = cv2.Sobel(displacement_mm, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(displacement_mm, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    safe = cv2.erode(valid.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.hypot(across, down) * safe


def _reduced(image: np.ndarray) -> np.ndarray:
    small = (max(image.shape[1] // REDUCE, 1), max(image.shape[0] // REDUCE, 1))
    return cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float64)


def _quotas(labels: np.ndarray, allowed: np.ndarray, options: SamplingOptions) -> list[tuple[int, int]]:
    """How many patches each region gets: by the root of its area, largest remainders first, adding up to count."""
    present = [(label, float(np.sqrt((allowed & (labels == label)).sum()))) for label in options.regions]
    present = [(label, weight) for label, weight in present if weight > 0]
    total = sum(weight for _, weight in present)
    if total == 0:
        return []
    exact = [(label, options.count * weight / total) for label, weight in present]
    quotas = {label: int(value) for label, value in exact}
    rest = options.count - sum(quotas.values())
    for label, _ in sorted(exact, key=lambda item: (item[1] % 1, -item[0]), reverse=True)[:rest]:
        quotas[label] += 1
    return [(label, quotas[label]) for label, _ in present]


def _damped(energy: np.ndarray, at: tuple[int, int], sigma: float) -> np.ndarray:
    """The gradient times 1 minus a Gaussian around a taken place."""
    rows, columns = np.ogrid[: energy.shape[0], : energy.shape[1]]
    distance2 = (rows - at[0]) ** 2 + (columns - at[1]) ** 2
    return energy * (1 - np.exp(-distance2 / (2 * sigma**2)))


def region_name(label: int) -> str:
    """Lower-case name of a region label."""
    return Region(label).name.lower()
