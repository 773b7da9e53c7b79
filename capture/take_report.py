"""Where a take stands, in words: what is there, what is missing, and what to do about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .bag import check_bag, is_bag
from .take import read_take, verify_image
from .take_manifest import TakeManifest
from .take_state import TakeState

Status = Literal["complete", "incomplete", "damaged", "closed"]


@dataclass(frozen=True)
class TakeReport:
    """`lines` say everything an operator must know; empty for a take without any remark."""

    status: Status
    shots: int
    verified: int
    lines: tuple[str, ...]


def report_state(folder: Path, manifest: TakeManifest, state: TakeState) -> TakeReport:
    """What is missing of a take and how to get it, from its log alone (files on disk are not read)."""
    lines = []
    verified = sum(state.image(shot.index) is not None for shot in state.plan)
    on_card = [e for e in state.to_download()]
    for serial in sorted({e.serial for e in on_card}):
        files = [e for e in on_card if e.serial == serial]
        shots = ", ".join(state.plan[e.shot].stem for e in files)
        lines.append(
            f"{files[0].camera} (serial {serial}) still holds {_count(len(files), 'frame')} on its card: {shots}; "
            f"connect it and run: mesoface take resume {folder}"
        )
    missing = state.missing_steps()
    if missing:
        names = ", ".join(
            "/".join(shot.stem for shot in state.plan if shot.step == step and not state.current(shot.index))
            for step in missing
        )
        steps = ",".join(map(str, missing))
        lines.append(
            f"{_count(len(missing), 'step')} not exposed as planned: {names}; with the subject in the chair run: "
            f"mesoface take reshoot {folder} --steps {steps}"
        )
    if state.open_press is not None:
        lines.append(
            f"step {state.open_press['step']} was interrupted while its shutters opened; "
            f"run: mesoface take resume {folder}"
        )
    strays = state.strays_to_download()
    if strays:
        lines.append(
            f"{_count(len(strays), 'frame')} on the cards that belong to no step; "
            f"`mesoface take resume {folder}` keeps them under data/unassigned"
        )
    if state.complete:
        return TakeReport("closed" if is_bag(folder) else "complete", len(state.plan), verified, tuple(lines))
    return TakeReport("incomplete", len(state.plan), verified, tuple(lines))


def verify_take(folder: str | Path) -> TakeReport:
    """`report_state`, and every verified file read again and compared. Raises UserError when it is no take."""
    folder = Path(folder)
    manifest, _, state = read_take(folder)
    report = report_state(folder, manifest, state)
    damaged = []
    for file in state.files:
        if wrong := verify_image(folder, file):
            on_card = "" if file.key in state.cleared else f" (its original was {file.card_name} on body {file.serial})"
            damaged.append(
                f"data/{file.path} {wrong}; restore it from a copy, or run: mesoface take resume {folder}{on_card}"
            )
    listed = {file.path for file in state.files} | set(state.kept)
    foreign = [
        path.relative_to(folder / "data").as_posix()
        for part in ("raw", "unassigned")
        for path in sorted((folder / "data" / part).glob("*"))
        if path.relative_to(folder / "data").as_posix() not in listed and ".part" not in path.name
    ]
    damaged += [
        f"data/{path} is not in the log: it was put there by hand, or a crash came before it was noted; "
        f"`mesoface take resume {folder}` sorts it out"
        for path in foreign
    ]
    if is_bag(folder):
        damaged += [f"{finding.path} {finding.problem}" for finding in check_bag(folder)]
    if damaged:
        return TakeReport("damaged", report.shots, report.verified, (*damaged, *report.lines))
    return report


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
