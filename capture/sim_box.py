"""A simulated trigger box: lamps that recharge, a polariser that takes time, and everything that can go wrong.

`SimBox` is the hardware and its reactions to sync edges and to command lines (`sim_box_commands`); `SimBoxPort` puts it
behind a serial port. Nothing runs in the background: each call first brings the box up to the present, event by
event, so a busy machine delays answers but never changes what was lit when.
"""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from .box_protocol import CLOCK_WRAP_US, BoxLogRow, BoxStatus, BoxStep, End, Reason
from .plan import Polariser
from .sim_box_parts import BoxFault, BoxFaultKind, FaultList, Filter, Firing, Lamp

LAMP_S = 0.01
"""The polariser stands still for so long after the lamps were triggered."""
HOTTEST_C = 70.0
LONGEST_ERROR_QUEUE = 8
OTHER_STATE: dict[Polariser, Polariser] = {"U": "U", "P": "X", "X": "P"}


@dataclass
class Pending:
    """A step whose trigger came at `edge_s` and whose lamps are due at `due_s`."""

    step: int
    edge_s: float
    due_s: float
    source: Literal["edge", "host"]


@dataclass
class BoxMemory:
    """All that a power cut erases. Times of the light in s, before division by the speed."""

    steps: list[BoxStep] = field(default_factory=list)
    rows: list[BoxLogRow] = field(default_factory=list)
    sequence_id: str = "-"
    next: int = 0
    swap: dict[int, int] = field(default_factory=dict)
    armed_until_s: float = -math.inf
    left: int = 0
    end: End = "none"
    stray: int = 0
    pending: Pending | None = None
    window_until_s: float = -math.inf
    hold_until_s: float = -math.inf
    deaf_until_s: float = -math.inf
    spurious_s: float = math.inf
    inputs: int = 0
    strobe_allowed: bool = False
    recycle_s: float = 0.0
    switch_s: float = 0.0
    window_s: float = 0.1
    watchdog_s: float = 10.0
    heard_s: float = -math.inf
    errors: list[tuple[int, str]] = field(default_factory=list)


