"""`mesoface reconstruct`: from a scan to normals, albedo, and displacement in millimetres; every stage resumable."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from ..capture.calibration_maps import Calibration, load_calibration
from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..reconstruct.detail import DetailOptions, compute_displacement, compute_normals
from ..reconstruct.detail_files import read_normals, write_displacement, write_normals
from ..reconstruct.displacement import find_preset
from ..reconstruct.geometry import GeometryOptions
from ..reconstruct.geometry_files import read_geometry
from ..reconstruct.rig_files import CalibratedRig
from ..reconstruct.scan_source import ScanSource, open_scan
from ..reconstruct.scan_truth import lights_description
from ..reconstruct.stereo_types import StereoOptions
from ..reconstruct.studio_options import StudioOptions
from .geometry_command import run_geometry
from .json_output import json_result
from .picture_batch import stage_facts
from .reconstruct_report import write_displacement_report, write_normals_report
from .stage import Stage, StageResult, run_stage, stage_outputs
from .studio_commands import progress_display

console = Console()

NORMALS_CODE = 2
DISPLACEMENT_CODE = 2
"""Go up when the same input gives another result."""


@dataclass(frozen=True)
class Lighting:
    """What is known of the lamps and lenses of a scan. `files`: name -> SHA-256 of where it comes from."""

    lights: Mapping[str, Any]
    polarisers: Mapping[str, Any] | None
    lenses: Mapping[str, PinholeCamera] | None
    maps: Mapping[str, Calibration]
    files: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def reconstruct(
    source: Path,
    *,
    out: Path | None = None,
    calibration: Path | None = None,
    preset: Literal["full_band", "paper"] = "full_band",
    normals: Literal["diffuse", "channels", "specular"] = "diffuse",
    motion: bool = True,
    cameras: Literal["auto", "described", "sfm"] = "auto",
    resolution: Literal[1, 2, 4] = 1,
    features: bool = True,
    truth: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Reconstruct a scan: geometry, diffuse and specular images, normals, albedo, displacement, reports.

    Three stages, each kept while it is valid: geometry, normals, displacement. Exit code 1: done, with warnings.

    Example: mesoface reconstruct sessions/S001_smile_... --calibration calibration/2026-03

    Parameters
    ----------
    source
        A take, a rendered scan, or a folder made by `mesoface import`.
    out
        Folder of the stages; default scans/NAME.
    calibration
        Folder made by `mesoface calibrate`.
    preset
        full_band keeps every wavelength below 10 mm in the displacement; paper does what the text says, which keeps
        little of wrinkles and pores (docs/displacement.md).
    normals
        What drives detail: diffuse light with the skin's blur undone; channels: green and blue as they are; specular:
        highlights below 2 mm where they are sure (docs/photometric.md has the figures).
    motion
        Undo the head's motion between exposures; --no-motion for what cannot move.
    cameras
        As for `mesoface geometry`.
    resolution
        As for `mesoface geometry`: where stereo stops. Normals are always at full resolution.
    features
        As for `mesoface geometry`.
    truth
        Truth folder of the rendered scan that a simulated take shows.
    force
        Make all stages again.
    json
        One JSON object on standard output.
    """
    scan = open_scan(source)
    target = out or Path("scans") / scan.name
    geometry = GeometryOptions(cameras=cameras, features=features, stereo=StereoOptions(finest_level=resolution))
    options = DetailOptions(motion=motion, preset=find_preset(preset), drive=normals)
    with json_result(json) as facts:
        results = run_reconstruction(scan, target, calibration, geometry, options, truth, force=force)
        facts["stages"] = {result.folder.name: stage_facts(result) for result in results}
        told: list[str] = []
        for result in results:
            state = "up to date" if result.reused else f"{result.seconds:.0f} s"
            again = f", made again: {result.why}" if result.why else ""
            console.print(f"{result.folder.name}: {state}{escape(again)}", soft_wrap=True)
            told += [text for text in result.warnings if text not in told]
        for text in told:
            console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
        for result in results:
            console.print(f"report: {escape(str(result.folder / 'report.html'))}", soft_wrap=True)
        return 1 if told else 0


def run_reconstruction(
    scan: ScanSource,
    out: Path,
    calibration: Path | None = None,
    geometry: GeometryOptions | None = None,
    options: DetailOptions | None = None,
    truth: Path | None = None,
    *,
    force: bool = False,
) -> tuple[StageResult, StageResult, StageResult]:
    """Geometry, normals, displacement below `out`. Raises UserError that names the light or file."""
    options, truth = options or DetailOptions(), truth or scan.truth
    lighting = _lighting(scan, calibration)
    first = run_geometry(scan, out / "geometry", calibration, geometry, truth, force=force)
    second = _normals(scan, out, lighting, options, truth, force)
    third = _displacement(scan, out, options, truth, force)
    return first, second, third


