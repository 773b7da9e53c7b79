"""The geometry pair of a scan and the displacement between its two surfaces, in mm along the base normal.

Both surfaces are solutions of Eq. 9 with the same normals and prior. Which detail ends up in the displacement is
decided by wavelengths: `Preset.gain` gives the result, docs/displacement.md the reasons.

- `paper`: the text's two mu, 1e-5 and 1e-3 per px² at 0.05 mm, with the same slopes: a band-pass around 31 mm that
  keeps 20 % of a wrinkle of 5 mm and 1 % of one of 1 mm.
- `full_band`: the paper's lower mu for both, the base with slopes low-passed at what a proxy mesh can carry: all
  shorter wavelengths at full height, and errors of the prior and of the normals at long ones on both sides alike.
"""

from dataclasses import dataclass, field

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from . import eq9_transfer
from .eq9_checks import Weights
from .eq9_integration import Integration, solve_eq9
from .eq9_perspective import depth_change_mm, depth_mm, log_depth, log_depth_slopes, pixel_pitch_mm
from .slope_filters import low_pass, sharpen

PAPER_PITCH_MM = 0.05
"""The pixel pitch at which the paper's mu are read."""


@dataclass(frozen=True)
class Preset:
    """What the two surfaces of a pair hold, by wavelength in mm."""

    name: str
    fine_mm: float
    """Cut-off between normals and prior of the fine surface."""
    base_mm: float
    low_pass_mm: float | None = None
    """The base takes slopes low-passed at this wavelength (Gaussian, gain 0.61 there), or the same slopes."""
    passes: int = 1
    """Of the low-pass: several are flatter and steeper (`slope_filters.low_pass`)."""
    sharpen: bool = False
    """Undo the loss of the grid at wavelengths of a few pixels (`slope_filters.sharpen`)."""
    feather_mm: float = 0.0
    """Width over which the displacement fades to 0 at the border of the mask."""

    def __post_init__(self) -> None:
        if not (self.fine_mm > 0 and self.base_mm > 0 and (self.low_pass_mm is None or self.low_pass_mm > 0)):
            raise UserError(f"{self}: cut-offs are wavelengths in mm, above 0")

    def gain(self, wavelength_mm: np.ndarray | float, pixel_mm: float) -> np.ndarray:
        """Share of the normals' surface that the displacement holds at a wavelength (away from the border)."""
        fine, base = self.mu(pixel_mm)
        wavelength_px = np.asarray(wavelength_mm, np.float64) / pixel_mm
        gains = (eq9_transfer.slope_gain(mu, wavelength_px, on_grid=True) for mu in (fine, base))
        fine_gain, base_gain = gains
        if self.low_pass_mm is not None:
            base_gain = base_gain * eq9_transfer.low_pass_gain(self.low_pass_mm / pixel_mm, wavelength_px, self.passes)
        sharpened = 1 + (1 - np.cos(2 * np.pi / wavelength_px)) / 4 if self.sharpen else 1.0
        return sharpened * (fine_gain - base_gain)

    def mu(self, pixel_mm: float) -> tuple[float, float]:
        """mu in px^-2 of the fine and the base surface."""
        return eq9_transfer.mu_for_cutoff(self.fine_mm, pixel_mm), eq9_transfer.mu_for_cutoff(self.base_mm, pixel_mm)


PAPER = Preset(
    "paper",
    fine_mm=eq9_transfer.cutoff_for_mu(1e-5, PAPER_PITCH_MM),
    base_mm=eq9_transfer.cutoff_for_mu(1e-3, PAPER_PITCH_MM),
)
FULL_BAND = Preset(
    "full_band",
    fine_mm=PAPER.fine_mm,
    base_mm=PAPER.fine_mm,
    low_pass_mm=22.0,
    passes=3,
    sharpen=True,
    feather_mm=2.0,
)
PRESETS = {preset.name: preset for preset in (PAPER, FULL_BAND)}


@dataclass(frozen=True, eq=False)
class GeometryPair:
    """Two surfaces of one view and what lies between them. Maps are NaN off `mask`."""

    displacement_mm: np.ndarray
    """(H, W) float32: height of the surface seen in each pixel above the base, along the base's outward normal."""
    fine_mm: np.ndarray
    """(H, W) float64 depth along the optical axis."""
    base_mm: np.ndarray
    base_normal_camera: np.ndarray
    """(H, W, 3) float32, unit, towards the viewer."""
    mask: np.ndarray
    """(H, W) bool: the mask given, less pixels whose normal is missing or too oblique."""
    preset: Preset
    pixel_mm: float
    fine: Integration = field(repr=False)
    base: Integration = field(repr=False)


