"""COLMAP's features and structure from motion on a textured ball cap, whose cameras are known exactly."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from stereo_fixtures import seen, sphere

from mesoface.capture.errors import UserError
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.colmap_features import FeatureView, match_features, triangulate_features
from mesoface.reconstruct.colmap_sfm import solve_cameras


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    scene = seen(sphere(), size_px=(240, 240), noise=0.002)
    views = {
        name: FeatureView(one.view.camera, np.repeat(one.linear[..., None], 3, 2), one.view.mask)
        for name, one in scene.items()
    }
    folder = tmp_path_factory.mktemp("features")
    return scene, views, folder, match_features(views, folder)


def test_tracks_are_pixels_of_one_point(job):
    scene, views, _, matches = job
    assert len(matches.pixels) > 300 and matches.weak_views() == []
    centre, other = matches.names.index("centre"), matches.names.index("left1")
    both = np.isfinite(matches.pixels[:, [centre, other], 0]).all(1)
    pixels = matches.pixels[both, centre]
    depth = scene["centre"].depth_mm[tuple(np.rint(pixels[:, ::-1]).astype(int).T)]
    camera = views["centre"].camera
    rays = (pixels - [camera.cx_px, camera.cy_px]) / [camera.fx_px, camera.fy_px]
    points = camera.cam_from_world.inverse().apply(np.column_stack([rays * depth[:, None], depth]))
    projected, _ = views["left1"].camera.project(points)
    off = np.linalg.norm(projected - matches.pixels[both, other], axis=1)
    # half a pixel between COLMAP's convention and ours would show
    assert np.nanmedian(off) < 0.3
    assert np.abs(np.nanmedian(projected - matches.pixels[both, other], axis=0)).max() < 0.1


def test_images_are_numbered_by_name_and_not_by_speed(job):
    """Points depend on the numbers of the images; extraction in threads would give them as images finish."""
    _, views, folder, _ = job
    with sqlite3.connect(folder / "database.db") as database:
        names = [name for (name,) in database.execute("select name from images order by image_id")]
    assert names == sorted(f"{name}.png" for name in views)


def test_known_poses_triangulate_onto_the_surface(job):
    _, views, folder, _ = job
    seeds = triangulate_features(folder, {name: view.camera for name, view in views.items()})
    assert len(seeds.points_mm) > 200 and seeds.error_px < 0.5 and min(seeds.seen.values()) > 50
    off = np.abs(np.linalg.norm(seeds.points_mm + np.array([0, 0, 45.0]), axis=1) - 45.0)
    assert np.median(off) < 0.1


def test_structure_from_motion_finds_the_cameras(job):
    _, views, folder, matches = job
    true = {name: view.camera for name, view in views.items()}
    shift = np.random.default_rng(4)
    meant = {}
    for name, camera in true.items():  # a rig file whose positions are some millimetres off
        pose = camera.cam_from_world
        meant[name] = replace(
            camera, cam_from_world=RigidTransform(pose.rotation, pose.translation_mm + shift.normal(0, 3, 3))
        )
    solved = solve_cameras(folder, matches, meant)
    assert solved.error_px < 0.4 and solved.disagreement < 0.01
    ours = np.stack([solved.cameras[name].centre_mm for name in true])
    theirs = np.stack([camera.centre_mm for camera in true.values()])
    apart = [np.linalg.norm(p[:, None] - p[None], axis=2) for p in (ours, theirs)]
    scale = apart[1].sum() / apart[0].sum()
    assert np.abs(scale * apart[0] - apart[1]).max() < 3.0 and abs(scale - 1) < 0.01


def test_a_model_unlike_the_rig_file_is_refused(job):
    _, views, folder, matches = job
    true = {name: view.camera for name, view in views.items()}
    pose = true["left2"].cam_from_world
    off = RigidTransform(pose.rotation, pose.translation_mm + np.array([900.0, 0.0, 0.0]))
    wrong = {**true, "left2": replace(true["left2"], cam_from_world=off)}
    with pytest.raises(UserError, match=r"structure from motion: camera .* from where the rig file has it"):
        solve_cameras(folder, matches, wrong)


def test_views_without_matches_are_named(tmp_path):
    scene = seen(sphere(), size_px=(160, 160), contrast=0.3)
    other = seen(sphere(), size_px=(160, 160), contrast=0.3, seed=9)
    views = {
        name: FeatureView(one.view.camera, np.repeat(one.linear[..., None], 3, 2), one.view.mask)
        for name, one in {**scene, "left2": other["left2"]}.items()
    }
    matches = match_features(views, tmp_path)
    assert matches.weak_views() == ["left2"]
    with pytest.raises(UserError, match=r"too few points match between the views \(left2 \d+;"):
        solve_cameras(tmp_path, matches, {name: view.camera for name, view in views.items()})