class SimBox:
    """Box hardware with `channels` lamps; thread-safe, all times time.monotonic() in s.

    `recycle_s` is a lamp's recharge after full power and `polariser_switch_s` the filter's time: properties of the
    hardware that the host can lengthen but not shorten. `speed` divides every time of the light (recharge, switch,
    delay, window, cooling), not those of the arming and the watchdog. `cameras` names sync inputs 1, 2, ...; others
    are appended as they come.
    """

    def __init__(
        self,
        channels: int = 10,
        *,
        recycle_s: float = 0.5,
        polariser_switch_s: float = 0.1,
        speed: float = 1.0,
        serial: str = "SIM0001",
        cameras: Iterable[str] = (),
        max_steps: int = 128,
        max_rows: int = 192,
        temperature_c: float | None = 24.5,
    ):
        self.channels = channels
        self.recycle_s = recycle_s
        self.polariser_switch_s = polariser_switch_s
        self.speed = speed
        self.serial = serial
        self.max_steps = max_steps
        self.max_rows = max_rows
        self.temperature_c = temperature_c
        self._firings: list[Firing] = []
        self.memory = BoxMemory()
        self._cameras = list(cameras)
        self._lamps = [Lamp(speed) for _ in range(channels)]
        self._filter = Filter()
        self._faults = FaultList()
        self._lock = threading.RLock()
        self._born_s = time.monotonic()

    # -- what the rig around the box does

    def sync_edge(self, camera: str, time_s: float) -> None:
        """The X-sync contact of `camera` closed at `time_s`. Call it when it happens, from any thread."""
        with self._lock:
            if camera not in self._cameras:
                self._cameras.append(camera)
            self._advance(time_s)
            self._edge(1 << self._cameras.index(camera), time_s)
            self._advance(time_s)

    def firings_between(self, start_s: float, end_s: float) -> list[Firing]:
        """Light emitted from `start_s` to `end_s`, both included, in order."""
        return [firing for firing in self.firings if start_s <= firing.time_s <= end_s]

    @property
    def firings(self) -> list[Firing]:
        """All light emitted so far, in order."""
        with self.present():
            return list(self._firings)

    def handle_line(self, line: str) -> list[str]:
        """Answer one command line, without its newline; [] for an empty line."""
        from .sim_box_commands import answer

        with self.present() as now_s:
            self.memory.heard_s = now_s
            return answer(self, line, now_s)

    def power_cycle(self) -> None:
        """Cut the power: sequence, log and settings are gone; the lamps stay as charged as they are."""
        with self.present() as now_s:
            self.memory = BoxMemory(end="reset")
            self._born_s = now_s

    def inject(self, fault: BoxFault) -> None:
        """Let `fault` happen from now on."""
        with self._lock:
            self._faults.pending.append(fault)

    def clear_faults(self) -> None:
        """Forget the faults that have not happened yet."""
        with self._lock:
            self._faults.pending.clear()

    @property
    def faults(self) -> tuple[BoxFault, ...]:
        """Faults still to come."""
        with self.present():
            return tuple(self._faults.pending)

    def take_line_fault(self, *kinds: BoxFaultKind) -> BoxFault | None:
        """A fault of the serial line that is due now, counted down once."""
        with self.present():
            return self._faults.take(*kinds, steps={row.step for row in self.memory.rows})

    # -- what the command line needs

    @contextmanager
    def present(self) -> Iterator[float]:
        """Hold the box still in the present: yields time.monotonic() with everything due until then done."""
        with self._lock:
            now_s = time.monotonic()
            self._advance(now_s)
            yield now_s

    def clock_us(self, time_s: float) -> int:
        """The box's clock at `time_s`, in microseconds modulo CLOCK_WRAP_US."""
        return round((time_s - self._born_s) * 1e6) % CLOCK_WRAP_US

    def status(self, now_s: float) -> BoxStatus:
        memory = self.memory
        armed = math.isfinite(memory.armed_until_s)
        return BoxStatus(
            armed=armed,
            ready=sum(1 << number for number, lamp in enumerate(self._lamps) if lamp.is_ready(now_s)),
            next_step=memory.swap.get(memory.next, memory.next),
            left=memory.left if armed else 0,
            polariser=self._filter.at(now_s),
            settled=self._filter.is_settled(now_s) and not self.is_under_way(now_s),
            temperature_c=self.temperature_c,
            stray=memory.stray,
            rows=len(memory.rows),
            end=memory.end,
        )

    @property
    def is_hot(self) -> bool:
        return self.temperature_c is not None and self.temperature_c >= HOTTEST_C

    @property
    def log_is_full(self) -> bool:
        return len(self.memory.rows) >= self.max_rows

    def is_under_way(self, now_s: float) -> bool:
        """A step was triggered and its window is not over."""
        return self.memory.pending is not None or now_s < self.memory.window_until_s

    def trigger(self, source: Literal["edge", "host"], time_s: float) -> int:
        """Start the next step; the box must be armed and idle. Returns the step."""
        memory = self.memory
        if memory.next + 1 < len(memory.steps) and self._take("out_of_order", memory.next):
            memory.swap = {memory.next: memory.next + 1, memory.next + 1: memory.next}
        step = memory.swap.get(memory.next, memory.next)
        due_s = time_s + memory.steps[step].delay_us * 1e-6 / self.speed
        memory.inputs = 0
        memory.window_until_s = time_s + memory.window_s / self.speed
        memory.pending = Pending(step, time_s, due_s, source)
        return step

    def steer(self, now_s: float) -> None:
        """Let the polariser turn to what the next step needs, but not while lamps burn."""
        memory = self.memory
        if memory.pending is None and memory.next < len(memory.steps):
            target = memory.steps[memory.swap.get(memory.next, memory.next)].polariser
            takes_s = max(self.polariser_switch_s, memory.switch_s) / self.speed
            self._filter.turn(target, now_s, memory.hold_until_s, takes_s)

    def disarm(self, end: End) -> None:
        """Disarm; a step between its edge and its lamps is dropped and logged unless all is done."""
        memory = self.memory
        memory.armed_until_s, memory.left, memory.end = -math.inf, 0, end
        if memory.pending:
            pending, memory.pending = memory.pending, None
            self._log(pending, memory.steps[pending.step], "aborted")

    def queue_error(self, code: int, text: str) -> None:
        """Keep an error for SYST:ERR?; the last place of a full queue says that some were lost."""
        errors = self.memory.errors
        if len(errors) < LONGEST_ERROR_QUEUE:
            errors.append((code, text))
        else:
            errors[-1] = (-350, "error queue overflow")

    def spoil(self, step: BoxStep) -> BoxStep:
        """The step as it is stored: damaged when a lost_line fault is due."""
        spoiled = self._take("lost_line", len(self.memory.steps))
        return replace(step, delay_us=step.delay_us ^ 1) if spoiled else step

    # -- inside

    def _take(self, kind: BoxFaultKind, step: int) -> BoxFault | None:
        return self._faults.take(kind, steps={step})

    def _advance(self, now_s: float) -> None:
        """Do what falls due up to `now_s`, in order of time."""
        memory = self.memory
        while (next_s := min(memory.spurious_s, memory.pending.due_s if memory.pending else math.inf)) <= now_s:
            if next_s == memory.spurious_s:
                memory.spurious_s = math.inf
                self._edge(0, next_s)
            elif memory.pending:
                pending, memory.pending = memory.pending, None
                self._fire(pending)
        ends_s = min(memory.armed_until_s, memory.heard_s + memory.watchdog_s)
        if memory.pending is None and math.isfinite(memory.armed_until_s) and ends_s <= now_s:
            timeout = ends_s == memory.armed_until_s
            self.disarm("timeout" if timeout else "watchdog")
            self.queue_error(-365, "arm timeout" if timeout else "host silent")

    def _edge(self, input_bit: int, time_s: float) -> None:
        memory = self.memory
        if time_s < memory.deaf_until_s:
            return
        if time_s < memory.window_until_s:  # another body of the same step, or a bouncing contact
            memory.inputs |= input_bit
            if memory.pending is None:
                memory.rows[-1] = replace(memory.rows[-1], inputs=memory.inputs)
        elif memory.pending or time_s >= memory.armed_until_s:
            memory.stray += 1
        elif self.log_is_full:
            memory.stray += 1
            self.disarm("abort")
            self.queue_error(-223, "log full")
        elif self._take("missed_edge", memory.next):
            memory.deaf_until_s = time_s + memory.window_s / self.speed
        else:
            self.trigger("edge", time_s)
            memory.inputs = input_bit

    def _fire(self, pending: Pending) -> None:
        memory, step, due_s = self.memory, self.memory.steps[pending.step], pending.due_s
        if reason := self._refusal(step, due_s):
            self._log(pending, step, reason)
            return
        wrong = self._faults.take("wrong_lamp", "wrong_lamp_silent", steps={pending.step})
        driven = replace(step, light_mask=self._wrong_mask(step.light_mask, wrong.mask)) if wrong else step
        slow = 10 if self._take("slow_recycle", pending.step) else 1
        full_s = max(self.recycle_s, memory.recycle_s) * slow / self.speed
        for lamp in self._lamps_of(driven.light_mask):
            lamp.fire(due_s, step.energy_permille, full_s * step.energy_permille / 1000)
        self._emit(pending.step, driven, due_s)
        self._log(pending, step if wrong and wrong.kind == "wrong_lamp_silent" else driven, "")
        memory.hold_until_s = due_s + LAMP_S / self.speed
        memory.next += 1
        memory.swap = memory.swap if memory.next in memory.swap else {}
        memory.left -= 1
        self.steer(due_s)
        if memory.left <= 0 or memory.next >= len(memory.steps):
            self.disarm("done")
        if self._take("spurious_edge", pending.step):
            memory.spurious_s = memory.window_until_s + (max(self.polariser_switch_s, memory.switch_s)) / self.speed

    def _refusal(self, step: BoxStep, due_s: float) -> Reason:
        if self.is_hot:
            return "hot"
        lamps = self._lamps_of(step.light_mask)
        reasons = [lamp.refusal(due_s, step.energy_permille, self.memory.strobe_allowed) for lamp in lamps]
        stands = self._filter.at(due_s) == step.polariser and self._filter.is_settled(due_s)
        if not stands and not self.memory.swap:  # a box that swaps steps does not notice its polariser either
            reasons.append("polariser")
        order: tuple[Reason, ...] = ("not ready", "polariser", "duty", "strobe")
        for reason in order:
            if reason in reasons:
                return reason
        return ""

    def _wrong_mask(self, mask: int, instead: int | None) -> int:
        every = (1 << self.channels) - 1
        return instead & every if instead else (mask << 1 | mask >> (self.channels - 1)) & every

    def _emit(self, step: int, driven: BoxStep, due_s: float) -> None:
        missed = self._take("missed_flash", step)
        dark = 0 if missed is None else driven.light_mask if missed.mask is None else missed.mask
        shown = OTHER_STATE[driven.polariser] if self._take("stuck_polariser", step) else driven.polariser
        energy = round(driven.energy_permille * 0.3) if self._take("weak_flash", step) else driven.energy_permille
        if mask := driven.light_mask & ~dark:
            self._firings.append(Firing(step, mask, shown, max(1, energy), due_s))

    def _log(self, pending: Pending, driven: BoxStep, reason: Reason) -> None:
        row = BoxLogRow(
            step=pending.step,
            time_us=self.clock_us(pending.edge_s),
            source=pending.source,
            fired=not reason,
            light_mask=driven.light_mask,
            polariser=driven.polariser,
            reason=reason,
            inputs=self.memory.inputs,
        )
        self.memory.rows.append(row)

    def _lamps_of(self, mask: int) -> list[Lamp]:
        return [lamp for number, lamp in enumerate(self._lamps) if mask >> number & 1]
