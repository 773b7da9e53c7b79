"""`mesoface synthesize`: all files of a photograph's detail, validity, folders with bad pictures, clear messages."""

import base64
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from proxy_fixtures import procedural, scene
from synthesis_fixtures import About, Function, grey_height

from mesoface.capture.errors import UserError
from mesoface.dataset.pca_basis import PcaBasis
from mesoface.flows import synthesize_stage
from mesoface.flows.cli import main
from mesoface.flows.picture_batch import run_pictures
from mesoface.flows.proxy_stage import ProxyTools
from mesoface.flows.stage import StageResult
from mesoface.flows.synthesize_stage import SynthesisTools, proxy_size, run_synthesis
from mesoface.model.detail_files import read_displacement_png
from mesoface.model.dfdn_model import DfdnAbout, load_dfdn, new_dfdn
from mesoface.model.dfdn_presets import PRESETS
from mesoface.model.synthesis import read_face, synthesize
from mesoface.reconstruct.landmark_files import write_pts
from mesoface.reconstruct.landmarks import landmarks_from_points
from mesoface.reconstruct.photo import encoded_srgb

SIZE, SIDE, TEXEL_MM = 512, 128, 0.7
RELIEF_MM = 0.3
TINY = replace(PRESETS["fast"], name="tiny", pdim_channels=(8, 8, 8, 8, 8), pdrm_channels=(8, 8))


BRIGHT = About(map_size=SIZE, patch_px=SIDE, texel_mm=TEXEL_MM)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one portrait, its landmarks, and a file that is no picture."""
    made = scene(12, 10.0, 460)
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(np.rint(255 * encoded_srgb(made.linear)).astype(np.uint8)).save(folder / "anna.png")
    write_pts(folder / "anna.pts", landmarks_from_points(made.landmarks_px, "truth"))
    (folder / "broken.jpg").write_bytes(b"no jpeg")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights."""
    components = np.zeros((64, SIDE, SIDE), np.float32)
    components[np.arange(64), np.arange(64), 0] = 1
    basis = PcaBasis(components, np.zeros((SIDE, SIDE), np.float32), np.full(64, 0.01), 1.0, 100, "all")
    about = DfdnAbout("procedural", SIZE, SIDE, TEXEL_MM, RELIEF_MM, "all", "", "", "random weights")
    path = tmp_path_factory.mktemp("network") / "net.npz"
    new_dfdn(TINY, basis, about).export(path)
    return path


def command(photos: Path, network: Path, out: Path) -> list[str]:
    return ["synthesize", str(photos), "--model", str(network), "--landmarks", str(photos), "--out", str(out),
            "--size", str(SIZE), "--edge", "4", "--batch", "4"]  # fmt: skip


