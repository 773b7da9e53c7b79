"""Where on the face a point lies: soft region weights, outlines of lips and eyes, distance to rims, and snapping.

Everything is laid out from the 68 landmarks of one neutral shape; region labels serve only as soft weights, because
models label their regions more or less coarsely.
"""

from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import KDTree

from .face_model import FaceModel, Region
from .uv_raster import interpolate, rasterize_uv, sample_uv


class Area(IntEnum):
    """Columns of the soft weights: regions with left and right merged."""

    FOREHEAD = 0
    BROW = 1
    LID = 2
    NOSE = 3
    CHEEK = 4
    LIP = 5
    PERIORAL = 6
    CHIN = 7
    JAW = 8
    NECK = 9
    EAR = 10
    SCALP = 11
    OTHER = 12
    EYEBALL = 13
    MOUTH = 14


_AREA_OF_REGION = {
    Region.OTHER: Area.OTHER, Region.FOREHEAD: Area.FOREHEAD, Region.BROW_RIGHT: Area.BROW,
    Region.BROW_LEFT: Area.BROW, Region.EYELID_RIGHT: Area.LID, Region.EYELID_LEFT: Area.LID, Region.NOSE: Area.NOSE,
    Region.CHEEK_RIGHT: Area.CHEEK, Region.CHEEK_LEFT: Area.CHEEK, Region.LIP_UPPER: Area.LIP,
    Region.LIP_LOWER: Area.LIP, Region.PERIORAL: Area.PERIORAL, Region.CHIN: Area.CHIN, Region.JAW: Area.JAW,
    Region.NECK: Area.NECK, Region.EAR_RIGHT: Area.EAR, Region.EAR_LEFT: Area.EAR, Region.SCALP: Area.SCALP,
    Region.EYEBALL_RIGHT: Area.EYEBALL, Region.EYEBALL_LEFT: Area.EYEBALL, Region.MOUTH_INTERIOR: Area.MOUTH,
}  # fmt: skip

LIPS, MOUTH_OPENING, EYE_RIGHT, EYE_LEFT = 0, 1, 2, 3
"""Indices of the outlines: outer lip contour, inner lip contour, both eye openings."""

_RIM_REACH_MM = 12.0


