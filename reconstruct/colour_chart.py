"""Colour matrix of a camera from the 24-patch chart: find the patches, compare them with their published colours."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.calibration_maps import ColourMatrix
from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rig_models import Targets
from ..capture.rigid import Array, RigidTransform
from ..capture.target_patterns import CLASSIC24, chart_pattern, patch_centres_mm

FEWEST_PATCHES = 8
PATCH_PART = 0.5
"""Part of a patch's side that is averaged."""
CLIPPED = 0.98
WHITE = 18
WORST_FIT = 0.12
"""Residual over the white patch from which the found patches are not the chart's."""


@dataclass(frozen=True, eq=False)
class ColourFit:
    """`matrix`; camera RGB of the patches (24, 3), white = 1; their places (24, 2) px; colour errors (24,) CIE 1976."""

    matrix: ColourMatrix
    patches: Array
    places_px: Array
    delta_e: Array


def fit_colour(
    chart: np.ndarray, camera: PinholeCamera, placement: RigidTransform, targets: Targets, view: str
) -> ColourFit:
    """Colour matrix from one picture (H, W, 3) of the chart, flat field applied, shares of the white level.

    Args:
        camera, placement: calibrated camera, and world_from_target as planned: where the chart is, about.

    The matrix takes linear camera RGB to linear sRGB and keeps the brightness of the white patch in green, so that 1
    remains the white level. Raises UserError naming `view` when the chart is not found, burnt out, or another one.
    """
    places, side_px = find_patches(chart, camera, placement, targets, view)
    patches = np.array([_mean(chart, place, PATCH_PART * side_px) for place in places])
    if patches.max() > CLIPPED:
        raise UserError(f"view {view}: patches of the colour chart are burnt out; lower the light and shoot it again")
    colours = chart_pattern(targets).reflectance[: len(CLASSIC24)]
    white = float(patches[WHITE, 1])
    measured, wanted = patches / white, colours / colours[WHITE, 1]
    # relative errors count alike in light and dark patches
    weight = 1 / (wanted.mean(axis=1) + 0.05)
    solution = np.linalg.lstsq(measured * weight[:, None], wanted * weight[:, None], rcond=None)[0]
    misfit = float(np.sqrt(np.mean((measured @ solution - wanted) ** 2)))
    if misfit > WORST_FIT:
        raise UserError(
            f"view {view}: the colours found are not those of the 24-patch chart ({misfit:.2f} off); hold it upright: "
            "brown patch top left, white patch bottom left"
        )
    fitted = (measured @ solution) * colours[WHITE, 1]
    errors = np.linalg.norm(_lab(fitted) - _lab(colours), axis=1)
    return ColourFit(ColourMatrix(solution.T), measured, places, errors)


def find_patches(
    chart: np.ndarray, camera: PinholeCamera, placement: RigidTransform, targets: Targets, view: str
) -> tuple[Array, float]:
    """Middles (24, 2) px of the patches and their side in px. Raises UserError naming `view`."""
    centres = patch_centres_mm(targets)
    pose = placement
    planned, _ = camera.project(pose.apply(centres))
    pitch = float(np.median(np.linalg.norm(np.diff(planned.reshape(4, 6, 2), axis=1), axis=2)))
    side = pitch * targets.chart_patch_mm / (targets.chart_patch_mm + targets.chart_gap_mm)
    found = _squares(chart, side)
    missing = UserError(
        f"view {view}: the colour chart was not found ({len(found)} of 24 patches); hold it where the face will be, "
        "upright, facing the centre camera, evenly lit"
    )
    if len(found) < FEWEST_PATCHES:
        raise missing
    flat = centres[:, :2].astype(np.float64)
    best: np.ndarray | None = None
    most = 0
    # the chart may be some patches beside its planned place: try every offset that lays a found square on a planned one
    for anchor in found:
        for start in planned:
            shifted = planned + (anchor - start)
            near = np.linalg.norm(found[:, None] - shifted[None], axis=2)
            pairs = [(int(k), int(row.argmin())) for k, row in enumerate(near) if row.min() < 0.25 * pitch]
            if len(pairs) > most:
                most = len(pairs)
                best = np.array(pairs, np.int64)
    if best is None or most < FEWEST_PATCHES:
        raise missing
    rows, columns = best[:, 0], best[:, 1]
    source, target = flat[columns], found[rows]
    homography, inliers = cv2.findHomography(source, target, cv2.RANSAC, 0.12 * pitch)
    if homography is None or int(inliers.sum()) < FEWEST_PATCHES:
        raise missing
    places = np.asarray(cv2.perspectiveTransform(flat[None], homography)[0], np.float64)
    height, width = chart.shape[:2]
    margin = side / 2
    if (places < margin).any() or (places[:, 0] > width - margin).any() or (places[:, 1] > height - margin).any():
        raise UserError(f"view {view}: a part of the colour chart is outside of the picture")
    return places, side


def _squares(chart: np.ndarray, side: float) -> Array:
    """Middles (N, 2) of evenly coloured squares of about `side` px."""
    scale = max(float(np.percentile(chart, 99.5)), 1e-3)
    encoded = np.clip(np.asarray(chart, np.float32) / scale, 0, 1) ** (1 / 2.4)
    found: list[tuple[float, float]] = []
    planes = [encoded.max(axis=2), *(encoded[..., colour] for colour in range(3))]
    for plane in planes:
        image = cv2.GaussianBlur((plane * 255).astype(np.uint8), (0, 0), max(0.8, side / 60))
        for level in (35, 50, 65, 80, 100, 125, 150, 180, 210):
            binary = (image > level).astype(np.uint8)
            contours, _ = cv2.findContours(binary, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            for contour in contours:
                area = cv2.contourArea(contour)
                if not 0.35 * side**2 < area < 1.5 * side**2:
                    continue
                rectangle = cv2.minAreaRect(contour)
                if area > 0.85 * rectangle[1][0] * rectangle[1][1]:
                    found.append((float(rectangle[0][0]), float(rectangle[0][1])))
    kept: list[Array] = []
    for middle in np.array(found).reshape(-1, 2):
        if all(np.linalg.norm(middle - other) > 0.3 * side for other in kept):
            kept.append(middle)
    return np.array(kept).reshape(-1, 2)


def _mean(image: np.ndarray, place: Array, side: float) -> Array:
    half = max(side / 2, 0.5)
    left, top = np.floor(place - half + 0.5).astype(int)
    right, bottom = np.floor(place + half + 0.5).astype(int)
    part = image[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)]
    return part.reshape(-1, 3).astype(np.float64).mean(axis=0)


def _lab(linear: Array) -> Array:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.maximum(linear, 0) @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
