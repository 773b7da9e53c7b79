"""Findings about light: exposure of every frame, which flash fired, and the two polariser states."""

from collections.abc import Mapping

from .plan import Shot
from .quality_models import Finding, Take, names, shot_name
from .quality_pairs import PairFigures
from .quality_shading import LightMatch

# A flash below this part of its expected brightness did not fire at all; what is left is another lamp or room light.
MISSING = 0.15
# Brightness of both frames alike within this much, and no highlight in either: one polariser state twice.
ALIKE = 0.02
SMALL_HIGHLIGHT = 0.15


def _finding(check: str, shots: "list[Shot] | tuple[Shot, ...]", message: str, **more) -> Finding:
    values = {"severity": "fail", "remedy": "reshoot", **more}
    return Finding(check=check, shots=tuple(shot.index for shot in shots), message=message, **values)


def check_exposure(take: Take) -> list[Finding]:
    """Burnt out, black, and the frame without flash."""
    limits, findings = take.rig.limits, []
    for shot in take.present:
        facts = take.facts[shot.index]
        if shot.kind == "ambient":
            if facts.brightest > limits.ambient_share:
                findings.append(
                    _finding(
                        "ambient",
                        [shot],
                        f"room light reaches {100 * facts.brightest:.1f} % of the white level without any flash, at "
                        f"most {100 * limits.ambient_share:g} % are allowed; darken the room and shoot the take again",
                        remedy="reject",
                        value=facts.brightest,
                        limit=limits.ambient_share,
                    )
                )
            continue
        if facts.clipped_share > limits.clipped_share:
            findings.append(
                _finding(
                    "clipped",
                    [shot],
                    f"{shot_name(shot)}: {100 * facts.clipped_share:.2f} % of the pixels are burnt out, at most "
                    f"{100 * limits.clipped_share:g} % are allowed; lower the energy of {_lamps(shot)} or close the "
                    "aperture, then shoot again",
                    value=facts.clipped_share,
                    limit=limits.clipped_share,
                )
            )
        if facts.black_share > limits.black_share and not take.is_dark(shot):
            findings.append(
                _finding(
                    "black",
                    [shot],
                    f"{shot_name(shot)}: {100 * facts.black_share:.0f} % of the face's surroundings are black, at most "
                    f"{100 * limits.black_share:g} % are allowed; check that the subject sits right and that nothing "
                    f"shades {_lamps(shot)}",
                    value=facts.black_share,
                    limit=limits.black_share,
                )
            )
    return findings


def check_strengths(take: Take, strength: Mapping[int, float], uniform: Mapping[int, float]) -> list[Finding]:
    """Flashes that did not fire, fired too weakly or too strongly."""
    findings = []
    lit = [shot for shot in take.flash_shots if not take.is_dark(shot)]
    if take.flash_shots and not lit:
        return [
            _finding(
                "flash_missing",
                take.flash_shots,
                "no flash fired at all: check that the trigger box is armed, its mains and sync cables, and the lens "
                "caps, then shoot the take again",
                remedy="reject",
            )
        ]
    weak = take.rig.limits.flash_weak
    for shot in take.flash_shots:
        value = strength.get(shot.index, 0.0)
        lamp, frame = shot.lights[0], "crossed" if shot.kind == "cross" else "parallel"
        facts = {"value": value, "limit": weak}
        if take.is_dark(shot) or value < MISSING:
            text = f"{lamp} did not fire in its {frame} frame: check its cable and battery, then shoot it again"
            findings.append(_finding("flash_missing", [shot], text, **facts))
        elif value < weak:
            text = (
                f"{lamp} reached only {100 * value:.0f} % of its brightness in its {frame} frame: it had not "
                "recharged, or something stands before it; check its battery and the recycle time, shoot it again"
            )
            findings.append(_finding("flash_weak", [shot], text, **facts))
        elif value > 1 / weak:
            text = (
                f"{lamp} was {value:.1f} times as bright as expected in its {frame} frame: its energy is wrong, or "
                "a second lamp fired with it; check its setting, shoot it again"
            )
            findings.append(_finding("flash_strong", [shot], text, **{**facts, "limit": 1 / weak}))
    dark = [shot for shot in take.uniform_shots if take.is_dark(shot) or uniform.get(shot.index, 0) < MISSING]
    if dark and len(dark) == len(take.uniform_shots):
        text = f"the uniform light did not fire: check {_lamps(dark[0])} and its cable, then shoot it again"
        return [*findings, _finding("flash_missing", dark, text)]
    for shot in take.uniform_shots:
        value = uniform[shot.index]
        if shot in dark:
            text = f"{shot.camera} saw no light in the uniform step: its shutter opened too late, or its lens is capped"
            findings.append(_finding("flash_missing", [shot], text, value=value, limit=weak))
        elif not weak <= value <= 1 / weak:
            text = (
                f"{shot.camera} got {100 * value:.0f} % of the light of the other bodies in the uniform step: its "
                "shutter was open for a part of the flash only, or its settings differ"
            )
            findings.append(_finding("uniform_level", [shot], text, value=value, limit=weak))
    return findings


