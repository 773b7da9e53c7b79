"""Virtual people lit in their charts, and rendered portraits as patches: light, relief and truth."""

import json

import cv2
import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.image_files import write_png, write_tiff
from mesoface.dataset.portrait_maps import open_portrait, portrait_maps
from mesoface.dataset.torch_patches import PatchDataset
from mesoface.dataset.virtual_faces import VirtualFaceOptions, harmonic, random_expressions, virtual_pictures
from mesoface.flows.dataset_virtual import parse_numbers, virtual
from mesoface.reconstruct.environment import environment_directions, make_environment
from mesoface.reconstruct.environment_lamps import environment_lamps
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import Region
from mesoface.reconstruct.harmonic_light import HarmonicLight
from mesoface.reconstruct.uv_charts import uv_charts
from mesoface.reconstruct.uv_relight import relight, seen_from, uv_face

SIZE = 256


@pytest.fixture(scope="module")
def model():
    return load_face_model("procedural")


@pytest.fixture(scope="module")
def charts(model):
    return uv_charts(model, SIZE)


def smooth_face(model, charts, displacement=None):
    """A white matte face without relief, or with the given one."""
    flat = np.zeros((SIZE, SIZE), np.float32)
    height = flat if displacement is None else displacement
    return uv_face(model, charts, model.mean_mm, height, np.ones((SIZE, SIZE, 3), np.float32), flat + 0.5, 1.36)


def cheek(model, charts):
    labels = model.regions[model.triangles[np.maximum(charts.raster.triangle, 0)][..., 0]]
    return charts.valid & np.isin(labels, [Region.CHEEK_LEFT, Region.CHEEK_RIGHT, Region.FOREHEAD])


def test_lamps_keep_the_power_of_their_environment_and_its_irradiance():
    surroundings = make_environment(np.random.default_rng(3))
    lamps = environment_lamps(surroundings)
    directions = environment_directions(len(surroundings))
    area = np.sin(np.pi * (np.arange(128) + 0.5) / 128)[:, None, None] * (np.pi / 128) ** 2
    np.testing.assert_allclose(lamps.power.sum(0), (surroundings * area).sum((0, 1)), rtol=2e-3)
    assert lamps.solid_angle.sum() == pytest.approx(4 * np.pi, rel=1e-6)
    assert len(lamps.directions) == 64
    np.testing.assert_allclose(np.linalg.norm(lamps.directions, axis=1), 1, atol=1e-9)
    for normal in [*np.eye(3).tolist(), [0, 0.6, 0.8], [-0.6, 0, 0.8]]:
        true = (surroundings * area * np.maximum(directions @ np.array(normal), 0)[..., None]).sum((0, 1))
        ours = (lamps.power * np.maximum(lamps.directions @ np.array(normal), 0)[:, None]).sum(0)
        np.testing.assert_allclose(ours, true, rtol=0.04)


def test_a_white_face_in_a_white_room_is_white_but_for_the_highlight(model, charts):
    face, skin = smooth_face(model, charts), cheek(model, charts)
    radiance = relight(face, environment_lamps(np.ones((32, 64, 3), np.float32)), np.array([0, 0, 1.0]), charts.valid)
    assert 0.85 < np.median(radiance[skin]) < 1.1  # the nose hides some of the room, the oil adds some
    assert np.percentile(radiance[skin], 95) < 1.25


def test_shading_follows_the_normals_of_the_displaced_surface(model, charts):
    rng = np.random.default_rng(0)
    relief = cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)).astype(np.float32), (0, 0), 3) * 5
    face, skin = smooth_face(model, charts, relief), cheek(model, charts)
    skin = cv2.erode(skin.astype(np.uint8), np.ones((7, 7))) > 0
    surface = cv2.GaussianBlur(face.position_mm, (0, 0), 1.0) + relief[..., None] * face.normal
    true = np.cross(np.gradient(surface, axis=0), np.gradient(surface, axis=1))
    true /= np.maximum(np.linalg.norm(true, axis=-1, keepdims=True), 1e-9)
    true *= np.sign((true * face.normal).sum(-1, keepdims=True))
    away = np.degrees(np.arccos(np.clip((true * face.fine_normal).sum(-1), -1, 1)))
    tilt = np.degrees(np.arccos(np.clip((true * face.normal).sum(-1), -1, 1)))
    assert np.median(tilt[skin]) > 4
    assert np.median(away[skin]) < 0.15 * np.median(tilt[skin])


