"""Where a face folds: expression wrinkles laid out from landmarks, with the movements that deepen each of them.

Positions are those of the muscles' action on the skin (Ekman, Friesen, Hager, Facial Action Coding System, 2002):
the frontalis folds the forehead, the corrugator the glabella, orbicularis oculi the corners of the eyes, and so on.
"""

from dataclasses import dataclass

import numpy as np

from .skin_folds import Fold, fold_displacement, fold_field, fold_strength
from .skin_frame import SkinFrame
from .skin_layout import chin_point
from .skin_points import SurfacePoints
from .skin_spots import BUMP, Spots, add_spots, make_spots, scatter, tangent
from .skin_wrinkles_lower import (
    around_lips_folds,
    chin_folds,
    lips_folds,
    lower_cheeks_folds,
    nasolabial_folds,
    neck_folds,
)
from .skin_wrinkles_upper import (
    bunny_lines_folds,
    crows_feet_folds,
    forehead_folds,
    glabella_folds,
    under_eyes_folds,
    upper_lids_folds,
)
from .surface_noise import seed64


@dataclass(frozen=True, slots=True)
class Wrinkles:
    """All folds a face can make, and the dimples of its chin."""

    folds: tuple[Fold, ...]
    chin: Spots
    seed: np.uint64


def place_wrinkles(frame: SkinFrame, rng: np.random.Generator) -> Wrinkles:
    """Lay out a face's folds: depends on the neutral shape and the generator, not on any expression."""
    folds: list[Fold] = []
    parts = (
        forehead_folds,
        glabella_folds,
        crows_feet_folds,
        under_eyes_folds,
        upper_lids_folds,
        bunny_lines_folds,
        nasolabial_folds,
        lower_cheeks_folds,
        lips_folds,
        around_lips_folds,
        chin_folds,
        neck_folds,
    )
    # One generator each: more lines in one place leave the others as they are.
    streams = rng.spawn(len(parts) + 1)
    for part, stream in zip(parts, streams, strict=False):
        folds += part(frame, stream)
    folds = [fold for fold in folds if np.isfinite(fold.path_mm).all()]
    chin_rng = streams[-1]
    chin = chin_point(frame)
    distance = np.linalg.norm((frame.vertices_mm - chin) / [1.25, 1.0, 1.0], axis=1)
    centre, normal, _ = scatter(frame, 0.075 * np.exp(-((distance / 13.0) ** 4)), chin_rng)
    radius = 1.2 + 0.9 * chin_rng.random(len(centre))
    depth = -0.28 * (0.4 + 0.6 * chin_rng.random(len(centre)))
    dimples = make_spots(
        BUMP,
        centre,
        tangent(normal, chin_rng.standard_normal(normal.shape)),
        np.stack([radius, 0.8 * radius], 1),
        depth,
    )
    return Wrinkles(tuple(folds), dimples, seed64(chin_rng))


def prepare_wrinkles(frame: SkinFrame, wrinkles: Wrinkles, activations: dict[str, float], age: float, gain: float):
    """A function of SurfacePoints giving (M,) float32 mm for one expression; `gain` scales all depths."""
    field = fold_field(frame, list(wrinkles.folds), activations, age, gain)
    pull = fold_strength(
        Fold(np.zeros((2, 3)), np.zeros(2), np.zeros(2), 0.0, {"chin_raise": 1.0}, 0.02, 0.08), activations, age
    )

    def evaluate(points: SurfacePoints) -> np.ndarray:
        out = fold_displacement(field, points, wrinkles.seed)
        dimples = np.zeros(len(out), np.float32)
        add_spots(wrinkles.chin, points, dimples)
        return out + dimples * points.free * np.float32(pull * gain)

    return evaluate
