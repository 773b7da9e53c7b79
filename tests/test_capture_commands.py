"""`mesoface capture`, `mesoface take ...`, `mesoface rig cameras` and `fire`, as an operator runs them."""

import csv
import json
import subprocess

import numpy as np
import pytest
import tifffile
from session_fixtures import start_rig

from mesoface.capture.calibration_plan import calibration_plan
from mesoface.capture.rig import load_rig
from mesoface.capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig
from mesoface.capture.take import read_take, takes_in
from mesoface.flows.cli import main


@pytest.fixture(scope="module")
def served(tmp_path_factory, tiny_scan):
    """A simulated rig that --rig virtual finds, as `mesoface studio serve` runs it."""
    with start_rig(tmp_path_factory.mktemp("rig"), tiny_scan) as rig:
        rig.publish()
        yield rig
        rig.withdraw()


@pytest.fixture(scope="module")
def taken(tmp_path_factory, served):
    """The folder of an accepted take."""
    sessions = tmp_path_factory.mktemp("work") / "sessions"
    command = ["capture", "--rig", "virtual", "--subject", "S012", "--expression", "smile", "--consent", "C-1"]
    assert main([*command, "--sessions", str(sessions)]) == 0
    (folder,) = takes_in(sessions)
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Everything printed, without line breaks."""
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


def test_capture_leaves_a_judged_take_with_a_contact_sheet(taken):
    quality = json.loads((taken / "data/quality.json").read_text())
    assert quality["verdict"] == "accept"
    page = (taken / "data/contact-sheet.html").read_text()
    assert "S012" in page and "flash9" in page and "http" not in page.replace("http-equiv", "")
    manifest, _, state = read_take(taken)
    assert manifest.consent == "C-1" and state.complete and len(state.files) == 24


def test_list_and_show(taken, capsys):
    assert main(["take", "list", str(taken.parent)]) == 0
    assert "complete" in (text := said(capsys)) and "24/24" in text and "accept" in text
    assert main(["take", "show", str(taken)]) == 0
    assert "05_flash1_parallel" in (text := said(capsys)) and "063034018213" in text


def test_verify_finds_the_take_whole(taken, capsys):
    assert main(["take", "verify", str(taken)]) == 0
    assert "complete: 24 of 24 frames" in said(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subject", "Anna", "--expression", "smile"], "pseudonym"),
        (["--subject", "../S012", "--expression", "smile"], "pseudonym"),
        (["--subject", "S012", "--expression", "../x"], "expression"),
        (["--subject", "S012"], "expression"),
        (["--calibration", "board", "--subject", "S012"], "calibration take has no subject"),
        (["--subject", "S012", "--expression", "smile", "--consent", "a\nb"], "consent"),
    ],
)
def test_bad_names_are_refused_before_anything_is_made(served, tmp_path, capsys, arguments, message):
    assert main(["capture", "--rig", "virtual", "--sessions", str(tmp_path / "s"), *arguments]) == 2
    assert message in said(capsys) and not (tmp_path / "s").exists()


def test_rig_cameras_and_fire(served, capsys):
    assert main(["rig", "cameras", "virtual"]) == 0
    assert "all 5 cameras of rig studio are there" in said(capsys)
    assert main(["rig", "fire", "virtual", "--light", "flash3"]) == 0
    assert "flash3 fired" in said(capsys)
    served.command("unplug_sync", camera="centre")
    served.command("clear_faults")


def test_missing_camera_is_named(served, capsys):
    served.command("camera_fault", camera="left2", fault={"kind": "dead"})
    try:
        assert main(["rig", "cameras", "virtual"]) == 1
        assert "left2" in (text := said(capsys)) and "063034021847" in text
    finally:
        served.command("clear_faults")


def test_steps_of_a_pair_are_shot_again(taken, capsys):
    assert main(["take", "reshoot", str(taken), "--steps", "4", "--virtual"]) == 0
    assert (taken / "data/raw/07_flash2_parallel_r1.cr2").is_file()
    assert (taken / "data/raw/08_flash2_cross_r1.cr2").is_file()
    assert main(["take", "reshoot", str(taken), "--steps", "99", "--virtual"]) == 2
    assert "no step 99" in said(capsys)
    assert main(["take", "reshoot", str(taken), "--steps", "x", "--virtual"]) == 2
    assert main(["take", "resume", str(taken), "--virtual"]) == 0


@pytest.mark.parametrize("layout", ["flat", "rti", "colmap"])
def test_export(taken, tmp_path, layout, tiny_scan):
    out = tmp_path / layout
    assert main(["take", "export", str(taken), "--out", str(out), "--layout", layout]) == 0
    if layout == "flat":
        rows = list(csv.DictReader((out / "frames.csv").open()))
        assert len(rows) == 24 and rows[5]["lights"] == "flash1" and rows[5]["polariser"] == "P"
        image = tifffile.imread(out / rows[5]["file"])
        assert image.dtype == np.uint16 and image.shape == (160, 240, 3)
    elif layout == "rti":
        count, *lines = (out / "lights.lp").read_text().splitlines()
        assert int(count) == len(lines) == 9
        directions = {line.split()[0]: np.array(line.split()[1:], float) for line in lines}
        for name, direction in directions.items():
            assert (out / name).is_file() and np.linalg.norm(direction) == pytest.approx(1, abs=1e-5)
        assert directions["flash1.jpg"][1] > 0.5 and abs(directions["flash1.jpg"][0]) < 1e-6  # above, seen upright
        assert (
            directions["flash4.jpg"][0] > 0.3 and directions["flash4.jpg"][2] > 0.8
        )  # the subject's left: image right
    else:
        assert len(list((out / "images").glob("*.png"))) == 5 and (out / "sparse/cameras.txt").is_file()
    assert main(["take", "export", str(taken), "--out", str(out), "--layout", layout]) == 2


def test_develop_skips_what_is_up_to_date(taken, tmp_path, capsys):
    assert main(["take", "develop", str(taken), "--out", str(tmp_path)]) == 0
    assert "24 images" in (text := said(capsys)) and " 0 of them were up to date" in text
    assert main(["take", "develop", str(taken), "--out", str(tmp_path)]) == 0
    assert "24 of them were up to date" in said(capsys)


def test_closing_is_final_and_open_to_other_tools(taken, capsys):
    bagit = pytest.importorskip("bagit")
    assert main(["take", "close", str(taken)]) == 0
    bagit.Bag(str(taken)).validate()
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "manifest-sha256.txt"], cwd=taken, capture_output=True)
    assert checked.returncode == 0
    assert main(["take", "verify", str(taken)]) == 0
    assert "closed: 24 of 24" in said(capsys)
    assert main(["take", "close", str(taken)]) == 0
    assert main(["take", "reshoot", str(taken), "--steps", "1", "--virtual"]) == 2
    assert "never changed" in said(capsys)


def test_calibration_take_is_guided_and_complete(tmp_path, served, capsys):
    from mesoface.reconstruct.targets import render_calibration
    from mesoface.reconstruct.targets_scene import TargetOptions

    rig = load_rig(served.rig_path)
    folder = tmp_path / "chart"
    render_calibration(rig, "chart", TargetOptions(width_px=240, height_px=160), folder)
    plan = calibration_plan(rig, "chart").shots
    served.withdraw()
    try:
        studio = SimulatedStudio(served.rig_path, (RenderedFolder(folder, plan),))
        with VirtualRig.start(studio) as charts:
            charts.publish()
            command = ["capture", "--rig", "virtual", "--calibration", "chart", "--sessions", str(tmp_path / "s")]
            assert main(command) == 0
            charts.withdraw()
    finally:
        served.publish()
    (take,) = takes_in(tmp_path / "s")
    manifest, _, state = read_take(take)
    assert manifest.kind == "chart" and state.complete and take.name.startswith("calibration_chart_")
    text = said(capsys)
    assert calibration_plan(rig, "chart").placements[0].text[:30] in text
    for shot in plan:
        image = state.image(shot.index)
        assert image is not None and image.record["box"]["light_mask"] == shot.light_mask


def test_serving_twice_is_refused(served, capsys):
    assert main(["studio", "serve"]) == 2
    assert "is running already" in said(capsys)
