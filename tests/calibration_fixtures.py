"""Calibration takes of the virtual studio in memory: a small rig, small pictures, nothing on disk."""

from collections.abc import Callable, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from mesoface.capture.calibration_plan import calibration_plan
from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.plan import Shot
from mesoface.capture.rig import Rig, load_example_rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.calibration_take import CalibrationTake
from mesoface.reconstruct.sensor import Sensor, expose
from mesoface.reconstruct.targets_scene import TargetOptions, TargetScene

WIDTH, HEIGHT = 600, 400

_LIGHT: WeakKeyDictionary[TargetScene, dict[int, np.ndarray]] = WeakKeyDictionary()
"""Rendered light of every scene and shot, so that several takes of one scene cost one rendering."""


def small_rig(cameras: tuple[str, ...] = ("left2", "centre", "right1", "right2"), **targets: object) -> Rig:
    """The example rig with some of its cameras, three flashes and the soft light."""
    content = load_example_rig().model_dump()
    content["cameras"] = [camera for camera in content["cameras"] if camera["name"] in cameras]
    content["lights"] = [content["lights"][k] for k in (0, 4, 7, 9)]
    content["targets"] |= {"board_poses": 9, **targets}
    return Rig.model_validate(content)


def scene_of(kind: str, rig: Rig, **options: object) -> TargetScene:
    """The real scene of a take; misaligned by seed 1 unless told otherwise."""
    content = {"width_px": WIDTH, "height_px": HEIGHT, "misalignment": 1, "seed": 3} | options
    return TargetScene(rig, TargetOptions.model_validate(content), calibration_plan(rig, kind))


def take_of(
    scene: TargetScene, rig: Rig | None = None, change: Callable[[Shot, np.ndarray], np.ndarray] | None = None
) -> CalibrationTake:
    """A take of the scene's pictures, with sensor noise, described by `rig` (default: the scene's nominal one).

    `change` may spoil frames before noise is added.
    """
    described = rig or scene_rig(scene)
    cache: dict[int, np.ndarray] = {}

    def linear(shot: Shot) -> np.ndarray:
        if shot.index not in cache:
            known = _LIGHT.setdefault(scene, {})
            if shot.index not in known:
                known[shot.index] = scene.light(scene.plan.shots[shot.index])
            light = known[shot.index]
            if change is not None:
                light = change(shot, light)
            noise, sensor = np.random.Generator(np.random.PCG64([7, shot.index])), Sensor()
            numbers = expose(light, described.camera(shot.camera).exposure, sensor, noise)
            cache[shot.index] = (numbers.astype(np.float32) - sensor.black_level) / np.float32(sensor.range_dn)
        return cache[shot.index]

    def no_raw(shot: Shot) -> Path:
        raise AssertionError(f"{shot.stem}: these takes have no raw files")

    kind = scene.plan.kind
    shots = calibration_plan(described, kind).shots
    return CalibrationTake(Path(f"{kind}-take"), kind, described, shots, (), linear, no_raw)


def scene_rig(scene: TargetScene) -> Rig:
    """Never the misaligned one: calibration must not know it."""
    return small_rig(tuple(camera.name for camera in scene.rig.cameras), **scene.rig.targets.model_dump())


def world_from_truth(found: Mapping[str, PinholeCamera], truth: Mapping[str, PinholeCamera]) -> RigidTransform:
    """Rigid motion of the true cameras onto the found ones, by their centres: the gauge that pictures leave open."""
    a = np.array([truth[name].centre_mm for name in found])
    b = np.array([camera.centre_mm for camera in found.values()])
    u, _, vt = np.linalg.svd((b - b.mean(axis=0)).T @ (a - a.mean(axis=0)))
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return RigidTransform(rotation, b.mean(axis=0) - rotation @ a.mean(axis=0))
