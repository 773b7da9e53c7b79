"""Turn validation errors of a rig file into lines a lab person can act on: where, what stands there, what may."""

import difflib
import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .rig_checks import Problem, found_text
from .rig_models import (
    CaptureTable,
    Exposure,
    Lens,
    Limits,
    Pose,
    Rig,
    RigCamera,
    RigHeader,
    RigLight,
    Sensor,
    Subject,
    Targets,
)

TABLES: dict[str, type[BaseModel]] = {
    "rig": RigHeader,
    "cameras": RigCamera,
    "lights": RigLight,
    "subject": Subject,
    "capture": CaptureTable,
    "targets": Targets,
    "limits": Limits,
    "sensor": Sensor,
    "lens": Lens,
    "exposure": Exposure,
    "pose": Pose,
}
HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\"'\- ]+?)\s*\]\]?\s*(?:#.*)?$")
ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.\"'\-]+)\s*=")


def problem_of(content: dict[str, Any], error: ErrorDetails) -> Problem:
    """Describe one pydantic error about the parsed rig file `content`."""
    location = error["loc"]
    short_list = error["type"] == "missing" and isinstance(location[-1], int)
    if short_list:  # pydantic misses the third number; the reader wants to see the list of two
        location = location[:-1]
    table, field = _table_and_field(location)
    key, owner = key_text(location), _owner(content, location)
    if error["type"] == "extra_forbidden":
        known = [*table.model_fields]
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f'did you mean "{close[0]}"? known keys: ' if close else "known keys: "
        return Problem(key, owner, "an unknown key", hint + ", ".join(known))
    allowed = allowed_text(field) if field else "a TOML table"
    if error["type"] == "missing" and not short_list:
        return Problem(key, owner, "no such key", allowed)
    return Problem(key, owner, found_text(error["input"]), allowed)


def key_text(location: tuple[int | str, ...]) -> str:
    """('cameras', 2, 'lens', 'focal_mm') -> cameras[2].lens.focal_mm, counted from 0."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")


def allowed_text(field: FieldInfo) -> str:
    """What a key takes: its kind, its range, its description."""
    kind = _kind_text(field.annotation)
    limits = [
        f"{words} {getattr(rule, name):g}"
        for rule in field.metadata
        for name, words in (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
        if getattr(rule, name, None) is not None
    ]
    what = " ".join(part for part in (kind, " and ".join(limits)) if part)
    return ": ".join(part for part in (what, field.description) if part)


def _kind_text(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind_text(get_args(annotation)[0])
    if origin in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return _kind_text(choices[0]) if len(choices) == 1 else ""
    if origin is Literal:
        return " or ".join(found_text(choice) for choice in get_args(annotation))
    if origin is tuple:
        return "" if Ellipsis in get_args(annotation) else f"a list of {len(get_args(annotation))} numbers"
    return {float: "a number", int: "a whole number", str: "text in quotes"}.get(annotation, "")


def _table_and_field(location: tuple[int | str, ...]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The table a location lies in, and the field of the table (None for a whole table of an array)."""
    table: type[BaseModel] = Rig
    field: FieldInfo | None = None
    names = [part for part in location if isinstance(part, str)]
    for depth, name in enumerate(names):
        field = table.model_fields.get(name)
        if depth < len(names) - 1:
            table = TABLES.get(name, table)
    return table, field


def _owner(content: dict[str, Any], location: tuple[int | str, ...]) -> str:
    """The `name` of the camera or light a location lies in, so that nobody has to count tables."""
    entry: Any = content
    for part in location[:2]:
        try:
            entry = entry[part]
        except (KeyError, IndexError, TypeError):
            return ""
    name = entry.get("name") if isinstance(entry, dict) and len(location) > 1 and isinstance(location[1], int) else None
    return name if isinstance(name, str) else ""


def line_of(text: str, key: str) -> int:
    """Line number (from 1) of the TOML key nearest to `key`: the key itself, else the table it belongs to.

    tomllib keeps no positions, so this rereads the headers and assignments; good enough to point at a line.
    """
    wanted = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", key))
    best_line, best_length = 1, 0
    header: tuple[int | str, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := HEADER.match(line):
            names = [name.strip(" \"'") for name in match[2].split(".")]
            if match[1] == "[[":
                counts[names[0]] = counts.get(names[0], -1) + 1
            header = (names[0], *([counts[names[0]]] if names[0] in counts else []), *names[1:])
            path = header
        elif match := ASSIGNMENT.match(line):
            path = (*header, *(name.strip("\"'") for name in match[1].split(".")))
        else:
            continue
        if len(path) > best_length and wanted[: len(path)] == path:
            best_line, best_length = number, len(path)
    return best_line
