"""Intensity, aim and fall-off of each flash from the matt card, and how the polarisers treat each pair.

Positions are known from the mirror ball (light_calibration.py). The card's picture under one flash then tells how much
light leaves it in each direction: E = intensity * cos(angle to aim)^m / distance^2. The card is in somebody's hands or
on a stand, so its tilt and distance are found along with the lamps; the rig file's aims and exponents are priors that
keep what a small card cannot tell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from ..capture.calibration_maps import FlatField
from ..capture.calibration_plan import Placement, target_rotation
from ..capture.camera_model import PinholeCamera
from ..capture.plan import Shot
from ..capture.rig_models import Rig, RigLight
from ..capture.rigid import Array
from ..capture.target_patterns import CARD
from .calibration_take import CalibrationTake
from .flat_field import flattened
from .rig_files import CalibratedRig
from .sensor import exposure_gain
from .targets_rays import ray_directions

SAMPLES_ACROSS = 24
MEASURED = 0.004
"""Relative error of a sample of the card: noise, dust, what the flat field leaves."""
CARD_MM, CARD_DEG, AIM_MM, FALLOFF = 5.0, 2.0, 20.0, 0.2
"""Standard deviations of what is known beforehand: place and tilt of the card, aim and exponent of a lamp."""
CLIPPED = 0.98
WORST_FIT = 0.05


@dataclass(frozen=True, eq=False)
class LightIntensity:
    """One flash: E = intensity_rgb * cos(angle to aim)^falloff_exponent / distance_mm^2, in the studio's linear units.

    `residual` is the relative rms error of the card under it; `pair_gain` = crossed over parallel brightness.
    """

    name: str
    intensity_rgb: tuple[float, float, float]
    aim_mm: tuple[float, float, float]
    falloff_exponent: float
    residual: float
    pair_gain: float


def fit_intensities(
    take: CalibrationTake,
    calibrated: CalibratedRig,
    positions_mm: Mapping[str, Array],
    field: FlatField | None,
    cross_field: FlatField | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[dict[str, LightIntensity], tuple[str, ...]]:
    """Intensities of the flashes that a flat take shows, from the card in the centre view.

    Args:
        positions_mm: flash name -> (3,) world mm.
        field, cross_field: flat fields of the centre body and of the one that takes the crossed frames.

    Returns them by name, and warnings naming the flashes without one.
    """
    rig, name = take.rig, take.rig.centre.name
    camera = calibrated.camera(name)
    pairs = card_pairs(take.shots, rig)
    samples: dict[str, tuple[Array, float]] = {}
    warnings: list[str] = []
    rays: Array | None = None
    for done, (light, (parallel, crossed)) in enumerate(pairs.items()):
        progress("card", done, len(pairs))
        if light not in positions_mm:
            continue
        image = flattened(take.linear(parallel), field)
        if (image.shape[1], image.shape[0]) != (camera.width_px, camera.height_px):
            camera = camera.scaled(image.shape[1], image.shape[0])
        means = _samples(image)
        if means.max() > CLIPPED:
            warnings.append(f"light {light}: burns the card out in the centre view; its intensity is not measured")
            continue
        gain = 1.0
        if crossed is not None:
            other = _samples(flattened(take.linear(crossed), cross_field or field))
            gain = float(np.median(other[:, 1] / np.maximum(means[:, 1], 1e-6)))
        linear = means / exposure_gain(rig.camera(name).exposure)
        if rig.camera(name).analyser != "none":
            linear = 2 * linear
        samples[light] = linear / CARD, gain
        rays = ray_directions(camera, _sample_places(camera)) if rays is None else rays
    if not samples or rays is None:
        return {}, tuple(warnings)
    fits = _fit(rig, camera.centre_mm, rays, samples, positions_mm, take.plan().placements[0])
    warnings += [
        f"light {light}: its light on the card is {100 * fit.residual:.0f} % off the model; is something in its way?"
        for light, fit in fits.items()
        if fit.residual > WORST_FIT
    ]
    return fits, tuple(warnings)


def card_pairs(shots: Sequence[Shot], rig: Rig, pose: int = 0) -> dict[str, tuple[Shot, Shot | None]]:
    """Flash name -> (parallel, crossed) shots of a flat take's placement: 0 the card, 1 the gloss ball."""
    pairs: dict[str, tuple[Shot, Shot | None]] = {}
    for flash in rig.flashes:
        alone = [shot for shot in shots if shot.pose == pose and shot.lights == (flash.name,)]
        parallel = [shot for shot in alone if shot.polariser == "P"]
        crossed = [shot for shot in alone if shot.polariser == "X"]
        if parallel:
            pairs[flash.name] = parallel[0], crossed[0] if crossed else None
    return pairs


def irradiance(
    points: Array, position: Array, aim: Array, intensity: float | Array, exponent: float
) -> tuple[Array, Array]:
    """E (N,) perpendicular to the light at points (N, 3) mm, and the unit directions (N, 3) to the lamp."""
    to_light = position - points
    distance = np.linalg.norm(to_light, axis=1)
    axis = (aim - position) / np.linalg.norm(aim - position)
    cosine = np.maximum(-(to_light @ axis) / distance, 1e-6)
    return intensity * cosine**exponent / distance**2, to_light / distance[:, None]


