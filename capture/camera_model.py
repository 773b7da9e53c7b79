"""Pinhole camera with OpenCV distortion, in the project's convention: pixel centres at integer coordinates.

The image of W px spans -0.5 ... W - 0.5, so its middle is (W - 1) / 2. COLMAP puts the centre of the first pixel at
0.5; `PinholeCamera.colmap_params` alone knows about that half pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .rig_models import RigCamera
from .rigid import Array, RigidTransform, look_at

__all__ = ["PinholeCamera", "RigidTransform", "look_at"]


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """One calibrated view. Lengths in px are of this image size; `distortion` is OpenCV's (k1, k2, p1, p2)."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    cam_from_world: RigidTransform
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1 or not (self.fx_px > 0 and self.fy_px > 0):
            raise ValueError(f"{self.width_px=} {self.height_px=} {self.fx_px=} {self.fy_px=}, but expected above zero")
        if len(self.distortion) != 4 or not np.isfinite([*self.distortion, self.cx_px, self.cy_px]).all():
            raise ValueError(f"{self.distortion=} {self.cx_px=} {self.cy_px=}, but expected 4 + 2 finite numbers")

    @classmethod
    def from_rig(cls, camera: RigCamera) -> "PinholeCamera":
        """The nominal camera of a rig description: square pixels, principal point in the middle of the image.

        The lens is taken at its engraved focal length; focusing at about 1 m lengthens it by some per cent, which
        image calibration finds. Raises UserError when the camera's pose is "uncalibrated".
        """
        if camera.pose is None:
            raise UserError(
                f'camera "{camera.name}" has pose = "uncalibrated"; calibrate the rig, or write '
                "pose = {position_mm = [x, y, z]} into its [[cameras]] table"
            )
        sensor, lens, pose = camera.sensor, camera.lens, camera.pose
        focal_px = lens.focal_mm * sensor.width_px / sensor.width_mm
        return cls(
            width_px=sensor.width_px,
            height_px=sensor.height_px,
            fx_px=focal_px,
            fy_px=focal_px,
            cx_px=(sensor.width_px - 1) / 2,
            cy_px=(sensor.height_px - 1) / 2,
            cam_from_world=look_at(np.array(pose.position_mm), np.array(pose.target_mm), pose.roll_deg),
            distortion=(lens.k1, lens.k2, lens.p1, lens.p2),
        )

    @property
    def centre_mm(self) -> Array:
        """Centre of projection (3,) in world mm."""
        return self.cam_from_world.inverse().translation_mm

    @property
    def matrix_px(self) -> Array:
        """Calibration matrix (3,3) for OpenCV, which also counts pixel centres as integers."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])

    @property
    def has_distortion(self) -> bool:
        return any(self.distortion)

    def undistorted(self) -> "PinholeCamera":
        """The same camera with a perfect lens."""
        return replace(self, distortion=(0.0, 0.0, 0.0, 0.0))

    def project(self, points_mm: Array) -> tuple[Array, Array]:
        """World points (N,3) mm -> pixels (N,2) as (column, row) and depth (N,) mm along the optical axis.

        Points at or behind the camera give NaN pixels.
        """
        points_mm = np.asarray(points_mm, np.float64)
        if points_mm.ndim != 2 or points_mm.shape[1] != 3:
            raise ValueError(f"{points_mm.shape=}, but expected (N, 3)")
        in_camera_mm = self.cam_from_world.apply(points_mm)
        depth_mm = in_camera_mm[:, 2]
        x, y = (in_camera_mm[:, :2] / np.where(depth_mm > 0, depth_mm, np.nan)[:, None]).T
        k1, k2, p1, p2 = self.distortion
        if self.has_distortion:
            r2 = x * x + y * y
            radial = 1 + r2 * (k1 + r2 * k2)
            x, y = (
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            )
        return np.stack([self.fx_px * x + self.cx_px, self.fy_px * y + self.cy_px], axis=1), depth_mm

    def normalised_grid(self) -> tuple[Array, Array]:
        """x/z of every column (W,) and y/z of every row (H,) in camera axes. Raises ValueError with distortion."""
        if self.has_distortion:
            raise ValueError(f"pixel rays need an undistorted image, but {self.distortion=}")
        columns = (np.arange(self.width_px, dtype=np.float64) - self.cx_px) / self.fx_px
        rows = (np.arange(self.height_px, dtype=np.float64) - self.cy_px) / self.fy_px
        return columns, rows

    def unproject(self, depth_mm: NDArray[np.floating]) -> NDArray[np.floating]:
        """Depth map (H,W) in mm along the optical axis -> world points (H,W,3) in mm, of the depth's float type.

        NaN stays NaN. Raises ValueError on another shape, or when the camera has distortion.
        """
        if depth_mm.shape != (self.height_px, self.width_px):
            raise ValueError(f"{depth_mm.shape=}, but expected {(self.height_px, self.width_px)}")
        points_mm = np.empty((*depth_mm.shape, 3), depth_mm.dtype)
        for axis, along_ray in enumerate(self._ray_components()):
            points_mm[..., axis] = along_ray * depth_mm + self.centre_mm[axis]
        return points_mm

    def ray_directions_world(self, dtype: type[np.floating] = np.float32) -> NDArray[np.floating]:
        """Unit vectors (H,W,3) from the camera through every pixel, world axes. Raises ValueError with distortion."""
        columns, rows = self.normalised_grid()
        length = np.sqrt(1 + columns[None, :] ** 2 + rows[:, None] ** 2)
        directions = np.empty((self.height_px, self.width_px, 3), dtype)
        for axis, component in enumerate(self._ray_components()):
            directions[..., axis] = component / length
        return directions

    def _ray_components(self) -> Iterator[Array]:
        """World x, y, z of the ray with camera z = 1, one (H,W) array at a time: a 24 MP image needs little memory."""
        columns, rows = self.normalised_grid()
        for column in self.cam_from_world.rotation.T:
            yield (column[0] * columns)[None, :] + (column[1] * rows)[:, None] + column[2]

    def scaled(self, width_px: int, height_px: int) -> "PinholeCamera":
        """The same field of view at another image size. Raises UserError when the aspect differs by more than 1 %."""
        across, down = width_px / self.width_px, height_px / self.height_px
        if across <= 0 or down <= 0 or abs(across / down - 1) > 0.01:
            raise UserError(
                f"cannot scale a {self.width_px}x{self.height_px} px camera to {width_px}x{height_px} px: "
                f"the aspect ratio may differ by 1 % at most; crop first"
            )
        return replace(
            self,
            width_px=int(width_px),
            height_px=int(height_px),
            fx_px=self.fx_px * across,
            fy_px=self.fy_px * down,
            cx_px=(self.cx_px + 0.5) * across - 0.5,
            cy_px=(self.cy_px + 0.5) * down - 0.5,
        )

    def cropped(self, x0_px: int, y0_px: int, width_px: int, height_px: int) -> "PinholeCamera":
        """The camera of image[y0:y0+height, x0:x0+width]. Raises ValueError when the window leaves the image."""
        inside = 0 <= x0_px and x0_px + width_px <= self.width_px and 0 <= y0_px and y0_px + height_px <= self.height_px
        if not inside or width_px < 1 or height_px < 1:
            raise ValueError(
                f"window x {x0_px}+{width_px}, y {y0_px}+{height_px} px leaves {self.width_px}x{self.height_px} px"
            )
        return replace(self, width_px=width_px, height_px=height_px, cx_px=self.cx_px - x0_px, cy_px=self.cy_px - y0_px)

    def colmap_params(self) -> tuple[str, tuple[float, ...]]:
        """COLMAP's camera model name and parameters; the principal point moves by the half pixel.

        PINHOLE (fx, fy, cx, cy), or OPENCV with (k1, k2, p1, p2) behind when the lens distorts.
        """
        intrinsics = (self.fx_px, self.fy_px, self.cx_px + 0.5, self.cy_px + 0.5)
        return ("OPENCV", (*intrinsics, *self.distortion)) if self.has_distortion else ("PINHOLE", intrinsics)
