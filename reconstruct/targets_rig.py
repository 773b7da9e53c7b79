"""The rig as it really stands: near its description, never exactly on it. Calibration is there to find the difference.

The result is a rig description again, so that scans, too, can be rendered with the same misaligned rig.
"""

import numpy as np

from ..capture.calibration_plan import Placement
from ..capture.polarisation import film_angle_deg
from ..capture.rig_models import Rig, RigCamera, RigLight

# Standard deviations of what a tape measure, a protractor and an engraved focal length leave open.
CAMERA_MM, CAMERA_DEG, FOCAL_SHARE = 2.0, 0.2, 0.005
K1, K2, TANGENTIAL = 0.03, 0.05, 0.0003
LIGHT_MM, AIM_MM, ENERGY_SHARE, FALLOFF, FILM_DEG = 6.0, 15.0, 0.03, 0.1, 1.0
# A target in somebody's hands: it is where it was wanted, give or take so much.
HAND_MM, HAND_DEG = 4.0, 1.5


def misaligned_rig(rig: Rig, seed: int) -> Rig:
    """The rig with every camera and flash a little off, by a random draw that `seed` decides; 0 = exactly as described.

    Cameras: position, direction, roll, focal length, distortion. Flashes: position, aim, energy, fall-off, film angle.
    Raises UserError when a camera is uncalibrated: there is nothing to be near to then.
    """
    if seed == 0:
        return rig
    rng = np.random.Generator(np.random.PCG64([seed, 0x52494721]))
    cameras = [_moved_camera(camera, rng) for camera in rig.cameras]
    lights = [_moved_light(light, rig, rng) for light in rig.lights]
    content = rig.model_dump() | {"cameras": cameras, "lights": lights}
    return Rig.model_validate(content)


def real_placement(placement: Placement, seed: int) -> Placement:
    """Where the target really is: near its placement, by a draw that `seed` and the pose decide."""
    rng = np.random.Generator(np.random.PCG64([seed, placement.pose, 0x48414E44]))
    content = {name: getattr(placement, name) for name in Placement.__dataclass_fields__}
    content["centre_mm"] = _shifted(placement.centre_mm, HAND_MM, rng)
    for angle in ("turn_deg", "tilt_deg", "roll_deg"):
        content[angle] = float(content[angle] + rng.normal(0, HAND_DEG))
    return Placement(**content)


def _shifted(point_mm: tuple[float, float, float], spread_mm: float, rng: np.random.Generator) -> list[float]:
    return [float(value) for value in np.array(point_mm) + rng.normal(0, spread_mm, 3)]


def _moved_camera(camera: RigCamera, rng: np.random.Generator) -> dict:
    content = camera.model_dump()
    if camera.pose is None:
        return content
    position = np.array(_shifted(camera.pose.position_mm, CAMERA_MM, rng))
    away = np.array(camera.pose.target_mm) - np.array(camera.pose.position_mm)
    # a small turn of the viewing direction is a sideways shift of what it looks at
    sideways = rng.normal(0, np.deg2rad(CAMERA_DEG) * np.linalg.norm(away), 3)
    sideways -= away * (sideways @ away) / (away @ away)
    content["pose"] = {
        "position_mm": position.tolist(),
        "target_mm": (position + away + sideways).tolist(),
        "roll_deg": camera.pose.roll_deg + float(rng.normal(0, CAMERA_DEG)),
    }
    lens = camera.lens
    content["lens"] = {
        "focal_mm": lens.focal_mm * float(1 + rng.normal(0, FOCAL_SHARE)),
        "k1": lens.k1 + float(rng.normal(0, K1)),
        "k2": lens.k2 + float(rng.normal(0, K2)),
        "p1": lens.p1 + float(rng.normal(0, TANGENTIAL)),
        "p2": lens.p2 + float(rng.normal(0, TANGENTIAL)),
    }
    return content


def _moved_light(light: RigLight, rig: Rig, rng: np.random.Generator) -> dict:
    content = light.model_dump()
    content["relative_energy"] = float(min(4.0, light.relative_energy * (1 + rng.normal(0, ENERGY_SHARE))))
    if light.position_mm is None:
        return content
    content["film_deg"] = film_angle_deg(rig.cross_camera, light, rig.subject.target_mm) + float(
        rng.normal(0, FILM_DEG)
    )
    content["position_mm"] = _shifted(light.position_mm, LIGHT_MM, rng)
    content["aim_mm"] = _shifted(light.aim_mm, AIM_MM, rng)
    content["falloff_exponent"] = float(max(0.0, light.falloff_exponent + rng.normal(0, FALLOFF)))
    return content
