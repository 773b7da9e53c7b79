"""The wavelengths that Eq. 9 keeps, against its analytic transfer function; perspective; steps in depth."""

from dataclasses import replace

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.eq9_discontinuities import solve_with_steps
from mesoface.reconstruct.eq9_integration import integrate, solve_eq9
from mesoface.reconstruct.eq9_perspective import (
    depth_change_mm,
    depth_mm,
    integrate_perspective,
    log_depth_slopes,
    pixel_pitch_mm,
    solve_log_depth,
)
from mesoface.reconstruct.eq9_transfer import (
    cutoff_for_mu,
    mu_for_cutoff,
    slope_gain,
    transfer,
    transfer_low_passed,
)


def wave(wavelength_px: float, columns: int, rows: int = 24):
    """z = cos k x over whole half waves, with its slopes: no boundary layer at the ends."""
    k = 2 * np.pi / wavelength_px
    x = np.arange(columns) * np.ones((rows, 1))
    return np.cos(k * x), -k * np.sin(k * x)


def gain(z: np.ndarray, truth: np.ndarray) -> float:
    z, truth = z - z.mean(), truth - truth.mean()
    return float((z * truth).sum() / (truth * truth).sum())


def test_paper_cutoffs_in_mm():
    assert cutoff_for_mu(1e-5, 0.05) == pytest.approx(99.3, abs=0.05)
    assert cutoff_for_mu(1e-3, 0.05) == pytest.approx(9.93, abs=0.005)
    assert mu_for_cutoff(cutoff_for_mu(3e-4, 0.12), 0.12) == pytest.approx(3e-4)
    assert slope_gain(1e-3, 2 * np.pi / np.sqrt(1e-3)) == pytest.approx(0.5)
    with pytest.raises(UserError, match="above 0"):
        mu_for_cutoff(0, 0.05)


def test_paper_pair_peaks_at_628_px():
    wavelengths = np.geomspace(10, 10000, 2000)
    gains = transfer(1e-5, 1e-3, wavelengths)
    assert wavelengths[gains.argmax()] == pytest.approx(628, rel=0.01)
    assert gains.max() == pytest.approx(0.818, abs=0.001)
    # of wrinkles of 5, 2 and 1 mm at 0.05 mm per pixel
    assert transfer(1e-5, 1e-3, np.array([100, 40, 20])) == pytest.approx([0.200, 0.0387, 0.0099], rel=0.02)


@pytest.mark.parametrize("wavelength_px", [20, 40, 100, 200, 400, 800])
def test_solutions_follow_the_analytic_transfer(wavelength_px):
    """The literal pair of the paper: z(1e-5) - z(1e-3) with the same slopes."""
    columns = 2400 + 1
    truth, p = wave(wavelength_px, columns)
    flat, mask = np.zeros_like(p), np.ones(p.shape, bool)
    fine, base = (integrate(p, flat, mask, flat, mu) for mu in (1e-5, 1e-3))
    assert gain(fine, truth) == pytest.approx(slope_gain(1e-5, wavelength_px), rel=0.02)
    assert gain(base, truth) == pytest.approx(slope_gain(1e-3, wavelength_px), rel=0.02)
    assert gain(fine - base, truth) == pytest.approx(transfer(1e-5, 1e-3, wavelength_px), rel=0.05)
    assert gain(fine - base, truth) == pytest.approx(transfer(1e-5, 1e-3, wavelength_px, on_grid=True), rel=0.005)


def test_prior_has_the_other_part():
    truth, p = wave(200, 2401)
    flat, mask = np.zeros_like(p), np.ones(p.shape, bool)
    assert gain(integrate(flat, flat, mask, truth, 1e-3), truth) == pytest.approx(1 - slope_gain(1e-3, 200), rel=0.02)


def test_low_passed_base_keeps_wrinkles():
    gains = transfer_low_passed(1e-5, 1e-3, 200, np.array([16.0, 40.0, 100.0]))
    assert gains == pytest.approx([1.0, 0.998, 0.89], abs=0.01)


CAMERA = PinholeCamera(180, 240, 1400.0, 1380.0, 92.3, 117.1, RigidTransform(np.eye(3), np.zeros(3)))


def sphere():
    """Depth (NaN off it) and normals of a sphere of 70 mm at 900 mm, off the axis."""
    x, y = CAMERA.normalised_grid()
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1)
    centre, radius = np.array([5.0, -8.0, 900.0]), 70.0
    a, b = (rays**2).sum(-1), rays @ centre
    root = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    return depth, (rays * depth[..., None] - centre) / radius


def test_sphere_in_perspective():
    truth, normals = sphere()
    p, _ = log_depth_slopes(normals, CAMERA)
    mask = np.isfinite(p) & (normals[..., 2] < -0.4)
    y, x = np.mgrid[:240, :180]
    ripple = 0.4 * np.sin(x / 2) * np.cos(y / 2)
    z0 = truth + ripple
    found = integrate_perspective(normals, mask, z0, mu_for_cutoff(100, pixel_pitch_mm(truth, mask, CAMERA)), CAMERA)
    error = (found - truth)[mask]
    assert np.sqrt((error**2).mean()) < 0.02 < np.sqrt((ripple[mask] ** 2).mean()) / 5
    assert abs(error.mean()) < 0.005
    assert np.isnan(found[~mask]).all()


