"""Round things on the skin: pores, bumps, moles, freckles. Placing them with even spacing, and adding them up.

Spots are explicit points on the surface with sizes in mm, so they are the same at any map resolution and UV layout.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .skin_frame import SkinFrame
from .skin_points import SurfacePoints
from .surface_cells import CellLists, build_cells, find_cell
from .surface_noise import gradient_noise, hash_cell

PIT, BUMP, PATCH = 0, 1, 2
"""Profiles: a pit with irregular outline and slight rim; a smooth bump; a flat patch with a ragged soft border."""

_REACH = (2.3, 2.4, 1.9)


@dataclass(frozen=True, slots=True)
class Spots:
    """K elliptic spots and the cells to find them by."""

    profile: int
    centre_mm: np.ndarray
    """(K, 3) float64."""
    axis: np.ndarray
    """(K, 3) float64 unit tangent: direction of the first radius."""
    radius_mm: np.ndarray
    """(K, 2) float64 along and across the axis."""
    amplitude: np.ndarray
    """(K,) float64; a pit of amplitude a reaches -a."""
    cells: CellLists


def make_spots(
    profile: int, centre_mm: np.ndarray, axis: np.ndarray, radius_mm: np.ndarray, amplitude: np.ndarray
) -> Spots:
    """Spots with their cell lists (array shapes as in Spots)."""
    # Coarse maps widen spots by up to the footprint: 0.25 mm covers maps of 1024 and more.
    reach = (_REACH[profile] * np.maximum(radius_mm.max(1), 0.05) + 0.25)[:, None] if len(centre_mm) else 0.0
    cell = 1.4 if profile == PIT else 2.5
    return Spots(
        profile, centre_mm, axis, radius_mm, amplitude, build_cells(centre_mm - reach, centre_mm + reach, cell)
    )


def add_spots(spots: Spots, points: SurfacePoints, out: np.ndarray) -> None:
    """Add the spots' height (or strength) at every point to `out` (M,) float32."""
    _add_spots(
        points.position_mm, points.normal, points.footprint_mm, spots.profile, spots.centre_mm, spots.axis,
        spots.radius_mm, spots.amplitude, spots.cells.slots, spots.cells.items, spots.cells.cell_mm,
        _REACH[spots.profile], out,
    )  # fmt: skip


def scatter(
    frame: SkinFrame, density_per_mm2: np.ndarray, rng: np.random.Generator, spacing: float = 0.74
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on the skin with evenly spread, blue-noise-like spacing (dart throwing over surface candidates).

    density_per_mm2: (N,) wanted density at the vertices. spacing: smallest distance in units of 1/sqrt(density).
    Returns (positions (K, 3) float64, unit normals (K, 3), nearest corner vertex (K,) int).
    """
    triangles = frame.skin_triangles
    corners = frame.vertices_mm[triangles].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2.0
    density = density_per_mm2[triangles].astype(np.float64)
    # Two and a half candidates per wanted point fill the spacing almost completely.
    share = area * density.mean(1) * 2.5
    total = int(share.sum())
    if total == 0:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64)
    edges = np.cumsum(share)
    pick = np.minimum(
        np.searchsorted(edges, (np.arange(total) + rng.random(total)) * (edges[-1] / total)), len(area) - 1
    )
    r, s = np.sqrt(rng.random(total)), rng.random(total)
    bary = np.stack([1.0 - r, r * (1.0 - s), r * s], 1)
    order = rng.permutation(total)
    pick, bary = pick[order], bary[order]
    position = (corners[pick] * bary[..., None]).sum(1)
    wanted = (density[pick] * bary).sum(1)
    kept = np.zeros(total, bool)
    _throw_darts(position, spacing / np.sqrt(np.maximum(wanted, 0.02)) * (0.85 + 0.3 * rng.random(total)), kept)
    corner = triangles[pick[kept], bary[kept].argmax(1)]
    normal = (frame.normals[triangles[pick[kept]]] * bary[kept, :, None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return position[kept], normal, corner


def tangent(normal: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Unit tangents (K, 3) closest to the directions `hint` (K, 3)."""
    t = hint - normal * (hint * normal).sum(1, keepdims=True)
    return t / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9)


