"""Where the steps of scans run: here, or on Dask workers of this machine or of a cluster with the same disk.

A worker that dies loses no work: its stage folders are valid or made again, and its step goes to another worker.
"""

import inspect
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from typing import Any, Literal

from ..capture.errors import UserError
from .dataset_jobs import WORKER_MB
from .flow_run import LocalPool, Pool

Runner = Literal["local", "dask"]
LOSSES = 3
"""A step whose workers died so often is given up: it likely needs more memory than they have."""
CONNECT_S = 20


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


RUNNER_PARAMETERS = (
    _parameter("runner", Runner, "local"),
    _parameter("dask_address", str, ""),
    _parameter("workers", int, 2),
    _parameter("memory_mb", int, WORKER_MB),
)
"""What `open_pool` takes, as parameters of a Prefect flow."""


class DaskPool:
    """Steps on Dask workers; safe to be called from several threads."""

    def __init__(self, client: Any, width: int) -> None:
        self.client, self.width = client, width

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        from distributed import CancelledError, KilledWorker

        future = self.client.submit(quietly, function, *arguments, pure=False)
        try:
            return future.result()
        except KilledWorker as error:
            raise UserError(
                f"{error.task}: {LOSSES + 1} Dask workers died over it; the memory limit may be too low (--memory-mb)"
            ) from None
        except CancelledError:
            raise UserError("the Dask scheduler went away; every finished stage is kept, run this again") from None


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """On a worker: progress bars of several processes would only write over each other."""
    with redirect_stdout(io.StringIO()):
        return function(*arguments)


@contextmanager
def open_pool(
    runner: Runner = "local", dask_address: str = "", workers: int = 2, memory_mb: int = WORKER_MB
) -> Iterator[Pool]:
    """The pool of a run. dask without an address: a cluster of this machine, `workers` processes of one thread each.

    memory_mb: of each of those workers; one that needs more is stopped and its step tried elsewhere.
    Raises UserError for a missing Dask, a scheduler that does not answer, or one without workers.
    """
    if runner == "local":
        if dask_address:
            raise UserError("--dask-address goes with --runner dask")
        yield LocalPool()
        return
    if find_spec("distributed") is None:
        raise UserError("Dask is not installed: pip install 'mesoface[dask]', or use --runner local")
    if workers < 1 or memory_mb < 100:
        raise UserError(f"--workers {workers}, --memory-mb {memory_mb}: expected 1 or more, and 100 or more")
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.scheduler.allowed-failures": LOSSES}):  # type: ignore[attr-defined]
        if dask_address:
            with _client(dask_address) as client:
                count = len(client.scheduler_info(n_workers=-1)["workers"])
                if not count:
                    raise UserError(
                        f"{dask_address}: the scheduler has no workers; start some: dask worker {dask_address}"
                    )
                yield DaskPool(client, count)
            return
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=f"{memory_mb}MB", host="127.0.0.1", silence_logs=50,
            dashboard_address=None,  # type: ignore[arg-type]
        )  # fmt: skip
        with cluster, Client(cluster) as client, _patient_goodbye():
            yield DaskPool(client, workers)


@contextmanager
def _patient_goodbye() -> Iterator[None]:
    """Nothing is said of workers that a busy machine needs more than seconds to stop."""
    logger = logging.getLogger("distributed.nanny")
    try:
        yield
    finally:
        logger.setLevel(logging.CRITICAL)


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{address}: no Dask scheduler answers there ({error}); expected such as tcp://host:8786"
        ) from None
