"""`mesoface flows`: the flows by name, with Prefect or without, here or on Dask; schedules; Prefect's own UI."""

import inspect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.errors import UserError
from .dask_runner import Runner, open_pool
from .dataset_jobs import WORKER_MB
from .flow_catalogue import FLOWS, FlowSpec, find_flow
from .flow_run import FlowResult, PlainRun
from .json_output import json_result
from .prefect_setup import own_server, prefect_home, prepare, server, server_went_away

console = Console(highlight=False)


@dataclass(frozen=True)
class RunOptions:
    """How a flow is run."""

    prefect: bool = True
    """--no-prefect: the same functions without Prefect, its server and its database."""
    home: Path | None = None
    """Folder of Prefect's database; default prefect/ in the data folder."""
    json: bool = False
    """One JSON object on standard output: summary, hashes of what was made, folders, failures."""


@dataclass(frozen=True)
class ScaleOptions:
    """Where the scans and photographs of a flow are computed."""

    runner: Runner = "local"
    """local: one after another in this process; dask: on Dask workers."""
    dask_address: str = ""
    """Scheduler of a cluster such as tcp://host:8786; without it workers are started on this machine."""
    workers: int = 2
    """Dask workers to start on this machine, one scan each."""
    memory_mb: int = WORKER_MB
    """Memory of each of those workers."""


def list_flows() -> None:
    """The flows, the concurrency limit that each holds, and what it does.

    Example: mesoface flows list
    """
    table = Table("flow", "limit", "dask", "what it does")
    for spec in FLOWS.values():
        table.add_row(spec.name, spec.limit, "yes" if spec.scales else "", escape(spec.summary))
    console.print(table)


def run_flow(spec: FlowSpec, parameters: dict[str, Any], options: RunOptions, scale: ScaleOptions) -> FlowResult:
    """Run a flow as the command line does. Raises what the flow raises."""
    where = dict(vars(scale)) if spec.scales else {}
    if not options.prefect:
        with open_pool(**where) as pool:
            return spec.function(PlainRun(pool), **parameters)
    home = prepare(options.home)
    with console.status("starting Prefect"):
        own_server(home)
        from .prefect_flows import define_limits, run_in_prefect

        define_limits(home)
    try:
        return run_in_prefect(spec, {**parameters, **where})
    except UserError:
        raise
    except Exception as error:
        if not server_went_away():
            raise
        raise UserError(
            "Prefect's server went away; every finished stage is kept: run the same command again, or with --no-prefect"
        ) from error


def serve(
    *flows: str,
    home: Path | None = None,
    port: int | None = None,
    cron: str = "",
    parameters: Annotated[str, Parameter(name="--parameters")] = "{}",
    at_once: int = 1,
) -> int:
    """Serve flows as deployments that Prefect's UI, its command line or a schedule can start, until Ctrl-C.

    Starts Prefect's server when none runs on this home. Runs happen on this machine, in this folder.

    Example: mesoface flows serve regenerate-all --cron "0 2 * * *" --parameters '{"sessions": "sessions"}'

    Parameters
    ----------
    flows
        Names of flows; default all.
    home
        Folder of Prefect's database; default prefect/ in the data folder.
    port
        Of the server; default 4200, or a free one.
    cron
        Schedule of the one flow that is given, as for cron, in local time.
    parameters
        Its parameters as a JSON object.
    at_once
        Runs at the same time.
    """
    specs = [find_flow(name) for name in flows] or list(FLOWS.values())
    given = _parameters(parameters)
    if (cron or given) and len(specs) != 1:
        raise UserError("--cron and --parameters are for one flow: give its name, for example regenerate-all")
    folder = prepare(home)
    with server(folder, port) as (url, _):
        from .prefect_deployments import serve_flows

        console.print(f"Prefect's UI: {url.removesuffix('/api')}", soft_wrap=True)
        serve_flows(folder, specs, cron, given, at_once)
    return 0


def ui(*, home: Path | None = None, port: int | None = None, browser: bool = True) -> int:
    """Run Prefect's own server and UI on this machine, and open it, until Ctrl-C.

    Flows that are started meanwhile report to it; earlier ones are in its database.

    Example: mesoface ui --no-browser --port 4300

    Parameters
    ----------
    home
        Folder of Prefect's database; default prefect/ in the data folder.
    port
        Of the server; default 4200, or a free one.
    browser
        --no-browser: only print the address.
    """
    folder = prepare(home)
    with server(folder, port) as (url, process):
        from .prefect_flows import define_limits

        define_limits(folder)
        address = url.removesuffix("/api")
        console.print(f"Prefect's UI: {address}", soft_wrap=True)
        if browser:
            import webbrowser

            webbrowser.open(address)
        if process is None:
            console.print("it was running already")
            return 0
        while process.poll() is None:
            time.sleep(0.5)
        raise UserError(f"Prefect's server ended; {folder / 'server.log'} says why")


def limits(*, home: Path | None = None) -> int:
    """Show the concurrency limits, and define those that are missing.

    How many runs may hold the camera rig, reconstruct, or train at once; change them in the UI or with Prefect's own
    `prefect gcl update`.

    Example: mesoface flows limits

    Parameters
    ----------
    home
        Folder of Prefect's database; default prefect/ in the data folder.
    """
    folder = prepare(home)
    from .prefect_flows import define_limits

    for name, limit in sorted(define_limits(folder, anew=True).items()):
        console.print(f"{escape(name)}: {limit}")
    console.print(f"home: {escape(str(prefect_home(home)))}", soft_wrap=True)
    return 0


def flows_app() -> App:
    """The sub-commands of `mesoface flows`."""
    app = App(name="flows", help="Flows: the long jobs by name, watched by Prefect, spread by Dask.")
    run = App(name="run", help="Run a flow now. --no-prefect: the same without Prefect, with the same results.")
    for spec in FLOWS.values():
        run.command(flow_command(spec), name=spec.name)
    app.command(list_flows, name="list")
    app.command(run)
    app.command(serve)
    app.command(ui)
    app.command(limits)
    return app


def flow_command(spec: FlowSpec) -> Callable[..., int]:
    """A command whose options are the parameters of a flow, and how it is run."""
    own = list(inspect.signature(spec.function).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    flat = Parameter(name="*")
    how = [inspect.Parameter("options", keyword, default=RunOptions(), annotation=Annotated[RunOptions, flat])]
    if spec.scales:
        how += [inspect.Parameter("scale", keyword, default=ScaleOptions(), annotation=Annotated[ScaleOptions, flat])]
    signature = inspect.Signature([*own, *how])

    def command(*arguments: Any, **given: Any) -> int:
        parameters = dict(signature.bind(*arguments, **given).arguments)
        options, scale = parameters.pop("options", RunOptions()), parameters.pop("scale", ScaleOptions())
        with json_result(options.json) as facts:
            result = run_flow(spec, parameters, options, scale)
            _tell(result)
            facts.update(result.plain())
        return result.exit_code

    command.__name__ = spec.name.replace("-", "_")
    command.__doc__ = spec.function.__doc__
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return command


def _tell(result: FlowResult) -> None:
    for name, reason in result.failures.items():
        console.print(f"[yellow]{escape(name)}:[/] {escape(reason)}", soft_wrap=True)
    console.print(escape(result.summary), soft_wrap=True)


def _parameters(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(
            f'--parameters: is no JSON ({error}); expected such as \'{{"sessions": "sessions"}}\''
        ) from None
    if not isinstance(found, dict):
        raise UserError(f"--parameters: expected a JSON object, found {type(found).__name__}")
    return found
