"""A scan as reconstruction reads it, wherever it comes from: a take, a rendered scan, or an imported folder.

source = open_scan("sessions/S001_neutral_...")
source.uniform                      # camera name -> its frame in uniform light
source.linear(frame).rgb            # (H, W, 3) float32 linear light
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.calibration_maps import Calibration
from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage, develop
from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..capture.image_files import read_tiff
from ..capture.plan import shot_plan
from ..capture.raw import read_raw
from ..capture.rig_models import Rig
from ..capture.take import read_take, verify_image
from .scan_folder import read_manifest
from .stereo_types import WorkingVolume

KINDS = ("uniform", "parallel", "cross", "ambient")


@dataclass(frozen=True)
class Frame:
    """One exposure of a scan. `kind`: uniform, parallel, cross or ambient; `light`: the flash of a pair, else ""."""

    stem: str
    camera: str
    kind: str
    light: str
    path: Path


@dataclass(frozen=True, eq=False)
class ScanSource:
    """What is known of a scan before anything is computed."""

    folder: Path
    origin: str
    """"take", "rendered" or "imported"."""
    name: str
    """Names results; the take's pseudonymous folder name."""
    centre: str
    frames: tuple[Frame, ...]
    missing: tuple[str, ...]
    """Stems of frames that the plan has and the folder lacks."""
    nominal: Mapping[str, PinholeCamera]
    """Cameras as described, at the sensor's own size; none for a rig without poses."""
    trusted: bool
    """Are the nominal cameras exact (rendered, imported with a model)? A rig file's are only meant."""
    serials: Mapping[str, str]
    volume: WorkingVolume
    rig: Rig | None = None
    lights: Mapping[str, Any] | None = None
    """Content of lights.json, where the folder has one."""
    truth: Path | None = None
    """The truth folder of a rendered scan."""
    read: Callable[[Frame, Calibration | None], LinearImage] = field(repr=False, kw_only=True)

    @property
    def uniform(self) -> dict[str, Frame]:
        """Camera name -> its uniform frame."""
        return {frame.camera: frame for frame in self.frames if frame.kind == "uniform"}

    def linear(self, frame: Frame, maps: Calibration | None = None) -> LinearImage:
        """Develop one frame; `maps` are its body's dark frame, flat field and colours (raw files only)."""
        return self.read(frame, maps)

    def hashes(self, frames: Mapping[str, Frame]) -> dict[str, str]:
        """File name -> SHA-256, for the inputs of a stage."""
        return {frame.path.name: sha256_file(frame.path) for frame in frames.values()}


