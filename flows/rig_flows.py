"""The flows at the rig: shoot a session with the decision to shoot again, and calibrate."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..capture.sim_rig import VirtualRig
from ..capture.take import read_take, takes_in
from ..reconstruct.rig_files import RIG_FILE
from .calibrate_command import calibrate
from .capture_commands import VIRTUAL, capture
from .flow_run import FlowResult, FlowRun
from .take_commands import reshoot
from .take_quality import SHEET, read_quality
from .virtual_studio import virtual_rig

MOST_ROUNDS = 5
"""Of shooting again before a flow gives up asking."""


def capture_session(
    run: FlowRun,
    *,
    rig: str,
    subject: str,
    expressions: list[str],
    operator: str = "",
    consent: str = "",
    notes: str = "",
    sessions: Path = Path("sessions"),
    virtual_size: str = "small",
    virtual_subject: int = 1,
) -> FlowResult:
    """Shoot a subject's expressions one after another; a take that should be shot again waits for your decision.

    The question comes in the terminal, or, where nobody is at one, in Prefect's UI as a paused run: reshoot, keep or
    stop. Exit code 1: a take is not complete or was kept as it is.

    Example: mesoface flows run capture-session --rig rig.toml --subject S012 --expressions neutral --expressions smile

    Parameters
    ----------
    rig
        rig.toml of the rig, or "virtual".
    subject
        Pseudonym such as S012; never a name.
    expressions
        Labels such as neutral or smile, in the order to be shot.
    operator
        Initials or number of who shoots.
    consent
        Reference of the subject's consent form.
    notes
        Free text for the manifests.
    sessions
        Folder for takes.
    virtual_size
        As for `mesoface capture`.
    virtual_subject
        As for `mesoface capture`.
    """
    if not expressions:
        raise UserError("no expression given; give one or more, for example --expressions neutral --expressions smile")
    rows, hashes, folders, failures = [], {}, {}, {}
    for expression in expressions:
        before = set(takes_in(sessions)) if sessions.is_dir() else set()
        where: AbstractContextManager[VirtualRig | None] = (
            virtual_rig("scan", virtual_size, virtual_subject, expression) if rig == VIRTUAL else nullcontext()
        )
        with where:

            def shoot(expression: str = expression) -> int:
                return capture(
                    rig=rig, subject=subject, expression=expression, operator=operator, consent=consent, notes=notes,
                    sessions=sessions, virtual_size=virtual_size, virtual_subject=virtual_subject,
                )  # fmt: skip

            run.step(f"shoot {subject} {expression}", shoot)
            made = [folder for folder in takes_in(sessions) if folder not in before]
            if not made:
                raise UserError(f"{sessions}: no take was made for {expression}; look at the messages above")
            take = made[-1]
            decision = _until_decided(run, take, _reshooter(take, rig == VIRTUAL))
        quality = read_quality(take)
        verdict = quality.verdict if quality is not None else "not judged"
        if verdict != "accept":
            failures[take.name] = f"{verdict}, {decision}"
        rows.append([take.name, verdict, decision, quality.summary if quality else ""])
        folders[take.name] = str(take)
        hashes[take.name] = sha256_file(take / "data/take.json")
        run.link(f"sheet-{expression}", take / "data" / SHEET, f"contact sheet of {take.name}")
        if decision == "stop":
            break
    run.note("takes", f"Takes of {subject}", ("take", "verdict", "decision", "why"), rows)
    summary = f"{len(rows)} of {len(expressions)} expressions shot, {len(rows) - len(failures)} accepted"
    return FlowResult(summary, 1 if failures or len(rows) < len(expressions) else 0, hashes, folders, failures)


def _reshooter(take: Path, virtual: bool) -> Callable[[], int]:
    def again() -> int:
        wanted = "quality" if read_take(take)[2].complete else "missing"
        return reshoot(take, steps=wanted, virtual=virtual)

    return again


def _until_decided(run: FlowRun, take: Path, again: Callable[[], int]) -> str:
    """Ask as long as the take should be shot again and the operator wants to; what was decided last."""
    for number in range(1, MOST_ROUNDS + 1):
        quality, complete = read_quality(take), read_take(take)[2].complete
        if complete and (quality is None or quality.verdict == "accept"):
            return "accepted"
        verdict = quality.verdict if quality is not None else "incomplete"
        reasons = "; ".join([quality.summary, *(one.message for one in quality.findings)][:4]) if quality else ""
        steps = ",".join(map(str, quality.reshoot_steps)) if quality else ""
        decision = run.decide(
            f"{take.name}: {verdict}. {reasons} Steps to shoot again: {steps or 'all that are missing'}. The subject "
            "must be in the chair for reshoot; keep leaves the take as it is; stop ends the session."
        )
        if decision != "reshoot":
            return decision
        run.step(f"shoot again {take.name} {number}", again)
    return "keep"


def calibrate_rig(
    run: FlowRun, takes: list[Path], *, out: Path, rig: Path | None = None, force: bool = False
) -> FlowResult:
    """Calibrate the rig from its calibration takes, as `mesoface calibrate`.

    Example: mesoface flows run calibrate-rig sessions/calibration_* --out calibration/2026-03

    Parameters
    ----------
    takes
        Folders of calibration takes.
    out
        Folder to fill: new, or that of an earlier calibration to add to.
    rig
        Corrected rig.toml that takes the place of the takes' own.
    force
        Replace the cameras of an earlier calibration in `out`.
    """
    code = run.step(f"calibrate {out.name}", lambda: calibrate(*takes, out=out, rig=rig, force=force))
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.suffix in (".json", ".npz", ".tif"))
    names = {path.relative_to(out).as_posix(): sha256_file(path) for path in files}
    rows = [[name, sha256[:12]] for name, sha256 in names.items()]
    run.note("calibration", f"Calibration {out.name}", ("file", "sha256"), rows)
    run.link("report", out / "report.html", "report of the calibration")
    words = "with warnings" if code else "without warnings"
    cameras = " and cameras" if (out / RIG_FILE).is_file() else ""
    return FlowResult(f"{out}: {len(takes)} takes{cameras}, {words}", code, names, {"calibration": str(out)})
