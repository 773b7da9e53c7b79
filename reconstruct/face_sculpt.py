"""The mean head as one implicit surface: masses joined smoothly, sockets and nostrils carved, lips raised (mm).

Sculpting frame: x to the subject's left, y up from the pupils, z forward from the eyeball centres. Proportions are
common adult anthropometry (pupils 63 mm apart, nasion to menton 118, head 153 by 195).
"""

import numpy as np

from .face_contours import EYE_CENTRE_MM, crease_y_mm, lip_line_y_mm, lip_lower_y_mm, lip_upper_y_mm
from .face_primitives import Points, bump, capsule, carve, ease, ellipsoid, join, rotated


def head_distance_mm(p: Points) -> np.ndarray:
    """Signed distance (about) to the skin of the mean head, negative inside."""
    x, y, z = p
    # A rounded |x| mirrors the paired masses without a crease at the midline.
    side = (np.sqrt(x * x + 6.0), y, z)
    d = _skull(side)
    d = _midface(d, side)
    d = _jaw_and_neck(d, side)
    d = _ear(d, side)
    d = _nose(d, side)
    d = _eye(d, side)
    return d - _lips_mm(side) - _skin_folds_mm(side)


def _skull(p: Points) -> np.ndarray:
    d = ellipsoid(p, (0, 40, -82), (75.0, 76.0, 90.0))
    d = join(d, ellipsoid(p, (0, 38, -44), (60.0, 56.0, 66.0)), 30)
    return join(d, ellipsoid(p, (0, -5, -110), (60.0, 56.0, 56.0)), 30)


def _midface(d: np.ndarray, p: Points) -> np.ndarray:
    d = join(d, ellipsoid(p, (0, -32, -44), (58.0, 62.0, 58.0)), 20)
    d = join(d, capsule(p, (7, 17, 14), (30, 20, 9), 6.5, 7.0), 12)
    d = join(d, capsule(p, (30, 20, 9), (49, 12, -8), 7.0, 6.0), 12)
    d = join(d, ellipsoid(p, (42, -21, -10), (17.0, 13.0, 17.0)), 16)
    d = join(d, ellipsoid(p, (34, -40, -10), (20.0, 24.0, 20.0)), 18)
    return join(d, capsule(p, (50, -17, -18), (61, -14, -62), 8.0, 6.0), 16)


def _jaw_and_neck(d: np.ndarray, p: Points) -> np.ndarray:
    d = join(d, capsule(p, (51, -20, -62), (43, -74, -52), 13.0, 11.0), 16)
    d = join(d, capsule(p, (43, -74, -52), (13, -99, 0), 11.0, 11.5), 14)
    d = join(d, ellipsoid(p, (0, -68, -12), (34.0, 34.0, 36.5)), 14)
    d = join(d, ellipsoid(p, (0, -99, 3), (18.0, 13.5, 17.0)), 10)
    d = join(d, ellipsoid(p, (0, -86, -42), (42.0, 28.0, 50.0)), 14)
    return join(d, capsule(p, (0, -40, -92), (0, -230, -108), 54.0, 57.0), 22)


def _nose(d: np.ndarray, p: Points) -> np.ndarray:
    nose = capsule(p, (0, 8, 8), (0, -32, 20), 9.0, 11.0)
    nose = join(nose, capsule(p, (0, 4, 12.5), (0, -34, 31.5), 5.5, 7.0), 8)
    nose = join(nose, ellipsoid(p, (0, -37.2, 33.5), (8.6, 7.8, 9.5)), 6)
    nose = join(nose, ellipsoid(rotated(p, (12.2, -40.5, 23.0), "y", -24.0), (0, 0, 0), (5.6, 6.6, 9.5)), 5)
    nose = join(nose, capsule(p, (0, -42.5, 35.0), (0, -45.5, 22.0), 3.4, 3.8), 4)
    d = join(d, nose, 9)
    hole = ellipsoid(
        rotated(rotated(p, (6.9, -46.4, 27.6), "y", -24.0), (0, 0, 0), "x", 12.0), (0, 0, 0), (3.0, 4.6, 5.8)
    )
    return carve(d, hole, 2.2)


def _eye(d: np.ndarray, p: Points) -> np.ndarray:
    cx, cy, cz = EYE_CENTRE_MM
    d = carve(d, ellipsoid(p, (34, 0, 23), (22.0, 12.5, 16.0)), 14)
    return join(d, ellipsoid(p, (cx - 0.2, cy, cz), (16.6, 13.9, 13.9)), 5)


def _ear(d: np.ndarray, p: Points) -> np.ndarray:
    q = rotated(rotated(p, (70.0, -12.0, -88.0), "y", -20.0), (0, 0, 0), "x", -12.0)
    shell = ellipsoid(q, (0, 0, -4), (7.0, 31.0, 18.0))
    d = join(d, shell, 5)
    d = carve(d, ellipsoid(q, (8.0, -4, -1), (6.0, 12.0, 8.5)), 5)
    return carve(d, ellipsoid(q, (7.5, 8, -6), (3.0, 15.0, 8.5)), 4)


def _lips_mm(p: Points) -> np.ndarray:
    """Outward relief of the lips: two rolls meeting in a crease at the mouth line."""
    x, y, z = p
    xc = np.minimum(x, 25.0)
    rise = y - lip_line_y_mm(xc)
    upper = np.maximum(lip_upper_y_mm(xc) - lip_line_y_mm(xc), 2.5)
    lower = np.maximum(lip_line_y_mm(xc) - lip_lower_y_mm(xc), 2.5)
    inside = ease(x, 28.0, 14.0)
    roll_upper = 3.0 * bump((rise / upper - 0.52) / 0.62)
    roll_lower = 3.4 * bump((-rise / lower - 0.50) / 0.55)
    relief = inside * np.where(rise > 0, roll_upper, roll_lower)
    groove = 2.4 * ease(x, 29.0, 21.0) * np.exp(-np.abs(rise) / 1.5)
    return (relief - groove) * ease(z, -8.0, 4.0)


def _skin_folds_mm(p: Points) -> np.ndarray:
    """Shallow relief: philtrum, sulcus above the chin, nose-to-mouth fold, lid crease."""
    x, y, z = p
    front = ease(z, -12.0, 0.0)
    philtrum = bump((y + 54.0) / 6.5) * (0.9 * bump((x - 5.2) / 2.4) - 1.3 * bump(x / 3.0))
    sulcus = -2.2 * bump((y + 87.0) / 6.0) * bump(x / 17.0)
    crease = -1.1 * bump((y - crease_y_mm(x)) / 1.1) * ease(x, 13.0, 20.0) * ease(x, 54.0, 46.0)
    return front * (philtrum + sulcus + crease)
