"""The trigger box of a session: holds the whole plan, is armed for one step at a time, and tells what it fired.

The sequence carries the take's id, so that after a crash the box's log still says which step was fired last.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .box import BoxError, TriggerBox, find_box
from .box_protocol import CLOCK_WRAP_US, STROBE_GAP_S, STROBE_RUN, BoxLogRow, BoxStep, box_steps, sequence_crc
from .box_safety import check_sequence
from .plan import Step
from .rig_models import Rig
from .session_view import SessionView

ARM_S = 10
READY_S = 15.0
WATCHDOG_S = 10.0
SAME_LAMPS_S = STROBE_GAP_S + 0.05


@dataclass
class SessionBox:
    """Opens the port (again, when the box was away), loads the steps with lamps, arms, compares the log."""

    rig: Rig
    port: str
    take_id: str
    steps: tuple[Step, ...]
    view: SessionView
    box: TriggerBox | None = None
    seen_rows: int = 0
    seen_stray: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    _clock: tuple[float, int] = (0.0, 0)
    _last_mask: int = 0
    _last_s: float = 0.0
    _same: int = 0

    @property
    def is_scan(self) -> bool:
        """Is this a take of a person, shot as fast as the rig can?"""
        return all(shot.kind in ("uniform", "parallel", "cross", "ambient") for s in self.steps for shot in s.shots)

    @property
    def lit(self) -> tuple[int, ...]:
        """Plan step of each row of the box's sequence."""
        return tuple(step.index for step in self.steps if step.light_mask)

    def _sequence(self) -> tuple[BoxStep, ...]:
        return box_steps(self.rig, [step for step in self.steps if step.light_mask])

    def connect(self) -> None:
        """Open the port, check the box, load the plan unless the box still holds it. Raises BoxError."""
        self.close()
        self.view.box = "connecting"
        box = TriggerBox.open(find_box(self.port))
        try:
            needed = max(light.channel for light in self.rig.lights)
            if box.channels < needed:
                raise BoxError(
                    "unsafe", f"it has {box.channels} channels, the rig uses channel {needed}; correct the rig file"
                )
            box.abort()
            box.configure(self.rig, WATCHDOG_S)
            wanted = self._sequence()
            # Calibration takes fire the same lamps again and again, but an operator moves the target in between.
            slow_s = None if self.is_scan else [float(index) for index in range(len(wanted))]
            check_sequence(wanted, self.rig, slow_s)
            if box.read_sequence_id() == self.take_id and box.crc() == sequence_crc(wanted):
                box.sequence_id = self.take_id
            else:
                box.load(wanted, sequence_id=self.take_id)
            status = box.status()
        except BaseException:
            box.close()
            raise
        self.box = box
        self.seen_rows, self.seen_stray = status.rows, status.stray
        self.facts = {"identity": asdict(box.identity), "channels": box.channels, "port": box.port}
        self.view.box = f"{box.identity.model} {box.identity.serial}"

    def last_row(self, step: Step) -> BoxLogRow | None:
        """The last row in the box's log, if it is of this take and of `step`, and no other shutter opened since."""
        if self.box is None:
            return None
        rows = self.box.log()
        if not rows or self.box.status().stray:
            return None
        return rows[-1] if self.lit[rows[-1].step] == step.index else None

    def prepare(self, step: Step) -> str:
        """Stand at `step`, lamps charged, polariser turned, armed for this one firing.

        Returns what happened since the last step although nobody asked for it, or an empty text: then some body may
        have made a frame of which nobody knows. Raises BoxError.
        """
        assert self.box is not None
        status = self.box.status()
        surprise = ""
        if status.rows != self.seen_rows or status.stray != self.seen_stray:
            surprise = "a shutter opened that nobody released"
            self.seen_rows, self.seen_stray = status.rows, status.stray
        position = self.lit.index(step.index)
        if status.armed or status.next_step != position:
            self.box.abort()
            self.box.go_to(position)
        self.box.wait_ready(step.light_mask, step.polariser, deadline_s=time.monotonic() + READY_S)
        self._same = self._same + 1 if step.light_mask == self._last_mask else 1
        if self._same >= STROBE_RUN:
            # No stroboscope: the same lamps, again and again, stay below 3 flashes a second.
            time.sleep(max(0.0, self._last_s + SAME_LAMPS_S - time.monotonic()))
        self._last_mask, self._last_s = step.light_mask, time.monotonic()
        if not surprise:
            self.box.arm(ARM_S, count=1, expected=len(self.lit))
            self._clock = self.box.clock()
        return surprise

    def edge_after_s(self, row: BoxLogRow, moment_s: float) -> float:
        """How long after `moment_s` (monotonic) the edge of a row of the present step came."""
        clock_s, clock_us = self._clock
        # The box's counter wraps; the difference to the reading of a moment ago does not.
        since_us = (row.time_us - clock_us + CLOCK_WRAP_US // 2) % CLOCK_WRAP_US - CLOCK_WRAP_US // 2
        return clock_s + since_us / 1e6 - moment_s

    def new_rows(self) -> tuple[BoxLogRow, ...]:
        """Rows since the last call."""
        assert self.box is not None
        rows = self.box.log(first=self.seen_rows)
        self.seen_rows += len(rows)
        return rows

    def judge(self, step: Step, rows: Sequence[BoxLogRow]) -> str:
        """What is wrong with the rows of one exposure of `step`, or an empty text. Raises BoxError."""
        assert self.box is not None
        stray = self.box.status().stray
        extra, self.seen_stray = stray - self.seen_stray, stray
        if not rows:
            return "the trigger box saw no shutter open: check the sync cable of the bodies"
        if len(rows) > 1 or extra:
            return "more shutters opened than were released: a body fired twice"
        row = rows[0]
        if not row.fired:
            return f"the trigger box did not fire: {row.reason}"
        fired = self.lit[row.step] if row.step < len(self.lit) else None
        if fired != step.index or row.light_mask != step.light_mask or row.polariser != step.polariser:
            return (
                f"the trigger box fired step {fired} (lamps {row.light_mask:#x}, polariser {row.polariser}) instead of "
                f"{step.index} (lamps {step.light_mask:#x}, polariser {step.polariser})"
            )
        if row.inputs.bit_count() > len(step.shots):
            return f"{row.inputs.bit_count()} bodies opened their shutters instead of {len(step.shots)}"
        return ""

    def abort(self) -> None:
        """Disarm. Raises BoxError when the box does not answer; its watchdog disarms it then."""
        if self.box is not None:
            self.box.abort()

    def close(self) -> None:
        if self.box is not None:
            self.box.close()
            self.box = None
