"""Is every planned frame there, from the right body, with the right settings, at the right time?"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

import numpy as np

from .plan import Shot
from .quality_models import Finding, FrameFacts, Take, names, shot_name
from .rig_models import RigCamera

# Bodies round what they write into Exif.
APERTURE_TOLERANCE, SHUTTER_TOLERANCE = 0.06, 0.12
# Exif times may have whole seconds only; a frame further off is odd, unless so many are that the clock is.
CLOCK_TOLERANCE_S = 2.0
MOST_ODD = 0.4


def check_files(take: Take, unreadable: Mapping[int, str]) -> list[Finding]:
    """Missing, unreadable and doubled files."""
    findings = []
    broken = [shot for shot in take.shots if shot.index in unreadable]
    for shot in broken:
        findings.append(
            Finding(
                check="unreadable",
                severity="fail",
                remedy="reshoot",
                shots=(shot.index,),
                message=f"{shot_name(shot)}: {unreadable[shot.index]}; if it stays so, shoot it again",
            )
        )
    missing = [shot for shot in take.shots if shot.index not in take.facts and shot.index not in unreadable]
    if missing:
        count, them = ("1 frame is", "it") if len(missing) == 1 else (f"{len(missing)} frames are", "them")
        findings.append(
            Finding(
                check="missing",
                severity="fail",
                remedy="reshoot",
                shots=tuple(shot.index for shot in missing),
                message=f"{count} missing: {names(missing)}; fetch {them} from the cards or shoot {them} again",
                value=len(missing),
                limit=0,
            )
        )
    copies: dict[str, list[Shot]] = defaultdict(list)
    for shot in take.present:
        copies[take.facts[shot.index].fingerprint].append(shot)
    for shots in copies.values():
        if len(shots) > 1:
            findings.append(
                Finding(
                    check="copy",
                    severity="fail",
                    remedy="reshoot",
                    shots=tuple(shot.index for shot in shots),
                    message=f"{names(shots)} hold one and the same picture; shoot them again",
                )
            )
    return findings


def check_bodies(take: Take, size_px: tuple[int, int] | None) -> list[Finding]:
    """Serial numbers, settings and picture sizes against the rig. `size_px` stands for the rig's sensor size."""
    findings = []
    by_serial = {_serial(camera.serial): camera.name for camera in take.rig.cameras}
    for camera in take.rig.cameras:
        shots = [shot for shot in take.present if shot.camera == camera.name]
        foreign: dict[str, list[Shot]] = defaultdict(list)
        for shot in shots:
            foreign[take.facts[shot.index].serial].append(shot)
        for serial, group in foreign.items():
            if not serial:
                findings.append(_silent(group))
            elif _serial(serial) != _serial(camera.serial):
                owner = by_serial.get(_serial(serial))
                who = f"body {serial}, which is {owner} in the rig file" if owner else f"body {serial}, not in the rig"
                findings.append(
                    Finding(
                        check="serial",
                        severity="fail",
                        remedy="reject",
                        shots=tuple(shot.index for shot in group),
                        message=f"{names(group)} came from {who}, but {camera.name} is body {camera.serial}; "
                        "correct the serial numbers in rig.toml or the cables, then shoot the take again",
                    )
                )
        findings += _settings(take, camera, shots)
        findings += _sizes(take, camera, shots, size_px)
    return findings


def _serial(text: str) -> str:
    return text.strip().lstrip("0")


def _silent(shots: list[Shot]) -> Finding:
    return Finding(
        check="serial",
        severity="warn",
        shots=tuple(shot.index for shot in shots),
        message=f"{names(shots)}: the files do not tell the body's serial number, so they could not be checked",
    )


def _settings(take: Take, camera: RigCamera, shots: list[Shot]) -> list[Finding]:
    wrong: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        for text in _differences(take.facts[shot.index], camera):
            wrong[text].append(shot)
    return [
        Finding(
            check="settings",
            severity="fail",
            remedy="reshoot",
            shots=tuple(shot.index for shot in group),
            message=f"{camera.name}: {text} in {names(group)}; set the body again (its dial on M) and shoot again",
        )
        for text, group in wrong.items()
    ]


