"""A campaign of takes on the simulated rig with faults injected: does any image get lost or filed wrongly?

    python benchmarks/capture_faults.py --runs 200 --seed 1

Every run shoots one take in a process of its own, with one or two faults at random places of the plan (or the process
killed at a random moment). Then, as an operator would: the fault is repaired, `resume` fetches what is on the cards,
missing steps and those that the quality check wants again are shot again. The simulator knows the true light of every
exposure; the report compares it with what is filed.
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesoface.capture.errors import UserError
from mesoface.capture.files import sha256_file
from mesoface.capture.plan import shot_plan, take_plan
from mesoface.capture.rig import example_rig_path, load_rig
from mesoface.capture.session import Connections, Session
from mesoface.capture.session_view import SessionView
from mesoface.capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig, scaled_rig_text
from mesoface.capture.take import create_take, open_take, read_take
from mesoface.capture.take_report import verify_take
from mesoface.capture.take_tidy import drop_copies, set_aside
from mesoface.reconstruct.studio import render_scan
from mesoface.reconstruct.studio_options import StudioOptions

SIZE = (240, 160)
RUNS_PER_RIG = 8
ROUNDS = 4
"""How often an operator resumes and shoots again before giving up."""

CAMERA_FAULTS: dict[str, dict[str, Any]] = {
    "drop at release": {"kind": "drop", "operation": "release"},
    "drop at event poll": {"kind": "drop", "operation": 0x9116},
    "drop in download": {"kind": "drop", "operation": "download"},
    "stall at release": {"kind": "stall", "operation": "release"},
    "stall in download": {"kind": "stall", "operation": "download"},
    "stall at event poll": {"kind": "stall", "operation": 0x9116},
    "cut transfer": {"kind": "cut", "operation": "download"},
    "busy": {"kind": "busy", "times": 3},
    "card full": {"kind": "card_full", "times": None},
    "denied setting": {"kind": "denied_setting"},
    "ignored setting": {"kind": "ignored_setting"},
    "shutter failure": {"kind": "shutter_failure"},
    "duplicated trigger": {"kind": "duplicate_trigger"},
    "no exposure": {"kind": "no_exposure"},
    "frozen body": {"kind": "freeze", "operation": "release"},
    "dead body": {"kind": "dead", "operation": "release"},
    "wrong camera": {"kind": "wrong_serial", "serial": "063099999999"},
    "battery low": {"kind": "battery_low"},
}
BOX_FAULTS = (
    "missed_flash", "weak_flash", "missed_edge", "spurious_edge", "wrong_lamp", "wrong_lamp_silent", "out_of_order",
    "stuck_polariser", "slow_recycle", "lost_line", "dead", "mute", "lost_answer", "late_answer", "garbage",
)  # fmt: skip
OTHER_FAULTS = (
    "sync cable unplugged", "truncated RAW", "kill camera worker", "kill main program", "disk full", "file altered",
    "file deleted", "foreign file", "second program",
)  # fmt: skip
AT_CONNECTION = ("denied setting", "ignored setting", "wrong camera", "battery low")


@dataclass
class Tally:
    """What the campaign counts."""

    faults: Counter = field(default_factory=Counter)
    completed: Counter = field(default_factory=Counter)
    at_once: int = 0
    lost: list[str] = field(default_factory=list)
    misfiled: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)


def campaign_rig(speed: float) -> str:
    """The shipped rig, with open times so long that they are realistic again once divided by `speed`."""
    text = example_rig_path().read_text()
    text = text.replace("shutter_s = 0.1,", f"shutter_s = {0.1 * speed:g},")
    text = text.replace("flash_delay_s = 0.06", f"flash_delay_s = {0.06 * speed:g}")
    # At 2 mm per pixel texture cannot be told from noise, and the machine may be busy.
    text = text.replace("noise_max = 0.02", "noise_max = 0.2").replace("span_s = 5.0", "span_s = 60.0")
    return scaled_rig_text(text.replace("skew_s = 0.03", "skew_s = 0.05"), *SIZE)


def shoot(folder: Path, connections: Connections, mode: str, steps: list[int]) -> None:
    """One program run on an open take: `shoot` what is missing, `resume`, or `reshoot` steps. Runs in a child."""
    with open_take(folder) as take:
        for _ in set_aside(take):
            pass
        with Session(take, connections, SessionView()) as session:
            session.connect(for_shooting=mode != "resume")
            if mode != "resume":
                session.shoot(steps or session.take.state().missing_steps())
            session.fetch()
        drop_copies(take)


def child(arguments: list[str]) -> None:
    """`--child FOLDER CONNECTIONS MODE STEPS LIMIT`: run `shoot`, exit code 2 with a message for a user's mistake."""
    folder, connections, mode, steps, limit = arguments
    if int(limit):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    where = json.loads(connections)
    faulthandler.dump_traceback_later(150)  # who hangs, for the report
    try:
        shoot(Path(folder), Connections(tuple(where["cameras"]), where["trigger_box"]), mode, json.loads(steps))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


