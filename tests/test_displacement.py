"""Displacement of a sphere with ripples of known height, by wavelength, for both presets."""

from dataclasses import replace

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.displacement import FULL_BAND, PAPER, feather, find_preset, geometry_pair, surface_normals
from mesoface.reconstruct.slope_filters import low_pass, sharpen

SIDE, PITCH_MM, DISTANCE_MM, RADIUS_MM = 420, 0.16, 900.0, 70.0
FOCAL_PX = (DISTANCE_MM - RADIUS_MM) / PITCH_MM
CAMERA = PinholeCamera(SIDE, SIDE, FOCAL_PX, FOCAL_PX, 209.5, 209.5, RigidTransform(np.eye(3), np.zeros(3)))


def rippled_sphere(wavelength_mm: float, height_mm: float, angle_deg: float = 20.0):
    """Depth, normals and height above the sphere of |P - c| = R + height(P), and the depth of the bare sphere."""
    x, y = CAMERA.normalised_grid()
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1)
    centre = np.array([0.0, 0.0, DISTANCE_MM])
    a, b = (rays**2).sum(-1), rays @ centre
    bare = (b - np.sqrt(b**2 - a * (centre @ centre - RADIUS_MM**2))) / a
    wave = 2 * np.pi / wavelength_mm * np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg)), 0])
    depth = bare.copy()
    for _ in range(8):
        out = rays * depth[..., None] - centre
        radius = np.linalg.norm(out, axis=-1)
        away = radius - RADIUS_MM - height_mm * np.sin(out @ wave)
        depth -= away / ((out * rays).sum(-1) / radius - height_mm * np.cos(out @ wave) * (rays @ wave))
    out = rays * depth[..., None] - centre
    gradient = out / np.linalg.norm(out, axis=-1, keepdims=True) - height_mm * np.cos(out @ wave)[..., None] * wave
    return depth, gradient / np.linalg.norm(gradient, axis=-1, keepdims=True), height_mm * np.sin(out @ wave), bare


Y, X = np.mgrid[:SIDE, :SIDE]
MASK = (X - 209.5) ** 2 + (Y - 209.5) ** 2 < 202**2
CORE = (X - 209.5) ** 2 + (Y - 209.5) ** 2 < 142**2


def prior(bare: np.ndarray) -> np.ndarray:
    """The sphere with an error of 0.3 mm in waves of 60 mm and longer, as stereo leaves it."""
    return bare + 0.2 * np.sin(2 * np.pi * X * PITCH_MM / 60) + 0.2 * np.cos(2 * np.pi * Y * PITCH_MM / 80)


def gain_and_correlation(found: np.ndarray, truth: np.ndarray, sigma_px: float) -> tuple[float, float]:
    """Of what both have below a wavelength of 2 pi sigma, over the core of the mask."""
    from scipy.ndimage import gaussian_filter

    a, b = (np.where(np.isfinite(v), v, 0).astype(float) for v in (found, truth))
    a, b = ((v - gaussian_filter(v, sigma_px))[CORE] for v in (a, b))
    return float((a * b).sum() / (b * b).sum()), float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize(("wavelength_mm", "height_mm"), [(1, 0.01), (2, 0.03), (8, 0.15)])
def test_full_band_holds_wrinkles_at_full_height(wavelength_mm, height_mm):
    _, normals, truth, bare = rippled_sphere(wavelength_mm, height_mm)
    pair = geometry_pair(normals, MASK, prior(bare), CAMERA, FULL_BAND)
    gain, correlation = gain_and_correlation(pair.displacement_mm, truth, wavelength_mm / PITCH_MM)
    assert 0.91 < gain < 1.07 and correlation > 0.99
    assert gain == pytest.approx(float(FULL_BAND.gain(wavelength_mm, pair.pixel_mm)), abs=0.05)
    error = (pair.displacement_mm - truth)[CORE]
    assert np.sqrt((error**2).mean()) < 0.012


@pytest.mark.parametrize("wavelength_mm", [4, 16])
def test_paper_preset_follows_the_analytic_band_pass(wavelength_mm):
    _, normals, truth, bare = rippled_sphere(wavelength_mm, 0.02 * wavelength_mm)
    pair = geometry_pair(normals, MASK, bare, CAMERA, PAPER)
    assert pair.preset.mu(0.05) == pytest.approx((1e-5, 1e-3))
    gain, _ = gain_and_correlation(pair.displacement_mm, truth, 1.5 * wavelength_mm / PITCH_MM)
    assert gain == pytest.approx(float(PAPER.gain(wavelength_mm, pair.pixel_mm)), rel=0.05)
    assert gain < 0.75


def test_full_band_is_blind_to_long_waves():
    """Errors of the prior, and of the normals at long wavelengths, stay out of the displacement."""
    _, normals, _, bare = rippled_sphere(4, 0.0)
    tilt = np.radians(2) * np.sin(2 * np.pi * Y * PITCH_MM / 60)
    bent = normals + tilt[..., None] * [1.0, 0.0, 0.0]
    bent /= np.linalg.norm(bent, axis=-1, keepdims=True)
    z0 = prior(bare)
    rms = {}
    for preset in (FULL_BAND, PAPER):
        pair = geometry_pair(bent, MASK, z0, CAMERA, preset)
        rms[preset.name] = float(np.sqrt(np.mean(pair.displacement_mm[CORE] ** 2)))
    assert rms["full_band"] < 0.015 < 0.1 < rms["paper"], rms


