"""`mesoface studio targets` and `mesoface rig board`: calibration targets, rendered and to print."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..capture.board_print import write_board
from ..capture.calibration_plan import calibration_plan
from ..capture.errors import UserError
from ..reconstruct.studio_options import parse_size
from ..reconstruct.targets import render_calibration
from ..reconstruct.targets_scene import TargetOptions
from .studio_commands import chosen_rig, progress_display

console = Console()


def targets(
    *,
    kind: Literal["board", "sphere", "flat", "chart", "dark"],
    out: Path,
    size: str = "medium",
    rig: Path | None = None,
    seed: int = 0,
    misalignment: int = 0,
    noise: bool = True,
    leak: float = 0.005,
    vignetting: float = 0.0,
) -> None:
    """Render a calibration take: what the rig's cameras would see of a board, balls, a card, a chart, or darkness.

    Interrupted, the same command continues; a finished take is left as it is.

    Example: mesoface studio targets --kind board --misalignment 1 --out board1

    Parameters
    ----------
    kind
        board: ChArUco board; sphere: mirror ball; flat: matt card and black satin ball; chart: 24 colours; dark.
    out
        Folder to fill; new, empty, or holding the same take unfinished.
    size
        tiny, small, medium, large, full, or WIDTHxHEIGHT in pixels (3:2 as the rig's sensors).
    rig
        rig.toml to follow; the shipped example without it. Its table [targets] describes the targets.
    seed
        Seed of the sensor noise and of the operator's unsteady hands.
    misalignment
        Seed of how the real rig differs from its description (some mm, 0.2 degrees, 0.5 %); 0: not at all.
    noise
        Shot and read noise of the sensor.
    leak
        Part of a highlight that the crossed film and analyser pass.
    vignetting
        Part of the light that the corners of a view lose.
    """
    width, height = parse_size(size)
    options = TargetOptions(
        width_px=width,
        height_px=height,
        seed=seed,
        misalignment=misalignment,
        noise=noise,
        leak=leak,
        vignetting=vignetting,
    )
    with progress_display() as progress:
        task = progress.add_task("starting", total=None)
        render_calibration(
            chosen_rig(rig),
            kind,
            options,
            out,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )
    console.print(f"{kind} take: {escape(str(out))}", soft_wrap=True)


def board(out: Path = Path("board.svg"), *, rig: Path | None = None, force: bool = False) -> None:
    """Draw the rig's ChArUco board in true millimetres, and say how a board take goes.

    Example: mesoface rig board board.svg

    Parameters
    ----------
    out
        File to write: .svg, .pdf or .png (600 dpi).
    rig
        rig.toml whose table [targets] describes the board; the shipped example without it.
    force
        Replace an existing file.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; give a file name, for example {out / 'board.svg'}")
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name, or replace it with --force")
    described = chosen_rig(rig)
    width_mm, height_mm = write_board(out, described.targets)
    advice = (
        f"wrote {escape(str(out))}: {width_mm:g} x {height_mm:g} mm. Print it at 100 %, check the line of 100 mm, "
        "glue it on a flat plate, measure the squares and write their side into board_square_mm of rig.toml."
    )
    console.print(advice, soft_wrap=True)
    console.print(calibration_plan(described, "board").preparation, soft_wrap=True)
