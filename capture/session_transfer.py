"""Bring exposures from the cards to the disk: verified, logged, resumed; nothing is deleted from a card here."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from .camera_messages import CameraError, CardFile
from .session_crew import Crew
from .take import Take
from .take_cards import CardKey
from .take_state import Exposure

TRIES = 5
FileHook = Callable[[int, Path], None]
"""Called with (shot index, file) when a RAW has been verified and logged; must return at once."""


class Transfers:
    """Queues of downloads, one per body, each in the body's own thread."""

    def __init__(self, take: Take, crew: Crew, on_file: FileHook) -> None:
        self.take, self.crew, self.on_file = take, crew, on_file
        self.failures: dict[str, str] = {}
        self.disk_error: str = ""
        self._gone: set[str] = set()
        self._queued: set[CardKey] = set()
        self._futures: list[Future[None]] = []
        self._lock = threading.Lock()

    def queue_exposures(self, exposures: list[Exposure]) -> None:
        """Fetch exposures that belong to shots."""
        for exposure in exposures:
            self._queue(exposure.camera, exposure.key, exposure.bytes, exposure)

    def queue_strays(self, strays: list[CardKey]) -> None:
        """Fetch frames that belong to no step."""
        names = {self.crew.rig.camera(name).serial: name for name in self.crew.names}
        for key in strays:
            if key.serial in names:
                self._queue(names[key.serial], key, 0, None)

    def _queue(self, name: str, key: CardKey, size: int, exposure: Exposure | None) -> None:
        with self._lock:
            if key in self._queued:
                return
            self._queued.add(key)
        view = self.crew.view.cameras[name]
        self.crew.view.camera(name, files_total=view.files_total + 1)
        self._futures.append(self.crew.submit(name, lambda body: self._fetch(body, key, size, exposure)))

    def wait(self) -> None:
        """Until everything queued has arrived or failed for good."""
        while True:
            with self._lock:
                futures, self._futures = self._futures, []
            if not futures:
                return
            for future in futures:
                future.result()

    def _fetch(self, name: str, key: CardKey, size: int, exposure: Exposure | None) -> None:
        problem: CameraError | None = None
        for attempt in range(TRIES):
            if self.disk_error or name in self._gone:
                break  # further files would only fail the same way
            try:
                if not self.crew.alive(name):
                    self._find_again(name)
                self._fetch_once(name, key, size, exposure)
                return
            except CameraError as error:
                problem = error
                if error.kind == "io":
                    self.disk_error = str(error)
                    self.crew.view.say(f"{name}: {error}", "error")
                    break
                if error.kind in ("wrong_camera", "in_use", "not_found"):
                    break
                self.crew.view.say(f"{name}: {key.name}: {error}; trying again", "warning")
                if error.kind == "lost" or not self.crew.alive(name) or attempt:
                    self._forget_worker(name)
                time.sleep(0.2 * attempt)
        with self._lock:
            self._queued.discard(key)
            if problem is not None or self.disk_error:
                self.failures[name] = self.disk_error or str(problem)
        self.crew.view.camera(name, state="not transferred")

    def _find_again(self, name: str) -> None:
        try:
            self.crew.reconnect(name)
        except CameraError:
            self._gone.add(name)  # its frames stay on its card; `resume` fetches them
            raise

    def _forget_worker(self, name: str) -> None:
        camera = self.crew.cameras.pop(name, None)
        if camera is not None:
            camera.kill()

    def _fetch_once(self, name: str, key: CardKey, size: int, exposure: Exposure | None) -> None:
        take, camera = self.take, self.crew.cameras[name]
        if not take.state().in_body(key):
            raise CameraError("not_found", f"the card with {key.name} is not in the body any more", None)
        if exposure is None:
            path = take.path_for_stray(name, key)
        else:
            path = take.path_for(exposure)
        card_file = CardFile(key.folder, key.name, size, None)
        if not size:
            listed = [f for f in camera.list_files() if (f.folder, f.name) == (key.folder, key.name)]
            if not listed:
                raise CameraError("not_found", f"{key.name} is not on the card any more", None)
            card_file = listed[0]
        self.crew.view.camera(name, state=f"sending {key.name}")
        started_s = time.monotonic()

        def progress(done: int) -> None:
            elapsed_s = max(time.monotonic() - started_s, 1e-3)
            self.crew.view.transferred(name, done, card_file.bytes, done / elapsed_s)

        got = camera.download(card_file, path, progress)
        fields = {
            "path": path.relative_to(take.data).as_posix(),
            "sha256": got.sha256,
            "bytes": got.bytes,
            "camera": name,
            "serial": key.serial,
            "card_folder": key.folder,
            "card_name": key.name,
            "seconds": round(got.seconds, 3),
            "settings": self.crew.settings.get(name, {}),
        }
        if exposure is not None:
            shot = take.plan[exposure.shot]
            fields |= {
                "shot": shot.index,
                "step": shot.step,
                "attempt": exposure.attempt,
                "lights": list(shot.lights),
                "light_mask": shot.light_mask,
                "polariser": shot.polariser,
                "kind": shot.kind,
                "exposed": {k: exposure.record.get(k) for k in ("utc", "pressed_s", "released_s", "seen_s", "via")},
                "box": exposure.record.get("box"),
            }
        take.log.append("file", **fields)
        view = self.crew.view.cameras[name]
        self.crew.view.camera(name, state="ready", files_done=view.files_done + 1)
        if exposure is not None and path.suffix.lower() not in (".jpg", ".jpeg"):
            self.on_file(exposure.shot, path)
