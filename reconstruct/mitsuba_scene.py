"""The virtual studio's scenes for Mitsuba 3: mesh, cameras, flashes, skin materials, render passes.

Only this file and face_preview.py (thumbnails) speak Mitsuba. Light is linear and unitless: an irradiance of 1
is what a flash with relative energy 1 gives on a surface that faces it from REFERENCE_DISTANCE_MM, and a pass returns
pi times radiance, so a Lambertian surface of albedo rho under irradiance 1 measures rho.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..capture.camera_model import PinholeCamera

REFERENCE_DISTANCE_MM = 750.0
SKIN_INDEX = 1.4
"""Refractive index of skin's surface (photometric literature uses 1.38-1.44)."""
FLASH_CUTOFF_DEG = 50.0
"""Half angle beyond which a flash head gives no light: the reflector's edge."""

_GLOWING = ("albedo", "numbers")

DiffuseModel = Literal["lambert", "coated"]


@dataclass(frozen=True, slots=True)
class SurfaceData:
    """What the renderer needs of a head: one vertex per (position, texture coordinate) pair."""

    vertices_mm: np.ndarray
    """(M, 3) float32."""
    normals: np.ndarray
    """(M, 3) float32."""
    uv: np.ndarray
    """(M, 2) float32, v counted from the top as the renderer does."""
    triangles: np.ndarray
    """(T, 3) uint32, in the order of the source mesh."""
    albedo: np.ndarray
    """(S, S, 3) float32 map, top row first."""
    roughness: np.ndarray
    """(S, S) float32 map."""


def surface_data(
    vertices_mm: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    uv_triangles: np.ndarray,
    albedo: np.ndarray,
    roughness: np.ndarray,
) -> SurfaceData:
    """Split vertices where a UV seam gives them several texture coordinates."""
    keys = triangles.astype(np.int64).ravel() * len(uv) + uv_triangles.ravel()
    unique, corner = np.unique(keys, return_inverse=True)
    vertex, coordinate = unique // len(uv), unique % len(uv)
    from_top = uv[coordinate] * [1.0, -1.0] + [0.0, 1.0]  # Mitsuba counts v downwards from a bitmap's first row
    return SurfaceData(
        vertices_mm[vertex].astype(np.float32),
        normals[vertex].astype(np.float32),
        from_top.astype(np.float32),
        corner.reshape(-1, 3).astype(np.uint32),
        albedo,
        roughness,
    )


@dataclass(frozen=True, slots=True)
class PointFlash:
    """A flash in the frame that the head is in."""

    position_mm: np.ndarray
    aim_mm: np.ndarray
    energy: float
    falloff_exponent: float

    def irradiance(self, points_mm: np.ndarray) -> np.ndarray:
        """Irradiance (...,) of a surface at points_mm (..., 3) that faces the flash, without occlusion.

        Holds within FLASH_CUTOFF_DEG of the flash's axis.
        """
        to_point = points_mm - self.position_mm
        distance = np.linalg.norm(to_point, axis=-1)
        axis = (self.aim_mm - self.position_mm) / np.linalg.norm(self.aim_mm - self.position_mm)
        cosine = np.maximum((to_point @ axis) / distance, 0)
        return self.energy * (REFERENCE_DISTANCE_MM / distance) ** 2 * cosine**self.falloff_exponent


