"""All of calibration: takes in, one folder out.

    board  -> calibration.json, rig/, board/ (COLMAP models)
    sphere -> places of the flashes          flat -> flat fields, intensities, polarisers
    chart  -> colour matrices                dark -> dark frames

Takes of other kinds may come later, into the same folder: then the cameras are those of the board calibrated before.
What no take tells comes from the rig file, and lights.json says so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.calibration_maps import Calibration, save_calibration
from ..capture.errors import UserError
from ..capture.files import write_json
from ..capture.polarisation import film_angle_deg, film_axis_world
from ..capture.rig_models import Rig
from .calibration_folder import folder_in_the_making
from .calibration_take import KINDS, CalibrationTake
from .colour_chart import ColourFit, fit_colour
from .flat_field import FlatFit, dark_frames, flat_fields, flattened
from .light_calibration import LightPositions, locate_lights
from .light_intensity import LightIntensity, fit_intensities
from .polariser_calibration import PolariserPair, calibrate_polarisers, polarisers_description
from .rig_calibration import RigCalibration, calibrate_rig
from .rig_files import RIG_FILE, CalibratedRig
from .scan_truth import lights_description
from .studio_options import StudioOptions

LIGHTS_FILE, POLARISERS_FILE = "lights.json", "polarisers.json"

Progress = Callable[[str, int, int], None]


@dataclass
class CalibrationRun:
    """What a run of calibration found; parts whose takes were not given are None or empty."""

    rig: Rig
    calibrated: CalibratedRig
    board: RigCalibration | None = None
    lights: LightPositions | None = None
    intensities: dict[str, LightIntensity] = field(default_factory=dict)
    polarisers: dict[str, PolariserPair] = field(default_factory=dict)
    flats: dict[str, FlatFit] = field(default_factory=dict)
    colours: dict[str, ColourFit] = field(default_factory=dict)
    dark_levels: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def calibrate_takes(
    takes: Sequence[CalibrationTake],
    out: Path,
    progress: Progress = lambda what, done, total: None,
    finish: Callable[[CalibrationRun, Path], None] = lambda run, folder: None,
) -> CalibrationRun:
    """Calibrate from takes of one rig and write the calibration folder `out`, all or nothing.

    Args:
        finish: called with the result and the folder in the making, for files of the caller's own (the report).

    Raises UserError for takes of different rigs, for a folder without cameras when there is no board take, and for
    everything the single steps refuse; `out` is as before then, and when the run is interrupted.
    """
    rig = same_rig(takes)
    with folder_in_the_making(out, last=(LIGHTS_FILE, RIG_FILE)) as making:
        run = _calibrated(takes, rig, out, making, progress)
        finish(run, making)
    progress("complete", 1, 1)
    return run


def _calibrated(
    takes: Sequence[CalibrationTake], rig: Rig, before: Path, out: Path, progress: Progress
) -> CalibrationRun:
    """Everything found, written to the empty folder `out`; `before` may hold an earlier calibration."""
    kinds = {kind: [take for take in takes if take.kind == kind] for kind in KINDS}
    if kinds["board"]:
        board = calibrate_rig(kinds["board"], progress, model_folder=out / "board")
        run = CalibrationRun(rig, board.rig, board, warnings=list(board.rig.warnings))
        board.rig.save(out)
    else:
        if not (before / RIG_FILE).is_file():
            raise UserError(
                f"{before}: no calibrated cameras there and no board take given; give a board take, or the "
                "folder of an earlier calibration as --out"
            )
        run = CalibrationRun(rig, _loaded(before, rig))
    if kinds["flat"]:
        progress("flat fields", 0, 1)
        run.flats, warnings = flat_fields(kinds["flat"])
        run.warnings += warnings
    if kinds["sphere"]:
        run.lights = locate_lights(kinds["sphere"], run.calibrated, progress)
        run.warnings += run.lights.warnings
    earlier = {} if kinds["board"] else _earlier_lights(before)
    if kinds["flat"]:
        _photometry(run, kinds["flat"], earlier, progress)
    if kinds["chart"]:
        _colours(run, kinds["chart"], progress)
    darks = {}
    if kinds["dark"]:
        progress("dark frames", 0, 1)
        darks, warnings = dark_frames(kinds["dark"])
        run.dark_levels = {name: float(dark.level.mean()) for name, dark in darks.items()}
        run.warnings += warnings
    for name in {*run.flats, *run.colours, *darks}:
        flat, colour = run.flats.get(name), run.colours.get(name)
        maps = Calibration(darks.get(name), flat.field if flat else None, colour.matrix if colour else None)
        save_calibration(out / name, maps)
    write_json(out / LIGHTS_FILE, lights_content(run, earlier))
    if run.polarisers:
        write_json(out / POLARISERS_FILE, polarisers_description(run.polarisers))
    run.warnings = list(dict.fromkeys(run.warnings))
    return run


def _loaded(folder: Path, rig: Rig) -> CalibratedRig:
    """The cameras of an earlier calibration, if they are those of the takes."""
    calibrated = CalibratedRig.load(folder)
    bodies = {camera.name: camera.serial for camera in rig.cameras}
    for name, serial in calibrated.serials.items():
        if bodies.get(name) != serial:
            raise UserError(
                f"{folder}: view {name} was calibrated with body {serial}, the takes are of "
                f"{bodies.get(name, 'none')}; calibrate with a board take of this rig first"
            )
    return calibrated


def same_rig(takes: Sequence[CalibrationTake]) -> Rig:
    """The rig of all takes. Raises UserError when they are of different ones."""
    if not takes:
        raise UserError("no takes given; give the folders of a board take and, if there are, sphere, flat, chart, dark")
    first = takes[0]
    for take in takes[1:]:
        for part in ("cameras", "lights", "targets"):
            if getattr(take.rig, part) != getattr(first.rig, part):
                raise UserError(
                    f"{take.folder} and {first.folder} were shot with different rig files (other {part}); calibrate "
                    "with one of them for all takes: --rig rig.toml"
                )
    return first.rig


def light_positions(run: CalibrationRun, earlier: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, str]]:
    """Flash name -> place (3,) mm and where it comes from: "sphere", "sphere (earlier)" or "rig file"."""
    found = {}
    for flash in run.rig.flashes:
        before = earlier.get(flash.name, {})
        if run.lights is not None and flash.name in run.lights.lights:
            found[flash.name] = np.array(run.lights.lights[flash.name].position_mm), "sphere"
        elif str(before.get("position_from", "")).startswith("sphere"):
            found[flash.name] = np.array(before["position_mm"], np.float64), "sphere (earlier)"
        else:
            found[flash.name] = np.array(flash.position_mm, np.float64), "rig file"
    return found


def lights_content(run: CalibrationRun, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Content of lights.json: that of a rendered scan's, plus where each value comes from."""
    leaks = [pair.leak for pair in run.polarisers.values()]
    options = StudioOptions(diffuse="lambert", leak=float(np.clip(np.mean(leaks), 0, 0.5)) if leaks else 0.005)
    content = lights_description(run.rig, options)
    places = light_positions(run, earlier)
    for entry in content["lights"]:
        name = entry["name"]
        if name not in places:
            continue
        before = earlier.get(name, {})
        position, source = places[name]
        entry["position_mm"], entry["position_from"] = position.tolist(), source
        if run.lights is not None and name in run.lights.lights:
            entry["position_sigma_mm"] = run.lights.lights[name].sigma_mm
        fit = run.intensities.get(name)
        entry["intensity_from"] = "rig file"
        if fit is not None:
            entry |= {
                "aim_mm": list(fit.aim_mm),
                "falloff_exponent": fit.falloff_exponent,
                "intensity_rgb": list(fit.intensity_rgb),
                "intensity_from": "card",
            }
        elif str(before.get("intensity_from", "")).startswith("card"):
            entry |= {key: before[key] for key in ("aim_mm", "falloff_exponent", "intensity_rgb")}
            entry["intensity_from"] = "card (earlier)"
        if entry.get("film_deg") is not None:
            angle = film_angle_deg(run.rig.cross_camera, run.rig.light(name), run.rig.subject.target_mm)
            entry["film_axis_world"] = film_axis_world(position, entry["aim_mm"], angle).tolist()
        pair = run.polarisers.get(name)
        if pair is not None:
            entry |= {"leak": pair.leak, "pair_gain": pair.gain}
    content["card_reflectance"] = "intensities are for a card of diffuse reflectance 0.6"
    return content


