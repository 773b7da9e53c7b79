"""From a picture to a texture: every texel of a face model's charts takes its colour from where the camera saw it.

Three reasons keep a texel empty: something stands in front of it (z-buffer), the surface is seen at a grazing angle, or
the pixels around it belong in part to another surface or the background. The camera is a pair of functions, so an
affine camera and a perspective one both do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from .face_model import FaceModel
from .image_raster import rasterize_image
from .mesh_refine import vertex_normals
from .uv_charts import UvCharts, uv_charts

Points = Callable[[np.ndarray], np.ndarray]
"""A camera's function of points (N, 3) in mm."""


@dataclass(frozen=True, slots=True)
class UnwrapOptions:
    """What counts as seen."""

    least_facing: float = 0.2
    """Cosine between normal and view below which a texel stays empty: 0.2 is 78 degrees."""
    bias_mm: float = 0.15
    """A texel may lie this much behind the z-buffer, on top of what its slope explains."""
    margin_px: float = 1.0
    """Pixels of the picture around a texel that must belong to its own surface alone: pixels mix what they cover."""
    step_mm: float = 1.5
    """Another surface is one that lies this much behind the texel, on top of what the slope explains."""
    least_buffer_px: int = 768
    most_buffer_px: int = 2048
    """Longer side of the z-buffer over the head: follows the picture within these."""


@dataclass(frozen=True, slots=True)
class UvTexture:
    """A picture in the charts of a face model."""

    texture: np.ndarray
    """(S, S, C) float32, in the encoding of the picture; 0 where not visible."""
    visible: np.ndarray
    """(S, S) bool."""
    facing: np.ndarray
    """(S, S) float32 cosine between normal and direction to the camera; <= 0 turned away, 0 outside of the charts."""


def unwrap(
    image: np.ndarray,
    project: Points,
    depth_of: Points,
    model: FaceModel,
    vertices_mm: np.ndarray,
    size: int = 2048,
    *,
    charts: UvCharts | None = None,
    perspective: bool = False,
    options: UnwrapOptions | None = None,
) -> UvTexture:
    """Texture (size, size, C) of a shape seen in `image` (H, W, C) float32.

    project: (N, 3) mm to (N, 2) pixels, column and row, centres at integers. depth_of: (N, 3) mm to (N,) mm, larger is
    farther. perspective: `depth_of` is z > 0 along the optical axis. vertices_mm: (N, 3) in the frame that both take.
    charts: `uv_charts(model, size)`; give it for many pictures of one model. Where a texel covers several pixels
    their mean is taken, where it is smaller the picture is interpolated bilinearly.
    """
    options = options or UnwrapOptions()
    charts = charts or uv_charts(model, size)
    if charts.size != size:
        raise ValueError(f"charts of {charts.size} texels given for a map of {size}")
    vertices = np.asarray(vertices_mm, np.float64)
    pixels = np.ascontiguousarray(project(vertices), np.float64)
    depth = np.ascontiguousarray(depth_of(vertices), np.float64)
    facing = facing_of(vertices, model.triangles, project, depth_of)
    buffer = _depth_buffer(pixels, depth, model.triangles, perspective, options)
    slope = _depth_slopes(pixels, depth, model.triangles)
    level, picture = _fitting_level(image, charts, pixels, model.triangles)
    texture = np.zeros((size, size, picture.shape[2]), np.float32)
    visible, facing_map = np.zeros((size, size), bool), np.zeros((size, size), np.float32)
    _unwrap(
        charts.raster.triangle, charts.raster.barycentric, np.ascontiguousarray(model.triangles, np.int32),
        pixels, depth, facing.astype(np.float32), slope, perspective,
        buffer.depth, buffer.nearest, buffer.farthest, buffer.scale, buffer.origin, buffer.reach_px, buffer.around_px,
        options.bias_mm, options.step_mm, options.least_facing,
        picture, level, texture, visible, facing_map,
    )  # fmt: skip
    # Single texels that slipped through between two samples of the z-buffer are no surface.
    whole = cv2.morphologyEx(visible.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    texture[visible & ~whole] = 0
    return UvTexture(texture, whole, facing_map)


def facing_of(vertices_mm: np.ndarray, triangles: np.ndarray, project: Points, depth_of: Points) -> np.ndarray:
    """(N,) cosine between each vertex's normal and its direction to the camera; negative where it turns away.

    The direction is the one in which the pixel does not change and depth falls, so any camera will do.
    """
    vertices, step_mm = np.asarray(vertices_mm, np.float64), 0.01
    moved = [project(vertices + step_mm * axis) - project(vertices - step_mm * axis) for axis in np.eye(3)]
    gradients = np.stack(moved, -1)  # (N, 2, 3)
    towards = np.cross(gradients[:, 0], gradients[:, 1])
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-300)
    farther = depth_of(vertices + step_mm * towards) > depth_of(vertices)
    towards[farther] *= -1
    return np.einsum("ij,ij->i", vertex_normals(vertices, triangles), towards)