def _differences(facts: FrameFacts, camera: RigCamera) -> list[str]:
    wanted, found = camera.exposure, []
    if facts.iso is not None and facts.iso != wanted.iso:
        found.append(f"ISO {facts.iso} instead of {wanted.iso}")
    if facts.aperture is not None and abs(facts.aperture / wanted.aperture - 1) > APERTURE_TOLERANCE:
        found.append(f"f/{facts.aperture:g} instead of f/{wanted.aperture:g}")
    if facts.shutter_s is not None and abs(facts.shutter_s / wanted.shutter_s - 1) > SHUTTER_TOLERANCE:
        found.append(f"{facts.shutter_s:.4g} s instead of {wanted.shutter_s:.4g} s")
    return found


def _sizes(take: Take, camera: RigCamera, shots: list[Shot], size_px: tuple[int, int] | None) -> list[Finding]:
    wanted = size_px or (camera.sensor.width_px, camera.sensor.height_px)
    wrong = [s for s in shots if (take.facts[s.index].width_px, take.facts[s.index].height_px) != wanted]
    if not wrong:
        return []
    facts = take.facts[wrong[0].index]
    return [
        Finding(
            check="size",
            severity="fail",
            remedy="reject",
            shots=tuple(shot.index for shot in wrong),
            message=f"{camera.name}: pictures of {facts.width_px}x{facts.height_px} px instead of "
            f"{wanted[0]}x{wanted[1]} px; set the body to full-size RAW, or correct its sensor in rig.toml",
        )
    ]


def check_times(take: Take) -> tuple[list[Finding], float | None, float | None]:
    """Findings, longest time in s from first to last exposure, and largest skew in s between bodies of one step."""
    limits, findings = take.rig.limits, []
    known = [shot for shot in take.shots if shot.index in take.started_s and shot.kind != "ambient"]
    span_s, skew_s = None, None
    if len(known) > 1:
        times = [take.started_s[shot.index] for shot in known]
        span_s = max(times) - min(times)
    if span_s is not None and span_s > limits.span_s:
        findings.append(
            Finding(
                check="span",
                severity="warn",
                message=f"the exposures took {span_s:.1f} s, planned are at most {limits.span_s:g} s; "
                "whether the subject held still is judged below",
                value=span_s,
                limit=limits.span_s,
            )
        )
    steps: dict[int, list[Shot]] = defaultdict(list)
    for shot in known:
        steps[shot.step].append(shot)
    for step, shots in steps.items():
        if len(shots) < 2:
            continue
        times = [take.started_s[shot.index] for shot in shots]
        skew = max(times) - min(times)
        skew_s = max(skew, skew_s or 0.0)
        if skew > limits.skew_s:
            late = shots[int(np.argmax(times))]
            findings.append(
                Finding(
                    check="skew",
                    severity="fail",
                    remedy="reshoot",
                    shots=tuple(shot.index for shot in shots),
                    message=f"step {step}: {late.camera} started {1000 * skew:.0f} ms after the first body, at most "
                    f"{1000 * limits.skew_s:.0f} ms are allowed; if it happens again, check that body's cable",
                    value=skew,
                    limit=limits.skew_s,
                )
            )
    return findings + _clock_order(take), span_s, skew_s


def _clock_order(take: Take) -> list[Finding]:
    """A file whose own time does not fit the moment its shot was taken is perhaps another shot's file."""
    findings = []
    for camera in take.rig.cameras:
        offsets = {}
        for shot in take.present:
            taken = parse_taken(take.facts[shot.index].taken)
            if shot.camera == camera.name and taken is not None and shot.index in take.started_s:
                offsets[shot.index] = taken - take.started_s[shot.index]
        if len(offsets) < 3:
            continue
        middle = float(np.median(list(offsets.values())))
        odd = [shot for shot in take.present if abs(offsets.get(shot.index, middle) - middle) > CLOCK_TOLERANCE_S]
        if odd and len(odd) <= MOST_ODD * len(offsets):  # else the two clocks have nothing in common
            findings.append(
                Finding(
                    check="clock",
                    severity="warn",
                    shots=tuple(shot.index for shot in odd),
                    message=f"the files of {names(odd)} were written at another time than these shots were taken; "
                    "look at the pictures before you accept the take",
                    value=max(abs(offsets[shot.index] - middle) for shot in odd),
                    limit=CLOCK_TOLERANCE_S,
                )
            )
    return findings


def parse_taken(text: str) -> float | None:
    """Seconds of an Exif time, on a clock of its own; None when there is none."""
    try:
        return datetime.strptime(text.split(".")[0], "%Y:%m:%d %H:%M:%S").timestamp()
    except ValueError:
        return None
