"""Conforming mesh refinement: split every edge longer than its target, on a smooth curved surface.

Splits are decided per edge, so both triangles of an edge agree and no cracks appear. Mid-points follow the cubic
point-normal triangle edge (Vlachos et al., Curved PN Triangles, 2001): interpolating, so the coarse vertices stay.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse


@dataclass(frozen=True, slots=True)
class TriangleMesh:
    """A triangle mesh with texture coordinates in their own topology."""

    vertices_mm: np.ndarray
    """(N, 3) float64."""
    triangles: np.ndarray
    """(T, 3) int32."""
    uv: np.ndarray
    """(U, 2) float32, origin bottom-left."""
    uv_triangles: np.ndarray
    """(T, 3) int32, corner by corner beside `triangles`."""

    def __post_init__(self) -> None:
        if self.vertices_mm.ndim != 2 or self.vertices_mm.shape[1] != 3 or self.triangles.shape[1:] != (3,):
            raise ValueError(
                f"vertices {self.vertices_mm.shape}, triangles {self.triangles.shape}: expected (N,3), (T,3)"
            )
        if self.uv_triangles.shape != self.triangles.shape:
            raise ValueError(f"uv_triangles {self.uv_triangles.shape} differ from triangles {self.triangles.shape}")


def vertex_normals(vertices_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit vertex normals (N, 3) float64, weighted by corner angle (independent of how quads are split)."""
    vertices, sides = np.ascontiguousarray(vertices_mm, np.float64), np.ascontiguousarray(triangles, np.int64)
    return _vertex_normals(vertices, sides)


def edge_lengths_mm(vertices_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(T, 3) edge lengths; column k is the edge from corner k to corner k + 1."""
    corners = vertices_mm[triangles]
    return np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)


def edge_stretch(before_mm: np.ndarray, after_mm: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Largest ratio (N,) of an edge's length after and before, over the edges of each vertex; at least 1."""
    return _edge_stretch(before_mm, after_mm, np.ascontiguousarray(triangles, np.int64))


def refine_edges(
    mesh: TriangleMesh, target_mm: np.ndarray, labels: np.ndarray, max_rounds: int = 12
) -> tuple[TriangleMesh, np.ndarray]:
    """Split edges until each is at most its target (the smaller of its two vertices' targets).

    Args:
        mesh: the mesh to refine.
        target_mm: (N,) wanted edge length at each vertex; inherited as the mean of both ends.
        labels: (N,) integers; a new vertex takes the label of its edge's lower-numbered end.
        max_rounds: each round at least halves what it splits; the default covers a factor of 4096.
    Returns: the refined mesh (first N vertices unchanged) and the labels of all its vertices.
    """
    vertices, triangles = mesh.vertices_mm.astype(np.float64), mesh.triangles.astype(np.int64)
    uv, uv_triangles = mesh.uv.astype(np.float64), mesh.uv_triangles.astype(np.int64)
    target_mm = np.asarray(target_mm, np.float64)
    for _ in range(max_rounds):
        edge_id, ends = _unique_edges(triangles)
        length = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        split = length > np.minimum(target_mm[ends[:, 0]], target_mm[ends[:, 1]])
        if not split.any():
            break
        normals = vertex_normals(vertices, triangles)
        new_vertex = np.full(len(ends), -1)
        new_vertex[split] = len(vertices) + np.arange(split.sum())
        chosen = ends[split]
        vertices = np.concatenate([vertices, _pn_midpoint(vertices, normals, chosen)])
        target_mm = np.concatenate([target_mm, target_mm[chosen].mean(1)])
        labels = np.concatenate([labels, labels[chosen[:, 0]]])
        uv_edge_id, uv_ends = _unique_edges(uv_triangles)
        uv_split = np.zeros(len(uv_ends), bool)
        uv_split[uv_edge_id[split[edge_id]]] = True
        new_uv = np.full(len(uv_ends), -1)
        new_uv[uv_split] = len(uv) + np.arange(uv_split.sum())
        uv = np.concatenate([uv, uv[uv_ends[uv_split]].mean(1)])
        middle, uv_middle = new_vertex[edge_id], new_uv[uv_edge_id]
        triangles, uv_triangles = _split_triangles(vertices, triangles, middle, uv_triangles, uv_middle)
    refined = TriangleMesh(vertices, triangles.astype(np.int32), uv.astype(np.float32), uv_triangles.astype(np.int32))
    return refined, labels


def _unique_edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edge number of each triangle side (T, 3), and both ends (E, 2) of each edge, lower vertex first."""
    sides = np.ascontiguousarray(triangles, np.int64)
    return _number_edges(sides, int(sides.max()) + 1)


def _pn_midpoint(vertices: np.ndarray, normals: np.ndarray, ends: np.ndarray) -> np.ndarray:
    a, b = vertices[ends[:, 0]], vertices[ends[:, 1]]
    edge = b - a
    lift = (
        (edge * normals[ends[:, 1]]).sum(1, keepdims=True) * normals[ends[:, 1]]
        - (edge * normals[ends[:, 0]]).sum(1, keepdims=True) * normals[ends[:, 0]]
    ) / 8
    return (a + b) / 2 + lift


def _split_triangles(
    vertices: np.ndarray, triangles: np.ndarray, middle: np.ndarray, uv_triangles: np.ndarray, uv_middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace each triangle by 1-4 triangles according to which of its sides got a mid-point (-1: none)."""
    code = (middle >= 0) @ np.array([1, 2, 4])
    out, uv_out = [triangles[code == 0]], [uv_triangles[code == 0]]

    def emit(chosen: np.ndarray, turn: int, corners: tuple[tuple[int, int, int], ...]) -> None:
        # corners 0-2 are the rotated triangle's vertices, 3-5 the mid-points of its sides 0-1, 1-2, 2-0
        order = (np.arange(3) + turn) % 3
        for sides, mids, result in ((triangles, middle, out), (uv_triangles, uv_middle, uv_out)):
            six = np.concatenate([sides[chosen][:, order], mids[chosen][:, order]], axis=1)
            result.extend(six[:, list(corner)] for corner in corners)

    for turn, bit in enumerate((1, 2, 4)):
        emit(np.flatnonzero(code == bit), turn, ((0, 3, 2), (3, 1, 2)))
    for turn, bits in enumerate((1 | 2, 2 | 4, 4 | 1)):  # sides 0-1 and 1-2 split after rotation
        two = np.flatnonzero(code == bits)
        order = (np.arange(3) + turn) % 3
        corner, mids = vertices[triangles[two][:, order]], vertices[middle[two][:, order[:2]]]
        first = np.linalg.norm(corner[:, 0] - mids[:, 1], axis=1) < np.linalg.norm(corner[:, 2] - mids[:, 0], axis=1)
        emit(two[first], turn, ((3, 1, 4), (0, 3, 4), (0, 4, 2)))
        emit(two[~first], turn, ((3, 1, 4), (0, 3, 2), (3, 4, 2)))
    emit(np.flatnonzero(code == 7), 0, ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)))
    return np.concatenate(out), np.concatenate(uv_out)


