"""The head's motion between flashes to a few hundredths of a pixel: each picture against what the others predict.

Colour ratios (face_registration.py) are blurred and a little lamp-dependent where light wanders in the skin. Once
motion is known to a fraction of a pixel, photometric stereo of all pictures predicts each of them, shading included,
and the pictures are registered to their predictions; twice, because the prediction sharpens. What all pictures have in
common stays as the colour ratios had it.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage
from ..capture.rigid import RigidTransform
from .face_registration import HeadMotion, Level, Pyramid, compose, face_points, project_motion, register
from .frame_warp import warp_frame
from .light_model import LightModel, coat_gain, transmission
from .photometric_stereo import ImageStack, PhotometricMaps, photometric_stereo

ROUNDS = 4
SMALL_PX = 0.02
"""Change of a picture's motion below which there is no further round."""
MIX = (0.0, 1.0, 1.0)
LEAST_COSINE, MOST_RESIDUAL = 0.25, 0.03


def refine_motions(
    pictures: Sequence[LinearImage],
    motions: Sequence[RigidTransform],
    lights: LightModel,
    camera: PinholeCamera,
    depth_mm: np.ndarray,
    mask: np.ndarray,
) -> tuple[list[HeadMotion], PhotometricMaps]:
    """Better motions of the head, one per light, and the maps behind the last prediction.

    Args:
        pictures: light from inside the skin (crossed frames) under `lights`, in their order, unmoved, seen by `camera`.
        motions: since the reference pose, to about a pixel.
        depth_mm, mask: (H, W) of `camera`.
    """
    found = [HeadMotion(motion, 0.0, 0.0, 1.0) for motion in motions]
    maps = None
    for _ in range(ROUNDS):
        warped = [warp_frame(p, camera, camera, depth_mm, f.motion) for p, f in zip(pictures, found, strict=True)]
        stack = ImageStack.from_arrays(lights.names, [p.rgb for p in warped], [p.clipped for p in warped])
        model = lights.seen_by_moved_head([f.motion for f in found])
        maps = photometric_stereo(stack, model, camera, depth_mm, mask, mix=MIX, per_channel=False)
        predicted, good = predict(maps, model, camera, depth_mm)
        pose, before = _mean_pose(found), [f.motion for f in found]
        found = [
            _registered(picture, predicted[i], good[i] & ~picture.clipped, depth_mm, camera, found[i].motion)
            for i, picture in enumerate(pictures)
        ]
        # predictions cannot tell a motion that all pictures share
        back = compose(_mean_pose(found).inverse(), pose)
        found = [HeadMotion(compose(f.motion, back), f.moved_px, f.residual_px, f.overlap) for f in found]
        points = face_points(depth_mm, camera)
        if all(changed_px(points, a, b.motion, camera) < SMALL_PX for a, b in zip(before, found, strict=True)):
            break
    assert maps is not None
    return found, maps


def predict(
    maps: PhotometricMaps, lights: LightModel, camera: PinholeCamera, depth_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Green + blue of each light's picture (L, H, W) float32, and where it can be trusted (L, H, W) bool."""
    inside = maps.solved
    x, y = camera.normalised_grid()
    rows, columns = np.nonzero(inside)
    z = depth_mm[inside].astype(np.float64)
    points = np.stack([x[columns] * z, y[rows] * z, z], axis=1)
    towards, irradiance = lights.at(points)
    normal = maps.normal[inside].astype(np.float64)
    facing = -(normal * points).sum(1) / np.linalg.norm(points, axis=1)
    leaves = coat_gain(lights.index) * transmission(facing, lights.index)
    predicted = np.zeros((len(lights.names), *inside.shape), np.float32)
    good = np.zeros(predicted.shape, bool)
    for i in range(len(lights.names)):
        cosine = (towards[i] * normal).sum(1)
        shade = irradiance[i] * np.maximum(cosine, 0) * transmission(cosine, lights.index) * leaves
        strength = (maps.albedo[inside] * lights.intensity[i] * np.asarray(MIX)).sum(1)
        predicted[i][inside] = strength * shade
        good[i][inside] = (cosine > LEAST_COSINE) & (facing > 0.35) & (maps.residual[inside] < MOST_RESIDUAL)
    return predicted, good


def _registered(
    picture: LinearImage,
    predicted: np.ndarray,
    good: np.ndarray,
    depth_mm: np.ndarray,
    camera: PinholeCamera,
    start: RigidTransform,
) -> HeadMotion:
    actual = picture.rgb @ np.asarray(MIX, np.float32)
    levels = []
    for image, weight in ((predicted, good), (actual, ~picture.clipped)):
        # square roots: about equal noise everywhere
        image = np.sqrt(np.maximum(cv2.GaussianBlur(image, (0, 0), 0.8), 0))
        levels.append(Pyramid((Level(camera, image[..., None].astype(np.float32), weight.astype(np.float32)),)))
    return register(levels[0], levels[1], depth_mm, start)


def changed_px(points: np.ndarray, before: RigidTransform, after: RigidTransform, camera: PinholeCamera) -> float:
    """Rms difference in px of where two motions bring the points (h, w, 3)."""
    known = np.isfinite(points[..., 2])
    change = project_motion(points, before, camera)[known] - project_motion(points, after, camera)[known]
    return float(np.sqrt((change**2).sum(1).mean()))


def _mean_pose(found: Sequence[HeadMotion]) -> RigidTransform:
    turn = np.mean([cv2.Rodrigues(f.motion.rotation)[0].ravel() for f in found], axis=0)
    shift = np.mean([f.motion.translation_mm for f in found], axis=0)
    return RigidTransform(cv2.Rodrigues(turn)[0], shift)
