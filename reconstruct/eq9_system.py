"""Eq. 9 on a pixel grid: edges, right-hand side, and preconditioned conjugate gradients for w = z - z0.

    (L + mu) w = g,   g = Bᵀ C (e - B z0),   L = Bᵀ C B

B takes differences along the edges between 4-neighbours of the mask, e is the mean slope of an edge's two ends, C holds
the edge weights. Edges that would leave the mask do not exist: the natural boundary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import eq9_kernels as kernels
from .eq9_multigrid import Strips

Precondition = Callable[[np.ndarray, np.ndarray], None]
"""Called with (residual, out): writes an approximate solution, both padded."""
STALLED_STEPS = 30
"""Steps without a smaller residual after which rounding is taken to be reached."""


@dataclass(frozen=True, eq=False)
class System:
    """One connected problem, cut to its bounding box. All arrays are padded (see `eq9_kernels`)."""

    right: np.ndarray
    """Weight of the edge to the right neighbour; uint8 of 0 and 1 where no weights are given, else float32."""
    down: np.ndarray
    mass: np.ndarray
    """float32 mu: (1, width) when it is the same everywhere, else of full size, 0 outside the mask."""
    size: tuple[int, int]
    """Rows and columns without padding."""
    weighted: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.right.shape[0], self.right.shape[1]


@dataclass(frozen=True)
class Solve:
    """What conjugate gradients did."""

    iterations: int
    residual: float
    """||g - A w|| / ||g||."""


def padded_shape(size: tuple[int, int]) -> tuple[int, int]:
    rows, columns = size
    return rows + rows % 2 + 2, columns + columns % 2 + 2


def make_system(
    mask: np.ndarray, mu: float | np.ndarray, weights: np.ndarray | tuple[np.ndarray, np.ndarray] | None
) -> System:
    """The left side of Eq. 9 on one bounding box.

    Args:
        mask: (h, w) bool.
        mu: in px^-2, a number or (h, w).
        weights: None, (h, w) per pixel (an edge gets the smaller of its two), or a pair (right, down) of (h, w) edge
            weights.
    """
    size = mask.shape
    shape = padded_shape(size)
    kind = np.uint8 if weights is None else np.float32
    right, down = np.zeros(shape, kind), np.zeros(shape, kind)
    across, below = right[1 : size[0] + 1, 1 : size[1]], down[1 : size[0], 1 : size[1] + 1]
    if weights is None:
        across[...], below[...] = mask[:, :-1] & mask[:, 1:], mask[:-1] & mask[1:]
    elif isinstance(weights, tuple):
        np.copyto(across, weights[0][:, :-1], where=mask[:, :-1] & mask[:, 1:])
        np.copyto(below, weights[1][:-1], where=mask[:-1] & mask[1:])
    else:
        np.minimum(weights[:, :-1], weights[:, 1:], out=across, where=mask[:, :-1] & mask[:, 1:])
        np.minimum(weights[:-1], weights[1:], out=below, where=mask[:-1] & mask[1:])
    if isinstance(mu, np.ndarray):
        mass = np.zeros(shape, np.float32)
        np.copyto(mass[1 : size[0] + 1, 1 : size[1] + 1], mu, where=mask)
    else:
        mass = np.full((1, shape[1]), mu, np.float32)
    return System(right, down, mass, (size[0], size[1]), weights is not None)


def right_hand_side(system: System, p: np.ndarray, q: np.ndarray, z0: np.ndarray, strips: Strips) -> np.ndarray:
    """g, padded float32. p, q, z0 (h, w) are read at masked pixels only."""
    g = np.zeros(system.shape, np.float32)
    ranges = [(first - 1, last - 1) for first, last in strips.split(system.size[0], system.size[1])]
    strips.run(ranges, kernels.right_hand_side, p, q, z0, system.right, system.down, g)
    return g


def conjugate_gradients(
    system: System,
    g: np.ndarray,
    precondition: Precondition,
    strips: Strips,
    tolerance: float,
    most_iterations: int,
) -> tuple[np.ndarray, Solve]:
    """w with ||g - A w|| <= tolerance ||g||, padded float32. `g` is overwritten with the residual.

    Scalars are summed in float64. Ends early when rounding keeps the residual from shrinking; the `Solve` tells.
    """
    rows = strips.split(system.shape[0] - 2, system.shape[1] - 2)
    r = g
    w = np.zeros_like(r)
    size_g = strips.run(rows, kernels.dot, r, r) ** 0.5
    if size_g == 0:
        return w, Solve(0, 0.0)
    data = (system.right, system.down, system.mass)
    scratch = np.zeros_like(r)  # the preconditioned residual, and A d while that one is not needed
    d = np.zeros_like(r)
    residual, best, best_at = 1.0, 1.0, 0
    before = 0.0
    iteration = 0
    while residual > tolerance and iteration < most_iterations and iteration - best_at < STALLED_STEPS:
        precondition(r, scratch)
        now = strips.run(rows, kernels.dot, r, scratch)
        beta = np.float32(now / before) if iteration else np.float32(0)
        before = now
        strips.run(rows, kernels.turn, d, scratch, beta)
        curvature = strips.run(rows, kernels.apply, d, *data, scratch)
        if not curvature > 0:
            break
        alpha = np.float32(now / curvature)
        squares = strips.run(rows, kernels.step_along, w, r, d, scratch, alpha)
        iteration += 1
        residual = squares**0.5 / size_g
        if residual < best:
            best, best_at = residual, iteration
    return w, Solve(iteration, residual)
