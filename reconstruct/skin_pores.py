"""Pores, tiny bumps and moles as relief, in true millimetres on the surface."""

from dataclasses import dataclass

import numpy as np

from .skin_frame import Area, SkinFrame
from .skin_points import SurfacePoints
from .skin_spots import BUMP, PIT, Spots, add_spots, make_spots, scatter, tangent, turn

_DENSITY = {
    Area.FOREHEAD: 0.8, Area.NOSE: 1.75, Area.CHEEK: 0.75, Area.PERIORAL: 0.7, Area.CHIN: 0.85, Area.JAW: 0.45,
    Area.NECK: 0.2, Area.EAR: 0.15, Area.BROW: 0.5, Area.OTHER: 0.2, Area.SCALP: 0.15,
}  # fmt: skip
"""Visible pores per mm^2: a share of the follicles (forehead 2.9 per mm^2, the densest of the body: Otberg et al.,
Journal of Investigative Dermatology 122, 2004), chosen so that nose and cheeks beside it look densest."""

_DIAMETER_MM = {Area.NOSE: 0.32, Area.CHEEK: 0.25, Area.CHIN: 0.27, Area.FOREHEAD: 0.21}


@dataclass(frozen=True, slots=True)
class Pores:
    """Everything small and round that has relief."""

    pits: Spots
    bumps: Spots
    moles: Spots


def place_pores(frame: SkinFrame, rng: np.random.Generator, moles: int = 5) -> Pores:
    """Place pores, bumps and `moles` moles on a face. Depends on the neutral shape and the generator only."""
    pit_rng, bump_rng, mole_rng = rng.spawn(3)
    near_nose = beside_nose(frame)
    density = sum(frame.weights[:, area] * value for area, value in _DENSITY.items())
    density = density + frame.weights[:, Area.CHEEK] * near_nose * 0.9
    # No pores near rims; the soft weights already thin them out towards lids and lips.
    density = density * np.clip((frame.rim_mm - 1.0) / 3.0, 0.0, 1.0) * (1.0 - frame.weights[:, Area.LID]) ** 3
    density = np.where(density < 0.08, 0.0, density) * (1.0 - np.clip(3.0 * frame.weights[:, Area.LIP], 0.0, 1.0))
    centre, normal, corner = scatter(frame, density, pit_rng)
    weights, near = frame.weights[corner], near_nose[corner]
    typical = 0.22 + sum(weights[:, area] * (d - 0.22) for area, d in _DIAMETER_MM.items()) + 0.06 * near
    diameter = np.clip(typical * np.exp(0.33 * pit_rng.standard_normal(len(centre))), 0.15, 0.5)
    # Deeper where wide; a fifth of the pores are shallow, nearly closed ones.
    forward = 1.0 - 0.3 * weights[:, Area.FOREHEAD]
    depth = np.clip(0.22 * forward * diameter * (0.45 + 0.85 * pit_rng.random(len(centre))), 0.02, 0.095)
    depth = np.where(pit_rng.random(len(centre)) < 0.2, 0.02 + 0.3 * (depth - 0.02), depth)
    stretch = 1.0 + 1.0 * weights[:, Area.CHEEK] * pit_rng.random(len(centre)) + 0.5 * pit_rng.random(len(centre))
    axis = turn(
        normal, tangent(normal, tension_lines(frame, centre, weights)), 0.4 * pit_rng.standard_normal(len(centre))
    )
    # The profile has fallen to a third at radius 1, so this radius makes `diameter` the visible rim.
    radius = 0.5 * diameter[:, None] * np.stack([np.sqrt(stretch), 1.0 / np.sqrt(stretch)], 1)
    pits = make_spots(PIT, centre, axis, radius, depth)

    face = 1.0 - frame.weights[:, [Area.SCALP, Area.LIP, Area.LID, Area.EAR, Area.EYEBALL, Area.MOUTH]].sum(1)
    face = np.clip(face, 0.0, 1.0) * np.clip((frame.rim_mm - 2.0) / 3.0, 0.0, 1.0)
    centre, normal, _ = scatter(frame, 0.025 * face, bump_rng)
    radius = 0.25 + 0.5 * bump_rng.random(len(centre)) ** 2
    height = (0.012 + 0.03 * bump_rng.random(len(centre))) * bump_rng.choice([1.0, 1.0, 1.0, -0.6], len(centre))
    bumps = make_spots(BUMP, centre, tangent(normal, np.ones_like(normal)), np.stack([radius, radius * 0.8], 1), height)

    centre, normal, _ = scatter(frame, 0.004 * face * (frame.weights[:, Area.OTHER] < 0.5), mole_rng)
    pick = mole_rng.permutation(len(centre))[:moles]
    centre, normal = centre[pick], normal[pick]
    radius = 0.6 + 1.1 * mole_rng.random(len(centre)) ** 2
    oval = np.stack([radius * 1.15, radius * 0.95], 1)
    raised = 0.1 + 0.2 * mole_rng.random(len(centre))
    return Pores(
        pits, bumps, make_spots(BUMP, centre, tangent(normal, mole_rng.standard_normal(normal.shape)), oval, raised)
    )


def pore_displacement(pores: Pores, points: SurfacePoints, strength: float) -> np.ndarray:
    """(M,) float32 mm: pits below, bumps and moles above the surface; zero where `points.free` is."""
    out = np.zeros(len(points.position_mm), np.float32)
    add_spots(pores.pits, points, out)
    add_spots(pores.bumps, points, out)
    # Where pits meet they do not add up to more than the deepest pore.
    np.maximum(out, -0.1, out=out)
    out *= np.float32(strength)
    add_spots(pores.moles, points, out)
    return out * points.free


def beside_nose(frame: SkinFrame) -> np.ndarray:
    """(N,) in [0, 1]: closeness to the folds beside the nose, where cheek pores are densest and widest."""
    centres = frame.landmarks_mm[[31, 35]] + np.array([[-9.0, 6.0, 0.0], [9.0, 6.0, 0.0]])
    distance = np.linalg.norm(frame.vertices_mm[:, None] - centres[None], axis=2).min(1)
    return np.exp(-((distance / 17.0) ** 2))


def tension_lines(frame: SkinFrame, position_mm: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Directions (K, 3) of relaxed skin tension: across the forehead, down and outwards over the cheeks."""
    side = np.tanh((position_mm[:, 0] - frame.landmarks_mm[27, 0]) / 8.0)
    cheek = np.stack([0.55 * side, np.full(len(side), -0.8), -0.2 * np.abs(side)], 1)
    mix = np.clip(weights[:, Area.CHEEK] + weights[:, Area.JAW] + 0.6 * weights[:, Area.NOSE], 0.0, 1.0)[:, None]
    # `side` flips the outward part; the line itself has no sign, so blend on one side of the horizontal.
    across = np.stack([np.where(side < 0, -1.0, 1.0), np.zeros(len(side)), np.zeros(len(side))], 1)
    return mix * cheek + (1.0 - mix) * across