@dataclass(frozen=True, slots=True)
class SkinFrame:
    """One neutral shape, prepared for placing and evaluating skin detail."""

    vertices_mm: np.ndarray
    """(N, 3) float32 neutral positions."""
    normals: np.ndarray
    """(N, 3) float32 unit, outward."""
    triangles: np.ndarray
    """(T, 3) int32."""
    weights: np.ndarray
    """(N, len(Area)) float32, sum 1; EYEBALL and MOUTH hard, the others blurred over about 3 mm."""
    rim_mm: np.ndarray
    """(N,) float32 distance along the surface to eyeballs, mouth interior and open borders, at most 12."""
    mm_per_uv: np.ndarray
    """(N,) float32 local scale of the UV layout: mm per unit of UV."""
    landmarks_mm: np.ndarray
    """(68, 3) float64; NaN where the model does not know one."""
    outlines: np.ndarray
    """(4, 60, 3) float64 closed curves: lips, mouth opening, right eye, left eye."""
    skin_triangles: np.ndarray
    """(K, 3) int32: triangles without eyeball or mouth interior corners."""
    height: np.ndarray
    """(S, S) float32: z of the foremost skin seen from the front, over the square `height_square`; continued outside
    by the nearest point of the silhouette."""
    height_square: np.ndarray
    """(3,) float64: x and y of its lower left corner, and its side, mm."""
    tree: KDTree
    """Search tree over the vertices of `skin_triangles`."""
    tree_vertices: np.ndarray
    """(V,) vertex index of each point in `tree`."""
    incident: np.ndarray
    """(N, 12) int32: up to 12 rows of `skin_triangles` around each vertex, -1 padded."""

    def snap(self, points_mm: np.ndarray) -> np.ndarray:
        """Closest points (M, 3) float64 on the skin."""
        points = np.ascontiguousarray(points_mm, np.float64).reshape(-1, 3)
        _, nearest = self.tree.query(points, k=min(4, len(self.tree_vertices)))
        out = np.empty_like(points)
        _closest_points(points, self.tree_vertices[nearest], self.incident, self.skin_triangles, self.vertices_mm, out)
        return out.reshape(np.shape(points_mm))

    def lift(self, xy_mm: np.ndarray) -> np.ndarray:
        """Foremost skin points (M, 3) float64 at frontal coordinates (M, 2) mm; beside the head the closest ones."""
        xy = np.asarray(xy_mm, np.float64)
        z = sample_uv(self.height, (xy - self.height_square[:2]) / self.height_square[2])
        return self.snap(np.column_stack([xy, z]))

    def normals_at(self, points_mm: np.ndarray) -> np.ndarray:
        """Unit normals (M, 3) float64 near surface points, blended from the four nearest vertices."""
        distance, nearest = self.tree.query(points_mm, k=4)
        weight = 1.0 / (distance + 0.3)
        normal = (weight[..., None] * self.normals[self.tree_vertices[nearest]]).sum(1)
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def skin_frame(model: FaceModel, neutral_mm: np.ndarray) -> SkinFrame:
    """Prepare `neutral_mm` (N, 3) of `model`. Raises ValueError where landmarks 17..67 are not all known."""
    if (model.landmarks[17:] < 0).any():
        raise ValueError(f"{model.name}: skin detail needs landmarks 17..67, the model lacks some")
    vertices = np.ascontiguousarray(neutral_mm, np.float32)
    landmarks = vertices[model.landmarks].astype(np.float64)
    landmarks[model.landmarks < 0] = np.nan
    # Vertices doubled along texture seams would look like open borders: work on positions.
    grid = np.round(vertices * 1000.0).astype(np.int64) + 2**20
    _, welded = np.unique((grid[:, 0] * 2**21 + grid[:, 1]) * 2**21 + grid[:, 2], return_inverse=True)
    corners = vertices[model.triangles].astype(np.float64)
    face_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((welded.max() + 1, 3))
    for c in range(3):
        np.add.at(normals, welded[model.triangles[:, c]], face_normal)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    hard = np.isin(model.regions, (Region.EYEBALL_RIGHT, Region.EYEBALL_LEFT, Region.MOUTH_INTERIOR))
    skin_triangles = model.triangles[~hard[model.triangles].any(1)]
    tree_vertices = np.unique(skin_triangles)
    square, height = _front_height(vertices, skin_triangles)
    outlines = np.stack([
        _closed_curve(landmarks[list(rows)])
        for rows in (range(48, 60), range(60, 68), range(36, 42), range(42, 48))
    ])  # fmt: skip
    return SkinFrame(
        vertices,
        normals[welded].astype(np.float32),
        model.triangles,
        _soft_weights(model, vertices, welded),
        _rim_distance(model, vertices, welded, hard),
        _mm_per_uv(model, np.linalg.norm(face_normal, axis=1) / 2.0),
        landmarks,
        outlines,
        skin_triangles,
        height,
        square,
        KDTree(vertices[tree_vertices]),
        tree_vertices,
        _incident(skin_triangles, len(vertices)),
    )


def _closed_curve(points: np.ndarray) -> np.ndarray:
    loop = np.vstack([points, points[:1]])
    s = np.r_[0.0, np.cumsum(np.maximum(np.linalg.norm(np.diff(loop, axis=0), axis=1), 1e-6) ** 0.5)]
    return CubicSpline(s, loop, bc_type="periodic")(np.linspace(0.0, s[-1], 61)[:-1])


