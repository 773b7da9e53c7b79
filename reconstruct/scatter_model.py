"""How much scattering in the skin has blurred the normals of each channel, measured from the channels themselves.

Light enters the skin, wanders and leaves some way off: red furthest, blue least. Normals from diffuse light are
blurred accordingly. The three channels see one relief S under independent noise, so by wavelength their cross spectra
are H_c H_d S and their own spectra H_c^2 S + N_c: ratios of H, the noise N and S can be read off. What the ratios leave
open, the blur of the sharpest channel, follows from the shape of the published skin profile (surface_filter.py), of
which only the scale is fitted.
"""

from dataclasses import dataclass

import numpy as np

from .surface_filter import SKIN_PROFILE_SIGMA_MM, SKIN_PROFILE_WEIGHT

SCALES = np.concatenate([[0.0], np.geomspace(0.2, 3.0, 57)])
FIT_MM = (1.2, 12.0)
"""Wavelengths whose channel ratios the scale is fitted to; at shorter ones red is mostly noise."""


def profile_gain(frequency_per_mm: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """(3, ...) transfer of the skin profile for red, green, blue; `scale` stretches its distances, 0: none."""
    f2 = np.asarray(frequency_per_mm, np.float64) ** 2
    gains = np.zeros((3, *f2.shape))
    for sigma, weights in zip(SKIN_PROFILE_SIGMA_MM, SKIN_PROFILE_WEIGHT, strict=True):
        blur = np.exp(-2 * np.pi**2 * (sigma * scale) ** 2 * f2)
        for c in range(3):
            gains[c] += weights[c] * blur
    return gains / np.sum(SKIN_PROFILE_WEIGHT, axis=0).reshape(3, *[1] * f2.ndim)


@dataclass(frozen=True, eq=False)
class ScatterModel:
    """scale: of the skin profile (1: published, 0: no scattering); by band: frequency_per_mm (B,), noise (3, B) and
    signal (B,) power, ratio (2, B) transfer of red and green over blue as measured."""

    scale: float
    frequency_per_mm: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    ratio: np.ndarray

    def gain(self, frequency_per_mm: np.ndarray) -> np.ndarray:
        return profile_gain(frequency_per_mm, self.scale)

    def weights(self, frequency_per_mm: np.ndarray, caution: float) -> np.ndarray:
        """(3, ...) factors of the channels' spectra whose sum is the relief: Wiener's with `caution` times the noise.

        caution 0 restores the full height at any noise, 1 has the least expected error.
        """
        gains = self.gain(frequency_per_mm)
        f = np.log(np.maximum(frequency_per_mm, 1e-6))
        at = np.log(self.frequency_per_mm)
        noise = np.stack([np.exp(np.interp(f, at, np.log(n))) for n in self.noise])
        signal = np.exp(np.interp(f, at, np.log(self.signal)))
        trust = gains / noise
        return trust / (np.sum(gains * trust, axis=0) + caution / signal)

    def noise_share(self, caution: float) -> np.ndarray:
        """(B,) share of noise in the power of the restored relief, by band: 1 minus its coherence with the skin's."""
        weights = self.weights(self.frequency_per_mm, caution)
        noise = (weights**2 * self.noise).sum(0)
        kept = (weights * self.gain(self.frequency_per_mm)).sum(0) ** 2 * self.signal
        return noise / np.maximum(noise + kept, 1e-30)


def measure_scatter(spectra: dict[str, np.ndarray], frequency_per_mm: np.ndarray) -> ScatterModel:
    """From banded power spectra: keys "rr", "gg", "bb" (own) and "rg", "rb", "gb" (cross), arrays (B,)."""
    own = np.stack([spectra["rr"], spectra["gg"], spectra["bb"]])
    rg, rb, gb = spectra["rg"], spectra["rb"], spectra["gb"]
    ratio = np.stack([rg / np.maximum(gb, 1e-30), rg / np.maximum(rb, 1e-30)])
    in_fit = (1 / frequency_per_mm > FIT_MM[0]) & (1 / frequency_per_mm < FIT_MM[1]) & (gb > 0)
    scale = 0.0
    if in_fit.sum() >= 3:
        costs = []
        for candidate in SCALES:
            red, green, blue = profile_gain(frequency_per_mm[in_fit], candidate)
            costs.append(np.abs(red / blue - ratio[0][in_fit]).sum() + np.abs(green / blue - ratio[1][in_fit]).sum())
        scale = float(SCALES[int(np.argmin(costs))])
    gains = profile_gain(frequency_per_mm, scale)
    signal = np.maximum(gb, 1e-30) / (gains[1] * gains[2])
    # three channels, three cross spectra: what of a channel's power the others do not share is its noise
    shared = np.stack(
        [rg * rb / np.maximum(gb, 1e-30), gb * rg / np.maximum(rb, 1e-30), gb * rb / np.maximum(rg, 1e-30)]
    )
    # where a channel does not follow the profile, that is an error of the model
    followed = np.stack([ratio[0] * gains[2], ratio[1] * gains[2], gains[2]])
    astray = (gains - followed) ** 2 * signal
    noise = np.maximum(own - shared, 0.02 * own) + astray
    return ScatterModel(scale, frequency_per_mm, signal, noise, ratio)
