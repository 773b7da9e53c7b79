"""The trigger box of a session: which plan steps it holds, where it stands, what it says it fired."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .box import BoxError, TriggerBox, find_box
from .box_protocol import BoxLogRow, box_steps
from .plan import Step
from .rig_models import Rig
from .session_view import SessionView
from .take_log import TakeLog

ARM_S = 60
READY_S = 15.0


@dataclass
class SessionBox:
    """Loads the steps of a plan, arms, and reads the log row by row; opens the port again when the box was away."""

    rig: Rig
    port: str
    take_id: str
    log: TakeLog
    view: SessionView
    box: TriggerBox | None = None
    loaded: tuple[int, ...] = ()
    seen_rows: int = 0
    stray_edges: int = 0
    armed_until_s: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def connect(self) -> None:
        """Open the port and check the box. Raises BoxError."""
        self.close()
        self.box = TriggerBox.open(find_box(self.port))
        identity = self.box.identify()
        self.facts = {"identity": asdict(identity), "channels": self.box.channels}
        needed = max(light.channel for light in self.rig.lights)
        if self.box.channels < needed:
            raise BoxError(
                "unsafe", f"the box has {self.box.channels} channels, the rig uses channel {needed}; correct rig.toml"
            )
        self.view.box = f"{identity.model} {identity.serial}"
        self.loaded, self.armed_until_s = (), 0.0

    def last_row(self, step: Step) -> BoxLogRow | None:
        """The last row that the box holds from before this connection, if it is `step`'s and beyond doubt."""
        if self.box is None or self.box.sequence_id() != self.take_id or self.box.status().stray:
            return None
        rows = self.box.log()
        loads = [record["steps"] for record in self.log.records if record["event"] == "sequence"]
        if not rows or not loads or not 0 <= rows[-1].step < len(loads[-1]):
            return None
        return rows[-1] if loads[-1][rows[-1].step] == step.index else None

    def load(self, steps: Sequence[Step]) -> None:
        """Load the steps with lamps; the box's row numbers count within them."""
        assert self.box is not None
        lit = [step for step in steps if step.light_mask]
        if not lit:
            return
        self.box.load(box_steps(self.rig, lit), sequence_id=self.take_id)
        self.loaded = tuple(step.index for step in lit)
        # After a crash the box's row numbers mean something only together with this line.
        self.log.append("sequence", steps=list(self.loaded))
        self.seen_rows, self.stray_edges, self.armed_until_s = 0, self.box.status().stray, 0.0

    def prepare(self, step: Step, remaining: Sequence[Step]) -> None:
        """Armed, standing at `step`, its lamps charged and the polariser turned. Raises BoxError.

        `remaining` begins with `step`: what to load when the box stands elsewhere.
        """
        assert self.box is not None
        status = self.box.status()
        if status.rows != self.seen_rows or status.stray != self.stray_edges or not self._stands_at(step):
            # Something fired that was not asked for, or a step failed: nothing but a fresh start is certain.
            self.box.abort()
            self.load(remaining)
            status = self.box.status()
        if not status.armed or time.monotonic() > self.armed_until_s - ARM_S / 2:
            self.box.arm(ARM_S)
            self.armed_until_s = time.monotonic() + ARM_S
        self.box.wait_ready(step.light_mask, step.polariser, deadline_s=time.monotonic() + READY_S)

    def _stands_at(self, step: Step) -> bool:
        return self.seen_rows < len(self.loaded) and self.loaded[self.seen_rows] == step.index

    def new_rows(self) -> tuple[BoxLogRow, ...]:
        """Rows since the last call."""
        assert self.box is not None
        rows = self.box.log(first=self.seen_rows)
        self.seen_rows += len(rows)
        return rows

    def judge(self, step: Step, rows: Sequence[BoxLogRow]) -> str:
        """What is wrong with the rows of one exposure of `step`, or an empty text."""
        if not rows:
            return "the trigger box saw no shutter open: check the sync cable of the bodies"
        if len(rows) > 1:
            return f"the trigger box saw {len(rows)} exposures instead of one"
        row = rows[0]
        if not row.fired:
            return f"the trigger box did not fire: {row.reason}"
        planned = self.loaded[row.step] if row.step < len(self.loaded) else None
        if planned != step.index or row.light_mask != step.light_mask or row.polariser != step.polariser:
            return (
                f"the trigger box fired step {planned} (lamps {row.light_mask:#x}, {row.polariser}) instead of "
                f"{step.index} (lamps {step.light_mask:#x}, {step.polariser})"
            )
        if row.inputs.bit_count() > len(step.shots):
            return f"{row.inputs.bit_count()} bodies opened their shutters instead of {len(step.shots)}"
        return self._stray_edges()

    def _stray_edges(self) -> str:
        """Did a shutter open that nobody released?"""
        assert self.box is not None
        before, self.stray_edges = self.stray_edges, self.box.status().stray
        count = self.stray_edges - before
        return f"{count} more shutter openings than releases: a body fired twice" if count else ""

    def abort(self) -> None:
        """Disarm; a box that does not answer any more is left alone, its arm timeout disarms it."""
        self.loaded, self.armed_until_s = (), 0.0
        if self.box is not None:
            self.box.abort()

    def close(self) -> None:
        if self.box is not None:
            self.box.close()
            self.box = None
