"""`mesoface proxy`: every file of a result, validity, folders with bad pictures, messages instead of tracebacks."""

import copy
import json
import shutil
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from proxy_fixtures import Scene, procedural, scene

from mesoface.capture.errors import UserError
from mesoface.capture.files import write_json
from mesoface.flows import proxy_stage
from mesoface.flows.cli import main
from mesoface.flows.picture_batch import result_names
from mesoface.flows.proxy_command import find_images, run_batch
from mesoface.flows.proxy_stage import ProxyTools, run_proxy
from mesoface.flows.stage import read_stage
from mesoface.reconstruct.landmark_files import write_landmark_json, write_pts
from mesoface.reconstruct.landmarks import Landmarks, landmarks_from_points
from mesoface.reconstruct.photo import Photo, encoded_srgb, load_photo
from mesoface.reconstruct.proxy_files import read_position_map, read_proxy

SIZE = 512


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def made() -> Scene:
    return scene(11, 15.0, 460, {"lip_corner_pull": 0.7, "jaw_open": 0.2})


@pytest.fixture(scope="module")
def picture(made: Scene) -> np.ndarray:
    return np.rint(255 * encoded_srgb(made.linear)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, made: Scene, picture: np.ndarray) -> Path:
    """A folder with one portrait and its landmark file."""
    (tmp_path / "in").mkdir()
    Image.fromarray(picture).save(tmp_path / "in" / "anna.png")
    write_pts(tmp_path / "in" / "anna.pts", landmarks_from_points(made.landmarks_px, "truth"))
    return tmp_path / "in"


class Finder:
    """A detector that finds what it is told."""

    name = "finder"

    def __init__(self, *faces: Landmarks) -> None:
        self.faces = list(faces)

    def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
        assert image_srgb.dtype == np.float32 and image_srgb.shape[2] == 3
        return self.faces


class Smiling:
    """An expression prior that sees a smile everywhere."""

    name, face_model = "smiling", "procedural"

    def predict(self, image_srgb: np.ndarray, landmarks: Landmarks) -> np.ndarray:
        return procedural().beta_from_units({"lip_corner_pull": 0.75}).astype(np.float64)


@lru_cache(maxsize=1)
def _shared() -> ProxyTools:
    return ProxyTools(procedural(), SIZE)


def tools(*faces: Landmarks, every_face: bool = False) -> ProxyTools:
    """A run's tools; what has been made for the model is shared by all tests."""
    shared = _shared()
    assert shared.charts.maps.size == SIZE and shared.model_sha256
    chosen = copy.copy(shared)
    chosen.detector, chosen.every_face = Finder(*faces), every_face
    return chosen


