"""A camera as the main program sees it: calls with deadlines to the worker process that holds it.

Every call either answers within its time or raises `CameraError`; a worker that does not answer is killed. After
"lost", or whenever `alive` is False, `reconnect` starts a new worker and finds the body again by its serial number.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from .camera_messages import CameraError, CameraIdentity, CameraStatus, CardFile, Download, Press
from .camera_process import CameraProcess
from .camera_settings import ALWAYS_REQUIRED, Wanted
from .rig_models import Exposure

CONNECT_S = 20.0
SETTINGS_S = 20.0
QUICK_S = 6.0
LIST_S = 30.0
GRACE_S = 8.0
STALL_S = 12.0
"""How long a download may go without a byte. libgphoto2's own limit is 20 s on USB; a frozen body needs no longer."""


class Camera:
    """One body in its own process. Blocking; calls from several threads take turns, `kill` may come at any time."""

    def __init__(self, port: str, environment: Mapping[str, str] | None = None):
        self.identity = CameraIdentity(port, "", "", "")
        self.setting_notes: tuple[str, ...] = ()
        self._environment = dict(environment or {})
        self._known: set[tuple[str, str]] | None = None
        self._process: CameraProcess | None = None
        self._turn = threading.Lock()

    @classmethod
    def connect(
        cls,
        port: str,
        expected_serial: str | None = None,
        timeout_s: float = CONNECT_S,
        environment: Mapping[str, str] | None = None,
    ) -> "Camera":
        """The camera at a gphoto2 port ("usb:001,004", "ptpip:192.168.1.11").

        `environment` adds variables to the worker's. Raises CameraError "not_found", "wrong_camera" (another serial
        number), "in_use" (names the other process), "timeout" or "failed".
        """
        camera = cls(port, environment)
        camera._open(port, expected_serial, timeout_s)
        return camera

    @property
    def alive(self) -> bool:
        """Whether the worker runs and its camera has not been lost."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return None if self._process is None else self._process.pid

    def reconnect(self, ports: Iterable[str] = (), timeout_s: float = CONNECT_S) -> None:
        """A new worker for the same body: at its last port, else at whichever of `ports` (or USB) has its serial.

        Files that appeared in between are reported by the next `press` (stray) or `wait_files`. Raises CameraError.
        """
        from .camera_find import find_cameras

        self.kill()
        serial = self.identity.serial or None
        try:
            self._open(self.identity.port, serial, timeout_s)
        except CameraError as error:
            if error.kind not in ("not_found", "wrong_camera"):
                raise
            usb = self.identity.port.startswith("usb:")
            found = find_cameras("usb" if usb else tuple(ports), timeout_s, self._environment)
            places = [identity.port for identity in found if identity.serial == serial]
            if not places:
                raise
            self._open(places[0], serial, timeout_s)

    def apply(self, exposure: Exposure, require: Iterable[str] = ALWAYS_REQUIRED) -> dict[str, str]:
        """Push every setting of a take and read it back: {meaning: the body's label}.

        Raises CameraError "setting" (with the choices) or "denied" when one of `require` cannot be had. What else could
        not be set, or what only a switch on the body changes, is in `setting_notes`, one sentence each.
        """
        wanted = Wanted(
            exposure.iso, exposure.aperture, exposure.shutter_s, exposure.white_balance, exposure.image_format
        )
        labels, notes = self._call("apply", SETTINGS_S, values=asdict(wanted), require=list(require))
        self.setting_notes = tuple(notes)
        return labels

    def preflight(self) -> CameraStatus:
        """Battery, card space, lens, focus switch, clock."""
        return CameraStatus(**self._call("preflight", QUICK_S))

    def press(self, at_s: float | None = None, busy_s: float = 1.0) -> Press:
        """Release at one instant (monotonic; None = now) and let go.

        A body that is still busy is tried again for `busy_s`. Raises CameraError "busy", "card_full" or "failed"; after
        "lost" and "timeout" it may or may not have exposed: `wait_files` after `reconnect` tells.
        """
        at_s = monotonic() if at_s is None else at_s
        deadline_s = max(at_s, monotonic()) + busy_s
        answer = self._call("press", deadline_s - monotonic() + QUICK_S, at_s=at_s, give_up_s=deadline_s)
        return Press(**{**answer, "stray": self._files(answer["stray"])})

    def wait_files(self, count: int, deadline_s: float, grace_s: float = GRACE_S) -> list[CardFile]:
        """The files of the last releases: at least `count`, more when more have appeared.

        With `count` 0 it is whatever appears until the deadline: that finds exposures nobody asked for.
        `deadline_s` is a monotonic time. When events are missing then, the card's directory is compared with what was
        on it before (`via` is "listing"), for which the worker has `grace_s` before it is killed.
        Raises CameraError "timeout" with the `files` that did come.
        """
        timeout_s = max(0.0, deadline_s - monotonic()) + grace_s
        try:
            return list(self._files(self._call("wait_files", timeout_s, count=count, deadline_s=deadline_s)))
        except CameraError as error:
            self._note(error.files)
            raise

    def list_files(self) -> list[CardFile]:
        """All files on the card, sorted by path."""
        return list(self._files(self._call("list_files", LIST_S)))

    def download(
        self, file: CardFile, destination: Path, progress: Callable[[int], None] | None = None, stall_s: float = STALL_S
    ) -> Download:
        """Bring a file to `destination` with a verified write; the worker is killed after `stall_s` without a byte.

        `progress` gets the bytes so far, at most ten times a second. The camera's copy stays. Raises CameraError
        "io" (disk full, read-only, another file of that name there), "truncated", "not_found", "lost", "timeout".
        """
        destination = Path(destination).absolute()
        answer = self._call("download", stall_s, progress, file=asdict(file), destination=str(destination))
        return Download(**answer)

    def delete(self, file: CardFile) -> None:
        """Delete a file from the card, if its size is still the same. Raises CameraError."""
        self._call("delete", QUICK_S, file=asdict(file))

    def close(self) -> None:
        """Leave the camera in peace and end the worker."""
        if self.alive:
            try:
                self._call("close", QUICK_S)
            except CameraError:
                pass
        self.kill()

    def kill(self) -> None:
        """End the worker at once, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, port: str, serial: str | None, timeout_s: float) -> None:
        self._process = CameraProcess(port, self._environment)
        known = None if self._known is None else sorted(self._known)
        try:
            answer = self._call("connect", timeout_s, port=port, serial=serial, learn=True, known=known)
        except BaseException:
            self.kill()
            raise
        self.identity = CameraIdentity(**answer["identity"])
        if self._known is None:
            self._known = {(folder, name) for folder, name in answer["known"]}

    def _call(self, operation: str, timeout_s: float, progress: Callable[[int], None] | None = None, **fields: Any):
        with self._turn:
            process = self._process
            if process is None:
                raise CameraError("lost", f"camera at {self.identity.port} is not connected: reconnect first")
            return process.call(operation, timeout_s, progress, **fields)

    def _files(self, data: list[dict[str, Any]]) -> tuple[CardFile, ...]:
        files = tuple(CardFile(**file) for file in data)
        self._note(files)
        return files

    def _note(self, files: Iterable[CardFile]) -> None:
        if self._known is not None:
            self._known.update((file.folder, file.name) for file in files)