class Campaign:
    def __init__(self, scan: Path, work: Path, seed: int, speed: float, quality: bool) -> None:
        self.seed, self.random = seed, random.Random(seed)
        self.scan, self.work, self.speed, self.quality = scan, work, speed, quality
        self.rig_path = work / "rig.toml"
        self.rig_path.write_text(campaign_rig(speed))
        self.rig = load_rig(self.rig_path)
        self.plan = take_plan(self.rig)
        self.tally = Tally()
        self._judged: dict[tuple, list[int]] = {}
        self.virtual: VirtualRig | None = None

    def run(self, number: int) -> None:
        self.random = random.Random(f"{self.seed} {number}")  # a run can be repeated alone with --first
        if number % RUNS_PER_RIG == 0 or self.virtual is None:
            self._new_rig(number)
        assert self.virtual is not None
        text = self.rig_path.read_text()
        take = create_take(
            self.work / "sessions", text, self.rig, self.plan, kind="scan", subject=f"S{number:04d}",
            expression="campaign", version="benchmark",
        )  # fmt: skip
        take.close_files()
        names = [self._any_fault() for _ in range(1 if self.random.random() < 0.8 else 2)]
        self.tally.faults.update(names)
        verified: dict[str, str] = {}
        extra = {name: self._inject(name) for name in names}
        self._program(take.folder, "shoot", [], extra)
        self._remember(take.folder, verified)
        for name in names:
            self._by_hand(take.folder, name, verified)
        at_once = self._complete(take.folder)
        self._judge_explained(take.folder, number, names)
        for _ in range(ROUNDS):
            self.virtual.command("clear_faults")
            if self._complete(take.folder) and not self._bad_steps(take.folder):
                break
            self._program(take.folder, "resume", [], {})
            self._remember(take.folder, verified)
            _, _, state = read_take(take.folder)
            steps = sorted({*state.missing_steps(), *self._bad_steps(take.folder)})
            if steps:
                self._program(take.folder, "reshoot", steps, {})
                self._remember(take.folder, verified)
        self.virtual.command("clear_faults")
        self._account(take.folder, number, names, verified, at_once)

    def _new_rig(self, number: int) -> None:
        if self.virtual is not None:
            self.virtual.stop()
        lit = tuple(shot for shot in shot_plan(self.rig))
        studio = SimulatedStudio(self.rig_path, (RenderedFolder(self.scan, lit),), speed=self.speed, seed=number)
        self.virtual = VirtualRig.start(studio)

    def _any_fault(self) -> str:
        kinds = [*CAMERA_FAULTS, *(f"box: {name}" for name in BOX_FAULTS), *OTHER_FAULTS]
        return self.random.choice(kinds)

    def _inject(self, name: str) -> Any:
        """Put a fault in place; returns what `_program` must do about it."""
        assert self.virtual is not None
        camera = self.random.choice(["centre"] * 4 + [c.name for c in self.rig.side_cameras])
        step = self.random.randrange(0, 19)
        if name in CAMERA_FAULTS:
            fault = dict(CAMERA_FAULTS[name])
            if name not in AT_CONNECTION:
                many = 20 if camera == "centre" else 1
                fault["nth"] = self.random.randint(1, 40 * many if fault.get("operation") == 0x9116 else many)
            self.virtual.command("camera_fault", camera=camera, fault=fault)
        elif name.startswith("box: "):
            self.virtual.command("box_fault", fault={"kind": name[5:], "step": step})
        elif name == "sync cable unplugged":
            self.virtual.command("unplug_sync", camera=camera)
        elif name == "truncated RAW":
            self.virtual.command("truncate_next", camera=camera)
        return self.random.uniform(0.3, 6.0)

    def _program(self, folder: Path, mode: str, steps: list[int], extra: dict[str, float]) -> None:
        """Run the capture program once, with the accidents that befall processes."""
        assert self.virtual is not None
        where = self.virtual.connections
        limit = 40_000 if "disk full" in extra else 0
        arguments = [
            str(folder),
            json.dumps({"cameras": where.cameras, "trigger_box": where.trigger_box}),
            mode,
            json.dumps(steps),
            str(limit),
        ]
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        started = time.monotonic()
        for name, after in extra.items():
            if name in ("kill main program", "kill camera worker", "second program"):
                while process.poll() is None and time.monotonic() - started < after:
                    time.sleep(0.02)
                if name == "kill main program":
                    process.kill()
                elif name == "kill camera worker":
                    self._kill_worker(process.pid)
                else:
                    self._second_program(arguments)
        try:
            _, errors = process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            self.tally.unexplained.append(f"{folder.name}: hangs for three minutes: {errors.decode()[-3000:]}")
            return
        if process.returncode not in (0, 2, -signal.SIGKILL):
            self.tally.unexplained.append(f"{folder.name}: exit {process.returncode}: {errors.decode()[-1500:]}")

    def _kill_worker(self, parent: int) -> None:
        listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True)
        workers = [line.split()[0] for line in listed.stdout.splitlines() if "camera_worker" in line]
        if workers:
            os.kill(int(self.random.choice(workers)), signal.SIGKILL)

    def _second_program(self, arguments: list[str]) -> None:
        """The same take, and the same cameras, in a second program: it must refuse, and harm nothing."""
        second = subprocess.run(
            [sys.executable, __file__, "--child", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=120,
        )
        if second.returncode != 2:
            self.tally.unexplained.append(f"second program was not refused (exit {second.returncode})")

    def _by_hand(self, folder: Path, name: str, verified: dict[str, str]) -> None:
        """Somebody works in the take's folder."""
        files = sorted((folder / "data/raw").glob("*.cr2"))
        if not files:
            return
        chosen = self.random.choice(files)
        path = chosen.relative_to(folder / "data").as_posix()
        if name == "file altered":
            data = bytearray(chosen.read_bytes())
            data[self.random.randrange(len(data))] ^= 0xFF
            chosen.write_bytes(data)
            verified.pop(path, None)
        elif name == "file deleted":
            chosen.unlink()
            verified.pop(path, None)
        elif name == "foreign file":
            shutil.copy(chosen, chosen.with_name("99_holiday.cr2"))

    def _remember(self, folder: Path, verified: dict[str, str]) -> None:
        """Everything that was ever verified must stay."""
        for file in read_take(folder)[2].files:
            verified.setdefault(file.path, file.sha256)

    def _complete(self, folder: Path) -> bool:
        return verify_take(folder).status == "complete"

    def _judge_explained(self, folder: Path, number: int, names: list[str]) -> None:
        report = verify_take(folder)
        if report.status != "complete" and not report.lines:
            self.tally.unexplained.append(f"run {number} ({', '.join(names)}): {report.status} without a word why")

    def _bad_steps(self, folder: Path) -> list[int]:
        """Steps that the quality check wants again."""
        if not self.quality:
            return []
        from mesoface.flows.take_quality import judge_take

        with open_take(folder) as take:
            state = take.state()
            images = tuple((image := state.image(shot.index)) and image.path for shot in self.plan)
            if (folder, images) not in self._judged:
                self._judged = {(folder, images): list(judge_take(take).steps)}
            return self._judged[folder, images]

    def _account(self, folder: Path, number: int, names: list[str], verified: dict[str, str], at_once: bool) -> None:
        assert self.virtual is not None
        label = f"run {number} ({', '.join(names)})"
        truths = {h: t for t in self.virtual.command("truths")["truths"] for h in t["sha256"]}
        _, _, state = read_take(folder)
        complete = self._complete(folder)
        for shot in self.plan:
            image = state.image(shot.index)
            if image is None:
                continue
            truth = truths.get(image.sha256)
            planned = [[shot.light_mask, shot.polariser]] if shot.light_mask else []
            if truth is None or truth["camera"] != shot.camera:
                self.tally.misfiled.append(f"{label}: {shot.stem} is not an image of {shot.camera}")
            elif truth["lights"] != planned:
                self.tally.misfiled.append(f"{label}: {shot.stem} was lit by {truth['lights']}, planned {planned}")
        on_disk = {sha256_file(p) for part in ("raw", "unassigned") for p in (folder / "data" / part).glob("*")}
        for path, sha256 in verified.items():
            if sha256 not in on_disk:
                self.tally.lost.append(f"{label}: {path}")
        self.tally.at_once += at_once
        if complete:
            self.tally.completed.update(names)
        else:
            lines = verify_take(folder).lines
            self.tally.incomplete.append(f"{label}: {'; '.join(lines)}")
        if complete:
            shutil.rmtree(folder)

    def stop(self) -> None:
        if self.virtual is not None:
            self.virtual.stop()


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--speed", type=float, default=5.0, help="bodies and box faster than life")
    parser.add_argument("--scan", type=Path, help="tiny rendered scan of the shipped rig (default: made now)")
    parser.add_argument("--no-quality", action="store_true", help="leave the image checks out")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, each on a rig of its own")
    parser.add_argument("--tally", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mesoface-campaign-"))
    scan = options.scan
    if scan is None:
        scan = work / "scan"
        render_scan(load_rig(example_rig_path()), StudioOptions(width_px=SIZE[0], height_px=SIZE[1], samples=4), scan)
    if options.jobs > 1:
        tally = in_parallel(options, scan, work)
    else:
        tally = in_a_row(options, scan, work)
    if options.tally:
        return
    report(tally, options)
    failed = bool(tally.lost or tally.misfiled or tally.unexplained)
    if not failed:
        shutil.rmtree(work)
    sys.exit(int(failed))


def in_a_row(options: argparse.Namespace, scan: Path, work: Path) -> Tally:
    """Run after run in this process."""
    campaign = Campaign(scan, work, options.seed, options.speed, not options.no_quality)
    started = time.monotonic()
    for number in range(options.first, options.first + options.runs):
        campaign.run(number)
        if options.tally:  # after every run: an interrupted campaign still counts
            options.tally.write_text(json.dumps({**vars(campaign.tally), "runs": number + 1 - options.first}))
        done = number + 1 - options.first
        print(f"{done}/{options.runs}  {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    campaign.stop()
    return campaign.tally


def in_parallel(options: argparse.Namespace, scan: Path, work: Path) -> Tally:
    """Shares of the runs in processes of their own, with their own locks and sockets; their tallies added up."""
    share = -(-options.runs // options.jobs)
    children = []
    for job in range(options.jobs):
        first, count = options.first + job * share, min(share, options.runs - job * share)
        (work / f"run{job}").mkdir(mode=0o700)
        command = [sys.executable, __file__, "--runs", str(count), "--first", str(first), "--seed", str(options.seed)]
        command += ["--speed", str(options.speed), "--scan", str(scan), "--tally", str(work / f"tally{job}.json")]
        command += ["--no-quality"] if options.no_quality else []
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(work / f"run{job}")}
        children.append(subprocess.Popen(command, env=environment))
    total = Tally()
    try:
        codes = [running.wait() for running in children]
    except KeyboardInterrupt:
        for running in children:
            running.terminate()
        codes = [0] * len(children)
    options.runs = 0
    for job, code in enumerate(codes):
        if code:
            total.unexplained.append(f"job {job} of the campaign ended with exit code {code}")
        part = json.loads((work / f"tally{job}.json").read_text())
        options.runs += part["runs"]
        total.faults.update(part["faults"])
        total.completed.update(part["completed"])
        total.at_once += part["at_once"]
        for name in ("lost", "misfiled", "unexplained", "incomplete"):
            getattr(total, name).extend(part[name])
    return total


def report(tally: Tally, options: argparse.Namespace) -> None:
    print(f"\n{'fault':<28}{'injected':>9}{'complete after resume':>24}")
    for name, count in sorted(tally.faults.items()):
        print(f"{name:<28}{count:>9}{tally.completed[name]:>24}")
    print(f"\nruns                                  {options.runs}, seed {options.seed}")
    print(f"complete without any repair           {tally.at_once}")
    print(f"complete after resume and reshooting  {options.runs - len(tally.incomplete)}")
    print(f"lost verified files                   {len(tally.lost)}")
    print(f"misfiled images                       {len(tally.misfiled)}")
    print(f"unexplained                           {len(tally.unexplained)}")
    for kind in ("incomplete", "lost", "misfiled", "unexplained"):
        for line in getattr(tally, kind)[:20]:
            print(f"{kind}: {line}")


if __name__ == "__main__":
    main()
