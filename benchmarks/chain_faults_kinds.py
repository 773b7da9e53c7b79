"""What the campaign of the whole chain does to a run: kills, full disks, damaged results."""

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chain_faults_start import DEADLINE_S, environment

MADE = ("scans", "datasets", "run", "results")


@dataclass
class Attempt:
    """One disturbed run of a command. place: the newest thing that had been made when it was struck."""

    code: int
    place: str
    said: str


def processes() -> dict[int, tuple[int, str]]:
    """Of every living process: its parent and its command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(entry.name)] = (int(parent), words)
    return found


def descendants(process: int) -> dict[int, str]:
    """Processes that a process has started, directly or not."""
    known, found = processes(), {}
    parents = [process]
    while parents:
        parent = parents.pop()
        for child, (its_parent, words) in known.items():
            if its_parent == parent and child not in found:
                found[child] = words
                parents.append(child)
    return found


def left_running(results: Path) -> list[int]:
    """Processes of a killed run that still live ten seconds later; they are ended."""
    end = time.monotonic() + 10
    while True:
        found = [number for number in processes() if _belongs(number, results)]
        if not found or time.monotonic() > end:
            break
        time.sleep(0.2)
    for number in found:
        os.kill(number, signal.SIGKILL)
    return found


def _belongs(number: int, results: Path) -> bool:
    try:
        return f"CHAIN_FAULTS={results}\0".encode() in Path(f"/proc/{number}/environ").read_bytes()
    except OSError:
        return False


def run(command: Sequence[str], results: Path, strike: Callable[[subprocess.Popen], str] | None = None,
        limit_bytes: int = 0) -> Attempt:  # fmt: skip
    """Run a command, disturbed by `strike(process)`, which says where the run stood; or with small files only."""

    def limited() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    log = results / "log.txt"
    begin = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=limited,
        env={**environment(), "CHAIN_FAULTS": str(results)},
    )  # fmt: skip
    # A child of its own writes the log: the limit on files is not to hit it.
    copier = subprocess.Popen(["tee", "-a", str(log)], stdin=process.stdout, stdout=subprocess.DEVNULL)
    place = strike(process) if strike else ""
    try:
        code = process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
        place += " HANGS"
    for number in left_running(results):
        place += f" LEFT {number}"
    copier.wait(30)
    return Attempt(code, place, log.read_bytes()[begin:].decode(errors="replace"))


def random_moment(
    chance: random.Random, seconds: float, results: Path, *, by_event: bool
) -> Callable[[subprocess.Popen], None]:
    """Waits for a moment of a run: at any time, or shortly after a new stage or file has been begun."""
    events = ("scans/*/.*.part", "scans/wild/*", "datasets/*/*", "datasets/*/.*", "run/*", "results/*")
    after_s, nth, delay_s = chance.uniform(0.1, 1.0) * seconds, chance.randint(1, 3), chance.choice((0, 0.01, 0.1, 1.0))

    def wait(process: subprocess.Popen) -> None:
        began, known, new = time.monotonic(), set(_present(results, events)), 0
        while process.poll() is None and time.monotonic() - began < DEADLINE_S:
            if not by_event and time.monotonic() - began > after_s:
                return
            present = set(_present(results, events))
            new, known = new + len(present - known), present | known
            if by_event and new >= nth:
                time.sleep(delay_s)
                return
            time.sleep(0.01)

    return wait


def _present(results: Path, patterns: Sequence[str]) -> list[str]:
    return [str(path) for pattern in patterns for path in results.glob(pattern)]


def stood(results: Path) -> str:
    """What was being made: half-written stages and files, else the newest finished thing."""
    half = sorted(
        path for name in ("scans", "datasets", "run", "results") for path in (results / name).rglob(".*.part*")
    )
    if half:
        return half[0].name.split(".")[1] + " half written"
    for name, words in (("datasets/*/version.json", "finished"), ("datasets/*/dataset.json", "after the index"),
                        ("datasets/*/*.h5", "after a shard"), ("run/last.pt", "after a checkpoint")):  # fmt: skip
        if any(results.glob(name)):
            return words
    return "between stages"


def kill_main(wait: Callable[[subprocess.Popen], None], results: Path) -> Callable[[subprocess.Popen], str]:
    def strike(process: subprocess.Popen) -> str:
        wait(process)
        if process.poll() is not None:
            return "ended before"
        place = stood(results)
        process.kill()
        return place

    return strike


def kill_child(
    wait: Callable[[subprocess.Popen], None], results: Path, words: str, chance: random.Random
) -> Callable[[subprocess.Popen], str]:
    """Kill one of the processes below the main one in whose command line `words` stand."""

    def strike(process: subprocess.Popen) -> str:
        wait(process)
        found = sorted(number for number, said in descendants(process.pid).items() if words in said)
        if process.poll() is not None or not found:
            return "ended before"
        place = stood(results)
        os.kill(chance.choice(found), signal.SIGKILL)
        return place

    return strike


def damage(kind: str, chance: random.Random, results: Path) -> str:
    """Truncate, alter or delete one file of a finished stage or dataset; what was done."""
    files = [
        path for name in ("scans", "datasets") for path in sorted((results / name).rglob("*"))
        if path.is_symlink() or (path.is_file() and path.name not in (".mesoface-stage", "failures.json"))
    ]  # fmt: skip
    if kind != "file deleted":
        files = [path for path in files if not path.is_symlink() and path.stat().st_size > 0 and path.suffix != ".html"]
    folder = chance.choice(sorted({path.relative_to(results).parts[:3] for path in files}))  # not mostly COLMAP's files
    path = chance.choice([path for path in files if path.relative_to(results).parts[:3] == folder])
    if kind == "file deleted":
        path.unlink()
    elif kind == "file truncated":
        os.truncate(path, chance.randrange(path.stat().st_size))
    else:
        data = bytearray(path.read_bytes())
        for _ in range(chance.choice((1, 1, 16))):
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        path.write_bytes(data)
    return path.relative_to(results).as_posix()
