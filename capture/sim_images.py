"""Pictures that the simulated bodies take: frames of the virtual studio, chosen and mixed by the light that fired.

A rendered folder holds one frame per shot of its plan. Light adds up, so that any lamps of the centre view can be
mixed from these; a frame that is served as rendered keeps its very numbers, noise included.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dng import mosaic_rggb
from .errors import UserError
from .image_files import read_tiff
from .plan import Polariser, Shot

FrameKey = tuple[str, int | None, int, str]
"""(camera, placement of a calibration target, light mask, what the frame sees: U, P or X)"""

READ_NOISE_DN = 1.3


@dataclass(frozen=True)
class Light:
    """One firing as a body saw it. `gain`: emitted energy over the planned one."""

    light_mask: int
    polariser: Polariser
    gain: float = 1.0


class ImageLibrary:
    """The frames of one or more rendered folders of one rig.

    `size_px` (width, height) enlarges every frame: for trying out large files without rendering them.
    """

    def __init__(self, size_px: tuple[int, int] | None = None, keep: int = 64) -> None:
        self._files: dict[FrameKey, Path] = {}
        self._uniform: dict[str, FrameKey] = {}
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._keep = keep
        self.size_px = size_px
        self.black_level, self.white_level = 2048, 15000

    def add(self, folder: Path, plan: tuple[Shot, ...]) -> None:
        """Add the frames of a rendered folder. Raises UserError when one is missing."""
        try:
            sensor = json.loads((folder / "cameras.json").read_text())["sensor"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder}: no readable cameras.json; render it with `mesoface studio render`") from error
        self.black_level, self.white_level = int(sensor["black_level"]), int(sensor["white_level"])
        for shot in plan:
            path = folder / "images" / f"{shot.stem}.tif"
            if not path.is_file():
                raise UserError(f"{path}: is missing; render the folder again, an interrupted rendering continues")
            key = (shot.camera, shot.pose, shot.light_mask, shot.polariser)
            self._files[key] = path
            if shot.kind in ("uniform", "flat", "chart", "board"):
                self._uniform.setdefault(shot.camera, key)

    def mosaic(
        self, camera: str, pose: int | None, lights: tuple[Light, ...], gain: float, stray: float, seed: int
    ) -> np.ndarray:
        """The Bayer mosaic (H, W) uint16 that `camera` records.

        gain: sensitivity relative to the rendered frames. stray: light that is always there, as a part of the uniform
        frame's. seed: of the noise in frames that were not rendered as they are.
        """
        if len(lights) == 1 and lights[0].gain == 1.0 and gain == 1.0 and stray == 0.0:
            key = (camera, pose, lights[0].light_mask, lights[0].polariser)
            if key in self._files:
                return self._mosaic(self._files[key])
        rng = np.random.default_rng(seed)
        height, width = self._shape(camera)
        signal = rng.normal(0.0, READ_NOISE_DN, (height, width)).astype(np.float32)
        for light in lights:
            for key, share in self._parts(camera, pose, light):
                signal += np.float32(share * light.gain * gain) * self._signal(key)
        if stray:
            signal += np.float32(stray * gain) * self._signal(self._uniform[camera])
        numbers = np.rint(signal + self.black_level)
        return np.clip(numbers, 0, self.white_level).astype(np.uint16)

    def _parts(self, camera: str, pose: int | None, light: Light) -> list[tuple[FrameKey, float]]:
        """Rendered frames that add up to a light.

        Without an analyser state a frame is the sum of both. A body without a frame for a lamp (a side body that sees
        a single flash by mistake) records half its uniform frame.
        """
        key: FrameKey = (camera, pose, light.light_mask, light.polariser)
        if key in self._files:
            return [(key, 1.0)]
        lamps = [1 << bit for bit in range(32) if light.light_mask >> bit & 1]
        if len(lamps) > 1:
            return [part for lamp in lamps for part in self._parts(camera, pose, Light(lamp, light.polariser))]
        parallel, cross = ((camera, pose, light.light_mask, state) for state in ("P", "X"))
        if parallel in self._files and cross in self._files:
            return [(parallel, 1.0), (cross, 1.0)]
        return [(self._uniform[camera], 0.5)] if camera in self._uniform else []

    def _shape(self, camera: str) -> tuple[int, int]:
        if self.size_px:
            return self.size_px[1], self.size_px[0]
        key = next((key for key in self._files if key[0] == camera), None)
        if key is None:
            raise UserError(f"no rendered frame of camera {camera}; render the rig that is simulated")
        return self._mosaic(self._files[key]).shape

    def _signal(self, key: FrameKey) -> np.ndarray:
        return self._mosaic(self._files[key]).astype(np.float32) - self.black_level

    def _mosaic(self, path: Path) -> np.ndarray:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        rgb = read_tiff(path)[0]
        if self.size_px:
            import cv2

            rgb = cv2.resize(rgb, self.size_px, interpolation=cv2.INTER_CUBIC)
        made = mosaic_rggb(np.asarray(rgb, np.uint16))
        self._cache[path] = made
        if len(self._cache) > self._keep:
            self._cache.popitem(last=False)
        return made
