"""`mesoface capture`: shoot a take, of a person or of a calibration target, on a real rig or the virtual one."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..capture.calibration_plan import CalibrationPlan, calibration_plan
from ..capture.errors import UserError
from ..capture.plan import Step, take_plan
from ..capture.rig import load_rig
from ..capture.rig_models import Rig
from ..capture.session import Connections
from ..capture.sim_rig import VirtualRig
from ..capture.take import create_take
from ..capture.take_manifest import CALIBRATION_SUBJECT, TakeKind, check_label, check_subject
from .capture_run import run_session
from .virtual_studio import rig_of, virtual_rig

VIRTUAL = "virtual"
console = Console(highlight=False)
CalibrationChoice = Literal["board", "sphere", "flat", "chart", "dark"]


def capture(
    *,
    rig: str,
    subject: str = "",
    expression: str = "",
    calibration: CalibrationChoice | None = None,
    operator: str = "",
    consent: str = "",
    notes: str = "",
    sessions: Path = Path("sessions"),
    yes: bool = False,
    live: bool = True,
    virtual_size: str = "small",
    virtual_subject: int = 1,
) -> int:
    """Shoot one take: every frame verified on disk and tied to the light that fired, judged at the end.

    Exit code 0: complete and accepted; 1: something has to be shot again, the last lines say what and how; 2: the rig
    is not ready, nothing was shot. Interrupted or crashed: mesoface take resume TAKE.

    Example: mesoface capture --rig rig.toml --subject S012 --expression smile --consent C-2026-014

    Example: mesoface capture --rig virtual --subject S001 --expression smile

    Example: mesoface capture --rig rig.toml --calibration board

    Parameters
    ----------
    rig
        rig.toml of the rig, or "virtual": the simulated one (that of `mesoface studio serve`, else one of its own).
    subject
        Pseudonym such as S012; never a name.
    expression
        Label such as neutral or smile.
    calibration
        Take of a calibration target instead of a person: board, sphere, flat, chart or dark.
    operator
        Initials or number of who shoots.
    consent
        Reference of the subject's consent form.
    notes
        Free text for the manifest.
    sessions
        Folder for takes.
    yes
        Calibration takes: don't wait for Enter before each placement.
    live
        Show the live board (plain lines where there is no terminal).
    virtual_size
        Image size of a virtual rig that has to be started; as for `studio render`.
    virtual_subject
        Person in the chair of a virtual rig that has to be started.
    """
    kind: TakeKind = calibration or "scan"
    if kind == "scan":
        check_subject(subject)
        check_label(expression, "expression")
    elif subject or expression:
        raise UserError("a calibration take has no subject and no expression; leave --subject and --expression out")
    where: AbstractContextManager[VirtualRig | None] = (
        virtual_rig(kind, virtual_size, virtual_subject, expression or "neutral") if rig == VIRTUAL else nullcontext()
    )
    with where as virtual:
        if virtual is not None:
            text, loaded = rig_of(virtual)
        else:
            loaded = load_rig(rig)
            text = Path(rig).read_text(encoding="utf-8")
        calibrating = None if kind == "scan" else calibration_plan(loaded, kind)
        plan = take_plan(loaded) if calibrating is None else calibrating.shots
        if kind == "scan" and not consent:
            console.print("[yellow]no consent reference given (--consent); the manifest says so[/]")
        take = create_take(
            sessions,
            text,
            loaded,
            plan,
            kind=kind,
            subject=subject or CALIBRATION_SUBJECT,
            expression=expression or kind,
            operator=operator,
            consent=consent,
            notes=notes,
            version=version("mesoface"),
        )
        with take:
            console.print(f"take: {escape(str(take.folder))}", soft_wrap=True)
            guidance = guide(calibrating, virtual, yes) if calibrating else _no_guidance
            # A board that redraws itself and a question for the operator don't go together.
            board = live and calibrating is None
            return run_session(take, connections_of(loaded, virtual), guidance=guidance, live=board).exit_code


def connections_of(rig: Rig, virtual: VirtualRig | None) -> Connections:
    """Where the bodies and the box are."""
    return virtual.connections if virtual else Connections(rig.capture.camera_ports, rig.capture.trigger_box)


def _no_guidance(step: Step) -> None:
    pass


def guide(plan: CalibrationPlan, virtual: VirtualRig | None, yes: bool) -> Callable[[Step], None]:
    """Tells the operator where to put the target, once per placement, and waits for Enter; moves a virtual one."""
    console.print(plan.preparation, soft_wrap=True)
    shown: set[int | None] = {None}

    def before(step: Step) -> None:
        pose = step.shots[0].pose
        if virtual is not None:
            virtual.command("pose", pose=pose)
        if pose in shown or pose is None:
            return
        shown.add(pose)
        placement = plan.placements[pose]
        console.print(f"[bold]{pose + 1} of {len(plan.placements)}[/]  {escape(placement.text)}", soft_wrap=True)
        if not yes and virtual is None:
            _wait_for_enter()

    return before


def _wait_for_enter() -> None:
    """Raises UserError where nobody can press Enter."""
    if not os.isatty(0):
        raise UserError("nobody can press Enter here: run this in a terminal, or with --yes to go on by itself")
    console.input("Press Enter when it is in place: ")
