"""Normal, roughness and strength of the skin's gloss, from the highlights of the flashes.

Nine flashes see a lobe at nine half-vectors only, so the normal is told where two or more of them lie within the lobe.
The fit starts at the diffuse normal and departs from it as far as the data say; its confidence tells how much they
say. An option for detail (normal_fusion.py), and the source of roughness for relighting.
"""

from dataclasses import dataclass

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .light_model import LightModel
from .photometric_stereo import STRIP_PIXELS, ImageStack, NoiseModel, Progress, in_threads

START_ALPHA = 0.2
"""Microfacet roughness (GGX alpha) of skin from which the fit starts."""


@dataclass(frozen=True, eq=False)
class SpecularLobes:
    """normal (H, W, 3) camera axes; roughness (H, W) = sqrt(alpha); strength (H, W), 1 for a coat of the model's index;
    confidence (H, W) 0..1. NaN (confidence 0) where nothing was fitted."""

    normal: np.ndarray
    roughness: np.ndarray
    strength: np.ndarray
    confidence: np.ndarray


def fit_lobes(
    stack: ImageStack,
    lights: LightModel,
    camera: PinholeCamera,
    depth_mm: np.ndarray,
    start_normal: np.ndarray,
    *,
    noise: NoiseModel | None = None,
    start_alpha: float = START_ALPHA,
    threads: int = 2,
    progress: Progress = lambda what, done, total: None,
) -> SpecularLobes:
    """Fit a lobe at every pixel that has a depth and a start normal.

    stack: specular images (PolarPairs.specular); start_normal (H, W, 3): diffuse normals, camera axes.
    Raises UserError when sizes differ.
    """
    height, width = stack.size
    if depth_mm.shape != stack.size or start_normal.shape != (height, width, 3):
        raise UserError(f"specular lobes: images of {stack.size}, depth {depth_mm.shape}, normals {start_normal.shape}")
    model = lights.chosen(stack.names)
    noise = noise or NoiseModel()
    x, y = camera.normalised_grid()
    inside = np.isfinite(start_normal[..., 0]) & np.isfinite(depth_mm)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    normal = np.full((height, width, 3), np.nan, np.float32)
    roughness, strength = (np.full((height, width), np.nan, np.float32) for _ in range(2))
    confidence = np.zeros((height, width), np.float32)
    if len(rows) == 0:
        return SpecularLobes(normal, roughness, strength, confidence)
    across = slice(int(columns[0]), int(columns[-1]) + 1)
    step = max(8, STRIP_PIXELS // (across.stop - across.start) // 4)

    def solve(first: int) -> None:
        from .specular_kernel import fit_strip

        strip = slice(first, min(first + step, int(rows[-1]) + 1))
        images, usable = stack.read(strip, across)
        gloss = images.mean(axis=3)
        level = np.maximum(gloss.mean(axis=0), 0)
        # half of the diffuse noise: parallel and crossed frame, not twice the crossed one; mean of three channels
        sigma = np.sqrt((noise.shot * (level + 0.05) + noise.read**2) / 3).astype(np.float32)
        made = [np.ascontiguousarray(a[strip, across]) for a in (normal, roughness, strength, confidence)]
        fit_strip(
            gloss, sigma, usable, np.where(inside, depth_mm, np.nan)[strip, across].astype(np.float32),
            np.nan_to_num(start_normal[strip, across]).astype(np.float32), x[across], y[strip], model.position_mm,
            model.axis, model.exponent, model.intensity, model.index, start_alpha, *made,
        )  # fmt: skip
        for whole, part in zip((normal, roughness, strength, confidence), made, strict=True):
            whole[strip, across] = part

    in_threads(solve, range(int(rows[0]), int(rows[-1]) + 1, step), threads, "specular lobes", progress)
    return SpecularLobes(normal, roughness, strength, confidence)
