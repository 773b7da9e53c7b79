"""Geometry of polarised light reflected once at a shiny surface: how much of a highlight a crossed analyser lets pass.

A film before the lamp polarises its light, the gloss of the skin reflects it and keeps it polarised, an analyser
before the lens passes it (parallel) or stops it (crossed). Seen from the camera, the reflection turns the plane of
polarisation unless lamp, face and camera lie in one upright or level plane. A crossed analyser then leaks
sin^2 of that turn, so every film is rotated to its own null.

Angles. `film_deg`: look from the subject at the lamp; 0 = the film's axis points up (world +y projected on the film),
positive = counter-clockwise. `analyser_deg`: in the image; 0 = image right, 90 = image up. An axis has no sign:
180 degrees more is the same axis. The vertical polarisation of the paper is film_deg 0 with analyser_deg 90.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera_model import PinholeCamera
from .errors import UserError
from .rig_models import Rig, RigCamera, RigLight

Array = NDArray[np.float64]

# Skin oil and the surface of glossy paints; Ma et al. 2007 use the same.
SKIN_INDEX = 1.4


def film_frame_world(light_position_mm: ArrayLike, aim_mm: ArrayLike) -> tuple[Array, Array]:
    """The film's axis at film_deg 0 and at 90: two unit vectors (3,) perpendicular to the lamp's optical axis.

    A lamp straight above or below its aim has no "up"; world -z (away from the camera) takes its place.
    Raises ValueError when the lamp aims at itself.
    """
    forward = np.asarray(aim_mm, np.float64) - np.asarray(light_position_mm, np.float64)
    distance_mm = np.linalg.norm(forward)
    if distance_mm < 1e-9:
        raise ValueError(f"lamp at {np.asarray(light_position_mm).tolist()} mm aims at itself")
    forward /= distance_mm
    up = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 1 - 1e-9 else np.array([0.0, 0.0, -1.0])
    up = up - (up @ forward) * forward
    up /= np.linalg.norm(up)
    # Seen from the subject, forward x up points left: turning towards it is counter-clockwise.
    return up, np.cross(forward, up)


def film_axis_world(light_position_mm: ArrayLike, aim_mm: ArrayLike, film_deg: float) -> Array:
    """Unit transmission axis (3,) of a lamp's film in world axes, perpendicular to the lamp's optical axis."""
    up, left = film_frame_world(light_position_mm, aim_mm)
    angle = np.deg2rad(film_deg)
    return up * np.cos(angle) + left * np.sin(angle)


def analyser_axis_world(camera: PinholeCamera, analyser_deg: float) -> Array:
    """Unit axis (3,) in world axes of an analyser at `analyser_deg` in the image plane of `camera`."""
    right, down, _ = camera.cam_from_world.rotation
    angle = np.deg2rad(analyser_deg)
    return right * np.cos(angle) - down * np.sin(angle)


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _dot(a: Array, b: Array) -> Array:
    return np.sum(a * b, axis=-1, keepdims=True)


def _perpendicular(axis: Array, ray: Array) -> Array:
    """`axis` projected perpendicular to unit `ray`, unit length."""
    return _unit(axis - _dot(axis, ray) * ray)


def fresnel_amplitudes(cos_incidence: ArrayLike, index: float = SKIN_INDEX) -> tuple[Array, Array]:
    """Amplitude reflectances (r_s, r_p) of a dielectric for light from air; any shape, signed.

    Signs are for a field written on s and on p = s x (direction of travel), before and after the reflection; at
    normal incidence r_s = -r_p (Born & Wolf, section 1.5.2).
    """
    cos_i = np.asarray(cos_incidence, np.float64)
    cos_t = np.sqrt(1 - (1 - cos_i**2) / index**2)
    return (cos_i - index * cos_t) / (cos_i + index * cos_t), (index * cos_i - cos_t) / (index * cos_i + cos_t)


def _reflected_field(
    points_mm: Array, camera_centre_mm: Array, light_position_mm: Array, film_axis: Array, index: float
) -> tuple[Array, Array, Array]:
    """Field (...,3) after the mirror facet for unit field before it, unit view ray (...,3), unpolarised reflectance."""
    incoming = _unit(points_mm - light_position_mm)
    outgoing = _unit(camera_centre_mm - points_mm)
    facet = _unit(outgoing - incoming)
    s_axis = np.cross(incoming, facet)
    # A lamp behind the lens reflects straight back: every axis is an s axis then, so take the film's own.
    straight_back = np.linalg.norm(s_axis, axis=-1, keepdims=True) < 1e-9
    s_axis = _unit(np.where(straight_back, _perpendicular(film_axis, incoming), s_axis))
    r_s, r_p = fresnel_amplitudes(-_dot(incoming, facet), index)
    field = _perpendicular(film_axis, incoming)
    reflected = r_s * _dot(field, s_axis) * s_axis
    reflected = reflected + r_p * _dot(field, np.cross(s_axis, incoming)) * np.cross(s_axis, outgoing)
    return reflected, outgoing, ((r_s**2 + r_p**2) / 2)[..., 0]


def specular_transfer(
    points_mm: ArrayLike,
    camera_centre_mm: ArrayLike,
    light_position_mm: ArrayLike,
    film_axis: ArrayLike,
    analyser_axis: ArrayLike,
    index: float = SKIN_INDEX,
) -> tuple[Array, Array, Array]:
    """Split the single-bounce highlight of a polarised lamp between the parallel and the crossed image.

    At each point the facet that mirrors the lamp into the lens reflects (its normal is the half vector), by Jones
    calculus with the Fresnel amplitudes of a dielectric of refractive `index`.

    Args:
        points_mm: (..., 3) surface points, world mm.
        camera_centre_mm, light_position_mm: (3,) world mm.
        film_axis: (3,) unit transmission axis of the lamp's film, world (`film_axis_world`).
        analyser_axis: (3,) unit axis of the analyser in its parallel state, world (`analyser_axis_world`).
        index: refractive index of the surface.

    Returns float64 arrays (...): parallel_share and cross_share of the highlight (sum 1, ideal films), and
    fresnel_ratio = reflectance for this polarisation / reflectance for unpolarised light.
    """
    field, view, unpolarised = _reflected_field(
        np.asarray(points_mm, np.float64),
        np.asarray(camera_centre_mm, np.float64),
        np.asarray(light_position_mm, np.float64),
        np.asarray(film_axis, np.float64),
        index,
    )
    along = _perpendicular(np.asarray(analyser_axis, np.float64), view)
    energy = np.sum(field * field, axis=-1)
    # At Brewster's angle p light is not reflected at all: nothing to split, call it parallel.
    parallel_share = np.where(energy > 0, np.sum(field * along, axis=-1) ** 2 / np.where(energy > 0, energy, 1.0), 1.0)
    parallel_share = np.minimum(parallel_share, 1.0)
    return parallel_share, 1.0 - parallel_share, energy / unpolarised


def _flash_position(light: RigLight) -> Array:
    if light.position_mm is None:
        raise UserError(f'light "{light.name}" has no position_mm: only a flash has a film angle')
    return np.array(light.position_mm)


def _analyser_deg(camera: RigCamera) -> float:
    if camera.analyser_deg is None:
        raise UserError(f'camera "{camera.name}" has no analyser_deg: only a centre camera has crossed images')
    return camera.analyser_deg


def null_film_deg(camera: RigCamera, light: RigLight, target_mm: ArrayLike, index: float = SKIN_INDEX) -> float:
    """Film angle in degrees, [0, 180), that leaves no highlight at `target_mm` (3,) in the crossed image.

    The field through the crossed analyser is a cos(film) + b sin(film), so its zero is exact, not searched.
    Raises UserError when the camera is uncalibrated or has no analyser, or when the light is not a flash.
    """
    pinhole = PinholeCamera.from_rig(camera)
    position_mm = _flash_position(light)
    point_mm = np.asarray(target_mm, np.float64)
    analyser = analyser_axis_world(pinhole, _analyser_deg(camera))
    incoming = _unit(point_mm - position_mm)
    through_crossed = []
    for axis in film_frame_world(position_mm, light.aim_mm):
        field, view, _ = _reflected_field(point_mm, pinhole.centre_mm, position_mm, axis, index)
        crossed = np.cross(view, _perpendicular(analyser, view))
        # _reflected_field normalises the projected film axis; undo it, so that both terms stay linear in the axis.
        shortened = np.linalg.norm(axis - (axis @ incoming) * incoming)
        through_crossed.append(float(field @ crossed) * float(shortened))
    null_deg = float(np.rad2deg(np.arctan2(-through_crossed[0], through_crossed[1]))) % 180.0
    return 0.0 if null_deg > 180.0 - 1e-9 else null_deg


def film_angle_deg(camera: RigCamera, light: RigLight, target_mm: ArrayLike) -> float:
    """The film angle a rig file asks for: the number written there, or the null where it says "null"."""
    if light.film_deg is None:
        raise UserError(f'light "{light.name}" has no film_deg: only a flash has a film angle')
    return null_film_deg(camera, light, target_mm) if light.film_deg == "null" else float(light.film_deg)


def crossed_leak(
    camera: RigCamera, light: RigLight, target_mm: ArrayLike, film_deg: float, index: float = SKIN_INDEX
) -> float:
    """Share (0 to 1) of the highlight at `target_mm` (3,) left in the crossed image with the film at `film_deg`.

    Ideal films; a real pair adds its extinction ratio (about 0.001 to 0.01). Raises UserError like `null_film_deg`.
    """
    pinhole = PinholeCamera.from_rig(camera)
    position_mm = _flash_position(light)
    film_axis = film_axis_world(position_mm, light.aim_mm, film_deg)
    analyser = analyser_axis_world(pinhole, _analyser_deg(camera))
    _, cross_share, _ = specular_transfer(target_mm, pinhole.centre_mm, position_mm, film_axis, analyser, index)
    return float(cross_share)


def film_table(rig: Rig) -> list[tuple[RigLight, float, float, float]]:
    """Per flash of a rig: (light, film angle in deg, its null in deg, leak share 0 to 1), at the subject's target."""
    rows = []
    for light in rig.flashes:
        angle_deg = film_angle_deg(rig.cross_camera, light, rig.subject.target_mm)
        null_deg = null_film_deg(rig.cross_camera, light, rig.subject.target_mm)
        rows.append(
            (light, angle_deg, null_deg, crossed_leak(rig.cross_camera, light, rig.subject.target_mm, angle_deg))
        )
    return rows
