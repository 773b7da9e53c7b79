"""The fit on calibrated scans, and its refinement to the depth prior."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.face_model import FACE_REGIONS
from mesoface.reconstruct.face_procedural import procedural_face_model
from mesoface.reconstruct.head import subject_coefficients
from mesoface.reconstruct.landmarks import Landmarks, landmarks_from_points
from mesoface.reconstruct.mesh_raster import depth_from_mesh
from mesoface.reconstruct.mesh_refine import vertex_normals
from mesoface.reconstruct.proxy_multiview import MultiviewProxy, fit_multiview
from mesoface.reconstruct.proxy_refine import RefineOptions, cotangent, refine_to_depth
from mesoface.reconstruct.surface_lowpass import lowpass_surface

POSE = RigidTransform(Rotation.from_euler("xyz", [5, -8, 4], degrees=True).as_matrix(), np.array([5.0, -10.0, 15.0]))
SMILE = {"lip_corner_pull": 0.8, "cheek_raise": 0.5}


@lru_cache(maxsize=1)
def cameras() -> dict[str, PinholeCamera]:
    return {c.name: PinholeCamera.from_rig(c).scaled(600, 400) for c in load_example_rig().cameras}


@lru_cache(maxsize=2)
def head_world(subject: int) -> np.ndarray:
    """(N, 3) vertices of a smiling head in the rig."""
    model = procedural_face_model()
    beta = model.beta_from_units(SMILE)
    return POSE.apply(model.shape_mm(subject_coefficients(model, subject)[0], beta).astype(np.float64))


def landmarks(subject: int, noise_px: float = 0.5, **changed: PinholeCamera) -> dict[str, Landmarks]:
    rng, points = np.random.default_rng(subject), head_world(subject)[procedural_face_model().landmarks]
    return {
        name: landmarks_from_points(camera.project(points)[0] + rng.normal(0, noise_px, (68, 2)), name)
        for name, camera in (cameras() | changed).items()
    }


def face_error_mm(proxy: MultiviewProxy, subject: int) -> float:
    """Without any alignment: pose and size count."""
    face = np.isin(proxy.model.regions, [*FACE_REGIONS])
    return float(np.linalg.norm(proxy.vertices_world_mm[face] - head_world(subject)[face], axis=1).mean())


def fitted(subject: int, noise_px: float = 0.5, **options) -> MultiviewProxy:
    return fit_multiview(procedural_face_model(), cameras(), landmarks(subject, noise_px), **options)


def test_metric_shape_and_pose():
    exact, noisy = fitted(3, 0.0), fitted(3, 0.5)  # a pixel is 0.7 mm
    assert face_error_mm(exact, 3) < 0.25 and exact.noise_mm < 0.12
    assert face_error_mm(noisy, 3) < 0.9 and 0.2 < noisy.noise_mm < 0.5
    for proxy in (exact, noisy):
        turn = Rotation.from_matrix(proxy.world_from_model.rotation @ POSE.rotation.T).magnitude()
        assert np.rad2deg(turn) < 0.6 and proxy.warnings == () and proxy.iterations < 40
        np.testing.assert_allclose(proxy.world_from_model.translation_mm, POSE.translation_mm, atol=1.2)
        assert set(proxy.residuals_px) == set(cameras())
        # the far jaw is hidden in the side views
        assert np.isnan(proxy.residuals_px["left2"][:17]).sum() >= 3


def test_more_views_are_better():
    two = {name: landmarks(4)[name] for name in ("centre", "right1")}
    few = fit_multiview(procedural_face_model(), cameras(), two)
    assert face_error_mm(fitted(4), 4) < face_error_mm(few, 4) < 2.0


def test_wrong_landmarks_of_one_view():
    marks = landmarks(3)
    points = marks["left1"].points_px.copy()
    points[[36, 50, 30]] += (25, -30)
    proxy = fit_multiview(procedural_face_model(), cameras(), marks | {"left1": landmarks_from_points(points, "t")})
    assert face_error_mm(proxy, 3) < face_error_mm(fitted(3), 3) + 0.15
    assert [w for w in proxy.warnings if w.startswith("left1:") and "31, 37, 51" in w]


def test_prior_and_lens_distortion():
    model = procedural_face_model()
    bent = replace(cameras()["centre"], distortion=(-0.5, 0.1, 0.002, -0.002))
    marks = landmarks(3, 0.0, centre=bent)
    beta = model.beta_from_units(SMILE).astype(np.float64)
    proxy = fit_multiview(model, cameras() | {"centre": bent}, marks, beta_prior=beta)
    np.testing.assert_array_equal(proxy.beta, beta)
    assert face_error_mm(proxy, 3) < 0.25
    ignored = fit_multiview(model, cameras(), marks, beta_prior=beta)
    assert np.nanmean(ignored.residuals_px["centre"]) > 5 * np.nanmean(proxy.residuals_px["centre"])


def test_views_that_cannot_do():
    model, marks = procedural_face_model(), landmarks(3)
    with pytest.raises(UserError, match="1 views with both a camera and landmarks"):
        fit_multiview(model, cameras(), {"centre": marks["centre"], "nobody": marks["left1"]})
    sparse = {}
    for name, face in marks.items():
        points = face.points_px.copy()
        points[20:] = np.nan
        sparse[name] = landmarks_from_points(points, name)
    with pytest.raises(UserError, match=r"3 landmarks .* are seen by two views"):
        fit_multiview(model, cameras(), sparse)


@lru_cache(maxsize=1)
def face_mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the face and its triangles; the true surface: the head with bumps that the model cannot make; pull."""
    model, truth = procedural_face_model(), head_world(3).copy()
    rows = np.flatnonzero(np.isin(model.regions, [*FACE_REGIONS]))
    rng, normals = np.random.default_rng(0), vertex_normals(truth, model.triangles)
    for centre in truth[rng.choice(rows, 8)]:
        truth += rng.normal(0, 1.5) * np.exp(-((truth - centre) ** 2).sum(1) / (2 * 18**2))[:, None] * normals
    number = np.full(len(truth), -1)
    number[rows] = np.arange(len(rows))
    triangles = number[model.triangles[np.isin(model.triangles, rows).all(1)]]
    return rows, triangles, truth[rows], normals[rows]


