"""Albedo of the procedural face: a mean in linear RGB and its main ways of varying, both per vertex."""

import numpy as np

from .face_grid import half_grid, mirrored
from .face_model import Region
from .face_parts import IRIS_RADIUS_MM, PUPIL_RADIUS_MM, above_hairline_mm, brow_coordinates, ear_cover, half_regions
from .face_primitives import bump, ease

_SKIN, _LIP, _INSIDE = np.array([0.50, 0.31, 0.23]), np.array([0.38, 0.155, 0.135]), np.array([0.14, 0.03, 0.03])
_HAIR, _BROW = np.array([0.045, 0.030, 0.022]), np.array([0.075, 0.047, 0.033])
_WHITE, _IRIS, _PUPIL = np.array([0.66, 0.63, 0.60]), np.array([0.10, 0.07, 0.04]), np.array([0.012, 0.012, 0.012])


def skin_albedo(half_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 3) and basis (6, N, 3) of the whole skin, from the left half of the mean (count, 3)."""
    y = half_mm[:, 1]
    masks = _masks(half_mm)
    red = (
        0.55 * _patch(half_mm, (40, -30, 2), (18, 17, 26))
        + 0.55 * _patch(half_mm, (0, -40, 38), (13, 11, 18))
        + 0.40 * _patch(half_mm, (72, -12, -88), (12, 34, 24))
        + 0.25 * _patch(half_mm, (0, -98, 20), (16, 12, 18))
        + 0.35 * _patch(half_mm, (14, -2, 9), (5, 6, 8))
    )
    dark = 0.16 * _patch(half_mm, (31.5, 3, 12), (17, 9, 12)) + 0.14 * _patch(half_mm, (29, -11, 11), (13, 5, 10))
    dark += 0.08 * ease(y, -75.0, -115.0) + 0.75 * masks["nostril"]
    colour = _SKIN * (1.0 - dark[:, None] * [0.75, 0.95, 0.95]) * (1.0 - red[:, None] * [0.06, 0.30, 0.30])
    colour = _over(colour, _BROW, 0.9 * masks["brow"])
    colour = _over(colour, _HAIR, 0.97 * masks["hair"])
    colour = _over(colour, _LIP, masks["lip"])
    colour = _over(colour, np.array([0.46, 0.22, 0.19]), masks["wet"])
    colour = _over(colour, _INSIDE, masks["inside"])
    skin = (1.0 - masks["hair"]) * (1.0 - 0.9 * masks["brow"]) * (1.0 - masks["inside"])
    flush = _patch(half_mm, (40, -32, 2), (20, 19, 28)) + 0.7 * _patch(half_mm, (0, -40, 38), (13, 12, 18))
    basis = np.stack([
        skin[:, None] * colour * [0.19, 0.23, 0.26],
        skin[:, None] * colour * [0.02, -0.045, -0.04],
        skin[:, None] * colour * [0.008, 0.010, -0.055],
        (skin * flush)[:, None] * colour * [0.01, -0.08, -0.075],
        masks["lip"][:, None] * np.array([0.015, -0.02, -0.015]),
        (masks["hair"] + 0.8 * masks["brow"])[:, None] * np.array([0.032, 0.022, 0.015]),
    ])  # fmt: skip
    whole = mirrored().half
    return colour[whole], basis[:, whole]


def _masks(half_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Weights (count,) in 0..1 of the differently coloured parts."""
    grid, region = half_grid(), half_regions(half_mm)
    x, y, z = half_mm.T
    along, above = brow_coordinates(x, y)
    half_width = (
        4.2
        * (0.55 + 0.45 * ease(along, 0.0, 0.35))
        * ease(along, -0.10, 0.05)
        * (1.0 - 0.62 * ease(along, 0.45, 1.08))
        * ease(along, 1.10, 0.92)
    )
    brow = ease(np.abs(above), half_width + 1.0, half_width - 1.4) * (half_width > 0.8) * (z > -30.0)
    # The mesh is coarser at the nape and behind the ears, so the edge of the hair is softer there.
    soft = 3.0 + 4.0 * ease(z, -95.0, -125.0)
    hair = ease(above_hairline_mm(x, y, z) / soft, -0.9, 1.1) * (1.0 - ear_cover(half_mm))
    lip = np.isin(region, (Region.LIP_UPPER, Region.LIP_LOWER)).astype(float)
    wet, inside = np.zeros(grid.count), np.zeros(grid.count)
    wet[grid.lid[1:]] = 1.0
    for bag in (grid.bag_upper, grid.bag_lower):
        inside[bag[2:]] = 1.0
        inside[bag[1]] = 0.4
    nostril = _patch(half_mm, (7.0, -44.0, 27.0), (3.2, 3.6, 6.0))
    return {"brow": brow, "hair": hair, "lip": lip, "wet": wet, "inside": inside, "nostril": nostril}


def _over(colour: np.ndarray, paint: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return colour + cover[:, None] * (paint - colour)


def _patch(points: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    return np.exp(-((((points - centre) / radii) ** 2).sum(1)))


def eyeball_albedo(polar_rad: np.ndarray) -> np.ndarray:
    """(M, 3) colour of eyeball vertices by angle from the gaze: pupil, iris with a dark rim, white."""
    radius = 12.0 * np.sin(np.minimum(polar_rad, np.pi / 2.0))
    colour = np.broadcast_to(_WHITE, (len(radius), 3))
    iris = _IRIS * (1.0 - 0.55 * bump((radius - IRIS_RADIUS_MM) / 0.9))[:, None]
    colour = colour + ease(radius, IRIS_RADIUS_MM + 0.12, IRIS_RADIUS_MM - 0.12)[:, None] * (iris - colour)
    return colour + ease(radius, PUPIL_RADIUS_MM + 0.1, PUPIL_RADIUS_MM - 0.1)[:, None] * (_PUPIL - colour)
