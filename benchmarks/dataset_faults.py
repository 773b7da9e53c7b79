"""A campaign of `mesoface dataset build` killed at random moments: does a second run end in the same bytes?

    mesoface dataset build SCAN ... --scans SCANS --out SET --size 256 --patch 32 --count 8
    python benchmarks/dataset_faults.py SCAN ... --scans SCANS --size 256 --patch 32 --count 8 --runs 20 --seed 1

SCANS holds the stages of a finished build of the same scans and options; nothing there is changed. Every run starts
from copies without patches and without a dataset (every --uv-every-th run without the registration of one scan, too),
kills the build (SIGKILL) at a random moment, half of the time once or twice more, and then lets it finish. Compared
with an undisturbed build: every file of the dataset, the patches of every scan, and that nothing else is left behind.
Exit code 1 when something differs.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mesoface.capture.files import sha256_file

DEADLINE_S = 1800.0
EVENTS = (
    "scans/*/.uv.*.part", "scans/*/.patches.*.part", "scans/*/patches/stage.json", "set/.scan-*.part*", "set/*.h5",
    "set/split.json", "set/dataset.json", "set/.pca*.part*", "set/pca.npz", "set/pca.json", "set/.card*.part*",
)  # fmt: skip
"""Files that a build makes, in this order: half of the kills come shortly after one of them has appeared."""


@dataclass(frozen=True)
class Campaign:
    sources: tuple[Path, ...]
    scans: Path
    options: tuple[str, ...]

    def command(self, folder: Path, workers: int) -> list[str]:
        return [
            sys.executable, "-m", "mesoface.flows.cli", "dataset", "build", *(str(path) for path in self.sources),
            "--scans", str(folder / "scans"), "--out", str(folder / "set"), "--workers", str(workers), *self.options,
        ]  # fmt: skip

    def prepare(self, folder: Path, without_uv: str = "") -> None:
        """Stages as hard links: a stage is replaced as a whole, never written into."""
        for source in self.sources:
            name = source.resolve().name
            for stage in sorted((self.scans / name).iterdir()):
                if stage.name.startswith(".") or stage.name == "patches" or (stage.name == "uv" and name == without_uv):
                    continue
                shutil.copytree(stage, folder / "scans" / name / stage.name, copy_function=os.link, symlinks=True)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that must be the same, and the names of all that lies there."""
    found = {}
    for path in sorted((folder / "set").rglob("*")):
        found[path.relative_to(folder).as_posix()] = sha256_file(path)
    for path in sorted((folder / "scans").glob("*/*")):
        name = path.relative_to(folder).as_posix()
        found[name] = sha256_file(path / "patches.h5") if path.name == "patches" else ""
    return found


def build(campaign: Campaign, folder: Path, workers: int, kill: random.Random | None, seconds: float) -> str:
    """Run a build, or kill it: where it stood then. Empty: it ended."""
    log = (folder / "log.txt").open("ab")
    process = subprocess.Popen(campaign.command(folder, workers), stdout=log, stderr=log, start_new_session=True)
    try:
        if kill is None:
            process.wait(DEADLINE_S)
        elif kill.random() < 0.5:
            wait(process, lambda: False, kill.uniform(0.2, 1.0) * seconds)
        else:
            event, delay = kill.choice(EVENTS), kill.choice((0.0, 0.003, 0.03, 0.3))
            wait(process, lambda: any(folder.glob(event)), DEADLINE_S)
            time.sleep(delay)
        if process.poll() is None:
            place = stood(folder)
            process.kill()
            process.wait()
            return place
    finally:
        log.close()
    if process.returncode != 0:
        raise SystemExit(f"a build failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return ""


def wait(process: subprocess.Popen[bytes], done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not done():
        time.sleep(0.001)


def stood(folder: Path) -> str:
    """The last thing of EVENTS that is there."""
    there = [event for event in EVENTS if any(folder.glob(event))]
    return there[-1] if there else "before the first stage"


def left_running(folder: Path) -> list[int]:
    """Processes that work in a folder, a second after their parent was killed; they are ended."""
    time.sleep(1.0)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{folder}/set".encode() in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
            os.kill(int(entry.name), signal.SIGKILL)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uv-every", type=int, default=5)
    parser.add_argument("--work", type=Path, default=None, help="folder for the runs, on the file system of --scans")
    arguments, options = parser.parse_known_args()
    campaign = Campaign(tuple(arguments.sources), arguments.scans, tuple(options))
    chance, places, broken, orphans, kills = random.Random(arguments.seed), Counter(), 0, 0, 0
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        root = Path(temporary)
        campaign.prepare(root / "undisturbed")
        started = time.monotonic()
        build(campaign, root / "undisturbed", 1, None, 0)
        seconds = time.monotonic() - started
        expected = contents(root / "undisturbed")
        print(f"undisturbed: {seconds:.1f} s, {len(expected)} files and stages", flush=True)
        for run in range(arguments.runs):
            folder, workers = root / f"run{run}", chance.choice((1, 1, 2))
            first = arguments.sources[0].resolve().name
            campaign.prepare(folder, first if arguments.uv_every and run % arguments.uv_every == 0 else "")
            killed = []
            for _ in range(chance.choice((1, 1, 2, 3))):
                place = build(campaign, folder, workers, chance, seconds)
                if not place:
                    break
                killed.append(place)
                orphans += len(left_running(folder))
            build(campaign, folder, workers, None, 0)
            found = contents(folder)
            wrong = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
            broken += bool(wrong)
            kills += len(killed)
            places.update(killed)
            print(f"run {run}, {workers} workers: killed {killed or 'never'}: {wrong or 'the same bytes'}", flush=True)
            shutil.rmtree(folder)
    print(
        f"{arguments.runs} runs, {kills} kills, {broken} with other bytes or leftovers, {orphans} processes left behind"
    )
    for place, count in sorted(places.items(), key=lambda item: -item[1]):
        print(f"  {count:3d} x {place}")
    return int(broken > 0 or orphans > 0)


if __name__ == "__main__":
    raise SystemExit(main())
