"""A face model thinned out for small pictures: what the fast portraits draw, prepared once per model.

Vertices that lie in one cell of a grid (1.5 to 10 mm, finest about eyes and mouth) are merged, so a head has some
7,000 vertices instead of 60,000; a picture of 100-200 pixels shows no difference. Vertices that
part when the mouth opens stay apart: lips which touch at rest are not glued together.
"""

from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel, Region
from .fast_portrait_marks import contour_candidates, hair_fields
from .fast_portrait_teeth import add_teeth
from .image_raster import rasterize_image

CELL_MM = {
    Region.EYELID_RIGHT: 1.5, Region.EYELID_LEFT: 1.5, Region.EYEBALL_RIGHT: 2.2, Region.EYEBALL_LEFT: 2.2,
    Region.LIP_UPPER: 2.0, Region.LIP_LOWER: 2.0, Region.NOSE: 2.8, Region.PERIORAL: 3.2, Region.MOUTH_INTERIOR: 4.5,
    Region.EAR_RIGHT: 4.0, Region.EAR_LEFT: 4.0, Region.SCALP: 10.0, Region.NECK: 10.0, Region.OTHER: 8.0,
}  # fmt: skip
"""Grid cells by region; the others have `DEFAULT_CELL_MM`."""
DEFAULT_CELL_MM = 4.2
_OPENED_CELL_MM = 8.0
_EYES = (Region.EYEBALL_RIGHT, Region.EYEBALL_LEFT)


