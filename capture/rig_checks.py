"""Rules that no single key of rig.toml can show: roles, duplicates, lamps in impossible places, boards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .rigid import look_at

if TYPE_CHECKING:  # rig_models calls these checks from its validator, so the types only flow this way
    from .rig_models import RigCamera, RigLight, Subject, Targets

NEAREST_LIGHT_MM = 100.0
FLASH_COUNT = (3, 31)  # three light directions give a normal; 31 flashes and a uniform lamp fill the 32 channels
MARKER_SHARE = (0.4, 0.9)  # of the square's side: smaller is not found, larger has no white edge left
REQUIRED_ROLES = {"switched": ("centre",), "two_bodies": ("centre_parallel", "centre_cross")}


def found_text(value: Any) -> str:
    """A value as TOML would show it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = f'"{value}"'
    elif isinstance(value, dict):
        shown = "a table" if value else "an empty table"
    elif isinstance(value, (list, tuple)):
        shown = "[" + ", ".join(map(found_text, value)) + "]"
    else:
        shown = str(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


@dataclass(frozen=True)
class Problem:
    """One thing to mend in a rig file: TOML key as written, what stands there, what may stand there."""

    key: str
    owner: str
    found: str
    allowed: str

    def __str__(self) -> str:
        owner = f' ("{self.owner}")' if self.owner else ""
        return f"{self.key}{owner}: found {self.found}; allowed: {self.allowed}"


class RigProblems(ValueError):
    """All problems of a rig whose single values were fine; pydantic wraps it into its ValidationError."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def find_problems(
    pair_mode: str | None,
    cameras: Mapping[int, RigCamera],
    lights: Mapping[int, RigLight],
    subject: Subject | None,
    targets: Targets | None = None,
    *,
    complete: bool = True,
) -> list[Problem]:
    """Check a rig across its tables; keys of `cameras` and `lights` are their positions in the file.

    With `complete` False some tables failed on their own already, and rules that count tables are left out: they
    would only repeat the same slip in other words.
    """
    problems = [*_duplicates(cameras, lights), *_analysers(pair_mode, cameras), *_films(lights)]
    if subject is not None:
        problems += _cameras_missing_target(cameras, subject)
        problems += _misplaced_lights(lights, subject)
    if targets is not None:
        problems += _targets(targets)
    if complete and pair_mode is not None:
        problems += _roles(pair_mode, cameras)
        flash_count = sum(light.role == "flash" for light in lights.values())
        if not FLASH_COUNT[0] <= flash_count <= FLASH_COUNT[1]:
            allowed = f'{FLASH_COUNT[0]} to {FLASH_COUNT[1]} lights with role "flash" and polariser "linear"'
            problems.append(Problem("lights", "", f"{flash_count} flashes", allowed))
    return problems


def _duplicates(cameras: Mapping[int, RigCamera], lights: Mapping[int, RigLight]) -> Iterator[Problem]:
    columns: list[tuple[str, Mapping[int, Any], str]] = [
        ("cameras", cameras, "name"),
        ("cameras", cameras, "serial"),
        ("lights", lights, "name"),
        ("lights", lights, "channel"),
    ]
    for table, entries, key in columns:
        users: dict[Any, list[int]] = defaultdict(list)
        for index, entry in entries.items():
            users[getattr(entry, key)].append(index)
        for value, indices in users.items():
            for index in indices[1:]:
                first = f"{table}[{indices[0]}]"
                yield Problem(
                    f"{table}[{index}].{key}",
                    entries[index].name,
                    f"{found_text(value)}, already used by {first}",
                    f"a {key} of its own for every table of {table}",
                )


def _roles(pair_mode: str, cameras: Mapping[int, RigCamera]) -> Iterator[Problem]:
    required = REQUIRED_ROLES[pair_mode]
    for role in required:
        names = [camera.name for camera in cameras.values() if camera.role == role]
        if len(names) != 1:
            found = f'{len(names)} cameras with role "{role}"' + (f" ({', '.join(names)})" if names else "")
            allowed = f'exactly one camera with role "{role}" when rig.pair_mode is "{pair_mode}"'
            yield Problem("cameras", "", found, allowed)
    for index, camera in cameras.items():
        if camera.role != "side" and camera.role not in required:
            allowed = " or ".join(f'"{role}"' for role in (*required, "side"))
            yield Problem(
                f"cameras[{index}].role", camera.name, f'"{camera.role}"', f'{allowed} when pair_mode is "{pair_mode}"'
            )


def _analysers(pair_mode: str | None, cameras: Mapping[int, RigCamera]) -> Iterator[Problem]:
    required = REQUIRED_ROLES.get(pair_mode or "", ())
    roles = [camera.role for camera in cameras.values()]
    for index, camera in cameras.items():
        if camera.role != "side" and (camera.role not in required or roles.count(camera.role) > 1):
            continue  # a wrong role is reported by itself; what it would need of the analyser says nothing
        key = f"cameras[{index}]"
        if camera.role != "side" and camera.analyser != "linear":
            allowed = f'"linear": a {camera.role} camera takes the polarised pairs'
            yield Problem(f"{key}.analyser", camera.name, f'"{camera.analyser}"', allowed)
        elif camera.role != "side" and camera.analyser_deg is None:
            allowed = "the angle of its analyser in the PARALLEL state in degrees, 90 = vertical"
            yield Problem(f"{key}.analyser_deg", camera.name, "no value", allowed)
        if camera.analyser == "none" and camera.analyser_deg is not None:
            allowed = 'no analyser_deg while analyser is "none"'
            yield Problem(f"{key}.analyser_deg", camera.name, f"{camera.analyser_deg:g}", allowed)
    if pair_mode == "two_bodies":
        paired = {camera.role: (index, camera) for index, camera in cameras.items() if camera.role != "side"}
        if "centre_cross" in paired and "centre_parallel" in paired:
            index, camera = paired["centre_cross"]
            other = paired["centre_parallel"][1]
            if camera.sensor != other.sensor:
                allowed = f'the sensor of "{other.name}": both bodies of the pair must give equal images'
                yield Problem(f"cameras[{index}].sensor", camera.name, "another sensor", allowed)


def _films(lights: Mapping[int, RigLight]) -> Iterator[Problem]:
    for index, light in lights.items():
        key = f"lights[{index}]"
        if light.role == "flash":
            if light.polariser != "linear":
                allowed = '"linear" for a flash; give a bare lamp role = "uniform"'
                yield Problem(f"{key}.polariser", light.name, f'"{light.polariser}"', allowed)
            elif light.film_deg is None:
                allowed = 'the film\'s angle in degrees (0 = vertical), or the word "null" in quotes'
                yield Problem(f"{key}.film_deg", light.name, "no value", allowed)
            if light.position_mm is None:
                yield Problem(f"{key}.position_mm", light.name, "no value", "[x, y, z] of the flash tube in mm")
        else:
            if light.position_mm is not None:
                allowed = "no position_mm: a uniform light surrounds the subject"
                yield Problem(f"{key}.position_mm", light.name, found_text(light.position_mm), allowed)
            if light.film_deg is not None:
                allowed = "no film_deg: a uniform light has no film angle"
                yield Problem(f"{key}.film_deg", light.name, found_text(light.film_deg), allowed)


def _cameras_missing_target(cameras: Mapping[int, RigCamera], subject: Subject) -> Iterator[Problem]:
    target_mm = np.array(subject.target_mm)
    for index, camera in cameras.items():
        if camera.pose is None:
            continue
        key = f"cameras[{index}].pose"
        if camera.pose.position_mm == camera.pose.target_mm:
            found = f"position_mm and target_mm both {list(camera.pose.target_mm)}"
            yield Problem(key, camera.name, found, "two different points")
            continue
        pose = look_at(np.array(camera.pose.position_mm), np.array(camera.pose.target_mm), camera.pose.roll_deg)
        x_mm, y_mm, depth_mm = pose.apply(target_mm)
        sensor = camera.sensor
        half_width = sensor.width_mm / 2
        half_height = half_width * sensor.height_px / sensor.width_px
        scale = camera.lens.focal_mm / depth_mm if depth_mm > 0 else np.inf
        if depth_mm <= 0 or abs(x_mm) * scale > half_width or abs(y_mm) * scale > half_height:
            found = f"position_mm {list(camera.pose.position_mm)}, target_mm {list(camera.pose.target_mm)}"
            allowed = f"a pose whose image contains subject.target_mm {list(subject.target_mm)}"
            yield Problem(key, camera.name, found, allowed)


def _misplaced_lights(lights: Mapping[int, RigLight], subject: Subject) -> Iterator[Problem]:
    for index, light in lights.items():
        if light.position_mm is None:
            continue
        key = f"lights[{index}].position_mm"
        found = found_text(light.position_mm)
        offset_mm = np.array(light.position_mm) - np.array(subject.target_mm)
        if np.linalg.norm(offset_mm) < NEAREST_LIGHT_MM:
            yield Problem(key, light.name, found, f"at least {NEAREST_LIGHT_MM:g} mm from subject.target_mm")
        elif offset_mm[2] <= 0:
            allowed = "a lamp in front of the face: z above that of subject.target_mm (+z points at the centre camera)"
            yield Problem(key, light.name, found, allowed)
        if light.position_mm == light.aim_mm:
            yield Problem(f"lights[{index}].aim_mm", light.name, found_text(light.aim_mm), "a point away from the lamp")


def _targets(targets: Targets) -> Iterator[Problem]:
    share = targets.board_marker_mm / targets.board_square_mm
    if not MARKER_SHARE[0] <= share <= MARKER_SHARE[1]:
        low, high = (part * targets.board_square_mm for part in MARKER_SHARE)
        allowed = f"{low:g} to {high:g} mm for squares of {targets.board_square_mm:g} mm"
        yield Problem("targets.board_marker_mm", "", f"{targets.board_marker_mm:g}", allowed)
    needed = targets.board_squares[0] * targets.board_squares[1] // 2
    available = int(targets.board_dictionary.rsplit("_", 1)[1])
    if needed > available:
        allowed = f"fewer squares, or another board_dictionary: {targets.board_dictionary} has {available} markers"
        found = f"{found_text(targets.board_squares)}, which needs {needed} markers"
        yield Problem("targets.board_squares", "", found, allowed)
