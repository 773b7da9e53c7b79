"""Light of a calibration target in one exposure, before the sensor: target, lamps, film and analyser."""

from threading import Lock

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..capture.calibration_plan import CalibrationPlan, Placement
from ..capture.camera_model import PinholeCamera
from ..capture.plan import Shot
from ..capture.polarisation import analyser_axis_world, film_angle_deg, film_axis_world, specular_transfer
from ..capture.rig_models import Rig, RigCamera, RigLight
from ..capture.target_patterns import Pattern, board_pattern, card_pattern, chart_pattern
from .mitsuba_scene import PointFlash
from .studio_light import HighlightSplit, LightComponents, through_polariser
from .targets_planar import PlanarView, planar_view
from .targets_rig import misaligned_rig, real_placement
from .targets_sphere import (
    GLOSS_INDEX,
    MIRROR_INDEX,
    ROOM,
    Ball,
    Window,
    ball_window,
    highlight_point,
    mirror_highlight,
    mirror_surrounding,
    satin_ball,
)

BOARD_PAPER_MM = 15.0
"""White around the board's squares."""
KEPT_VIEWS = 2


class TargetOptions(BaseModel):
    """Everything that decides the pixels of a calibration take, besides the rig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_px: int = Field(default=1500, ge=48, le=12000)
    height_px: int = Field(default=1000, ge=32, le=8000)
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of sensor noise and of the operator's hands")
    misalignment: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of how the real rig differs from its description; 0 = not"
    )
    noise: bool = True
    leak: float = Field(default=0.005, ge=0, le=0.5, description="extinction ratio of the film and analyser pair")
    vignetting: float = Field(default=0.0, ge=0, lt=1, description="share of the light that a view's corners lose")


class TargetScene:
    """The real rig around the targets of one plan. `light` may be called from several threads."""

    def __init__(self, rig: Rig, options: TargetOptions, plan: CalibrationPlan) -> None:
        self.options, self.plan = options, plan
        self.rig = misaligned_rig(rig, options.misalignment)
        self.cameras = {
            camera.name: PinholeCamera.from_rig(camera).scaled(options.width_px, options.height_px)
            for camera in self.rig.cameras
        }
        self.placements = tuple(real_placement(placement, options.seed) for placement in plan.placements)
        targets = rig.targets
        self.patterns: dict[str, Pattern] = {
            "board": board_pattern(targets, BOARD_PAPER_MM),
            "card": card_pattern(targets),
            "chart": chart_pattern(targets),
        }
        self._views: dict[tuple[str, int], PlanarView] = {}
        self._rooms: dict[tuple[str, int], tuple[Window, np.ndarray]] = {}
        self._lock = Lock()

    def light(self, shot: Shot) -> np.ndarray:
        """Linear light (H, W, 3) float32 that reaches the sensor in a shot."""
        camera = self.cameras[shot.camera]
        total = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
        # lamps that fire together share the energy of the weakest, as the trigger box sets it (plan.steps)
        energies = [self.rig.light(name).relative_energy for name in shot.lights]
        for name, energy in zip(shot.lights, energies, strict=True):
            share = min(energies) / len(energies) / energy
            total += share * self._one_lamp(shot, self.rig.light(name))
        return total * vignette(camera, self.options.vignetting)[..., None] if self.options.vignetting else total

    def ball(self, placement: Placement) -> Ball:
        """The ball of a placement that has one."""
        targets = self.rig.targets
        diameter = targets.sphere_mm if placement.target == "sphere" else targets.gloss_ball_mm
        return Ball(np.array(placement.centre_mm), diameter / 2)

    def highlight_mm(self, shot: Shot, light: str) -> np.ndarray:
        """Point (3,) of the shot's ball that mirrors a flash into the shot's camera, world mm."""
        assert shot.pose is not None
        position = self.rig.light(light).position_mm
        assert position is not None
        ball = self.ball(self.placements[shot.pose])
        return highlight_point(ball, self.cameras[shot.camera].centre_mm, np.array(position))

    def _one_lamp(self, shot: Shot, light: RigLight) -> np.ndarray:
        assert shot.pose is not None  # only dark frames have no target, and they have no lamp either
        placement, camera = self.placements[shot.pose], self.cameras[shot.camera]
        if placement.target in ("board", "card", "chart"):
            components, split = self._flat(shot, placement, light), None
        elif placement.target == "sphere":
            components, split = self._mirror(shot, camera, placement, light)
        else:
            components, split = self._satin(shot, camera, placement, light)
        body = self.rig.camera(shot.camera)
        return through_polariser(components, split, body, shot.polariser, self.options.leak)

    def _flat(self, shot: Shot, placement: Placement, light: RigLight) -> LightComponents:
        view = self._view(shot.camera, placement)
        if light.role == "uniform":
            irradiance = np.float32(light.relative_energy)
        else:
            flash, points = point_flash(light), view.points_mm()
            to_light = flash.position_mm - points
            cosine = (to_light @ view.normal) / np.linalg.norm(to_light, axis=2)
            irradiance = (flash.irradiance(points) * np.maximum(cosine, 0)).astype(np.float32)[..., None]
        return LightComponents(view.reflectance * irradiance, np.zeros(view.reflectance.shape[:2], np.float32))

    def _mirror(
        self, shot: Shot, camera: PinholeCamera, placement: Placement, light: RigLight
    ) -> tuple[LightComponents, HighlightSplit | None]:
        ball, components = self.ball(placement), _dark(camera)
        window, mirrored = self._room(shot.camera, placement, ball)
        if light.role == "uniform":
            components.diffuse[window.slices] = light.relative_energy * mirrored[..., :1]
            return components, None
        components.diffuse[window.slices] = ROOM * mirrored[..., 1:]
        spot, highlight = mirror_highlight(camera, ball, point_flash(light))
        components.specular[spot.slices] = highlight
        return components, self._split(shot, light, self.highlight_mm(shot, light.name), MIRROR_INDEX)

    def _satin(
        self, shot: Shot, camera: PinholeCamera, placement: Placement, light: RigLight
    ) -> tuple[LightComponents, HighlightSplit | None]:
        ball, components = self.ball(placement), _dark(camera)
        window = ball_window(camera, ball)
        if light.role == "uniform":
            raise ValueError("the satin ball is for flashes")
        diffuse, specular, points = satin_ball(camera, ball, window, point_flash(light))
        components.diffuse[window.slices] = diffuse[..., None]
        components.specular[window.slices] = specular
        split = self._split(shot, light, points, GLOSS_INDEX)
        if split is None:
            return components, None
        images = []
        for values in (split.parallel_share, split.cross_share, split.fresnel_ratio):
            image = np.zeros(components.specular.shape, np.float32)
            image[window.slices] = values
            images.append(image)
        return components, HighlightSplit(*images)

    def _split(self, shot: Shot, light: RigLight, points_mm: np.ndarray, index: float) -> HighlightSplit | None:
        """Polarisation of a highlight at points (..., 3); None for a lamp without film."""
        if light.polariser != "linear" or light.position_mm is None:
            return None
        pinhole, body = self.cameras[shot.camera], self.rig.camera(shot.camera)
        film_deg = film_angle_deg(self.rig.cross_camera, light, self.rig.subject.target_mm)
        film = film_axis_world(light.position_mm, light.aim_mm, film_deg)
        analyser = analyser_axis_world(pinhole, _analyser_deg(body))
        shares = specular_transfer(points_mm, pinhole.centre_mm, light.position_mm, film, analyser, index)
        return HighlightSplit(*(np.asarray(share, np.float32) for share in shares))

    def _room(self, camera: str, placement: Placement, ball: Ball) -> tuple[Window, np.ndarray]:
        """The mirror ball's window and its surrounding in it (h, w, 2): all white; a room with a bright ceiling."""
        key = (camera, placement.pose)
        if key not in self._rooms:  # small, so all are kept; two threads may both compute one, to the same end
            pinhole = self.cameras[camera]
            window = ball_window(pinhole, ball)
            self._rooms[key] = window, mirror_surrounding(pinhole, ball, window, gradients=(0.0, 0.8))
        return self._rooms[key]

    def _view(self, camera: str, placement: Placement) -> PlanarView:
        """The target as a camera sees it; the last few are kept, because many lamps light the same card."""
        key = (camera, placement.pose)
        with self._lock:
            view = self._views.get(key)
        if view is None:
            view = planar_view(self.cameras[camera], placement.world_from_target(), self.patterns[placement.target])
            with self._lock:
                while len(self._views) >= KEPT_VIEWS:
                    del self._views[next(iter(self._views))]
                self._views[key] = view
        return view


def point_flash(light: RigLight) -> PointFlash:
    """A rig's flash in world axes."""
    return PointFlash(
        np.array(light.position_mm), np.array(light.aim_mm), light.relative_energy, light.falloff_exponent
    )


def vignette(camera: PinholeCamera, share: float) -> np.ndarray:
    """(H, W) float32: 1 in the middle of the image, 1 - share in its corners, with the square of the distance."""
    columns = (np.arange(camera.width_px) - (camera.width_px - 1) / 2) / (camera.width_px / 2)
    rows = (np.arange(camera.height_px) - (camera.height_px - 1) / 2) / (camera.height_px / 2)
    aspect2 = (camera.height_px / camera.width_px) ** 2
    distance2 = (columns[None, :] ** 2 + aspect2 * rows[:, None] ** 2) / (1 + aspect2)
    return (1 - share * distance2).astype(np.float32)


def _dark(camera: PinholeCamera) -> LightComponents:
    shape = (camera.height_px, camera.width_px)
    return LightComponents(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32))


def _analyser_deg(body: RigCamera) -> float:
    # a body without analyser has no axis; only the Fresnel ratio is used then
    return 90.0 if body.analyser_deg is None else body.analyser_deg
