"""How far normals and displacement are from the exact truth of a rendered scan, by wavelength."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from .displacement import GeometryPair, feather
from .face_model import Region
from .geometry_truth import CentreTruth
from .slope_filters import low_pass

SKIN = (Region.FOREHEAD, Region.CHEEK_LEFT, Region.CHEEK_RIGHT, Region.CHIN, Region.PERIORAL)
"""Away from brows, lids, nose and lips."""
CLEAR_MM = 6.0
BANDS_MM = ((1, 8), (1, 2), (2, 4), (4, 8), (8, 16))
FEWEST_LIGHTS = 4


@dataclass(frozen=True)
class BandFit:
    """Displacement against the truth in one band of wavelengths: gain and correlation over the pixels, rms error."""

    shortest_mm: float
    longest_mm: float
    gain: float
    correlation: float
    error_um: float
    true_um: float


def normal_error_deg(normal_cam: np.ndarray, truth: CentreTruth, region: np.ndarray) -> np.ndarray:
    """(N,) angles in degrees over the pixels of `region` that have a normal."""
    cosine = (normal_cam * truth.normal_cam).sum(2)[region]
    return np.degrees(np.arccos(np.clip(cosine[np.isfinite(cosine)], -1, 1)))


def displacement_fits(pair: GeometryPair, truth_folder: Path, centre: str) -> list[BandFit]:
    """The recovered against the true displacement on plain skin, band by band; empty when there is too little skin.

    Raises UserError when truth files are missing.
    """
    folder = Path(truth_folder) / centre
    region = cv2.imread(str(folder / "region.png"), cv2.IMREAD_UNCHANGED)
    if region is None:
        raise UserError(f"{folder}/region.png: is missing or damaged; render the scan again")
    true_mm = read_tiff(folder / "displacement_mm.tif")[0]
    there = pair.mask & np.isfinite(true_mm)
    judged = (feather(np.isin(region, SKIN) & there, CLEAR_MM / pair.pixel_mm) >= 0.999) & there
    if judged.sum() < 200:
        return []
    fits = []
    for shortest_mm, longest_mm in BANDS_MM:
        if shortest_mm < 2 * pair.pixel_mm:
            continue  # finer than the pixels can hold
        ours, theirs = (
            band(np.nan_to_num(field), there, shortest_mm, longest_mm, pair.pixel_mm)[judged].astype(np.float64)
            for field in (pair.displacement_mm, true_mm)
        )
        product, own, true = (ours * theirs).sum(), (ours**2).sum(), (theirs**2).sum()
        fits.append(
            BandFit(
                shortest_mm, longest_mm, float(product / max(true, 1e-18)),
                float(product / max(np.sqrt(own * true), 1e-18)), float(1000 * np.sqrt(np.mean((ours - theirs) ** 2))),
                float(1000 * np.sqrt(np.mean(theirs**2))),
            )
        )  # fmt: skip
    return fits


def band(values: np.ndarray, mask: np.ndarray, shortest_mm: float, longest_mm: float, pixel_mm: float) -> np.ndarray:
    """(H, W) float32: the wavelengths between two, gain about a half at both ends, 0.03 at twice the longest."""
    field = np.where(mask, values, 0).astype(np.float32)
    long = low_pass((field,), mask, 1.78 * longest_mm / (2 * np.pi * pixel_mm), 3)[0]
    return low_pass((field,), mask, 0.7 * shortest_mm / (2 * np.pi * pixel_mm))[0] - long
