"""Judge a take: accept it, shoot some steps again, or reject it, with every reason in words and numbers.

    facts, unreadable = measure_frames(paths, shots, rig)
    quality = judge(rig, shots, facts, started_s, unreadable)
    quality.verdict, quality.reshoot_steps, quality.summary

Works on partial takes: what is missing is a finding, the rest is judged.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .plan import Shot
from .quality_light import check_exposure, check_lights, check_pairs, check_strengths
from .quality_models import Figure, Finding, FrameFacts, Quality, ShotQuality, Take, Verdict, names, shot_name
from .quality_motion import Shift
from .quality_pairs import PairFigures, pair_figures
from .quality_path import subject_path
from .quality_plan import check_bodies, check_files, check_times
from .quality_shading import LightMatch, match_lights, strengths, uniform_strengths
from .rig_models import Rig

# More steps than this part of the plan to shoot again: then shoot the whole take again.
MOST_RESHOOT = 0.5
NO_LIGHT = ("flash_missing",)
NO_SUBJECT = ("flash_missing", "wrong_light", "pair_exchanged", "pair_alike", "copy", "sharpness")
WRONG_LIGHT = ("flash_missing", "flash_weak", "flash_strong", "wrong_light")


def judge(
    rig: Rig,
    shots: Iterable[Shot],
    facts: Mapping[int, FrameFacts],
    started_s: Mapping[int, float] | None = None,
    unreadable: Mapping[int, str] | None = None,
    size_px: tuple[int, int] | None = None,
) -> Quality:
    """All checks of a take.

    Args:
        shots: every exposure that was planned, ambient frame included.
        facts: `frame_facts` by shot index, of the frames that are there.
        started_s: when each exposure began, by shot index, in s of one clock; may be partial or None.
        unreadable: why a file could not be decoded, by shot index.
        size_px: (width, height) of the pictures when it is not the rig's sensor size (rendered frames).
    """
    take = Take(rig, tuple(shots), dict(facts), dict(started_s or {}))
    findings = check_files(take, unreadable or {}) + check_bodies(take, size_px)
    timed, span_s, skew_s = check_times(take)
    strength, uniform = strengths(take), uniform_strengths(take)
    findings += timed + check_exposure(take) + check_strengths(take, strength, uniform)
    matches, pairs = match_lights(take, strength), pair_figures(take)
    findings += check_lights(take, matches, _shots_of(findings, NO_LIGHT))
    findings += check_pairs(take, pairs, _shots_of(findings, WRONG_LIGHT))
    sharp = _relative_sharpness(take)
    findings += _check_sharpness(take, sharp) + _check_noise(take)
    path = subject_path(take, _shots_of(findings, NO_SUBJECT))
    findings += _check_motion(take, path)
    steps = _steps_to_reshoot(take, findings)
    verdict = _verdict(take, findings, steps)
    return Quality(
        verdict=verdict,
        summary=_summary(verdict, findings, steps),
        reshoot_steps=steps if verdict == "reshoot" else (),
        findings=tuple(sorted(findings, key=lambda f: ("fail", "warn", "note").index(f.severity))),
        figures=_figures(take, span_s, skew_s, strength | uniform, matches, pairs, sharp, path),
        shots=tuple(_shot_quality(shot, strength | uniform, matches, pairs, sharp, path) for shot in take.present),
    )


def _shots_of(findings: Sequence[Finding], checks: tuple[str, ...]) -> set[int]:
    return {index for finding in findings if finding.check in checks for index in finding.shots}


def _relative_sharpness(take: Take) -> dict[int, float]:
    """Sharpness of lit frames over that of the sharpest of their kind, by shot index."""
    found = {}
    for kind in ("uniform", "parallel", "cross"):
        shots = [shot for shot in take.present if shot.kind == kind and not take.is_dark(shot)]
        best = max((take.facts[shot.index].sharpness for shot in shots), default=0.0)
        if best > 0:
            found |= {shot.index: take.facts[shot.index].sharpness / best for shot in shots}
    return found


def _check_sharpness(take: Take, sharp: Mapping[int, float]) -> list[Finding]:
    limit = take.rig.limits.sharpness_min
    findings = []
    for shot in take.present:
        if sharp.get(shot.index, 1.0) < limit:
            findings.append(
                Finding(
                    check="sharpness",
                    severity="fail",
                    remedy="reshoot",
                    shots=(shot.index,),
                    message=f"{shot_name(shot)} is blurred: {100 * sharp[shot.index]:.0f} % of the sharpness of the "
                    f"sharpest such frame, at least {100 * limit:.0f} % are needed; check the focus of {shot.camera} "
                    "(lens switch on MF) and its stand, then shoot again",
                    value=sharp[shot.index],
                    limit=limit,
                )
            )
    return findings


def _check_noise(take: Take) -> list[Finding]:
    """Noise is a matter of a body and its ISO speed: the median of its frames counts."""
    limit, findings = take.rig.limits.noise_max, []
    for camera in take.rig.cameras:
        shots = [shot for shot in take.present if shot.camera == camera.name]
        noise = {shot: _noise(take, shot) for shot in shots if take.facts[shot.index].noise is not None}
        known = {shot: value for shot, value in noise.items() if value is not None}
        if 2 * len(known) <= len(noise) or not known or (middle := float(np.median(list(known.values())))) <= limit:
            continue
        findings.append(
            Finding(
                check="noise",
                severity="fail",
                remedy="reshoot",
                shots=tuple(shot.index for shot, value in known.items() if value > limit),
                message=f"{camera.name}: noise of {100 * middle:.1f} % of the signal at mid grey, at most "
                f"{100 * limit:g} % are allowed; check the ISO setting of the body, then shoot again",
                value=middle,
                limit=limit,
            )
        )
    return findings


def _noise(take: Take, shot: Shot) -> float | None:
    facts = take.facts[shot.index]
    return None if facts.noise_is_bound else facts.noise


def _check_motion(take: Take, path: Mapping[int, Shift]) -> list[Finding]:
    limit = take.rig.limits.motion_mm
    farthest = max((shift.largest_mm for shift in path.values()), default=0.0)
    if farthest <= limit:
        return []
    places = {index: np.array([shift.right_mm, shift.down_mm]) for index, shift in path.items()}
    middle = np.median(list(places.values()), axis=0)
    far = sorted(places, key=lambda index: -float(np.linalg.norm(places[index] - middle)))
    outside = [index for index in far if np.linalg.norm(places[index] - middle) > limit / 2] or far[:1]
    shots = [shot for shot in take.present if shot.index in outside]
    return [
        Finding(
            check="motion",
            severity="fail",
            remedy="reshoot",
            shots=tuple(shot.index for shot in shots),
            message=f"the subject moved by {farthest:.1f} mm during the take, at most {limit:g} mm are allowed; "
            f"farthest from the rest: {names(shots)}; support the head, ask to hold still, and shoot again",
            value=farthest,
            limit=limit,
        )
    ]


def _steps_to_reshoot(take: Take, findings: Sequence[Finding]) -> tuple[int, ...]:
    """Steps of all findings that shooting again cures, whole pairs at a time."""
    indices = {index for finding in findings if finding.remedy == "reshoot" for index in finding.shots}
    pairs = {shot.pair for shot in take.shots if shot.index in indices and shot.pair is not None}
    steps = {
        shot.step for shot in take.shots if shot.index in indices or (shot.pair is not None and shot.pair in pairs)
    }
    return tuple(sorted(steps))


def _verdict(take: Take, findings: Sequence[Finding], steps: tuple[int, ...]) -> Verdict:
    planned = len({shot.step for shot in take.shots})
    if any(finding.remedy == "reject" for finding in findings) or len(steps) > MOST_RESHOOT * planned:
        return "reject"
    return "reshoot" if steps else "accept"


def _summary(verdict: Verdict, findings: Sequence[Finding], steps: tuple[int, ...]) -> str:
    failed = [finding for finding in findings if finding.severity == "fail"]
    warned = [finding for finding in findings if finding.severity == "warn"]
    if verdict == "accept":
        more = f"; {_count(len(warned), 'remark')}" if warned else ""
        return f"All checks passed{more}."
    what = f"{_count(len(failed), 'problem')} found. "
    if verdict == "reshoot":
        return what + f"Shoot {'step' if len(steps) == 1 else 'steps'} {', '.join(map(str, steps))} again."
    return what + "Put right what is named below, then shoot the whole take again."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _shot_quality(
    shot: Shot,
    strength: Mapping[int, float],
    matches: Mapping[int, LightMatch],
    pairs: Mapping[int, PairFigures],
    sharp: Mapping[int, float],
    path: Mapping[int, Shift],
) -> ShotQuality:
    match, shift = matches.get(shot.index), path.get(shot.index)
    pair = pairs.get(shot.pair) if shot.pair is not None else None
    return ShotQuality(
        shot=shot.index,
        strength=strength.get(shot.index),
        light=match.best if match else None,
        light_margin=match.margin if match else None,
        pair_ratio=pair.ratio if pair else None,
        leak=pair.leak if pair else None,
        sharpness=sharp.get(shot.index),
        moved_mm=shift.largest_mm if shift else None,
        turned_deg=shift.turn_deg if shift else None,
    )


def _figures(
    take: Take,
    span_s: float | None,
    skew_s: float | None,
    strength: Mapping[int, float],
    matches: Mapping[int, LightMatch],
    pairs: Mapping[int, PairFigures],
    sharp: Mapping[int, float],
    path: Mapping[int, Shift],
) -> tuple[Figure, ...]:
    """The worst figure of every check."""
    limits = take.rig.limits
    lit = [take.facts[shot.index] for shot in take.present if shot.kind != "ambient"]
    ambient = [take.facts[shot.index].brightest for shot in take.present if shot.kind == "ambient"]
    noise = [_noise(take, shot) for shot in take.present]
    ratios = [pair.ratio for pair in pairs.values()]
    leaks = [(pair.leak, pair.leak_error) for pair in pairs.values() if pair.leak is not None]
    leak, leak_error = max(leaks, key=lambda found: found[0] - found[1], default=(None, 0.0))
    flash = [strength[shot.index] for shot in take.flash_shots if shot.index in strength]
    low, high = limits.pair_ratio

    def worst(name: str, values: Iterable[float | None], unit: str, error: float = 0.0, **limit: float) -> Figure:
        factor = 100.0 if unit == "%" else 1.0
        known = [value * factor for value in values if value is not None]
        found = (min if "at_least" in limit else max)(known, default=None)
        limit = {key: round(value * factor, 6) for key, value in limit.items()}
        return Figure(name=name, value=found, unit=unit, error=error * factor, **limit)

    shares = limits.flash_weak, 1 / limits.flash_weak
    return (
        worst("frames", [len(take.present)], "", at_least=len(take.shots)),
        worst("first to last exposure", [span_s], "s", at_most=limits.span_s),
        worst("skew of bodies exposing together", [skew_s], "s", at_most=limits.skew_s),
        worst("burnt out", [f.clipped_share for f in lit], "%", at_most=limits.clipped_share),
        worst("black in the face's box", [f.black_share for f in lit], "%", at_most=limits.black_share),
        worst("light without flash, of white", ambient, "%", at_most=limits.ambient_share),
        worst("weakest flash, of expected", flash, "%", at_least=shares[0]),
        worst("strongest flash, of expected", flash, "%", at_most=shares[1]),
        worst("misfit of other lamps over the own", [m.margin for m in matches.values()], "x", at_least=1.0),
        worst("lowest crossed over parallel", ratios, "%", at_least=low),
        worst("highest crossed over parallel", ratios, "%", at_most=high),
        worst("highlight left when crossed", [leak], "%", error=leak_error, at_most=limits.leak_max),
        worst("sharpness, of the sharpest", sharp.values(), "%", at_least=limits.sharpness_min),
        worst("motion of the subject", [shift.largest_mm for shift in path.values()], "mm", at_most=limits.motion_mm),
        worst("noise at mid grey", noise, "%", at_most=limits.noise_max),
    )
