"""The depth prior z0: smooth and complete depth of the centre view, with an honest confidence."""

import cv2
import numpy as np

from ..capture.errors import UserError
from .mesh_raster import depth_from_mesh
from .stereo_smooth import fill_from_nearest
from .stereo_types import DenseStereo, DepthPrior, MergedDepth, WorkingVolume
from .surface_lowpass import lowpass_surface

SIGMA_MM = 8.0
LEAST_COVERED = 0.5
"""A prior needs measurements on at least this share of the face."""
UNSURE_BELOW = 0.3
STEEPEST = 0.15
"""Cosine between ray and normal below which the surface is an edge, where the face ends."""
OUTLIER_MM = 3.0
INSIDE = 0.8
"""Share of its surroundings that a pixel well inside the mask has inside it."""


def depth_prior(
    stereo: DenseStereo,
    mask: np.ndarray,
    *,
    mesh: tuple[np.ndarray, np.ndarray] | None = None,
    sigma_mm: float = SIGMA_MM,
) -> DepthPrior:
    """z0 of the centre view over `mask` (H, W) bool, e.g. from `face_mask`.

    Args:
        mesh: vertices (N, 3) in world mm and triangles (T, 3) of the fused surface; its depth is then smoothed in
            place of the views' merged depth.
        sigma_mm: strength of the low-pass on the subject, as of a Gaussian.

    Confidence is 1 where measurements surround a pixel and 0 where none do, so it falls inside holes that the surface
    merely bridges and towards the mask's border; it always comes from the views' depth, never from the mesh.
    Raises UserError when too little of the mask was measured.
    """
    merged, camera = stereo.merged, stereo.centre_camera
    if mask.shape != merged.depth_mm.shape:
        raise ValueError(f"{mask.shape=}, but the centre view has {merged.depth_mm.shape}")
    if not mask.any():
        raise UserError("the face mask of the centre view is empty: no face found where the rig's [subject] says")
    measured = mask & (merged.count > 0)
    covered = float(measured[mask].mean())
    if covered < LEAST_COVERED:
        raise UserError(
            f"stereo measured only {100 * covered:.0f} % of the face (expected at least {100 * LEAST_COVERED:.0f} %): "
            + ("; ".join(stereo.warnings) or "give a proxy surface, or take the scan again with more light")
        )
    depth, given = merged.depth_mm, measured
    if mesh is not None:
        depth = depth_from_mesh(camera, *mesh)
        given = mask & np.isfinite(depth)
    sigma_px = sigma_mm / stereo.pixel_mm
    # equal weights: weights that vary from pixel to pixel would bend the surface towards the better measured side
    weight = given.astype(np.float32) * _near_the_surface(depth, given, sigma_px)
    z0_mm = lowpass_surface(depth, weight, mask, sigma_px)
    confidence = _confidence(merged, mask, sigma_px / 2)
    bridged = float((confidence[mask] < UNSURE_BELOW).mean())
    warnings = list(stereo.warnings)
    if bridged > 0.02:
        warnings.append(f"z0 bridges {100 * bridged:.0f} % of the face without measurements; see the confidence map")
    return DepthPrior(z0_mm, confidence, mask, "map" if mesh is None else "mesh", tuple(warnings))


def face_mask(stereo: DenseStereo, skin: np.ndarray, volume: WorkingVolume | None = None) -> np.ndarray:
    """(H, W) bool: the face in the centre view, one piece without holes.

    The part of `skin` (from `stereo_mask.skin_mask`) whose measured surface lies inside the subject's box, cut off
    where the surface turns away or jumps.
    """
    volume = volume or WorkingVolume()
    centre, camera, pixel_mm = stereo.centre_map, stereo.centre_camera, stereo.pixel_mm
    half = np.asarray(volume.extent_mm) / 2
    points = camera.unproject(centre.depth_mm) - np.asarray(volume.centre_mm, np.float32)
    with np.errstate(invalid="ignore"):
        inside = (np.abs(points) < half).all(2)
    columns, rows = camera.normalised_grid()
    length = np.sqrt(1 + columns[None, :] ** 2 + rows[:, None] ** 2)
    normal = centre.normal_cam
    facing = -(normal[..., 0] * columns[None, :] + normal[..., 1] * rows[:, None] + normal[..., 2]) / length
    with np.errstate(invalid="ignore"):
        steep = ~(facing > STEEPEST)
    solid = inside & skin & ~steep
    radius_px = max(round(1.0 / pixel_mm), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, disc)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.zeros(skin.shape, bool)
    face = (labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    # nostrils, eyes and steep noses are holes and notches of the face, not its border
    wide = max(round(4.0 / pixel_mm), 1)
    closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wide + 1, 2 * wide + 1))
    padded = cv2.copyMakeBorder(face, wide, wide, wide, wide, cv2.BORDER_CONSTANT)
    face = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, closing)[wide:-wide, wide:-wide]
    _, labels = cv2.connectedComponents(1 - face, connectivity=4)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return ~(np.isin(labels, border) & (face == 0))


def _near_the_surface(depth: np.ndarray, given: np.ndarray, sigma_px: float) -> np.ndarray:
    """(H, W) float32 0 or 1: not an outlier from the median of its surroundings, taken at a coarse size."""
    if not given.any():
        return np.ones(depth.shape, np.float32)
    shrink = max(sigma_px / 6, 1.0)
    size = (max(round(depth.shape[1] / shrink), 8), max(round(depth.shape[0] / shrink), 8))
    share = cv2.resize(given.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(given, depth, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    some = share > 1e-3
    filled = fill_from_nearest(total / np.maximum(share, 1e-6), some).astype(np.float32)
    calm = cv2.medianBlur(filled, 5)
    middle, spread = (
        cv2.resize(plane, depth.shape[::-1], interpolation=cv2.INTER_LINEAR) for plane in (calm, _local_range(calm))
    )
    with np.errstate(invalid="ignore"):
        return (np.abs(depth - middle) < OUTLIER_MM + spread).astype(np.float32)


def _local_range(calm: np.ndarray) -> np.ndarray:
    """Half the range of the surroundings: what the surface itself does there."""
    kernel = np.ones((3, 3), np.uint8)
    return 0.5 * (cv2.dilate(calm, kernel) - cv2.erode(calm, kernel))


def _confidence(merged: MergedDepth, mask: np.ndarray, sigma_px: float) -> np.ndarray:
    """Share of the surroundings that was measured; what a single view says counts half.

    At the mask's border only one side can be measured, and the surface often turns away: about 0.6 there.
    """
    support = np.minimum(merged.count, 2) * np.float32(0.5) * mask
    shrink = max(sigma_px / 4, 1.0)
    size = (max(round(mask.shape[1] / shrink), 1), max(round(mask.shape[0] / shrink), 1))
    planes = [cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_AREA) for plane in (support, mask)]
    measured, wanted = (cv2.GaussianBlur(plane, (0, 0), sigma_px / shrink) for plane in planes)
    full = cv2.resize(measured / np.maximum(wanted, INSIDE), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(mask, np.clip(full, 0, 1), 0).astype(np.float32)