def _earlier_lights(out: Path) -> dict[str, Any]:
    path = out / LIGHTS_FILE
    if not path.is_file():
        return {}
    try:
        return {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["lights"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); calibrate into a new folder") from None


def _photometry(
    run: CalibrationRun, takes: Sequence[CalibrationTake], earlier: Mapping[str, Any], progress: Progress
) -> None:
    fields = {name: fit.field for name, fit in run.flats.items()}
    centre, cross = fields.get(run.rig.centre.name), fields.get(run.rig.cross_camera.name)
    positions = {name: place for name, (place, _) in light_positions(run, earlier).items()}
    for take in takes:
        fits, warnings = fit_intensities(take, run.calibrated, positions, centre, cross, progress)
        run.intensities |= fits
        run.warnings += warnings
    gains = {name: fit.pair_gain for name, fit in run.intensities.items()}
    progress("polarisers", 0, 1)
    run.polarisers, warnings = calibrate_polarisers(takes, gains, centre, cross)
    run.warnings += warnings
    if run.lights is None and not any(str(e.get("position_from", "")).startswith("sphere") for e in earlier.values()):
        run.warnings.append(
            "no sphere take: the flashes' places are the rig file's, and their intensities and aims depend on them"
        )


def _colours(run: CalibrationRun, takes: Sequence[CalibrationTake], progress: Progress) -> None:
    for take in takes:
        placement = take.plan().placements[0].world_from_target()
        shots = [shot for shot in take.shots if shot.polariser == "U" and shot.camera in run.calibrated.cameras]
        for done, shot in enumerate(shots):
            progress("colour chart", done, len(shots))
            flat = run.flats.get(shot.camera)
            image = flattened(take.linear(shot), flat.field if flat else None)
            camera = run.calibrated.camera(shot.camera, (image.shape[1], image.shape[0]))
            try:
                run.colours[shot.camera] = fit_colour(image, camera, placement, run.rig.targets, shot.camera)
            except UserError as error:
                run.warnings.append(f"{error}; no colour matrix for it")
    if run.colours and not run.flats:
        run.warnings.append("chart without a flat take: the fall-off of the lenses is in the colour matrices")
