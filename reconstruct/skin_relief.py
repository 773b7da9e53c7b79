"""Fine relief: the polygonal net of skin lines, and the soft unevenness between wrinkles and pores."""

import numba
import numpy as np

from .skin_frame import Area
from .skin_points import SurfacePoints
from .surface_noise import cellular, fade, gradient_noise, octaves

_NET_MM = {
    Area.FOREHEAD: 0.027, Area.BROW: 0.016, Area.LID: 0.028, Area.NOSE: 0.012, Area.CHEEK: 0.026,
    Area.LIP: 0.015, Area.PERIORAL: 0.023, Area.CHIN: 0.023, Area.JAW: 0.027, Area.NECK: 0.034, Area.EAR: 0.012,
    Area.SCALP: 0.010, Area.OTHER: 0.016,
}  # fmt: skip
"""Depth scale of the net in mm, chosen to give lines of 0.01-0.03 mm on a face; deeper on neck and lids."""

_UNEVEN_MM = {
    Area.FOREHEAD: 0.028, Area.BROW: 0.03, Area.LID: 0.022, Area.NOSE: 0.026, Area.CHEEK: 0.036, Area.LIP: 0.025,
    Area.PERIORAL: 0.036, Area.CHIN: 0.050, Area.JAW: 0.042, Area.NECK: 0.04, Area.EAR: 0.02, Area.SCALP: 0.03,
    Area.OTHER: 0.02,
}  # fmt: skip
"""RMS of the undulation with wavelengths of 1.5-10 mm, in mm."""


def relief_displacement(points: SurfacePoints, seed: np.uint64, strength: float) -> np.ndarray:
    """(M,) float32 mm, about zero mean; zero where `points.free` is."""
    out = np.empty(len(points.position_mm), np.float32)
    _relief(points.position_mm, points.footprint_mm, points.weights, points.free, _TABLE, strength, seed, out)
    return out


def _table() -> np.ndarray:
    table = np.zeros((4, len(Area)), np.float32)
    for row, entries in enumerate((
        _NET_MM, _UNEVEN_MM, {Area.FOREHEAD: 1.0, Area.NECK: 1.0}, {Area.LID: 1.0, Area.LIP: 1.0, Area.NOSE: 0.35}
    )):  # fmt: skip
        for area, value in entries.items():
            table[row, area] = value
    return table


_TABLE = _table()
"""(4, len(Area)) float32: depth of the net, undulation, share of sideways cells, share of fine cells."""


@numba.njit(cache=True)
def _net(x, y, z, size, footprint, seed):
    # Two generations of lines: cells of `size` mm with deeper lines, divided by cells of about half that size.
    one, two = cellular(x / size, y / size, z / size, seed)
    primary = np.exp(-((two - one) / 0.16)) * 0.9 - 0.35 * (0.55 - one)
    shares = fade(0.75 * size, footprint)
    total = -(primary - 0.33) * shares
    small = 0.47 * size
    keep = fade(0.75 * small, footprint)
    if keep > 0.0:
        one, two = cellular(x / small, y / small, z / small, seed + np.uint64(7))
        total -= 0.5 * keep * (np.exp(-((two - one) / 0.2)) - 0.36)
    return total


@numba.njit(cache=True, parallel=True)
def _relief(position, footprint, weights, free, table, strength, seed, out):
    for i in numba.prange(len(position)):
        out[i] = 0.0
        if free[i] <= 0.0:
            continue
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        f = np.float64(footprint[i])
        net, uneven, across, fine = 0.0, 0.0, 0.0, 0.0
        for a in range(weights.shape[1]):
            net += weights[i, a] * table[0, a]
            uneven += weights[i, a] * table[1, a]
            across += weights[i, a] * table[2, a]
            fine += weights[i, a] * table[3, a]
        total = uneven * octaves(x, y, z, 9.0, 1.1, 0.62, f, seed)
        if fade(0.7, f) > 0.0:
            # Bending the cells keeps their lines from being straight; their depth changes from place to place.
            bend = 0.13 * gradient_noise(x * 1.4, y * 1.4, z * 1.4, seed + np.uint64(11))
            side = 0.13 * gradient_noise(x * 1.4, y * 1.4, z * 1.4, seed + np.uint64(12))
            u, v, w = x + bend, y + side, z + 0.5 * (bend - side)
            vary = net * max(0.25, 1.0 + 0.35 * gradient_noise(x / 5.0, y / 5.0, z / 5.0, seed + np.uint64(13)))
            plain = max(0.0, 1.0 - across - fine)
            value = 0.0
            if plain > 0.02:
                value += plain * _net(u, v, w, 0.95, f, seed + np.uint64(21))
            if across > 0.02:
                # Squeezed heights: cells longer sideways.
                value += across * _net(0.7 * u, 1.25 * v, w, 0.95, f, seed + np.uint64(22))
            if fine > 0.02:
                value += fine * _net(u, v, w, 0.6, f, seed + np.uint64(23))
            total += vary * value
        out[i] = total * free[i] * strength
