"""What a simulated camera is told, what it shows, and what it looks at: the types around it.

All instants are time.monotonic() seconds. `speed` of a camera divides its times (shutter, lag, frame interval), so
that a long campaign of takes runs faster than the real thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .sim_eos_values import ImageFormat


@dataclass(frozen=True)
class SimFile:
    """One file that an exposure makes: suffix "CR2" or "JPG", and its bytes (any flat read-only buffer)."""

    suffix: str
    data: bytes | memoryview


@dataclass(frozen=True)
class ExposureSettings:
    """What the body was set to when its shutter opened; `shutter_s` is nominal, not divided by `speed`."""

    iso: int
    aperture: float
    shutter_s: float
    image_format: ImageFormat


class World(Protocol):
    """What the bodies look at. Both methods are called without locks, from threads of the camera's own."""

    def shutter_opened(self, camera: str, opened_s: float) -> None:
        """The X-sync edge of body `camera`, at the instant when its shutter opens."""
        ...

    def develop(
        self, camera: str, exposure: int, opened_s: float, closed_s: float, settings: ExposureSettings
    ) -> Sequence[SimFile]:
        """The files of one exposure, called once its shutter has closed; `exposure` counts from 1 per body."""
        ...


@dataclass(frozen=True)
class SimCameraOptions:
    """One simulated body.

    `name` is what the world and the rig call it; `serial` has 12 digits. `bytes_per_s` limits downloads (None: as
    fast as it goes; 21e6 stands for USB 2). `free_shots` exposures fit on the card. `shutter_lag_s` runs from the
    full press to the open shutter. The camera's clock is the computer's plus `clock_offset_s`.
    """

    name: str
    serial: str
    address: str
    port: int = 15740
    model: str = "Canon EOS 760D"
    fps: float = 5.0
    shutter_lag_s: float = 0.06
    bytes_per_s: float | None = None
    battery_percent: int = 100
    free_shots: int = 8561
    clock_offset_s: float = 0.0
    lens: str = "EF50mm f/1.8 STM"
    focus_manual: bool = True
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not (self.fps > 0 and self.speed > 0 and self.shutter_lag_s >= 0 and self.free_shots >= 0):
            raise ValueError(f"{self.fps=} {self.speed=} {self.shutter_lag_s=} {self.free_shots=}: out of range")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise ValueError(f"{self.bytes_per_s=}, but expected more than 0, or None for no limit")


@dataclass(frozen=True)
class SimExposure:
    """One exposure that a body made, noted when its shutter closed; its files follow once they are developed."""

    index: int
    pressed_s: float
    opened_s: float
    closed_s: float
    settings: ExposureSettings


class LogEntry(NamedTuple):
    """One operation a client asked for; `response` is None when a fault left it without an answer."""

    time_s: float
    operation: int
    params: tuple[int, ...]
    response: int | None
