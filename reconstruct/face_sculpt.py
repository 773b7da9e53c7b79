"""The mean head as one implicit surface: masses joined smoothly, sockets and nostrils carved, lips raised (mm).

Sculpting frame: x to the subject's left, y up from the pupils, z forward from the eyeball centres. Proportions are
common adult anthropometry (pupils 63 mm apart, nasion to menton 118, head 153 by 195).
"""

from collections.abc import Callable

import numpy as np

from .face_contours import EYE_CENTRE_MM, crease_y_mm, lip_heights_mm
from .face_primitives import Points, bump, capsule, carve, ease, ellipsoid, join, rotated


def head_distance_mm(p: Points, lid_crease: bool = True) -> np.ndarray:
    """Signed distance (about) to the skin of the mean head, negative inside; coordinates are flat arrays (n,)."""
    x, y, z = p
    # A rounded |x| mirrors the paired masses without a crease at the midline.
    x = np.sqrt(x * x + 6.0)
    side = (x, y, z)
    d = _skull(side)
    d = _midface(d, side)
    d = _jaw_and_neck(d, side)
    # Small parts are only worked out where they can be met.
    _within(d, side, (x > 38.0) & (np.abs(y + 12.0) < 60.0) & (np.abs(z + 90.0) < 48.0), _ear)
    _within(d, side, (x < 48.0) & (y > -95.0) & (y < 38.0) & (z > -15.0), _nose)
    _within(d, side, (x < 82.0) & (np.abs(y) < 45.0) & (z > -50.0), _eye)
    _within(d, side, (x < 60.0) & (y < 25.0) & (y > -120.0) & (z > -14.0), _relief)
    if lid_crease:
        _within(d, side, (x > 10.0) & (x < 52.0) & (np.abs(y - 5.0) < 14.0) & (z > -14.0), _lid_crease)
    return d


def _within(d: np.ndarray, p: Points, where: np.ndarray, part: Callable[[np.ndarray, Points], np.ndarray]) -> None:
    """Adds a part to `d` in place, at the points `where` only."""
    ids = np.flatnonzero(where)
    x, y, z = p
    d[ids] = part(d[ids], (x[ids], y[ids], z[ids]))


def _skull(p: Points) -> np.ndarray:
    d = ellipsoid(p, (0, 40, -82), (75.0, 76.0, 90.0))
    d = join(d, ellipsoid(p, (0, 38, -44), (60.0, 56.0, 65.0)), 30)
    d = join(d, ellipsoid(p, (0, 6, -62), (65.0, 38.0, 40.0)), 20)
    return join(d, ellipsoid(p, (0, -5, -110), (60.0, 56.0, 56.0)), 30)


def _midface(d: np.ndarray, p: Points) -> np.ndarray:
    d = join(d, ellipsoid(p, (0, -32, -44), (58.0, 62.0, 58.0)), 20)
    d = join(d, capsule(p, (6, 17, 13.5), (30, 20, 9), 6.0, 6.5), 13)
    d = join(d, capsule(p, (30, 20, 9), (57, 4, -20), 6.5, 6.0), 14)
    d = join(d, ellipsoid(p, (42, -22, -9), (18.0, 13.0, 17.0)), 18)
    d = join(d, ellipsoid(p, (30, -16, 0), (14.0, 8.0, 8.5)), 9)
    d = join(d, ellipsoid(p, (33, -42, -9), (21.0, 26.0, 21.0)), 20)
    d = join(d, capsule(p, (49, -18, -20), (60, -15, -62), 8.0, 6.5), 26)
    # Flesh of the temple between the rim of the socket, the arch and the skull.
    return join(d, ellipsoid(p, (44, 2, -33), (17.0, 22.0, 28.0)), 24)


def _jaw_and_neck(d: np.ndarray, p: Points) -> np.ndarray:
    d = join(d, capsule(p, (49, -20, -62), (38, -68, -53), 13.0, 11.0), 22)
    d = join(d, capsule(p, (38, -68, -53), (12, -99, 0), 11.0, 11.5), 20)
    d = join(d, ellipsoid(p, (36, -58, -24), (17.0, 25.0, 29.0)), 22)
    d = join(d, ellipsoid(p, (0, -68, -12), (35.0, 36.0, 36.5)), 18)
    d = join(d, ellipsoid(p, (0, -99, 3), (18.0, 13.5, 17.0)), 12)
    d = join(d, ellipsoid(p, (0, -86, -42), (40.0, 28.0, 50.0)), 16)
    neck = capsule(p, (0, -40, -95), (0, -215, -110), 49.0, 55.0)
    neck = join(neck, capsule(p, (52, -35, -100), (10, -190, -58), 9.0, 8.0), 26)
    neck = join(neck, capsule(p, (0, -125, -62), (0, -190, -70), 14.0, 12.0), 22)
    neck = join(neck, ellipsoid(p, (0, -225, -105), (90.0, 45.0, 62.0)), 50)
    return join(d, neck, 22)


