"""What mu does, by wavelength: cut-offs in mm, and the gain of Eq. 9 and of displacements made of two solutions.

In the frequency domain, k in rad/px, Eq. 9 gives z = H zn + (1 - H) z0, H = k² / (k² + mu): zn is the surface that the
normals alone describe. The prior takes over at wavelengths above 2 pi / sqrt(mu) px.
"""

import numpy as np

from ..capture.errors import UserError


def mu_for_cutoff(wavelength_mm: float, pixel_mm: float) -> float:
    """mu in px^-2 whose cut-off (gain 1/2) lies at a wavelength. Raises UserError unless both are above 0."""
    if not (wavelength_mm > 0 and pixel_mm > 0):
        raise UserError(f"cut-off {wavelength_mm:g} mm at {pixel_mm:g} mm per pixel, but expected both above 0")
    return float((2 * np.pi * pixel_mm / wavelength_mm) ** 2)


def cutoff_for_mu(mu: float, pixel_mm: float) -> float:
    """Wavelength in mm at which a mu in px^-2 gives half to the slopes, half to the prior."""
    if not (mu > 0 and pixel_mm > 0):
        raise UserError(f"mu = {mu:g} px^-2 at {pixel_mm:g} mm per pixel, but expected both above 0")
    return float(2 * np.pi * pixel_mm / np.sqrt(mu))


def slope_gain(mu: float, wavelength_px: np.ndarray | float, *, on_grid: bool = False) -> np.ndarray:
    """H: how much of the slopes' surface Eq. 9 keeps at a wavelength (any shape).

    With `on_grid`, of the discrete problem for waves along an axis: its edges average two slopes, which costs 5 % at
    8 px and 0.8 % at 20 px.
    """
    k = 2 * np.pi / np.asarray(wavelength_px, np.float64)
    if on_grid:
        return k * np.sin(k) / (2 - 2 * np.cos(k) + mu)
    return k * k / (k * k + mu)


def transfer(mu_fine: float, mu_base: float, wavelength_px: np.ndarray | float, *, on_grid: bool = False) -> np.ndarray:
    """Gain of z(mu_fine) - z(mu_base), both with the same slopes: what the paper's displacement keeps of zn - z0.

    A band-pass with its peak at k = (mu_fine mu_base)^(1/4), not a high-pass: short wavelengths are in both solutions
    and cancel.
    """
    return slope_gain(mu_fine, wavelength_px, on_grid=on_grid) - slope_gain(mu_base, wavelength_px, on_grid=on_grid)


def low_pass_gain(cutoff_px: float, wavelength_px: np.ndarray | float, passes: int = 1) -> np.ndarray:
    """Gain 1 - (1 - G)^passes, G that of a Gaussian with sigma = cutoff / (2 pi) px, 0.61 at the cut-off."""
    gaussian = np.exp(-((cutoff_px / np.asarray(wavelength_px, np.float64)) ** 2) / 2)
    return 1 - (1 - gaussian) ** passes


def transfer_low_passed(
    mu_fine: float,
    mu_base: float,
    cutoff_px: float,
    wavelength_px: np.ndarray | float,
    *,
    passes: int = 1,
    on_grid: bool = False,
) -> np.ndarray:
    """Gain of z(mu_fine) - z(mu_base with slopes low-passed at a cut-off)."""
    base = low_pass_gain(cutoff_px, wavelength_px, passes) * slope_gain(mu_base, wavelength_px, on_grid=on_grid)
    return slope_gain(mu_fine, wavelength_px, on_grid=on_grid) - base
