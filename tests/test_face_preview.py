"""Face model previews and the face-model commands."""

import json
from pathlib import Path

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.flows.face_model_commands import convert, info, parse_expression, render
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel, Region
from mesoface.reconstruct.face_model_file import save_face_model
from mesoface.reconstruct.face_obj import read_obj
from mesoface.reconstruct.face_preview import contact_sheet, describe, region_colours, render_face, rotation


@pytest.fixture(scope="module")
def bump() -> FaceModel:
    """A shallow dome of 41 x 41 vertices, 160 mm wide, with one unit that lifts its left half."""
    x, y = np.meshgrid(np.linspace(-80, 80, 41), np.linspace(-90, 90, 41))
    mean = np.stack([x, y, 60 - x**2 / 120 - y**2 / 150], -1).reshape(-1, 3).astype(np.float32)
    grid = np.arange(1681).reshape(41, 41)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    lift = np.zeros((1, 1681, 3), np.float32)
    lift[0, mean[:, 0] > 0, 2] = 10
    landmarks = np.full(68, -1, np.int32)
    landmarks[30] = 840
    regions = np.full(1681, Region.NOSE, np.uint8)
    return FaceModel(
        name="bump", mean_mm=mean, identity_mm=lift.copy(), expression_mm=lift, expression_names=("cheek_puff",),
        expression_is_units=True, albedo_mean=np.full((1681, 3), (0.5, 0.3, 0.2), np.float32),
        albedo_basis=np.zeros((0, 1681, 3), np.float32), triangles=triangles.astype(np.int32),
        uv=((mean[:, :2] + 90) / 180).astype(np.float32), uv_triangles=triangles.astype(np.int32),
        landmarks=landmarks, regions=regions, licence="none needed",
    )  # fmt: skip


@pytest.fixture
def saved(bump: FaceModel, tmp_path: Path) -> Path:
    save_face_model(bump, tmp_path / "bump.h5")
    return tmp_path / "bump.h5"


def test_render_shows_the_surface_on_grey_and_repeats_exactly(bump: FaceModel) -> None:
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    image = render_face(bump, size=(64, 80), samples=4)
    assert image.shape == (80, 64, 3) and image.dtype == np.uint8
    assert (image[0] == image[0, 0, 0]).all() and 100 < image[0, 0, 0] < 140, "background is not plain grey"
    red, green, blue = image[40, 32].astype(int)
    assert red > green > blue > 30, "the albedo is not what is seen"
    assert np.array_equal(image, render_face(bump, size=(64, 80), samples=4))
    clay = render_face(bump, size=(64, 80), samples=4, clay=True)[40, 32].astype(int)
    assert np.ptp(clay) <= 2
    lifted = render_face(bump, beta=np.array([1.0]), size=(64, 80), samples=4)
    assert not np.array_equal(image, lifted)
    assert np.array_equal(image[40, :8], lifted[40, :8]), "an expression must not move the camera"
    assert mi.variant() == "scalar_rgb"


def test_yaw_turns_to_image_right_and_pitch_lifts_the_chin(bump: FaceModel) -> None:
    pytest.importorskip("mitsuba")
    nose = np.array([0.0, 0.0, 1.0])
    assert (rotation(30, 0) @ nose)[0] > 0.4 and (rotation(0, 20) @ nose)[1] > 0.3
    colours = np.full((1681, 3), 0.05, np.float32)
    colours[bump.mean_mm[:, 0] > 0] = (0.05, 0.05, 0.9)
    image = render_face(bump, size=(64, 80), colours=colours, samples=4).astype(int)
    blue = np.flatnonzero((image[40, :, 2] - image[40, :, 0]) > 60)
    assert blue.size and blue.mean() > 36, "the subject's left is not at the image's right"


