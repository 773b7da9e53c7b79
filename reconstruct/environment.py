"""Seeded surroundings for portraits: a sky or room with soft lights, as latitude-longitude radiance maps."""

import numpy as np

from ..capture.camera_model import PinholeCamera


def make_environment(rng: np.random.Generator, height: int = 128) -> np.ndarray:
    """A random environment (height, 2 height, 3) float32, linear radiance with mean 1.

    Top row is up (+y); the centre column is the direction the face looks (+z), the right half is the subject's right.
    A vertical gradient (sky or ceiling to floor), one key light in the front half, up to three softer lights, and
    broad blotches that stand for walls and furniture. Colours run from tungsten to daylight.
    """
    directions = environment_directions(height)
    up = directions[..., 1]
    low, high = rng.uniform(0.05, 0.4, 3) * _tint(rng), rng.uniform(0.3, 1.2) * _tint(rng)
    blend = 1 / (1 + np.exp(-(up - rng.uniform(-0.3, 0.3)) * rng.uniform(2, 10)))
    radiance = low + (high - low) * blend[..., None]
    for _ in range(8):
        spread = rng.uniform(2, 20)
        radiance = radiance + rng.uniform(-0.3, 0.4) * _lobe(directions, rng.standard_normal(3), spread) * _tint(rng)
    radiance = np.maximum(radiance, 0.02)
    key = np.array([rng.uniform(-1.2, 1.2), rng.uniform(-0.1, 1.0), rng.uniform(0.3, 1.0)])
    lights = [(key, rng.uniform(4, 30), rng.uniform(15, 120))]
    for _ in range(rng.integers(0, 4)):
        lights.append((rng.standard_normal(3), rng.uniform(1, 8), rng.uniform(10, 80)))
    for direction, brightness, sharpness in lights:
        radiance = radiance + brightness * _lobe(directions, direction, sharpness) * _tint(rng)
    return (radiance / radiance.mean()).astype(np.float32)


def environment_directions(height: int) -> np.ndarray:
    """Unit direction (height, 2 height, 3) float64 that each texel of an environment map shows."""
    theta = np.pi * (np.arange(height) + 0.5) / height
    phi = 2 * np.pi * (np.arange(2 * height) + 0.5) / (2 * height)
    x = np.sin(theta)[:, None] * np.sin(phi)[None, :]
    y = np.repeat(np.cos(theta)[:, None], 2 * height, axis=1)
    z = -np.sin(theta)[:, None] * np.cos(phi)[None, :]
    return np.stack([x, y, z], axis=-1)


def background(environment: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """What `camera` sees of the environment: (H, W, 3) float32 linear, bilinear."""
    height, width = environment.shape[:2]
    x, y, z = np.moveaxis(camera.ray_directions_world(np.float64), -1, 0)
    rows = np.clip(np.arccos(np.clip(y, -1, 1)) / np.pi * height - 0.5, 0, height - 1)
    columns = (np.arctan2(x, -z) / (2 * np.pi)) % 1.0 * width - 0.5
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fr, fc = (rows - r0)[..., None], (columns - c0)[..., None]
    r1, c1 = np.minimum(r0 + 1, height - 1), (c0 + 1) % width
    c0 = c0 % width
    top = environment[r0, c0] * (1 - fc) + environment[r0, c1] * fc
    bottom = environment[r1, c0] * (1 - fc) + environment[r1, c1] * fc
    return (top * (1 - fr) + bottom * fr).astype(np.float32)


def _lobe(directions: np.ndarray, axis: np.ndarray, sharpness: float) -> np.ndarray:
    """A spherical Gaussian (h, w, 1) around `axis`, 1 at its centre."""
    axis = axis / max(float(np.linalg.norm(axis)), 1e-9)
    return np.exp(sharpness * (directions @ axis - 1))[..., None]


def _tint(rng: np.random.Generator) -> np.ndarray:
    """A light colour (3,) between tungsten and blue sky with mean 1."""
    warmth = rng.uniform(-1, 1)
    colour = np.array([1 + 0.25 * warmth, 1.0, 1 - 0.3 * warmth])
    return colour / colour.mean()
