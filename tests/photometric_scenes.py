"""Synthetic pictures for tests of separation and photometric stereo, with exact truth."""

from dataclasses import dataclass

import numpy as np

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.light_model import LightModel, coat_gain, transmission

SKIN = np.array([0.45, 0.24, 0.15])


@dataclass(frozen=True, eq=False)
class Sphere:
    """A sphere of 60 mm radius, 900 mm before the camera, under near flashes."""

    camera: PinholeCamera
    lights: LightModel
    depth_mm: np.ndarray
    normal: np.ndarray
    mask: np.ndarray
    albedo: np.ndarray
    images: list[np.ndarray]
    cosines: np.ndarray


def flashes(count: int = 9, index: float = 1.4) -> LightModel:
    """Flashes on a ring of 350 mm around the camera's axis and one in its middle, camera axes."""
    turn = np.arange(count - 1) * 2 * np.pi / (count - 1)
    position = np.stack([350 * np.cos(turn), 350 * np.sin(turn), np.full(count - 1, 250.0)], axis=1)
    position = np.vstack([position, [0.0, -80.0, 150.0]])
    axis = np.array([0.0, 0.0, 900.0]) - position
    return LightModel(
        tuple(f"flash{i + 1}" for i in range(count)),
        position,
        axis / np.linalg.norm(axis, axis=1, keepdims=True),
        np.ones(count),
        np.full((count, 3), 500.0**2) * (1 + 0.1 * np.arange(count)[:, None] / count),
        index,
    )


def sphere(size: int = 96, lights: int = 9, index: float = 1.4, relief: float = 0.0) -> Sphere:
    """Pictures of light from inside the skin, without noise. relief: height of a bump pattern on the normals."""
    camera = PinholeCamera(
        size, size, size * 6.0, size * 6.0, (size - 1) / 2, (size - 1) / 2, RigidTransform(np.eye(3), np.zeros(3))
    )
    x, y = camera.normalised_grid()
    ray = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((size, size))], axis=2)
    # |z ray - (0, 0, 900)|^2 = 60^2
    a, b, c = (ray**2).sum(2), -2 * 900.0, 900.0**2 - 60.0**2
    root = b * b - 4 * a * c
    mask = root > 0
    depth = np.where(mask, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), np.nan)
    points = ray * depth[..., None]
    normal = (points - np.array([0, 0, 900.0])) / 60.0
    if relief:
        rows, columns = np.mgrid[:size, :size] / size
        normal[..., 0] += relief * np.sin(columns * 60)
        normal[..., 1] += relief * np.sin(rows * 45)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    facing = -(normal * ray).sum(2) / np.sqrt(a)
    mask &= facing > 0.2
    model = flashes(lights, index)
    towards, irradiance = model.at(np.nan_to_num(points.reshape(-1, 3), nan=500.0))
    cosines = (towards * np.nan_to_num(normal.reshape(-1, 3))).sum(2).reshape(-1, size, size)
    rows, columns = np.mgrid[:size, :size]
    albedo = SKIN * (1 + 0.2 * np.sin(columns / 5.0) * np.cos(rows / 7.0))[..., None]
    leaves = coat_gain(index) * transmission(facing, index)
    images = []
    for i in range(lights):
        shade = np.maximum(cosines[i], 0) * transmission(cosines[i], index) * leaves
        light = irradiance[i].reshape(size, size, 1) * model.intensity[i]
        images.append(np.where(mask[..., None], albedo * light * shade[..., None], 0).astype(np.float32))
    return Sphere(camera, model, np.where(mask, depth, np.nan), normal, mask, albedo, images, cosines)


def angles_deg(normal: np.ndarray, truth: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Angles between two normal maps; an unsolved pixel counts 90 degrees."""
    cosine = np.nan_to_num((normal[where] * truth[where]).sum(1), nan=0.0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
