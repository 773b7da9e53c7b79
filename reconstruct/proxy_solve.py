"""Rows of a face model, and the regularised linear solve for its coefficients (Eq. 4)."""

from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The few vertices of a face model that a fit looks at, in double precision."""

    mean_mm: np.ndarray
    """(M, 3)."""
    basis_mm: np.ndarray
    """(Ki + Ke, M, 3): identity, then expression."""
    identity_count: int

    @classmethod
    def of(cls, model: FaceModel, vertices: np.ndarray) -> "ModelRows":
        """Rows `vertices` (M,) int of a model."""
        basis = [model.identity_mm[:, vertices], model.expression_mm[:, vertices]]
        return cls(
            model.mean_mm[vertices].astype(np.float64),
            np.ascontiguousarray(np.concatenate(basis), np.float64),
            len(model.identity_mm),
        )

    def points_mm(self, coefficients: np.ndarray) -> np.ndarray:
        """(M, 3) positions for coefficients (Ki + Ke,)."""
        return self.mean_mm + (coefficients @ self.basis_mm.reshape(len(coefficients), -1)).reshape(-1, 3)

    def pixel_derivatives(self, slopes: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """(V, 2, K) change of the pixels of `vertices` (V,) with the coefficients; `slopes` (V, 2, 3) px per mm."""
        return np.einsum("vij,kvj->vik", slopes, self.basis_mm[:, vertices], optimize=False)


@dataclass(frozen=True, slots=True)
class CoefficientPrior:
    """Independent normal priors with bounds, for all coefficients: identity, then expression."""

    mean: np.ndarray
    """(K,)."""
    precision: np.ndarray
    """(K,) > 0; infinite where a coefficient stays at its mean."""
    lower: np.ndarray
    upper: np.ndarray

    @property
    def free(self) -> np.ndarray:
        """(K,) bool: coefficients that are fitted."""
        return np.isfinite(self.precision)


def coefficient_prior(
    model: FaceModel, beta: np.ndarray | None, lambda_identity: float, lambda_expression: float, sigma: float = 0.0
) -> CoefficientPrior:
    """Identity standard normal times `lambda_identity`; expression regularised towards rest, or around `beta` (Ke,).

    `sigma` is the standard deviation of `beta`; 0 keeps the expression at it. Activations of named units are bounded
    to [0, 1]; everything else is free.
    """
    identity, expression = len(model.identity_mm), len(model.expression_mm)
    if beta is None:
        middle, certain = np.zeros(expression), lambda_expression
    else:
        middle, certain = beta, 1 / sigma**2 if sigma > 0 else np.inf
    low, high = (0.0, 1.0) if model.expression_is_units else (-np.inf, np.inf)
    return CoefficientPrior(
        np.concatenate([np.zeros(identity), middle]),
        np.concatenate([np.full(identity, lambda_identity), np.full(expression, certain)]),
        np.concatenate([np.full(identity, -np.inf), np.full(expression, low)]),
        np.concatenate([np.full(identity, np.inf), np.full(expression, high)]),
    )


def solve_coefficients(
    design: np.ndarray, residual: np.ndarray, nuisance: np.ndarray, prior: CoefficientPrior, now: np.ndarray
) -> tuple[np.ndarray, float]:
    """New coefficients (K,): min |residual - design (c - now) - nuisance q|^2 + sum precision (c - mean)^2 over c, q.

    Args:
        design: (R, K) derivative of the predictions, already weighted by root weight over sigma; so is `residual` (R,).
        nuisance: (R, Q) derivative with respect to unknowns without a prior, such as the camera; eliminated.
        now: (K,) coefficients at which residual and derivatives were taken.
    Returns: the coefficients, and how many numbers the data spent on them and on the nuisance (between 0 and K + Q):
    what a variance estimate from the residuals has to leave out.
    """
    free = prior.free
    if nuisance.shape[1]:
        basis, _ = np.linalg.qr(nuisance)
        residual = residual - basis @ (basis.T @ residual)
        design = design - basis @ (basis.T @ design)
    start = np.where(free, now, prior.mean)
    residual = residual + design @ (now - start)
    a = design[:, free]
    precision = prior.precision[free]
    data = a.T @ a
    gradient = a.T @ (residual + a @ start[free]) + precision * prior.mean[free]
    result = start.copy()
    lower, upper = prior.lower[free], prior.upper[free]
    solved = bounded_solve(data + np.diag(precision), gradient, lower, upper, start[free])
    result[free] = solved
    inside = (solved > lower) & (solved < upper)
    inner = data[np.ix_(inside, inside)]
    spent = float(np.trace(np.linalg.solve(inner + np.diag(precision[inside]), inner))) if inside.any() else 0.0
    return result, spent + nuisance.shape[1]


def bounded_solve(
    hessian: np.ndarray,
    gradient: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(K,) minimiser of x'Hx/2 - g'x with lower <= x <= upper; H positive definite. `start` only saves time.

    Active sets exchanged in blocks while that helps, then one by one (the block principal pivoting of Portugal, Judice
    and Vicente, 1994), so that it ends after a few small solves.
    """
    size = len(gradient)
    side = np.zeros(size, np.int8)  # -1 at the lower, +1 at the upper bound
    if start is not None:
        side[start <= lower], side[start >= upper] = -1, 1
    best, patience = size + 1, 10
    x = np.zeros(size)
    tolerance = 1e-10 * max(np.abs(gradient).max(initial=0.0), 1e-300)
    for _ in range(50 * size + 50):
        bound = side != 0
        x = np.where(side < 0, lower, upper) * 1.0
        inner = ~bound
        if inner.any():
            right = gradient[inner] - hessian[np.ix_(inner, bound)] @ x[bound]
            x[inner] = np.linalg.solve(hessian[np.ix_(inner, inner)], right)
        slope = hessian @ x - gradient
        below, above = inner & (x < lower - 1e-12), inner & (x > upper + 1e-12)
        release = ((side < 0) & (slope < -tolerance)) | ((side > 0) & (slope > tolerance))
        wrong = np.flatnonzero(below | above | release)
        if not len(wrong):
            break
        if len(wrong) < best:
            best, patience = len(wrong), 10
        else:
            patience -= 1
        chosen = wrong if patience > 0 else wrong[-1:]
        new = side.copy()
        new[chosen] = np.where(release[chosen], 0, np.where(below[chosen], -1, 1))
        side = new
    return np.clip(x, lower, upper)