@pytest.fixture(scope="module")
def results(photos: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the folder; one of its two pictures fails."""
    out = tmp_path_factory.mktemp("results")
    assert main(command(photos, network, out)) == 1
    return out


@pytest.fixture
def result(results: Path) -> Path:
    return results / "anna"


@lru_cache(maxsize=1)
def proxy_tools() -> ProxyTools:
    return ProxyTools(procedural(), SIZE)


def tools(strength: float = 0.2, **about: Any) -> SynthesisTools:
    """A network that takes brightness for height."""
    said = replace(BRIGHT, **about)
    function = Function(said, lambda t: strength * grey_height(t))
    return SynthesisTools([function], [f"brightness {strength}"], proxy_tools(), SIZE, edge_mm=4.0)


def test_everything_is_there_and_agrees(result, network):
    detail = result / "detail"
    names = {path.name for path in detail.iterdir()} - {"displacement_mm.exr"}
    assert names == {
        "displacement_mm.tif", "displacement.png", "displacement.json", "normal_map.png", "detailed.obj",
        "detailed.ply", "detailed.glb", "rerender.png", "report.html", "stage.json", ".mesoface-stage",
    }  # fmt: skip
    facts = json.loads((detail / "displacement.json").read_text())
    face = read_face(result / "proxy")
    expected = synthesize(load_dfdn(network), face.texture_srgb, face.valid, face.region)
    found = read_displacement_png(detail / "displacement.png")
    np.testing.assert_allclose(found, expected.displacement_mm, atol=2 * facts["mm_per_unit"])
    assert facts["networks"] == ["net.npz (random weights)"] and facts["size"] == SIZE
    assert facts["yaw_deg"] == pytest.approx(10, abs=3) and 0.02 < facts["predicted_share"] < 0.9
    assert 0.001 < facts["rms_mm"] < RELIEF_MM and facts["unit"] == "mm"
    normals = np.asarray(Image.open(detail / "normal_map.png")).astype(int)
    flat = np.abs(found) == 0
    still = cv2.erode(flat.astype(np.uint8), np.ones((5, 5))) > 0
    assert (np.abs(normals[still] - [128, 128, 255]) <= 1).all() and np.abs(normals[~flat] - 128)[:, :2].max() > 5
    assert np.asarray(Image.open(detail / "rerender.png")).shape[2] == 3
    obj = (detail / "detailed.obj").read_text()
    assert obj.startswith("# millimetres") and obj.count("\nv ") > len(procedural().mean_mm) * 0.9


def test_five_lines_of_python(result, network):
    face = read_face(result / "proxy")
    detail = synthesize(load_dfdn(network), face.texture_srgb, face.valid, face.region)
    assert detail.displacement_mm.shape == (SIZE, SIZE) and detail.displacement_mm.dtype == np.float32
    assert face.texture_srgb.shape == (SIZE, SIZE, 3) and np.abs(detail.displacement_mm).max() > 0.001
    smaller = read_face(result / "proxy", 256)
    assert smaller.valid.mean() == pytest.approx(face.valid.mean(), rel=0.05)
    with pytest.raises(UserError, match="run it with --size 1024"):
        read_face(result / "proxy", 1024)


def test_the_report_stands_alone_and_shows_all(result):
    page = (result / "detail" / "report.html").read_text()
    assert page.count("<img") == 15 and "http" not in page.replace("http-equiv", "")
    data = json.loads(page.split('application/json">')[1].split("</script>")[0])
    sizes = {name: len(base64.b64decode(data[name])) for name in ("positions", "normals", "uvs", "triangles")}
    count = sizes["normals"] // 4
    assert sizes["positions"] == 8 * count and sizes["uvs"] == 4 * count and sizes["triangles"] % 12 == 0
    triangles = np.frombuffer(base64.b64decode(data["triangles"]), "<u4")
    assert triangles.max() == count - 1
    positions = np.frombuffer(base64.b64decode(data["positions"]), "<u2").reshape(-1, 4)[:, :3] / 65535
    extent = positions * data["span"] + data["low"]
    assert np.ptp(extent[:, 1]) > 200 and data["colour"].startswith("data:image/jpeg;base64,")
    assert "displacement" in page and "degrees" in page and "random weights" in page


def test_the_folder_is_told_and_kept(results, photos, network, capsys):
    listed = json.loads((results / "failures.json").read_text())["failures"]
    assert [entry["image"] for entry in listed] == ["broken.jpg"]
    before = (results / "anna" / "detail" / "stage.json").read_bytes()
    assert main(command(photos, network, results)) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "0 made, 1 up to date, 1 failed" in told and "broken.jpg" in told
    assert (results / "anna" / "detail" / "stage.json").read_bytes() == before


def test_a_result_is_made_again_when_something_changes(photos, tmp_path, monkeypatch):
    made: list[Path] = []

    def make(folder: Path, *rest: object) -> list[str]:
        made.append(folder)
        (folder / "report.html").write_text("made")
        return []

    monkeypatch.setattr(synthesize_stage, "_make", make)
    place, marks = photos / "anna.png", photos / "anna.pts"

    def run(chosen: SynthesisTools):
        return run_synthesis(place, tmp_path / "anna", chosen, marks)

    assert not run(tools()).reused and run(tools()).reused
    other = tools()
    other.batch = 3
    assert run(other).reused, "the batch changes nothing"
    other.overlap = 0.75
    assert "overlap" in run(other).why and "network" in run(tools(0.1)).why and len(made) == 3


def test_interruption_keeps_the_earlier_result(result, photos):
    def stop(texture: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    broken = tools()
    broken.models = [Function(BRIGHT, stop)]
    broken.names = ["interrupted"]
    before = (result / "detail" / "displacement.png").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run_synthesis(photos / "anna.png", result, broken, photos / "anna.pts")
    assert (result / "detail" / "displacement.png").read_bytes() == before
    assert not list(result.glob(".detail*")), "no half-written folder is left"


def test_a_network_of_another_face_model_is_refused(photos, tmp_path):
    with pytest.raises(UserError, match="texture space of 'bfm2017'"):
        run_synthesis(photos / "anna.png", tmp_path / "out", tools(face_model="bfm2017"), photos / "anna.pts")


def test_a_folder_survives_what_breaks(tmp_path):
    images = [tmp_path / name for name in ("a.png", "a.jpg", "b.png", "c.png")]

    def work(image: Path, folder: Path):
        if image.suffix == ".jpg":
            raise UserError("no face")
        if image.stem == "c":
            raise np.linalg.LinAlgError("singular")
        return StageResult(folder, False, 0.0)

    batch = run_pictures(images, tmp_path / "out", "pictures", work)
    assert [result.folder.name for result in batch.done.values()] == ["a_png", "b"]
    listed = json.loads((tmp_path / "out" / "failures.json").read_text())["failures"]
    assert [entry["image"] for entry in listed] == ["a.jpg", "c.png"] and "LinAlgError" in listed[1]["reason"]
    run_pictures(images[2:3], tmp_path / "out", "pictures", work)
    assert not (tmp_path / "out" / "failures.json").exists()


def test_sizes_of_the_proxy():
    assert [proxy_size(size, 1024) for size in (512, 2048, 4096)] == [1024, 2048, 2048]
    assert proxy_size(4096, 4096) == 4096


def test_mistakes_are_one_message(photos, network, tmp_path, capsys):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(network.read_bytes()[:3000])
    empty = Image.fromarray(np.full((300, 300, 3), 128, np.uint8))
    empty.save(tmp_path / "empty.png")
    good = ["--model", str(network), "--out", str(tmp_path / "out")]
    for command, words in (
        ([str(tmp_path / "no.png"), *good], "no such file or folder"),
        ([str(photos), *good, "--overlap", "60"], "overlap is 60, allowed are 50 and 75"),
        ([str(photos), *good, "--size", "100"], "size is 100"),
        ([str(photos), *good, "--batch", "0"], "batch is 0"),
        ([str(photos), *good, "--device", "tpu"], "device is 'tpu'"),
        ([str(photos), "--model", str(damaged), "--out", str(tmp_path / "out")], "cannot be read"),
        ([str(photos), "--model", str(tmp_path / "run"), "--out", str(tmp_path / "out")], "no such"),
        ([str(tmp_path / "empty.png"), *good, "--size", "512"], "no face found"),
    ):
        assert main(["synthesize", *command]) == 2, words
        message = " ".join(capsys.readouterr().err.split())
        assert words in message and "Traceback" not in message
    assert not list(tmp_path.glob("out/*/detail"))
