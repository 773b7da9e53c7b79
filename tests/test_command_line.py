"""The command line as one whole: every command explains itself, options look alike, settings, exit codes, logs."""

import errno
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

from mesoface.capture.errors import UserError
from mesoface.flows import run_log
from mesoface.flows.cli import app, main
from mesoface.flows.command_tree import Command, all_commands, option_names
from mesoface.flows.json_output import json_result
from mesoface.flows.run_command import split_global_options
from mesoface.flows.run_log import KEPT, log_folder

COMMANDS = list(all_commands(app))
PATHS_AS_TEXT = {
    "--rig": "or the word virtual",
    "--path": "a face model by its name, or the word virtual",
    "--face-model": "or the word procedural",
    "--home": "",
}
"""Options that take a path or something else, and so are text."""


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Everything printed, without line breaks."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def examples(command: Command) -> list[str]:
    """The paragraphs `Example: mesoface ...` of a command's docstring."""
    paragraphs = re.split(r"\n\s*\n", command.app.default_command.__doc__ or "")
    return [" ".join(text.split()).removeprefix("Example: ") for text in paragraphs if "Example:" in text.split()[:1]]


def test_the_tree_is_whole():
    titles = {command.title for command in COMMANDS}
    assert {"demo", "doctor", "capture", "take list", "studio render", "dataset build", "config show"} <= titles
    assert len(titles) == len(COMMANDS) >= 45


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.title)
def test_every_command_explains_itself(command: Command):
    assert command.app.help.strip(), "a first sentence"
    lines = examples(command)
    assert lines, "an example: a line `Example: mesoface ...` in the docstring"
    own = [line for line in lines if line.startswith(f"mesoface {command.title}")]
    same = [other for other in COMMANDS if other.app.default_command is command.app.default_command]
    assert own or len(same) > 1, "an example of this command, not of another"
    for line in lines:
        function, _, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
        assert function in [known.app.default_command for known in COMMANDS], line
    for argument in command.arguments:
        name = argument.name
        if not name.startswith("--"):
            assert argument.is_positional_only or name.isupper(), name
            continue
        assert argument.parameter.help, f"{name} says what it is"
        for one in argument.names:
            assert re.fullmatch(r"--[a-z0-9]+(-[a-z0-9]+)*|-[a-z]", one), f"{one} is not in kebab case"
        assert not name.startswith("--empty-")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.title)
def test_options_of_one_name_are_of_one_kind(command: Command):
    kinds = {"out": "Path", "force": "bool", "json": "bool", "seed": "int", "workers": "int", "batch": "int",
             "calibration": "Path", "landmarks": "Path", "dictionary": "Path",
             "threads": "int"}  # fmt: skip
    for argument in command.arguments:
        for name in option_names(argument):
            text = str(argument.hint)
            if (command.title, name) == ("capture", "calibration"):  # which target, not a folder
                continue
            if name in kinds:
                assert kinds[name] in text, f"--{name} is {text}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.title)
def test_paths_are_typed_as_paths(command: Command):
    for argument in command.arguments:
        help_text = argument.parameter.help or ""
        begins = re.match(r"(New or empty )?(Folder|File|rig\.toml|Corrected rig\.toml)\b", help_text)
        if begins and argument.name not in PATHS_AS_TEXT:
            assert "Path" in str(argument.hint), f"{command.title} {argument.name}: {help_text}"


def test_completion_script_is_valid_bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))  # it adds a line to ~/.bashrc
    script = tmp_path / "mesoface.bash"
    assert main(["--install-completion", "--shell", "bash", "--output", str(script)]) == 0
    assert str(script) in (tmp_path / ".bashrc").read_text()
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)
    text = script.read_text()
    assert "synthesize" in text and "--yaw-deg" in text
    assert str(script) in said(capsys).replace(" ", "")


def test_global_options_stand_anywhere():
    options, words = split_global_options(["--no-log", "rig", "check", "--config", "a.toml", "r.toml"])
    assert (options.log, options.config, words) == (False, Path("a.toml"), ["rig", "check", "r.toml"])
    options, words = split_global_options(["x", "--config=b.toml", "--", "--no-log"])
    assert (options.log, options.config, words) == (True, Path("b.toml"), ["x", "--", "--no-log"])
    with pytest.raises(UserError, match="name a settings file"):
        split_global_options(["doctor", "--config"])


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]):
    with json_result(True) as result:
        sys.stdout.write("for people\n")
        result["path"] = Path("a/b")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"path": "a/b"} and captured.err == "for people\n"
    with pytest.raises(UserError), json_result(True):
        raise UserError("no")
    with json_result(False) as result:
        result["path"] = 1
    assert capsys.readouterr().out == ""


