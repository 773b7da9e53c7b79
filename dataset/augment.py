"""Augmentation of patches: mirrored faces, and other light on a scan's texture. Displacement is never scaled."""

from collections.abc import Mapping

import numpy as np

from ..reconstruct.harmonic_light import NAMES
from .face_areas import mirrored_regions

GAIN = (0.6, 1.5)
WHITE_BALANCE = 0.08
"""Standard deviation of each channel's log gain."""
SLOPE = 0.5
"""Largest change of brightness across a patch: light that falls off."""
VECTORS = ("position_mm", "normal")


def augmented(arrays: Mapping[str, np.ndarray], rng: np.random.Generator) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays of one patch as of patch_shards.ARRAYS, changed; and whether they were mirrored.

    Mirrored half of the time, left and right regions exchanged, vectors and light with them. The texture of scans gets
    another exposure, white balance and a slope of brightness; that of photographs keeps its light, which is known.
    """
    out = {name: np.array(values) for name, values in arrays.items()}
    flipped = bool(rng.integers(2))
    if flipped:
        out = mirrored(out)
    if "texture_linear" in out:
        out["texture_linear"] = _relit(out["texture_linear"], rng)
    return out, flipped


def mirrored(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The patch of the mirrored face: columns reversed, x of vectors and of the light negated."""
    out = {name: values if name == "light" else values[:, ::-1].copy() for name, values in arrays.items()}
    out["region"] = mirrored_regions(out["region"])
    for name in VECTORS:
        if name in out:
            out[name][..., 0] *= -1
    if "light" in out:
        odd = np.array([name.count("x") % 2 == 1 for name in NAMES])
        out["light"] = np.where(odd[:, None], -out["light"], out["light"]).astype(out["light"].dtype)
    return out


def _relit(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint16 linear texture times a gain per channel and a plane."""
    side = len(texture)
    gain = np.exp(rng.uniform(*np.log(GAIN)) + WHITE_BALANCE * rng.standard_normal(3))
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, SLOPE)
    place = np.linspace(-0.5, 0.5, side)
    plane = 1 + slope * (np.cos(angle) * place[None, :] + np.sin(angle) * place[:, None])
    lit = texture.astype(np.float32) * (plane[..., None] * gain).astype(np.float32)
    return np.rint(np.clip(lit, 0, 65535)).astype(np.uint16)
