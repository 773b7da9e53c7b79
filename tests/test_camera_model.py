"""PinholeCamera against OpenCV and COLMAP, and its COLMAP text files."""

import cv2
import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera, RigidTransform, look_at
from mesoface.capture.colmap_text import read_colmap_text, write_colmap_text
from mesoface.capture.errors import UserError
from mesoface.capture.rig import load_example_rig


@pytest.fixture
def camera() -> PinholeCamera:
    """A rolled, distorted camera with nothing symmetric about it."""
    pose = look_at(np.array([300.0, -150.0, 900.0]), np.array([5.0, 10.0, -3.0]), roll_deg=12.0)
    return PinholeCamera(640, 480, 900.0, 905.0, 315.2, 244.7, pose, (-0.12, 0.05, 0.002, -0.003))


@pytest.fixture
def points_mm() -> np.ndarray:
    return np.random.default_rng(1).uniform(-90, 90, (200, 3))


def test_rig_axes():
    """x is image right, y image up, z towards the camera; the target is the middle of the image."""
    centre = PinholeCamera.from_rig(load_example_rig().centre)
    pixels, depth_mm = centre.project(np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 50]], float))
    assert pixels[0] == pytest.approx([2999.5, 1999.5]) and depth_mm == pytest.approx([950, 950, 950, 900])
    pitch_px = 50 * 6000 / 22.3 / 950
    assert pixels[1] - pixels[0] == pytest.approx([10 * pitch_px, 0])
    assert pixels[2] - pixels[0] == pytest.approx([0, -10 * pitch_px])
    assert centre.centre_mm == pytest.approx([0, 0, 950])


def test_roll_turns_the_body_clockwise():
    upright = look_at(np.array([0, 0, 900.0]), np.zeros(3))
    rolled = look_at(np.array([0, 0, 900.0]), np.zeros(3), roll_deg=90)
    # Body turned clockwise: its right side points down, so what was below now lies to the right.
    assert upright.apply(np.array([0, -1.0, 0]))[:2] == pytest.approx([0, 1])
    assert rolled.apply(np.array([0, -1.0, 0]))[:2] == pytest.approx([1, 0])


def test_looking_along_y_works_and_no_distance_does_not():
    assert np.linalg.det(look_at(np.array([0, 500.0, 0]), np.zeros(3)).rotation) == pytest.approx(1)
    with pytest.raises(ValueError, match="same point"):
        look_at(np.ones(3), np.ones(3))


def test_projection_equals_opencv(camera, points_mm):
    pixels, _ = camera.project(points_mm)
    pose = camera.cam_from_world
    expected, _ = cv2.projectPoints(
        points_mm, cv2.Rodrigues(pose.rotation)[0], pose.translation_mm, camera.matrix_px, np.array(camera.distortion)
    )
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)


def test_points_behind_the_camera_are_nan(camera):
    pixels, depth_mm = camera.project(camera.centre_mm[None] + [[0, 0, 100.0]])
    assert np.isnan(pixels).all() and depth_mm[0] < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unproject_inverts_project(camera, dtype):
    ideal = camera.undistorted()
    depth_mm = np.random.default_rng(2).uniform(850, 950, (480, 640)).astype(dtype)
    depth_mm[3, 4] = np.nan
    points_mm = ideal.unproject(depth_mm)
    assert points_mm.dtype == dtype and np.isnan(points_mm[3, 4]).all()
    pixels, depth_back_mm = ideal.project(points_mm.reshape(-1, 3))
    columns, rows = np.meshgrid(np.arange(640), np.arange(480))
    known = np.isfinite(depth_mm).ravel()
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(pixels[known], np.stack([columns, rows], -1).reshape(-1, 2)[known], atol=tolerance)
    np.testing.assert_allclose(depth_back_mm[known], depth_mm.ravel()[known], atol=tolerance)


def test_rays_pass_through_unprojected_points(camera):
    ideal = camera.undistorted()
    rays = ideal.ray_directions_world(np.float64)
    points_mm = ideal.unproject(np.full((480, 640), 700.0)) - ideal.centre_mm
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(rays, points_mm / np.linalg.norm(points_mm, axis=-1, keepdims=True), atol=1e-12)
    assert ideal.ray_directions_world().dtype == np.float32


