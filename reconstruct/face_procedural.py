"""The built-in face model: sculpted, varied and animated by code alone, free of scans and of their licences."""

from functools import lru_cache

import numpy as np

from .face_colour import eyeball_albedo, skin_albedo
from .face_grid import mirrored, whole_vectors
from .face_identity import identity_fields_mm
from .face_model import UNIT_NAMES, FaceModel, Region
from .face_parts import EYEBALL_TURNS, eyeball, landmarks, skin_regions
from .face_units import unit_fields_mm
from .face_unwrap import EYEBALL_DISC_CENTRES, unwrap_eyeball, unwrap_skin
from .face_wrap import mean_half_mm

LICENCE = "MIT: made by code in this package, not derived from any scan or other face model"


@lru_cache(maxsize=1)
def procedural_face_model() -> FaceModel:
    """The procedural face model, built on first use (about two seconds) and kept."""
    return build_face_model()


def build_face_model() -> FaceModel:
    """Assembles skin and eyeballs; the same bytes on every call."""
    half, mirror = mean_half_mm(), mirrored()
    vertices, triangles = [whole_vectors(half)], [mirror.triangles]
    albedo, albedo_basis = skin_albedo(half)
    unwrap = unwrap_skin(half)
    uv, uv_triangles, uv_count = [unwrap.uv], [unwrap.triangles], len(unwrap.uv)
    colours, regions = [albedo], [skin_regions(half)]
    count = len(vertices[0])
    eyes = (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT)
    for side, disc, region in zip((1.0, -1.0), EYEBALL_DISC_CENTRES, eyes, strict=True):
        ball, ball_triangles, polar, turn = eyeball(side)
        vertices.append(ball)
        triangles.append(ball_triangles + count)
        ball_uv, ball_corners = _eyeball_uv(polar, turn, ball_triangles, disc)
        uv.append(ball_uv)
        uv_triangles.append(ball_corners + uv_count)
        colours.append(eyeball_albedo(polar))
        regions.append(np.full(len(ball), region, np.uint8))
        count, uv_count = count + len(ball), uv_count + len(ball_uv)
    mean = np.concatenate(vertices)
    marks = landmarks(half)
    identity, shifts = identity_fields_mm()
    ball_count = len(vertices[1])
    balls = np.repeat(shifts.astype(np.float32), ball_count, axis=1)
    still = np.zeros((1, 2 * ball_count, 3), np.float32)
    units = unit_fields_mm()
    return FaceModel(
        name="procedural",
        mean_mm=(mean - mean[marks[17:]].mean(0)).astype(np.float32),
        identity_mm=np.concatenate([identity, balls], axis=1),
        expression_mm=np.concatenate([units, np.repeat(still, len(units), 0)], axis=1),
        expression_names=UNIT_NAMES,
        expression_is_units=True,
        albedo_mean=np.concatenate(colours).astype(np.float32),
        albedo_basis=np.concatenate([albedo_basis, np.repeat(still, len(albedo_basis), 0)], axis=1).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.int32),
        uv=np.concatenate(uv).astype(np.float32),
        uv_triangles=np.concatenate(uv_triangles).astype(np.int32),
        landmarks=marks,
        regions=np.concatenate(regions).astype(np.uint8),
        licence=LICENCE,
    )


def _eyeball_uv(
    polar: np.ndarray, turn: np.ndarray, triangles: np.ndarray, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Disc coordinates of an eyeball and their corners; the pole at its back is a circle, a point a triangle."""
    back = len(polar) - 1
    uv = unwrap_eyeball(polar, turn, centre)
    corners = triangles.copy()
    rows, slot = np.nonzero(corners == back)
    middle = 2.0 * np.pi * (np.arange(EYEBALL_TURNS) + 0.5) / EYEBALL_TURNS
    corners[rows, slot] = len(uv) + np.arange(len(rows))
    return np.concatenate([uv, unwrap_eyeball(np.full(len(rows), np.pi), middle, centre)]), corners
