"""From a scan's flash pairs and its depth to normals, albedo, and displacement in millimetres.

1 surface to start from          the measured depth, lightly smoothed, completed by z0
2 separate the pairs             polar_pairs.py
3 normals and albedo             photometric_stereo.py         (twice: points move to the integrated surface)
4 normals that drive detail      normal_fusion.py, specular_lobe.py
5 fine and base surface, Eq. 9   displacement.py
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.calibration_maps import Calibration
from ..capture.camera_model import PinholeCamera
from .displacement import FULL_BAND, GeometryPair, Preset, geometry_pair
from .geometry_files import GeometryResult
from .normal_fusion import Mode, fuse_normals
from .photometric_stereo import PhotometricMaps, photometric_stereo
from .polar_pairs import PolarPairs, separate_scan
from .scan_source import ScanSource
from .scatter_model import ScatterModel
from .specular_lobe import SpecularLobes, fit_lobes
from .stereo_types import Progress
from .surface_lowpass import lowpass_surface

START_SIGMA_MM = 2.0
"""Stereo's depth is noise below about this; above it is better than z0, which is smoothed by 8 mm."""
LEAST_CONFIDENCE = 0.05
STEEP = (0.2, 0.6)
"""Cosines between ray and normal: below the first a normal hardly counts, above the second fully."""


@dataclass(frozen=True)
class DetailOptions:
    """Choices of the detail stages."""

    motion: bool = True
    """Find and undo the head's motion between exposures."""
    mix: tuple[float, float, float] = (0.0, 1.0, 1.0)
    """Weights of red, green, blue in the normals: red light scatters widest in skin and blurs them."""
    rounds: int = 2
    """Photometric stereo with points on the surface that the round before has integrated."""
    drive: Mode = "diffuse"
    """Which normals drive detail (normal_fusion.py)."""
    preset: Preset = FULL_BAND
    threads: int = 2


@dataclass(frozen=True, eq=False)
class Normals:
    """Result of the first four steps.

    start_mm (H, W): the surface that integration takes for its prior. scatter: what was measured of the skin's blur,
    None when it was not undone. lobes: None unless they drive detail.
    """

    pairs: PolarPairs
    maps: PhotometricMaps
    start_mm: np.ndarray
    diffuse: np.ndarray
    """(H, W, 3) float32 mean diffuse image over the flashes, linear."""
    specular: np.ndarray
    warnings: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    scatter: ScatterModel | None = None
    lobes: SpecularLobes | None = None


