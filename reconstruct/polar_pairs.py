"""All pairs of a scan: developed, brought into the reference's pose, separated, checked.

pairs = separate_scan(source, geometry.camera, geometry.z0_mm, geometry.mask, lights=source.lights)
maps = photometric_stereo(pairs.diffuse, pairs.lights, geometry.camera, geometry.z0_mm, geometry.mask)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.calibration_maps import Calibration
from ..capture.camera_model import PinholeCamera
from ..capture.develop import LinearImage
from ..capture.errors import UserError
from ..capture.rigid import RigidTransform
from .exposure_motion import find_motions, reduced
from .face_registration import STILL
from .frame_warp import STILL_PX, warp_frame
from .light_model import LightModel, light_model
from .photometric_stereo import FEWEST_LIGHTS, ImageStack
from .polar_leak import leak_map
from .scan_source import Frame, ScanSource
from .sensor import exposure_gain
from .separation import is_black, pair_shift, separate_pair

LARGE_RESIDUAL = 0.03
LARGE_MOTION_MM = 6.0
LARGE_LOCAL_PX = 0.5
BURNT_SHARE = 0.2
KEPT_BYTES = 1.2e9
"""Developed frames are kept in memory between finding the motion and separation if they need less."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PairFacts:
    """One pair in figures. gain, leak: corrections made; gain_sigma: 0 for a given gain; residual: of the pair's colour
    difference; motion of the head since the reference: moved_px in the picture, moved_mm, local_px beyond rigid."""

    light: str
    gain: float
    gain_sigma: float
    leak: float
    residual: float
    pair_shift_px: tuple[float, float]
    moved_px: float
    moved_mm: float
    local_px: float
    clipped: float


@dataclass(frozen=True, eq=False)
class PolarPairs:
    """Diffuse and specular images of all usable lights, in the reference's pose; units of the scan's linear images.

    `lights`: their light model in the axes of the reference camera, each as seen by the head in its reference pose.
    """

    diffuse: ImageStack
    specular: ImageStack
    lights: LightModel
    expected: tuple[str, ...]
    """Every light of the calibration, also those without images."""
    facts: tuple[PairFacts, ...]
    reference: str
    """Stem of the exposure whose pose all images have."""
    warnings: tuple[str, ...]


