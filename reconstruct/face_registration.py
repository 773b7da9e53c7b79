"""How the head moved between two exposures, whatever the light does: a rigid motion in space, from colour ratios.

Brightness follows the lamp, so its edges move when another flash fires. Colour ratios of light from inside the skin
follow the skin alone. With the depth of the face known, a rigid motion has six numbers and predicts the motion of
every pixel; they are found by Gauss-Newton steps from coarse to fine on log(red / green) and log(green / blue), with
robust weights. What the face did beyond a rigid motion is reported as a residual, block by block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import RigidTransform

COARSEST_MM, FINEST_MM = 3.2, 0.8
"""Pixel sizes at which the registration runs, as far as the pictures are that fine."""
HIGH_PASS_MM = 12.0
"""Colour ratios are high-passed at this distance: the colour of light from other skin drops out."""
DARKEST = 0.006
STEPS = 10
FEWEST_PX = 200
SAMPLE = 20_000
OUTLIER = 2.0
PRIOR_MM, PRIOR_DEG = 4.0, 2.0
"""Standard deviations of the motion; they hold what a front view hardly sees (depth, turns of the head)."""
RATIO_NOISE = 0.05
BLOCK_MM = 14.0


@dataclass(frozen=True, eq=False)
class Level:
    """One size of a picture to be registered: values (h, w, C) that don't follow the lamp, weight (h, w)."""

    camera: PinholeCamera
    values: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Pyramid:
    """What `register` compares; coarsest level first."""

    levels: tuple[Level, ...]


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """Motion of the head's points in camera axes since the reference: X = R X_reference + t.

    moved_px: rms motion in the picture; residual_px: rms of what blocks of the face moved beyond it; overlap: share of
    the face lit in both.
    """

    motion: RigidTransform
    moved_px: float
    residual_px: float
    overlap: float

    @property
    def moved_mm(self) -> float:
        """Distance that the origin of the motion's translation moved; see `moved_px` for the picture."""
        return float(np.linalg.norm(self.motion.translation_mm))


STILL = RigidTransform(np.eye(3), np.zeros(3))


def pixel_mm(camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray) -> float:
    """Size of a pixel at the face's median depth."""
    return float(np.nanmedian(depth_mm[mask])) / camera.fx_px


def colour_ratios(
    rgb: np.ndarray, clipped: np.ndarray | None, mask: np.ndarray, camera: PinholeCamera, pitch_mm: float,
    white: Sequence[float] = (1.0, 1.0, 1.0),
) -> Pyramid:  # fmt: skip
    """Prepare a picture (H, W, 3) of light from inside the skin; clipped pixels and those outside of `mask` count 0."""
    good = mask if clipped is None else mask & ~clipped
    scaled = rgb / np.asarray(white, np.float32)
    levels, size_mm = [], COARSEST_MM
    while size_mm >= FINEST_MM * 0.99:
        factor = max(size_mm / pitch_mm, 1.0)
        if factor > 1.0 or not levels or levels[-1].camera.width_px < camera.width_px:
            levels.append(_level(scaled, good, camera, factor, max(pitch_mm, size_mm)))
        size_mm /= 2
    return Pyramid(tuple(levels))


def _level(rgb: np.ndarray, good: np.ndarray, camera: PinholeCamera, factor: float, size_mm: float) -> Level:
    size = (max(16, round(camera.width_px / factor)), max(16, round(camera.height_px / factor)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(good.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.8)
    darkest = small.min(axis=2)
    safe = np.maximum(small, DARKEST / 4)
    ratios = np.log(safe[..., :2] / safe[..., 1:]).astype(np.float32)
    weight = ((inside > 0.99) * np.clip(darkest / DARKEST - 0.5, 0, 4) / 4).astype(np.float32)
    return Level(squeezed(camera, *size), high_passed(ratios, weight, size_mm), weight)


def squeezed(camera: PinholeCamera, width_px: int, height_px: int) -> PinholeCamera:
    """`camera.scaled` without its check of the aspect: both sides of a small window are rounded."""
    across, down = width_px / camera.width_px, height_px / camera.height_px
    return replace(
        camera, width_px=width_px, height_px=height_px, fx_px=camera.fx_px * across, fy_px=camera.fy_px * down,
        cx_px=(camera.cx_px + 0.5) * across - 0.5, cy_px=(camera.cy_px + 0.5) * down - 0.5,
    )  # fmt: skip


def high_passed(values: np.ndarray, weight: np.ndarray, size_mm: float) -> np.ndarray:
    """Values (h, w, C) less their weighted mean over about HIGH_PASS_MM; size_mm: of a pixel."""
    sigma = HIGH_PASS_MM / size_mm / 2
    total = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4)[..., None]
    mean = cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma).reshape(values.shape) / total
    return (values - mean).astype(np.float32)