def test_a_picture_becomes_a_folder_that_is_kept(made, folder, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["proxy", str(folder / "anna.png"), "--landmarks", str(folder / "anna.pts"), "--out", str(out)]
    assert main([*command, "--size", str(SIZE)]) == 0
    result = out / "anna"
    assert {path.name for path in result.iterdir()} == {
        "proxy.obj", "proxy.mtl", "proxy.json", "texture.png", "visible.png", "facing.png", "position.png",
        "normal.png", "albedo.png", "overlay.png", "report.html", "stage.json", ".mesoface-stage",
    }  # fmt: skip
    proxy = read_proxy(result)
    vertices = proxy.vertices_mm(made.model)
    # the affine camera's free shift in depth aside, every landmark lies where it was
    assert np.abs(proxy.camera.project(vertices[made.model.landmarks]) - made.landmarks_px).max() < 1.0
    assert proxy.content["pose_deg"]["yaw"] == pytest.approx(15, abs=2) and proxy.confidence > 0.9
    assert proxy.content["light"]["misfit"] < 0.02 and proxy.content["image"]["size_px"] == [460, 460]
    unlit = proxy.light.shading(np.array([0.0, 0.0, 1.0]))
    assert unlit.shape == (3,) and proxy.gamma.shape == (6,)
    position, seen = read_position_map(result)
    assert position.shape == (SIZE, SIZE, 3) and 0.2 < seen.mean() < 0.7
    back = proxy.camera.project(position[seen].astype(float))
    texture = (255 * load_photo(result / "texture.png").srgb[seen]).astype(int)
    photo = (255 * load_photo(folder / "anna.png").srgb).astype(int)
    column, row = np.rint(back).astype(int).T
    assert np.median(np.abs(texture - photo[row, column])) <= 2, "texture, positions and camera belong together"
    obj = (result / "proxy.obj").read_text()
    assert "mtllib proxy.mtl" in obj and "texture.png" in (result / "proxy.mtl").read_text()
    assert obj.count("\nv ") == len(vertices) and obj.count("\nf ") == len(made.model.triangles)
    page = (result / "report.html").read_text()
    assert page.count("<img") >= 12 and "http" not in page and "brightest from" in page
    time_ns = (result / "proxy.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*command, "--size", str(SIZE)]) == 0
    assert "is up to date" in told(capsys) and (result / "proxy.json").stat().st_mtime_ns == time_ns
    with pytest.raises(UserError, match="load the same face model"):
        other = made.model
        read_proxy(result).vertices_mm(type(other)(**{f: getattr(other, f) for f in other.__slots__} | {"name": "x"}))


def write_note(place: Path, name: str, photo: Photo, face: Landmarks, tools: ProxyTools, facts: dict) -> list[str]:
    write_json(place / "note.json", {"nose_px": face.points_px[30].tolist(), "notes": facts["notes"]})
    return []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit and its files replaced by a note of the landmarks; everything around them is real."""
    monkeypatch.setattr(proxy_stage, "_one_face", write_note)


def note_of(folder: Path) -> dict:
    return json.loads((folder / "note.json").read_text())


def test_maps_change_with_what_they_depend_on(quick, made, folder, tmp_path):
    out, image, points = tmp_path / "out", folder / "anna.png", folder / "anna.pts"
    shared = tools()
    assert not run_proxy(image, out, shared, points).reused
    assert run_proxy(image, out, shared, points).reused
    moved = made.landmarks_px + 1.5
    write_pts(points, landmarks_from_points(moved, "moved"))
    again = run_proxy(image, out, shared, points)
    assert again.why == "other input (landmarks)"
    assert note_of(out)["nose_px"] == pytest.approx(moved[30]) and read_stage(out)["parameters"]["detector"] == "file"
    shared.prior_id = "other weights"
    assert run_proxy(image, out, shared, points).reused, "no prior, no weights"
    shared.size = 1024
    assert run_proxy(image, out, shared, points).why == "other parameters (size)"
    shutil.rmtree(out)
    with pytest.raises(UserError, match="no such landmark file"):
        run_proxy(image, out, shared, folder / "nobody.pts")
    assert not out.exists()


def test_faces_largest_all_tiny_none(made, folder, tmp_path, monkeypatch):
    image, out = folder / "anna.png", tmp_path / "out"
    large = landmarks_from_points(made.landmarks_px, "finder")
    small = landmarks_from_points(made.landmarks_px * 0.7 + 60, "finder")
    tiny = landmarks_from_points(made.landmarks_px * 0.3 + 100, "finder")
    with pytest.raises(UserError, match=r"no face found by finder in 460 x 460 px.*--landmarks"):
        run_proxy(image, out, tools())
    with pytest.raises(UserError, match=rf"the face is {tiny.size_px:.0f} px across its landmarks, at least 150"):
        run_proxy(image, out, tools(tiny))
    assert not out.exists()
    with monkeypatch.context() as patch:
        patch.setattr(proxy_stage, "_one_face", write_note)
        run_proxy(image, out, tools(small, large))
    assert note_of(out)["nose_px"] == pytest.approx(large.points_px[30])
    assert "2 faces found, the largest taken; --all takes every one" in note_of(out)["notes"]
    assert not (out / "face2").exists()
    shared = tools(tiny, small, large, every_face=True)
    shared.prior = Smiling()
    run_proxy(image, out, shared)
    smile = made.model.expression_names.index("lip_corner_pull")
    assert read_proxy(out).beta[smile] == 0.75 and np.count_nonzero(read_proxy(out).beta) == 1
    assert "fixed by the prior smiling" in (out / "report.html").read_text()
    second = read_proxy(out / "face2").content
    assert second["landmarks"]["points_px"][30] == pytest.approx(small.points_px[30], abs=1e-3)
    assert (out / "face2" / "texture.png").is_file() and not (out / "face3").exists()
    assert "1 left out: less than 150 px" in second["image"]["notes"]


def test_landmarks_of_another_picture_are_refused(made, folder, tmp_path):
    write_landmark_json(folder / "far.json", [landmarks_from_points(made.landmarks_px + 300, "far")])
    with pytest.raises(UserError, match=r"far.json: \d+ % of its landmarks lie outside of the picture.*Exif"):
        run_proxy(folder / "anna.png", tmp_path / "out", tools(), folder / "far.json")
    (folder / "short.pts").write_text("version: 1\nn_points: 5\n{\n1 2\n3 4\n}\n")
    with pytest.raises(UserError, match="expected 68 points"):
        run_proxy(folder / "anna.png", tmp_path / "out", tools(), folder / "short.pts")


def test_a_folder_runs_to_its_end(quick, made, folder, tmp_path, picture, capsys):
    out = tmp_path / "out"
    (folder / "cut.jpg").write_bytes(_encoded(picture, ".jpg")[:4000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    Image.fromarray(picture).save(folder / "berta.png")  # without landmarks
    command = ["proxy", str(folder), "--landmarks", str(folder), "--out", str(out), "--size", str(SIZE)]
    assert main(command) == 1
    text = told(capsys)
    assert "1 made, 0 up to date, 4 failed" in text and "failures.json" in text
    content = json.loads((out / "failures.json").read_text())
    reasons = {entry["image"]: entry["reason"] for entry in content["failures"]}
    assert content["pictures"] == 5 and list(reasons) == ["berta.png", "cut.jpg", "empty.png", "phone.heic"]
    assert all("no landmark file" in reason for reason in reasons.values())
    face = landmarks_from_points(made.landmarks_px, "finder")
    batch = run_batch(find_images(folder), out, tools(face))
    reasons = dict(batch.failures)
    assert set(batch.done) == {"anna.png", "berta.png"} and (out / "berta" / "note.json").is_file()
    assert "cut short" in reasons["cut.jpg"] and "is empty" in reasons["empty.png"]
    assert "is HEIC" in reasons["phone.heic"] and "convert it" in reasons["phone.heic"]
    for name in ("cut.jpg", "empty.png", "phone.heic"):
        (folder / name).unlink()
    batch = run_batch(find_images(folder), out, tools(face))
    assert not batch.failures and all(result.reused for result in batch.done.values())
    assert not (out / "failures.json").exists()
    assert not [path for path in out.iterdir() if ".part" in path.name]


def test_an_unexpected_error_costs_one_picture(made, folder, tmp_path):
    class Broken(Finder):
        def detect(self, image_srgb: np.ndarray) -> list[Landmarks]:
            raise RuntimeError("weights on fire")

    shared = tools()
    shared.detector = Broken()
    batch = run_batch(find_images(folder), tmp_path / "out", shared)
    assert not batch.done and "unexpected RuntimeError: weights on fire" in batch.failures[0][1]
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "failures.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["{folder}/none"], "holds no picture; expected .jpg"),
        (["{folder}/anna.png", "--size", "100"], "size is 100, allowed are 512 to 8192"),
        (["{folder}/anna.png", "--landmarks", "gone.pts"], "gone.pts: no such landmark file"),
        (
            ["{folder}/anna.png", "--landmarks", "{folder}/anna.pts", "--prior", "both"],
            "needs an expression dictionary",
        ),
        (["{folder}/anna.png", "--face-model", "nothing.h5"], "nothing.h5: expected 'procedural'"),
        (["{folder}/anna.pts", "--landmarks", "{folder}/anna.pts"], "is no picture that can be read"),
        (["{folder}/cut.jpg", "--landmarks", "{folder}/anna.pts"], "damaged or cut short"),
    ],
)
def test_mistakes_are_one_message(folder, tmp_path, picture, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (folder / "none").mkdir()
    (folder / "cut.jpg").write_bytes(_encoded(picture, ".jpg")[:4000])
    assert main(["proxy", *(text.format(folder=folder) for text in arguments), "--out", "out"]) == 2
    text = told(capsys)
    assert message in text and "Traceback" not in text
    assert not list(tmp_path.glob("out/*"))


def test_names_of_results_never_collide():
    images = [Path("a/x.png"), Path("a/X.jpg"), Path("a/y.png")]
    assert list(result_names(images).values()) == ["x_png", "X_jpg", "y"]


def _encoded(picture: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()


def test_photographs_of_every_kind(tmp_path, picture):
    original = picture / np.float32(255)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    see_through = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    see_through[:50] = 0
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture).save(tmp_path / "plain.webp", lossless=True)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(see_through).save(tmp_path / "rgba.png")
    Image.fromarray(np.rot90(picture).copy()).save(tmp_path / "turned.png", exif=exif)
    cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    tifffile.imwrite(tmp_path / "deep.tif", picture.astype(np.uint16) * 257, photometric="rgb")
    for name, notes in (
        ("plain.webp", ()), ("turned.png", ("turned as its Exif says",)), ("deep.png", ("16 bit",)),
        ("deep.tif", ("16 bit",)),
    ):  # fmt: skip
        photo = load_photo(tmp_path / name)
        assert photo.notes == notes and photo.srgb.dtype == np.float32 and photo.srgb.flags.c_contiguous
        assert np.abs(photo.srgb - original).max() < 1e-6, name
    assert load_photo(tmp_path / "grey.png").notes == ("grey",)
    assert np.abs(load_photo(tmp_path / "grey.png").srgb - grey[..., None] / 255).max() < 1e-6
    photo = load_photo(tmp_path / "rgba.png")
    assert photo.notes == ("transparency over grey",) and (photo.srgb[:50] == 0.5).all()
    assert np.abs(photo.srgb[50:] - original[50:]).max() < 1e-6
    tifffile.imwrite(tmp_path / "linear.tif", original**2.2, photometric="rgb", description='{"encoding": "linear"}')
    photo = load_photo(tmp_path / "linear.tif")
    assert "linear light encoded as sRGB" in photo.notes and np.abs(photo.srgb - original).max() < 0.04
    for name in ("deep.png", "deep.tif", "grey.png", "plain.webp"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / "cut").write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match="damaged or cut short"):
            load_photo(tmp_path / "cut")
    (tmp_path / "movie.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (tmp_path / "shot.cr2").write_bytes(b"II*\0" + bytes(100))
    for name, words in (("movie.jpg", "is a video"), ("shot.cr2", "develop it"), ("gone.png", "no such file")):
        with pytest.raises(UserError, match=words):
            load_photo(tmp_path / name)
