"""A face lit in its own charts: what an unwrapped photograph of it would hold, without rendering one.

A portrait takes the ray tracer a minute; training wants thousands of lit patches with exact displacement. Here every
texel of the charts is shaded under an environment's lamps with its fine normal, the shadow of the head (a depth map
per lamp), the shadow of its own relief (a march over the displacement map), scattering in the skin and a highlight.
What it leaves out against the ray tracer: light from skin to skin is a constant, and lamps stand for soft light.
"""

from dataclasses import dataclass

import cv2
import numba
import numpy as np

from .environment_lamps import DistantLamps
from .face_model import FaceModel
from .image_raster import rasterize_image
from .surface_filter import scatter
from .uv_charts import UvCharts, normal_map, position_map

SHADOW_PX = 256
BIAS_MM = 1.5
"""A texel this much behind a lamp's depth map is still lit: the map's pixels are about a millimetre."""
MARCH_MM = (0.4, 0.8, 1.5, 2.5, 4.0)
"""Where the relief is asked whether it hides a lamp, along the surface towards it."""
SOFTNESS = 0.15
"""Width of a relief shadow's edge, in slope: lamps stand for patches of light."""
SPECULAR = 0.028
"""Reflectance of skin at normal incidence."""
BOUNCE = 0.35
"""What a direction that the head blocks still sends, as a share of the mean irradiance over pi times the albedo."""


@dataclass(frozen=True, eq=False)
class UvFace:
    """Everything of a face that light needs, in charts of S x S texels."""

    position_mm: np.ndarray
    """(S, S, 3) float32 base surface, model frame."""
    normal: np.ndarray
    """(S, S, 3) float32 unit normals of the base surface."""
    fine_normal: np.ndarray
    """(S, S, 3) float32 unit normals with displacement."""
    displacement_mm: np.ndarray
    """(S, S) float32."""
    albedo: np.ndarray
    """(S, S, 3) float32 linear."""
    roughness: np.ndarray
    """(S, S) float32."""
    columns_per_mm: np.ndarray
    """(S, S, 3) float32: how a step in mm on the surface moves in the map; dot product with it gives columns."""
    rows_per_mm: np.ndarray
    """(S, S, 3) float32."""
    texel_mm: float
    valid: np.ndarray
    """(S, S) bool: inside of the charts."""
    vertices_mm: np.ndarray
    triangles: np.ndarray


def uv_face(
    model: FaceModel,
    charts: UvCharts,
    vertices_mm: np.ndarray,
    displacement_mm: np.ndarray,
    albedo: np.ndarray,
    roughness: np.ndarray,
    texel_mm: float,
) -> UvFace:
    """Put a face together: `vertices_mm` (N, 3) of its base shape, maps (S, S), (S, S, 3), (S, S) of its skin."""
    position, normal = position_map(charts, model, vertices_mm), normal_map(charts, model, vertices_mm)
    along_column, along_row = _steps_mm(position)
    columns, rows = _dual(along_column, along_row)
    slope_column = _central(displacement_mm, 1)
    slope_row = _central(displacement_mm, 0)
    fine = normal - slope_column[..., None] * columns - slope_row[..., None] * rows
    fine /= np.maximum(np.linalg.norm(fine, axis=-1, keepdims=True), 1e-6)
    return UvFace(
        position, normal, fine.astype(np.float32), displacement_mm, albedo, roughness, columns, rows, texel_mm,
        charts.valid, np.asarray(vertices_mm, np.float64), model.triangles,
    )  # fmt: skip


