"""The language of the trigger box: steps, log rows, status, checksum, error codes.

Host and simulator share this file; the firmware implements the same in C++, and `docs/trigger-box.md` is the
specification. One ASCII line per command, ended by a newline; every command is answered. A command may carry a tag,
"#17 STAT?"; every line of its answer then starts with "#17 ", so a late answer is never taken for another's.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .plan import Polariser, Step
from .rig_models import Rig

PROTOCOL = "mesoface-box 1"
"""Answer to SYST:PROT?: name and version of this language."""
BAUD = 115200
MAX_CHANNELS = 32
LONGEST_LINE = 63
"""Characters of a command with its tag, without the newline: what a small controller buffers."""
LONGEST_DELAY_US = 1_000_000
LONGEST_ARM_S = 600
CLOCK_WRAP_US = 1 << 32
"""The box's clock counts microseconds modulo this: 71.6 minutes."""

HEAT_LIMIT_PERMILLE = 10_000
"""A lamp may hold the heat of ten full flashes ..."""
COOLING_PERMILLE_PER_S = 500
"""... and loses that of one every two seconds."""
STROBE_GAP_S = 1 / 3
"""Firings of one lamp closer than this are strobing (3 Hz and more) ..."""
STROBE_RUN = 4
"""... and so many in a row are allowed without confirmation: a pair and its immediate repetition."""

ERROR_TEXTS = {
    0: "No error",
    -102: "syntax",
    -108: "too many parameters",
    -109: "missing parameter",
    -113: "Undefined header",
    -221: "settings conflict",
    -222: "out of range",
    -223: "sequence full",
    -224: "illegal value",
    -240: "hardware",
    -350: "error queue overflow",
    -363: "line too long",
    -365: "time out",
}
"""SCPI's codes as used here; the text in an answer is more specific."""

Reason = Literal["", "not ready", "polariser", "duty", "strobe", "hot", "aborted"]
"""Why a step did not fire; empty when it did."""
End = Literal["none", "done", "timeout", "watchdog", "abort", "reset"]
"""Why the box was last disarmed."""

_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,24}")
_SOURCE_LETTERS: dict[str, Literal["edge", "host"]] = {"E": "edge", "H": "host"}


class BoxProtocolError(ValueError):
    """A line that breaks the protocol. `code` is the SCPI code and `text` what the box queues for it."""

    def __init__(self, code: int, text: str):
        super().__init__(f'{code},"{text}"')
        self.code = code
        self.text = text


@dataclass(frozen=True)
class BoxStep:
    """One entry of the box's sequence.

    `light_mask` has bit (channel - 1) per lamp, `energy_permille` is 1 to 1000 of full power, `delay_us` the wait
    between the step's first sync edge and its lamps.
    """

    light_mask: int
    polariser: Polariser
    energy_permille: int
    delay_us: int


@dataclass(frozen=True)
class BoxLogRow:
    """What the box did at one trigger.

    `time_us` is the first edge (or FIRE) on the box's clock, modulo CLOCK_WRAP_US. `light_mask` and `polariser` are
    what was driven, or would have been when `fired` is False; `reason` then says why not. `inputs` has bit
    (sync input - 1) for each input that saw an edge of this step.
    """

    step: int
    time_us: int
    source: Literal["edge", "host"]
    fired: bool
    light_mask: int
    polariser: Polariser
    reason: Reason = ""
    inputs: int = 0


@dataclass(frozen=True)
class BoxStatus:
    """Answer to STAT?.

    `ready` has a bit for each lamp that is charged and cool; `next_step` is the step the next edge fires and `left`
    how many more this arming allows; `polariser` is settled only when `settled`. `stray` counts edges that came while
    nothing was armed or a step was still under way, `rows` the log. `end` says why the box was last disarmed.
    """

    armed: bool
    ready: int
    next_step: int
    left: int
    polariser: Polariser
    settled: bool
    temperature_c: float | None
    stray: int
    rows: int
    end: End


def box_steps(rig: Rig, plan_steps: Sequence[Step]) -> tuple[BoxStep, ...]:
    """The box's sequence for a plan: one box step per plan step.

    Where several bodies expose together the lamps wait `capture.flash_delay_s` behind the first shutter, so that all
    are open; a single body's step fires at once.
    """
    together_us = round(rig.capture.flash_delay_s * 1e6)
    made = []
    for step in plan_steps:
        delay_us = together_us if len({shot.camera for shot in step.shots}) > 1 else 0
        made.append(BoxStep(step.light_mask, step.polariser, step.energy_permille, delay_us))
    return tuple(made)


