"""The proxy fit: shape, expression and pose from 68 landmarks of virtual portraits."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.reconstruct.expression_prior import checked_beta
from mesoface.reconstruct.face_model import FACE_REGIONS, FaceModel
from mesoface.reconstruct.face_procedural import procedural_face_model
from mesoface.reconstruct.head import subject_coefficients
from mesoface.reconstruct.landmarks import Landmarks, landmarks_from_points
from mesoface.reconstruct.portrait import PortraitOptions
from mesoface.reconstruct.proxy_contour import contour_strips, outline
from mesoface.reconstruct.proxy_fit import FitOptions, Proxy, fast_shape_mm, fit_proxy
from mesoface.reconstruct.proxy_solve import bounded_solve

SMILE = {"lip_corner_pull": 0.8, "cheek_raise": 0.6, "jaw_open": 0.2}
PX_PER_MM = 85 / 24 * 800 / 1200


@lru_cache(maxsize=8)
def truth(subject: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha, beta, vertices (N, 3) float64 of a smiling subject."""
    model = procedural_face_model()
    alpha, beta = subject_coefficients(model, subject)[0], model.beta_from_units(SMILE).astype(np.float64)
    return alpha, beta, model.shape_mm(alpha, beta).astype(np.float64)


def seen(subject: int, yaw_deg: float, **options: float) -> tuple[np.ndarray, PinholeCamera]:
    camera = PortraitOptions(yaw_deg=yaw_deg, pitch_deg=4, **options).camera()  # pyright: ignore[reportArgumentType]
    return camera.project(truth(subject)[2][procedural_face_model().landmarks])[0], camera


def on_outline(points: np.ndarray, subject: int, camera: PinholeCamera) -> np.ndarray:
    """The landmarks as people annotate them: hidden jaw points on the visible outline."""
    strips = contour_strips(procedural_face_model())
    assert strips is not None
    vertices = truth(subject)[2][strips.vertices]
    chains = camera.project(vertices.reshape(-1, 3))[0].reshape(17, -1, 2)
    found = outline(strips, chains, strips.outward @ camera.cam_from_world.rotation[:2].T, PX_PER_MM)
    assert found.hidden.sum() >= 4
    moved = points.copy()
    moved[:17] = chains[np.arange(17), found.slot]
    return moved


def error_mm(proxy: Proxy, subject: int) -> float:
    """Mean vertex error over the face after a similarity alignment."""
    face = np.isin(proxy.model.regions, [*FACE_REGIONS])
    a, b = proxy.vertices_mm[face].astype(np.float64), truth(subject)[2][face]
    a, b = a - a.mean(0), b - b.mean(0)
    left, values, right = np.linalg.svd(a.T @ b)
    return float(np.linalg.norm(a @ left @ right * (values.sum() / (a * a).sum()) - b, axis=1).mean())


def fit(points: np.ndarray, beta_prior: np.ndarray | None = None, **options) -> Proxy:
    return fit_proxy(
        procedural_face_model(),
        landmarks_from_points(points, "test"),
        beta_prior=beta_prior,
        options=FitOptions(**options),
    )


@pytest.mark.parametrize(("yaw_deg", "bound_mm"), [(0, 1.1), (-10, 0.8), (25, 0.7)])
def test_shape_from_perfect_landmarks(yaw_deg: float, bound_mm: float):
    """Four subjects; the mean face is 2 to 3 mm off."""
    errors = []
    for subject in range(4):
        proxy = fit(seen(subject, yaw_deg)[0])
        errors.append(error_mm(proxy, subject))
        np.testing.assert_allclose(proxy.pose_deg, (yaw_deg, 4, 0), atol=1.2)
        assert proxy.confidence > 0.95 and proxy.warnings == () and proxy.iterations < 40
        assert np.nanmax(proxy.residuals_px) < 2.0 and proxy.noise_mm < 0.2
    assert np.mean(errors) < bound_mm


def test_foreshortening_is_no_shape():
    """At 0.6 m, an affine camera puts the perspective into the shape."""
    points = seen(1, 15, distance_mm=600, focal_mm=60)[0]
    errors = {kind: error_mm(fit(points, camera=kind), 1) for kind in ("perspective", "orthographic", "affine")}
    assert errors["perspective"] < 0.8 and min(errors["orthographic"], errors["affine"]) > 2 * errors["perspective"]
    known = fit(points, focal_px=60 / 24 * 800)
    assert known.perspective is not None and known.perspective.distance_mm == pytest.approx(600, rel=0.04)
    assert error_mm(known, 1) < 0.8


