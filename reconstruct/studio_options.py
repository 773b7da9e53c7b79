"""What to render: size presets, quality, switches of the virtual studio; checked before any work starts."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.rig_models import Rig
from .expressions import activations_of

SIZES = {"tiny": (240, 160), "small": (600, 400), "medium": (1500, 1000), "large": (3000, 2000), "full": (6000, 4000)}
RENDER_VERSION = 1
"""Goes up when the same options give other pixels; part of the content hash."""


class StudioOptions(BaseModel):
    """Everything that decides the pixels of a rendered scan, besides the rig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_px: int = Field(default=1500, ge=48, le=12000)
    height_px: int = Field(default=1000, ge=32, le=8000)
    subject: int = Field(default=1, ge=0, le=2**31 - 1)
    expression: str = "neutral"
    face_model: str = "procedural"
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of sensor noise and motion")
    samples: int = Field(default=9, ge=1, le=256, description="light samples per pixel of a flash image")
    diffuse: Literal["coated", "lambert"] = "coated"
    interreflection: bool = True
    subsurface: bool = True
    noise: bool = True
    leak: float = Field(default=0.005, ge=0, le=0.5, description="extinction ratio of the film and analyser pair")
    motion_mm: float = Field(default=0.0, ge=0, le=20)
    engine: Literal["scalar", "llvm"] = "scalar"

    @property
    def edge_mm(self) -> float:
        """Longest mesh edge in the face: 0.3 mm, coarser only for previews that could not show it."""
        return float(np.clip(0.3 * 1200 / self.width_px, 0.2 if self.width_px >= 3000 else 0.3, 0.8))

    @property
    def map_size(self) -> int:
        """Side of the UV maps in texels."""
        return 4096 if self.width_px >= 3000 else 2048 if self.width_px >= 1000 else 1024


def parse_size(text: str) -> tuple[int, int]:
    """`tiny`, `small`, `medium`, `large`, `full`, or `WIDTHxHEIGHT` in pixels. Raises UserError."""
    if text in SIZES:
        return SIZES[text]
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UserError(f"size {text!r}: expected {', '.join(SIZES)} or WIDTHxHEIGHT in pixels such as 1500x1000")
    return int(width), int(height)


def check_options(options: StudioOptions, rig: Rig) -> None:
    """Refuse what cannot be rendered, before any work. Raises UserError."""
    activations_of(options.expression)
    for camera in rig.cameras:
        PinholeCamera.from_rig(camera).scaled(options.width_px, options.height_px)
    needed, available = memory_needed_bytes(options), memory_available_bytes()
    if needed > available:
        raise UserError(
            f"size {options.width_px}x{options.height_px} needs about {needed / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} GiB are free; choose a smaller --size (medium needs "
            f"{memory_needed_bytes(options.model_copy(update={'width_px': 1500, 'height_px': 1000})) / 2**30:.1f} GiB)"
        )


def memory_needed_bytes(options: StudioOptions) -> int:
    """Peak memory of a scan, from measured runs: interpreter, mesh, UV maps, image buffers."""
    triangles = 4.0e6 * (0.3 / options.edge_mm) ** 2
    return int(0.45e9 + 500 * triangles + 75 * options.map_size**2 + 330 * options.width_px * options.height_px)


def memory_available_bytes() -> int:
    """Memory that can be used without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
