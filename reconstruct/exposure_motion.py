"""Motion of the head at every flash of a scan since the reference exposure, from all crossed frames together.

Three steps: colour ratios bring all frames within a fraction of a pixel; each frame is registered to what photometric
stereo of all frames predicts (motion_refine.py); the albedo found on the way is registered to the uniform exposure,
whose pose the depth has. Done on reduced pictures of the face alone. Frames agree among each other to 0.03 mm, with the
uniform exposure only to about 0.1 mm, because its light is another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage
from ..capture.rigid import RigidTransform
from .face_registration import (
    STILL,
    HeadMotion,
    Level,
    Pyramid,
    colour_ratios,
    compose,
    face_points,
    high_passed,
    register,
    squeezed,
)
from .light_model import light_model
from .motion_refine import changed_px, refine_motions

PITCH_MM = 0.5
"""Pixel size of the pictures compared, unless they are coarser."""
BORDER_PX = 12
ANCHOR_MM = 0.15


@dataclass(frozen=True, eq=False)
class Reduced:
    """How pictures are reduced: the window of the face (row, column slices), the size of its pictures, their camera,
    and the face's depth and mask there."""

    window: tuple[slice, slice]
    camera: PinholeCamera
    depth_mm: np.ndarray
    mask: np.ndarray
    pitch_mm: float
    factor: float
    """Pixels of the full picture per pixel."""

    def picture(self, image: LinearImage) -> LinearImage:
        rgb, clipped = image.rgb[self.window], image.clipped[self.window]
        if self.factor == 1.0:
            return LinearImage(rgb, clipped, image.colour)
        size = (self.camera.width_px, self.camera.height_px)
        small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32)
        burnt = cv2.resize(clipped.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        return LinearImage(small, burnt, image.colour)


def reduced(camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray) -> Reduced:
    """Prepare the reduction. depth_mm, mask (H, W) of `camera`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(rows[0] - BORDER_PX, 0), max(columns[0] - BORDER_PX, 0)
    bottom, right = min(rows[-1] + 1 + BORDER_PX, mask.shape[0]), min(columns[-1] + 1 + BORDER_PX, mask.shape[1])
    window = slice(int(top), int(bottom)), slice(int(left), int(right))
    part = camera.cropped(int(left), int(top), int(right - left), int(bottom - top))
    pitch = float(np.nanmedian(depth_mm[mask])) / camera.fx_px
    depth, inside = depth_mm[window], mask[window]
    factor = PITCH_MM / pitch
    if factor < 1.25:
        return Reduced(window, part, depth, inside, pitch, 1.0)
    size = (max(round(part.width_px / factor), 16), max(round(part.height_px / factor), 16))
    known = (np.isfinite(depth) & inside).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(known > 0, depth, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = np.where(share > 0.5, total / np.maximum(share, 1e-6), np.nan)
    return Reduced(window, squeezed(part, *size), small, share > 0.99, pitch * factor, factor)


def find_motions(
    crossed: Sequence[LinearImage],
    uniform: LinearImage | None,
    names: Sequence[str],
    lights: Mapping[str, Any],
    scale: float,
    view: Reduced,
) -> list[HeadMotion]:
    """Motion at each crossed frame (reduced, in the order of `names`) since the uniform frame, or since the first one.

    lights: content of lights.json; scale: as for `light_model`.
    """
    model = light_model(lights, view.camera, scale).chosen(names)
    whites = [light / light[1] for light in model.intensity]
    ratios = [
        colour_ratios(picture.rgb, picture.clipped, view.mask, view.camera, view.pitch_mm, white)
        for picture, white in zip(crossed, whites, strict=True)
    ]
    coarse = [STILL] + [register(ratios[0], other, view.depth_mm).motion for other in ratios[1:]]
    base = STILL
    if uniform is not None:
        seen = colour_ratios(uniform.rgb, uniform.clipped, view.mask, view.camera, view.pitch_mm)
        base = register(seen, ratios[0], view.depth_mm).motion
    found = [HeadMotion(compose(motion, base), 0.0, 0.0, 1.0) for motion in coarse]
    if len(names) < 4:
        return found
    found, maps = refine_motions(crossed, [f.motion for f in found], model, view.camera, view.depth_mm, view.mask)
    back = found[0].motion.inverse()
    if uniform is not None:
        since = _since_uniform(uniform, maps.albedo, view)
        # what moved less than this between the uniform and the first flash cannot be told from the change of light
        points = face_points(view.depth_mm, view.camera)
        moved_px = changed_px(points, STILL, compose(found[0].motion, since), view.camera)
        if moved_px * view.pitch_mm > ANCHOR_MM:
            back = since
    return [HeadMotion(compose(f.motion, back), f.moved_px, f.residual_px * view.factor, f.overlap) for f in found]


def _since_uniform(uniform: LinearImage, albedo: np.ndarray, view: Reduced) -> RigidTransform:
    """Motion from the uniform exposure to the albedo's pose. Green minus blue: gloss cancels, and light of these
    colours hardly wanders in the skin, so that the albedo holds no trace of the flashes' directions."""

    def prepared(rgb: np.ndarray, good: np.ndarray) -> Pyramid:
        difference = cv2.GaussianBlur(np.where(good[..., None], rgb, 0).astype(np.float32), (0, 0), 1.0)
        difference = difference[..., 1] - difference[..., 2]
        level = float(np.median(difference[good]))
        good = good & (difference > 0.3 * level)
        values = np.log(np.maximum(difference, 0.1 * level))[..., None].astype(np.float32)
        weight = good.astype(np.float32)
        return Pyramid((Level(view.camera, high_passed(values, weight, view.pitch_mm), weight),))

    first = prepared(uniform.rgb, view.mask & ~uniform.clipped)
    second = prepared(albedo, view.mask & np.isfinite(albedo[..., 0]))
    return register(first, second, view.depth_mm).motion
