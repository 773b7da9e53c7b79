"""The z-buffer of a mesh in an image: who is in front, exact weights, perspective, speed."""

import time

import numpy as np
import pytest
from proxy_fixtures import procedural, turned_camera

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.rigid import look_at
from mesoface.reconstruct.image_raster import rasterize_image
from mesoface.reconstruct.mesh_raster import depth_from_mesh
from mesoface.reconstruct.uv_raster import interpolate


def test_the_nearer_triangle_wins_whatever_the_order():
    points = np.array([[-1, -1], [9, -1], [-1, 9], [2, 2], [5, 2], [2, 5]], float)
    depth = np.array([10.0, 10, 20, 5, 5, 5])
    near, far = [3, 4, 5], [0, 1, 2]
    for order in ([near, far], [far, near]):
        raster = rasterize_image(points, depth, np.array(order), 8, 8)
        front = raster.triangle == order.index(near)
        assert front[2, 2] and front[3, 3] and front[2, 5] and not front[5, 5] and front.sum() == 10
        assert np.allclose(raster.depth[front], 5)
        assert raster.depth[0, 0] == pytest.approx(11) and raster.depth[1, 0] == pytest.approx(12)
        assert raster.triangle[7, 7] == -1 and np.isnan(raster.depth[7, 7])
        assert raster.valid.sum() == np.isfinite(raster.depth).sum()


def test_weights_put_every_pixel_back_on_the_surface():
    model, camera = procedural(), turned_camera(25.0, 96)
    raster = rasterize_image(camera.project(model.mean_mm), camera.depth(model.mean_mm), model.triangles, 96, 96)
    position = interpolate(raster, model.triangles, model.mean_mm)
    row, column = np.nonzero(raster.valid)
    assert len(row) > 3000
    assert np.abs(camera.project(position[row, column]) - np.stack([column, row], 1)).max() < 2e-3
    assert np.abs(camera.depth(position[row, column]) - raster.depth[row, column]).max() < 1e-3


def test_perspective_agrees_with_the_depth_raster_and_the_camera():
    model = procedural()
    camera = PinholeCamera(96, 120, 260.0, 260.0, 47.0, 60.0, look_at(np.array([150.0, 60, 420]), np.zeros(3), 10.0))
    pixels, depth = camera.project(model.mean_mm.astype(float))
    raster = rasterize_image(pixels, depth, model.triangles, 96, 120, perspective=True)
    expected = depth_from_mesh(camera, model.mean_mm, model.triangles)
    assert np.array_equal(np.isfinite(expected), raster.valid)
    assert np.nanmax(np.abs(expected - raster.depth)) < 1e-2
    position = interpolate(raster, model.triangles, model.mean_mm)
    row, column = np.nonzero(raster.valid)
    back, z = camera.project(position[row, column].astype(float))
    assert np.abs(back - np.stack([column, row], 1)).max() < 3e-3
    assert np.abs(z - raster.depth[row, column]).max() < 1e-2
    # half way in the image is a quarter of the way on a surface that recedes to three times the distance
    corners = np.array([[0.0, 0], [8, 0], [0, 8]])
    large = rasterize_image(corners, np.array([1.0, 3, 1]), np.array([[0, 1, 2]]), 9, 9, perspective=True)
    assert large.barycentric[0, 4] == pytest.approx([0.25, 0.0]) and large.depth[0, 4] == pytest.approx(1.5)


def test_culling_drops_what_turns_away():
    model, camera = procedural(), turned_camera(0.0, 96)
    points, depth = camera.project(model.mean_mm), camera.depth(model.mean_mm)
    everything = rasterize_image(points, depth, model.triangles, 96, 96)
    front = rasterize_image(points, depth, model.triangles, 96, 96, cull_back=True)
    assert (front.triangle[everything.valid] == everything.triangle[everything.valid]).mean() > 0.99
    turned = rasterize_image(points, depth, model.triangles[:, ::-1], 96, 96, cull_back=True)
    behind = turned.valid & everything.valid
    assert np.median(turned.depth[behind] - everything.depth[behind]) > 50


def test_points_beside_behind_and_unknown_do_no_harm():
    points = np.array([[-500, 3], [500, 3], [3, 700], [2, 2], [6, 2], [np.nan, 6]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    raster = rasterize_image(points, np.ones(6), triangles, 8, 6)
    assert set(np.unique(raster.triangle)) == {-1, 0} and raster.triangle.shape == (6, 8)
    behind = rasterize_image(points[:3], np.array([1.0, 1, -1]), triangles[:1], 8, 6, perspective=True)
    assert not behind.valid.any()
    with pytest.raises(ValueError, match=r"expected \(N, 2\) and \(N,\)"):
        rasterize_image(points, np.ones(5), triangles, 8, 6)


def test_ten_thousand_triangles_take_milliseconds():
    around, down = np.meshgrid(np.linspace(0, 2 * np.pi, 101), np.linspace(0.01, np.pi - 0.01, 51))
    sphere = np.stack([np.sin(down) * np.cos(around), np.cos(down), np.sin(down) * np.sin(around)], -1).reshape(-1, 3)
    grid = np.arange(51 * 101).reshape(51, 101)
    a, b, c, d = (part.ravel() for part in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    assert len(triangles) == 10000
    points, depth = 55.5 + 50 * sphere[:, :2], sphere[:, 2]
    assert rasterize_image(points, depth, triangles, 112, 112).valid.mean() == pytest.approx(np.pi * 0.2, rel=0.02)
    started = time.process_time()
    for _ in range(20):
        rasterize_image(points, depth, triangles, 112, 112)
    assert (time.process_time() - started) / 20 < 1 / 150  # 1 ms on a free core; 300 per second are wanted
