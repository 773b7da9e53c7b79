"""Portraits in a second: a Lambertian head under harmonic light, by our own rasteriser, with everything known."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mesoface.reconstruct.affine_camera import AffineCamera
from mesoface.reconstruct.environment import make_environment
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel
from mesoface.reconstruct.harmonic_light import HarmonicLight, light_from_environment
from mesoface.reconstruct.image_raster import ImageRaster, rasterize_image
from mesoface.reconstruct.mesh_refine import vertex_normals
from mesoface.reconstruct.uv_raster import interpolate

BACKDROP = 0.2


@lru_cache(maxsize=1)
def procedural() -> FaceModel:
    return load_face_model("procedural")


@dataclass(frozen=True)
class Scene:
    """A rendered head; `linear` (H, W, 3) float32 in [0, 1]."""

    model: FaceModel
    vertices_mm: np.ndarray
    camera: AffineCamera
    light: HarmonicLight
    albedo: np.ndarray
    raster: ImageRaster
    linear: np.ndarray
    normals: np.ndarray
    position: np.ndarray

    @property
    def landmarks_px(self) -> np.ndarray:
        return self.camera.project(self.vertices_mm[self.model.landmarks])


def turned_camera(yaw_deg: float, size: int, extent_mm: float = 300.0) -> AffineCamera:
    yaw, scale = np.deg2rad(yaw_deg), size / extent_mm
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    middle = (size - 1) / 2
    return AffineCamera(scale * np.array([[*right, middle / scale], [0, -1, 0, middle / scale]]))


def scene(seed: int, yaw_deg: float = 0.0, size: int = 400, units: dict[str, float] | None = None) -> Scene:
    """A random head under a random room's light, brightness as a photographer would choose it."""
    model, rng = procedural(), np.random.default_rng(seed)
    alpha, gamma = 0.8 * rng.standard_normal(len(model.identity_mm)), rng.standard_normal(len(model.albedo_basis))
    vertices = model.shape_mm(alpha, model.beta_from_units(units or {"lip_corner_pull": 0.5})).astype(np.float64)
    camera = turned_camera(yaw_deg, size)
    raster = rasterize_image(camera.project(vertices), camera.depth(vertices), model.triangles, size, size)
    normals = interpolate(raster, model.triangles, vertex_normals(vertices, model.triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    albedo = model.albedo(gamma)
    light = light_from_environment(make_environment(rng, 32))
    linear = interpolate(raster, model.triangles, albedo) * light.shading(normals)
    gain = 0.45 / np.percentile(linear[raster.valid], 90)
    linear = np.where(raster.valid[..., None], gain * linear, BACKDROP).astype(np.float32)
    position = interpolate(raster, model.triangles, vertices)
    lit = HarmonicLight(gain * light.coefficients)
    return Scene(model, vertices, camera, lit, albedo, raster, np.clip(linear, 0, 1), normals, position)