def open_scan(folder: str | Path) -> ScanSource:
    """Open a take (data/take.json), a rendered scan (scan.json) or an imported one (import.json). Writes nothing.

    Raises UserError that says what was expected for any other folder, and for a take that is no scan.
    """
    folder = Path(folder)
    if (folder / "data/take.json").is_file():
        return _take(folder)
    if (folder / "scan.json").is_file():
        return _rendered(folder)
    if (folder / "import.json").is_file():
        from .scan_import import read_import

        return read_import(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a take, a rendered scan, or an imported folder")
    raise UserError(
        f"{folder}: no take (data/take.json), no rendered scan (scan.json), no imported folder (import.json) here; "
        "bring other images in with `mesoface import`"
    )


def read_linear_tiff(path: Path) -> LinearImage:
    """A 16-bit or float TIFF of ours: `black_level` and `white_level` in its description; without them 0 and the
    largest number of an integer type, or 1. Raises UserError when it is not a picture of three colours."""
    image, facts = read_tiff(path)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{path}: an image of shape {image.shape}; expected (H, W, 3) RGB or (H, W) grey")
    whole = image.dtype.kind in "iu"
    try:
        black = float(facts.get("black_level", 0))
        white = float(facts.get("white_level", np.iinfo(image.dtype).max if whole else 1))
    except (TypeError, ValueError):
        raise UserError(f"{path}: its black_level or white_level is no number") from None
    if not white > black:
        raise UserError(f"{path}: white_level {white:g} is not above black_level {black:g}")
    linear = ((image.astype(np.float32) - np.float32(black)) / np.float32(white - black)).astype(np.float32)
    return LinearImage(linear, np.asarray((image >= white).any(2)))


def _take(folder: Path) -> ScanSource:
    manifest, rig, state = read_take(folder)
    if manifest.kind != "scan":
        raise UserError(f"{folder}: a take of kind {manifest.kind}, but expected a scan of a person")
    frames, missing = [], []
    for shot in manifest.plan:
        image = state.image(shot.index)
        if image is None:
            missing.append(shot.stem)
            continue
        light = shot.lights[0] if shot.kind in ("parallel", "cross") else ""
        frames.append((Frame(shot.stem, shot.camera, shot.kind, light, folder / "data" / image.path), image))

    checked = {frame.stem: image for frame, image in frames}

    def read(frame: Frame, maps: Calibration | None) -> LinearImage:
        if wrong := verify_image(folder, checked[frame.stem]):
            raise UserError(f"{frame.path}: {wrong}; restore it from a copy, or fetch it with `mesoface take resume`")
        return develop(read_raw(frame.path), maps)

    return ScanSource(
        folder, "take", folder.name, rig.centre.name, tuple(frame for frame, _ in frames), tuple(missing),
        _nominal(rig), False, {camera.name: camera.serial for camera in rig.cameras}, volume_of(rig), rig, read=read,
    )  # fmt: skip


def _rendered(folder: Path) -> ScanSource:
    content = read_manifest(folder)["content"]
    if "calibration" in content:
        raise UserError(f"{folder}: a rendered {content['calibration']} take, but expected a scan of a person")
    try:
        rig = Rig.model_validate(content["rig"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder}/scan.json: holds no usable rig ({error}); render it again") from None
    frames, missing = [], []
    for shot in shot_plan(rig):
        path = folder / "images" / f"{shot.stem}.tif"
        light = shot.lights[0] if shot.kind in ("parallel", "cross") else ""
        if path.is_file():
            frames.append(Frame(shot.stem, shot.camera, shot.kind, light, path))
        else:
            missing.append(shot.stem)
    nominal = {name: camera.undistorted() for name, camera in _nominal(rig).items()}
    truth = folder / "truth"
    return ScanSource(
        folder, "rendered", folder.name, rig.centre.name, tuple(frames), tuple(missing), nominal, True,
        {camera.name: camera.serial for camera in rig.cameras}, volume_of(rig), rig, read_lights(folder),
        truth if truth.is_dir() else None, read=lambda frame, maps: read_linear_tiff(frame.path),
    )  # fmt: skip


def read_lights(folder: Path) -> dict[str, Any] | None:
    """lights.json of a folder, None where there is none. Raises UserError when it is damaged."""
    import json

    path = folder / "lights.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [light["name"] for light in content["lights"]]
        positions = [np.asarray(light["position_mm"], float) for light in content["lights"] if light["role"] == "flash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a lights.json as `mesoface studio render` writes it ({error!r})") from None
    if len(set(names)) != len(names) or any(p.shape != (3,) or not np.isfinite(p).all() for p in positions):
        raise UserError(f"{path}: needs distinct names, and a position_mm of three numbers for every flash")
    return content


def volume_of(rig: Rig) -> WorkingVolume:
    """Where the rig file says the subject is."""
    target, extent = (tuple(float(x) for x in box) for box in (rig.subject.target_mm, rig.subject.extent_mm))
    assert len(target) == 3 and len(extent) == 3
    return WorkingVolume(target, extent)


def nominal_at(source: ScanSource, name: str, size_px: tuple[int, int]) -> PinholeCamera:
    """The camera as described, at the size of its images. Raises UserError where it has no pose or another aspect."""
    if name not in source.nominal:
        raise UserError(f'{source.folder}: camera "{name}" has no pose in the rig file; calibrate the rig')
    try:
        return source.nominal[name].scaled(*size_px)
    except UserError as error:
        raise UserError(f"view {name}: {error}") from None


def _nominal(rig: Rig) -> dict[str, PinholeCamera]:
    return {camera.name: PinholeCamera.from_rig(camera) for camera in rig.cameras if camera.pose is not None}


def without(source: ScanSource, cameras: set[str]) -> ScanSource:
    """The same scan, the uniform frames of some cameras left out."""
    kept = tuple(f for f in source.frames if f.kind != "uniform" or f.camera not in cameras)
    return replace(source, frames=kept)
