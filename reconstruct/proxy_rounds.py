"""The rounds of the proxy fit, from the mean face to rest.

Per round: outline landmarks are matched to the current shape, wrong landmarks lose weight, the noise is estimated, the
coefficients come from the closed-form regularised solve of Eq. 4 with the camera eliminated, and then the camera.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..capture.errors import UserError
from .affine_camera import AffineCamera, estimate_affine
from .face_model import FaceModel
from .landmarks import COUNT, Landmarks
from .proxy_camera import FAR_AWAY, DistancePrior, FaceCamera, estimate_camera, with_distance_prior
from .proxy_contour import ContourStrips, contour_strips, outline
from .proxy_options import NOISE_RANGE_MM, FitOptions
from .proxy_solve import CoefficientPrior, ModelRows, solve_coefficients

LEAST_LANDMARKS = 12
BEHIND_DEG = 110.0
ALONG = 0.05
"""Weight of an outline landmark's distance along the outline, where annotators are free; across it is 1."""
TUKEY = 4.685
"""Residuals beyond this many robust standard deviations count nothing."""
FIRST_NOISE_MM = 2.0
HOLD_ROUNDS = 10
"""After so many rounds an outline landmark keeps its vertex, or two neighbours could take turns for ever."""
SETTLED = 1e-3
"""Converged when no landmark moves by more than this share of the noise."""


@dataclass(frozen=True, slots=True)
class Match:
    """The rows that explain the landmarks."""

    row: np.ndarray
    used: np.ndarray
    normal_px: np.ndarray
    """(68, 2) across the outline; zero for landmarks that count in both directions."""
    residual_px: np.ndarray

    def again(self, points_px: np.ndarray, seen_px: np.ndarray) -> "Match":
        """The same rows after they moved."""
        return replace(self, residual_px=np.nan_to_num(points_px - seen_px))

    def across(self, values: np.ndarray) -> np.ndarray:
        """(68, 2, ...) with the part along the outline scaled by root ALONG, where a landmark lies on the outline."""
        flat = values.reshape(COUNT, 2, -1)
        matrix = np.broadcast_to(np.eye(2), (COUNT, 2, 2)).copy()
        on = self.normal_px.any(1)
        outer = self.normal_px[on, :, None] * self.normal_px[on, None, :]
        matrix[on] = outer + np.sqrt(ALONG) * (np.eye(2) - outer)
        return (matrix @ flat).reshape(values.shape)


