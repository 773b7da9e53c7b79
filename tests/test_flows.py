"""Flows without Prefect: what is tried again, versions of a dataset, the command line."""

import errno
import json
import sys

import pytest
from flow_fixtures import arguments, made_sessions

from mesoface.capture.camera_messages import CameraError
from mesoface.capture.errors import UserError
from mesoface.dataset.patch_shards import DiskFull
from mesoface.flows.cli import main
from mesoface.flows.dask_runner import open_pool
from mesoface.flows.flow_run import PlainRun, ask_in_terminal, is_transient
from mesoface.flows.prefect_setup import prepare
from mesoface.flows.scan_flows import find_sources, version_folder


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def failing(times: int, error: Exception):
    """A step that fails so often, and the list of its calls."""
    calls: list[int] = []

    def step() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return step, calls


def test_only_devices_and_disks_get_another_try():
    step, calls = failing(2, OSError(errno.EIO, "a shaky disk"))
    assert PlainRun(retry_delay_s=0).step("write", step) == "done" and len(calls) == 3
    step, calls = failing(3, OSError(errno.EIO, "a broken disk"))
    with pytest.raises(OSError, match="broken"):
        PlainRun(retry_delay_s=0).step("write", step)
    assert len(calls) == 3
    step, calls = failing(1, UserError("a wrong word"))
    with pytest.raises(UserError):
        PlainRun(retry_delay_s=0).step("write", step)
    assert len(calls) == 1
    assert is_transient(CameraError("lost", "unplugged")) and is_transient(ConnectionResetError())
    for error in (
        FileNotFoundError(errno.ENOENT, "gone"),
        OSError(errno.ENOSPC, "full"),
        DiskFull("full"),
        ValueError(),
    ):
        assert not is_transient(error)


def test_a_mistake_in_one_item_leaves_the_others(capsys):
    def step(number: int) -> int:
        if number == 2:
            raise UserError("no face in it")
        return 10 * number

    done, failures = PlainRun().each({str(n): (n,) for n in (1, 2, 3)}, (("a", step), ("b", step)))
    assert done == {"1": [10, 10], "3": [30, 30]} and failures == {"2": "no face in it"}
    assert "2 left out" in told(capsys)

    def full(number: int) -> None:
        raise DiskFull("no room")

    with pytest.raises(DiskFull):
        PlainRun().each({"1": (1,)}, (("a", full),))


def test_regenerate_makes_a_version_only_of_something_new(tmp_path, capsys):
    before = "prefect" in sys.modules
    made_sessions(tmp_path, 2)
    command = arguments(tmp_path, "--no-prefect", "--json")
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["folders"]["dataset"].endswith("studio-v001") and "S001_smile/patches" in first["hashes"]
    assert main(command) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["hashes"] == first["hashes"] and "as it was" in second["summary"]
    made_sessions(tmp_path, 3)
    assert main(command) == 0
    third = json.loads(capsys.readouterr().out)
    assert third["folders"]["dataset"].endswith("studio-v002")
    assert third["hashes"]["S000_smile/patches"] == first["hashes"]["S000_smile/patches"]
    assert (tmp_path / "datasets/studio-v001/dataset.json").is_file(), "versions stay"
    (tmp_path / "datasets/studio-v002/version.json").unlink()  # as if it had been interrupted
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["hashes"] == third["hashes"]
    for damaged in ("scan-000.h5", "dataset.json", "version.json"):
        path = tmp_path / "datasets/studio-v002" / damaged
        path.write_bytes(path.read_bytes()[:-40])
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out)["hashes"] == third["hashes"], damaged
    assert ("prefect" in sys.modules) == before, "--no-prefect imports none of it"


def test_versions_and_sources(tmp_path):
    assert version_folder(tmp_path / "none", "a", "x", False) == (tmp_path / "none/a-v001", False)
    (tmp_path / "a-v009").mkdir()
    assert version_folder(tmp_path, "a", "x", False) == (tmp_path / "a-v009", False)
    (tmp_path / "a-v009/version.json").write_text(json.dumps({"made_of": "x"}))
    assert version_folder(tmp_path, "a", "x", False) == (tmp_path / "a-v009", True)
    assert version_folder(tmp_path, "a", "x", True) == (tmp_path / "a-v010", False)
    assert version_folder(tmp_path, "a", "y", False) == (tmp_path / "a-v010", False)
    with pytest.raises(UserError, match="letters"):
        version_folder(tmp_path, "../a", "x", False)
    with pytest.raises(UserError, match="no such folder"):
        find_sources(tmp_path / "nowhere")


def test_mistakes_are_told(tmp_path, capsys, monkeypatch):
    assert main(["flows", "run", "regenerate-all", "--sessions", str(tmp_path), "--no-prefect"]) == 2
    assert "holds no complete take" in told(capsys)
    assert main(arguments(tmp_path, "--no-prefect", "--dask-address", "tcp://127.0.0.1:1")) == 2
    assert "goes with --runner dask" in told(capsys)
    assert main(["flows", "run", "no-such-flow"]) == 2
    assert main(["flows", "serve", "--cron", "0 2 * * *", "--home", str(tmp_path)]) == 2
    assert "for one flow" in told(capsys)
    monkeypatch.setenv("PREFECT_API_URL", "https://api.prefect.cloud/api")
    with pytest.raises(UserError, match="sends nothing to a cloud"):
        prepare(tmp_path)
    monkeypatch.setattr("os.isatty", lambda number: False)
    with pytest.raises(UserError, match="Nobody can answer here"):
        ask_in_terminal("Again?")
    with pytest.raises(UserError, match="--workers 0"), open_pool("dask", workers=0):
        pass


def test_operator_decides_in_the_terminal(monkeypatch):
    answers = iter(["what", "", "r"])
    monkeypatch.setattr("os.isatty", lambda number: True)
    monkeypatch.setattr("builtins.input", lambda *prompt: next(answers))
    assert ask_in_terminal("Shoot steps 3 and 4 again?") == "reshoot"


def test_list(capsys):
    assert main(["flows", "list"]) == 0
    shown = told(capsys)
    for name in ("capture-session", "calibrate-rig", "reconstruct-scan", "build-dataset", "train-emotion-net",
                 "build-dictionary", "train-dfdn", "synthesize", "regenerate-all"):  # fmt: skip
        assert name in shown


def test_pages_of_the_ui_ask_their_own_server(tmp_path, monkeypatch):
    from mesoface.flows import prefect_setup

    started = {}

    class Started:
        pid = 1

        def __init__(self, command, env, **_):
            started.update(command=command, env=env)

        def poll(self):
            return None

        def terminate(self):
            started["ended"] = True

        def wait(self, seconds=None):
            return 0

    monkeypatch.setattr(prefect_setup.subprocess, "Popen", Started)
    monkeypatch.setattr(prefect_setup, "_answers", lambda url: bool(started))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_setup.server(tmp_path, 4391) as (url, _):
        assert url == "http://127.0.0.1:4391/api" and prefect_setup.running_server(tmp_path) == url
        assert started["env"]["PREFECT_SERVER_UI_API_URL"] == url and "127.0.0.1" in started["command"]
    assert started["ended"] and prefect_setup.running_server(tmp_path) is None
