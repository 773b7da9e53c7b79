"""Noise attached to points of space, not to texels: the same point gives the same value at any map resolution.

Scalar numba functions for use inside kernels. Randomness comes from an integer hash (a round of MurmurHash3's
finaliser, A. Appleby) of cell coordinates and a seed, so that results depend neither on the order of evaluation nor on
threads.
"""

import numba
import numpy as np

_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_PRIME_X = np.uint64(0x9E3779B97F4A7C15)
_PRIME_Y = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_Z = np.uint64(0x165667B19E3779F9)
_SHIFT = np.uint64(33)


@numba.njit(cache=True, inline="always")
def hash_cell(ix, iy, iz, seed):
    """64 random bits of an integer cell."""
    h = (np.uint64(ix) * _PRIME_X) ^ (np.uint64(iy) * _PRIME_Y) ^ (np.uint64(iz) * _PRIME_Z) ^ np.uint64(seed)
    h = (h ^ (h >> _SHIFT)) * _MIX_A
    return h ^ (h >> _SHIFT)


@numba.njit(cache=True, inline="always")
def _slope(h, x, y, z):
    # Gradient with components in {-3, -1, 1, 3}/3: cheap, no axis preferred, no table.
    gx = np.float64(np.int64((h >> np.uint64(40)) & np.uint64(3)) * 2 - 3)
    gy = np.float64(np.int64((h >> np.uint64(46)) & np.uint64(3)) * 2 - 3)
    gz = np.float64(np.int64((h >> np.uint64(52)) & np.uint64(3)) * 2 - 3)
    return gx * x + gy * y + gz * z


@numba.njit(cache=True)
def gradient_noise(x, y, z, seed):
    """Smooth noise of about unit variance and zero mean; features about one unit across."""
    # Turning the lattice away from the axes hides it on surfaces that face an axis, as a face does.
    u = 0.79 * x - 0.41 * y + 0.45 * z + 17.31
    v = 0.60 * x + 0.66 * y - 0.45 * z - 5.77
    w = -0.11 * x + 0.63 * y + 0.77 * z + 41.19
    fu, fv, fw = np.floor(u), np.floor(v), np.floor(w)
    i, j, k = np.int64(fu), np.int64(fv), np.int64(fw)
    u, v, w = u - fu, v - fv, w - fw
    a = u * u * u * (u * (u * 6.0 - 15.0) + 10.0)
    b = v * v * v * (v * (v * 6.0 - 15.0) + 10.0)
    c = w * w * w * (w * (w * 6.0 - 15.0) + 10.0)
    n000 = _slope(hash_cell(i, j, k, seed), u, v, w)
    n100 = _slope(hash_cell(i + 1, j, k, seed), u - 1.0, v, w)
    n010 = _slope(hash_cell(i, j + 1, k, seed), u, v - 1.0, w)
    n110 = _slope(hash_cell(i + 1, j + 1, k, seed), u - 1.0, v - 1.0, w)
    n001 = _slope(hash_cell(i, j, k + 1, seed), u, v, w - 1.0)
    n101 = _slope(hash_cell(i + 1, j, k + 1, seed), u - 1.0, v, w - 1.0)
    n011 = _slope(hash_cell(i, j + 1, k + 1, seed), u, v - 1.0, w - 1.0)
    n111 = _slope(hash_cell(i + 1, j + 1, k + 1, seed), u - 1.0, v - 1.0, w - 1.0)
    near = (n000 + a * (n100 - n000)) + b * ((n010 + a * (n110 - n010)) - (n000 + a * (n100 - n000)))
    far = (n001 + a * (n101 - n001)) + b * ((n011 + a * (n111 - n011)) - (n001 + a * (n101 - n001)))
    return (near + c * (far - near)) * 1.18


@numba.njit(cache=True)
def octaves(x, y, z, longest, shortest, decay, footprint, seed):
    """Sum of gradient noise from wavelength `longest` down to `shortest` (mm), each octave `decay` times the last.

    Octaves that a texel of `footprint` mm cannot hold are faded out, as a low-pass would. About unit variance.
    """
    total, power, gain, wavelength = 0.0, 0.0, 1.0, longest
    while wavelength >= shortest * 0.99:
        power += gain * gain
        keep = fade(wavelength, footprint)
        if keep > 0.0:
            s = 1.0 / wavelength
            total += gain * keep * gradient_noise(x * s, y * s, z * s, seed)
        gain *= decay
        wavelength *= 0.5
        seed += np.uint64(0x632BE59BD9B4E019)
    return total / np.sqrt(power)


@numba.njit(cache=True, inline="always")
def fade(wavelength, footprint):
    """Share of a wavelength (mm) that survives the averaging over a texel of `footprint` mm."""
    r = footprint / wavelength
    return max(0.0, 1.0 - 1.6 * r * r)


@numba.njit(cache=True)
def cellular(x, y, z, seed):
    """Distances (F1, F2) to the two nearest points of a jittered 3-D lattice, about one point per unit cube.

    Worley, A cellular texture basis function, SIGGRAPH 1996. The lattice is turned as in `gradient_noise`.
    """
    u = 0.79 * x - 0.41 * y + 0.45 * z + 3.17
    v = 0.60 * x + 0.66 * y - 0.45 * z + 9.41
    w = -0.11 * x + 0.63 * y + 0.77 * z - 2.63
    i, j, k = np.int64(np.floor(u)), np.int64(np.floor(v)), np.int64(np.floor(w))
    u, v, w = u - i, v - j, w - k
    first, second = 9.0, 9.0
    for c in range(3):
        # The middle layer first: most of the others then turn out too far to hold one of the two nearest.
        dk = (c + 1) // 2 * (1 - 2 * (c % 2))
        far_w = 0.0 if dk == 0 else (w + 0.1 if dk < 0 else 1.1 - w) ** 2
        if far_w >= second:
            continue
        for b in range(3):
            dj = (b + 1) // 2 * (1 - 2 * (b % 2))
            far_v = far_w + (0.0 if dj == 0 else (v + 0.1 if dj < 0 else 1.1 - v) ** 2)
            if far_v >= second:
                continue
            for a in range(3):
                di = (a + 1) // 2 * (1 - 2 * (a % 2))
                if far_v + (0.0 if di == 0 else (u + 0.1 if di < 0 else 1.1 - u) ** 2) >= second:
                    continue
                h = hash_cell(i + di, j + dj, k + dk, seed)
                px = di + 0.1 + 0.8 * np.float64((h >> np.uint64(8)) & np.uint64(0xFFFF)) / 65536.0 - u
                py = dj + 0.1 + 0.8 * np.float64((h >> np.uint64(26)) & np.uint64(0xFFFF)) / 65536.0 - v
                pz = dk + 0.1 + 0.8 * np.float64((h >> np.uint64(44)) & np.uint64(0xFFFF)) / 65536.0 - w
                d = px * px + py * py + pz * pz
                if d < first:
                    second, first = first, d
                elif d < second:
                    second = d
    return np.sqrt(first), np.sqrt(second)


def seed64(rng: np.random.Generator) -> np.uint64:
    """A 63-bit seed for the hashes above."""
    return np.uint64(rng.integers(0, 2**63))
