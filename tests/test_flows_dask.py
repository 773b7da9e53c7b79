"""Flows on Dask workers: the same hashes, a worker killed in the middle, one step that kills them all."""

import json

import pytest
from flow_fixtures import arguments, kill_always, made_sessions, stage_that_kills

from mesoface.capture.errors import UserError
from mesoface.capture.files import sha256_file
from mesoface.flows.cli import main
from mesoface.flows.dask_runner import open_pool
from mesoface.flows.flow_run import PlainRun
from mesoface.flows.scan_flows import regenerate_all

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool():
    with open_pool("dask", workers=2, memory_mb=1500) as found:
        yield found


def test_two_workers_make_the_same_dataset(pool, tmp_path, capsys):
    for name in ("plain", "dask"):
        made_sessions(tmp_path / name)
    assert main(arguments(tmp_path / "plain", "--no-prefect", "--json")) == 0
    plain = json.loads(capsys.readouterr().out)["hashes"]
    root = tmp_path / "dask"
    result = regenerate_all(
        PlainRun(pool), sessions=root / "sessions", datasets=root / "datasets", scans=root / "scans", size=128,
        patch=16, count=6, shares="1,0,0",
    )  # fmt: skip
    assert result.hashes == plain and len(plain) >= 6
    ours, theirs = (tmp_path / name / "datasets/studio-v001/scan-000.h5" for name in ("plain", "dask"))
    assert sha256_file(ours) == sha256_file(theirs)


def test_killed_worker_loses_no_work(pool, tmp_path):
    names = ["a", "b", "doomed", "c"]
    done, failures = PlainRun(pool).each({name: (tmp_path, name) for name in names}, (("fake", stage_that_kills),))
    assert not failures and list(done) == names and (tmp_path / "doomed.killed").exists()
    for name in names:
        assert (tmp_path / name / "second.txt").read_text() == name * 2
        assert done[name] == [stage_that_kills(tmp_path, name)], "valid: not made again"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "the killed one's rest is gone"


def test_step_that_no_worker_survives_is_left_out(pool, tmp_path):
    with pytest.raises(UserError, match="--memory-mb"):
        pool.call(kill_always)
    assert pool.call(stage_that_kills, tmp_path, "after")


def test_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr("mesoface.flows.dask_runner.CONNECT_S", 0.5)
    with pytest.raises(UserError, match="no Dask scheduler answers"), open_pool("dask", "tcp://127.0.0.1:9"):
        pass
