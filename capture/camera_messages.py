"""What the main program and its camera workers say to each other: typed answers, errors, JSON lines on a socket.

All times are time.monotonic() seconds, which the processes of one machine share, unless a name says otherwise.
"""

import json
import select
import socket
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any, Literal

CameraErrorKind = Literal[
    "lost",  # the connection broke: reconnect
    "timeout",  # no answer, or fewer files than expected, within the deadline
    "busy",  # still working on the previous exposure when the deadline came
    "card_full",
    "denied",  # the body refused a setting
    "setting",  # a value is not among the choices, or reads back differently
    "io",  # this computer could not store the file
    "truncated",  # the camera sent fewer or more bytes than it announced
    "not_found",  # no camera at the port, no such file on the card
    "wrong_camera",  # another serial number than expected
    "in_use",  # another program holds the camera
    "failed",  # anything else
]


@dataclass(frozen=True)
class CameraIdentity:
    """A body: its gphoto2 port, model, serial number as its photographs carry it, firmware version."""

    port: str
    model: str
    serial: str
    version: str


@dataclass(frozen=True)
class CardFile:
    """A file on a camera's memory card.

    `time_s` is the camera's own clock in Unix seconds (whole seconds, None where it gives none), `seen_s` when this
    computer learned of the file (monotonic). `via` is "listing" when the event that announces a file was lost.
    """

    folder: str
    name: str
    bytes: int
    time_s: float | None = field(default=None, compare=False)
    seen_s: float | None = field(default=None, compare=False)
    via: Literal["event", "listing"] = field(default="event", compare=False)

    @property
    def path(self) -> str:
        """Folder and name, unique on a card."""
        return f"{self.folder.rstrip('/')}/{self.name}"


@dataclass(frozen=True)
class Download:
    """A file that was verified on disk: its size, hex SHA-256, and how long it took in s."""

    bytes: int
    sha256: str
    seconds: float


@dataclass(frozen=True)
class Press:
    """One release of the shutter: when the call began and returned, how often the body was busy before.

    `stray` are files that appeared since the last `wait_files`: nobody waited for them, so some press made more files
    than expected.
    """

    started_s: float
    ended_s: float
    retries: int = 0
    stray: tuple[CardFile, ...] = ()


@dataclass(frozen=True)
class CameraStatus:
    """A body before a take; None where it does not say.

    `clock_offset_s` is the body's clock minus this computer's. `focus` and `lens` are the body's own words.
    """

    battery_percent: int | None
    shots_left: int | None
    free_bytes: int | None
    lens: str | None
    focus: str | None
    clock_offset_s: float | None
    exposure_mode: str | None = None
    drive_mode: str | None = None


class CameraError(RuntimeError):
    """Something went wrong with one camera; `kind` is one of CameraErrorKind, the message says what to do.

    `code` is libgphoto2's number where there is one. `files` are those that did come before a `wait_files` gave up.
    """

    def __init__(self, kind: CameraErrorKind, message: str, code: int | None = None, files: tuple[CardFile, ...] = ()):
        super().__init__(message)
        self.kind: CameraErrorKind = kind
        self.code = code
        self.files = files

    def to_json(self) -> dict[str, Any]:
        """Plain data for `from_json`."""
        return {"kind": self.kind, "message": str(self), "code": self.code, "files": [asdict(f) for f in self.files]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "CameraError":
        files = tuple(CardFile(**file) for file in data["files"])
        return cls(data["kind"], data["message"], data["code"], files)


class Channel:
    """JSON objects, one a line, over one end of a socket pair."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._socket.setblocking(True)
        self._buffer = bytearray()
        self._scanned = 0

    def send(self, message: dict[str, Any]) -> None:
        """Send one object. Raises OSError when the other end is gone."""
        self._socket.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")

    def receive(self, deadline_s: float | None = None) -> dict[str, Any]:
        """The next object. Raises TimeoutError at `deadline_s` (monotonic), EOFError when the other end is gone."""
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            remaining_s = None if deadline_s is None else max(0.0, deadline_s - monotonic())
            if not select.select([self._socket], [], [], remaining_s)[0]:
                raise TimeoutError
            try:
                block = self._socket.recv(1 << 16)
            except ConnectionError:
                block = b""
            if not block:
                raise EOFError
            self._buffer += block
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return json.loads(line)

    def close(self) -> None:
        """Close this end; the other one reads the end of the stream."""
        self._socket.close()
