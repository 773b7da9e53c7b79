"""Start a simulated rig in a process of its own, and find one that someone else started.

with VirtualRig.start(SimulatedStudio(rig_path, folders)) as virtual:
    connections = virtual.connections
    virtual.command("camera_fault", camera="centre", fault={"kind": "drop", "operation": "release"})
"""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import write_json
from .plan import Shot
from .rig import load_rig
from .session import Connections

STATE = "virtual-rig.json"


@dataclass(frozen=True)
class RenderedFolder:
    """A folder of the virtual studio and the shots whose frames it holds."""

    path: Path
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class SimulatedStudio:
    """What to simulate. `speed` divides the times of bodies and box; `bytes_per_s` limits each body's downloads.

    `size_px` (width, height) enlarges the frames, to try out large files. `stray_light` is a part of the uniform light.
    """

    rig_path: Path
    folders: tuple[RenderedFolder, ...]
    speed: float = 1.0
    bytes_per_s: float | None = None
    size_px: tuple[int, int] | None = None
    stray_light: float = 0.0
    seed: int = 0


def scaled_rig_text(text: str, width_px: int, height_px: int) -> str:
    """A rig file whose bodies deliver frames of another size: what a simulated rig of rendered frames is."""
    text = re.sub(r"\bwidth_px\s*=\s*\d+", f"width_px = {width_px}", text)
    return re.sub(r"\bheight_px\s*=\s*\d+", f"height_px = {height_px}", text)


def runtime_folder() -> Path:
    """A private folder for sockets and locks of this user."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base) / f"mesoface-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; remove it, or set XDG_RUNTIME_DIR to a folder of yours")
    return folder


class VirtualRig:
    """A running simulated rig: its connections, and commands to it."""

    def __init__(self, facts: dict[str, Any], process: "subprocess.Popen[str] | None", folder: Path | None) -> None:
        self.facts, self._process, self._folder = facts, process, folder

    @classmethod
    def start(cls, studio: SimulatedStudio) -> "VirtualRig":
        """Start the process and wait until it serves. Raises UserError with its reason when it cannot."""
        folder = Path(tempfile.mkdtemp(prefix="virtual-", dir=runtime_folder()))
        rig = load_rig(studio.rig_path)
        # Each rig gets loopback addresses of its own, so that several can run on one machine.
        network = f"127.{random.SystemRandom().randrange(2, 250)}.{os.getpid() % 250 + 1}"
        config = {
            "rig": str(studio.rig_path),
            "control": str(folder / "control"),
            "addresses": [f"{network}.{11 + index}" for index in range(len(rig.cameras))],
            "folders": [
                {"path": str(item.path), "shots": [asdict(shot) for shot in item.shots]} for item in studio.folders
            ],
            "speed": studio.speed,
            "bytes_per_s": studio.bytes_per_s,
            "size_px": studio.size_px,
            "stray_light": studio.stray_light,
            "seed": studio.seed,
        }
        errors = folder / "errors.txt"
        with errors.open("w") as handle:
            process = subprocess.Popen(
                [sys.executable, "-m", "mesoface.capture.sim_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=handle,
                text=True,
            )
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(config) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            process.wait()
            lines = errors.read_text().strip().splitlines()
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"the simulated rig does not start: {lines[-1] if lines else 'no reason given'}")
        facts = {**json.loads(line), "control": config["control"], "rig": str(studio.rig_path.resolve())}
        return cls(facts, process, folder)

    @classmethod
    def running(cls) -> "VirtualRig | None":
        """The rig that `mesoface studio serve` runs on this machine, or None."""
        path = runtime_folder() / STATE
        try:
            facts = json.loads(path.read_text())
            rig = cls(facts, None, None)
            rig.command("cards")
        except (OSError, ValueError, UserError):
            return None
        return rig

    def publish(self) -> Path:
        """Let `running` find this rig; returns the note's path."""
        path = runtime_folder() / STATE
        write_json(path, self.facts)
        return path

    def withdraw(self) -> None:
        (runtime_folder() / STATE).unlink(missing_ok=True)

    @property
    def connections(self) -> Connections:
        """Where to connect."""
        return Connections(tuple(self.facts["ports"].values()), self.facts["trigger_box"])

    @property
    def rig_path(self) -> Path:
        return Path(self.facts["rig"])

    def command(self, what: str, **fields: Any) -> dict[str, Any]:
        """Send a command to the simulator; returns its answer. Raises UserError when it refuses or is gone."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(10)
                link.connect(self.facts["control"])
                with link.makefile("rw") as stream:
                    stream.write(json.dumps({"do": what, **fields}) + "\n")
                    stream.flush()
                    line = stream.readline()
        except OSError as error:
            raise UserError(f"the simulated rig does not answer ({error}); start it again") from None
        reply = json.loads(line or '{"ok": false, "error": "it closed the connection"}')
        if not reply.pop("ok"):
            raise UserError(f"the simulated rig refuses {what}: {reply['error']}")
        return reply

    def stop(self) -> None:
        """End the process that `start` made."""
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> "VirtualRig":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
