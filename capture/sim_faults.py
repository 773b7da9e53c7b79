"""Faults of a simulated camera: what goes wrong, when, and how often."""

import threading
from dataclasses import dataclass
from typing import Literal

from .sim_eos_values import DOWNLOADS, Op
from .sim_ptp import Request, Response

FaultKind = Literal[
    "drop",  # the body closes its connections
    "stall",  # it does what was asked but answers only after stall_s, or when cleared
    "cut",  # it announces the whole answer, sends half and closes
    "busy",  # it answers DeviceBusy
    "card_full",  # it answers StoreFull
    "shutter_failure",  # it answers GeneralError
    "denied_setting",  # it refuses to change a property
    "ignored_setting",  # it says OK to a change and keeps the old value
    "duplicate_trigger",  # one press makes two exposures
    "no_exposure",  # a press is accepted and nothing happens
    "freeze",  # the body hangs: no connection is answered, new ones neither, no shutter moves, until cleared
    "dead",  # nobody listens at the address, until cleared
    "wrong_serial",  # it reports the serial number `serial`, until cleared
    "battery_low",  # the battery is low, until cleared
]
Place = Literal["release", "download", "setting"]

RESPONSES: dict[FaultKind, int] = {
    "busy": Response.DEVICE_BUSY,
    "card_full": Response.STORE_FULL,
    "shutter_failure": Response.GENERAL_ERROR,
    "denied_setting": Response.ACCESS_DENIED,
    "ignored_setting": Response.OK,
}
LASTING: tuple[FaultKind, ...] = ("freeze", "dead", "wrong_serial", "battery_low")
_PLACES: dict[FaultKind, Place] = {
    **dict.fromkeys(("busy", "card_full", "shutter_failure", "duplicate_trigger", "no_exposure"), "release"),
    **dict.fromkeys(("drop", "stall", "cut"), "download"),
    **dict.fromkeys(("denied_setting", "ignored_setting"), "setting"),
}


@dataclass(frozen=True)
class Fault:
    """One fault: from the `nth` matching operation after its injection on, `times` times in a row.

    `operation` says what is counted: an operation code such as 0x9116, or "release" (a full press), "download" (a
    file: the request that reads byte `at_byte` of it) or "setting" (a property written, any or the one whose code is
    `property`). None means where the kind belongs: releases for busy, card_full, shutter_failure, duplicate_trigger
    and no_exposure; downloads for drop, stall and cut; settings for denied_setting and ignored_setting.
    freeze, dead, wrong_serial and battery_low last from the first match (at once when `operation` is None) until
    they are cleared. `times` None means until cleared.
    """

    kind: FaultKind
    nth: int = 1
    times: int | None = 1
    operation: int | Place | None = None
    property: int | None = None
    at_byte: int = 0
    stall_s: float | None = None
    serial: str = "000000000000"

    def __post_init__(self) -> None:
        if self.nth < 1 or (self.times is not None and self.times < 1) or self.at_byte < 0:
            raise ValueError(f"{self.nth=} {self.times=} {self.at_byte=}, but expected 1 or more, bytes 0 or more")

    def matches(self, request: Request, data: bytes) -> bool:
        """Whether this operation is one that the fault counts; `data` is what the host sent along."""
        place = self.operation if self.operation is not None else _PLACES.get(self.kind)
        if place == "release":
            return is_full_press(request)
        if place == "download":
            return _reads_byte(request, self.at_byte)
        if place == "setting" or (place == Op.EOS_SET_PROPERTY and self.property is not None):
            written = int.from_bytes(data[4:8], "little")
            return request.operation == Op.EOS_SET_PROPERTY and self.property in (None, written)
        return place is not None and request.operation == place


class FaultPlan:
    """The faults injected into one body; any thread may inject and clear."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[Fault, list[int]]] = []
        self._lasting: list[Fault] = []
        self._generation = 0

    def inject(self, fault: Fault) -> None:
        """Add a fault; its counting starts now."""
        with self._changed:
            if fault.kind in LASTING and fault.operation is None:
                self._lasting.append(fault)
            else:
                self._waiting.append((fault, [0]))

    def clear(self) -> None:
        """Forget all faults and wake whatever they hold."""
        with self._changed:
            self._waiting.clear()
            self._lasting.clear()
            self._generation += 1
            self._changed.notify_all()

    def take(self, request: Request, data: bytes) -> Fault | None:
        """Count one operation; the fault that strikes it, or None. A lasting fault becomes active by it."""
        struck = None
        with self._changed:
            for fault, seen in list(self._waiting):
                if not fault.matches(request, data):
                    continue
                seen[0] += 1
                if seen[0] < fault.nth or struck is not None:
                    continue
                struck = fault
                if fault.kind in LASTING:
                    self._lasting.append(fault)
                    self._waiting.remove((fault, seen))
                elif fault.times is not None and seen[0] >= fault.nth + fault.times - 1:
                    self._waiting.remove((fault, seen))
        return struck

    def active(self, kind: FaultKind) -> Fault | None:
        """The lasting fault of this kind that is in force, if any."""
        with self._changed:
            return next((fault for fault in self._lasting if fault.kind == kind), None)

    @property
    def generation(self) -> int:
        """How often the faults were cleared: a stalled answer goes on when this changes."""
        with self._changed:
            return self._generation

    def wait(self, timeout_s: float) -> None:
        """Wait until faults are cleared, at most `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)


def is_full_press(request: Request) -> bool:
    """Whether the operation presses the shutter button all the way."""
    return request.operation == Op.EOS_RELEASE_ON and bool(request.param(0) & 2)


def _reads_byte(request: Request, position: int) -> bool:
    if request.operation not in DOWNLOADS:
        return False
    if request.operation == Op.GET_OBJECT:
        return True
    return request.param(1) <= position < request.param(1) + request.param(2)
