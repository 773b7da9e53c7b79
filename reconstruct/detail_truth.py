"""How far normals and displacement are from the exact truth of a rendered scan, by wavelength."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from .displacement import Preset, feather, geometry_pair
from .face_model import Region
from .geometry_truth import CentreTruth
from .normal_fusion import masked_blur

SKIN = (Region.FOREHEAD, Region.CHEEK_LEFT, Region.CHEEK_RIGHT, Region.CHIN, Region.PERIORAL)
"""Away from brows, lids, nose and lips."""
CLEAR_MM = 6.0
BANDS_MM = ((1, 8), (1, 2), (2, 4), (4, 8), (8, 16))
FEWEST_LIGHTS = 4


class Displacement(Protocol):
    """A `GeometryPair`, or one read back."""

    @property
    def displacement_mm(self) -> np.ndarray: ...
    @property
    def mask(self) -> np.ndarray: ...
    @property
    def preset(self) -> Preset: ...
    @property
    def pixel_mm(self) -> float: ...


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


@dataclass(frozen=True, eq=False)
class DisplacementTruth:
    """The displacement that a pair should have found.

    true_mm (H, W): the head's own. base_share_mm (H, W): what the same two solves make of the head without detail:
    folds and creases of the face itself that lie in the displacement's band. No measurement of one surface can tell
    those from skin detail; a proxy that follows them can. there, judged (H, W) bool: where both are known; plain skin.
    """

    true_mm: np.ndarray
    base_share_mm: np.ndarray
    there: np.ndarray
    judged: np.ndarray
    window: np.ndarray


@dataclass(frozen=True, eq=False)
class Transfer:
    """Gain and phase-free coherence of found over true displacement, by wavelength."""

    wavelength_mm: np.ndarray
    gain: np.ndarray
    coherence: np.ndarray


def displacement_truth(
    pair: Displacement, prior_mm: np.ndarray, camera: PinholeCamera, truth_folder: Path, centre: str
) -> DisplacementTruth:
    """Read the truth of a rendered scan beside `pair`. prior_mm: the surface that its integration started from.

    Raises UserError when truth files are missing.
    """
    folder = Path(truth_folder) / centre
    region = cv2.imread(str(folder / "region.png"), cv2.IMREAD_UNCHANGED)
    if region is None:
        raise UserError(f"{folder}/region.png: is missing or damaged; render the scan again")
    true_mm = read_tiff(folder / "displacement_mm.tif")[0]
    smooth = read_tiff(folder / "base_normal_cam.tif")[0]
    known = pair.mask & np.isfinite(smooth[..., 0])
    share = geometry_pair(smooth, known, prior_mm, camera, pair.preset)
    there = pair.mask & share.mask & np.isfinite(true_mm)
    window = feather(np.isin(region, SKIN) & there, CLEAR_MM / pair.pixel_mm) * there
    return DisplacementTruth(true_mm, share.displacement_mm, there, window >= 0.999, window)


def displacement_fits(pair: Displacement, truth: DisplacementTruth, *, less_base: bool = True) -> list[BandFit]:
    """The recovered against the true displacement on plain skin, band by band; empty when there is too little skin.

    less_base: without the share of the smooth face; False: as it is.
    """
    there, judged = truth.there, truth.judged
    if judged.sum() < 200:
        return []
    found_mm = pair.displacement_mm - truth.base_share_mm if less_base else pair.displacement_mm
    fits = []
    for shortest_mm, longest_mm in BANDS_MM:
        if shortest_mm < 2 * pair.pixel_mm:
            continue  # finer than the pixels can hold
        ours, theirs = (
            band(np.nan_to_num(field), there, shortest_mm, longest_mm, pair.pixel_mm)[judged].astype(np.float64)
            for field in (found_mm, truth.true_mm)
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


def displacement_transfer(pair: Displacement, truth: DisplacementTruth, bands: int = 14) -> Transfer:
    """Cross spectrum of found (less the smooth face's share) and true displacement over plain skin, by wavelength.

    gain = |<F T*>| / <T T*>, coherence = |<F T*>| / sqrt(<F F*> <T T*>); wavelengths from three pixels to 32 mm.
    """
    found, true = (
        np.fft.rfft2(truth.window * np.nan_to_num(field) * truth.there)
        for field in (pair.displacement_mm - truth.base_share_mm, truth.true_mm)
    )
    rows, columns = truth.there.shape
    frequency = np.hypot(np.fft.fftfreq(rows, pair.pixel_mm)[:, None], np.fft.rfftfreq(columns, pair.pixel_mm))
    edges = np.geomspace(1 / 32.0, 1 / (3 * pair.pixel_mm), bands + 1)
    number = np.digitize(frequency, edges).ravel()
    cross, own, known = (
        np.bincount(number, np.real(values).ravel(), bands + 2)[1:-1]
        for values in (found * np.conj(true), np.abs(found) ** 2, np.abs(true) ** 2)
    )
    known = np.maximum(known, 1e-30)
    return Transfer(
        1 / np.sqrt(edges[1:] * edges[:-1]),
        np.abs(cross) / known,
        np.abs(cross) / np.sqrt(np.maximum(own, 1e-30) * known),
    )


def band(values: np.ndarray, mask: np.ndarray, shortest_mm: float, longest_mm: float, pixel_mm: float) -> np.ndarray:
    """(H, W) float32: the wavelengths between two, gain about a half at both ends, 0.03 at twice the longest.

    0 off the mask, over which the filters are normalised.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    made = np.zeros(mask.shape, np.float32)
    if len(rows):
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        weight = mask[window].astype(np.float32)
        field = np.where(mask, values, 0)[window].astype(np.float32)[..., None]
        short = masked_blur(field, weight, 0.7 * shortest_mm / (2 * np.pi * pixel_mm))
        rest = field
        for _ in range(3):
            rest = rest - masked_blur(rest, weight, 1.78 * longest_mm / (2 * np.pi * pixel_mm))
        made[window] = (short - (field - rest))[..., 0] * weight
    return made