def test_camera_of_the_proxy_lays_it_onto_the_picture():
    points, camera = seen(2, 20)
    proxy = fit(points)
    vertices = proxy.vertices_mm[proxy.model.landmarks]
    assert np.linalg.norm(proxy.project(vertices) - points, axis=1).max() < 1.5
    # its affine approximation, what the paper has: some px at the ears
    assert np.linalg.norm(proxy.camera.project(vertices) - points, axis=1)[17:].mean() < 4
    assert proxy.perspective is not None and proxy.view_camera is proxy.perspective
    true_depth = camera.project(truth(2)[2][proxy.model.landmarks])[1]
    np.testing.assert_allclose(proxy.depth(vertices) / true_depth, 1, atol=0.15)
    assert np.corrcoef(proxy.depth(vertices), true_depth)[0, 1] > 0.999
    affine = fit(points, camera="affine")
    assert affine.perspective is None and affine.view_camera is affine.camera
    far = fit(seen(2, 20, distance_mm=20000, focal_mm=900)[0])
    assert far.perspective is None or far.perspective.distance_mm > 3000
    assert (
        np.linalg.norm(
            far.project(far.vertices_mm[proxy.model.landmarks]) - seen(2, 20, distance_mm=20000, focal_mm=900)[0],
            axis=1,
        ).max()
        < 1.5
    )


def test_a_prior_stays_and_helps():
    """A fixed expression stays as it is; a soft one moves only as far as landmarks ask for."""
    beta = truth(3)[1]
    points = seen(3, 8)[0] + np.random.default_rng(0).normal(0, 1.0 * PX_PER_MM, (68, 2))
    given = fit(points, beta)
    np.testing.assert_array_equal(given.beta, beta)
    free = fit(points)
    assert error_mm(given, 3) < error_mm(free, 3) and np.abs(free.beta - beta).mean() > 0.02
    assert (free.beta >= 0).all() and (free.beta <= 1).all()
    wrong = np.clip(beta + 0.2, 0, 1)
    fixed, soft = fit(points, wrong), fit(points, wrong, prior_sigma=0.15)
    assert error_mm(soft, 3) < 0.8 * error_mm(fixed, 3)
    with pytest.raises(ValueError, match="26 finite expression coefficients"):
        fit(points, beta[:5])
    assert checked_beta(procedural_face_model(), beta + 5).max() == 1


def test_noise_is_estimated():
    """The estimate follows the landmarks, so that good ones are trusted and bad ones are not."""
    points = seen(1, 10)[0]
    noise = np.random.default_rng(4).standard_normal((68, 2)) * PX_PER_MM
    for sigma_mm in (0.5, 1.5, 3.0):
        proxy = fit(points + sigma_mm * noise)
        assert 0.7 * sigma_mm < proxy.noise_mm < 1.3 * sigma_mm
    assert error_mm(fit(points + noise), 1) < 0.5 * error_mm(fit(points + noise, noise_mm=0.1), 1)


def test_size_of_the_picture_does_not_matter():
    points = seen(2, 12)[0] + np.random.default_rng(1).normal(0, 2, (68, 2))
    small, large = fit(points), fit(points * 7 + 300)
    np.testing.assert_allclose(large.alpha, small.alpha, atol=2e-3)
    np.testing.assert_allclose(large.residuals_px, 7 * small.residuals_px, atol=0.05)
    assert large.confidence == pytest.approx(small.confidence, abs=1e-3)


def test_wrong_landmarks_are_reported_and_left_out():
    points = seen(0, 5)[0]
    wrong = points.copy()
    wrong[[10, 31, 45, 60]] += ((60, 40), (-50, 30), (35, -45), (0, 60))
    proxy = fit(wrong)
    assert error_mm(proxy, 0) < error_mm(fit(points), 0) + 0.35
    text = " ".join(proxy.warnings)
    assert "left out" in text and all(f"{k + 1} (" in text for k in (10, 31, 45, 60))
    assert proxy.landmark_weights is not None and (proxy.landmark_weights[[10, 31, 45, 60]] < 0.05).all()
    assert proxy.residuals_px[45] > 40 and proxy.confidence < 0.97


