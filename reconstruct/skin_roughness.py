"""Specular roughness of skin: oily where sebum is, dry elsewhere, wet on lips and eyes."""

import numpy as np

from .skin_frame import LIPS, Area
from .skin_points import SurfacePoints, smoothstep

_ROUGHNESS = {
    Area.FOREHEAD: 0.37, Area.BROW: 0.44, Area.LID: 0.46, Area.NOSE: 0.33, Area.CHEEK: 0.44, Area.LIP: 0.36,
    Area.PERIORAL: 0.42, Area.CHIN: 0.38, Area.JAW: 0.47, Area.NECK: 0.50, Area.EAR: 0.48, Area.SCALP: 0.52,
    Area.OTHER: 0.48, Area.EYEBALL: 0.08, Area.MOUTH: 0.25,
}  # fmt: skip
"""Chosen after the zones that T. Weyrich et al. measured (Analysis of human faces using a measurement-based skin
reflectance model, SIGGRAPH 2006): nose, forehead and lips glossier than cheeks and chin."""


def skin_roughness(points: SurfacePoints, hair_cover: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(M,) float32: roughness by region with a fine variation taken from `texture` (M,), unit variance."""
    column = np.array([_ROUGHNESS[area] for area in Area], np.float32)
    value = points.weights @ column
    value = value * (1.0 + 0.07 * np.clip(texture, -2.5, 2.5))
    lips = smoothstep(-0.4, 0.8, points.outline_mm[:, LIPS])
    value = value + lips * (0.30 - value)
    value = value + hair_cover * (0.60 - value)
    return np.clip(value, 0.08, 0.65).astype(np.float32)