def check_lights(take: Take, matches: Mapping[int, LightMatch], missing: set[int]) -> list[Finding]:
    """Frames that show another flash than their own; exchanged lamps are named together. `missing`: shots to skip."""
    by_index = {shot.index: shot for shot in take.flash_shots}
    wrong = {by_index[i]: m for i, m in matches.items() if m.is_wrong and i not in missing}
    if len(wrong) > len(matches) / 2:
        return [
            _finding(
                "wrong_light",
                list(wrong),
                "most frames show another flash than planned: the lamps hang on other channels of the trigger box "
                f"than rig.toml says, or the files are out of order ({_order(wrong)}); correct that and shoot the take "
                "again",
                remedy="reject",
            )
        ]
    findings, done = [], set()
    for shot, match in wrong.items():
        if shot in done:
            continue
        lamp = shot.lights[0]
        twins = [s for s, m in wrong.items() if {s.lights[0], m.best} == {lamp, match.best}]
        if {s.lights[0] for s in twins} == {lamp, match.best}:
            done.update(twins)
            both = [s for s in take.flash_shots if s.lights[0] in (lamp, match.best)]
            cause = (
                "check their channels on the trigger box against rig.toml"
                if len(twins) == len(both)
                else f"only {names(twins)}, so the files were mixed up or the box fired out of order"
            )
            text = f"{lamp} and {match.best} are exchanged: {cause}; shoot them again"
            findings.append(_finding("wrong_light", twins, text, value=match.margin, limit=1.0))
        else:
            text = (
                f"{shot_name(shot)} shows the light of {match.best}: check which lamps hang on these channels of the "
                "trigger box, then shoot it again"
            )
            findings.append(_finding("wrong_light", [shot], text, value=match.margin, limit=1.0))
    return findings


def check_pairs(take: Take, figures: Mapping[int, PairFigures], missing: set[int]) -> list[Finding]:
    """Polariser states exchanged, equal, or badly crossed. `missing`: shots whose light is wrong already."""
    limits, findings = take.rig.limits, []
    low, high = limits.pair_ratio
    for pair, found in figures.items():
        shots = take.pairs[pair]
        if missing & {shot.index for shot in shots}:
            continue
        lamp = shots[0].lights[0]
        strongest = max(found.highlight, found.counter)
        facts = {"value": found.ratio, "limit": high}
        if strongest > SMALL_HIGHLIGHT and found.counter > 1.5 * found.highlight:
            text = (
                f"{lamp}: parallel and crossed frame are exchanged (the highlights are in the crossed one); check the "
                "polariser switch and its cable, then shoot the pair again"
            )
            findings.append(_finding("pair_exchanged", shots, text, **facts))
        elif strongest < SMALL_HIGHLIGHT and abs(found.ratio - 1) < ALIKE + (1 - high):
            text = (
                f"{lamp}: both frames show the same polariser state (no highlight differs); the polariser did not "
                "turn: check its switch and cable, then shoot the pair again"
            )
            findings.append(_finding("pair_alike", shots, text, **facts))
        elif not low <= found.ratio <= high:
            text = (
                f"{lamp}: the crossed frame has {100 * found.ratio:.0f} % of the parallel one's brightness, expected "
                f"are {100 * low:.0f} to {100 * high:.0f} %; one of the two flashes was weak: shoot the pair again"
            )
            findings.append(
                _finding("pair_ratio", shots, text, **{**facts, "limit": low if found.ratio < low else high})
            )
        elif found.leak is not None and found.leak - found.leak_error > limits.leak_max:
            text = (
                f"{lamp}: about {100 * found.leak:.0f} % of the highlight is left in the crossed frame; turn the film "
                "before that lamp to the angle that `mesoface rig check` prints, then shoot the pair again"
            )
            findings.append(_finding("leak", shots, text, value=found.leak, limit=limits.leak_max))
    return findings


def _order(wrong: Mapping[Shot, LightMatch]) -> str:
    """Which lamp is where, as far as the wrong frames tell."""
    places = {shot.lights[0]: match.best for shot, match in wrong.items()}
    return ", ".join(f"{lamp} shows {found}" for lamp, found in places.items())


def _lamps(shot: Shot) -> str:
    return shot.lights[0] if len(shot.lights) == 1 else "the lamps" if shot.lights else "the room"
