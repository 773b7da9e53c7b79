"""What a killed run leaves with Prefect: a place under a limit that stays taken, and a run that seems to go on.

A run notes which process it is; the next one that finds that process gone frees the place and marks the run as crashed.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from ..capture.files import write_json

RUNS, LEASES = "mesoface-runs", "concurrency_leases"
"""Folders in Prefect's home: our notes; Prefect's, a file for each place that is taken."""


@contextmanager
def noted(home: Path, run: str) -> Iterator[None]:
    """For as long as the body lasts it is on disk that this process works on a flow run."""
    note = home / RUNS / f"{run}.json"
    write_json(note, {"host": socket.gethostname(), "process": os.getpid(), "started": _started(os.getpid())})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def tidy(home: Path, client: Any) -> list[str]:
    """Free the places of runs whose process is gone, and mark these runs; their ids. client: Prefect's."""
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    gone = [note for note in sorted((home / RUNS).glob("*.json")) if _is_gone(note)]
    for note in gone:
        for lease in _leases(home, note.stem):
            with suppress(ObjectNotFound):
                client.release_concurrency_slots_with_lease(UUID(lease))
        with suppress(ObjectNotFound):
            state = Crashed(message="its process was killed; every finished stage is kept, run it again")
            client.set_flow_run_state(UUID(note.stem), state, force=True)
        note.unlink(missing_ok=True)
    return [note.stem for note in gone]


def _leases(home: Path, run: str) -> list[str]:
    found = []
    for path in (home / LEASES).glob("*-*.json"):
        content = _read(path)
        holder = (content.get("metadata") or {}).get("holder") or {}
        if holder.get("id") == run:
            found.append(path.stem)
    return found


def _is_gone(note: Path) -> bool:
    """Whether the process that wrote a note has ended; of another machine's nobody knows."""
    content = _read(note)
    if content.get("host", "") != socket.gethostname():
        return False
    return _started(int(content.get("process", 0))) != content.get("started")


def _started(process: int) -> int | None:
    """When a process began, in clock ticks since the machine's start: tells it from a later one with its number."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if words[0] == "Z" else int(words[19])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