def test_a_groove_across_grazing_light_lies_in_shadow(model, charts):
    rows = np.arange(SIZE)[:, None] * np.ones((1, SIZE))
    groove = (-2.0 * np.exp(-(((rows - SIZE // 4) / 1.2) ** 2))).astype(np.float32)
    skin = cheek(model, charts)
    from mesoface.reconstruct.environment_lamps import DistantLamps

    high = np.array([[0.0, 0.96, 0.28]])
    lamps = DistantLamps(high, np.ones((1, 3)) * 3, np.array([0.1]))
    inside = skin & (np.abs(rows - SIZE // 4) < 1)
    assert inside.any()
    towards = np.array([0, 0, 1.0])
    flat = relight(smooth_face(model, charts), lamps, towards, charts.valid)
    cut = relight(smooth_face(model, charts, groove), lamps, towards, charts.valid)
    assert cut[inside].mean() < 0.75 * flat[inside].mean()


def test_the_far_cheek_is_not_seen_from_the_side(model, charts):
    face = smooth_face(model, charts)
    seen, _ = seen_from(face, np.array([1.0, 0, 0.1]) / np.hypot(1, 0.1))
    labels = model.regions[model.triangles[np.maximum(charts.raster.triangle, 0)][..., 0]]
    left, right = (charts.valid & (labels == region) for region in (Region.CHEEK_LEFT, Region.CHEEK_RIGHT))
    assert seen[left].mean() > 0.7
    assert seen[right].mean() < 0.2


def test_virtual_pictures_are_the_same_again_and_agree_with_their_light(model, charts):
    options = VirtualFaceOptions(size=SIZE, lights=2)
    first, second = (list(virtual_pictures(model, charts, 7, "smile:0.8", options)) for _ in range(2))
    assert first[0].maps.texture_linear.tobytes() == second[0].maps.texture_linear.tobytes()
    assert first[0].maps.displacement_mm.tobytes() != b"" and first[0].maps.displacement_mm.std() > 0.005
    np.testing.assert_array_equal(first[0].maps.displacement_mm[first[0].maps.valid & first[1].maps.valid],
                                  first[1].maps.displacement_mm[first[0].maps.valid & first[1].maps.valid])  # fmt: skip
    assert first[0].maps.source.scan != first[1].maps.source.scan
    assert abs(first[0].maps.texture_linear - first[1].maps.texture_linear)[first[0].maps.valid].mean() > 0.02
    for picture in first:
        wild = picture.wild
        there = wild.valid
        rendered = wild.albedo_linear * HarmonicLight(wild.light.astype(np.float64)).shading(wild.normal)
        a, b = rendered[there].mean(1), picture.maps.texture_linear[there].mean(1)
        assert np.corrcoef(a, b)[0, 1] > 0.6  # nine harmonics know neither shadow nor highlight
        assert 0.75 < a.mean() / b.mean() < 1.3


def test_harmonics_of_lamps_shade_as_the_room_does():
    light = HarmonicLight(harmonic(environment_lamps(np.full((32, 64, 3), 0.7, np.float32))))
    np.testing.assert_allclose(light.shading(np.array([[0, 0, 1.0], [0.6, 0.8, 0]])), 0.7, atol=0.02)


def test_expressions_of_a_subject_start_neutral_and_stay(model):
    assert random_expressions(5, 3) == random_expressions(5, 3)
    assert random_expressions(5, 3)[0] == "neutral" and len(set(random_expressions(5, 3))) == 3
    assert random_expressions(5, 3) != random_expressions(6, 3)


def test_numbers_of_subjects():
    assert parse_numbers("3-5,9") == [3, 4, 5, 9]
    for wrong in ("", "a", "5-", "-3"):
        with pytest.raises(UserError):
            parse_numbers(wrong)


def test_a_dataset_of_virtual_people_by_command(tmp_path):
    arguments = {
        "out": tmp_path / "set", "subjects": "1-2", "wild_subjects": "3", "expressions": 1, "lights": 1,
        "faces": tmp_path / "faces", "size": SIZE, "patch": 64, "count": 6, "shares": "50,50,0",
    }  # fmt: skip
    assert virtual(**arguments) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*.h5")}
    assert virtual(**arguments) == 0
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*.h5")}
    train, held_out = PatchDataset(tmp_path / "set", "train"), PatchDataset(tmp_path / "set", "val")
    assert {info.subject for info in train.infos}.isdisjoint({info.subject for info in held_out.infos})
    assert len(PatchDataset(tmp_path / "set", kind="wild")) == 6
    with pytest.raises(UserError, match="share 2"):
        virtual(**{**arguments, "wild_subjects": "2"})


def portrait_folder(folder, model, charts, subject=4):
    """A portrait whose picture and displacement are the face's own UV coordinates: the look-up must give them back."""
    from mesoface.reconstruct.face_model import FACE_REGIONS
    from mesoface.reconstruct.head import subject_coefficients
    from mesoface.reconstruct.image_raster import rasterize_image
    from mesoface.reconstruct.portrait import PortraitOptions
    from mesoface.reconstruct.uv_raster import interpolate

    camera = PortraitOptions(width_px=320, height_px=400).camera()
    vertices = model.shape_mm(subject_coefficients(model, subject)[0])
    pixels, depth = camera.project(vertices.astype(np.float64))
    raster = rasterize_image(pixels, depth, model.triangles, 320, 400, perspective=True, cull_back=True)
    place = interpolate(raster, model.triangles, vertices)
    face = np.isin(model.regions[model.triangles[np.maximum(raster.triangle, 0)][..., 0]], FACE_REGIONS)
    folder.mkdir()
    write_png(folder / "portrait.png", np.full((400, 320, 3), 128, np.uint8))
    height = np.where((raster.triangle >= 0) & face, place[..., 0] / 100, np.nan).astype(np.float32)
    write_tiff(folder / "displacement_mm.tif", height, unit="mm", along="base normal")
    content = {"subject": subject, "expression": "neutral", "face_model": "procedural", "yaw_deg": 0.0,
               "width_px": 320, "height_px": 400}  # fmt: skip
    (folder / "portrait.json").write_text(json.dumps({"content": content, "files": {"portrait.png": "0" * 64}}))
    truth = {"fx_px": camera.fx_px, "fy_px": camera.fy_px, "cx_px": camera.cx_px, "cy_px": camera.cy_px,
             "rotation_cam_from_world": camera.cam_from_world.rotation.tolist(),
             "translation_mm_cam_from_world": camera.cam_from_world.translation_mm.tolist()}  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))


def test_a_portrait_is_looked_up_where_the_true_head_lies(model, charts, tmp_path):
    portrait_folder(tmp_path / "p4", model, charts)
    maps = portrait_maps(open_portrait(tmp_path / "p4"), model, charts)
    away = maps.displacement_mm[maps.valid] - maps.position_mm[maps.valid][:, 0] / 100
    assert maps.valid.mean() > 0.1
    assert np.abs(away).mean() < 0.002  # a fifth of a millimetre across the face
    assert maps.source.scan == "p4_yaw+0" and maps.source.subject == "V0004"


def test_what_is_no_portrait_is_told(tmp_path):
    with pytest.raises(UserError, match="finished folder of `mesoface studio portrait`"):
        open_portrait(tmp_path)
