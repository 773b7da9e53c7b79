"""Simulated cameras in a process of their own, and their host: the stock gphoto2 driver, in the test's process."""

import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from mesoface.capture.sim_camera import SimCamera
from mesoface.capture.sim_camera_types import ExposureSettings, SimCameraOptions, SimFile

FOLDER = "/store_00020001/DCIM/100CANON"
JPEG_BYTES = 200_000


def address(index: int) -> str:
    """A loopback address that test runs side by side do not share."""
    pid = os.getpid()
    return f"127.{60 + (pid >> 8) % 60}.{pid % 256}.{11 + index}"


def frame_bytes(camera: str, exposure: int, suffix: str, size: int) -> bytes:
    """What the test's world puts into a file."""
    return random.Random(f"{camera} {exposure} {suffix}").randbytes(size)


class PatternWorld:
    """Remembers X-sync edges and fills files with noise known to the test; `develop_s` is how long that takes."""

    def __init__(self, raw_bytes: int, develop_s: float) -> None:
        self.raw_bytes, self.develop_s = raw_bytes, develop_s
        self.edges: list[tuple[str, float]] = []

    def shutter_opened(self, camera: str, opened_s: float) -> None:
        self.edges.append((camera, opened_s))

    def develop(
        self, camera: str, exposure: int, opened_s: float, closed_s: float, settings: ExposureSettings
    ) -> list[SimFile]:
        time.sleep(self.develop_s)
        sizes = {"CR2": self.raw_bytes, "JPG": JPEG_BYTES}
        wanted = {"RAW": ("CR2",), "RAW+JPEG": ("CR2", "JPG"), "JPEG": ("JPG",)}[settings.image_format]
        return [SimFile(suffix, frame_bytes(camera, exposure, suffix, sizes[suffix])) for suffix in wanted]


class SimCameraProcess:
    """Cameras in a child process; `get` and `call` reach their properties and methods."""

    def __init__(self, options: Sequence[SimCameraOptions], raw_bytes: int = 2_500_000, develop_s: float = 0.0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child_pipe, tuple(options), raw_bytes, develop_s), daemon=True
        )
        self._process.start()
        child_pipe.close()
        self.ports: list[str] = self._answer()

    def get(self, camera: int, name: str) -> Any:
        """A property of one camera."""
        return self._ask(camera, name, None)

    def call(self, camera: int, name: str, *arguments: object) -> Any:
        """Call a method of one camera."""
        return self._ask(camera, name, arguments)

    def edges(self) -> list[tuple[str, float]]:
        """(camera name, time) of every open shutter so far."""
        return self._ask(None, "edges", None)

    def close(self) -> None:
        """Switch the cameras off and end the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            raise AssertionError("the simulated cameras did not stop")

    def _ask(self, camera: int | None, name: str, arguments: tuple[object, ...] | None) -> Any:
        self._pipe.send((camera, name, arguments))
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(20):
            raise AssertionError("the simulated cameras do not answer")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(pipe: Connection, options: tuple[SimCameraOptions, ...], raw_bytes: int, develop_s: float) -> None:
    world = PatternWorld(raw_bytes, develop_s)
    cameras = [SimCamera(option, world) for option in options]
    for camera in cameras:
        camera.start()
    pipe.send([camera.port_path for camera in cameras])
    while True:
        try:
            camera, name, arguments = pipe.recv()
        except EOFError:
            break
        try:
            value = getattr(world if camera is None else cameras[camera], name)
            pipe.send(value if arguments is None else value(*arguments))
        except Exception as error:
            pipe.send(error)
    for camera in cameras:
        camera.stop()


# The driver's side


def driver() -> Any:
    """The gphoto2 module (it has no types)."""
    import gphoto2

    return gphoto2


def open_camera(port_path: str) -> Any:
    """A gphoto2 Camera, initialised; use it within `standard_input_kept`."""
    gp = driver()
    abilities, ports = gp.CameraAbilitiesList(), gp.PortInfoList()
    abilities.load()
    ports.load()
    camera = gp.Camera()
    camera.set_abilities(abilities[abilities.lookup_model("PTP/IP Camera")])
    camera.set_port_info(ports[ports.lookup_path(port_path)])
    camera.init()
    return camera


@contextmanager
def connected(port_path: str, target: str = "Memory card", **settings: str) -> Iterator[Any]:
    """A camera that shoots to the card, with these settings made; disconnected in the end, whatever happened."""
    gp = driver()
    with standard_input_kept():
        camera = open_camera(port_path)
        try:
            write(camera, capturetarget=target, **settings)
            yield camera
        finally:
            with suppress(gp.GPhoto2Error):
                camera.exit()
            del camera


@contextmanager
def standard_input_kept() -> Iterator[None]:
    """The driver's network port closes file descriptor 0 whenever a camera is left, whoever has it by then."""
    kept = os.open(os.devnull, os.O_RDONLY)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def read(camera: Any, widget: str) -> Any:
    """Value of a widget."""
    return camera.get_single_config(widget).get_value()


def write(camera: Any, **settings: Any) -> None:
    """Set widgets, one after the other."""
    for name, value in settings.items():
        widget = camera.get_single_config(name)
        widget.set_value(value)
        camera.set_single_config(name, widget)


def press(camera: Any, held_s: float = 0.0) -> None:
    """Press the button all the way without autofocus, and let go."""
    write(camera, eosremoterelease="Press Full MF")
    time.sleep(held_s)
    write(camera, eosremoterelease="Release")


def new_files(camera: Any, count: int, timeout_s: float = 3.0) -> list[str]:
    """Names of the next `count` files the camera tells of; fewer when they do not come in time."""
    gp = driver()
    names: list[str] = []
    end_s = time.monotonic() + timeout_s
    while len(names) < count and time.monotonic() < end_s:
        kind, data = camera.wait_for_event(10)
        if kind == gp.GP_EVENT_FILE_ADDED:
            names.append(data.name)
    return names


def download(camera: Any, name: str, folder: str = FOLDER) -> bytes:
    """Bytes of a file."""
    gp = driver()
    file = camera.file_get(folder, name, gp.GP_FILE_TYPE_NORMAL)
    return bytes(memoryview(file.get_data_and_size()))
