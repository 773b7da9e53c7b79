"""Feature curves of the mean face in frontal projection: lid margins, lid crease, mouth line, lip borders.

Sculpting frame (mm): x to the subject's left, y up from the pupils, z forward from the eyeball centres. The curves are
of the subject's left half (x >= 0); the right half mirrors them.
"""

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

EYE_CENTRE_MM = (31.5, 0.0, 0.0)
EYE_RADIUS_MM = 12.0
MOUTH_HALF_MM = 25.0

_LID_UPPER = ((16.5, -1.4), (18.6, 0.1), (22.2, 2.8), (27.0, 4.7), (31.0, 5.1), (36.0, 4.6), (41.3, 2.9), (45.4, 0.9))
_LID_LOWER = ((16.5, -1.4), (19.4, -2.1), (24.0, -3.8), (29.0, -5.1), (34.0, -5.4), (39.5, -4.2), (43.2, -1.8),
              (45.4, 0.9))  # fmt: skip
_CREASE = ((14.5, 1.8), (18.0, 5.0), (23.0, 8.3), (29.0, 9.7), (35.0, 9.4), (41.0, 7.4), (47.0, 4.0), (51.5, 0.6))
_LIP_UPPER = ((0.0, -61.6), (3.0, -60.6), (6.2, -59.9), (10.0, -61.0), (15.0, -63.4), (20.0, -66.0), (25.0, -68.6))
_LIP_LINE = ((0.0, -68.4), (3.0, -68.2), (7.0, -67.6), (12.0, -67.9), (18.0, -68.5), (25.0, -68.6))
_LIP_LOWER = ((0.0, -77.6), (5.0, -77.5), (10.0, -76.5), (15.0, -74.4), (20.0, -71.6), (25.0, -68.6))


def _even(points: tuple[tuple[float, float], ...]) -> CubicSpline:
    """Curve y(x) of a half contour that is smooth across the midline."""
    xs, ys = np.array(points).T
    # Mirrored, a natural spline has no slope at the midline.
    return CubicSpline(np.concatenate([-xs[:0:-1], xs]), np.concatenate([ys[:0:-1], ys]), bc_type="natural")


lip_upper_y_mm, lip_line_y_mm, lip_lower_y_mm = _even(_LIP_UPPER), _even(_LIP_LINE), _even(_LIP_LOWER)
_crease_y_mm = PchipInterpolator(*np.array(_CREASE).T, extrapolate=True)


def lip_heights_mm(x_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height of the mouth line, and of upper and lower lip at it (never below about 3 mm), held beyond the corner."""
    x = np.minimum(x_mm, MOUTH_HALF_MM)
    line = lip_line_y_mm(x)
    upper, lower = (
        0.5 * (h + 3.0 + np.hypot(h - 3.0, 1.5)) for h in (lip_upper_y_mm(x) - line, line - lip_lower_y_mm(x))
    )
    return line, upper, lower


def crease_y_mm(x_mm: np.ndarray) -> np.ndarray:
    """Height of the upper lid crease at frontal `x_mm`, held beyond its ends."""
    return _crease_y_mm(np.clip(x_mm, _CREASE[0][0], _CREASE[-1][0]))


def lid_margin_mm(fraction: np.ndarray, upper: bool) -> np.ndarray:
    """Points (n, 2) of a lid margin; `fraction` 0 at the inner and 1 at the outer corner, even in arc length."""
    points = np.array(_LID_UPPER if upper else _LID_LOWER)
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = CubicSpline(knots, points)
    fine = spline(np.linspace(0.0, knots[-1], 400))
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    return np.stack([np.interp(fraction * arc[-1], arc, fine[:, k]) for k in (0, 1)], -1)
