"""Sessions on the simulated rig: five PTP/IP bodies through libgphoto2, the trigger box on a pty."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from session_fixtures import fast_rig, messages, misfiled, new_take, repair, run, start_rig

from mesoface.capture.dng import mosaic_rggb
from mesoface.capture.errors import UserError
from mesoface.capture.raw import read_raw
from mesoface.capture.session import Connections, Session
from mesoface.capture.session_view import SessionView
from mesoface.capture.sim_rig import VirtualRig
from mesoface.capture.take import open_take, read_take
from mesoface.capture.take_report import verify_take
from mesoface.flows.take_quality import judge_take

REPAIRABLE = {
    "drop at release": {"camera": "centre", "fault": {"kind": "drop", "operation": "release", "nth": 4}},
    "drop in download": {"camera": "centre", "fault": {"kind": "drop", "operation": "download", "nth": 2}},
    "cut transfer": {"camera": "left1", "fault": {"kind": "cut", "operation": "download"}},
    "busy": {"camera": "centre", "fault": {"kind": "busy", "nth": 3, "times": 3}},
    "card full": {"camera": "centre", "fault": {"kind": "card_full", "nth": 6, "times": None}},
    "shutter failure": {"camera": "right2", "fault": {"kind": "shutter_failure"}},
    "duplicated trigger": {"camera": "centre", "fault": {"kind": "duplicate_trigger", "nth": 5}},
    "duplicated trigger of a side body": {"camera": "right1", "fault": {"kind": "duplicate_trigger"}},
    "no exposure": {"camera": "centre", "fault": {"kind": "no_exposure", "nth": 2}},
    "dead body": {"camera": "left2", "fault": {"kind": "dead", "operation": "release"}},
}
BOX = ("missed_edge", "spurious_edge", "wrong_lamp", "out_of_order", "slow_recycle", "dead", "mute", "late_answer")


@pytest.fixture(scope="module")
def rig(tmp_path_factory, tiny_scan):
    """One simulated rig for all tests here; each test leaves it without faults."""
    with start_rig(tmp_path_factory.mktemp("rig"), tiny_scan) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_faults(request):
    yield
    if "rig" in request.fixturenames:
        request.getfixturevalue("rig").command("clear_faults")


def test_a_take_is_complete_right_and_bit_equal(tmp_path, rig, tiny_scan):
    with new_take(tmp_path, rig) as take:
        run(take, rig)
    report = verify_take(take.folder)
    assert report.status == "complete" and report.verified == 24 and report.lines == ()
    assert misfiled(take.folder, rig) == []
    _, loaded, state = read_take(take.folder)
    for shot in state.plan:
        image = state.image(shot.index)
        assert image is not None and image.serial == loaded.camera(shot.camera).serial
        raw = read_raw(take.folder / "data" / image.path)
        assert raw.exif.serial == image.serial
        if shot.kind != "ambient":
            numbers = tifffile.imread(tiny_scan / "images" / f"{shot.stem}.tif")
            np.testing.assert_array_equal(raw.mosaic, mosaic_rggb(numbers).astype(np.float32) - 2048)
            assert image.record["box"]["fired"] and image.record["box"]["light_mask"] == shot.light_mask
    record = state.image(5).record  # pyright: ignore[reportOptionalMemberAccess]
    assert record["settings"]["iso"] == "100" and record["exposed"]["via"] == "event" and record["polariser"] == "P"


@pytest.mark.slow
@pytest.mark.parametrize("name", REPAIRABLE)
def test_camera_faults_cost_no_frame(tmp_path, rig, name):
    rig.command("camera_fault", **REPAIRABLE[name])
    with new_take(tmp_path, rig) as take:
        run(take, rig)
    report = verify_take(take.folder)
    assert report.status == "complete" or report.lines, "an incomplete take says why"
    repair(take.folder, rig)
    assert verify_take(take.folder).status == "complete"
    assert misfiled(take.folder, rig) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOX)
def test_box_faults_cost_no_frame(tmp_path, rig, kind):
    rig.command("box_plug", plugged=True)
    rig.command("power_cycle_box")  # a fault of the line waits until its step is in the log: begin without one
    rig.command("box_fault", fault={"kind": kind, "step": 3})
    with new_take(tmp_path, rig) as take:
        run(take, rig)
    repair(take.folder, rig)
    assert verify_take(take.folder).status == "complete"
    wrong = misfiled(take.folder, rig)
    if wrong:
        # A pulse on the cable within 4 ms before the true one cannot be told apart: that frame is dark, and is found.
        assert kind == "spurious_edge" and len(wrong) == 1
        with open_take(take.folder) as again:
            steps = judge_take(again).steps
            run(again, rig, steps=list(steps))
        assert misfiled(take.folder, rig) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["missed_flash", "weak_flash", "wrong_lamp_silent", "stuck_polariser"])
def test_light_that_the_box_lies_about_is_seen_in_the_images(tmp_path, rig, kind):
    rig.command("power_cycle_box")
    rig.command("box_fault", fault={"kind": kind, "step": 5})
    with new_take(tmp_path, rig) as take:
        run(take, rig)
        assert take.state().complete
        assert misfiled(take.folder, rig) or kind == "weak_flash"
        found = judge_take(take)
        assert found.verdict == "reshoot" and set(found.steps) == {5, 6} and found.reasons
        run(take, rig, steps=list(found.steps))
        again = judge_take(take)
    assert again.verdict == "accept", again.reasons
    assert misfiled(take.folder, rig) == []


@pytest.mark.slow
def test_file_that_is_not_an_image_is_found(tmp_path, rig):
    rig.command("truncate_next", camera="left2")
    with new_take(tmp_path, rig) as take:
        run(take, rig)
        assert take.state().complete  # every byte of the card is on the disk; they are no image
        found = judge_take(take)
        assert found.verdict == "reshoot" and found.steps == (0,)
        assert any("left2" in reason for reason in found.reasons)


def test_duplicated_exposure_is_kept_but_not_filed(tmp_path, rig):
    rig.command("camera_fault", camera="centre", fault={"kind": "duplicate_trigger", "nth": 8})
    with new_take(tmp_path, rig) as take:
        run(take, rig)
    assert verify_take(take.folder).status == "complete" and misfiled(take.folder, rig) == []
    assert len(list((take.folder / "data/unassigned").iterdir())) >= 1


def test_unplugged_sync_cable_ends_the_take_soon_and_in_words(tmp_path, rig):
    rig.command("unplug_sync", camera="centre")
    started = time.monotonic()
    with new_take(tmp_path, rig) as take:
        view = run(take, rig)
    assert time.monotonic() - started < 30
    assert "check the sync cable" in messages(view) and "mend it, then shoot the missing steps" in messages(view)
    assert verify_take(take.folder).status == "incomplete"
    repair(take.folder, rig)
    assert verify_take(take.folder).status == "complete" and misfiled(take.folder, rig) == []


def test_wrong_camera_is_refused_by_name(tmp_path, rig):
    rig.command("camera_fault", camera="right1", fault={"kind": "wrong_serial", "serial": "063099999999"})
    with new_take(tmp_path, rig) as take, pytest.raises(UserError, match=r"missing: right1 .*serial 063034019376"):
        run(take, rig)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "battery_low"}, r"left1: battery at \d+ %"),
        ({"kind": "ignored_setting", "times": None}, "left1: .* is .*, expected"),
        ({"kind": "denied_setting", "times": None}, "left1: .*refuse"),
    ],
)
def test_rig_that_is_not_ready_is_refused(tmp_path, tiny_scan, fault, message):
    with start_rig(tmp_path, tiny_scan) as fresh:  # bodies that are not set up yet
        fresh.command("camera_fault", camera="left1", fault=fault)
        with new_take(tmp_path, fresh) as take, pytest.raises(UserError, match=message):
            run(take, fresh)


def test_missing_box_is_refused(tmp_path, rig):
    nowhere = Connections(rig.connections.cameras, str(tmp_path / "no-box"))
    with new_take(tmp_path, rig) as take, Session(take, nowhere, SessionView()) as session:
        with pytest.raises(UserError, match="trigger box"):
            session.connect()


def test_steps_are_shot_again_in_pairs(tmp_path, rig):
    with new_take(tmp_path, rig) as take:
        run(take, rig)
        before = {file.path for file in take.state().files}
        run(take, rig, steps=[4])
        after = {file.path for file in take.state().files}
        new = sorted(path for path in after - before)
        assert not any(record["event"] == "card" for record in take.log.records), "they are the same cards"
    # a busy machine may need a further attempt, but only of this pair
    shots = [re.sub(r"_r[1-9]\.cr2$", "", path) for path in new]
    assert shots == ["raw/07_flash2_parallel", "raw/08_flash2_cross"] and before < after
    assert verify_take(take.folder).status == "complete" and misfiled(take.folder, rig) == []


def test_nothing_leaves_a_card_unasked_and_only_verified_frames_then(tmp_path, rig):
    with new_take(tmp_path, rig) as take:
        run(take, rig)
        cards = rig.command("cards")
        state = take.state()
        on_cards = {(f["folder"], f["name"]) for files in cards.values() for f in files}
        assert {(f.key.folder, f.key.name) for f in state.files} <= on_cards
        altered = take.data / "raw" / f"{take.plan[3].stem}.cr2"
        altered.write_bytes(b"z" * altered.stat().st_size)
        with Session(take, rig.connections, SessionView()) as session:
            session.connect(for_shooting=False)
            deleted, problems = session.clear_cards()
        assert deleted == 23 and len(problems) == 1 and "its original stays on the card" in problems[0]
        run(take, rig, "resume")
        assert take.state().complete and verify_take(take.folder).status == "complete"


def _child(folder: Path, rig: VirtualRig, mode: str, limit: int = 0) -> "subprocess.Popen[str]":
    """A program run in a process of its own, with a limit on file sizes."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import resource, signal\n"
        "from mesoface.capture.take import open_take\n"
        "from mesoface.capture.sim_rig import VirtualRig\n"
        "from session_fixtures import run\n"
        f"if {limit}:\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"rig = VirtualRig({rig.facts!r}, None, None)\n"
        f"with open_take({str(folder)!r}) as take:\n"
        f"    run(take, rig, {mode!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [2.5, 4.0, 5.5])
