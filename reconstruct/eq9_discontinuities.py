"""Eq. 9 that does not smooth over steps in depth: noses, lips and chins that hide what lies behind.

Slopes say nothing about the step at an occluding edge; the plain energy takes them at their word and spreads the step
over the cut-off wavelength. Here every edge of the grid is judged by its residual, the difference it has in depth minus
what its slopes say: weight (1 + (residual / jump)²)^-2 (Geman and McClure), found in a few rounds of re-weighting with
an ever smaller jump. The first round judges by the prior, which alone knows of steps between surfaces that the slopes
describe as one; the next by solutions with a prior strong enough to show them. Only the last has the mu asked for.

It is a switch, not the default: where the mask is cut at occlusions nothing is gained, and a prior with spikes or
steps of its own loses the slopes there.
"""

from dataclasses import dataclass

import numpy as np

from ..capture.errors import UserError
from .eq9_checks import Weights, check_problem
from .eq9_integration import TOLERANCE, Integration, solve_eq9

ROUNDS = 3
SHRINK = 0.3
"""Of the jump from round to round: a step blurred over several pixels becomes one sharp one."""
STEP_MU = 1e-3
"""Steps are looked for with at least this mu, px^-2; a weaker prior would not hold them against the slopes."""
LEAST_WEIGHT = 1e-5


@dataclass(frozen=True, eq=False)
class RobustIntegration:
    """A solution, and the weights of the edges it was found with, (H, W) float32 in 0..1: near 0 at steps."""

    solved: Integration
    right: np.ndarray
    down: np.ndarray


def solve_with_steps(
    p: np.ndarray,
    q: np.ndarray,
    mask: np.ndarray,
    z0: np.ndarray,
    mu: float | np.ndarray,
    jump: float,
    *,
    weights: Weights = None,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
    threads: int | None = None,
) -> RobustIntegration:
    """Arguments as of `integrate`.

    Args:
        jump: disagreement, in the unit of z per pixel, at which an edge has a quarter of its weight. Above what noise
            in z0 makes between neighbours, below the steps to be kept: 5 to 10 times the pixel pitch as a start, in
            log depth divided by the distance.
        rounds: of judging the edges, at least 1; each costs one solution.
    """
    if not jump > 0 or rounds < 1:
        raise UserError(f"jump = {jump:g} and rounds = {rounds}, but expected a jump above 0 and at least 1 round")
    problem = check_problem(p, q, mask, z0, mu, weights)
    given = _edge_weights(problem.weights, problem.mask.shape)
    strong = np.where(problem.mu == 0, 0, np.maximum(problem.mu, STEP_MU)) if np.ndim(mu) else max(float(mu), STEP_MU)
    offset = np.zeros(problem.mask.shape, np.float32)
    solved, right, down = None, given[0], given[1]
    for step in range(rounds):
        scale = np.float32(jump * SHRINK ** min(step, 3))
        residuals = _residuals(problem.p, problem.q, problem.z0, offset)
        right, down = (
            (old * np.maximum((1 + (residual / scale) ** 2) ** -2, LEAST_WEIGHT)).astype(np.float32)
            for old, residual in zip(given, residuals, strict=True)
        )
        solved = solve_eq9(
            problem.p, problem.q, problem.mask, problem.z0, strong if step < rounds - 1 else problem.mu,
            weights=(right, down), tolerance=tolerance, threads=threads,
        )  # fmt: skip
        offset = solved.offset
    assert solved is not None
    return RobustIntegration(solved, right, down)


def _edge_weights(weights: Weights, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(weights, tuple):
        return weights
    right, down = np.ones(shape, np.float32), np.ones(shape, np.float32)
    if weights is not None:
        np.fmin(weights[:, :-1], weights[:, 1:], out=right[:, :-1])
        np.fmin(weights[:-1], weights[1:], out=down[:-1])
    return right, down


def _residuals(p: np.ndarray, q: np.ndarray, z0: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference in depth minus mean slope of the edges to the right and down; 0 where a value is missing."""
    right, down = np.zeros(p.shape, np.float32), np.zeros(p.shape, np.float32)
    right[:, :-1] = np.diff(z0, axis=1) + np.diff(offset, axis=1) - (p[:, 1:] + p[:, :-1]) / 2
    down[:-1] = np.diff(z0, axis=0) + np.diff(offset, axis=0) - (q[1:] + q[:-1]) / 2
    for values in (right, down):
        values[~np.isfinite(values)] = 0
    return right, down
