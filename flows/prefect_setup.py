"""Prefect's settings for this machine: a home of our own, no cloud, no telemetry. Nothing here imports Prefect.

Prefect reads the environment when it is first imported, so `prepare` comes before.
"""

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import write_json
from ..reconstruct.landmark_models import data_folder
from ..reconstruct.worker_pool import PR_SET_PDEATHSIG

HOST = "127.0.0.1"
PORT = 4200
START_S = 180
"""A cold server takes 15 s on an idle machine; a busy one needs more."""
SERVER_FILE, LIMITS_FILE = "mesoface-server.json", "mesoface-limits.json"
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(START_S),
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_PROMPT": "false",
}
LOUD = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


def prefect_home(home: Path | None = None) -> Path:
    """Folder of Prefect's database: --home, or prefect/ in the data folder."""
    return (home or data_folder() / "prefect").expanduser().absolute()


def prepare(home: Path | None = None) -> Path:
    """Set the environment for Prefect; the home. Raises UserError for a missing Prefect, its cloud, a second home."""
    if find_spec("prefect") is None:
        raise UserError("Prefect is not installed: pip install 'mesoface[prefect]', or run with --no-prefect")
    folder = prefect_home(home)
    if "prefect" in sys.modules and os.environ.get("PREFECT_HOME") != str(folder):
        raise UserError(f"{folder}: Prefect runs with another home already; start a new process for this one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose a folder with --home") from None
    url = os.environ.get("PREFECT_API_URL", "")
    if "prefect.cloud" in url:
        raise UserError(
            f"PREFECT_API_URL is {url}: mesoface sends nothing to a cloud; unset it, or name your own server"
        )
    os.environ.pop("PREFECT_API_KEY", None)
    os.environ.update(SETTINGS)
    os.environ.setdefault(LOUD, "CRITICAL")  # what matters is on our own console, and in the UI
    os.environ["PREFECT_HOME"] = str(folder)
    if not url and (found := running_server(folder)):
        os.environ["PREFECT_API_URL"] = found
    return folder


def running_server(home: Path) -> str | None:
    """Address of the API of the server that `mesoface ui` or `flows serve` runs on this home."""
    try:
        url = str(json.loads((home / SERVER_FILE).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if _answers(url) else None


@contextmanager
def server(home: Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen | None]]:
    """Prefect's server for as long as the body lasts, and its process; None for the one that runs already.

    port: default 4200, or a free one where that is taken.
    """
    if found := running_server(home):
        yield found, None
        return
    with _serving(home, port or _free_port(PORT)) as (url, process):
        write_json(home / SERVER_FILE, {"url": url, "process": process.pid})
        try:
            yield url, process
        finally:
            (home / SERVER_FILE).unlink(missing_ok=True)


def own_server(home: Path) -> None:
    """Start a server for this process, which ends with it, unless there is one to report to.

    Prefect would start one by itself, but that one goes on when we are killed. To be called before Prefect is imported:
    it reads the address only then, and what it still has to tell when this process exits must find the server.
    """
    if os.environ.get("PREFECT_API_URL") or "prefect" in sys.modules:
        return
    stack = ExitStack()
    stack.enter_context(_serving(home, _free_port(0), "--no-ui"))
    atexit.register(stack.close)  # runs after all that is registered later


def server_went_away() -> bool:
    """Whether nothing answers any more where this process reports to."""
    url = os.environ.get("PREFECT_API_URL")
    return bool(url) and not _answers(str(url))


@contextmanager
def _serving(home: Path, port: int, *options: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Prefect's server as a child that ends with this process; PREFECT_API_URL is its address meanwhile."""
    url = f"http://{HOST}:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port), *options]
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    environment["PREFECT_SERVER_UI_API_URL"] = url  # else the pages ask port 4200
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=_end_with_parent
        )
    try:
        _wait_for(url, process, home / "server.log")
        os.environ["PREFECT_API_URL"] = url
        yield url, process
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """However this process ends: a server that is left behind would keep the port and the database."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    end_s = time.monotonic() + START_S
    while not _answers(url):
        if process.poll() is not None:
            raise UserError(f"Prefect's server ended at once; {log} says why (is the port taken? --port)")
        if time.monotonic() > end_s:
            raise UserError(f"Prefect's server did not answer within {START_S} s; {log} may say why")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=3) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(f"no free port on {HOST}")
