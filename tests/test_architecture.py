"""The rules of the house: one-way imports, flat rooms, packaged data, light imports, no traces of one machine."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("capture", "reconstruct", "dataset", "model", "flows")
"""In the order in which they may import: each room only those before it."""
LONGEST_FILE = 380
LAZY = {"mitsuba", "drjit", "torch", "serial", "gphoto2", "prefect", "pycolmap", "eos", "matplotlib"}
"""Libraries that are heavy, optional or need a device: no import of a room may load them."""
FILES = [path for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def imported_modules(source: str, room: str) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a file of `room`, with relative imports resolved."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ["mesoface", room]
            base = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join(base + ([node.module] if node.module else []))
            if stem == "mesoface":
                found += [(node.lineno, f"mesoface.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, stem))
    return found


def violations(source: str, room: str) -> list[str]:
    """Imports of `source` that reach a room above `room`, or a room by its bare name."""
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = []
    for line, name in imported_modules(source, room):
        parts = name.split(".")
        if parts[0] in ROOMS:
            wrong.append(f"line {line}: bare import of {name}; write mesoface.{name} or a relative import")
        elif parts[0] == "mesoface" and parts[1:2] and parts[1] not in allowed:
            wrong.append(f"line {line}: {room} imports {name}; allowed are {', '.join(allowed)}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_one_way(path: Path):
    assert violations(path.read_text(), path.parent.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..reconstruct.head import make_head",
        "from .. import dataset",
        "import mesoface.flows.cli",
        "from mesoface import model",
        "def late():\n    from mesoface.reconstruct import head",
        "import capture.rig",
        "from capture import rig",
    ],
)
def test_import_check_catches(source: str):
    assert len(violations(source, "capture")) == 1


def test_import_check_passes_own_and_lower_rooms():
    source = "from .rig import Rig\nfrom ..capture.errors import UserError\nfrom mesoface.reconstruct import head\n"
    assert violations(source, "reconstruct") == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.name)
def test_tests_use_the_installed_name(path: Path):
    bare = [name for _, name in imported_modules(path.read_text(), "tests") if name.split(".")[0] in ROOMS]
    assert bare == [], "import mesoface.<room>: the bare name is a second copy"


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_flat_and_packaged(room: str):
    nested = [path for path in (ROOT / room).rglob("*.py") if path.parent != ROOT / room]
    assert nested == [], f"{room} is one folder of modules, without sub-packages"
    assert (ROOT / room / "__init__.py").exists()
    assert f"mesoface.{room}" in SETUP["packages"]
    assert SETUP["package-dir"][f"mesoface.{room}"] == room


def test_no_room_is_forgotten():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ROOMS)
    assert set(SETUP["packages"]) == {f"mesoface.{room}" for room in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_data_files_are_packaged(room: str):
    patterns = SETUP["package-data"].get(f"mesoface.{room}", [])
    folder = ROOT / room
    data = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    ]
    # fnmatch's * also matches a slash, setuptools' does not.
    left_out = [
        name for name in data if not any(fnmatch.fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)
    ]
    assert left_out == [], f"add them to package-data of mesoface.{room} in pyproject.toml"
    allowed = ("tables/", "firmware/") if room == "capture" else ("tables/",)
    elsewhere = [name for name in data if not name.startswith(allowed)]
    assert elsewhere == [], f"data of a room lives in {room}/tables, the trigger box's firmware in capture/firmware"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_file_is_not_too_long(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines; split it along a seam (at most {LONGEST_FILE})"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "flows"], ids=lambda path: path.name)
def test_rooms_do_not_print(path: Path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == [], "use logging; only flows talk to the user"


def test_imports_stay_light(tmp_path: Path):
    """Importing every module loads no device library, renderer or training framework."""
    modules = [f"mesoface.{path.parent.name}.{path.stem}" for path in FILES if path.stem != "__init__"]
    script = tmp_path / "imports.py"
    script.write_text(
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = {sorted(LAZY)!r}\n"
        "    loaded = [library for library in heavy if library in sys.modules]\n"
        "    if loaded:\n"
        "        sys.exit(f'importing {name} loads {loaded}: move the import into the function that needs it')\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def _tracked_texts() -> list[tuple[str, str]]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        pytest.skip("git is absent or this is no git checkout")
    texts = []
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and b"\0" not in (data := path.read_bytes()):
            texts.append((name, data.decode(errors="replace")))
    if not texts:
        pytest.skip("git tracks no file here")
    return texts


# Put together from pieces, so that this file does not match itself.
TRACES = {
    "path of one machine": r"(?<![\w.:/~-])/(?:" + "|".join(("work", "root", "home", "Users", "opt/mf")) + r")/",
    "package registry": "|".join(("pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs")),
}


@pytest.mark.parametrize("kind", TRACES)
def test_no_traces_of_one_machine(kind: str):
    pattern = re.compile(TRACES[kind])
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _tracked_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_trace_patterns_catch():
    for root in ("work", "root", "home"):
        assert re.search(TRACES["path of one machine"], f"cd /{root}/somebody")
    assert not re.search(TRACES["path of one machine"], "frame/home/x.png and ~/work/rig.toml")