def fair(vertices_mm: np.ndarray, triangles: np.ndarray, iterations: int) -> np.ndarray:
    """Taubin smoothing (0.5 / -0.53) that keeps open borders: removes facets of the coarse mesh, keeps the shape.

    Args:
        vertices_mm: (N, 3) float64; triangles: (T, 3); iterations: pairs of steps (each reaches two edges far).
    Returns: (N, 3) float64.
    """
    n = len(vertices_mm)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    adjacency = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (n, n)).tocsr()
    one_way = adjacency - adjacency.T
    border = np.zeros(n, bool)
    border[one_way.nonzero()[0]] = True
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    degree = np.maximum(np.asarray(adjacency.sum(1)), 1)
    result = vertices_mm.copy()
    for _ in range(iterations):
        for weight in (0.5, -0.53):
            step = (adjacency @ result) / degree - result
            step[border] = 0
            result = result + weight * step
    return result


@njit(cache=True)
def _vertex_normals(vertices, triangles):
    normals = np.zeros_like(vertices)
    for t in range(len(triangles)):
        a, b, c = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        face = np.array(
            (
                (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1]),
                (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2]),
                (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]),
            )
        )
        size = math.sqrt(face[0] ** 2 + face[1] ** 2 + face[2] ** 2)
        if size < 1e-30:
            continue
        for k in range(3):
            o, p = vertices[triangles[t, k]], vertices[triangles[t, (k + 1) % 3]]
            q = vertices[triangles[t, (k + 2) % 3]]
            dot = (p[0] - o[0]) * (q[0] - o[0]) + (p[1] - o[1]) * (q[1] - o[1]) + (p[2] - o[2]) * (q[2] - o[2])
            angle = math.atan2(size, dot)
            for axis in range(3):
                normals[triangles[t, k], axis] += angle * face[axis] / size
    for v in range(len(normals)):
        size = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        for axis in range(3):
            normals[v, axis] /= max(size, 1e-30)
    return normals


@njit(cache=True)
def _number_edges(triangles, vertex_count):
    # bucket the sides by their lower vertex; a bucket holds a handful, so a linear search finds the twin
    start = np.zeros(vertex_count + 1, np.int64)
    for t in range(len(triangles)):
        for k in range(3):
            start[min(triangles[t, k], triangles[t, (k + 1) % 3]) + 1] += 1
    for v in range(vertex_count):
        start[v + 1] += start[v]
    used = start[:-1].copy()
    high = np.empty(start[-1], np.int64)
    number = np.empty(start[-1], np.int64)
    edge_of = np.empty(triangles.shape, np.int64)
    ends = np.empty((start[-1], 2), np.int64)
    count = 0
    for t in range(len(triangles)):
        for k in range(3):
            i, j = triangles[t, k], triangles[t, (k + 1) % 3]
            low, top = min(i, j), max(i, j)
            found = -1
            for slot in range(start[low], used[low]):
                if high[slot] == top:
                    found = number[slot]
                    break
            if found < 0:
                high[used[low]] = top
                number[used[low]] = count
                used[low] += 1
                ends[count, 0], ends[count, 1] = low, top
                found = count
                count += 1
            edge_of[t, k] = found
    return edge_of, ends[:count].copy()


@njit(cache=True)
def _edge_stretch(before, after, triangles):
    worst = np.ones(len(before))
    for t in range(len(triangles)):
        for k in range(3):
            i, j = triangles[t, k], triangles[t, (k + 1) % 3]
            old = new = 0.0
            for axis in range(3):
                old += (before[i, axis] - before[j, axis]) ** 2
                new += (after[i, axis] - after[j, axis]) ** 2
            if old > 0.0:
                ratio = math.sqrt(new / old)
                worst[i] = max(worst[i], ratio)
                worst[j] = max(worst[j], ratio)
    return worst
