"""Worker processes that end with the program that started them, however it ends."""

import ctypes
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any, Literal

PR_SET_PDEATHSIG = 1


@contextmanager
def worker_pool(
    workers: int,
    start: Literal["fork", "spawn"] = "fork",
    prepare: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes, each prepared by `prepare(*arguments)`.

    They do not hear Ctrl-C themselves, or each of them would tell its own story and go on with the next piece of work:
    when the block is left by an exception, they are ended at once, whatever they are at. Killed with this process, too.
    """
    begin = (os.getpid() if start == "fork" else 0, prepare, arguments)
    pool = ProcessPoolExecutor(workers, get_context(start), initializer=_begin, initargs=begin)
    others = set(active_children())
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(active_children()) - others:
            child.terminate()
        raise
    else:
        pool.shutdown()


def end_with_parent() -> None:
    """Let the system kill this process when the one that started it ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _begin(parent: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    # It warns of OpenMP in forked processes; unpacking, all that is asked of it, starts no threads (seen on DNG).
    warnings.filterwarnings("ignore", "rawpy is being used in a process created by multiprocessing", RuntimeWarning)
    if parent and os.getppid() != parent:  # it was killed before the line above
        os._exit(1)
    if prepare is not None:
        prepare(*arguments)
