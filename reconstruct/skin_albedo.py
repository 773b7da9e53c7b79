"""Skin colour: melanin and haemoglobin varying over the surface, lips, lids, freckles, moles, hairs.

Two-chromophore model: log albedo = log base - melanin * a_m - haemoglobin * a_h (N. Tsumura et al., Image-based skin
color and texture analysis/synthesis by extracting hemoglobin and melanin information, SIGGRAPH 2003). The base is the
model's own colour per vertex; a density of 1 darkens green by 63 %.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .skin_frame import EYE_LEFT, EYE_RIGHT, LIPS, Area, SkinFrame, SurfacePoints, smoothstep
from .skin_hair import Hair, paint_strokes
from .skin_pores import Pores, beside_nose
from .skin_spots import PATCH, Spots, add_spots, make_spots, scatter, tangent
from .surface_noise import gradient_noise, octaves, seed64

_MELANIN = np.array([0.62, 1.0, 1.55], np.float32)
"""Absorption of melanin in the red, green and blue band relative to green; falls with about wavelength^-3.3."""
_HAEMOGLOBIN = np.array([0.30, 1.0, 0.86], np.float32)
"""Absorption of blood relative to green: strong below 600 nm, weak in the red."""


@dataclass(frozen=True, slots=True)
class Pigments:
    """Everything that colours one person's skin."""

    freckles: Spots
    moles: Spots
    lip_gain: float
    """How much lip colour to add: 1 for a plain base, 0 where the model's own lips are red already."""
    near_nose: np.ndarray
    """(N,) closeness to the folds beside the nose."""
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
    return Pigments(spots, moles, _lip_gain(frame, albedo), near, hair, melanin, contrast, seed64(rng))