class FitRounds:
    """The state of one fit; `run` brings it to rest."""

    def __init__(self, model: FaceModel, landmarks: Landmarks, prior: CoefficientPrior, options: FitOptions) -> None:
        self.model, self.landmarks, self.prior, self.options = model, landmarks, prior, options
        self.strips: ContourStrips | None = None if options.contour == "vertices" else contour_strips(model)
        strip_rows = np.zeros(0, np.int64) if self.strips is None else self.strips.vertices.ravel()
        self.rows = ModelRows.of(model, np.concatenate([np.maximum(model.landmarks, 0), strip_rows]))
        self.coefficients = prior.mean.copy()
        self.contour: str = "none" if options.contour in ("auto", "none") else options.contour
        self.modelled = model.landmarks >= 0
        usable = int((landmarks.known & (self.modelled | (np.arange(COUNT) < 17))).sum())
        if usable < LEAST_LANDMARKS:
            raise UserError(
                f"landmarks ({landmarks.source}): {usable} usable, expected at least {LEAST_LANDMARKS} of 68 that both "
                f"the picture and {model.name} know; give more points or another face model"
            )
        self.robust = np.ones(COUNT)
        self.noise_mm, self.spent = options.noise_mm or FIRST_NOISE_MM, 0.0
        self.iterations, self.settled = 0, False
        self.camera = self._first_camera()
        if abs(self.camera.pose_deg[0]) > BEHIND_DEG:
            raise UserError(
                f"landmarks ({landmarks.source}): they show the face from behind (yaw {self.camera.pose_deg[0]:.0f} "
                "degrees): left and right, or up and down, are exchanged. Expected column, row in px from top left, "
                "the subject's right jaw (at the picture's left) first"
            )

    def run(self) -> None:
        budget = self.options.rounds
        self._rounds(budget if self.options.contour != "auto" else budget // 2)
        if self.options.contour == "auto":
            self.contour = self._better_contour()
            self._rounds(budget - self.iterations)

    def _rounds(self, most: int) -> None:
        points = self.rows.points_mm(self.coefficients)
        seen = self.camera.project(points[:COUNT])
        held: Match | None = None
        for number in range(most):
            self.iterations += 1
            if held is None:
                matched = self.match(points)
                held = matched if number >= HOLD_ROUNDS else None
            else:
                matched = held.again(self.landmarks.points_px, self.camera.project(points[held.row]))
            self.reweigh(matched)
            self._estimate_noise(matched)
            self._solve(matched)
            points = self.rows.points_mm(self.coefficients)
            self._move_camera(points, matched)
            now = self.camera.project(points[:COUNT])
            self.settled = bool(np.abs(now - seen).max() < SETTLED * self._sigma_px())
            seen = now
            if self.settled:
                break

    def _sigma_px(self) -> float:
        return self.noise_mm * self.camera.scale_px_per_mm

    def _first_camera(self) -> AffineCamera | FaceCamera:
        """On the mean shape, by least absolute deviations: a few wild points do not matter."""
        points = self.rows.points_mm(self.coefficients)[:COUNT]
        weights = self.landmarks.weights * self.modelled
        weights = weights * np.where(np.arange(COUNT) < 17, 0.3, 1.0)  # the jaw may not be where its vertices are
        camera = estimate_affine(points, self.landmarks.points_px, weights)
        for _ in range(8):
            distance = np.linalg.norm(self.landmarks.points_px - camera.project(points), axis=1)
            floor = self.noise_mm * camera.scale_px_per_mm
            factor = 1 / np.maximum(np.nan_to_num(distance, nan=1.0), floor)
            camera = estimate_affine(points, self.landmarks.points_px, weights * factor)
        if self.options.camera == "affine":
            return camera
        face = FaceCamera.from_affine(camera)
        prior = self._distance_prior(face)
        return replace(face, inverse_distance_per_mm=prior.per_mm)

    def _distance_prior(self, camera: FaceCamera) -> DistancePrior:
        options = self.options
        if options.camera == "orthographic":
            return FAR_AWAY
        if options.focal_px is not None:
            return DistancePrior(camera.scale_px_per_mm / options.focal_px, 0.0)
        return DistancePrior(options.inverse_distance_per_mm, options.inverse_distance_sigma_per_mm)

    def match(self, points_mm: np.ndarray) -> "Match":
        """Which row each landmark belongs to at the current shape and camera."""
        row = np.arange(COUNT)
        used = self.landmarks.known & self.modelled
        normal = np.zeros((COUNT, 2))
        if self.strips is not None:
            size = self.strips.vertices.shape[1]
            flat = self.camera.project(points_mm[COUNT:]).reshape(17, size, 2)
            outward = self._towards_px(self.strips.outward)
            seen = outline(self.strips, flat, outward, self.camera.scale_px_per_mm)
            on_outline = seen.hidden if self.contour == "outline" else np.zeros(17, bool)
            if self.contour == "none":
                used[:17] &= ~seen.hidden
            else:
                on_outline = on_outline | ~self.strips.fixed
                used[:17] |= self.landmarks.known[:17] & on_outline
            row[:17] = np.where(on_outline, COUNT + np.arange(17) * size + seen.slot, row[:17])
            normal[:17] = np.where(on_outline[:, None], seen.normal_px, 0)
        pixels = self.camera.project(points_mm[row])
        return Match(row, used, normal, pixels).again(self.landmarks.points_px, pixels)

    def reweigh(self, matched: "Match") -> None:
        distance = np.linalg.norm(matched.across(matched.residual_px), axis=1)
        self.robust = tukey_weights(distance, matched.used, self._sigma_px())

    def _estimate_noise(self, matched: "Match") -> None:
        if self.options.noise_mm is not None or not self.spent:
            return
        weights = self.landmarks.weights * self.robust
        squares = float(weights @ (matched.across(matched.residual_px) ** 2).sum(1))
        numbers = float(weights @ np.where(matched.normal_px.any(1), 1 + ALONG, 2.0))
        variance = squares / max(numbers - self.spent, 0.1 * numbers) / self.camera.scale_px_per_mm**2
        self.noise_mm = float(np.clip(np.sqrt(variance), *NOISE_RANGE_MM))

    def _solve(self, matched: "Match") -> None:
        weights = np.sqrt(self.landmarks.weights * self.robust) / self._sigma_px()
        points = self.rows.points_mm(self.coefficients)[matched.row]
        if isinstance(self.camera, FaceCamera):
            slopes, nuisance = self.camera.point_derivatives(points), self.camera.derivatives(points)
        else:
            slopes = np.broadcast_to(self.camera.matrix[:, :3], (COUNT, 2, 3))
            nuisance = np.zeros((COUNT, 2, 8))
            nuisance[:, 0, :3] = nuisance[:, 1, 4:7] = points
            nuisance[:, 0, 3] = nuisance[:, 1, 7] = 1
        design = self.rows.pixel_derivatives(slopes, matched.row)
        design, nuisance = (matched.across(x) * weights[:, None, None] for x in (design, nuisance))
        residual = matched.across(matched.residual_px) * weights[:, None]
        kept = weights > 0
        rows, extra, miss = (x[kept].reshape(2 * kept.sum(), -1) for x in (design, nuisance, residual[..., None]))
        miss = miss[:, 0]
        if isinstance(self.camera, FaceCamera):
            extra, miss = with_distance_prior(extra, miss, self.camera, self._distance_prior(self.camera))
            rows = np.concatenate([rows, np.zeros((len(extra) - len(rows), rows.shape[1]))])
        self.coefficients, self.spent = solve_coefficients(rows, miss, extra, self.prior, self.coefficients)

    def _move_camera(self, points_mm: np.ndarray, matched: "Match") -> None:
        chosen = points_mm[matched.row]
        seen = self.camera.project(chosen)
        now = matched.again(self.landmarks.points_px, seen)
        target = seen + now.across(now.across(now.residual_px))  # an outline landmark pulls across the outline only
        weights = self.landmarks.weights * self.robust * matched.used
        if isinstance(self.camera, FaceCamera):
            prior = self._distance_prior(self.camera)
            self.camera = estimate_camera(chosen, target, weights, prior, self._sigma_px(), self.camera)
        else:
            self.camera = estimate_affine(chosen, target, weights)

    def _towards_px(self, directions: np.ndarray) -> np.ndarray:
        """(N, 2) direction in the picture of directions (N, 3) of the model frame, at the face."""
        if isinstance(self.camera, FaceCamera):
            return directions @ self.camera.rotation[:2].T
        return directions @ self.camera.matrix[:, :3].T

    def _better_contour(self) -> str:
        """Outline or vertices, by the residuals of the hidden jaw points, which had no part in the fit so far."""
        if self.strips is None:
            return "vertices"
        points = self.rows.points_mm(self.coefficients)
        distances = {}
        for contour in ("outline", "vertices"):
            self.contour = contour
            matched = self.match(points)
            distances[contour] = np.abs(np.linalg.norm(matched.across(matched.residual_px), axis=1))[:17]
        self.contour = "outline"
        hidden = self.match(points).normal_px[:17].any(1) & self.landmarks.known[:17] & self.strips.fixed
        if not hidden.any():
            return "outline"
        outline_px, vertices_px = (float(np.median(distances[c][hidden])) for c in ("outline", "vertices"))
        return "vertices" if vertices_px < outline_px else "outline"


def tukey_weights(distance: np.ndarray, used: np.ndarray, noise: float) -> np.ndarray:
    """(N,) float64 in [0, 1] of distances (N,): the biweight of the larger of `noise` and their robust spread."""
    # 1.1774 is the median of the length of a vector of two standard normal numbers
    spread = max(noise, float(np.median(distance[used])) / 1.1774) if used.any() else noise
    share = np.clip(distance / (TUKEY * spread), 0, 1)
    return np.where(used, (1 - share**2) ** 2, 0.0)
