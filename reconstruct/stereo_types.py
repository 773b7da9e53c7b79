"""What dense stereo takes and gives: views, working volume, options, depth maps, the depth prior."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True, eq=False)
class StereoView:
    """One undistorted view. Pixel centres are at integer coordinates."""

    name: str
    image: np.ndarray
    """(H, W) float32 grey in [0, 1], sRGB-like encoding (`stereo_mask.grey_image` makes it)."""
    camera: PinholeCamera
    """Without distortion, of this image size."""
    mask: np.ndarray
    """(H, W) bool, foreground."""

    def __post_init__(self) -> None:
        size = (self.camera.height_px, self.camera.width_px)
        if self.image.shape != size or self.mask.shape != size:
            raise UserError(
                f'view "{self.name}": image {self.image.shape[::-1]} and mask {self.mask.shape[::-1]} px, but its '
                f"camera is calibrated for {size[::-1]}; scale the camera or the image"
            )
        if self.image.dtype != np.float32 or self.mask.dtype != np.bool_:
            raise ValueError(f"{self.name}: {self.image.dtype=} {self.mask.dtype=}, but expected float32 and bool")
        if self.camera.has_distortion:
            raise ValueError(f"{self.name}: stereo takes undistorted images, but {self.camera.distortion=}")


@dataclass(frozen=True)
class WorkingVolume:
    """Where the subject may be: a box in the world, the rig's subject table plus a margin."""

    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    extent_mm: tuple[float, float, float] = (180.0, 240.0, 160.0)
    margin_mm: float = 50.0

    def range_mm(self, camera: PinholeCamera) -> tuple[float, float]:
        """Nearest and farthest depth (mm along the optical axis) of the box. Raises UserError behind the camera."""
        axis = camera.cam_from_world.rotation[2]
        middle = float(axis @ np.asarray(self.centre_mm) + camera.cam_from_world.translation_mm[2])
        half = float(np.abs(axis) @ np.asarray(self.extent_mm)) / 2 + self.margin_mm
        # a box seen across its diagonal is mostly empty in its corners
        half = min(half, float(np.linalg.norm(self.extent_mm)) / 2 + self.margin_mm)
        if middle - half < 10:
            raise UserError(
                f"the working volume lies {middle:.0f} mm in front of a camera and reaches {half:.0f} mm towards it; "
                "check the [subject] table and the cameras' poses"
            )
        return middle - half, middle + half


@dataclass(frozen=True)
class StereoOptions:
    """Settings of the surface sweep; the defaults are those that measured best on the virtual studio."""

    radius_mm: float = 1.2
    """Half the matching window on the subject (9 x 9 px at 0.28 mm/px), within `radius_px`."""
    radius_px: tuple[int, int] = (2, 12)
    smooth_mm: float = 0.45
    """How far a depth is pulled by its neighbours; about the standard deviation of the blur. Weak texture gets more."""
    sources: int = 4
    """Nearest other views that are matched."""
    finest_level: int = 1
    """1 = full resolution, 2 = half of it, ..."""
    coarse_mm: float = 2.2
    """Wanted pixel size of the coarsest level on the subject."""
    exchange: bool = True
    """Views propose their depth to each other at half resolution."""
    proxy_range_mm: float = 20.0
    """Search range on both sides of a proxy surface."""
    min_score: float = 0.4
    """Kept pixels have at least this ZNCC ..."""
    min_views: int = 1
    """... and are confirmed by at least this many other views."""
    normal_sigma_mm: float = 1.1
    """The depth is smoothed by this before normals are taken."""
    threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth of one view, all arrays of the image's size."""

    depth_mm: np.ndarray
    """(H, W) float32 along the optical axis, NaN where there is none. Unfiltered; see `kept`."""
    score: np.ndarray
    """(H, W) float32 ZNCC of the best two sources, 0 where there is no depth."""
    count: np.ndarray
    """(H, W) uint8: other views whose depth agrees."""
    normal_cam: np.ndarray
    """(H, W, 3) float32 unit, camera axes, NaN where there is none."""
    kept: np.ndarray
    """(H, W) bool: passed the checks."""


@dataclass(frozen=True)
class ViewAgreement:
    """How well a view fits the others."""

    confirmed: float
    """Share of the surface it shares with other views that agrees with theirs, 0..1."""
    sharpness: float
    """Fine texture relative to the other views' median; below about 0.5 the view is blurred."""
    problem: str = ""
    """In words; empty when the view is good."""


@dataclass(frozen=True, eq=False)
class MergedDepth:
    """The centre view's depth from all views together."""

    depth_mm: np.ndarray
    """(H, W) float32, NaN where no view has a reliable depth."""
    count: np.ndarray
    """(H, W) uint8: views that agree on it."""


@dataclass(frozen=True, eq=False)
class DenseStereo:
    """Result of `dense_depth`."""

    maps: Mapping[str, DepthMap]
    cameras: Mapping[str, PinholeCamera]
    """Of every map."""
    centre: str
    merged: MergedDepth
    agreement: Mapping[str, ViewAgreement]
    texture_snr: float
    """Contrast of the skin's texture over the noise, per pixel, seen by the matcher in the centre view."""
    warnings: tuple[str, ...] = ()

    @property
    def centre_map(self) -> DepthMap:
        return self.maps[self.centre]

    @property
    def centre_camera(self) -> PinholeCamera:
        return self.cameras[self.centre]

    @property
    def pixel_mm(self) -> float:
        """Size of the centre view's pixels on the subject."""
        depth = self.centre_map.depth_mm
        kept = depth[self.centre_map.kept]
        return float(np.median(kept) if kept.size else np.nanmedian(depth)) / self.centre_camera.fx_px


@dataclass(frozen=True, eq=False)
class DepthPrior:
    """The smooth, complete depth of the centre view that photometric stereo starts from."""

    z0_mm: np.ndarray
    """(H, W) float32 along the optical axis, NaN outside `mask`, no holes inside."""
    confidence: np.ndarray
    """(H, W) float32 0..1: how well measurements support z0; 0 outside the mask."""
    mask: np.ndarray
    """(H, W) bool."""
    source: str
    """"map" or "mesh"."""
    warnings: tuple[str, ...] = ()
