"""Eq. 9 in perspective: the same problem in zeta = log depth.

With P = Z (x, y, 1) on the ray of a pixel and the normal n at right angles to the surface,

    d zeta / du = p = -(nx / fx) / (n . (x, y, 1)),   d zeta / dv = q = -(ny / fy) / (n . (x, y, 1))

so that a pinhole camera only changes p, q and z0. mu keeps its meaning in px^-2. An orthographic model would be wrong
by the depth range over the distance: 6 % on a face 1 m away.
"""

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .eq9_checks import Weights
from .eq9_integration import TOLERANCE, Integration, Solver, solve_eq9

LEAST_FACING = 0.087
"""Cosine between normal and view ray below which a slope is unusable: 85 degrees."""
ROWS_AT_ONCE = 256


def log_depth_slopes(
    normals_camera: np.ndarray, camera: PinholeCamera, *, least_facing: float = LEAST_FACING
) -> tuple[np.ndarray, np.ndarray]:
    """p, q (H, W) float32 of log depth per pixel step, NaN where the surface is seen too obliquely or from behind.

    Args:
        normals_camera: (H, W, 3) unit normals in the camera's axes (x right, y down, z forward), towards the viewer.
        camera: without distortion, of this image size.
        least_facing: cosine between the normal and the direction to the camera.
    Raises UserError on another size; ValueError on a camera with distortion.
    """
    _check_size("normals", normals_camera.shape[:2], camera)
    columns, rows = (axis.astype(np.float32) for axis in camera.normalised_grid())
    p, q = (np.empty(normals_camera.shape[:2], np.float32) for _ in range(2))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        strip = slice(first, first + ROWS_AT_ONCE)
        nx, ny, nz = (normals_camera[strip, :, axis] for axis in range(3))
        y = rows[strip, None]
        along = nx * columns + ny * y + nz
        length = np.sqrt(1 + columns**2 + y**2)
        usable = -along >= least_facing * length
        along = np.where(usable, along, np.nan)
        p[strip] = nx / (-camera.fx_px * along)
        q[strip] = ny / (-camera.fy_px * along)
    return p, q


def pixel_pitch_mm(depth_mm: np.ndarray, mask: np.ndarray, camera: PinholeCamera) -> float:
    """Size of a pixel on a surface that faces the camera at the subject's median depth: turns cut-offs into mu."""
    depths = depth_mm[mask & np.isfinite(depth_mm)]
    if len(depths) == 0:
        raise UserError("the depth map has no depth inside the mask")
    return float(np.median(depths)) / float(np.sqrt(camera.fx_px * camera.fy_px))


def solve_log_depth(
    normals_camera: np.ndarray,
    mask: np.ndarray,
    z0_mm: np.ndarray,
    mu: float | np.ndarray,
    camera: PinholeCamera,
    *,
    weights: Weights = None,
    tolerance: float = TOLERANCE,
    solver: Solver = "auto",
    threads: int | None = None,
) -> Integration:
    """Eq. 9 for log depth: `offset` is log(Z / z0). Arguments as of `integrate`, z0 in mm along the optical axis.

    Raises UserError as `integrate` does, and for depths that are not above 0.
    """
    p, q = log_depth_slopes(normals_camera, camera)
    return solve_eq9(
        p, q, mask, log_depth(z0_mm, mask), mu, weights=weights, tolerance=tolerance, solver=solver, threads=threads
    )


def integrate_perspective(
    normals_camera: np.ndarray,
    mask: np.ndarray,
    z0_mm: np.ndarray,
    mu: float | np.ndarray,
    camera: PinholeCamera,
    *,
    weights: Weights = None,
) -> np.ndarray:
    """Depth (H, W) float64 mm along the optical axis from normals and a prior depth, NaN off the mask."""
    return depth_mm(solve_log_depth(normals_camera, mask, z0_mm, mu, camera, weights=weights))


def log_depth(z0_mm: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W) float64 log of a depth in mm, NaN off the mask and in holes. Raises UserError for depths <= 0."""
    _check_depth(z0_mm, mask)
    return np.log(z0_mm, out=np.full(z0_mm.shape, np.nan), where=mask, dtype=np.float64)


def depth_mm(solved: Integration) -> np.ndarray:
    """(H, W) float64 mm of a solution in log depth, NaN off the mask."""
    z = solved.z
    return np.exp(z, out=z)


def depth_change_mm(solved: Integration, than: Integration) -> np.ndarray:
    """(H, W) float32 mm: depth of `solved` minus depth of `than`, which had the same z0; NaN off the mask.

    Made from the two offsets, so that it does not suffer from rounding of the depth itself.
    """
    change = np.full(solved.offset.shape, np.nan, np.float32)
    for first in range(0, len(change), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        mask = solved.mask[rows] & than.mask[rows]
        prior = np.exp(solved.z0[rows][mask])
        change[rows][mask] = prior * (
            np.expm1(solved.offset[rows][mask].astype(np.float64))
            - np.expm1(than.offset[rows][mask].astype(np.float64))
        )
    return change


def _check_size(what: str, size: tuple[int, ...], camera: PinholeCamera) -> None:
    if size != (camera.height_px, camera.width_px):
        raise UserError(
            f"{what} of {size[1]}x{size[0]} px, but the camera is of {camera.width_px}x{camera.height_px} px; "
            "scale or crop the camera with the images"
        )


def _check_depth(z0_mm: np.ndarray, mask: np.ndarray) -> None:
    if z0_mm.shape != mask.shape:
        raise UserError(f"z0 has shape {z0_mm.shape}, but the mask has {mask.shape}; crop or scale them alike")
    behind = (z0_mm <= 0) & mask
    if behind.any():
        row, column = np.argwhere(behind)[0]
        raise UserError(
            f"z0 is not above 0 mm at {int(behind.sum())} pixels of the mask, the first at column {column}, row {row}; "
            "depths are mm along the optical axis, and holes are NaN (with mu = 0 there)"
        )
