"""Did the right lamp fire, and as strongly as planned? Brightness and shading of the face against the rig's geometry.

Strength: the mean light on an ellipsoid in the head's place is known for every flash up to one factor, the skin's
colour and the lens; each frame's factor is compared with the take's median.

Which lamp: the face's own slopes are found from the other flashes' frames by photometric stereo at some millimetres'
resolution, drawn towards the ellipsoid where shadows leave too few. They predict the shading under every lamp of the
rig; the frame must fit its own lamp's best. Frames that fit another one are left out, and the rest is judged again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .plan import Shot
from .quality_face import FaceSurface, face_surface, flash_vectors
from .quality_models import Take

Array = NDArray[np.float64]

# Pull of the ellipsoid's slope against one frame's evidence.
PRIOR = 0.03
# In the light of one flash, skin below this part of its brightest frame is shadow.
SHADOW = 0.25
# Cells darker than this part of the face's median (hair, mouth, background) tell nothing about light.
DARK_SKIN = 0.15
ROUNDS = 3
FEWEST_FRAMES = 4
MOST_SUSPECTS = 4
# A frame that fits another flash better by this factor leaves the basis; a new order of the lamps must fit all better.
SUSPICIOUS, CLEARLY_BETTER = 1.05, 0.7
# A frame is given to another lamp when its own fits this many times worse.
WRONG_FACTOR = 1.25


@dataclass(frozen=True)
class LightMatch:
    """How a frame fits the flashes of the rig: its own misfit, the best flash, and the best other flash.

    `margin` = misfit of the best other flash over that of the own: above 1 the own fits best.
    """

    best: str
    best_other: str
    misfit: float
    margin: float

    @property
    def is_wrong(self) -> bool:
        return self.margin < 1 / WRONG_FACTOR


def strengths(take: Take) -> dict[int, float]:
    """Brightness of every flash frame over what the geometry predicts, relative to the take's median; by shot index.

    Crossed and parallel frames have their own medians, because highlights are missing in the crossed ones.
    """
    found: dict[int, float] = {}
    for kind in ("parallel", "cross"):
        shots = [shot for shot in take.flash_shots if shot.kind == kind]
        raw = {shot.index: _level(take, shot) / _predicted_level(take, shot) for shot in shots}
        lit = [raw[shot.index] for shot in shots if not take.is_dark(shot)]
        if lit:
            middle = float(np.median(lit))
            found |= {index: value / middle for index, value in raw.items()}
    return found


def uniform_strengths(take: Take) -> dict[int, float]:
    """Brightness of every body's uniform frame relative to the median of the bodies; by shot index."""
    raw = {}
    for shot in take.uniform_shots:
        halved = 0.5 if take.rig.camera(shot.camera).analyser == "linear" else 1.0
        raw[shot.index] = take.facts[shot.index].face_level / halved / _sensitivity(take, shot)
    lit = [raw[shot.index] for shot in take.uniform_shots if not take.is_dark(shot)]
    middle = float(np.median(lit)) if lit else 1.0
    return {index: value / middle for index, value in raw.items()}


def _sensitivity(take: Take, shot: Shot) -> float:
    exposure = take.rig.camera(shot.camera).exposure
    return exposure.iso / exposure.aperture**2


def _surface(take: Take, shot: Shot) -> FaceSurface:
    return face_surface(take.rig, shot.camera, *take.facts[shot.index].view_px)


def _level(take: Take, shot: Shot) -> float:
    return take.facts[shot.index].face_level / _sensitivity(take, shot)


def _predicted_level(take: Take, shot: Shot) -> float:
    surface = _surface(take, shot)
    vectors = flash_vectors(surface, take.rig.light(shot.lights[0]))
    return float(np.maximum((vectors * surface.normals).sum(axis=1), 0).mean())


def match_lights(take: Take, strength: Mapping[int, float]) -> dict[int, LightMatch]:
    """Which flash every lit flash frame shows; by shot index. {} when fewer than five flashes are there to compare.

    `strength`: of `strengths`, so that a weak or strong flash does not bend the slopes.
    """
    lights = take.rig.flashes
    shots = [shot for shot in take.flash_shots if not take.is_dark(shot)]
    if not shots:
        return {}
    surfaces = {shot.camera: _surface(take, shot) for shot in shots}
    # every body's grid covers the same box of the same ellipsoid; its cells correspond between co-located bodies
    mask = np.logical_and.reduce([surface.mask for surface in surfaces.values()])
    surface = next(iter(surfaces.values()))
    inside = mask[surface.mask]
    pictures = np.stack([_grid(take, shot, surfaces[shot.camera], mask) / strength[shot.index] for shot in shots])
    vectors = np.stack([flash_vectors(surface, light)[inside] for light in lights])
    mean = pictures.mean(axis=0)
    skin = mean > DARK_SKIN * np.median(mean)
    pictures = np.maximum(pictures[:, skin], 0) / mean[skin]
    own = [[light.name for light in lights].index(shot.lights[0]) for shot in shots]
    basis = _basis(shots, own)
    misfits = _settle(pictures, vectors[:, skin], surface.normals[inside][skin], own, basis)
    matches = {}
    for shot, row, mine in zip(shots, misfits, own, strict=True):
        if np.isfinite(row).all():
            others = np.delete(np.arange(len(lights)), mine)
            best_other = int(others[np.argmin(row[others])])
            matches[shot.index] = LightMatch(
                lights[int(np.argmin(row))].name,
                lights[best_other].name,
                float(row[mine]),
                float(row[best_other] / max(row[mine], 1e-9)),
            )
    return matches