def register(
    reference: Pyramid,
    moved: Pyramid,
    depth_mm: np.ndarray,
    start: RigidTransform = STILL,
) -> HeadMotion:
    """Where the head of `reference` went in `moved`. depth_mm (H, W): of the reference, NaN where unknown."""
    motion, overlap = start, 0.0
    points, flow, ratios, level = None, None, None, None
    for level, other in zip(reference.levels, moved.levels, strict=True):
        points = face_points(depth_mm, level.camera)
        known = np.isfinite(points[..., 2]) & (level.weight > 0)
        if known.sum() < FEWEST_PX:
            continue
        centre = points[known].mean(0, dtype=np.float64)
        for _ in range(STEPS):
            flow = project_motion(points, motion, level.camera)
            ratios, weight = _warp(other, flow)
            step, overlap = _step(level, ratios, weight, points, known, centre, motion)
            motion = _compose(motion, step, centre)
            if np.linalg.norm(step[3:5]) / _mm_per_px(level.camera, centre) < 0.01 and np.linalg.norm(step[:3]) < 5e-5:
                break
    if level is None or points is None or flow is None:
        return HeadMotion(motion, 0.0, 0.0, 0.0)
    flow = project_motion(points, motion, level.camera)
    ratios, weight = _warp(moved.levels[-1], flow)
    known = np.isfinite(points[..., 2]) & (level.weight > 0)
    factor = depth_mm.shape[1] / level.camera.width_px
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
    distance2 = (flow[..., 0] - x) ** 2 + (flow[..., 1] - y) ** 2
    blocks = local_shifts(level, ratios, weight, known)
    return HeadMotion(
        motion,
        factor * float(np.sqrt(distance2[known].mean())) if known.any() else 0.0,
        factor * blocks,
        overlap,
    )


