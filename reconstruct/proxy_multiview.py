"""The proxy of a calibrated scan: one face, several perspective cameras, millimetres (scale 1), a rigid pose.

The same estimate as `proxy_fit`, with the pose of the head in the place of the camera. A jaw landmark that a view's
outline hides is left out in that view: others see it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rigid import RigidTransform
from .expression_prior import checked_beta
from .face_model import FaceModel
from .landmarks import COUNT, Landmarks
from .proxy_contour import ContourStrips, contour_strips, outline
from .proxy_fit import OUTLIER_MM, OUTLIER_WEIGHT, fast_shape_mm
from .proxy_options import NOISE_RANGE_MM, FitOptions
from .proxy_rounds import FIRST_NOISE_MM, LEAST_LANDMARKS, SETTLED, tukey_weights
from .proxy_solve import ModelRows, coefficient_prior, solve_coefficients

LEAST_VIEWS = 2


@dataclass(frozen=True, slots=True)
class MultiviewProxy:
    """A face model instance in the world of a scan."""

    model: FaceModel
    alpha: np.ndarray
    """(Ki,) float64."""
    beta: np.ndarray
    """(Ke,) float64."""
    world_from_model: RigidTransform
    vertices_mm: np.ndarray
    """(N, 3) float32 in the model frame."""
    residuals_px: dict[str, np.ndarray]
    """(68,) float64 of each view; NaN where unused."""
    noise_mm: float
    """Estimated (or assumed) standard deviation of a landmark at the face."""
    iterations: int
    warnings: tuple[str, ...]

    @property
    def vertices_world_mm(self) -> np.ndarray:
        """(N, 3) float64."""
        return self.world_from_model.apply(self.vertices_mm.astype(np.float64))


@dataclass(frozen=True, slots=True)
class _View:
    name: str
    camera: PinholeCamera
    points_px: np.ndarray
    """(68, 2) without lens distortion."""
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class _Seen:
    """One view at the current estimate."""

    residual_px: np.ndarray
    used: np.ndarray
    px_per_mm: float


def fit_multiview(
    model: FaceModel,
    cameras: Mapping[str, PinholeCamera],
    landmarks: Mapping[str, Landmarks],
    *,
    beta_prior: np.ndarray | None = None,
    options: FitOptions | None = None,
) -> MultiviewProxy:
    """Fit `model` to landmarks found in several calibrated views of one face.

    Args:
        cameras, landmarks: by view name; views that have both are used. Distorted lenses are allowed.
        beta_prior: as in `fit_proxy`; so are the options but for the camera's, which is known here.
    Raises UserError for fewer than two views, or too few landmarks that two views share.
    """
    options = options or FitOptions()
    beta = None if beta_prior is None else checked_beta(model, beta_prior)
    prior = coefficient_prior(model, beta, options.lambda_identity, options.lambda_expression, options.prior_sigma)
    views = [_view(name, cameras[name], landmarks[name]) for name in landmarks if name in cameras]
    if len(views) < LEAST_VIEWS:
        raise UserError(
            f"multi-view fit: {len(views)} views with both a camera and landmarks, expected at least {LEAST_VIEWS}"
        )
    strips = None if options.contour == "vertices" else contour_strips(model)
    strip_rows = np.zeros(0, np.int64) if strips is None else strips.vertices.ravel()
    rows = ModelRows.of(model, np.concatenate([np.maximum(model.landmarks, 0), strip_rows]))
    known = model.landmarks >= 0
    coefficients = prior.mean.copy()
    pose = _first_pose(rows.points_mm(coefficients)[:COUNT], known, views)
    noise_mm, spent = options.noise_mm or FIRST_NOISE_MM, 0.0
    rounds, settled, previous = 0, False, None
    robust = {view.name: np.ones(COUNT) for view in views}
    seen: dict[str, _Seen] = {}
    for rounds in range(1, options.rounds + 1):
        points = rows.points_mm(coefficients)
        world = pose.apply(points)
        if rounds <= options.rounds // 2 or not seen:  # then the hidden points stay as they are
            hidden = {view.name: _hidden(view, world, pose, strips) for view in views}
        seen = {view.name: _look(view, world[:COUNT], known & ~hidden[view.name]) for view in views}
        squares = numbers = 0.0
        for view in views:
            now = seen[view.name]
            distance_mm = np.linalg.norm(now.residual_px, axis=1) / now.px_per_mm
            robust[view.name] = tukey_weights(distance_mm, now.used, noise_mm)
            weight = view.weights * robust[view.name]
            squares, numbers = squares + float(weight @ distance_mm**2), numbers + 2 * float(weight.sum())
        if options.noise_mm is None and spent:
            variance = squares / max(numbers - spent, 0.1 * numbers)
            noise_mm = float(np.clip(np.sqrt(variance), *NOISE_RANGE_MM))
        design, turns, miss = [], [], []
        for view in views:
            now = seen[view.name]
            root = np.sqrt(view.weights * robust[view.name]) / (noise_mm * now.px_per_mm)
            used = root > 0
            slopes = pixel_derivatives(view.camera, world[:COUNT][used]) * root[used, None, None]
            arm = world[:COUNT][used] - pose.translation_mm
            basis = rows.pixel_derivatives(slopes @ pose.rotation, np.flatnonzero(used))
            design.append(basis.reshape(-1, basis.shape[2]))
            turns.append(np.concatenate([np.cross(arm[:, None], slopes), slopes], 2).reshape(-1, 6))
            miss.append((now.residual_px[used] * root[used, None]).ravel())
        a, b, r = np.concatenate(design), np.concatenate(turns), np.concatenate(miss)
        before = coefficients
        coefficients, spent = solve_coefficients(a, r, b, prior, coefficients)
        step = np.linalg.lstsq(b, r - a @ (coefficients - before), rcond=None)[0]
        pose = _turned(pose, step)
        now_mm = pose.apply(rows.points_mm(coefficients)[:COUNT])
        settled = previous is not None and bool(np.abs(now_mm - previous).max() < SETTLED * noise_mm)
        previous = now_mm
        if settled:
            break
    identity = rows.identity_count
    alpha, beta = coefficients[:identity].copy(), coefficients[identity:].copy()
    lost = {name: _lost(now, robust[name]) for name, now in seen.items()}
    warnings = [
        f"{name}: landmarks that contradict the others were left out (iBUG numbers): "
        + ", ".join(str(k + 1) for k in numbers)
        for name, numbers in lost.items()
        if len(numbers)
    ]
    if not settled:
        warnings.append(f"the multi-view fit had not settled after {rounds} rounds")
    residuals = {
        name: np.where(now.used, np.linalg.norm(now.residual_px, axis=1), np.nan) for name, now in seen.items()
    }
    vertices = fast_shape_mm(model, alpha, beta)
    return MultiviewProxy(model, alpha, beta, pose, vertices, residuals, noise_mm, rounds, tuple(warnings))


def _view(name: str, camera: PinholeCamera, landmarks: Landmarks) -> _View:
    points = landmarks.points_px.copy()
    if camera.has_distortion and landmarks.known.any():
        matrix = camera.matrix_px
        flat = cv2.undistortPoints(points[landmarks.known][:, None], matrix, np.array(camera.distortion), P=matrix)
        points[landmarks.known] = flat[:, 0]
    return _View(name, camera.undistorted(), points, landmarks.weights)


def _first_pose(points_mm: np.ndarray, known: np.ndarray, views: list[_View]) -> RigidTransform:
    """The mean face laid onto triangulated landmarks; wild ones lose weight."""
    known = known & (np.arange(COUNT) >= 17)  # contour landmarks are different points in every view
    world, good = _triangulated(views)
    good &= known
    if good.sum() < LEAST_LANDMARKS:
        raise UserError(
            f"multi-view fit: {int(good.sum())} landmarks (without the jaw) are seen by two views or more, expected at "
            f"least {LEAST_LANDMARKS}; check that the cameras and the landmark files belong together"
        )
    source, target = points_mm[good], world[good]
    weights = np.ones(len(source))
    pose = _rigid(source, target, weights)
    for _ in range(15):
        distance = np.linalg.norm(pose.apply(source) - target, axis=1)
        weights = 1 / np.maximum(distance, 1.0)
        pose = _rigid(source, target, weights)
    return pose


def _triangulated(views: list[_View]) -> tuple[np.ndarray, np.ndarray]:
    """(68, 3) world points nearest to the rays of all views that know them, and (68,) bool where two or more do."""
    normal, right, count = np.zeros((COUNT, 3, 3)), np.zeros((COUNT, 3)), np.zeros(COUNT, int)
    for view in views:
        camera, known = view.camera, view.weights > 0
        x, y = ((view.points_px - (camera.cx_px, camera.cy_px)) / (camera.fx_px, camera.fy_px)).T
        ray = np.nan_to_num(np.stack([x, y, np.ones(COUNT)], 1)) @ camera.cam_from_world.rotation
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        across = (np.eye(3) - ray[:, :, None] * ray[:, None, :]) * known[:, None, None]
        normal, right, count = normal + across, right + across @ camera.centre_mm, count + known
    good = (count >= 2) & (np.linalg.cond(normal + 1e-12 * np.eye(3)) < 1e6)
    points = np.full((COUNT, 3), np.nan)
    points[good] = np.linalg.solve(normal[good], right[good][..., None])[..., 0]
    return points, good


def _rigid(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> RigidTransform:
    a, b = (np.average(values, axis=0, weights=weights) for values in (source, target))
    left, _, right = np.linalg.svd(((source - a) * weights[:, None]).T @ (target - b))
    turn = right.T @ np.diag([1, 1, np.linalg.det(right.T @ left.T)]) @ left.T
    return RigidTransform(turn, b - turn @ a)


def _hidden(view: _View, world_mm: np.ndarray, pose: RigidTransform, strips: ContourStrips | None) -> np.ndarray:
    """(68,) bool: jaw points inside this view's outline."""
    hidden = np.zeros(COUNT, bool)
    if strips is not None:
        size = strips.vertices.shape[1]
        chains = view.camera.project(world_mm[COUNT:])[0].reshape(17, size, 2)
        middle = pose.apply(np.zeros((1, 3)))
        ends = view.camera.project(middle + strips.outward @ pose.rotation.T)[0]
        scale = view.camera.fx_px / float(view.camera.project(middle)[1][0])
        hidden[:17] = outline(strips, chains, ends - view.camera.project(middle)[0], scale).hidden
    return hidden


