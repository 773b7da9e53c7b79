"""The camera bodies of a session: one worker process and one thread each, found again by serial number after a loss."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from .camera import Camera
from .camera_find import find_cameras, match_cameras
from .camera_messages import CameraError, CameraIdentity, CameraStatus
from .errors import UserError
from .rig_models import Rig
from .session_view import SessionView

Result = TypeVar("Result")
RECONNECT_S = 20.0
"""An operator and a sitter wait for so long until a body is given up, and after that"""
LAST_CHANCE_S = 4.0
"""for so long each time it is needed again."""


class Crew:
    """The bodies of a rig that a take needs. Calls for one body run in its own thread, one after the other."""

    def __init__(self, rig: Rig, names: Iterable[str], ports: Any, view: SessionView) -> None:
        self.rig, self.names, self.ports, self.view = rig, tuple(names), ports, view
        self.cameras: dict[str, Camera] = {}
        self.settings: dict[str, dict[str, str]] = {}
        self.identities: dict[str, CameraIdentity] = {}
        self.on_return: Callable[[str], None] = lambda name: None
        """Called in a body's own thread when it is connected again, before anything else is asked of it."""
        self._given_up: set[str] = set()
        self._threads = {
            name: ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"body-{name}") for name in self.names
        }

    def connect(self) -> None:
        """Find the bodies by serial number and connect. Raises UserError naming every body that is not there."""
        wanted = self.rig.model_copy(update={"cameras": tuple(self.rig.camera(name) for name in self.names)})
        self.identities = match_cameras(wanted, find_cameras(self.ports))
        failures = self.each(self._open)[1]
        if failures:
            lines = "\n".join(f"  {name}: {error}" for name, error in failures.items())
            raise UserError(f"{len(failures)} of {len(self.names)} cameras cannot be used:\n{lines}")

    def _open(self, name: str, timeout_s: float = 20.0) -> None:
        rig_camera, identity = self.rig.camera(name), self.identities[name]
        self.view.camera(name, state="connecting")
        camera = Camera.connect(identity.port, expected_serial=rig_camera.serial, timeout_s=timeout_s)
        try:
            self.settings[name] = camera.apply(rig_camera.exposure)
        except BaseException:
            camera.kill()
            raise
        self.cameras[name] = camera
        self.view.camera(name, state="ready")

    def preflight(self, exposures: dict[str, int]) -> tuple[dict[str, CameraStatus], list[str], list[str]]:
        """(status by body, what forbids a take, what an operator should know); `exposures`: how many each will make."""
        found, failures = self.each(lambda name: self.cameras[name].preflight())
        problems = [f"{name}: {error}" for name, error in failures.items()]
        warnings: list[str] = []
        limits = self.rig.limits
        for name, status in found.items():
            self.view.camera(name, battery_percent=status.battery_percent, shots_left=status.shots_left)
            needed = exposures.get(name, 0)
            if status.battery_percent is None:
                warnings.append(f"{name}: does not tell its battery's charge")
            elif status.battery_percent < limits.battery_percent:
                problems.append(
                    f"{name}: battery at {status.battery_percent} %, at least {limits.battery_percent} % expected; "
                    "change it (or lower limits.battery_percent)"
                )
            if status.shots_left is not None and status.shots_left < needed:
                problems.append(
                    f"{name}: its card takes {status.shots_left} more frames, {needed} are needed; change the card"
                )
            if status.focus is not None and "manual" not in status.focus.lower():
                problems.append(f'{name}: focus is "{status.focus}"; switch the lens to MF and focus on the eyes')
            if status.clock_offset_s is not None and abs(status.clock_offset_s) > limits.clock_s:
                warnings.append(f"{name}: its clock is off by {status.clock_offset_s:+.0f} s; set it in the menu")
        return found, problems, warnings

    def submit(self, name: str, work: Callable[[str], Result]) -> "Future[Result]":
        """Queue work for a body."""
        return self._threads[name].submit(work, name)

    def each(
        self, work: Callable[[str], Result], names: Iterable[str] | None = None
    ) -> tuple[dict[str, Result], dict[str, CameraError]]:
        """Do `work` for several bodies at the same time: (results, camera errors), both by name."""
        futures = {name: self.submit(name, work) for name in (self.names if names is None else names)}
        results: dict[str, Result] = {}
        errors: dict[str, CameraError] = {}
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except CameraError as error:
                errors[name] = error
                self.view.camera(name, state=error.kind)
        return results, errors

    def alive(self, name: str) -> bool:
        return name in self.cameras and self.cameras[name].alive

    def reconnect(self, name: str) -> None:
        """Start a new worker for a body and set it up again; call from its own thread (`submit`, `each`).

        A body on USB may have changed its address: it is looked for by serial number. Raises CameraError.
        """
        if name in self.cameras:
            self.cameras.pop(name).kill()
        give_up_s = time.monotonic() + (LAST_CHANCE_S if name in self._given_up else RECONNECT_S)
        pause_s = 0.3
        while True:
            self.view.camera(name, state="reconnecting")
            try:
                self._open(name, timeout_s=max(2.0, min(8.0, give_up_s - time.monotonic())))
                self.view.say(f"{name}: connected again")
                self.on_return(name)
                self._given_up.discard(name)
                return
            except CameraError as failure:
                if name in self.cameras:  # opened, and lost again while its card was looked at
                    self.cameras.pop(name).kill()
                if failure.kind in ("wrong_camera", "setting", "in_use") or time.monotonic() > give_up_s:
                    self.view.camera(name, state="lost")
                    self._given_up.add(name)
                    raise
            time.sleep(pause_s)
            pause_s *= 2
            self._look_again(name, max(2.0, min(5.0, give_up_s - time.monotonic())))

    def _look_again(self, name: str, timeout_s: float) -> None:
        serial = self.rig.camera(name).serial
        ports = self.ports if self.ports == "usb" else (self.identities[name].port,)
        for identity in find_cameras(ports, timeout_s):
            if identity.serial == serial:
                self.identities[name] = identity

    def close(self, politely: bool = True) -> None:
        """End all workers; a body that does not answer is left to its worker's end."""
        for thread in self._threads.values():
            thread.shutdown(wait=politely, cancel_futures=True)
        for camera in self.cameras.values():
            if politely:
                camera.close()
            else:
                camera.kill()
        self.cameras.clear()