def test_contact_sheet_places_cells_row_by_row() -> None:
    cells = [np.full((40, 30, 3), 10 * number, np.uint8) for number in range(1, 6)]
    sheet = contact_sheet(cells, ["a"] * 5, columns=2)
    height = sheet.shape[0] // 3
    assert sheet.shape[1] == 60 and sheet[5, 5, 0] == 10 and sheet[5, 35, 0] == 20 and sheet[height + 5, 5, 0] == 30
    with pytest.raises(ValueError, match="labels"):
        contact_sheet(cells, ["a"])


def test_region_colours_tell_all_regions_apart() -> None:
    colours = region_colours(np.arange(len(Region), dtype=np.uint8))
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2) + np.eye(len(Region))
    assert apart.min() > 0.03


def test_describe_counts_what_is_there(bump: FaceModel) -> None:
    facts = describe(bump)
    assert facts["vertices"] == 1681 and facts["triangles"] == 3200 and facts["landmarks_known"] == 1
    assert facts["bounding_box_mm"][1][:2] == [80.0, 90.0] and facts["vertices_per_region"] == {"nose": 1681}
    assert facts["expression_names"] == ["cheek_puff"] and json.dumps(facts)


def test_info_prints_a_table_or_json(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(str(saved))
    assert "cheek_puff" in capsys.readouterr().out
    info(str(saved), json=True)
    assert json.loads(capsys.readouterr().out)["vertices"] == 1681


def test_convert_writes_each_format_and_protects_files(saved: Path, bump: FaceModel, tmp_path: Path) -> None:
    convert(str(saved), tmp_path / "mean.obj")
    mesh = read_obj(tmp_path / "mean.obj")
    np.testing.assert_allclose(mesh.vertices, bump.mean_mm, atol=1e-5)
    np.testing.assert_allclose(mesh.uv, bump.uv, atol=1e-6)
    assert np.array_equal(mesh.corners.reshape(-1, 3), bump.triangles)
    convert(str(saved), tmp_path / "mean.ply")
    trimesh = pytest.importorskip("trimesh")
    read = trimesh.load(tmp_path / "mean.ply", process=False)
    np.testing.assert_allclose(read.vertices, bump.mean_mm, atol=1e-5)
    assert np.array_equal(read.faces, bump.triangles) and read.visual.vertex_colors[0, 0] > 180
    convert(str(saved), tmp_path / "copy.h5")
    assert load_face_model(tmp_path / "copy.h5").expression_names == ("cheek_puff",)
    before = (tmp_path / "mean.obj").read_bytes()
    with pytest.raises(UserError, match=r"mean\.obj exists.*--force"):
        convert(str(saved), tmp_path / "mean.obj")
    with pytest.raises(UserError, match=r"'\.glb'.*\.h5, \.obj, \.ply"):
        convert(str(saved), tmp_path / "mean.glb")
    with pytest.raises(UserError, match="input file itself"):
        convert(str(saved), saved, force=True)
    assert (tmp_path / "mean.obj").read_bytes() == before
    convert(str(saved), tmp_path / "mean.obj", force=True)


def test_render_command_writes_a_picture(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("mitsuba")
    import cv2

    render(str(saved), tmp_path / "one.png", width=48, height=64, expression="cheek_puff=0.5", identity_seed=3)
    image = cv2.imread(str(tmp_path / "one.png"))
    assert image is not None and image.shape == (64, 48, 3) and image.std() > 5
    with pytest.raises(UserError, match="allowed are 16 to 8192"):
        render(str(saved), tmp_path / "two.png", width=0)
    with pytest.raises(UserError, match="unknown suffix"):
        render(str(saved), tmp_path / "two.exr")


def test_expression_text_names_what_is_wrong(bump: FaceModel) -> None:
    assert parse_expression(bump, " ") is None
    beta = parse_expression(bump, "cheek_puff = 0.25")
    assert beta is not None and beta.tolist() == [0.25]
    with pytest.raises(UserError, match=r"jaw_open.*unit this model lacks.*cheek_puff"):
        parse_expression(bump, "jaw_open=1")
    for text in ("cheek_puff", "cheek_puff=x", "cheek_puff=nan"):
        with pytest.raises(UserError, match="expected name=number"):
            parse_expression(bump, text)