def test_killed_program_is_resumed(tmp_path, rig, wait_s):
    with new_take(tmp_path, rig) as take:
        pass
    process = _child(take.folder, rig, "shoot")
    time.sleep(wait_s)
    process.kill()
    process.communicate()
    verified = {file.path: file.sha256 for file in read_take(take.folder)[2].files}
    repair(take.folder, rig)
    assert verify_take(take.folder).status == "complete" and misfiled(take.folder, rig) == []
    assert verified.items() <= {file.path: file.sha256 for file in read_take(take.folder)[2].files}.items()


def test_full_disk_loses_nothing(tmp_path, tiny_scan):
    """Files may not grow beyond 60 kB, so no frame fits; the log does."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with start_rig(tmp_path, tiny_scan) as rig:
        full_disk(tmp_path, rig)


def full_disk(tmp_path: Path, rig: VirtualRig) -> None:
    with new_take(tmp_path, rig) as take:
        pass
    process = _child(take.folder, rig, "shoot", 60_000)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    report = verify_take(take.folder)
    assert report.status == "incomplete" and report.verified == 0
    assert any("still holds 19" in line or "still holds 20" in line for line in report.lines)
    with open_take(take.folder) as again:
        run(again, rig, "resume")
    assert verify_take(take.folder).status == "complete" and misfiled(take.folder, rig) == []


def test_two_programs_on_one_rig(tmp_path, rig):
    with new_take(tmp_path / "one", rig) as first, new_take(tmp_path / "two", rig) as second:
        with Session(first, rig.connections, SessionView()) as session:
            session.connect()
            with pytest.raises(UserError, match=r"(?s)process \d+|another program|in use"):
                run(second, rig)
            session.shoot(first.state().missing_steps())
            session.fetch()
        assert first.state().complete
    assert misfiled(first.folder, rig) == []


def test_worker_killed_while_sending(tmp_path, rig):
    with new_take(tmp_path, rig) as take:
        view = SessionView()
        with Session(take, rig.connections, view) as session:
            session.connect()
            session.shoot(take.state().missing_steps(), fetch=False)
            pid = session.crew.cameras["centre"].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            session.fetch()
        assert take.state().complete
    assert misfiled(take.folder, rig) == []


def test_simulator_says_why_it_does_not_start(tmp_path):
    path = fast_rig(tmp_path / "rig.toml")
    from mesoface.capture.sim_rig import RenderedFolder, SimulatedStudio

    with pytest.raises(UserError, match="does not start"):
        VirtualRig.start(SimulatedStudio(path, (RenderedFolder(tmp_path / "none", ()),)))
