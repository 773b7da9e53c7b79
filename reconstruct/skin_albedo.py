"""Skin colour: melanin and haemoglobin varying over the surface, lips, lids, freckles, moles, hairs.

Two-chromophore model: log albedo = log base - melanin * a_m - haemoglobin * a_h (N. Tsumura et al., Image-based skin
color and texture analysis/synthesis by extracting hemoglobin and melanin information, SIGGRAPH 2003). The base is the
model's own colour per vertex; a density of 1 darkens green by 63 %.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .skin_frame import Area, SkinFrame
from .skin_hair import Hair, paint_strokes
from .skin_points import SurfacePoints, ramp
from .skin_pores import Pores, beside_nose
from .skin_spots import PATCH, Spots, add_spots, make_spots, scatter, tangent
from .surface_noise import gradient_noise, octaves, seed64

_MELANIN = np.array([0.62, 1.0, 1.55], np.float32)
"""Absorption of melanin in the red, green and blue band relative to green; falls with about wavelength^-3.3."""
_HAEMOGLOBIN = np.array([0.30, 1.0, 0.86], np.float32)
"""Absorption of blood relative to green: strong below 600 nm, weak in the red."""

_EYEBALL, _MOUTH = int(Area.EYEBALL), int(Area.MOUTH)


def _zones() -> np.ndarray:
    # Blood in cheeks, nose, chin and ears; pigment around eyes and mouth.
    table = np.zeros((2, len(Area)), np.float32)
    for row, entries in enumerate((
        {Area.LID: 0.09, Area.PERIORAL: 0.05, Area.FOREHEAD: 0.04, Area.MOUTH: 0.3},
        {Area.NOSE: 0.16, Area.CHEEK: 0.08, Area.CHIN: 0.09, Area.EAR: 0.14, Area.LID: 0.06, Area.FOREHEAD: -0.05,
         Area.NECK: -0.05, Area.MOUTH: 0.8},
    )):  # fmt: skip
        for area, value in entries.items():
            table[row, area] = value
    return table


_ZONES = _zones()
"""(2, len(Area)) float32: melanin and haemoglobin added by region."""


@dataclass(frozen=True, slots=True)
class Pigments:
    """Everything that colours one person's skin."""

    freckles: Spots
    moles: Spots
    lip_gain: float
    """How much lip colour to add: 1 for a plain base, 0 where the model's own lips are red already."""
    hair: np.ndarray
    """(3,) float32 linear RGB."""
    melanin: float
    contrast: float
    seed: np.uint64


def place_pigments(
    frame: SkinFrame,
    albedo: np.ndarray,
    pores: Pores,
    rng: np.random.Generator,
    *,
    freckles: float,
    melanin: float,
    contrast: float,
    hair_tone: float,
) -> Pigments:
    """Choose where freckles and moles lie; parameters as in SkinParameters."""
    near = beside_nose(frame)
    sunny = frame.weights[:, Area.CHEEK] * (0.35 + 0.65 * near) + 0.8 * frame.weights[:, Area.NOSE]
    sunny = sunny + 0.3 * frame.weights[:, Area.FOREHEAD] + 0.25 * frame.weights[:, Area.LID]
    density = 0.22 * freckles * sunny * np.clip(frame.rim_mm / 4.0, 0.0, 1.0)
    centre, normal, _ = scatter(frame, np.where(density > 0.003, density, 0.0), rng, spacing=0.35)
    radius = np.clip(0.42 * np.exp(0.45 * rng.standard_normal(len(centre))), 0.2, 1.6)
    strength = rng.uniform(0.08, 0.42, len(centre)) * (0.6 + 0.4 * freckles)
    oval = np.stack([radius * rng.uniform(1.0, 1.4, len(centre)), radius], 1)
    spots = make_spots(PATCH, centre, tangent(normal, rng.standard_normal(normal.shape)), oval, strength)
    moles = make_spots(
        PATCH, pores.moles.centre_mm, pores.moles.axis, 1.15 * pores.moles.radius_mm,
        rng.uniform(0.5, 1.3, len(pores.moles.centre_mm)),
    )  # fmt: skip
    dark, blond = np.array([0.016, 0.011, 0.008]), np.array([0.20, 0.115, 0.05])
    hair = (dark * (blond / dark) ** (hair_tone**1.4)).astype(np.float32)
    return Pigments(spots, moles, _lip_gain(frame, albedo), hair, melanin, contrast, seed64(rng))


