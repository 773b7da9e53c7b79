"""Positions of the flashes from mirror-ball takes: ball centres from outlines, then the rays that highlights mirror.

Every camera and every place of the ball gives one ray per flash. A flash is where its rays meet, robustly; then its
place is moved until the predicted highlights lie on the found ones. Frame and unit: the calibrated rig's world, mm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rig_models import Rig
from ..capture.rigid import Array
from .calibration_take import CalibrationTake
from .mirror_ball import BallFit, Outline, find_highlight, find_outline, fit_ball, mirror_points, mirrored_rays
from .rig_files import CalibratedRig

FEWEST_RAYS = 3
RADIUS_TOLERANCE = 0.02
"""Deviation of the ball's size in the pictures from the rig file's beyond which the latter is wrong."""
OUTLINE_PX = 1.0
"""Residual of a ball's outlines from which the ball has moved or is none."""
EXCHANGED_MM = 60.0
FAR_MM = 60.0
"""Deviation from the rig file from which a lamp is called elsewhere."""
OUTLIER_PX = 2.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class BallPlace:
    """The ball at one place: its fit, and the outline in each camera."""

    take: int
    pose: int
    fit: BallFit
    outlines: dict[str, Outline]


@dataclass(frozen=True, eq=False)
class Highlight:
    """One highlight: which ball (index of `places`), camera, flash; where it was found; and found - predicted, px."""

    place: int
    camera: str
    light: str
    pixel: Array
    residual_px: Array


@dataclass(frozen=True)
class LightPosition:
    """A flash: `position_mm` world, standard deviation `sigma_mm`, rays used, rms of its highlights in px."""

    name: str
    position_mm: tuple[float, float, float]
    sigma_mm: float
    rays: int
    rms_px: float
    offset_mm: float
    """Distance from the place in the rig file."""


@dataclass(frozen=True, eq=False)
class LightPositions:
    """What the sphere takes tell. Flashes that no picture shows are missing in `lights`, and named in `warnings`."""

    lights: dict[str, LightPosition]
    places: tuple[BallPlace, ...]
    highlights: tuple[Highlight, ...]
    warnings: tuple[str, ...]


def locate_lights(
    takes: Sequence[CalibrationTake],
    calibrated: CalibratedRig,
    progress: Progress = lambda what, done, total: None,
) -> LightPositions:
    """Locate the flashes of `sphere` takes with the calibrated cameras.

    Raises UserError when no ball is found, when its diameter is not the rig file's, or when two lamps are exchanged.
    """
    rig = takes[0].rig
    total, done = sum(len(take.shots) for take in takes), 0
    places: list[BallPlace] = []
    pixels: list[tuple[int, str, str, Array]] = []
    warnings: list[str] = []
    for number, take in enumerate(takes):
        shots = [shot for shot in take.shots if shot.camera in calibrated.cameras]
        for pose in sorted({shot.pose for shot in shots if shot.pose is not None}):
            here = [shot for shot in shots if shot.pose == pose]
            uniform = [shot for shot in here if len(shot.lights) != 1 or rig.light(shot.lights[0]).role == "uniform"]
            outlines, cameras = {}, {}
            for shot in uniform:
                image = take.linear(shot)
                cameras[shot.camera] = _sized(calibrated, shot.camera, image)
                outlines[shot.camera] = find_outline(image.mean(axis=2))
                done += 1
                progress("mirror ball", done, total)
            place = _place(number, pose, cameras, outlines, rig.targets.sphere_mm / 2, warnings)
            for shot in (s for s in here if s not in uniform):
                done += 1
                progress("highlights", done, total)
                outline = outlines.get(shot.camera)
                if place is None or outline is None or outline.problem:
                    continue
                pixel = find_highlight(take.linear(shot).mean(axis=2), outline)
                if pixel is not None:
                    pixels.append((len(places), shot.camera, shot.lights[0], pixel))
            if place is not None:
                places.append(place)
    if not places:
        reasons = "; ".join(warnings) or "no uniform frames"
        raise UserError(f"no mirror ball found in the sphere take ({reasons}); shoot it again before a dark background")
    _check_radius(places, rig)
    return _located(rig, calibrated, places, pixels, warnings)


def _sized(calibrated: CalibratedRig, name: str, image: np.ndarray) -> PinholeCamera:
    camera = calibrated.camera(name)
    size = (image.shape[1], image.shape[0])
    if size == (camera.width_px, camera.height_px):
        return camera
    raise UserError(
        f"view {name}: pictures of {size[0]}x{size[1]} px, but it was calibrated at {camera.width_px}x"
        f"{camera.height_px} px; shoot all calibration takes at one image size"
    )


def _place(
    take: int,
    pose: int,
    cameras: Mapping[str, PinholeCamera],
    outlines: dict[str, Outline],
    radius_mm: float,
    warnings: list[str],
) -> BallPlace | None:
    problems = "; ".join(f"view {name}: {o.problem}" for name, o in outlines.items() if o.problem)
    fit = fit_ball(cameras, outlines, radius_mm)
    if problems:
        warnings.append(f"mirror ball at place {pose}: {problems}")
    if fit is None:
        return None
    bad = [name for name, error in fit.per_camera_px.items() if error > OUTLINE_PX]
    if bad and len(fit.per_camera_px) - len(bad) >= 1:
        warnings.append(f"mirror ball at place {pose}: the outline in view {', '.join(bad)} does not fit the others")
        outlines = {name: outline for name, outline in outlines.items() if name not in bad}
        fit = fit_ball(cameras, outlines, radius_mm)
        assert fit is not None
    return BallPlace(take, pose, fit, outlines)


