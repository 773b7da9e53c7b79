"""Camera settings by meaning: which widget holds a setting, and which of its labels means the wanted value.

Labels differ between bodies and between versions of libgphoto2 ("RAW + L" was "RAW + Large Fine JPEG"; 1/200 s is
"1/200" or "0.0050s"), so a label is read, not compared. Pure functions on text; no camera is touched here.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ALWAYS_REQUIRED = ("iso", "aperture", "shutter", "format", "target")
"""Meanings without which the photographs of a take cannot be trusted."""

# Neighbouring thirds of a stop are 26 % (time) and 12 % (f-number) apart; rounded labels are up to 4 % off.
SHUTTER_TOLERANCE = math.log(1.07)
APERTURE_TOLERANCE = math.log(1.04)

DIAL = 'Change the value in the rig file; where only "auto" is offered, turn the body\'s mode dial to M'

RAW_WORDS = {"raw", "nef", "arw", "raf", "orf", "rw2", "dng"}
JPEG_WORDS = {"l", "large", "jpeg", "jpg", "fine", "extra"}
SMALL_JPEG_WORDS = {"m", "m1", "m2", "cm", "medium", "s", "s1", "s2", "s3", "cs", "small", "smaller", "tiny"}
COARSE_JPEG_WORDS = {"cl", "cm", "cs", "normal", "basic", "standard", "std"}


@dataclass(frozen=True)
class Wanted:
    """What a take wants of a body; the words are those of a rig file's [cameras.exposure]."""

    iso: int
    aperture: float
    shutter_s: float
    white_balance: str
    image_format: str


@dataclass(frozen=True)
class Meaning:
    """One setting: the widgets that may hold it (first match wins) and how far a label is from the wanted value.

    `distance(label, wanted)` is None when the label does not mean the value, else smaller for a better match.
    `advice` is appended when the body refuses or ignores the value. A body that has a `firm` setting must take it.
    """

    name: str
    widgets: tuple[str, ...]
    distance: Callable[[str, Any], float | None]
    wanted: Any = None
    advice: str = ""
    firm: bool = False


def read_number(text: str) -> float | None:
    """A number or fraction at the start of a label, "1/10" or "0,5"; None when there is none."""
    match = re.match(r"\s*(\d+(?:[.,]\d+)?)(?:\s*/\s*(\d+(?:[.,]\d+)?))?", text)
    if match is None:
        return None
    numerator, denominator = (None if part is None else float(part.replace(",", ".")) for part in match.groups())
    if numerator is None or denominator == 0:
        return None
    return numerator if denominator is None else numerator / denominator


def read_shutter_s(label: str) -> float | None:
    """Seconds of '1/10', '0.1', '0.0050s', '2"', '0"5' (Canon's half second); None for bulb, auto and the like."""
    tenths = re.fullmatch(r"\s*(\d+)[\"”](\d+)\s*", label)
    if tenths:
        return float(f"{tenths[1]}.{tenths[2]}") or None
    if not re.fullmatch(r"\s*\d+([.,]\d+)?(\s*/\s*\d+([.,]\d+)?)?\s*(s|sec|seconds?|[\"”])?\s*", label, re.IGNORECASE):
        return None
    return read_number(label) or None


def read_aperture(label: str) -> float | None:
    """F-number of 'f/8', 'F8.0', '8', '5,6'; None for 'implicit auto' and the like."""
    match = re.fullmatch(r"\s*(?:f\s*/?\s*)?(\d+(?:[.,]\d+)?)\s*", label, re.IGNORECASE)
    return None if match is None else float(match[1].replace(",", ".")) or None


def read_iso(label: str) -> int | None:
    """ISO speed of '100' or 'ISO 100'; None for 'Auto'."""
    match = re.fullmatch(r"\s*(?:iso\s*)?(\d+)\s*", label, re.IGNORECASE)
    return None if match is None else int(match[1])


def read_battery_percent(label: str) -> int | None:
    """Percent of '75%' or '75'; 'Low' is 0; None for what cannot be read."""
    if label.strip().lower() == "low":
        return 0
    match = re.fullmatch(r"\s*(\d{1,3})\s*%?\s*", label)
    return None if match is None else int(match[1])


def read_format(label: str) -> tuple[bool, int | None] | None:
    """(a full RAW is written, rank of the JPEG beside it: 0 best, None without) of an image format label.

    Reduced RAW files (mRAW, sRAW, cRAW) give None: they hold other data than the sensor's. So does anything unknown.
    """
    raw = False
    jpeg: int | None = None
    for part in re.split(r"[+&]", label.lower()):
        words = set(re.findall(r"[a-z0-9]+", part))
        if words and words <= RAW_WORDS:
            raw = True
        elif words & (JPEG_WORDS | SMALL_JPEG_WORDS | COARSE_JPEG_WORDS):
            jpeg = 2 * bool(words & SMALL_JPEG_WORDS) + bool(words & COARSE_JPEG_WORDS)
        else:
            return None
    return raw, jpeg


