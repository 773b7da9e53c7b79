"""Pictures of flat targets: where each pixel falls on the target, and how much of each reflectance it covers.

A pixel's four corners are followed through the distorted lens to the target's plane. If all four fall into one cell of
the pattern, the pixel has that cell's reflectance; else it is averaged over a lattice of samples between the corners.
"""

from dataclasses import dataclass

import numba
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import Array, RigidTransform
from ..capture.target_patterns import Pattern
from .targets_rays import undistort

SAMPLES = 55
"""Samples of a pixel that holds an edge. A Fibonacci number: in the lattice (i / 55, frac(i * 34 / 55)) no two samples
share a column or a row, so that an edge along the pixels is placed to 1/55 px, too."""
LATTICE_STEP = 34


@dataclass(frozen=True, slots=True)
class PlanarView:
    """A flat target in one camera."""

    reflectance: np.ndarray
    """(H, W, 3) float32, averaged over each pixel, black outside of the target."""
    corners_mm: np.ndarray
    """(H + 1, W + 1, 2) float64: where the pixels' corners meet the target's plane, in its own x and y."""
    world_from_target: RigidTransform

    @property
    def normal(self) -> Array:
        """(3,) unit normal in world axes, on the target's face."""
        return -self.world_from_target.rotation[:, 2]

    def points_mm(self) -> np.ndarray:
        """(H, W, 3) float64 world points of the target's plane at the pixels' centres."""
        c = self.corners_mm
        centres = (c[:-1, :-1] + c[:-1, 1:] + c[1:, :-1] + c[1:, 1:]) / 4
        return centres @ self.world_from_target.rotation[:, :2].T + self.world_from_target.translation_mm


def planar_view(camera: PinholeCamera, world_from_target: RigidTransform, pattern: Pattern) -> PlanarView:
    """See `pattern` through `camera`, with its distortion. A target that shows its back is black."""
    rotation = world_from_target.rotation
    # a point (u, v, 0) of the target in camera axes is base @ (u, v, 1); its inverse takes rays to the plane
    to_camera = camera.cam_from_world.rotation @ rotation[:, :2]
    base = np.column_stack([to_camera, camera.cam_from_world.apply(world_from_target.translation_mm)])
    plane_from_ray = np.linalg.inv(base)
    intrinsics = np.array([camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px])
    distortion = np.array(camera.distortion, np.float64)
    shape = (camera.height_px, camera.width_px)
    corners = _plane_points(shape[0] + 1, shape[1] + 1, -0.5, intrinsics, distortion, plane_from_ray)
    if (world_from_target.translation_mm - camera.centre_mm) @ rotation[:, 2] <= 0:
        return PlanarView(np.zeros((*shape, 3), np.float32), corners, world_from_target)
    reflectance = _average(
        corners,
        np.ascontiguousarray(pattern.x_edges_mm, np.float64),
        np.ascontiguousarray(pattern.y_edges_mm, np.float64),
        np.ascontiguousarray(pattern.cells, np.int64),
        np.ascontiguousarray(pattern.reflectance, np.float64),
    )
    return PlanarView(reflectance, corners, world_from_target)


@numba.njit(cache=True, nogil=True)
def _plane_points(
    rows: int, columns: int, offset: float, intrinsics: np.ndarray, distortion: np.ndarray, plane_from_ray: np.ndarray
) -> np.ndarray:
    """Target coordinates (rows, columns, 2) mm of the image points (column + offset, row + offset)."""
    points = np.empty((rows, columns, 2))
    m = plane_from_ray
    for row in range(rows):
        for column in range(columns):
            x = (column + offset - intrinsics[2]) / intrinsics[0]
            y = (row + offset - intrinsics[3]) / intrinsics[1]
            x, y = undistort(x, y, distortion)
            scale = m[2, 0] * x + m[2, 1] * y + m[2, 2]
            points[row, column, 0] = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / scale
            points[row, column, 1] = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / scale
    return points


@numba.njit(cache=True, nogil=True)
def _cell(edges: np.ndarray, value: float, start: int) -> int:
    """Number of the interval that holds `value`, found by walking from `start`; -1 before the first, n after."""
    at, last = start, len(edges) - 1
    while at < last and value >= edges[at + 1]:
        at += 1
    while at >= 0 and value < edges[at]:
        at -= 1
    return at


@numba.njit(cache=True, nogil=True)
def _average(
    corners: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray, cells: np.ndarray, reflectance: np.ndarray
) -> np.ndarray:
    height, width = corners.shape[0] - 1, corners.shape[1] - 1
    rows, columns = cells.shape
    image = np.zeros((height, width, 3), np.float32)
    column, row = 0, 0
    for i in range(height):
        for j in range(width):
            a, b, c, d = corners[i, j], corners[i, j + 1], corners[i + 1, j], corners[i + 1, j + 1]
            column, row = _cell(x_edges, a[0], max(column, 0)), _cell(y_edges, a[1], max(row, 0))
            same = True
            for corner in (b, c, d):
                if _cell(x_edges, corner[0], max(column, 0)) != column or _cell(y_edges, corner[1], max(row, 0)) != row:
                    same = False
                    break
            if same:
                if 0 <= column < columns and 0 <= row < rows:
                    for k in range(3):
                        image[i, j, k] = reflectance[cells[row, column], k]
                continue
            red, green, blue = 0.0, 0.0, 0.0
            for sample in range(SAMPLES):
                s = (sample + 0.5) / SAMPLES
                t = (sample * LATTICE_STEP % SAMPLES + 0.5) / SAMPLES
                u = (1 - t) * ((1 - s) * a[0] + s * b[0]) + t * ((1 - s) * c[0] + s * d[0])
                v = (1 - t) * ((1 - s) * a[1] + s * b[1]) + t * ((1 - s) * c[1] + s * d[1])
                at_x, at_y = _cell(x_edges, u, max(column, 0)), _cell(y_edges, v, max(row, 0))
                if 0 <= at_x < columns and 0 <= at_y < rows:
                    colour = reflectance[cells[at_y, at_x]]
                    red += colour[0]
                    green += colour[1]
                    blue += colour[2]
            image[i, j, 0] = red / SAMPLES
            image[i, j, 1] = green / SAMPLES
            image[i, j, 2] = blue / SAMPLES
    return image
