"""From one photograph to the folder of its proxy: faces, fit, maps, light, pictures; kept while it is valid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..capture.image_files import write_png
from ..reconstruct.expression_prior import ExpressionPrior
from ..reconstruct.face_model import FaceModel
from ..reconstruct.landmark_files import read_landmarks
from ..reconstruct.landmarks import LandmarkDetector, Landmarks
from ..reconstruct.photo import Photo, load_photo
from ..reconstruct.proxy_files import write_proxy
from ..reconstruct.proxy_fit import fit_proxy
from ..reconstruct.proxy_maps import ProxyCharts, proxy_maps
from .proxy_pictures import face_view, overlay
from .proxy_report import write_proxy_report
from .stage import Stage, StageResult, run_stage

CODE = 2
"""Goes up when the same picture gives another proxy."""
LEAST_FACE_PX = 150
"""Longer side of the box around the landmarks; skin has no detail below."""
MOST_OUTSIDE = 0.25
"""Share of landmarks that may lie outside of the picture (a cropped portrait) before they belong to another one."""


@dataclass
class ProxyTools:
    """What all pictures of a run share."""

    model: FaceModel
    size: int = 2048
    detector: LandmarkDetector | None = None
    """Needed for pictures without a landmark file."""
    prior: ExpressionPrior | None = None
    every_face: bool = False
    least_face_px: int = LEAST_FACE_PX
    detector_id: str = ""
    prior_id: str = ""
    """What makes a detector or prior give other results (a hash of its weights); part of a stage's validity."""

    @cached_property
    def charts(self) -> ProxyCharts:
        """Made when the first picture needs them."""
        return ProxyCharts.of(self.model, self.size)

    @cached_property
    def model_sha256(self) -> str:
        """Of everything in the face model."""
        total = hashlib.sha256(self.model.name.encode())
        for name in ("mean_mm", "identity_mm", "expression_mm", "albedo_mean", "albedo_basis", "triangles", "uv",
                     "uv_triangles", "landmarks", "regions"):  # fmt: skip
            total.update(np.ascontiguousarray(getattr(self.model, name)).data)
        return total.hexdigest()


def run_proxy(
    image: Path, out: Path, tools: ProxyTools, landmarks: Path | None = None, *, force: bool = False
) -> StageResult:
    """Make folder `out` for one picture; further faces go to its subfolders face2, face3, ...

    Raises UserError when the picture cannot be read, shows no face, or none that is large enough.
    """
    if not image.is_file():
        raise UserError(f"{image}: {'is a folder' if image.is_dir() else 'no such file'}; expected a picture")
    inputs = {"image": sha256_file(image), "face model": tools.model_sha256}
    if landmarks is not None:
        if not landmarks.is_file():
            raise UserError(f"{landmarks}: no such landmark file; expected a .pts or .json file for {image.name}")
        inputs["landmarks"] = sha256_file(landmarks)
    elif tools.detector is None:
        raise UserError(f"{image}: neither landmarks nor a detector given")
    elif tools.detector_id:
        inputs["detector"] = tools.detector_id
    if tools.prior is not None:
        inputs["prior"] = tools.prior_id or tools.prior.name
    parameters = {
        "size": tools.size,
        "detector": "file" if landmarks is not None or tools.detector is None else tools.detector.name,
        "prior": tools.prior.name if tools.prior is not None else "none",
        "every_face": tools.every_face,
        "least_face_px": tools.least_face_px,
        "name": image.name,
    }

    def work(folder: Path) -> Sequence[str]:
        photo = load_photo(image)
        faces, notes = find_faces(image, photo, tools, landmarks)
        facts = {
            "file": image.name,
            "sha256": inputs["image"],
            "size_px": [photo.srgb.shape[1], photo.srgb.shape[0]],
            "notes": [*photo.notes, *notes],
        }
        warnings: list[str] = []
        for number, face in enumerate(faces, 1):
            place = folder if number == 1 else folder / f"face{number}"
            place.mkdir(exist_ok=True)
            found = _one_face(place, image.name, photo, face, tools, facts)
            warnings += [text if number == 1 else f"face {number}: {text}" for text in found]
        return warnings

    return run_stage(out, Stage("proxy", CODE, parameters, inputs), work, force=force)


def find_faces(
    image: Path, photo: Photo, tools: ProxyTools, landmarks: Path | None
) -> tuple[list[Landmarks], list[str]]:
    """Landmarks of the largest face, or of all with `every_face`; the largest first. And notes for the report.

    Raises UserError for no face, faces below the limit, and landmarks that lie outside of the picture.
    """
    if landmarks is not None:
        faces = read_landmarks(landmarks)
        for face in faces:
            _check_inside(landmarks, photo, face)
    else:
        assert tools.detector is not None
        faces = tools.detector.detect(photo.srgb)
        if not faces:
            raise UserError(
                f"{image}: no face found by {tools.detector.name} in {photo.size}. It finds upright faces seen from "
                "the front to half profile; crop or turn the picture, or give --landmarks FILE"
            )
    faces = sorted(faces, key=lambda face: -np.nan_to_num(face.size_px))
    large = [face for face in faces if face.size_px >= tools.least_face_px]
    if not large:
        largest = float(np.nan_to_num(faces[0].size_px))
        raise UserError(
            f"{image}: the face is {largest:.0f} px across its landmarks, at least {tools.least_face_px} "
            "are needed; give a larger picture of it (enlarging this one adds nothing), or lower --min-face"
        )
    notes = []
    if len(faces) > 1 and not tools.every_face:
        notes.append(f"{len(faces)} faces found, the largest taken; --all takes every one")
    elif len(faces) > len(large):
        notes.append(f"{len(faces) - len(large)} left out: less than {tools.least_face_px} px")
    return large if tools.every_face else large[:1], notes


def _check_inside(path: Path, photo: Photo, face: Landmarks) -> None:
    points = face.points_px[face.known]
    if not len(points):
        raise UserError(f"{path}: holds no known landmark; give a file with at least 12 of the 68 points")
    height, width = photo.srgb.shape[:2]
    outside = float(((points < -0.5) | (points > [width - 0.5, height - 0.5])).any(1).mean())
    if outside > MOST_OUTSIDE:
        raise UserError(
            f"{path}: {100 * outside:.0f} % of its landmarks lie outside of the picture ({photo.size}). Is it the file "
            "of another picture, or of this one before it was turned (Exif) or resized?"
        )


def _one_face(
    folder: Path, name: str, photo: Photo, face: Landmarks, tools: ProxyTools, facts: dict[str, Any]
) -> list[str]:
    """Fit, maps, files and report of one face; its warnings."""
    beta = None if tools.prior is None else tools.prior.predict(photo.srgb, face)
    proxy = fit_proxy(tools.model, face, beta_prior=beta)
    maps = proxy_maps(photo.srgb, proxy, tools.charts)
    warnings = [*proxy.warnings, *maps.light.warnings]
    facts = {**facts, "prior": tools.prior.name if tools.prior is not None else "none"}
    write_proxy(folder, proxy, face, maps, facts, warnings)
    view = face_view(photo.srgb, proxy, face)
    drawn = overlay(view, proxy, face)
    write_png(folder / "overlay.png", drawn)
    prior = "fitted to the landmarks" if tools.prior is None else f"fixed by the prior {tools.prior.name}"
    rows = [("picture", f"{name}, {photo.size}"), ("expression", prior)]
    if facts["notes"]:
        rows.append(("notes", "; ".join(facts["notes"])))
    write_proxy_report(folder, name, view, drawn, proxy, face, maps, rows, warnings)
    return warnings
