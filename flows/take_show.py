"""`mesoface take list`, `show` and `verify`: look at takes, as tables or as JSON."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.bag import is_bag
from ..capture.errors import UserError
from ..capture.take import Take, opened_take, read_take, takes_in
from ..capture.take_manifest import TakeManifest
from ..capture.take_report import TakeReport, report_state, verify_take
from ..capture.take_state import TakeState
from .json_output import json_result
from .take_quality import judge_take, read_quality, write_quality

console = Console(highlight=False)
STATUS_STYLES = {"complete": "green", "closed": "green", "incomplete": "yellow", "damaged": "bold red"}


def list_takes(sessions: Path = Path("sessions"), *, json: bool = False) -> None:
    """List the takes of a folder: what they are, how complete, how good.

    Example: mesoface take list sessions

    Parameters
    ----------
    sessions
        Folder that holds takes.
    json
        One JSON object on standard output.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("take", "kind", "frames", "status", "quality"):
        table.add_column(heading, no_wrap=heading == "take", overflow="fold")
    rows: list[dict[str, Any]] = []
    for folder in takes_in(sessions):
        try:
            manifest, _, state = read_take(folder)
            report = report_state(folder, manifest, state)
        except UserError as error:
            table.add_row(folder.name, "", "", "[bold red]damaged[/]", escape(str(error)))
            rows.append({"take": folder, "status": "damaged", "remarks": [str(error)]})
            continue
        quality = read_quality(folder)
        table.add_row(
            folder.name,
            manifest.kind,
            f"{report.verified}/{report.shots}",
            f"[{STATUS_STYLES[report.status]}]{report.status}[/]",
            quality.verdict if quality else "",
        )
        rows.append(
            {
                "take": folder,
                "kind": manifest.kind,
                **_facts(report),
                "quality": quality.verdict if quality else None,
            }
        )
    with json_result(json) as result:
        result["takes"] = rows
        console.print(table if rows else f"no takes in {escape(str(sessions))}")


def show(take: Path, *, json: bool = False) -> None:
    """Show one take: its frames, where each came from, and what is missing.

    Example: mesoface take show sessions/S012_smile_20260301T101500Z

    Parameters
    ----------
    take
        Folder of the take.
    json
        One JSON object on standard output.
    """
    manifest, _, state = read_take(take)
    report = report_state(take, manifest, state)
    with json_result(json) as result:
        result.update(take=take, kind=manifest.kind, created_utc=manifest.created_utc, rig=manifest.rig_name)
        result.update(_facts(report))
        result["frames"] = [_frame(state, shot.index) for shot in state.plan]
        _show(take, manifest, state, report)


def verify(take: Path, *, quality: bool = False, json: bool = False) -> int:
    """Read every file of a take again and compare it with what was verified; closed takes also as a bag.

    Exit code 1 when anything differs or is missing.

    Example: mesoface take verify sessions/S012_smile_20260301T101500Z

    Parameters
    ----------
    take
        Folder of the take.
    quality
        Judge the images again and rewrite quality.json and the contact sheet (not for a closed take).
    json
        One JSON object on standard output.
    """
    with json_result(json) as result:
        report = verify_take(take)
        _tell(report)
        verdict = "accept"
        result.update(take=take, **_facts(report), quality=None, reasons=[])
        if quality:
            with opened_take(take) as opened:
                refuse_closed(opened)
                found = judge_take(opened)
                write_quality(opened, found)
                verdict = found.verdict
                result.update(quality=verdict, reasons=list(found.reasons))
                console.print(f"quality: [bold]{verdict}[/]")
                for reason in found.reasons:
                    console.print(f"  {escape(reason)}", soft_wrap=True)
    return 0 if report.status in ("complete", "closed") and verdict == "accept" else 1


def refuse_closed(take: Take) -> None:
    """Raise UserError for a closed take."""
    if is_bag(take.folder):
        raise UserError(f"{take.folder} is closed; a closed take is never changed. Shoot a new one")


def _facts(report: TakeReport) -> dict[str, Any]:
    return {
        "status": report.status,
        "frames_planned": report.shots,
        "frames_verified": report.verified,
        "remarks": list(report.lines),
    }


def _frame(state: TakeState, index: int) -> dict[str, Any]:
    shot, file = state.plan[index], state.image(index)
    return {
        "frame": shot.stem,
        "step": shot.step,
        "polariser": shot.polariser,
        "exposed": state.current(index) is not None,
        "file": file.path if file else None,
        "sha256": file.sha256 if file else None,
    }


def _show(take: Path, manifest: TakeManifest, state: TakeState, report: TakeReport) -> None:
    console.print(
        f"[bold]{escape(take.name)}[/]  {manifest.kind}, shot {manifest.created_utc}, rig {manifest.rig_name}"
    )
    console.print(f"operator {manifest.operator or '-'}, consent {manifest.consent or 'no reference'}", soft_wrap=True)
    if manifest.notes:
        console.print(escape(manifest.notes), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("step", "frame", "light", "from body and card", "sha256"):
        table.add_column(heading, no_wrap=heading != "from body and card", overflow="fold")
    for shot in state.plan:
        file = state.image(shot.index)
        light = f"{shot.light_mask:#05x} {shot.polariser}" if shot.light_mask else "none"
        if file is None:
            where = "[yellow]on the card[/]" if state.current(shot.index) else "[red]missing[/]"
            table.add_row(str(shot.step), shot.stem, light, where, "")
        else:
            name = Path(file.path).name
            table.add_row(str(shot.step), name, light, f"{file.serial} {file.card_name}", file.sha256[:8])
    console.print(table)
    _tell(report)


def _tell(report: TakeReport) -> None:
    console.print(f"[{STATUS_STYLES[report.status]}]{report.status}[/]: {report.verified} of {report.shots} frames")
    for line in report.lines:
        console.print(f"  {escape(line)}", soft_wrap=True)
