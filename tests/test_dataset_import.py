"""Faces of other sets: a mesh with a displacement map becomes the same map in our texture space, in millimetres."""

import json

import cv2
import numpy as np
import pytest

from mesoface.capture.image_files import write_png
from mesoface.dataset.dataset_index import read_index
from mesoface.dataset.external_sets import read_displacement_map
from mesoface.dataset.uv_maps import read_uv_maps
from mesoface.flows.cli import main
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_obj import write_obj
from mesoface.reconstruct.uv_charts import position_map, uv_charts

SIZE, WHITE_MM = 256, 0.5


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Someone's set: a head in metres, turned and far from the origin, waves of 0.2 mm in a 16-bit map."""
    folder = tmp_path_factory.mktemp("foreign")
    model = load_face_model("procedural")
    rng = np.random.default_rng(3)
    shape = model.shape_mm(0.8 * rng.standard_normal(len(model.identity_mm)))
    turn = cv2.Rodrigues(np.array([0.3, -0.5, 0.2]))[0]
    write_obj(
        folder / "base.obj", (shape @ turn.T + [400, 90, -30]) / 1000, model.triangles, model.uv, model.uv_triangles
    )
    place = position_map(uv_charts(model, 1024), model, shape)
    height = 0.2 * np.sin(2 * np.pi * place[..., 0] / 9) * np.sin(2 * np.pi * place[..., 1] / 11)
    write_png(folder / "height.png", np.rint((height / WHITE_MM * 0.5 + 0.5) * 65535).astype(np.uint16))
    (folder / "points.json").write_text(json.dumps(model.landmarks.tolist()))
    return folder, height


def command(folder, out, **other):
    options = {
        "--displacement": folder / "height.png", "--mm-at-white": WHITE_MM, "--mm-at-black": -WHITE_MM,
        "--landmarks": folder / "points.json", "--subject": "F0001", "--expression": "neutral",
        "--licence": "research only", "--unit": "m", "--size": SIZE, "--out": out, **other,
    }  # fmt: skip
    return ["dataset", "import", str(folder / "base.obj"), *(str(p) for pair in options.items() for p in pair)]


@pytest.mark.slow
def test_displacement_arrives_where_and_as_high_as_it_was(foreign, tmp_path, capsys):
    folder, height = foreign
    assert main(command(folder, tmp_path / "F0001_neutral")) == 0
    maps = read_uv_maps(tmp_path / "F0001_neutral/uv")
    true = cv2.resize(height.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    ours, theirs = maps.displacement_mm[maps.valid], true[maps.valid]
    assert maps.valid.mean() > 0.1 and 1 < maps.texel_mm < 2
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97 and np.sqrt(np.mean((ours - theirs) ** 2)) < 0.025
    assert maps.source.licence == "research only" and maps.source.subject == "F0001"
    assert main(command(folder, tmp_path / "F0001_neutral")) == 0 and "up to date" in told(capsys)
    build = ["dataset", "build", str(tmp_path / "F0001_neutral"), "--out", str(tmp_path / "set"), "--shares", "1,0,0"]
    assert main([*build, "--size", str(SIZE), "--patch", "32", "--count", "6"]) == 0
    index = read_index(tmp_path / "set")
    assert index.count() == 6 and index.licences == ("research only",) and 0.1 < index.height_scale_mm < 0.25


def test_scale_and_unit_are_never_guessed(foreign, tmp_path, capsys):
    folder, _ = foreign
    made = command(folder, tmp_path / "x")
    at = made.index("--mm-at-white")
    assert main(made[:at] + made[at + 2 :]) == 2 and "how many millimetres are white" in told(capsys)
    assert main(command(folder, tmp_path / "x", **{"--unit": "mm"})) == 2 and "is the unit right?" in told(capsys)
    assert main(command(folder, tmp_path / "x", **{"--subject": "Maria"})) == 2 and "pseudonym" in told(capsys)
    (tmp_path / "few.json").write_text("[1, 2, 3]")
    assert main(command(folder, tmp_path / "x", **{"--landmarks": tmp_path / "few.json"})) == 2
    assert "expected a list of 68 landmarks, found 3" in told(capsys)
    write_png(tmp_path / "eight.png", np.zeros((8, 8), np.uint8))
    assert main(command(folder, tmp_path / "x", **{"--displacement": tmp_path / "eight.png"})) == 2
    assert "give the 16-bit map" in told(capsys)
    assert not (tmp_path / "x/uv").exists()


def test_facescape_convention(tmp_path):
    write_png(tmp_path / "map.png", np.array([[0, 65535], [32768, 16384]], np.uint16))
    height = read_displacement_map(tmp_path / "map.png", mm_at_white=0.914, mm_at_black=-0.914)
    np.testing.assert_allclose(height, [[-0.914, 0.914], [0.0, -0.457]], atol=2e-4)
