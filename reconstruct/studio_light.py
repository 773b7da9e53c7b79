"""Light in a view, before the sensor: diffuse and specular components, and their polarised mixture."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.plan import Polariser
from ..capture.polarisation import analyser_axis_world, film_angle_deg, film_axis_world, specular_transfer
from ..capture.rig_models import Rig, RigCamera, RigLight
from ..capture.rigid import RigidTransform
from .mitsuba_scene import PointFlash, StudioScene
from .studio_options import StudioOptions
from .surface_filter import scatter, surface_gaussian
from .truth import ViewTruth

DOME_LOBE_SAMPLES = 3
"""Directions followed per light sample in uniform light; what noise remains is smoothed by `_denoise`."""
BOUNCE_SIGMA_MM = 3.0
"""Light from other skin varies over centimetres; Monte-Carlo noise is smoothed over this distance."""


@dataclass(frozen=True, slots=True)
class LightComponents:
    """Linear light that one light step sends through the lens, without any polariser."""

    diffuse: np.ndarray
    """(H, W, 3) float32: depolarised, body-coloured."""
    specular: np.ndarray
    """(H, W) float32: keeps its polarisation, colourless; as if unpolarised. (H, W, 3) for coloured surroundings."""


@dataclass(frozen=True, slots=True)
class View:
    """A camera at one exposure (in the head's frame) and what it sees."""

    camera: PinholeCamera
    truth: ViewTruth
    albedo: np.ndarray
    """(H, W, 3) float32, filtered over the pixel, divided by coverage."""
    head_from_world: RigidTransform

    @property
    def pixel_mm(self) -> float:
        """Distance of neighbouring pixels on surface that faces the camera, at the nearest point."""
        depth = self.truth.depth_mm[self.truth.mask_head]
        return float(depth.min()) / self.camera.fx_px if len(depth) else 1.0


def make_view(scene: StudioScene, camera: PinholeCamera, truth: ViewTruth, motion: RigidTransform, spp: int) -> View:
    """Render the albedo of a view and bundle it with its truth."""
    albedo = scene.albedo_pass(camera, spp, seed=77)
    return View(camera, truth, _uncovered(albedo[..., :3], albedo[..., 3]), motion)


def flash_in_head_frame(light: RigLight, head_from_world: RigidTransform) -> PointFlash:
    """A rig's flash seen from the head."""
    position, aim = head_from_world.apply(np.array([light.position_mm, light.aim_mm]))
    return PointFlash(position, aim, light.relative_energy, light.falloff_exponent)


def light_components(
    scene: StudioScene, view: View, light: RigLight, options: StudioOptions, seed: int
) -> LightComponents:
    """Render one lamp: direct light, scattering in the skin, light from other skin, and gloss."""
    if light.role == "uniform":
        source: PointFlash | float = light.relative_energy
        direct = scene.dome_pass(view.camera, light.relative_energy, options.samples, DOME_LOBE_SAMPLES, seed)
        direct = _denoise(direct, view)
    else:
        source = flash_in_head_frame(light, view.head_from_world)
        direct = scene.flash_pass(view.camera, source, options.samples, seed)
    coverage = direct[..., 2]
    irradiance = _uncovered(direct[..., :1], coverage)
    weight = np.where(view.truth.mask_head, coverage, 0).astype(np.float32)
    if options.subsurface:
        blurred = scatter(irradiance, weight, _filled(view.truth.position_mm), view.pixel_mm)
        irradiance = np.where(weight[..., None] > 0, blurred, irradiance)
    if options.interreflection:
        irradiance = irradiance + _bounce(scene, view, source, max(4, options.samples), seed + 500)
    return LightComponents((view.albedo * irradiance * coverage[..., None]).astype(np.float32), direct[..., 1])


def environment_components(
    scene: StudioScene, view: View, environment: np.ndarray, samples: int, seed: int
) -> tuple[LightComponents, np.ndarray]:
    """Light of a coloured surrounding, with scattering and light from other skin; and the coverage (H, W)."""
    diffuse, specular, coverage = scene.environment_pass(view.camera, environment, samples, seed)
    direct = _denoise(np.concatenate([diffuse, specular, coverage[..., None]], axis=2), view)
    irradiance = _uncovered(direct[..., :3], coverage)
    weight = np.where(view.truth.mask_head, coverage, 0).astype(np.float32)
    blurred = scatter(irradiance, weight, _filled(view.truth.position_mm), view.pixel_mm)
    irradiance = np.where(weight[..., None] > 0, blurred, irradiance)
    irradiance = irradiance + _bounce(scene, view, environment, max(4, samples // 2), seed + 500)
    shaded = (view.albedo * irradiance * coverage[..., None]).astype(np.float32)
    return LightComponents(shaded, direct[..., 3:6]), coverage


@dataclass(frozen=True, slots=True)
class HighlightSplit:
    """How a camera's analyser splits the highlight of one polarised lamp; (H, W) float32 each, 0 outside the head."""

    parallel_share: np.ndarray
    cross_share: np.ndarray
    fresnel_ratio: np.ndarray
    """Reflectance of the skin for this polarisation over that for unpolarised light."""


def highlight_split(view: View, camera: RigCamera, light: RigLight, rig: Rig) -> HighlightSplit | None:
    """The split at every pixel of the head; None for a lamp without film."""
    if light.polariser != "linear" or light.position_mm is None:
        return None
    points = view.head_from_world.inverse().apply(view.truth.position_mm[view.truth.mask_head].astype(np.float64))
    pinhole = PinholeCamera.from_rig(camera)
    film_deg = film_angle_deg(rig.cross_camera, light, rig.subject.target_mm)
    film = film_axis_world(light.position_mm, light.aim_mm, film_deg)
    # a body without analyser has no axis; only the Fresnel ratio is used then
    analyser = analyser_axis_world(pinhole, camera.analyser_deg if camera.analyser_deg is not None else 90.0)
    images = []
    for values in specular_transfer(points, pinhole.centre_mm, light.position_mm, film, analyser):
        image = np.zeros(view.truth.mask_head.shape, np.float32)
        image[view.truth.mask_head] = values
        images.append(image)
    return HighlightSplit(*images)


def through_polariser(
    components: LightComponents, split: HighlightSplit | None, camera: RigCamera, polariser: Polariser, leak: float
) -> np.ndarray:
    """Linear image (H, W, 3) float32 of one lamp as `camera` sees it, with analyser state U, P or X.

    Behind an analyser half of the depolarised light remains. Of a highlight from a polarised lamp the analyser keeps
    what Jones calculus says for the film's and its own angle; `leak` of the stopped part passes nevertheless.
    State U of a body with an analyser is its parallel state: there is no way to take it off between exposures.
    """
    diffuse, specular = components.diffuse, components.specular
    if camera.analyser == "none":
        return diffuse + (specular if split is None else specular * split.fresnel_ratio)[..., None]
    if split is None:
        return diffuse / 2 + specular[..., None] / 2
    crossed = polariser == "X" or (polariser == "U" and camera.role == "centre_cross")
    kept, stopped = split.parallel_share, split.cross_share
    if crossed:
        kept, stopped = stopped, kept
    return diffuse / 2 + (specular * split.fresnel_ratio * (kept + leak * stopped))[..., None]


def _bounce(scene: StudioScene, view: View, source: PointFlash | float | np.ndarray, spp: int, seed: int) -> np.ndarray:
    """Irradiance (H, W, 3) from other skin, rendered at half size, smoothed on the surface, enlarged."""
    camera = view.camera
    small = camera.scaled(max(8, camera.width_px // 2), max(8, camera.height_px // 2))
    size = (small.width_px, small.height_px)
    rendered = scene.bounce_pass(small, source, spp, seed)
    mask = cv2.resize(view.truth.mask_head.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    position = cv2.resize(_filled(view.truth.position_mm), size, interpolation=cv2.INTER_NEAREST)
    albedo = cv2.resize(
        np.where(view.truth.mask_head[..., None], view.albedo, 1), size, interpolation=cv2.INTER_NEAREST
    )
    weight = np.where(mask, rendered[..., 3], 0).astype(np.float32)
    irradiance = (rendered[..., :3] / np.maximum(albedo, 0.02)).astype(np.float32)
    smooth = surface_gaussian(irradiance, weight, position, BOUNCE_SIGMA_MM, 2 * view.pixel_mm)
    valid = (weight > 0).astype(np.float32)
    full = (camera.width_px, camera.height_px)
    spread = cv2.resize(smooth * valid[..., None], full, interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(valid, full, interpolation=cv2.INTER_LINEAR)
    return np.maximum(spread / np.maximum(share, 1e-3)[..., None], 0)


def _denoise(direct: np.ndarray, view: View) -> np.ndarray:
    """Smooth the Monte-Carlo noise of a render under large lights among neighbours with the same normal.

    direct: (H, W, C + 1) float32, premultiplied values and coverage last.
    """
    values, coverage = direct[..., :-1], direct[..., -1]
    weight = np.where(view.truth.mask_head, coverage, 0).astype(np.float32)
    smooth = surface_gaussian(
        _uncovered(values, coverage),
        weight,
        _filled(view.truth.position_mm),
        1.5 * view.pixel_mm,
        view.pixel_mm,
        _filled(view.truth.normal_cam),
        normal_power=150.0,
    )
    inside = (weight > 0)[..., None]
    return np.concatenate([np.where(inside, smooth * coverage[..., None], values), direct[..., -1:]], axis=2)


def _uncovered(values: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Premultiplied values (H, W, C) divided by coverage (H, W); 0 where nothing is covered."""
    return np.where(coverage[..., None] > 0, values / np.maximum(coverage, 1e-6)[..., None], 0).astype(np.float32)


def _filled(image: np.ndarray) -> np.ndarray:
    """NaN background to 0."""
    return np.nan_to_num(image, nan=0.0)
