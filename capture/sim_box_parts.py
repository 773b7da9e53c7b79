"""Parts of the simulated trigger box: lamps, polariser, emitted light, and the list of faults to come."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from .box_protocol import COOLING_PERMILLE_PER_S, HEAT_LIMIT_PERMILLE, STROBE_GAP_S, STROBE_RUN, Reason
from .plan import Polariser

BoxFaultKind = Literal[
    "missed_flash",
    "weak_flash",
    "missed_edge",
    "spurious_edge",
    "wrong_lamp",
    "wrong_lamp_silent",
    "out_of_order",
    "stuck_polariser",
    "slow_recycle",
    "lost_line",
    "dead",
    "mute",
    "lost_answer",
    "late_answer",
    "garbage",
]


@dataclass(frozen=True)
class BoxFault:
    """One thing that goes wrong `times` times.

    Light: missed_flash (log says fired, the lamps of `mask` stay dark, by default all), weak_flash (a third of the
    energy), wrong_lamp (those of `mask` fire instead, by default each one's right neighbour, and the log says so),
    wrong_lamp_silent (the log lies), out_of_order (the step and the one after it swap places, honestly logged),
    stuck_polariser (the filter stands in the pair's other state, the log lies), slow_recycle (the fired lamps need ten
    times as long). Edges: missed_edge (no row), spurious_edge (another edge after the step, with no shutter open).
    Line: lost_line (SEQ:ADD is answered but stored with another delay), dead (the port vanishes), mute (a command is
    neither done nor answered), lost_answer (done, not answered), late_answer (answered after `delay_s`), garbage (noise
    instead of the answer).

    `step` restricts a fault to that step; a fault of the line then waits until that step is in the log.
    """

    kind: BoxFaultKind
    step: int | None = None
    times: int = 1
    mask: int | None = None
    delay_s: float = 0.3


class FaultList:
    """Faults to come; not thread-safe by itself."""

    def __init__(self):
        self.pending: list[BoxFault] = []

    def take(self, *kinds: BoxFaultKind, steps: set[int]) -> BoxFault | None:
        """The first fault of one of `kinds` that is for any step or one of `steps`, counted down once."""
        for number, fault in enumerate(self.pending):
            if fault.kind in kinds and (fault.step is None or fault.step in steps):
                if fault.times > 1:
                    self.pending[number] = replace(fault, times=fault.times - 1)
                else:
                    del self.pending[number]
                return fault
        return None


@dataclass(frozen=True)
class Firing:
    """Light that was really emitted. `time_s` is time.monotonic(), `polariser` where the filter really stood."""

    step: int
    light_mask: int
    polariser: Polariser
    energy_permille: int
    time_s: float


class Lamp:
    """Charge, heat and rhythm of one lamp. `speed` divides the times."""

    def __init__(self, speed: float):
        self._speed = speed
        self._ready_s = -math.inf
        self._fired_s = -math.inf
        self._heat_permille = 0.0
        self._run = 0

    def _heat_at(self, now_s: float) -> float:
        cooled = COOLING_PERMILLE_PER_S * self._speed * (now_s - self._fired_s)
        return max(0.0, self._heat_permille - cooled)

    def _is_quick(self, now_s: float) -> bool:
        return (now_s - self._fired_s) * self._speed < STROBE_GAP_S

    def is_ready(self, now_s: float) -> bool:
        """Charged, and cool enough for a full flash."""
        return now_s >= self._ready_s and self._heat_at(now_s) + 1000 <= HEAT_LIMIT_PERMILLE

    def refusal(self, now_s: float, energy_permille: int, strobe_allowed: bool) -> Reason:
        """Why it must not fire now; "" when it may."""
        if now_s < self._ready_s:
            return "not ready"
        if self._heat_at(now_s) + energy_permille > HEAT_LIMIT_PERMILLE:
            return "duty"
        if not strobe_allowed and self._is_quick(now_s) and self._run >= STROBE_RUN:
            return "strobe"
        return ""

    def fire(self, now_s: float, energy_permille: int, recycle_s: float) -> None:
        """`recycle_s` is this firing's recharge time as it will really pass."""
        self._run = self._run + 1 if self._is_quick(now_s) else 1
        self._heat_permille = self._heat_at(now_s) + energy_permille
        self._fired_s = now_s
        self._ready_s = now_s + recycle_s


class Filter:
    """A polariser that turns from one state to another between two times."""

    def __init__(self):
        self._before: Polariser = "U"
        self._after: Polariser = "U"
        self._starts_s = -math.inf
        self._settled_s = -math.inf

    def at(self, now_s: float) -> Polariser:
        """The state it stands in, or turns to, at `now_s`."""
        return self._after if now_s >= self._starts_s else self._before

    def is_settled(self, now_s: float) -> bool:
        return not self._starts_s <= now_s < self._settled_s

    def turn(self, target: Polariser, now_s: float, hold_until_s: float, takes_s: float) -> None:
        """Decide at `now_s` to stand at `target`, turning no earlier than `hold_until_s`."""
        if target == self._after:
            return
        turning = not self.is_settled(now_s)
        self._before, self._after = self.at(now_s), target
        self._starts_s = now_s if turning else max(now_s, hold_until_s)
        self._settled_s = self._starts_s if self._before == target and not turning else self._starts_s + takes_s