def find_preset(name: str) -> Preset:
    """Raises UserError for a name that does not exist."""
    if name not in PRESETS:
        raise UserError(f'displacement preset "{name}", but expected one of {", ".join(PRESETS)}')
    return PRESETS[name]


def geometry_pair(
    normals_camera: np.ndarray,
    mask: np.ndarray,
    z0_mm: np.ndarray,
    camera: PinholeCamera,
    preset: Preset = FULL_BAND,
    *,
    weights: Weights = None,
    threads: int | None = None,
) -> GeometryPair:
    """Fine and base surface of a view, and the displacement between them.

    Args:
        normals_camera: (H, W, 3) unit normals in camera axes, towards the viewer; NaN where unknown.
        mask: (H, W) bool, the face.
        z0_mm: (H, W) prior depth in mm along the optical axis.
        camera: undistorted, of this image size.
        weights: confidence of the normals, as of `integrate`.
    Raises UserError as `integrate` does.
    """
    p, q = log_depth_slopes(normals_camera, camera)
    known = mask & np.isfinite(p)
    if not known.any():
        raise UserError("no pixel of the mask has a usable normal: are they in camera axes, z < 0 towards the camera?")
    pixel_mm = pixel_pitch_mm(z0_mm, known, camera)
    prior = log_depth(z0_mm, known)
    mu_fine, mu_base = preset.mu(pixel_mm)
    if preset.sharpen:
        p, q = sharpen(p, q, known)
    fine = solve_eq9(p, q, known, prior, mu_fine, weights=weights, threads=threads)
    if preset.low_pass_mm is not None:
        p, q = low_pass((p, q), known, preset.low_pass_mm / (2 * np.pi * pixel_mm), preset.passes)
    base = solve_eq9(p, q, known, prior, mu_base, weights=weights, threads=threads)
    del p, q
    normal = surface_normals(base.z, known, camera)
    height = _along_normal(depth_change_mm(fine, base), normal, camera)
    if preset.feather_mm > 0:
        height *= feather(known, preset.feather_mm / pixel_mm)
    return GeometryPair(height, depth_mm(fine), depth_mm(base), normal, known, preset, pixel_mm, fine, base)


def surface_normals(log_depth: np.ndarray, mask: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """(H, W, 3) float32 unit normals of a surface in camera axes, towards the viewer; NaN off the mask.

    Central differences of log depth; one-sided at the border of the mask.
    """
    columns, rows = camera.normalised_grid()
    slopes = []
    for axis, focal in ((1, camera.fx_px), (0, camera.fy_px)):
        z, inside = (log_depth.T, mask.T) if axis == 0 else (log_depth, mask)
        edge = inside[:, 1:] & inside[:, :-1]
        step = np.where(edge, np.diff(z, axis=1), 0).astype(np.float32)
        total, count = np.zeros(z.shape, np.float32), np.zeros(z.shape, np.float32)
        for side in (slice(1, None), slice(None, -1)):
            total[:, side] += step
            count[:, side] += edge
        slope = np.float32(focal) * total / np.maximum(count, 1)
        slopes.append(slope.T if axis == 0 else slope)
    x, y = columns.astype(np.float32)[None, :], rows.astype(np.float32)[:, None]
    normal = np.stack([slopes[0], slopes[1], -(1 + slopes[0] * x + slopes[1] * y)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normal[~mask] = np.nan
    return normal


def feather(mask: np.ndarray, width_px: float) -> np.ndarray:
    """(H, W) float32: 0 at the border of the mask and of the image, 1 from `width_px` inside, smooth between."""
    import cv2

    framed = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1]
    t = np.clip(distance / np.float32(width_px), 0, 1)
    return t * t * (3 - 2 * t)


def _along_normal(change_mm: np.ndarray, normal: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Height (H, W) float32 mm above the base of points moved by `change_mm` in depth along their rays."""
    columns, rows = (axis.astype(np.float32) for axis in camera.normalised_grid())
    cosine = normal[..., 0] * columns + normal[..., 1] * rows[:, None] + normal[..., 2]
    return (change_mm * cosine).astype(np.float32)