def canonical_bytes(steps: Sequence[BoxStep]) -> bytes:
    """11 bytes per step: u32 mask, letter of the polariser, u16 energy, u32 delay; little-endian, no padding."""
    return b"".join(
        step.light_mask.to_bytes(4, "little")
        + step.polariser.encode()
        + step.energy_permille.to_bytes(2, "little")
        + step.delay_us.to_bytes(4, "little")
        for step in steps
    )


def sequence_crc(steps: Sequence[BoxStep]) -> str:
    """CRC-32 (that of zip and PNG) of the canonical bytes, as 8 upper-case hex digits."""
    return f"{zlib.crc32(canonical_bytes(steps)):08X}"


def check_step(step: BoxStep, channels: int) -> None:
    """Raise BoxProtocolError when a box of so many channels must refuse the step."""
    if not 0 < step.light_mask < 1 << channels:
        raise BoxProtocolError(-222, "mask out of range")
    if step.polariser not in get_args(Polariser):
        raise BoxProtocolError(-224, "polariser")
    if not 1 <= step.energy_permille <= 1000:
        raise BoxProtocolError(-222, "energy out of range")
    if not 0 <= step.delay_us <= LONGEST_DELAY_US:
        raise BoxProtocolError(-222, "delay out of range")


def read_number(text: str, low: int, high: int, name: str, base: int = 10) -> int:
    """A plain unsigned number of at most 10 digits. Raises BoxProtocolError: -102 no number, -222 out of range."""
    digits = r"[0-9A-Fa-f]{1,8}" if base == 16 else r"[0-9]{1,10}"
    if not re.fullmatch(digits, text):
        raise BoxProtocolError(-102, f"{name} is no number")
    value = int(text, base)
    if not low <= value <= high:
        raise BoxProtocolError(-222, f"{name} out of range")
    return value


def read_token(text: str) -> str:
    """A sequence id: 1 to 24 letters, digits, "_", "." or "-". Raises BoxProtocolError."""
    if not _TOKEN.fullmatch(text):
        raise BoxProtocolError(-224, "sequence id")
    return text


def format_step(step: BoxStep) -> str:
    """The parameters of SEQ:ADD, and the answer to SEQ:GET?."""
    return f"{step.light_mask:X},{step.polariser},{step.energy_permille},{step.delay_us}"


def parse_step(fields: Sequence[str], channels: int = MAX_CHANNELS) -> BoxStep:
    """A step from SEQ:ADD's four parameters. Raises BoxProtocolError."""
    mask, letter, energy, delay = fields
    letters: dict[str, Polariser] = {"U": "U", "P": "P", "X": "X"}
    most = 0xFFFFFFFF
    light_mask = read_number(mask, 0, most, "mask", 16)
    if letter not in letters:
        check_step(BoxStep(light_mask, "U", 1, 0), channels)
        raise BoxProtocolError(-224, "polariser")
    energy_permille, delay_us = read_number(energy, 0, most, "energy"), read_number(delay, 0, most, "delay")
    step = BoxStep(light_mask, letters[letter], energy_permille, delay_us)
    check_step(step, channels)
    return step


def format_row(index: int, row: BoxLogRow) -> str:
    """One line of LOG?'s answer."""
    return (
        f"{index},{row.step},{row.time_us},{'E' if row.source == 'edge' else 'H'},{int(row.fired)},"
        f"{row.light_mask:X},{row.polariser},{row.inputs:X},{row.reason}"
    )


def parse_row(line: str) -> tuple[int, BoxLogRow]:
    """(index, row) from one line of LOG?'s answer. Raises BoxProtocolError when it is no such line."""
    fields = line.split(",")
    if len(fields) != 9:
        raise BoxProtocolError(-102, f"log row {line!r}")
    index, step, time_us, source, fired, mask, letter, inputs, reason = fields
    known = source in _SOURCE_LETTERS and fired in ("0", "1")
    if not known or letter not in get_args(Polariser) or reason not in get_args(Reason):
        raise BoxProtocolError(-102, f"log row {line!r}")
    row = BoxLogRow(
        step=read_number(step, 0, 0xFFFF, "step"),
        time_us=read_number(time_us, 0, CLOCK_WRAP_US - 1, "time"),
        source=_SOURCE_LETTERS[source],
        fired=fired == "1",
        light_mask=read_number(mask, 0, 0xFFFFFFFF, "mask", 16),
        polariser=letter,  # type: ignore[arg-type]
        reason=reason,  # type: ignore[arg-type]
        inputs=read_number(inputs, 0, 0xFFFFFFFF, "inputs", 16),
    )
    return read_number(index, 0, 0xFFFF, "row"), row


