"""Signed distance primitives and smooth set operations, the clay of the procedural face (millimetres)."""

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coordinate arrays (x, y, z), any common shape, mm."""


def ellipsoid(p: Points, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Distance to an axis-aligned ellipsoid, first-order correct at the surface."""
    qx, qy, qz = ((c - c0) / r for c, c0, r in zip(p, centre, radii, strict=True))
    rx, ry, rz = radii
    k0 = np.sqrt(qx * qx + qy * qy + qz * qz)
    k1 = np.sqrt((qx / rx) ** 2 + (qy / ry) ** 2 + (qz / rz) ** 2)
    return k0 * (k0 - 1.0) / np.maximum(k1, 1e-9)


def capsule(
    p: Points,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius_start: float,
    radius_end: float,
) -> np.ndarray:
    """Distance to a capsule whose radius runs smoothly from one end to the other."""
    d = tuple(e - s for s, e in zip(start, end, strict=True))
    q = tuple(c - s for c, s in zip(p, start, strict=True))
    t = np.clip((q[0] * d[0] + q[1] * d[1] + q[2] * d[2]) / sum(v * v for v in d), 0.0, 1.0)
    gap = np.sqrt((q[0] - t * d[0]) ** 2 + (q[1] - t * d[1]) ** 2 + (q[2] - t * d[2]) ** 2 + 1e-12)
    # A cubic ease of the radius leaves no crease where the shaft meets its end caps.
    return gap - (radius_start + (radius_end - radius_start) * t * t * (3.0 - 2.0 * t))


def rotated(p: Points, centre: tuple[float, float, float], axis: str, angle_deg: float) -> Points:
    """Coordinates in a frame turned by `angle_deg` about `axis` through `centre` (the shape turns the positive way)."""
    x, y, z = (c - c0 for c, c0 in zip(p, centre, strict=True))
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    if axis == "x":
        y, z = c * y + s * z, -s * y + c * z
    elif axis == "y":
        x, z = c * x - s * z, s * x + c * z
    else:
        x, y = c * x + s * y, -s * x + c * y
    return x, y, z


def join(a: np.ndarray, b: np.ndarray, blend_mm: float | np.ndarray) -> np.ndarray:
    """Union with a twice differentiable fillet about `blend_mm` wide."""
    h = np.maximum(blend_mm - np.abs(a - b), 0.0) / blend_mm
    return np.minimum(a, b) - h * h * h * blend_mm / 6.0


def carve(a: np.ndarray, tool: np.ndarray, blend_mm: float) -> np.ndarray:
    """`a` less `tool`, with a rounded rim."""
    return -join(-a, tool, blend_mm)


def bump(t: np.ndarray) -> np.ndarray:
    """Gaussian bell exp(-t^2)."""
    return np.exp(-t * t)


def ease(t: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """Smooth step (quintic, twice differentiable): 0 at `low`, 1 at `high`; `low` may exceed `high`."""
    s = np.clip((t - low) / (high - low), 0.0, 1.0)
    return s * s * s * (s * (6.0 * s - 15.0) + 10.0)
