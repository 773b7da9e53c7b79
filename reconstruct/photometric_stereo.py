"""Normals and albedo of a face from images under single flashes near it (photometric stereo), pixel by pixel.

Perspective view, flashes at known places, points from the depth prior. Each pixel is a weighted linear problem of three
unknowns, solved again with weights that follow from its residuals: cast shadows, burnt-out pixels and rests of
highlights drop out. Light that enters skin through its coat is corrected for Fresnel transmission (index 1.4).

    stack = ImageStack.from_arrays(names, images, usable)
    maps = photometric_stereo(stack, light_model(lights, camera, gain), camera, z0_mm, mask)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from .light_model import LightModel, coat_gain, transmission

FEWEST_LIGHTS = 3
MOST_MISSING = 3
STRIP_PIXELS = 400_000
EQUAL_CHANNELS = (1.0, 1.0, 1.0)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class NoiseModel:
    """Variance of a pixel of a diffuse image = shot * value + read^2, in the images' units."""

    shot: float = 2 / 30000
    read: float = 2 * 3 / 30000


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Diffuse images (H, W, 3) of the lights `names`, in memory or as raw float32 files that are read by rows.

    images: arrays (H, W, 3) float32, or files of H x W x 3 float32. usable: per light (H, W) uint8 (255 good, 0 burnt
    out or outside the picture) or None.
    """

    names: tuple[str, ...]
    images: tuple[np.ndarray | Path, ...]
    usable: tuple[np.ndarray | None, ...]
    size: tuple[int, int]
    """(H, W)."""

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.images) == len(self.usable):
            raise ValueError("one image and one mask (or None) per light expected")
        for name, image, good in zip(self.names, self.images, self.usable, strict=True):
            if isinstance(image, np.ndarray):
                if image.shape != (*self.size, 3) or image.dtype != np.float32:
                    raise ValueError(f"light {name}: {image.shape} {image.dtype}, expected float32 {(*self.size, 3)}")
            elif image.stat().st_size != self.size[0] * self.size[1] * 12:
                raise ValueError(f"light {name}: {image} has another size than {self.size} float32 RGB")
            if good is not None and (good.shape != self.size or good.dtype != np.uint8):
                raise ValueError(f"light {name}: mask {good.shape} {good.dtype}, expected uint8 {self.size}")

    @classmethod
    def from_arrays(
        cls, names: Sequence[str], images: Sequence[np.ndarray], clipped: Sequence[np.ndarray] | None = None
    ) -> "ImageStack":
        """In memory; `clipped` (H, W) bool per light, True where a pixel must not count."""
        usable = [None] * len(names) if clipped is None else [np.where(c, 0, 255).astype(np.uint8) for c in clipped]
        images = [np.ascontiguousarray(image, np.float32) for image in images]
        if not images:
            raise UserError("photometric stereo: no image given")
        for name, image in zip(names, images, strict=True):
            if image.shape != images[0].shape:
                raise UserError(f"light {name}: image of {image.shape[:2]}, but the others have {images[0].shape[:2]}")
        return cls(tuple(names), tuple(images), tuple(usable), (images[0].shape[0], images[0].shape[1]))

    def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """(L, h, w, 3) float32 and usable (L, h, w) uint8 of a window."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        values = np.empty((len(self.names), height, width, 3), np.float32)
        good = np.full((len(self.names), height, width), 255, np.uint8)
        for i, (image, mask) in enumerate(zip(self.images, self.usable, strict=True)):
            if isinstance(image, np.ndarray):
                values[i] = image[rows, columns]
            else:
                start = rows.start * self.size[1] * 12
                whole = np.fromfile(image, np.float32, height * self.size[1] * 3, offset=start)
                values[i] = whole.reshape(height, self.size[1], 3)[:, columns]
            if mask is not None:
                good[i] = mask[rows, columns]
        return values, good


@dataclass(frozen=True, eq=False)
class PhotometricMaps:
    """Maps of the whole picture, NaN outside the solved pixels. Normals: unit, camera axes, towards the viewer.

    normal (H, W, 3) from all channels; normal_rgb (3, H, W, 3) from red, green, blue alone, or None; albedo (H, W, 3);
    residual (H, W) relative rms misfit; confidence (H, W) 0..1; lights (H, W) uint8 lights that count; solved (H, W).
    """

    normal: np.ndarray
    normal_rgb: np.ndarray | None
    albedo: np.ndarray
    residual: np.ndarray
    confidence: np.ndarray
    lights: np.ndarray
    solved: np.ndarray
    warnings: tuple[str, ...] = ()


