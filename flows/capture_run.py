"""Run a session for the command line: board, checks as frames arrive, verdict, contact sheet, what to do next."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..capture.camera_messages import CameraError
from ..capture.plan import Step
from ..capture.session import Connections, Session
from ..capture.session_view import SessionView
from ..capture.take import Take
from ..capture.take_report import TakeReport, report_state
from ..capture.take_tidy import drop_copies, set_aside
from .capture_board import shown
from .take_quality import QualityRun, TakeQuality, write_quality

console = Console(highlight=False)
Guidance = Callable[[Step], None]


@dataclass(frozen=True)
class SessionResult:
    """How a session ended; `quality` is None for calibration takes and takes without frames."""

    report: TakeReport
    quality: TakeQuality | None
    seconds: float

    @property
    def exit_code(self) -> int:
        good = self.report.status in ("complete", "closed")
        return 0 if good and (self.quality is None or self.quality.verdict == "accept") else 1


def run_session(
    take: Take,
    connections: Connections,
    *,
    steps: Sequence[int] | None = None,
    shoot: bool = True,
    guidance: Guidance = lambda step: None,
    live: bool = True,
) -> SessionResult:
    """Shoot `steps` (default: all that are missing) of an open take, fetch everything, judge it, say what is next."""
    started_s = time.monotonic()
    view = SessionView()
    with QualityRun(take) as quality, shown(view, take, console, live):
        for line in set_aside(take):
            view.say(line, "warning")
        with Session(take, connections, view, quality.add) as session:
            try:
                session.connect(for_shooting=shoot)
                if shoot:
                    wanted = session.take.state().missing_steps() if steps is None else session.with_partners(steps)
                    session.shoot(wanted, guidance)
                quality.release()
                failures = session.fetch()
            except CameraError as error:
                view.say(str(error), "error")
                failures = {}
            for name, text in failures.items():
                view.say(f"{name}: {text}", "error")
        drop_copies(take)
        view.set_phase("checking the images")
        found = quality.finish() if take.manifest.kind == "scan" else None
        view.set_phase("done")
    return finish(take, found, time.monotonic() - started_s)


def finish(take: Take, quality: TakeQuality | None, seconds: float) -> SessionResult:
    """Write quality.json and the contact sheet; print verdict and what to do."""
    report = report_state(take.folder, take.manifest, take.state())
    if quality is not None:
        write_quality(take, quality)
    result = SessionResult(report, quality, seconds)
    describe(take.folder, result)
    return result


def describe(folder: Path, result: SessionResult) -> None:
    """The outcome in words."""
    report, quality = result.report, result.quality
    colour = "green" if report.status in ("complete", "closed") else "red"
    console.print(f"[bold]{escape(folder.name)}[/]: [{colour}]{report.status}[/], ", end="")
    console.print(f"{report.verified} of {report.shots} frames verified on disk, {result.seconds:.1f} s")
    for line in report.lines:
        console.print(f"  [red]{escape(line)}[/]", soft_wrap=True)
    if quality is not None:
        style = {"accept": "bold green", "reshoot": "bold yellow", "reject": "bold red"}[quality.verdict]
        console.print(f"quality: [{style}]{quality.verdict}[/]")
        for reason in quality.reasons:
            console.print(f"  {escape(reason)}", soft_wrap=True)
        if quality.verdict == "reshoot" and quality.steps:
            steps = ",".join(map(str, quality.steps))
            console.print(f"  mesoface take reshoot {escape(str(folder))} --steps {steps}", soft_wrap=True)
        console.print(f"contact sheet: {escape(str(folder / 'data/contact-sheet.html'))}", soft_wrap=True)
