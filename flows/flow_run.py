"""How a flow runs: one after another in this process, or watched by Prefect, with the same steps and results.

A flow is a plain function that takes a `FlowRun` first. `PlainRun` is all that it needs; prefect_flows.py has the one
that shows steps, notes and questions in Prefect's UI. What is valid is decided by stage.py alone.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from ..capture.box_link import BoxError
from ..capture.camera_messages import CameraError
from ..capture.errors import UserError
from ..capture.verified_write import WriteError
from ..dataset.patch_shards import DiskFull

console = Console(highlight=False)
RETRIES = 2
RETRY_DELAY_S = 10.0
TRANSIENT = (CameraError, BoxError, WriteError, OSError)
"""A device or a disk may do better next time. Nothing else is tried again: the same numbers give the same error."""
FINAL = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT,
    errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG,
}  # fmt: skip
DECISIONS = ("reshoot", "keep", "stop")

Step = tuple[str, Callable[..., Any]]


@dataclass(frozen=True)
class FlowResult:
    """What a flow made. `hashes`: what lies on disk, by name; equal whoever ran the flow and where."""

    summary: str
    exit_code: int = 0
    """0: done; 1: done, but something was left out, warned of, or has to be shot again."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "summary": self.summary, "exit_code": self.exit_code, "hashes": dict(self.hashes),
            "folders": dict(self.folders), "failures": dict(self.failures),
        }  # fmt: skip


class Pool(Protocol):
    """Where steps are computed."""

    width: int
    """How many at the same time."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)`, wherever; waits for it and returns or raises what it does."""
        ...


class LocalPool:
    """Here, one at a time."""

    width = 1

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


class FlowRun(Protocol):
    """What a flow asks of whoever runs it."""

    pool: Pool

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """One step in this process (devices, trainings); tried again after a `TRANSIENT` error."""
        ...

    def each(self, items: Mapping[str, Sequence[Any]], steps: Sequence[Step]) -> tuple[dict[str, list], dict[str, str]]:
        """All steps, `function(*arguments)` in order, for each item, in the pool.

        Returns the results of whole items by label, and the user's mistakes in others; the rest goes on.
        """
        ...

    def note(self, key: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for whoever looks at the run later."""
        ...

    def link(self, key: str, path: Path, text: str) -> None:
        """Where a report lies."""
        ...

    def decide(self, question: str) -> str:
        """The operator's decision, one of DECISIONS. May wait for long."""
        ...


def is_transient(error: BaseException) -> bool:
    """Whether it is worth another try."""
    if not isinstance(error, TRANSIENT) or isinstance(error, UserError):
        return False
    return not (isinstance(error, OSError) and error.errno in FINAL)


@dataclass
class PlainRun:
    """Without Prefect: plain lines on the console, questions in the terminal."""

    pool: Pool = field(default_factory=LocalPool)
    retries: int = RETRIES
    retry_delay_s: float = RETRY_DELAY_S

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._tried(name, function, *arguments)

    def each(self, items: Mapping[str, Sequence[Any]], steps: Sequence[Step]) -> tuple[dict[str, list], dict[str, str]]:
        done: dict[str, list] = {}
        failures: dict[str, str] = {}
        taken = Taken(len(items), done, failures)

        def chain(label: str) -> list[Any]:
            arguments = items[label]
            return [self._tried(f"{name} {label}", self.pool.call, function, *arguments) for name, function in steps]

        if self.pool.width == 1:
            for label in items:
                taken.take(label, lambda label=label: chain(label))
        else:
            with waiting_threads(self.pool.width) as threads:
                running = {threads.submit(chain, label): label for label in items}
                for future in as_completed(running):
                    taken.take(running[future], future.result)
        return {label: done[label] for label in items if label in done}, dict(sorted(failures.items()))

    def note(self, key: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table

        table = Table(*map(escape, columns), title=escape(title), title_justify="left")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)

    def link(self, key: str, path: Path, text: str) -> None:
        console.print(f"{escape(text)}: {escape(str(path))}", soft_wrap=True)

    def decide(self, question: str) -> str:
        return ask_in_terminal(question)

    def _tried(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        for left in range(self.retries, -1, -1):
            try:
                return function(*arguments)
            except Exception as error:
                if not left or not is_transient(error):
                    raise
                console.print(f"[yellow]{escape(name)}:[/] {escape(str(error))}; tried again", soft_wrap=True)
                time.sleep(self.retry_delay_s)
        raise AssertionError("unreachable")


@dataclass
class Taken:
    """Collects the ends of items: results, or a user's mistake, which doesn't stop the others."""

    total: int
    done: dict[str, list]
    failures: dict[str, str]

    def take(self, label: str, result: Callable[[], list]) -> None:
        """Raises what is no mistake in the item itself: a full disk, an error of ours."""
        try:
            self.done[label] = result()
        except DiskFull:  # the next item would find it full too
            raise
        except UserError as error:
            self.failures[label] = str(error)
        state = "left out" if label in self.failures else "ready"
        console.print(f"{len(self.done) + len(self.failures)} of {self.total}: {escape(label)} {state}", soft_wrap=True)


@contextmanager
def waiting_threads(width: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that only wait for a pool; what has not begun is dropped when the body fails."""
    threads = ThreadPoolExecutor(width, thread_name_prefix="waiting")
    try:
        yield threads
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        raise
    threads.shutdown()


def ask_in_terminal(question: str) -> str:
    """Raises UserError where nobody can answer."""
    if not os.isatty(0):
        raise UserError(f"{question} Nobody can answer here: run this in a terminal, or with Prefect and its UI")
    console.print(escape(question), soft_wrap=True)
    while True:
        answer = console.input(f"{' / '.join(DECISIONS)}: ").strip().lower()
        found = [name for name in DECISIONS if answer and name.startswith(answer)]
        if len(found) == 1:
            return found[0]