def skin_albedo(pigments: Pigments, pores: Pores, hair: Hair, points: SurfacePoints) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB (M, 3) float32 in [0.01, 0.95] and hair coverage (M,) float32 at every point; eyeballs excepted."""
    m = len(points.weights)
    dots = np.zeros((3, m), np.float32)
    for row, spots in enumerate((pores.pits, pigments.freckles, pigments.moles)):
        add_spots(spots, points, dots[row])
    albedo, cover = np.empty((m, 3), np.float32), np.zeros(m, np.float32)
    _colour(
        points.position_mm, points.footprint_mm, points.weights, points.outline_mm, points.base_albedo, dots, _ZONES,
        pigments.contrast, pigments.melanin, pigments.lip_gain, pigments.hair, pigments.seed, albedo,
    )  # fmt: skip
    for strokes in (hair.brows, hair.scalp, hair.stubble):
        paint_strokes(strokes, points, pigments.hair, albedo, cover)
    return np.clip(albedo, 0.01, 0.95, out=albedo), cover


def _lip_gain(frame: SkinFrame, albedo: np.ndarray) -> float:
    redness = np.log(np.maximum(albedo[:, 0], 0.01) / np.maximum(albedo[:, 1], 0.01))
    lip, cheek = frame.weights[:, Area.LIP] > 0.6, frame.weights[:, Area.CHEEK] > 0.6
    if not lip.any() or not cheek.any():
        return 1.0
    return float(np.clip(1.0 - (np.median(redness[lip]) - np.median(redness[cheek])) / 0.35, 0.0, 1.0))


@numba.njit(cache=True, parallel=True)
def _colour(position, footprint, weights, outline, base, dots, zones, contrast, tone, lip_gain, hair, seed, out):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        f = np.float64(footprint[i])
        melanin, blood = 0.0, 0.0
        for a in range(weights.shape[1]):
            melanin += weights[i, a] * zones[0, a]
            blood += weights[i, a] * zones[1, a]
        melanin += tone
        # Skin's texture has a spectrum near 1/f: equal variance in every octave, here from 64 to 0.25 mm.
        pale = 0.7 * octaves(x, y, z, 64.0, 8.0, 0.95, f, seed)
        pale += octaves(x, y, z, 4.0, 0.25, 0.95, f, seed + np.uint64(1))
        red = 0.7 * octaves(x, y, z, 50.0, 6.0, 0.95, f, seed + np.uint64(2))
        red += octaves(x, y, z, 3.1, 0.38, 0.85, f, seed + np.uint64(3))
        # Fine vessels: the zero lines of a noise are long thin curves; patches of another noise break them up.
        patch = gradient_noise(x / 9.0, y / 9.0, z / 9.0, seed + np.uint64(4))
        if patch > 0.25:
            line = gradient_noise(x / 3.0, y / 3.0, z / 3.0, seed + np.uint64(5))
            line += 0.35 * gradient_noise(x / 0.9, y / 0.9, z / 0.9, seed + np.uint64(6))
            width = 0.05 + 0.15 * f
            red += 1.6 * min(1.0, patch - 0.25) * (0.05 / width) * np.exp(-((line / width) ** 2))
        melanin += contrast * pale
        blood += contrast * red

        mouth = 1.0 - weights[i, _MOUTH]
        lip, ridge, streak = 0.0, 0.0, 0.0
        if outline[i, 0] > -6.0:
            streak = gradient_noise(x * 1.7, y * 0.3, z * 0.8, seed + np.uint64(7))
            soft = gradient_noise(x / 1.6, y / 1.6, z / 1.6, seed + np.uint64(8))
            lip = ramp(-1.0, 0.9, outline[i, 0] + 0.07 * streak + 0.2 * soft) * mouth
            ridge = np.exp(-(((outline[i, 0] + 1.0) / 0.9) ** 2)) * mouth
        # A pore is a shadowed hole with a plug: darker and browner than its depth alone makes it.
        melanin -= 20.0 * contrast * dots[0, i]
        melanin += (min(dots[1, i], 0.6) + min(dots[2, i], 1.5)) * (1.0 - lip)
        blood += 0.35 * min(dots[2, i], 1.5) * (1.0 - lip)
        blood += lip * (lip_gain * 0.62 + 0.09 * streak)
        # The rim of the vermilion is a little lighter than the skin around it.
        melanin += lip * (lip_gain * 0.10 + 0.03 * streak) - 0.05 * ridge

        eye = max(outline[i, 2], outline[i, 3])
        lash = 0.0
        if eye > -4.0 and weights[i, _EYEBALL] < 0.5:
            blood += 0.18 * ramp(-0.6, 0.8, eye)
            lash = 0.75 * np.exp(-(((eye + 0.5) / 0.75) ** 2))
        for c in range(3):
            skin = max(base[i, c], 0.01) * np.exp(-melanin * _MELANIN[c] - blood * _HAEMOGLOBIN[c])
            # Lashes seen end-on: a dark rim along the lids.
            out[i, c] = skin + lash * (hair[c] - skin)
