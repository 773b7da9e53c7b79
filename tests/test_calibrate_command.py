"""`mesoface calibrate` on rendered takes: the folder it writes, what it refuses, and a corrected rig file."""

import json
from pathlib import Path

import numpy as np
import pytest
from calibration_fixtures import small_rig
from take_fixtures import new_take

from mesoface.capture.calibration_maps import load_calibrations
from mesoface.capture.errors import UserError
from mesoface.capture.rig_models import Rig
from mesoface.flows.calibrate_command import calibrate
from mesoface.reconstruct.calibration_folder import folder_in_the_making
from mesoface.reconstruct.calibration_take import read_calibration_take
from mesoface.reconstruct.rig_files import CalibratedRig
from mesoface.reconstruct.targets import render_calibration
from mesoface.reconstruct.targets_scene import TargetOptions

CAMERAS = ("left2", "centre", "right2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("takes")
    made = {}
    for kind, size in (("board", (600, 400)), ("flat", (300, 200)), ("dark", (300, 200))):
        options = TargetOptions(width_px=size[0], height_px=size[1], misalignment=2, seed=1)
        rig = small_rig(CAMERAS, board_poses=6, dark_frames=2)
        made[kind] = render_calibration(rig, kind, options, out / kind)
    return made


@pytest.fixture(scope="module")
def calibrated(folders, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "today"
    assert calibrate(folders["board"], out=out) == 0
    assert calibrate(folders["flat"], folders["dark"], out=out) == 1  # flashes where the rig file says: a warning
    return out


def test_everything_is_there(folders, calibrated):
    rig = read_calibration_take(folders["board"]).rig
    cameras = CalibratedRig.load(calibrated)
    assert list(cameras.cameras) == list(CAMERAS) and max(cameras.baseline_px.values()) < 0.05
    for name in (
        "rig/rigs.bin",
        "rig/cameras.txt",
        "board/points3D.bin",
        "lights.json",
        "polarisers.json",
        "report.html",
    ):
        assert (calibrated / name).stat().st_size > 100, name
    maps = load_calibrations(calibrated, rig)
    assert len(maps) == 3
    for found in maps.values():
        assert found.flat is not None and found.dark is not None and found.dark.level.shape == (200, 300)
        assert np.abs(found.flat.gain - 1).max() < 0.02 and found.colour is None


def test_lights_file_is_like_the_studios_and_names_its_sources(folders, calibrated):
    found = json.loads((calibrated / "lights.json").read_text())
    studio = json.loads((folders["board"] / "lights.json").read_text())
    assert set(studio) <= set(found)
    for entry, nominal in zip(found["lights"], studio["lights"], strict=True):
        assert set(nominal) <= set(entry)
        if entry["role"] == "flash":
            assert entry["position_mm"] == nominal["position_mm"] and entry["position_from"] == "rig file"
            assert entry["intensity_from"] == "card"
            assert entry["intensity_rgb"][1] == pytest.approx(nominal["intensity_rgb"][1], rel=0.25)


def test_report_tells_warnings_and_figures(folders, calibrated):
    text = (calibrated / "report.html").read_text()
    assert "no sphere take" in text and "Flat fields" in text and text.count("<img") >= 5
    assert "<script" not in text


def test_calibrated_cameras_are_not_replaced_by_mistake(folders, calibrated, tmp_path):
    with pytest.raises(UserError, match="--force"):
        calibrate(folders["board"], out=calibrated)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        calibrate(folders["board"], out=tmp_path)
    with pytest.raises(UserError, match="no takes given"):
        calibrate(out=tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        calibrate(tmp_path / "none", out=tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("view left2: trouble")])
def test_an_interrupted_run_leaves_nothing_half_written(folders, calibrated, tmp_path, monkeypatch, error):
    """Struck at the last moment, when all but the report is written; a new folder does not appear, an old one stays."""
    before = contents(calibrated)

    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr("mesoface.flows.calibrate_command.write_calibration_report", interrupted)
    for out in (calibrated, tmp_path / "new"):
        if out is not calibrated:
            (tmp_path / "new").mkdir()
            (tmp_path / "new/calibration.json").write_bytes(before["calibration.json"])
        with pytest.raises((KeyboardInterrupt, UserError)):
            calibrate(folders["dark"], out=out)
        assert not list(out.parent.glob(".*"))
    assert contents(calibrated) == before
    assert list(contents(tmp_path / "new")) == ["calibration.json"]


def test_a_folder_in_the_making_appears_at_once(tmp_path):
    out = tmp_path / "a" / "b"
    with folder_in_the_making(out) as making:
        (making / "sub").mkdir()
        (making / "sub/one").write_text("1")
        assert not out.exists() and making.parent == out.parent
    assert contents(out) == {"sub/one": b"1"}
    with pytest.raises(KeyError), folder_in_the_making(out) as making:
        (making / "two").write_text("2")
        raise KeyError
    with folder_in_the_making(out, last=("sub/one",)) as making:
        (making / "sub").mkdir()
        (making / "sub/one").write_text("11")
        (making / "three").write_text("3")
    assert contents(out) == {"sub/one": b"11", "three": b"3"} and not list(out.parent.glob(".*"))


def test_cameras_of_another_rig_are_not_mixed_in(folders, calibrated, tmp_path):
    content = json.loads((calibrated / "calibration.json").read_text())
    content["cameras"]["left2"]["serial"] = "000000000001"
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"view left2 was calibrated with body 000000000001"):
        calibrate(folders["flat"], out=tmp_path)


def test_a_take_of_a_person_or_an_empty_one_is_refused(tmp_path):
    with new_take(tmp_path) as take, pytest.raises(UserError, match=r"a take of kind scan.*board, sphere"):
        read_calibration_take(take.folder)
    with new_take(tmp_path, kind="board", subject="calibration", expression="board") as take:
        with pytest.raises(UserError, match="no images yet"):
            read_calibration_take(take.folder)


def test_a_corrected_rig_file_renames_bodies_and_lamps(folders):
    rig = read_calibration_take(folders["flat"]).rig
    content = rig.model_dump()
    first, last = content["cameras"][0], content["cameras"][2]
    first["serial"], last["serial"] = last["serial"], first["serial"]
    one, two = content["lights"][0], content["lights"][1]
    one["channel"], two["channel"] = two["channel"], one["channel"]
    take = read_calibration_take(folders["flat"], Rig.model_validate(content))
    plain = read_calibration_take(folders["flat"])
    swapped = {"left2": "right2", "right2": "left2", "centre": "centre"}
    lamps = {one["name"]: two["name"], two["name"]: one["name"]}
    for before, after in zip(plain.shots, take.shots, strict=True):
        assert after.camera == swapped[before.camera] and after.stem == before.stem
        assert after.lights == tuple(lamps.get(name, name) for name in before.lights)
        assert np.array_equal(plain.linear(before), take.linear(after))
    content["cameras"][0]["serial"] = "999999999999"
    with pytest.raises(UserError, match="rig that shot this take"):
        read_calibration_take(folders["flat"], Rig.model_validate(content))


def test_folders_of_other_things_are_refused(tmp_path, folders):
    with pytest.raises(UserError, match="is no take"):
        read_calibration_take(tmp_path)
    scan = json.loads((folders["dark"] / "scan.json").read_text())
    del scan["content"]["calibration"]
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    with pytest.raises(UserError, match="rendered scan"):
        read_calibration_take(tmp_path)