def separate_scan(
    source: ScanSource,
    camera: PinholeCamera,
    depth_mm: np.ndarray,
    mask: np.ndarray,
    *,
    lights: Mapping[str, Any],
    polarisers: Mapping[str, Any] | None = None,
    lenses: Mapping[str, PinholeCamera] | None = None,
    maps: Mapping[str, Calibration] | None = None,
    motion: bool = True,
    folder: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> PolarPairs:
    """Read and separate the pairs of a scan.

    Args:
        camera: the reference view, without distortion, of the images' size (GeometryResult.camera).
        depth_mm, mask: (H, W) of that view; the head's surface, NaN outside.
        lights: content of lights.json (the scan's own, or the calibration's).
        polarisers: content of polarisers.json; gains and leaks are taken from it, else gains are estimated from the
            pairs and the leak is that of lights.json.
        lenses: cameras with distortion by name, where images are distorted or pairs come from two bodies.
        maps: calibration maps of raw files by camera name.
        motion: find and undo the head's motion between exposures.
        folder: scratch folder for large pictures; images are then kept there as raw float32, not in memory.
    Raises UserError when fewer than 3 pairs are usable, and for frames of another size than the camera's.
    """
    model = light_model(lights, camera, _scale(source))
    frames = _pairs(source, model)
    warnings = []
    complete: dict[str, tuple[Frame, Frame]] = {}
    for name, (first, second) in frames.items():
        if first is not None and second is not None:
            complete[name] = first, second
        else:
            lost = "no parallel frame" if first is None else "no crossed frame"
            warnings.append(f"light {name}: {lost if first or second else 'no frames'}; left out")
    reader = _Reader(source, camera, depth_mm, lenses or {}, maps or {}, len(complete))
    motions, stem = _motions(reader, complete, lights, mask, motion, warnings, progress)
    if len(motions) < FEWEST_LIGHTS:
        missing = [name for name in model.names if name not in motions]
        raise UserError(
            f"{source.folder}: {len(motions)} usable pairs ({', '.join(motions) or 'none'}), but {FEWEST_LIGHTS} are "
            f"needed; missing: {', '.join(missing)}. {' '.join(warnings)}"
        )
    facts, images = [], []
    for done, (name, found) in enumerate(motions.items()):
        progress("separation", done, len(motions))
        first, second = complete[name]
        parallel, cross = reader.moved(first, found.parallel), reader.moved(second, found.crossed)
        gain, leak = _calibrated(polarisers, name)
        separated = separate_pair(
            parallel, cross, light=name, mask=mask, gain=gain, register=False, white=_white(model, name),
            leak=leak if leak is not None else _leak(source, lights, name, camera, depth_mm),
        )  # fmt: skip
        facts.append(
            PairFacts(
                name, separated.gain, separated.gain_sigma, separated.leak, separated.residual, found.shift_px,
                found.moved_px, found.moved_mm, found.local_px, float(separated.clipped[mask].mean()),
            )
        )  # fmt: skip
        warnings += _doubts(facts[-1])
        images.append(
            (
                _kept(separated.diffuse, folder, f"{name}_diffuse"),
                _kept(separated.specular, folder, f"{name}_specular"),
                np.where(separated.clipped, 0, 255).astype(np.uint8),
            )
        )
    used = tuple(motions)
    size = depth_mm.shape[0], depth_mm.shape[1]
    usable = tuple(entry[2] for entry in images)
    return PolarPairs(
        ImageStack(used, tuple(entry[0] for entry in images), usable, size),
        ImageStack(used, tuple(entry[1] for entry in images), usable, size),
        model.chosen(used).seen_by_moved_head([found.crossed for found in motions.values()]),
        model.names,
        tuple(facts),
        stem or complete[used[0]][1].stem,
        tuple(warnings),
    )


@dataclass(frozen=True, eq=False)
class _PairMotion:
    """Motions of the head at both frames of a pair since the reference."""

    parallel: RigidTransform = STILL
    crossed: RigidTransform = STILL
    shift_px: tuple[float, float] = (0.0, 0.0)
    moved_px: float = 0.0
    moved_mm: float = 0.0
    local_px: float = 0.0


def _motions(
    reader: "_Reader",
    complete: Mapping[str, tuple[Frame, Frame]],
    lights: Mapping[str, Any],
    mask: np.ndarray,
    wanted: bool,
    warnings: list[str],
    progress: Progress,
) -> tuple[dict[str, _PairMotion], str]:
    """Motions of the usable pairs, and the stem of the exposure that they refer to ("": the first pair)."""
    source, camera, depth_mm = reader.source, reader.camera, reader.depth_mm
    model = light_model(lights, camera, _scale(source))
    view = reduced(camera, depth_mm, mask)
    crossed, shifts = {}, {}
    for done, (name, (first, second)) in enumerate(complete.items()):
        progress("reading pairs", done, len(complete))
        parallel, cross = reader.read(first), reader.read(second)
        problem = _problem(name, parallel, cross, mask)
        if problem:
            warnings.append(problem)
            continue
        crossed[name], small = view.picture(cross), view.picture(parallel)
        right, down = pair_shift(small, crossed[name], view.mask, _white(model, name)) if wanted else (0.0, 0.0)
        shifts[name] = right * view.factor, down * view.factor
    if not wanted or len(crossed) < FEWEST_LIGHTS:
        return {name: _PairMotion() for name in crossed}, ""
    progress("motion of the head", 0, 1)
    frame = source.uniform.get(source.centre)
    uniform = None if frame is None else view.picture(reader.read(frame))
    found = find_motions(list(crossed.values()), uniform, list(crossed), lights, _scale(source), view)
    made = {}
    for (name, shift), motion in zip(shifts.items(), found, strict=True):
        # shift is the motion of the crossed against the parallel frame
        middle = float(np.nanmedian(depth_mm[mask]))
        back = np.array([-shift[0] * middle / camera.fx_px, -shift[1] * middle / camera.fy_px, 0.0])
        before = RigidTransform(motion.motion.rotation, motion.motion.translation_mm + back)
        made[name] = _PairMotion(
            before, motion.motion, shift, _rms_px(motion.motion, camera, depth_mm, mask),
            _moved_mm(motion.motion, camera, depth_mm, mask), motion.residual_px,
        )  # fmt: skip
    farthest = max(max(f.moved_px, _rms_px(f.parallel, camera, depth_mm, mask)) for f in made.values())
    if farthest < STILL_PX:
        made = {name: _PairMotion(moved_px=f.moved_px, local_px=f.local_px) for name, f in made.items()}
    return made, "" if frame is None else frame.stem


class _Reader:
    """Frames of a scan in the reference's view."""

    def __init__(
        self,
        source: ScanSource,
        camera: PinholeCamera,
        depth_mm: np.ndarray,
        lenses: Mapping[str, PinholeCamera],
        maps: Mapping[str, Calibration],
        pairs: int,
    ) -> None:
        self.source, self.camera, self.depth_mm, self.lenses, self.maps = source, camera, depth_mm, lenses, maps
        self.kept: dict[str, LinearImage] | None = {} if depth_mm.size * 12 * 2 * pairs < KEPT_BYTES else None

    def original(self, frame: Frame) -> LinearImage:
        """The frame as developed; small pictures are read once, large ones twice."""
        if self.kept is None:
            return self.source.linear(frame, self.maps.get(frame.camera))
        if frame.stem not in self.kept:
            self.kept[frame.stem] = self.source.linear(frame, self.maps.get(frame.camera))
        return self.kept[frame.stem]

    def read(self, frame: Frame) -> LinearImage:
        """The frame in the reference's view, without motion."""
        image = self.original(frame)
        lens = self.lens(frame)
        if image.rgb.shape[:2] != (lens.height_px, lens.width_px):
            raise UserError(
                f"{frame.path.name}: {image.rgb.shape[1]}x{image.rgb.shape[0]} px, but the calibration is of "
                f"{lens.width_px}x{lens.height_px} px; all frames of a scan need one size"
            )
        return warp_frame(image, lens, self.camera, self.depth_mm)

    def moved(self, frame: Frame, motion: RigidTransform) -> LinearImage:
        """The frame with the head's motion undone, by one resampling of the original."""
        image = warp_frame(self.original(frame), self.lens(frame), self.camera, self.depth_mm, motion)
        if self.kept is not None:
            self.kept.pop(frame.stem, None)
        return image

    def lens(self, frame: Frame) -> PinholeCamera:
        if frame.camera in self.lenses:
            return self.lenses[frame.camera]
        if frame.camera == self.source.centre:
            return self.camera
        raise UserError(f"{frame.path.name}: was taken by camera {frame.camera}, which has no calibration here")


def _pairs(source: ScanSource, model: LightModel) -> dict[str, tuple[Frame | None, Frame | None]]:
    """Light -> (parallel, crossed) frame, in the order of the light model."""
    found: dict[str, dict[str, Frame]] = {}
    for frame in source.frames:
        if frame.kind in ("parallel", "cross"):
            found.setdefault(frame.light, {})[frame.kind] = frame
    unknown = [name for name in found if name not in model.names]
    if unknown:
        raise UserError(
            f"{source.folder}: images of light {', '.join(unknown)}, but the light calibration knows "
            f"{', '.join(model.names)}; is it the calibration of another rig?"
        )
    return {name: (found.get(name, {}).get("parallel"), found.get(name, {}).get("cross")) for name in model.names}


def _scale(source: ScanSource) -> float:
    """Linear units of the scan's images per unit of linear light of lights.json."""
    return exposure_gain(source.rig.centre.exposure) if source.rig is not None else 1.0


def _white(model: LightModel, name: str) -> tuple[float, float, float]:
    red, green, blue = model.intensity[model.names.index(name)]
    return float(red / green), 1.0, float(blue / green)


def _problem(name: str, parallel: LinearImage, cross: LinearImage, mask: np.ndarray) -> str:
    for kind, frame in (("parallel", parallel), ("crossed", cross)):
        if is_black(frame, mask):
            return f"light {name}: its {kind} frame is black, so the pair is left out; did the flash fire?"
        burnt = float(frame.clipped[mask].mean())
        if burnt > BURNT_SHARE:
            return f"light {name}: {100 * burnt:.0f} % of its {kind} frame is burnt out; pair left out; dim the flash"
    return ""


def _doubts(facts: PairFacts) -> list[str]:
    doubts = []
    if facts.residual > LARGE_RESIDUAL:
        doubts.append(
            f"light {facts.light}: parallel and crossed frame differ by {100 * facts.residual:.1f} % in skin colour; "
            "did the subject move, or another lamp shine?"
        )
    if facts.moved_mm > LARGE_MOTION_MM:
        doubts.append(f"light {facts.light}: the head moved {facts.moved_mm:.1f} mm since the first exposure")
    if facts.local_px > LARGE_LOCAL_PX:
        doubts.append(
            f"light {facts.light}: parts of the face moved by {facts.local_px:.1f} px beyond the head's motion; "
            "did the expression change?"
        )
    return doubts


def _displaced(
    motion: RigidTransform, camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A few points of the face before and after the motion, camera axes (N, 3)."""
    rows, columns = np.nonzero(mask & np.isfinite(depth_mm))
    every = max(len(rows) // 2000, 1)
    rows, columns = rows[::every], columns[::every]
    x, y = camera.normalised_grid()
    z = depth_mm[rows, columns].astype(np.float64)
    points = np.stack([x[columns] * z, y[rows] * z, z], axis=1)
    return points, motion.apply(points)


def _rms_px(motion: RigidTransform, camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray) -> float:
    before, after = _displaced(motion, camera, depth_mm, mask)
    moved = camera.fx_px * (after[:, :2] / after[:, 2:] - before[:, :2] / before[:, 2:])
    return float(np.sqrt((moved**2).sum(1).mean()))


def _moved_mm(motion: RigidTransform, camera: PinholeCamera, depth_mm: np.ndarray, mask: np.ndarray) -> float:
    before, after = _displaced(motion, camera, depth_mm, mask)
    return float(np.sqrt(((after - before) ** 2).sum(1).mean()))


def _calibrated(polarisers: Mapping[str, Any] | None, name: str) -> tuple[float | None, float | None]:
    for pair in (polarisers or {}).get("pairs", ()):
        if pair["light"] == name:
            return float(pair["gain"]), float(pair["leak"])
    return None, None


def _leak(
    source: ScanSource, lights: Mapping[str, Any], name: str, camera: PinholeCamera, depth_mm: np.ndarray
) -> float | np.ndarray:
    """Leak map from the films' angles where they are known, else the extinction alone."""
    extinction = float(lights.get("leak", 0.0))
    light = next(entry for entry in lights["lights"] if entry["name"] == name)
    analyser = None if source.rig is None else source.rig.centre.analyser_deg
    if analyser is None or light.get("film_axis_world") is None:
        return extinction
    return leak_map(depth_mm, camera, light, analyser, extinction)


def _kept(image: np.ndarray, folder: Path | None, name: str) -> np.ndarray | Path:
    if folder is None:
        return image
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.f32"
    np.ascontiguousarray(image, np.float32).tofile(path)
    return path
