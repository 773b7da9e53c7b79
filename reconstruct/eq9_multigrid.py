"""Geometric multigrid for Eq. 9: the preconditioner that makes conjugate gradients need few steps at any size.

Levels halve the grid: blocks of 2 x 2 pixels, transfers that copy and sum, coarse edges that are half the sum of the
edges between blocks. Holes, slits and weights carry over by themselves. One V-cycle relaxes twice on the way down and
twice on the way up, colours in reverse order there, which keeps the preconditioner symmetric.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from . import eq9_kernels as kernels

PIXELS_PER_THREAD = 150_000
"""Below this size of a pass, starting a thread costs more than it saves."""
COARSEST_PIXELS = 256
SWEEPS = 2


class Strips:
    """Runs passes over rows in threads, in an even number of rows each. Use it in a `with` statement."""

    def __init__(self, threads: int) -> None:
        self.threads = max(int(threads), 1)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def __enter__(self) -> "Strips":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def split(self, rows: int, width: int) -> list[tuple[int, int]]:
        """Padded row ranges that cover rows 1..rows."""
        parts = 1 if self._pool is None else int(np.clip(rows * width // PIXELS_PER_THREAD, 1, self.threads))
        bounds = [1 + rows * k // parts // 2 * 2 for k in range(parts)] + [1 + rows]
        return [(first, last) for first, last in pairwise(bounds) if last > first]

    def run(self, ranges: list[tuple[int, int]], kernel: Callable[..., Any], *arguments: object) -> float:
        """Calls kernel(*arguments, first, last) for every range, returns the sum of what they return."""
        if self._pool is None or len(ranges) == 1:
            return sum(kernel(*arguments, *part) or 0.0 for part in ranges)
        others = [self._pool.submit(kernel, *arguments, *part) for part in ranges[1:]]
        total = kernel(*arguments, *ranges[0]) or 0.0
        return total + sum(other.result() or 0.0 for other in others)


@dataclass(eq=False)
class Level:
    """One grid. All arrays are padded (see `eq9_kernels`)."""

    right: np.ndarray
    down: np.ndarray
    mass: np.ndarray
    ranges: list[tuple[int, int]]
    f: np.ndarray | None = None
    """Right-hand side and solution; the finest level gets them from the caller."""
    z: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.right.shape[0] - 2, self.right.shape[1] - 2


class Multigrid:
    """Levels over one grid; `cycle` is the preconditioner."""

    def __init__(self, right: np.ndarray, down: np.ndarray, mass: np.ndarray, strips: Strips) -> None:
        self.strips = strips
        self.levels = [Level(right, down, mass, strips.split(right.shape[0] - 2, right.shape[1] - 2))]
        while max(self.levels[-1].size) > 1 and self.levels[-1].size[0] * self.levels[-1].size[1] > COARSEST_PIXELS:
            self.levels.append(self._coarser(self.levels[-1]))
        self._inverse = _inverse(self.levels[-1])

    def _coarser(self, fine: Level) -> Level:
        rows, width = (side // 2 for side in fine.size)
        shape = (rows + rows % 2 + 2, width + width % 2 + 2)
        right, down, mass, f, z = (np.zeros(shape, np.float32) for _ in range(5))
        ranges = self.strips.split(rows, width)
        self.strips.run(ranges, kernels.coarsen, fine.right, fine.down, fine.mass, right, down, mass)
        return Level(right, down, mass, self.strips.split(shape[0] - 2, shape[1] - 2), f, z)

    def cycle(self, f: np.ndarray, z: np.ndarray) -> None:
        """z = approximate solution of (L + mass) z = f. Both padded; what z held does not matter."""
        self.levels[0].f, self.levels[0].z = f, z
        self._cycle(0)
        self.levels[0].f = self.levels[0].z = None

    def _cycle(self, depth: int) -> None:
        level = self.levels[depth]
        f, z = level.f, level.z
        assert f is not None and z is not None
        if depth == len(self.levels) - 1:
            z[1:-1, 1:-1] = (self._inverse @ f[1:-1, 1:-1].ravel()).reshape(level.size)
            return
        for sweep in range(SWEEPS):
            self._relax(level, 0, from_zero=sweep == 0)
        coarse = self.levels[depth + 1]
        coarse_f, coarse_z = coarse.f, coarse.z
        assert coarse_f is not None and coarse_z is not None
        coarse_ranges = self.strips.split(level.size[0] // 2, level.size[1] // 2)
        data = (level.right, level.down, level.mass)
        self.strips.run(coarse_ranges, kernels.restrict_residual, z, f, *data, coarse_f)
        self._cycle(depth + 1)
        self.strips.run(coarse_ranges, kernels.add_prolonged, z, coarse_z)
        for _ in range(SWEEPS):
            self._relax(level, 1)

    def _relax(self, level: Level, colour: int, from_zero: bool = False) -> None:
        data = (level.z, level.f, level.right, level.down, level.mass, colour)
        self.strips.run(level.ranges, kernels.relax, *data, from_zero)
        edges = sorted({row for first, last in level.ranges for row in (first, last - 1)})
        kernels.relax_rows(*data, np.array(edges))


def _inverse(level: Level) -> np.ndarray:
    """Inverse of the coarsest level's matrix, (n, n) float32; pixels without mass and edges stay 0."""
    rows, width = level.size
    index = np.arange(rows * width).reshape(rows, width)
    mass = np.broadcast_to(level.mass, level.right.shape)[1:-1, 1:-1]
    matrix = np.diag(mass.ravel().astype(np.float64))
    pairs = (
        (index[:, :-1], index[:, 1:], level.right[1:-1, 1:-2]),
        (index[:-1], index[1:], level.down[1:-2, 1:-1]),
    )
    for near, far, weight in pairs:
        i, j, c = near.ravel(), far.ravel(), weight.ravel().astype(np.float64)
        matrix[i, i] += c
        matrix[j, j] += c
        matrix[i, j] -= c
        matrix[j, i] -= c
    empty = np.flatnonzero(np.diag(matrix) == 0)
    matrix[empty, empty] = 1.0
    inverse = np.linalg.inv(matrix)
    inverse[empty, empty] = 0.0
    return inverse.astype(np.float32)
