"""From the maps of one face to its patches."""

from collections.abc import Iterator

import numpy as np

from .face_areas import Area
from .patch_sampling import PatchPlace, SamplingOptions, greedy_places
from .patch_shards import Patch, PatchInfo
from .uv_maps import UvMaps

BINS = 400
BIN_MM = 0.01
"""Histogram of |displacement| that travels with a face's patches: 0 to 4 mm."""


def scan_places(maps: UvMaps, options: SamplingOptions, seed: int) -> list[PatchPlace]:
    """Where the patches of a scanned face lie; the same seed and face give the same places."""
    rng = np.random.Generator(np.random.PCG64([0x9A7C, seed]))
    return greedy_places(maps.displacement_mm, maps.valid, maps.region, options, rng)


def cut_scan_patches(
    maps: UvMaps, area: np.ndarray, places: list[PatchPlace], options: SamplingOptions, seed: int
) -> Iterator[Patch]:
    """Patches of a scanned face. area (S, S) uint8, values of Area: a patch belongs to the one most of it lies in."""
    source, side = maps.source, options.patch
    for place in places:
        window = np.s_[place.row : place.row + side, place.column : place.column + side]
        valid = maps.valid[window]
        yield Patch(
            PatchInfo(
                source.subject, source.scan, source.expression, place.row, place.column, place.region,
                main_area(area[window]), seed=seed,
            ),
            {
                "displacement_mm": np.where(valid, maps.displacement_mm[window], 0).astype(np.float32),
                "texture_linear": np.rint(np.clip(maps.texture_linear[window], 0, 1) * 65535).astype(np.uint16),
                "valid": valid.astype(np.uint8),
                "region": maps.region[window],
            },
        )  # fmt: skip


def main_area(area: np.ndarray) -> int:
    """The Area that most texels of a patch lie in; NONE only when no texel lies in one."""
    counts = np.bincount(area.ravel(), minlength=len(Area))[1 : len(Area)]
    return int(np.argmax(counts)) + 1 if counts.any() else int(Area.NONE)


def height_histogram(patches: list[np.ndarray], valid: list[np.ndarray]) -> np.ndarray:
    """(BINS,) int64 counts of |displacement| in steps of BIN_MM over valid texels; the last bin takes what is above."""
    counts = np.zeros(BINS, np.int64)
    for height, good in zip(patches, valid, strict=True):
        bins = np.minimum((np.abs(height[good > 0]) / BIN_MM).astype(np.int64), BINS - 1)
        counts += np.bincount(bins, minlength=BINS)
    return counts


def height_quantile_mm(histogram: np.ndarray, share: float) -> float:
    """|displacement| below which `share` of the texels lie, to a bin."""
    total = histogram.sum()
    if total == 0:
        return 0.0
    return float((np.searchsorted(np.cumsum(histogram), share * total) + 1) * BIN_MM)
