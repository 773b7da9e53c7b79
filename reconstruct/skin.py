"""The skin of a virtual head as UV maps: displacement, albedo and roughness from one seed, at any resolution."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .face_model import FaceModel
from .skin_albedo import place_pigments, skin_albedo
from .skin_eyes import fit_eyes, paint_eyes
from .skin_frame import Area, skin_frame
from .skin_hair import place_hair
from .skin_points import surface_points, vertex_table
from .skin_pores import place_pores, pore_displacement
from .skin_relief import relief_displacement
from .skin_roughness import skin_roughness
from .skin_wrinkles import place_wrinkles, prepare_wrinkles
from .surface_noise import seed64
from .uv_raster import UvRaster, pad_raster, rasterize_uv

_PAD_TEXELS = 4
_STRIP_TEXELS = 400_000
"""Points evaluated at a time: keeps the working memory near 100 MB whatever the map's size."""


@dataclass(frozen=True, slots=True)
class SkinParameters:
    """One person's skin."""

    seed: int = 0
    age: float = 0.4
    """0 (smooth at rest) to 1 (lined at rest, deeper folds)."""
    freckles: float = 0.15
    """0 (none) to 1 (many)."""
    moles: int = 5
    contrast: float = 0.06
    """Relative RMS of the albedo's fine luminance texture on cheeks and forehead, wavelengths below about 8 mm."""
    melanin: float = 0.0
    """Pigment added to the model's own tone; 1 makes green 63 % darker, negative values lighten."""
    hair_tone: float = 0.25
    """0 (black) to 1 (blond)."""
    stubble: float = 0.0
    """0 (shaven or none) to 1 (dense short stubble)."""
    pore_strength: float = 1.0
    wrinkle_strength: float = 1.0
    relief_strength: float = 1.0


@dataclass(frozen=True, slots=True)
class SkinMaps:
    """Square UV maps, top row first; charts are extended by a few texels so that bilinear look-ups do not bleed."""

    displacement_mm: np.ndarray
    """(S, S) float32 along the outward normal; 0 on eyeballs, lid margins, in the mouth, at open borders."""
    albedo: np.ndarray
    """(S, S, 3) float32 linear RGB in [0.01, 0.95]; mid grey outside the charts."""
    roughness: np.ndarray
    """(S, S) float32 in [0.08, 0.65]."""
    valid: np.ndarray
    """(S, S) bool: texels whose centre a triangle covers (without the extension)."""
    mm_per_texel: float
    """Median side of a texel on the face, mm."""
    components: dict[str, np.ndarray] = field(default_factory=dict)
    """On request the parts of the displacement: "wrinkles", "pores", "relief", each (S, S) float32 mm."""


def random_skin(rng: np.random.Generator) -> SkinParameters:
    """A person's skin drawn at random: ages mostly 0.1-0.7, stubble in about a third."""
    return SkinParameters(
        seed=int(rng.integers(0, 2**31)),
        age=float(np.clip(rng.beta(1.6, 2.2), 0.02, 0.98)),
        freckles=float(rng.beta(0.6, 2.0)),
        moles=int(rng.poisson(5.0)),
        contrast=float(np.clip(rng.normal(0.062, 0.008), 0.045, 0.085)),
        melanin=float(np.clip(rng.normal(0.15, 0.35), -0.25, 1.2)),
        hair_tone=float(rng.beta(1.0, 2.2)),
        stubble=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.35 else 0.0,
        pore_strength=float(np.clip(rng.normal(1.0, 0.15), 0.7, 1.35)),
        wrinkle_strength=float(np.clip(rng.normal(1.0, 0.15), 0.65, 1.35)),
        relief_strength=float(np.clip(rng.normal(1.0, 0.15), 0.7, 1.35)),
    )


