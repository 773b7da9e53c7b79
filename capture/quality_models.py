"""What is measured on the frames of a take and what follows from it: plain data, as JSON in `quality.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .plan import Shot
from .rig_models import Rig

SCHEMA_VERSION = 1
HISTOGRAM_BINS = 64
HISTOGRAM_STOPS = 12.0
"""The histogram spans this many stops below the white level, in equal steps of log2; darker pixels fall in bin 0."""


class FrameFacts(BaseModel):
    """Numbers of one frame, from one reading of its file. Levels are shares of the white level above black.

    The two pictures are left out of JSON: `preview` (200 px high, whole frame) and `face` (box of the face),
    both (h, w, 3) float32 linear camera RGB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    shot: int
    stem: str
    camera: str
    file: str
    serial: str = Field(description="body serial number in the file; empty when the file is silent")
    model: str
    taken: str = Field(description="the body's clock, YYYY:MM:DD hh:mm:ss")
    iso: int | None
    aperture: float | None
    shutter_s: float | None
    width_px: int
    height_px: int
    clipped_share: float = Field(description="share of the frame's pixels at the white level")
    black_share: float = Field(description="share of the face's box that is black, background included")
    mean_rgb: tuple[float, float, float] = Field(description="mean level of the face")
    face_level: float = Field(description="mean green level of the face")
    brightest: float = Field(description="99.9th percentile of the level in the whole frame")
    histogram: tuple[int, ...] = Field(description="pixels per bin, see HISTOGRAM_BINS and HISTOGRAM_STOPS")
    sharpness: float = Field(description="contrast of fine skin detail, noise removed")
    noise: float | None = Field(description="noise over signal at 18 % of the white level; None in a dark frame")
    noise_is_bound: bool = Field(description="texture is as fine as the pixels: the noise is at most this")
    fingerprint: str = Field(description="CRC-32 of the pixels: equal for copies of one exposure")
    mm_per_px: float = Field(description="size of a pixel of `face` at the subject")
    view_px: tuple[int, int] = Field(description="width and height of the whole picture at the scale of `face`")
    seconds: float = Field(description="time this took")
    preview: Any = Field(exclude=True, repr=False)
    face: Any = Field(exclude=True, repr=False)


Severity = Literal["note", "warn", "fail"]
Remedy = Literal["none", "reshoot", "reject"]
Verdict = Literal["accept", "reshoot", "reject"]


class Finding(BaseModel):
    """Something that is not as it should be, in words for the operator: what, and what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str = Field(description="short name of the check, for example flash_missing")
    severity: Severity
    remedy: Remedy = "none"
    shots: tuple[int, ...] = ()
    message: str
    value: float | None = None
    limit: float | None = None


class Figure(BaseModel):
    """The worst value of one check over the take, beside its limit. `value` None: could not be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    error: float = Field(default=0.0, description="how far the measurement may be off; the limit is taken this wider")

    @property
    def passed(self) -> bool:
        """Within the limits, or not measured."""
        low, high = self.at_least, self.at_most
        if self.value is None:
            return True
        return (low is None or self.value >= low - self.error) and (high is None or self.value <= high + self.error)


class ShotQuality(BaseModel):
    """What the take says about one shot; None where it was not or could not be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shot: int
    strength: float | None = Field(default=None, description="brightness over what the rig's geometry predicts")
    light: str | None = Field(default=None, description="the flash whose predicted shading fits best")
    light_margin: float | None = Field(default=None, description="misfit of the best other flash over the own; above 1")
    pair_ratio: float | None = Field(default=None, description="crossed over parallel brightness")
    leak: float | None = Field(default=None, description="share of the highlight left in the crossed frame")
    sharpness: float | None = Field(default=None, description="sharpness over that of the sharpest frame of its kind")
    moved_mm: float | None = Field(default=None, description="motion of the face since the first exposure")
    turned_deg: float | None = Field(default=None, description="turn of the face in the picture since then")


class Quality(BaseModel):
    """Verdict over a take with its reasons and figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict: Verdict
    summary: str
    reshoot_steps: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()
    figures: tuple[Figure, ...] = ()
    shots: tuple[ShotQuality, ...] = ()


@dataclass(frozen=True)
class Take:
    """A planned take and the frames of it that are there: what every check gets.

    `facts` by shot index; `started_s` by shot index, s of one clock, as far as known.
    """

    rig: Rig
    shots: tuple[Shot, ...]
    facts: Mapping[int, FrameFacts]
    started_s: Mapping[int, float]

    @cached_property
    def present(self) -> tuple[Shot, ...]:
        """Planned shots whose frame is there, ambient frame included."""
        return tuple(shot for shot in self.shots if shot.index in self.facts)

    @cached_property
    def flash_shots(self) -> tuple[Shot, ...]:
        """Frames of single flashes that are there."""
        return tuple(shot for shot in self.present if shot.pair is not None)

    @cached_property
    def uniform_shots(self) -> tuple[Shot, ...]:
        return tuple(shot for shot in self.present if shot.kind == "uniform")

    @cached_property
    def pairs(self) -> dict[int, tuple[Shot, Shot]]:
        """(parallel, crossed) of every pair of which both frames are there."""
        found: dict[int, dict[str, Shot]] = {}
        for shot in self.flash_shots:
            found.setdefault(shot.pair or 0, {})[shot.kind] = shot
        return {pair: (f["parallel"], f["cross"]) for pair, f in sorted(found.items()) if len(f) == 2}

    def is_dark(self, shot: Shot) -> bool:
        """No light fell on the face in this frame."""
        return self.facts[shot.index].face_level < DARK_LEVEL


DARK_LEVEL = 0.004
"""A face below this share of the white level is unlit: the darkest skin in crossed light lies several times higher."""


MOST_NAMES = 5


def names(shots: Sequence[Shot]) -> str:
    """Shots as the operator knows them: "flash3 crossed, flash4 parallel"; long lists are cut."""
    listed = ", ".join(shot_name(shot) for shot in shots[:MOST_NAMES])
    return listed + (f" and {len(shots) - MOST_NAMES} more" if len(shots) > MOST_NAMES else "")


def shot_name(shot: Shot) -> str:
    """A shot in the operator's words."""
    if shot.pair is not None:
        return f"{shot.lights[0]} {'crossed' if shot.kind == 'cross' else shot.kind}"
    return f"{shot.kind} {shot.camera}"
