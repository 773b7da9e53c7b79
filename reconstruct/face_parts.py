"""Landmarks and regions of the procedural face, and its eyeballs."""

import numpy as np
from scipy.interpolate import PchipInterpolator

from .face_contours import EYE_CENTRE_MM, EYE_RADIUS_MM, lip_lower_y_mm, lip_upper_y_mm
from .face_grid import (
    EYE_INNER,
    EYE_OUTER,
    MOUTH_CORNER,
    ROW_EYE,
    ROW_LIP_LOWER,
    ROW_LIP_UPPER,
    ROW_MOUTH,
    half_grid,
    mirrored,
)
from .face_model import Region
from .face_primitives import ease
from .face_sculpt import ear_relief_mm

IRIS_RADIUS_MM, PUPIL_RADIUS_MM = 5.9, 2.2
EYEBALL_TURNS = 40
_POLAR_DEG = (3.5, 7.0, 10.0, 11.5, 15.0, 19.0, 23.0, 26.5, 28.7, 30.3, 33.0, 37.0, 42.0, 48.0, 55.0, 63.0, 72.0, 82.0,
              93.0, 106.0, 120.0, 135.0, 150.0, 165.0)  # fmt: skip

# Frontal (x, y) or full (x, y, z) places in the sculpting frame, left side, of landmarks that no contour carries.
_JAW = ((70, 1, -71), (68.5, -18, -64), (64.5, -36, -55), (60, -53, -50), (52.5, -70, -41), (42.5, -85, -25),
        (31, -97, -9), (17, -107, 3), (0, -113.5, 6))  # fmt: skip
_BROW = ((54.0, 12.5), (46.5, 18.0), (37.0, 20.5), (27.0, 19.5), (16.5, 16.0))
_BRIDGE = ((0, 1.0, 20), (0, -12.0, 27), (0, -25.0, 35), (0, -37.5, 44))
_NOSE_BASE = ((0, -48.0, 24), (6.2, -47.8, 22), (12.6, -46.2, 19))


def half_landmarks(half_mm: np.ndarray) -> dict[int, int]:
    """Half vertex of each landmark of the subject's left side and the midline, by 0-based iBUG number."""
    grid = half_grid()
    skin = half_mm[: grid.skin_count]

    def nearest(place: tuple[float, ...], among: np.ndarray | None = None) -> int:
        ids = np.arange(len(skin)) if among is None else among
        offsets = skin[ids, : len(place)] - place
        gap = np.linalg.norm(offsets, axis=1)
        if len(place) == 2:
            gap = gap + 1e3 * (skin[ids, 2] < -30.0)
        return int(ids[np.argmin(gap)])

    midline = np.concatenate([grid.upper[:, 0], grid.lower[:, 0]])
    found = {16 - k: nearest(place, midline if k == 8 else None) for k, place in enumerate(_JAW)}
    found |= {26 - k: nearest(place) for k, place in enumerate(_BROW)}
    found |= {27 + k: nearest(place, midline) for k, place in enumerate(_BRIDGE)}
    found |= {33 + k: nearest(place, midline if k == 0 else None) for k, place in enumerate(_NOSE_BASE)}
    # The most forward point of the nose is its tip, whatever the sculpt.
    found[30] = int(midline[np.argmax(skin[midline, 2])])
    third = (EYE_OUTER - EYE_INNER) / 3.0
    near, far = EYE_INNER + round(third), EYE_OUTER - round(third)
    found |= {42: grid.upper[ROW_EYE, EYE_INNER], 43: grid.upper[ROW_EYE, near], 44: grid.upper[ROW_EYE, far]}
    found |= {45: grid.upper[ROW_EYE, EYE_OUTER], 46: grid.lower[ROW_EYE, far], 47: grid.lower[ROW_EYE, near]}
    found |= {51: grid.upper[ROW_LIP_UPPER, 0], 52: grid.upper[ROW_LIP_UPPER, 7]}
    found |= {53: nearest((15.0, float(lip_upper_y_mm(15.0)))), 54: grid.upper[ROW_MOUTH, MOUTH_CORNER]}
    found |= {55: nearest((15.5, float(lip_lower_y_mm(15.5)))), 56: grid.upper[ROW_LIP_LOWER, 10]}
    found |= {57: grid.upper[ROW_LIP_LOWER, 0]}
    found |= {62: grid.upper[ROW_MOUTH, 0], 63: grid.upper[ROW_MOUTH, 10], 64: grid.upper[ROW_MOUTH, MOUTH_CORNER - 3],
              65: grid.lower[ROW_MOUTH, 10], 66: grid.lower[ROW_MOUTH, 0]}  # fmt: skip
    return {number: int(vertex) for number, vertex in found.items()}


