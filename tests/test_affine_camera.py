"""Affine cameras from landmarks, and the face camera with foreshortening."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mesoface.capture.errors import UserError
from mesoface.reconstruct.affine_camera import AffineCamera, estimate_affine
from mesoface.reconstruct.face_regions import average_landmarks
from mesoface.reconstruct.portrait import PortraitOptions
from mesoface.reconstruct.proxy_camera import FAR_AWAY, DistancePrior, FaceCamera, estimate_camera

POINTS = average_landmarks() * 88


def some_camera(seed: int = 0) -> AffineCamera:
    rng = np.random.default_rng(seed)
    return AffineCamera(np.concatenate([rng.normal(0, 2, (2, 3)), rng.uniform(100, 900, (2, 1))], 1))


def test_recovers_any_affine_camera():
    for seed in range(5):
        camera = some_camera(seed)
        found = estimate_affine(POINTS, camera.project(POINTS))
        np.testing.assert_allclose(found.matrix, camera.matrix, atol=1e-9)


def test_weights_are_the_inverse_variance():
    """Points of 20 px noise hardly matter at their right weight; taken as equals they spoil the camera."""
    rng, camera = np.random.default_rng(1), some_camera()
    noisy = np.arange(68) % 2 == 0
    sigma = np.where(noisy, 20.0, 0.2)
    errors = {"weighted": [], "equal": []}
    for _ in range(20):
        pixels = camera.project(POINTS) + sigma[:, None] * rng.standard_normal((68, 2))
        for name, weights in (("weighted", sigma**-2), ("equal", None)):
            miss = estimate_affine(POINTS, pixels, weights).project(POINTS) - camera.project(POINTS)
            errors[name].append(np.sqrt((miss**2).mean()))
    assert np.mean(errors["weighted"]) < 0.12 < 3 < np.mean(errors["equal"])


def test_solution_does_not_depend_on_units():
    """What normalisation is for: the same camera from metres and shifted megapixels, to rounding."""
    rng = np.random.default_rng(2)
    pixels = some_camera().project(POINTS) + rng.normal(0, 3, (68, 2))
    near = estimate_affine(POINTS, pixels).project(POINTS)
    far = estimate_affine(POINTS / 1000 + 7, pixels * 50 + 1e5).project(POINTS / 1000 + 7)
    np.testing.assert_allclose((far - 1e5) / 50, near, atol=1e-6)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (25, -10, 5), (-40, 15, -20), (70, 0, 30)])
def test_pose_has_the_signs_of_a_portrait(yaw: float, pitch: float, roll: float):
    portrait = PortraitOptions(yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll, distance_mm=20000, focal_mm=900).camera()
    camera = estimate_affine(POINTS, portrait.project(POINTS)[0])
    np.testing.assert_allclose(camera.pose_deg, (yaw, pitch, roll), atol=0.4)
    to_camera = portrait.centre_mm / np.linalg.norm(portrait.centre_mm)
    assert camera.view_direction @ to_camera > np.cos(np.deg2rad(0.5))
    depth = portrait.project(POINTS)[1]
    np.testing.assert_allclose(camera.depth(POINTS) - camera.depth(POINTS[:1]), depth - depth[0], atol=1.0)
    assert camera.anisotropy < 1.01
    assert camera.scale_px_per_mm == pytest.approx(portrait.fx_px / 20000, rel=0.01)


def test_degenerate_input_is_refused():
    camera = some_camera()
    pixels = camera.project(POINTS)
    few = np.zeros(68)
    few[:4] = 1
    with pytest.raises(UserError, match="4 usable points, expected at least 5"):
        estimate_affine(POINTS, pixels, few)
    flat = POINTS * (1, 1, 0)
    with pytest.raises(UserError, match="in one plane"):
        estimate_affine(flat, camera.project(flat))
    with pytest.raises(UserError, match="on one line"):
        estimate_affine(POINTS, np.stack([pixels[:, 0], 2 * pixels[:, 0]], 1))
    with pytest.raises(UserError, match="0 usable points"):
        estimate_affine(POINTS, np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="expected"):
        estimate_affine(POINTS, pixels[:50])
    with pytest.raises(ValueError, match="parallel"):
        AffineCamera(np.array([[1.0, 0, 0, 0], [2, 0, 0, 0]]))


def face_camera() -> FaceCamera:
    turn = Rotation.from_euler("xyz", [170, 20, 5], degrees=True).as_matrix()
    return FaceCamera(turn, 2.5, np.array([320.0, 400.0]), 1 / 900)


def test_derivatives_of_the_face_camera():
    camera, step = face_camera(), 1e-6
    analytic = camera.derivatives(POINTS)
    for k in range(7):
        size = step * (1e-3 if k == 6 else 1)
        there, back = (camera.moved(sign * size * np.eye(7)[k]).project(POINTS) for sign in (1, -1))
        numeric = (there - back) / (2 * size)
        np.testing.assert_allclose(analytic[:, :, k], numeric, atol=1e-5 * np.abs(numeric).max())
    slopes = camera.point_derivatives(POINTS)
    for axis in range(3):
        move = 1e-4 * np.eye(3)[axis]
        numeric = (camera.project(POINTS + move) - camera.project(POINTS - move)) / 2e-4
        np.testing.assert_allclose(slopes[:, :, axis], numeric, atol=1e-6)


@pytest.mark.parametrize("distance_mm", [500, 1200, 3000])
def test_distance_of_a_known_shape(distance_mm: float):
    portrait = PortraitOptions(yaw_deg=20, pitch_deg=5, distance_mm=distance_mm, focal_mm=50).camera()
    pixels = portrait.project(POINTS)[0]
    wide = DistancePrior(1 / 1250, 0.002)
    found = estimate_camera(POINTS, pixels, np.ones(68), wide, 0.05)
    np.testing.assert_allclose(found.project(POINTS), pixels, atol=0.2)
    assert found.distance_mm == pytest.approx(distance_mm, rel=0.02)
    np.testing.assert_allclose(found.pose_deg, (20, 5, 0), atol=0.2)
    flat = estimate_camera(POINTS, pixels, np.ones(68), FAR_AWAY, 0.05)
    assert flat.distance_mm == np.inf and np.abs(flat.project(POINTS) - pixels).max() > 1000 / distance_mm
    # the affine approximation keeps pose and place
    np.testing.assert_allclose(found.affine(POINTS).pose_deg, (20, 5, 0), atol=4)
