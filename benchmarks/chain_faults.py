"""A campaign of faults over the whole chain: does the same command, run again, end in the same bytes?

    python benchmarks/chain_faults.py --work campaign --runs 50 --seed 1 --jobs 2

WORK gets the inputs (a rendered scan, a verified take of the simulated rig, a portrait as photograph) and the
undisturbed results of `flows run regenerate-all`, `train-dfdn` and `synthesize`, made once. A run starts from a copy
of the results with some stages missing, is disturbed once (KINDS), and is then run again as it was. Compared with the
undisturbed results: what every stage was made of and made, every byte of the dataset, the trained network, and that
nothing else is left, on disk or running. Before and after: the hash of every input. Exit code 1 when something differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chain_faults_kinds import Attempt, damage, kill_child, kill_main, random_moment, run, stood
from chain_faults_start import Start, contents, differences, made_start

DAMAGES = ("file truncated", "bytes flipped", "file deleted")
KINDS = (
    "main process killed", "Dask worker killed", "file truncated", "small files only", "Prefect server killed",
    "main process killed", "bytes flipped", "disk full", "main process killed, Dask", "file deleted",
    "training killed", "main process killed", "Dask worker killed", "small files only", "bytes flipped",
    "main process killed, Prefect", "disk full", "synthesis killed", "main process killed", "file truncated",
)  # fmt: skip
"""In this order, from the start again when there are more runs."""
CHILDREN = {"Dask worker killed": "spawn_main", "Prefect server killed": "prefect"}
"""What stands in the command line of the process to kill, where it isn't the main one."""
DASK = ("--runner", "dask", "--workers", "2", "--no-prefect")
LONGEST_S = 12.0
"""A regeneration with some stages missing takes 7 to 20 s on idle cores."""
EXPLAINED = (0, 1, 2)
"""Exit codes that come with a message; all others are crashes."""


@dataclass
class Outcome:
    """One run of the campaign. differs: names of what is not as in the undisturbed results."""

    number: int
    kind: str
    without: tuple[str, ...]
    done_to: str = ""
    codes: list[int] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    complaint: str = ""
    seconds: float = 0.0

    @property
    def struck(self) -> bool:
        return self.done_to != "ended before"

    @property
    def recovered(self) -> bool:
        return not self.differs and not self.complaint


def states(start: Start) -> list[tuple[str, ...]]:
    """What is missing at the start of a run, the cheap more often than the dear."""
    a, b = (f"scans/{path.name}" for path in sorted((start.folder / "sessions").iterdir()))
    wild = ("scans/wild/portrait", "scans/wild/portrait.patches")
    short = [
        (f"{a}/patches", f"{b}/patches"), (f"{a}/displacement",), wild, (f"{b}/normals", f"{a}/patches"),
        (f"{b}/displacement", f"{a}/patches", wild[1]),
    ]  # fmt: skip
    middle = [(f"{a}/uv",), (f"{b}/uv", wild[1]), (f"{b}/geometry",), (f"{a}/geometry", f"{a}/normals")]
    return [(*state, "datasets") for state in (*short * 3, *middle)] + [("scans", "datasets")]


