"""Non-rigid refinement of a fitted face to the depth prior of a scan: the mesh keeps its topology, so its UV map.

Iterated closest points with a smooth displacement field. The depth prior is low-passed (8 mm): laid onto it directly, a
face would lose its nose. So per round the mesh's own depth map is low-passed in the same way, and every vertex that the
camera sees is asked to move along its normal by what the two differ at its pixel. The field minimises

    sum area w |d - target|^2 + (cut-off / 2 pi)^4 |thin plate of d|^2 + a weak membrane and anchor,

solved directly (sparse LU). The cut-off is a wavelength on the face: undulations of the correction below it are
suppressed. It falls from round to round, so the large misfit goes first (as in Amberg et al., CVPR 2007).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .depth_prior import SIGMA_MM
from .mesh_raster import depth_from_mesh
from .mesh_refine import vertex_normals
from .surface_lowpass import lowpass_surface

OUTSIDE = (float("nan"),) * 4
LEAST_SHARE = 0.02
"""Of the vertices must meet the depth map, or the face is not where it was thought."""


@dataclass(frozen=True, slots=True)
class RefineOptions:
    """Constants of the refinement."""

    cutoffs_mm: tuple[float, ...] = (100.0, 50.0, 25.0, 25.0)
    """Shortest undulation of the correction, round by round; z0 itself carries nothing much below 25 mm."""
    lowpass_sigma_mm: float = SIGMA_MM
    """Of the depth map given; 0 for measured depth that nobody smoothed."""
    reach_mm: float = 15.0
    """Vertices farther from the depth map than this (and than 4 robust deviations) do not count."""
    least_cosine: float = 0.35
    """Between normal and viewing ray; steeper vertices do not count."""
    membrane: float = 0.02
    """Weight of the membrane term at the cut-off's scale: calms the parts without data."""
    anchor: float = 1e-4
    """Weight per area of staying in place."""

    def __post_init__(self) -> None:
        if not self.cutoffs_mm or not all(5 <= c <= 1000 for c in self.cutoffs_mm):
            raise UserError(f"refinement: cutoffs_mm is {self.cutoffs_mm}, expected lengths of 5 to 1000 mm")


@dataclass(frozen=True, slots=True)
class RefinedMesh:
    """The face laid onto the depth prior."""

    vertices_mm: np.ndarray
    """(N, 3) float64 world."""
    held: np.ndarray
    """(N,) bool: vertices that lay on the depth map in the last round; the others followed their surroundings."""
    distance_before_mm: float
    """Median distance to the depth map along the normal before and after, over the vertices held."""
    distance_after_mm: float


def refine_to_depth(
    vertices_mm: np.ndarray,
    triangles: np.ndarray,
    camera: PinholeCamera,
    z0_mm: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    movable: np.ndarray | None = None,
    options: RefineOptions | None = None,
) -> RefinedMesh:
    """Lay a mesh onto a depth map.

    Args:
        vertices_mm: (N, 3) in the camera's world; triangles (T, 3).
        z0_mm: (H, W) float32 depth along the camera's optical axis, NaN outside.
        confidence: (H, W) 0..1, weight of each pixel.
        movable: (N,) bool, vertices that may be pulled (the skin); others only follow.
    Raises UserError when the mesh and the depth map do not meet; ValueError for shapes that do not fit.
    """
    options = options or RefineOptions()
    if z0_mm.shape != (camera.height_px, camera.width_px):
        raise ValueError(f"{z0_mm.shape=}, but the camera has {camera.height_px} x {camera.width_px} pixels")
    if camera.has_distortion:
        raise ValueError("refine_to_depth takes the undistorted camera that z0 belongs to")
    start = np.asarray(vertices_mm, np.float64)
    system = _Smooth(start, np.asarray(triangles, np.int64), options)
    movable = np.ones(len(start), bool) if movable is None else movable
    now, before = start, None
    held, target = movable, start
    for cutoff_mm in options.cutoffs_mm:
        target, weight, distance = pull_to_depth(now, triangles, camera, z0_mm, confidence, movable, options)
        held = weight > 0
        if held.sum() < LEAST_SHARE * movable.sum():
            raise UserError(
                f"refinement: {int(held.sum())} of {int(movable.sum())} vertices meet the depth map; the fitted face "
                "does not lie where the scan is. Check the landmarks, the cameras and that both are in millimetres"
            )
        if before is None:
            before = float(np.median(np.abs(distance[held])))
        now = start + system.solve(weight, target - start, cutoff_mm)
    _, weight, distance = pull_to_depth(now, triangles, camera, z0_mm, confidence, movable, options)
    held = weight > 0
    return RefinedMesh(now, held, before or 0.0, float(np.median(np.abs(distance[held]))))


