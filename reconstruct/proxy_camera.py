"""A camera for one face: one scale, no skew, and the foreshortening of a finite distance.

The paper's affine camera takes a face for flat in depth. At 1.2 m the nose is 4 % larger than the ears, and a fit that
cannot say so bends the shape instead. One more number, the inverse distance, says it; landmarks alone fix it poorly,
so it has a prior that covers photographs from half a metre upwards, or is known from the focal length.
"""

from dataclasses import dataclass, replace

import numpy as np

from .affine_camera import AffineCamera, angles_deg, estimate_affine, usable_points


@dataclass(frozen=True, slots=True)
class DistancePrior:
    """Normal prior of the inverse distance; `per_mm_sigma` 0: known."""

    per_mm: float
    per_mm_sigma: float


FAR_AWAY = DistancePrior(0.0, 0.0)
"""Scaled orthographic: no foreshortening."""


@dataclass(frozen=True, slots=True)
class FaceCamera:
    """pixel = scale (R X)_xy / (1 + z q) + translation, with z = (R X)_z mm behind the model's origin."""

    rotation: np.ndarray
    """(3, 3) float64 cam_from_model: x right, y down, z forward."""
    scale_px_per_mm: float
    """At the depth of the model's origin."""
    translation_px: np.ndarray
    """(2,) float64 pixel of the model's origin."""
    inverse_distance_per_mm: float = 0.0
    """q: 0 for a camera far away."""

    @classmethod
    def from_affine(cls, camera: AffineCamera) -> "FaceCamera":
        """The nearest camera far away."""
        scale = float(np.linalg.svd(camera.matrix[:, :3], compute_uv=False).mean())
        return cls(camera.rotation, scale, camera.matrix[:, 3].copy())

    @property
    def distance_mm(self) -> float:
        """From the camera to the model's origin along the optical axis; infinite for a camera far away."""
        return 1 / self.inverse_distance_per_mm if self.inverse_distance_per_mm > 0 else float("inf")

    @property
    def pose_deg(self) -> tuple[float, float, float]:
        """As `AffineCamera.pose_deg`."""
        return angles_deg(self.rotation)

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        """(N, 2) float64 column, row of points (N, 3) of the model frame; NaN at or behind the camera."""
        seen = np.asarray(points_mm, np.float64) @ self.rotation.T
        return self.scale_px_per_mm * seen[:, :2] * self._enlargement(seen[:, 2])[:, None] + self.translation_px

    def depth(self, points_mm: np.ndarray) -> np.ndarray:
        """(N,) float64 mm along the optical axis, larger = farther: from the camera, which makes it fit for
        perspective rasters; from the model's origin when the camera is far away."""
        behind = np.asarray(points_mm, np.float64) @ self.rotation[2]
        return behind + self.distance_mm if np.isfinite(self.distance_mm) else behind

    @property
    def view_direction(self) -> np.ndarray:
        """(3,) float64 unit vector in the model frame against the optical axis, from the face to the camera."""
        return -self.rotation[2]

    def point_derivatives(self, points_mm: np.ndarray) -> np.ndarray:
        """(N, 2, 3) px per mm."""
        seen = points_mm @ self.rotation.T
        larger = self._enlargement(seen[:, 2])
        sideways = self.rotation[None, :2] * larger[:, None, None]
        inwards = (self.inverse_distance_per_mm * larger**2)[:, None, None] * seen[:, :2, None] * self.rotation[2]
        return self.scale_px_per_mm * (sideways - inwards)

    def derivatives(self, points_mm: np.ndarray) -> np.ndarray:
        """(N, 2, 7) by the steps of `moved`."""
        seen = points_mm @ self.rotation.T
        x, y, z = seen.T
        larger, scale, q = self._enlargement(z), self.scale_px_per_mm, self.inverse_distance_per_mm
        zero, one = np.zeros_like(x), np.ones_like(x)
        # a rotation w moves (x, y, z) by w x (x, y, z)
        moves = np.stack([np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], 2)
        turned = (
            scale
            * larger[:, None, None]
            * (moves[:, :2] - q * larger[:, None, None] * seen[:, :2, None] * moves[:, 2:3])
        )
        grown = scale * larger[:, None, None] * seen[:, :2, None]
        shifted = np.stack([np.stack([one, zero], 1), np.stack([zero, one], 1)], 2)
        nearer = -grown * (z * larger)[:, None, None]
        return np.concatenate([turned, grown, shifted, nearer], 2)

    def moved(self, step: np.ndarray) -> "FaceCamera":
        """After a step (7,): rotation vector in camera axes, log scale, translation in px, inverse distance."""
        from scipy.spatial.transform import Rotation

        return FaceCamera(
            Rotation.from_rotvec(step[:3]).as_matrix() @ self.rotation,
            float(self.scale_px_per_mm * np.exp(np.clip(step[3], -1, 1))),
            self.translation_px + step[4:6],
            float(np.clip(self.inverse_distance_per_mm + step[6], 0.0, 1 / 250)),
        )

    def affine(self, points_mm: np.ndarray) -> AffineCamera:
        """The affine camera that comes closest for these points (N, 3): the paper's."""
        return estimate_affine(points_mm, self.project(points_mm))

    def _enlargement(self, z_mm: np.ndarray) -> np.ndarray:
        nearness = 1 + self.inverse_distance_per_mm * z_mm
        return 1 / np.where(nearness > 0.05, nearness, np.nan)


def estimate_camera(
    points_mm: np.ndarray,
    points_px: np.ndarray,
    weights: np.ndarray,
    prior: DistancePrior,
    sigma_px: float,
    start: FaceCamera | None = None,
) -> FaceCamera:
    """The camera that minimises sum w |pixel - projection|^2 / sigma^2 + the distance's prior, by Gauss-Newton.

    Starts at `start`, or at the Gold Standard affine camera. Raises UserError as `estimate_affine`.
    """
    points, pixels, weights = usable_points(points_mm, points_px, weights)
    camera = start or FaceCamera.from_affine(estimate_affine(points, pixels, weights))
    if prior.per_mm_sigma == 0:
        camera = replace(camera, inverse_distance_per_mm=prior.per_mm)
    root = np.sqrt(weights)[:, None] / sigma_px
    for _ in range(20):
        design = (camera.derivatives(points) * root[..., None]).reshape(-1, 7)
        residual = ((pixels - camera.project(points)) * root).ravel()
        design, residual = with_distance_prior(design, residual, camera, prior)
        scales = np.maximum(np.linalg.norm(design, axis=0), 1e-12)
        step = np.linalg.lstsq(design / scales, residual, rcond=1e-10)[0] / scales
        camera = camera.moved(step)
        if np.abs(step * scales).max() < 1e-4 * np.sqrt(len(points)):
            break
    return camera


def with_distance_prior(
    design: np.ndarray, residual: np.ndarray, camera: FaceCamera, prior: DistancePrior
) -> tuple[np.ndarray, np.ndarray]:
    """`design` (R, 7) and `residual` (R,) with the prior's row; a known distance loses its column's effect instead."""
    if prior.per_mm_sigma == 0:
        design = design.copy()
        design[:, 6] = 0
        return design, residual
    row = np.zeros((1, 7))
    row[0, 6] = 1 / prior.per_mm_sigma
    miss = (prior.per_mm - camera.inverse_distance_per_mm) / prior.per_mm_sigma
    return np.concatenate([design, row]), np.append(residual, miss)
