"""Camera workers against libgphoto2's own virtual USB camera, a Nikon D750: a second body, independent of ours."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from mesoface.capture.camera import Camera
from mesoface.capture.camera_find import find_cameras
from mesoface.capture.camera_messages import CameraError
from mesoface.capture.rig_models import Exposure

pytest.importorskip("gphoto2")
PORT = "usb:001,001"
REQUIRE = ("aperture", "shutter", "target")
"""What the virtual camera has of the settings; it lacks ISO and image format."""
EXPOSURE = Exposure(iso=100, aperture=8, shutter_s=0.005)
SLOT = 300_000


class Vusb:
    """The virtual camera's folder; every release serves whatever its one image holds at the time."""

    def __init__(self, folder: Path):
        self.seed = folder / "card" / "seed.jpg"
        self.seed.parent.mkdir(parents=True)
        self.feed(0)
        run = folder / "run"
        run.mkdir()
        self.environment = {"VCAMERADIR": str(self.seed.parent), "XDG_RUNTIME_DIR": str(run)}

    def feed(self, number: int) -> bytes:
        """Put other bytes of the same length before the lens."""
        data = random.Random(number).randbytes(SLOT)
        self.seed.write_bytes(data)
        return data

    def connect(self, serial: str | None = None) -> Camera:
        return Camera.connect(PORT, serial, environment=self.environment)


@pytest.fixture
def vusb(tmp_path: Path) -> Vusb:
    return Vusb(tmp_path)


@pytest.fixture
def camera(vusb: Vusb) -> Iterator[Camera]:
    camera = vusb.connect("0.1")
    camera.apply(EXPOSURE, REQUIRE)
    yield camera
    camera.close()


def shoot(camera: Camera):
    camera.press()
    (file,) = camera.wait_files(1, monotonic() + 3)
    return file


def gone(pid: int, within_s: float = 3.0) -> bool:
    """Whether a process ends in time (a zombie has ended)."""
    end_s = monotonic() + within_s
    while monotonic() < end_s:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_settings_are_read_back_and_absent_ones_told(camera: Camera):
    labels = camera.apply(Exposure(iso=100, aperture=5.6, shutter_s=0.05), REQUIRE)
    assert labels == {"aperture": "f/5.6", "shutter": "0.0500s", "target": "Memory card"}
    assert any(note.startswith("iso: this body has no setting iso") for note in camera.setting_notes)
    status = camera.preflight()
    assert status.battery_percent == 50 and status.free_bytes is not None and status.free_bytes > 500e6
    assert status.clock_offset_s is not None and abs(status.clock_offset_s) < 2


def test_required_settings_that_are_missing(camera: Camera):
    with pytest.raises(CameraError, match="no setting iso") as caught:
        camera.apply(EXPOSURE, (*REQUIRE, "iso"))
    assert caught.value.kind == "setting" and camera.alive


def test_value_that_is_no_choice(camera: Camera):
    with pytest.raises(CameraError, match=r'no choice of shutterspeed means 7 s; found "1.0000s", "0.1000s"') as caught:
        camera.apply(Exposure(iso=100, aperture=8, shutter_s=7), REQUIRE)
    assert caught.value.kind == "setting"
    assert camera.apply(EXPOSURE, REQUIRE)["shutter"] == "0.0050s"  # the worker lives


def test_every_photograph_arrives_as_it_was_taken(vusb: Vusb, camera: Camera, tmp_path: Path):
    for number in range(1, 5):
        data = vusb.feed(number)
        file = shoot(camera)
        seen: list[int] = []
        download = camera.download(file, tmp_path / f"{number}.jpg", seen.append)
        assert (tmp_path / f"{number}.jpg").read_bytes() == data
        assert (download.bytes, download.sha256) == (SLOT, hashlib.sha256(data).hexdigest())
        assert file.via == "event" and file.seen_s is not None and seen
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".jpg"] * 4


def test_photographs_nobody_waited_for_are_strays(camera: Camera):
    camera.press()
    time.sleep(0.15)
    second = camera.press()
    assert len(second.stray) == 1
    (file,) = camera.wait_files(1, monotonic() + 3)
    assert file.path != second.stray[0].path


def test_waiting_ends_at_its_deadline(camera: Camera):
    camera.press()
    started_s = monotonic()
    with pytest.raises(CameraError, match="1 of 2 photographs") as caught:
        camera.wait_files(2, started_s + 0.4)
    assert 0.4 <= monotonic() - started_s < 1.5
    assert caught.value.kind == "timeout" and len(caught.value.files) == 1 and camera.alive


def test_press_waits_for_its_instant(camera: Camera):
    at_s = monotonic() + 0.2
    press = camera.press(at_s)
    assert 0 <= press.started_s - at_s < 0.02 and press.retries == 0
    camera.wait_files(1, monotonic() + 3)


def test_refused_release(camera: Camera):
    # The virtual camera's store takes 27 photographs, then its answer is libgphoto2's catch-all.
    with pytest.raises(CameraError, match="refuses to release") as caught:
        for _ in range(40):
            camera.press()
    assert (caught.value.kind, caught.value.code) == ("failed", -1)
    assert camera.alive and camera.preflight().battery_percent == 50


def test_deleting(camera: Camera):
    file = shoot(camera)
    camera.delete(file)
    with pytest.raises(CameraError) as caught:
        camera.delete(file)
    assert caught.value.kind == "not_found"


def test_nothing_else_is_deleted(camera: Camera):
    file = shoot(camera)
    other = type(file)(file.folder, file.name, file.bytes - 1)
    with pytest.raises(CameraError, match="not deleted"):
        camera.delete(other)
    camera.delete(file)


