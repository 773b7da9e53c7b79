"""A camera as JSON: the entries of geometry.json, cameras.json and import.json."""

from typing import Any

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import RigidTransform


def camera_entry(camera: PinholeCamera) -> dict[str, Any]:
    """Plain data of one camera; px with pixel centres at integers, mm."""
    return {
        "width_px": camera.width_px,
        "height_px": camera.height_px,
        "fx_px": camera.fx_px,
        "fy_px": camera.fy_px,
        "cx_px": camera.cx_px,
        "cy_px": camera.cy_px,
        "distortion": list(camera.distortion),
        "rotation_cam_from_world": camera.cam_from_world.rotation.tolist(),
        "translation_mm_cam_from_world": camera.cam_from_world.translation_mm.tolist(),
    }


def camera_from_entry(entry: dict[str, Any]) -> PinholeCamera:
    """Read `camera_entry`; a missing distortion is none. Raises KeyError, TypeError or ValueError on damaged data."""
    k1, k2, p1, p2 = (float(value) for value in entry.get("distortion", (0, 0, 0, 0)))
    return PinholeCamera(
        width_px=int(entry["width_px"]),
        height_px=int(entry["height_px"]),
        fx_px=float(entry["fx_px"]),
        fy_px=float(entry["fy_px"]),
        cx_px=float(entry["cx_px"]),
        cy_px=float(entry["cy_px"]),
        distortion=(k1, k2, p1, p2),
        cam_from_world=RigidTransform(
            np.array(entry["rotation_cam_from_world"], np.float64),
            np.array(entry["translation_mm_cam_from_world"], np.float64),
        ),
    )
