"""Scans for tests of the geometry stage: uniform views of a virtual subject, and what can be wrong with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mesoface.capture.develop import LinearImage
from mesoface.capture.plan import shot_plan
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.scan_folder import ScanFolder
from mesoface.reconstruct.scan_source import Frame, ScanSource
from mesoface.reconstruct.scan_truth import write_shared_truth, write_view_truth
from mesoface.reconstruct.studio import ScanRenderer, _write_shot
from mesoface.reconstruct.studio_options import RENDER_VERSION, StudioOptions


def render_uniform_views(folder: Path) -> Path:
    """A rendered scan without its pairs: a third of the work."""
    rig = load_example_rig()
    options = StudioOptions(width_px=480, height_px=320, subject=3, expression="smile", samples=4)
    content = {"render_version": RENDER_VERSION, "options": options.model_dump(), "rig": rig.model_dump(mode="json")}
    scan, plan = ScanFolder(folder, content), shot_plan(rig)
    renderer = ScanRenderer(rig, options, plan)
    scan.start()
    write_shared_truth(scan, renderer.head, rig, options, renderer.motion, plan)
    for shot in plan:
        if shot.kind == "uniform":
            camera = renderer.cameras[shot.camera]
            centre = shot.camera == rig.centre.name
            write_view_truth(scan, shot.camera, renderer.truth(camera), renderer.base_depth(camera) if centre else None)
            _write_shot(scan, renderer, shot)
    return folder


def altered(source: ScanSource, change: Callable[[Frame, LinearImage], LinearImage]) -> ScanSource:
    """The scan with other pictures."""
    return replace(source, read=lambda frame, maps: change(frame, source.read(frame, maps)))


def turned(source: ScanSource, name: str, degrees: float) -> ScanSource:
    """The scan as if a camera had been turned since its pose was noted."""
    camera = source.nominal[name]
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    pose = camera.cam_from_world
    moved = replace(camera, cam_from_world=RigidTransform(turn @ pose.rotation, turn @ pose.translation_mm))
    return replace(source, nominal={**source.nominal, name: moved})


def blackened(name: str) -> Callable[[Frame, LinearImage], LinearImage]:
    """A view in which no lamp fired."""
    noise = np.random.default_rng(1)

    def change(frame: Frame, image: LinearImage) -> LinearImage:
        if frame.camera != name:
            return image
        return replace(image, rgb=noise.normal(0, 1e-3, image.rgb.shape).astype(np.float32))

    return change


def exchanged(source: ScanSource, first: str, second: str) -> ScanSource:
    """The scan with the pictures of two views exchanged."""
    paths = {frame.camera: frame.path for frame in source.frames if frame.kind == "uniform"}
    other = {first: paths[second], second: paths[first]}
    frames = tuple(
        replace(frame, path=other.get(frame.camera, frame.path)) if frame.kind == "uniform" else frame
        for frame in source.frames
    )
    return replace(source, frames=frames)
