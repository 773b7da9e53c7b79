"""What a rendered calibration take says about itself: what a lab knows, and apart from it the truth.

The lab's knowledge (targets.json, cameras.json, lights.json) is the rig as described and the placements as planned; the
truth/ folder holds the rig as it really stands, where the targets really were, and what follows from both. Formats:
docs/formats.md.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from ..capture.calibration_plan import CalibrationPlan
from ..capture.camera_model import PinholeCamera
from ..capture.files import write_json, write_text
from ..capture.plan import Shot
from ..capture.rig_models import Rig
from ..capture.target_patterns import CLASSIC24, board_corners_mm, patch_centres_mm
from .scan_folder import ScanFolder
from .scan_truth import cameras_description, lights_description
from .studio_options import StudioOptions
from .targets_scene import TargetOptions, TargetScene, point_flash, vignette

POINT_FILES = {
    "board": "truth/corners.csv", "sphere": "truth/highlights.csv", "flat": "truth/highlights.csv",
    "chart": "truth/patches.csv",
}  # fmt: skip


def target_truth_files(kind: str) -> list[str]:
    """Files that `write_target_truth` makes, relative to the folder."""
    described = ["targets.json", "cameras.json", "lights.json"]
    real = ["truth/truth.json", "truth/cameras.json", "truth/lights.json", "truth/rig.json"]
    return [*described, *real, *([POINT_FILES[kind]] if kind in POINT_FILES else [])]


def write_target_truth(folder: ScanFolder, rig: Rig, options: TargetOptions, scene: TargetScene) -> None:
    """Write descriptions and truth; `rig` is as described, the scene's own is the real one."""
    root, plan = folder.folder, scene.plan
    size = (options.width_px, options.height_px)
    described = {camera.name: PinholeCamera.from_rig(camera).scaled(*size) for camera in rig.cameras}
    # flat targets are ideally matt, balls have their own gloss: no coated skin here
    light_options = StudioOptions(diffuse="lambert", leak=options.leak)
    write_json(root / "targets.json", _description(rig, plan))
    write_json(root / "cameras.json", cameras_description(described, rig))
    write_json(root / "lights.json", lights_description(rig, light_options))
    write_json(root / "truth/cameras.json", cameras_description(scene.cameras, scene.rig))
    write_json(root / "truth/lights.json", lights_description(scene.rig, light_options))
    write_json(root / "truth/rig.json", scene.rig.model_dump(mode="json"))
    write_json(root / "truth/truth.json", _truth(options, scene))
    points = {"board": _corners, "sphere": _highlights, "flat": _highlights, "chart": _patches}
    if plan.kind in points:
        write_text(root / POINT_FILES[plan.kind], _table(points[plan.kind](scene)))
    folder.facts = {"calibration": plan.kind, "placements": len(plan.placements), "shots": len(plan.shots)}
    folder.record(*target_truth_files(plan.kind))


def _description(rig: Rig, plan: CalibrationPlan) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "preparation": plan.preparation,
        "targets": rig.targets.model_dump(mode="json"),
        "placements": [asdict(placement) for placement in plan.placements],
        "shots": [asdict(shot) for shot in plan.shots],
    }


def _truth(options: TargetOptions, scene: TargetScene) -> dict[str, Any]:
    placements = []
    for placement in scene.placements:
        pose = placement.world_from_target()
        entry: dict[str, Any] = {
            "pose": placement.pose,
            "target": placement.target,
            "world_from_target": {"rotation": pose.rotation.tolist(), "translation_mm": pose.translation_mm.tolist()},
        }
        if placement.target in ("sphere", "gloss_ball"):
            entry["radius_mm"] = scene.ball(placement).radius_mm
        placements.append(entry)
    return {
        "frame": "world: x to the subject's left, y up, z to the centre camera; mm. Target: origin in its middle, "
        "x right, y down, z into it; OpenCV's ChArUco frame has the same axes from the upper left corner",
        "misalignment": options.misalignment,
        "leak": options.leak,
        "vignetting": options.vignetting,
        "placements": placements,
    }


Row = tuple[str | int | float, ...]


def _corners(scene: TargetScene) -> Iterable[Row]:
    yield "shot", "pose", "camera", "corner", "x_px", "y_px", "visible"
    corners = board_corners_mm(scene.rig.targets)
    for shot in scene.plan.shots:
        for number, (x, y, visible) in enumerate(_seen(scene, shot, corners)):
            yield shot.stem, shot.pose or 0, shot.camera, number, x, y, visible


def _highlights(scene: TargetScene) -> Iterable[Row]:
    yield "shot", "pose", "camera", "light", "x_px", "y_px"
    for shot in scene.plan.shots:
        if shot.pose is not None and scene.placements[shot.pose].target in ("sphere", "gloss_ball"):
            for name in shot.lights:
                if scene.rig.light(name).position_mm is not None:
                    pixel, _ = scene.cameras[shot.camera].project(scene.highlight_mm(shot, name)[None])
                    yield shot.stem, shot.pose, shot.camera, name, *_rounded(pixel[0])


def _patches(scene: TargetScene) -> Iterable[Row]:
    """Linear light in the middle of every patch, from the formulas of lights.json; behind an analyser half of it."""
    yield "shot", "camera", "patch", "name", "x_px", "y_px", "red", "green", "blue"
    centres, colours = patch_centres_mm(scene.rig.targets), scene.patterns["chart"].reflectance
    for shot in scene.plan.shots:
        assert shot.pose is not None
        pose = scene.placements[shot.pose].world_from_target()
        points = pose.apply(centres)
        energies = [scene.rig.light(name).relative_energy for name in shot.lights]
        irradiance = np.zeros(len(points))
        for name, energy in zip(shot.lights, energies, strict=True):
            share, light = min(energies) / len(energies) / energy, scene.rig.light(name)
            if light.position_mm is None:
                irradiance += share * energy
            else:
                flash = point_flash(light)
                to_light = flash.position_mm - points
                cosine = to_light @ -pose.rotation[:, 2] / np.linalg.norm(to_light, axis=1)
                irradiance += share * flash.irradiance(points) * np.maximum(cosine, 0)
        camera = scene.cameras[shot.camera]
        if scene.rig.camera(shot.camera).analyser != "none":
            irradiance /= 2
        kept = vignette(camera, scene.options.vignetting)
        for number, (x, y, visible) in enumerate(_seen(scene, shot, centres)):
            if visible:
                light_here = irradiance[number] * kept[round(y), round(x)] * colours[number]
                name = CLASSIC24[number][0]
                yield shot.stem, shot.camera, number, name, x, y, *(round(float(v), 7) for v in light_here)


def _seen(scene: TargetScene, shot: Shot, points_mm: np.ndarray) -> Iterable[tuple[float, float, int]]:
    """Where points (N, 3) of the shot's target are in its image, and 1 when they are inside it."""
    assert shot.pose is not None
    pose, camera = scene.placements[shot.pose].world_from_target(), scene.cameras[shot.camera]
    pixels, _ = camera.project(pose.apply(points_mm))
    for x, y in pixels:
        inside = -0.5 <= x <= camera.width_px - 0.5 and -0.5 <= y <= camera.height_px - 0.5
        yield *_rounded((x, y)), int(inside)


def _rounded(pixel: Iterable[float]) -> tuple[float, float]:
    x, y = pixel
    return round(float(x), 5), round(float(y), 5)


def _table(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
