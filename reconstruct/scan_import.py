"""Bring scans of other labs in: a plain folder of images, a COLMAP text model, lights.json.

import.json            what every image is; written by `mesoface import`, read by everything else
images/...             the images, copied as they are
lights.json            flashes, as `mesoface studio render` writes them; optional
"""

import csv
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.calibration_maps import Calibration
from ..capture.camera_model import PinholeCamera
from ..capture.colmap_text import read_colmap_text
from ..capture.develop import LinearImage
from ..capture.errors import UserError
from ..capture.files import atomic_path, sha256_file, sync_folder, write_json, write_text
from .camera_json import camera_entry, camera_from_entry
from .scan_source import KINDS, Frame, ScanSource, read_lights, read_linear_tiff
from .stereo_types import WorkingVolume

FORMAT = "mesoface-import"
SCHEMA_VERSION = 1
IMPORT_FILE = "import.json"
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
MODEL_PLACES = ("sparse", "sparse/0", "colmap", "truth/colmap", ".")
NAMED = re.compile(r"^(?:\d+_)?(?:uniform_(?P<camera>[\w-]+)|(?P<light>[\w-]+?)_(?P<kind>parallel|cross))$")


@dataclass(frozen=True)
class ImportedImage:
    """What one image of the folder is."""

    path: Path
    camera: str
    kind: str
    light: str


def import_scan(
    folder: str | Path,
    out: str | Path,
    *,
    model: Path | None = None,
    lights: Path | None = None,
    centre: str | None = None,
    mm_per_unit: float = 1.0,
) -> ScanSource:
    """Copy images and describe them in `out` (new or empty). Returns the scan as later stages open it.

    Args:
        folder: images (in it, or in its images/). Which is which comes from frames.csv (columns file, camera, kind,
            lights; as `mesoface take export --layout flat` writes it), else from names as the studio gives them:
            NN_uniform_CAMERA, NN_LIGHT_parallel, NN_LIGHT_cross; else every image of the model is a uniform view.
        model: folder of cameras.txt and images.txt; default: sparse/, colmap/ ... of `folder`. World: y up, z from the
            face to the centre camera.
        centre: name of the centre camera; default: the one that took the pairs, else the one nearest to the mean pose.
        mm_per_unit: size of the model's unit.

    Raises UserError that names the file, what was expected and what to do.
    """
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected images, a COLMAP text model and lights.json")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not an empty folder; choose another --out")
    if not mm_per_unit > 0:
        raise UserError(f"--mm-per-unit {mm_per_unit:g}: expected millimetres per unit of the model, above zero")
    views = _model(folder, model)
    images = _images(folder, views, centre)
    cameras = _cameras(images, views, mm_per_unit)
    chosen = _centre(images, cameras, centre)
    described = read_lights(folder) if lights is None else _lights_from(lights)
    _check_pairs(images, described)
    subject = _subject(cameras, chosen)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    temporary.mkdir(parents=True)
    try:
        _write(temporary, folder.resolve().name, chosen, cameras, subject, images, described)
        if out.exists():
            out.rmdir()  # empty, as checked above
        temporary.rename(out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_import(out)


def read_import(folder: Path) -> ScanSource:
    """Open an imported folder. Raises UserError when import.json or an image is missing, damaged or altered."""
    path = folder / IMPORT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT or content.get("schema_version", 0) > SCHEMA_VERSION:
            raise ValueError(f"format {content.get('format')!r}, version {content.get('schema_version')!r}")
        cameras = {name: camera_from_entry(entry) for name, entry in content["cameras"].items()}
        hashes = {entry["file"]: entry["sha256"] for entry in content["images"]}
        frames = tuple(
            Frame(Path(e["file"]).stem, e["camera"], e["kind"], e["light"], folder / e["file"])
            for e in content["images"]
        )
        subject = content["subject"]
        volume = WorkingVolume(tuple(subject["target_mm"]), tuple(subject["extent_mm"]))
        centre, name = str(content["centre"]), str(content["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is damaged ({error!r}); import the folder again") from None
    missing = tuple(frame.stem for frame in frames if not frame.path.is_file())

    def read(frame: Frame, maps: Calibration | None) -> LinearImage:
        if sha256_file(frame.path) != hashes[frame.path.relative_to(folder).as_posix()]:
            raise UserError(f"{frame.path}: is not the image that was imported; import the folder again")
        return read_image(frame.path)

    there = tuple(frame for frame in frames if frame.path.is_file())
    return ScanSource(
        folder,
        "imported",
        name,
        centre,
        there,
        missing,
        cameras,
        True,
        {},
        volume,
        None,
        read_lights(folder),
        None,
        read=read,
    )


def read_image(path: Path) -> LinearImage:
    """Linear light of an image: TIFF as it is (see read_linear_tiff); PNG and JPEG are taken as sRGB, 8 or 16 bits."""
    if path.suffix.lower() in (".tif", ".tiff"):
        return read_linear_tiff(path)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UserError(f"{path}: is no readable image; expected TIFF, PNG or JPEG")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    white = 65535 if image.dtype == np.uint16 else 255
    encoded = image[..., 2::-1].astype(np.float32) / np.float32(white)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** np.float32(2.4))
    return LinearImage(np.ascontiguousarray(linear, np.float32), (image[..., :3] == white).any(2))


def _write(
    out: Path,
    name: str,
    centre: str,
    cameras: dict[str, PinholeCamera],
    subject: dict[str, Any],
    images: Sequence[ImportedImage],
    lights: dict[str, Any] | None,
) -> None:
    """Everything into `out`."""
    for image in images:
        with atomic_path(out / "images" / image.path.name) as temporary:
            shutil.copyfile(image.path, temporary)
    if lights is not None:
        write_text(out / "lights.json", json.dumps(lights, indent=1) + "\n")
    write_json(
        out / IMPORT_FILE,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "centre": centre,
            "cameras": {camera: camera_entry(view) for camera, view in cameras.items()},
            "subject": subject,
            "images": [
                {
                    "file": f"images/{image.path.name}",
                    "camera": image.camera or centre,
                    "kind": image.kind,
                    "light": image.light,
                    "sha256": sha256_file(out / "images" / image.path.name),
                }
                for image in images
            ],
        },
    )


