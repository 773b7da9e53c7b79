"""The live board of a capture session: cameras, light steps, transfers, messages, on one terminal screen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..capture.session_view import SessionView, StepState
from ..capture.take import Take

STEP_MARKS: dict[StepState, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "shooting": ("▶", "bold yellow"),
    "shot": ("■", "green"),
    "retry": ("↻", "bold yellow"),
    "failed": ("✗", "bold red"),
}
STATE_STYLES = {"ready": "green", "connecting": "yellow", "reconnecting": "yellow", "not connected": "dim"}
LEVEL_STYLES = {"info": "", "warning": "yellow", "error": "bold red"}
SHOWN_MESSAGES = 8


class Board:
    """Draws a SessionView; rich asks it for a new picture several times a second."""

    def __init__(self, view: SessionView, take: Take) -> None:
        self.view, self.take = view, take
        self.started_s = time.monotonic()

    def __rich__(self) -> Panel:
        with self.view.lock:
            parts = [self._cameras(), Text(), self._steps(), Text(), *self._messages()]
            title = f"[bold]{escape(self.view.title)}[/]  {escape(self.view.phase)}"
        seconds = time.monotonic() - self.started_s
        return Panel(Group(*parts), title=title, subtitle=f"{seconds:.0f} s", padding=(0, 1))

    def _cameras(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("camera", "serial", "battery", "left", "state", "files", "transfer"):
            table.add_column(heading, header_style="dim", no_wrap=True)
        for camera in self.view.cameras.values():
            battery = "" if camera.battery_percent is None else f"{camera.battery_percent} %"
            left = "" if camera.shots_left is None else str(camera.shots_left)
            style = STATE_STYLES.get(camera.state, "cyan" if camera.state.startswith("sending") else "bold red")
            sending = camera.state.startswith("sending")
            bar = (
                ProgressBar(total=max(camera.bytes_total, 1), completed=camera.bytes_done, width=16) if sending else ""
            )
            rate = f" {camera.rate_bytes_s / 1e6:.0f} MB/s" if sending else ""
            transfer = Table.grid(padding=(0, 1))
            transfer.add_row(bar, rate)
            table.add_row(
                camera.name,
                camera.serial,
                battery,
                left,
                Text(camera.state, style=style),
                f"{camera.files_done}/{camera.files_total}",
                transfer,
            )
        return table

    def _steps(self) -> Text:
        text = Text("lights   ", style="dim")
        text.append(f"{self.view.box}\n", style="dim")
        kinds = {shot.step: shot for shot in self.take.plan}
        for step, state in self.view.steps.items():
            mark, style = STEP_MARKS[state]
            shot = kinds[step]
            text.append(f"{mark}{shot.polariser}{step:<3}", style=style)
        if self.view.step is not None and self.view.step in kinds:
            shot = kinds[self.view.step]
            lamps = "no lamp" if not shot.lights else shot.lights[0] if len(shot.lights) == 1 else "all lamps"
            text.append(f"\nstep {self.view.step}: {lamps}, {shot.kind}", style="bold")
        return text

    def _messages(self) -> list[Text]:
        latest = list(self.view.messages)[-SHOWN_MESSAGES:]
        return [Text(text, style=LEVEL_STYLES[level]) for _, level, text in latest] or [Text("no warnings", "dim")]


@contextmanager
def shown(view: SessionView, take: Take, console: Console, live: bool) -> Iterator[None]:
    """Show the board while the body runs; without a terminal (or `live`), its messages as plain lines."""
    if live and console.is_terminal:
        with Live(Board(view, take), console=console, refresh_per_second=8, transient=False):
            yield
        return
    lines = _PlainLines(view, console)
    view.messages = lines  # pyright: ignore[reportAttributeAccessIssue]
    yield


class _PlainLines(list):
    """Stands in for the board's message list where there is no screen: each message is printed at once."""

    def __init__(self, view: SessionView, console: Console) -> None:
        super().__init__(view.messages)
        self._console = console

    def append(self, item: tuple) -> None:
        super().append(item)
        _, level, text = item
        self._console.print(Text(text, style=LEVEL_STYLES[level]), soft_wrap=True)