@dataclass(frozen=True, slots=True)
class _DepthBuffer:
    """Depth of the nearest surface over the head, and how far from a texel it may have been taken."""

    depth: np.ndarray
    """(h, w) float32 at each buffer pixel; -inf beside the head, so that nothing there counts as seen."""
    nearest: np.ndarray
    farthest: np.ndarray
    """(h, w) float32 within the margin."""
    scale: float
    """Buffer pixels per pixel of the picture."""
    origin: np.ndarray
    """(2,) pixel of the picture at the buffer's first one."""
    reach_px: float
    around_px: float
    """Pixels of the picture between a texel and the point it is compared to, at most: in `depth`, in the other two."""


def _depth_buffer(
    pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray, perspective: bool, options: UnwrapOptions
) -> _DepthBuffer:
    finite = np.isfinite(pixels).all(1) & np.isfinite(depth)
    used = np.unique(triangles)
    used = used[finite[used]]
    low, high = pixels[used].min(0), pixels[used].max(0)
    extent = max(float((high - low).max()), 1e-6)
    scale = float(np.clip(extent, options.least_buffer_px, options.most_buffer_px)) / extent
    radius = max(int(np.ceil(options.margin_px * scale - 1e-9)), 1)
    origin = low - (radius + 1) / scale
    width, height = (np.ceil((high - low) * scale).astype(int) + 2 * radius + 3).tolist()
    raster = rasterize_image((pixels - origin) * scale, depth, triangles, width, height, perspective=perspective)
    found = np.where(raster.valid, raster.depth, -np.inf).astype(np.float32)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    nearest, farthest = (f(found, window, borderType=cv2.BORDER_REPLICATE) for f in (cv2.erode, cv2.dilate))
    # Rounding to a buffer pixel adds up to 0.7; a quarter more, because a curved surface is steeper a step further.
    return _DepthBuffer(found, nearest, farthest, scale, origin, 1.25 * 0.7 / scale, 1.25 * (radius + 0.7) / scale)