def turn(normal: np.ndarray, axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Tangents `axis` (K, 3) turned about `normal` by `angle` (K,) radians."""
    return np.cos(angle)[:, None] * axis + np.sin(angle)[:, None] * np.cross(normal, axis)


@numba.njit(cache=True)
def _throw_darts(position, radius, kept):
    # Hashed buckets of linked lists; a collision of buckets costs time only.
    cell = np.median(radius)
    buckets = 1 << 18
    mask = np.uint64(buckets - 1)
    head = np.full(buckets, -1, np.int64)
    following = np.full(len(position), -1, np.int64)
    for p in range(len(position)):
        reach = np.int64(np.ceil(radius[p] / cell))
        i = np.int64(np.floor(position[p, 0] / cell))
        j = np.int64(np.floor(position[p, 1] / cell))
        k = np.int64(np.floor(position[p, 2] / cell))
        free = True
        limit = radius[p] * radius[p]
        for di in range(-reach, reach + 1):
            for dj in range(-reach, reach + 1):
                for dk in range(-reach, reach + 1):
                    q = head[np.int64(hash_cell(i + di, j + dj, k + dk, 0) & mask)]
                    while q >= 0 and free:
                        dx = position[p, 0] - position[q, 0]
                        dy = position[p, 1] - position[q, 1]
                        dz = position[p, 2] - position[q, 2]
                        free = dx * dx + dy * dy + dz * dz >= limit
                        q = following[q]
        if free:
            kept[p] = True
            b = np.int64(hash_cell(i, j, k, 0) & mask)
            following[p] = head[b]
            head[b] = p


@numba.njit(cache=True, parallel=True)
def _add_spots(
    position, normal, footprint, profile, centre, axis, radius, amplitude, slots, items, cell_mm, reach, out
):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        first, last = find_cell(slots, cell_mm, x, y, z)
        if first == last:
            continue
        nx, ny, nz = np.float64(normal[i, 0]), np.float64(normal[i, 1]), np.float64(normal[i, 2])
        blur = (0.55 * footprint[i]) ** 2
        total, ragged, known = 0.0, 0.0, False
        for e in range(first, last):
            s = items[e]
            dx, dy, dz = x - centre[s, 0], y - centre[s, 1], z - centre[s, 2]
            height = dx * nx + dy * ny + dz * nz
            ax, ay, az = axis[s, 0], axis[s, 1], axis[s, 2]
            along = dx * ax + dy * ay + dz * az
            square = max(0.0, dx * dx + dy * dy + dz * dz - height * height)
            across2 = max(0.0, square - along * along)
            ra, rc = radius[s, 0], radius[s, 1]
            # Averaging over a texel: the spot keeps its volume and grows by the texel.
            wa, wc = ra * ra + blur, rc * rc + blur
            q = along * along / wa + across2 / wc
            if q > reach * reach:
                continue
            if profile != 1 and not known:
                scale = 5.0 if profile == 0 else 2.2
                ragged = gradient_noise(x * scale, y * scale, z * scale, np.uint64(977))
                known = True
            gain = amplitude[s] * np.sqrt(ra * ra * rc * rc / (wa * wc))
            if profile == 0:
                edge = q * (1.0 + 0.28 * max(-1.5, min(1.5, ragged)))
                total -= gain * (np.exp(-edge * np.sqrt(edge) * 0.9) - 0.09 * np.exp(-((np.sqrt(q) - 1.6) ** 2) * 5.0))
            elif profile == 1:
                total += gain * np.exp(-q)
            else:
                edge = q * (1.0 + 0.2 * max(-2.0, min(2.0, ragged)))
                total += gain * np.exp(-edge * np.sqrt(edge))
        out[i] += total