def _check_radius(places: Sequence[BallPlace], rig: Rig) -> None:
    radius = float(np.median([place.fit.radius_mm for place in places]))
    ratio = 2 * radius / rig.targets.sphere_mm
    if abs(ratio - 1) > RADIUS_TOLERANCE:
        raise UserError(
            f"the mirror ball measures {2 * radius:.1f} mm in the pictures, but sphere_mm is {rig.targets.sphere_mm:g} "
            "in the rig file; measure the ball with a calliper and correct [targets]"
        )


def _located(
    rig: Rig,
    calibrated: CalibratedRig,
    places: Sequence[BallPlace],
    pixels: Sequence[tuple[int, str, str, Array]],
    warnings: list[str],
) -> LightPositions:
    radius = rig.targets.sphere_mm / 2
    lights: dict[str, LightPosition] = {}
    highlights: list[Highlight] = []
    for flash in rig.flashes:
        seen = [entry for entry in pixels if entry[2] == flash.name]
        if len(seen) < FEWEST_RAYS:
            warnings.append(
                f"light {flash.name}: highlights in {len(seen)} pictures, {FEWEST_RAYS} needed; did it fire?"
            )
            continue
        cameras = [calibrated.cameras[name] for _, name, _, _ in seen]
        centres = np.array([places[k].fit.centre_mm for k, _, _, _ in seen])
        found = np.array([pixel for _, _, _, pixel in seen])
        start = _meeting_point(cameras, found, centres, radius)
        if start is None:
            warnings.append(
                f"light {flash.name}: its mirrored rays do not meet; was the ball moved between its frames?"
            )
            continue
        position, residual, sigma, kept = _refined(cameras, found, centres, radius, start)
        nominal = np.array(flash.position_mm)
        x, y, z = (float(value) for value in position)
        rms = float(np.sqrt((residual[kept] ** 2).sum(axis=1).mean()))
        offset = float(np.linalg.norm(position - nominal))
        lights[flash.name] = LightPosition(flash.name, (x, y, z), sigma, int(kept.sum()), rms, offset)
        highlights += [
            Highlight(place, name, light, pixel, r)
            for (place, name, light, pixel), r in zip(seen, residual, strict=True)
        ]
    _check_places(rig, lights, warnings)
    return LightPositions(lights, tuple(places), tuple(highlights), tuple(warnings))


def _meeting_point(cameras: Sequence[PinholeCamera], pixels: Array, centres: Array, radius: float) -> Array | None:
    """Point nearest to all mirrored rays, by least squares with weights that fade out far rays."""
    starts, directions = [], []
    for camera, pixel, centre in zip(cameras, pixels, centres, strict=True):
        ray = mirrored_rays(camera, pixel[None], centre, radius)
        if ray is not None:
            starts.append(ray[0][0])
            directions.append(ray[1][0])
    if len(starts) < FEWEST_RAYS:
        return None
    origin, ahead = np.array(starts), np.array(directions)
    across = np.eye(3) - ahead[:, :, None] * ahead[:, None, :]
    weight = np.ones(len(origin))
    point = np.zeros(3)
    for _ in range(20):
        matrix = (weight[:, None, None] * across).sum(axis=0)
        point = np.linalg.solve(matrix, (weight[:, None] * (across @ origin[..., None])[..., 0]).sum(axis=0))
        distance = np.linalg.norm((across @ (point - origin)[..., None])[..., 0], axis=1)
        weight = 1 / (1 + (distance / max(2 * float(np.median(distance)), 1.0)) ** 2)
    return point if float(np.mean(np.sum((point - origin) * ahead, axis=1) > 0)) > 0.5 else None


def _refined(
    cameras: Sequence[PinholeCamera], pixels: Array, centres: Array, radius: float, start: Array
) -> tuple[Array, Array, float, np.ndarray]:
    """Position with the least robust error in px, found - predicted (N, 2), its standard deviation, rays kept."""
    eyes = np.array([camera.centre_mm for camera in cameras])

    def offsets(position: Array) -> Array:
        points = mirror_points(centres, radius, eyes, position)
        return pixels - np.concatenate(
            [camera.project(point[None])[0] for camera, point in zip(cameras, points, strict=True)]
        )

    found = least_squares(
        lambda position: offsets(position).ravel(), start, loss="soft_l1", f_scale=0.2, x_scale=100.0, diff_step=1e-5
    )
    residual = offsets(found.x)
    length = np.linalg.norm(residual, axis=1)
    kept = length < max(OUTLIER_PX, 5 * float(np.median(length)))
    variance = float((residual[kept] ** 2).sum() / max(2 * kept.sum() - 3, 1))
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * variance
    return found.x, residual, float(np.sqrt(np.trace(covariance))), kept


def _check_places(rig: Rig, lights: Mapping[str, LightPosition], warnings: list[str]) -> None:
    """Lamps that stand where the rig file puts another, and lamps that stand elsewhere."""
    nominal = {flash.name: np.array(flash.position_mm) for flash in rig.flashes}
    for name, light in lights.items():
        if light.offset_mm <= FAR_MM:
            continue
        at = np.array(light.position_mm)
        nearest = min(nominal, key=lambda other: float(np.linalg.norm(nominal[other] - at)))
        if nearest != name and np.linalg.norm(nominal[nearest] - at) < min(EXCHANGED_MM, 0.5 * light.offset_mm):
            raise UserError(
                f'light "{name}" shines from where the rig file puts "{nearest}": their cables or channels are '
                "exchanged; exchange their channels in the rig file and calibrate again with --rig, or exchange the "
                "cables and shoot again"
            )
        warnings.append(f"light {name}: stands {light.offset_mm:.0f} mm from its place in the rig file")
