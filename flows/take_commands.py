"""`mesoface take ...`: continue takes, shoot parts again, close them, hand them on; take_show.py looks at them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..capture.bag import is_bag, write_bag
from ..capture.calibration_plan import calibration_plan
from ..capture.errors import UserError
from ..capture.session import Session
from ..capture.session_view import SessionView
from ..capture.sim_rig import VirtualRig
from ..capture.take import Take, opened_take, read_take
from ..capture.take_manifest import utc_now
from ..capture.take_report import verify_take
from .capture_board import shown
from .capture_commands import connections_of, guide
from .capture_run import run_session
from .take_quality import judge_take, read_quality, write_quality
from .take_show import refuse_closed

console = Console(highlight=False)


def resume(take: Path, *, virtual: bool = False, shoot: bool = False, live: bool = True, yes: bool = False) -> int:
    """Continue a take after a crash of the program, a camera or the machine: fetch all that is still on the cards.

    Damaged files are set aside and fetched again. Nothing is shot unless asked for.

    Example: mesoface take resume sessions/S012_smile_20260301T101500Z

    Parameters
    ----------
    take
        Folder of the take.
    virtual
        On the simulated rig of `mesoface studio serve`.
    shoot
        Also shoot the steps that were never exposed; the subject must be in the chair.
    live
        Show the live board.
    yes
        Calibration takes: don't wait for Enter before each placement.
    """
    with opened_take(take) as opened, _running(virtual) as rig:
        refuse_closed(opened)
        return _run(opened, rig, live, yes, shoot=shoot)


def reshoot(take: Path, *, steps: str = "missing", virtual: bool = False, live: bool = True, yes: bool = False) -> int:
    """Shoot steps of a take again; the earlier frames stay on disk. Both frames of a pair are shot together.

    Example: mesoface take reshoot sessions/S012_smile_20260301T101500Z --steps 13,14

    Parameters
    ----------
    take
        Folder of the take.
    steps
        Comma-separated step numbers, "missing", or "quality": those that the last check wants again.
    virtual
        On the simulated rig of `mesoface studio serve`.
    live
        Show the live board.
    yes
        Calibration takes: don't wait for Enter before each placement.
    """
    with opened_take(take) as opened, _running(virtual) as rig:
        refuse_closed(opened)
        wanted = _chosen_steps(opened, steps)
        if not wanted:
            console.print("nothing to shoot again")
            return 0
        return _run(opened, rig, live, yes, steps=wanted)


def close(take: Path, *, accept: bool = False) -> int:
    """Close a take as a BagIt bag: complete, verified, accepted; afterwards it is never changed.

    Check it anywhere with `bagit.py --validate TAKE` or, inside the folder, `sha256sum -c manifest-sha256.txt`.

    Example: mesoface take close sessions/S012_smile_20260301T101500Z

    Parameters
    ----------
    take
        Folder of the take.
    accept
        Close it although frames are missing or the quality check wants steps again; the bag says so.
    """
    report = verify_take(take)
    if report.status == "closed":
        console.print(f"{escape(str(take))} is closed already and unaltered")
        return 0
    if report.status == "damaged":
        raise UserError(f"{take} cannot be closed:\n" + "\n".join(f"  {line}" for line in report.lines))
    with opened_take(take) as opened:
        quality = None
        if opened.manifest.kind == "scan":
            quality = judge_take(opened)
            write_quality(opened, quality)
        verdict = quality.verdict if quality else "not judged"
        if (report.status != "complete" or verdict in ("reshoot", "reject")) and not accept:
            reasons = [*report.lines, *(quality.reasons if quality else ())]
            raise UserError(
                f"{take} is {report.status}, quality: {verdict}; mend it or close it as it is with --accept:\n"
                + "\n".join(f"  {line}" for line in reasons)
            )
        if not opened.state().closed:
            opened.log.append("closed", status=report.status, quality=verdict)
        manifest = opened.manifest
        count = write_bag(
            take,
            {
                "Bagging-Date": f"{utc_now():%Y-%m-%d}",
                "Bag-Software-Agent": f"mesoface {version('mesoface')}",
                "External-Identifier": f"{take.name} {manifest.take_id}",
                "Mesoface-Take-Status": report.status,
                "Mesoface-Quality": verdict,
            },
        )
    console.print(f"closed: {count} files, {escape(str(take))}", soft_wrap=True)
    return 0


def clear_cards(take: Path, *, yes: bool = False, virtual: bool = False) -> int:
    """Delete from the cameras' cards the frames of this take whose copies on disk are read again and found right.

    Nothing else ever deletes from a card.

    Example: mesoface take clear-cards sessions/S012_smile_20260301T101500Z

    Parameters
    ----------
    take
        Folder of the take.
    yes
        Don't ask.
    virtual
        On the simulated rig of `mesoface studio serve`.
    """
    with opened_take(take) as opened, _running(virtual) as rig:
        state = opened.state()
        files = [f for f in state.files if f.key not in state.cleared and state.in_body(f.key)]
        if not files:
            console.print("no frame of this take is left on the cards")
            return 0
        if not yes:
            answer = console.input(f"delete {len(files)} verified frames from the cards? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                console.print("nothing was deleted")
                return 1
        if is_bag(take):
            raise UserError(f"{take} is closed; clear the cards before closing, or delete in the camera's menu")
        view = SessionView()
        with shown(view, opened, console, False), Session(opened, connections_of(opened.rig, rig), view) as session:
            session.connect(for_shooting=False)
            deleted, problems = session.clear_cards()
    console.print(f"{deleted} frames deleted from the cards")
    for problem in problems:
        console.print(f"  [red]{escape(problem)}[/]", soft_wrap=True)
    return 1 if problems else 0


def develop(
    take: Path, *, out: Path, method: Literal["malvar", "bilinear", "half"] = "malvar", workers: int = 2
) -> None:
    """Develop a take's RAW files to linear float32 TIFF, 1 = white level; files that are up to date are left alone.

    Example: mesoface take develop sessions/S012_smile_20260301T101500Z --out linear

    Parameters
    ----------
    take
        Folder of the take.
    out
        Folder for the images.
    method
        malvar and bilinear keep the size; half makes one pixel of each 2 x 2.
    workers
        Files at the same time.
    """
    from ..capture.develop import develop_files

    _, _, state = read_take(take)
    images = [image for shot in state.plan if (image := state.image(shot.index))]
    made = develop_files([take / "data" / image.path for image in images], out, workers=workers, method=method)
    reused = sum(item.reused for item in made)
    console.print(f"{len(made)} images in {escape(str(out))}, {reused} of them were up to date", soft_wrap=True)


def export(take: Path, *, out: Path, layout: Literal["flat", "rti", "colmap"] = "flat", raw: bool = False) -> None:
    """Hand a take on to other tools: developed images in a plain folder, for RTI, or for COLMAP.

    flat: all frames as 16-bit linear TIFF (or the RAW files) with frames.csv. rti: the parallel frames of the centre
    view as JPEG with lights.lp. colmap: the uniform views with a COLMAP text model of the rig's nominal cameras.

    Example: mesoface take export sessions/S012_smile_20260301T101500Z --out rti --layout rti

    Parameters
    ----------
    take
        Folder of the take.
    out
        New or empty folder.
    layout
        flat, rti or colmap.
    raw
        flat: copy the RAW files instead of developing them.
    """
    from ..capture.export import export_take

    count = export_take(take, out, layout, raw=raw)
    console.print(f"{count} files in {escape(str(out))}", soft_wrap=True)


def _chosen_steps(take: Take, text: str) -> list[int]:
    if text == "missing":
        return take.state().missing_steps()
    if text == "quality":
        quality = read_quality(take.folder)
        if quality is None:
            raise UserError(f"{take.folder}: was not judged yet; run: mesoface take verify {take.folder} --quality")
        return list(quality.reshoot_steps)
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f'steps "{text}": expected numbers such as 13,14, or "missing", or "quality"') from None


def _run(
    take: Take, virtual: VirtualRig | None, live: bool, yes: bool, *,
    steps: Sequence[int] | None = None, shoot: bool = True,
) -> int:  # fmt: skip
    """`run_session` on an open take; its exit code. Of calibration takes it says where to hold the target."""
    scan = take.manifest.kind == "scan"
    say = (lambda step: None) if scan else guide(calibration_plan(take.rig, take.manifest.kind), virtual, yes)
    return run_session(
        take, connections_of(take.rig, virtual), steps=steps, shoot=shoot, guidance=say, live=live and scan
    ).exit_code


@contextmanager
def _running(virtual: bool) -> Iterator[VirtualRig | None]:
    if not virtual:
        yield None
        return
    rig = VirtualRig.running()
    if rig is None:
        raise UserError("no simulated rig is running; start one in another terminal: mesoface studio serve")
    yield rig
