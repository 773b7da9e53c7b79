"""Features of a scan through COLMAP: matches for the drift check, triangulated points, all in a process of its own.

COLMAP's default SIFT finds nothing to hold on to on skin. A lower peak threshold does; measured on the virtual studio
(1500x1000, five views): 300 to 2100 verified matches for every pair of views.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.colmap_text import write_colmap_text
from ..capture.errors import UserError
from ..capture.image_files import srgb_from_linear, write_png
from .colmap_process import run_step

SIFT = {"peak_threshold": 0.002, "max_num_features": 12000}
MAX_IMAGE_PX = 3200
"""Larger images are halved for features; positions come back at full size."""
LARGEST_ERROR_PX = 2.0
"""Of a verified match, from its epipolar line, at the size of the images."""
FEWEST_MATCHES = 40
"""A view with fewer verified matches with all others together says nothing."""
BRIGHT = 0.6


@dataclass(frozen=True, eq=False)
class FeatureView:
    """An undistorted view: linear (H, W, 3) float32, mask (H, W) bool of the subject, camera without distortion."""

    camera: PinholeCamera
    linear: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class FeatureMatches:
    """Points found in several views. `pixels` (N, C, 2), pixel centres at integers, NaN where a view lacks one."""

    names: tuple[str, ...]
    pixels: np.ndarray
    features: dict[str, int]
    pairs: dict[tuple[str, str], int]
    seconds: float

    def tracks(self) -> list[dict[str, np.ndarray]]:
        """One dictionary per point: view -> pixel (2,)."""
        there = np.isfinite(self.pixels[..., 0])
        return [
            {name: row[place] for place, name in enumerate(self.names) if seen[place]}
            for row, seen in zip(self.pixels, there, strict=True)
        ]

    def matches_of(self, view: str) -> int:
        """Verified matches of a view with all others."""
        return sum(count for pair, count in self.pairs.items() if view in pair)

    def weak_views(self) -> list[str]:
        """Views with too few matches to be judged."""
        return [name for name in self.names if self.matches_of(name) < FEWEST_MATCHES]


@dataclass(frozen=True, eq=False)
class SeedPoints:
    """Points triangulated with known poses. points_mm (N, 3) world; `error_px` mean; `seen`: points of each view."""

    points_mm: np.ndarray
    error_px: float
    seen: dict[str, int]


def match_features(
    views: Mapping[str, FeatureView], folder: str | Path, *, threads: int = 2, seed: int = 1
) -> FeatureMatches:
    """Extract and match features of all views within their masks; the job stays in `folder` for the steps below.

    Raises UserError when COLMAP fails or a name cannot be a file's.
    """
    folder = Path(folder)
    for name, view in views.items():
        write_png(folder / "images" / f"{name}.png", display_image(view.linear, view.mask))
        write_png(folder / "masks" / f"{name}.png.png", view.mask.astype(np.uint8) * 255)
    done = run_step(
        "match_features",
        {
            "folder": str(folder),
            "cameras": {f"{name}.png": _described(view.camera) for name, view in views.items()},
            "options": {
                "sift": SIFT, "max_image_size": MAX_IMAGE_PX, "max_ratio": 0.8, "max_error_px": LARGEST_ERROR_PX,
            },
            "threads": threads,
            "seed": seed,
        },
    )  # fmt: skip
    with np.load(folder / "tracks.npz") as arrays:
        names, pixels = [_view(str(name)) for name in arrays["names"]], arrays["pixels"]
    order = [names.index(name) for name in views]
    return FeatureMatches(
        tuple(views),
        pixels[:, order],
        {_view(name): int(count) for name, count in done.values["features"].items()},
        {(_view(a), _view(b)): int(count) for a, b, count in done.values["pairs"]},
        done.seconds,
    )


def triangulate_features(folder: str | Path, cameras: Mapping[str, PinholeCamera], *, threads: int = 2) -> SeedPoints:
    """Triangulate the matches in `folder` with known cameras; the model is left in folder/points.

    Raises UserError when COLMAP fails, or finds no point: the poses do not fit the images.
    """
    folder = Path(folder)
    write_colmap_text(folder / "sparse", cameras, {name: f"{name}.png" for name in cameras})
    values = run_step("triangulate", {"folder": str(folder), "threads": threads}).values
    if not values["points"]:
        raise UserError(
            "no matched point fits the cameras' poses: is the calibration of this rig, and are the frames named after "
            "the right cameras?"
        )
    points = np.loadtxt(folder / "points/points3D.txt", usecols=(1, 2, 3), ndmin=2)
    return SeedPoints(points, float(values["error_px"]), {_view(k): int(v) for k, v in values["seen"].items()})


def display_image(linear: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB for eyes and features: the bright end of the subject well below white."""
    inside = linear[mask] if mask.any() else linear.reshape(-1, 3)
    bright = float(np.quantile(inside[:: max(len(inside) // 100_000, 1)], 0.98))
    return srgb_from_linear(linear * (BRIGHT / max(bright, 1e-6)))


def few_matches(matches: FeatureMatches) -> str:
    """Which views have too few matches, in words; empty when none."""
    weak = matches.weak_views()
    if not weak:
        return ""
    counts = ", ".join(f"{name} {matches.matches_of(name)}" for name in weak)
    return (
        f"too few points match between the views ({counts}; at least {FEWEST_MATCHES} each): is the view black, "
        "blurred, of another subject or another moment?"
    )


def _described(camera: PinholeCamera) -> dict[str, object]:
    model, params = camera.colmap_params()
    if model != "PINHOLE":
        raise ValueError(f"features are taken from undistorted images, but {camera.distortion=}")
    return {"model": model, "width": camera.width_px, "height": camera.height_px, "params": list(params)}


def _view(image_name: str) -> str:
    return image_name.removesuffix(".png")
