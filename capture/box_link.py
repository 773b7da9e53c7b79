"""One command, one answer: the serial line to the trigger box, with a deadline on everything.

Every command carries a new tag and only lines with that tag are its answer, so an answer that comes late, noise on the
line and what an earlier program left behind are never taken for it.
"""

import errno
import secrets
import threading
import time
from typing import Any, Literal, NoReturn

from .box_protocol import BAUD, LONGEST_LINE, parse_log_header

BoxErrorKind = Literal[
    "mute",
    "dead",
    "rejected",
    "mismatch",
    "not_ready",
    "timeout",
    "unsafe",
    "garbage",
    "no_port",
    "in_use",
    "not_a_box",
]

READ_SLICE_S = 0.05
"""A deadline is kept to about this much."""
LONGEST_ANSWER = 64 * 1024


class BoxError(RuntimeError):
    """Something is wrong with or at the trigger box; the message says what to do.

    kind: mute (no answer), dead (the port broke), garbage (answers make no sense), no_port, in_use, not_a_box (the port
    cannot be used), rejected (the box refused a command; `code` is its SCPI code), mismatch (sequence or log are not
    the host's), not_ready (lamps or polariser), timeout (no trigger came), unsafe (energy, duty, rate or strobing).
    """

    def __init__(self, kind: BoxErrorKind, message: str, code: int | None = None):
        super().__init__(message)
        self.kind: BoxErrorKind = kind
        self.code = code


class BoxLink:
    """An open port. `ask` may be called from several threads; each waits for its turn."""

    def __init__(self, serial_port: Any, name: str, timeout_s: float):
        self.name = name
        self.timeout_s = timeout_s
        self._port = serial_port
        self._lock = threading.RLock()
        # Starts anywhere, so that answers to an earlier program's commands do not match.
        self._tag = secrets.randbelow(100_000)
        self._left_over = b""

    def ask(self, command: str, timeout_s: float | None = None, retry: bool | None = None) -> list[str]:
        """Lines of the answer to `command`, tags removed.

        A query (header ending in "?") is repeated once when no answer comes within `timeout_s`; a command that changes
        something only with `retry`. Raises BoxError: mute, garbage, dead or rejected.
        """
        again = command.partition(" ")[0].endswith("?") if retry is None else retry
        with self._lock:
            try:
                lines = self._ask_once(command, timeout_s)
            except BoxError as error:
                if not again or error.kind not in ("mute", "garbage"):
                    raise
                lines = self._ask_once(command, timeout_s)
            if lines[0].startswith("ERR"):
                self._raise_rejected(command, lines[0])
            return lines

    def close(self) -> None:
        """Close the port; never raises."""
        try:
            self._port.close()
        except Exception:  # a port that broke may fail in many ways, and there is nothing left to save
            pass

    def _ask_once(self, command: str, timeout_s: float | None) -> list[str]:
        deadline_s = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        self._tag = (self._tag + 1) % 100_000
        tag = f"#{self._tag} "
        if len(tag + command) > LONGEST_LINE:
            raise ValueError(f"box command longer than {LONGEST_LINE} characters: {command}")
        self._send(f"{tag}{command}\n", command)
        lines: list[str] = []
        wanted, strange = 1, b""
        while len(lines) < wanted:
            raw = self._read_line(deadline_s)
            if raw is None:
                self._raise_silent(command, strange)
            if not raw.startswith(tag.encode()):
                # Late answers have a tag of their own; the rest is noise worth showing.
                strange = strange if raw.startswith(b"#") else raw
                continue
            lines.append(raw[len(tag) :].decode("latin-1"))
            if len(lines) == 1 and lines[0].startswith("LOG "):
                wanted = 2 + self._log_lines(lines[0], command)
                # A long log takes its time: 60 characters a row at 115200 baud are 5 ms.
                deadline_s = max(deadline_s, time.monotonic() + 1.0 + 0.01 * wanted)
        return lines

    def _log_lines(self, header: str, command: str) -> int:
        try:
            return parse_log_header(header)[0]
        except ValueError:
            self._raise_silent(command, header.encode())

    def _send(self, text: str, command: str) -> None:
        try:
            self._port.write(text.encode("ascii"))
        except Exception as error:
            self._raise_broken(error, command)

    def _read_line(self, deadline_s: float) -> bytes | None:
        """Next line without its end, or None when the deadline passes first."""
        while b"\n" not in self._left_over:
            if time.monotonic() >= deadline_s:
                return None
            try:
                self._left_over += self._port.read(max(1, self._port.in_waiting))
            except Exception as error:
                self._raise_broken(error, "reading")
            if len(self._left_over) > LONGEST_ANSWER:
                self._left_over = self._left_over[-LONGEST_LINE:]
        line, _, self._left_over = self._left_over.partition(b"\n")
        return line.rstrip(b"\r")

    def _raise_rejected(self, command: str, line: str) -> NoReturn:
        """Fetch the words that belong to the code; the queue may hold older errors before them."""
        code = int(line[4:]) if line[4:].lstrip("-").isdigit() else 0
        text = ""
        for _ in range(10):
            found, _, words = self._ask_once("SYST:ERR?", None)[0].partition(",")
            if found == "0":
                break
            text = words.strip('"') if found == str(code) else text
        raise BoxError("rejected", f'the trigger box at {self.name} refused "{command}": {text or line} ({code})', code)

    def _raise_silent(self, command: str, strange: bytes) -> NoReturn:
        if strange:
            shown = strange[:40].decode("latin-1")
            raise BoxError(
                "garbage",
                f'the device at {self.name} answered "{command}" with {shown!r}, which is no answer of a trigger box. '
                "Check that this port is the trigger box (capture.trigger_box in the rig file), the baud rate "
                f"({BAUD}), and the cable; then unplug it and plug it in again.",
            )
        raise BoxError(
            "mute",
            f'the trigger box at {self.name} does not answer "{command}". Check its power and USB cable, press its '
            "reset button, and try again.",
        )

    def _raise_broken(self, error: Exception, command: str) -> NoReturn:
        raise BoxError(
            "dead",
            f"the connection to the trigger box at {self.name} broke ({_reason(error)}) at {command!r}. Plug its USB "
            "cable in again and resume the take.",
        ) from error


