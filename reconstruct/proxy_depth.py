"""A multi-view proxy fitted to the scan's depth as well: identity, expression and pose from all of the surface.

Landmarks are sixty-eight points with errors of their detector; the depth map says where ten thousand vertices lie
along their normals. Within the model a fold or the side of a nose then also fixes what lies in the surface, which the
smooth refinement that follows (proxy_refine.py) cannot. Photometric normals place the folds (proxy_normals.py).
Gauss-Newton on pose, alpha and beta; the landmarks stay in as weak observations of their own vertices, and the
coefficients keep the priors of the landmark fit.
"""

from dataclasses import replace

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import RigidTransform
from .face_model import FaceModel
from .proxy_fit import fast_shape_mm
from .proxy_multiview import MultiviewProxy, pixel_derivatives
from .proxy_normals import MeasuredNormals, normal_residuals
from .proxy_options import FitOptions
from .proxy_refine import RefineOptions, pull_to_depth

ROUNDS = 20
SAMPLES = 6000
DEPTH_SIGMA_MM = 0.3
"""Of a depth sample about the model: stereo's noise and skin detail."""
DEPTH_COUNT = 2000
"""Independent samples that the depth counts as, and next how much looser landmarks are held than their scatter says: a
detector's errors are the same in all views. Chosen on one virtual subject (1.5 to 0.5 mm, mean over the face)."""
ANCHOR_LOOSER = 3.0
SETTLED_MM = 0.03
NORMAL_SAMPLES = 3000
"""Vertices whose normals are compared: half of those compared to the depth, since each costs six times as much."""
NORMAL_SIGMA = 0.07
"""Of a measured normal about the model's, rad: skin detail, and what the model's mesh is too coarse for."""
NORMAL_COUNT = 3000
"""Independent samples that the normals count as."""
NORMAL_REACH = 0.25
"""Normals farther off (rad) do not count: brows, lashes, an open mouth."""


