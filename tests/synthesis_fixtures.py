"""Networks that are none: plain functions of the texture, for tests of what is built around a network."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class About:
    """What `synthesis.PredictorAbout` wants."""

    face_model: str = "procedural"
    map_size: int = 192
    patch_px: int = 32
    texel_mm: float = 0.5
    area: str = "all"
    trained_on: str = "nothing, a test"


@dataclass
class Function:
    """height (B, P, P) mm = function(texture (B, P, P, 3)); PDIM alone gives half of it."""

    about: About
    function: Callable[[np.ndarray], np.ndarray]
    most: int = 10**6
    """Patches at once that fit into its memory."""
    calls: int = 0

    def displacement_mm(
        self, texture_srgb: np.ndarray, valid: np.ndarray, *, pdim_only: bool = False, region: np.ndarray | None = None
    ) -> np.ndarray:
        assert texture_srgb.dtype == np.float32 and valid.dtype == bool and texture_srgb.shape[:3] == valid.shape
        assert region is None or region.shape == valid.shape
        self.calls += 1
        if len(valid) > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        height = self.function(texture_srgb) * valid * (0.5 if pdim_only else 1.0)
        return height.astype(np.float32)


def grey_height(texture: np.ndarray) -> np.ndarray:
    """The grey value's distance from the middle, in mm."""
    return texture.mean(-1) - 0.5
