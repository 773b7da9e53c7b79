"""A displacement map on a proxy: the displaced mesh, and normal maps in tangent space and in the model's frame.

Tangent frame of a texel or vertex: T along increasing u (columns to the right), made perpendicular to the base normal
N; B = w N x T along increasing v (rows upwards), w = -1 where the charts are mirrored. That is the frame of glTF 2.0
and OpenGL: red to the right, green up, blue out of the surface; +0.5 stands for 0.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..reconstruct.face_model import FaceModel
from ..reconstruct.mesh_refine import TriangleMesh, fair, refine_edges, vertex_normals
from ..reconstruct.uv_charts import UvCharts, normal_map, position_map
from ..reconstruct.uv_raster import sample_uv

EDGE_MM = 0.5
LONGEST, COARSER = 1.5, 4.0
"""Longest edge over the wanted one (halving leaves lengths between half the longest and the longest), and how much
longer edges may be where nothing is displaced."""
REACH = 1 / 128
"""Of the map's side: so far around displaced texels edges are short, too."""
FAIRING = 4
"""Rounds of smoothing that take the facets of the coarse proxy out of the base surface, as for the virtual head."""


@dataclass(frozen=True, eq=False)
class DetailedMesh:
    """A refined proxy with its displacement: detailed = base + displacement . base normal, vertex by vertex."""

    base: TriangleMesh
    base_normals: np.ndarray
    """(N, 3) float64 unit."""
    displacement_mm: np.ndarray
    """(N,) float64."""
    regions: np.ndarray
    """(N,) uint8, labels of Region."""

    @property
    def vertices_mm(self) -> np.ndarray:
        """(N, 3) float64 displaced vertices."""
        return self.base.vertices_mm + self.displacement_mm[:, None] * self.base_normals

    @property
    def displaced(self) -> TriangleMesh:
        """The displaced surface."""
        return replace(self.base, vertices_mm=self.vertices_mm)

    @property
    def normals(self) -> np.ndarray:
        """(N, 3) float64 unit vertex normals of the displaced surface."""
        return vertex_normals(self.vertices_mm, self.base.triangles)


def detailed_mesh(
    model: FaceModel, vertices_mm: np.ndarray, displacement_mm: np.ndarray, edge_mm: float = EDGE_MM
) -> DetailedMesh:
    """Displace a shape (N, 3) mm of `model` by a map (S, S) in its charts.

    Edges get about `edge_mm` long where the map displaces, elsewhere up to four times that. Triangles that share an
    edge share its vertices also where the charts are cut, and a vertex has one displacement (the mean over its places
    in the charts), so the displaced mesh has no cracks where the proxy has none.
    """
    coarse = TriangleMesh(np.asarray(vertices_mm, np.float64), model.triangles, model.uv, model.uv_triangles)
    reach = 2 * max(round(REACH * len(displacement_mm)), 1) + 1
    near = cv2.dilate((displacement_mm != 0).astype(np.uint8), np.ones((reach, reach), np.uint8))
    moved = at_vertices(coarse, near) > 0
    base, regions = refine_edges(coarse, LONGEST * edge_mm * np.where(moved, 1.0, COARSER), model.regions)
    base = replace(base, vertices_mm=fair(base.vertices_mm, base.triangles, FAIRING))
    normals = vertex_normals(base.vertices_mm, base.triangles)
    return DetailedMesh(base, normals, at_vertices(base, displacement_mm), regions)


def at_vertices(mesh: TriangleMesh, values: np.ndarray) -> np.ndarray:
    """(N,) or (N, C) float64: a map (S, S) or (S, S, C) at the vertices of a mesh, the mean over a vertex's UVs."""
    at_uv = sample_uv(values, mesh.uv).astype(np.float64).reshape(len(mesh.uv), -1)
    pairs = np.unique(mesh.triangles.astype(np.int64).ravel() * len(mesh.uv) + mesh.uv_triangles.ravel())
    vertex, place = pairs // len(mesh.uv), pairs % len(mesh.uv)
    count = np.maximum(np.bincount(vertex, minlength=len(mesh.vertices_mm)), 1)
    mean = np.stack([np.bincount(vertex, column[place], len(mesh.vertices_mm)) / count for column in at_uv.T], axis=-1)
    return mean[:, 0] if values.ndim == 2 else mean


