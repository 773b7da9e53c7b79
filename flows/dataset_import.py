"""`mesoface dataset import`: a mesh with its displacement from another set, as maps that `dataset build` takes."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.files import sha256_file, write_json
from ..capture.take_manifest import check_subject
from ..dataset.external_sets import (
    MM_PER_UNIT,
    ExternalFace,
    read_displacement_map,
    read_texture,
    register_external,
)
from ..dataset.uv_maps import FaceSource, write_uv_maps
from ..dataset.uv_registration import RegistrationOptions
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_obj import fan_triangles, read_obj
from ..reconstruct.landmarks import COUNT
from .dataset_stages import UV_CODE, model_in_use, registration_facts
from .stage import Stage, run_stage
from .studio_commands import progress_display

console = Console()


def import_face(
    mesh: Path,
    *,
    landmarks: Path,
    subject: str,
    expression: str,
    licence: str,
    out: Path,
    displacement: Path | None = None,
    mm_at_white: float | None = None,
    mm_at_black: float | None = None,
    detail: Path | None = None,
    texture: Path | None = None,
    unit: Literal["mm", "cm", "m"] = "mm",
    face_model: str = "procedural",
    size: int = 2048,
    force: bool = False,
) -> int:
    """Bring a face of another set into the texture space of a face model: OUT/uv, for `mesoface dataset build OUT`.

    Either a base mesh with a displacement map in its own UV (FaceScape's: --mm-at-white 0.914 --mm-at-black -0.914), or
    a base and a detailed mesh of the same vertices. Scale and unit are never guessed.

    Example: mesoface dataset import base.obj --displacement dpmap.png --mm-at-white 0.914 --mm-at-black -0.914
    --landmarks points.json --subject F0001 --expression smile --licence "research only" --out ext/F0001_smile

    Parameters
    ----------
    mesh
        The base mesh, OBJ.
    landmarks
        JSON list of the 68 iBUG landmarks: vertex numbers from 0 (-1 unknown), or [x, y, z] in the mesh's unit (null).
    subject
        Pseudonym such as F0001.
    expression
        In one word.
    licence
        Under which terms the face may be used.
    out
        Folder; its name is the scan's name.
    displacement
        Grey 16-bit PNG, or TIFF in shares, along the base's normals.
    mm_at_white
        Millimetres of its largest value.
    mm_at_black
        Millimetres of its smallest value.
    detail
        The detailed mesh, OBJ, vertex by vertex beside the base.
    texture
        sRGB picture in the mesh's UV; without it patches are grey.
    unit
        Of the meshes.
    face_model
        Whose texture space to use.
    size
        Side of the maps in texels.
    force
        Make it again although it is valid.
    """
    check_subject(subject)
    if (displacement is None) == (detail is None):
        raise UserError("give either --displacement MAP or --detail MESH")
    if displacement is not None and (mm_at_white is None or mm_at_black is None):
        raise UserError(
            f"{displacement}: how many millimetres are white and black? Give --mm-at-white and --mm-at-black; the "
            "set's documentation says it (FaceScape: 0.914 and -0.914)"
        )
    files = {"mesh": mesh, "landmarks": landmarks, "displacement": displacement, "detail": detail, "texture": texture}
    for path in files.values():
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
    inputs = {name: sha256_file(path) for name, path in files.items() if path is not None}
    used = model_in_use(load_face_model(face_model), size)
    parameters = {
        "model": used.sha256, "size": size, "unit": unit, "mm": [mm_at_white, mm_at_black], "subject": subject,
        "expression": expression, "licence": licence, "name": out.resolve().name,
    }  # fmt: skip

    def work(folder: Path) -> tuple[str, ...]:
        face = _read(mesh, landmarks, detail, texture, unit)
        if displacement is not None:
            assert mm_at_white is not None and mm_at_black is not None
            height = read_displacement_map(displacement, mm_at_white=mm_at_white, mm_at_black=mm_at_black)
            face = ExternalFace(**{**_fields(face), "displacement_mm": height, "detailed_mm": None})
        source = FaceSource(
            subject, expression, out.resolve().name, used.model.name, licence, f"imported from {mesh.name}",
            inputs.get("displacement", inputs.get("detail", "")),
        )  # fmt: skip
        with progress_display() as progress:
            progress.add_task("registering", total=None)
            made = register_external(used.model, face, source, RegistrationOptions(size=size), charts=used.charts)
        write_uv_maps(folder, made.maps)
        write_json(folder / "registration.json", registration_facts(made))
        return made.warnings

    result = run_stage(out / "uv", Stage("uv", UV_CODE, parameters, inputs), work, force=force)
    for text in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    console.print(f"{escape(str(out / 'uv'))}: {'up to date' if result.reused else 'imported'}", soft_wrap=True)
    return 1 if result.warnings else 0


def _read(mesh: Path, landmarks: Path, detail: Path | None, texture: Path | None, unit: str) -> ExternalFace:
    scale = MM_PER_UNIT[unit]
    base = read_obj(mesh)
    triangles, uv_triangles = fan_triangles(base.corners, base.counts)[0], np.zeros((0, 3), np.int64)
    if len(base.uv_corners):
        uv_triangles = fan_triangles(base.uv_corners, base.counts)[0]
    vertices = base.vertices * scale
    detailed = vertices
    if detail is not None:
        other = read_obj(detail, base)
        if len(other.vertices) != len(base.vertices):
            raise UserError(f"{detail}: {len(other.vertices)} vertices, but {mesh} has {len(base.vertices)}")
        detailed = other.vertices * scale
    return ExternalFace(
        vertices, triangles, base.uv, uv_triangles, _landmarks(landmarks, vertices, scale), None, detailed,
        None if texture is None else read_texture(texture),
    )  # fmt: skip


def _landmarks(path: Path, vertices_mm: np.ndarray, scale: float) -> np.ndarray:
    """(68, 3) float64 mm, NaN where unknown."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable JSON ({error})") from None
    if not isinstance(entries, list) or len(entries) != COUNT:
        found = len(entries) if isinstance(entries, list) else type(entries).__name__
        raise UserError(f"{path}: expected a list of {COUNT} landmarks, found {found}")
    points = np.full((COUNT, 3), np.nan)
    for number, entry in enumerate(entries):
        if entry is None or entry == -1:
            continue
        if isinstance(entry, int) and 0 <= entry < len(vertices_mm):
            points[number] = vertices_mm[entry]
        elif isinstance(entry, list) and len(entry) == 3:
            points[number] = np.asarray(entry, np.float64) * scale
        else:
            raise UserError(
                f"{path}: landmark {number + 1} is {entry!r}; expected a vertex number below {len(vertices_mm)}, -1, "
                "three coordinates, or null"
            )
    return points


def _fields(face: ExternalFace) -> dict[str, object]:
    return {name: getattr(face, name) for name in face.__dataclass_fields__}
