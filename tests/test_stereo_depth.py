"""Dense stereo on planes and spheres whose depth is known exactly: accuracy, no bias of half a pixel, weak texture."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from stereo_fixtures import VOLUME, Seen, camera, off_by, plane, seen, sphere, views

from mesoface.capture.errors import UserError
from mesoface.reconstruct.dense_stereo import dense_depth
from mesoface.reconstruct.mesh_raster import depth_from_mesh
from mesoface.reconstruct.stereo_exchange import confirmed_by, seen_from
from mesoface.reconstruct.stereo_matching import projection
from mesoface.reconstruct.stereo_normals import normals_from_depth
from mesoface.reconstruct.stereo_pyramid import stretched
from mesoface.reconstruct.stereo_smooth import smooth_depth
from mesoface.reconstruct.stereo_types import DenseStereo, StereoOptions, StereoView, WorkingVolume

STEEP = (0.6, 0.5, 1.0)


def stereo(scene: dict[str, Seen], **more: object) -> DenseStereo:
    return dense_depth(views(scene), "centre", VOLUME, **more)  # pyright: ignore[reportArgumentType]


def angles_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((found * true).sum(-1), -1, 1)))


@pytest.fixture(scope="module")
def round_face() -> dict[str, Seen]:
    return seen(sphere())


@pytest.mark.parametrize(("size_px", "level", "most_mm"), [((200, 200), 1, 0.02), ((187, 201), 2, 0.035)])
def test_a_steep_plane_is_found_without_bias(size_px: tuple[int, int], level: int, most_mm: float):
    """Half a pixel wrong at any place would move the plane by 0.02 mm (see the next test) or more."""
    scene = seen(plane(STEEP), size_px=size_px)
    found = stereo(scene, options=StereoOptions(finest_level=level))
    error = off_by(found.centre_map.depth_mm, scene["centre"])
    assert np.median(np.abs(error)) < most_mm
    assert (np.abs(error) < 0.3).mean() > 0.97
    assert abs(np.median(error)) < 0.005
    inner = scene["centre"].face
    assert np.median(angles_deg(found.centre_map.normal_cam[inner], scene["centre"].normal_cam[inner])) < 0.8
    assert found.warnings == ()
    assert found.texture_snr > 4


def test_principal_points_half_a_pixel_off_are_seen_as_bias():
    """The control of the test above: COLMAP's half pixel forgotten."""
    scene = seen(plane(STEEP))
    wrong = {}
    for name, one in scene.items():
        own = one.view.camera
        shifted = replace(own, cx_px=own.cx_px + 0.5, cy_px=own.cy_px + 0.5)
        wrong[name] = replace(one, view=replace(one.view, camera=shifted))
    found = stereo(wrong)
    assert abs(np.median(off_by(found.centre_map.depth_mm, scene["centre"]))) > 0.015


def test_a_sphere_is_found_in_every_view(round_face: dict[str, Seen]):
    found = stereo(round_face)
    for name, one in round_face.items():
        made = found.maps[name]
        error = off_by(made.depth_mm, one)
        assert np.median(np.abs(error)) < 0.025, name
        assert (np.abs(error) < 1).mean() > 0.99, name
        assert made.kept[one.face].mean() > 0.97, name
        assert (made.count[one.face] >= 3).mean() > 0.7, name
        assert np.median(angles_deg(made.normal_cam[one.face], one.normal_cam[one.face])) < 0.8, name
        assert np.isnan(made.depth_mm[~one.view.mask]).all(), name
        assert found.agreement[name].confirmed > 0.9, name
    merged = off_by(found.merged.depth_mm, round_face["centre"])
    assert np.median(np.abs(merged)) < np.median(np.abs(off_by(found.centre_map.depth_mm, round_face["centre"])))
    again = stereo(round_face, options=StereoOptions(threads=1))
    assert np.array_equal(again.centre_map.depth_mm, found.centre_map.depth_mm, equal_nan=True)


def test_a_proxy_helps_where_texture_is_as_weak_as_the_noise():
    scene = seen(sphere(), contrast=0.01, noise=0.01)
    proxies = {}
    for name, one in scene.items():
        there = one.view.mask.astype(np.float32)
        share = np.maximum(cv2.GaussianBlur(there, (0, 0), 5), 1e-6)
        blurred = cv2.GaussianBlur(np.nan_to_num(one.depth_mm), (0, 0), 5) / share
        wave = 2 * np.sin(np.arange(there.shape[1]) / 20)
        proxies[name] = np.where(one.view.mask, blurred - 4 + wave[None, :], np.nan).astype(np.float32)
    whole = WorkingVolume()  # 180 x 240 x 160 mm, as for a face
    alone, helped = (dense_depth(views(scene), "centre", whole, proxy_mm=proxy) for proxy in (None, proxies))
    off_alone, off_helped = (np.abs(off_by(made.centre_map.depth_mm, scene["centre"])) for made in (alone, helped))
    assert (off_helped < 1).mean() > 0.88
    assert (off_helped < 1).mean() > (off_alone < 1).mean() + 0.02
    assert np.quantile(off_alone, 0.97) > 5 > np.quantile(off_helped, 0.97)
    assert "give a proxy surface" in alone.warnings[0] and "relies on the proxy" in helped.warnings[0]
    assert not any("view" in warning for warning in alone.warnings), "no single view is to blame"