def _nose(d: np.ndarray, p: Points) -> np.ndarray:
    nose = capsule(p, (0, 10, 5), (0, -33, 15), 9.0, 12.5)
    nose = join(nose, capsule(p, (0, 5, 12.0), (0, -32, 31.0), 5.6, 7.4), 10)
    nose = join(nose, ellipsoid(p, (0, -35.8, 33.6), (9.0, 8.0, 9.6)), 7)
    nose = join(nose, ellipsoid(rotated(p, (12.0, -39.8, 23.0), "y", -22.0), (0, 0, 0), (5.8, 7.0, 9.8)), 6.5)
    nose = join(nose, capsule(p, (0, -41.0, 35.5), (0, -45.5, 22.0), 3.3, 4.0), 4.5)
    d = join(d, nose, 9)
    tilted = rotated(rotated(p, (6.7, -45.8, 28.2), "y", -24.0), (0, 0, 0), "x", 14.0)
    return carve(d, ellipsoid(tilted, (0, 0, 0), (2.9, 4.6, 5.8)), 2.4)


def _eye(d: np.ndarray, p: Points) -> np.ndarray:
    cx, cy, cz = EYE_CENTRE_MM
    d = carve(d, ellipsoid(p, (33, 3.0, 23), (19.5, 11.0, 15.5)), 14)
    d = join(d, ellipsoid(p, (50, -2.0, -17.0), (15.0, 14.0, 14.5)), 15)
    lid = ellipsoid(p, (cx - 0.2, cy, cz), (16.6, 13.9, 13.9))
    # The lower lid runs softly into the cheek, the upper one keeps its fold.
    blend_mm = 5.0 + 4.0 * np.maximum(ease(p[1], 1.0, -8.0), ease(p[0], 40.0, 46.0)) + 5.0 * ease(p[0], 41.0, 51.0)
    return join(d, lid, blend_mm)


def _ear(d: np.ndarray, p: Points) -> np.ndarray:
    x, y, z = q = rotated(rotated(p, (68.5, -12.0, -90.0), "y", -28.0), (0, 0, 0), "x", -13.0)
    outline = np.sqrt((y / 28.0) ** 2 + ((z + 0.14 * y) / 15.0) ** 2 + 1e-9)
    plate = ellipsoid(q, (-1.0, 0, -1), (4.5, 29.0, 15.5))
    plate = join(plate, ellipsoid(q, (-1.5, -23.5, 5.5), (3.8, 8.5, 7.0)), 7)
    # The rim runs from the front over the top and the back, and dies out into the lobe.
    rim_radius = 2.9 - 1.6 * ease(y, -12.0, -26.0) - 1.4 * ease(z, 6.0, 14.0) * ease(y, 12.0, -6.0)
    rim = np.sqrt(((outline - 0.93) * 17.0) ** 2 + (x - 2.6) ** 2 + 1e-9) - rim_radius
    fold_radius = 2.3 * ease(y, -22.0, -10.0) * ease(z, 7.0, 1.0) - 0.5
    fold = np.sqrt(((outline - 0.55) * 17.0) ** 2 + (x - 2.2) ** 2 + 1e-9) - fold_radius
    ear = join(join(plate, rim, 3.5), fold, 7.0)
    ear = join(ear, capsule(q, (-4, -6, 12), (3.0, -8, 10), 4.0, 3.2), 4)
    d = join(_ear_root(d, p), ear, 9)
    return carve(d, ellipsoid(q, (5.0, -4.5, 2.0), (6.5, 9.5, 6.5)), 6.0)


def ear_relief_mm(p: Points) -> np.ndarray:
    """How far each point stands off the side of the head as it would be without ears."""
    return _ear_root(_jaw_and_neck(_midface(_skull(p), p), p), p)


def _ear_root(d: np.ndarray, p: Points) -> np.ndarray:
    """Flesh behind and below the ear: keeps the gap shallow enough for the grid to follow."""
    d = join(d, ellipsoid(p, (64, -11, -107), (10.0, 26.0, 15.0)), 10)
    return join(d, ellipsoid(p, (58, -34, -80), (8.0, 12.0, 12.0)), 10)


def _relief(d: np.ndarray, p: Points) -> np.ndarray:
    return d - _lips_mm(p) - _skin_folds_mm(p)


def _lips_mm(p: Points) -> np.ndarray:
    """Outward relief of the lips: two rolls meeting in a crease at the mouth line."""
    x, y, z = p
    line, upper, lower = lip_heights_mm(x)
    rise = y - line
    inside = ease(x, 28.0, 14.0)
    roll_upper = 3.3 * bump((rise / upper - 0.52) / 0.62)
    roll_lower = 3.9 * bump((-rise / lower - 0.50) / 0.55)
    relief = inside * np.where(rise > 0, roll_upper, roll_lower)
    groove = 2.3 * ease(x, 26.0, 17.0) * np.exp(-np.sqrt(rise * rise + 0.04) / 2.2)
    return (relief - groove) * ease(z, -8.0, 4.0)


def _skin_folds_mm(p: Points) -> np.ndarray:
    """Shallow relief: philtrum, sulcus above the chin, nose-to-mouth fold."""
    x, y, z = p
    front = ease(z, -12.0, 0.0)
    philtrum = bump((y + 54.0) / 6.5) * (0.9 * bump((x - 5.2) / 2.4) - 1.3 * bump(x / 3.0))
    sulcus = -2.2 * bump((y + 87.0) / 6.0) * bump(x / 17.0)
    return front * (philtrum + sulcus)


def _lid_crease(d: np.ndarray, p: Points) -> np.ndarray:
    x, y, z = p
    depth = 1.1 * bump((y - crease_y_mm(x)) / 1.1) * ease(x, 13.0, 20.0) * ease(x, 50.0, 40.0)
    return d + ease(z, -12.0, 0.0) * depth
