"""Everything the charts of a fitted proxy hold: texture, what was seen, positions, normals, albedo, and its light."""

from dataclasses import dataclass

import cv2
import numpy as np

from .face_frame import srgb_to_linear
from .face_model import FaceModel
from .image_raster import ImageRaster
from .light_albedo import LightEstimate, estimate_light, skin_samples
from .mesh_refine import vertex_normals
from .proxy_fit import Proxy
from .uv_charts import UvCharts, normal_map, position_map, uv_charts
from .uv_raster import interpolate
from .uv_render import fill_unseen
from .uv_unwrap import UvTexture, unwrap

LIGHT_SIZE = 512
"""Side of the map that light is estimated from: about a millimetre per texel."""
LIGHT_PIXEL_MM = 0.4
"""Large pictures are shrunk to about this before they are turned into linear light."""


@dataclass(frozen=True, slots=True)
class ProxyCharts:
    """The charts of one model at the size of the maps and at the size that light needs; made once for many pictures."""

    maps: UvCharts
    light: UvCharts

    @classmethod
    def of(cls, model: FaceModel, size: int) -> "ProxyCharts":
        """Raises UserError for a model without texture coordinates."""
        maps = uv_charts(model, size)
        return cls(maps, maps if size == LIGHT_SIZE else uv_charts(model, LIGHT_SIZE))


@dataclass(frozen=True, slots=True)
class ProxyMaps:
    """Maps (S, S, ...) in the model's charts."""

    texture: UvTexture
    """In sRGB."""
    filled: np.ndarray
    """(S, S, 3) float32: the texture with unseen texels continued smoothly; for looking at, not evidence."""
    position_mm: np.ndarray
    """(S, S, 3) float32, model frame."""
    normal: np.ndarray
    """(S, S, 3) float32 unit, model frame."""
    albedo: np.ndarray
    """(S, S, 3) float32, linear."""
    valid: np.ndarray
    """(S, S) bool: texels inside of a chart. Colours and vectors run on a few texels beyond."""
    light: LightEstimate


def proxy_maps(image_srgb: np.ndarray, proxy: Proxy, charts: ProxyCharts) -> ProxyMaps:
    """All maps of a proxy in its picture (H, W, 3) float32 sRGB."""
    model, camera, vertices = proxy.model, proxy.view_camera, proxy.vertices_mm
    near = proxy.perspective is not None
    size = charts.maps.size
    texture = unwrap(
        image_srgb, camera.project, camera.depth, model, vertices, size, charts=charts.maps, perspective=near
    )
    light = proxy_light(image_srgb, proxy, charts.light)
    return ProxyMaps(
        texture,
        fill_unseen(texture.texture, texture.visible),
        position_map(charts.maps, model, vertices),
        normal_map(charts.maps, model, vertices),
        interpolate(charts.maps.raster, model.triangles, light.albedo),
        charts.maps.valid,
        light,
    )


def proxy_light(image_srgb: np.ndarray, proxy: Proxy, charts: UvCharts) -> LightEstimate:
    """Light and albedo of a proxy's picture (Eq. 14; the method is ours, see `light_albedo`)."""
    camera = proxy.view_camera
    pixels = camera.project(proxy.vertices_mm)
    height, width = image_srgb.shape[:2]
    left, top = np.clip(np.floor(pixels.min(0)).astype(int) - 2, 0, [width - 1, height - 1]).tolist()
    right, bottom = np.clip(np.ceil(pixels.max(0)).astype(int) + 3, [left + 1, top + 1], [width, height]).tolist()
    part = image_srgb[top:bottom, left:right]
    factor = max(int(LIGHT_PIXEL_MM * camera.scale_px_per_mm), 1)
    if factor > 1:
        size = (max(part.shape[1] // factor, 1), max(part.shape[0] // factor, 1))
        part = cv2.resize(part[: size[1] * factor, : size[0] * factor], size, interpolation=cv2.INTER_AREA)
    linear = srgb_to_linear(part).astype(np.float32)

    def project(points_mm: np.ndarray) -> np.ndarray:
        return (camera.project(points_mm) - (left, top) + 0.5) / factor - 0.5

    unwrapped = unwrap(
        linear, project, camera.depth, proxy.model, proxy.vertices_mm, charts.size, charts=charts,
        perspective=proxy.perspective is not None,
    )  # fmt: skip
    return estimate_light(skin_samples(unwrapped, proxy.model, proxy.vertices_mm), proxy.model)


def rerendered(proxy: Proxy, light: LightEstimate, raster: ImageRaster) -> np.ndarray:
    """(H, W, 3) float32 linear picture of the proxy's albedo under the estimated light (Eq. 14); 0 beside the head."""
    triangles = proxy.model.triangles
    normals = image_normals(proxy, raster)
    shading = np.where(raster.valid[..., None], light.light.shading(normals), 0)
    return interpolate(raster, triangles, light.albedo) * shading


def image_normals(proxy: Proxy, raster: ImageRaster) -> np.ndarray:
    """(H, W, 3) float32 unit normals in the model frame seen by each pixel; 0 beside the head."""
    normals = interpolate(raster, proxy.model.triangles, vertex_normals(proxy.vertices_mm, proxy.model.triangles))
    length = np.sqrt(np.einsum("ijk,ijk->ij", normals, normals))[..., None]
    return np.divide(normals, length, out=normals, where=length > 0)
