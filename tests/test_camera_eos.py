"""Camera workers against simulated EOS bodies: settings, faults, and every way of losing a camera in the middle."""

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from sim_camera_process import FOLDER, SimCameraProcess, address, frame_bytes, open_camera, write

from mesoface.capture.camera import Camera
from mesoface.capture.camera_messages import CameraError, CardFile
from mesoface.capture.rig_models import Exposure
from mesoface.capture.sim_camera_types import SimCameraOptions
from mesoface.capture.sim_faults import Fault

pytest.importorskip("gphoto2")
RAW_BYTES = 2_500_000
EXPOSURE = Exposure(iso=100, aperture=8, shutter_s=0.1)
SERIALS = tuple(f"06303400000{i}" for i in range(5))
ISO, DRIVE_MODE, CAPTURE_DESTINATION = 0xD103, 0xD106, 0xD11C
GET_EVENT, AF_CANCEL = 0x9116, 0x9160


@pytest.fixture(scope="module", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Test runs side by side use the same serial numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="module")
def bodies() -> Iterator[SimCameraProcess]:
    options = [
        SimCameraOptions(
            f"cam{i}",
            serial,
            address(i),
            port=0,
            speed=4,
            shutter_lag_s=0.06,
            clock_offset_s=75.0 * (i == 1),
            battery_percent=50,
            free_shots=6 if i == 2 else 500,
            focus_manual=i != 3,
        )
        for i, serial in enumerate(SERIALS)
    ]
    process = SimCameraProcess(options, RAW_BYTES)
    yield process
    process.close()


@pytest.fixture(autouse=True)
def _sound_bodies(bodies: SimCameraProcess) -> Iterator[None]:
    yield
    for index in range(len(SERIALS)):
        bodies.call(index, "clear_faults")


@pytest.fixture(scope="module")
def _first(bodies: SimCameraProcess) -> Iterator[Camera]:
    with ready(bodies) as camera:
        yield camera


@pytest.fixture
def camera(_first: Camera) -> Camera:
    """The first body, connected and set up; tests may lose it."""
    if not _first.alive:
        _first.reconnect()
    _first.apply(EXPOSURE)
    _first.wait_files(0, monotonic() + 0.05)
    return _first


def ready(bodies: SimCameraProcess, index: int = 0) -> Camera:
    camera = Camera.connect(bodies.ports[index], SERIALS[index])
    camera.apply(EXPOSURE)
    return camera


def shoot(camera: Camera) -> CardFile:
    camera.press()
    (file,) = camera.wait_files(1, monotonic() + 2)
    return file


def content(file: CardFile, camera: int = 0) -> bytes:
    """What the simulated world put into a file, by its number on the card."""
    return frame_bytes(f"cam{camera}", int(file.name[4:8]), "CR2", RAW_BYTES)


# Settings


def test_settings(bodies: SimCameraProcess, camera: Camera):
    labels = camera.apply(Exposure(iso=400, aperture=11, shutter_s=1 / 160, white_balance="Daylight"))
    assert labels["iso"] == "400" and labels["aperture"] == "11" and labels["shutter"] == "1/160"
    assert labels["format"] == "RAW" and labels["target"] == "Memory card" and labels["white_balance"] == "Daylight"
    assert labels["exposure_mode"] == "Manual" and labels["drive_mode"] == "Single" and labels["power_off"] == "0"
    shoot(camera)
    settings = bodies.get(0, "exposures")[-1].settings
    assert (settings.iso, settings.aperture, settings.image_format) == (400, 11, "RAW")
    assert settings.shutter_s == pytest.approx(1 / 160, rel=0.02)


def test_raw_and_jpeg(camera: Camera, tmp_path: Path):
    assert camera.apply(EXPOSURE.model_copy(update={"image_format": "RAW+JPEG"}))["format"] == "RAW + L"
    camera.press()
    files = camera.wait_files(2, monotonic() + 2)
    assert [Path(file.name).suffix for file in files] == [".CR2", ".JPG"]
    assert Path(files[0].name).stem == Path(files[1].name).stem


