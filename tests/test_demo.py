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
    "calibration: place of a camera, worst": (0.0, 0.15),
    "calibration: focal length, worst": (0.0, 0.05),
    "depth: median error, worst take": (0.05, 0.3),
    "depth: within 1 mm, worst take": (86.0, 100.0),
    "normals: median error, worst take": (1.0, 4.0),
    "displacement, 4 to 8 mm: correlation with the truth, worst take": (0.93, 1.0),
    "displacement, 4 to 8 mm: gain, lowest": (0.88, 1.1),
    "dataset: correspondence, median of the worst take": (0.1, 1.0),
    "dataset: displacement in texture space, correlation, worst take": (0.85, 1.0),
    "evaluation: error on the held-out person, 1 to 8 mm": (0.3, 0.95),
    "evaluation: correlation with the truth of the held-out person": (0.3, 1.0),
    "portrait: shape of the proxy, mean error": (0.1, 1.0),
    "portrait: error of the predicted detail, 1 to 8 mm": (0.2, 1.0),
}
"""Name -> least and largest value that may come out. What is far better than pictures of this size can be is as wrong
as what is bad: it would be a comparison of the truth with itself."""


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
        _command(out), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=_hears_ctrl_c,
    )  # fmt: skip
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


def _hears_ctrl_c() -> None:
    """Tests that run in the background inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _files(folder: Path) -> dict[str, tuple[str, int]]:
    """Relative path -> hash and time of the last change."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
