"""The demo's virtual people: rendered with exact truth, then shot by the simulated rig over its real protocols."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..capture.plan import shot_plan, take_plan
from ..capture.rig import example_rig_path, load_example_rig, load_rig
from ..capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig
from ..capture.take import create_take, opened_take, read_take, takes_in
from ..capture.take_report import verify_take
from ..reconstruct.portrait import PortraitOptions, write_portrait
from ..reconstruct.studio import render_scan
from ..reconstruct.studio_checks import check_scan
from ..reconstruct.targets import render_calibration
from ..reconstruct.targets_scene import TargetOptions
from . import html
from .capture_run import run_session
from .demo_figures import Figure, worst
from .demo_plan import DemoPlan, Person
from .demo_steps import Shown, in_parallel
from .scan_report import close_ups, contact_sheet, truth_pictures, write_scan_report
from .take_quality import read_quality
from .virtual_studio import virtual_rig_file


def scan_folder(out: Path, person: Person) -> Path:
    """Where the rendered frames and the truth of a person lie."""
    return out / "people" / person.name


def render_all(pool: ProcessPoolExecutor, out: Path, plan: DemoPlan, shown: Shown) -> None:
    """People, calibration board and portrait, two at a time; what is whole is kept."""
    things = ["board", "portrait", *plan.people]
    in_parallel(pool, _render, [(out, plan, thing) for thing in things], shown, "scans, board and portrait")


def _render(out: Path, plan: DemoPlan, thing: str | Person) -> None:
    """One of them. Runs in a worker process."""
    if thing == "board":
        width, height = plan.board_px
        render_calibration(load_example_rig(), "board", TargetOptions(width_px=width, height_px=height), out / "board")
    elif isinstance(thing, Person):
        folder = scan_folder(out, thing)
        render_scan(load_example_rig(), plan.studio(thing), folder)
        if not (folder / "report.html").is_file():
            write_scan_report(folder)
    else:
        width, height = plan.portrait_px
        view = PortraitOptions(
            width_px=width, height_px=height, subject=plan.portrait_subject, expression=plan.portrait_expression,
            yaw_deg=15.0, pitch_deg=4.0, seed=5,
        )  # fmt: skip
        write_portrait(view, out / "portrait")


def shoot_all(out: Path, plan: DemoPlan, shown: Shown) -> dict[Person, Path]:
    """A complete, judged take of every person; those that are there are kept, an interrupted one is shot anew."""
    takes = {}
    for number, person in enumerate(plan.people):
        shown(person.name, number, len(plan.people))
        takes[person] = _take(out / "sessions", scan_folder(out, person), person, plan)
    return takes


def _take(sessions: Path, scan: Path, person: Person, plan: DemoPlan) -> Path:
    path = virtual_rig_file(example_rig_path(), plan.size_px)
    rig = load_rig(path)
    source = f"frames of {scan.name}/scan.json, sha256 {sha256_file(scan / 'scan.json')}"
    begun = _begun(sessions, source)
    if begun is not None and read_quality(begun) is not None and verify_take(begun).status == "complete":
        return begun
    with VirtualRig.start(SimulatedStudio(path, (RenderedFolder(scan, shot_plan(rig)),))) as virtual:
        if begun is not None:
            with opened_take(begun) as take:
                result = run_session(take, virtual.connections, live=False)
        else:
            made = create_take(
                sessions, path.read_text(), rig, take_plan(rig), kind="scan", subject=person.pseudonym,
                expression=person.expression, operator="demo", notes=source, version=version("mesoface"),
            )  # fmt: skip
            with made as take:
                result = run_session(take, virtual.connections, live=False)
    if result.report.status != "complete":
        raise UserError(f"{take.folder}: the simulated capture is not complete; run the demo again")
    return take.folder


def _begun(sessions: Path, source: str) -> Path | None:
    """The take of a scan; one that was interrupted is continued, on simulated bodies with new cards."""
    for folder in takes_in(sessions) if sessions.is_dir() else ():
        manifest, _, _ = read_take(folder)
        if manifest.notes == source:
            return folder
    return None


def studio_figures(out: Path, plan: DemoPlan) -> list[Figure]:
    """The studio's self-checks, the worst over all scans of each."""
    found = [check_scan(scan_folder(out, person)) for person in plan.people]
    return [
        Figure(
            f"studio: {checks[0].name}", worst([check.value for check in checks], checks[0].at_most), checks[0].unit,
            checks[0].bound, checks[0].at_most, "studio",
        )
        for checks in zip(*found, strict=True)
    ]  # fmt: skip


def take_figures(takes: Sequence[Path]) -> list[Figure]:
    """Frames that are verified on disk, and takes that the image checks accept."""
    reports = [verify_take(take) for take in takes]
    verdicts = [quality.verdict if (quality := read_quality(take)) else "none" for take in takes]
    share = min(report.verified / report.shots for report in reports)
    return [
        Figure("takes: frames verified on disk", 100 * share, "%", 100.0, False, "capture"),
        Figure("takes accepted by the image checks", 100 * verdicts.count("accept") / len(takes), "%", 100.0, False,
               "capture"),
    ]  # fmt: skip


def people_parts(out: Path, plan: DemoPlan) -> list[str]:
    """What the report shows of the virtual studio."""
    first = plan.people[0]
    scan = scan_folder(out, first)
    return [
        html.gallery([(f"{first.name}: the exposures of one scan", contact_sheet(scan))], 1200),
        html.gallery([(person.name, _face(out, person)) for person in plan.people], 180),
        html.gallery(
            [(f"truth of {first.name}: {words}", picture) for words, picture in truth_pictures(scan, 420)], 200
        ),
        html.gallery([(f"{first.name}: {words}", picture) for words, picture in close_ups(scan)[:4]], 240),
    ]


def _face(out: Path, person: Person) -> np.ndarray:
    return truth_pictures(scan_folder(out, person), 240)[0][1]


def take_parts(out: Path, takes: dict[Person, Path]) -> list[str]:
    """What the report shows of the capture."""
    rows = []
    for person, take in takes.items():
        report, quality = verify_take(take), read_quality(take)
        words = f"{quality.verdict}: {quality.summary}" if quality else "not judged"
        sheet = f"{take.relative_to(out).as_posix()}/data/contact-sheet.html"
        rows.append([person.name, f"{report.verified} of {report.shots}", words, sheet])
    return [html.table(rows, ("take", "frames verified", "quality", "contact sheet"))]


def portrait_picture(out: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    picture = cv2.imread(str(out / "portrait/portrait.png"))
    assert picture is not None
    return np.ascontiguousarray(picture[..., ::-1])
