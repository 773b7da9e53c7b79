"""Bring a frame into the reference's view: lens, another body and motion of the head, in one resampling."""

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage
from ..capture.rigid import RigidTransform
from .face_registration import STILL, project_motion, resample

STRIP_ROWS = 256
STILL_PX = 0.15
"""Motions below this are left alone: resampling would cost more sharpness than they do."""


def warp_frame(
    image: LinearImage,
    camera: PinholeCamera,
    reference: PinholeCamera,
    depth_mm: np.ndarray,
    motion: RigidTransform = STILL,
) -> LinearImage:
    """The frame as the reference camera would have seen it with the head in its reference pose.

    Args:
        image: taken by `camera`, which may have distortion.
        reference: without distortion; depth_mm (H, W) is in its view, holes take the median depth.
        motion: of the head's points in the axes of `reference`, since the reference exposure.

    Pixels from outside of the frame are marked as clipped. Unchanged (the same object) where nothing is to be done.
    """
    still = motion is STILL
    alike = not camera.has_distortion and same_view(camera, reference)
    if still and alike:
        return image
    height, width = depth_mm.shape
    rgb = np.empty((height, width, 3), np.float32)
    clipped = np.empty((height, width), bool)
    middle = float(np.nanmedian(depth_mm))
    x, y = reference.normalised_grid()
    world = reference.cam_from_world.inverse()
    burnt = image.clipped.astype(np.float32) if image.clipped.any() else None
    for first in range(0, height, STRIP_ROWS):
        strip = slice(first, min(first + STRIP_ROWS, height))
        depth = depth_mm[strip].astype(np.float64)
        depth = np.where(np.isfinite(depth), depth, middle)
        points = np.stack([x[None] * depth, y[strip, None] * depth, depth], axis=2)
        if alike:
            at = project_motion(points, motion, camera)
        else:
            pixels, _ = camera.project(world.apply(motion.apply(points.reshape(-1, 3))))
            at = pixels.reshape(*depth.shape, 2).astype(np.float32)
        rgb[strip] = resample(image.rgb, at, cv2.INTER_LANCZOS4)
        outside = (at < 0).any(2) | (at[..., 0] > camera.width_px - 1) | (at[..., 1] > camera.height_px - 1)
        if burnt is not None:
            near = resample(burnt, at, cv2.INTER_LINEAR)
            outside |= near > 0.01
        clipped[strip] = outside
    return LinearImage(rgb, clipped, image.colour)


def same_view(a: PinholeCamera, b: PinholeCamera) -> bool:
    """Do both cameras see every point at the same pixel, distortion aside?"""
    intrinsics = [(c.width_px, c.height_px, c.fx_px, c.fy_px, c.cx_px, c.cy_px) for c in (a, b)]
    return (
        np.allclose(*intrinsics, rtol=1e-9, atol=1e-6)
        and np.allclose(a.cam_from_world.rotation, b.cam_from_world.rotation, atol=1e-9)
        and np.allclose(a.cam_from_world.translation_mm, b.cam_from_world.translation_mm, atol=1e-6)
    )
