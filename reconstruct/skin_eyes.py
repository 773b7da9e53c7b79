"""Eyeballs: sclera with faint vessels, a textured iris with limbus ring, the pupil."""

from dataclasses import dataclass

import numba
import numpy as np

from .face_model import FaceModel, Region
from .skin_frame import Area
from .skin_points import SurfacePoints, ramp
from .surface_noise import gradient_noise

_IRIS_COLOURS = np.array([[0.10, 0.045, 0.018], [0.16, 0.085, 0.035], [0.12, 0.13, 0.06], [0.11, 0.17, 0.22]])
"""Brown, light brown, green-grey, blue: linear RGB."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """Two spheres fitted to the eyeball vertices; none where a model has no eyeballs."""

    centres_mm: np.ndarray
    """(E, 3) float64."""
    radii_mm: np.ndarray
    """(E,) float64."""
    iris: np.ndarray
    """(3,) float64 linear RGB."""
    pupil_mm: float
    seed: np.uint64


def fit_eyes(model: FaceModel, neutral_mm: np.ndarray, rng: np.random.Generator, melanin: float) -> Eyes:
    """Fit spheres; iris colour goes browner with `melanin` of the skin."""
    pick = 3.2 * rng.random() - 3.0 * max(0.0, melanin)
    shade = float(np.clip(pick, 0.0, 3.0))
    iris = np.array([np.interp(shade, np.arange(4), _IRIS_COLOURS[:, c]) for c in range(3)])
    centres, radii = [], []
    for region in (Region.EYEBALL_RIGHT, Region.EYEBALL_LEFT):
        points = neutral_mm[model.regions == region].astype(np.float64)
        if len(points) < 12:
            continue
        # |p|^2 = 2 c.p + (r^2 - |c|^2) is linear in the centre; robust enough as eyeballs are nearly spheres.
        middle = points.mean(0)
        p = points - middle
        solution = np.linalg.lstsq(np.column_stack([2.0 * p, np.ones(len(p))]), (p**2).sum(1), rcond=None)[0]
        radius = float(np.sqrt(max(solution[3] + (solution[:3] ** 2).sum(), 1.0)))
        if not 8.0 < radius < 20.0:
            radius, solution[:3] = 12.0, [0.0, 0.0, p[:, 2].max() - 12.0]
        centres.append(solution[:3] + middle)
        radii.append(radius)
    return Eyes(
        np.array(centres).reshape(-1, 3), np.array(radii), iris, float(rng.uniform(1.5, 2.4)),
        np.uint64(rng.integers(0, 2**63)),
    )  # fmt: skip


def paint_eyes(eyes: Eyes, points: SurfacePoints, albedo: np.ndarray, roughness: np.ndarray) -> None:
    """Overwrite `albedo` (M, 3) and `roughness` (M,) float32 where points lie on an eyeball."""
    where = np.flatnonzero(points.weights[:, Area.EYEBALL] > 0.5)
    if len(where) == 0 or len(eyes.radii_mm) == 0:
        return
    colour = np.empty((len(where), 3), np.float32)
    _eye_colour(points.position_mm[where], eyes.centres_mm, eyes.radii_mm, eyes.iris, eyes.pupil_mm, eyes.seed, colour)
    albedo[where] = colour
    roughness[where] = 0.08


@numba.njit(cache=True)
def _eye_colour(position, centres, radii, iris, pupil_mm, seed, out):
    for i in range(len(position)):
        best, eye = 1e30, 0
        for e in range(len(radii)):
            dx, dy, dz = position[i, 0] - centres[e, 0], position[i, 1] - centres[e, 1], position[i, 2] - centres[e, 2]
            if dx * dx + dy * dy + dz * dz < best:
                best, eye = dx * dx + dy * dy + dz * dz, e
        dx, dy, dz = (
            position[i, 0] - centres[eye, 0],
            position[i, 1] - centres[eye, 1],
            position[i, 2] - centres[eye, 2],
        )
        # Arc distance from the optical axis, on an eye of 12 mm radius.
        r = 12.0 * np.arctan2(np.sqrt(dx * dx + dy * dy), dz)
        angle = np.arctan2(dy, dx)
        cx, cy = np.cos(angle), np.sin(angle)
        veins = gradient_noise(dx * 0.5, dy * 0.9, dz * 0.5, seed) + 0.5 * gradient_noise(
            dx, 1.7 * dy, dz, seed + np.uint64(1)
        )
        vein = np.exp(-((veins / 0.07) ** 2)) * ramp(6.5, 13.0, r)
        blush = ramp(8.0, 15.0, r)
        red = 0.74 - 0.05 * blush - 0.05 * vein
        green = 0.68 - 0.16 * blush - 0.26 * vein
        blue = 0.64 - 0.16 * blush - 0.24 * vein
        rim = 5.9 + 0.12 * gradient_noise(3.0 * cx, 3.0 * cy, 0.5, seed + np.uint64(2))
        inside = 1.0 - ramp(rim - 0.35, rim + 0.25, r)
        # Fibres run from the pupil outwards; the collarette is a lighter, wavy ring around the pupil.
        fibre = gradient_noise(14.0 * cx, 14.0 * cy, 0.5 * r, seed + np.uint64(3))
        fibre += 0.6 * gradient_noise(30.0 * cx, 30.0 * cy, 0.8 * r, seed + np.uint64(4))
        ring = np.exp(
            -(((r - pupil_mm - 1.0 - 0.2 * gradient_noise(5.0 * cx, 5.0 * cy, 0.0, seed + np.uint64(5))) / 0.5) ** 2)
        )
        light = max(0.25, 1.0 + 0.28 * fibre + 0.45 * ring) * (1.0 - 0.75 * ramp(4.7, 5.8, r))
        dark = ramp(pupil_mm - 0.12, pupil_mm + 0.18, r)
        out[i, 0] = red + inside * (0.012 + dark * (iris[0] * light * (1.0 + 0.3 * ring) - 0.012) - red)
        out[i, 1] = green + inside * (0.012 + dark * (iris[1] * light * (1.0 + 0.1 * ring) - 0.012) - green)
        out[i, 2] = blue + inside * (0.012 + dark * (iris[2] * light - 0.012) - blue)
