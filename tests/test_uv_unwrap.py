"""Image to texture and back: nothing from occluders, grazing skin or background; filtering; charts of every layout."""

import time

import numpy as np
import pytest
from face_fixtures import ICT, needs_ict
from proxy_fixtures import procedural, turned_camera

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.rigid import look_at
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel
from mesoface.reconstruct.image_raster import rasterize_image
from mesoface.reconstruct.uv_charts import normal_map, position_map, uv_charts
from mesoface.reconstruct.uv_raster import interpolate, sample_uv
from mesoface.reconstruct.uv_render import fill_unseen, render_texture
from mesoface.reconstruct.uv_unwrap import unwrap


def plates() -> FaceModel:
    """A square of 100 mm (left half of the map), and one of 40 mm that stands 30 mm in front of its middle (right)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    vertices = np.concatenate([np.c_[50 * corners, np.zeros(4)], np.c_[20 * corners, np.full(4, 30)]])
    uv = np.concatenate(
        [(corners + 1) / 2 * [0.46, 0.9] + [0.02, 0.05], (corners + 1) / 2 * [0.46, 0.9] + [0.52, 0.05]]
    )
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    none = np.zeros((0, 8, 3), np.float32)
    return FaceModel(
        "plates", vertices.astype(np.float32), none, none, (), True, np.full((8, 3), 0.5, np.float32), none, triangles,
        uv.astype(np.float32), triangles, np.full(68, -1, np.int32), np.zeros(8, np.uint8), "none",
    )  # fmt: skip


def coloured(position_mm: np.ndarray) -> np.ndarray:
    """A smooth colour for every place of a head."""
    return (0.5 + 0.4 * np.sin(position_mm / [17.0, 23.0, 19.0])).astype(np.float32)


@pytest.mark.parametrize("size", [80, 400])
def test_nothing_shines_through_and_nothing_bleeds(size):
    model, camera = plates(), turned_camera(20.0, size, 160.0)
    raster = rasterize_image(camera.project(model.mean_mm), camera.depth(model.mean_mm), model.triangles, size, size)
    colours = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    seen = unwrap(colours[raster.triangle], camera.project, camera.depth, model, model.mean_mm, 256)
    back, front = seen.visible.copy(), seen.visible.copy()
    back[:, 128:] = front[:, :128] = False
    assert np.array_equal(np.unique(seen.texture[back], axis=0), [[0, 1, 0]])
    assert np.array_equal(np.unique(seen.texture[front], axis=0), [[1, 0, 0]])
    assert not seen.texture[~seen.visible].any()
    charts = uv_charts(model, 256)
    inside = charts.valid[:, :128]
    x, y = np.moveaxis(position_map(charts, model, model.mean_mm)[:, :128, :2], -1, 0)
    # the plate in front is seen 30 mm . tan 20 deg to the subject's right of where it stands
    hidden = (np.abs(x + 30 * np.tan(np.deg2rad(20))) < 20) & (np.abs(y) < 20)
    assert not (back[:, :128] & hidden).any()
    clear = 2.5 * 160 / size  # millimetres within which a pixel may belong to something else
    free = (np.abs(x) < 50 - clear) & (np.abs(y) < 50 - clear) & inside
    free &= (np.abs(x + 10.92) > 20 + clear) | (np.abs(y) > 20 + clear)
    assert back[:, :128][free].all()
    assert seen.facing[back] == pytest.approx(np.cos(np.deg2rad(20)), abs=1e-3)


def test_a_plate_at_a_grazing_angle_stays_empty():
    model = plates()
    for yaw_deg, seen in ((70.0, True), (80.0, False)):
        camera = turned_camera(yaw_deg, 300, 160.0)
        found = unwrap(np.ones((300, 300, 3), np.float32), camera.project, camera.depth, model, model.mean_mm, 128)
        assert found.visible.any() == seen
        assert found.facing.max() == pytest.approx(np.cos(np.deg2rad(yaw_deg)), abs=1e-3)


@pytest.mark.parametrize("kind", ["affine", "perspective"])
def test_a_turned_head_there_and_back(kind):
    model, background = procedural(), np.array([1.0, -1.0, 1.0], np.float32)
    if kind == "affine":
        affine = turned_camera(35.0, 360)
        project, depth_of, width, height = affine.project, affine.depth, 360, 360
    else:
        pinhole = PinholeCamera(340, 380, 800.0, 800.0, 170.0, 180.0, look_at(np.array([300.0, 90, 500]), np.zeros(3)))
        width, height = 340, 380

        def project(points_mm: np.ndarray) -> np.ndarray:
            return pinhole.project(points_mm)[0]

        def depth_of(points_mm: np.ndarray) -> np.ndarray:
            return pinhole.project(points_mm)[1]

    vertices = model.mean_mm.astype(np.float64)
    perspective = kind == "perspective"
    raster = rasterize_image(
        project(vertices), depth_of(vertices), model.triangles, width, height, perspective=perspective
    )
    image = np.where(raster.valid[..., None], coloured(interpolate(raster, model.triangles, vertices)), background)
    charts = uv_charts(model, 512)
    seen = unwrap(image, project, depth_of, model, vertices, 512, charts=charts, perspective=perspective)
    expected = coloured(position_map(charts, model, vertices))
    error = np.abs(seen.texture - expected).max(2)[seen.visible]
    # bilinear interpolation of 0.8 mm pixels; a texel that took another surface's colour would be off by 0.1 to 2
    assert np.quantile(error, 0.5) < 0.003 and np.quantile(error, 0.999) < 0.04 and error.max() < 0.12
    assert seen.texture[seen.visible].min() > 0.05  # no background
    view = render_texture(fill_unseen(seen.texture, seen.visible), raster, model)
    share = render_texture(fill_unseen(seen.visible[..., None].astype(np.float32), charts.valid), raster, model)[..., 0]
    whole = raster.valid & (share > 0.999)
    assert whole.sum() > 0.8 * raster.valid.sum()
    assert np.quantile(np.abs(view - image).max(2)[whole], 0.99) < 0.02
    assert not view[~raster.valid].any()


def test_large_pictures_are_averaged():
    model, camera = plates(), turned_camera(0.0, 1600, 160.0)
    row, column = np.mgrid[:1600, :1600]
    stripes = ((row + column) % 2).astype(np.float32)
    seen = unwrap(stripes, camera.project, camera.depth, model, model.mean_mm, 128)
    assert seen.visible.any() and np.abs(seen.texture[seen.visible] - 0.5).max() < 0.02
    ramp = (column / 1600).astype(np.float32)
    found = unwrap(ramp, camera.project, camera.depth, model, model.mean_mm, 128)
    x = position_map(uv_charts(model, 128), model, model.mean_mm)[..., 0]
    expected = camera.project(np.c_[x.ravel(), x.ravel() * 0, x.ravel() * 0])[:, 0].reshape(x.shape) / 1600
    assert np.abs(found.texture[..., 0] - expected)[found.visible].max() < 2e-3


def check_charts(model: FaceModel) -> None:
    charts = uv_charts(model, 1024)
    vertices = model.mean_mm
    position, normal = position_map(charts, model, vertices), normal_map(charts, model, vertices)
    corner = np.stack([model.triangles.ravel(), model.uv_triangles.ravel()], 1)
    corner = np.unique(corner, axis=0)
    assert len(corner) > len(np.unique(model.triangles)), "some vertices must have several texture coordinates"
    off = np.linalg.norm(sample_uv(position, model.uv[corner[:, 1]]) - vertices[corner[:, 0]], axis=1)
    assert np.quantile(off, 0.99) < 1.0, "a look-up at any of a vertex's coordinates finds the vertex"
    length = np.linalg.norm(normal[charts.valid], axis=1)
    assert np.abs(length - 1).max() < 1e-4
    assert normal[charts.valid][:, 2].mean() != 0 and not position[~charts.raster.valid].any()


def test_charts_of_the_procedural_model():
    check_charts(procedural())


@needs_ict
def test_charts_of_ict_facekit():
    model = load_face_model(ICT)
    check_charts(model)
    camera = turned_camera(0.0, 300)
    charts = uv_charts(model, 512)
    raster = rasterize_image(camera.project(model.mean_mm), camera.depth(model.mean_mm), model.triangles, 300, 300)
    image = np.where(raster.valid[..., None], coloured(interpolate(raster, model.triangles, model.mean_mm)), -1)
    seen = unwrap(image.astype(np.float32), camera.project, camera.depth, model, model.mean_mm, 512, charts=charts)
    error = np.abs(seen.texture - coloured(position_map(charts, model, model.mean_mm))).max(2)[seen.visible]
    assert seen.visible.mean() > 0.25 and np.quantile(error, 0.999) < 0.05


def test_filling_keeps_what_was_seen():
    rng = np.random.default_rng(1)
    texture = rng.uniform(0.4, 0.6, (96, 64, 3)).astype(np.float32)
    seen = np.zeros((96, 64), bool)
    seen[20:40, 10:30] = True
    filled = fill_unseen(texture, seen)
    assert np.array_equal(filled[seen], texture[seen])
    assert filled.min() > 0.39 and filled.max() < 0.61
    assert not fill_unseen(texture, np.zeros_like(seen)).any()


def test_unwrapping_at_2048_takes_less_than_a_second():
    model, camera = procedural(), turned_camera(10.0, 1000)
    image = np.random.default_rng(2).uniform(size=(1000, 1000, 3)).astype(np.float32)
    charts = uv_charts(model, 2048)
    unwrap(image, camera.project, camera.depth, model, model.mean_mm, 2048, charts=charts)
    started = time.process_time()
    unwrap(image, camera.project, camera.depth, model, model.mean_mm, 2048, charts=charts)
    assert time.process_time() - started < 1.0  # measured: 0.4