def _model(folder: Path, model: Path | None) -> dict[str, PinholeCamera]:
    places = [folder / place for place in MODEL_PLACES] if model is None else [model]
    for place in places:
        if (place / "cameras.txt").is_file():
            return read_colmap_text(place)
    if any((place / "cameras.bin").is_file() for place in places):
        raise UserError(
            f"{places[0]}: holds a binary COLMAP model; convert it with "
            "`colmap model_converter --output_type TXT`, and import again"
        )
    raise UserError(
        f"{folder}: no COLMAP text model (cameras.txt, images.txt) in {', '.join(MODEL_PLACES)}; give its folder "
        "with --model"
    )


def _images(folder: Path, views: dict[str, PinholeCamera], centre: str | None) -> list[ImportedImage]:
    if (folder / "frames.csv").is_file():
        return _listed(folder)
    root = folder / "images" if (folder / "images").is_dir() else folder
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{root}: no images here (expected {', '.join(SUFFIXES)})")
    made = []
    for path in files:
        if named := NAMED.match(path.stem):
            kind = named["kind"] or "uniform"
            made.append(ImportedImage(path, named["camera"] or centre or "", kind, named["light"] or ""))
        elif path.name in {Path(name).name for name in views}:
            made.append(ImportedImage(path, path.stem, "uniform", ""))
    if not any(image.kind == "uniform" for image in made):
        raise UserError(
            f"{root}: no image of the model's {', '.join(list(views)[:3])} ... and none named NN_uniform_CAMERA; name "
            "them so, or describe them in frames.csv (columns file, camera, kind, lights)"
        )
    return made


