"""Simulated cameras as the stock camera driver sees them: identity, settings, exposures, files."""

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sim_camera_process import (
    FOLDER,
    JPEG_BYTES,
    SimCameraProcess,
    address,
    connected,
    download,
    frame_bytes,
    new_files,
    open_camera,
    press,
    read,
    standard_input_kept,
    write,
)

from mesoface.capture.sim_camera_types import SimCameraOptions

gp: Any = pytest.importorskip("gphoto2")
SERIALS = ("063034018213", "063034021847", "063034022590")
RAW_BYTES = 2_500_000
NORMAL, SMALL_CARD, PACED = range(3)
ERROR, BUSY = -1, -110


@pytest.fixture(scope="module")
def cameras() -> Iterator[SimCameraProcess]:
    options = (
        SimCameraOptions("centre", SERIALS[NORMAL], address(0), port=0, clock_offset_s=90.0),
        SimCameraOptions("left", SERIALS[SMALL_CARD], address(1), port=0, free_shots=2, battery_percent=50, speed=10),
        SimCameraOptions("right", SERIALS[PACED], address(2), port=0, bytes_per_s=10e6, focus_manual=False),
    )
    process = SimCameraProcess(options, RAW_BYTES)
    yield process
    process.close()


def test_each_body_reports_its_own_serial(cameras: SimCameraProcess):
    for port, serial in zip(cameras.ports, SERIALS, strict=True):
        with connected(port) as camera:
            assert read(camera, "serialnumber") == serial
            assert read(camera, "eosserialnumber") == serial
            assert read(camera, "cameramodel") == "Canon EOS 760D"


def test_every_setting_of_a_take_is_written_and_read_back(cameras: SimCameraProcess):
    wanted = {
        "iso": "400",
        "aperture": "11",
        "shutterspeed": "1/10",
        "imageformat": "RAW",
        "drivemode": "Continuous",
        "autoexposuremode": "Manual",
        "whitebalance": "Flash",
        "colorspace": "AdobeRGB",
        "reviewtime": "None",
        "autopoweroff": "0",
        "capturetarget": "Memory card",
    }
    back = dict(iso="100", drivemode="Single", whitebalance="Auto", colorspace="sRGB", imageformat="RAW + L")
    with connected(cameras.ports[NORMAL]) as camera:
        assert read(camera, "imageformat") == "RAW + L"
        write(camera, **wanted)
        assert {name: read(camera, name) for name in wanted} == wanted
    with connected(cameras.ports[NORMAL]) as camera:  # the body keeps its settings from host to host
        assert {name: read(camera, name) for name in wanted} == wanted
        write(camera, **back)
        assert {name: read(camera, name) for name in back} == back


def test_choices_are_the_marks_of_the_dials(cameras: SimCameraProcess):
    with connected(cameras.ports[NORMAL]) as camera:
        shutters, apertures = (list(camera.get_single_config(n).get_choices()) for n in ("shutterspeed", "aperture"))
        isos = list(camera.get_single_config("iso").get_choices())
    assert (shutters[0], shutters[-1], len(shutters)) == ("30", "1/4000", 52)
    assert {"1/8", "1/10", "1/15", "1/20", "1/25", "1/60", "1/125", "1/200"} <= set(shutters)
    assert (apertures[0], apertures[-1]) == ("1.8", "22") and {"8", "11", "5.6"} <= set(apertures)
    assert isos == ["Auto", "100", "200", "400", "800", "1600", "3200", "6400", "12800"]


def test_state_for_a_preflight_check(cameras: SimCameraProcess):
    with connected(cameras.ports[NORMAL]) as camera:
        assert read(camera, "datetimeutc") - time.time() == pytest.approx(90, abs=3)
        assert (read(camera, "batterylevel"), read(camera, "focusmode")) == ("100%", "Manual")
        assert read(camera, "lensname") == "EF50mm f/1.8 STM"
        assert int(read(camera, "availableshots")) == 8561 - len({f.exposure for f in cameras.get(NORMAL, "card")})
        assert camera.get_storageinfo()[0].freekbytes > 200e6
    with connected(cameras.ports[SMALL_CARD]) as camera:
        assert read(camera, "batterylevel") == "50%"
    with connected(cameras.ports[PACED]) as camera:
        assert read(camera, "focusmode") == "One Shot"


