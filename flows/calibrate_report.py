"""report.html of a calibration: what was found, how well it fits, and what to look at."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ..capture.files import write_text
from ..capture.target_patterns import CLASSIC24, chart_pattern
from ..reconstruct.calibrate import CalibrationRun, light_positions
from ..reconstruct.calibration_take import CalibrationTake
from ..reconstruct.rig_calibration import POSES_PER_TAKE, RigCalibration
from . import html
from .calibrate_pictures import (
    ball_picture,
    corner_picture,
    highlight_picture,
    residual_picture,
    rig_picture,
    swatches,
    view_picture,
)
from .pictures import map_with_scale

MOST_PROBLEM_PICTURES = 12


def write_calibration_report(path: Path, run: CalibrationRun, takes: Sequence[CalibrationTake]) -> None:
    """Write the report; pictures of frames are read again from the takes."""
    parts = [_summary(run, takes)]
    if run.board is not None:
        parts += _board_parts(run.board, run, [take for take in takes if take.kind == "board"])
    places = {name: place for name, (place, _) in light_positions(run, {}).items()}
    parts.append(html.heading("Rig", "Grey: where the rig file puts cameras and flashes. Coloured: where they stand."))
    views = [("", rig_picture(run.calibrated, run.rig, places, side)) for side in ("top", "front")]
    parts.append(html.gallery(views, 560))
    if run.lights is not None:
        parts += _light_parts(run, [take for take in takes if take.kind == "sphere"])
    if run.intensities:
        parts += _intensity_parts(run)
    if run.polarisers:
        parts += _polariser_parts(run)
    if run.flats:
        parts += _flat_parts(run)
    if run.colours:
        parts += _colour_parts(run)
    if run.dark_levels:
        rows = [[name, f"{round(100 * level, 4) + 0.0:.4f} %"] for name, level in run.dark_levels.items()]
        parts += [html.heading("Dark frames", "Mean level above black."), html.table(rows, ("view", "of white"))]
    write_text(path, html.page(f"Calibration of rig {run.rig.name}", parts))


def _summary(run: CalibrationRun, takes: Sequence[CalibrationTake]) -> str:
    rows = [["takes", ", ".join(f"{take.kind}: {take.folder.name}" for take in takes)]]
    if run.board is not None:
        held = run.board.held_out
        rows.append(
            [
                "reprojection",
                f"{run.board.bundle.rms_px():.4f} px rms over {len(run.board.bundle.observations.pose)} corners",
            ]
        )
        if held is not None:
            text = f"{held.median_mm:.4f} mm median, {held.p95_mm:.4f} mm 95th percentile, scale {held.scale:.6f}"
            rows.append(["held-out boards, triangulated", text])
        rows.append(["size against the rig file", f"{run.board.alignment.scale_ratio:.4f}"])
    if run.lights is not None and run.lights.lights:
        worst = max(light.sigma_mm for light in run.lights.lights.values())
        rows.append(["flashes located", f"{len(run.lights.lights)}, standard deviation up to {worst:.1f} mm"])
    warnings = "".join(f"<li>{escape(text)}</li>" for text in run.warnings)
    return html.table(rows) + (f"<h2>Warnings</h2><ul>{warnings}</ul>" if warnings else "")


def _board_parts(board: RigCalibration, run: CalibrationRun, takes: Sequence[CalibrationTake]) -> list[str]:
    rows = []
    for name, camera in run.calibrated.cameras.items():
        views = [view for view in board.views if view.camera == name]
        used = len(board.singles[name].views)
        k1, k2, p1, p2 = camera.distortion
        rows.append([
            name, f"{used} of {len(views)}", f"{board.bundle.rms_px(name):.4f}",
            f"{camera.fx_px:.2f}, {camera.fy_px:.2f}", f"{camera.cx_px:.2f}, {camera.cy_px:.2f}",
            f"{k1:.4f}, {k2:.4f}, {p1:.5f}, {p2:.5f}", ", ".join(f"{value:.1f}" for value in camera.centre_mm),
            f"{board.alignment.offset_mm.get(name, float('nan')):.1f}",
            f"{board.alignment.turn_deg.get(name, float('nan')):.2f}",
        ])  # fmt: skip
    header = ("view", "boards", "rms px", "fx, fy px", "cx, cy px", "k1 k2 p1 p2", "centre mm", "off mm", "off deg")
    note = (
        "Off: from the pose in the rig file. A single parameter is less certain than the whole: focal length, "
        "principal point and pose make up for each other. Judge by the held-out boards."
    )
    parts = [html.heading("Cameras", note), html.table(rows, header)]
    parts.append(
        html.heading(
            "Residuals", "They should look like noise. Arrows that swirl or point outwards mean a bad lens model."
        )
    )
    parts.append(html.gallery([("", residual_picture(board.bundle, name)) for name in board.bundle.names], 420))
    squares = run.rig.targets.board_squares
    note = "A single bright corner is a misprint; a pattern that rises towards the edges is a bent board."
    parts += [html.heading("Corners", note), html.gallery([("", corner_picture(board.bundle, squares))], 420)]
    problems = [view for view in board.views if not view.usable]
    problems += [
        view
        for view in board.views
        if view.usable and view.camera in board.singles and view.pose in board.singles[view.camera].dropped
    ]
    shots = {
        (shot.camera, (shot.pose or 0) + POSES_PER_TAKE * number): (take, shot)
        for number, take in enumerate(takes)
        for shot in take.shots
    }
    pictures = []
    for view in problems[:MOST_PROBLEM_PICTURES]:
        take, shot = shots[view.camera, view.pose]
        why = view.problem or board.singles[view.camera].dropped[view.pose]
        pictures.append((f"{shot.stem}: {why}", view_picture(take.linear(shot)[..., 1], view)))
    if problems:
        parts.append(html.heading("Frames left out", f"{len(problems)} of {len(board.views)}"))
        parts.append(html.gallery(pictures, 300))
    first = next((view for view in board.views if view.usable and view.camera == board.bundle.names[0]), None)
    if first is not None:
        take, shot = shots[first.camera, first.pose]
        example = [(f"{shot.stem}: {len(first.ids)} corners", view_picture(take.linear(shot)[..., 1], first, 560))]
        parts += [html.heading("A frame that was used"), html.gallery(example, 420)]
    return parts


def _light_parts(run: CalibrationRun, takes: Sequence[CalibrationTake]) -> list[str]:
    lights = run.lights
    assert lights is not None
    rows = [
        [name, ", ".join(f"{v:.1f}" for v in light.position_mm), f"{light.sigma_mm:.1f}", str(light.rays),
         f"{light.rms_px:.2f}", f"{light.offset_mm:.1f}"]
        for name, light in lights.lights.items()
    ]  # fmt: skip
    header = ("flash", "place mm", "sigma mm", "rays", "rms px", "off the rig file mm")
    parts = [html.heading("Flashes", "From the highlights of the mirror ball."), html.table(rows, header)]
    pictures = []
    centre = run.rig.centre.name
    for number, place in enumerate(lights.places):
        outline = place.outlines.get(centre)
        if outline is None or outline.problem:
            continue
        shot = next(s for s in takes[place.take].shots if s.pose == place.pose and s.camera == centre)
        found = [h.pixel for h in lights.highlights if h.place == number and h.camera == centre]
        text = f"place {place.pose}: diameter {2 * place.fit.radius_mm:.2f} mm, edge {place.fit.rms_px:.3f} px rms"
        pictures.append((text, ball_picture(takes[place.take].linear(shot), outline, found)))
    pictures.append(("highlights: found - predicted, one colour per flash", highlight_picture(lights, 260)))
    return [*parts, html.gallery(pictures, 260)]


def _intensity_parts(run: CalibrationRun) -> list[str]:
    rows = [
        [fit.name, ", ".join(f"{v:.4g}" for v in fit.intensity_rgb), ", ".join(f"{v:.0f}" for v in fit.aim_mm),
         f"{fit.falloff_exponent:.2f}", f"{100 * fit.residual:.2f} %"]
        for fit in run.intensities.values()
    ]  # fmt: skip
    note = (
        "E = intensity x cos(angle to aim)^exponent / distance^2. Aim and exponent make up for each other on a small "
        "card; their product over the face is what counts."
    )
    header = ("flash", "red, green, blue", "aim mm", "exponent", "rms")
    return [html.heading("Intensities", note), html.table(rows, header)]


def _polariser_parts(run: CalibrationRun) -> list[str]:
    rows = [
        [pair.light, f"{100 * pair.leak:.2f} +- {100 * pair.sigma:.2f} %", f"{pair.gain:.4f}"]
        for pair in run.polarisers.values()
    ]
    note = "Leak: share of a highlight that the crossed frame keeps. Gain: crossed over parallel light of the card."
    return [html.heading("Polarisers", note), html.table(rows, ("flash", "leak", "gain"))]


def _flat_parts(run: CalibrationRun) -> list[str]:
    pictures = [
        (
            f"{name}: corners {100 * fit.corner_loss:.1f} % darker; fit {100 * fit.residual:.2f} %",
            map_with_scale(fit.field.gain[..., 1].astype(np.float64), "", diverging=False),
        )
        for name, fit in run.flats.items()
    ]
    return [html.heading("Flat fields", "Sensitivity over the picture, 1 in the middle."), html.gallery(pictures, 260)]


def _colour_parts(run: CalibrationRun) -> list[str]:
    wanted = chart_pattern(run.rig.targets).reflectance[: len(CLASSIC24)]
    pictures = []
    for name, fit in run.colours.items():
        found = fit.patches @ fit.matrix.matrix.T * wanted[18, 1]
        text = f"{name}: colour error {fit.delta_e.mean():.2f} mean, {fit.delta_e.max():.2f} worst (CIE 1976)"
        pictures.append((text, swatches(wanted, found)))
    note = "Outside: published colours of the chart. Inside: as measured."
    return [html.heading("Colours", note), html.gallery(pictures, 260)]
