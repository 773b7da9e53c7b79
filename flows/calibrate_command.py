"""`mesoface calibrate`: from takes of the calibration targets to the calibration folder of a rig."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.rig import load_rig
from ..reconstruct.calibrate import CalibrationRun, calibrate_takes
from ..reconstruct.calibration_take import read_calibration_take
from ..reconstruct.rig_files import FORMAT, RIG_FILE
from .calibrate_report import write_calibration_report
from .json_output import json_result
from .studio_commands import progress_display

console = Console()


def calibrate(*takes: Path, out: Path, rig: Path | None = None, force: bool = False, json: bool = False) -> int:
    """Calibrate cameras, flashes, flat fields, colours and polarisers from calibration takes.

    A board take gives the cameras; sphere, flat, chart and dark takes add flashes, flat fields, intensities,
    polarisers, colours and dark frames, now or later into the same folder. Exit code 1: done, with warnings.

    Example: mesoface calibrate sessions/calibration_board_* sessions/calibration_sphere_* --out calibration/2026-03

    Parameters
    ----------
    takes
        Folders of calibration takes, captured or rendered by `mesoface studio targets`, in any order.
    out
        Folder to fill: new, or that of an earlier calibration to add to.
    rig
        Corrected rig.toml that takes the place of the takes' own (board size, exchanged serial numbers or channels).
    force
        Replace the cameras of an earlier calibration in `out`.
    json
        One JSON object on standard output.
    """
    if not takes:
        raise UserError("no takes given; give their folders, for example: mesoface calibrate board1 --out calibration")
    corrected = None if rig is None else load_rig(rig)
    opened = [read_calibration_take(folder, corrected) for folder in takes]
    _check_out(out, any(take.kind == "board" for take in opened), force)
    with json_result(json) as result:
        with progress_display() as progress:
            task = progress.add_task("starting", total=None)

            def tell(what: str, done: int, total: int) -> None:
                progress.update(task, description=what, completed=done, total=total)

            def report(run: CalibrationRun, folder: Path) -> None:
                tell("report", 0, 1)
                write_calibration_report(folder / "report.html", run, opened)

            run = calibrate_takes(opened, out, tell, report)
        _tell(run, out)
        result.update(
            out=out, cameras=list(run.calibrated.cameras), lights=list(run.lights.lights) if run.lights else [],
            flat_fields=list(run.flats), intensities=list(run.intensities), polarisers=list(run.polarisers),
            colours=list(run.colours), warnings=list(run.warnings), report=out / "report.html",
        )  # fmt: skip
        return 1 if run.warnings else 0


def _check_out(out: Path, has_board: bool, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder with --out")
    known = (out / RIG_FILE).is_file()
    if known and has_board and not force:
        raise UserError(
            f"{out}: holds calibrated cameras already; choose another --out folder, or replace them with --force"
        )
    if out.is_dir() and any(out.iterdir()) and not known:
        raise UserError(f"{out}: is not empty and holds no {RIG_FILE} of {FORMAT}; choose an empty or new --out folder")


def _tell(run: CalibrationRun, out: Path) -> None:
    if run.board is not None:
        figures = f"{run.board.bundle.rms_px():.3f} px rms over {len(run.board.bundle.reference_from_board)} placements"
        console.print(f"cameras: {', '.join(run.calibrated.cameras)}; {figures}", soft_wrap=True)
    if run.lights is not None:
        console.print(f"flashes located: {', '.join(run.lights.lights) or 'none'}", soft_wrap=True)
    parts = {
        "flat fields": run.flats,
        "intensities": run.intensities,
        "polarisers": run.polarisers,
        "colours": run.colours,
    }
    for what, found in parts.items():
        if found:
            console.print(f"{what}: {', '.join(found)}", soft_wrap=True)
    for text in run.warnings:
        console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    console.print(f"calibration: {escape(str(out))}, report: {escape(str(out / 'report.html'))}", soft_wrap=True)