def make_skin(
    model: FaceModel,
    neutral_mm: np.ndarray,
    activations: dict[str, float],
    albedo_vertices: np.ndarray,
    parameters: SkinParameters,
    size: int,
    progress: Callable[[float], None] | None = None,
    components: bool = False,
) -> SkinMaps:
    """Make the skin maps of one person and expression.

    All detail is laid out on the neutral shape in millimetres: the same seed gives the same pores, lines and blotches
    at any `size` and in every expression; only the depth of the wrinkles follows the activations.

    Args:
        model: any face model that knows landmarks 17..67.
        neutral_mm: (N, 3) the person's neutral vertices.
        activations: unit activations in [0, 1] by name of UNIT_NAMES; others are ignored.
        albedo_vertices: (N, 3) linear RGB per vertex, the base tone.
        parameters: the skin.
        size: side of the maps in texels, 64..8192.
        progress: called with the finished share in [0, 1].
        components: keep the parts of the displacement as well.
    """
    if not 64 <= size <= 8192:
        raise ValueError(f"skin maps of {size} texels: sizes are 64..8192")
    frame = skin_frame(model, neutral_mm)
    # One stream per part, so that a parameter of one part leaves the others' randomness as it is.
    streams = np.random.Generator(np.random.PCG64([0x5C1, parameters.seed])).spawn(6)
    wrinkles = prepare_wrinkles(
        frame, place_wrinkles(frame, streams[0]), activations, parameters.age, parameters.wrinkle_strength
    )
    pores = place_pores(frame, streams[1], parameters.moles)
    relief_seed = seed64(streams[2])
    pigments = place_pigments(
        frame, albedo_vertices, pores, streams[3], freckles=parameters.freckles, melanin=parameters.melanin,
        contrast=parameters.contrast, hair_tone=parameters.hair_tone,
    )  # fmt: skip
    hair = place_hair(frame, streams[4], parameters.stubble)
    eyes = fit_eyes(model, frame.vertices_mm, streams[5], parameters.melanin)

    raster = rasterize_uv(model.uv, model.uv_triangles, size)
    valid = raster.valid
    raster = pad_raster(raster, model.uv, model.uv_triangles, _PAD_TEXELS)
    displacement = np.zeros((size, size), np.float32)
    albedo = np.full((size, size, 3), 0.2, np.float32)
    roughness = np.full((size, size), 0.5, np.float32)
    parts = {name: np.zeros((size, size), np.float32) for name in ("wrinkles", "pores", "relief") if components}
    table = vertex_table(frame, albedo_vertices)
    for strip, texels, done in _strips(raster):
        points = surface_points(frame, table, strip, texels, size)
        pieces = {
            "wrinkles": wrinkles(points),
            "pores": pore_displacement(pores, points, parameters.pore_strength),
            "relief": relief_displacement(points, relief_seed, parameters.relief_strength),
        }
        colour, cover = skin_albedo(pigments, pores, hair, points)
        # Where the net bulges skin wears smooth; reusing the relief saves a noise of its own.
        texture = pieces["relief"] * np.float32(25.0 / max(parameters.relief_strength, 0.1))
        rough = skin_roughness(points, cover, texture)
        paint_eyes(eyes, points, colour, rough)
        rows = slice(done[0], done[1])
        displacement[rows].reshape(-1)[texels] = pieces["wrinkles"] + pieces["pores"] + pieces["relief"]
        albedo[rows].reshape(-1, 3)[texels] = colour
        roughness[rows].reshape(-1)[texels] = rough
        for name, part in parts.items():
            part[rows].reshape(-1)[texels] = pieces[name]
        if progress is not None:
            progress(done[1] / size)
    face = frame.weights[:, [Area.FOREHEAD, Area.NOSE, Area.CHEEK, Area.PERIORAL, Area.CHIN]].sum(1) > 0.6
    scale = float(np.median(frame.mm_per_uv[face] if face.any() else frame.mm_per_uv)) / size
    return SkinMaps(displacement, albedo, roughness, valid, scale, parts)


def _strips(raster: UvRaster):
    size = len(raster.triangle)
    rows = max(1, _STRIP_TEXELS // size)
    for first in range(0, size, rows):
        last = min(size, first + rows)
        strip = raster.rows(first, last)
        texels = np.flatnonzero(strip.triangle.reshape(-1) >= 0)
        if len(texels):
            yield strip, texels, (first, last)
