"""Eq. 9 of the paper: depth from slopes and a depth prior.

    minimise  sum over edges (z_j - z_i - (g_i + g_j) / 2)^2  +  mu x sum over pixels (z - z0)^2

over a mask with natural boundary; edges join 4-neighbours inside the mask, g is p across and q down. mu is in px^-2 and
sets a wavelength, 2 pi / sqrt(mu) px: shorter ones come from the slopes, longer ones from the prior (`eq9_transfer`
converts; docs/displacement.md explains). The same code integrates orthographic depth and, with `eq9_perspective`,
log-depth.

    z = integrate(p, q, mask, z0, mu)

`solve_eq9` returns in addition how the solution was reached. `eq9_discontinuities` does not smooth over edges of
occlusion; `eq9_torch` runs on a GPU.
"""

import os
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..capture.errors import UserError
from .eq9_checks import Problem, Weights, check_islands, check_problem
from .eq9_cosine import CosineSolver, fast_size, is_fast
from .eq9_multigrid import Multigrid, Strips
from .eq9_system import Solve, conjugate_gradients, make_system, right_hand_side

Solver = Literal["auto", "multigrid", "cosine"]
TOLERANCE = 1e-5
"""Of the residual relative to the right-hand side: about 2e-5 mm in a displacement of 1 mm."""
MOST_ITERATIONS = 300
SPECK_PIXELS = 4096
"""Islands below this size are solved together: a scan may have thousands."""


@dataclass(frozen=True, eq=False)
class Integration:
    """A solution of Eq. 9."""

    offset: np.ndarray
    """(H, W) float32: z - z0, 0 outside the mask. The unknown of the solver; differences of two solutions with the
    same z0 are exact here, where float32 depth would be rounded."""
    z0: np.ndarray
    mask: np.ndarray
    iterations: int
    """The most of any island."""
    residual: float
    """The largest of any island, relative to its right-hand side."""
    islands: int
    solver: str
    seconds: float

    @property
    def z(self) -> np.ndarray:
        """(H, W) float64: z in the unit of z0, NaN outside the mask."""
        z = np.full(self.offset.shape, np.nan)
        np.add(self.z0, self.offset, out=z, where=self.mask, dtype=np.float64)
        return z


def integrate(
    p: np.ndarray,
    q: np.ndarray,
    mask: np.ndarray,
    z0: np.ndarray,
    mu: float | np.ndarray,
    *,
    weights: Weights = None,
    tolerance: float = TOLERANCE,
    solver: Solver = "auto",
    threads: int | None = None,
) -> np.ndarray:
    """Depth (H, W) float64 that follows the slopes p, q at short wavelengths and z0 at long ones; NaN off the mask.

    Args:
        p: (H, W) dz per column step (to the right), in the unit of z0 per pixel.
        q: (H, W) dz per row step (downwards).
        mask: (H, W) bool. Values outside are never read. Islands are solved each on its own.
        z0: (H, W) prior depth; may have holes (NaN) where mu is 0. Give it as float64 if it is far from 0.
        mu: weight of the prior in px^-2, above 0; or (H, W), >= 0, with some prior on every island.
        weights: confidence of the slopes, (H, W) >= 0 per pixel (an edge takes the smaller of its two ends), or a pair
            of (H, W) weights of the edges to the right and downwards; 0 cuts an edge.
        tolerance: of the residual relative to the right-hand side.
        solver: "multigrid", "cosine" (one mu, no weights; slow on holes), or the better one of them.
        threads: None takes one per processor, four at most.
    Raises UserError for shapes that differ, an empty mask, NaN on the mask, mu or weights out of range, islands
    without any prior; RuntimeError when the solver does not get to the tolerance.
    """
    return solve_eq9(p, q, mask, z0, mu, weights=weights, tolerance=tolerance, solver=solver, threads=threads).z


