"""`mesoface face-model ...`: inspect, convert and render face models."""

import json as json_text
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..capture.errors import UserError
from ..capture.files import write_bytes
from ..capture.image_files import srgb_from_linear
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import UNIT_NAMES, FaceModel
from ..reconstruct.face_model_file import save_face_model
from ..reconstruct.face_obj import write_obj, write_ply
from ..reconstruct.face_preview import describe, expression_sheet, identity_sheet, region_colours, render_face
from ..reconstruct.studio_options import parse_size


def info(path: str, *, json: bool = False) -> None:
    """Show what a face model holds: components, landmarks, regions, extent, licence.

    Example: mesoface face-model info ICT-FaceKit/FaceXModel

    Parameters
    ----------
    path
        'procedural', a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file.
    json
        Print JSON instead of a table.
    """
    facts = describe(load_face_model(path))
    console = Console()
    if json:
        console.file.write(json_text.dumps(facts, indent=1) + "\n")
        return
    low, high = facts["bounding_box_mm"]
    table = Table(show_header=False)
    for label, value in (
        ("name", facts["name"]),
        ("licence", facts["licence"]),
        ("vertices", f"{facts['vertices']:,}"),
        ("triangles", f"{facts['triangles']:,}"),
        ("identity components", str(facts["identity_components"])),
        ("expressions", _expressions(facts["expression_names"], facts["expressions_are_units"])),
        ("albedo components", str(facts["albedo_components"])),
        ("extent in mm", " x ".join(f"{b - a:.0f}" for a, b in zip(low, high, strict=True))),
        ("from ... to, mm", f"({_numbers(low)}) ... ({_numbers(high)})"),
        ("landmarks known", f"{facts['landmarks_known']} of {facts['landmarks_total']}"),
        ("UV range", " ... ".join(f"({_numbers(corner, 3)})" for corner in facts["uv_range"]) or "none"),
        ("vertices per region", ", ".join(f"{name} {count}" for name, count in facts["vertices_per_region"].items())),
    ):
        table.add_row(label, escape(value))
    console.print(table)


def convert(path: str, out: Path, *, force: bool = False) -> None:
    """Convert a face model to mesoface's own .h5, or its mean face to .obj (with UVs) or .ply (with colours).

    Example: mesoface face-model convert model2017-1_bfm_nomouth.h5 bfm2017.h5

    Parameters
    ----------
    path
        'procedural', a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file.
    out
        File to write; its suffix chooses the format: .h5, .obj or .ply. Millimetres in each.
    force
        Replace an existing file.
    """
    suffix = _check_output(out, (".h5", ".obj", ".ply"), force)
    if out.exists() and Path(path).exists() and out.samefile(path):
        raise UserError(f"{out}: the output is the input file itself; choose another name")
    model = load_face_model(path)
    if suffix == ".h5":
        save_face_model(model, out)
    elif suffix == ".obj":
        write_obj(out, model.mean_mm, model.triangles, model.uv, model.uv_triangles)
    else:
        write_ply(out, model.mean_mm, model.triangles, srgb_from_linear(model.albedo()))
    Console().print(f"wrote {escape(str(out))}: {escape(model.name)}")


def render(
    path: str,
    out: Path,
    *,
    expression: str = "",
    identity_seed: int | None = None,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size: str = "",
    width: int = 640,
    height: int = 800,
    clay: bool = False,
    regions: bool = False,
    sheet: Literal["expressions", "identities"] | None = None,
    force: bool = False,
) -> None:
    """Render a face model to a picture, or a contact sheet of its expressions or of random identities.

    Example: mesoface face-model render procedural smile.png --expression lip_corner_pull=1,cheek_raise=0.5 --yaw-deg 30

    Parameters
    ----------
    path
        'procedural', a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file.
    out
        Picture to write, .png or .jpg.
    expression
        Coefficients by name, name=value separated by commas. `info` lists a model's names.
    identity_seed
        Draw a random identity (shape and albedo, standard normal) from this seed; without it the mean.
    yaw_deg
        Turn the face to its own left, degrees.
    pitch_deg
        Lift the chin, degrees.
    size
        WIDTHxHEIGHT in pixels, in place of --width and --height.
    width
        Picture width in pixels; of one cell for a sheet.
    height
        Picture height in pixels; of one cell for a sheet.
    clay
        Grey, without colours.
    regions
        Colour by facial region.
    sheet
        Contact sheet of 'expressions' or 'identities' instead of one view.
    force
        Replace an existing file.
    """
    import cv2

    suffix = _check_output(out, (".png", ".jpg", ".jpeg"), force)
    if size:
        width, height = parse_size(size)
    for label, value in (("width", width), ("height", height)):
        if not 16 <= value <= 8192:
            raise UserError(f"{label} {value}: allowed are 16 to 8192 pixels")
    model = load_face_model(path)
    if sheet == "expressions":
        image = expression_sheet(model, (width, height))
    elif sheet == "identities":
        image = identity_sheet(model, np.random.default_rng(identity_seed or 0), size=(width, height))
    else:
        rng = np.random.default_rng(identity_seed)
        drawn = [rng.standard_normal(len(basis)) for basis in (model.identity_mm, model.albedo_basis)]
        alpha, gamma = drawn if identity_seed is not None else (None, None)
        colours = region_colours(model.regions) if regions else None
        beta = parse_expression(model, expression)
        image = render_face(model, alpha, beta, gamma, (width, height), yaw_deg, pitch_deg, clay, colours)
    done, data = cv2.imencode(suffix, image[..., ::-1])
    if not done:
        raise UserError(f"{out}: the picture could not be encoded as {suffix}; take .png")
    write_bytes(out, data.tobytes())
    Console().print(f"wrote {escape(str(out))}: {image.shape[1]} x {image.shape[0]} px")


def parse_expression(model: FaceModel, text: str) -> np.ndarray | None:
    """Coefficients (Ke,) float32 from 'name=value,name=value'; None for an empty text.

    Raises UserError for a name that the model lacks and a value that is no number.
    """
    if not text.strip():
        return None
    beta = np.zeros(len(model.expression_names), np.float32)
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in model.expression_names:
            why = " (a unit this model lacks)" if name in UNIT_NAMES else ""
            known = ", ".join(model.expression_names) or "none"
            raise UserError(f"expression '{name}'{why}: {model.name} has {known}")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            raise UserError(f"expression '{part.strip()}': expected name=number, for example {name}=0.8")
        beta[model.expression_names.index(name)] = number
    return beta


def _check_output(out: Path, suffixes: tuple[str, ...], force: bool) -> str:
    suffix = out.suffix.lower()
    if suffix not in suffixes:
        raise UserError(f"{out}: unknown suffix '{out.suffix}'; allowed are {', '.join(suffixes)}")
    if out.is_dir():
        raise UserError(f"{out} is a folder; give a file name")
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name, or replace it with --force")
    return suffix


def _expressions(names: list[str], units: bool) -> str:
    if not names:
        return "none"
    kind = "named units" if units else "components"
    return f"{len(names)} {kind}: {', '.join(names) if units or len(names) <= 8 else f'{names[0]} ... {names[-1]}'}"


def _numbers(values: list[float], digits: int = 0) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