def _depth_slopes(pixels: np.ndarray, depth: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(T,) how fast depth changes with the picture's pixels over each triangle, mm per px."""
    a, b, c = (triangles[:, k] for k in range(3))
    ab, ac = pixels[b] - pixels[a], pixels[c] - pixels[a]
    db, dc = depth[b] - depth[a], depth[c] - depth[a]
    area = ab[:, 0] * ac[:, 1] - ac[:, 0] * ab[:, 1]
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    dx, dy = (db * ac[:, 1] - dc * ab[:, 1]) / area, (dc * ab[:, 0] - db * ac[:, 0]) / area
    return np.hypot(dx, dy)


def _fitting_level(
    image: np.ndarray, charts: UvCharts, pixels: np.ndarray, triangles: np.ndarray
) -> tuple[float, np.ndarray]:
    """The picture, halved as often as a texel spans more than two pixels, and its size relative to the original.

    The kernel then averages what is left, up to four samples along each side of a texel.
    """
    picture = np.ascontiguousarray(image, np.float32)
    picture = picture[..., None] if picture.ndim == 2 else picture
    chosen = np.unique(charts.raster.triangle[charts.valid][::97])
    corners = pixels[triangles[chosen]]
    edges = corners[:, 1:] - corners[:, :1]
    in_picture = np.abs(np.linalg.det(edges)) / 2
    counts = np.bincount(charts.raster.triangle[charts.valid], minlength=len(triangles))[chosen]
    spans = np.sqrt(in_picture / np.maximum(counts, 1))  # pixels per texel
    spans, level = float(np.median(spans[np.isfinite(spans)])) if len(spans) else 1.0, 1.0
    while spans > 2 and min(picture.shape[:2]) >= 4:
        height, width = picture.shape[:2]
        even = picture[: height // 2 * 2, : width // 2 * 2]
        halved = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        picture = halved.reshape(height // 2, width // 2, picture.shape[2])
        spans, level = spans / 2, level / 2
    return level, np.ascontiguousarray(picture)


@numba.njit(cache=True, nogil=True, inline="always")
def _place(t, b1, b2, triangles, pixels, depth, perspective):
    """Pixel and depth of a surface point given by barycentric weights."""
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    w0, w1, w2 = 1.0 - b1 - b2, float(b1), float(b2)
    z = w0 * depth[i0] + w1 * depth[i1] + w2 * depth[i2]
    if perspective:
        w0, w1, w2 = w0 * depth[i0] / z, w1 * depth[i1] / z, w2 * depth[i2] / z
    x = w0 * pixels[i0, 0] + w1 * pixels[i1, 0] + w2 * pixels[i2, 0]
    y = w0 * pixels[i0, 1] + w1 * pixels[i1, 1] + w2 * pixels[i2, 1]
    return x, y, z


@numba.njit(cache=True, nogil=True, parallel=True)
def _unwrap(
    triangle, barycentric, triangles, pixels, depth, facing, slope, perspective,
    buffer, nearest, farthest, scale, origin, reach_px, around_px, bias_mm, step_mm, least_facing,
    picture, level, texture, visible, facing_map,
):  # fmt: skip
    size, channels = triangle.shape[0], texture.shape[2]
    height, width = picture.shape[0], picture.shape[1]
    for row in numba.prange(size):
        for column in range(size):
            t = triangle[row, column]
            if t < 0:
                continue
            b1, b2 = barycentric[row, column, 0], barycentric[row, column, 1]
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            cosine = (1 - b1 - b2) * facing[i0] + b1 * facing[i1] + b2 * facing[i2]
            facing_map[row, column] = cosine
            if not cosine >= least_facing:
                continue
            x, y, z = _place(t, b1, b2, triangles, pixels, depth, perspective)
            u, v = int(np.rint((x - origin[0]) * scale)), int(np.rint((y - origin[1]) * scale))
            if not (0 <= u < buffer.shape[1] and 0 <= v < buffer.shape[0]):
                continue
            rise_mm = around_px * slope[t]
            if z > buffer[v, u] + bias_mm + reach_px * slope[t] or z > nearest[v, u] + bias_mm + rise_mm:
                continue
            if farthest[v, u] > z + step_mm + rise_mm:
                continue
            # Halving moves pixel centres: full (x) lies at level * (x + 1/2) - 1/2.
            px, py = (x + 0.5) * level - 0.5, (y + 0.5) * level - 0.5
            if not (0.0 <= px <= width - 1.0 and 0.0 <= py <= height - 1.0):
                continue
            visible[row, column] = True
            # How far one texel to the right and one down moves in the picture: the triangle's own step.
            right, below = min(column + 1, size - 1), min(row + 1, size - 1)
            rx, ry, dx, dy = 0.0, 0.0, 0.0, 0.0
            if triangle[row, right] >= 0:
                nx, ny, _ = _place(
                    triangle[row, right], barycentric[row, right, 0], barycentric[row, right, 1],
                    triangles, pixels, depth, perspective,
                )  # fmt: skip
                rx, ry = (nx - x) * level, (ny - y) * level
            if triangle[below, column] >= 0:
                nx, ny, _ = _place(
                    triangle[below, column], barycentric[below, column, 0], barycentric[below, column, 1],
                    triangles, pixels, depth, perspective,
                )  # fmt: skip
                dx, dy = (nx - x) * level, (ny - y) * level
            across, down = np.sqrt(rx * rx + ry * ry), np.sqrt(dx * dx + dy * dy)
            if across > 16.0 or down > 16.0:  # the neighbour belongs to another chart
                across, down = 0.0, 0.0
            nr, nd = min(max(int(np.ceil(across - 0.05)), 1), 4), min(max(int(np.ceil(down - 0.05)), 1), 4)
            share = np.float32(1.0 / (nr * nd))
            for i in range(nr):
                for j in range(nd):
                    fr, fd = (i + 0.5) / nr - 0.5, (j + 0.5) / nd - 0.5
                    sx = min(max(px + fr * rx + fd * dx, 0.0), width - 1.0)
                    sy = min(max(py + fr * ry + fd * dy, 0.0), height - 1.0)
                    x0, y0 = min(int(sx), max(width - 2, 0)), min(int(sy), max(height - 2, 0))
                    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                    fx, fy = np.float32(sx - x0), np.float32(sy - y0)
                    for c in range(channels):
                        top = picture[y0, x0, c] + fx * (picture[y0, x1, c] - picture[y0, x0, c])
                        low = picture[y1, x0, c] + fx * (picture[y1, x1, c] - picture[y1, x0, c])
                        texture[row, column, c] += share * (top + fy * (low - top))