def compute_normals(
    source: ScanSource,
    geometry: GeometryResult,
    lights: Mapping[str, Any],
    options: DetailOptions | None = None,
    *,
    polarisers: Mapping[str, Any] | None = None,
    lenses: Mapping[str, PinholeCamera] | None = None,
    maps: Mapping[str, Calibration] | None = None,
    scratch: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Normals:
    """Separate the pairs of a scan and solve for normals; arguments as of `separate_scan`.

    Raises UserError that names the light or file when too little is usable.
    """
    options = options or DetailOptions()
    clock, seconds = time.perf_counter(), {}

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, now

    start_mm = start_surface(geometry)
    lap("start surface")
    pairs = separate_scan(
        source, geometry.camera, start_mm, geometry.mask, lights=lights, polarisers=polarisers, lenses=lenses,
        maps=maps, motion=options.motion, folder=scratch, progress=progress,
    )  # fmt: skip
    lap("separation")
    surface_mm, guess, found = start_mm, None, None
    for number in range(options.rounds):
        progress(f"photometric stereo, round {number + 1}", number, options.rounds)
        last = number == options.rounds - 1
        found = photometric_stereo(
            pairs.diffuse, pairs.lights, geometry.camera, surface_mm, geometry.mask, start_normal=guess,
            mix=options.mix, per_channel=last and options.drive == "diffuse", threads=options.threads,
        )  # fmt: skip
        guess = found.normal
        if not last:
            surface_mm = _integrated(found, geometry, start_mm, options)
    if found is None:
        raise ValueError(f"{options.rounds=}, but at least one round is needed")
    lap("photometric stereo")
    progress("normals that drive detail", 0, 1)
    lobes = None
    if options.drive == "specular":
        lobes = fit_lobes(
            pairs.specular, pairs.lights, geometry.camera, surface_mm, found.normal, threads=options.threads
        )
    fused = fuse_normals(
        found,
        geometry.pixel_mm,
        mode=options.drive,
        specular=None if lobes is None else (lobes.normal, lobes.confidence),
    )
    found = replace(found, normal=fused.normal, normal_rgb=None)
    lap("fusion")
    diffuse, specular = _mean(pairs.diffuse), _mean(pairs.specular)
    lap("mean images")
    warnings = tuple(dict.fromkeys([*geometry.warnings, *pairs.warnings, *found.warnings]))
    return Normals(pairs, found, start_mm, diffuse, specular, warnings, seconds, fused.scatter, lobes)


def start_surface(geometry: GeometryResult, sigma_mm: float = START_SIGMA_MM) -> np.ndarray:
    """(H, W) float32 depth in mm over the mask: stereo's, smoothed by `sigma_mm`; z0 where none was measured."""
    depth, mask = geometry.depth_mm, geometry.mask
    off_mm = 12.0  # what z0's own smoothing takes off a nose, and then some: farther is a wrong match
    with np.errstate(invalid="ignore"):
        trusted = mask & np.isfinite(depth) & (np.abs(depth - geometry.z0_mm) < off_mm)
    filled = np.where(trusted, depth, geometry.z0_mm)
    weight = np.where(trusted, 1.0, 0.05).astype(np.float32) * mask
    return lowpass_surface(filled, weight, mask, max(sigma_mm / geometry.pixel_mm, 1.0))


def compute_displacement(
    normals: PhotometricMaps,
    start_mm: np.ndarray,
    mask: np.ndarray,
    camera: PinholeCamera,
    options: DetailOptions | None = None,
) -> GeometryPair:
    """Fine and base surface and the displacement between them.

    Edges weigh as the less sure of their two normals does: by confidence, and less where the surface turns away, since
    slopes there are large and wrong ones would bend the face around them.
    """
    options = options or DetailOptions()
    return geometry_pair(
        normals.normal, mask & normals.solved, start_mm, camera, options.preset,
        weights=_edge_weights(normals, camera), threads=options.threads,
    )  # fmt: skip


def _edge_weights(normals: PhotometricMaps, camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) float32 each: of the edge to the right, and down."""
    columns, rows = camera.normalised_grid()
    length = np.sqrt(1 + columns[None, :] ** 2 + rows[:, None] ** 2)
    normal = normals.normal
    facing = -(normal[..., 0] * columns[None, :] + normal[..., 1] * rows[:, None] + normal[..., 2]) / length
    turned = np.clip((facing - STEEP[0]) / (STEEP[1] - STEEP[0]), 0.02, 1.0) ** 2
    sure = np.nan_to_num(np.clip(normals.confidence, LEAST_CONFIDENCE, 1.0) * turned).astype(np.float32)
    right, down = np.zeros_like(sure), np.zeros_like(sure)
    right[:, :-1] = np.minimum(sure[:, 1:], sure[:, :-1])
    down[:-1] = np.minimum(sure[1:], sure[:-1])
    return right, down


def _integrated(
    found: PhotometricMaps, geometry: GeometryResult, start_mm: np.ndarray, options: DetailOptions
) -> np.ndarray:
    """The fine surface (H, W) mm; the start where it has no pixel."""
    pair = compute_displacement(found, start_mm, geometry.mask, geometry.camera, options)
    return np.where(np.isfinite(pair.fine_mm), pair.fine_mm, start_mm).astype(np.float32)


def _mean(stack: Any) -> np.ndarray:
    """Mean over the lights (H, W, 3) float32, one image at a time."""
    everything = slice(0, stack.size[0]), slice(0, stack.size[1])
    total = np.zeros((*stack.size, 3), np.float32)
    for image in stack.images:
        values = np.asarray(image if isinstance(image, np.ndarray) else _raw(image, stack.size))[everything]
        total += values
    return total / len(stack.images)


def _raw(path: Path, size: tuple[int, int]) -> np.ndarray:
    return np.memmap(path, np.float32, "r", shape=(*size, 3))
