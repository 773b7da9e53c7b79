"""Virtual people photographed in their own charts: lit textures with exact displacement, by the thousand.

A stand-in for scans and photographs to train on: identity, expression, skin, surroundings, viewpoint and camera are
drawn at random; the light is that of `reconstruct/uv_relight.py`. Synthetic heads only: say so wherever it is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.files import sha256_json
from ..capture.image_files import srgb_from_linear
from ..reconstruct.environment import make_environment
from ..reconstruct.environment_lamps import DistantLamps, environment_lamps
from ..reconstruct.expressions import EXPRESSIONS, activations_of
from ..reconstruct.face_frame import srgb_to_linear
from ..reconstruct.face_model import FACE_REGIONS, FaceModel
from ..reconstruct.harmonic_light import COSINE_LOBE, harmonics
from ..reconstruct.head import carried_displacement, subject_coefficients
from ..reconstruct.skin import make_skin
from ..reconstruct.uv_charts import UvCharts
from ..reconstruct.uv_relight import UvFace, relight, seen_from, uv_face
from .face_areas import SKIN_REGIONS, region_map
from .uv_maps import FaceSource, UvMaps
from .wild_patches import WildFace

LICENCE = "virtual, no rights of persons"
ALBEDO_DETAIL_MM = 7.0
"""What the estimate of a photograph's albedo resolves (reconstruct/light_albedo.py)."""


@dataclass(frozen=True, slots=True)
class VirtualFaceOptions:
    """How virtual people are photographed."""

    size: int = 1024
    lights: int = 2
    """Pictures of each face, each in surroundings of its own."""
    pixel_mm: tuple[float, float] = (0.15, 0.5)
    """Pixel of the picture on the face, from and to, log-uniform."""
    yaw_deg: float = 15.0
    """Standard deviation of the viewpoint's yaw; twice as much is the limit."""
    pitch_deg: float = 6.0
    noise: tuple[float, float] = (0.002, 0.01)
    """Of the camera, over the root of the signal."""
    least_facing: float = 0.3
    edge_mm: float = 0.5
    """Detail shorter than this is not in the skin: as of a rendered head's mesh edges."""


@dataclass(frozen=True, eq=False)
class VirtualPicture:
    """One picture: its maps with exact displacement, and what the proxy stage would say of it as a photograph."""

    maps: UvMaps
    wild: WildFace
    yaw_deg: float
    pixel_mm: float


def random_expressions(subject: int, count: int) -> list[str]:
    """Expressions of a virtual person: neutral, then others at random strengths; the same for the same subject."""
    rng = np.random.Generator(np.random.PCG64([0xE49, subject]))
    names = [name for name in EXPRESSIONS if name != "neutral"]
    drawn = rng.permutation(len(names))[: max(count - 1, 0)]
    return ["neutral", *(f"{names[k]}:{rng.uniform(0.5, 1.0):.2f}" for k in drawn)][:count]


def virtual_pictures(
    model: FaceModel, charts: UvCharts, subject: int, expression: str, options: VirtualFaceOptions, seed: int = 0
) -> Iterator[VirtualPicture]:
    """`options.lights` pictures of one face; the same for the same arguments.

    The displacement is that of the skin's own maps, along the base surface's normal. Raises UserError for an unknown
    expression.
    """
    activations = activations_of(expression)
    alpha, gamma, skin = subject_coefficients(model, subject)
    maps = make_skin(model, model.shape_mm(alpha), activations, model.albedo(gamma), skin, options.size)
    height_mm = carried_displacement(model, maps, options.edge_mm)
    vertices = model.shape_mm(alpha, model.beta_from_units(activations)).astype(np.float64)
    face = uv_face(model, charts, vertices, height_mm, maps.albedo, maps.roughness, maps.mm_per_texel)
    region = region_map(model, options.size, charts.raster)
    lit = np.isin(region, FACE_REGIONS)
    for light in range(options.lights):
        rng = np.random.Generator(np.random.PCG64([0x117, seed, subject, *expression.encode(), light]))
        name = f"V{subject:04d}_{expression.replace(':', '').replace('+', '_')}_l{light}"
        yield _picture(face, region, lit, name, subject, expression, model.name, options, rng)


