"""Render one scan of a virtual subject: 23 exposures as a rig would deliver them, with exact truth beside them.

Flow: rig + options -> head (mesh, skin maps) -> per exposure: view truth -> light components -> polarised mixture
-> sensor -> TIFF and DNG. Every file is written whole and recorded; a rerun continues with what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.image_files import write_tiff
from ..capture.plan import Shot, shot_plan
from ..capture.rig_models import Rig
from ..capture.rigid import RigidTransform
from .face_load import load_face_model
from .frame_files import write_frame
from .head import VirtualHead, build_head
from .head_motion import drift
from .mitsuba_engine import use_variant
from .mitsuba_scene import StudioScene, surface_data
from .scan_folder import ScanFolder
from .scan_truth import shared_truth_files, view_truth_files, write_shared_truth, write_view_truth
from .sensor import Sensor, expose
from .studio_light import (
    HighlightSplit,
    LightComponents,
    View,
    highlight_split,
    light_components,
    make_view,
    through_polariser,
)
from .studio_options import RENDER_VERSION, StudioOptions, check_options
from .truth import ViewTruth, view_truth

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) whenever something is done or starts."""


@dataclass(frozen=True, slots=True)
class ShotFiles:
    """Names of one exposure's files, relative to the scan folder."""

    image: str
    raw: str

    @classmethod
    def of(cls, shot: Shot) -> "ShotFiles":
        return cls(f"images/{shot.stem}.tif", f"raw/{shot.stem}.dng")


def render_scan(
    rig: Rig, options: StudioOptions, out: Path, progress: Progress = lambda what, done, total: None
) -> Path:
    """Render a whole scan into `out`, continuing an interrupted one; returns `out`.

    Raises UserError for options that cannot be rendered or a folder that holds something else; nothing is written then.
    """
    check_options(options, rig)
    content = {"render_version": RENDER_VERSION, "options": options.model_dump(), "rig": rig.model_dump(mode="json")}
    folder = ScanFolder(Path(out), content)
    plan = shot_plan(rig)
    missing = [shot for shot in plan if not folder.done(*_files_of(shot, rig))]
    views = sorted({shot.camera for shot in plan})
    truth_missing = [name for name in views if not folder.done(*view_truth_files(name, name == rig.centre.name))]
    shared_missing = not folder.done(*shared_truth_files())
    total = len(plan) + len(views) + 2
    done = len(plan) - len(missing) + len(views) - len(truth_missing)
    if not (missing or truth_missing or shared_missing):
        folder.finish()
        progress("complete", total, total)
        return folder.folder
    progress("building the head", done, total)
    renderer = ScanRenderer(rig, options, plan)
    folder.start()
    done += 1
    if shared_missing:
        progress("writing meshes and maps", done, total)
        write_shared_truth(folder, renderer.head, rig, options, renderer.motion, plan)
    done += 1
    for name in truth_missing:
        progress(f"truth of {name}", done, total)
        camera = renderer.cameras[name]
        base_depth = renderer.base_depth(camera) if name == rig.centre.name else None
        write_view_truth(folder, name, renderer.truth(camera), base_depth)
        done += 1
    for shot in missing:
        progress(f"image {shot.stem}", done, total)
        _write_shot(folder, renderer, shot)
        done += 1
    folder.finish()
    progress("complete", total, total)
    return folder.folder


def _files_of(shot: Shot, rig: Rig) -> list[str]:
    names = [ShotFiles.of(shot).image, ShotFiles.of(shot).raw]
    return names + (_component_files(shot) if shot.kind == "parallel" else [])


def _component_files(shot: Shot) -> list[str]:
    return [f"truth/light/{shot.lights[0]}_diffuse.tif", f"truth/light/{shot.lights[0]}_specular.tif"]


def _write_shot(folder: ScanFolder, renderer: "ScanRenderer", shot: Shot) -> None:
    sensor, camera = Sensor(), renderer.rig.camera(shot.camera)
    linear, components = renderer.shot_light(shot)
    rng = np.random.Generator(np.random.PCG64([renderer.options.seed, renderer.options.subject, shot.index]))
    numbers = expose(linear, camera.exposure, sensor, rng if renderer.options.noise else None)
    files = ShotFiles.of(shot)
    image, raw = (folder.folder / name for name in (files.image, files.raw))
    write_frame(image, raw, numbers, sensor, camera, shot, minute=0, second=shot.step)
    written = [files.image, files.raw]
    if shot.kind == "parallel":
        for name, part in zip(_component_files(shot), (components.diffuse, components.specular), strict=True):
            write_tiff(folder.folder / name, part, encoding="linear", unit="studio light, see lights.json")
            written.append(name)
    folder.record(*written)