@pytest.mark.parametrize("kind", ["denied_setting", "ignored_setting"])
def test_refused_and_ignored_settings_are_noticed(bodies: SimCameraProcess, camera: Camera, kind):
    bodies.call(0, "inject", Fault(kind, property=ISO, times=None))
    with pytest.raises(CameraError, match="iso") as caught:
        camera.apply(Exposure(iso=800, aperture=8, shutter_s=0.1))
    assert caught.value.kind == ("denied" if kind == "denied_setting" else "setting")
    bodies.call(0, "clear_faults")
    assert camera.apply(Exposure(iso=800, aperture=8, shutter_s=0.1))["iso"] == "800"


@pytest.mark.parametrize("kind", ["denied_setting", "ignored_setting"])
def test_photographs_that_stay_in_the_camera_are_noticed(bodies: SimCameraProcess, kind):
    other = open_camera(bodies.ports[4])  # another program leaves the body set to its own memory
    write(other, capturetarget="Internal RAM")
    bodies.call(4, "inject", Fault("drop", operation=AF_CANCEL))
    with pytest.raises(Exception, match=r"I/O|Unspecified"):
        other.exit()
    # libgphoto2 swallows the refusal to go back to the card and says "Memory card" all the same.
    bodies.call(4, "inject", Fault(kind, property=CAPTURE_DESTINATION, times=None))
    with Camera.connect(bodies.ports[4], SERIALS[4]) as camera:
        with pytest.raises(CameraError, match="card") as caught:
            camera.apply(EXPOSURE)
            shoot(camera)
        assert caught.value.kind == ("denied" if kind == "denied_setting" else "setting")


def test_value_that_is_no_choice(camera: Camera):
    with pytest.raises(CameraError, match=r'no choice of iso means ISO 125; found "Auto", "100"'):
        camera.apply(Exposure(iso=125, aperture=8, shutter_s=0.1))


def test_drive_mode_that_cannot_be_had(bodies: SimCameraProcess):
    # Not among those always required, but a body that bursts would take photographs nobody asked for.
    other = open_camera(bodies.ports[4])
    write(other, drivemode="Continuous")
    other.exit()
    bodies.call(4, "inject", Fault("ignored_setting", property=DRIVE_MODE, times=None))
    with Camera.connect(bodies.ports[4]) as body:
        with pytest.raises(CameraError, match='drivemode is "Continuous", expected Single: set the body') as caught:
            body.apply(EXPOSURE)
        assert caught.value.kind == "setting"
        bodies.call(4, "clear_faults")
        assert body.apply(EXPOSURE)["drive_mode"] == "Single"


def test_preflight(bodies: SimCameraProcess, camera: Camera):
    status = camera.preflight()
    assert (status.battery_percent, status.focus, status.exposure_mode) == (50, "Manual", "Manual")
    assert status.lens == "EF50mm f/1.8 STM" and status.free_bytes is not None and status.free_bytes > 1e9
    assert status.clock_offset_s == pytest.approx(0, abs=1.5)
    with ready(bodies, 1) as late:
        assert late.preflight().clock_offset_s == pytest.approx(75, abs=1.5)
    with ready(bodies, 3) as autofocus:
        assert any("lens to MF" in note for note in autofocus.setting_notes)
        assert autofocus.preflight().focus != "Manual"
    with ready(bodies, 2) as small:
        assert small.preflight().shots_left in range(7)


# Releasing


def test_bodies_release_at_one_instant(bodies: SimCameraProcess):
    which = (1, 2, 3, 4)
    skews, lates = [], []
    with ThreadPoolExecutor(4) as pool:
        cameras = list(pool.map(lambda i: ready(bodies, i), which))
        for _ in range(3):
            before = [len(bodies.get(i, "exposures")) for i in which]
            at_s = monotonic() + 0.1
            list(pool.map(Camera.press, cameras, [at_s] * len(cameras)))
            list(pool.map(lambda camera: camera.wait_files(1, monotonic() + 2), cameras))
            pressed = [bodies.get(i, "exposures")[n].pressed_s for i, n in zip(which, before, strict=True)]
            skews.append(max(pressed) - min(pressed))
            lates.append(min(pressed) - at_s)
        list(pool.map(Camera.close, cameras))
    assert min(lates) > 0
    assert sorted(skews)[0] < 0.02  # the best of three: other programs of the machine may hold one up


