"""Plans of calibration takes: what to put before the cameras, where, and which body exposes in which light.

The shots are of the same kind as those of a scan (plan.py), so trigger box, bodies and takes treat them alike. What is
new is the placement: the operator puts the target somewhere, the shots of that `pose` are taken, and so on.

    board   ChArUco board in many placements, all bodies in uniform light: lenses, positions, scale
    sphere  mirror ball in a few places, all bodies; in uniform light for its outline, under each flash for its
            highlight: positions of the flashes
    flat    matt card, all bodies in uniform light: flat field; under each flash parallel and crossed: relative
            intensity, fall-off, gain of the pair. Then a black satin ball under each flash, parallel and crossed: leak
    chart   colour chart, all bodies in uniform light, and the centre under the most frontal flash: colour
    dark    all bodies without light, several times: black level, hot pixels
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .errors import UserError
from .plan import Polariser, Shot, light_mask
from .rig_models import Rig, RigLight
from .rigid import Array, RigidTransform

CalibrationKind = Literal["board", "sphere", "flat", "chart", "dark"]
Target = Literal["board", "sphere", "card", "gloss_ball", "chart"]

# x (subject's left), y (up), z (towards the centre camera) in mm; turn, tilt, roll in degrees: see `Placement`.
# Every tilt comes with its opposite, and the corners of the views get their share: that is what separates focal
# length, distortion and distance. Most are rotated a little, because edges along the pixel rows are found less exactly.
# Any six from the start already do.
BOARD_PLACES = (
    (0, 0, 0, 0, 0, 0), (0, 0, 60, 25, 0, 15), (0, 0, 30, -25, 0, -15), (0, 0, 0, 0, 25, 10), (0, 0, -40, 0, -25, -10),
    (0, 0, -40, 0, 0, 80), (110, 60, 30, -10, -10, 10), (-110, 60, 30, 10, -10, -10), (110, -60, 30, -10, 10, -10),
    (-110, -60, 30, 10, 10, 10), (0, 0, 80, 15, 15, 20), (0, 0, -80, -15, -15, -20), (90, 0, -20, 22, 0, 45),
    (-90, 0, -20, -22, 0, -45), (0, 30, 0, 0, 20, 170),
)  # fmt: skip
# A flash is located by its directions from these places, so they lie far apart.
SPHERE_PLACES = ((-100, -45, 30), (100, -45, 30), (0, 70, -20), (0, 0, 90), (-100, 50, 30), (100, 50, 30))


@dataclass(frozen=True)
class Placement:
    """Where the operator puts a target: about there is enough, its exact place follows from the pictures.

    `centre_mm` is the target's middle in world mm. Turns begin with a target that faces the centre camera upright:
    `roll_deg` clockwise as the camera sees it, then `tilt_deg` upwards (its face towards the ceiling), then `turn_deg`
    towards the subject's left. `text` says all this to the operator.
    """

    pose: int
    target: Target
    centre_mm: tuple[float, float, float]
    turn_deg: float
    tilt_deg: float
    roll_deg: float
    text: str

    def world_from_target(self) -> RigidTransform:
        """Target frame: origin in its middle, x right and y down as it is read, z into it."""
        rotation = target_rotation(self.turn_deg, self.tilt_deg, self.roll_deg)
        return RigidTransform(rotation, np.array(self.centre_mm, np.float64))


@dataclass(frozen=True)
class CalibrationPlan:
    """A calibration take: what to prepare, where to put the target, and all exposures in the order of their steps."""

    kind: CalibrationKind
    preparation: str
    placements: tuple[Placement, ...]
    shots: tuple[Shot, ...]

    def placement(self, shot: Shot) -> Placement | None:
        """Where the target is in a shot; None for dark frames."""
        return None if shot.pose is None else self.placements[shot.pose]


def calibration_plan(rig: Rig, kind: str) -> CalibrationPlan:
    """The plan of one calibration take. Raises UserError for an unknown kind."""
    makers: dict[str, Callable[[Rig], CalibrationPlan]] = {
        "board": _board, "sphere": _sphere, "flat": _flat, "chart": _chart, "dark": _dark,
    }  # fmt: skip
    if kind not in makers:
        raise UserError(f'no calibration take "{kind}"; known: {", ".join(get_args(CalibrationKind))}')
    return makers[kind](rig)


def target_rotation(turn_deg: float, tilt_deg: float, roll_deg: float) -> Array:
    """Rotation (3, 3) from target axes to world axes; at 0, 0, 0 the target faces the centre camera upright."""
    turn, tilt, roll = np.deg2rad([turn_deg, -tilt_deg, -roll_deg])
    about_y = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z @ np.diag([1.0, -1.0, -1.0])


class _Exposures:
    """Collects shots step by step; their stems are numbered at the end."""

    def __init__(self, rig: Rig, kind: CalibrationKind) -> None:
        self.rig = rig
        self.kind: CalibrationKind = kind
        self._steps: list[list[tuple[str, str, Polariser, Sequence[RigLight], int | None]]] = []

    def step(self, what: str, pose: int | None, lights: Sequence[RigLight], seen: Sequence[tuple[str, Polariser]]):
        """One firing: (camera, polariser) of every body that exposes; the trigger box sets the first one's."""
        self._steps.append([(f"{what}_{camera}", camera, polariser, lights, pose) for camera, polariser in seen])

    def uniform(self, what: str, pose: int | None) -> None:
        self.step(what, pose, self.rig.uniform_lights, self.everybody())

    def everybody(self) -> list[tuple[str, Polariser]]:
        """All bodies, in unpolarised light or none."""
        return [(camera.name, "U") for camera in self.rig.cameras]

    def pair(self, what: str, pose: int, flash: RigLight) -> None:
        """Parallel and crossed, as in a scan: two steps of one body, or one step of two."""
        parallel: tuple[str, Polariser] = (self.rig.centre.name, "P")
        cross: tuple[str, Polariser] = (self.rig.cross_camera.name, "X")
        if self.rig.pair_mode == "two_bodies":
            self.step(f"{what}_{flash.name}_pair", pose, [flash], [parallel, cross])
        else:
            self.step(f"{what}_{flash.name}_parallel", pose, [flash], [parallel])
            self.step(f"{what}_{flash.name}_cross", pose, [flash], [cross])

    def shots(self) -> tuple[Shot, ...]:
        flashes = [flash.name for flash in self.rig.flashes]
        digits = max(2, len(str(sum(map(len, self._steps)) - 1)))
        made: list[Shot] = []
        for step, exposures in enumerate(self._steps):
            for what, camera, polariser, lights, pose in exposures:
                names, index = tuple(light.name for light in lights), len(made)
                pair = flashes.index(names[0]) if len(names) == 1 and names[0] in flashes else None
                stem = f"{index:0{digits}d}_{what}"
                mask = light_mask(lights)
                made.append(Shot(index, step, camera, names, mask, polariser, self.kind, pair, stem, pose))
        return tuple(made)