def rows_crc(lines: Sequence[str]) -> str:
    """Checksum at the end of LOG?'s answer: CRC-32 of the row lines, each with a newline, 8 hex digits."""
    text = "".join(line + "\n" for line in lines)
    return f"{zlib.crc32(text.encode()):08X}"


def format_log(rows: Sequence[BoxLogRow], first: int, sequence_id: str) -> list[str]:
    """LOG?'s answer: "LOG <lines>,<rows in all>,<sequence id>", the rows from `first` on, "END <checksum>"."""
    lines = [format_row(first + number, row) for number, row in enumerate(rows[first:])]
    return [f"LOG {len(lines)},{len(rows)},{sequence_id}", *lines, f"END {rows_crc(lines)}"]


def parse_log(lines: Sequence[str], first: int) -> tuple[str, tuple[BoxLogRow, ...]]:
    """(sequence id, rows from `first` on) of a whole LOG? answer. Raises BoxProtocolError when a line is damaged."""
    count, _, sequence_id = parse_log_header(lines[0])
    body = list(lines[1:-1])
    if len(body) != count or lines[-1] != f"END {rows_crc(body)}":
        raise BoxProtocolError(-102, "log checksum")
    parsed = [parse_row(line) for line in body]
    if [index for index, _ in parsed] != list(range(first, first + count)):
        raise BoxProtocolError(-102, "log row numbers")
    return sequence_id, tuple(row for _, row in parsed)


def parse_log_header(line: str) -> tuple[int, int, str]:
    """(lines that follow before END, rows in all, sequence id). Raises BoxProtocolError."""
    found = re.fullmatch(r"LOG ([0-9]{1,5}),([0-9]{1,5}),(\S{1,24})", line)
    if not found:
        raise BoxProtocolError(-102, f"log header {line!r}")
    return int(found[1]), int(found[2]), found[3]


def format_status(status: BoxStatus) -> str:
    """STAT?'s answer."""
    temperature = "-" if status.temperature_c is None else f"{status.temperature_c:.1f}"
    return (
        f"ARMED={int(status.armed)} READY={status.ready:X} NEXT={status.next_step} LEFT={status.left} "
        f"POL={status.polariser} SETTLED={int(status.settled)} TEMP={temperature} STRAY={status.stray} "
        f"ROWS={status.rows} END={status.end}"
    )


def parse_status(line: str) -> BoxStatus:
    """The status in STAT?'s answer; keys this version does not know are skipped. Raises BoxProtocolError."""
    fields: dict[str, str] = dict(part.split("=", 1) for part in line.split() if "=" in part)
    try:
        letter, end = fields["POL"], fields["END"]
        if letter not in get_args(Polariser) or end not in get_args(End):
            raise ValueError(line)
        return BoxStatus(
            armed=bool(int(fields["ARMED"])),
            ready=int(fields["READY"], 16),
            next_step=int(fields["NEXT"]),
            left=int(fields["LEFT"]),
            polariser=letter,  # type: ignore[arg-type]
            settled=bool(int(fields["SETTLED"])),
            temperature_c=None if fields["TEMP"] == "-" else float(fields["TEMP"]),
            stray=int(fields["STRAY"]),
            rows=int(fields["ROWS"]),
            end=end,  # type: ignore[arg-type]
        )
    except (KeyError, ValueError) as error:
        raise BoxProtocolError(-102, f"status {line!r}") from error


def split_command(line: str) -> tuple[str, str, list[str]]:
    """(tag with its trailing blank or "", header in capitals, parameters) of a command line.

    Raises BoxProtocolError when the tag is malformed.
    """
    tag = ""
    if line.startswith("#"):
        found = re.match(r"#[0-9]{1,5} +", line)
        if not found:
            raise BoxProtocolError(-102, "tag")
        tag, line = found[0].rstrip() + " ", line[found.end() :]
    header, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    return tag, header.upper(), [part.strip() for part in rest.split(",")] if rest else []
