"""Read rig.toml, and say everything that is wrong with it in one message.

    rig = load_rig("rig.toml")
    rig.centre.serial, [flash.name for flash in rig.flashes]

The shipped example (`example_rig_path`) explains every key. The typed content is in `rig_models`.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import UserError
from .rig_checks import Problem, RigProblems, find_problems
from .rig_messages import line_of, problem_of
from .rig_models import (
    SCHEMA_VERSION,
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
from .rig_warnings import rig_warnings

__all__ = [
    "SCHEMA_VERSION", "CaptureTable", "Exposure", "Lens", "Limits", "Pose", "Rig", "RigCamera", "RigHeader",
    "RigLight", "Sensor", "Subject", "Targets", "example_rig_path", "load_example_rig", "load_rig", "rig_warnings",
]  # fmt: skip

Model = TypeVar("Model", bound=BaseModel)


def example_rig_path() -> Path:
    """The rig that ships with the package: five bodies, nine polarised flashes, one soft light."""
    return Path(__file__).with_name("tables") / "rig.example.toml"


def load_example_rig() -> Rig:
    """Read the shipped rig."""
    return load_rig(example_rig_path())


def load_rig(path: str | Path) -> Rig:
    """Read and check a rig file.

    Raises UserError with one line per problem: file and line, key, value found, values allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no rig file at {path}; `mesoface rig example {path}` writes one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the rig file {path}: {error}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    try:
        return Rig.model_validate(content)
    except ValidationError as error:
        problems = _all_problems(content, error)
    where = [f"{path}:{line_of(text, problem.key)}: {problem}" for problem in problems]
    count = "1 problem" if len(where) == 1 else f"{len(where)} problems"
    raise UserError(f"{path} has {count}:\n" + "\n".join(where))


def _all_problems(content: dict[str, Any], error: ValidationError) -> list[Problem]:
    problems: list[Problem] = []
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, RigProblems):
            return cause.problems  # raised last, by a rig whose single values are all right
        problems.append(problem_of(content, detail))
    # Tables that are right by themselves still get the rules across tables, so that one run tells all.
    cameras, lights = _valid_entries(content, "cameras", RigCamera), _valid_entries(content, "lights", RigLight)
    header, subject = _valid(RigHeader, content.get("rig")), _valid(Subject, content.get("subject", {}))
    targets = _valid(Targets, content.get("targets", {}))
    complete = all(
        isinstance(content.get(key), list) and len(content[key]) == len(entries)
        for key, entries in (("cameras", cameras), ("lights", lights))
    )
    pair_mode = header.pair_mode if header else None
    return problems + find_problems(pair_mode, cameras, lights, subject, targets, complete=complete)


def _valid(kind: type[Model], value: Any) -> Model | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None


def _valid_entries(content: dict[str, Any], key: str, kind: type[Model]) -> dict[int, Model]:
    entries = content.get(key)
    parsed = {index: _valid(kind, entry) for index, entry in enumerate(entries if isinstance(entries, list) else [])}
    return {index: entry for index, entry in parsed.items() if entry is not None}
