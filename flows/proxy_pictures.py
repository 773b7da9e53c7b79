"""Pictures of a fitted proxy over its photograph: overlay, textured, relit, as clay."""

from dataclasses import dataclass

import cv2
import numpy as np

from ..reconstruct.face_model import FACE_REGIONS
from ..reconstruct.image_raster import ImageRaster, rasterize_image
from ..reconstruct.landmarks import Landmarks
from ..reconstruct.photo import encoded_srgb
from ..reconstruct.proxy_fit import OUTLIER_WEIGHT, Proxy
from ..reconstruct.proxy_maps import ProxyMaps, image_normals, rerendered
from ..reconstruct.uv_render import render_texture
from .pictures import relief

CURVES = (
    (range(0, 17), False), (range(17, 22), False), (range(22, 27), False), (range(27, 31), False),
    (range(31, 36), False), (range(36, 42), True), (range(42, 48), True), (range(48, 60), True), (range(60, 68), True),
)  # fmt: skip
"""Landmarks that are one line (0-based), and whether it closes."""
GIVEN, FITTED, WRONG = (60, 255, 90), (0, 225, 255), (255, 60, 60)
"""Colours: landmarks as given, the fitted proxy, landmarks left out of the fit."""
MARGIN = 0.25
STEP_MM = 6.0
"""A jump in depth that counts as an edge of the mesh."""


@dataclass(frozen=True, slots=True)
class View:
    """The part of the photograph around a face, at a size for looking at."""

    photo: np.ndarray
    """(h, w, 3) float32 sRGB."""
    raster: ImageRaster
    scale: float
    corner_px: np.ndarray
    """(2,) outer corner of the part in the photograph, pixels."""

    def place(self, points_px: np.ndarray) -> np.ndarray:
        """Pixels of the photograph in the view."""
        return (points_px + 0.5 - self.corner_px) * self.scale - 0.5


def face_view(image_srgb: np.ndarray, proxy: Proxy, landmarks: Landmarks, longest_px: int = 720) -> View:
    """The face with a margin; larger faces are shrunk, small ones enlarged up to four times."""
    pixels = proxy.view_camera.project(proxy.vertices_mm)
    face = pixels[np.isin(proxy.model.regions, FACE_REGIONS)]
    points = np.concatenate([face if len(face) else pixels, landmarks.points_px[landmarks.known]])
    low, high = points.min(0), points.max(0)
    margin = MARGIN * float((high - low).max())
    height, width = image_srgb.shape[:2]
    left, top = np.clip(np.floor(low - margin), 0, [width - 2, height - 2]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + margin), [left + 2, top + 2], [width, height]).astype(int).tolist()
    part = image_srgb[top:bottom, left:right]
    scale = min(longest_px / max(part.shape[:2]), 4.0)
    size = (max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = np.clip(cv2.resize(part, size, interpolation=method), 0, 1)
    corner = np.array([left, top], np.float64)
    placed = (pixels + 0.5 - corner) * scale - 0.5
    depth = proxy.view_camera.depth(proxy.vertices_mm)
    near = proxy.perspective is not None
    return View(photo, rasterize_image(placed, depth, proxy.model.triangles, *size, perspective=near), scale, corner)


def overlay(view: View, proxy: Proxy, landmarks: Landmarks) -> np.ndarray:
    """(h, w, 3) uint8: outline and features of the proxy in cyan, landmarks green, ones left out red."""
    picture = np.ascontiguousarray(np.rint(view.photo * 255), np.uint8)
    edges = mesh_edges(view.raster)
    picture[edges] = (0.35 * picture[edges] + 0.65 * np.array(FITTED)).astype(np.uint8)
    model = proxy.model
    known = model.landmarks >= 0
    fitted = np.full((68, 2), np.nan)
    fitted[known] = view.place(proxy.view_camera.project(proxy.vertices_mm[model.landmarks[known]]))
    for numbers, closed in CURVES[1:]:
        points = fitted[list(numbers)]
        points = points[np.isfinite(points).all(1)]
        if len(points) > 1:
            cv2.polylines(picture, [_fixed(points)], closed, FITTED, 1, cv2.LINE_AA, _SHIFT)
    given = view.place(landmarks.points_px)
    trust = np.ones(68) if proxy.landmark_weights is None else proxy.landmark_weights
    radius = max(2, round(min(picture.shape[:2]) / 220))
    for point, residual, weight in zip(given, proxy.residuals_px, trust, strict=True):
        if np.isfinite(point).all():
            colour = WRONG if np.isfinite(residual) and weight < OUTLIER_WEIGHT else GIVEN
            centre = tuple(_fixed(point).tolist())
            cv2.circle(picture, centre, (radius + 1) << _SHIFT, (0, 0, 0), -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(picture, centre, radius << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)
    return picture


def mesh_edges(raster: ImageRaster) -> np.ndarray:
    """(h, w) bool: pixels of the mesh beside the background, or in front of something farther."""
    depth = np.where(raster.valid, raster.depth, np.inf)
    behind = cv2.dilate(np.where(raster.valid, depth, 1e9).astype(np.float32), np.ones((3, 3), np.uint8))
    return raster.valid & (behind - np.where(raster.valid, depth, 0) > STEP_MM)


def textured(view: View, proxy: Proxy, maps: ProxyMaps) -> np.ndarray:
    """(h, w, 3) uint8: the proxy with its texture over a darkened photograph; unseen texels filled in."""
    return _over(view, render_texture(maps.filled, view.raster, proxy.model))


def relit(view: View, proxy: Proxy, maps: ProxyMaps) -> np.ndarray:
    """(h, w, 3) uint8: albedo under the estimated light, Eq. 14."""
    return _over(view, encoded_srgb(rerendered(proxy, maps.light, view.raster)))


def light_ball(maps: ProxyMaps, proxy: Proxy, size: int = 200) -> np.ndarray:
    """(size, size, 3) uint8: a white ball in the estimated light, seen as the face is."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)
    inside = x**2 + y**2 <= 0.96
    cam = np.stack([x, y, -np.sqrt(np.maximum(1 - x**2 - y**2, 0))], -1)
    shading = maps.light.light.shading(cam @ proxy.view_camera.rotation)
    bright = float(np.percentile(shading[inside], 98))
    ball = np.where(inside[..., None], encoded_srgb(0.9 * shading / max(bright, 1e-9)), 1.0)
    return np.rint(ball * 255).astype(np.uint8)


def clay(view: View, proxy: Proxy) -> np.ndarray:
    """(h, w, 3) uint8: the shape alone under a raking light."""
    normals = image_normals(proxy, view.raster) @ proxy.view_camera.rotation.T.astype(np.float32)
    normals[~view.raster.valid] = np.nan
    return relief(normals)


def photo_picture(view: View) -> np.ndarray:
    """(h, w, 3) uint8: the photograph's part."""
    return np.rint(view.photo * 255).astype(np.uint8)


_SHIFT = 4
"""Fractional bits of OpenCV's drawing."""


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(points, -1e5, 1e5) * (1 << _SHIFT)).astype(np.int32)


def _over(view: View, picture: np.ndarray) -> np.ndarray:
    mixed = np.where(view.raster.valid[..., None], np.clip(picture, 0, 1), 0.25 * view.photo)
    return np.rint(mixed * 255).astype(np.uint8)