def open_link(port: str, timeout_s: float) -> BoxLink:
    """Open `port` for this program alone. Raises BoxError: no_port, in_use or not_a_box."""
    import serial

    try:
        opened = serial.Serial(port, BAUD, timeout=READ_SLICE_S, write_timeout=max(timeout_s, 0.2), exclusive=True)
    except (OSError, ValueError) as error:  # SerialException is an OSError
        _raise_unusable(port, error)
    try:
        _keep_running_after_close(opened)
        opened.reset_input_buffer()
        link = BoxLink(opened, port, timeout_s)
        opened.write(b"\n")  # ends whatever an earlier program left half typed
        return link
    except Exception as error:
        opened.close()
        raise BoxError("dead", f"the port {port} broke while opening ({_reason(error)}): plug it in again") from error


def _keep_running_after_close(port: Any) -> None:
    """Boards such as the Mega restart when the line DTR falls and rises; without HUPCL closing leaves it up.

    So the log of an interrupted take survives the next opening. Ports without the setting are left alone.
    """
    import termios

    try:
        attributes = termios.tcgetattr(port.fileno())
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
    except (termios.error, OSError, AttributeError):
        pass


def _raise_unusable(port: str, error: Exception) -> NoReturn:
    number = getattr(error, "errno", None)
    text = str(error)
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        raise BoxError(
            "in_use",
            f"another program has the trigger box at {port} open: a second mesoface, the Arduino IDE's serial monitor "
            "or a terminal. Close it and try again.",
        ) from error
    if number == errno.EACCES:
        raise BoxError(
            "no_port",
            f"no permission to open {port}: add yourself to the group that owns it (usually: sudo usermod -aG dialout "
            "$USER) and log in again.",
        ) from error
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EIO):
        raise BoxError(
            "no_port",
            f"there is no serial port {port}. Plug the trigger box in, or set capture.trigger_box in the rig file to "
            'its port or to "auto".',
        ) from error
    raise BoxError("not_a_box", f"{port} cannot be used as a serial port: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
