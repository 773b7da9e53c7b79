"""Facial regions of any face mesh from its 68 landmarks: polygons in the frontal view plus depth tests.

All measures are fractions of the outer eye corner distance, about 88 mm in an adult, so the rules follow the
landmarks and need no units. They place borders where anatomy texts do (brow, lid, nasolabial fold, labiomental fold,
lower edge of the mandible, ear) to within a few millimetres; they are no substitute for a hand-made segmentation.
"""

from itertools import pairwise

import numpy as np

from .face_model import Region

# Right half of an average face, (left-right, up, forward) from the midpoint of the outer eye corners, in units of
# their distance. Only landmarks that a model lacks are taken from it. Order: 0-8, 17-21, 27-30, 31-33, 36-41, 48-51,
# 57-59, 60-62, 66-67.
_RIGHT_NUMBERS = (*range(9), *range(17, 22), *range(27, 31), *range(31, 34), *range(36, 42), *range(48, 52),
                  *range(57, 60), *range(60, 63), *range(66, 68))  # fmt: skip
_RIGHT_XYZ = (
    (-0.82, 0.03, -0.55), (-0.81, -0.22, -0.52), (-0.78, -0.45, -0.45), (-0.73, -0.66, -0.38), (-0.63, -0.87, -0.27),
    (-0.49, -1.05, -0.14), (-0.34, -1.14, 0.02), (-0.17, -1.19, 0.17), (0.0, -1.22, 0.21), (-0.64, 0.20, -0.07),
    (-0.55, 0.28, 0.05), (-0.42, 0.31, 0.14), (-0.27, 0.30, 0.21), (-0.13, 0.27, 0.24), (0.0, 0.03, 0.24),
    (0.0, -0.09, 0.33), (0.0, -0.21, 0.42), (0.0, -0.34, 0.50), (-0.15, -0.50, 0.25), (-0.07, -0.51, 0.31),
    (0.0, -0.52, 0.33), (-0.50, 0.0, 0.0), (-0.43, 0.05, 0.08), (-0.31, 0.055, 0.10), (-0.20, -0.02, 0.07),
    (-0.31, -0.04, 0.09), (-0.43, -0.04, 0.07), (-0.28, -0.78, 0.18), (-0.19, -0.70, 0.29), (-0.08, -0.66, 0.35),
    (0.0, -0.665, 0.36), (0.0, -0.87, 0.33), (-0.11, -0.865, 0.31), (-0.20, -0.84, 0.26), (-0.25, -0.775, 0.17),
    (-0.11, -0.755, 0.28), (0.0, -0.757, 0.30), (0.0, -0.766, 0.30), (-0.12, -0.764, 0.27),
)  # fmt: skip
MIRROR = np.array([*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
                   39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67,
                   66, 65])  # fmt: skip
"""(68,) number of each landmark's mirror partner, 0-based."""

_NEEDED = 6
_RIGHT_EYE, _LEFT_EYE = tuple(range(36, 42)), tuple(range(42, 48))
_OUTER_LIPS = tuple(range(48, 60))


def average_landmarks() -> np.ndarray:
    """(68, 3) float64 landmarks of an average face in units of the outer eye corner distance."""
    points = np.empty((68, 3))
    points[list(_RIGHT_NUMBERS)] = _RIGHT_XYZ
    for number in _RIGHT_NUMBERS:
        points[MIRROR[number]] = points[number] * (-1, 1, 1)
    points[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0] = 0
    return points