@dataclass(frozen=True, eq=False)
class TexelFrame:
    """How a texel lies on the base surface, (S, S, ...) float32, zero outside of the charts."""

    normal: np.ndarray
    """(S, S, 3) unit N, model frame."""
    tangent: np.ndarray
    """(S, S, 3) unit T."""
    sign: np.ndarray
    """(S, S) w: +1, or -1 where the chart is mirrored."""
    right_mm: np.ndarray
    """(S, S) length along T of a step of one texel to the right."""
    up_mm: np.ndarray
    """(S, S, 2) lengths along T and along B of a step of one texel up."""


def texel_frame(charts: UvCharts, model: FaceModel, vertices_mm: np.ndarray) -> TexelFrame:
    """The frames of a shape (N, 3) mm in the charts of its model."""
    position, normal = position_map(charts, model, vertices_mm), normal_map(charts, model, vertices_mm)
    there = charts.raster.valid
    right, up = _steps(position, there, 1), -_steps(position, there, 0)
    right -= (right * normal).sum(2, keepdims=True) * normal
    length = np.linalg.norm(right, axis=2)
    tangent = right / np.maximum(length, 1e-9)[..., None]
    side = np.cross(normal, tangent)
    across = (up * side).sum(2)
    sign = np.where(across < 0, -1.0, 1.0)
    return TexelFrame(
        normal, tangent.astype(np.float32), (sign * there).astype(np.float32), length.astype(np.float32),
        np.stack([(up * tangent).sum(2), np.abs(across)], -1).astype(np.float32),
    )  # fmt: skip


def tangent_normals(displacement_mm: np.ndarray, frame: TexelFrame) -> np.ndarray:
    """(S, S, 3) float32 unit normals of the displaced surface in the tangent frame; (0, 0, 1) outside of the charts.

    displacement_mm (S, S) of the frame's size. To first order in displacement over radius of curvature, as is usual.
    """
    there = frame.sign != 0
    rise_right = _steps(displacement_mm[..., None], there, 1)[..., 0]
    rise_up = -_steps(displacement_mm[..., None], there, 0)[..., 0]
    along = np.divide(rise_right, frame.right_mm, out=np.zeros_like(rise_right), where=frame.right_mm > 1e-6)
    rest = rise_up - along * frame.up_mm[..., 0]
    across = np.divide(rest, frame.up_mm[..., 1], out=np.zeros_like(rest), where=frame.up_mm[..., 1] > 1e-6)
    normal = np.stack([-along, -across, np.ones_like(along)], -1)
    return (normal / np.linalg.norm(normal, axis=2, keepdims=True)).astype(np.float32)


def model_normals(tangent_space: np.ndarray, frame: TexelFrame) -> np.ndarray:
    """(S, S, 3) float32 unit normals in the model's frame of ones in the tangent frame; zero outside of the charts."""
    side = np.cross(frame.normal, frame.tangent) * frame.sign[..., None]
    return (
        tangent_space[..., :1] * frame.tangent + tangent_space[..., 1:2] * side + tangent_space[..., 2:] * frame.normal
    )


def normal_colours(tangent_space: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 RGB of normals in the tangent frame: 255 (n + 1) / 2, green up."""
    return np.rint(np.clip((tangent_space + 1) / 2, 0, 1) * 255).astype(np.uint8)


def _steps(values: np.ndarray, there: np.ndarray, axis: int) -> np.ndarray:
    """(S, S, C) float32 change per texel along an axis: central differences, one-sided at borders of `there`."""
    forward = np.diff(values, axis=axis)
    both = np.take(there, range(1, there.shape[axis]), axis) & np.take(there, range(there.shape[axis] - 1), axis)
    forward = forward * both[..., None]
    before, after = [(0, 0)] * 3, [(0, 0)] * 3
    before[axis], after[axis] = (1, 0), (0, 1)
    count = np.pad(both, before[:2]).astype(np.float32) + np.pad(both, after[:2])
    total = np.pad(forward, before) + np.pad(forward, after)
    return (total / np.maximum(count, 1)[..., None]).astype(np.float32)