@pytest.mark.parametrize("kind", ["measured", "low-passed"])
def test_refinement_lays_the_mesh_onto_the_depth(kind: str):
    rows, triangles, truth, normals = face_mesh()
    camera = cameras()["centre"]
    start = fitted(3).vertices_world_mm[rows]
    measured = depth_from_mesh(camera, truth, triangles)
    measured[150:160, 250:262] = np.nan  # a hole is bridged
    mask, sigma_px = np.isfinite(measured), 8 * camera.fx_px / 950
    smooth = lowpass_surface(np.nan_to_num(measured), mask.astype(np.float32), mask, sigma_px)
    z0, sigma_mm = (measured, 0.0) if kind == "measured" else (smooth, 8.0)
    options = RefineOptions(cutoffs_mm=(50.0, 25.0, 25.0), lowpass_sigma_mm=sigma_mm)
    refined = refine_to_depth(start, triangles, camera, z0, options=options)
    assert refined.held.mean() > 0.5 and refined.distance_after_mm < 0.3 * refined.distance_before_mm

    def errors(vertices: np.ndarray) -> tuple[float, float]:
        off = (vertices - truth)[refined.held]
        along = (off * normals[refined.held]).sum(1)
        return float(np.abs(along).mean()), float(np.linalg.norm(off, axis=1).mean())

    (normal_before, all_before), (normal_after, all_after) = errors(start), errors(refined.vertices_mm)
    assert normal_before > 0.4 and normal_after < 0.25 * normal_before
    assert all_after < 0.8 * all_before and all_after < 0.8
    # the correction is smooth: no folded or torn triangle
    before, after = (vertex_normals(v, triangles) for v in (start, refined.vertices_mm))
    assert (before * after).sum(1).min() > 0.7


def test_refinement_refuses_a_face_that_is_elsewhere():
    _, triangles, truth, _ = face_mesh()
    camera = cameras()["centre"]
    z0 = depth_from_mesh(camera, truth, triangles)
    with pytest.raises(UserError, match="meet the depth map"):
        refine_to_depth(truth, triangles, camera, z0 + 60)
    with pytest.raises(ValueError, match="pixels"):
        refine_to_depth(truth, triangles, camera, z0[:100])
    with pytest.raises(UserError, match="cutoffs_mm"):
        RefineOptions(cutoffs_mm=())


def test_stiffness_knows_flat_fields():
    """No energy in a constant, little in a linear field inside a plane; areas add up."""
    x, y = np.meshgrid(np.arange(9.0), np.arange(7.0))
    vertices = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    grid = np.arange(63).reshape(7, 9)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel(), grid[1:, 1:].ravel(), grid[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    stiffness, area = cotangent(vertices, triangles)
    assert area.sum() == pytest.approx(48.0)
    np.testing.assert_allclose(stiffness @ np.ones(63), 0, atol=1e-12)
    inner = ((x > 0) & (x < 8) & (y > 0) & (y < 6)).ravel()
    np.testing.assert_allclose((stiffness @ (2 * x + y).ravel())[inner], 0, atol=1e-12)