def _fit(
    rig: Rig,
    eye: Array,
    rays: Array,
    samples: Mapping[str, tuple[Array, float]],
    positions: Mapping[str, Array],
    placement: Placement,
) -> dict[str, LightIntensity]:
    names = list(samples)
    lamps = [rig.light(name) for name in names]
    frames = [_across(np.asarray(positions[name]), lamp) for name, lamp in zip(names, lamps, strict=True)]
    middle = np.array(placement.centre_mm)

    def unpacked(values: Array) -> tuple[Array, Array, list[tuple[Array, float, float]]]:
        """Card points and normal; per lamp aim, exponent, log intensity."""
        tilt, turn, shift = values[:3]
        normal = -target_rotation(placement.turn_deg + turn, placement.tilt_deg + tilt, 0)[:, 2]
        points = eye + rays * (((middle + np.array([0, 0, shift]) - eye) @ normal) / (rays @ normal))[:, None]
        made = []
        for k, lamp in enumerate(lamps):
            right, up, exponent, log_intensity = values[3 + 4 * k : 7 + 4 * k]
            aim = np.array(lamp.aim_mm) + right * frames[k][0] + up * frames[k][1]
            made.append((aim, float(exponent), float(log_intensity)))
        return points, normal, made

    def predicted(values: Array, k: int, points: Array, normal: Array, made: tuple[Array, float, float]) -> Array:
        aim, exponent, log_intensity = made
        light, towards = irradiance(points, np.asarray(positions[names[k]]), aim, np.exp(log_intensity), exponent)
        return light * np.maximum(towards @ normal, 1e-6)

    def residuals(values: Array) -> Array:
        points, normal, lights = unpacked(values)
        parts = [values[:2] / CARD_DEG, values[2:3] / CARD_MM]
        for k, (name, lamp) in enumerate(zip(names, lamps, strict=True)):
            seen = samples[name][0][:, 1]
            parts.append((np.log(np.maximum(seen, 1e-6) / predicted(values, k, points, normal, lights[k]))) / MEASURED)
            right, up, exponent = values[3 + 4 * k : 6 + 4 * k]
            parts.append(np.array([right / AIM_MM, up / AIM_MM, (exponent - lamp.falloff_exponent) / FALLOFF]))
        return np.concatenate(parts)

    start = np.zeros(3 + 4 * len(names))
    points, normal, _ = unpacked(start)
    for k, lamp in enumerate(lamps):
        start[5 + 4 * k] = lamp.falloff_exponent
        light = predicted(start, k, points, normal, (np.array(lamp.aim_mm), lamp.falloff_exponent, 0.0))
        start[6 + 4 * k] = float(np.median(np.log(np.maximum(samples[names[k]][0][:, 1], 1e-6) / light)))
    found = least_squares(residuals, start, loss="soft_l1", f_scale=3.0, x_scale="jac", max_nfev=100)
    points, normal, lights = unpacked(found.x)
    fits = {}
    for k, name in enumerate(names):
        aim, exponent, log_intensity = lights[k]
        shape = predicted(found.x, k, points, normal, (aim, exponent, 0.0))
        seen, gain = samples[name]
        red, green, blue = (float(np.median(seen[:, colour] / shape)) for colour in range(3))
        error = seen[:, 1] / (np.exp(log_intensity) * shape) - 1
        x, y, z = (float(value) for value in aim)
        fits[name] = LightIntensity(
            name, (red, green, blue), (x, y, z), max(exponent, 0.0), float(np.sqrt((error**2).mean())), gain
        )
    return fits


def _across(position: Array, lamp: RigLight) -> tuple[Array, Array]:
    """Two unit vectors perpendicular to a lamp's direction: an aim moves along them."""
    axis = np.array(lamp.aim_mm) - position
    axis = axis / np.linalg.norm(axis)
    right = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    return right, np.cross(right, axis)


def _samples(image: np.ndarray) -> Array:
    """Means (N, 3) of blocks of the picture."""
    size = _sample_size(image.shape[1], image.shape[0])
    blocks = cv2.resize(np.asarray(image, np.float32), size, interpolation=cv2.INTER_AREA)
    return blocks.reshape(-1, 3).astype(np.float64)


def _sample_size(width: int, height: int) -> tuple[int, int]:
    across = min(SAMPLES_ACROSS, width)
    return across, max(2, round(across * height / width))


def _sample_places(camera: PinholeCamera) -> Array:
    """Middles (N, 2) px of the blocks."""
    across, down = _sample_size(camera.width_px, camera.height_px)
    columns = (np.arange(across) + 0.5) * camera.width_px / across - 0.5
    rows = (np.arange(down) + 0.5) * camera.height_px / down - 0.5
    x, y = np.meshgrid(columns, rows)
    return np.stack([x.ravel(), y.ravel()], axis=1)
