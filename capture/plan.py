"""The shot plan: which body exposes in which light step.

Step 0 is uniform light, and every body fires in it. Then each flash gives one pair: parallel, directly followed by
crossed. The shipped rig makes 5 + 2 x 9 = 23 exposures (section 4.2 of the paper).

A *shot* is one exposure of one body, hence one file. A *step* is one entry of the trigger box's sequence, hence one
firing of lamps; all shots of a step expose together. In a switched rig the two shots of a pair are two steps of the
same body; in a two_bodies rig they are one step of two bodies. A step without lamps (mask 0) exposes in the dark.

`take_plan` is what a take of a person shoots: the scan and the ambient frame. The plans of calibration takes, from the
same parts, are in calibration_plan.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .rig_models import Rig, RigLight

Polariser = Literal["U", "P", "X"]
Kind = Literal["uniform", "parallel", "cross", "ambient", "board", "sphere", "flat", "chart", "dark"]

# Energy 1.0 of a rig file is a quarter of the lamp's full power; the trigger box counts thousandths of full power.
PERMILLE_AT_UNIT_ENERGY = 250


@dataclass(frozen=True)
class Shot:
    """One exposure of one body.

    `polariser` is what the frame sees: U unpolarised, P parallel, X crossed. `light_mask` has bit (channel - 1) set
    for every lamp that fires. `pair` counts the flashes from 0 and is None where no flash fires alone. `stem` names the
    file. `pose` counts the placements of a calibration target from 0 and is None in a take of a person.
    """

    index: int
    step: int
    camera: str
    lights: tuple[str, ...]
    light_mask: int
    polariser: Polariser
    kind: Kind
    pair: int | None
    stem: str
    pose: int | None = None


@dataclass(frozen=True)
class Step:
    """One firing of lamps, with the shots that expose in it.

    `polariser` is the state the trigger box sets; in a two_bodies rig nothing is switched and a pair's step is "P".
    `energy_permille` is in thousandths of full power, 1 to 1000; 0 when no lamp fires.
    """

    index: int
    light_mask: int
    polariser: Polariser
    energy_permille: int
    shots: tuple[Shot, ...]


def light_mask(lights: Sequence[RigLight]) -> int:
    """Bits (channel - 1) of the given lamps."""
    return sum(1 << (light.channel - 1) for light in lights)


def shot_plan(rig: Rig) -> tuple[Shot, ...]:
    """All exposures of one scan in the order of their steps; index i is element i."""
    shots: list[Shot] = []

    def add(step: int, camera: str, lights: Sequence[RigLight], polariser: Polariser, kind: Kind, pair: int | None):
        subject = camera if kind == "uniform" else lights[0].name
        stem = f"{len(shots):02d}_uniform_{subject}" if kind == "uniform" else f"{len(shots):02d}_{subject}_{kind}"
        names = tuple(light.name for light in lights)
        shots.append(Shot(len(shots), step, camera, names, light_mask(lights), polariser, kind, pair, stem))

    for camera in rig.cameras:
        add(0, camera.name, rig.uniform_lights, "U", "uniform", None)
    step = 0
    for pair, flash in enumerate(rig.flashes):
        step += 1
        add(step, rig.centre.name, [flash], "P", "parallel", pair)
        if rig.pair_mode == "switched":
            step += 1
        add(step, rig.cross_camera.name, [flash], "X", "cross", pair)
    return tuple(shots)


def take_plan(rig: Rig) -> tuple[Shot, ...]:
    """All exposures of one take of a person: the scan and, where the rig asks for it, one frame without any lamp."""
    shots = shot_plan(rig)
    if not rig.capture.ambient_frame:
        return shots
    index, camera = len(shots), rig.centre.name
    stem = f"{index:02d}_ambient_{camera}"
    return (*shots, Shot(index, shots[-1].step + 1, camera, (), 0, "U", "ambient", None, stem))


def steps(plan: Sequence[Shot], rig: Rig) -> tuple[Step, ...]:
    """Group a plan into the trigger box's steps.

    The box takes one energy per step: that of the weakest lamp. Flashes that stand in for a missing uniform light
    share it between them, so that the uniform frame is as bright as the others. Without lamps the energy is 0.
    """
    grouped: dict[int, list[Shot]] = {}
    for shot in plan:
        grouped.setdefault(shot.step, []).append(shot)
    made = []
    for index, shots in sorted(grouped.items()):
        lamps = [rig.light(name) for name in shots[0].lights]
        made.append(Step(index, shots[0].light_mask, shots[0].polariser, _energy_permille(lamps), tuple(shots)))
    return tuple(made)


def _energy_permille(lamps: Sequence[RigLight]) -> int:
    if not lamps:
        return 0
    energy = min(lamp.relative_energy for lamp in lamps)
    if lamps[0].role == "flash":
        energy /= len(lamps)
    return min(1000, max(1, round(energy * PERMILLE_AT_UNIT_ENERGY)))


def step_times_s(rig: Rig, plan: Sequence[Shot] | None = None) -> tuple[float, ...]:
    """Earliest start of each step of `plan` (default: the scan) in s after the first, from the rig's limits.

    A step waits for the bodies' frame rate (the centre body fires in every step), for its lamps to recharge
    (`recycle_s` x energy) and, when the polariser changes, for the last exposure and the switch.
    """
    return tuple(_start_times_s(rig, shot_plan(rig) if plan is None else plan))


def _start_times_s(rig: Rig, plan: Sequence[Shot]) -> Iterator[float]:
    limits = rig.limits
    ready_s: dict[str, float] = {}
    start_s, previous = 0.0, None
    for step in steps(plan, rig):
        lamps = step.shots[0].lights
        if previous is not None:
            shutter_s = max(rig.camera(shot.camera).exposure.shutter_s for shot in previous.shots)
            gap_s = max(1 / limits.frames_per_s, shutter_s)
            if rig.pair_mode == "switched" and step.polariser != previous.polariser:
                gap_s = max(gap_s, shutter_s + limits.polariser_switch_s)
            start_s = max([start_s + gap_s, *(ready_s.get(lamp, 0.0) for lamp in lamps)])
        for lamp in lamps:
            ready_s[lamp] = start_s + limits.recycle_s * step.energy_permille / 1000
        previous = step
        yield start_s


def duration_s(rig: Rig) -> float:
    """Estimated time in s from the first to the last exposure of a scan."""
    return step_times_s(rig)[-1]
