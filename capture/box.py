"""The host's side of the trigger box: find it, load a sequence, arm, watch, and read what was fired.

    with TriggerBox.open(find_box(rig.capture.trigger_box)) as box:
        box.configure(rig)
        box.load(box_steps(rig, plan_steps), sequence_id=take_id)
        for number, step in enumerate(plan_steps):
            box.wait_ready(step.light_mask, step.polariser, time.monotonic() + 5)
            box.arm(timeout_s=10, count=1)       # this step and no other
            ...                                  # press the bodies; their sync edges fire the step
            row = box.wait_row(number, time.monotonic() + 2)

Opening, closing and losing the connection leave the box's log alone; only `load` and `reset` begin a new one.
"""

import math
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress

from .box_find import BOOT_S, BoxIdentity, find_box, identify
from .box_link import BoxError, BoxLink, open_link
from .box_protocol import (
    LONGEST_ARM_S,
    MAX_CHANNELS,
    BoxLogRow,
    BoxProtocolError,
    BoxStatus,
    BoxStep,
    format_step,
    parse_log,
    parse_status,
    read_number,
    sequence_crc,
)
from .box_safety import check_sequence, expected_times_s
from .plan import Polariser
from .rig_models import Rig

__all__ = ["BoxError", "BoxIdentity", "TriggerBox", "check_sequence", "expected_times_s", "find_box"]

POLL_S = 0.004


