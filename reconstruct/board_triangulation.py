"""How good is a calibrated rig? Points of held-out board placements, triangulated, against the board's true shape."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import Array
from .rig_bundle import Observations
from .targets_rays import ray_directions

FEWEST_POINTS = 6


@dataclass(frozen=True)
class ShapeError:
    """Distances in mm of triangulated corners from the rigidly fitted board, and their reprojection errors in px."""

    points: int
    median_mm: float
    p95_mm: float
    reprojection_rms_px: float
    scale: float
    """Size of the triangulated boards over their true size."""


def triangulate(cameras: Sequence[PinholeCamera], pixels: Array) -> Array:
    """Point (3,) in mm nearest to the rays of (K, 2) pixels, then moved to where the reprojection error is least."""
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for camera, pixel in zip(cameras, pixels, strict=True):
        ray = ray_directions(camera, pixel[None])[0]
        across = np.eye(3) - np.outer(ray, ray)
        matrix, right = matrix + across, right + across @ camera.centre_mm
    point: Array = np.asarray(np.linalg.solve(matrix, right), np.float64)
    for _ in range(3):
        here = np.concatenate([camera.project(point[None])[0][0] for camera in cameras])
        step_mm = 1e-2
        jacobian = np.stack(
            [
                (np.concatenate([c.project((point + step_mm * axis)[None])[0][0] for c in cameras]) - here) / step_mm
                for axis in np.eye(3)
            ],
            axis=1,
        )
        point = np.asarray(point + np.linalg.lstsq(jacobian, np.ravel(pixels) - here, rcond=None)[0], np.float64)
    return point


def shape_error(
    cameras: Mapping[str, PinholeCamera],
    names: Sequence[str],
    seen: Observations,
    points_mm: Array,
    poses: Sequence[int],
) -> ShapeError | None:
    """Triangulate the corners of the placements `poses` and compare each board with `points_mm`; None without any."""
    distances, errors, scales = [], [], []
    for pose in poses:
        tracks: dict[int, list[int]] = defaultdict(list)
        for index in np.flatnonzero(seen.pose == pose):
            tracks[int(seen.corner[index])].append(int(index))
        found, true = [], []
        for corner, indices in tracks.items():
            if len(indices) >= 2:
                views, pixels = [cameras[names[int(seen.camera[i])]] for i in indices], seen.pixels[indices]
                point = triangulate(views, pixels)
                found.append(point)
                true.append(points_mm[corner])
                errors += [
                    float(np.linalg.norm(view.project(point[None])[0][0] - pixel))
                    for view, pixel in zip(views, pixels, strict=True)
                ]
        if len(found) >= FEWEST_POINTS:
            distance, scale = _against(np.array(found), np.array(true))
            distances.append(distance)
            scales.append(scale)
    if not distances:
        return None
    every = np.concatenate(distances)
    return ShapeError(
        len(every),
        float(np.median(every)),
        float(np.percentile(every, 95)),
        float(np.sqrt(np.mean(np.square(errors)))),
        float(np.median(scales)),
    )


def _against(found: Array, true: Array) -> tuple[Array, float]:
    """Distances (N,) after the best rigid motion, and the scale that a similarity would have had."""
    a, b = true - true.mean(axis=0), found - found.mean(axis=0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    return np.linalg.norm(b - a @ rotation.T, axis=1), float((singular * signs).sum() / (a**2).sum())


def rotation_deg(first: Array, second: Array) -> float:
    """Angle between two rotations (3, 3)."""
    return float(np.rad2deg(Rotation.from_matrix(first @ second.T).magnitude()))