def solve_eq9(
    p: np.ndarray,
    q: np.ndarray,
    mask: np.ndarray,
    z0: np.ndarray,
    mu: float | np.ndarray,
    *,
    weights: Weights = None,
    tolerance: float = TOLERANCE,
    solver: Solver = "auto",
    threads: int | None = None,
) -> Integration:
    """As `integrate`, with the number of iterations, the residual and the time."""
    started = time.perf_counter()
    if not 1e-7 <= tolerance < 1:
        raise UserError(f"tolerance = {tolerance:g}, but expected 1e-7 (the limit of float32) to 1")
    problem = check_problem(p, q, mask, z0, mu, weights)
    if solver not in ("auto", "multigrid", "cosine"):
        raise UserError(f'solver = "{solver}", but expected "auto", "multigrid" or "cosine"')
    if solver == "cosine" and (problem.weights is not None or isinstance(problem.mu, np.ndarray)):
        raise UserError('solver = "cosine" takes one mu and no weights; use solver = "auto"')
    offset = np.zeros(problem.mask.shape, np.float32)
    solves: list[Solve] = []
    used: set[str] = set()
    with Strips(threads or min(os.cpu_count() or 1, 4)) as strips:
        islands, parts = split_islands(problem)
        for part in parts:
            solve, name = _solve_part(part, offset, solver, strips, part.finer(tolerance))
            solves.append(solve)
            used.add(name)
    made = Integration(
        offset=offset,
        z0=problem.z0,
        mask=problem.mask,
        iterations=max(solve.iterations for solve in solves),
        residual=max(solve.residual for solve in solves),
        islands=islands,
        solver="+".join(sorted(used)),
        seconds=time.perf_counter() - started,
    )
    if not made.residual <= tolerance:
        raise RuntimeError(
            f"Eq. 9 reached a relative residual of {made.residual:.1e} after {made.iterations} iterations, not "
            f"{tolerance:.1e}; do mu or the weights span more than 8 orders of magnitude?"
        )
    return made


@dataclass(frozen=True, eq=False)
class Part:
    """What is solved in one go: an island, or all specks, in its bounding box."""

    problem: Problem
    box: tuple[slice, slice]
    labels: np.ndarray | None
    """Of the whole image; None where the box holds nothing else."""
    wanted: list[int]

    @property
    def inside(self) -> np.ndarray:
        """(h, w) bool within the box."""
        if self.labels is None:
            return self.problem.mask[self.box]
        labels = self.labels[self.box]
        if len(self.wanted) == 1:
            return labels == self.wanted[0]
        member = np.zeros(int(self.labels.max()) + 1, bool)
        member[self.wanted] = True
        return member[labels]

    @property
    def mu(self) -> float | np.ndarray:
        return self.problem.mu[self.box] if isinstance(self.problem.mu, np.ndarray) else self.problem.mu

    @property
    def weights(self) -> Weights:
        given = self.problem.weights
        if given is None:
            return None
        return (given[0][self.box], given[1][self.box]) if isinstance(given, tuple) else given[self.box]

    def finer(self, tolerance: float) -> float:
        """A residual relative to the whole says little about specks, and about pixels of small weight."""
        uneven = len(self.wanted) > 1 or self.problem.weights is not None
        return min(tolerance, max(tolerance / 10, 1e-6)) if uneven else tolerance


def split_islands(problem: Problem) -> tuple[int, list[Part]]:
    """Number of islands, and the parts: each large island, and all specks. Raises UserError without any prior."""
    import cv2

    count, labels, boxes, _ = cv2.connectedComponentsWithStats(problem.mask.view(np.uint8), connectivity=4)
    check_islands(labels, count, problem, boxes)
    area = boxes[:, cv2.CC_STAT_AREA]
    large = [label for label in range(1, count) if area[label] >= SPECK_PIXELS or count == 2]
    specks = [label for label in range(1, count) if area[label] < SPECK_PIXELS and count > 2]
    groups = [[label] for label in large] + ([specks] if specks else [])
    return count - 1, [Part(problem, _box(boxes[group]), labels if count > 2 else None, group) for group in groups]


def _box(boxes: np.ndarray) -> tuple[slice, slice]:
    left, top = boxes[:, 0].min(), boxes[:, 1].min()
    right, bottom = (boxes[:, 0] + boxes[:, 2]).max(), (boxes[:, 1] + boxes[:, 3]).max()
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _solve_part(part: Part, offset: np.ndarray, solver: Solver, strips: Strips, tolerance: float) -> tuple[Solve, str]:
    """Solves one part and writes it into `offset`."""
    problem, box, inside, mu, weights = part.problem, part.box, part.inside, part.mu, part.weights
    system = make_system(inside, mu, weights)
    p, q, z0 = (np.ascontiguousarray(array[box]) for array in (problem.p, problem.q, problem.z0))
    g = right_hand_side(system, p, q, z0, strips)
    del p, q, z0
    whole = bool(inside.all())
    plain = not isinstance(mu, np.ndarray) and weights is None
    if solver == "cosine" or (
        solver == "auto" and plain and whole and is_fast(system.size[0]) and is_fast(system.size[1])
    ):
        assert not isinstance(mu, np.ndarray)
        name, size = "cosine", system.size if whole else fast_size(system.size)
        cycle = CosineSolver(size, mu, strips.threads, None if whole else inside).cycle
    else:
        name, cycle = "multigrid", Multigrid(system.right, system.down, system.mass, strips).cycle
    w, solve = conjugate_gradients(system, g, cycle, strips, tolerance, MOST_ITERATIONS)
    found = w[1 : system.size[0] + 1, 1 : system.size[1] + 1]
    np.copyto(offset[box], found, where=inside)
    return solve, name
