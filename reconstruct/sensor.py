"""The camera's sensor: from light to 14-bit numbers with shot noise, read noise and black level."""

from dataclasses import dataclass

import numpy as np

from ..capture.rig_models import Exposure

EXPOSURE_GAIN = 1.2
"""Fraction of the sensor's range that a linear value of 1 fills at the reference exposure (ISO 100, f/11)."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """An APS-C sensor as tethered DSLRs of the 24 MP class have it; numbers are per pixel at ISO 100."""

    black_level: int = 2048
    white_level: int = 15000
    full_well_e: float = 30000.0
    read_noise_e: float = 3.0

    @property
    def range_dn(self) -> int:
        return self.white_level - self.black_level


def exposure_gain(exposure: Exposure) -> float:
    """Fraction of the range per unit of linear light: proportional to ISO / aperture^2; a flash ignores the shutter."""
    return EXPOSURE_GAIN * (exposure.iso / 100) * (11.0 / exposure.aperture) ** 2


def expose(linear: np.ndarray, exposure: Exposure, sensor: Sensor, rng: np.random.Generator | None) -> np.ndarray:
    """Sensor numbers (H, W, 3) uint16 for linear light (H, W, 3) float.

    Black level + signal + shot noise (Poisson) + read noise (Gaussian), clipped at the white level; noise may go below
    the black level, as on a real sensor. Without `rng` the exact expectation is rounded.
    """
    fraction = np.maximum(linear, 0).astype(np.float64) * exposure_gain(exposure)
    if rng is None:
        signal = fraction * sensor.range_dn
    else:
        well_e = sensor.full_well_e * 100 / exposure.iso
        electrons = rng.poisson(np.minimum(fraction, 4.0) * well_e) + rng.normal(0, sensor.read_noise_e, fraction.shape)
        signal = electrons * (sensor.range_dn / well_e)
    return np.clip(np.rint(sensor.black_level + signal), 0, sensor.white_level).astype(np.uint16)


def linear_from_sensor(image: np.ndarray, exposure: Exposure, sensor: Sensor) -> np.ndarray:
    """Inverse of `expose` without its noise: (H, W, 3) float32 linear light; may be negative by noise."""
    scale = 1.0 / (sensor.range_dn * exposure_gain(exposure))
    return ((image.astype(np.float32) - sensor.black_level) * np.float32(scale)).astype(np.float32)
