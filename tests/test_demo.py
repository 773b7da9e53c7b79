"""The main job at tiny size: it runs, its checks hold, and it continues where it stopped."""

from pathlib import Path

import pytest

from mesoface.flows.cli import main


def test_demo_runs_checks_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--size", "tiny"]) == 0  # 1 would mean that a self-check failed
    page = (out / "report.html").read_text()
    assert page.count("<td>ok</td>") == 4 and "FAILED" not in page
    assert (out / "portrait/portrait.png").stat().st_size > 5000
    before = {p: p.stat().st_mtime_ns for p in (out / "scan/images").iterdir()}
    assert main(["demo", "--out", str(out), "--size", "tiny"]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in (out / "scan/images").iterdir()}
    assert main(["demo", "--out", str(out), "--size", "tiny", "--subject", "9"]) == 2
    assert "holds another scan" in " ".join(capsys.readouterr().err.split())
