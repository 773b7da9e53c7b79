"""A calibration take as calibration reads it: from the capture stage (raw files) or rendered by the virtual studio.

take = read_calibration_take("sessions/calibration_board_...")
take.kind, take.rig, take.shots
take.linear(shot)           # (H, W, 3) float32 shares of the white level
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..capture.calibration_maps import Calibration
from ..capture.calibration_plan import CalibrationPlan, calibration_plan
from ..capture.camera_model import PinholeCamera
from ..capture.develop import develop
from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from ..capture.plan import Shot
from ..capture.raw import read_raw
from ..capture.rig_models import Rig
from ..capture.take import read_take
from .scan_folder import read_manifest

Image = NDArray[np.float32]

# Take kinds in the order in which calibration uses them.
KINDS = ("board", "sphere", "flat", "chart", "dark")
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class CalibrationTake:
    """Shots of one calibration take with their files. `linear` and `mosaic` read one frame at a time."""

    folder: Path
    kind: str
    rig: Rig
    shots: tuple[Shot, ...]
    """Those of the plan that have an image; `missing` holds the others."""
    missing: tuple[Shot, ...]
    _linear: Callable[[Shot], Image] = field(repr=False)
    _raw: Callable[[Shot], Path] = field(repr=False)

    def linear(self, shot: Shot) -> Image:
        """Linear camera RGB (H, W, 3) in shares of the white level, black at 0, noise below it kept."""
        return self._linear(shot)

    def mosaic(self, shot: Shot) -> Image:
        """Sensor mosaic (H, W) above black in shares of the white level."""
        raw = read_raw(self._raw(shot))
        return raw.mosaic / np.float32(raw.range_dn)

    def plan(self) -> CalibrationPlan:
        """The plan of this kind for this rig: what the operator was told."""
        return calibration_plan(self.rig, self.kind)


def read_calibration_take(folder: str | Path, rig: Rig | None = None) -> CalibrationTake:
    """Open a capture take (data/take.json) or a rendered calibration take (scan.json). Nothing is written.

    Args:
        rig: a corrected rig file that takes the place of the take's own: another board size, exchanged names. Frames
            keep their bodies (by serial number) and lamps (by channel), whatever these are called now.

    Raises UserError for another folder, or a take of a person.
    """
    folder = Path(folder)
    if (folder / "data/take.json").is_file():
        return _corrected(_captured(folder), rig)
    if (folder / "scan.json").is_file():
        return _corrected(_rendered(folder), rig)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a calibration take")
    raise UserError(
        f"{folder}: is no take (no data/take.json) and no rendered one (no scan.json); shoot one with "
        "`mesoface capture --kind board`, or render one with `mesoface studio targets`"
    )


def _corrected(take: CalibrationTake, rig: Rig | None) -> CalibrationTake:
    """The take with the names of another rig file."""
    if rig is None or rig == take.rig:
        return take
    by_serial = {camera.serial: camera.name for camera in rig.cameras}
    by_channel = {light.channel: light.name for light in rig.lights}

    def renamed(shot: Shot) -> Shot:
        serial = take.rig.camera(shot.camera).serial
        channels = [take.rig.light(name).channel for name in shot.lights]
        if serial not in by_serial or not set(channels) <= set(by_channel):
            raise UserError(
                f"{take.folder}: its frame {shot.stem} is of body {serial} and channels {channels}, which the rig "
                "file given does not have; give the rig that shot this take, corrected"
            )
        return replace(shot, camera=by_serial[serial], lights=tuple(by_channel[channel] for channel in channels))

    shots, missing = (tuple(renamed(shot) for shot in part) for part in (take.shots, take.missing))
    return replace(take, rig=rig, shots=shots, missing=missing)


def _captured(folder: Path) -> CalibrationTake:
    manifest, rig, state = read_take(folder)
    if manifest.kind not in KINDS:
        raise UserError(f"{folder}: a take of kind {manifest.kind}; calibration needs one of {', '.join(KINDS)}")
    files = {shot.index: state.image(shot.index) for shot in manifest.plan}
    paths = {index: folder / "data" / file.path for index, file in files.items() if file is not None}

    def linear(shot: Shot) -> Image:
        return develop(read_raw(paths[shot.index]), Calibration(), "malvar").rgb

    return _take(folder, manifest.kind, rig, manifest.plan, paths, linear, paths.__getitem__)


def _rendered(folder: Path) -> CalibrationTake:
    content = read_manifest(folder)["content"]
    kind = content.get("calibration")
    if kind not in KINDS:
        raise UserError(f"{folder}: a rendered scan, but expected a calibration take of `mesoface studio targets`")
    try:
        rig = Rig.model_validate(content["rig"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder}/scan.json: holds no usable rig ({error}); render it again") from None
    shots = calibration_plan(rig, kind).shots
    paths = {shot.index: folder / "images" / f"{shot.stem}.tif" for shot in shots}
    paths = {index: path for index, path in paths.items() if path.is_file()}

    def linear(shot: Shot) -> Image:
        image, facts = read_tiff(paths[shot.index])
        try:
            black, white = float(facts["black_level"]), float(facts["white_level"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{paths[shot.index]}: tells no black and white level; render it again") from None
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        return ((image.astype(np.float32) - np.float32(black)) / np.float32(white - black)).astype(np.float32)

    def raw(index: int) -> Path:
        return folder / "raw" / f"{shots[index].stem}.dng"

    return _take(folder, kind, rig, shots, paths, linear, raw)


def _take(
    folder: Path,
    kind: str,
    rig: Rig,
    shots: tuple[Shot, ...],
    paths: dict[int, Path],
    linear: Callable[[Shot], Image],
    raw: Callable[[int], Path],
) -> CalibrationTake:
    there = tuple(shot for shot in shots if shot.index in paths)
    if not there:
        raise UserError(f"{folder}: the take of kind {kind} has no images yet; shoot it, or `mesoface take resume` it")
    missing = tuple(shot for shot in shots if shot.index not in paths)
    return CalibrationTake(folder, kind, rig, there, missing, linear, lambda shot: raw(shot.index))


class SizeCheck:
    """Image sizes of the views, as frames come in: all of a camera alike, all cameras at the same scale of the sensor.

    `camera` gives the nominal camera at the size found. `check` raises UserError naming the view.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sizes: dict[str, tuple[int, int]] = {}
        self._first: dict[str, str] = {}

    def check(self, shot: Shot, image: np.ndarray) -> None:
        size, camera = (image.shape[1], image.shape[0]), self.rig.camera(shot.camera)
        known = self.sizes.setdefault(shot.camera, size)
        first = self._first.setdefault(shot.camera, shot.stem)
        if known != size:
            raise UserError(
                f"view {shot.camera}: {shot.stem} has {_text(size)} px, but {first} has {_text(known)} px; all frames "
                "of a body must have one size: set it to full-size RAW and shoot this take again"
            )
        across, down = size[0] / camera.sensor.width_px, size[1] / camera.sensor.height_px
        if abs(across / down - 1) > ASPECT_TOLERANCE:
            raise UserError(
                f"view {shot.camera}: {shot.stem} has {_text(size)} px, which is no scaled "
                f"{camera.sensor.width_px}x{camera.sensor.height_px} px as the rig file describes the sensor; "
                "correct sensor.width_px and height_px, or the image format of the body"
            )
        for other, (width, _) in self.sizes.items():
            scale = width / self.rig.camera(other).sensor.width_px
            if abs(across / scale - 1) > ASPECT_TOLERANCE:
                raise UserError(
                    f"view {shot.camera} delivers {_text(size)} px, view {other} {_text(self.sizes[other])} px: images "
                    "of different sizes; set all bodies to the same image size, or correct the sensors in the rig file"
                )

    def camera(self, name: str) -> PinholeCamera:
        """The nominal camera at the size of its images. Raises UserError when its pose is "uncalibrated"."""
        return PinholeCamera.from_rig(self.rig.camera(name)).scaled(*self.sizes[name])


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