def relight(face: UvFace, lamps: DistantLamps, towards: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32 linear radiance of the texels `wanted` (S, S) bool, seen by a distant camera; 0 elsewhere.

    towards: (3,) unit, from the face to the camera, model frame. Light power as of `environment_lamps`: a white matte
    surface in a room of radiance 1 has radiance 1.
    """
    irradiance = np.zeros((*wanted.shape, 3), np.float32)
    highlight = np.zeros((*wanted.shape, 3), np.float32)
    mean = lamps.power.sum(0) / 4  # irradiance over all directions
    skin = face.albedo[wanted].mean(0)
    for lamp in range(len(lamps.directions)):
        direction = lamps.directions[lamp]
        depth, scale, origin, axes = _shadow_map(face, direction)
        bounce = BOUNCE * skin * mean / np.pi * lamps.solid_angle[lamp]
        _shade(
            wanted, face.position_mm, face.normal, face.fine_normal, face.displacement_mm, face.roughness,
            face.columns_per_mm, face.rows_per_mm, direction.astype(np.float32),
            lamps.power[lamp].astype(np.float32), bounce.astype(np.float32), towards.astype(np.float32),
            depth, scale, origin, axes, np.array(MARCH_MM, np.float32), irradiance, highlight,
        )  # fmt: skip
    weight = wanted.astype(np.float32)
    blurred = scatter(irradiance, weight, face.position_mm, face.texel_mm)
    return np.where(wanted[..., None], face.albedo * blurred / np.pi + highlight, 0).astype(np.float32)


def seen_from(face: UvFace, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texels (S, S) bool that a distant camera in direction `towards` (3,) sees, and by which cosine (S, S)."""
    facing = np.einsum("ijk,k->ij", face.normal, towards.astype(np.float32))
    depth, scale, origin, axes = _shadow_map(face, np.asarray(towards, np.float64))
    free = np.zeros(facing.shape, np.float32)
    _free(face.valid & (facing > 0), face.position_mm, facing, depth, scale, origin, axes, free)
    return free > 0.99, facing


def _shadow_map(face: UvFace, direction: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Depth of the base shape seen from a lamp, and how points get there: pixel = scale * (axes @ point) - origin."""
    helper = np.eye(3)[int(np.argmin(np.abs(direction)))]
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, direction), -direction])  # right, down, away from the lamp
    seen = face.vertices_mm @ axes.T
    low, high = seen[:, :2].min(0), seen[:, :2].max(0)
    scale = (SHADOW_PX - 5) / float((high - low).max())
    origin = low * scale - 2
    raster = rasterize_image(seen[:, :2] * scale - origin, seen[:, 2], face.triangles, SHADOW_PX, SHADOW_PX)
    depth = np.where(raster.triangle >= 0, raster.depth, np.float32(1e9)).astype(np.float32)
    return depth, scale, origin, axes


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade(wanted, position, normal, fine, height, roughness, columns, rows, direction, power, bounce, towards,
           depth, scale, origin, axes, march, irradiance, highlight):  # fmt: skip
    size = wanted.shape[0]
    half = np.empty(3, np.float32)
    for r in range(size):
        for c in range(size):
            if not wanted[r, c]:
                continue
            cosine = 0.0
            base = 0.0
            for k in range(3):
                cosine += fine[r, c, k] * direction[k]
                base += normal[r, c, k] * direction[k]
            if cosine <= 0.0:
                continue
            lit = _coarse_light(position[r, c], depth, scale, origin, axes, base)
            if lit > 0.0:
                lit *= _relief_light(r, c, height, columns[r, c], rows[r, c], direction, base, march)
            for k in range(3):
                irradiance[r, c, k] += cosine * (lit * power[k] + (1.0 - lit) * bounce[k])
            if lit <= 0.0:
                continue
            facing = 0.0
            for k in range(3):
                half[k] = direction[k] + towards[k]
                facing += fine[r, c, k] * towards[k]
            length = np.sqrt(half[0] ** 2 + half[1] ** 2 + half[2] ** 2)
            if facing <= 0.02 or length < 1e-3:
                continue
            upright, glancing = 0.0, 0.0
            for k in range(3):
                upright += fine[r, c, k] * half[k] / length
                glancing += towards[k] * half[k] / length
            value = _ggx(upright, glancing, cosine, facing, roughness[r, c]) * cosine * lit
            for k in range(3):
                highlight[r, c, k] += value * power[k]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _free(wanted, position, facing, depth, scale, origin, axes, out):
    for r in range(wanted.shape[0]):
        for c in range(wanted.shape[1]):
            if wanted[r, c]:
                out[r, c] = _coarse_light(position[r, c], depth, scale, origin, axes, facing[r, c])


@numba.njit(cache=True, nogil=True, fastmath=True)
def _ggx(upright, glancing, cosine, facing, roughness):
    """Cook-Torrance with GGX (Walter et al., 2007), Schlick's Fresnel term and Smith-Schlick shadowing."""
    alpha2 = max(roughness, 0.08) ** 4
    bottom = upright * upright * (alpha2 - 1.0) + 1.0
    spread = alpha2 / (np.pi * bottom * bottom)
    fresnel = SPECULAR + (1.0 - SPECULAR) * (1.0 - max(glancing, 0.0)) ** 5
    k = max(roughness, 0.08) ** 2 / 2.0
    shadow = 1.0 / ((cosine * (1.0 - k) + k) * (facing * (1.0 - k) + k))
    return spread * fresnel * shadow / 4.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _coarse_light(point, depth, scale, origin, axes, base):
    """Share of four neighbouring pixels of the depth map that the head leaves free, bilinear."""
    u, v, away = -origin[0], -origin[1], 0.0
    for k in range(3):
        u += scale * axes[0, k] * point[k]
        v += scale * axes[1, k] * point[k]
        away += axes[2, k] * point[k]
    iu, iv = int(np.floor(u)), int(np.floor(v))
    if iu < 0 or iv < 0 or iu >= depth.shape[1] - 1 or iv >= depth.shape[0] - 1:
        return 1.0
    fu, fv = u - iu, v - iv
    # a surface seen at a grazing angle changes depth by more than the bias within a pixel
    slack = BIAS_MM + min(1.0 / max(base, 0.1), 8.0) / scale
    free = 0.0
    for du in range(2):
        for dv in range(2):
            weight = (fu if du else 1.0 - fu) * (fv if dv else 1.0 - fv)
            if depth[iv + dv, iu + du] > away - slack:
                free += weight
    return free


@numba.njit(cache=True, nogil=True, fastmath=True)
def _relief_light(r, c, height, column, row, direction, base, march):
    """What the relief on the way to the lamp leaves of its light."""
    per_column, per_row, lateral2 = 0.0, 0.0, 1.0 - base * base
    for k in range(3):
        per_column += column[k] * direction[k]
        per_row += row[k] * direction[k]
    lateral = np.sqrt(max(lateral2, 1e-6))
    slope = base / lateral  # height gained per mm on the surface
    if slope > 3.0:
        return 1.0
    size = height.shape[0]
    here, least = height[r, c], 1.0
    for step in march:
        x, y = c + per_column * step / lateral, r + per_row * step / lateral
        ix, iy = int(np.floor(x)), int(np.floor(y))
        if ix < 0 or iy < 0 or ix >= size - 1 or iy >= size - 1:
            break
        fx, fy = x - ix, y - iy
        there = (height[iy, ix] * (1 - fx) + height[iy, ix + 1] * fx) * (1 - fy) + (
            height[iy + 1, ix] * (1 - fx) + height[iy + 1, ix + 1] * fx
        ) * fy
        hidden = ((there - here) / step - slope) / SOFTNESS + 0.5
        least = min(least, 1.0 - min(max(hidden, 0.0), 1.0))
    return least


def _steps_mm(position_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mm that one column and one row move on the surface, (S, S, 3) each."""
    smooth = cv2.GaussianBlur(position_mm, (0, 0), 1.0)
    return np.gradient(smooth, axis=1).astype(np.float32), np.gradient(smooth, axis=0).astype(np.float32)


def _dual(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose dot product with a step on the surface gives its columns and rows."""
    aa, ab, bb = (np.einsum("ijk,ijk->ij", p, q) for p, q in ((a, a), (a, b), (b, b)))
    area = np.maximum(aa * bb - ab * ab, 1e-8)[..., None]
    return (
        ((bb[..., None] * a - ab[..., None] * b) / area).astype(np.float32),
        ((aa[..., None] * b - ab[..., None] * a) / area).astype(np.float32),
    )


def _central(values: np.ndarray, axis: int) -> np.ndarray:
    """Central differences per texel."""
    return np.gradient(values, axis=axis).astype(np.float32)