def complete_landmarks(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """(68, 3) float64 landmark positions, unknown ones estimated from an average face; None where too few are known.

    The average face is fitted to the known landmarks with one scale and offset per axis (the frame is upright, so no
    rotation), and an estimate is moved to the nearest vertex.
    """
    known = landmarks >= 0
    if known.sum() < _NEEDED:
        return None
    average, points = average_landmarks(), np.zeros((68, 3))
    points[known] = vertices[landmarks[known]]
    scales = []
    for axis in range(3):
        spread = average[known, axis] - average[known, axis].mean()
        scales.append((spread @ (points[known, axis] - points[known, axis].mean())) / max(spread @ spread, 1e-9))
    for axis, scale in enumerate(scales):
        # An axis the known points hardly span (depth, as a rule) takes the width's scale instead of a wild one.
        if not 0.6 * scales[0] < scale < 1.6 * scales[0]:
            scale = scales[0]
        offset = points[known, axis].mean() - scale * average[known, axis].mean()
        points[~known, axis] = scale * average[~known, axis] + offset
    for number in np.flatnonzero(~known):
        points[number] = vertices[np.argmin(((vertices - points[number]) ** 2).sum(1))]
    return points


def label_regions(
    vertices_mm: np.ndarray, landmarks: np.ndarray, eyes_in_mesh: bool = False, outer: np.ndarray | None = None
) -> np.ndarray:
    """Region (N,) uint8 of every vertex (N, 3) in the model frame (x to the subject's left, y up, z forward).

    `landmarks` (68,) int holds vertex indices, -1 where unknown; with fewer than six known everything is OTHER.
    `eyes_in_mesh`: the surface runs across the eyes (Basel), so what lies inside the eye contour is eyeball, not lid.
    `outer` (N,) bool restricts the labels to the outer skin; the rest stays OTHER.
    """
    vertices = np.asarray(vertices_mm, np.float64)
    regions = np.zeros(len(vertices), np.uint8)
    points = complete_landmarks(vertices, np.asarray(landmarks))
    if points is None:
        return regions
    scale = float(np.linalg.norm(points[45] - points[36]))
    origin = (points[36] + points[45]) / 2
    p, q = (points - origin) / scale, (vertices - origin) / scale
    u, v, w = q.T
    left, side = u > 0, np.abs(u)

    ear_plane = (p[0, 2] + p[16, 2]) / 2
    ear_level, ear_width = (p[0, 1] + p[16, 1]) / 2, (abs(p[0, 0]) + abs(p[16, 0])) / 2
    jaw = (p[:9] * (-1, 1, 1) + p[16:7:-1]) / 2
    # The lower edge of the mandible seen from the side: what lies behind or below it is neck.
    edge = np.interp(v, jaw[::-1, 1], jaw[::-1, 2])
    behind = np.where(v < ear_level, w < edge - 0.05, w < ear_plane - 0.02) | (v < p[8, 1] - 0.03)
    front = ~behind
    nape = v < -0.50

    regions[behind & ~nape] = Region.SCALP
    regions[behind & nape] = Region.NECK
    # The root of the jaw's rear edge, below the ear lobe and above the nape's border, is neck as well.
    regions[behind & ~nape & (v < -0.35) & (w > ear_plane - 0.35)] = Region.NECK
    # An ear stands out from the skull; the threshold leans in towards the lobe.
    drop = v - ear_level
    ear = (side > ear_width * (1.02 + 0.20 * np.minimum(drop, 0))) & (drop > -0.65) & (drop < 0.10)
    ear &= (w < ear_plane + 0.02) & (w > ear_plane - 0.80)
    # The hollow in front of the ear canal lies deeper than the rim around it.
    hollow = (side > 0.80 * ear_width) & (drop > -0.45) & (drop < -0.10)
    ear |= hollow & (w < ear_plane - 0.10) & (w > ear_plane - 0.45)
    _sides(regions, ear, left, Region.EAR_RIGHT, Region.EAR_LEFT)

    brow_u = np.array([*p[17:22, 0], *p[22:27, 0]])
    brow_v = np.interp(u, brow_u, np.array([*p[17:22, 1], *p[22:27, 1]]))
    hairline = 0.64 - 0.22 * (u / ear_width) ** 2
    _sides(regions, front, left, Region.CHEEK_RIGHT, Region.CHEEK_LEFT)
    above = front & (v > np.where(side < np.abs(brow_u).max(), brow_v, p[[17, 26], 1].mean() + 0.05))
    regions[above] = Region.FOREHEAD
    regions[front & (v > p[27, 1] + 0.10) & (side < np.abs(p[[21, 22], 0]).mean())] = Region.FOREHEAD
    regions[above & (v > hairline)] = Region.SCALP

    fold = p[57, 1] - 0.35 * (p[57, 1] - p[8, 1])
    corner_u, corner_v = (abs(p[48, 0]) + abs(p[54, 0])) / 2, (p[48, 1] + p[54, 1]) / 2
    inner_u = corner_u + 0.10
    jaw_line = np.interp(side, [inner_u, max(jaw[2, 0], inner_u + 0.01)], [fold, p[[2, 14], 1].mean() - 0.02])
    regions[front & (v < jaw_line)] = Region.JAW
    chin_side = np.interp(v, [p[8, 1], fold], [0.22, 0.30])
    regions[front & (v < fold) & (side < chin_side)] = Region.CHIN

    wing_u, wing_v = (abs(p[31, 0]) + abs(p[35, 0])) / 2, (p[31, 1] + p[35, 1]) / 2
    half = [(0.0, p[33, 1]), (wing_u + 0.06, wing_v), (corner_u + 0.10, corner_v + 0.05), (inner_u, fold), (0.0, fold)]
    regions[front & _inside(side, v, half)] = Region.PERIORAL
    half = [(0.0, p[27, 1] + 0.10), (0.09, p[27, 1] + 0.10), (0.10, p[27, 1] - 0.04), (0.13, p[29, 1]),
            (wing_u + 0.06, wing_v + 0.16), (wing_u + 0.075, wing_v + 0.06), (wing_u + 0.02, wing_v - 0.015),
            (0.0, p[33, 1] - 0.015)]  # fmt: skip
    regions[front & _inside(side, v, half) & (w > p[[31, 35], 2].mean() - 0.30)] = Region.NOSE

    for numbers, tails, lid, brow, ball in (
        (_RIGHT_EYE, (17, 21), Region.EYELID_RIGHT, Region.BROW_RIGHT, Region.EYEBALL_RIGHT),
        (_LEFT_EYE, (22, 26), Region.EYELID_LEFT, Region.BROW_LEFT, Region.EYEBALL_LEFT),
    ):
        eye, line = p[list(numbers)], p[tails[0] : tails[1] + 1]
        within = _inside(u, v, eye[:, :2])
        near = np.abs(w - eye[:, 2].mean()) < 0.30
        span = np.concatenate([eye[:, 0] * 1.06, line[[0, -1], 0][np.abs(line[[0, -1], 0]).argmin()][None]])
        under = (v > eye[:, 1].mean()) & (v < brow_v) & (u > span.min()) & (u < span.max())
        ring = front & near & (within | under | (_distance(q, np.vstack([eye, eye[:1]])) < 0.11))
        regions[ring & (regions != Region.NOSE)] = lid
        if eyes_in_mesh:
            regions[within & near & front] = ball
        regions[front & (_distance(q, line) < 0.055)] = brow

    lips = p[list(_OUTER_LIPS)]
    mouth = front & _inside(u, v, lips[:, :2] * (1.02, 1.0)) & (w > p[[48, 54], 2].mean() - 0.12)
    seam = np.array([p[48], p[60], (p[61] + p[67]) / 2, (p[62] + p[66]) / 2, (p[63] + p[65]) / 2, p[64], p[54]])
    order = np.argsort(seam[:, 0])
    upper = v >= np.interp(u, seam[order, 0], seam[order, 1])
    regions[mouth & upper] = Region.LIP_UPPER
    regions[mouth & ~upper] = Region.LIP_LOWER
    if outer is not None:
        regions[~outer] = Region.OTHER
    return regions


def _sides(regions: np.ndarray, where: np.ndarray, left: np.ndarray, right_label: Region, left_label: Region) -> None:
    regions[where & ~left] = right_label
    regions[where & left] = left_label


def _inside(u: np.ndarray, v: np.ndarray, polygon: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
    """Even-odd rule: (N,) bool for points against one simple polygon (P, 2)."""
    corners = np.asarray(polygon, np.float64)
    result = np.zeros(len(u), bool)
    for (ua, va), (ub, vb) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if va != vb:
            result ^= ((va > v) != (vb > v)) & (u < ua + (v - va) * (ub - ua) / (vb - va))
    return result


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) distance of points (N, 3) to a polyline (M, 3)."""
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        along = b - a
        t = np.clip((points - a) @ along / max(along @ along, 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - t[:, None] * along, axis=1))
    return best
