"""The proxy of one picture: camera, identity and expression of a face model from 68 landmarks (Eqs. 1, 2 and 4)."""

from dataclasses import dataclass

import numpy as np

from .affine_camera import AffineCamera
from .expression_prior import checked_beta
from .face_model import FaceModel
from .landmarks import COUNT, Landmarks
from .proxy_camera import FaceCamera
from .proxy_options import FitOptions
from .proxy_rounds import FitRounds
from .proxy_solve import coefficient_prior

__all__ = ["FitOptions", "Proxy", "fast_shape_mm", "fit_proxy"]

YAW_LIMIT_DEG = 30.0
"""The published system breaks down beyond (an independent benchmark shows it); ours warns."""
OUTLIER_WEIGHT = 0.1
OUTLIER_MM = 2.0
"""A landmark of less weight and farther off on the face is reported as left out."""
FAR_MM = 20000.0
"""A camera beyond is as good as affine."""
RMS_MM = 3.0
"""Residual on the face at which the confidence has fallen to 0.37."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A face model instance in front of a picture."""

    model: FaceModel
    alpha: np.ndarray
    """(Ki,) float64."""
    beta: np.ndarray
    """(Ke,) float64."""
    camera: AffineCamera
    vertices_mm: np.ndarray
    """(N, 3) float32."""
    residuals_px: np.ndarray
    """(68,) float64 distance of each landmark (of an outline landmark: from the outline); NaN where unused."""
    confidence: float
    """0 to 1: falls with the residual on the face (0.37 at `RMS_MM`), lost landmarks, and yaw beyond 30 degrees."""
    pose_deg: tuple[float, float, float]
    """Yaw, pitch, roll; see `AffineCamera.pose_deg`."""
    warnings: tuple[str, ...]
    iterations: int = 0
    landmark_weights: np.ndarray | None = None
    """(68,) float64 0..1 that the robust fit gave each landmark; 0 where unused."""
    contour: str = "vertices"
    """What hidden jaw landmarks were taken for: `outline`, `vertices` or `none`."""
    noise_mm: float = np.nan
    """Assumed or estimated standard deviation of the landmarks on the face."""
    perspective: FaceCamera | None = None
    """The camera that was fitted, where it is at a finite distance; `camera` is then its affine approximation, which
    is 1 mm off at the face from 1.2 m, 2 mm from 0.6 m."""

    @property
    def view_camera(self) -> AffineCamera | FaceCamera:
        """The better of both: to draw with, to look up pixels with."""
        return self.perspective or self.camera

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        """(N, 2) float64 column, row by `view_camera`."""
        return self.view_camera.project(points_mm)

    def depth(self, points_mm: np.ndarray) -> np.ndarray:
        """(N,) float64 mm along the viewing direction of `view_camera`, larger = farther."""
        return self.view_camera.depth(points_mm)


def fit_proxy(
    model: FaceModel,
    landmarks: Landmarks,
    *,
    beta_prior: np.ndarray | None = None,
    options: FitOptions | None = None,
) -> Proxy:
    """Fit `model` to the landmarks of one face.

    Args:
        beta_prior: (Ke,) expression from a prior: it stays fixed, as in the paper. None: fitted with the identity.
    Raises UserError when too few landmarks are usable or they leave the camera open; ValueError for a prior that does
    not fit the model.
    """
    options = options or FitOptions()
    beta = None if beta_prior is None else checked_beta(model, beta_prior)
    prior = coefficient_prior(model, beta, options.lambda_identity, options.lambda_expression, options.prior_sigma)
    fit = FitRounds(model, landmarks, prior, options)
    fit.run()
    return _proxy(fit)


def _proxy(fit: FitRounds) -> Proxy:
    points = fit.rows.points_mm(fit.coefficients)
    matched = fit.match(points)
    fit.reweigh(matched)
    distance = np.linalg.norm(matched.across(matched.residual_px), axis=1)
    identity = fit.rows.identity_count
    alpha, beta = fit.coefficients[:identity].copy(), fit.coefficients[identity:].copy()
    weights = fit.landmarks.weights * fit.robust
    inner = weights > 0
    rms_mm = float(np.sqrt(np.average(distance[inner] ** 2, weights=weights[inner]))) / fit.camera.scale_px_per_mm
    pose = fit.camera.pose_deg
    camera, perspective = fit.camera, None
    if isinstance(camera, FaceCamera):
        perspective = camera if camera.distance_mm < FAR_MM else None
        camera = camera.affine(points[:COUNT])
    kept = weights.sum() / max(float(fit.landmarks.weights.sum()), 1e-12)
    turned = np.clip(1 - (abs(pose[0]) - YAW_LIMIT_DEG) / 45, 0, 1)
    return Proxy(
        fit.model,
        alpha,
        beta,
        camera,
        fast_shape_mm(fit.model, alpha, beta),
        np.where(matched.used, distance, np.nan),
        float(np.exp(-((rms_mm / RMS_MM) ** 2)) * min(kept, 1.0) * turned),
        pose,
        _warnings(fit, distance, matched.used, pose, alpha),
        fit.iterations,
        fit.robust.copy(),
        fit.contour,
        fit.noise_mm,
        perspective,
    )


def _warnings(
    fit: FitRounds, distance_px: np.ndarray, used: np.ndarray, pose: tuple[float, float, float], alpha: np.ndarray
) -> tuple[str, ...]:
    found = []
    if abs(pose[0]) > YAW_LIMIT_DEG:
        found.append(
            f"the head is turned by {abs(pose[0]):.0f} degrees of yaw: beyond {YAW_LIMIT_DEG:.0f} the far side is "
            "hidden and its shape is a guess of the face model"
        )
    scale = fit.camera.scale_px_per_mm
    lost = np.flatnonzero(used & (fit.robust < OUTLIER_WEIGHT) & (distance_px > OUTLIER_MM * scale))
    if len(lost):
        listed = ", ".join(f"{k + 1} ({distance_px[k]:.0f} px, {distance_px[k] / scale:.0f} mm off)" for k in lost)
        found.append(f"landmarks that contradict the others were left out (iBUG numbers): {listed}")
    if len(alpha) and np.abs(alpha).max() > 4:
        found.append(f"identity coefficient {np.abs(alpha).argmax()} is {np.abs(alpha).max():.1f} standard deviations")
    if isinstance(fit.camera, AffineCamera) and fit.camera.anisotropy > 1.15:
        found.append(
            f"the camera's axes differ in scale by {100 * (fit.camera.anisotropy - 1):.0f} %: the picture may be "
            "stretched, or the landmarks wrong"
        )
    if not fit.settled:
        found.append(f"the fit had not settled after {fit.iterations} rounds")
    return tuple(found)


def fast_shape_mm(model: FaceModel, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """`FaceModel.shape_mm` in single precision, without copies of the bases: (N, 3) float32, to about 1e-5 mm."""
    shape = model.mean_mm.reshape(-1).copy()
    for coefficients, basis in ((alpha, model.identity_mm), (beta, model.expression_mm)):
        if len(coefficients):
            shape += np.asarray(coefficients, np.float32) @ basis.reshape(len(basis), -1)
    return shape.reshape(-1, 3)