def _near(read: Callable[[str], float | None], tolerance: float) -> Callable[[str, Any], float | None]:
    def distance(label: str, wanted: float) -> float | None:
        value = read(label)
        if value is None:
            return None
        apart = abs(math.log(value / wanted))
        return apart if apart <= tolerance else None

    return distance


def _iso(label: str, wanted: int) -> float | None:
    return 0.0 if read_iso(label) == wanted else None


def _format(label: str, wanted: str) -> float | None:
    found = read_format(label)
    if found is None or not found[0]:
        return None
    jpeg = found[1]
    if wanted == "RAW":
        return 0.0 if jpeg is None else None
    return None if jpeg is None else float(jpeg)


def _words(*patterns: str) -> Callable[[str, Any], float | None]:
    """A label that fully matches one of the patterns, the earlier the better."""
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]

    def distance(label: str, wanted: Any) -> float | None:
        return next((float(i) for i, pattern in enumerate(compiled) if pattern.fullmatch(label.strip())), None)

    return distance


def _white_balance(label: str, wanted: str) -> float | None:
    words = {"Manual": ("manual", "custom", "preset"), "Tungsten": ("tungsten", "incandescent"), "Shadow": ("shade",)}
    names = (wanted.lower(), *words.get(wanted, ()))
    return next((float(i) for i, name in enumerate(names) if label.strip().lower().startswith(name)), None)


def _zero(label: str, wanted: Any) -> float | None:
    return 0.0 if read_number(label) == 0 else None


def _not_one(label: str, wanted: Any) -> float | None:
    return None if label.strip() == "1" else 0.0


def meanings(wanted: Wanted) -> tuple[Meaning, ...]:
    """Every setting of a take with its wanted value, in the order in which they must be made.

    The exposure mode comes first: outside manual mode a body offers no shutter speeds or apertures.
    """
    return (
        Meaning("viewfinder", ("viewfinder",), _not_one, 0, "switch live view off on the body"),
        Meaning(
            "exposure_mode",
            ("autoexposuremode", "expprogram", "exposuremode"),
            _words("manual", "m"),
            "Manual",
            "turn the body's mode dial to M",
            firm=True,
        ),
        Meaning(
            "drive_mode",
            ("drivemode", "capturemode"),
            _words("single", "single shot", "single frame", "single silent"),
            "Single",
            "set the body's drive mode to single",
            firm=True,
        ),
        Meaning("target", ("capturetarget",), _words("memory card", "card", "sdram and card"), "memory card"),
        Meaning("format", ("imageformat", "imageformatsd", "imagequality"), _format, wanted.image_format),
        Meaning("iso", ("iso",), _iso, wanted.iso, "switch automatic ISO off on the body"),
        Meaning("aperture", ("aperture", "f-number"), _near(read_aperture, APERTURE_TOLERANCE), wanted.aperture, DIAL),
        Meaning(
            "shutter", ("shutterspeed", "shutterspeed2"), _near(read_shutter_s, SHUTTER_TOLERANCE), wanted.shutter_s
        ),
        Meaning("white_balance", ("whitebalance",), _white_balance, wanted.white_balance),
        Meaning("bracketing", ("aeb",), _words("off"), "off", "switch exposure bracketing off on the body", firm=True),
        Meaning("review", ("reviewtime",), _words("none", "off"), "None"),
        Meaning("power_off", ("autopoweroff",), _zero, 0),
        Meaning(
            "focus",
            ("focusmode",),
            _words("manual", "mf.*"),
            "Manual",
            "move the switch on the lens to MF",
        ),
    )


def choose(meaning: Meaning, choices: Sequence[str]) -> str | None:
    """The choice that means the wanted value best, or None."""
    found = [(d, label) for label in choices if (d := meaning.distance(label, meaning.wanted)) is not None]
    return min(found, key=lambda item: item[0])[1] if found else None


def says(meaning: Meaning, label: str) -> bool:
    """Whether a label that was read back means the wanted value."""
    return meaning.distance(label, meaning.wanted) is not None


def describe_wanted(meaning: Meaning) -> str:
    """The wanted value for a message: "ISO 100", "f/11", "0.1 s"."""
    forms = {"iso": "ISO {}", "aperture": "f/{:g}", "shutter": "{:g} s"}
    return forms.get(meaning.name, "{}").format(meaning.wanted)


PRESS = ("Press Full MF", "Press Full", "Press 3")
RELEASE = {"Press Full MF": "Release", "Press Full": "Release Full", "Press 3": "Release 3"}


def press_and_release(choices: Sequence[str]) -> tuple[str, str] | None:
    """The labels of an EOS remote release that press without autofocus and let go; None when it has none.

    "Press Full MF" of today was "Press Full" in older versions of libgphoto2, with the counterpart "Release Full".
    """
    for press in PRESS:
        for release in (RELEASE[press], "Release Full", "Release"):
            if press in choices and release in choices:
                return press, release
    return None