def _picture(
    face: UvFace, region: np.ndarray, lit: np.ndarray, name: str, subject: int, expression: str, face_model: str,
    options: VirtualFaceOptions, rng: np.random.Generator,
) -> VirtualPicture:  # fmt: skip
    lamps = environment_lamps(make_environment(rng))
    yaw, pitch = (
        float(np.clip(rng.normal(0, spread), -2 * spread, 2 * spread))
        for spread in (options.yaw_deg, options.pitch_deg)
    )
    a, b = np.deg2rad(yaw), np.deg2rad(pitch)
    towards = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
    seen, facing = seen_from(face, towards)
    radiance = relight(face, lamps, towards, lit)
    valid = seen & lit & (facing > options.least_facing) & np.isin(region, [int(r) for r in SKIN_REGIONS])
    valid = cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    exposure = float(rng.uniform(0.28, 0.40) / max(float(radiance[valid].mean()), 1e-6))
    pixel_mm = float(np.exp(rng.uniform(*np.log(options.pixel_mm))))
    photo = _photographed(exposure * radiance, lit, pixel_mm / face.texel_mm, rng.uniform(*options.noise), rng)
    image = sha256_json(["virtual picture", name, options.size])
    source = FaceSource(
        f"V{subject:04d}", expression.partition(":")[0], name, face_model, LICENCE,
        "virtual head lit in its charts by mesoface", image,
    )  # fmt: skip
    height = np.where(valid, face.displacement_mm, 0).astype(np.float32)
    inside = face.valid[..., None]
    position, normal = np.where(inside, face.position_mm, 0), np.where(inside, face.normal, 0)
    linear = srgb_to_linear(photo / 255).astype(np.float32)
    maps = UvMaps(source, linear, height, position, normal, valid, region, face.texel_mm)
    sigma = ALBEDO_DETAIL_MM / face.texel_mm
    share = np.maximum(cv2.GaussianBlur(lit.astype(np.float32), (0, 0), sigma), 1e-3)[..., None]
    albedo = cv2.GaussianBlur(np.where(lit[..., None], face.albedo, 0).astype(np.float32), (0, 0), sigma) / share
    wild = WildFace(
        name, image, face_model, photo, valid, region, position, normal,
        np.where(lit[..., None], albedo, 0).astype(np.float32), (exposure * harmonic(lamps)).astype(np.float32),
        face.texel_mm,
    )  # fmt: skip
    return VirtualPicture(maps, wild, yaw, pixel_mm)


def harmonic(lamps: DistantLamps) -> np.ndarray:
    """(9, 3) float64 shading coefficients of lamps, as of `HarmonicLight`."""
    return COSINE_LOBE[:, None] * (harmonics(lamps.directions).T @ lamps.power)


def _photographed(
    radiance: np.ndarray, lit: np.ndarray, pixel: float, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """(S, S, 3) uint8 sRGB that a camera with pixels of `pixel` texels leaves of a texture: blur and its grain."""
    weight = lit.astype(np.float32)
    sigma = max(0.5 * pixel, 0.3)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]
    soft = cv2.GaussianBlur(radiance * weight[..., None], (0, 0), sigma) / share
    side = max(round(len(lit) / max(pixel, 1.0)), 8)
    grain = rng.standard_normal((side, side, 3)).astype(np.float32)
    grain = cv2.resize(grain, lit.shape[::-1], interpolation=cv2.INTER_LINEAR)
    noisy = soft + np.float32(noise) * np.sqrt(np.maximum(soft, 0) + 0.02) * grain
    return srgb_from_linear(np.where(lit[..., None], noisy, 0))
