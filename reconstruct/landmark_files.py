"""Landmark files: 300-W `.pts`, and JSON of our own.

A `.pts` file counts pixels as MATLAB does: the centre of the top left pixel is (1, 1) (so says the 300-W challenge that
published the annotations). Inside the project it is (0, 0); reading subtracts 1 and writing adds it. Other programs
write `.pts` files from 0: `first_pixel=0` reads those.

Our JSON is `{"format": "mesoface-landmarks", "schema_version": 1, "source": "...", "faces": [{"points_px": [[column,
row] or null, 68 of them], "weights": [68 numbers]}]}`, pixel centres at integers from 0, iBUG order, `weights`
optional. `truth.json` of a virtual portrait is read as well.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_json, write_text
from .landmarks import COUNT, Landmarks, landmarks_from_points

FORMAT = "mesoface-landmarks"
SCHEMA_VERSION = 1
FIRST_PIXEL = 1.0
"""Coordinate of the first pixel's centre in a `.pts` file."""


def read_landmarks(path: str | Path, first_pixel: float = FIRST_PIXEL) -> list[Landmarks]:
    """The faces of a `.pts` or `.json` file, as they stand in it.

    Raises UserError with the file, what was expected (68 points) and what was found.
    """
    path = Path(path)
    if path.suffix.lower() == ".pts":
        return [read_pts(path, first_pixel)]
    if path.suffix.lower() == ".json":
        return read_landmark_json(path)
    raise UserError(f"{path}: expected a .pts (300-W) or .json landmark file, found the suffix {path.suffix!r}")


def read_pts(path: str | Path, first_pixel: float = FIRST_PIXEL) -> Landmarks:
    """A 300-W annotation file. Raises UserError unless it holds exactly 68 points of two numbers each."""
    path = Path(path)
    lines = [line.strip() for line in _text(path).splitlines()]
    try:
        first, last = lines.index("{"), len(lines) - 1 - lines[::-1].index("}")
    except ValueError:
        raise UserError(
            f"{path}: expected a 300-W .pts file (version: 1, n_points: 68, then points in braces), found no braces"
        ) from None
    announced = [line.partition(":")[2].strip() for line in lines[:first] if line.startswith("n_points")]
    rows = [(number, line) for number, line in enumerate(lines[first + 1 : last], first + 2) if line]
    points = np.array([_point(path, number, line) for number, line in rows]).reshape(-1, 2)
    if len(points) != COUNT:
        raise UserError(
            f"{path}: expected {COUNT} points (iBUG order), found {len(points)}. Give a 68-point annotation."
        )
    if announced and announced[0] != str(COUNT):
        raise UserError(f"{path}: n_points says {announced[0]}, but {COUNT} points follow; the file was altered")
    return landmarks_from_points(points - first_pixel, f"file: {path.name}")


def write_pts(path: str | Path, landmarks: Landmarks) -> None:
    """Write a 300-W annotation file. Raises ValueError when points are unknown: the format cannot say so."""
    if not landmarks.known.all():
        raise ValueError(f"{path}: {int((~landmarks.known).sum())} points are unknown, which .pts cannot express")
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in landmarks.points_px + FIRST_PIXEL)
    write_text(path, f"version: 1\nn_points:  {COUNT}\n{{\n{rows}\n}}\n")


def read_landmark_json(path: str | Path) -> list[Landmarks]:
    """Our JSON, or the truth of a virtual portrait. Raises UserError naming the file and what is wrong in it."""
    path = Path(path)
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error})") from None
    source = f"file: {path.name}"
    if isinstance(content, dict) and "landmarks_px" in content:
        return [landmarks_from_points(_points(path, content["landmarks_px"], "landmarks_px"), source)]
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path}: expected {{'format': '{FORMAT}', 'faces': [...]}} or the truth.json of a portrait, found "
            f"{'the keys ' + ', '.join(map(str, list(content)[:6])) if isinstance(content, dict) else 'something else'}"
        )
    version = content.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version {version!r} is not understood (up to {SCHEMA_VERSION}); update mesoface"
        )
    faces = content.get("faces")
    if not isinstance(faces, list) or not faces:
        raise UserError(f"{path}: expected a list of at least one face under 'faces'")
    return [_face(path, face, f"faces[{number}]", source) for number, face in enumerate(faces)]


def write_landmark_json(path: str | Path, faces: list[Landmarks]) -> None:
    """Write faces of one picture."""
    entries = [
        {
            "points_px": [[round(float(v), 4) for v in p] if np.isfinite(p).all() else None for p in face.points_px],
            "weights": [round(float(w), 4) for w in face.weights],
        }
        for face in faces
    ]
    source = faces[0].source if faces else ""
    write_json(path, {"format": FORMAT, "schema_version": SCHEMA_VERSION, "source": source, "faces": entries})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such landmark file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None


def _point(path: Path, number: int, line: str) -> tuple[float, float]:
    words = line.replace(",", " ").split()
    try:
        x, y = (float(word) for word in words)
    except ValueError:
        raise UserError(f"{path}: line {number}: expected two numbers, found {line[:60]!r}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(f"{path}: line {number}: expected finite numbers, found {line[:60]!r}")
    return x, y


def _face(path: Path, face: Any, where: str, source: str) -> Landmarks:
    if not isinstance(face, dict) or "points_px" not in face:
        raise UserError(f"{path}: {where} has no 'points_px'")
    points = _points(path, face["points_px"], f"{where}.points_px")
    known = np.isfinite(points).all(1)
    weights = face.get("weights", [1.0] * COUNT)
    good = isinstance(weights, list) and len(weights) == COUNT and all(_is_number(w) and w >= 0 for w in weights)
    if not good:
        raise UserError(f"{path}: {where}.weights: expected {COUNT} numbers of at least 0")
    return Landmarks(points, np.where(known, np.array(weights, np.float64), 0.0), source)


def _points(path: Path, values: Any, where: str) -> np.ndarray:
    """(68, 2) float64 with NaN for null."""
    if not isinstance(values, list) or len(values) != COUNT:
        found = f"{len(values)} entries" if isinstance(values, list) else f"a {type(values).__name__}"
        raise UserError(f"{path}: {where}: expected {COUNT} points [column, row] or null, found {found}")
    points = np.full((COUNT, 2), np.nan)
    for number, value in enumerate(values):
        if value is None:
            continue
        if not (isinstance(value, list) and len(value) == 2 and all(_is_number(v) for v in value)):
            raise UserError(f"{path}: {where}[{number}]: expected [column, row] or null, found {str(value)[:40]}")
        points[number] = value
    return points


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