def skin_albedo(frame: SkinFrame, pigments: Pigments, pores: Pores, hair: Hair, points: SurfacePoints) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB (M, 3) float32 in [0.01, 0.95] and hair coverage (M,) float32 at every point; eyeballs excepted."""
    w = points.weights
    m = len(w)
    chroma = np.zeros((m, 3), np.float32)
    _chromophores(points.position_mm, points.footprint_mm, pigments.seed, chroma)
    skin = 1.0 - w[:, Area.MOUTH]
    lips = smoothstep(-0.8, 0.7, points.outline_mm[:, LIPS] + 0.3 * chroma[:, 2]) * skin
    melanin = np.full(m, pigments.melanin, np.float32)
    blood = np.zeros(m, np.float32)

    # Broad zones: blood in cheeks, nose, chin and ears; pigment around eyes and mouth and at the rim of the face.
    blood += 0.16 * w[:, Area.NOSE] + 0.08 * w[:, Area.CHEEK] + 0.09 * w[:, Area.CHIN] + 0.14 * w[:, Area.EAR]
    blood += 0.06 * w[:, Area.LID] - 0.05 * w[:, Area.FOREHEAD] - 0.05 * w[:, Area.NECK]
    melanin += 0.09 * w[:, Area.LID] + 0.05 * w[:, Area.PERIORAL] + 0.04 * w[:, Area.FOREHEAD]
    melanin += 1.0 * pigments.contrast * chroma[:, 0]
    blood += 1.0 * pigments.contrast * chroma[:, 1]

    dots = np.zeros(m, np.float32)
    add_spots(pores.pits, points, dots)
    # A pore is a shadowed hole with a plug: a little darker and browner than its depth alone makes it.
    melanin -= 1.3 * np.float32(pigments.contrast / 0.06) * dots
    dots[:] = 0.0
    add_spots(pigments.freckles, points, dots)
    melanin += np.minimum(dots, 0.6) * (1.0 - lips)
    dots[:] = 0.0
    add_spots(pigments.moles, points, dots)
    melanin += np.minimum(dots, 1.5) * (1.0 - lips)
    blood += 0.35 * np.minimum(dots, 1.5) * (1.0 - lips)

    gain = np.float32(pigments.lip_gain)
    streaks = np.clip(chroma[:, 2], -2.0, 2.0)
    blood += lips * (gain * 0.62 + 0.09 * streaks)
    melanin += lips * (gain * 0.10 + 0.03 * streaks)
    # The vermilion border is a little lighter than the skin around it.
    melanin -= 0.05 * np.exp(-(((points.outline_mm[:, LIPS] + 1.0) / 0.9) ** 2)) * skin

    eye = np.maximum(points.outline_mm[:, EYE_RIGHT], points.outline_mm[:, EYE_LEFT])
    lash = np.exp(-(((eye + 0.5) / 0.75) ** 2)) * (w[:, Area.EYEBALL] < 0.5)
    blood += 0.35 * smoothstep(-0.6, 0.8, eye) + 0.8 * w[:, Area.MOUTH]
    melanin += 0.3 * w[:, Area.MOUTH]

    albedo = np.maximum(points.base_albedo, 0.01)
    albedo = albedo * np.exp(-melanin[:, None] * _MELANIN - blood[:, None] * _HAEMOGLOBIN)
    # Lashes seen end-on: a dark rim along the lids.
    albedo += (0.75 * lash)[:, None] * (pigments.hair - albedo)
    cover = np.zeros(m, np.float32)
    for strokes in (hair.brows, hair.scalp, hair.stubble):
        coverage, tone = paint_strokes(strokes, points)
        albedo += coverage[:, None] * (pigments.hair * np.clip(tone, 0.4, 2.0)[:, None] - albedo)
        cover = np.maximum(cover, coverage)
    return np.clip(albedo, 0.01, 0.95).astype(np.float32), cover


def _lip_gain(frame: SkinFrame, albedo: np.ndarray) -> float:
    redness = np.log(np.maximum(albedo[:, 0], 0.01) / np.maximum(albedo[:, 1], 0.01))
    lip, cheek = frame.weights[:, Area.LIP] > 0.6, frame.weights[:, Area.CHEEK] > 0.6
    if not lip.any() or not cheek.any():
        return 1.0
    return float(np.clip(1.0 - (np.median(redness[lip]) - np.median(redness[cheek])) / 0.35, 0.0, 1.0))


@numba.njit(cache=True, parallel=True)
def _chromophores(position, footprint, seed, out):
    for i in numba.prange(len(position)):
        x, y, z = np.float64(position[i, 0]), np.float64(position[i, 1]), np.float64(position[i, 2])
        f = np.float64(footprint[i])
        # Skin's texture has a spectrum near 1/f: equal variance in every octave, here from 64 to 0.25 mm.
        melanin = 0.7 * octaves(x, y, z, 64.0, 8.0, 0.95, f, seed) + octaves(x, y, z, 4.0, 0.25, 0.95, f, seed + np.uint64(1))
        blood = 0.7 * octaves(x, y, z, 50.0, 6.0, 0.95, f, seed + np.uint64(2))
        blood += octaves(x, y, z, 3.1, 0.38, 0.85, f, seed + np.uint64(3))
        # Fine vessels: the zero lines of a noise are long thin curves; patches of another noise break them up.
        patch = gradient_noise(x / 9.0, y / 9.0, z / 9.0, seed + np.uint64(4))
        if patch > 0.25:
            line = gradient_noise(x / 3.0, y / 3.0, z / 3.0, seed + np.uint64(5))
            line += 0.35 * gradient_noise(x / 0.9, y / 0.9, z / 0.9, seed + np.uint64(6))
            width = 0.05 + 0.15 * f
            blood += 1.6 * min(1.0, patch - 0.25) * (0.05 / width) * np.exp(-((line / width) ** 2))
        out[i, 0] = melanin
        out[i, 1] = blood
        out[i, 2] = gradient_noise(x * 1.7, y * 0.3, z * 0.8, seed + np.uint64(7))