def test_plane_in_perspective_is_exact():
    """The log depth of a plane, and what an orthographic reading of the normals would make of it."""
    normal = np.array([0.35, -0.2, -0.9]) / np.linalg.norm([0.35, -0.2, -0.9])
    x, y = CAMERA.normalised_grid()
    truth = normal @ [0, 0, 700.0] / (normal[0] * x[None, :] + normal[1] * y[:, None] + normal[2])
    normals = np.broadcast_to(normal, (240, 180, 3))
    mask = np.ones(truth.shape, bool)
    p, q = log_depth_slopes(normals, CAMERA)
    assert np.abs(p[:, 1:] + p[:, :-1] - 2 * np.diff(np.log(truth), axis=1)).max() < 1e-8
    assert np.abs(q[1:] + q[:-1] - 2 * np.diff(np.log(truth), axis=0)).max() < 1e-8
    z0 = np.full(truth.shape, float(truth.mean()))
    found = integrate_perspective(normals, mask, z0, 1e-9, CAMERA)
    shape = found / found.mean() * truth.mean()
    assert np.abs(shape - truth).max() < 0.02 < np.ptp(truth) / 1000


def test_displacement_in_log_depth():
    truth, normals = sphere()
    p, _ = log_depth_slopes(normals, CAMERA)
    mask = np.isfinite(p) & (normals[..., 2] < -0.4)
    z0 = truth + 0.3 * np.sin(np.arange(180) / 9)
    fine, base = (solve_log_depth(normals, mask, z0, mu, CAMERA) for mu in (1e-4, 1e-2))
    change = depth_change_mm(fine, base)
    assert np.nanmax(np.abs(change)) > 0.1
    assert np.nanmax(np.abs(change - (depth_mm(fine) - depth_mm(base)))) < 1e-5
    assert np.array_equal(np.isfinite(change), mask)


def test_slopes_that_cannot_be_used_are_nan():
    normals = np.zeros((240, 180, 3))
    normals[..., 2] = -1
    normals[3, 4] = [0, 0, 1]
    normals[5, 6] = [1, 0, 0]
    normals[7, 8] = np.nan
    p, q = log_depth_slopes(normals, CAMERA)
    assert [tuple(place) for place in np.argwhere(np.isnan(p))] == [(3, 4), (5, 6), (7, 8)]
    assert np.array_equal(np.isnan(p), np.isnan(q))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((10, 10, 3)), np.ones((240, 180), bool), np.ones((240, 180)), 1e-3, CAMERA), "normals of 10x10 px"),
        (
            (sphere()[1], np.ones((240, 180), bool), np.zeros((240, 180)), 1e-3, CAMERA),
            "not above 0 mm at 43200 pixels",
        ),
        ((sphere()[1], np.ones((240, 180), bool), np.ones((240, 180)), 1e-3, CAMERA), "p: .* column 0, row 0"),
    ],
)
def test_bad_perspective_input_is_named(arguments, words):
    with pytest.raises(UserError, match=words):
        integrate_perspective(*arguments)
    with pytest.raises(ValueError, match="distortion"):
        log_depth_slopes(arguments[0], replace(CAMERA, distortion=(0.1, 0, 0, 0), width_px=arguments[0].shape[1],
                         height_px=arguments[0].shape[0]))  # fmt: skip


@pytest.mark.parametrize("mu", [1e-3, 1e-5])
def test_steps_in_depth_are_kept_by_the_switch(mu):
    """A disc 6 mm in front of a wavy wall, slopes that do not see the step, a prior that blurs it."""
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:160, :200].astype(float)
    disc = (x - 100) ** 2 + (y - 80) ** 2 < 45**2
    wall = 2 * np.sin(x / 25) * np.cos(y / 19)
    truth = wall - 6 * disc
    p, q = 2 / 25 * np.cos(x / 25) * np.cos(y / 19), -2 / 19 * np.sin(x / 25) * np.sin(y / 19)
    rng = np.random.default_rng(0)
    z0 = gaussian_filter(truth, 1.5) + gaussian_filter(rng.standard_normal(truth.shape), 3)
    mask = np.ones(truth.shape, bool)
    plain = solve_eq9(p, q, mask, z0, mu).z
    kept = solve_with_steps(p, q, mask, z0, mu, jump=0.5)
    away = np.abs(np.hypot(x - 100, y - 80) - 45) > 2
    rms = [float(np.sqrt(((z - truth)[away] ** 2).mean())) for z in (plain, kept.solved.z)]
    assert rms[0] > 0.8 and rms[1] < 0.1 * rms[0], rms
    crossing = disc[:, 1:] != disc[:, :-1]
    assert kept.right[:, :-1][crossing].max() < 0.1 < 0.8 < np.median(kept.right[:, :-1][~crossing])
    with pytest.raises(UserError, match="jump"):
        solve_with_steps(p, q, mask, z0, mu, jump=0)
