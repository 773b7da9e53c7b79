"""What an operator sees of a running session, as plain state: the session writes it, a display reads it."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

StepState = Literal["waiting", "shooting", "shot", "retry", "failed"]
Level = Literal["info", "warning", "error"]


@dataclass
class CameraView:
    """One line of the board."""

    name: str
    serial: str
    state: str = "not connected"
    battery_percent: int | None = None
    shots_left: int | None = None
    files_done: int = 0
    files_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    rate_bytes_s: float = 0.0


@dataclass
class SessionView:
    """Everything on the board. Written by the session's threads under `lock`; read it through `snapshot`."""

    title: str = ""
    phase: str = "starting"
    cameras: dict[str, CameraView] = field(default_factory=dict)
    box: str = "not connected"
    steps: dict[int, StepState] = field(default_factory=dict)
    step: int | None = None
    messages: deque[tuple[float, Level, str]] = field(default_factory=lambda: deque(maxlen=200))
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def say(self, text: str, level: Level = "info") -> None:
        """A line for the operator."""
        with self.lock:
            self.messages.append((time.monotonic(), level, text))

    def set_phase(self, phase: str) -> None:
        with self.lock:
            self.phase = phase

    def set_step(self, step: int, state: StepState) -> None:
        with self.lock:
            self.step = step if state == "shooting" else self.step
            self.steps[step] = state

    def camera(self, name: str, **changes: object) -> None:
        """Update a camera's line."""
        with self.lock:
            for key, value in changes.items():
                setattr(self.cameras[name], key, value)

    def transferred(self, name: str, done: int, total: int, rate_bytes_s: float) -> None:
        """Progress of the file a camera is sending."""
        with self.lock:
            line = self.cameras[name]
            line.bytes_done, line.bytes_total, line.rate_bytes_s = done, total, rate_bytes_s
