"""`mesoface geometry`: from the uniform views of a scan to the metric depth prior of the centre view."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..reconstruct.geometry import GeometryOptions, compute_geometry
from ..reconstruct.geometry_files import write_geometry
from ..reconstruct.rig_files import RIG_FILE
from ..reconstruct.scan_source import ScanSource, open_scan
from ..reconstruct.stereo_types import StereoOptions
from .geometry_report import write_geometry_report
from .json_output import json_result
from .picture_batch import stage_facts
from .stage import Stage, StageResult, run_stage
from .studio_commands import progress_display

console = Console()

CODE = 1
"""Goes up when the same input gives another geometry."""


def geometry(
    source: Path,
    *,
    out: Path | None = None,
    calibration: Path | None = None,
    cameras: Literal["auto", "described", "sfm"] = "auto",
    refine: bool = False,
    prior: Literal["map", "mesh"] = "map",
    proxy: Path | None = None,
    backend: Literal["sweep", "colmap-cuda"] = "sweep",
    resolution: Literal[1, 2, 4] = 1,
    features: bool = True,
    truth: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Reconstruct depth from the uniform views: depth prior, point cloud, mesh, COLMAP workspace, report.

    A valid result is kept; one made of other input, calibration or options is made again. Exit code 1: done, with
    warnings.

    Example: mesoface geometry sessions/S001_smile_20260323T101500Z --calibration calibration/2026-03

    Parameters
    ----------
    source
        A take, a rendered scan, or a folder made by `mesoface import`.
    out
        Folder of the result; default scans/NAME/geometry.
    calibration
        Folder made by `mesoface calibrate`; without one, cameras of a take are found from its own features.
    cameras
        Without a calibration: described trusts the poses of the rig file, sfm finds them from the images.
    refine
        Move the cameras so that this scan's matches agree; for a rig that was knocked after calibration.
    prior
        Depth prior from the views' depth maps, or from the fused and meshed surface.
    proxy
        A mesh (PLY, OBJ) in world mm near the true surface; helps where skin has no texture.
    backend
        sweep on the CPU, or COLMAP's own stereo on a CUDA device (needs pycolmap-cuda12).
    resolution
        1 uses every pixel; 2 and 4 stop at a half and a quarter, for a quick look or large images.
    features
        Match features; --no-features is quicker, and has no drift check.
    truth
        Truth folder of the rendered scan that a simulated take shows; adds error maps to the report.
    force
        Make it again although it is valid.
    json
        One JSON object on standard output.
    """
    scan = open_scan(source)
    target = out or Path("scans") / scan.name / "geometry"
    options = GeometryOptions(
        cameras=cameras, refine=refine, features=features, prior=prior, backend=backend, proxy=proxy,
        stereo=StereoOptions(finest_level=resolution),
    )  # fmt: skip
    with json_result(json) as facts:
        result = run_geometry(scan, target, calibration, options, truth, force=force)
        facts.update(stage_facts(result))
        if result.reused:
            console.print(f"{escape(str(target))} is up to date", soft_wrap=True)
        elif result.why:
            console.print(f"made again: {escape(result.why)}", soft_wrap=True)
        for text in result.warnings:
            console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
        console.print(f"geometry: {escape(str(target))}, report: {escape(str(target / 'report.html'))}", soft_wrap=True)
        return 1 if result.warnings else 0


def run_geometry(
    scan: ScanSource,
    out: Path,
    calibration: Path | None = None,
    options: GeometryOptions | None = None,
    truth: Path | None = None,
    *,
    force: bool = False,
) -> StageResult:
    """The stage behind the command, skipped when `out` is valid. Raises UserError that names the view or file."""
    options = options or GeometryOptions()
    truth = truth or scan.truth
    if truth is not None and not (truth / scan.centre).is_dir():
        raise UserError(f"{truth}: no folder {scan.centre} here; expected the truth folder of a rendered scan")
    stage = Stage("geometry", CODE, _parameters(options), _inputs(scan, calibration, options, truth))

    def work(folder: Path) -> tuple[str, ...]:
        with progress_display() as progress:
            task = progress.add_task("starting", total=None)
            made = compute_geometry(
                scan, folder, calibration, options,
                lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
            )  # fmt: skip
            progress.update(task, description="writing maps and report", completed=0, total=None)
            write_geometry(folder, made)
            write_geometry_report(folder, scan, made, truth)
        return made.warnings

    return run_stage(out, stage, work, force=force)


def _parameters(options: GeometryOptions) -> dict[str, Any]:
    stereo = replace(options.stereo, threads=0)  # how many cores there are changes nothing
    values = {key: value for key, value in vars(options).items() if key not in ("stereo", "proxy")}
    numbers = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(stereo).items()}
    return {**values, "stereo": numbers}


def _inputs(scan: ScanSource, calibration: Path | None, options: GeometryOptions, truth: Path | None) -> dict[str, str]:
    """Everything the result depends on: frames, cameras, calibration, proxy, and truth for the report."""
    inputs = {f"frame {name}": sha256 for name, sha256 in scan.hashes(scan.uniform).items()}
    for name in ("data/rig.toml", "scan.json", "import.json"):
        if (scan.folder / name).is_file():
            inputs[name] = sha256_file(scan.folder / name)
    if calibration is not None:
        if not (calibration / RIG_FILE).is_file():
            raise UserError(f"{calibration}: no {RIG_FILE}; expected a folder made by `mesoface calibrate`")
        inputs[f"calibration {RIG_FILE}"] = sha256_file(calibration / RIG_FILE)
        for name in scan.uniform:
            for path in sorted((calibration / name).glob("*")):
                if path.is_file() and scan.origin == "take":
                    inputs[f"calibration {name}/{path.name}"] = sha256_file(path)
    if options.proxy is not None:
        if not options.proxy.is_file():
            raise UserError(f"{options.proxy}: no such file; expected a mesh (PLY or OBJ) in world mm")
        inputs["proxy"] = sha256_file(options.proxy)
    if truth is not None:
        inputs["truth depth"] = sha256_file(truth / scan.centre / "depth_mm.tif")
    return inputs
