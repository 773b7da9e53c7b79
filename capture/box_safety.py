"""What a sequence may ask of lamps and eyes, checked before anything is loaded.

The box refuses the same at the moment of firing; here the operator learns it before the subject sits down.
"""

from collections.abc import Sequence
from itertools import pairwise

from .box_link import BoxError
from .box_protocol import (
    COOLING_PERMILLE_PER_S,
    HEAT_LIMIT_PERMILLE,
    LONGEST_DELAY_US,
    MAX_CHANNELS,
    STROBE_GAP_S,
    STROBE_RUN,
    BoxProtocolError,
    BoxStep,
    check_step,
)
from .rig_models import Rig

_SLACK_S = 1e-6


def expected_times_s(steps: Sequence[BoxStep], rig: Rig) -> tuple[float, ...]:
    """Earliest start of each step in s after the first, when the host waits for bodies, lamps and polariser."""
    limits = rig.limits
    shutter_s = max(camera.exposure.shutter_s for camera in rig.cameras)
    ready_s: dict[int, float] = {}
    times: list[float] = []
    for index, step in enumerate(steps):
        start_s = 0.0
        if index:
            gap_s = max(1 / limits.frames_per_s, shutter_s)
            if rig.pair_mode == "switched" and step.polariser != steps[index - 1].polariser:
                gap_s = max(gap_s, shutter_s + limits.polariser_switch_s)
            start_s = max(times[-1] + gap_s, *(ready_s.get(channel, 0.0) for channel in _channels(step.light_mask)))
        for channel in _channels(step.light_mask):
            ready_s[channel] = start_s + limits.recycle_s * step.energy_permille / 1000
        times.append(start_s)
    return tuple(times)


def check_sequence(
    steps: Sequence[BoxStep], rig: Rig, times_s: Sequence[float] | None = None, strobe_confirmed: bool = False
) -> None:
    """Raise BoxError("unsafe") when `steps` ask too much of the lamps or of the subject's eyes.

    `times_s` are the expected starts of the steps, one each, in s; without them the host paces the steps by readiness
    (`expected_times_s`). Refused are: lamps the rig does not have, energy or delay out of range, lamps that wait longer
    than the shutters stay open, lamps fired before they are charged, lamps that would overheat, and more than
    STROBE_RUN firings of the same lamp in a row at 3 Hz or faster unless `strobe_confirmed`.
    """
    if not steps:
        _refuse("the sequence is empty: give at least one step")
    times = expected_times_s(steps, rig) if times_s is None else tuple(times_s)
    if len(times) != len(steps):
        _refuse(f"{len(steps)} steps but {len(times)} expected times: give one time per step")
    if any(later < earlier for earlier, later in pairwise(times)):
        _refuse("the expected times of the steps go backwards")
    names = {light.channel: light.name for light in rig.lights}
    shutter_s = min(camera.exposure.shutter_s for camera in rig.cameras)
    for number, step in enumerate(steps):
        _check_values(number, step, names, shutter_s)
    for channel, name in sorted(names.items()):
        firings = [
            (number, times[number], step.energy_permille)
            for number, step in enumerate(steps)
            if step.light_mask >> (channel - 1) & 1
        ]
        _check_lamp(name, firings, rig.limits.recycle_s, strobe_confirmed)


def _check_values(number: int, step: BoxStep, names: dict[int, str], shutter_s: float) -> None:
    try:
        check_step(step, MAX_CHANNELS)
    except BoxProtocolError as error:
        _refuse(
            f"step {number}: {error.text}. Masks name channels 1 to {MAX_CHANNELS}, polariser is U, P or X, energy 1 "
            f"to 1000 thousandths of full power, delay 0 to {LONGEST_DELAY_US} microseconds"
        )
    unknown = [channel for channel in _channels(step.light_mask) if channel not in names]
    if unknown:
        _refuse(f"step {number} fires channel {unknown[0]}, on which the rig file has no lamp: add it under [[lights]]")
    if step.delay_us and step.delay_us >= round(shutter_s * 1e6):
        _refuse(
            f"step {number}: its lamps fire {step.delay_us / 1000:.0f} ms after the first shutter opened, when a "
            f"shutter of {shutter_s * 1000:.0f} ms is closed again; lower capture.flash_delay_s or open longer"
        )


def _check_lamp(name: str, firings: Sequence[tuple[int, float, int]], recycle_s: float, strobe_confirmed: bool) -> None:
    """Rules for one lamp; `firings` are (step, time in s, energy in permille) in order."""
    heat, last_s, charged_s, run = 0.0, 0.0, 0.0, 0
    for number, time_s, energy in firings:
        gap_s = time_s - last_s
        if run and time_s < charged_s - _SLACK_S:
            _refuse(
                f'step {number} fires lamp "{name}" {gap_s * 1000:.0f} ms after its last flash, which needs '
                f"{(charged_s - last_s) * 1000:.0f} ms to recharge: use less energy or a slower sequence"
            )
        heat = max(0.0, heat - COOLING_PERMILLE_PER_S * gap_s) + energy
        if heat > HEAT_LIMIT_PERMILLE:
            _refuse(
                f'step {number} would overheat lamp "{name}" (more than {HEAT_LIMIT_PERMILLE // 1000} full flashes '
                f"faster than one per {1000 / COOLING_PERMILLE_PER_S:g} s): use less energy or let it cool"
            )
        run = run + 1 if run and gap_s < STROBE_GAP_S else 1
        if run > STROBE_RUN and not strobe_confirmed:
            _refuse(
                f'step {number} is the flash number {run} in a row of lamp "{name}" at more than 3 per second. '
                "Flashing at 3 to 30 Hz can cause epileptic seizures: space the flashes out, or confirm strobing when "
                "nobody sensitive can see it"
            )
        last_s, charged_s = time_s, time_s + recycle_s * energy / 1000


def _channels(mask: int) -> list[int]:
    return [bit + 1 for bit in range(MAX_CHANNELS) if mask >> bit & 1]


def _refuse(message: str) -> None:
    raise BoxError("unsafe", message)
