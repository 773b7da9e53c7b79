"""What a rig may do but probably should not: slow plans, leaking films, lamps in the picture."""

import numpy as np

from .camera_model import PinholeCamera
from .plan import duration_s, shot_plan
from .polarisation import film_table
from .rig_models import Rig, RigCamera

LAMP_RADIUS_MM = 60.0
LIGHT_ANGLES_DEG = (10.0, 60.0)


def rig_warnings(rig: Rig) -> list[str]:
    """Sentences about a valid rig, most costly first; empty for a rig with nothing to remark."""
    found = [*_slow(rig), *_exposures(rig)]
    uncalibrated = [camera.name for camera in rig.cameras if camera.pose is None]
    if uncalibrated:
        names = ", ".join(uncalibrated)
        found.append(f'cameras with pose = "uncalibrated": {names}; film angles and views of theirs are not checked')
    if rig.cross_camera.pose is not None:
        found += _leaks(rig)
    for camera in rig.cameras:
        if camera.pose is not None:
            found += _view(rig, camera)
    if rig.centre.pose is not None:
        found += _light_angles(rig)
    return found


def _slow(rig: Rig) -> list[str]:
    limits = rig.limits
    span_s = duration_s(rig)
    if span_s <= limits.span_s + 1e-9:
        return []
    way_out = 'raise it, use faster lamps or bodies, or pair_mode "two_bodies"'
    return [
        f"the {len(shot_plan(rig))} exposures take {span_s:.1f} s at {limits.frames_per_s:g} frames per s, lamps "
        f"recharging in {limits.recycle_s:g} s; limits.span_s is {limits.span_s:g} s: {way_out}"
    ]


def _exposures(rig: Rig) -> list[str]:
    found = [
        f'camera "{camera.name}": shutter_s {camera.exposure.shutter_s:g} s is faster than limits.sync_s '
        f"{rig.limits.sync_s:g} s; part of the picture misses the flash"
        for camera in rig.cameras
        if camera.exposure.shutter_s < rig.limits.sync_s
    ]
    delay_s = rig.capture.flash_delay_s
    if len(rig.cameras) > 1 and delay_s < rig.limits.skew_s:
        found.append(
            f"capture.flash_delay_s is {delay_s:g} s: bodies start up to {rig.limits.skew_s:g} s apart "
            "(limits.skew_s), so the flash of the uniform step may come before the last shutter is open"
        )
    found += [
        f'camera "{camera.name}": shutter_s {camera.exposure.shutter_s:g} s is not longer than '
        f"capture.flash_delay_s {delay_s:g} s; its shutter closes before the flash of the uniform step"
        for camera in rig.cameras
        if len(rig.cameras) > 1 and camera.exposure.shutter_s <= delay_s + rig.limits.sync_s
    ]
    if rig.cross_camera.exposure != rig.centre.exposure:
        found.append(
            f'cameras "{rig.centre.name}" and "{rig.cross_camera.name}" form the pairs but expose differently; '
            "the gain between them has to be calibrated"
        )
    return found


def _leaks(rig: Rig) -> list[str]:
    return [
        f"flash {light.name} leaks {100 * leak:.1f} % specular in the crossed image with its film at "
        f"{angle_deg:.1f} degrees (null at {null_deg:.1f}); limits.leak_max is {100 * rig.limits.leak_max:g} %"
        for light, angle_deg, null_deg, leak in film_table(rig)
        if leak > rig.limits.leak_max
    ]


def _view(rig: Rig, camera: RigCamera) -> list[str]:
    """Subject cut off by the image's edge, and lamps between this camera and the face."""
    pinhole = PinholeCamera.from_rig(camera)
    target_mm = np.array(rig.subject.target_mm)
    half_mm = np.array(rig.subject.extent_mm) / 2
    # The ends of the ellipsoid's axes; the corners of its box would hold air only.
    ends_mm = target_mm + np.concatenate([np.diag(half_mm), -np.diag(half_mm)])
    pixels, _ = pinhole.project(ends_mm)
    size = np.array([pinhole.width_px, pinhole.height_px])
    found = []
    if not ((pixels >= -0.5) & (pixels <= size - 0.5)).all():
        found.append(f'camera "{camera.name}" cuts off part of the subject (subject.extent_mm {rig.subject.extent_mm})')
    towards_face = target_mm - pinhole.centre_mm
    distance_mm = float(np.linalg.norm(towards_face))
    for light in rig.flashes:
        offset_mm = np.array(light.position_mm) - pinhole.centre_mm
        along_mm = float(offset_mm @ towards_face) / distance_mm
        if not 0 < along_mm < distance_mm:
            continue
        aside_mm = float(np.linalg.norm(offset_mm - along_mm * towards_face / distance_mm))
        cone_mm = along_mm / distance_mm * float(half_mm[:2].max()) + LAMP_RADIUS_MM
        if aside_mm < cone_mm:
            found.append(
                f'flash {light.name} stands {aside_mm:.0f} mm from the line of sight of camera "{camera.name}"; '
                f"a lamp {2 * LAMP_RADIUS_MM:g} mm wide hides part of the face below {cone_mm:.0f} mm"
            )
    return found


def _light_angles(rig: Rig) -> list[str]:
    target_mm = np.array(rig.subject.target_mm)
    axis = PinholeCamera.from_rig(rig.centre).centre_mm - target_mm
    found = []
    for light in rig.flashes:
        offset_mm = np.array(light.position_mm) - target_mm
        cosine = offset_mm @ axis / np.linalg.norm(offset_mm) / np.linalg.norm(axis)
        angle_deg = float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
        if not LIGHT_ANGLES_DEG[0] <= angle_deg <= LIGHT_ANGLES_DEG[1]:
            why = "hardly changes with the surface's tilt" if angle_deg < LIGHT_ANGLES_DEG[0] else "casts long shadows"
            found.append(
                f"flash {light.name} is {angle_deg:.0f} degrees from the centre camera's axis: its light {why}"
            )
    return found
