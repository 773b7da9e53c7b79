"""Where the face is in a picture, and how an ellipsoid in its place would be lit: geometry of the rig alone.

The checks of a take need no face detector: the rig file says where the subject sits. The head is taken as an
ellipsoid with the subject's extent whose front lies a little before the target, towards the centre camera.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera_model import PinholeCamera, look_at
from .rig_models import Rig, RigCamera, RigLight

Array = NDArray[np.float64]

# The target is the bridge of the nose: the ellipsoid's middle lies this part of its half depth behind it.
BEHIND_TARGET = 0.75
# Without a calibrated pose the face is taken to fill this part of the picture's height.
UNCALIBRATED_FILL = 0.7
# Part of the ellipsoid's outline that is looked at; ears, hair and a turned head stay outside.
INNER_PART = 0.85


@dataclass(frozen=True, eq=False)
class FaceWindow:
    """The face in a picture of `width_px` x `height_px`.

    `mask` (h, w) bool is the inside of the ellipse within the box `rows`, `columns`. `mm_per_px` holds at the face.
    `points_mm`, `normals` (h, w, 3) are the ellipsoid's surface in world axes, NaN outside the mask.
    """

    rows: slice
    columns: slice
    mask: NDArray[np.bool_]
    mm_per_px: float
    points_mm: Array
    normals: Array

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The box of a picture of the window's size."""
        return image[self.rows, self.columns]


def nominal_camera(rig: Rig, camera: RigCamera) -> PinholeCamera:
    """The camera of the rig file; one with pose "uncalibrated" is assumed in front of the subject, filled by it."""
    if camera.pose is not None:
        return PinholeCamera.from_rig(camera)
    sensor = camera.sensor
    focal_px = camera.lens.focal_mm * sensor.width_px / sensor.width_mm
    target_mm = np.array(rig.subject.target_mm, np.float64)
    distance_mm = focal_px * rig.subject.extent_mm[1] / (UNCALIBRATED_FILL * sensor.height_px)
    middle = (sensor.width_px - 1) / 2, (sensor.height_px - 1) / 2
    pose = look_at(target_mm + np.array([0.0, 0.0, distance_mm]), target_mm)
    return PinholeCamera(sensor.width_px, sensor.height_px, focal_px, focal_px, *middle, pose)


def face_window(rig: Rig, camera_name: str, width_px: int, height_px: int) -> FaceWindow:
    """The face seen by a camera of the rig, in a picture of its whole field of view at another size.

    Raises ValueError when the face is not in the picture, UserError when the aspect is not the sensor's.
    """
    camera = nominal_camera(rig, rig.camera(camera_name)).scaled(width_px, height_px).undistorted()
    half_mm = np.array(rig.subject.extent_mm, np.float64) / 2
    target_mm = np.array(rig.subject.target_mm, np.float64)
    forward = nominal_camera(rig, rig.centre).centre_mm - target_mm
    forward /= np.linalg.norm(forward)
    middle_mm = target_mm - BEHIND_TARGET * half_mm[2] * forward
    (pixel,), (depth_mm,) = camera.project(middle_mm[None])
    mm_per_px = float(depth_mm) / camera.fx_px
    # outline of the ellipsoid seen from far away: half width along the image's axes
    right, down, _ = camera.cam_from_world.rotation
    reach_px = np.array([np.linalg.norm(axis * half_mm) for axis in (right, down)]) / mm_per_px
    low = np.ceil(np.maximum(pixel - reach_px, 0)).astype(int)
    high = np.floor(np.minimum(pixel + reach_px, [width_px - 1, height_px - 1])).astype(int) + 1
    if (high - low < 4).any():
        raise ValueError(f"the face of camera {camera_name} is not in its {width_px}x{height_px} px picture")
    rows, columns = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    points_mm, normals = _surface(camera, middle_mm, half_mm, rows, columns)
    y, x = np.mgrid[rows, columns]
    inside = ((x - pixel[0]) / reach_px[0]) ** 2 + ((y - pixel[1]) / reach_px[1]) ** 2 < INNER_PART**2
    return FaceWindow(rows, columns, inside & np.isfinite(points_mm[..., 0]), mm_per_px, points_mm, normals)


def _surface(
    camera: PinholeCamera, middle_mm: Array, half_mm: Array, rows: slice, columns: slice
) -> tuple[Array, Array]:
    """First crossing of every pixel's ray with the ellipsoid: points and unit normals (h, w, 3), NaN beside it."""
    y, x = np.mgrid[rows, columns]
    in_camera = np.stack(
        [(x - camera.cx_px) / camera.fx_px, (y - camera.cy_px) / camera.fy_px, np.ones(x.shape)], axis=-1
    )
    ray = in_camera @ camera.cam_from_world.rotation
    # scaled to a unit sphere: |start + t ray| = 1
    start, ray_scaled = (camera.centre_mm - middle_mm) / half_mm, ray / half_mm
    a, b = (ray_scaled**2).sum(-1), ray_scaled @ start
    root = b**2 - a * (start @ start - 1)
    distance = np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    points_mm = camera.centre_mm + distance[..., None] * ray
    normals = (points_mm - middle_mm) / half_mm**2
    return points_mm, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def flash_shading(window: FaceWindow, light: RigLight) -> Array:
    """Irradiance (h, w) of a flash on the ellipsoid, in studio units (1 = energy 1 facing it from 750 mm).

    Inverse square, cos^m fall-off and the surface's tilt; no shadows. NaN outside the ellipsoid.
    Raises ValueError for a light without a place.
    """
    if light.position_mm is None:
        raise ValueError(f"light {light.name} has no position_mm")
    to_light = np.array(light.position_mm) - window.points_mm
    distance_mm = np.linalg.norm(to_light, axis=-1)
    axis = np.array(light.aim_mm, np.float64) - np.array(light.position_mm)
    axis /= np.linalg.norm(axis)
    along = np.maximum(-(to_light @ axis) / distance_mm, 0.0)
    facing = np.maximum((to_light * window.normals).sum(-1) / distance_mm, 0.0)
    return light.relative_energy * (750.0 / distance_mm) ** 2 * along**light.falloff_exponent * facing