class ScanRenderer:
    """The head in the studio; computes views and light step by step, keeping what the next exposure can reuse."""

    def __init__(self, rig: Rig, options: StudioOptions, plan: tuple[Shot, ...]) -> None:
        use_variant(options.engine)
        self.rig, self.options = rig, options
        model = load_face_model(options.face_model)
        self.head: VirtualHead = build_head(
            model, options.subject, options.expression, edge_mm=options.edge_mm, map_size=options.map_size
        )
        self.motion = drift(len(plan), options.motion_mm, options.seed)
        self.cameras = {
            camera.name: PinholeCamera.from_rig(camera).scaled(options.width_px, options.height_px).undistorted()
            for camera in rig.cameras
        }
        mesh = self.head.base
        surface = surface_data(
            self.head.detailed_mm,
            self.head.detailed_normals,
            mesh.triangles,
            mesh.uv,
            mesh.uv_triangles,
            self.head.skin.albedo,
            self.head.skin.roughness,
        )
        self.scene = StudioScene(surface, options.diffuse)
        self._views: dict[tuple, View] = {}
        self._truths: dict[tuple, ViewTruth] = {}
        self._light: dict[tuple, tuple[LightComponents, HighlightSplit | None]] = {}

    def truth(self, camera: PinholeCamera) -> ViewTruth:
        """Truth of a camera in the head's frame; the last one is kept."""
        key = _camera_key(camera)
        if key not in self._truths:
            self._truths = {key: view_truth(camera, self.scene.triangle_pass(camera), self.head)}
        return self._truths[key]

    def base_depth(self, camera: PinholeCamera) -> np.ndarray:
        """Depth (H, W) float32 mm of the surface without skin detail, NaN outside."""
        mesh = self.head.base
        surface = surface_data(
            mesh.vertices_mm,
            self.head.base_normals,
            mesh.triangles,
            mesh.uv,
            mesh.uv_triangles,
            np.full((8, 8, 3), 0.5, np.float32),
            np.full((8, 8), 0.5, np.float32),
        )
        smooth = replace(
            self.head,
            detailed_mm=mesh.vertices_mm,
            detailed_normals=self.head.base_normals,
            displacement_mm=np.zeros(len(mesh.vertices_mm)),
        )
        return view_truth(camera, StudioScene(surface).triangle_pass(camera), smooth).depth_mm

    def view(self, camera_name: str, exposure: int) -> View:
        """The camera at an exposure, in the head's frame."""
        head_from_world = self.motion[exposure].inverse()
        camera = self.cameras[camera_name]
        seen = replace(camera, cam_from_world=_compose(camera.cam_from_world, self.motion[exposure]))
        key = _camera_key(seen)
        if key not in self._views:
            truth = self.truth(seen)
            self._views = {key: make_view(self.scene, seen, truth, head_from_world, self.options.samples)}
        return self._views[key]

    def shot_light(self, shot: Shot) -> tuple[np.ndarray, LightComponents]:
        """Linear light (H, W, 3) float32 that reaches the sensor in a shot, and the components of its last lamp."""
        view, camera = self.view(shot.camera, shot.index), self.rig.camera(shot.camera)
        total = np.zeros((view.camera.height_px, view.camera.width_px, 3), np.float32)
        components = None
        # lamps that fire together share the energy of the weakest, as the trigger box sets it (plan.steps)
        energies = [self.rig.light(name).relative_energy for name in shot.lights]
        for name, energy in zip(shot.lights, energies, strict=True):
            light = self.rig.light(name)
            share = min(energies) / len(energies) / energy
            key = (_camera_key(view.camera), name)
            if key not in self._light:
                made = light_components(self.scene, view, light, self.options, seed=1000 * light.channel)
                self._light = {key: (made, highlight_split(view, camera, light, self.rig))}
            components, split = self._light[key]
            total += share * through_polariser(components, split, camera, shot.polariser, self.options.leak)
        if components is None:
            raise UserError(f"shot {shot.stem}: no light fires in it; check the lights of the rig")
        return total, components


def _compose(cam_from_world: RigidTransform, world_from_head: RigidTransform) -> RigidTransform:
    return RigidTransform(
        cam_from_world.rotation @ world_from_head.rotation,
        cam_from_world.rotation @ world_from_head.translation_mm + cam_from_world.translation_mm,
    )


def _camera_key(camera: PinholeCamera) -> tuple:
    pose = camera.cam_from_world
    return (camera.width_px, camera.height_px, camera.fx_px, pose.rotation.tobytes(), pose.translation_mm.tobytes())