@dataclass(frozen=True, slots=True)
class RenderMesh:
    """A thinned face model with everything a picture needs that doesn't change from picture to picture."""

    identity_count: int
    mean_mm: np.ndarray
    """(V + P, 3) float32: the V drawn vertices, then the P points of `point_rows`."""
    basis_mm: np.ndarray
    """(Ki + Ke, 3 (V + P)) float32."""
    vertex_count: int
    """V."""
    triangles: np.ndarray
    """(T, 3) int32."""
    corner_uv: np.ndarray
    """(T, 3, 2) float32 texture coordinates, origin bottom-left."""
    skin_uv: np.ndarray
    """(T,) bool: painted by the skin texture; the others (mouth, teeth) by `colour`."""
    colour: np.ndarray
    """(V, 3) float32 linear RGB of the model."""
    occlusion: np.ndarray
    """(V,) float32 in [0, 1]: the share of the sky that a vertex sees."""
    gloss: np.ndarray
    """(V,) float32 1 on eyeballs and teeth, 0.5 on lips, 0.3 on skin."""
    normals: np.ndarray
    """(V, 3) float32 of the mean face."""
    hair_front_mm: np.ndarray
    """(V,) float32 height above the hairline on the front of the head; -1e3 where hair never grows."""
    hair_side_mm: np.ndarray
    """(V,) float32 depth behind the line where hair begins at the temples."""
    eyes: tuple[np.ndarray, ...]
    """Drawn vertices of each eyeball (right, left); empty arrays where a model has none."""
    contour: np.ndarray
    """(17, C) int32 rows of candidates for the visible outline beside the jaw landmarks, the landmark first."""
    landmark_known: np.ndarray
    """(68,) bool. Rows V..V+67 of `mean_mm` are the landmarks."""

    def shape_mm(self, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """(V + P, 3) float32 mm for all coefficients of identity and expression."""
        alpha, beta = np.asarray(alpha, np.float32), np.asarray(beta, np.float32)
        shape = self.mean_mm.ravel() + alpha @ self.basis_mm[: self.identity_count]
        for row in np.flatnonzero(beta):  # most units rest in most faces
            shape += beta[row] * self.basis_mm[self.identity_count + row]
        return shape.reshape(-1, 3)


def build_render_mesh(model: FaceModel) -> RenderMesh:
    """Thin out `model`, find its outline candidates and hair, and measure how much sky each vertex sees."""
    keep, triangles, corner_uv = _thinned(model)
    regions = model.regions[keep]
    identity, expression = model.identity_mm[:, keep], model.expression_mm[:, keep]
    mean, colour = model.mean_mm[keep], model.albedo_mean[keep].astype(np.float32)
    skin_uv = np.asarray((regions != Region.MOUTH_INTERIOR)[triangles].all(1))
    teeth = add_teeth(model)
    if teeth is not None:
        triangles = np.concatenate([triangles, teeth.triangles + len(mean)])
        corner_uv = np.concatenate([corner_uv, np.zeros((len(teeth.triangles), 3, 2), np.float32)])
        skin_uv = np.concatenate([skin_uv, np.zeros(len(teeth.triangles), bool)])
        mean, colour = np.concatenate([mean, teeth.mean_mm]), np.concatenate([colour, teeth.colour])
        identity = np.concatenate([identity, teeth.identity_mm], 1)
        expression = np.concatenate([expression, teeth.expression_mm], 1)
        regions = np.concatenate([regions, np.full(len(teeth.mean_mm), Region.MOUTH_INTERIOR, np.uint8)])
    normals = mesh_normals(mean, triangles)
    occlusion = _sky_share(mean, triangles, normals)
    inside = regions == Region.MOUTH_INTERIOR
    # A closed mouth would be black; opened it is dim, teeth less so.
    occlusion[inside] = np.where(colour[inside].min(1) > 0.3, 0.7, 0.3)
    gloss = np.full(len(mean), 0.3, np.float32)
    gloss[np.isin(regions, (Region.LIP_UPPER, Region.LIP_LOWER))] = 0.5
    gloss[np.isin(regions, _EYES) | (inside & (colour.min(1) > 0.3))] = 1.0
    front, side = hair_fields(model, mean, regions)
    candidates = contour_candidates(model)
    points = np.concatenate([np.maximum(model.landmarks, 0), candidates[:, 1:].ravel()])
    rows = len(mean) + 68 + np.arange(17 * (candidates.shape[1] - 1)).reshape(17, -1)
    modes = np.concatenate([
        np.concatenate([identity, model.identity_mm[:, points]], 1),
        np.concatenate([expression, model.expression_mm[:, points]], 1),
    ])  # fmt: skip
    return RenderMesh(
        identity_count=len(identity),
        mean_mm=np.concatenate([mean, model.mean_mm[points]]).astype(np.float32),
        basis_mm=np.ascontiguousarray(modes.reshape(len(modes), -1), np.float32),
        vertex_count=len(mean),
        triangles=np.ascontiguousarray(triangles, np.int32),
        corner_uv=np.ascontiguousarray(corner_uv, np.float32),
        skin_uv=skin_uv,
        colour=colour,
        occlusion=occlusion,
        gloss=gloss,
        normals=normals,
        hair_front_mm=front,
        hair_side_mm=side,
        eyes=tuple(np.flatnonzero(regions == eye) for eye in _EYES),
        contour=np.concatenate([len(mean) + np.arange(17)[:, None], rows], 1).astype(np.int32),
        landmark_known=model.landmarks >= 0,
    )


def mesh_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit vertex normals, weighted by area."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.stack([
        sum(np.bincount(triangles[:, k], face[:, axis], len(vertices)) for k in range(3)) for axis in range(3)
    ], 1)  # fmt: skip
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _opened_mm(model: FaceModel) -> np.ndarray:
    """(N, 3) a shape whose lips and lids lie apart."""
    if model.expression_is_units:
        wide = {"jaw_open": 1.0, "lip_raise": 1.0, "lower_lip_depress": 1.0, "lid_raise": 1.0}
        return model.shape_mm(None, model.beta_from_units(wide))
    return model.shape_mm(None, np.full(min(4, len(model.expression_mm)), 2.0))