def pull_to_depth(
    vertices: np.ndarray,
    triangles: np.ndarray,
    camera: PinholeCamera,
    z0_mm: np.ndarray,
    confidence: np.ndarray | None,
    movable: np.ndarray,
    options: RefineOptions,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the depth map wants each vertex (N, 3), how much (N,), and the signed distance (N,) along the normal."""
    normals = vertex_normals(vertices, triangles)
    pixels, depth = camera.project(vertices)
    rays = vertices - camera.centre_mm
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    cosine = -(normals * rays).sum(1)
    own_mm = depth_from_mesh(camera, vertices, triangles)
    missing = _look_up(z0_mm - _like(z0_mm, own_mm, camera, options), pixels)
    with np.errstate(invalid="ignore"):
        in_front = np.abs(_look_up(own_mm, pixels) - depth) < 2.0
        seen = in_front & np.isfinite(missing) & (cosine > options.least_cosine) & movable
    # a step along the ray; its share along the normal is the distance to the tangent plane
    steps = (vertices - camera.centre_mm) * (np.where(seen, missing, 0) / depth)[:, None]
    distance = (steps * normals).sum(1)
    if not seen.any():
        return vertices, np.zeros(len(vertices)), distance
    spread = 1.4826 * float(np.median(np.abs(distance[seen])))
    limit = min(options.reach_mm, max(6 * spread, 2.0))
    share = np.clip(np.abs(distance) / limit, 0, 1)
    weight = np.where(seen, (1 - share**2) ** 2, 0.0) * np.clip(cosine, 0, 1)
    if confidence is not None:
        weight = weight * np.nan_to_num(_look_up(confidence.astype(np.float32), pixels))
    return vertices + distance[:, None] * normals, weight, distance


def _like(z0_mm: np.ndarray, own_mm: np.ndarray, camera: PinholeCamera, options: RefineOptions) -> np.ndarray:
    """The mesh's depth map (H, W) float32 low-passed as `z0_mm` was."""
    if options.lowpass_sigma_mm <= 0:
        return own_mm
    mask = np.isfinite(z0_mm)
    given = mask & np.isfinite(own_mm)
    if not given.any():
        return own_mm
    sigma_px = options.lowpass_sigma_mm * camera.fx_px / float(np.median(z0_mm[mask]))
    return lowpass_surface(np.where(given, own_mm, 0).astype(np.float32), given.astype(np.float32), mask, sigma_px)


def _look_up(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(N,) float64 bilinear; NaN outside and beside NaN."""
    columns, rows = np.where(np.isfinite(pixels), pixels, -10.0).astype(np.float32).T.copy()
    found = np.empty(len(columns), np.float32)
    for first in range(0, len(found), 30000):  # remap takes at most 32767 rows
        some = slice(first, first + 30000)
        values = cv2.remap(
            image, columns[some, None], rows[some, None], cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, OUTSIDE
        )
        found[some] = values[:, 0]
    return found.astype(np.float64)


class _Smooth:
    """The quadratic form of a smooth displacement field on one mesh."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, options: RefineOptions) -> None:
        from scipy import sparse
        from scipy.sparse.csgraph import connected_components

        self.options, self.vertices = options, vertices
        self.stiffness, self.area = cotangent(vertices, triangles)
        inverse = sparse.diags_array(1 / self.area)
        self.plate = (self.stiffness @ inverse @ self.stiffness).tocsc()
        self.pieces = connected_components(self.stiffness, directed=False)[1]

    def solve(self, weight: np.ndarray, wanted: np.ndarray, cutoff_mm: float) -> np.ndarray:
        """(N, 3) displacement from the start that fits `wanted` (N, 3) where `weight` (N,) says."""
        from scipy import sparse
        from scipy.sparse.linalg import splu

        length = cutoff_mm / (2 * np.pi)
        options = self.options
        data = self.area * weight
        matrix = (
            sparse.diags_array(data + options.anchor * self.area)
            + length**4 * self.plate
            + options.membrane * length**2 * self.stiffness
        )
        pieces = np.unique(self.pieces[weight > 0])
        inside = np.flatnonzero(np.isin(self.pieces, pieces))
        moved = np.zeros_like(wanted)
        part = matrix.tocsc()[inside][:, inside]
        factor = splu(part.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        moved[inside] = factor.solve((data[:, None] * wanted)[inside])
        self._carry(moved, inside)
        return moved

    def _carry(self, moved: np.ndarray, inside: np.ndarray) -> None:
        """Pieces without data (eyeballs, teeth) move as a whole with what surrounds them."""
        from scipy.spatial import KDTree

        others = np.setdiff1d(np.arange(len(moved)), inside)
        if not len(others):
            return
        nearest = inside[KDTree(self.vertices[inside]).query(self.vertices[others])[1]]
        for piece in np.unique(self.pieces[others]):
            members = self.pieces[others] == piece
            moved[others[members]] = moved[nearest[members]].mean(0)


def cotangent(vertices: np.ndarray, triangles: np.ndarray):
    """Stiffness matrix (N, N) of the linear elements (positive semidefinite, no negative couplings) and areas (N,).

    Couplings of obtuse pairs, which would be negative, are set to zero: smoothness needs no exact Laplacian.
    """
    from scipy import sparse

    count = len(vertices)
    rows, columns, values, area = [], [], [], np.zeros(count)
    for corner in range(3):
        a, b, c = (triangles[:, (corner + k) % 3] for k in range(3))
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        double = np.linalg.norm(np.cross(u, v), axis=1)
        rows.append(b)
        columns.append(c)
        values.append(0.5 * (u * v).sum(1) / np.maximum(double, 1e-9))
        area += np.bincount(a, double / 6, minlength=count)
    one_way = sparse.coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count)
    )
    both = (one_way + one_way.T).tocsr()
    both.data = np.clip(both.data, 0, 10)
    stiffness = sparse.diags_array(np.asarray(both.sum(1)).ravel()) - both
    return stiffness.tocsc(), np.maximum(area, 1e-3)
