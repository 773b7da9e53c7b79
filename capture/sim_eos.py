"""A simulated EOS body: shutter button, exposures in real time, card, and the queue of events a host polls.

Two threads: one moves the shutter (so that frames keep their rhythm), one develops what it exposed.
"""

import logging
import queue
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .sim_camera_types import SimCameraOptions, SimExposure, SimFile, World
from .sim_card import Card, CardObject
from .sim_eos_properties import SHOTS_ON_HOST, Properties, object_added, object_in_ram, record
from .sim_eos_values import DESTINATION_RAM, DRIVE_CONTINUOUS, Prop, Record
from .sim_ptp import Response

SELF_TIMERS_S = {0x10: 10.0, 0x11: 2.0}
BUSY, IDLE = 1, 0
LOGGER = logging.getLogger(__name__)


@dataclass
class _Press:
    pressed_s: float
    extra_frames: int


@dataclass(frozen=True)
class _Frame:
    exposure: SimExposure
    ready_s: float
    in_ram: bool


class EosBody:
    """One body. Everything below `lock` belongs to it; the world is called without it.

    `hung` tells whether the body hangs just now: then no shutter moves.
    """

    def __init__(self, options: SimCameraOptions, world: World, hung: Callable[[], bool]) -> None:
        self.options = options
        self.lock = threading.Condition(threading.RLock())
        self.properties = Properties(options)
        self.card = Card(options.free_shots, time.time() + options.clock_offset_s)
        self.ram: dict[int, CardObject] = {}
        self.exposures: list[SimExposure] = []
        self._world = world
        self._hung = hung
        self._events: list[bytes] = []
        self._tells_events = False
        self._press: _Press | None = None
        self._held = False
        self._busy = False
        self._undeveloped = 0
        self._frames: queue.SimpleQueue[_Frame | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"{options.name}-{what}", daemon=True)
            for what, run in (("shutter", self._run_shutter), ("develop", self._run_development))
        ]

    def start(self) -> None:
        """Start the body's threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; an exposure under way is given up."""
        self._stop.set()
        with self.lock:
            self.lock.notify_all()
        self._frames.put(None)
        for thread in self._threads:
            thread.join()

    # The shutter button

    def press(self, *, extra_frames: int = 0, without_exposure: bool = False) -> int:
        """Press the button all the way -> response code. Frames go on while it is held in a continuous drive mode."""
        with self.lock:
            if self._busy:
                return Response.DEVICE_BUSY
            if not self._has_room():
                return Response.STORE_FULL
            self._held = True
            if not without_exposure:
                self._busy = True
                self._press = _Press(time.monotonic(), extra_frames)
                self.tell(record(Record.STATUS, struct.pack("<I", BUSY)))
                self.lock.notify_all()
        return Response.OK

    def release(self) -> None:
        """Let go of the button."""
        with self.lock:
            self._held = False

    # Events

    def tell(self, event: bytes) -> None:
        """Queue a record for the host, if it wants any."""
        with self.lock:
            if self._tells_events:
                self._events.append(event)

    def set_event_mode(self, mode: int) -> None:
        """1: tell everything there is, and every change from now on. 0: tell nothing."""
        with self.lock:
            self._tells_events = mode != 0
            if not self._tells_events:
                self._events.clear()
                return
            self._refresh_shots()
            self._events.append(self.properties.all_records())
            if self._busy:
                self.tell(record(Record.STATUS, struct.pack("<I", BUSY)))

    def take_events(self) -> bytes:
        """All queued records and the terminator."""
        with self.lock:
            events, self._events = self._events, []
        return b"".join((*events, record(Record.END)))

    def tell_value(self, prop: int) -> None:
        """Queue the value of a property."""
        with self.lock:
            if prop == Prop.AVAILABLE_SHOTS:
                self._refresh_shots()
            self.tell(self.properties.value_record(prop))

    def end_session(self) -> None:
        """The host is gone: nobody holds the button, and what waited for it in memory is lost."""
        with self.lock:
            self._held = False
            self._tells_events = False
            self._events.clear()
            self.ram.clear()

    # Objects

    def find(self, handle: int) -> CardObject | None:
        """A folder or file, on the card or in memory."""
        with self.lock:
            return self.card.objects.get(handle) or self.ram.get(handle)

    def delete(self, handle: int) -> bool:
        """Remove an object from the card; whether there was one (a folder with files stays)."""
        with self.lock:
            item = self.card.objects.get(handle)
            if item is None or self.card.children(handle):
                return False
            del self.card.objects[handle]
            self.tell(record(Record.OBJECT_REMOVED, struct.pack("<I", handle)))
            self.tell_value(Prop.AVAILABLE_SHOTS)
        return True

    def _has_room(self) -> bool:
        in_ram = self.properties.number(Prop.DESTINATION) == DESTINATION_RAM
        return in_ram or self.card.shots_left - self._undeveloped > 0

    def _refresh_shots(self) -> None:
        in_ram = self.properties.number(Prop.DESTINATION) == DESTINATION_RAM
        left = SHOTS_ON_HOST if in_ram else max(0, self.card.shots_left - self._undeveloped)
        self.properties.put_number(Prop.AVAILABLE_SHOTS, left)

    # Threads

    def _run_shutter(self) -> None:
        while not self._stop.is_set():
            with self.lock:
                while self._press is None and not self._stop.is_set():
                    self.lock.wait()
                press, self._press = self._press, None
            if press is not None:
                self._expose(press)
                with self.lock:
                    self._busy = False
                    self.tell(record(Record.STATUS, struct.pack("<I", IDLE)))

    def _expose(self, press: _Press) -> None:
        """All frames of one press, each at its time after it."""
        speed = self.options.speed
        start_s, extra_frames = press.pressed_s, press.extra_frames
        lag_s = self.options.shutter_lag_s + SELF_TIMERS_S.get(self.properties.number(Prop.DRIVE), 0.0)
        while True:
            if not self._sleep_until(start_s + lag_s / speed) or self._hung():
                return
            frame = self._one_frame(press.pressed_s, start_s + 1 / (self.options.fps * speed))
            start_s = frame.ready_s
            if not self._sleep_until(start_s):
                return
            with self.lock:
                continues = self._held and self.properties.number(Prop.DRIVE) in DRIVE_CONTINUOUS
                if not continues:
                    extra_frames -= 1
                if not self._has_room() or not (continues or extra_frames >= 0):
                    return
            lag_s = self.options.shutter_lag_s

    def _one_frame(self, pressed_s: float, ready_s: float) -> _Frame:
        """Open and close the shutter once; the frame is ready, and the body for the next one, not before `ready_s`."""
        with self.lock:
            settings = self.properties.settings()
            in_ram = self.properties.number(Prop.DESTINATION) == DESTINATION_RAM
            self._undeveloped += not in_ram
            index = len(self.exposures) + 1
        opened_s = time.monotonic()
        try:
            self._world.shutter_opened(self.options.name, opened_s)
        except Exception:
            LOGGER.exception("%s: the world could not take the sync edge", self.options.name)
        self._sleep_until(opened_s + settings.shutter_s / self.options.speed)
        closed_s = time.monotonic()
        exposure = SimExposure(index, pressed_s, opened_s, closed_s, settings)
        frame = _Frame(exposure, max(ready_s, closed_s), in_ram)
        with self.lock:
            self.exposures.append(exposure)
        self._frames.put(frame)
        return frame

    def _run_development(self) -> None:
        while (frame := self._frames.get()) is not None:
            made = frame.exposure
            files: Sequence[SimFile] = ()
            try:
                files = self._world.develop(self.options.name, made.index, made.opened_s, made.closed_s, made.settings)
            except Exception:
                LOGGER.exception("%s: the world could not develop exposure %d", self.options.name, made.index)
            if not self._sleep_until(frame.ready_s):
                return
            self._store(frame, files)

    def _store(self, frame: _Frame, files: Sequence[SimFile]) -> None:
        with self.lock:
            self._undeveloped -= not frame.in_ram
            age_s = time.monotonic() - frame.exposure.opened_s
            time_utc_s = time.time() - age_s + self.properties.clock_offset_s
            for file in files:
                item = self.card.make_file(
                    frame.exposure.index, file.suffix, file.data, time_utc_s, in_ram=frame.in_ram
                )
                if frame.in_ram:
                    self.ram[item.handle] = item
                self.tell(object_in_ram(item) if frame.in_ram else object_added(item))
            self.tell_value(Prop.AVAILABLE_SHOTS)

    def _sleep_until(self, time_s: float) -> bool:
        """Wait for an instant; False when the body is being stopped."""
        return not self._stop.wait(max(0.0, time_s - time.monotonic()))
