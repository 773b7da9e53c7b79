"""Where the face is in a picture, and how an ellipsoid in its place would be lit: geometry of the rig alone.

The checks of a take need no face detector: the rig file says where the subject sits. The head is taken as an
ellipsoid with the subject's extent whose front lies a little before the target, towards the centre camera.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera_model import PinholeCamera, look_at
from .errors import UserError
from .rig_models import Rig, RigCamera, RigLight

Array = NDArray[np.float64]

# The target is the bridge of the nose: the ellipsoid's middle lies this part of its half depth behind it.
BEHIND_TARGET = 0.75
# Without a calibrated pose the face is taken to fill this part of the picture's height.
UNCALIBRATED_FILL = 0.7
# Part of the ellipsoid's outline that is looked at; ears, hair and a turned head stay outside.
INNER_PART = 0.85
# Rows and columns of cells in which shading is compared.
GRID = (56, 42)
REFERENCE_MM = 750.0
SMALLEST_PX = 4


@dataclass(frozen=True, eq=False)
class FaceWindow:
    """The face in a picture: its box `rows`, `columns`, and the inside of the ellipse within the box, `mask` (h, w).

    `mm_per_px` holds at the face.
    """

    rows: slice
    columns: slice
    mask: NDArray[np.bool_]
    mm_per_px: float

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The box of a picture of the window's size."""
        return image[self.rows, self.columns]


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """The ellipsoid at GRID cells of a face's box: `points_mm` and unit `normals` (n, 3) in world axes.

    `mask` (GRID) bool: the cells inside the face, of which there are n.
    """

    mask: NDArray[np.bool_]
    points_mm: Array
    normals: Array

    def cells(self, face: np.ndarray) -> NDArray[np.float32]:
        """Mean colour (n, 3) of a face's box (h, w, 3) in every cell inside the face."""
        return np.asarray(cv2.resize(face, GRID[::-1], interpolation=cv2.INTER_AREA), np.float32)[self.mask]


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

    Raises UserError when the face is not in the picture or the aspect is not the sensor's.
    """
    view = _view(rig, camera_name, width_px, height_px)
    y, x = np.mgrid[view.low[1] : view.high[1], view.low[0] : view.high[0]]
    rows, columns = slice(int(view.low[1]), int(view.high[1])), slice(int(view.low[0]), int(view.high[0]))
    return FaceWindow(rows, columns, view.inside(x, y), view.mm_per_px)


def face_surface(rig: Rig, camera_name: str, width_px: int, height_px: int) -> FaceSurface:
    """The ellipsoid at the cells of `face_window`'s box; both have the same arguments and errors."""
    view = _view(rig, camera_name, width_px, height_px)
    across = view.low[0] - 0.5 + (np.arange(GRID[1]) + 0.5) * (view.high[0] - view.low[0]) / GRID[1]
    down = view.low[1] - 0.5 + (np.arange(GRID[0]) + 0.5) * (view.high[1] - view.low[1]) / GRID[0]
    x, y = np.meshgrid(across, down)
    mask = view.inside(x, y)
    camera, x, y = view.camera, x[mask], y[mask]
    in_camera = np.stack(
        [(x - camera.cx_px) / camera.fx_px, (y - camera.cy_px) / camera.fy_px, np.ones(x.shape)], axis=1
    )
    ray = in_camera @ camera.cam_from_world.rotation
    # scaled to a unit sphere: |start + t ray| = 1
    start, scaled = (camera.centre_mm - view.middle_mm) / view.half_mm, ray / view.half_mm
    a, b = (scaled**2).sum(axis=1), scaled @ start
    root = np.maximum(b**2 - a * (start @ start - 1), 0.0)
    points_mm = camera.centre_mm + ((-b - np.sqrt(root)) / a)[:, None] * ray
    normals = (points_mm - view.middle_mm) / view.half_mm**2
    return FaceSurface(mask, points_mm, normals / np.linalg.norm(normals, axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class _View:
    """A camera, the ellipsoid, and its outline in the picture: middle, half axes and box in px as (x, y)."""

    camera: PinholeCamera
    middle_mm: Array
    half_mm: Array
    middle_px: Array
    reach_px: Array
    mm_per_px: float
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def inside(self, x: np.ndarray, y: np.ndarray) -> NDArray[np.bool_]:
        across, down = (x - self.middle_px[0]) / self.reach_px[0], (y - self.middle_px[1]) / self.reach_px[1]
        return across**2 + down**2 < INNER_PART**2


def _view(rig: Rig, camera_name: str, width_px: int, height_px: int) -> _View:
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
    reach_px = np.linalg.norm(np.stack([right, down]) * half_mm, axis=1).astype(np.float64) / mm_per_px
    size = np.array([width_px, height_px])
    if (
        not np.isfinite(pixel).all()
        or (pixel + reach_px < SMALLEST_PX).any()
        or (pixel - reach_px > size - SMALLEST_PX).any()
    ):
        raise UserError(
            f'camera "{camera_name}": the subject at {list(rig.subject.target_mm)} mm is not in its picture; '
            "correct pose or lens.focal_mm of the camera, or subject.target_mm in rig.toml"
        )
    low = np.ceil(np.maximum(pixel - reach_px, 0)).astype(np.int64)
    high = np.floor(np.minimum(pixel + reach_px, size - 1)).astype(np.int64) + 1
    return _View(camera, middle_mm, half_mm, pixel, reach_px, mm_per_px, low, high)


def flash_vectors(surface: FaceSurface, light: RigLight) -> Array:
    """Light of a flash at every cell (n, 3): towards the lamp, as long as the irradiance facing it is strong.

    Inverse square and cos^m fall-off, in studio units (1 = energy 1 from 750 mm); its product with the normal is the
    irradiance of the cell. Raises ValueError for a light without a place.
    """
    if light.position_mm is None:
        raise ValueError(f"light {light.name} has no position_mm")
    to_light = np.array(light.position_mm) - surface.points_mm
    distance_mm = np.linalg.norm(to_light, axis=1)
    axis = np.array(light.aim_mm, np.float64) - np.array(light.position_mm)
    axis /= np.linalg.norm(axis)
    along = np.maximum(-(to_light @ axis) / distance_mm, 0.0)
    strength = light.relative_energy * (REFERENCE_MM / distance_mm) ** 2 * along**light.falloff_exponent
    return (strength / distance_mm)[:, None] * to_light