def test_one_press_makes_one_exposure_in_real_time(cameras: SimCameraProcess):
    before, edges_before = len(cameras.get(NORMAL, "exposures")), len(cameras.edges())
    with connected(cameras.ports[NORMAL], imageformat="RAW", shutterspeed="1/10", iso="200", aperture="11") as camera:
        pressed_s = time.monotonic()
        press(camera)
        names = new_files(camera, 1)
        took_s = time.monotonic() - pressed_s
        assert not new_files(camera, 1, timeout_s=0.3)
        (made,) = cameras.get(NORMAL, "exposures")[before:]
        data = download(camera, names[0])
    assert made.opened_s - pressed_s == pytest.approx(0.06, abs=0.04)
    assert made.closed_s - made.opened_s == pytest.approx(0.1, abs=0.03)
    assert 0.199 < took_s < 0.35  # 1 / fps, and what the driver needs
    assert (made.settings.iso, made.settings.aperture, made.settings.shutter_s) == (200, 11.0, 0.1)
    assert cameras.edges()[edges_before:] == [("centre", made.opened_s)]
    assert names == [f"IMG_{made.index:04d}.CR2"]
    assert data == frame_bytes("centre", made.index, "CR2", RAW_BYTES)


def test_raw_and_jpeg_of_one_exposure_raw_first(cameras: SimCameraProcess):
    with connected(cameras.ports[NORMAL], imageformat="RAW + L", shutterspeed="1/125") as camera:
        press(camera)
        names = new_files(camera, 2)
        index = cameras.get(NORMAL, "exposures")[-1].index
        assert names == [f"IMG_{index:04d}.CR2", f"IMG_{index:04d}.JPG"]
        assert download(camera, names[1]) == frame_bytes("centre", index, "JPG", JPEG_BYTES)
        assert abs(camera.file_get_info(FOLDER, names[0]).file.mtime - time.time() - 90) < 5


def test_trigger_capture_and_busy_body(cameras: SimCameraProcess):
    with connected(cameras.ports[NORMAL], imageformat="RAW", shutterspeed="0.5") as camera:
        camera.trigger_capture()
        with pytest.raises(gp.GPhoto2Error) as refusal:
            camera.trigger_capture()
        assert refusal.value.code == BUSY
        assert len(new_files(camera, 1)) == 1
        write(camera, shutterspeed="1/125")
        camera.trigger_capture()
        assert len(new_files(camera, 1)) == 1


def test_continuous_drive_keeps_its_rhythm(cameras: SimCameraProcess):
    before = len(cameras.get(NORMAL, "exposures"))
    with connected(cameras.ports[NORMAL], imageformat="RAW", shutterspeed="1/10", drivemode="Continuous") as camera:
        press(camera, held_s=0.9)
        assert len(new_files(camera, 5)) == 5
        assert not new_files(camera, 1, timeout_s=0.4)
        write(camera, drivemode="Single")
    opened_s = [made.opened_s for made in cameras.get(NORMAL, "exposures")[before:]]
    assert [late - opened_s[0] for late in opened_s] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=0.04)


def test_burst_ends_when_the_host_disappears(cameras: SimCameraProcess):
    before = len(cameras.get(NORMAL, "exposures"))
    with connected(cameras.ports[NORMAL], imageformat="RAW", drivemode="Continuous") as camera:
        write(camera, eosremoterelease="Press Full MF")
        time.sleep(0.3)
    time.sleep(0.5)
    count = len(cameras.get(NORMAL, "exposures"))
    time.sleep(0.5)
    assert before < len(cameras.get(NORMAL, "exposures")) == count
    with connected(cameras.ports[NORMAL], drivemode="Single"):
        pass