def _grid(take: Take, shot: Shot, surface: FaceSurface, mask: NDArray[np.bool_]) -> Array:
    """Brightness of the cells of `mask`, one mean over the three colours."""
    cells = np.zeros(surface.mask.shape)
    cells[surface.mask] = surface.cells(take.facts[shot.index].face).mean(axis=1)
    return cells[mask]


def _basis(shots: Sequence[Shot], own: Sequence[int]) -> dict[int, int]:
    """Row of the frame that stands for each flash: the crossed one, which has no highlights, if there is one."""
    rows: dict[int, int] = {}
    for row, (shot, light) in enumerate(zip(shots, own, strict=True)):
        if light not in rows or shot.kind == "cross":
            rows[light] = row
    return rows


def _relabelled(
    pictures: Array, vectors: Array, normals: Array, own: Sequence[int], basis: dict[int, int]
) -> dict[int, int]:
    """The basis with the lamps as they seem to hang, when that explains all frames together clearly better.

    Each frame is compared with the ellipsoid under every lamp of the basis, and each lamp given to one frame. The
    ellipsoid may err on single frames, so the new order must also stand up to the face's own slopes.
    """
    if len(basis) <= FEWEST_FRAMES:
        return basis
    lights, rows = list(basis), list(basis.values())
    predicted = np.maximum(np.einsum("kpi,pi->kp", vectors[lights], normals), 0)
    # over their means, so that what the ellipsoid lacks of a face drops out
    seen = pictures[rows] / np.maximum(pictures[rows].mean(axis=0), 1e-6)
    expected = predicted / np.maximum(predicted.mean(axis=0), 1e-6)
    seen, expected = (x - x.mean(axis=1, keepdims=True) for x in (seen, expected))
    lengths = np.outer(np.linalg.norm(seen, axis=1), np.linalg.norm(expected, axis=1))
    likeness = seen @ expected.T / np.maximum(lengths, 1e-9)
    order = linear_sum_assignment(-likeness)[1]
    other = {lights[place]: row for row, place in zip(rows, order, strict=True)}
    if other == basis:
        return basis

    def misfit(labels: dict[int, int]) -> float:
        found = _misfits(pictures, vectors, normals, own, labels)
        return float(np.mean([found[row, light] for light, row in labels.items()]))

    return other if misfit(other) < CLEARLY_BETTER * misfit(basis) else basis


def _settle(pictures: Array, vectors: Array, normals: Array, own: Sequence[int], basis: dict[int, int]) -> Array:
    """Misfits (frames, lights), with frames that show another flash taken out of the basis one by one."""
    basis = _relabelled(pictures, vectors, normals, own, basis)
    misfits = _misfits(pictures, vectors, normals, own, basis)
    for _ in range(MOST_SUSPECTS):
        suspicion = {light: misfits[row, light] / misfits[row].min() for light, row in basis.items()}
        light = max(suspicion, key=lambda key: suspicion[key], default=None)
        if light is None or not suspicion[light] > SUSPICIOUS or len(basis) <= FEWEST_FRAMES + 1:
            break
        basis = {key: row for key, row in basis.items() if key != light}
        misfits = _misfits(pictures, vectors, normals, own, basis)
    return misfits


def _misfits(pictures: Array, vectors: Array, normals: Array, own: Sequence[int], basis: dict[int, int]) -> Array:
    """Mean absolute misfit over mean brightness of every frame (rows) under every flash, NaN where not measurable.

    A frame is predicted from the basis (row by flash) without its own pair.
    """
    misfits = np.full((len(pictures), len(vectors)), np.nan)
    for pair in set(own):
        lights = [light for light, row in basis.items() if own[row] != pair]
        if len(lights) < FEWEST_FRAMES:
            continue
        slopes = _slopes(pictures[[basis[light] for light in lights]], vectors[lights], normals)
        predicted = np.maximum(np.einsum("kpi,pi->kp", vectors, slopes), 0)
        for row in (row for row, mine in enumerate(own) if mine == pair):
            scale = (predicted @ pictures[row]) / np.maximum((predicted**2).sum(axis=1), 1e-12)
            misfits[row] = np.abs(pictures[row] - scale[:, None] * predicted).mean(axis=1) / pictures[row].mean()
    return misfits


def _slopes(pictures: Array, vectors: Array, normals: Array) -> Array:
    """Albedo times normal (n, 3) from frames (k, n) under lights (k, n, 3): robust least squares without shadows."""
    facing = np.maximum((vectors * normals).sum(axis=-1), 0).sum(axis=0)
    prior = PRIOR * (pictures.sum(axis=0) / np.maximum(facing, 1e-6))[:, None] * normals
    brightest = np.maximum(pictures.max(axis=0), 1e-9)
    lit = (pictures > SHADOW * brightest).astype(np.float64)
    weights, slopes = lit, normals
    for _ in range(ROUNDS):
        matrix = np.einsum("kp,kpi,kpj->pij", weights, vectors, vectors) + PRIOR * np.eye(3)
        right = np.einsum("kp,kpi,kp->pi", weights, vectors, pictures) + prior
        slopes = np.linalg.solve(matrix, right[..., None])[..., 0]
        residual = pictures - np.einsum("kpi,pi->kp", vectors, slopes)
        weights = lit / (1 + (residual / (0.1 * brightest)) ** 2)
    return slopes