class StudioScene:
    """Render passes over one surface. Select the engine with `use_variant` first."""

    def __init__(self, surface: SurfaceData, diffuse: DiffuseModel = "coated") -> None:
        import mitsuba as mi

        self._mi = mi
        self._surface = surface
        self._diffuse = diffuse
        self._albedo = self._texture(surface.albedo)
        self._roughness = self._texture(surface.roughness[..., None])
        self._meshes: dict[str, Any] = {}
        self._materials: dict[str, Any] = {}
        self._scenes: dict[str, Any] = {}

    # -- passes -------------------------------------------------------------------------------------------------

    def flash_pass(self, camera: PinholeCamera, flash: PointFlash, spp: int, seed: int = 0) -> np.ndarray:
        """Direct light of one flash: (H, W, 3) float32 = diffuse per unit albedo, specular, coverage."""
        image = self._render(
            "split", camera, {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0}, spp, seed, flash
        )
        # the split material reflects diffusely in red only, and half of each lobe: see _bsdf
        specular = 2.0 * np.pi * image[..., 1]
        diffuse = 2.0 * np.pi * (image[..., 0] - image[..., 1])
        return np.stack([diffuse, specular, image[..., 3]], axis=-1).astype(np.float32)

    def dome_pass(self, camera: PinholeCamera, energy: float, spp: int, lobe_samples: int, seed: int = 0) -> np.ndarray:
        """Direct light of a uniform surrounding: (H, W, 3) float32 = diffuse per unit albedo, specular, coverage."""
        integrator = {"type": "direct", "emitter_samples": 0, "bsdf_samples": lobe_samples, "hide_emitters": True}
        white = self._render("white", camera, integrator, spp, seed, energy)
        gloss = self._render("gloss", camera, integrator, spp, seed + 1, energy)
        shine = _uncover(gloss)[..., 0] * white[..., 3]  # both renders cover border pixels a little differently
        return np.stack([np.pi * white[..., 0], np.pi * shine, white[..., 3]], axis=-1).astype(np.float32)

    def environment_pass(self, camera: PinholeCamera, environment: np.ndarray, spp: int, seed: int = 0) -> tuple:
        """Direct light of an environment map: diffuse per unit albedo (H,W,3), specular (H,W,3), coverage (H,W).

        environment: (h, 2h, 3) float32 radiance, latitude-longitude, top row up, centre column straight ahead of the
        face (+z).
        """
        integrator = {"type": "direct", "hide_emitters": True}
        white = self._render("white", camera, integrator, spp, seed, environment)
        gloss = self._render("gloss", camera, integrator, spp, seed + 1, environment)
        shine = _uncover(gloss) * white[..., 3:4]
        return tuple(a.astype(np.float32) for a in (np.pi * white[..., :3], np.pi * shine, white[..., 3]))

    def bounce_pass(self, camera: PinholeCamera, light: Any, spp: int, seed: int = 0) -> np.ndarray:
        """Light that reached the skin from other skin, times albedo: (H, W, 4) float32 RGB and coverage.

        The difference of a path-traced and a direct render of the diffuse surface; it may be negative by noise.
        """
        path = {"type": "path", "max_depth": 4, "hide_emitters": True}
        direct = {"type": "path", "max_depth": 2, "hide_emitters": True}
        total = self._render("skin", camera, path, spp, seed, light)
        first = self._render("skin", camera, direct, spp, seed, light)
        total[..., :3] = np.pi * (_uncover(total) - _uncover(first))
        return total.astype(np.float32)

    def albedo_pass(self, camera: PinholeCamera, spp: int, seed: int = 0) -> np.ndarray:
        """Albedo of the visible surface, filtered over the pixel: (H, W, 4) float32 RGB (times coverage), coverage."""
        return self._render("albedo", camera, {"type": "path", "max_depth": 1}, spp, seed, None).astype(np.float32)

    def triangle_pass(self, camera: PinholeCamera) -> np.ndarray:
        """Triangle number (H, W) int64 seen at each pixel's centre, -1 for background."""
        image = self._render("numbers", camera, {"type": "path", "max_depth": 1}, 1, 0, None, centred=True)
        return np.where(image[..., 3] > 0.5, np.rint(image[..., 0]).astype(np.int64) - 1, -1)

    # -- building blocks ----------------------------------------------------------------------------------------

    def _render(
        self,
        material: str,
        camera: PinholeCamera,
        integrator: dict,
        spp: int,
        seed: int,
        light: Any,
        centred: bool = False,
    ) -> np.ndarray:
        mi = self._mi
        sensor = mi.load_dict(self._sensor(camera, spp, centred))
        scene = self._lit_scene(material, light)
        image = mi.render(scene, sensor=sensor, integrator=mi.load_dict(integrator), spp=spp, seed=mi.UInt32(seed))
        return np.array(image, dtype=np.float32)

    def _lit_scene(self, material: str, light: Any) -> Any:
        """A scene with this light, its surface set to this material.

        Scenes are kept, because the ray-tracing index of millions of triangles takes longer to build than an image
        takes to render: materials are exchanged in place, and a flash is only moved.
        """
        mi = self._mi
        if material in _GLOWING:
            return self._kept_scene(material, None, self._mesh(material))
        if isinstance(light, PointFlash):
            scene = self._kept_scene(f"flash {light.falloff_exponent}", self._flash(light), self._mesh("head"))
            parameters = mi.traverse(scene)
            parameters["light.to_world"] = self._flash_transform(light)
            parameters["light.intensity.value"] = mi.ScalarColor3f(light.energy * REFERENCE_DISTANCE_MM**2)
        elif isinstance(light, np.ndarray):
            self._scenes.pop("environment", None)
            scene = self._kept_scene("environment", self._environment(light), self._mesh("head"))
            parameters = None
        else:
            constant = {"type": "constant", "radiance": {"type": "rgb", "value": 1.0}}
            scene = self._kept_scene("constant", constant, self._mesh("head"))
            parameters = mi.traverse(scene)
            # a uniform surrounding: irradiance = pi * radiance
            parameters["light.radiance.value"] = mi.ScalarColor3f(float(light) / math.pi)
        if parameters is not None:
            parameters.update()
        self._mesh("head").set_bsdf(self._bsdf(material))
        return scene

    def _kept_scene(self, name: str, light: dict | None, mesh: Any) -> Any:
        if name not in self._scenes:
            scene = {"type": "scene", "head": mesh} | ({"light": light} if light else {})
            scene["embree_use_robust_intersections"] = True  # else some rays slip between two triangles
            self._scenes[name] = self._mi.load_dict(scene)
        return self._scenes[name]

    def _mesh(self, name: str) -> Any:
        """The surface: "head" with a material, or glowing with its "albedo" or with its triangles' "numbers"."""
        if name not in self._meshes:
            mi, surface = self._mi, self._surface
            properties = mi.Properties()
            properties["bsdf"] = self._bsdf("gloss")
            if name in _GLOWING:
                # a surface that shines with the wanted value: the fastest way to read it out, filtered or exact
                radiance = self._albedo if name == "albedo" else {"type": "mesh_attribute", "name": "face_number"}
                properties["emitter"] = mi.load_dict({"type": "area", "radiance": radiance})
            mesh = mi.Mesh(
                name,
                len(surface.vertices_mm),
                len(surface.triangles),
                has_vertex_normals=True,
                has_vertex_texcoords=True,
                props=properties,
            )
            if name == "numbers":
                count = len(surface.triangles)
                if count >= 2**24:
                    raise ValueError(f"{count} triangles: numbers above 2^24 are not exact in float32")
                mesh.add_attribute("face_number", 1, np.arange(1, count + 1, dtype=np.float32))
            buffers = mi.traverse(mesh)
            buffers["vertex_positions"] = surface.vertices_mm.ravel()
            buffers["vertex_normals"] = surface.normals.ravel()
            buffers["vertex_texcoords"] = surface.uv.ravel()
            buffers["faces"] = surface.triangles.ravel()
            buffers.update()
            self._meshes[name] = mesh
        return self._meshes[name]

    def _bsdf(self, material: str) -> Any:
        if material not in self._materials:
            self._materials[material] = self._mi.load_dict(self._bsdf_description(material))
        return self._materials[material]

    def _bsdf_description(self, material: str) -> dict:
        gloss = {
            "type": "principled",
            "base_color": {"type": "rgb", "value": 0.0},
            "eta": SKIN_INDEX,
            "roughness": self._roughness,
        }
        if material == "split":
            # one render separates both lobes: the diffuse one is red, the specular one grey
            red = {"type": "rgb", "value": [1.0, 0.0, 0.0]}
            return {"type": "blendbsdf", "weight": 0.5, "diffuse": self._diffuse_bsdf(red), "gloss": gloss}
        if material == "white":
            return self._diffuse_bsdf({"type": "rgb", "value": 1.0})
        if material == "skin":
            return self._diffuse_bsdf(self._albedo)
        return gloss

    def _diffuse_bsdf(self, reflectance: Any) -> dict:
        if self._diffuse == "lambert":
            return {"type": "diffuse", "reflectance": reflectance}
        # light enters and leaves through a smooth dielectric: Fresnel transmission both ways; no specular lobe
        return {
            "type": "plastic",
            "int_ior": SKIN_INDEX,
            "ext_ior": 1.0,
            "nonlinear": False,
            "diffuse_reflectance": reflectance,
            "specular_reflectance": 0.0,
        }

    def _texture(self, image: np.ndarray) -> Any:
        mi = self._mi
        bitmap = mi.Bitmap(np.ascontiguousarray(image, np.float16))
        return mi.load_dict({"type": "bitmap", "bitmap": bitmap, "raw": True, "format": "fp16", "wrap_mode": "clamp"})

    def _flash(self, flash: PointFlash) -> dict:
        mi = self._mi
        size = 256
        tangent = math.tan(math.radians(FLASH_CUTOFF_DEG))
        ramp = (2 * (np.arange(size) + 0.5) / size - 1) * tangent
        cosine = 1 / np.sqrt(1 + ramp[None, :] ** 2 + ramp[:, None] ** 2)
        pattern = np.repeat((cosine**flash.falloff_exponent)[..., None], 3, axis=2).astype(np.float32)
        texture = {"type": "bitmap", "bitmap": mi.Bitmap(pattern), "raw": True, "wrap_mode": "clamp"}
        return {
            "type": "spot",
            "to_world": self._flash_transform(flash),
            "texture": texture,
            "cutoff_angle": FLASH_CUTOFF_DEG,
            "beam_width": FLASH_CUTOFF_DEG - 0.5,
            "intensity": {"type": "rgb", "value": flash.energy * REFERENCE_DISTANCE_MM**2},
        }

    def _flash_transform(self, flash: PointFlash) -> Any:
        forward = (flash.aim_mm - flash.position_mm) / np.linalg.norm(flash.aim_mm - flash.position_mm)
        up = [0.0, 1.0, 0.0] if abs(forward[1]) < 0.99 else [0.0, 0.0, 1.0]
        position, aim = flash.position_mm.tolist(), flash.aim_mm.tolist()
        return self._mi.ScalarTransform4f().look_at(origin=position, target=aim, up=up)

    def _environment(self, radiance: np.ndarray) -> dict:
        mi = self._mi
        return {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(radiance, np.float32))}

    def _sensor(self, camera: PinholeCamera, spp: int, centred: bool) -> dict:
        if camera.has_distortion or abs(camera.fx_px / camera.fy_px - 1) > 1e-9:
            raise ValueError("the renderer takes undistorted cameras with square pixels")
        mi = self._mi
        rotation = camera.cam_from_world.rotation.T @ np.diag([-1.0, -1.0, 1.0])  # Mitsuba: x left, y up, z forward
        world = np.eye(4)
        world[:3, :3], world[:3, 3] = rotation, camera.centre_mm
        sampler = (
            {"type": "stratified", "sample_count": 1, "jitter": False}
            if centred
            else {"type": "multijitter", "sample_count": spp}
        )
        return {
            "type": "perspective",
            "fov": math.degrees(2 * math.atan(camera.width_px / 2 / camera.fx_px)),
            "fov_axis": "x",
            "principal_point_offset_x": 0.5 - (camera.cx_px + 0.5) / camera.width_px,
            "principal_point_offset_y": 0.5 - (camera.cy_px + 0.5) / camera.height_px,
            "near_clip": 10.0,
            "far_clip": 100000.0,
            "to_world": mi.ScalarTransform4f(world.tolist()),
            "film": {
                "type": "hdrfilm",
                "width": camera.width_px,
                "height": camera.height_px,
                "rfilter": {"type": "box"},
                "pixel_format": "rgba",
                "component_format": "float32",
                "sample_border": False,
            },
            "sampler": sampler,
        }


def _uncover(rgba: np.ndarray) -> np.ndarray:
    """Colours divided by coverage, 0 where there is none."""
    return rgba[..., :3] / np.maximum(rgba[..., 3:4], 1e-6)