def test_take_list_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "S001_smile_x" / "data").mkdir(parents=True)
    (tmp_path / "S001_smile_x" / "data" / "take.json").write_text("{")
    assert main(["take", "list", str(tmp_path), "--json"]) == 0
    (take,) = json.loads(capsys.readouterr().out)["takes"]
    assert take["status"] == "damaged" and take["take"].endswith("S001_smile_x") and take["remarks"]


def test_json_of_a_failing_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["studio", "verify", str(tmp_path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "no scan.json here" in captured.err


def newest_log() -> str:
    return max(log_folder().glob("*.log"), key=lambda path: path.stat().st_mtime_ns).read_text()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/mesoface/logs"


def test_log_of_a_run_names_nobody(state: Path, capsys: pytest.CaptureFixture[str]):
    command = ["capture", "--rig", "none.toml", "--subject", "Anna Smith", "--expression", "smile"]
    assert main([*command, "--notes", "Anna's first visit"]) == 2
    assert "Anna Smith" in said(capsys)
    (log,) = state.iterdir()
    assert re.fullmatch(r"capture_\d{8}T\d{6}Z_\d+\.log", log.name)
    text = log.read_text()
    assert "Anna" not in text and "none.toml" in text and "exit code: 2" in text
    assert "mesoface 0" in text and re.search(r"seconds: \d", text)


def test_defect_is_one_line_and_its_traceback_in_the_log(state: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    import warnings

    def broken() -> None:
        warnings.warn("a loose screw", stacklevel=1)
        raise LookupError("a [defect]\nof ours")

    monkeypatch.setattr("mesoface.flows.doctor.diagnose", broken)
    assert main(["doctor"]) == 70
    shown = capsys.readouterr().err.splitlines()
    (log,) = state.iterdir()
    assert shown[-1] == f"defect: LookupError: a [defect] of ours; the whole story is in {log}"
    assert not any("Traceback" in line for line in shown)
    assert "Traceback" in log.read_text() and "a loose screw" in log.read_text() and "exit code: 70" in log.read_text()
    assert main(["doctor", "--no-log"]) == 70
    assert "Traceback" in capsys.readouterr().err, "where no log has it, the screen does"
    assert len(list(state.iterdir())) == 1


def test_full_disk_is_a_message_and_not_a_defect(state: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "scans/first/albedo.tif")

    monkeypatch.setattr("mesoface.flows.doctor.diagnose", full)
    assert main(["doctor"]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.startswith("error: scans/first/albedo.tif: the disk is full; mend that and run the same command again")
    assert "Traceback" in next(state.iterdir()).read_text()

    def odd() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mesoface.flows.doctor.diagnose", odd)
    assert main(["doctor"]) == 70


def test_log_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rig = tmp_path / "rig.toml"
    assert main(["rig", "example", str(rig)]) == 0 and rig.is_file()
    monkeypatch.setattr(run_log.RunLog, "write", lambda *_: None)
    assert main(["rig", "example", str(rig)]) == 2 and "--force" in said(capsys)


def test_the_last_logs_are_kept(state: Path, tmp_path: Path):
    state.mkdir(parents=True)
    for number in range(KEPT + 5):
        (state / f"doctor_20260101T000000Z_{number}.log").touch()
    (state / "mine.txt").touch()
    assert main(["rig", "example", str(tmp_path / "rig.toml")]) == 0
    names = {path.name for path in state.iterdir()}
    assert len(names) == KEPT + 1 and "mine.txt" in names
    assert any(name.startswith("rig-example_") for name in names)


def test_every_exit_code(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from mesoface.flows.doctor import Finding

    rig = tmp_path / "rig.toml"
    assert main(["rig", "example", str(rig)]) == 0
    assert newest_log().rstrip().endswith("exit code: 0")
    monkeypatch.setattr("mesoface.flows.doctor.diagnose", lambda: [Finding("disk", "missing", "full", "Make room.")])
    assert main(["doctor"]) == 1
    assert main(["rig", "check", "none.toml"]) == 2
    assert main(["rig", "chekc", str(rig)]) == 2
    assert "Traceback" not in said(capsys)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mesoface.flows.doctor.diagnose", interrupted)
    assert main(["doctor"]) == 130
    assert "interrupted" in newest_log()


def test_the_app_keeps_no_settings(tmp_path: Path):
    """A second run in the same process starts from nothing."""
    settings = tmp_path / "a.toml"
    settings.write_text("[rig.example]\nforce = true\n")
    rig = tmp_path / "rig.toml"
    rig.write_text("mine")
    assert main(["rig", "example", str(rig)]) == 2
    assert main(["rig", "example", str(rig), "--config", str(settings)]) == 0
    assert main(["rig", "example", str(rig)]) == 2
    assert isinstance(app, App) and not app.config