def test_internal_memory_target_leaves_the_card_alone(cameras: SimCameraProcess):
    card = cameras.get(NORMAL, "card")
    with connected(cameras.ports[NORMAL], target="Internal RAM", imageformat="RAW") as camera:
        path = camera.capture(gp.GP_CAPTURE_IMAGE)
        index = cameras.get(NORMAL, "exposures")[-1].index
        assert (path.folder, path.name.upper()) == ("/", "CAPT0000.CR2")
        assert download(camera, path.name, path.folder) == frame_bytes("centre", index, "CR2", RAW_BYTES)
    assert cameras.get(NORMAL, "card") == card


def test_full_card_delete_and_speed(cameras: SimCameraProcess):
    with connected(cameras.ports[SMALL_CARD], imageformat="RAW", shutterspeed="1/5") as camera:
        free_kb = camera.get_storageinfo()[0].freekbytes
        for left in (1, 0):
            press(camera)
            (name,) = new_files(camera, 1)
            assert int(read(camera, "availableshots")) == left
        made = cameras.get(SMALL_CARD, "exposures")[-1]
        assert made.closed_s - made.opened_s == pytest.approx(0.02, abs=0.01)  # ten times faster than 1/5
        assert free_kb > 0 and camera.get_storageinfo()[0].freekbytes == 0
        with pytest.raises(gp.GPhoto2Error) as refusal:
            press(camera)
        assert refusal.value.code == ERROR
        write(camera, eosremoterelease="Release")
        camera.file_delete(FOLDER, name)
        assert [file.name for file in cameras.get(SMALL_CARD, "card")] == ["IMG_0001.CR2"]
        press(camera)
        assert new_files(camera, 1) == ["IMG_0003.CR2"]


def test_card_outlives_its_hosts(cameras: SimCameraProcess):
    with connected(cameras.ports[NORMAL], imageformat="RAW") as camera:
        press(camera)
        (name,) = new_files(camera, 1)
    with connected(cameras.ports[NORMAL]) as camera:
        listed = [camera.folder_list_files(FOLDER).get_name(i) for i in range(camera.folder_list_files(FOLDER).count())]
        assert listed == [file.name for file in cameras.get(NORMAL, "card")] and listed[-1] == name
        assert camera.file_get_info(FOLDER, name).file.size == RAW_BYTES
        assert download(camera, name) == cameras.call(NORMAL, "card_data", name)
        press(camera)
        (following,) = new_files(camera, 1)
        assert int(following[4:8]) == int(name[4:8]) + 1


def test_downloads_keep_to_the_bandwidth(cameras: SimCameraProcess):
    with connected(cameras.ports[PACED], imageformat="RAW") as camera:
        press(camera)
        (name,) = new_files(camera, 1)
        start_s = time.monotonic()
        data = download(camera, name)
        assert RAW_BYTES / (time.monotonic() - start_s) == pytest.approx(10e6, rel=0.2)
    assert data == frame_bytes("right", 1, "CR2", RAW_BYTES)


def test_one_host_at_a_time_but_a_dead_one_makes_room(cameras: SimCameraProcess):
    port = cameras.ports[PACED]
    code = "import sys, sim_camera_process as p; c = p.open_camera(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
        with standard_input_kept(), pytest.raises(gp.GPhoto2Error):
            open_camera(port)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with connected(port) as camera:
        assert read(camera, "serialnumber") == SERIALS[PACED]


def test_log_tells_what_was_asked(cameras: SimCameraProcess):
    before = len(cameras.get(NORMAL, "log"))
    with connected(cameras.ports[NORMAL], imageformat="RAW") as camera:
        press(camera)
        new_files(camera, 1)
    log = cameras.get(NORMAL, "log")[before:]
    assert [entry.operation for entry in log[:2]] == [0x1002, 0x1001]
    assert log[-1].operation == 0x1003
    assert [
        (entry.operation, entry.params, entry.response) for entry in log if entry.operation in (0x9128, 0x9129)
    ] == [
        (0x9128, (3, 1), 0x2001),
        (0x9129, (3,), 0x2001),
    ]
    assert all(late.time_s >= early.time_s for early, late in itertools.pairwise(log))