def test_hidden_jaw_points():
    """At 25 degrees of yaw the far jaw is behind the cheek; both conventions are told apart and used."""
    points, camera = seen(1, 25)
    marked = on_outline(points, 1, camera)
    assert np.linalg.norm(marked - points, axis=1).max() > 15  # it matters
    fits = {"vertices": fit(points), "outline": fit(marked)}
    assert {name: proxy.contour for name, proxy in fits.items()} == {"vertices": "vertices", "outline": "outline"}
    assert max(error_mm(proxy, 1) for proxy in fits.values()) < 0.8
    assert error_mm(fit(marked, contour="vertices"), 1) > 1.3 * error_mm(fits["outline"], 1)
    assert error_mm(fit(marked, contour="none"), 1) < 1.0


def test_far_yaw_is_flagged():
    proxy = fit(seen(1, 42)[0])
    assert "42 degrees of yaw" in proxy.warnings[0] and proxy.confidence < 0.8
    assert fit(seen(1, 28)[0]).warnings == ()


@pytest.mark.parametrize("mirror", [(-1, 1), (1, -1)])
def test_mirrored_landmarks_are_refused(mirror: tuple[int, int]):
    with pytest.raises(UserError, match=r"from behind .* exchanged"):
        fit(seen(1, 10)[0] * mirror + 800)


def test_unknown_and_weighted_landmarks():
    points = seen(2, 0)[0]
    points[[0, 1, 2, 40, 66]] = np.nan
    proxy = fit(points)
    assert np.isnan(proxy.residuals_px[[0, 1, 2, 40, 66]]).all() and error_mm(proxy, 2) < 1.3
    few = np.full((68, 2), np.nan)
    few[20:28] = points[20:28]
    with pytest.raises(UserError, match=r"8 usable, expected at least 12 of 68"):
        fit(few)
    weights = np.ones(68)
    moved = seen(2, 0)[0]
    moved[48:68] += (0, 9)
    weights[48:68] = 1e-4
    trusting = fit_proxy(procedural_face_model(), landmarks_from_points(moved, "t"))
    wary = fit_proxy(procedural_face_model(), Landmarks(moved, weights, "t"))
    assert error_mm(wary, 2) < error_mm(trusting, 2)


def test_model_without_jaw_landmarks():
    """As the Basel model's table: the outline alone says where the jaw is."""
    model = procedural_face_model()
    table = model.landmarks.copy()
    table[[k for k in range(17) if k != 8]] = -1
    bare = _with_landmarks(model, table)
    proxy = fit_proxy(bare, landmarks_from_points(seen(1, 3)[0], "t"))
    assert np.isfinite(proxy.residuals_px[:17]).all() and error_mm(proxy, 1) < 1.6


def _with_landmarks(model: FaceModel, table: np.ndarray) -> FaceModel:
    from dataclasses import replace

    return replace(model, landmarks=table)


def test_bounded_solve_agrees_with_scipy():
    rng = np.random.default_rng(7)
    for _ in range(20):
        a, b = rng.normal(0, 1, (60, 25)), rng.normal(0, 3, 60)
        low, high = np.zeros(25), np.full(25, 0.3)
        low[:5], high[:5] = -np.inf, np.inf
        expected = lsq_linear(a, b, (low, high), method="bvls", tol=1e-14).x
        np.testing.assert_allclose(bounded_solve(a.T @ a, a.T @ b, low, high), expected, atol=1e-7)


def test_fast_shape_is_the_shape():
    alpha, beta, vertices = truth(1)
    np.testing.assert_allclose(fast_shape_mm(procedural_face_model(), alpha, beta), vertices, atol=1e-4)


def test_constants_are_checked():
    faults: tuple[dict[str, Any], ...] = (
        {"noise_mm": 0.0},
        {"rounds": 0},
        {"prior_sigma": -1.0},
        {"lambda_identity": 1e9},
    )
    for wrong in faults:
        with pytest.raises(UserError, match=next(iter(wrong))):
            FitOptions(**wrong)