def _lost(seen: _Seen, robust: np.ndarray) -> np.ndarray:
    """Numbers of the landmarks to report."""
    far = np.linalg.norm(seen.residual_px, axis=1) > OUTLIER_MM * seen.px_per_mm
    return np.flatnonzero(seen.used & far & (robust < OUTLIER_WEIGHT))


def _look(view: _View, world_mm: np.ndarray, allowed: np.ndarray) -> _Seen:
    pixels, depth = view.camera.project(world_mm)
    if not (depth > 0).all():
        raise UserError(f"multi-view fit: the face lies behind camera {view.name}; check cameras and landmark files")
    used = allowed & (view.weights > 0)
    return _Seen(np.nan_to_num(view.points_px - pixels), used, float(view.camera.fx_px / np.median(depth)))


def pixel_derivatives(camera: PinholeCamera, world_mm: np.ndarray) -> np.ndarray:
    """(N, 2, 3) px per mm of world points."""
    x, y, z = camera.cam_from_world.apply(world_mm).T
    zero = np.zeros_like(z)
    across = np.stack([camera.fx_px / z, zero, -camera.fx_px * x / z**2], 1)
    down = np.stack([zero, camera.fy_px / z, -camera.fy_px * y / z**2], 1)
    return np.stack([across, down], 1) @ camera.cam_from_world.rotation


def _turned(pose: RigidTransform, step: np.ndarray) -> RigidTransform:
    """After a rotation vector in world axes about the head's origin, and a translation in mm."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ pose.rotation
    left, _, right = np.linalg.svd(rotation)
    return RigidTransform(left @ right, pose.translation_mm + step[3:])