def _board(rig: Rig) -> CalibrationPlan:
    targets = rig.targets
    exposures, placements = _Exposures(rig, "board"), []
    for pose in range(targets.board_poses):
        x, y, z, turn, tilt, roll = BOARD_PLACES[pose % len(BOARD_PLACES)]
        if pose >= len(BOARD_PLACES):  # a second round: everything mirrored, the board upside down
            x, y, turn, tilt, roll = -x, -y, -turn, -tilt, roll + 180
        placements.append(_place(rig, pose, "board", (x, y, z), turn, tilt, roll))
        exposures.uniform(f"board{pose:02d}", pose)
    across, down = targets.board_squares
    preparation = (
        f"Board: {across} x {down} squares of {targets.board_square_mm:g} mm, flat and stiff; measure a row of squares "
        "with a calliper first. All of it need not be in every picture; it must be still and sharp. Hold it by its "
        "edge, hands off the squares."
    )
    return CalibrationPlan("board", preparation, tuple(placements), exposures.shots())


def _sphere(rig: Rig) -> CalibrationPlan:
    exposures, placements = _Exposures(rig, "sphere"), []
    crossed = rig.cross_camera.name if rig.pair_mode == "two_bodies" else None
    # the centre body first: the trigger box sets the polariser of a step's first shot
    bodies = sorted((camera.name for camera in rig.cameras), key=lambda name: name != rig.centre.name)
    polarisers: list[Polariser] = ["X" if name == crossed else "P" for name in bodies]
    seen = list(zip(bodies, polarisers, strict=True))
    for pose, centre in enumerate(SPHERE_PLACES[: rig.targets.sphere_poses]):
        placements.append(_place(rig, pose, "sphere", centre))
        exposures.uniform(f"sphere{pose}_uniform", pose)
        for flash in rig.flashes:
            exposures.step(f"sphere{pose}_{flash.name}", pose, [flash], seen)
    preparation = (
        f"Mirror ball of {rig.targets.sphere_mm:g} mm on a thin dark stand, clean; nobody and nothing bright near it. "
        "It must not move until all flashes of a place have fired."
    )
    return CalibrationPlan("sphere", preparation, tuple(placements), exposures.shots())


