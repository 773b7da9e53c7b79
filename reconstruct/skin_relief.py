"""Fine relief: the polygonal net of skin lines, and the soft unevenness between wrinkles and pores."""

import numba
import numpy as np

from .skin_frame import Area, SurfacePoints
from .surface_noise import cellular, fade, gradient_noise, octaves

_NET_MM = {
    Area.FOREHEAD: 0.020, Area.BROW: 0.012, Area.LID: 0.022, Area.NOSE: 0.009, Area.CHEEK: 0.019,
    Area.LIP: 0.012, Area.PERIORAL: 0.017, Area.CHIN: 0.017, Area.JAW: 0.020, Area.NECK: 0.026, Area.EAR: 0.010,
    Area.SCALP: 0.008, Area.OTHER: 0.012,
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
    net = _mix(points, _NET_MM) * np.float32(strength)
    uneven = _mix(points, _UNEVEN_MM) * np.float32(strength)
    w = points.weights
    across = np.clip(w[:, Area.FOREHEAD] + w[:, Area.NECK], 0.0, 1.0)
    fine = np.clip(w[:, Area.LID] + w[:, Area.LIP] + 0.35 * w[:, Area.NOSE], 0.0, 1.0)
    out = np.zeros(len(net), np.float32)
    _relief(points.position_mm, points.footprint_mm, net, uneven, across, fine, seed, out)
    return out * points.free


def _mix(points: SurfacePoints, table: dict[Area, float]) -> np.ndarray:
    column = np.zeros(len(Area), np.float32)
    for area, value in table.items():
        column[area] = value
    return points.weights @ column


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
def _relief(position, footprint, net, uneven, across, fine, seed, out):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        f = np.float64(footprint[i])
        total = uneven[i] * octaves(x, y, z, 9.0, 1.1, 0.62, f, seed)
        if net[i] > 0.0 and fade(0.9, f) > 0.0:
            # Bending the cells keeps their lines from being straight; their depth changes from place to place.
            bend = 0.13 * gradient_noise(x * 1.4, y * 1.4, z * 1.4, seed + np.uint64(11))
            side = 0.13 * gradient_noise(x * 1.4, y * 1.4, z * 1.4, seed + np.uint64(12))
            u, v, w = x + bend, y + side, z + 0.5 * (bend - side)
            vary = 1.0 + 0.35 * gradient_noise(x / 5.0, y / 5.0, z / 5.0, seed + np.uint64(13))
            vary = max(0.25, vary) * net[i]
            plain = max(0.0, 1.0 - across[i] - fine[i])
            value = 0.0
            if plain > 0.02:
                value += plain * _net(u, v, w, 0.95, f, seed + np.uint64(21))
            if across[i] > 0.02:
                # Squeezed heights: cells longer sideways.
                value += across[i] * _net(0.7 * u, 1.25 * v, w, 0.95, f, seed + np.uint64(22))
            if fine[i] > 0.02:
                value += fine[i] * _net(u, v, w, 0.6, f, seed + np.uint64(23))
            total += vary * value
        out[i] = total