def _edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges (E, 2) and how many triangles have each (E,)."""
    n = np.int64(triangles.max()) + 1
    a, b = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    key, count = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_counts=True)
    return np.stack([key // n, key % n], 1), count


def _soft_weights(model: FaceModel, vertices: np.ndarray, welded: np.ndarray) -> np.ndarray:
    area = np.array([_AREA_OF_REGION[Region(r)] for r in range(len(Region))])[model.regions]
    labels = np.zeros((len(area), len(Area)), np.float32)
    labels[np.arange(len(area)), area] = 1.0
    hard = (area == Area.EYEBALL) | (area == Area.MOUTH)
    edges, _ = _edges(welded[model.triangles])
    representative = np.zeros(welded.max() + 1, np.int64)
    representative[welded] = np.arange(len(welded))
    edges = edges[~(hard[representative[edges]].any(1)) & (edges[:, 0] != edges[:, 1])]
    length = np.linalg.norm(vertices[representative[edges[:, 0]]] - vertices[representative[edges[:, 1]]], axis=1)
    n = len(representative)
    weight = 1.0 / np.maximum(length, 0.05)
    graph = csr_matrix(
        (np.r_[weight, weight], (np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]])), (n, n)
    )
    degree = np.asarray(graph.sum(1)).ravel()
    lone = degree == 0
    walk = diags(1.0 / np.where(lone, 1.0, degree)) @ graph
    walk = (0.5 * walk + diags(np.where(lone, 1.0, 0.5))).tocsr().astype(np.float32)
    # A lazy random walk with steps e spreads by e^2/4 per axis and step: 3 mm of blur.
    step = np.median(length) if len(length) else 1.0
    soft = labels[representative]
    for _ in range(int(np.clip(np.ceil(4.0 * 3.0**2 / step**2), 1, 60))):
        soft = walk @ soft
    soft = soft[welded]
    soft[hard] = labels[hard]
    return soft / np.maximum(soft.sum(1, keepdims=True), 1e-6)


def _rim_distance(model: FaceModel, vertices: np.ndarray, welded: np.ndarray, hard: np.ndarray) -> np.ndarray:
    edges, count = _edges(welded[model.triangles])
    positions = np.zeros((welded.max() + 1, 3), np.float32)
    positions[welded] = vertices
    rim = np.zeros(len(positions), bool)
    rim[edges[count == 1].ravel()] = True
    rim[welded[hard]] = True
    length = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1) + 1e-6
    graph = csr_matrix((length, (edges[:, 0], edges[:, 1])), (len(positions), len(positions)))
    if not rim.any():
        return np.full(len(vertices), _RIM_REACH_MM, np.float32)
    reach = dijkstra(graph, directed=False, indices=np.flatnonzero(rim), min_only=True, limit=_RIM_REACH_MM)
    return np.minimum(reach, _RIM_REACH_MM)[welded].astype(np.float32)


def _mm_per_uv(model: FaceModel, area_mm2: np.ndarray) -> np.ndarray:
    uv = model.uv[model.uv_triangles].astype(np.float64)
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area_uv = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2.0
    total_mm2, total_uv = np.zeros(len(model.mean_mm)), np.zeros(len(model.mean_mm))
    for c in range(3):
        np.add.at(total_mm2, model.triangles[:, c], area_mm2)
        np.add.at(total_uv, model.triangles[:, c], area_uv)
    return np.sqrt(total_mm2 / np.maximum(total_uv, 1e-12)).clip(1.0, 1e4).astype(np.float32)


def _front_height(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = vertices[triangles].min((0, 1)), vertices[triangles].max((0, 1))
    side = float(max(high[0] - low[0], high[1] - low[1])) + 2.0
    square = np.array([low[0] - 1.0, low[1] - 1.0, side])
    # The rasteriser keeps the first triangle on a texel: front ones first makes it a depth buffer.
    order = np.argsort(-vertices[triangles, 2].mean(1), kind="stable")
    raster = rasterize_uv((vertices[:, :2] - square[:2]) / side, triangles[order], 512)
    height = interpolate(raster, triangles[order], vertices[:, 2])[..., 0]
    nearest = np.asarray(distance_transform_edt(~raster.valid, return_distances=False, return_indices=True))
    return square, height[nearest[0], nearest[1]]


def _incident(triangles: np.ndarray, count: int) -> np.ndarray:
    table = np.full((count, 12), -1, np.int32)
    vertex = triangles.ravel()
    order = np.argsort(vertex, kind="stable")
    vertex, row = vertex[order], order // 3
    start = np.searchsorted(vertex, vertex)
    rank = np.arange(len(vertex)) - start
    keep = rank < 12
    table[vertex[keep], rank[keep]] = row[keep]
    return table


@numba.njit(cache=True)
def _closest_points(points, nearest, incident, triangles, vertices, out):
    # Closest point on a triangle: C. Ericson, Real-Time Collision Detection, section 5.1.5.
    for i in range(len(points)):
        p = points[i]
        best = 1e30
        for k in range(nearest.shape[1]):
            for s in range(incident.shape[1]):
                t = incident[nearest[i, k], s]
                if t < 0:
                    break
                a = vertices[triangles[t, 0]].astype(np.float64)
                b = vertices[triangles[t, 1]].astype(np.float64)
                c = vertices[triangles[t, 2]].astype(np.float64)
                ab, ac, ap = b - a, c - a, p - a
                d1, d2 = np.dot(ab, ap), np.dot(ac, ap)
                bp, cp = p - b, p - c
                d3, d4, d5, d6 = np.dot(ab, bp), np.dot(ac, bp), np.dot(ab, cp), np.dot(ac, cp)
                vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
                if d1 <= 0.0 and d2 <= 0.0:
                    q = a
                elif d3 >= 0.0 and d4 <= d3:
                    q = b
                elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
                    q = a + ab * (d1 / (d1 - d3))
                elif d6 >= 0.0 and d5 <= d6:
                    q = c
                elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
                    q = a + ac * (d2 / (d2 - d6))
                elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
                    q = b + (c - b) * ((d4 - d3) / ((d4 - d3) + (d5 - d6)))
                else:
                    q = a + ab * (vb / (va + vb + vc)) + ac * (vc / (va + vb + vc))
                d = np.dot(p - q, p - q)
                if d < best:
                    best = d
                    out[i] = q
