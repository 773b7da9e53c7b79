"""Compiled passes over the grid of Eq. 9: its right-hand side, its operator, red-black relaxation, and transfers.

Every array here is *padded*: pixel (i, j) of a level lies at [i + 1, j + 1], and a ring of zeros (more below and on
the right where a side is odd) replaces all tests for borders. `right[i, j]` is the weight of the edge from a pixel to
its right neighbour, `down[i, j]` to the one below; 0 means no edge. `mass` is the weight of the prior, (1, width) when
it is the same for all rows. Sums of differences plus mass x value, never diagonal x value: float32 would lose a
mass of 1e-5 beside a diagonal of 4.

Passes take a range of rows and release the GIL, so that strips of one pass run in threads. None depends on how the
rows were divided, save for the order of the sums they return.
"""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Allows vectorised sums. Not `nnan`: pixels outside the mask may hold NaN."""


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def right_hand_side(p, q, z0, right, down, g, first, last):
    """g = Bᵀ C (e - B z0): what the edges that enter a pixel say minus what the edges that leave it say.

    p, q, z0 are not padded, (h, w); g and the edges are. Values at pixels without edges are never used.
    """
    height, width = z0.shape
    zero = np.float32(0)
    half = np.float32(0.5)
    for i in range(first, last):
        above, below = max(i - 1, 0), min(i + 1, height - 1)
        zi, pi, qi = z0[i], p[i], q[i]
        za, qa, zb, qb = z0[above], q[above], z0[below], q[below]
        to_right, out = right[i + 1], g[i + 1]
        from_above, to_below = down[i], down[i + 1]
        for j in range(width):
            total = zero
            c = np.float32(from_above[j + 1])
            if c != 0:
                total += c * (half * (qa[j] + qi[j]) - np.float32(zi[j] - za[j]))
            c = np.float32(to_below[j + 1])
            if c != 0:
                total -= c * (half * (qi[j] + qb[j]) - np.float32(zb[j] - zi[j]))
            out[j + 1] = total
        for j in range(width - 1):
            c = np.float32(to_right[j + 1])
            if c != 0:
                h = c * (half * (pi[j] + pi[j + 1]) - np.float32(zi[j + 1] - zi[j]))
                out[j + 1] -= h
                out[j + 2] += h


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def apply(x, right, down, mass, out, first, last):
    """out = (L + mass) x on padded rows first..last-1; returns x . out."""
    width = x.shape[1] - 2
    total = 0.0
    step = 0 if mass.shape[0] == 1 else 1
    for i in range(first, last):
        xi, xa, xb = x[i], x[i - 1], x[i + 1]
        r, a, b, m, o = right[i], down[i - 1], down[i], mass[i * step], out[i]
        row = np.float32(0)
        for j in range(width):
            c = xi[j + 1]
            v = (
                m[j + 1] * c
                + np.float32(r[j]) * (c - xi[j])
                + np.float32(r[j + 1]) * (c - xi[j + 2])
                + np.float32(a[j + 1]) * (c - xa[j + 1])
                + np.float32(b[j + 1]) * (c - xb[j + 1])
            )
            o[j + 1] = v
            row += c * v
        total += row
    return total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _relaxed_row(z, f, right, down, m, i, new):
    """Gauss-Seidel values of the whole row i into `new` (width,); 0 where a pixel has neither edge nor mass."""
    zi, za, zb = z[i], z[i - 1], z[i + 1]
    r, a, b, fi = right[i], down[i - 1], down[i], f[i]
    for j in range(new.shape[0]):
        left, across, up, low = np.float32(r[j]), np.float32(r[j + 1]), np.float32(a[j + 1]), np.float32(b[j + 1])
        diagonal = m[j + 1] + left + across + up + low
        value = fi[j + 1] + left * zi[j] + across * zi[j + 2] + up * za[j + 1] + low * zb[j + 1]
        new[j] = value / max(diagonal, np.float32(1e-30))


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def _started_row(f, right, down, m, i, new):
    """As `_relaxed_row`, for z = 0."""
    r, a, b, fi = right[i], down[i - 1], down[i], f[i]
    for j in range(new.shape[0]):
        edges = np.float32(r[j]) + np.float32(r[j + 1]) + np.float32(a[j + 1]) + np.float32(b[j + 1])
        new[j] = fi[j + 1] / max(m[j + 1] + edges, np.float32(1e-30))


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def relax(z, f, right, down, mass, colour, from_zero, first, last):
    """One red-black Gauss-Seidel sweep of rows first..last-1, `colour` (0 or 1) first, without the second colour of
    the two outermost rows: `relax_rows` does those when all strips are done. With `from_zero`, z need not be set.

    The second colour follows one row behind the first, so that memory is passed over once.
    """
    new = np.empty(z.shape[1] - 2, np.float32)
    step = 0 if mass.shape[0] == 1 else 1
    for i in range(first, last):
        if from_zero:
            _started_row(f, right, down, mass[i * step], i, new)
        else:
            _relaxed_row(z, f, right, down, mass[i * step], i, new)
        zi = z[i]
        for j in range((i + colour) & 1, new.shape[0], 2):
            zi[j + 1] = new[j]
        if i - 1 > first:
            _relaxed_row(z, f, right, down, mass[(i - 1) * step], i - 1, new)
            zi = z[i - 1]
            for j in range((i + colour) & 1, new.shape[0], 2):
                zi[j + 1] = new[j]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def relax_rows(z, f, right, down, mass, colour, rows):
    """The second colour of a sweep that began with `colour`, on the given rows."""
    new = np.empty(z.shape[1] - 2, np.float32)
    step = 0 if mass.shape[0] == 1 else 1
    for i in rows:
        _relaxed_row(z, f, right, down, mass[i * step], i, new)
        zi = z[i]
        for j in range((i + colour + 1) & 1, new.shape[0], 2):
            zi[j + 1] = new[j]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def restrict_residual(z, f, right, down, mass, coarse, first, last):
    """Sums of f - (L + mass) z over blocks of 2 x 2 pixels into coarse rows first..last-1 (padded indices)."""
    width = z.shape[1] - 2
    residual = np.empty((2, width), np.float32)
    step = 0 if mass.shape[0] == 1 else 1
    for row in range(first, last):
        for k in range(2):
            i = 2 * row - 1 + k
            zi, za, zb = z[i], z[i - 1], z[i + 1]
            r, a, b, m, fi, out = right[i], down[i - 1], down[i], mass[i * step], f[i], residual[k]
            for j in range(width):
                c = zi[j + 1]
                out[j] = (
                    fi[j + 1]
                    - m[j + 1] * c
                    - np.float32(r[j]) * (c - zi[j])
                    - np.float32(r[j + 1]) * (c - zi[j + 2])
                    - np.float32(a[j + 1]) * (c - za[j + 1])
                    - np.float32(b[j + 1]) * (c - zb[j + 1])
                )
        upper, lower, to = residual[0], residual[1], coarse[row]
        for j in range(width // 2):
            to[j + 1] = (upper[2 * j] + upper[2 * j + 1]) + (lower[2 * j] + lower[2 * j + 1])


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def add_prolonged(z, coarse, first, last):
    """Adds each coarse value of rows first..last-1 to its block of 2 x 2 pixels."""
    width = z.shape[1] - 2
    for row in range(first, last):
        source = coarse[row]
        upper, lower = z[2 * row - 1], z[2 * row]
        for j in range(width // 2):
            value = source[j + 1]
            upper[2 * j + 1] += value
            upper[2 * j + 2] += value
            lower[2 * j + 1] += value
            lower[2 * j + 2] += value


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def coarsen(right, down, mass, coarse_right, coarse_down, coarse_mass, first, last):
    """Edges and mass of coarse rows first..last-1.

    Mass adds up; a constant one (1, width) counts only pixels that have an edge. A coarse edge is half the sum of the
    two edges that cross between its blocks: on an open grid that is exactly the same stencil at twice the step, where
    the plain (Galerkin) sum would be twice too stiff.
    """
    width = right.shape[1] - 2
    half, zero = np.float32(0.5), np.float32(0)
    constant = mass.shape[0] == 1
    for row in range(first, last):
        i, k = 2 * row - 1, 2 * row
        for j in range(1, width // 2 + 1):
            c = 2 * j
            coarse_right[row, j] = half * (np.float32(right[i, c]) + np.float32(right[k, c]))
            coarse_down[row, j] = half * (np.float32(down[k, c - 1]) + np.float32(down[k, c]))
            total = zero
            for y in (i, k):
                for x in (c - 1, c):
                    if not constant:
                        total += mass[y, x]
                    elif right[y, x - 1] + right[y, x] + down[y - 1, x] + down[y, x] > 0:
                        total += mass[0, x]
            coarse_mass[row, j] = total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def step_along(w, r, d, a, alpha, first, last):
    """w += alpha d, r -= alpha a; returns r . r."""
    total = 0.0
    for i in range(first, last):
        wi, ri, di, ai = w[i], r[i], d[i], a[i]
        row = np.float32(0)
        for j in range(wi.shape[0]):
            wi[j] += alpha * di[j]
            value = ri[j] - alpha * ai[j]
            ri[j] = value
            row += value * value
        total += row
    return total


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def turn(d, z, beta, first, last):
    """d = z + beta d."""
    for i in range(first, last):
        di, zi = d[i], z[i]
        for j in range(di.shape[0]):
            di[j] = zi[j] + beta * di[j]


@numba.njit(cache=True, nogil=True, fastmath=FAST)
def dot(x, y, first, last):
    """x . y; each row in float32, their sum in float64."""
    total = 0.0
    for i in range(first, last):
        xi, yi = x[i], y[i]
        row = np.float32(0)
        for j in range(xi.shape[0]):
            row += xi[j] * yi[j]
        total += row
    return total