def _listed(folder: Path) -> list[ImportedImage]:
    path = folder / "frames.csv"
    made = []
    with path.open(newline="", encoding="utf-8") as handle:
        for number, row in enumerate(csv.DictReader(handle), start=2):
            try:
                file, camera, kind = row["file"], row["camera"], row["kind"]
            except KeyError as error:
                raise UserError(f"{path}: has no column {error}; expected file, camera, kind, lights") from None
            image = next((p for p in (folder / file, folder / "images" / file) if p.is_file()), None)
            if image is None:
                raise UserError(f"{path}:{number}: {file} is not in {folder}")
            if kind not in KINDS:
                raise UserError(f"{path}:{number}: kind {kind!r}; expected one of {', '.join(KINDS)}")
            light = (row.get("lights") or "").split()[0] if kind in ("parallel", "cross") else ""
            made.append(ImportedImage(image, camera, kind, light))
    return made


def _cameras(
    images: Sequence[ImportedImage], views: dict[str, PinholeCamera], mm_per_unit: float
) -> dict[str, PinholeCamera]:
    """Camera name -> its view in the model, through the model's image names."""
    by_stem = {Path(name).stem: camera for name, camera in views.items()}
    cameras = {}
    for image in images:
        if image.kind != "uniform":
            continue
        found = by_stem.get(image.path.stem) or by_stem.get(image.camera)
        if found is None:
            raise UserError(
                f"{image.path.name}: the model has no image of this name (it has {', '.join(list(by_stem)[:5])} ...); "
                "images.txt must name the files"
            )
        pose = found.cam_from_world
        scaled = type(pose)(pose.rotation, pose.translation_mm * mm_per_unit)
        cameras[image.camera] = type(found)(**{**vars(found), "cam_from_world": scaled})
    return cameras


def _centre(images: Sequence[ImportedImage], cameras: dict[str, PinholeCamera], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in cameras:
            raise UserError(f"--centre {wanted}: no such camera; there are {', '.join(cameras)}")
        return wanted
    took_pairs = {image.camera for image in images if image.kind == "parallel" and image.camera}
    if len(took_pairs) == 1 and next(iter(took_pairs)) in cameras:
        return next(iter(took_pairs))
    if "centre" in cameras:
        return "centre"
    ahead = np.mean([camera.cam_from_world.rotation[2] for camera in cameras.values()], axis=0)
    return max(cameras, key=lambda name: float(cameras[name].cam_from_world.rotation[2] @ ahead))


def _subject(cameras: dict[str, PinholeCamera], centre: str) -> dict[str, Any]:
    """A box around the point nearest to all optical axes, where the subject must be."""
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras.values():
        axis = camera.cam_from_world.rotation[2]
        across = np.eye(3) - np.outer(axis, axis)
        matrix += across
        right += across @ camera.centre_mm
    if np.linalg.cond(matrix) > 1e6:
        raise UserError("the cameras of the model look in parallel; expected views that meet on the subject")
    target = np.linalg.solve(matrix, right)
    distance = float(np.linalg.norm(cameras[centre].centre_mm - target))
    if not 100 < distance < 10_000:
        raise UserError(
            f"the cameras stand {distance:.3g} mm from the subject; set --mm-per-unit so that the model is in mm"
        )
    return {"target_mm": [float(x) for x in target], "extent_mm": list(WorkingVolume().extent_mm)}


def _lights_from(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected lights.json as `mesoface studio render` writes it")
    if path.name != "lights.json":
        raise UserError(f"{path}: expected a file named lights.json")
    return read_lights(path.parent) or {}


def _check_pairs(images: Sequence[ImportedImage], lights: dict[str, Any] | None) -> None:
    """Every pair is whole and its flash is known."""
    pairs: dict[str, set[str]] = {}
    for image in images:
        if image.light:
            pairs.setdefault(image.light, set()).add(image.kind)
    for light, kinds in pairs.items():
        if kinds != {"parallel", "cross"}:
            raise UserError(f"flash {light}: has its {', '.join(kinds)} image only; expected parallel and cross")
    known = {light["name"] for light in lights["lights"]} if lights else set()
    if pairs and not lights:
        raise UserError(f"images of flashes {', '.join(pairs)}, but no lights.json; give it with --lights")
    if unknown := sorted(set(pairs) - known):
        raise UserError(f"lights.json: has no flash {', '.join(unknown)}; it has {', '.join(sorted(known))}")
