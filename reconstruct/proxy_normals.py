"""Photometric normals as observations of a face model: what a fit to depth alone leaves loose (proxy_depth.py).

Depth says how far a face is, normals where its folds lie: the crease beside a smile is 0.1 mm deep, below what stereo
measures, and turns the surface by twenty degrees. Each vertex compares its own normal to the measured one at its pixel.
Its derivative has two parts: the model's normal turns with a coefficient, and the vertex moves to another pixel, where
another normal was measured.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from .face_model import FaceModel
from .mesh_refine import vertex_normals
from .normal_fusion import masked_blur

SMOOTH_MM = 0.4
"""Sigma over which the measured normals are averaged: more would round the folds that they are to place."""


@dataclass(frozen=True, eq=False)
class MeasuredNormals:
    """Normals in world axes, made as smooth as a face model, and how they change from pixel to pixel."""

    normal: np.ndarray
    """(H, W, 3) float32, not of unit length where they vary within `SMOOTH_MM`; 0 where unknown."""
    across: np.ndarray
    down: np.ndarray
    """(H, W, 3) float32 per px."""
    weight: np.ndarray
    """(H, W) float32, 0..1."""


def measured_normals(
    normals_camera: np.ndarray, confidence: np.ndarray, camera: PinholeCamera, pixel_mm: float
) -> MeasuredNormals:
    """From normals (H, W, 3) in camera axes, NaN where unknown, and their confidence (H, W) 0..1."""
    known = np.asarray(np.isfinite(normals_camera).all(2))
    weight = np.where(known, np.clip(np.nan_to_num(confidence), 0, 1), 0).astype(np.float32)
    world = np.where(known[..., None], normals_camera, 0).astype(np.float32) @ camera.cam_from_world.rotation.astype(
        np.float32
    )
    smooth = masked_blur(world, weight, SMOOTH_MM / pixel_mm)
    smooth = np.where(weight[..., None] > 0, smooth, 0).astype(np.float32)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0))
    inner = cv2.erode((weight > 0).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return MeasuredNormals(smooth, across, down, weight * inner)


def normal_residuals(
    model: FaceModel,
    shape_mm: np.ndarray,
    rotation: np.ndarray,
    chosen: np.ndarray,
    seen: MeasuredNormals,
    pixels: np.ndarray,
    pixel_slopes: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured less model normal of vertices `chosen` (n,): residual (n, 3), its design (n, 3, P), weight (n,) by
    confidence and area: lids and lips have many small triangles, and are where a pixel mixes most.

    shape_mm (N, 3) and rotation (3, 3): the model's shape and its axes in the world. pixels (n, 2), pixel_slopes
    (n, 2, 3) px per mm: where each vertex is seen. rows (n, 3, P): mm per unit of turn (3), shift (3), coefficients.
    """
    own = vertex_normals(shape_mm, model.triangles)[chosen] @ rotation.T
    values = [_look_up(image, pixels) for image in (seen.normal, seen.across, seen.down)]
    weight = _look_up(seen.weight[..., None], pixels)[:, 0]
    moved = np.einsum("nij,njp->nip", pixel_slopes, rows)
    design = -(values[1][:, :, None] * moved[:, None, 0] + values[2][:, :, None] * moved[:, None, 1])
    turns = np.stack([np.cross(rotation[:, k], own) for k in range(3)], 2)
    design[:, :, :3] += turns
    turned, area = _turned_by_shape(model, shape_mm, chosen)
    design[:, :, 6:] += np.einsum("ij,njp->nip", rotation, turned)
    return values[0] - own, design, weight * area / area.mean()


def _turned_by_shape(model: FaceModel, shape_mm: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3, K): change of the unit normals, in the model's axes, per unit of alpha and beta; (n,) area around each.

    The normal is the sum of the cross products around a vertex, a + b + c each weighing by area: angles, which
    `vertex_normals` weighs by, change the derivative little.
    """
    from scipy import sparse

    count, triangles = len(shape_mm), model.triangles.astype(np.int64)
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    row, corner, edge = [], [], []
    area = np.zeros((len(chosen), 3))
    for k in range(3):
        mine = np.flatnonzero(place[triangles[:, k]] >= 0)
        a, b, c = (triangles[mine, (k + j) % 3] for j in range(3))
        at = place[a]
        np.add.at(area, at, np.cross(shape_mm[b] - shape_mm[a], shape_mm[c] - shape_mm[a]))
        for moving, first, second in ((a, b, c), (b, c, a), (c, a, b)):
            row.append(at)
            corner.append(moving)
            edge.append(shape_mm[first] - shape_mm[second])
    at, side = np.concatenate(row), np.concatenate(edge).astype(np.float32)
    used, moving = np.unique(np.concatenate(corner), return_inverse=True)
    shape = (len(chosen), len(used))
    operators = [sparse.csr_array((side[:, k], (at, moving)), shape) for k in range(3)]
    moves = np.concatenate([model.identity_mm[:, used], model.expression_mm[:, used]])
    basis = [np.ascontiguousarray(moves[:, :, k].T, np.float32) for k in range(3)]
    turned = np.empty((len(chosen), 3, len(moves)), np.float32)
    for i in range(3):
        # d(a x b + b x c + c x a) = da x (b - c) + ...: component i of da x e is da_j e_k - da_k e_j
        j, k = (i + 1) % 3, (i + 2) % 3
        turned[:, i] = operators[k] @ basis[j] - operators[j] @ basis[k]
    length = np.maximum(np.linalg.norm(area, axis=1), 1e-9).astype(np.float32)
    unit = (area / length[:, None]).astype(np.float32)
    turned -= unit[:, :, None] * np.einsum("ni,nip->np", unit, turned)[:, None]
    return turned / length[:, None, None], length


def _look_up(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(n, C) float64 bilinear; 0 outside."""
    columns, rows = pixels.astype(np.float32).T.copy()
    found = cv2.remap(image, columns[:, None], rows[:, None], cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, 0)
    return found.reshape(len(pixels), -1).astype(np.float64)
