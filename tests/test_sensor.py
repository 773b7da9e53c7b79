"""The sensor against its own model: photon transfer curve, black level, clipping, gains, and the way back."""

import numpy as np
import pytest

from mesoface.capture.rig_models import Exposure
from mesoface.reconstruct.sensor import EXPOSURE_GAIN, Sensor, expose, exposure_gain, linear_from_sensor

SENSOR = Sensor()


def exposure(iso: int = 100, aperture: float = 11.0) -> Exposure:
    return Exposure(iso=iso, aperture=aperture, shutter_s=0.00625)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(value: float, count: int = 200) -> np.ndarray:
    return np.full((count, count, 3), value)


def test_exposure_gain_follows_iso_and_aperture():
    assert exposure_gain(exposure()) == pytest.approx(EXPOSURE_GAIN)
    assert exposure_gain(exposure(iso=400)) == pytest.approx(4 * EXPOSURE_GAIN)
    assert exposure_gain(exposure(aperture=5.5)) == pytest.approx(4 * EXPOSURE_GAIN)
    assert exposure_gain(exposure(aperture=22.0)) == pytest.approx(EXPOSURE_GAIN / 4)
    slow = Exposure(iso=100, aperture=11.0, shutter_s=1.0)
    assert exposure_gain(slow) == exposure_gain(exposure())  # a flash ignores the shutter


def test_without_noise_the_expectation_is_rounded():
    linear = np.linspace(0, 0.8, 3000).reshape(50, 20, 3)
    numbers = expose(linear, exposure(), SENSOR, None)
    assert numbers.dtype == np.uint16
    assert numbers == pytest.approx(2048 + linear * EXPOSURE_GAIN * (15000 - 2048), abs=0.5001)
    assert linear_from_sensor(numbers, exposure(), SENSOR) == pytest.approx(
        linear, abs=0.51 / (EXPOSURE_GAIN * SENSOR.range_dn)
    )


@pytest.mark.parametrize("iso", [100, 800])
def test_photon_transfer_curve(iso):
    """Variance over signal is a straight line: its slope is DN per electron, its foot the read noise."""
    well_e = SENSOR.full_well_e * 100 / iso
    dn_per_e = SENSOR.range_dn / well_e
    means, variances = [], []
    for step, fraction in enumerate((0.0, 0.05, 0.2, 0.4, 0.7)):
        numbers = expose(flat(fraction / exposure_gain(exposure(iso)), 300), exposure(iso), SENSOR, rng(step))
        means.append(numbers.mean() - SENSOR.black_level)
        variances.append(numbers.var())
        expected = fraction * well_e * dn_per_e**2 + (SENSOR.read_noise_e * dn_per_e) ** 2 + 1 / 12
        assert means[-1] == pytest.approx(fraction * SENSOR.range_dn, abs=6 * np.sqrt(expected / numbers.size))
        assert variances[-1] == pytest.approx(expected, rel=0.02)
    slope, foot = np.polyfit(means, variances, 1)
    assert slope == pytest.approx(dn_per_e, rel=0.02)
    assert variances[0] == pytest.approx((SENSOR.read_noise_e * dn_per_e) ** 2 + 1 / 12, rel=0.02)
    assert foot == pytest.approx(variances[0], abs=0.02 * variances[-1])


def test_noise_is_independent_from_pixel_to_pixel_and_channel_to_channel():
    numbers = expose(flat(0.3), exposure(), SENSOR, rng()).astype(float)
    numbers -= numbers.mean()
    variance = numbers.var()
    for shifted in (np.roll(numbers, 1, 0), np.roll(numbers, 1, 1), np.roll(numbers, 1, 2)):
        assert abs((numbers * shifted).mean()) < 0.02 * variance


def test_black_level_and_clipping():
    dark = expose(flat(0.0), exposure(), SENSOR, rng())
    assert dark.mean() == pytest.approx(SENSOR.black_level, abs=0.1)
    assert dark.min() < SENSOR.black_level < dark.max()  # noise goes below black
    assert np.array_equal(expose(flat(-0.5), exposure(), SENSOR, None), np.full((200, 200, 3), SENSOR.black_level))
    for noise in (None, rng()):
        for value in (1.5, 1e9):
            assert (expose(flat(value), exposure(), SENSOR, noise) == SENSOR.white_level).all()
    bright = expose(flat(1 / EXPOSURE_GAIN), exposure(), SENSOR, rng())
    assert bright.max() == SENSOR.white_level and bright.min() < SENSOR.white_level


@pytest.mark.parametrize(("iso", "aperture"), [(100, 11.0), (400, 16.0), (200, 8.0)])
def test_the_way_back_is_unbiased(iso, aperture):
    setting = exposure(iso, aperture)
    value = 0.3 / exposure_gain(setting)
    back = linear_from_sensor(expose(flat(value), setting, SENSOR, rng(5)), setting, SENSOR)
    assert back.dtype == np.float32
    spread = np.sqrt(0.3 * SENSOR.full_well_e * 100 / iso) / (SENSOR.full_well_e * 100 / iso) / exposure_gain(setting)
    assert back.std() == pytest.approx(spread, rel=0.02)
    assert back.mean(dtype=np.float64) == pytest.approx(value, abs=5 * spread / np.sqrt(back.size))
    dark = linear_from_sensor(expose(flat(0.0), setting, SENSOR, rng(6)), setting, SENSOR)
    assert dark.min() < 0 and abs(dark.mean(dtype=np.float64)) < 1e-4


def test_higher_iso_is_noisier_at_the_same_number():
    low, high = (
        expose(flat(0.3 / exposure_gain(exposure(iso))), exposure(iso), SENSOR, rng()).std() for iso in (100, 1600)
    )
    assert high / low == pytest.approx(4, rel=0.03)


def test_a_seed_decides_every_number():
    first, again, other = (expose(flat(0.2), exposure(), SENSOR, rng(seed)) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert (first != other).mean() > 0.9
