"""The geometry stage on a virtual subject: accuracy, four views, and rigs that are not as described."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_fixtures import altered, blackened, exchanged, turned

from mesoface.capture.errors import UserError
from mesoface.reconstruct.colmap_fusion import read_cloud
from mesoface.reconstruct.geometry import Geometry, GeometryOptions, compute_geometry
from mesoface.reconstruct.geometry_files import read_geometry, read_geometry_json, write_geometry
from mesoface.reconstruct.geometry_truth import aligned_depth, depth_error, lowpassed_truth, read_centre_truth
from mesoface.reconstruct.scan_source import ScanSource, nominal_at, open_scan, without

QUICK = GeometryOptions(features=False)


@pytest.fixture(scope="module")
def source(uniform_scan) -> ScanSource:
    return open_scan(uniform_scan)


@pytest.fixture(scope="module")
def made(source, tmp_path_factory) -> tuple[Path, Geometry]:
    folder = tmp_path_factory.mktemp("made")
    geometry = compute_geometry(source, folder)
    write_geometry(folder, geometry)
    return folder, geometry


def errors(source: ScanSource, geometry: Geometry):
    truth = read_centre_truth(source.truth or Path(), "centre")
    return depth_error(geometry.stereo.merged.depth_mm, truth.depth_mm, truth.region(geometry.stereo.centre_camera))


def test_depth_is_metric_and_complete(source, made):
    error = errors(source, made[1])
    assert error.median_mm < 0.25 and abs(error.bias_mm) < 0.08
    assert error.under_1mm > 0.88 and error.covered > 0.97
    assert made[1].warnings == ()


def test_depth_prior_is_the_smoothed_truth(source, made):
    geometry = made[1]
    truth = read_centre_truth(source.truth or Path(), "centre")
    smooth = lowpassed_truth(truth, geometry.prior.mask, 8.0 / geometry.stereo.pixel_mm)
    error = depth_error(geometry.prior.z0_mm, smooth, truth.region(geometry.stereo.centre_camera))
    assert error.median_mm < 0.18 and error.p95_mm < 1.3 and error.covered > 0.99
    assert np.isfinite(geometry.prior.z0_mm[geometry.prior.mask]).all()


def test_cloud_lies_on_the_head(source, made):
    points, normals = read_cloud(made[1].cloud.path)
    assert len(points) == made[1].cloud.count > 15_000
    camera = made[1].stereo.centre_camera
    truth = read_centre_truth(source.truth or Path(), "centre")
    pixels, depth = camera.project(points.astype(np.float64))
    column, row = np.rint(pixels).astype(int).T
    inside = (column >= 0) & (column < camera.width_px) & (row >= 0) & (row < camera.height_px)
    column, row, depth, normals = column[inside], row[inside], depth[inside], normals[inside]
    on_face = truth.region(camera)[row, column]
    off = np.abs(depth - truth.depth_mm[row, column])[on_face]
    assert np.median(off) < 0.3
    in_camera = normals[on_face] @ camera.cam_from_world.rotation.T
    angle = np.degrees(np.arccos(np.clip((in_camera * truth.normal_cam[row, column][on_face]).sum(1), -1, 1)))
    assert np.nanmedian(angle) < 10


def test_no_drift_where_the_rig_stands_as_described(made):
    drift = made[1].drift
    assert drift is not None and not drift.drifted and drift.error_px < 0.4 and drift.tracks > 100


def test_files_read_back(made):
    folder, geometry = made
    found = read_geometry(folder)
    assert found.centre == "centre" and set(found.cameras) == set(geometry.views.views)
    np.testing.assert_array_equal(found.z0_mm, geometry.prior.z0_mm)
    np.testing.assert_array_equal(found.mask, geometry.prior.mask)
    np.testing.assert_allclose(found.camera.matrix_px, geometry.stereo.centre_camera.matrix_px)
    (folder / "geometry.json").rename(folder / "kept.json")
    with pytest.raises(UserError, match=r"no geometry.json"):
        read_geometry(folder)
    (folder / "geometry.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_geometry(folder)
    (folder / "kept.json").replace(folder / "geometry.json")


def test_preview_carries_its_scale(made):
    import cv2

    folder, geometry = made
    scale = read_geometry_json(folder)["z0_16bit"]
    units = cv2.imread(str(folder / "z0_16bit.png"), cv2.IMREAD_UNCHANGED)
    assert units is not None
    mask = geometry.prior.mask
    back = units[mask].astype(float) * scale["mm_per_unit"] + scale["offset_mm"]
    assert np.abs(back - geometry.prior.z0_mm[mask]).max() < 0.006 and (units[~mask] == 0).all()


def test_a_missing_view_gives_a_result_with_a_warning(source, tmp_path):
    four = replace(without(source, {"left2"}), missing=("00_uniform_left2",))
    geometry = compute_geometry(four, tmp_path, options=QUICK)
    assert any(text.startswith("view left2: its uniform frame is missing") for text in geometry.warnings)
    assert "depth from 4 of 5 views: less complete than with all of them" in geometry.warnings
    error = errors(source, geometry)
    assert error.median_mm < 0.3 and error.under_1mm > 0.75


def test_a_black_view_is_named_and_left_out(source, tmp_path):
    geometry = compute_geometry(altered(source, blackened("right1")), tmp_path, options=QUICK)
    assert any("view right1: 03_uniform_right1.tif shows nobody" in text for text in geometry.warnings)
    assert set(geometry.stereo.maps) == {"left2", "left1", "centre", "right2"}


def test_a_black_centre_view_is_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"view centre: 02_uniform_centre.tif shows nobody"):
        compute_geometry(altered(source, blackened("centre")), tmp_path, options=QUICK)
    with pytest.raises(UserError, match=r"uniform frame of the centre view \(centre\) is missing"):
        compute_geometry(without(source, {"centre"}), tmp_path, options=QUICK)


def test_exchanged_views_are_refused(source, tmp_path):
    with pytest.raises(UserError, match="views left1 and right1 have each other's pictures"):
        compute_geometry(exchanged(source, "left1", "right1"), tmp_path)


def test_a_view_that_has_moved_is_left_out(source, tmp_path):
    geometry = compute_geometry(turned(source, "right2", 0.15), tmp_path)
    assert any(text.startswith("view right2: has moved since the calibration") for text in geometry.warnings)
    assert "right2" not in geometry.stereo.maps
    assert errors(source, geometry).median_mm < 0.3


def test_a_moved_centre_is_refused_and_can_be_refined(source, tmp_path):
    moved = turned(source, "centre", 0.15)
    with pytest.raises(UserError, match=r"view centre: has moved.*--refine"):
        compute_geometry(moved, tmp_path / "a")
    geometry = compute_geometry(moved, tmp_path / "b", options=GeometryOptions(refine=True))
    assert any(text.startswith("poses refined on this scan") for text in geometry.warnings)
    truth, camera = read_centre_truth(source.truth or Path(), "centre"), geometry.stereo.centre_camera
    region = truth.region(camera)
    depth, _, _ = aligned_depth(
        geometry.stereo.merged.depth_mm, camera, truth.depth_mm, nominal_at(source, "centre", (480, 320)), region
    )
    assert depth_error(depth, truth.depth_mm, region).median_mm < 0.35


def test_images_of_another_size_are_refused(source, tmp_path):
    def smaller(frame, image):
        if frame.camera != "left1":
            return image
        return replace(image, rgb=image.rgb[:, :400].copy(), clipped=image.clipped[:, :400].copy())

    with pytest.raises(UserError, match=r"view left1: 01_uniform_left1.tif has 400x320 px, view centre has 480x320 px"):
        compute_geometry(altered(source, smaller), tmp_path, options=QUICK)


def test_a_proxy_of_another_frame_is_refused(source, tmp_path):
    import trimesh

    far = trimesh.creation.icosphere(radius=50.0)
    far.apply_translation([0, 0, -5000])
    far.export(tmp_path / "far.ply")
    with pytest.raises(UserError, match=r"far.ply: covers \d % of the subject"):
        compute_geometry(source, tmp_path / "out", options=replace(QUICK, proxy=tmp_path / "far.ply"))


def test_structure_from_motion_says_when_it_fails(source, tmp_path):
    """At this size skin has too few features: no model, never a wrong one."""
    with pytest.raises(UserError, match="structure from motion"):
        compute_geometry(source, tmp_path, options=GeometryOptions(cameras="sfm"))
