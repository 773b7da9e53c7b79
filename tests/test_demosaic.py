"""Demosaicing in float: exact where it can be, linear everywhere, the same in strips as in one piece."""

import itertools

import numpy as np
import pytest

from mesoface.capture.demosaic import METHODS, demosaic
from mesoface.capture.image_files import read_tiff
from mesoface.capture.raw import CFA_PATTERNS

BOTH = list(itertools.product(CFA_PATTERNS, ("malvar", "bilinear")))


def mosaic_of(rgb: np.ndarray, cfa: str) -> np.ndarray:
    """Sample (H, W, 3) through any of the four patterns."""
    mosaic = np.empty(rgb.shape[:2], np.float32)
    for place, letter in enumerate(cfa):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, "RGB".index(letter)]
    return mosaic


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(2).normal(0, 100, (60, 44)).astype(np.float32)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_half_bins_without_interpolation(noise, cfa):
    rgb = demosaic(noise, cfa, "half")
    places = {letter: [divmod(k, 2) for k, x in enumerate(cfa) if x == letter] for letter in "RGB"}
    for channel, letter in enumerate("RGB"):
        expected = np.mean([noise[y::2, x::2] for y, x in places[letter]], axis=0)
        np.testing.assert_array_equal(rgb[..., channel], expected.astype(np.float32))


@pytest.mark.parametrize("cfa, method", BOTH)
def test_flat_colours_are_exact_and_negative_ones_stay(cfa, method):
    rgb = np.broadcast_to(np.array([-3.0, 700.0, 12.5], np.float32), (20, 24, 3))
    got = demosaic(mosaic_of(rgb, cfa), cfa, method)
    np.testing.assert_allclose(got, rgb, atol=1e-3)


@pytest.mark.parametrize("cfa, method", BOTH)
def test_grey_ramps_are_exact_inside(cfa, method):
    y, x = np.mgrid[:24, :30].astype(np.float32)
    grey = 5 + 2 * x - 3 * y
    rgb = np.repeat(grey[..., None], 3, axis=2)
    got = demosaic(mosaic_of(rgb, cfa), cfa, method)
    np.testing.assert_allclose(got[2:-2, 2:-2], rgb[2:-2, 2:-2], atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_measured_pixels_keep_their_value_and_the_rest_is_linear(noise, method):
    other = noise[::-1, ::-1].copy()
    both = demosaic(noise - 2 * other, "RGGB", method)
    parts = demosaic(noise, "RGGB", method) - 2 * demosaic(other, "RGGB", method)
    np.testing.assert_allclose(both, parts, atol=1e-3)
    if method != "half":
        rgb = demosaic(noise, "RGGB", method)
        np.testing.assert_array_equal(rgb[0::2, 0::2, 0], noise[0::2, 0::2])
        np.testing.assert_array_equal(rgb[1::2, 0::2, 1], noise[1::2, 0::2])
        np.testing.assert_array_equal(rgb[1::2, 1::2, 2], noise[1::2, 1::2])


@pytest.mark.parametrize("method", METHODS)
def test_strips_do_not_show(method, monkeypatch):
    mosaic = np.random.default_rng(3).normal(0, 1, (700, 40)).astype(np.float32)
    in_strips = demosaic(mosaic, "GBRG", method, workers=3)
    monkeypatch.setattr("mesoface.capture.demosaic.STRIP_ROWS", 10_000)
    np.testing.assert_array_equal(in_strips, demosaic(mosaic, "GBRG", method))


def test_turned_patterns_agree(noise):
    """A column less turns RGGB into GRBG: the same picture, shifted."""
    whole = demosaic(noise, "RGGB", "malvar")
    shifted = demosaic(np.ascontiguousarray(noise[:, 1:-1]), "GRBG", "malvar")
    np.testing.assert_allclose(shifted[:, 2:-2], whole[:, 3:-3], atol=1e-3)


def test_malvar_is_nearer_to_the_truth_than_bilinear(tiny_scan):
    truth = read_tiff(sorted((tiny_scan / "images").glob("*_cross.tif"))[0])[0].astype(np.float32) - 2048
    errors = {}
    for method in ("malvar", "bilinear"):
        difference = demosaic(mosaic_of(truth, "RGGB"), "RGGB", method) - truth
        errors[method] = float(np.sqrt((difference**2).mean()))
    assert errors["malvar"] < 0.75 * errors["bilinear"]


@pytest.mark.parametrize(
    "shape, cfa, method", [((5, 4), "RGGB", "malvar"), ((4, 4), "RGBG", "half"), ((4, 4), "RGGB", "ahd")]
)
def test_wrong_input(shape, cfa, method):
    with pytest.raises(ValueError):
        demosaic(np.zeros(shape, np.float32), cfa, method)
    with pytest.raises(ValueError):
        demosaic(np.zeros((4, 4)), "RGGB", "half")  # pyright: ignore[reportArgumentType]