def test_results_do_not_depend_on_the_exposure_of_a_view(round_face: dict[str, Seen]):
    darker = dict(round_face)
    view = round_face["right1"].view
    darker["right1"] = replace(round_face["right1"], view=replace(view, image=(0.6 * view.image).astype(np.float32)))
    error = off_by(stereo(darker).centre_map.depth_mm, round_face["centre"])
    assert np.median(np.abs(error)) < 0.025


def test_cameras_in_one_place_are_refused(round_face: dict[str, Seen]):
    first = round_face["centre"].view
    with pytest.raises(UserError, match=r'"centre" and "twin" stand in the same place.*poses'):
        dense_depth([first, replace(first, name="twin")], "centre", VOLUME)


def test_a_volume_behind_a_camera_is_refused(round_face: dict[str, Seen]):
    with pytest.raises(UserError, match=r"working volume.*\[subject\]"):
        dense_depth(views(round_face), "centre", WorkingVolume((0.0, 0.0, 900.0)))


def test_projection_agrees_with_the_cameras():
    reference, source = camera("centre"), camera("left2")
    matrix, shift = projection(reference, source)
    depth = np.full((200, 200), 930.0)
    points = reference.unproject(depth).reshape(-1, 3).astype(np.float64)
    expected = source.project(points)[0].reshape(200, 200, 2)
    for row, column in ((0, 0), (17, 150), (199, 199)):
        seen_at = matrix @ [column, row, 1] + shift / 930.0
        assert np.allclose(seen_at[:2] / seen_at[2], expected[row, column], atol=1e-8)


def test_a_resized_camera_sees_the_same_points():
    own = camera("right1", 187, 201)
    smaller = stretched(own, 62, 50)
    points = np.random.default_rng(1).uniform(-20, 20, (50, 3))
    pixels, resized = own.project(points)[0], smaller.project(points)[0]
    assert np.allclose((pixels + 0.5) / [187, 201], (resized + 0.5) / [62, 50])


def test_a_surface_seen_from_another_view(round_face: dict[str, Seen]):
    left, centre = round_face["left1"], round_face["centre"]
    drawn = seen_from(left.depth_mm, np.isfinite(left.depth_mm), left.view.camera, centre.view.camera, 0.006)
    both = np.isfinite(drawn) & centre.face
    assert both.sum() > 0.95 * centre.face.sum()
    assert np.abs(drawn - centre.depth_mm)[both].max() < 0.02
    verdict = confirmed_by(left.depth_mm, left.view.camera, centre.depth_mm, centre.view.camera, 1.0)
    assert (verdict[left.face] == 1).mean() > 0.95
    assert (verdict[~np.isfinite(left.depth_mm)] == -1).all()
    wrong = confirmed_by(left.depth_mm + 3, left.view.camera, centre.depth_mm, centre.view.camera, 1.0)
    assert (wrong[left.face] == 1).mean() < 0.02


def test_depth_of_a_mesh_is_exact_in_perspective():
    own = camera("right1")
    corners = np.array([[-20.0, -20, -9], [20, -20, 3], [20, 20, 11], [-20, 20, -1]])  # one tilted plane
    depth = depth_from_mesh(own, corners, np.array([[0, 1, 2], [0, 2, 3], [0, 2, 1]]))
    there = np.isfinite(depth)
    points = own.unproject(depth.astype(np.float64))[there]
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    assert there.sum() > 10000
    assert np.abs((points - corners[0]) @ normal / np.linalg.norm(normal)).max() < 1e-4
    nearer = depth_from_mesh(own, np.vstack([corners, corners + np.array([0, 0, 5])]), np.array([[0, 1, 2], [4, 5, 6]]))
    both = there & np.isfinite(nearer)
    assert (nearer[both] <= depth[both]).all()


def test_normals_of_a_plane_are_right_up_to_its_border():
    one = seen(plane(STEEP), noise=0)["left1"]
    normals = normals_from_depth(one.depth_mm, one.view.camera, 4.0)
    there = np.isfinite(one.depth_mm)
    assert angles_deg(normals[there], one.normal_cam[there]).max() < 0.2
    assert np.isnan(normals[~there]).all()


def test_smoothing_keeps_a_jump_and_removes_noise():
    rng = np.random.default_rng(0)
    step = np.where(np.arange(80)[None, :] < 40, 900.0, 930.0) + np.zeros((60, 1))
    noisy = (step + rng.normal(0, 0.5, step.shape)).astype(np.float32)
    everywhere = np.ones(step.shape, bool)
    with ThreadPoolExecutor(2) as pool:
        smooth = smooth_depth(noisy, np.full(step.shape, 0.85, np.float32), everywhere, pool,
                              steps=30, data_weight=0.1, cut=5.0)  # fmt: skip
    assert np.abs(smooth - step).std() < 0.15
    assert np.abs(smooth - step)[:, 38:42].mean() < 0.3


def test_a_view_must_have_the_size_of_its_camera():
    own = camera("left1")
    with pytest.raises(UserError, match=r'"left1".*100, 50.*calibrated for \(200, 200\)'):
        StereoView("left1", np.zeros((50, 100), np.float32), own, np.zeros((50, 100), bool))
