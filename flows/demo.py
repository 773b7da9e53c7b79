"""`mesoface demo`: the main job, as far as it is built, end to end on the built-in virtual studio."""

import time
from pathlib import Path

from ..capture.files import write_text
from ..capture.image_files import read_tiff
from ..capture.rig import load_example_rig
from ..reconstruct.portrait import PortraitOptions, write_portrait
from ..reconstruct.studio_options import StudioOptions, parse_size
from . import html
from .scan_report import (
    check_rows,
    close_ups,
    contact_sheet,
    truth_pictures,
    write_scan_report,
)
from .studio_commands import console, run_scan


def demo(*, out: Path = Path("demo"), size: str = "small", subject: int = 1, expression: str = "brow_raise") -> int:
    """Run everything that is built on a virtual subject and show it in one report.

    Today: render a scan of 23 exposures with exact truth, check it, render a portrait. Interrupted, it continues.

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
    with console.status("report and portrait"):
        write_scan_report(scan)
        view = PortraitOptions(
            width_px=max(96, int(0.8 * height)), height_px=height, subject=subject, expression=expression,
            yaw_deg=25.0, pitch_deg=6.0, seed=5,
        )  # fmt: skip
        write_portrait(view, portrait)
        passed = _write_report(out, scan, portrait, time.monotonic() - started)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    return 0 if passed else 1


def _write_report(out: Path, scan: Path, portrait: Path, seconds: float) -> bool:
    import cv2

    from ..reconstruct.studio_checks import check_scan

    checks = check_scan(scan)
    picture = cv2.imread(str(portrait / "portrait.png"))
    assert picture is not None
    normal = read_tiff(portrait / "normal_cam.tif")[0]
    from .pictures import relief

    parts = [
        html.table(
            [["time of this run", f"{seconds:.0f} s"], ["scan", str(scan.name)], ["portrait", str(portrait.name)]]
        ),
        html.heading(
            "Scan: 23 exposures and their truth", "Rendered by the virtual studio as the shipped rig would shoot it."
        ),
        html.gallery([("contact sheet", contact_sheet(scan))], 1200),
        html.heading("Self-checks"),
        html.table(check_rows(checks), ("check", "found", "bound", "")),
        html.heading("Close-ups"),
        html.gallery(close_ups(scan), 300),
        html.heading("Truth of the centre view"),
        html.gallery(truth_pictures(scan, 420), 300),
        html.heading("Portrait: the same head under other light", "A stand-in for a photograph, with truth."),
        html.gallery([("portrait", picture[..., ::-1]), ("true relief", relief(normal))], 420),
    ]
    write_text(out / "report.html", html.page("Mesoface demo", parts))
    return all(check.passed for check in checks)
