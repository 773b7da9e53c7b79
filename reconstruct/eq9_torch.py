"""Eq. 9 on a GPU: the same system and the same multigrid-preconditioned conjugate gradients on torch tensors.

torch is imported here alone, inside the functions. Results agree with `integrate` within the tolerance of the solver,
not bit by bit: sums run in another order. Colours of the relaxation are masks here, so that on a CPU `integrate` is
several times faster.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..capture.errors import UserError
from .eq9_checks import Weights, check_problem
from .eq9_integration import MOST_ITERATIONS, TOLERANCE, Integration, Part, split_islands
from .eq9_system import make_system

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

COARSEST_PIXELS = 256
SWEEPS = 2


@dataclass(eq=False)
class _Level:
    """A grid of even sides without padding: weights of the edges to all sides, mass, colours."""

    right: Tensor
    down: Tensor
    mass: Tensor
    inverse: Tensor
    """1 / (mass + edges), 0 where a pixel has neither."""
    red: Tensor

    @classmethod
    def of(cls, right: Tensor, down: Tensor, mass: Tensor) -> "_Level":
        import torch

        edges = mass.clone()
        for values in _both_ends(right, down):
            edges += values
        inverse = torch.where(edges > 0, 1 / edges.clamp_min(1e-30), torch.zeros_like(edges))
        rows, columns = (torch.arange(side, device=mass.device) for side in mass.shape)
        return cls(right, down, mass, inverse, (rows[:, None] + columns) % 2 == 0)

    def apply(self, x: Tensor) -> Tensor:
        """(L + mass) x in differences."""
        out = self.mass * x
        across = self.right[:, :-1] * (x[:, :-1] - x[:, 1:])
        out[:, :-1] += across
        out[:, 1:] -= across
        below = self.down[:-1] * (x[:-1] - x[1:])
        out[:-1] += below
        out[1:] -= below
        return out

    def relax(self, z: Tensor, f: Tensor, colours: tuple[bool, bool]) -> Tensor:
        """One red-black sweep."""
        import torch

        for red in colours:
            better = z + self.inverse * (f - self.apply(z))
            z = torch.where(self.red == red, better, z)
        return z

    def coarser(self) -> "_Level":
        import torch.nn.functional as functional

        right = (self.right[0::2, 1::2] + self.right[1::2, 1::2]) / 2
        down = (self.down[1::2, 0::2] + self.down[1::2, 1::2]) / 2
        odd = (0, right.shape[1] % 2, 0, right.shape[0] % 2)
        return _Level.of(*(functional.pad(values, odd) for values in (right, down, _summed(self.mass))))


def solve_eq9_torch(
    p: np.ndarray,
    q: np.ndarray,
    mask: np.ndarray,
    z0: np.ndarray,
    mu: float | np.ndarray,
    *,
    weights: Weights = None,
    tolerance: float = TOLERANCE,
    device: str = "cuda",
) -> Integration:
    """As `solve_eq9`, on a torch device. Raises UserError also where torch or the device is missing."""
    torch = _torch(device)
    started = time.perf_counter()
    problem = check_problem(p, q, mask, z0, mu, weights)
    islands, parts = split_islands(problem)
    offset = np.zeros(problem.mask.shape, np.float32)
    iterations, residual = 0, 0.0
    for part in parts:
        levels, g = _upload(torch, part, device)
        w, steps, reached = _conjugate_gradients(levels, g, part.finer(tolerance))
        inside = part.inside
        np.copyto(offset[part.box], w[: inside.shape[0], : inside.shape[1]].cpu().numpy(), where=inside)
        iterations, residual = max(iterations, steps), max(residual, reached)
    if not residual <= tolerance:
        raise RuntimeError(f"Eq. 9 reached a relative residual of {residual:.1e} on {device}, not {tolerance:.1e}")
    seconds = time.perf_counter() - started
    name = f"multigrid on {device}"
    return Integration(offset, problem.z0, problem.mask, iterations, residual, islands, name, seconds)


def _upload(torch: Any, part: Part, device: str) -> tuple[list[_Level], Tensor]:
    """Levels and right-hand side of a part, on the device."""
    inside = part.inside
    height, width = inside.shape
    system = make_system(inside, part.mu, part.weights)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    right, down = (tensor(values[1:-1, 1:-1]).float() for values in (system.right, system.down))
    given = tensor(inside)
    mass = tensor(np.broadcast_to(system.mass, system.shape)[1:-1, 1:-1])
    mass[:height, :width] *= given
    mass[height:], mass[:, width:] = 0, 0
    p, q, z0 = (tensor(array[part.box]) for array in (part.problem.p, part.problem.q, part.problem.z0))
    p, q, z0 = (torch.where(given, values, torch.zeros_like(values)) for values in (p, q, z0))
    g = torch.zeros_like(mass)
    across = right[:height, : width - 1] * ((p[:, 1:] + p[:, :-1]) / 2 - (z0[:, 1:] - z0[:, :-1]).float())
    g[:height, 1:width] += across
    g[:height, : width - 1] -= across
    del across
    below = down[: height - 1, :width] * ((q[1:] + q[:-1]) / 2 - (z0[1:] - z0[:-1]).float())
    g[1:height, :width] += below
    g[: height - 1, :width] -= below
    levels = [_Level.of(right, down, mass)]
    while levels[-1].mass.numel() > COARSEST_PIXELS:
        levels.append(levels[-1].coarser())
    return levels, g


def _torch(device: str) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError("integration on a GPU needs torch: pip install torch, or leave the device out") from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f'device = "{device}", but torch finds no GPU; leave the device out to integrate on the CPU')
    return torch


def _conjugate_gradients(levels: list[_Level], g: Tensor, tolerance: float) -> tuple[Tensor, int, float]:
    import torch

    def dot(x: Tensor, y: Tensor) -> float:
        return float(torch.sum(torch.sum(x * y, dim=1), dtype=torch.float64))

    bottom = torch.linalg.inv(_dense(levels[-1])).float()
    w, d, r = torch.zeros_like(g), torch.zeros_like(g), g
    size_g = dot(g, g) ** 0.5
    residual, before, iteration = (1.0 if size_g else 0.0), 1.0, 0
    while residual > tolerance and iteration < MOST_ITERATIONS:
        z = _cycle(levels, 0, r, bottom)
        now = dot(r, z)
        d = z + (now / before if iteration else 0.0) * d
        before = now
        along = levels[0].apply(d)
        alpha = now / dot(d, along)
        w += alpha * d
        r = r - alpha * along
        iteration += 1
        residual = dot(r, r) ** 0.5 / size_g
    return w, iteration, residual


def _cycle(levels: list[_Level], depth: int, f: Tensor, bottom: Tensor) -> Tensor:
    import torch

    level = levels[depth]
    if depth == len(levels) - 1:
        return (bottom @ f.reshape(-1)).reshape(f.shape)
    z = torch.zeros_like(f)
    for _ in range(SWEEPS):
        z = level.relax(z, f, (True, False))
    rest = _summed(f - level.apply(z))
    coarse = levels[depth + 1].mass.shape
    rest = torch.nn.functional.pad(rest, (0, coarse[1] - rest.shape[1], 0, coarse[0] - rest.shape[0]))
    found = _cycle(levels, depth + 1, rest, bottom)
    z = z + found.repeat_interleave(2, 0).repeat_interleave(2, 1)[: z.shape[0], : z.shape[1]]
    for _ in range(SWEEPS):
        z = level.relax(z, f, (False, True))
    return z


def _summed(values: Tensor) -> Tensor:
    """Sums over blocks of 2 x 2."""
    rows, columns = values.shape
    return values.reshape(rows // 2, 2, columns // 2, 2).sum((1, 3))


def _both_ends(right: Tensor, down: Tensor) -> list[Tensor]:
    """Each edge's weight at both of its pixels."""
    import torch

    left, up = torch.zeros_like(right), torch.zeros_like(down)
    left[:, 1:], up[1:] = right[:, :-1], down[:-1]
    return [right, left, down, up]


def _dense(level: _Level) -> Tensor:
    """Matrix of a small level, float64; 1 on the diagonal of pixels without edges and mass."""
    import torch

    count = level.mass.numel()
    unit = torch.eye(count, device=level.mass.device).reshape(count, *level.mass.shape)
    matrix = torch.stack([level.apply(column).reshape(-1) for column in unit]).double()
    empty = torch.diagonal(matrix) == 0
    return matrix + torch.diag(empty.double())
