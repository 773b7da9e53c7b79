"""`mesoface demo`: the main job, as far as it is built, end to end on the built-in virtual studio."""

import time
from importlib.metadata import version
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import sha256_file, write_text
from ..capture.image_files import read_tiff
from ..capture.plan import shot_plan, take_plan
from ..capture.rig import example_rig_path, load_example_rig, load_rig
from ..capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig
from ..capture.take import create_take, read_take, takes_in
from ..capture.take_report import verify_take
from ..reconstruct.portrait import PortraitOptions, write_portrait
from ..reconstruct.studio_options import StudioOptions, parse_size
from . import html
from .capture_run import run_session
from .demo_dataset import dataset_parts, demo_dataset
from .demo_geometry import demo_calibration, demo_reconstruction, geometry_parts
from .demo_proxy import demo_faces, detail_parts, proxy_parts
from .scan_report import (
    check_rows,
    close_ups,
    contact_sheet,
    truth_pictures,
    write_scan_report,
)
from .studio_commands import console, run_scan
from .take_quality import read_quality
from .virtual_studio import virtual_rig_file


def demo(*, out: Path = Path("demo"), size: str = "small", subject: int = 1, expression: str = "brow_raise") -> int:
    """Run everything that is built on a virtual subject and show it in one report.

    Today: render a scan of 23 exposures with exact truth, check it; shoot it as a take with simulated cameras and
    lights, verify and judge the take; calibrate the rig on a rendered board; reconstruct depth, normals and
    displacement from the take's raw files; cut it into a dataset; render a portrait; fit a face model to it and to a
    real photograph, and predict their skin detail.
    Interrupted, it continues.

    Example: mesoface demo --out demo --size medium

    Parameters
    ----------
    out
        Folder for all results; demo/report.html shows them.
    size
        Image size as for `studio render`; medium (1500x1000) shows pores.
    subject
        Number of the virtual person.
    expression
        As for `studio render`.
    """
    started = time.monotonic()
    width, height = parse_size(size)
    options = StudioOptions(width_px=width, height_px=height, subject=subject, expression=expression)
    scan, portrait = out / "scan", out / "portrait"
    run_scan(load_example_rig(), options, scan)
    take = demo_take(out / "sessions", scan, (width, height), expression)
    demo_reconstruction(out, take, scan, demo_calibration(out, (width, height)))
    with console.status("dataset"):
        demo_dataset(out, take)
    with console.status("report and portrait"):
        write_scan_report(scan)
        view = PortraitOptions(
            width_px=max(96, int(0.8 * height)), height_px=height, subject=subject, expression=expression,
            yaw_deg=25.0, pitch_deg=6.0, seed=5,
        )  # fmt: skip
        write_portrait(view, portrait)
    with console.status("proxies and detail"):
        demo_faces(out, portrait)
        passed = _write_report(out, scan, take, portrait, subject, time.monotonic() - started)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0 if passed else 1


def demo_take(sessions: Path, scan: Path, size_px: tuple[int, int], expression: str) -> Path:
    """A complete take of the rendered scan, shot with the simulated rig; an earlier one of the same scan is kept."""
    path = virtual_rig_file(example_rig_path(), size_px)
    rig = load_rig(path)
    source = f"frames of {scan.name}/scan.json, sha256 {sha256_file(scan / 'scan.json')}"
    for folder in takes_in(sessions) if sessions.is_dir() else ():
        manifest, _, state = read_take(folder)
        if manifest.notes == source and state.complete and verify_take(folder).status in ("complete", "closed"):
            console.print(f"take: {folder} is complete", soft_wrap=True)
            return folder
    with VirtualRig.start(SimulatedStudio(path, (RenderedFolder(scan, shot_plan(rig)),))) as virtual:
        take = create_take(
            sessions, path.read_text(), rig, take_plan(rig), kind="scan", subject="S001", expression=expression,
            operator="demo", notes=source, version=version("mesoface"),
        )  # fmt: skip
        with take:
            result = run_session(take, virtual.connections)
    if result.report.status != "complete":
        raise UserError(f"{take.folder}: the simulated capture is not complete; run the demo again")
    return take.folder


def _write_report(out: Path, scan: Path, take: Path, portrait: Path, subject: int, seconds: float) -> bool:
    import cv2

    from ..reconstruct.studio_checks import check_scan

    checks = check_scan(scan)
    picture = cv2.imread(str(portrait / "portrait.png"))
    assert picture is not None
    normal = read_tiff(portrait / "normal_cam.tif")[0]
    from .pictures import relief

    proxies, fitted = proxy_parts(out, subject)
    parts = [
        html.table(
            [["time of this run", f"{seconds:.0f} s"], ["scan", str(scan.name)], ["portrait", str(portrait.name)]]
        ),
        html.heading(
            "Scan: 23 exposures and their truth", "Rendered by the virtual studio as the shipped rig would shoot it."
        ),
        html.gallery([("contact sheet", contact_sheet(scan))], 1200),
        html.heading(
            "Take: the same scan through cameras",
            "Shot with five simulated EOS 760D through libgphoto2 and the simulated trigger box, verified and judged.",
        ),
        html.table(_take_rows(out, take)),
        *geometry_parts(out, scan),
        *dataset_parts(out, scan),
        html.heading("Self-checks"),
        html.table(check_rows(checks), ("check", "found", "bound", "")),
        html.heading("Close-ups"),
        html.gallery(close_ups(scan), 300),
        html.heading("Truth of the centre view"),
        html.gallery(truth_pictures(scan, 420), 300),
        html.heading("Portrait: the same head under other light", "A stand-in for a photograph, with truth."),
        html.gallery([("portrait", picture[..., ::-1]), ("true relief", relief(normal))], 420),
        *proxies,
        *detail_parts(out),
    ]
    write_text(out / "report.html", html.page("Mesoface demo", parts))
    quality = read_quality(take)
    return fitted and all(check.passed for check in checks) and quality is not None and quality.verdict == "accept"


def _take_rows(out: Path, take: Path) -> list[list[str]]:
    report, quality = verify_take(take), read_quality(take)
    return [
        ["folder", take.relative_to(out).as_posix()],
        ["frames verified on disk", f"{report.verified} of {report.shots}"],
        ["quality", f"{quality.verdict}: {quality.summary}" if quality else "not judged"],
        ["contact sheet", (take.relative_to(out) / "data/contact-sheet.html").as_posix()],
    ]
