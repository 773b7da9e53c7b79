"""A smooth surface through scattered, weighted measurements: thin-plate splines on a coarse grid of cubic B-splines.

Unlike a blur it fills holes, and at borders it continues the slope instead of bending it: no bias there to first
order. Its response to a wavelength falls by half where a Gaussian of `sigma` does.
"""

import numpy as np

KNOTS_PER_SIGMA = 2.0
BLOCKS_PER_SIGMA = 12
"""Measurements are averaged over blocks of this fraction of sigma."""


def lowpass_surface(values: np.ndarray, weight: np.ndarray, wanted: np.ndarray, sigma_px: float) -> np.ndarray:
    """(H, W) float32: smooth surface through `values`, NaN where not `wanted`.

    Args:
        values: (H, W) float; ignored where the weight is 0.
        weight: (H, W) float >= 0; 1 is a trusted pixel, 0 a hole.
        wanted: (H, W) bool, where the surface is evaluated.
        sigma_px: standard deviation of the Gaussian with the same half-amplitude wavelength.
    Raises ValueError when fewer than 16 blocks carry weight.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    spacing = max(sigma_px / KNOTS_PER_SIGMA, 1.0)
    area = wanted | (weight > 0)
    rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
    if len(rows) == 0:
        raise ValueError("no pixel is wanted")
    origin = (rows[0] - spacing, columns[0] - spacing)
    size = (
        int(np.ceil((rows[-1] - origin[0]) / spacing)) + 4,
        int(np.ceil((columns[-1] - origin[1]) / spacing)) + 4,
    )
    y, x, z, w = _blocks(values, weight, max(round(sigma_px / BLOCKS_PER_SIGMA), 1))
    if len(z) < 16:
        raise ValueError(f"only {len(z)} blocks of pixels carry weight")
    middle = float(np.average(z, weights=w))
    basis = _basis((y - origin[0]) / spacing, (x - origin[1]) / spacing, size)
    # weights as a density: per knot cell, a fully covered cell has weight 1
    w = w / spacing**2
    normal = basis.T @ sparse.diags_array(w) @ basis
    # half amplitude at wave number 1.177 / sigma: stiffness x k^4 = 1 there, k in 1 / knot spacing
    stiffness = (sigma_px / spacing / 1.1774) ** 4
    system = normal + stiffness * _bending(size) + 1e-9 * sparse.eye_array(normal.shape[0])
    knots = np.asarray(spsolve(system.tocsc(), basis.T @ (w * (z - middle))))
    return _evaluate(knots.reshape(size), origin, spacing, wanted, middle)


def _blocks(values: np.ndarray, weight: np.ndarray, side: int) -> tuple[np.ndarray, ...]:
    """Weighted means over side x side px blocks: row, column, value (of the same centroid), summed weight."""
    height, width = values.shape
    tall, wide = -(-height // side), -(-width // side)
    given = weight > 0
    rows, columns = np.nonzero(given)
    block = (rows // side) * wide + columns // side
    w = weight[given].astype(np.float64)

    def summed(quantity: np.ndarray) -> np.ndarray:
        return np.bincount(block, quantity, tall * wide)

    total = summed(w)
    used = total > 0
    total = total[used]
    means = (summed(w * quantity)[used] / total for quantity in (rows, columns, values[given]))
    return *means, total


def _cubic(offset: np.ndarray) -> np.ndarray:
    """(4, ...) weights of the four cubic B-splines around a position with fractional part `offset`."""
    t, s = offset, 1 - offset
    return np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3]) / 6


def _basis(y: np.ndarray, x: np.ndarray, size: tuple[int, int]):
    """Sparse (samples, knots): B-spline values at positions in knot units; knot 0 lies at position 0."""
    from scipy import sparse

    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    by, bx = _cubic(y - y0), _cubic(x - x0)
    columns = [
        np.clip(y0 + j - 1, 0, size[0] - 1) * size[1] + np.clip(x0 + i - 1, 0, size[1] - 1)
        for j in range(4)
        for i in range(4)
    ]
    values = [by[j] * bx[i] for j in range(4) for i in range(4)]
    rows = np.tile(np.arange(len(y)), 16)
    shape = (len(y), size[0] * size[1])
    return sparse.csr_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape)


def _bending(size: tuple[int, int]):
    """Thin-plate energy of the knots: squared second differences along and across, twice the mixed ones."""
    from scipy import sparse

    tall, wide = size

    def second(n: int):
        return sum(weight * sparse.eye_array(n - 2, n, k=k) for k, weight in enumerate((1.0, -2.0, 1.0)))

    def first(n: int):
        return sparse.eye_array(n - 1, n, k=1) - sparse.eye_array(n - 1, n)

    along = sparse.kron(second(tall), sparse.eye_array(wide))
    across = sparse.kron(sparse.eye_array(tall), second(wide))
    mixed = sparse.kron(first(tall), first(wide))
    return along.T @ along + across.T @ across + 2 * (mixed.T @ mixed)


def _evaluate(
    knots: np.ndarray, origin: tuple[float, float], spacing: float, wanted: np.ndarray, middle: float
) -> np.ndarray:
    """The spline at all wanted pixels; separable, so rows are expanded first."""
    out = np.full(wanted.shape, np.nan, np.float32)
    rows, columns = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    along = _expansion(np.arange(rows[0], rows[-1] + 1), origin[0], spacing, knots.shape[0])
    across = _expansion(np.arange(columns[0], columns[-1] + 1), origin[1], spacing, knots.shape[1])
    surface = (along @ knots @ across.T + middle).astype(np.float32)
    out[inner] = np.where(wanted[inner], surface, np.float32(np.nan))
    return out


def _expansion(positions: np.ndarray, origin: float, spacing: float, count: int) -> np.ndarray:
    """(P, count) B-spline values of one axis."""
    at = (positions - origin) / spacing
    first = np.floor(at).astype(np.int64)
    matrix = np.zeros((len(at), count))
    for k, values in enumerate(_cubic(at - first)):
        np.add.at(matrix, (np.arange(len(at)), np.clip(first + k - 1, 0, count - 1)), values)
    return matrix