class Campaign:
    def __init__(self, start: Start, seed: int) -> None:
        self.start, self.seed = start, seed
        undisturbed = start.folder / "undisturbed"
        self.expected = {
            parts: contents(undisturbed, *parts) for parts in (("scans", "datasets"), ("run",), ("results",))
        }
        self.inputs = start.inputs()

    def run(self, number: int) -> Outcome:
        chance = random.Random(f"{self.seed} {number}")  # a run can be repeated alone with --first
        kind, began = KINDS[number % len(KINDS)], time.monotonic()
        results = self.start.folder / f"run{number:03d}"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        full = Tmpfs(results) if kind == "disk full" and os.geteuid() == 0 else None
        try:
            outcome = self._disturbed(Outcome(number, kind, ()), chance, results, full)
        finally:
            if full:
                full.remove()
        if outcome.recovered:
            shutil.rmtree(results)
        outcome.seconds = round(time.monotonic() - began, 1)
        return outcome

    def _disturbed(self, outcome: Outcome, chance: random.Random, results: Path, full: "Tmpfs | None") -> Outcome:
        kind = outcome.kind
        parts: tuple[str, ...] = ("scans", "datasets")
        if kind in ("training killed", "synthesis killed"):
            parts = ("run",) if kind == "training killed" else ("results",)
            outcome.without = parts
            command = self.start.train(results) if parts == ("run",) else self.start.synthesize(results)
        else:
            outcome.without = () if kind in DAMAGES else chance.choice(states(self.start))
            self.start.copy(results, outcome.without)
            more: Sequence[str] = DASK if "Dask" in kind else ("--no-prefect",)
            if "Prefect" in kind:
                shutil.copytree(self.start.folder / "home", results / "home")
                more = ("--home", str(results / "home"))
            command = self.start.regenerate(results, *more)
        if kind in DAMAGES:
            outcome.done_to = damage(kind, chance, results)
        else:
            self._take(outcome, self._strike(kind, chance, results, command, full), results)
        if full:
            full.resize(4000)
        if kind in DAMAGES or outcome.codes[-1] != 0:
            self._take(outcome, run(command, results), results)
        if outcome.codes[-1] != 0:
            outcome.complaint = outcome.complaint or f"exit code {outcome.codes[-1]}: {end_of_log(results)}"
        outcome.differs = differences(self.expected[parts], contents(results, *parts))
        if lost := differences(self.inputs, self.start.inputs()):
            outcome.complaint = f"inputs differ: {lost}"
        return outcome

    def _strike(
        self, kind: str, chance: random.Random, results: Path, command: Sequence[str], full: "Tmpfs | None"
    ) -> Attempt:
        if kind == "small files only" or (kind == "disk full" and full is None):
            limit = int(10 ** chance.uniform(3.7, 5.7))
            attempt = run(command, results, limit_bytes=limit)
            attempt.place = f"{limit / 1000:.0f} kB; {stood(results)}" + attempt.place
            return attempt
        if full is not None:
            room = chance.randrange(0, 1500)
            full.leave(room)
            attempt = run(command, results)
            attempt.place = f"{room} kB left; {stood(results)}" + attempt.place
            return attempt
        for_child = kind in CHILDREN
        wait = random_moment(chance, LONGEST_S, results, by_event=for_child or chance.random() < 0.7)
        if for_child:
            return run(command, results, kill_child(wait, results, CHILDREN[kind], chance))
        return run(command, results, kill_main(wait, results))

    def _take(self, outcome: Outcome, attempt: Attempt, results: Path) -> None:
        outcome.codes.append(attempt.code)
        outcome.done_to = outcome.done_to or attempt.place
        killed = len(outcome.codes) == 1 and attempt.code == -signal.SIGKILL and outcome.kind not in CHILDREN
        if "HANGS" in attempt.place or "LEFT" in attempt.place:
            outcome.complaint = attempt.place
        elif attempt.code not in EXPLAINED and not killed:
            outcome.complaint = f"crash, exit code {attempt.code}: {end_of_log(results)}"


class Tmpfs:
    """The folder of a run on a small disk of its own (for root)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4000m", "chain-faults", str(folder)], check=True)

    def leave(self, kilobytes: int) -> None:
        """Make the disk so small that this much is left."""
        usage = os.statvfs(self.folder)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        self._remount(f"{used // 1024 + kilobytes}k")

    def resize(self, megabytes: int) -> None:
        self._remount(f"{megabytes}m")

    def _remount(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)

    def remove(self) -> None:
        kept = self.folder / "log.txt"
        text = kept.read_bytes() if kept.exists() else b""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)
        kept.write_bytes(text)


def end_of_log(results: Path) -> str:
    return (results / "log.txt").read_text(errors="replace")[-1500:]


def report(outcomes: Sequence[Outcome]) -> int:
    """The table; the number of runs that did not recover."""
    print(f"\n{'kind':<30}{'runs':>6}{'struck':>8}{'went on':>9}{'recovered':>11}")
    for kind in sorted(set(KINDS)):
        mine = [one for one in outcomes if one.kind == kind]
        went_on = sum(one.struck and len(one.codes) == 1 and one.kind not in DAMAGES for one in mine)
        struck, recovered = sum(one.struck for one in mine), sum(one.recovered for one in mine)
        print(f"{kind:<30}{len(mine):>6}{struck:>8}{went_on:>9}{recovered:>11}")
    bad = [one for one in outcomes if not one.recovered]
    print(f"\n{len(outcomes)} runs, {sum(one.struck for one in outcomes)} struck, {len(bad)} not recovered")
    for one in bad:
        print(f"run {one.number} ({one.kind}, {one.done_to}): differs {one.differs[:8]}; {one.complaint}")
    return len(bad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of inputs, undisturbed results and runs")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    start = made_start(arguments.work.resolve())
    campaign = Campaign(start, arguments.seed)
    print(f"{len(campaign.inputs)} inputs; undisturbed: {sum(map(len, campaign.expected.values()))} files", flush=True)
    outcomes: list[Outcome] = []

    def one(number: int) -> None:
        outcome = campaign.run(number)
        outcomes.append(outcome)
        with (arguments.work / "outcomes.jsonl").open("a") as log:  # an interrupted campaign still counts
            log.write(json.dumps(asdict(outcome)) + "\n")
        state = "same" if outcome.recovered else f"DIFFERS {outcome.differs[:3]} {outcome.complaint[-300:]}"
        print(
            f"run {number}: {outcome.kind}; {outcome.done_to}; {outcome.codes}: {state}, {outcome.seconds} s",
            flush=True,
        )

    with ThreadPoolExecutor(arguments.jobs) as threads:
        list(threads.map(one, range(arguments.first, arguments.first + arguments.runs)))
    return int(report(sorted(outcomes, key=lambda outcome: outcome.number)) > 0)


if __name__ == "__main__":
    sys.exit(main())
