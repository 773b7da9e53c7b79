"""Hand a take to other tools: a flat folder, RTI (relight, RTIBuilder), or COLMAP."""

import csv
import io
import shutil
from pathlib import Path
from typing import Literal

import numpy as np

from .camera_model import PinholeCamera
from .colmap_text import write_colmap_text
from .develop import develop
from .errors import UserError
from .files import atomic_path, write_bytes, write_text
from .image_files import srgb_from_linear, write_png, write_tiff
from .plan import Shot
from .raw import read_raw
from .rig_models import Rig
from .take import read_take
from .take_state import TakeState

Layout = Literal["flat", "rti", "colmap"]
RTI_WHITE = 0.9
"""Brightest percentile of the RTI images on the sRGB scale: one scale for all, or the relighting would be wrong."""


def export_take(folder: Path, out: Path, layout: Layout, *, raw: bool = False) -> int:
    """Write a take's images into the new or empty folder `out`; returns the number of files.

    Raises UserError for a folder that holds something, and for takes that lack what the layout needs.
    """
    manifest, rig, state = read_take(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not an empty folder; choose another --out")
    if layout != "flat" and manifest.kind != "scan":
        raise UserError(f"{folder}: is a {manifest.kind} take; --layout {layout} is for takes of a person")
    files = {shot: folder / "data" / image.path for shot in state.plan if (image := state.image(shot.index))}
    if not files:
        raise UserError(f"{folder}: has no verified frame yet; `mesoface take resume` fetches what is on the cards")
    out.mkdir(parents=True, exist_ok=True)
    if layout == "flat":
        return _flat(files, state, out, raw)
    return _rti(files, rig, out) if layout == "rti" else _colmap(files, rig, out)


def _flat(files: dict[Shot, Path], state: TakeState, out: Path, raw: bool) -> int:
    """Every frame, and frames.csv: what each is."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "step", "camera", "kind", "lights", "light_mask", "polariser", "source_sha256"])
    for shot, path in files.items():
        name = f"{shot.stem}{path.suffix if raw else '.tif'}"
        if raw:
            with atomic_path(out / name) as temporary:
                shutil.copyfile(path, temporary)
        else:
            # 16 bits hold the sensor's 14; the pedestal keeps noise below black.
            linear = np.clip(_developed(path) * 60000.0 + 4096.0, 0, 65535)
            facts = {"encoding": "linear", "black_level": 4096, "white_level": 64096, "shot": shot.stem}
            write_tiff(out / name, np.rint(linear).astype(np.uint16), **facts)
        image = state.image(shot.index)
        lights = " ".join(shot.lights)
        sha256 = image.sha256 if image else ""
        row = [name, shot.step, shot.camera, shot.kind, lights, f"{shot.light_mask:#x}", shot.polariser, sha256]
        writer.writerow(row)
    write_text(out / "frames.csv", table.getvalue())
    return len(files) + 1


def _rti(files: dict[Shot, Path], rig: Rig, out: Path) -> int:
    """The parallel frames of the centre view, and lights.lp: count, then name and unit direction (x right, y up, z)."""
    frames = {shot: path for shot, path in files.items() if shot.kind == "parallel"}
    missing = [flash.name for pair, flash in enumerate(rig.flashes) if pair not in {s.pair for s in frames}]
    if missing:
        raise UserError(f"the parallel frames of {', '.join(missing)} are missing; fetch or shoot them first")
    camera = PinholeCamera.from_rig(rig.centre)
    images = {shot: _developed(path) for shot, path in frames.items()}
    white = max(float(np.percentile(image, 99.9)) for image in images.values())
    lines = [str(len(images))]
    for shot, image in images.items():
        name = f"{shot.lights[0]}.jpg"
        _write_jpeg(out / name, srgb_from_linear(image * (RTI_WHITE / max(white, 1e-6))))
        position_mm = np.array(rig.light(shot.lights[0]).position_mm)
        towards = camera.cam_from_world.rotation @ (position_mm - np.array(rig.subject.target_mm))
        x, y, z = towards / np.linalg.norm(towards)
        lines.append(f"{name} {x:.6f} {-y:.6f} {-z:.6f}")
    write_text(out / "lights.lp", "\n".join(lines) + "\n")
    return len(images) + 1


def _colmap(files: dict[Shot, Path], rig: Rig, out: Path) -> int:
    """images/ with the uniform views as PNG and sparse/ with the rig's nominal cameras."""
    frames = {shot: path for shot, path in files.items() if shot.kind == "uniform"}
    if not frames:
        raise UserError("no uniform frame is there; fetch or shoot step 0 first")
    if any(rig.camera(shot.camera).pose is None for shot in frames):
        raise UserError('the rig has cameras with pose = "uncalibrated"; calibrate it first, or export --layout flat')
    images = {shot: _developed(path) for shot, path in frames.items()}
    white = max(float(np.percentile(image, 99.9)) for image in images.values())
    for shot, image in images.items():
        write_png(out / "images" / f"{shot.camera}.png", srgb_from_linear(image * (RTI_WHITE / max(white, 1e-6))))
    cameras = {shot.camera: PinholeCamera.from_rig(rig.camera(shot.camera)) for shot in frames}
    write_colmap_text(out / "sparse", cameras, {name: f"{name}.png" for name in cameras})
    return len(images) + 3


def _developed(path: Path) -> np.ndarray:
    """Linear camera RGB (H, W, 3) float32, 1 = white level."""
    return develop(read_raw(path)).rgb


def _write_jpeg(path: Path, rgb: np.ndarray) -> None:
    import cv2

    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise ValueError(f"{path}: {rgb.shape} {rgb.dtype} cannot be a JPEG")
    write_bytes(path, data.tobytes())