def test_busy_body_is_tried_again(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("busy", times=3))
    assert camera.press().retries == 3
    camera.wait_files(1, monotonic() + 2)
    bodies.call(0, "inject", Fault("busy", times=None))
    started_s = monotonic()
    with pytest.raises(CameraError) as caught:
        camera.press(busy_s=0.3)
    assert caught.value.kind == "busy" and monotonic() - started_s < 0.6 and camera.alive


def test_refusals_are_told_apart(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("shutter_failure"))
    with pytest.raises(CameraError, match="refuses to release") as caught:
        camera.press()
    assert caught.value.kind == "failed" and camera.alive
    shoot(camera)
    with ready(bodies, 2) as small:
        while small.preflight().shots_left:
            shoot(small)
        with pytest.raises(CameraError, match="memory card is full") as caught:
            small.press()
        assert caught.value.kind == "card_full" and small.alive


def test_release_without_exposure(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("no_exposure"))
    camera.press()
    with pytest.raises(CameraError, match="0 of 1") as caught:
        camera.wait_files(1, monotonic() + 0.5)
    assert caught.value.kind == "timeout" and caught.value.files == ()
    shoot(camera)


def test_second_exposure_of_one_press_comes_to_light(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("duplicate_trigger"))
    files = [shoot(camera)]
    press = camera.press()  # the body is still busy with the second exposure
    files += [*press.stray, *camera.wait_files(1, monotonic() + 2), *camera.wait_files(0, monotonic() + 0.3)]
    numbers = [int(file.name[4:8]) for file in files]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2] and press.retries > 0


def test_photographs_nobody_waited_for_are_strays(camera: Camera):
    camera.press()
    time.sleep(0.8)  # until the body has stored it, busy machine or not
    press = camera.press()
    (second,) = camera.wait_files(1, monotonic() + 2)
    assert len(press.stray) == 1 and press.stray[0].name < second.name


def test_stray_outlives_a_failed_release(bodies: SimCameraProcess, camera: Camera):
    camera.press()
    time.sleep(0.8)
    bodies.call(0, "inject", Fault("shutter_failure"))
    with pytest.raises(CameraError):
        camera.press()
    (stray,) = camera.wait_files(0, monotonic() + 0.05)
    assert stray.name == bodies.get(0, "card")[-1].name


# Losing the camera


def test_dropped_at_the_release(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("drop", operation="release"))
    with pytest.raises(CameraError) as caught:
        camera.press()
    assert caught.value.kind == "lost" and not camera.alive
    camera.reconnect()
    shoot(camera)


def test_dropped_while_waiting_finds_the_photograph_after_reconnecting(bodies: SimCameraProcess, camera: Camera):
    camera.press()
    bodies.call(0, "inject", Fault("drop", operation=GET_EVENT))
    with pytest.raises(CameraError) as caught:
        camera.wait_files(1, monotonic() + 2)
    assert caught.value.kind == "lost"
    time.sleep(0.1)
    camera.reconnect()
    started_s = monotonic()
    (file,) = camera.wait_files(1, started_s + 2)
    assert file.via == "listing" and monotonic() - started_s < 0.5
    assert file.name == bodies.get(0, "card")[-1].name


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_interrupted_download(bodies: SimCameraProcess, camera: Camera, tmp_path: Path, kind):
    file = shoot(camera)
    bodies.call(0, "inject", Fault(kind, at_byte=2_000_000))
    with pytest.raises(CameraError) as caught:
        camera.download(file, tmp_path / "a.cr2")
    assert caught.value.kind in ("lost", "truncated") and list(tmp_path.iterdir()) == []
    camera.reconnect()
    camera.download(file, tmp_path / "a.cr2")
    assert (tmp_path / "a.cr2").read_bytes() == content(file)


