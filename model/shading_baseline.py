"""The baseline that any network must beat: height as a linear function of band-passed brightness.

Under one light, shading is to first order linear in slope, and skin is darker in its grooves; so the logarithm of
luminance, split into octaves of wavelength, is regressed to height by least squares, one set of weights per region.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .detail_scores import judged_texels, octave_parts

if TYPE_CHECKING:
    from ..dataset.torch_patches import PatchDataset

MOST_PATCHES = 400
LEAST_PATCHES = 8
"""Regions with fewer take the weights of the whole face."""
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
DARKEST = 0.005
"""Added to linear luminance before the logarithm."""
RIDGE = 1e-4


@dataclass(frozen=True, eq=False)
class ShadingBaseline:
    """Weights in mm per unit of log luminance."""

    overall: np.ndarray
    """(bands,)."""
    by_region: dict[int, np.ndarray]
    texel_mm: float
    patches: int
    """That it was fitted to."""

    def height_mm(self, texture_linear: np.ndarray, valid: np.ndarray, label: int) -> np.ndarray:
        """(P, P) float32 mm of a patch (P, P, 3); label: the region at its centre."""
        bands = brightness_bands(texture_linear, valid, self.texel_mm)
        return np.tensordot(self.by_region.get(label, self.overall), bands, 1).astype(np.float32)


def brightness_bands(texture_linear: np.ndarray, valid: np.ndarray, texel_mm: float) -> np.ndarray:
    """(bands, P, P) float32: octaves of the logarithm of luminance; 0 where not valid."""
    light = np.log(np.maximum(texture_linear @ LUMINANCE, 0) + DARKEST)
    return octave_parts(light[..., None], valid, texel_mm, len(valid))[..., 0]


def fit_shading(
    patches: "PatchDataset",
    texel_mm: float,
    *,
    most: int = MOST_PATCHES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ShadingBaseline:
    """Fit to scan patches, evenly chosen up to `most`."""
    chosen = np.unique(np.linspace(0, len(patches) - 1, min(most, len(patches))).round().astype(int))
    labels = [patches.infos[index].label for index in chosen]
    normal: dict[int, _Sums] = {}
    for done, (index, label) in enumerate(zip(chosen.tolist(), labels, strict=True), 1):
        item = patches[index]
        valid = item["valid"][0].numpy() > 0
        bands = brightness_bands(item["texture_linear"].numpy().transpose(1, 2, 0), valid, texel_mm)
        judged = judged_texels(valid)
        normal.setdefault(label, _Sums(len(bands))).add(bands[:, judged], item["displacement_mm"][0].numpy()[judged])
        progress(done, len(chosen))
    everything = _Sums(len(next(iter(normal.values())).right))
    for sums in normal.values():
        everything.matrix += sums.matrix
        everything.right += sums.right
    by_region = {label: sums.solved() for label, sums in normal.items() if _count(labels, label) >= LEAST_PATCHES}
    return ShadingBaseline(everything.solved(), by_region, texel_mm, len(chosen))


class _Sums:
    """Normal equations of a regression, without an intercept: the bands have no mean."""

    def __init__(self, bands: int) -> None:
        self.matrix, self.right = np.zeros((bands, bands)), np.zeros(bands)

    def add(self, bands: np.ndarray, height_mm: np.ndarray) -> None:
        rows = bands.astype(np.float64)
        self.matrix += rows @ rows.T
        # the mean of a patch is no detail and no brightness tells it
        self.right += rows @ (height_mm - height_mm.mean() if len(height_mm) else height_mm)

    def solved(self) -> np.ndarray:
        size = len(self.right)
        ridge = RIDGE * max(float(np.trace(self.matrix)) / size, 1e-12)
        return np.linalg.solve(self.matrix + ridge * np.eye(size), self.right)


def _count(labels: Sequence[int], label: int) -> int:
    return sum(one == label for one in labels)