def fit_to_depth(
    proxy: MultiviewProxy,
    camera: PinholeCamera,
    depth_mm: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    movable: np.ndarray | None = None,
    depth_lowpass_mm: float = 0.0,
    normals: MeasuredNormals | None = None,
    options: FitOptions | None = None,
) -> MultiviewProxy:
    """`proxy` (of `fit_multiview`) after fitting it to `depth_mm` (H, W) along the camera's axis, NaN outside.

    depth_lowpass_mm: sigma of the low-pass that the depth has gone through; the model is compared through the same,
        which costs seconds. Below 3 mm leave it at 0: the model is as smooth.
    normals: of the same camera; without them folds are only placed as well as stereo resolves them.
    movable: (N,) bool, vertices that are compared. A proxy that meets the depth nowhere comes back as it is.
    """
    options, model = options or FitOptions(), proxy.model
    comparison = RefineOptions(lowpass_sigma_mm=depth_lowpass_mm)
    movable = np.ones(len(model.mean_mm), bool) if movable is None else movable
    alpha, beta, pose = proxy.alpha.copy(), proxy.beta.copy(), proxy.world_from_model
    known = np.flatnonzero(model.landmarks >= 0)
    anchors = proxy.vertices_world_mm[model.landmarks[known]]
    anchor_sigma_mm = ANCHOR_LOOSER * max(proxy.noise_mm, DEPTH_SIGMA_MM)
    prior = np.concatenate(
        [np.full(len(alpha), options.lambda_identity), np.full(len(beta), options.lambda_expression)]
    )
    low, high = np.full(len(prior) + 6, -np.inf), np.full(len(prior) + 6, np.inf)
    if model.expression_is_units:
        low[6 + len(alpha) :], high[6 + len(alpha) :] = 0.0, 1.0
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        shape = fast_shape_mm(model, alpha, beta).astype(np.float64)
        world = pose.apply(shape)
        _, weight, distance = pull_to_depth(world, model.triangles, camera, depth_mm, confidence, movable, comparison)
        chosen = np.flatnonzero(weight > 0)
        if len(chosen) < 200:
            break
        chosen = chosen[:: max(len(chosen) // SAMPLES, 1)]
        outward = _normals(world, model, chosen)
        rows = _design(model, shape, pose, chosen)
        slopes = np.einsum("nk,nkp->np", outward, rows) * (np.sqrt(weight[chosen]) / DEPTH_SIGMA_MM)[:, None]
        missing = distance[chosen] * np.sqrt(weight[chosen]) / DEPTH_SIGMA_MM
        # neighbouring depth samples repeat each other: together they count as DEPTH_COUNT
        share = min(1.0, DEPTH_COUNT / len(chosen))
        vertices = model.landmarks[known]
        held = _design(model, shape, pose, vertices).reshape(-1, rows.shape[2]) / anchor_sigma_mm
        off = (anchors - world[vertices]).reshape(-1) / anchor_sigma_mm
        matrix = share * slopes.T @ slopes + held.T @ held
        right = share * slopes.T @ missing + held.T @ off
        if normals is not None:
            facing = _facing_terms(model, shape, pose, chosen, normals, camera, world, rows)
            matrix, right = matrix + facing[0], right + facing[1]
        matrix[6:, 6:] += np.diag(prior)
        right[6:] -= prior * np.concatenate([alpha, beta])
        matrix[np.diag_indices(6)] += 1e-9
        now = np.concatenate([np.zeros(6), alpha, beta])
        step = bounded_step(matrix, right, low - now, high - now)
        alpha, beta = alpha + step[6 : 6 + len(alpha)], beta + step[6 + len(alpha) :]
        pose = RigidTransform(
            pose.rotation @ cv2.Rodrigues(step[:3])[0], pose.translation_mm + pose.rotation @ step[3:6]
        )
        moved = np.einsum("nkp,p->nk", rows, step)
        if float(np.sqrt(np.mean(moved**2))) < SETTLED_MM:
            break
    return replace(
        proxy, alpha=alpha, beta=beta, world_from_model=pose, vertices_mm=fast_shape_mm(model, alpha, beta),
        iterations=proxy.iterations + rounds,
    )  # fmt: skip


def _facing_terms(
    model: FaceModel, shape_mm: np.ndarray, pose: RigidTransform, chosen: np.ndarray, normals: MeasuredNormals,
    camera: PinholeCamera, world_mm: np.ndarray, rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Normal matrix (P, P) and right side (P,) of what the measured normals want."""
    every = max(len(chosen) // NORMAL_SAMPLES, 1)
    chosen, rows = chosen[::every], rows[::every]
    pixels, _ = camera.project(world_mm[chosen])
    residual, design, weight = normal_residuals(
        model, shape_mm, pose.rotation, chosen, normals, pixels, pixel_derivatives(camera, world_mm[chosen]), rows
    )
    away = np.linalg.norm(residual, axis=1) / NORMAL_REACH
    weight = weight * (1 - np.clip(away, 0, 1) ** 2) ** 2
    scale = np.sqrt(weight * min(1.0, NORMAL_COUNT / len(chosen))) / NORMAL_SIGMA
    design = (design * scale[:, None, None]).reshape(-1, design.shape[2])
    return design.T @ design, design.T @ (residual * scale[:, None]).reshape(-1)


def bounded_step(matrix: np.ndarray, right: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Step (P,) with matrix @ step = right, within [low, high]: what would leave is held at its bound and the rest
    solved again. Clipping a free step instead leaves the others where the clipped ones had pushed them.
    """
    step, free = np.zeros(len(right)), np.ones(len(right), bool)
    while free.any():
        held = matrix[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(matrix[np.ix_(free, free)], right[free] - held)
        outside = free & ((step < low) | (step > high))
        if not outside.any():
            break
        step[outside] = np.clip(step, low, high)[outside]
        free &= ~outside
    return step


def _design(model: FaceModel, shape_mm: np.ndarray, pose: RigidTransform, chosen: np.ndarray) -> np.ndarray:
    """(n, 3, 6 + Ka + Kb): world mm per unit of turn (in the model frame), shift (model frame), alpha, beta."""
    points = shape_mm[chosen]
    x, y, z = points.T
    zero = np.zeros_like(x)
    # a turn w moves X by w x X
    turns = np.stack([np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], 2)
    shifts = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    bases = [basis[:, chosen].transpose(1, 2, 0) for basis in (model.identity_mm, model.expression_mm)]
    local = np.concatenate([turns, shifts, *bases], axis=2).astype(np.float64)
    return np.einsum("ij,njp->nip", pose.rotation, local)


def _normals(world_mm: np.ndarray, model: FaceModel, chosen: np.ndarray) -> np.ndarray:
    from .mesh_refine import vertex_normals

    return vertex_normals(world_mm, model.triangles)[chosen]
