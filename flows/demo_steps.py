"""The demo's one progress display, and its two worker processes."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..reconstruct.worker_pool import worker_pool

WORKERS = 2
Shown = Callable[[str, int, int], None]
"""Told (what, done, total) while a step runs."""


class Steps:
    """Step k of n: a live line with the elapsed time while it runs, a plain line when it is done.

    Without a terminal there is no live line; a plain line then says when a step begins.
    """

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self.names, self.console = list(names), console
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def step(self, name: str) -> Iterator[Shown]:
        """Run a step; what its body prints is swallowed, so that the display stays one."""
        title = f"step {self.names.index(name) + 1} of {len(self.names)}: {name}"
        started = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{title} ...", highlight=False)
        with self._live() as live:
            task = live.add_task(title, total=None, what="")

            def shown(what: str, done: int, total: int) -> None:
                live.update(task, completed=done, total=total or None, what=what)

            with redirect_stdout(io.StringIO()):
                yield shown
        self.seconds[name] = time.monotonic() - started
        self.console.print(
            f"{title}: {clock(self.seconds[name])}  [dim](since the start {clock(self.total_s)})[/]", highlight=False
        )

    def _live(self) -> Progress:
        return Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"), console=self.console, transient=True, redirect_stdout=False,
            redirect_stderr=False, disable=not self.console.is_terminal,
        )  # fmt: skip


def clock(seconds: float) -> str:
    """75 -> 1:15."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def crew() -> Iterator[ProcessPoolExecutor]:
    """Worker processes for the whole demo; an interruption ends them at once, their stages are never half-written.

    They are forked here and now, before libraries start threads in this process: what is forked later may hang.
    """
    with worker_pool(WORKERS) as pool:
        pool.submit(len, ()).result()
        yield pool


def in_parallel(
    pool: ProcessPoolExecutor, work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], shown: Shown, what: str
) -> list[Any]:
    """Results of work(*arguments) in the order of the arguments."""
    running = [pool.submit(_silently, work, *each) for each in arguments]
    for done, future in enumerate(as_completed(running)):
        future.result()
        shown(what, done + 1, len(running))
    return [future.result() for future in running]


def _silently(work: Callable[..., Any], *arguments: Any) -> Any:
    with redirect_stdout(io.StringIO()):
        return work(*arguments)
