"""The flows in Prefect's hands: runs with names and tags, tasks, retries, artifacts, questions, concurrency limits.

`mesoface.flows.prefect_flows.regenerate_all` and the like are Prefect flows, made when first asked for, so that
deployments find them and nobody else imports Prefect. Prefect's caching is off: stage.py decides what is valid.
"""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from ..capture.errors import UserError
from ..capture.files import write_json
from .dask_runner import RUNNER_PARAMETERS, open_pool
from .flow_catalogue import FLOWS, LIMITS, FlowSpec, find_flow
from .flow_run import (
    RETRIES,
    RETRY_DELAY_S,
    FlowResult,
    LocalPool,
    Pool,
    Step,
    Taken,
    ask_in_terminal,
    is_transient,
    waiting_threads,
)
from .prefect_setup import LIMITS_FILE, prefect_home
from .prefect_tidy import noted, tidy

DECISION_S = 12 * 3600
"""A paused run waits so long for the operator."""
LABELS = ("subject", "name", "out", "source", "sources")
"""Parameters that say what a run is about."""


@dataclass
class PrefectRun:
    """Inside of a Prefect flow run."""

    pool: Pool = field(default_factory=LocalPool)
    retries: int = RETRIES
    retry_delay_s: float = RETRY_DELAY_S
    terminal: Callable[[], bool] = field(default=lambda: _at_terminal())
    """Whether somebody can answer a question there."""

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._task(name.split(" ")[0], name, lambda: function(*arguments))()

    def each(self, items: Mapping[str, Sequence[Any]], steps: Sequence[Step]) -> tuple[dict[str, list], dict[str, str]]:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        done: dict[str, list] = {}
        failures: dict[str, str] = {}
        taken = Taken(len(items), done, failures)
        key = _key(f"progress-{steps[0][0]}")
        progress: Any = create_progress_artifact(0.0, key=key, description=f"{len(items)} x {steps[0][0]} and so on")

        def take(label: str, result: Callable[[], list]) -> None:
            taken.take(label, result)
            update_progress_artifact(progress, 100.0 * (len(done) + len(failures)) / max(1, len(items)))

        def tasks(label: str) -> list[Any]:
            return [
                self._task(name, f"{name} {label}", lambda f=function: self.pool.call(f, *items[label]))
                for name, function in steps
            ]

        if self.pool.width == 1:
            for label in items:
                take(label, lambda label=label: [one() for one in tasks(label)])
        else:
            self._at_once(items, tasks, take)
        return {label: done[label] for label in items if label in done}, dict(sorted(failures.items()))

    def _at_once(
        self,
        items: Mapping[str, Sequence[Any]],
        tasks: Callable[[str], list[Any]],
        take: Callable[[str, Callable[[], list]], None],
    ) -> None:
        """As many items at the same time as the pool has workers, each in a thread that waits for them."""
        from concurrent.futures import as_completed
        from contextvars import copy_context

        with waiting_threads(self.pool.width) as threads:
            running = {
                threads.submit(copy_context().run, lambda one=label: [task() for task in tasks(one)]): label
                for label in items
            }
            for future in as_completed(running):
                take(running[future], future.result)

    def note(self, key: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from prefect.artifacts import create_markdown_artifact

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"

        lines = [f"## {title}", "", line(columns), line(["---"] * len(columns)), *map(line, rows)]
        create_markdown_artifact("\n".join(lines), key=_key(key), description=title)

    def link(self, key: str, path: Path, text: str) -> None:
        from prefect.artifacts import create_link_artifact

        url = path.absolute().as_uri()
        # A browser opens no file:// address from a page of a server: the path is there to be copied.
        create_link_artifact(url, link_text=f"{text}: {path.absolute()}", key=_key(key), description=str(path))

    def decide(self, question: str) -> str:
        if self.terminal():
            return ask_in_terminal(question)
        from prefect.flow_runs import pause_flow_run
        from prefect.input import RunInput

        class Decision(RunInput):
            decision: Literal["reshoot", "keep", "stop"] = "reshoot"

        asked = Decision.with_initial_data(description=question)
        return pause_flow_run(wait_for_input=asked, timeout=DECISION_S, poll_interval=1).decision

    def _task(self, name: str, label: str, body: Callable[[], Any]) -> Any:
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        def worth_it(_task: Any, _run: Any, state: Any) -> bool:
            try:
                state.result()
            except BaseException as error:
                return is_transient(error)
            return False

        def work() -> Any:
            return body()

        return task(
            name=name, task_run_name=label.replace("{", "(").replace("}", ")"), retries=self.retries,
            retry_delay_seconds=self.retry_delay_s, retry_condition_fn=worth_it, cache_policy=NO_CACHE,
            persist_result=False,
        )(work)  # fmt: skip


@lru_cache(maxsize=32)
def prefect_flow(name: str) -> Any:
    """A flow of the catalogue as a Prefect flow."""
    return make_flow(find_flow(name))


def make_flow(spec: FlowSpec) -> Any:
    """The Prefect flow of a specification; flows that scale have the parameters of the runner too."""
    from prefect import flow

    own = list(inspect.signature(spec.function).parameters.values())[1:]
    more = RUNNER_PARAMETERS if spec.scales else ()
    signature = inspect.Signature([*(one.replace(kind=one.KEYWORD_ONLY) for one in own), *more])

    def body(**parameters: Any) -> FlowResult:
        where = {one.name: parameters.pop(one.name, one.default) for one in more}
        from prefect.runtime import flow_run

        run = str(flow_run.id)
        with (
            noted(Path(os.environ.get("PREFECT_HOME") or prefect_home()), run),
            limited(spec.limit, run),
            open_pool(**where) as pool,
        ):
            return spec.function(PrefectRun(pool), **parameters)

    def run_name() -> str:
        from prefect.runtime import flow_run

        return f"{spec.name} {_about(flow_run.parameters)} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}".replace("  ", " ")

    body.__name__ = body.__qualname__ = spec.name.replace("-", "_")
    body.__doc__ = spec.function.__doc__
    body.__signature__ = signature  # type: ignore[attr-defined]
    body.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return flow(name=spec.name, description=spec.summary, flow_run_name=run_name, persist_result=False)(body)


def run_in_prefect(spec: FlowSpec, parameters: Mapping[str, Any]) -> FlowResult:
    """Run a flow under Prefect in this process. Raises what the flow raises."""
    from prefect import tags

    made = prefect_flow(spec.name) if FLOWS.get(spec.name) is spec else make_flow(spec)
    runner = parameters.get("runner", "local")
    with tags("mesoface", *spec.tags, f"runner-{runner}"):
        return made(**parameters)


class limited:
    """A place under a concurrency limit for a flow run, waited for. A limit that was never defined is an error: Prefect
    would go on without any."""

    def __init__(self, limit: str, run: str) -> None:
        self.limit, self.run = limit, run

    def __enter__(self) -> None:
        from prefect.client.schemas.objects import ConcurrencyLeaseHolder
        from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
        from prefect.concurrency.sync import concurrency

        holder = ConcurrencyLeaseHolder(type="flow_run", id=UUID(self.run))
        # A server that answers late must not end hours of work.
        self.held = concurrency(self.limit, strict=True, holder=holder, raise_on_lease_renewal_failure=False)
        try:
            self.held.__enter__()
        except ConcurrencySlotAcquisitionError as error:
            raise UserError(
                f"concurrency limit {self.limit!r}: {error}. Define it with: mesoface flows limits"
            ) from None

    def __exit__(self, *about: Any) -> None:
        self.held.__exit__(*about)


def define_limits(home: Path, *, anew: bool = False) -> dict[str, int]:
    """The limits as the server has them; LIMITS are made in a new home, or all that are missing with `anew`.

    In a home that has had them, a missing one stays missing: somebody removed it, and runs that need it fail. Places
    that killed runs hold are freed.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    with get_client(sync_client=True) as client:
        known = {one.name: one.limit for one in client.read_global_concurrency_limits(limit=200, offset=0)}
        if anew or not (home / LIMITS_FILE).is_file():
            for name, limit in LIMITS.items():
                if name not in known:
                    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
                    known[name] = limit
            write_json(home / LIMITS_FILE, {"made": sorted(LIMITS)})
        tidy(home, client)
    return known


def _about(parameters: Mapping[str, Any]) -> str:
    for name in LABELS:
        value = parameters.get(name)
        if isinstance(value, list):
            value = (
                f"{Path(str(value[0])).name} and {len(value) - 1} more" if len(value) > 1 else "".join(map(str, value))
            )
        if value:
            return Path(str(value)).name
    return ""


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "note"


def _at_terminal() -> bool:
    return os.isatty(0)


def __getattr__(name: str) -> Any:
    spec = name.replace("_", "-")
    if spec not in FLOWS:
        raise AttributeError(name)
    return prefect_flow(spec)
