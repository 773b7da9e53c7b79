"""Exact truth of a rendered view: every map by double-precision intersection of the pixel's ray with the mesh."""

from dataclasses import dataclass

import numpy as np

from ..capture.camera_model import PinholeCamera
from .face_model import FACE_REGIONS
from .head import VirtualHead
from .uv_raster import sample_uv


@dataclass(frozen=True, slots=True)
class SurfaceHits:
    """Where the rays through the pixel centres meet a mesh."""

    mask: np.ndarray
    """(H, W) bool."""
    triangle: np.ndarray
    """(K,) int64 triangle number of each hit pixel, row by row."""
    barycentric: np.ndarray
    """(K, 3) float64."""
    position_mm: np.ndarray
    """(K, 3) float64 world (head frame)."""

    def spread(self, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Values (K, ...) of the hit pixels as an image (H, W, ...) float32, `fill` elsewhere."""
        image = np.full((*self.mask.shape, *values.shape[1:]), fill, np.float32)
        image[self.mask] = values
        return image

    def blend(self, triangles: np.ndarray, per_vertex: np.ndarray) -> np.ndarray:
        """Interpolate (N, ...) vertex values at the hits: (K, ...) float64."""
        corners = per_vertex[triangles[self.triangle]]
        weights = self.barycentric.reshape(*self.barycentric.shape, *([1] * (corners.ndim - 2)))
        return (corners * weights).sum(1)


def intersect(
    camera: PinholeCamera, triangle: np.ndarray, vertices_mm: np.ndarray, triangles: np.ndarray
) -> SurfaceHits:
    """Intersect each pixel's ray with the triangle it is known to hit.

    Args:
        triangle: (H, W) int64 from `StudioScene.triangle_pass`, -1 for background.
        vertices_mm: (N, 3) float64; triangles: (T, 3).
    """
    candidates = np.flatnonzero(triangle >= 0)
    rows, columns = np.divmod(candidates, triangle.shape[1])
    hit = triangle.ravel()[candidates]
    direction = (
        np.stack(
            [(columns - camera.cx_px) / camera.fx_px, (rows - camera.cy_px) / camera.fy_px, np.ones(len(rows))], axis=1
        )
        @ camera.cam_from_world.rotation
    )
    a, b, c = (vertices_mm[triangles[hit, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    slope = (direction * normal).sum(1)
    # an inner side can only be seen where a ray slipped between two triangles: no surface there
    front = slope < 0
    candidates, hit = candidates[front], hit[front]
    direction, normal, slope = direction[front], normal[front], slope[front]
    a, b, c = a[front], b[front], c[front]
    depth = ((a - camera.centre_mm) * normal).sum(1) / slope
    position = camera.centre_mm + depth[:, None] * direction
    area2 = (normal * normal).sum(1)
    wa = (np.cross(b - position, c - position) * normal).sum(1) / area2
    wb = (np.cross(c - position, a - position) * normal).sum(1) / area2
    mask = np.zeros(triangle.size, bool)
    mask[candidates] = True
    return SurfaceHits(mask.reshape(triangle.shape), hit, np.stack([wa, wb, 1 - wa - wb], axis=1), position)


@dataclass(frozen=True, slots=True)
class ViewTruth:
    """Truth maps of one view, float32, NaN outside the head. Normals are in the camera frame (z < 0: to the viewer)."""

    depth_mm: np.ndarray
    """(H, W) along the optical axis."""
    position_mm: np.ndarray
    """(H, W, 3) in the head's world frame."""
    normal_cam: np.ndarray
    """(H, W, 3) of the detailed surface."""
    base_normal_cam: np.ndarray
    """(H, W, 3) of the base surface beneath the visible point."""
    displacement_mm: np.ndarray
    """(H, W) along the base normal."""
    albedo: np.ndarray
    """(H, W, 3) linear."""
    roughness: np.ndarray
    """(H, W)."""
    uv: np.ndarray
    """(H, W, 2) texture coordinates."""
    region: np.ndarray
    """(H, W) uint8, values of Region; 255 outside the head."""
    mask_face: np.ndarray
    """(H, W) bool: the regions in FACE_REGIONS."""
    mask_head: np.ndarray
    """(H, W) bool."""


def view_truth(camera: PinholeCamera, triangle: np.ndarray, head: VirtualHead) -> ViewTruth:
    """All truth maps of a view of `head` (undistorted camera in the head's frame)."""
    mesh = head.base
    hits = intersect(camera, triangle, head.detailed_mm, mesh.triangles)
    rotation = camera.cam_from_world.rotation

    def unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)

    uv = hits.blend(mesh.uv_triangles, mesh.uv.astype(np.float64))
    depth = hits.position_mm @ rotation[2] + camera.cam_from_world.translation_mm[2]
    corner = hits.barycentric.argmax(1)
    region = np.full(hits.mask.shape, 255, np.uint8)
    region[hits.mask] = head.regions[mesh.triangles[hits.triangle, corner]]
    return ViewTruth(
        depth_mm=hits.spread(depth),
        position_mm=hits.spread(hits.position_mm),
        normal_cam=hits.spread(unit(hits.blend(mesh.triangles, head.detailed_normals)) @ rotation.T),
        base_normal_cam=hits.spread(unit(hits.blend(mesh.triangles, head.base_normals)) @ rotation.T),
        displacement_mm=hits.spread(hits.blend(mesh.triangles, head.displacement_mm)),
        albedo=hits.spread(sample_uv(head.skin.albedo, uv)),
        roughness=hits.spread(sample_uv(head.skin.roughness, uv).reshape(-1)),
        uv=hits.spread(uv),
        region=region,
        mask_face=np.isin(region, [*FACE_REGIONS]),
        mask_head=hits.mask,
    )
