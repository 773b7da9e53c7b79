"""The command line: help, exit codes, one clear message for each kind of bad input, nothing overwritten."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesoface.flows.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and everything printed."""
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("command", [[], ["studio"], ["studio", "render"], ["studio", "portrait"], ["demo"], ["doctor"],
                                     ["rig", "check"], ["face-model", "info"], ["calibrate"]])  # fmt: skip
def test_help_shows_every_command(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    code, text = run(capsys, *command, "--help")
    assert code == 0
    assert "Usage" in text and len(text.splitlines()) > 5


def test_unknown_option_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, "studio", "render", "--oot", "x")
    assert code == 2
    assert "--oot" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--size", "huge"], "size 'huge': expected tiny, small, medium"),
        (["--size", "1500x700"], "aspect ratio"),
        (["--size", "12000x8000"], "of memory"),
        (["--size", "30x20"], "width_px"),
        (["--expression", "grin"], "there is no 'grin'"),
        (["--expression", "smile:3"], "weight '3'"),
        (["--leak", "0.9"], "leak"),
        (["--rig", "missing.toml"], "missing.toml"),
        (["--face-model", "missing.h5"], "missing.h5"),
        (["--face-model", "pyproject.toml"], "pyproject.toml"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path,
    options: list[str], expected: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(repository)
    monkeypatch.setattr("mesoface.reconstruct.studio_options.memory_available_bytes", lambda: 8 * 2**30)
    out = tmp_path / "scan"
    arguments = options if "--size" in options else [*options, "--size", "tiny"]
    code, text = run(capsys, "studio", "render", "--out", str(out), *arguments)
    assert code == 2
    assert expected in " ".join(text.split())
    assert "Traceback" not in text
    assert not out.exists()


def test_foreign_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    code, text = run(capsys, "studio", "render", "--size", "tiny", "--out", str(tmp_path))
    assert code == 2
    assert "is not empty and holds no scan.json" in " ".join(text.split())
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_rig_with_a_mistake_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    assert run(capsys, "rig", "example", str(rig))[0] == 0
    assert run(capsys, "rig", "check", str(rig))[0] == 0
    rig.write_text(rig.read_text().replace("focal_mm = 50.0", "focal_mm = -50.0", 1))
    code, text = run(capsys, "studio", "render", "--rig", str(rig), "--size", "tiny", "--out", str(tmp_path / "scan"))
    assert code == 2
    assert "cameras[0].lens.focal_mm" in text and "-50.0" in text
    assert not (tmp_path / "scan").exists()


def test_verify_needs_a_scan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text = run(capsys, "studio", "verify", str(tmp_path))
    assert code == 2
    assert "no scan.json here" in " ".join(text.split())


def test_portrait_limits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text = run(capsys, "studio", "portrait", "--yaw-deg", "170", "--out", str(tmp_path / "p"))
    assert code == 2
    assert "yaw_deg is 170" in text


def test_interruption_is_exit_130(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mesoface.flows.studio_commands.run_scan", interrupted)
    code, text = run(capsys, "studio", "render", "--size", "tiny", "--out", str(tmp_path / "scan"))
    assert code == 130
    assert "run the same command again" in " ".join(text.split())


def test_interruption_inside_a_compiled_kernel_is_exit_130(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise SystemError("kernel returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("mesoface.flows.studio_commands.run_scan", interrupted)
    arguments = ["studio", "render", "--size", "tiny", "--out", str(tmp_path / "scan")]
    assert run(capsys, *arguments)[0] == 130
    monkeypatch.setattr("mesoface.flows.studio_commands.run_scan", _broken)
    code, text = run(capsys, *arguments)
    assert code == 70 and "defect: SystemError: a real defect" in " ".join(text.split())


def _broken(*_: object) -> None:
    raise SystemError("a real defect")


@pytest.mark.slow
def test_ctrl_c_of_a_running_render(tmp_path: Path) -> None:
    """A real SIGINT during a real render: exit 130, no half-written file; the next run completes the scan."""
    out = tmp_path / "scan"
    command = [sys.executable, "-m", "mesoface.flows.cli", "studio", "render", "--size", "tiny", "--out", str(out)]
    # A background job of a shell ignores SIGINT and hands that on; a user's terminal does not.
    heed = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    signal.signal(signal.SIGINT, heed)
    deadline = time.monotonic() + 240
    while len(list(out.glob("images/[0-9]*.tif"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 130, text
    assert "run the same command again" in " ".join(text.split())
    assert not list(out.rglob("*.part*"))
    assert 3 <= len(list(out.glob("images/[0-9]*.tif"))) < 23
    assert main(command[3:]) == 0
    assert len(list(out.glob("images/*.tif"))) == 23
