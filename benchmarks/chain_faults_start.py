"""What the campaign of the whole chain starts from: verified inputs, their results undisturbed, and copies of these."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesoface.capture.files import sha256_file
from mesoface.flows.scan_flow_jobs import stage_hash
from mesoface.flows.stage import MARK_FILE, STAGE_FILE
from mesoface.reconstruct.rig_files import CalibratedRig
from mesoface.reconstruct.scan_source import open_scan

DATASET = "datasets/studio-v001"
SHAPE = ("--size", "256", "--patch", "32", "--count", "8", "--shares", "1,0,0", "--min-face", "100")
SHORT = ("--preset", "fast", "--epochs", "8", "--threads", "1")
DEADLINE_S = 1800.0
TIMED = ("log.jsonl", "last.pt")
"""Of a training: they hold seconds."""
INPUTS = ("sessions", "calibration", "wild")


@dataclass(frozen=True)
class Start:
    """Inputs and undisturbed results in one folder. Inputs are used where they are; results are copied for each run."""

    folder: Path

    def regenerate(self, results: Path, *more: str) -> list[str]:
        """The command under test, with everything it makes below `results`."""
        inputs = [
            part for name in ("sessions", "calibration", "wild") for part in (f"--{name}", str(self.folder / name))
        ]
        return [
            *mesoface("flows", "run", "regenerate-all"), *inputs, "--wild-licence", "virtual person",
            "--datasets", str(results / "datasets"), "--scans", str(results / "scans"), *SHAPE, *more,
        ]  # fmt: skip

    def train(self, results: Path) -> list[str]:
        dataset, run = str(self.folder / "undisturbed" / DATASET), str(results / "run")
        return [*mesoface("flows", "run", "train-dfdn"), dataset, "--out", run, *SHORT, "--no-prefect"]

    def synthesize(self, results: Path) -> list[str]:
        return [
            *mesoface("flows", "run", "synthesize"), str(self.folder / "wild"), "--out", str(results / "results"),
            "--model", str(self.folder / "undisturbed/run/best.pt"), "--size", "512", "--no-prefect",
        ]  # fmt: skip

    def copy(self, results: Path, without: Sequence[str]) -> None:
        """The undisturbed dataset and its stages without some (paths such as scans/NAME/uv); no links: runs damage
        them."""
        for name in ("scans", "datasets"):
            shutil.copytree(self.folder / "undisturbed" / name, results / name, symlinks=True)
        for name in without:
            shutil.rmtree(results / name)

    def inputs(self) -> dict[str, str]:
        """SHA-256 of every input; a take's lock is none."""
        found = {}
        for name in INPUTS:
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file() and path.name != "take.lock":
                    found[path.relative_to(self.folder).as_posix()] = sha256_file(path)
        return found


def mesoface(*words: str) -> list[str]:
    return [sys.executable, "-m", "mesoface.flows.cli", *words]


def contents(results: Path, *parts: str) -> dict[str, str]:
    """Hashes of all that must be the same, and the names of all else that lies there.

    A stage counts by what it was made of and all its outputs but reports, which hold times; every byte of a dataset;
    of a training its networks and settings.
    """
    found: dict[str, str] = {}
    for part in parts:
        for path in sorted((results / part).rglob("*")):
            name = path.relative_to(results).as_posix()
            if path.name == STAGE_FILE:
                found[name] = stage_hash(path.parent)
            elif path.is_symlink():
                found[name] = f"link to {path.readlink()}"
            elif path.is_dir() or path.name in (MARK_FILE, *TIMED) or (path.suffix == ".html" and part != "datasets"):
                found[name] = ""
            else:
                found[name] = sha256_file(path)
    return found


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def made_start(folder: Path) -> Start:
    """Render a scan, shoot a take of the same person, take a portrait; run the whole chain undisturbed.

    What is there already is kept; remove the file `ready` after a change of the product.
    """
    if (folder / "ready").is_file():
        return Start(folder)
    sessions = folder / "sessions"
    scan = sessions / "V001_smile"
    call(mesoface("studio", "render", "--subject", "1", "--expression", "smile", "--size", "tiny", "--out", str(scan)))
    if len([path for path in sessions.iterdir() if path.is_dir()]) < 2:
        take = ("--rig", "virtual", "--virtual-size", "480x320", "--virtual-subject", "1", "--subject", "S001")
        call(mesoface("capture", *take, "--expression", "smile", "--sessions", str(sessions)))
    call(mesoface("studio", "portrait", "--subject", "3", "--out", str(folder / "portrait")))
    (folder / "wild").mkdir(exist_ok=True)
    shutil.copy2(folder / "portrait/portrait.png", folder / "wild/portrait.png")
    if not (folder / "calibration/calibration.json").is_file():  # the exact one of the rendered rig
        source = open_scan(scan)
        cameras = dict(source.nominal)
        CalibratedRig("", source.centre, cameras, dict(source.serials), dict.fromkeys(cameras, 0.0)).save(
            folder / "calibration"
        )
        shutil.copy2(scan / "lights.json", folder / "calibration/lights.json")
    start = Start(folder)
    undisturbed = folder / "undisturbed"
    for command in (
        start.regenerate(undisturbed, "--no-prefect"), start.regenerate(undisturbed, "--home", str(folder / "home")),
        start.train(undisturbed), start.synthesize(undisturbed),
    ):  # fmt: skip
        call(command)
    (folder / "ready").touch()
    return start


def call(command: Sequence[str]) -> None:
    """Raises SystemExit with the end of what a failing command said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, env=environment())
    if done.returncode not in (0, 1):  # 1: done, with warnings
        raise SystemExit(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")


def environment() -> dict[str, str]:
    """No progress bars, and nothing of an outer Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "TERM": "dumb"}