def test_stalled_download_is_killed_and_repeated(bodies: SimCameraProcess, camera: Camera, tmp_path: Path):
    file = shoot(camera)
    bodies.call(0, "inject", Fault("stall", at_byte=1_500_000))
    started_s = monotonic()
    with pytest.raises(CameraError, match="did not answer within") as caught:
        camera.download(file, tmp_path / "a.cr2", stall_s=0.6)
    assert caught.value.kind == "timeout" and not camera.alive and monotonic() - started_s < 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["a.cr2.part"]
    camera.reconnect()
    camera.download(file, tmp_path / "a.cr2")
    assert (tmp_path / "a.cr2").read_bytes() == content(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.cr2"]


def test_worker_killed_in_the_middle_of_a_download(bodies: SimCameraProcess, camera: Camera, tmp_path: Path):
    file = shoot(camera)
    bodies.call(0, "inject", Fault("stall", at_byte=1_500_000))
    assert camera.pid is not None
    killer = threading.Timer(0.3, os.kill, (camera.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(CameraError, match="SIGKILL") as caught:
        camera.download(file, tmp_path / "a.cr2")
    killer.join()
    assert caught.value.kind == "lost" and not (tmp_path / "a.cr2").exists()
    bodies.call(0, "clear_faults")
    camera.reconnect()
    camera.download(file, tmp_path / "a.cr2")
    assert (tmp_path / "a.cr2").read_bytes() == content(file)


def test_kill_from_another_thread(camera: Camera):
    threading.Timer(0.2, camera.kill).start()
    started_s = monotonic()
    with pytest.raises(CameraError) as caught:
        camera.wait_files(1, started_s + 5)
    assert caught.value.kind == "lost" and monotonic() - started_s < 1 and not camera.alive


def test_frozen_body(bodies: SimCameraProcess, camera: Camera):
    bodies.call(0, "inject", Fault("freeze"))
    with pytest.raises(CameraError) as caught:
        camera.wait_files(1, monotonic() + 0.2, grace_s=0.5)
    assert caught.value.kind == "timeout" and not camera.alive
    started_s = monotonic()
    with pytest.raises(CameraError) as caught:
        camera.reconnect(timeout_s=1)
    assert caught.value.kind in ("timeout", "not_found") and monotonic() - started_s < 3
    bodies.call(0, "clear_faults")
    camera.reconnect()
    shoot(camera)


def test_another_body_at_the_address(bodies: SimCameraProcess, camera: Camera):
    camera.kill()
    bodies.call(0, "inject", Fault("wrong_serial", serial="999999999999"))
    with pytest.raises(CameraError, match="999999999999") as caught:
        camera.reconnect()
    assert caught.value.kind == "wrong_camera" and not camera.alive


def test_lost_event_is_made_up_for_by_the_listing(bodies: SimCameraProcess, camera: Camera):
    camera.press()
    time.sleep(0.2)
    camera.list_files()  # begins a new session: what was pending in the old one is gone
    (file,) = camera.wait_files(1, monotonic() + 1)
    assert file.via == "listing" and file.name == bodies.get(0, "card")[-1].name
    assert shoot(camera).via == "event"


def test_listing_and_deleting(bodies: SimCameraProcess, camera: Camera):
    file = shoot(camera)
    card = {entry.name: entry.bytes for entry in bodies.get(0, "card")}
    assert {listed.name: listed.bytes for listed in camera.list_files()} == card
    assert file.folder == FOLDER and file in camera.list_files()
    camera.delete(file)
    assert file not in camera.list_files()
    assert file.name not in [entry.name for entry in bodies.get(0, "card")]


def test_disk_full_leaves_the_camera_in_peace(camera: Camera, tmp_path: Path):
    file = shoot(camera)
    (tmp_path / "a.cr2").write_bytes(b"other")
    with pytest.raises(CameraError, match="not overwritten") as caught:
        camera.download(file, tmp_path / "a.cr2")
    assert caught.value.kind == "io" and camera.alive
    camera.download(file, tmp_path / "b.cr2")
    assert (tmp_path / "b.cr2").read_bytes() == content(file)


def test_body_that_refuses_a_second_host():
    # PTP/IP's answer of a camera that is taken: init fail (type 5).
    def refuse() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(struct.pack("<III", 12, 5, 1))
            connection.recv(1000)

    with socket.create_server((address(50), 0)) as server:
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        host, port = server.getsockname()
        with pytest.raises(CameraError) as caught:
            Camera.connect(f"ptpip:{host}:{port}:{port}", timeout_s=8)
        thread.join(10)
    assert caught.value.kind == "failed" and "another program may hold it" in str(caught.value)