class TriggerBox:
    """An open trigger box. All methods block no longer than their deadline and raise BoxError.

    Deadlines called `deadline_s` are absolute, time.monotonic(); those called `timeout_s` are lengths of time.
    """

    def __init__(self, link: BoxLink, identity: BoxIdentity, channels: int):
        self._link = link
        self.identity = identity
        self.channels = channels
        self.sequence_id: str | None = None

    @classmethod
    def open(cls, port: str, timeout_s: float = 1.0, boot_s: float = BOOT_S) -> "TriggerBox":
        """Open `port`, make sure that a trigger box answers there, and clear its old errors.

        `timeout_s` is what each later answer may take, `boot_s` what the first may take at least.
        """
        link = open_link(port, timeout_s)
        try:
            identity = identify(link, max(boot_s, timeout_s))
            link.ask("*CLS", retry=True)
            return cls(link, identity, _number(link, "SYST:CHAN?", 1, MAX_CHANNELS))
        except BaseException:
            link.close()
            raise

    @property
    def port(self) -> str:
        """Name of the serial port."""
        return self._link.name

    def __enter__(self) -> "TriggerBox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disarm as far as the box still listens, and close the port; never raises."""
        with suppress(BoxError):
            self._link.ask("ABORT", timeout_s=0.3)
        self._link.close()

    def identify(self) -> BoxIdentity:
        """Ask who is there."""
        return identify(self._link, self._link.timeout_s)

    def ask(self, command: str) -> str:
        """First line of the answer to any command of the protocol."""
        return self._link.ask(command)[0]

    def configure(self, rig: Rig, watchdog_s: float = 10.0) -> None:
        """Tell the box the rig's recharge and switching times and how long its shutters stay open.

        The box keeps its own hardware's times where they are longer. `watchdog_s`, 0.5 to 60: an armed box that hears
        nothing from the host for so long disarms.
        """
        shutter_s = max(camera.exposure.shutter_s for camera in rig.cameras)
        self._set("SYST:REC", math.ceil(rig.limits.recycle_s * 1000))
        self._set("SYST:POL", math.ceil(rig.limits.polariser_switch_s * 1000))
        self._set("SYST:WDOG", min(60_000, max(500, round(watchdog_s * 1000))))
        self._set("SEQ:WIN", min(1_000_000, max(1_000, round(shutter_s * 1e6))))

    def allow_strobing(self, allowed: bool) -> None:
        """Confirm that the same lamp may fire more than four times in a row at 3 Hz and faster."""
        self._set("SYST:STROBE", int(allowed))

    def load(self, steps: Sequence[BoxStep], first: int = 0, sequence_id: str | None = None) -> str:
        """Replace sequence and log by `steps`, verify them by their checksum, and begin at step `first`.

        Rows and steps keep their numbers whatever `first` is. Returns the sequence id: `sequence_id` (1 to 24 letters,
        digits, "_", ".", "-") or a random one. Raises BoxError("mismatch") when the box holds something else even after
        a second try.
        """
        token = sequence_id or secrets.token_hex(8)
        want = f"{sequence_crc(steps)}, {len(steps)} steps"
        found = ""
        for _ in range(2):
            try:
                found = self._load_once(steps)
            except BoxError as error:
                if error.kind not in ("mute", "garbage"):
                    raise
                found = str(error)
            if found == want:
                self._link.ask(f"SEQ:ID {token}", retry=True)
                self.go_to(first)
                self.sequence_id = token
                return token
        raise BoxError(
            "mismatch",
            f"the trigger box at {self.port} does not hold the sequence it was sent ({found}; wanted {want}). Lines "
            "get lost on the way: use a shorter USB cable, away from the flashes' cables, and try again.",
        )

    def go_to(self, step: int) -> None:
        """Let the next edge fire `step`; the box must not be armed."""
        self._link.ask(f"SEQ:NEXT {step}", retry=True)

    def length(self) -> int:
        """Steps in the box's sequence."""
        return _number(self._link, "SEQ:LEN?", 0, 0xFFFF)

    def crc(self) -> str:
        """Checksum of the box's sequence, to compare with `sequence_crc`."""
        return self.ask("SEQ:CRC?")

    def read_sequence_id(self) -> str:
        """Id of the sequence (and so of the log) in the box, "-" when it has none, for example after a power cut."""
        return self.ask("SEQ:ID?")

    def status(self) -> BoxStatus:
        """What the box is doing."""
        return _parsed(parse_status, self.ask("STAT?"), self.port)

    def wait_ready(self, mask: int, polariser: Polariser, deadline_s: float) -> BoxStatus:
        """Wait until the lamps in `mask` are charged, the last step is over and the polariser stands at `polariser`.

        The box turns the polariser by itself to what its next step needs. Raises BoxError("not_ready") naming what is
        missing.
        """
        while True:
            status = self.status()
            if not mask & ~status.ready and status.settled and status.polariser == polariser:
                return status
            if time.monotonic() >= deadline_s:
                raise BoxError("not_ready", self._what_is_missing(status, mask, polariser))
            time.sleep(POLL_S)

    def arm(self, timeout_s: float, count: int | None = None, expected: int | None = None) -> int:
        """Let edges fire the next `count` steps (default: all that remain) within `timeout_s` (up to 600 s).

        `expected` is how many steps the host believes the sequence has (default: asks the box). Returns how many steps
        may fire. Raises BoxError: rejected, or not_ready when a lamp of the next step is not charged.
        """
        total = self.length() if expected is None else expected
        seconds = min(LONGEST_ARM_S, max(1, math.ceil(timeout_s)))
        command = f"ARM {seconds},{total}" + ("" if count is None else f",{count}")
        try:
            return int(self._link.ask(command)[0].partition(" ")[2])
        except BoxError as error:
            if "lamps not ready" in str(error):
                raise BoxError("not_ready", f"{error}. Wait for the lamps to charge, then arm again.") from error
            raise
        except ValueError as error:
            raise _strange(self.port, command) from error

    def fire(self, timeout_s: float = 3.0) -> BoxLogRow:
        """Fire the next step without a camera; returns its log row once the lamps have fired.

        Raises BoxError("not_ready") when the box refused with a row, "rejected" when it is not armed, "timeout" when no
        row appears.
        """
        before = self.status().rows
        self._link.ask("FIRE")
        row = self.wait_row(before, time.monotonic() + timeout_s)
        if not row.fired:
            raise BoxError(
                "not_ready",
                f"step {row.step} did not fire: {row.reason}. Wait until lamps and polariser are ready and fire again.",
            )
        return row

    def abort(self) -> None:
        """Disarm at once; a step whose lamps have not fired yet stays dark and is logged so."""
        self._link.ask("ABORT", retry=True)

    def log(self, first: int = 0) -> tuple[BoxLogRow, ...]:
        """Rows of the log from row `first` on, checked for damage.

        Raises BoxError("mismatch") when the log belongs to another sequence than the one this object loaded: the box
        was restarted or another program used it.
        """
        command = f"LOG? {first}"
        for last in (False, True):
            try:
                sequence_id, rows = parse_log(self._link.ask(command), first)
                break
            except BoxProtocolError as error:
                if last:
                    raise _strange(self.port, command) from error
            except BoxError as error:
                if error.code == -222:  # fewer rows than `first`: is it another log?
                    self._check_sequence_id(self.read_sequence_id())
                raise
        self._check_sequence_id(sequence_id)
        return rows

    def _check_sequence_id(self, found: str) -> None:
        if self.sequence_id is not None and found != self.sequence_id:
            raise BoxError(
                "mismatch",
                f"the log of the trigger box at {self.port} belongs to sequence {found!r}, not to this one "
                f"({self.sequence_id!r}): it lost power or another program used it. Resume the take to load it again.",
            )

    def wait_row(self, index: int, deadline_s: float) -> BoxLogRow:
        """Row `index` of the log, the next one to come, as soon as it exists.

        Raises BoxError: timeout when no edge reached the box, mismatch as `log` does.
        """
        while True:
            if rows := self.log(index):
                return rows[0]
            if time.monotonic() >= deadline_s:
                raise BoxError(
                    "timeout",
                    f"the trigger box at {self.port} saw no shutter open: check the sync cables from the bodies' hot "
                    "shoes to the box and that the box is armed.",
                )
            time.sleep(POLL_S)

    def clock(self) -> tuple[float, int]:
        """(time.monotonic() in s, the box's clock in us) of the same moment, to half a round trip."""
        before_s = time.monotonic()
        box_us = _number(self._link, "SYST:TIME?", 0, 0xFFFFFFFF)
        return (before_s + time.monotonic()) / 2, box_us

    def _set(self, header: str, value: int) -> None:
        self._link.ask(f"{header} {value}", retry=True)

    def _load_once(self, steps: Sequence[BoxStep]) -> str:
        self._link.ask("SEQ:CLR", retry=True)
        self.sequence_id = None
        for step in steps:
            self._link.ask(f"SEQ:ADD {format_step(step)}")
        return f"{self.crc()}, {self.length()} steps"

    def _what_is_missing(self, status: BoxStatus, mask: int, polariser: Polariser) -> str:
        channels = [str(bit + 1) for bit in range(MAX_CHANNELS) if (mask & ~status.ready) >> bit & 1]
        if channels:
            return (
                f"the lamps on channels {', '.join(channels)} of the trigger box at {self.port} are not ready: they "
                "recharge or are too hot. Wait, lower their energy, or check their power."
            )
        if status.polariser != polariser:
            return (
                f'the polariser of the trigger box at {self.port} is at "{status.polariser}" for step '
                f'{status.next_step}, not at "{polariser}": the box is at another step than the plan. Resume the take.'
            )
        return f"the polariser or the last step of the trigger box at {self.port} is not at rest: check the polariser."


def _number(link: BoxLink, query: str, low: int, high: int) -> int:
    return _parsed(lambda text: read_number(text, low, high, query), link.ask(query)[0], link.name)


def _parsed(parse, text: str, port: str):
    try:
        return parse(text)
    except BoxProtocolError as error:
        raise BoxError("garbage", f"the trigger box at {port} answered {text!r}: {error.text}. Try again.") from error


def _strange(port: str, command: str) -> BoxError:
    return BoxError(
        "garbage",
        f"the trigger box at {port} answered {command!r} with a damaged line, twice. Check its cable and try again.",
    )