_OPPOSITE = {
    **{16 - k: k for k in range(8)}, **{26 - k: 17 + k for k in range(5)}, 34: 32, 35: 31, 42: 39, 43: 38, 44: 37,
    45: 36, 46: 41, 47: 40, 52: 50, 53: 49, 54: 48, 55: 59, 56: 58, 63: 61, 64: 60, 65: 67,
}  # fmt: skip


def landmarks(half_mm: np.ndarray) -> np.ndarray:
    """(68,) int32 whole-head vertices of the iBUG landmarks."""
    left, partner = half_landmarks(half_mm), mirrored().partner
    found = np.full(68, -1, np.int32)
    for number, vertex in left.items():
        found[number] = vertex
        if number in _OPPOSITE:
            found[_OPPOSITE[number]] = partner[vertex]
    return found


def brow_coordinates(x_mm: np.ndarray, y_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Along (0 inner, 1 outer) and above (mm) the arc of the left brow at frontal positions."""
    xs, ys = np.array(_BROW[::-1]).T
    fit = np.polynomial.Polynomial.fit(xs, ys, 3)
    return (x_mm - xs[0]) / (xs[-1] - xs[0]), y_mm - fit(np.clip(x_mm, xs[0] - 4.0, xs[-1] + 4.0))


def above_hairline_mm(x_mm: np.ndarray, y_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
    """Distance (about) into the scalp hair: over the forehead, round the ear, down to the nape; negative outside."""
    depth = (
        -190.0,
        -150.0,
        -126.0,
        -114.0,
        -106.0,
        -97.0,
        -88.0,
        -78.0,
        -70.0,
        -62.0,
        -50.0,
        -36.0,
        -20.0,
        0.0,
        14.0,
        40.0,
    )
    height = (-84.0, -80.0, -70.0, -50.0, -16.0, 14.0, 20.0, 12.0, -8.0, -4.0, 20.0, 38.0, 53.0, 62.0, 67.0, 67.0)
    line = PchipInterpolator(depth, height)
    peak = 4.0 * np.exp(-((x_mm / 16.0) ** 2)) * (z_mm > -40.0)
    return (y_mm - line(z_mm) + peak) / np.sqrt(1.0 + line(z_mm, 1) ** 2)


def ear_cover(half_mm: np.ndarray) -> np.ndarray:
    """(n,) 1 on the left auricle, easing to 0 at its root."""
    x, y, z = half_mm.T
    box = (z > -122.0) & (z < -64.0) & (np.abs(y + 12.0) < 38.0) & (x > 50.0)
    bowl = ((z + 84.0) / 11.0) ** 2 + ((y + 15.0) / 14.0) ** 2 < 1.0
    cover = np.zeros(len(x))
    ids = np.flatnonzero(box)
    cover[ids] = np.maximum(ease(ear_relief_mm(tuple(half_mm[ids].T)), 0.4, 2.4), bowl[ids])
    return cover


def half_regions(half_mm: np.ndarray) -> np.ndarray:
    """(count,) Region of each vertex of the left half."""
    grid = half_grid()
    x, y, z = half_mm.T
    region = np.full(grid.count, Region.OTHER, np.uint8)
    front = z > -62.0

    region[y < -70.0 - 0.55 * (z + 10.0)] = Region.NECK
    below_jaw = y < np.interp(z, [-75, -50, -41, -25, -9, 3, 30], [-55, -62, -74, -89, -102, -112, -116])
    region[below_jaw] = Region.NECK
    face = front & ~below_jaw
    region[face] = Region.CHEEK_LEFT
    region[face & (y > 10.0 - 0.25 * np.maximum(-z, 0.0) * 0.2) & (z > -48.0) & (y > 9.0)] = Region.FOREHEAD
    jaw_line = np.interp(z, [-75, -50, -41, -25, -9, 3, 30], [-20, -40, -56, -72, -86, -95, -100])
    region[face & (y < jaw_line)] = Region.JAW
    region[face & (z < -48.0) & (y < 0.0)] = Region.JAW
    region[face & (y < -84.0) & (x < 24.0) & (z > -20.0)] = Region.CHIN
    mouth = face & (y > -86.0) & (y < -46.0) & (x < 33.0 + 0.25 * (y + 68.0)) & (z > -12.0)
    region[mouth] = Region.PERIORAL
    nose_half = np.interp(y, [-50, -46, -38, -30, -10, 4, 12], [12, 17, 21, 19, 14, 10, 9])
    region[face & (y > -48.5) & (y < 9.0) & (x < nose_half)] = Region.NOSE
    lid = ((x - 31.5) / 19.0) ** 2 + ((y - 1.0) / np.where(y > 1.0, 10.5, 11.0)) ** 2 < 1.0
    region[face & lid & (x > nose_half)] = Region.EYELID_LEFT
    along, above = brow_coordinates(x, y)
    region[face & (along > -0.06) & (along < 1.06) & (np.abs(above) < 5.0) & (z > -25.0)] = Region.BROW_LEFT
    region[above_hairline_mm(x, y, z) > 0.0] = Region.SCALP
    region[ear_cover(half_mm) > 0.5] = Region.EAR_LEFT

    corner = slice(0, MOUTH_CORNER + 1)
    xc = np.minimum(x, 25.0)
    lip_rows = np.zeros(grid.count, bool)
    lip_rows[grid.upper[ROW_LIP_UPPER - 2 : ROW_MOUTH + 1, corner]] = True
    region[lip_rows & (y <= lip_upper_y_mm(xc) + 0.01)] = Region.LIP_UPPER
    lip_rows[:] = False
    lip_rows[grid.lower[ROW_MOUTH : ROW_LIP_LOWER + 3, corner]] = True
    lip_rows[grid.upper[ROW_MOUTH, MOUTH_CORNER]] = False
    region[lip_rows & (y >= lip_lower_y_mm(xc) - 0.01)] = Region.LIP_LOWER
    region[grid.bag_upper[1:4]], region[grid.bag_lower[1:4]] = Region.LIP_UPPER, Region.LIP_LOWER
    region[grid.bag_upper[4:]] = region[grid.bag_lower[4:]] = Region.MOUTH_INTERIOR
    region[grid.lid[1:]] = Region.EYELID_LEFT
    return region


_LEFT_TO_RIGHT = {Region.BROW_LEFT: Region.BROW_RIGHT, Region.EYELID_LEFT: Region.EYELID_RIGHT,
                  Region.CHEEK_LEFT: Region.CHEEK_RIGHT, Region.EAR_LEFT: Region.EAR_RIGHT}  # fmt: skip


def skin_regions(half_mm: np.ndarray) -> np.ndarray:
    """(N,) Region of the whole skin."""
    mirror = mirrored()
    region = half_regions(half_mm)[mirror.half]
    for left, right in _LEFT_TO_RIGHT.items():
        region[(mirror.sign < 0) & (region == left)] = right
    return region


def eyeball(side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sphere of one eye (`side` +1 left, -1 right) looking along +z.

    Returns vertices (M, 3) mm in the sculpting frame, triangles (S, 3), and polar and turn angles (M,) in radians.
    """
    polar = np.radians(np.array(_POLAR_DEG))
    turn = 2.0 * np.pi * np.arange(EYEBALL_TURNS) / EYEBALL_TURNS
    t, p = np.meshgrid(polar, turn, indexing="ij")
    t, p = np.concatenate([[0.0], t.ravel(), [np.pi]]), np.concatenate([[0.0], p.ravel(), [0.0]])
    unit = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1)
    ids = 1 + np.arange(len(polar) * EYEBALL_TURNS).reshape(len(polar), EYEBALL_TURNS)
    following = np.roll(ids, -1, 1)
    a, b, c, d = (v.ravel() for v in (ids[:-1], ids[1:], following[1:], following[:-1]))
    pole, end = np.zeros(EYEBALL_TURNS, int), np.full(EYEBALL_TURNS, len(t) - 1)
    triangles = np.concatenate([
        np.stack([pole, ids[0], following[0]], -1), np.stack([a, b, c], -1), np.stack([a, c, d], -1),
        np.stack([end, following[-1], ids[-1]], -1),
    ])  # fmt: skip
    centre = np.array(EYE_CENTRE_MM) * [side, 1.0, 1.0]
    return centre + EYE_RADIUS_MM * unit, triangles, t, p
