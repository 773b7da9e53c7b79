"""A reconstructed scan in the texture space of a face model: registered through the multi-view proxy (section 4.2).

1 fit the face model to the landmarks of the uniform views          reconstruct/proxy_multiview.py
  and, within the model, to the scan's depth and its normals        reconstruct/proxy_depth.py, proxy_normals.py
2 lay the fitted mesh onto the scan's depth                         reconstruct/proxy_refine.py
3 take off what the mesh itself has of the displacement's band      proxy_share_mm
4 look up texture, displacement and trust of every texel            reconstruct/uv_unwrap.py

A scan's displacement lies above a surface that is smooth below 22 mm, so the nose and the folds of an expression are in
it. The proxy has those already: the same two solves of Eq. 9, of the proxy seen by the same camera, say how much, and
what is left is what has to be added to the proxy (Eq. 11).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..reconstruct.displacement import Preset, geometry_pair
from ..reconstruct.face_model import FACE_REGIONS, FaceModel, Region
from ..reconstruct.image_raster import rasterize_image
from ..reconstruct.landmarks import Landmarks
from ..reconstruct.mesh_refine import vertex_normals
from ..reconstruct.proxy_depth import fit_to_depth
from ..reconstruct.proxy_multiview import MultiviewProxy, fit_multiview
from ..reconstruct.proxy_normals import measured_normals
from ..reconstruct.proxy_refine import RefinedMesh, RefineOptions, refine_to_depth
from ..reconstruct.uv_charts import UvCharts, normal_map, position_map, uv_charts
from ..reconstruct.uv_raster import UvRaster, interpolate
from ..reconstruct.uv_unwrap import UnwrapOptions, unwrap
from .face_areas import SKIN_REGIONS, region_map
from .uv_maps import FaceSource, UvMaps, texel_length_mm

COARSEST_MM = 1.2
"""Pixel on the face up to which depth places the model better than landmarks do: at 0.9 mm it takes their error from
1.5 to 0.6 mm, at 1.8 mm it adds to it."""
FITTED_MM = 50.0
"""A model fitted to the depth is right above this wavelength: rounds of the refinement with a longer cut-off are left
out, and so are repeated ones."""


@dataclass(frozen=True, slots=True)
class RegistrationOptions:
    """Choices of the registration."""

    size: int = 2048
    texture: Literal["diffuse", "uniform"] = "diffuse"
    """The mean of the separated flashes without highlights, or the picture in uniform light."""
    regions: tuple[int, ...] = tuple(int(region) for region in SKIN_REGIONS)
    """Texels of other regions are not valid: brows, lashes, nostrils and lips are no skin relief."""
    least_facing: float = 0.35
    """Cosine between normal and view: 70 degrees."""
    least_confidence: float = 0.1
    """Of the photometric normals."""
    border_texels: int = 4
    """Of 2048, taken off the rim of what is seen."""
    less_proxy: bool = True
    """Take off what the proxy itself has of the displacement's band."""
    refine: RefineOptions = field(default_factory=lambda: RefineOptions(lowpass_sigma_mm=0.0))
    """How the fitted mesh is laid onto the depth."""


@dataclass(frozen=True, eq=False)
class ScanViews:
    """What of a reconstructed scan is registered; images are those of the centre camera.

    displacement_mm, confidence, start_mm (H, W) float32; mask (H, W) bool; texture_linear (H, W, 3) float32. start_mm:
    the scan's depth, lightly smoothed, from which the displacement was made with this preset. normals_camera (H, W, 3)
    float32: measured, in camera axes, NaN where unknown; `confidence` is theirs.
    """

    cameras: Mapping[str, PinholeCamera]
    centre: str
    landmarks: Mapping[str, Landmarks]
    depth_confidence: np.ndarray
    displacement_mm: np.ndarray
    mask: np.ndarray
    confidence: np.ndarray
    texture_linear: np.ndarray
    start_mm: np.ndarray
    preset: Preset
    normals_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class Registration:
    """The maps, and how the proxy came to lie."""

    maps: UvMaps
    proxy: MultiviewProxy
    refined: RefinedMesh
    warnings: tuple[str, ...]