def _normals(
    scan: ScanSource, out: Path, lighting: Lighting, options: DetailOptions, truth: Path | None, force: bool
) -> StageResult:
    frames = {frame.stem: frame for frame in scan.frames if frame.kind in ("parallel", "cross", "uniform")}
    # motion is measured from a uniform frame, so it counts too
    pairs = {stem: frame for stem, frame in frames.items() if frame.kind != "uniform" or frame.camera == scan.centre}
    parameters = {"motion": options.motion, "mix": list(options.mix), "rounds": options.rounds, "drive": options.drive}
    inputs = {
        **scan.hashes(pairs),
        **lighting.files,
        "geometry": stage_outputs(out / "geometry"),
        **_truth(scan, truth),
    }

    def work(folder: Path, progress: Callable[[str, int, int], None]) -> tuple[str, ...]:
        found = read_geometry(out / "geometry")
        size = found.camera.width_px, found.camera.height_px  # the calibration's may be another
        lenses = {name: lens.scaled(*size) for name, lens in (lighting.lenses or {}).items()}
        scratch = folder / "scratch" if found.camera.width_px * found.camera.height_px > 8_000_000 else None
        if scratch is not None:
            scratch.mkdir()
        normals = compute_normals(
            scan, found, lighting.lights, options, polarisers=lighting.polarisers, lenses=lenses or None,
            maps=lighting.maps, scratch=scratch, progress=progress,
        )  # fmt: skip
        normals = replace(normals, warnings=tuple(dict.fromkeys([*lighting.warnings, *normals.warnings])))
        write_normals(folder, normals)
        write_normals_report(folder, scan.name, normals, found, truth, scan.centre)
        if scratch is not None:
            for path in scratch.iterdir():
                path.unlink()
            scratch.rmdir()
        return normals.warnings

    return _shown(out / "normals", Stage("normals", NORMALS_CODE, parameters, inputs), work, force)


def _displacement(scan: ScanSource, out: Path, options: DetailOptions, truth: Path | None, force: bool) -> StageResult:
    preset = options.preset
    parameters = {"preset": {name: getattr(preset, name) for name in preset.__dataclass_fields__}}
    inputs = {
        "normals": stage_outputs(out / "normals"),
        "geometry": stage_outputs(out / "geometry"),
        **_truth(scan, truth),
    }

    def work(folder: Path, progress: Callable[[str, int, int], None]) -> tuple[str, ...]:
        geometry, normals = read_geometry(out / "geometry"), read_normals(out / "normals")
        progress("integrating", 0, 2)
        pair = compute_displacement(normals.maps, normals.start_mm, geometry.mask, geometry.camera, options)
        progress("meshes and report", 1, 2)
        write_displacement(folder, pair, geometry.camera, normals.maps.albedo, normals.warnings)
        write_displacement_report(folder, scan.name, pair, normals, geometry, truth, scan.centre)
        return normals.warnings

    return _shown(out / "displacement", Stage("displacement", DISPLACEMENT_CODE, parameters, inputs), work, force)


def _shown(
    folder: Path, stage: Stage, work: Callable[[Path, Callable[[str, int, int], None]], tuple[str, ...]], force: bool
) -> StageResult:
    """Run a stage under a progress bar."""

    def shown(temporary: Path) -> tuple[str, ...]:
        with progress_display() as progress:
            task = progress.add_task(stage.name, total=None)
            return work(
                temporary,
                lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
            )

    return run_stage(folder, stage, shown, force=force)


def _lighting(scan: ScanSource, calibration: Path | None) -> Lighting:
    """Lamps from the calibration, else from the scan itself, else from its rig file."""
    if calibration is None:
        if scan.lights is not None:
            return Lighting(scan.lights, None, None, {}, {"lights.json": sha256_file(scan.folder / "lights.json")})
        if scan.rig is None:
            raise UserError(f"{scan.folder}: no lights.json; import the folder again with --lights")
        lights = lights_description(scan.rig, StudioOptions())
        words = "no calibration given: lamps are where the rig file says, as bright as it says"
        return Lighting(lights, None, None, {}, {}, (words,))
    rig = CalibratedRig.load(calibration)
    files, found = {}, {}
    for name in ("lights.json", "polarisers.json"):
        path = calibration / name
        if path.is_file():
            files[f"calibration {name}"] = sha256_file(path)
            try:
                found[name] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{path}: cannot be read ({error}); calibrate again") from None
    warnings: tuple[str, ...] = ()
    lights = found.get("lights.json") or scan.lights
    if lights is None:
        if scan.rig is None:
            raise UserError(f"{calibration}: has no lights.json; calibrate with sphere and flat takes")
        lights = lights_description(scan.rig, StudioOptions())
        warnings = (f"{calibration}: has no lights.json; lamps are where the rig file says",)
    maps = {
        name: load_calibration(calibration / name)
        for name in rig.cameras
        if scan.origin == "take" and (calibration / name).is_dir()
    }
    for name in maps:
        for path in sorted((calibration / name).glob("*")):
            if path.is_file():
                files[f"calibration {name}/{path.name}"] = sha256_file(path)
    return Lighting(lights, found.get("polarisers.json"), rig.cameras, maps, files, warnings)


def _truth(scan: ScanSource, truth: Path | None) -> dict[str, str]:
    if truth is None:
        return {}
    return {"truth": sha256_file(truth / scan.centre / "displacement_mm.tif")}
