"""Rigid motions in millimetres, and the orientation of a camera that looks at a point."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """x_cam = rotation @ x_world + translation_mm; rotation (3,3) float64 orthonormal, translation_mm (3,) float64.

    Raises ValueError when the rotation is not a proper rotation to 1e-6.
    """

    rotation: Array
    translation_mm: Array

    def __post_init__(self) -> None:
        rotation = np.array(self.rotation, np.float64)
        translation_mm = np.array(self.translation_mm, np.float64)
        if rotation.shape != (3, 3) or translation_mm.shape != (3,):
            raise ValueError(f"{rotation.shape=} and {translation_mm.shape=}, but expected (3, 3) and (3,)")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
            raise ValueError(f"not a rotation matrix:\n{rotation}")
        rotation.flags.writeable = translation_mm.flags.writeable = False
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation_mm", translation_mm)

    def apply(self, points_mm: Array) -> Array:
        """Transform points (..., 3) in mm."""
        return np.asarray(points_mm, np.float64) @ self.rotation.T + self.translation_mm

    def inverse(self) -> "RigidTransform":
        return RigidTransform(self.rotation.T, -self.rotation.T @ self.translation_mm)


def look_at(position_mm: Array, target_mm: Array, roll_deg: float = 0.0) -> RigidTransform:
    """cam_from_world of a camera at `position_mm` (3,) looking at `target_mm` (3,) with world +y up in the image.

    A positive roll turns the body clockwise as seen from behind it. A camera looking along the world's y axis takes
    -z as "up" instead. Raises ValueError when position and target coincide.
    """
    position_mm, target_mm = np.asarray(position_mm, np.float64), np.asarray(target_mm, np.float64)
    forward = target_mm - position_mm
    distance_mm = np.linalg.norm(forward)
    if distance_mm < 1e-9:
        raise ValueError(f"camera position and target are the same point {position_mm.tolist()}")
    forward = forward / distance_mm
    up = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 1 - 1e-9 else np.array([0.0, 0.0, -1.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.deg2rad(roll_deg)
    rotation = np.stack(
        [right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll), forward]
    )
    return RigidTransform(rotation, -rotation @ position_mm)