def register_scan(
    model: FaceModel,
    views: ScanViews,
    source: FaceSource,
    options: RegistrationOptions | None = None,
    *,
    charts: UvCharts | None = None,
) -> Registration:
    """Maps of a scan; `charts` of the model at this size may be given, they cost seconds.

    Raises UserError when landmarks are missing or nothing of the face is seen.
    """
    options = options or RegistrationOptions()
    charts = charts or uv_charts(model, options.size)
    camera = views.cameras[views.centre]
    proxy = fit_multiview(model, views.cameras, views.landmarks)
    face = np.isin(model.regions, FACE_REGIONS)
    pixel_mm, refine = float(np.nanmedian(views.start_mm)) / camera.fx_px, options.refine
    if pixel_mm < COARSEST_MM:
        normals = measured_normals(views.normals_camera, views.confidence, camera, pixel_mm)
        proxy = fit_to_depth(
            proxy, camera, views.start_mm, confidence=views.depth_confidence, movable=face, normals=normals
        )
        finer = tuple(cutoff for cutoff in dict.fromkeys(refine.cutoffs_mm) if cutoff <= FITTED_MM)
        refine = replace(refine, cutoffs_mm=finer or refine.cutoffs_mm[-1:])
    refined = refine_to_depth(
        proxy.vertices_world_mm, model.triangles, camera, views.start_mm, confidence=views.depth_confidence,
        movable=face, options=refine,
    )  # fmt: skip
    height_mm = views.displacement_mm
    if options.less_proxy:
        height_mm = height_mm - proxy_share_mm(model, refined.vertices_mm, camera, views)
    known = views.mask & np.isfinite(height_mm)
    layers = np.dstack(
        [
            np.where(known, height_mm, 0), known.astype(np.float32),
            np.where(known, views.confidence, 0), np.nan_to_num(views.texture_linear),
        ]
    ).astype(np.float32)  # fmt: skip
    seen = unwrap(
        layers, lambda points: camera.project(points)[0], lambda points: camera.project(points)[1], model,
        refined.vertices_mm, options.size, charts=charts, perspective=True,
        options=UnwrapOptions(least_facing=options.least_facing),
    )  # fmt: skip
    share = seen.texture[..., 1]
    region = region_map(model, options.size, charts.raster)
    valid = (
        seen.visible & (share > 0.98) & (seen.texture[..., 2] > options.least_confidence * share)
        & np.isin(region, options.regions)
    )  # fmt: skip
    border = max(round(options.border_texels * options.size / 2048), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * border + 1, 2 * border + 1))
    valid = cv2.erode(valid.astype(np.uint8), kernel, borderValue=0) > 0
    if not valid.any():
        raise UserError(
            f"{source.scan}: no texel of the face is seen and sure; look at the scan's reconstruction report"
        )
    displacement = np.where(valid, seen.texture[..., 0] / np.maximum(share, 1e-6), 0).astype(np.float32)
    vertices = in_model_frame(proxy, refined.vertices_mm)
    position, normal = position_map(charts, model, vertices), normal_map(charts, model, vertices)
    maps = UvMaps(
        source, np.clip(seen.texture[..., 3:], 0, None).astype(np.float32), displacement, position, normal, valid,
        region, max(texel_length_mm(position, valid), 1e-6),
    )  # fmt: skip
    return Registration(maps, proxy, refined, _warnings(proxy, refined, valid, region))


def proxy_share_mm(
    model: FaceModel, vertices_world_mm: np.ndarray, camera: PinholeCamera, views: ScanViews
) -> np.ndarray:
    """(H, W) float32: the displacement that the same solves give for the proxy; NaN where it is not seen."""
    pixels, depth = camera.project(vertices_world_mm)
    raster = rasterize_image(
        pixels, depth, model.triangles, camera.width_px, camera.height_px, perspective=True, cull_back=True
    )
    normals = vertex_normals(vertices_world_mm, model.triangles) @ camera.cam_from_world.rotation.T
    seen = interpolate(UvRaster(raster.triangle, raster.barycentric), model.triangles, normals)
    length = np.linalg.norm(seen, axis=-1, keepdims=True)
    there = views.mask & (raster.triangle >= 0)
    normal = np.where(there[..., None] & (length > 0.1), seen / np.maximum(length, 1e-6), np.nan).astype(np.float32)
    return geometry_pair(normal, there, views.start_mm, camera, views.preset).displacement_mm


def in_model_frame(proxy: MultiviewProxy, world_mm: np.ndarray) -> np.ndarray:
    """(N, 3) float64 of world points (N, 3)."""
    return proxy.world_from_model.inverse().apply(world_mm)


def correspondence_error_mm(maps: UvMaps, pixels: np.ndarray, true_uv: np.ndarray) -> np.ndarray:
    """(M,) mm along the surface between each valid texel and the texel that truly lies where it was looked up.

    pixels (S, S, 2): where the registration looked; true_uv (H, W, 2): the true UV of every pixel of that picture.
    """
    from ..reconstruct.uv_raster import texel_from_uv

    height, width = true_uv.shape[:2]
    column, row = np.rint(pixels[maps.valid]).astype(np.int64).T
    uv = true_uv[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    rows, columns = np.nonzero(maps.valid)
    truly = texel_from_uv(uv, maps.size)
    distance = np.hypot(truly[:, 0] - columns, truly[:, 1] - rows)
    return (distance * maps.texel_mm)[np.isfinite(distance)]


def _warnings(proxy: MultiviewProxy, refined: RefinedMesh, valid: np.ndarray, region: np.ndarray) -> tuple[str, ...]:
    told = list(proxy.warnings)
    if refined.distance_after_mm > 0.5:
        told.append(f"the face model stays {refined.distance_after_mm:.1f} mm (median) off the scan's surface")
    for label in (Region.FOREHEAD, Region.CHEEK_LEFT, Region.CHEEK_RIGHT):
        whole = int((region == label).sum())
        share = int((valid & (region == label)).sum()) / max(whole, 1)
        if whole and share < 0.3:
            told.append(f"only {100 * share:.0f} % of the {label.name.lower().replace('_', ' ')} can be used")
    return tuple(told)


def with_regions(options: RegistrationOptions, *, lips: bool, brows: bool, eyelids: bool) -> RegistrationOptions:
    """The same options with regions switched on that are left out by default."""
    more = {
        (Region.LIP_UPPER, Region.LIP_LOWER): lips,
        (Region.BROW_LEFT, Region.BROW_RIGHT): brows,
        (Region.EYELID_LEFT, Region.EYELID_RIGHT): eyelids,
    }
    added = tuple(int(region) for regions, wanted in more.items() if wanted for region in regions)
    return replace(options, regions=tuple(dict.fromkeys((*options.regions, *added))))
