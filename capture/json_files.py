"""Read the JSON files that mesoface writes: each says its format and schema version, by which others are refused."""

import json
from pathlib import Path
from typing import Any

from .errors import UserError


def read_object(path: Path, *, missing: str, again: str) -> dict[str, Any]:
    """A JSON object. `missing`: what to say when there is no such file; `again`: what to do when it is damaged.

    Raises UserError.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent}: no {path.name} here; {missing}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {again}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged; {again}")
    return content


def read_format(path: Path, wanted: str, newest: int, *, missing: str, again: str) -> dict[str, Any]:
    """An object of the format `wanted`, of schema version `newest` or older. Raises UserError, as `read_object`."""
    content = read_object(path, missing=missing, again=again)
    if content.get("format") != wanted:
        raise UserError(f"{path}: format {wanted!r} expected, found {content.get('format')!r}")
    version = content.get("schema_version", 0)
    if not isinstance(version, int):
        raise UserError(f"{path}: is damaged (schema version {version!r}); {again}")
    if version > newest:
        raise UserError(f"{path}: schema version {version} is newer than {newest}; update mesoface")
    return content