def photometric_stereo(
    stack: ImageStack,
    lights: LightModel,
    camera: PinholeCamera,
    depth_mm: np.ndarray,
    mask: np.ndarray,
    *,
    start_normal: np.ndarray | None = None,
    mix: tuple[float, float, float] = EQUAL_CHANNELS,
    per_channel: bool = True,
    noise: NoiseModel | None = None,
    threads: int = 2,
    progress: Progress = lambda what, done, total: None,
) -> PhotometricMaps:
    """Solve all pixels of `mask` that have a depth.

    Args:
        stack: diffuse images; all of its lights must be in `lights`.
        camera: of the images, without distortion.
        depth_mm: (H, W) along the optical axis; where the surface points are (z0, or the integrated surface).
        mask: (H, W) bool.
        start_normal: (H, W, 3) first guess, zero or NaN where unknown; from `depth_mm` when left out.
        mix: weights of red, green, blue in the combined normal and in the judgement of shadows.
        noise: of the diffuse images.
        per_channel: also normals of each channel (three times the memory of the result).
    Raises UserError: fewer than 3 lights, other sizes, an empty mask, no depth in the mask.
    """
    height, width = stack.size
    _check(stack, lights, camera, depth_mm, mask)
    model = lights.chosen(stack.names)
    inside = mask & np.isfinite(depth_mm) & (depth_mm > 0)
    if not inside.any():
        raise UserError("photometric stereo: the depth map has no depth inside the mask")
    noise = noise or NoiseModel()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    maps = _empty(height, width, per_channel)
    table = transmission(np.linspace(0, 1, 1024), model.index)
    x, y = camera.normalised_grid()

    def solve(first: int) -> None:
        from .photometric_kernel import solve_strip

        strip = slice(first, min(first + step, window[0].stop))
        images, usable = stack.read(strip, window[1])
        depth = np.where(inside[strip, window[1]], depth_mm[strip, window[1]], np.nan).astype(np.float32)
        guess = (
            start_normal[strip, window[1]] if start_normal is not None else _slopes(depth_mm, camera, strip, window[1])
        )
        guess = np.nan_to_num(guess.astype(np.float32))
        shape = depth.shape
        normal = np.full((*shape, 3), np.nan, np.float32)
        rgb = np.full((*shape, 3, 3) if per_channel else (0, 0, 3, 3), np.nan, np.float32)
        albedo = np.full((*shape, 3), np.nan, np.float32)
        residual = np.full(shape, np.nan, np.float32)
        confidence, used = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
        solve_strip(
            images, usable, depth, guess, x[window[1]], y[strip], model.position_mm, model.axis, model.exponent,
            model.intensity, table, np.asarray(mix, np.float64), noise.shot, noise.read**2,
            normal, rgb, albedo, residual, confidence, used,
        )  # fmt: skip
        maps["normal"][strip, window[1]] = normal
        if per_channel:
            for c in range(3):
                maps["normal_rgb"][c, strip, window[1]] = rgb[:, :, c]
        maps["albedo"][strip, window[1]] = albedo / np.float32(coat_gain(model.index))
        maps["residual"][strip, window[1]] = residual
        maps["confidence"][strip, window[1]] = confidence
        maps["lights"][strip, window[1]] = used

    step = max(8, STRIP_PIXELS // (window[1].stop - window[1].start))
    in_threads(solve, range(window[0].start, window[0].stop, step), threads, "photometric stereo", progress)
    solved = np.isfinite(maps["normal"][..., 0])
    return PhotometricMaps(
        maps["normal"], maps.get("normal_rgb"), maps["albedo"], maps["residual"], maps["confidence"], maps["lights"],
        solved, _warnings(stack, lights, inside, solved),
    )  # fmt: skip


def _check(
    stack: ImageStack, lights: LightModel, camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray
) -> None:
    missing = [name for name in lights.names if name not in stack.names]
    if len(stack.names) < FEWEST_LIGHTS:
        raise UserError(
            f"photometric stereo: images of {len(stack.names)} lights ({', '.join(stack.names) or 'none'}), but at "
            f"least {FEWEST_LIGHTS} are needed; missing: {', '.join(missing)}"
        )
    if len(missing) > MOST_MISSING:
        raise UserError(
            f"photometric stereo: no images of {len(missing)} lights ({', '.join(missing)}); up to {MOST_MISSING} may "
            "be missing. Shoot those steps again"
        )
    if (camera.height_px, camera.width_px) != stack.size:
        raise UserError(
            f"photometric stereo: images of {stack.size[1]}x{stack.size[0]} px, but the camera has "
            f"{camera.width_px}x{camera.height_px} px; calibrate at the size of the images"
        )
    for name, array in (("depth map", depth_mm), ("mask", mask)):
        if array.shape != stack.size:
            raise UserError(f"photometric stereo: {name} of shape {array.shape}, but the images have {stack.size}")
    if not mask.any():
        raise UserError("photometric stereo: the mask is empty")


def _warnings(stack: ImageStack, lights: LightModel, inside: np.ndarray, solved: np.ndarray) -> tuple[str, ...]:
    warnings = []
    missing = [name for name in lights.names if name not in stack.names]
    if missing:
        warnings.append(
            f"no images of light {', '.join(missing)}: normals are noisier, and wrong where too few others shine"
        )
    failed = 1 - float(solved[inside].mean())
    if failed > 0.05:
        warnings.append(
            f"{100 * failed:.0f} % of the mask is lit by fewer than {FEWEST_LIGHTS} lights and has no normals"
        )
    return tuple(warnings)


def _empty(height: int, width: int, per_channel: bool) -> dict[str, np.ndarray]:
    maps = {
        "normal": np.full((height, width, 3), np.nan, np.float32),
        "albedo": np.full((height, width, 3), np.nan, np.float32),
        "residual": np.full((height, width), np.nan, np.float32),
        "confidence": np.zeros((height, width), np.float32),
        "lights": np.zeros((height, width), np.uint8),
    }
    if per_channel:
        maps["normal_rgb"] = np.full((3, height, width, 3), np.nan, np.float32)
    return maps


def _slopes(depth_mm: np.ndarray, camera: PinholeCamera, rows: slice, columns: slice) -> np.ndarray:
    """Normals (h, w, 3) of the depth map in camera axes, for a window; NaN at its borders."""
    top, left = max(rows.start - 1, 0), max(columns.start - 1, 0)
    part = depth_mm[top : rows.stop + 1, left : columns.stop + 1].astype(np.float32)
    normal = depth_normals(part, camera, (top, left))
    return normal[rows.start - top :, columns.start - left :][: rows.stop - rows.start, : columns.stop - columns.start]


def depth_normals(depth_mm: np.ndarray, camera: PinholeCamera, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Unit normals (h, w, 3) float32 of a depth map in camera axes, NaN where a neighbour has no depth.

    corner: (row, column) of its first pixel in the picture of `camera`.
    """
    x, y = camera.normalised_grid()
    x = x[corner[1] : corner[1] + depth_mm.shape[1]].astype(np.float32)
    y = y[corner[0] : corner[0] + depth_mm.shape[0], None].astype(np.float32)
    log_z = np.log(depth_mm)
    # n ~ (fx dZ/du / Z, fy dZ/dv / Z, -1 - x fx dZ/du / Z - y ...), from d(log Z)/du = -(nx / fx) / (n.(x, y, 1))
    p = np.full(depth_mm.shape, np.nan, np.float32)
    q = p.copy()
    p[:, 1:-1] = (log_z[:, 2:] - log_z[:, :-2]) * np.float32(camera.fx_px / 2)
    q[1:-1] = (log_z[2:] - log_z[:-2]) * np.float32(camera.fy_px / 2)
    normal = np.stack([p, q, -1 - x * p - y * q], axis=2)
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)


def in_threads(work: Callable[[int], None], starts: Sequence[int], threads: int, what: str, progress: Progress) -> None:
    """Run `work` for every start in threads; kernels release the GIL."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for done, _ in enumerate(pool.map(work, starts)):
            progress(what, done + 1, len(starts))
