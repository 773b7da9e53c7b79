"""The main job at its quick size: figures against the truth, interrupted twice on the way, and nothing done twice."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesoface.flows.cli import main
from mesoface.flows.demo_plan import QUICK

SECONDS = 1500
"""For one run of the demo, on a machine that does other work too."""
FIGURES = {
    "calibration: place of a camera, worst": (0.0, 1.0),
}
"""Name -> least and largest value that may come out; narrower than the demo's own bounds where it has to be."""


@pytest.mark.slow
def test_interrupted_demo_continues_and_its_figures_hold(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert _interrupted(out, "step 2 of 9", signal.SIGINT) == 130
    rendered = _files(out / "people")
    assert _interrupted(out, "step 4 of 9", signal.SIGKILL) == -signal.SIGKILL
    takes = _files(out / "sessions")
    assert _run(out) == 0  # 1 would mean that a figure is outside the demo's own bound
    assert _files(out / "people") == rendered, "people were rendered again"
    assert takes.items() <= _files(out / "sessions").items(), "takes were shot again"
    _judge(json.loads((out / "figures.json").read_text()))
    page = (out / "report.html").read_text()
    assert "FAILED" not in page and page.count("<h2>") == 9
    before = _files(out)
    assert _run(out) == 0
    after = _files(out)
    assert {path for path in before | after if before.get(path) != after.get(path)} == {"report.html"}


def test_demo_refuses_a_folder_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    assert main(["demo", "--quick", "--out", str(tmp_path)]) == 2
    assert "holds no demo" in " ".join(capsys.readouterr().err.split())
    other = tmp_path / "other"
    other.mkdir()
    (other / "demo.json").write_text(json.dumps({**QUICK.content(), "subjects": [7]}))
    assert main(["demo", "--quick", "--out", str(other)]) == 2
    assert "other settings" in " ".join(capsys.readouterr().err.split())


def _judge(content: dict) -> None:
    values = {figure["name"]: figure["value"] for figure in content["figures"]}
    for name, (low, high) in FIGURES.items():
        assert low <= values[name] <= high, f"{name}: {values[name]}"


def _command(out: Path) -> list[str]:
    return [sys.executable, "-m", "mesoface.flows.cli", "demo", "--quick", "--out", str(out), "--no-log"]


def _run(out: Path) -> int:
    return subprocess.run(_command(out), timeout=SECONDS, stdin=subprocess.DEVNULL).returncode


def _interrupted(out: Path, line: str, number: int) -> int:
    """Exit code of a run that gets a signal soon after it has printed a line; Ctrl-C reaches its children too."""
    process = subprocess.Popen(
        _command(out), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for text in process.stdout:
        if text.startswith(line):
            break
    time.sleep(4)
    assert process.poll() is None, "it was over before it could be interrupted"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.stdout.read()
    return process.wait(60)


def _files(folder: Path) -> dict[str, tuple[str, int]]:
    """Relative path -> hash and time of the last change."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
