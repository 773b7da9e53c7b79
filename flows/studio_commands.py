"""`mesoface studio ...`: render virtual scans and portraits."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..capture.rig import load_example_rig, load_rig
from ..capture.rig_models import Rig
from ..reconstruct.portrait import PortraitOptions, write_portrait
from ..reconstruct.studio import render_scan
from ..reconstruct.studio_checks import check_scan
from ..reconstruct.studio_options import StudioOptions, parse_size
from .json_output import json_result
from .scan_report import check_rows, write_scan_report

console = Console()


def progress_display() -> Progress:
    """The progress display of long commands."""
    return Progress(
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def render(
    *,
    out: Path,
    subject: int = 1,
    expression: str = "neutral",
    size: str = "medium",
    rig: Path | None = None,
    face_model: str = "procedural",
    seed: int = 0,
    samples: int = 9,
    diffuse: Literal["coated", "lambert"] = "coated",
    interreflection: bool = True,
    subsurface: bool = True,
    noise: bool = True,
    leak: float = 0.005,
    motion_mm: float = 0.0,
    engine: Literal["scalar", "llvm"] = "scalar",
    report: bool = True,
) -> None:
    """Render one scan of a virtual subject: 23 exposures (TIFF and DNG) with exact truth.

    Interrupted, the same command continues; a finished scan is left as it is.

    Example: mesoface studio render --subject 1 --expression smile --size 1500x1000 --out scan1

    Parameters
    ----------
    out
        Folder to fill; new, empty, or holding the same scan unfinished.
    subject
        Number of the virtual person: identity, skin and colours follow from it.
    expression
        neutral, smile, frown, surprise, ... or a mixture such as smile:0.5+jaw_open:0.3.
    size
        tiny, small, medium, large, full, or WIDTHxHEIGHT in pixels (3:2 as the rig's sensors).
    rig
        rig.toml to follow; the shipped example without it.
    face_model
        procedural, a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file.
    seed
        Seed of the sensor noise and of the subject's motion.
    samples
        Light samples per pixel of a flash image.
    diffuse
        coated: skin under a smooth oil layer (Fresnel transmission); lambert: ideally matte.
    interreflection
        Light from skin to skin.
    subsurface
        Scattering of light in the skin, red widest.
    noise
        Shot and read noise of the sensor.
    leak
        Part of a highlight that the crossed film and analyser pass.
    motion_mm
        RMS drift of the subject between exposures.
    engine
        scalar runs everywhere; llvm needs libLLVM 19.
    report
        Write contact-sheet.png and report.html.
    """
    width, height = parse_size(size)
    options = StudioOptions(
        width_px=width,
        height_px=height,
        subject=subject,
        expression=expression,
        face_model=face_model,
        seed=seed,
        samples=samples,
        diffuse=diffuse,
        interreflection=interreflection,
        subsurface=subsurface,
        noise=noise,
        leak=leak,
        motion_mm=motion_mm,
        engine=engine,
    )
    started = time.monotonic()
    run_scan(chosen_rig(rig), options, out)
    if report:
        write_scan_report(out, time.monotonic() - started)
        console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def chosen_rig(path: Path | None) -> Rig:
    """The rig of a file, or the shipped example."""
    return load_example_rig() if path is None else load_rig(path)


def run_scan(rig: Rig, options: StudioOptions, out: Path) -> None:
    """Render a scan with a progress display."""
    with progress_display() as progress:
        task = progress.add_task("starting", total=None)
        render_scan(
            rig,
            options,
            out,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )


def portrait(
    *,
    out: Path,
    subject: int = 1,
    expression: str = "neutral",
    size: str = "640x800",
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
    distance_mm: float = 1200.0,
    focal_mm: float = 85.0,
    face_model: str = "procedural",
    seed: int = 0,
    samples: int = 36,
    engine: Literal["scalar", "llvm"] = "scalar",
) -> None:
    """Render a portrait under random surroundings from a free viewpoint, with truth.

    Example: mesoface studio portrait --subject 3 --expression smile --yaw-deg 20 --out portrait3

    Parameters
    ----------
    out
        Folder to fill; new, empty, or holding the same portrait.
    subject
        Number of the virtual person.
    expression
        As for `studio render`.
    size
        WIDTHxHEIGHT in pixels.
    yaw_deg
        Camera position around the head; positive: on the subject's left.
    pitch_deg
        Positive: the camera looks from above.
    roll_deg
        Turn of the camera about its axis.
    distance_mm
        From the camera to the face's centre.
    focal_mm
        Lens, for a sensor 24 mm high.
    face_model
        As for `studio render`.
    seed
        Seed of surroundings and noise.
    samples
        Light samples per pixel.
    engine
        scalar or llvm.
    """
    width, height = parse_size(size)
    options = PortraitOptions(
        width_px=width,
        height_px=height,
        subject=subject,
        expression=expression,
        face_model=face_model,
        seed=seed,
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        roll_deg=roll_deg,
        distance_mm=distance_mm,
        focal_mm=focal_mm,
        samples=samples,
        engine=engine,
    )
    with console.status("rendering the portrait"):
        write_portrait(options, out)
    console.print(f"portrait: {out / 'portrait.png'}", soft_wrap=True)


def verify(folder: Path, *, json: bool = False) -> int:
    """Check a rendered scan against itself: maps, cameras, pairs. Exit code 1 when a check fails.

    Example: mesoface studio verify scan1

    Parameters
    ----------
    folder
        A folder made by `studio render`.
    json
        One JSON object on standard output.
    """
    with json_result(json) as result:
        checks = check_scan(folder)
        result["folder"] = folder
        result["checks"] = [{**asdict(check), "passed": check.passed} for check in checks]
        for name, value, bound, verdict in check_rows(checks):
            console.print(f"{name:<58} {value:>16}  (bound {bound})  {verdict}", soft_wrap=True, highlight=False)
    return 0 if all(check.passed for check in checks) else 1
