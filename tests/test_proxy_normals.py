"""Normals as observations of a face model: derivatives, bounds, and that a smooth face is left without relief."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from test_proxy_multiview import POSE, cameras, fitted, head_world, landmarks

from mesoface.dataset.uv_maps import FaceSource
from mesoface.dataset.uv_registration import Registration, RegistrationOptions, ScanViews, proxy_share_mm, register_scan
from mesoface.reconstruct.displacement import FULL_BAND
from mesoface.reconstruct.face_model import FACE_REGIONS
from mesoface.reconstruct.face_procedural import procedural_face_model
from mesoface.reconstruct.image_raster import rasterize_image
from mesoface.reconstruct.mesh_refine import vertex_normals
from mesoface.reconstruct.proxy_depth import bounded_step
from mesoface.reconstruct.proxy_multiview import pixel_derivatives
from mesoface.reconstruct.proxy_normals import measured_normals, normal_residuals
from mesoface.reconstruct.uv_raster import UvRaster, interpolate

SUBJECT = 3


@lru_cache(maxsize=1)
def smooth_scan() -> ScanViews:
    """A head without skin detail, 0.7 mm a pixel: depth with stereo's slow errors, normals with 2 degrees of noise."""
    model, camera, world = procedural_face_model(), cameras()["centre"], head_world(SUBJECT)
    pixels, depth = camera.project(world)
    size = camera.width_px, camera.height_px
    raster = rasterize_image(pixels, depth, model.triangles, *size, perspective=True, cull_back=True)
    seen = UvRaster(raster.triangle, raster.barycentric)
    outward = interpolate(
        seen, model.triangles, vertex_normals(world, model.triangles) @ camera.cam_from_world.rotation.T
    )
    face = interpolate(seen, model.triangles, np.isin(model.regions, [*FACE_REGIONS]).astype(float))[..., 0] > 0.5
    rng, mask = np.random.default_rng(0), raster.valid & face
    slow = cv2.GaussianBlur(rng.standard_normal(mask.shape), (0, 0), 25)
    start_mm = np.where(mask, raster.depth + 0.3 * slow / slow.std(), np.nan).astype(np.float32)
    noisy = outward + np.deg2rad(2) * rng.standard_normal(outward.shape)
    noisy /= np.maximum(np.linalg.norm(noisy, axis=-1, keepdims=True), 1e-6)
    normals = np.where(mask[..., None], noisy, np.nan).astype(np.float32)
    sure, nothing = mask.astype(np.float32), np.zeros(mask.shape, np.float32)
    texture = np.full((*mask.shape, 3), 0.5, np.float32)
    views = ScanViews(
        cameras(), "centre", landmarks(SUBJECT, 1.5), sure, nothing, mask, sure, texture, start_mm, FULL_BAND, normals
    )
    return replace(views, displacement_mm=proxy_share_mm(model, world, camera, views))


def registered(views: ScanViews) -> Registration:
    source = FaceSource("V003", "smile", "scan", "procedural", "CC0", "made by a test")
    return register_scan(procedural_face_model(), views, source, RegistrationOptions(size=256))


def test_normals_place_a_face_that_depth_alone_does_not():
    views = smooth_scan()
    left_um, away_mm = [], []
    for seen in (views, replace(views, normals_camera=np.full_like(views.normals_camera, np.nan))):
        made = registered(seen)
        left_um.append(1000 * float(np.median(np.abs(made.maps.displacement_mm[made.maps.valid]))))
        off = made.refined.vertices_mm - head_world(SUBJECT)
        away_mm.append(float(np.median(np.linalg.norm(off[made.refined.held], axis=1))))
        # half of the expression's units lie at their bound: a clipped step would turn in circles there
        assert made.proxy.iterations - fitted(SUBJECT, 1.5).iterations < 12
    assert away_mm[0] < 0.2 and away_mm[0] < 0.8 * away_mm[1]
    assert left_um[0] < 5.5 and left_um[0] < left_um[1]  # a smooth face is left without relief


def test_derivatives_are_those_of_finite_differences():
    model, camera = procedural_face_model(), cameras()["centre"]
    proxy, views = fitted(SUBJECT), smooth_scan()
    seen = measured_normals(views.normals_camera, views.confidence, camera, 0.7)
    shape = proxy.vertices_mm.astype(np.float64)
    middle = np.linalg.norm(POSE.apply(shape)[:, :2] - POSE.apply(shape)[model.landmarks[33], :2], axis=1) < 45
    chosen = np.flatnonzero(middle & (shape[:, 2] > shape[model.landmarks[36], 2]))[::20]
    basis = np.concatenate([model.identity_mm, model.expression_mm]).astype(np.float64)

    def at(moved_mm: np.ndarray) -> tuple[np.ndarray, ...]:
        world = proxy.world_from_model.apply(moved_mm)[chosen]
        rotation = proxy.world_from_model.rotation
        rows = np.concatenate([np.zeros((len(chosen), 3, 6)), (rotation @ basis[:, chosen].transpose(1, 2, 0))], 2)
        pixels, slopes = camera.project(world)[0], pixel_derivatives(camera, world)
        return normal_residuals(model, moved_mm, rotation, chosen, seen, pixels, slopes, rows)

    residual, design, weight = at(shape)
    assert len(chosen) > 50 and (weight > 0).mean() > 0.9 and np.median(np.linalg.norm(residual, axis=1)) < 0.2
    moves = np.abs(basis[:, chosen]).mean((1, 2))
    identity = len(model.identity_mm)
    for number in (*np.argsort(-moves[:identity])[:2], identity + np.argmax(moves[identity:])):
        step = 0.5 / np.abs(basis[number]).max()
        change = (at(shape + step * basis[number])[0] - at(shape - step * basis[number])[0]) / (2 * step)
        assert np.corrcoef(change.ravel(), -design[:, :, 6 + number].ravel())[0, 1] > 0.9


def test_a_step_within_bounds_is_the_best_there_is():
    from scipy.optimize import lsq_linear

    rng = np.random.default_rng(1)
    design, wanted = rng.standard_normal((40, 6)), rng.standard_normal(40)
    low, high = np.full(6, -np.inf), np.full(6, np.inf)
    low[3:], high[3:] = 0, 0.1
    step = bounded_step(design.T @ design, design.T @ wanted, low, high)
    best = lsq_linear(design, wanted, (low, high), tol=1e-12).x
    assert (step >= low).all() and (step <= high).all()
    np.testing.assert_allclose(step, best, atol=1e-4)