def _thinned(model: FaceModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Model vertices kept (V,), triangles (T, 3) over them, and texture coordinates of their corners (T, 3, 2)."""
    cell = np.array([CELL_MM.get(region, DEFAULT_CELL_MM) for region in Region])[model.regions][:, None]
    key = np.column_stack([
        model.regions, np.floor(model.mean_mm / cell), np.round((_opened_mm(model) - model.mean_mm) / _OPENED_CELL_MM),
    ]).astype(np.int64)  # fmt: skip
    _, group = np.unique(key, axis=0, return_inverse=True)
    group = group.ravel()
    count = group.max() + 1
    size = np.bincount(group, minlength=count)
    centre = np.stack([np.bincount(group, model.mean_mm[:, k], count) / size for k in range(3)], 1)
    away = ((model.mean_mm - centre[group]) ** 2).sum(1)
    order = np.lexsort((away, group))
    keep = order[np.searchsorted(group[order], np.arange(count))]
    triangles = group[model.triangles]
    whole = (triangles != np.roll(triangles, 1, 1)).all(1)
    _, first = np.unique(np.sort(triangles, 1), axis=0, return_index=True)
    chosen = first[whole[first]]
    triangles = triangles[chosen]
    uv = _corner_uv(model, keep[triangles], model.uv_triangles[chosen])
    used, compact = np.unique(triangles, return_inverse=True)
    return keep[used], compact.reshape(-1, 3), uv


def _corner_uv(model: FaceModel, corners: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Of the texture coordinates that each kept corner (T, 3) has, the one nearest to the original corner's."""
    if not len(model.uv):
        return np.zeros((*corners.shape, 2), np.float32)
    pairs = np.unique(np.column_stack([model.triangles.ravel(), model.uv_triangles.ravel()]), axis=0)
    start = np.searchsorted(pairs[:, 0], np.arange(len(model.mean_mm) + 1))
    best = np.full(corners.shape, np.inf)
    out = np.zeros((*corners.shape, 2), np.float32)
    for step in range(4):
        row = start[corners] + step
        exists = row < start[corners + 1]
        uv = model.uv[pairs[np.where(exists, row, 0), 1]]
        away = np.where(exists, ((uv - model.uv[before]) ** 2).sum(-1), np.inf)
        nearer = away < best
        best[nearer], out[nearer] = away[nearer], uv[nearer]
    return out


def _sky_share(mean: np.ndarray, triangles: np.ndarray, normals: np.ndarray, directions: int = 80) -> np.ndarray:
    """(V,) float32: cosine-weighted share of the upper hemisphere that a vertex sees, by shadow maps."""
    k = np.arange(directions) + 0.5
    polar, turn = np.arccos(1 - 2 * k / directions), np.pi * (1 + 5**0.5) * k
    axes = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    seen, possible = np.zeros(len(mean)), np.full(len(mean), 1e-6)
    size, reach = 192, float(np.linalg.norm(mean - mean.mean(0), axis=1).max())
    for axis in axes:
        weight = np.maximum(normals @ axis, 0)
        possible += weight
        seen += weight * lit_share(mean, triangles, axis, mean.mean(0), reach, size, 3.0)
    return np.clip(seen / possible, 0, 1).astype(np.float32)


def lit_share(
    vertices: np.ndarray,
    triangles: np.ndarray,
    axis: np.ndarray,
    centre: np.ndarray,
    reach_mm: float,
    size: int,
    slack_mm: float,
) -> np.ndarray:
    """(V,) float64, 1 where light from the direction `axis` (3,) unit reaches a vertex, 0 in shadow.

    A shadow map of size x size pixels over the ball `centre`, `reach_mm`; a vertex may lie `slack_mm` behind it.
    """
    side = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    down = np.cross(axis, side)
    scale = (size - 1) / (2 * reach_mm)
    local = vertices - centre
    pixels = np.stack([local @ side, local @ down], 1) * scale + (size - 1) / 2
    depth = -(local @ axis)
    front = rasterize_image(pixels, depth, triangles, size, size).depth
    column, row = np.clip(np.rint(pixels), 0, size - 1).astype(np.int64).T
    return ~(depth > front[row, column] + slack_mm + 0.7 / scale) * 1.0
