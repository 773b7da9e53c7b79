"""Where a take stands, read from its log alone: what was exposed, what is verified on disk, what is missing.

Each press of a step is an *attempt*, counted from 0 per step. Of a shot, the exposure of the highest attempt that was
not voided counts; its verified file, once there, is the shot's image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Shot
from .take_log import Record


@dataclass(frozen=True)
class Exposure:
    """One exposure on a card that is known to belong to a shot."""

    shot: int
    step: int
    attempt: int
    camera: str
    serial: str
    card_folder: str
    card_name: str
    bytes: int
    record: Record = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """Which file on which body's card."""
        return self.serial, self.card_folder, self.card_name


@dataclass(frozen=True)
class FiledImage:
    """A verified file of the take. `shot` is None for a frame that belongs to no step (kept under unassigned/)."""

    path: str
    sha256: str
    bytes: int
    serial: str
    card_folder: str
    card_name: str
    shot: int | None
    attempt: int | None
    record: Record = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.serial, self.card_folder, self.card_name


@dataclass(frozen=True)
class TakeState:
    """See the module. `strays`: card files of this take that belong to no step. `baseline`: what was on each card."""

    plan: tuple[Shot, ...]
    attempts: dict[int, int]
    exposures: dict[int, tuple[Exposure, ...]]
    files: tuple[FiledImage, ...]
    strays: tuple[tuple[str, str, str], ...]
    baseline: dict[str, frozenset[tuple[str, str]]]
    open_press: Record | None
    closed: bool
    cleared: frozenset[tuple[str, str, str]]
    kept: dict[str, str]

    def current(self, shot: int) -> tuple[Exposure, ...]:
        """The files of the exposure that counts (RAW first, JPEG second), empty when the shot has none."""
        return self.exposures.get(shot, ())

    def image(self, shot: int) -> FiledImage | None:
        """The verified RAW of a shot."""
        for exposure in self.current(shot):
            for file in self.files:
                if file.key == exposure.key and file.shot == shot:
                    return file
        return None

    def missing_steps(self) -> list[int]:
        """Steps of which a shot was never exposed as it should."""
        return sorted({shot.step for shot in self.plan if not self.current(shot.index)})

    def to_download(self) -> list[Exposure]:
        """Exposures that count and are not on disk yet."""
        filed = {file.key for file in self.files}
        return [e for shot in self.plan for e in self.current(shot.index) if e.key not in filed]

    def strays_to_download(self) -> list[tuple[str, str, str]]:
        """Card files of this take without a step that are not on disk yet: (serial, folder, name)."""
        filed = {file.key for file in self.files}
        return [key for key in self.strays if key not in filed]

    def known(self, serial: str) -> set[tuple[str, str]]:
        """(folder, name) of all files of a card that are accounted for."""
        known = set(self.baseline.get(serial, ()))
        known |= {(e.card_folder, e.card_name) for e in self._all_exposures() if e.serial == serial}
        known |= {(folder, name) for s, folder, name in self.strays if s == serial}
        return known | {(f.card_folder, f.card_name) for f in self.files if f.serial == serial}

    def _all_exposures(self) -> Iterable[Exposure]:
        for exposures in self.exposures.values():
            yield from exposures

    @property
    def complete(self) -> bool:
        """Every shot of the plan is verified on disk."""
        return all(self.image(shot.index) for shot in self.plan)


def take_state(plan: Sequence[Shot], records: Iterable[Record]) -> TakeState:
    """Replay a log."""
    attempts: dict[int, int] = {}
    exposed: dict[tuple[int, int], list[Exposure]] = {}
    void: set[tuple[int, int]] = set()
    files: dict[tuple[str, str, str], FiledImage] = {}
    strays: dict[tuple[str, str, str], None] = {}
    baseline: dict[str, set[tuple[str, str]]] = {}
    cleared: set[tuple[str, str, str]] = set()
    kept: dict[str, str] = {}
    open_press: Record | None = None
    closed = False
    for record in records:
        event = record["event"]
        if event == "baseline":
            # A card seen again after a crash holds frames of this take by now: only the first listing is the baseline.
            baseline.setdefault(record["serial"], {(folder, name) for folder, name in record["files"]})
        elif event == "press":
            attempts[record["step"]] = record["attempt"] + 1
            open_press = record
        elif event == "exposed":
            open_press = None
            for entry in record["files"]:
                exposure = _exposure(record, entry)
                exposed.setdefault((exposure.step, exposure.attempt), []).append(exposure)
        elif event == "void":
            open_press = None
            void.add((record["step"], record["attempt"]))
        elif event == "stray":
            strays.setdefault((record["serial"], record["card_folder"], record["card_name"]))
        elif event == "file":
            file = _filed(record)
            files[file.key] = file
        elif event == "damaged":
            files.pop((record["serial"], record["card_folder"], record["card_name"]), None)
        elif event == "kept":
            kept[record["path"]] = record["sha256"]
        elif event == "cleared":
            cleared.add((record["serial"], record["card_folder"], record["card_name"]))
        elif event == "closed":
            closed = True
    counted: dict[int, tuple[Exposure, ...]] = {}
    for (step, attempt), exposures in sorted(exposed.items()):
        if (step, attempt) in void:
            strays.update(dict.fromkeys(e.key for e in exposures))
            continue
        for index in {e.shot for e in exposures}:
            older = counted.get(index, ())
            strays.update(dict.fromkeys(e.key for e in older))
            counted[index] = tuple(e for e in exposures if e.shot == index)
    used = {e.key for exposures in counted.values() for e in exposures}
    return TakeState(
        plan=tuple(plan),
        attempts=attempts,
        exposures=counted,
        files=tuple(files.values()),
        strays=tuple(key for key in strays if key not in used),
        baseline={serial: frozenset(names) for serial, names in baseline.items()},
        open_press=open_press,
        closed=closed,
        cleared=frozenset(cleared),
        kept=kept,
    )


def _exposure(record: Record, entry: dict[str, Any]) -> Exposure:
    return Exposure(
        shot=entry["shot"],
        step=record["step"],
        attempt=record["attempt"],
        camera=entry["camera"],
        serial=entry["serial"],
        card_folder=entry["card_folder"],
        card_name=entry["card_name"],
        bytes=entry["bytes"],
        record={**{k: v for k, v in record.items() if k != "files"}, **entry},
    )


def _filed(record: Record) -> FiledImage:
    return FiledImage(
        path=record["path"],
        sha256=record["sha256"],
        bytes=record["bytes"],
        serial=record["serial"],
        card_folder=record["card_folder"],
        card_name=record["card_name"],
        shot=record.get("shot"),
        attempt=record.get("attempt"),
        record=record,
    )