def _flat(rig: Rig) -> CalibrationPlan:
    exposures = _Exposures(rig, "flat")
    placements = (_place(rig, 0, "card", (0, 0, 0)), _place(rig, 1, "gloss_ball", (0, 0, 0)))
    exposures.uniform("flat_uniform", 0)
    for pose, what in enumerate(("flat", "glossball")):
        for flash in rig.flashes:
            exposures.pair(what, pose, flash)
    width, height = rig.targets.flat_mm
    preparation = (
        f"Matt white or grey card of {width:g} x {height:g} mm without any pattern, then a black satin ball of "
        f"{rig.targets.gloss_ball_mm:g} mm (a billiard ball rubbed with a scouring pad will do) on a dark stand."
    )
    return CalibrationPlan("flat", preparation, placements, exposures.shots())


def _chart(rig: Rig) -> CalibrationPlan:
    exposures = _Exposures(rig, "chart")
    exposures.uniform("chart_uniform", 0)
    flash = frontal_flash(rig)
    exposures.step(f"chart_{flash.name}_parallel", 0, [flash], [(rig.centre.name, "P")])
    preparation = "Colour chart of 24 patches, upright: brown patch top left, white patch bottom left. No gloss on it."
    return CalibrationPlan("chart", preparation, (_place(rig, 0, "chart", (0, 0, 0)),), exposures.shots())


def _dark(rig: Rig) -> CalibrationPlan:
    exposures = _Exposures(rig, "dark")
    for frame in range(rig.targets.dark_frames):
        exposures.step(f"dark{frame}", None, (), exposures.everybody())
    preparation = "Room dark, caps on all lenses. No lamp fires."
    return CalibrationPlan("dark", preparation, (), exposures.shots())


def frontal_flash(rig: Rig) -> RigLight:
    """The flash whose direction from the subject is nearest to world +z, where the centre camera is."""

    def cosine(flash: RigLight) -> float:
        assert flash.position_mm is not None  # a rig without it is refused when it is read
        offset = np.array(flash.position_mm) - np.array(rig.subject.target_mm)
        return float(offset[2] / np.linalg.norm(offset))

    return max(rig.flashes, key=cosine)


NOUNS: dict[Target, str] = {
    "board": "the board",
    "sphere": "the mirror ball",
    "card": "the card",
    "gloss_ball": "the black satin ball",
    "chart": "the colour chart",
}


def _place(
    rig: Rig,
    pose: int,
    target: Target,
    offset_mm: tuple[float, float, float],
    turn_deg: float = 0,
    tilt_deg: float = 0,
    roll_deg: float = 0,
) -> Placement:
    roll_deg = (roll_deg + 180) % 360 - 180 or 0.0
    middle = tuple(float(a + b) for a, b in zip(rig.subject.target_mm, offset_mm, strict=True))
    verb = "Hold" if target in ("board", "card", "chart") else "Put"
    text = f"{verb} {NOUNS[target]} {_where(offset_mm)}"
    if target in ("board", "card", "chart"):
        text += f", {_attitude(turn_deg, tilt_deg, roll_deg)}"
    assert len(middle) == 3
    return Placement(pose, target, middle, turn_deg, tilt_deg, roll_deg, text + ".")


def _where(offset_mm: tuple[float, float, float]) -> str:
    directions = (
        ("to the subject's left", "to the subject's right"),
        ("higher", "lower"),
        ("nearer to the centre camera", "further from the centre camera"),
    )
    parts = [
        f"{abs(value) / 10:g} cm {words[value < 0]}"
        for value, words in zip(offset_mm, directions, strict=True)
        if value
    ]
    return "where the face will be" + (": " + _listed(parts) if parts else "")


def _attitude(turn_deg: float, tilt_deg: float, roll_deg: float) -> str:
    parts = []
    if turn_deg:
        parts.append(f"turned {abs(turn_deg):g} degrees to the subject's {'left' if turn_deg > 0 else 'right'}")
    if tilt_deg:
        parts.append(f"tilted {abs(tilt_deg):g} degrees {'up' if tilt_deg > 0 else 'down'}")
    facing = _listed(parts) if parts else "facing the centre camera"
    if roll_deg == 0:
        return facing + ", upright"
    if abs(roll_deg) == 180:
        return facing + ", upside down"
    way = "clockwise" if roll_deg > 0 else "counter-clockwise"
    return facing + f", rotated {abs(roll_deg):g} degrees {way} as the camera sees it"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