def test_border_is_feathered_and_surfaces_are_consistent():
    depth, normals, _, bare = rippled_sphere(5, 0.05)
    pair = geometry_pair(normals, MASK, prior(bare), CAMERA)
    rim = MASK & ~((X - 209.5) ** 2 + (Y - 209.5) ** 2 < 200**2)
    assert np.abs(pair.displacement_mm[rim]).max() < 0.01
    assert np.array_equal(np.isfinite(pair.displacement_mm), MASK) and np.array_equal(pair.mask, MASK)
    # the fine surface is the true one but for the long waves of the prior
    assert np.std((pair.fine_mm - depth)[CORE]) < 0.35
    # moving along the base normal by the displacement is moving along the ray by fine - base
    x, y = CAMERA.normalised_grid()
    cosine = pair.base_normal_camera @ [0, 0, 1] + pair.base_normal_camera[..., 0] * x
    cosine += pair.base_normal_camera[..., 1] * y[:, None]
    along_ray = (pair.fine_mm - pair.base_mm) * cosine
    assert np.abs(along_ray - pair.displacement_mm)[CORE].max() < 1e-5
    assert np.corrcoef(pair.displacement_mm[CORE], -(pair.fine_mm - pair.base_mm)[CORE])[0, 1] > 0.99


def test_normals_of_a_surface():
    depth, normals, _, _ = rippled_sphere(8, 0.1)
    found = surface_normals(np.log(depth), MASK, CAMERA)
    angle = np.degrees(np.arccos(np.clip((found * normals).sum(-1), -1, 1)))
    assert angle[CORE].max() < 0.2 and np.nanmax(angle) < 2
    assert np.isnan(found[~MASK]).all() and (found[MASK][:, 2] < 0).all()


def test_missing_normals_leave_the_mask():
    _, normals, _, bare = rippled_sphere(8, 0.1)
    normals[200:210, 300:310] = np.nan
    pair = geometry_pair(normals, MASK, bare, CAMERA, replace(FULL_BAND, feather_mm=0))
    assert not pair.mask[200:210, 300:310].any() and pair.mask.sum() == MASK.sum() - 100
    assert np.isfinite(pair.displacement_mm[pair.mask]).all()


@pytest.mark.parametrize("sigma_px", [1.5, 6.0, 29.0, 60.0])
def test_low_pass_is_gaussian_inside_and_true_to_lines_at_the_border(sigma_px):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    noise = rng.standard_normal((600, 500)).astype(np.float32)
    smooth = gaussian_filter(noise, 0.7 * sigma_px) / gaussian_filter(noise, 0.7 * sigma_px).std()
    (found,) = low_pass((smooth,), np.ones(noise.shape, bool), sigma_px)
    inside = np.s_[260:340, 230:270]
    expected = gaussian_filter(smooth.astype(float), sigma_px)
    assert np.abs(found - expected)[inside].max() < 0.05 * expected.std()
    line = (0.01 * np.arange(500) - 0.02 * np.arange(600)[:, None]).astype(np.float32)
    mask = (np.arange(500) - 250) ** 2 + (np.arange(600)[:, None] - 300) ** 2 < 220**2
    (found,) = low_pass((np.where(mask, line, np.nan).astype(np.float32),), mask, sigma_px)
    assert np.abs(found - line)[mask].max() < 0.01 * sigma_px
    assert (found[~mask] == 0).all()


def test_sharpened_slopes_lose_little_on_the_grid():
    x = np.arange(200) * np.ones((3, 1))
    for wavelength_px, loss in ((4, 0.02), (8, 0.02), (20, 0.005)):
        k = 2 * np.pi / wavelength_px
        p, _ = sharpen(np.cos(k * x), 0 * x, np.ones(x.shape, bool))
        middle = (p[:, 1:] + p[:, :-1]) / 2
        rise = np.diff(np.sin(k * x) / k, axis=1)
        gain = (middle * rise)[:, 4:-4].sum() / (rise * rise)[:, 4:-4].sum()
        assert gain == pytest.approx(1, abs=loss)


def test_messages():
    with pytest.raises(UserError, match='"best", but expected one of paper, full_band'):
        find_preset("best")
    assert find_preset("paper") is PAPER
    with pytest.raises(UserError, match="no pixel of the mask has a usable normal"):
        geometry_pair(np.full((SIDE, SIDE, 3), np.nan), MASK, np.ones((SIDE, SIDE)), CAMERA)
    with pytest.raises(UserError, match="above 0"):
        replace(FULL_BAND, fine_mm=0)
    assert feather(np.ones((9, 9), bool), 3)[4, 4] == 1 > feather(np.ones((9, 9), bool), 3)[0, 4]
