"""The command line of the simulated trigger box: one function per command, found by its header.

Each function gets the box, the parameters and the present time, and returns the answer's lines; it raises
BoxProtocolError to refuse. The firmware has the same commands in the same order.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .box_protocol import (
    ERROR_TEXTS,
    LONGEST_ARM_S,
    LONGEST_LINE,
    PROTOCOL,
    BoxProtocolError,
    format_log,
    format_status,
    format_step,
    parse_step,
    read_number,
    read_token,
    sequence_crc,
    split_command,
)

if TYPE_CHECKING:
    from .sim_box import SimBox

Answer = Callable[["SimBox", list[str], float], list[str]]


def answer(box: "SimBox", line: str, now_s: float) -> list[str]:
    """Lines that the box sends back for one command line; [] for an empty line."""
    tag = ""
    try:
        line = line.strip()
        if not line:
            return []
        if len(line) > LONGEST_LINE:
            raise BoxProtocolError(-363, "line too long")
        if not re.fullmatch(r"[ -~]+", line):
            raise BoxProtocolError(-102, "not ASCII")
        tag, header, parameters = split_command(line)
        if header not in COMMANDS:
            raise BoxProtocolError(-113, ERROR_TEXTS[-113])
        fewest, most, function = COMMANDS[header]
        if len(parameters) < fewest or "" in parameters:
            raise BoxProtocolError(-109, ERROR_TEXTS[-109])
        if len(parameters) > most:
            raise BoxProtocolError(-108, ERROR_TEXTS[-108])
        lines = function(box, parameters, now_s)
    except BoxProtocolError as error:
        box.queue_error(error.code, error.text)
        lines = [f"ERR {error.code}"]
    return [tag + one for one in lines]


def _refuse_if(condition: bool, text: str) -> None:
    if condition:
        raise BoxProtocolError(-221, text)


def _idn(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    return [f"Mesoface,trigger box,{box.serial},1.0-sim"]


def _reset(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    box.disarm("reset")
    heard_s, errors, stray = box.memory.heard_s, box.memory.errors, box.memory.stray
    window_until_s, hold_until_s = box.memory.window_until_s, box.memory.hold_until_s
    box.memory = type(box.memory)(end="reset", heard_s=heard_s, errors=errors, stray=stray)
    box.memory.window_until_s, box.memory.hold_until_s = window_until_s, hold_until_s
    return ["OK"]


def _clear_errors(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    box.memory.errors.clear()
    return ["OK"]


def _next_error(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    code, text = box.memory.errors.pop(0) if box.memory.errors else (0, ERROR_TEXTS[0])
    return [f'{code},"{text}"']


def _set_ms(name: str, attribute: str, low: int, high: int, unit: float) -> Answer:
    def command(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
        value = read_number(parameters[0], low, high, name)
        _refuse_if(box.status(now_s).armed, "armed")
        setattr(box.memory, attribute, value * unit)
        return ["OK"]

    return command


def _set_strobe(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    allowed = read_number(parameters[0], 0, 1, "strobe")
    _refuse_if(box.status(now_s).armed, "armed")
    box.memory.strobe_allowed = bool(allowed)
    return ["OK"]


def _refuse_change(box: "SimBox", now_s: float) -> None:
    """The sequence and its id stand fast while armed, and as long as the log tells of them."""
    _refuse_if(box.status(now_s).armed, "armed")
    _refuse_if(bool(box.memory.rows), "log not empty")


def _clear_sequence(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    _refuse_if(box.status(now_s).armed, "armed")
    memory = box.memory
    memory.steps, memory.rows, memory.sequence_id, memory.next, memory.swap = [], [], "-", 0, {}
    memory.window_until_s = min(memory.window_until_s, now_s)
    return ["OK"]


def _add(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    step = parse_step(parameters, box.channels)
    _refuse_change(box, now_s)
    if len(box.memory.steps) >= box.max_steps:
        raise BoxProtocolError(-223, ERROR_TEXTS[-223])
    box.memory.steps.append(box.spoil(step))
    box.steer(now_s)
    return [f"OK {len(box.memory.steps)}"]


def _get(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    number = read_number(parameters[0], 0, 0xFFFFFFFF, "step")
    if number >= len(box.memory.steps):
        raise BoxProtocolError(-222, "step out of range")
    return [format_step(box.memory.steps[number])]


def _set_serial(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,12}", parameters[0]):
        raise BoxProtocolError(-224, "serial number")
    _refuse_if(box.status(now_s).armed, "armed")
    box.serial = parameters[0]
    return ["OK"]


def _set_id(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    token = read_token(parameters[0])
    _refuse_change(box, now_s)
    box.memory.sequence_id = token
    return ["OK"]


def _set_next(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    number = read_number(parameters[0], 0, 0xFFFFFFFF, "step")
    if number >= len(box.memory.steps):
        raise BoxProtocolError(-222, "step out of range")
    _refuse_if(box.status(now_s).armed, "armed")
    box.memory.next, box.memory.swap = number, {}
    box.steer(now_s)
    return ["OK"]


def _arm(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    memory, status = box.memory, box.status(now_s)
    timeout_s = read_number(parameters[0], 1, LONGEST_ARM_S, "timeout")
    expected = read_number(parameters[1], 1, 0xFFFFFFFF, "expected steps")
    remaining = len(memory.steps) - memory.next
    count = read_number(parameters[2], 1, 0xFFFFFFFF, "count") if len(parameters) > 2 else remaining
    _refuse_if(not memory.steps, "empty sequence")
    _refuse_if(status.armed, "armed")
    _refuse_if(expected != len(memory.steps), "expected steps differ")
    _refuse_if(remaining < 1, "sequence finished")
    _refuse_if(count > remaining, "count exceeds sequence")
    if box.log_is_full:
        raise BoxProtocolError(-223, "log full")
    if box.is_hot:
        raise BoxProtocolError(-240, "too hot")
    mask = memory.steps[memory.swap.get(memory.next, memory.next)].light_mask
    _refuse_if(mask & ~status.ready != 0, "lamps not ready")
    memory.armed_until_s, memory.left, memory.end = now_s + timeout_s, count, "none"
    return [f"OK {count}"]


def _fire(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    _refuse_if(not box.status(now_s).armed, "not armed")
    _refuse_if(box.is_under_way(now_s), "step under way")
    if box.log_is_full:
        box.disarm("abort")
        raise BoxProtocolError(-223, "log full")
    step = box.trigger("host", now_s)
    return [f"OK {step}"]


def _abort(box: "SimBox", _: list[str], now_s: float) -> list[str]:
    if box.status(now_s).armed or box.memory.pending:
        box.disarm("abort")
    return ["OK"]


def _log(box: "SimBox", parameters: list[str], now_s: float) -> list[str]:
    rows = box.memory.rows
    first = read_number(parameters[0], 0, 0xFFFFFFFF, "row") if parameters else 0
    if first > len(rows):
        raise BoxProtocolError(-222, "row out of range")
    return format_log(rows, first, box.memory.sequence_id)


def _milliseconds(value_s: float) -> list[str]:
    return [str(round(value_s * 1000))]


COMMANDS: dict[str, tuple[int, int, Answer]] = {
    "*IDN?": (0, 0, _idn),
    "*RST": (0, 0, _reset),
    "*CLS": (0, 0, _clear_errors),
    "SYST:ERR?": (0, 0, _next_error),
    "SYST:PROT?": (0, 0, lambda box, _, now_s: [PROTOCOL]),
    "SYST:CHAN?": (0, 0, lambda box, _, now_s: [str(box.channels)]),
    "SYST:TIME?": (0, 0, lambda box, _, now_s: [str(box.clock_us(now_s))]),
    "SYST:SERIAL": (1, 1, _set_serial),
    "SYST:REC": (1, 1, _set_ms("recycle", "recycle_s", 0, 60_000, 1e-3)),
    "SYST:REC?": (0, 0, lambda box, _, now_s: _milliseconds(max(box.recycle_s, box.memory.recycle_s))),
    "SYST:POL": (1, 1, _set_ms("switch", "switch_s", 0, 60_000, 1e-3)),
    "SYST:POL?": (0, 0, lambda box, _, now_s: _milliseconds(max(box.polariser_switch_s, box.memory.switch_s))),
    "SYST:WDOG": (1, 1, _set_ms("watchdog", "watchdog_s", 500, 60_000, 1e-3)),
    "SYST:WDOG?": (0, 0, lambda box, _, now_s: _milliseconds(box.memory.watchdog_s)),
    "SYST:STROBE": (1, 1, _set_strobe),
    "SYST:STROBE?": (0, 0, lambda box, _, now_s: [str(int(box.memory.strobe_allowed))]),
    "SEQ:CLR": (0, 0, _clear_sequence),
    "SEQ:ADD": (4, 4, _add),
    "SEQ:LEN?": (0, 0, lambda box, _, now_s: [str(len(box.memory.steps))]),
    "SEQ:GET?": (1, 1, _get),
    "SEQ:CRC?": (0, 0, lambda box, _, now_s: [sequence_crc(box.memory.steps)]),
    "SEQ:ID": (1, 1, _set_id),
    "SEQ:ID?": (0, 0, lambda box, _, now_s: [box.memory.sequence_id]),
    "SEQ:NEXT": (1, 1, _set_next),
    "SEQ:NEXT?": (0, 0, lambda box, _, now_s: [str(box.status(now_s).next_step)]),
    "SEQ:WIN": (1, 1, _set_ms("window", "window_s", 1_000, 1_000_000, 1e-6)),
    "SEQ:WIN?": (0, 0, lambda box, _, now_s: [str(round(box.memory.window_s * 1e6))]),
    "ARM": (2, 3, _arm),
    "STAT?": (0, 0, lambda box, _, now_s: [format_status(box.status(now_s))]),
    "FIRE": (0, 0, _fire),
    "ABORT": (0, 0, _abort),
    "LOG?": (0, 1, _log),
}
"""Header: (fewest parameters, most parameters, function)."""