def test_rays_need_an_undistorted_image(camera):
    with pytest.raises(ValueError, match="undistorted"):
        camera.ray_directions_world()
    with pytest.raises(ValueError, match="expected \\(480, 640\\)"):
        camera.undistorted().unproject(np.zeros((640, 480)))


def test_scaling_keeps_the_field_of_view(camera, points_mm):
    half = camera.scaled(320, 240)
    pixels, _ = camera.project(points_mm)
    half_pixels, _ = half.project(points_mm)
    # Edges of the image, not centres of pixels, are what scales.
    np.testing.assert_allclose(half_pixels + 0.5, (pixels + 0.5) / 2, atol=1e-9)
    again = half.scaled(640, 480)
    assert (again.cx_px, again.fy_px) == pytest.approx((camera.cx_px, camera.fy_px))
    with pytest.raises(UserError, match="640x480 px camera to 320x320 px"):
        camera.scaled(320, 320)


def test_cropping_shifts_pixels(camera, points_mm):
    window = camera.cropped(100, 50, 200, 300)
    assert (window.width_px, window.height_px) == (200, 300)
    np.testing.assert_allclose(window.project(points_mm)[0], camera.project(points_mm)[0] - [100, 50], atol=1e-9)
    with pytest.raises(ValueError, match="leaves"):
        camera.cropped(500, 0, 200, 100)


def test_transforms_are_checked_and_invert(camera):
    pose = camera.cam_from_world
    np.testing.assert_allclose(pose.inverse().apply(pose.apply(np.ones((2, 3)))), 1, atol=1e-10)
    with pytest.raises(ValueError, match="not a rotation"):
        RigidTransform(np.diag([1.0, 1.0, -1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="expected"):
        RigidTransform(np.eye(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="read-only"):
        pose.rotation[0, 0] = 2


def test_uncalibrated_camera_has_no_model():
    camera = load_example_rig().centre.model_copy(update={"pose": None})
    with pytest.raises(UserError, match='camera "centre" has pose = "uncalibrated"'):
        PinholeCamera.from_rig(camera)


def write_views(folder, camera) -> dict[str, PinholeCamera]:
    views = {"a": camera, "b": camera.undistorted().scaled(320, 240)}
    assert write_colmap_text(folder, views, {"a": "a.png", "b": "sub/b.png"}) == {"a": 1, "b": 2}
    return {"a.png": views["a"], "sub/b.png": views["b"]}


def test_colmap_text_round_trip(tmp_path, camera, points_mm):
    written = write_views(tmp_path, camera)
    read = read_colmap_text(tmp_path)
    assert list(read) == list(written)
    for name, view in written.items():
        assert (read[name].width_px, read[name].distortion) == (view.width_px, view.distortion)
        np.testing.assert_allclose(read[name].project(points_mm)[0], view.project(points_mm)[0], atol=1e-9)


def test_colmap_reads_the_same_pixels(tmp_path, camera, points_mm):
    import pycolmap

    written = write_views(tmp_path, camera)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert model.num_images() == 2 and model.num_points3D() == 0
    for image in model.images.values():
        pixels, _ = written[image.name].project(points_mm)
        theirs = np.array([image.project_point(point) for point in points_mm])
        np.testing.assert_allclose(theirs, pixels + 0.5, atol=1e-6)
    # And back: what COLMAP writes, we read.
    (tmp_path / "theirs").mkdir()
    model.write_text(str(tmp_path / "theirs"))
    read = read_colmap_text(tmp_path / "theirs")
    for name, view in written.items():
        np.testing.assert_allclose(read[name].project(points_mm)[0], view.project(points_mm)[0], atol=1e-6)


def test_bad_colmap_files_are_named(tmp_path, camera):
    with pytest.raises(UserError, match="white space"):
        write_colmap_text(tmp_path, {"a": camera}, {"a": "my face.png"})
    with pytest.raises(UserError, match=r"cannot read .*cameras\.txt"):
        read_colmap_text(tmp_path)
    write_views(tmp_path, camera)
    (tmp_path / "cameras.txt").write_text("1 FULL_OPENCV 640 480 " + "1 " * 12)
    with pytest.raises(UserError, match=r"cameras\.txt:1: camera model FULL_OPENCV; readable: .*OPENCV"):
        read_colmap_text(tmp_path)
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 900")
    with pytest.raises(UserError, match=r"cameras\.txt:1: not a row"):
        read_colmap_text(tmp_path)
