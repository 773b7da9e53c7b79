"""How far a reconstructed geometry is from the exact truth of a rendered scan."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from ..capture.rigid import RigidTransform
from .surface_lowpass import lowpass_surface

MARGIN_MM = 2.0
STEEPEST_DEG = 72.0


@dataclass(frozen=True)
class DepthError:
    """Errors in mm of a depth map over a region; `under_1mm` and `covered` are shares of the region's pixels."""

    median_mm: float
    bias_mm: float
    p95_mm: float
    under_1mm: float
    covered: float
    pixels: int


@dataclass(frozen=True, eq=False)
class CentreTruth:
    """True depth (H, W) mm, normals (H, W, 3) camera frame, and the face (H, W) bool, of the centre view."""

    depth_mm: np.ndarray
    normal_cam: np.ndarray
    face: np.ndarray

    def region(self, camera: PinholeCamera) -> np.ndarray:
        """Where errors are counted: the face without its rim, seen from less than 72 degrees."""
        columns, rows = camera.normalised_grid()
        length = np.sqrt(1 + columns[None, :] ** 2 + rows[:, None] ** 2)
        normal = self.normal_cam
        facing = -(normal[..., 0] * columns[None, :] + normal[..., 1] * rows[:, None] + normal[..., 2]) / length
        rim_px = max(round(MARGIN_MM * camera.fx_px / float(np.nanmedian(self.depth_mm))), 1)
        inner = cv2.erode(self.face.astype(np.uint8), np.ones((2 * rim_px + 1, 2 * rim_px + 1), np.uint8)) > 0
        with np.errstate(invalid="ignore"):
            return inner & (facing > np.cos(np.deg2rad(STEEPEST_DEG)))


def read_centre_truth(truth: str | Path, centre: str) -> CentreTruth:
    """Read DIR/truth/CENTRE of a rendered scan. Raises UserError when files are missing."""
    folder = Path(truth) / centre
    if not (folder / "depth_mm.tif").is_file():
        raise UserError(f"{folder}: no depth_mm.tif; expected the truth folder of a rendered scan")
    face = cv2.imread(str(folder / "mask_face.png"), cv2.IMREAD_GRAYSCALE)
    if face is None:
        raise UserError(f"{folder}/mask_face.png: is missing or damaged; render the scan again")
    return CentreTruth(read_tiff(folder / "depth_mm.tif")[0], read_tiff(folder / "normal_cam.tif")[0], face > 0)


def depth_error(depth_mm: np.ndarray, true_mm: np.ndarray, region: np.ndarray) -> DepthError:
    """Compare two depth maps (H, W) over `region`; pixels without depth count as missing, not as errors."""
    wanted = region & np.isfinite(true_mm)
    error = (depth_mm - true_mm)[wanted]
    there = error[np.isfinite(error)]
    if not there.size:
        nothing = float("nan")
        return DepthError(nothing, nothing, nothing, 0.0, 0.0, int(wanted.sum()))
    size = np.abs(there)
    return DepthError(
        float(np.median(size)), float(np.median(there)), float(np.percentile(size, 95)),
        float((size < 1).sum() / len(error)), len(there) / len(error), len(error),
    )  # fmt: skip


def lowpassed_truth(truth: CentreTruth, mask: np.ndarray, sigma_px: float) -> np.ndarray:
    """The true depth smoothed over `mask` exactly as z0 is (H, W) float32, NaN where the mask leaves the head."""
    inside = mask & np.isfinite(truth.depth_mm)
    return lowpass_surface(truth.depth_mm, inside.astype(np.float32), inside, sigma_px)


def aligned_depth(
    depth_mm: np.ndarray, camera: PinholeCamera, true_mm: np.ndarray, true_camera: PinholeCamera, region: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Depth after the rigid motion that fits it to the truth best: what is left is error of shape.

    A calibration may put the whole volume a quarter of a millimetre aside; that moves the face, but does not bend it.
    Returns (H, W) depth in the true camera's frame, the shift in mm and the turn in degrees.
    """
    wanted = region & np.isfinite(depth_mm) & np.isfinite(true_mm)
    wanted &= np.abs(depth_mm - true_mm) < 3
    rows, columns = np.nonzero(wanted)
    if len(rows) < 100:
        raise UserError("too little depth to compare with the truth")
    ours, theirs = _points(depth_mm, camera, rows, columns), _points(true_mm, true_camera, rows, columns)
    motion = _kabsch(ours, theirs)
    everywhere = np.nonzero(np.isfinite(depth_mm))
    moved = motion.apply(_points(depth_mm, camera, *everywhere))
    # the motion is tiny: the pixel stays, the depth changes by what the surface moves along the ray
    out = np.full(depth_mm.shape, np.nan, np.float32)
    out[everywhere] = moved[:, 2] - _slipped(moved, true_camera, depth_mm, everywhere)
    turn_deg = float(np.rad2deg(np.arccos(np.clip((np.trace(motion.rotation) - 1) / 2, -1, 1))))
    return out, float(np.linalg.norm(motion.apply(ours.mean(0)[None])[0] - ours.mean(0))), turn_deg


def _points(depth_mm: np.ndarray, camera: PinholeCamera, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    x, y = camera.normalised_grid()
    depth = depth_mm[rows, columns].astype(np.float64)
    return np.stack([x[columns] * depth, y[rows] * depth, depth], axis=1)


def _kabsch(ours: np.ndarray, theirs: np.ndarray) -> RigidTransform:
    rotation, shift = np.eye(3), np.zeros(3)
    kept = np.ones(len(ours), bool)
    for _ in range(3):
        a, b = ours[kept], theirs[kept]
        u, _, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
        rotation = np.asarray(u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt, np.float64)
        shift = b.mean(0) - rotation @ a.mean(0)
        miss = np.linalg.norm(ours @ rotation.T + shift - theirs, axis=1)
        kept = miss < max(3 * float(np.median(miss)), 1e-6)
    return RigidTransform(rotation, shift)


def _slipped(
    moved: np.ndarray, camera: PinholeCamera, depth_mm: np.ndarray, where: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Depth that a point's sideways move across the image brings with it: slope of the map times the pixels moved."""
    rows, columns = where
    across = camera.fx_px * moved[:, 0] / moved[:, 2] + camera.cx_px - columns
    down = camera.fy_px * moved[:, 1] / moved[:, 2] + camera.cy_px - rows
    slopes = [np.asarray(np.gradient(depth_mm.astype(np.float64), axis=axis)) for axis in (0, 1)]
    slip = slopes[1][rows, columns] * across + slopes[0][rows, columns] * down
    return np.where(np.isfinite(slip) & (np.abs(slip) < 1), slip, 0.0)
