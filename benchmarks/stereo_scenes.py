"""What benchmarks/stereo.py measures on: rendered scans with their truth, weak skin, a proxy, larger sizes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numba
import numpy as np
from scipy.ndimage import distance_transform_edt

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.colmap_text import read_colmap_text
from mesoface.capture.image_files import read_tiff
from mesoface.reconstruct.face_model import Region
from mesoface.reconstruct.stereo_mask import foreground_mask, grey_image
from mesoface.reconstruct.stereo_types import StereoView

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
FULL_WELL_E, READ_NOISE_E, GAIN = 30000.0, 3.0, 1.2
"""Of the noise that is added to changed pictures; about the virtual studio's at ISO 100."""


@dataclass(frozen=True, eq=False)
class TruthView:
    """One uniform view of a scan with its truth."""

    linear: np.ndarray
    """(H, W, 3) float32 linear light."""
    camera: PinholeCamera
    depth_mm: np.ndarray
    """(H, W) float32, NaN beside the head."""
    normal_cam: np.ndarray
    face: np.ndarray
    """(H, W) bool: facial skin and lips; no eyes, neck, ears or scalp."""
    mouth: np.ndarray
    """(H, W) bool: the dark inside of an open mouth, centimetres deep."""

    @property
    def core(self) -> np.ndarray:
        """(H, W) bool: the face without its outermost 3 px and without grazing skin, more than 60 degrees off."""
        inner = cv2.erode(self.face.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        return inner & (self.normal_cam[..., 2] < -0.5)

    def stereo_view(self, name: str) -> StereoView:
        mask = foreground_mask(self.linear)
        return StereoView(name, grey_image(self.linear, mask), self.camera, mask)


def read_scan(folder: Path) -> dict[str, TruthView]:
    """Camera name -> uniform view of a scan of `mesoface studio render`."""
    gains = json.loads((folder / "cameras.json").read_text())["cameras"]
    scan = {}
    for file_name, camera in read_colmap_text(folder / "truth/colmap").items():
        numbers, facts = read_tiff(folder / "images" / file_name)
        name = facts["camera"]
        span = (facts["white_level"] - facts["black_level"]) * gains[name]["exposure_gain"]
        face = cv2.imread(str(folder / f"truth/{name}/mask_face.png"), cv2.IMREAD_GRAYSCALE)
        if face is None:
            raise FileNotFoundError(folder / f"truth/{name}/mask_face.png")
        scan[name] = TruthView(
            (numbers.astype(np.float32) - facts["black_level"]) / np.float32(span),
            camera,
            read_tiff(folder / f"truth/{name}/depth_mm.tif")[0],
            read_tiff(folder / f"truth/{name}/normal_cam.tif")[0],
            face > 0,
            cv2.imread(str(folder / f"truth/{name}/region.png"), cv2.IMREAD_GRAYSCALE) == Region.MOUTH_INTERIOR,
        )
    return scan


def with_weak_skin(scan: dict[str, TruthView], snr: float, seed: int = 5) -> dict[str, TruthView]:
    """The scan with its fine texture (below 5 px) faded until its contrast is `snr` times the noise in the face.

    Fading also fades the noise, so the missing part of the noise is added again.
    """
    rng = np.random.default_rng(seed)
    weak = {}
    for name, view in scan.items():
        smooth = cv2.GaussianBlur(view.linear, (0, 0), 5.0)
        fine = view.linear - smooth
        variance = _noise_variance(smooth)
        inner = cv2.erode(view.face.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        noise = float((variance @ LUMINANCE**2)[inner].mean())
        texture = max(float((fine @ LUMINANCE)[inner].var()) - noise, 0.0)
        fade = min(snr / np.sqrt(texture / noise), 1.0)
        fresh = rng.standard_normal(fine.shape, np.float32) * np.sqrt(variance * np.float32(1 - fade**2))
        weak[name] = replace(view, linear=smooth + np.float32(fade) * fine + fresh)
    return weak


def simulated_proxy(scan: dict[str, TruthView], seed: int = 1) -> dict[str, np.ndarray]:
    """Camera name -> (H, W) depth of a fitted face model, about 6 mm off: truth blurred by 7 mm, a random field of
    3 mm rms and 17 mm width, 4 mm in front."""
    rng = np.random.default_rng(seed)
    proxies = {}
    for name, view in scan.items():
        pixel_mm = float(np.nanmedian(view.depth_mm)) / view.camera.fx_px
        there = np.isfinite(view.depth_mm)
        share, total = (
            cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 7.0 / pixel_mm)
            for plane in (there, np.where(there, view.depth_mm, 0))
        )
        field = cv2.GaussianBlur(rng.standard_normal(there.shape), (0, 0), 17.0 / pixel_mm)
        field *= 3.0 / field[there].std()
        proxies[name] = np.where(there, total / np.maximum(share, 1e-6) + field - 4.0, np.nan).astype(np.float32)
    return proxies


def resized_scan(scan: dict[str, TruthView], megapixels: float, seed: int = 3) -> dict[str, TruthView]:
    """The scan at another size. Larger ones get a solid texture that moves with the skin, down to two pixels, and
    fresh noise: upsampling alone would leave them nothing to match."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, view in scan.items():
        camera = view.camera
        scale = np.sqrt(megapixels * 1e6 / (camera.width_px * camera.height_px))
        width, height = round(camera.width_px * scale / 2) * 2, round(camera.height_px * scale / 2) * 2
        if abs(scale - 1) < 0.01:
            made[name] = view
            continue
        sized = camera.scaled(width, height)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        linear = cv2.resize(view.linear, (width, height), interpolation=how)
        there = np.isfinite(view.depth_mm)
        nearest = np.asarray(distance_transform_edt(~there, return_distances=False, return_indices=True))
        depth = cv2.resize(view.depth_mm[nearest[0], nearest[1]], (width, height), interpolation=cv2.INTER_LINEAR)
        head, face = (
            cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
            for mask in (there, view.face)
        )
        depth = np.where(head, depth, np.float32(np.nan))
        if scale > 1:
            pixel_mm = float(np.nanmedian(depth)) / sized.fx_px
            columns, rows = sized.normalised_grid()
            world = sized.cam_from_world.inverse()
            for size_mm in (2 * pixel_mm, 4 * pixel_mm):
                _texture(linear, depth, columns, rows, world.rotation, world.translation_mm, size_mm, 0.06)
            for top in range(0, height, 256):
                strip = linear[top : top + 256]
                strip += rng.standard_normal(strip.shape, np.float32) * np.sqrt(_noise_variance(strip))
        nothing = np.zeros(depth.shape, bool)
        made[name] = TruthView(linear, sized, depth, np.zeros((0, 0, 3), np.float32), face & head, nothing)
    return made


def _noise_variance(linear: np.ndarray) -> np.ndarray:
    return np.maximum(linear, 0) / np.float32(GAIN * FULL_WELL_E) + np.float32((READ_NOISE_E / FULL_WELL_E / GAIN) ** 2)


@numba.njit(cache=True)
def _texture(linear, depth, columns, rows, rotation, translation, size_mm, contrast):
    """Multiply by 1 + contrast x solid noise: random values on a grid of size_mm in the world, interpolated."""
    height, width = depth.shape
    cell, part = np.empty(3, np.int64), np.empty(3)
    for v in range(height):
        for u in range(width):
            z = np.float64(depth[v, u])
            if not z > 0:
                continue
            for axis in range(3):
                along = rotation[axis, 0] * columns[u] + rotation[axis, 1] * rows[v] + rotation[axis, 2]
                at = (along * z + translation[axis]) / size_mm
                cell[axis] = int(np.floor(at))
                part[axis] = at - cell[axis]
            value = 0.0
            for corner in range(8):
                weight, key = 1.0, np.uint32(2166136261)
                for axis in range(3):
                    up = (corner >> axis) & 1
                    weight *= part[axis] if up else 1 - part[axis]
                    key = np.uint32((key ^ np.uint32((cell[axis] + up) & 0xFFFFFFFF)) * np.uint32(16777619))
                    key = np.uint32(key ^ (key >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
                    key = np.uint32(key ^ (key >> np.uint32(12)))
                value += weight * (np.float64(key & np.uint32(0xFFFF)) / 32767.5 - 1)
            for channel in range(3):
                linear[v, u, channel] *= 1 + contrast * value * 3