def face_points(depth_mm: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """(h, w, 3) camera points of the level's pixels."""
    if depth_mm.shape != (camera.height_px, camera.width_px):
        size = (camera.width_px, camera.height_px)
        known = np.isfinite(depth_mm).astype(np.float32)
        share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        total = cv2.resize(np.nan_to_num(depth_mm).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        depth_mm = np.where(share > 0.5, total / np.maximum(share, 1e-6), np.nan)
    x, y = camera.normalised_grid()
    return np.stack([x[None] * depth_mm, y[:, None] * depth_mm, depth_mm], axis=2).astype(np.float32)


def project_motion(points: np.ndarray, motion: RigidTransform, camera: PinholeCamera) -> np.ndarray:
    """(h, w, 2) float32 pixels (column, row) where the reference's points (h, w, 3) are after the motion."""
    from .motion_kernel import flow

    out = np.empty((*points.shape[:2], 2), np.float32)
    flow(
        points, motion.rotation, motion.translation_mm, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, out
    )  # fmt: skip
    return out


def resample(image: np.ndarray, at: np.ndarray, interpolation: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """The picture at pixels `at` (h, w, 2) float32, (column, row)."""
    x, y = (np.ascontiguousarray(at[..., k]) for k in range(2))
    return np.asarray(cv2.remap(image, x, y, interpolation, borderMode=border))


def _warp(level: Level, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ratios = resample(level.values, flow, cv2.INTER_CUBIC)
    weight = resample(level.weight, flow, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    return ratios.reshape(*weight.shape, -1), weight


def _gradients(level: Level, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = (level.values + values) / 2
    across = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=1 / 8).reshape(mean.shape)
    return across, cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=1 / 8).reshape(mean.shape)


def _step(
    level: Level,
    values: np.ndarray,
    weight: np.ndarray,
    points: np.ndarray,
    known: np.ndarray,
    centre: np.ndarray,
    motion: RigidTransform,
) -> tuple[np.ndarray, float]:
    """Gauss-Newton step: turn (3 radians about `centre`) and shift (3 mm)."""
    from .motion_kernel import equations

    both = np.sqrt(level.weight * weight)
    chosen = known & (both > 0.05)
    overlap = float(chosen.sum() / max(known.sum(), 1))
    if chosen.sum() < 100:
        return np.zeros(6), 0.0
    camera = level.camera
    across, down = _gradients(level, values)
    matrix, right = np.zeros((6, 6)), np.zeros(6)
    trust = np.where(chosen, both, 0).astype(np.float32)
    for c in range(values.shape[2]):
        rest = values[..., c] - level.values[..., c]
        sample = rest[chosen][:: max(int(chosen.sum()) // SAMPLE, 1)]
        middle = float(np.median(sample))
        spread = 1.4826 * float(np.median(np.abs(sample - middle))) + 1e-5
        equations(
            points, motion.rotation, motion.translation_mm, camera.fx_px, camera.fy_px, centre, across[..., c],
            down[..., c], rest - np.float32(middle), trust, spread, OUTLIER, matrix, right,
        )  # fmt: skip
    # neighbouring pixels err alike: count one in eight
    matrix, right = matrix / 8, right / 8
    prior = np.array([np.deg2rad(PRIOR_DEG)] * 3 + [PRIOR_MM] * 3) ** -2.0
    return -np.linalg.solve(matrix + np.diag(prior), right), overlap


def _compose(motion: RigidTransform, step: np.ndarray, centre: np.ndarray) -> RigidTransform:
    turn = cv2.Rodrigues(step[:3])[0]
    rotation = turn @ motion.rotation
    shift = turn @ (motion.translation_mm - centre) + centre + step[3:]
    u, _, vt = np.linalg.svd(rotation)
    return RigidTransform(u @ vt, shift)


def compose(second: RigidTransform, first: RigidTransform) -> RigidTransform:
    """x -> second(first(x))."""
    return RigidTransform(second.rotation @ first.rotation, second.apply(first.translation_mm[None])[0])


def _mm_per_px(camera: PinholeCamera, centre: np.ndarray) -> float:
    return float(centre[2]) / camera.fx_px


def local_shifts(level: Level, ratios: np.ndarray, weight: np.ndarray, known: np.ndarray) -> float:
    """Rms over blocks of the shift in px that each block would still like, weighted by how well it can tell."""
    both = np.where(known, np.sqrt(level.weight * weight), 0).astype(np.float32)
    across, down = _gradients(level, ratios)
    size = BLOCK_MM / max(_mm_per_px(level.camera, np.array([0, 0, 1000.0])), 1e-6)
    sums = {}
    for c in range(ratios.shape[2]):
        rest = ratios[..., c] - level.values[..., c]
        chosen = both > 0.05
        if not chosen.any():
            return 0.0
        rest = rest - np.median(rest[chosen])
        spread = 1.4826 * float(np.median(np.abs(rest[chosen]))) + 1e-5
        trust = both / ((1 + (rest / (OUTLIER * spread)) ** 2) ** 2 * spread**2)
        gx, gy = across[..., c], down[..., c]
        for key, value in (("xx", gx * gx), ("xy", gx * gy), ("yy", gy * gy), ("x", gx * rest), ("y", gy * rest)):
            smooth = cv2.GaussianBlur(trust * value, (0, 0), size / 3)
            sums[key] = sums.get(key, 0) + smooth
    determinant = sums["xx"] * sums["yy"] - sums["xy"] ** 2
    trace = sums["xx"] + sums["yy"]
    steady = determinant / np.maximum(trace, 1e-12)
    damping = 0.05 * float(np.median(steady[known])) + 1e-12
    det = (sums["xx"] + damping) * (sums["yy"] + damping) - sums["xy"] ** 2
    right = (sums["x"] * (sums["yy"] + damping) - sums["y"] * sums["xy"]) / det
    below = (sums["y"] * (sums["xx"] + damping) - sums["x"] * sums["xy"]) / det
    importance = np.where(known, steady, 0)
    return float(np.sqrt(np.sum(importance * (right**2 + below**2)) / max(float(importance.sum()), 1e-12)))
