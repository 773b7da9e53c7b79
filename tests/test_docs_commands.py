"""The docs don't lie: every command in them parses against the real command line, every relative link leads on."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from mesoface.flows.cli import app
from mesoface.flows.command_tree import all_commands
from mesoface.flows.run_command import split_global_options

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FUNCTIONS = {command.app.default_command for command in all_commands(app)}
GROUPS = {command.names[:1] for command in all_commands(app) if len(command.names) > 1}
LINE = re.compile(r"^(?:    |\t)(?:\$ )?(?:\.venv/bin/)?(mesoface .*)$")
INLINE = re.compile(r"`(?:\.venv/bin/)?(mesoface [^`]+)`")


def commands_in(text: str) -> list[tuple[str, bool]]:
    """(command, whether it stands on a line of its own, so that it must be whole) of a page; fenced blocks included."""
    text = re.sub(r"\\\n\s+", " ", text)
    fenced, found = False, []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        match = LINE.match(f"    {line.strip()}" if fenced else line)
        if match:
            found.append((match[1], True))
    prose = "\n".join(line for line in text.splitlines() if not LINE.match(line))
    found += [(" ".join(match[1].split()), False) for match in INLINE.finditer(prose)]
    return found


CASES = [(page.name, command, whole) for page in PAGES for command, whole in commands_in(page.read_text())]


def words_of(command: str) -> list[str]:
    """Its words, without comment and redirection."""
    words = shlex.split(command, comments=True)[1:]
    return words[: next((i for i, word in enumerate(words) if word in ("|", ">", "&&", "&")), len(words))]


@pytest.mark.parametrize(("page", "command"), [(page, text) for page, text, whole in CASES if whole])
def test_command_of_a_line_of_its_own_parses(page: str, command: str):
    _, words = split_global_options(words_of(command))
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--version", "--install-completion")
        return
    if words[-1] == "--help":
        assert tuple(words[:-1]) in {known.names[: len(words) - 1] for known in all_commands(app)}
        return
    try:
        function, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(f"{page}: {command}: {error}")
    assert function in FUNCTIONS, f"{page}: {command} is no command that runs"


@pytest.mark.parametrize(("page", "command"), sorted({(page, text) for page, text, whole in CASES if not whole}))
def test_command_of_a_sentence_exists(page: str, command: str):
    """Sentences leave arguments out (`mesoface dataset build`): the command and each option named must exist."""
    _, words = split_global_options(words_of(command.replace("|", " ")))
    if words[0].startswith("--") or words[0].isupper() or words[0] == "...":
        return
    names = app.parse_commands(words)[0]
    group = tuple(names) in GROUPS and (len(words) == 1 or words[1].startswith(("...", "--help")))
    assert names and (app[names[0]] is not None), f"{page}: {command}: no such command"
    leaves = {known.names: known for known in all_commands(app)}
    assert tuple(names) in leaves or group, f"{page}: {command}: no such command"
    if tuple(names) in leaves:
        known = {name for argument in leaves[tuple(names)].arguments for name in argument.names} | {"--help"}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0] in known, f"{page}: {command}: no option {word}"


def test_pages_hold_commands():
    assert sum(whole for *_, whole in CASES) >= 50 and sum(not whole for *_, whole in CASES) >= 50


def test_the_check_catches_lies():
    ((command, whole),) = commands_in("text\n\n    mesoface studio render --oot scan1   # a lie\n")
    assert whole
    with pytest.raises(CycloptsError):
        app.parse_args(words_of(command), exit_on_error=False, print_error=False)
    assert commands_in("see `mesoface rig\ncheck rig.toml`.") == [("mesoface rig check rig.toml", False)]
    assert commands_in("```\nmesoface doctor\n```") == [("mesoface doctor", True)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not t.startswith("mailto:") and not (page.parent / t).exists()]
    assert missing == []
