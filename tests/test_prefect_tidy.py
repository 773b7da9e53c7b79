"""What killed runs leave with Prefect is tidied up, and only that. Without Prefect itself."""

import json
import os
import socket
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from mesoface.flows.prefect_tidy import LEASES, RUNS, noted, tidy

RUN, LEASE = "0b6a3c52-7f0e-4a39-9c3b-0d6f6f1f0a01", "5f4f9a0e-93c6-4a3f-8a57-3d6a3b1c2d03"


class Client:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def release_concurrency_slots_with_lease(self, lease) -> None:
        self.asked.append(f"free {lease}")

    def set_flow_run_state(self, run, state, force) -> None:
        assert force and "killed" in state.message
        self.asked.append(f"crashed {run}")


@pytest.fixture(autouse=True)
def prefect_words(monkeypatch):
    """The two names of Prefect that are needed: importing it takes seconds and settles its home."""
    for name, content in (("exceptions", {"ObjectNotFound": KeyError}), ("states", {"Crashed": SimpleNamespace})):
        module = ModuleType(f"prefect.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"prefect.{name}", module)
    monkeypatch.setitem(sys.modules, "prefect", sys.modules.get("prefect", ModuleType("prefect")))


@pytest.fixture
def home(tmp_path):
    (tmp_path / LEASES).mkdir()
    other = {"metadata": {"slots": 1, "holder": None}}
    (tmp_path / LEASES / "11111111-0000-4000-8000-000000000000.json").write_text(json.dumps(other))
    ours = {"metadata": {"slots": 1, "holder": {"type": "flow_run", "id": RUN}}}
    (tmp_path / LEASES / f"{LEASE}.json").write_text(json.dumps(ours))
    (tmp_path / LEASES / "expirations.json").write_text("{}")
    return tmp_path


def test_a_killed_run_is_tidied_up_once(home):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom mesoface.flows.prefect_tidy import noted\n"
        "with noted(Path(sys.argv[1]), sys.argv[2]):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(home), RUN], check=False)
    client = Client()
    assert tidy(home, client) == [RUN] and client.asked == [f"free {LEASE}", f"crashed {RUN}"]
    assert tidy(home, client) == [] and len(client.asked) == 2


def test_living_runs_and_those_of_other_machines_stay(home):
    client = Client()
    with noted(home, RUN):
        assert tidy(home, client) == []
    assert not list((home / RUNS).iterdir()), "a run that ends takes its note away"
    note = {"host": socket.gethostname() + "2", "process": os.getpid(), "started": 1}
    (home / RUNS / f"{RUN}.json").write_text(json.dumps(note))
    assert tidy(home, client) == []
    note["host"] = socket.gethostname()  # a later process with the same number
    (home / RUNS / f"{RUN}.json").write_text(json.dumps(note))
    assert tidy(home, client) == [RUN]
