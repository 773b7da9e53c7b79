"""From linear light to a picture as people send it: lens blur, exposure, white balance, noise, JPEG, grey."""

import cv2
import numpy as np


def photograph(linear: np.ndarray, mean_face: float, rng: np.random.Generator, size: int, plain: bool) -> np.ndarray:
    """(size, size, 3) float32 sRGB in [0, 1] of a linear picture (S, S, 3) float32, S >= size.

    mean_face: mean linear value of the face, which the exposure follows. plain: a good camera, no mishaps.
    """
    target = rng.uniform(0.25, 0.33) if plain else np.clip(rng.normal(0.29, 0.09), 0.06, 0.6)
    balance = np.ones(3) if plain else 1 + rng.normal(0, 0.05, 3)
    image = linear * (target / max(mean_face, 1e-4) * balance).astype(np.float32)
    mishap = rng.random() if not plain else 1.0
    if mishap < 0.25:
        sigma = float(rng.uniform(0.4, 1.6)) * len(image) / size
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    elif mishap < 0.35:
        image = _shaken(image, rng)
    if len(image) != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    np.clip(image, 0, 1, out=image)
    noise = rng.uniform(0.0005, 0.002) if plain else rng.exponential(0.006)
    if noise > 1e-3:
        # one drawn field, rolled per channel: cheap, and noise of raw developers is correlated anyway
        field = rng.standard_normal((size, size), np.float32)
        grain = np.stack([field, np.roll(field, 31, 0), np.roll(field, 57, 1)], -1)
        image = np.clip(image + noise * (0.3 + np.sqrt(image)) * grain, 0, 1)
    srgb = image ** np.float32(1 / 2.2)
    if not plain:
        contrast, lift = rng.normal(1.0, 0.12), rng.normal(0, 0.03)
        srgb = np.clip((srgb - 0.5) * np.float32(contrast) + np.float32(0.5 + lift), 0, 1)
        if rng.random() < 0.15:
            grey = srgb @ np.array([0.299, 0.587, 0.114], np.float32)
            srgb = np.repeat(grey[..., None], 3, 2)
        if rng.random() < 0.5:
            quality = int(rng.integers(25, 95))
            _, data = cv2.imencode(".jpg", np.rint(srgb * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
            srgb = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32) / 255
        if rng.random() < 0.12:  # enlarged from a small picture
            small = int(size * rng.uniform(0.3, 0.7))
            srgb = cv2.resize(cv2.resize(srgb, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    return srgb.astype(np.float32)


def _shaken(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    length = int(rng.integers(3, 8)) | 1
    kernel = np.zeros((length, length), np.float32)
    turn = rng.uniform(0, np.pi)
    half = length // 2
    for t in np.linspace(-half, half, 4 * length):
        kernel[round(half + t * np.sin(turn)), round(half + t * np.cos(turn))] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())
