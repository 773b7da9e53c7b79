"""Flows under Prefect on its embedded server, offline: names, tags, tasks, artifacts, retries, limits, a pause."""

import errno
import json
import os
import threading
import time
from functools import partial
from importlib.util import find_spec

import pytest
from flow_fixtures import arguments, made_sessions

from mesoface.capture.errors import UserError
from mesoface.flows.cli import main
from mesoface.flows.flow_catalogue import LIMITS, FlowSpec
from mesoface.flows.flow_run import FlowResult, FlowRun
from mesoface.flows.prefect_setup import LOUD, SETTINGS, prepare

pytestmark = [
    pytest.mark.slow,
    # not importorskip: Prefect must be imported only after `prepare`
    pytest.mark.skipif(find_spec("prefect") is None, reason="Prefect is not installed"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A new Prefect home; its embedded server starts with the first flow and ends with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*SETTINGS, LOUD, "PREFECT_HOME", "PREFECT_API_URL", "PREFECT_API_KEY"):
            patch.setenv(name, os.environ.get(name, ""))  # remembered, and put back
            patch.delenv(name)
        yield prepare(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="module")
def client(home):
    from prefect.client.orchestration import get_client

    from mesoface.flows.prefect_flows import define_limits

    define_limits(home)
    with get_client(sync_client=True) as found:
        yield found


def newest(client, flow: str):
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), sort=FlowRunSort.START_TIME_DESC, limit=1
    )[0]


def patient_flow(run: FlowRun) -> FlowResult:
    """Fails twice as a disk does, then asks."""
    calls = []

    def shaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OSError(errno.EIO, "a shaky disk")
        return "written"

    assert run.step("write file", shaky) == "written" and len(calls) == 3
    decision = run.decide("Shoot steps 3 and 4 again?")
    mistakes = []

    def wrong() -> None:
        mistakes.append(1)
        raise UserError("a wrong word")

    done, failures = run.each({"x": ()}, (("check", wrong),))
    assert not done and failures == {"x": "a wrong word"} and len(mistakes) == 1
    return FlowResult(f"decided: {decision}")


def test_same_hashes_with_and_without_prefect(home, client, tmp_path, capsys):
    for name in ("plain", "prefect"):
        made_sessions(tmp_path / name)
    assert main(arguments(tmp_path / "plain", "--no-prefect", "--json")) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(arguments(tmp_path / "prefect", "--home", str(home), "--json")) == 0
    watched = json.loads(capsys.readouterr().out)
    assert watched["hashes"] == plain["hashes"] and len(plain["hashes"]) >= 6

    run = newest(client, "regenerate-all")
    assert run.state is not None and run.state.is_completed()
    assert run.name.startswith("regenerate-all studio 20") and {"mesoface", "dataset", "runner-local"} <= set(run.tags)
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    artifacts = {one.key: one for one in client.read_artifacts(artifact_filter=mine)}
    assert {"scans", "dataset", "card", "progress-geometry"} <= set(artifacts)
    assert "| S001_smile | patches |" in artifacts["scans"].data
    assert "card.html" in artifacts["card"].data and artifacts["progress-geometry"].data == 100.0


def test_retries_and_an_answer_from_the_ui(home, client, monkeypatch):
    from mesoface.flows import prefect_flows

    made = partial(prefect_flows.PrefectRun, retry_delay_s=0, terminal=lambda: False)
    monkeypatch.setattr(prefect_flows, "PrefectRun", made)
    spec = FlowSpec("patient", patient_flow, "camera-rig", ("test",))

    def answer() -> None:
        for _ in range(240):
            time.sleep(0.5)
            try:
                run = newest(client, "patient")
            except Exception:  # not there yet, or the server is busy
                continue
            if run.state is not None and run.state.is_paused():
                client.resume_flow_run(run.id, run_input={"decision": "keep"})
                return

    operator = threading.Thread(target=answer, daemon=True)
    operator.start()
    assert prefect_flows.run_in_prefect(spec, {}).summary == "decided: keep"
    operator.join(10)


def test_undefined_limit_fails(home, client):
    from mesoface.flows.prefect_flows import define_limits, run_in_prefect

    ran = []

    def body(run: FlowRun) -> FlowResult:
        ran.append(1)
        return FlowResult("ran")

    with pytest.raises(UserError, match="mesoface flows limits"):
        run_in_prefect(FlowSpec("unlimited", body, "never-defined"), {})
    assert not ran
    assert define_limits(home) == LIMITS
    client.delete_global_concurrency_limit_by_name("training")
    assert "training" not in define_limits(home), "one that was removed is not made again by itself"
    assert define_limits(home, anew=True) == LIMITS


def test_deployments_have_schedules_and_known_parameters(home):
    from mesoface.flows.flow_catalogue import FLOWS
    from mesoface.flows.prefect_deployments import deployment

    made = deployment(FLOWS["regenerate-all"], "0 2 * * *", {"sessions": "sessions", "runner": "dask"})
    assert made.entrypoint == "mesoface.flows.prefect_flows.regenerate_all" and len(made.schedules) == 1
    with pytest.raises(UserError, match="no parameter 'session'"):
        deployment(FLOWS["regenerate-all"], "", {"session": "sessions"})
    with pytest.raises(UserError, match="--cron"):
        deployment(FLOWS["regenerate-all"], "every night")
    from prefect.flows import load_flow_from_entrypoint

    found = load_flow_from_entrypoint(made.entrypoint)
    assert found.name == "regenerate-all" and "workers" in found.parameters.properties


def test_second_home_in_a_process_is_refused(home, tmp_path):
    with pytest.raises(UserError, match="another home already"):
        prepare(tmp_path)