def test_download_errors_leave_nothing(vusb: Vusb, camera: Camera, tmp_path: Path):
    file = shoot(camera)
    (tmp_path / "a.jpg").write_bytes(b"something else")
    with pytest.raises(CameraError, match="not overwritten") as caught:
        camera.download(file, tmp_path / "a.jpg")
    assert caught.value.kind == "io" and (tmp_path / "a.jpg").read_bytes() == b"something else"
    with pytest.raises(CameraError, match="create it"):
        camera.download(file, tmp_path / "nowhere" / "a.jpg")
    vusb.seed.write_bytes(b"short")  # the camera announced more than it now sends
    with pytest.raises(CameraError) as caught:
        camera.download(file, tmp_path / "b.jpg")
    assert caught.value.kind in ("truncated", "failed") and not list(tmp_path.glob("b*"))
    assert camera.alive


def test_hanging_camera_is_killed_at_its_deadline_and_found_again(vusb: Vusb, camera: Camera, tmp_path: Path):
    file = shoot(camera)
    vusb.seed.unlink()
    os.mkfifo(vusb.seed)  # reading it hangs inside libgphoto2 for ever
    pid, started_s = camera.pid, monotonic()
    with pytest.raises(CameraError, match="did not answer within") as caught:
        camera.download(file, tmp_path / "a.jpg", stall_s=0.5)
    assert caught.value.kind == "timeout" and monotonic() - started_s < 2
    assert not camera.alive and pid is not None and gone(pid)
    with pytest.raises(CameraError) as caught:
        camera.press()
    assert caught.value.kind == "lost"
    vusb.seed.unlink()
    vusb.feed(9)
    camera.reconnect()
    assert camera.alive and camera.pid != pid and camera.identity.serial == "0.1"
    camera.apply(EXPOSURE, REQUIRE)
    camera.download(shoot(camera), tmp_path / "a.jpg")


def test_killed_worker_is_told_and_replaced(camera: Camera):
    assert camera.pid is not None
    os.kill(camera.pid, signal.SIGKILL)
    with pytest.raises(CameraError, match="SIGKILL") as caught:
        camera.press()
    assert caught.value.kind == "lost" and not camera.alive
    camera.reconnect()
    assert camera.preflight().battery_percent == 50


def test_wrong_serial(vusb: Vusb):
    with pytest.raises(CameraError, match="expected '063034018213'") as caught:
        vusb.connect("063034018213")
    assert caught.value.kind == "wrong_camera"
    vusb.connect("0.1").close()


def test_one_program_at_a_time(vusb: Vusb, camera: Camera):
    script = (
        "import sys; from mesoface.capture.camera import Camera\n"
        "from mesoface.capture.camera_messages import CameraError\n"
        "try: Camera.connect(sys.argv[1])\n"
        "except CameraError as error: sys.exit(f'{error.kind}: {error}')\n"
    )
    command = [sys.executable, "-c", script, PORT]
    done = subprocess.run(
        command, env={**os.environ, **vusb.environment}, capture_output=True, text=True, timeout=30, check=False
    )
    assert f"in_use: the camera with port {PORT} is in use by another program (process {os.getpid()})" in done.stderr
    assert find_cameras("usb", environment=vusb.environment).problems[PORT].kind == "in_use"
    camera.close()
    done = subprocess.run(command, env={**os.environ, **vusb.environment}, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0


def test_worker_ends_with_the_main_program(vusb: Vusb):
    # Even while it hangs inside libgphoto2, and even when the program was killed.
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from mesoface.capture.camera import Camera\n"
        "camera = Camera.connect(sys.argv[1])\n"
        "file = camera.list_files()[0]\n"
        "import os; Path(sys.argv[2]).unlink(); os.mkfifo(sys.argv[2])\n"
        "threading.Timer(0.3, lambda: print(camera.pid, flush=True)).start()\n"
        "camera.download(file, Path(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", script, PORT, str(vusb.seed), str(vusb.seed.parent.parent / "out.jpg")]
    program = subprocess.Popen(command, env={**os.environ, **vusb.environment}, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    assert not gone(pid, within_s=0.05)
    program.kill()
    program.wait()
    assert gone(pid)
    leftover = f"mesoface-camera-{program.pid}-*"
    assert list(Path(tempfile.gettempdir()).glob(leftover))
    with pytest.raises(CameraError, match="serial number"):
        vusb.connect("1")
    assert not list(Path(tempfile.gettempdir()).glob(leftover))


def test_worker_outlives_the_thread_that_connected_it(vusb: Vusb):
    # The kernel's parent-death signal would come when that thread ends.
    cameras: list[Camera] = []
    thread = threading.Thread(target=lambda: cameras.append(vusb.connect()))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert cameras[0].preflight().battery_percent == 50
    cameras[0].close()


def test_ctrl_c_in_a_callback_does_not_mix_up_answers(camera: Camera, tmp_path: Path):
    file = shoot(camera)

    def interrupt(done: int):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        camera.download(file, tmp_path / "a.jpg", interrupt)
    assert not camera.alive
    camera.reconnect()
    assert camera.preflight().battery_percent == 50


def test_settings_of_other_programs_stay_untouched(vusb: Vusb, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**vusb.environment, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    with Camera.connect(PORT, environment=environment) as camera:
        assert camera.apply(EXPOSURE, REQUIRE)["target"] == "Memory card"
        shoot(camera)
    assert list(home.rglob("*")) == []


def test_nobody_there(vusb: Vusb):
    vusb.environment["VCAMERADIR"] = ""
    with pytest.raises(CameraError, match="no camera answers at usb:001,077") as caught:
        Camera.connect("usb:001,077", environment=vusb.environment)
    assert caught.value.kind == "not_found"
