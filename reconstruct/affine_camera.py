"""Affine camera by the normalised Gold Standard method (Hartley and Zisserman, 2nd ed., algorithm 7.2), weighted.

Used as in section 3.2 of the paper. For an affine camera the algebraic and the geometric error coincide, so the linear
solution is the maximum likelihood one; normalising only keeps it well conditioned.
"""

from dataclasses import dataclass

import numpy as np

from ..capture.errors import UserError

LEAST_POINTS = 5
"""8 unknowns need 4 points; with 4 nothing is left to tell a wrong one."""
FLAT = 0.02
"""Points whose smallest extent is below this share of the largest are flat: a plane does not fix the camera."""


@dataclass(frozen=True, slots=True)
class AffineCamera:
    """pixels = matrix[:, :3] @ point + matrix[:, 3]. Raises ValueError for another shape or a degenerate matrix."""

    matrix: np.ndarray
    """(2, 4) float64; column 3 in px, the others in px per mm."""

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (2, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"affine camera of shape {matrix.shape}, expected a finite (2, 4)")
        values = np.linalg.svd(matrix[:, :3], compute_uv=False)
        if values[1] <= 1e-9 * max(values[0], 1e-300):
            raise ValueError("affine camera: its two rows are parallel, so it has no viewing direction")
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        """(N, 2) float64 column, row of points (N, 3) in mm of the model frame."""
        return np.asarray(points_mm, np.float64) @ self.matrix[:, :3].T + self.matrix[:, 3]

    def depth(self, points_mm: np.ndarray) -> np.ndarray:
        """(N,) float64 mm along the viewing direction, larger = farther from the camera; zero at the model's origin."""
        return np.asarray(points_mm, np.float64) @ -self.view_direction

    @property
    def view_direction(self) -> np.ndarray:
        """(3,) float64 unit vector in the model frame from the face to the camera."""
        forward = np.cross(self.matrix[0, :3], self.matrix[1, :3])  # right x down
        return -forward / np.linalg.norm(forward)

    @property
    def scale_px_per_mm(self) -> float:
        """Geometric mean of the scales along both image axes."""
        return float(np.sqrt(np.prod(np.linalg.svd(self.matrix[:, :3], compute_uv=False))))

    @property
    def anisotropy(self) -> float:
        """Larger over smaller scale: 1 for a camera with square pixels and no skew."""
        values = np.linalg.svd(self.matrix[:, :3], compute_uv=False)
        return float(values[0] / values[1])

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) float64 cam_from_model of the nearest scaled-orthographic camera (x right, y down, z forward)."""
        left, _, right = np.linalg.svd(self.matrix[:, :3], full_matrices=False)
        rows = left @ right
        return np.stack([rows[0], rows[1], np.cross(rows[0], rows[1])])

    @property
    def pose_deg(self) -> tuple[float, float, float]:
        """Yaw, pitch, roll with the signs of `PortraitOptions`: yaw > 0, the camera stands to the subject's left;
        pitch > 0, it looks from above; roll > 0, it is turned clockwise as seen from behind it."""
        return angles_deg(self.rotation)


def angles_deg(rotation: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch, roll as in `AffineCamera.pose_deg` of a cam_from_model rotation (3, 3)."""
    right, _, forward = rotation
    to_camera = -forward
    yaw = np.arctan2(to_camera[0], to_camera[2])
    pitch = np.arcsin(np.clip(to_camera[1], -1, 1))
    level = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])  # the image's right without roll
    roll = np.arctan2(right @ np.cross(forward, level), right @ level)
    return float(np.rad2deg(yaw)), float(np.rad2deg(pitch)), float(np.rad2deg(roll))


def estimate_affine(points_mm: np.ndarray, points_px: np.ndarray, weights: np.ndarray | None = None) -> AffineCamera:
    """The affine camera that minimises sum w |pixel - projection|^2.

    points_mm: (N, 3). points_px: (N, 2) column, row. weights: (N,) >= 0; rows with NaN or weight 0 are left out.
    Raises UserError for fewer than 5 usable points, points in one plane, or pixels on one line.
    """
    points, pixels, weights = usable_points(points_mm, points_px, weights)
    root = np.sqrt(weights / weights.mean())
    centre_mm, centre_px = (np.average(values, axis=0, weights=weights) for values in (points, pixels))
    spread_mm, spread_px = (
        np.sqrt(np.average(((values - centre) ** 2).sum(1), weights=weights))
        for values, centre in ((points, centre_mm), (pixels, centre_px))
    )
    normal_px = (pixels - centre_px) / spread_px
    normal_mm = (points - centre_mm) / spread_mm
    design = normal_mm * root[:, None]
    extents = np.linalg.svd(design, compute_uv=False)
    if extents[2] < FLAT * extents[0]:
        raise UserError(
            "camera from landmarks: the face points lie in one plane (or on a line), which leaves the camera open; "
            "give landmarks of nose and eyes or jaw as well"
        )
    # centred on the weighted means, the translation separates
    linear = np.linalg.lstsq(design, normal_px * root[:, None], rcond=None)[0].T * (spread_px / spread_mm)
    values = np.linalg.svd(linear, compute_uv=False)
    if values[1] < FLAT * values[0]:
        raise UserError("camera from landmarks: the landmarks in the picture lie on one line; check the landmark file")
    return AffineCamera(np.concatenate([linear, (centre_px - linear @ centre_mm)[:, None]], axis=1))


def usable_points(
    points_mm: np.ndarray, points_px: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows without NaN and with weight, checked for shape. Raises UserError for fewer than `LEAST_POINTS`."""
    points, pixels = np.asarray(points_mm, np.float64), np.asarray(points_px, np.float64)
    weights = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    if points.shape != (len(points), 3) or pixels.shape != (len(points), 2) or weights.shape != (len(points),):
        raise ValueError(f"{points.shape=} {pixels.shape=} {weights.shape=}, expected (N, 3), (N, 2) and (N,)")
    good = np.isfinite(points).all(1) & np.isfinite(pixels).all(1) & (weights > 0)
    if good.sum() < LEAST_POINTS:
        raise UserError(
            f"camera from landmarks: {int(good.sum())} usable points, expected at least {LEAST_POINTS} "
            "that both the picture and the face model know"
        )
    return points[good], pixels[good], weights[good]
