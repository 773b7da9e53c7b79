"""The wheel: what is in it, and that it works where the repository is not."""

import importlib.metadata
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("capture", "reconstruct", "dataset", "model", "flows")


def _run(command: list[str], folder: Path, timeout_s: float = 120.0) -> str:
    """Run away from the repository and from the caller's Python settings; the output, or a failed assertion."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from a copy, so that no old build output gets in and none is left behind."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer: install the dev extra")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    _run([sys.executable, "-c", build, str(folder)], source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; the dependencies are borrowed from this one, its mesoface is not."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    _run([*pip, str(wheel)], folder)
    # Paths named in a .pth file are searched last, and the .pth files inside them (editable installs) are not read.
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def test_wheel_holds_the_rooms_and_their_data(wheel: Path):
    expected = {
        f"mesoface/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (*(ROOT / room).glob("*.py"), *(ROOT / room).glob("tables/*"), *(ROOT / room).glob("firmware/*/*"))
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_wheel_metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert metadata["Name"] == "mesoface"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert len(licences) == 1
    # One cv2 only: every OpenCV wheel writes the same folder, and the one with windows needs libraries of a desktop.
    requirements = metadata.get_all("Requires-Dist") or []
    assert [line for line in requirements if line.startswith("opencv")] == ["opencv-python-headless<6,>=4.10"]


def test_installed_wheel_imports_from_elsewhere(installed: Path, tmp_path: Path):
    script = tmp_path / "imports.py"
    script.write_text(
        "import importlib, importlib.resources, pkgutil\n"
        f"for room in {ROOMS!r}:\n"
        "    package = importlib.import_module('mesoface.' + room)\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'mesoface.{room}.{module.name}')\n"
        "    print(room, package.__file__, sep='|')\n"
        "assert importlib.resources.files('mesoface.capture').joinpath('tables/rig.example.toml').is_file()\n"
    )
    lines = _run([str(installed / "bin" / "python"), str(script)], tmp_path).splitlines()
    assert [line.split("|")[0] for line in lines] == list(ROOMS)
    for line in lines:
        assert Path(line.split("|")[1]).is_relative_to(installed), "the repository's own copy was imported"


def test_command_of_the_installed_wheel(installed: Path, tmp_path: Path):
    command = str(installed / "bin" / "mesoface")
    assert "rig" in _run([command, "--help"], tmp_path)
    _run([command, "rig", "example", "studio.toml"], tmp_path)
    assert (tmp_path / "studio.toml").read_bytes() == (ROOT / "capture/tables/rig.example.toml").read_bytes()
    assert importlib.metadata.version("mesoface") in _run([command, "--version"], tmp_path)
