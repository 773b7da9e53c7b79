"""The depth prior z0: smooth, complete, unbiased, and honest about what it only bridges."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from stereo_fixtures import VOLUME, Seen, exact_stereo, plane, seen, sphere

from mesoface.capture.errors import UserError
from mesoface.reconstruct.depth_prior import depth_prior, face_mask
from mesoface.reconstruct.stereo_types import DenseStereo, MergedDepth
from mesoface.reconstruct.surface_lowpass import lowpass_surface

SIGMA_MM = 3.0
"""Low-pass of these tests, whose surfaces are only 46 mm wide."""


@pytest.fixture(scope="module")
def scene() -> dict[str, Seen]:
    return seen(sphere())


def with_hole(stereo: DenseStereo, hole: np.ndarray) -> DenseStereo:
    """Nothing measured inside `hole`."""
    depth = np.where(hole, np.float32(np.nan), stereo.merged.depth_mm)
    count = np.where(hole, 0, stereo.merged.count).astype(np.uint8)
    return replace(stereo, merged=MergedDepth(depth, count))


def disc(radius_px: float, row: float = 100, column: float = 100) -> np.ndarray:
    rows, columns = np.mgrid[:200, :200]
    return np.hypot(rows - row, columns - column) < radius_px


def mesh_of(one: Seen) -> tuple[np.ndarray, np.ndarray]:
    """The true depth map as a mesh."""
    there = np.isfinite(one.depth_mm)
    number = np.cumsum(there).reshape(there.shape) - 1
    whole = there[:-1, :-1] & there[1:, :-1] & there[:-1, 1:] & there[1:, 1:]
    a, b, c, d = (plane[whole] for plane in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]))
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([c, b, d], 1)])
    return one.view.camera.unproject(one.depth_mm.astype(np.float64))[there], triangles


def test_a_plane_stays_a_plane_up_to_its_border():
    """A blur would bend it there."""
    scene = seen(plane((0.5, -0.4, 1)))
    one = scene["centre"]
    prior = depth_prior(exact_stereo(scene), one.view.mask, sigma_mm=SIGMA_MM)
    assert prior.source == "map" and prior.warnings == ()
    off = np.abs(prior.z0_mm - one.depth_mm)[one.view.mask]
    assert off.max() < 0.05, "perspective makes the depth of a plane curve a little"
    assert np.median(off) < 0.01
    assert prior.confidence[disc(50)].min() > 0.97
    border = one.view.mask & ~one.face
    assert 0.5 < np.median(prior.confidence[border]) < 0.85, "one side only"


def test_noise_and_outliers_do_not_shift_it(scene: dict[str, Seen]):
    one, rng = scene["centre"], np.random.default_rng(2)
    exact = exact_stereo(scene)
    depth = exact.merged.depth_mm + rng.normal(0, 0.3, one.depth_mm.shape).astype(np.float32)
    depth[disc(3, 80, 120)] += 15  # a wrong patch
    clean = depth_prior(exact, one.view.mask, sigma_mm=SIGMA_MM)
    noisy = depth_prior(replace(exact, merged=MergedDepth(depth, exact.merged.count)), one.view.mask, sigma_mm=SIGMA_MM)
    off = (noisy.z0_mm - clean.z0_mm)[one.view.mask]
    assert np.abs(np.median(off)) < 0.01
    assert np.quantile(np.abs(off), 0.95) < 0.1
    assert np.abs(off).max() < 0.5


def test_holes_are_filled_and_not_trusted(scene: dict[str, Seen]):
    one, hole = scene["centre"], disc(28)
    stereo = with_hole(exact_stereo(scene), hole)
    prior = depth_prior(stereo, one.view.mask, sigma_mm=SIGMA_MM)
    assert np.isfinite(prior.z0_mm[one.view.mask]).all() and np.isnan(prior.z0_mm[~one.view.mask]).all()
    assert np.abs(prior.z0_mm - one.depth_mm)[hole].max() < 0.6, "the slope is continued over the hole"
    assert prior.confidence[disc(14)].max() < 0.2
    assert prior.confidence[disc(65) & ~disc(45)].min() > 0.9
    assert (prior.confidence[~one.view.mask] == 0).all()
    assert any("bridges" in warning for warning in prior.warnings)


def test_a_mesh_over_a_hole_does_not_make_it_trusted(scene: dict[str, Seen]):
    """Poisson surfaces close holes with invented surface; the confidence comes from the views alone."""
    one, hole = scene["centre"], disc(28)
    stereo = with_hole(exact_stereo(scene), hole)
    prior = depth_prior(stereo, one.view.mask, mesh=mesh_of(one), sigma_mm=SIGMA_MM)
    whole = depth_prior(exact_stereo(scene), one.view.mask, sigma_mm=SIGMA_MM)
    assert prior.source == "mesh"
    assert np.abs(prior.z0_mm - whole.z0_mm)[one.face].max() < 0.05
    assert prior.confidence[disc(14)].max() < 0.2


def test_what_one_view_says_counts_half(scene: dict[str, Seen]):
    stereo = exact_stereo(scene)
    count = np.where(stereo.merged.count > 0, 1, 0).astype(np.uint8)
    prior = depth_prior(replace(stereo, merged=MergedDepth(stereo.merged.depth_mm, count)), scene["centre"].view.mask)
    assert np.allclose(prior.confidence[disc(60)], 0.5, atol=0.02)


def test_too_little_to_go_on_is_refused(scene: dict[str, Seen]):
    stereo, mask = exact_stereo(scene), scene["centre"].view.mask
    with pytest.raises(UserError, match=r"measured only 1\d % of the face.*proxy"):
        depth_prior(with_hole(stereo, ~disc(30)), mask)
    told = replace(with_hole(stereo, ~disc(30)), warnings=('view "left1": blurred',))
    with pytest.raises(UserError, match=r'view "left1": blurred'):
        depth_prior(told, mask)
    with pytest.raises(UserError, match="face mask of the centre view is empty"):
        depth_prior(stereo, np.zeros_like(mask))


def test_the_face_mask_is_one_piece_inside_the_subject(scene: dict[str, Seen]):
    stereo, one = exact_stereo(scene), scene["centre"]
    skin = one.view.mask & ~disc(9, 100, 85)  # an eye
    mask = face_mask(stereo, skin, VOLUME)
    assert mask[disc(9, 100, 85)].all(), "holes belong to the face"
    assert mask[one.face].mean() > 0.99 and not mask[~one.view.mask].any()
    narrow = replace(VOLUME, extent_mm=(20.0, 60.0, 40.0))
    assert 0.35 < face_mask(stereo, skin, narrow).sum() / mask.sum() < 0.65
    assert not face_mask(stereo, np.zeros_like(skin), VOLUME).any()


def test_the_lowpass_passes_what_a_gaussian_passes():
    """Half of a wave that a Gaussian of sigma halves, all of a long one, nearly nothing of pores."""
    sigma, everywhere = 6.0, np.ones((180, 180), bool)
    columns = np.arange(180.0)[None, :] + np.zeros((180, 1))

    def gain(wavelength_px: float) -> float:
        wave = np.cos(2 * np.pi * columns / wavelength_px)
        passed = lowpass_surface(wave, np.ones(wave.shape, np.float32), everywhere, sigma)
        inner = np.s_[50:130, 50:130]
        return float((passed[inner] * wave[inner]).sum() / (wave[inner] ** 2).sum())

    half = 2 * np.pi * sigma / 1.1774
    wave = np.cos(2 * np.pi * columns / half)
    blurred = gaussian_filter(wave, sigma, mode="wrap")[90, 60:120].max()
    assert blurred == pytest.approx(0.5, abs=0.03)
    assert gain(half) == pytest.approx(0.5, abs=0.05)
    assert gain(4 * half) > 0.97
    assert gain(half / 4) < 0.03


def test_the_lowpass_needs_data():
    empty = np.zeros((50, 50), np.float32)
    with pytest.raises(ValueError, match="blocks"):
        lowpass_surface(empty, empty, np.ones((50, 50), bool), 4.0)
    with pytest.raises(ValueError, match="wanted"):
        lowpass_surface(empty, empty, np.zeros((50, 50), bool), 4.0)
