"""What a take is: who sat there, what was to be shot, with which rig. Written once, when the take is opened.

    sessions/S012_smile_20260301T101500Z/data/take.json

Faces are personal data: a subject is a pseudonym such as S012, never a name, and the consent form is only referred to.
"""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError
from .plan import Kind, Polariser, Shot

FORMAT = "mesoface-take"
SCHEMA_VERSION = 1
SUBJECT = re.compile(r"[A-Z]{1,3}[0-9]{2,6}")
LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}")

TakeKind = Literal["scan", "board", "sphere", "flat", "chart", "dark"]
CALIBRATION_SUBJECT = "calibration"


class ShotRecord(BaseModel):
    """A shot of the plan as take.json lists it; see `plan.Shot`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    step: int
    camera: str
    lights: tuple[str, ...]
    light_mask: int
    polariser: Polariser
    kind: Kind
    pair: int | None
    stem: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
    pose: int | None = None

    def shot(self) -> Shot:
        return Shot(**self.model_dump())


class TakeManifest(BaseModel):
    """take.json: everything that is decided before the first exposure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mesoface-take"] = FORMAT
    schema_version: Literal[1] = SCHEMA_VERSION
    take_id: str = Field(pattern=r"^[0-9a-f]{16}$", description="random; names the trigger box's sequence too")
    kind: TakeKind
    subject: str
    expression: str
    operator: str
    consent: str = Field(description="reference of the consent form, empty when none was given")
    notes: str
    created_utc: str
    rig_name: str
    rig_sha256: str = Field(description="of data/rig.toml")
    mesoface_version: str
    shots: tuple[ShotRecord, ...]

    @property
    def plan(self) -> tuple[Shot, ...]:
        """The shots to be taken, index i is element i."""
        return tuple(record.shot() for record in self.shots)


def check_subject(subject: str) -> str:
    """A pseudonym such as S012. Raises UserError for anything else: names, paths, empty text."""
    if not SUBJECT.fullmatch(subject):
        raise UserError(
            f"subject {subject!r}: expected a pseudonym of 1 to 3 capital letters and 2 to 6 digits such as S012; "
            "never a name, it would stand in every file"
        )
    return subject


def check_label(label: str, what: str) -> str:
    """A short label for file names. Raises UserError naming `what`."""
    if not LABEL.fullmatch(label):
        raise UserError(
            f"{what} {label!r}: expected up to 32 of a-z, 0-9, _ and -, beginning with a letter, such as brow_raise"
        )
    return label


def check_reference(text: str, what: str) -> str:
    """A short reference (operator's initials, consent form number) or nothing. Raises UserError naming `what`."""
    if text and not REFERENCE.fullmatch(text):
        raise UserError(f"{what} {text!r}: expected up to 64 letters, digits, spaces, . _ / or -")
    return text


def check_notes(text: str) -> str:
    """Free text of up to 2000 characters. Raises UserError."""
    if len(text) > 2000:
        raise UserError(f"notes: {len(text)} characters, at most 2000; put the rest into a file of your own")
    return text


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime | None = None) -> str:
    """ISO 8601 with milliseconds and Z."""
    return (moment or utc_now()).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def folder_name(subject: str, expression: str, moment: datetime) -> str:
    """`S012_smile_20260301T101500Z`"""
    return f"{subject}_{expression}_{moment:%Y%m%dT%H%M%SZ}"


def shot_records(plan: tuple[Shot, ...]) -> tuple[ShotRecord, ...]:
    return tuple(ShotRecord(**asdict(shot)) for shot in plan)


def parse_manifest(content: Any, where: str) -> TakeManifest:
    """Check the content of a take.json. Raises UserError naming `where` and the wrong field."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{where}: is not the manifest of a take (format {FORMAT!r} expected)")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(f"{where}: schema version {version} is newer than {SCHEMA_VERSION}; update mesoface")
    try:
        manifest = TakeManifest.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"{where}: {key}: {problem['msg']}; take.json is never edited, restore it") from None
    if [shot.index for shot in manifest.shots] != list(range(len(manifest.shots))):
        raise UserError(f"{where}: shots are not numbered 0, 1, 2, ...; take.json is never edited, restore it")
    return manifest
