"""Filters on the visible surface: widths in millimetres whatever the pixel size and slant, no leaks, skin's profile."""

import numba
import numpy as np
import pytest

from mesoface.reconstruct.surface_filter import (
    SKIN_PROFILE_SIGMA_MM,
    SKIN_PROFILE_WEIGHT,
    scatter,
    surface_gaussian,
)


def plane(pixel_mm: float, size: int = 81, slant_deg: float = 0.0) -> np.ndarray:
    """Surface points (size, size, 3) float32 that a distant camera sees of a plane slanted about the y axis."""
    steps = (np.arange(size) - size // 2) * pixel_mm
    x, y = np.meshgrid(steps, steps)
    return np.stack([x, y, np.tan(np.deg2rad(slant_deg)) * x], 2).astype(np.float32)


def spot(size: int = 81) -> np.ndarray:
    image = np.zeros((size, size, 1), np.float32)
    image[size // 2, size // 2] = 1
    return image


def spread_mm(image: np.ndarray, position: np.ndarray) -> tuple[float, float]:
    """Standard deviations in mm along rows and columns of a blurred spot, measured on the surface."""
    steps = np.linalg.norm(position - position[len(position) // 2, len(position) // 2], axis=2) ** 2
    middle = len(image) // 2
    across, down = image[middle], image[:, middle]
    return (
        float(np.sqrt((across * steps[middle]).sum() / across.sum())),
        float(np.sqrt((down * steps[:, middle]).sum() / down.sum())),
    )


def noise(size: int = 60, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).random((size, size, channels), np.float32)


def test_constants_stay_whatever_weight_and_shape():
    rng = np.random.default_rng(2)
    weight = rng.random((50, 50)).astype(np.float32) * (rng.random((50, 50)) > 0.3)
    position = plane(0.3, 50, 40.0) + rng.normal(0, 0.2, (50, 50, 3)).astype(np.float32)
    result = surface_gaussian(np.full((50, 50, 2), 0.7, np.float32), weight, position, 0.8, 0.3)
    assert result.dtype == np.float32
    assert result[weight > 0] == pytest.approx(0.7, rel=1e-5)
    assert not result[weight == 0].any()


def test_pixels_without_weight_are_neither_read_nor_written():
    image, weight = noise(), np.ones((60, 60), np.float32)
    weight[:, :20] = 0
    poisoned = image.copy()
    poisoned[:, :20] = 1e6
    clean, same = (surface_gaussian(a, weight, plane(0.2, 60), 0.5, 0.2) for a in (image, poisoned))
    assert np.array_equal(clean, same)
    assert clean.max() < 1


def test_mean_is_conserved_inside():
    image = np.zeros((61, 61, 1), np.float32)
    image[20:41, 20:41, 0] = noise(21, 1)[..., 0]
    result = surface_gaussian(image, np.ones((61, 61), np.float32), plane(0.25, 61), 0.6, 0.25)
    assert result.sum() == pytest.approx(image.sum(), rel=1e-4)
    assert result.var() < 0.7 * image.var()


@pytest.mark.parametrize("pixel_mm", [0.1, 0.25, 0.5])
def test_a_spot_widens_by_sigma_whatever_the_pixel(pixel_mm):
    """The kernel is cut at 3 sigma, which takes 1.3 % off its standard deviation."""
    sigma = 1.0
    blurred = surface_gaussian(spot(), np.ones((81, 81), np.float32), plane(pixel_mm), sigma, pixel_mm)[..., 0]
    for width in spread_mm(blurred, plane(pixel_mm)):
        assert width == pytest.approx(0.987 * sigma, rel=0.01)
    assert blurred == pytest.approx(blurred.T, abs=1e-6)


def test_slanted_surface_keeps_its_width_in_millimetres():
    """Slanted by 60 degrees, neighbours along the slant are twice as far apart: half as many pixels."""
    position = plane(0.1, slant_deg=60.0)
    blurred = surface_gaussian(spot(), np.ones((81, 81), np.float32), position, 0.8, 0.1)[..., 0]
    along, down = spread_mm(blurred, position)
    assert along == pytest.approx(0.8, rel=0.02)
    assert down == pytest.approx(0.8, rel=0.02)
    in_pixels = spread_mm(blurred, plane(0.1))
    assert in_pixels[0] / in_pixels[1] == pytest.approx(0.5, rel=0.02)


def test_no_leak_across_a_step_in_depth():
    position = plane(0.25)
    position[:, 40:, 2] -= 20.0
    image = np.zeros((81, 81, 1), np.float32)
    image[:, 40:] = 1
    blurred = surface_gaussian(image, np.ones((81, 81), np.float32), position, 2.0, 0.25)
    assert np.array_equal(blurred, image) or np.abs(blurred - image).max() < 1e-6


def test_normals_keep_a_crease():
    normal = np.zeros((81, 81, 3), np.float32)
    normal[:, :40], normal[:, 40:] = (0, 0, 1), (np.sin(0.5), 0, np.cos(0.5))
    image = np.zeros((81, 81, 1), np.float32)
    image[:, 40:] = 1
    weight = np.ones((81, 81), np.float32)
    plain = surface_gaussian(image, weight, plane(0.25), 0.5, 0.25)
    kept = surface_gaussian(image, weight, plane(0.25), 0.5, 0.25, normal, 150.0)
    assert plain[40, 39, 0] > 0.2
    assert np.abs(kept - image).max() < 1e-4
    normal[:] = 0, 0, 1
    same = surface_gaussian(image, weight, plane(0.25), 0.5, 0.25, normal, 150.0)
    assert same == pytest.approx(plain, abs=1e-5)


def test_narrower_than_a_pixel_changes_nothing():
    image, weight = noise(), np.ones((60, 60), np.float32)
    weight[0] = 0
    result = surface_gaussian(image, weight, plane(1.0, 60), 0.2, 1.0)
    assert np.array_equal(result[1:], image[1:]) and not result[0].any()


def test_scatter_is_widest_in_red_and_keeps_light():
    assert np.sum(SKIN_PROFILE_WEIGHT, 0) == pytest.approx(1, abs=1e-6)
    weight = np.ones((81, 81), np.float32)
    image = scatter(spot(), weight, plane(0.2), 0.2)
    assert image.shape == (81, 81, 3) and image.dtype == np.float32
    second = [np.sqrt((image[40, :, c] * plane(0.2)[40, :, 0] ** 2).sum() / image[40, :, c].sum()) for c in range(3)]
    assert second[0] > 2 * second[1] > 2.2 * second[2] > 0
    assert image[40, 40, 2] > image[40, 40, 1] > image[40, 40, 0]
    flat = scatter(np.full((81, 81, 1), 0.4, np.float32), weight, plane(0.2), 0.2)
    assert flat == pytest.approx(0.4, rel=1e-5)
    energy = scatter(spot(121), np.ones((121, 121), np.float32), plane(0.2, 121), 0.2).sum((0, 1))
    assert energy == pytest.approx(1, rel=2e-3)


def test_scatter_has_the_variance_of_the_published_profile():
    """Fine pixels, because the narrowest Gaussian of 0.08 mm is lost between coarse ones."""
    pixel_mm, size = 0.1, 171
    image = scatter(spot(size), np.ones((size, size), np.float32), plane(pixel_mm, size), pixel_mm).sum(0)
    steps = (np.arange(size) - size // 2) * pixel_mm
    variance = (image * steps[:, None] ** 2).sum(0) / image.sum(0)
    published = np.square(SKIN_PROFILE_SIGMA_MM) @ np.array(SKIN_PROFILE_WEIGHT)
    assert variance == pytest.approx(published, rel=0.06)


def test_scatter_takes_coloured_light():
    weight, light = np.ones((60, 60), np.float32), noise()
    coloured = scatter(light, weight, plane(0.2, 60), 0.2)
    for c in range(3):
        alone = scatter(np.ascontiguousarray(light[..., c : c + 1]), weight, plane(0.2, 60), 0.2)
        assert np.array_equal(coloured[..., c], alone[..., c])


def test_thread_count_does_not_change_a_byte():
    weight = (noise(60, 1)[..., 0] > 0.2).astype(np.float32)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(surface_gaussian(noise(), weight, plane(0.2, 60), 0.9, 0.2).tobytes())
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]
