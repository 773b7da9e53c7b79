"""Where a take stands, read from its log alone: what was exposed, what is verified on disk, what is missing.

Each press of a step is an *attempt*, counted from 0 per step. Of a shot, the exposure of the highest attempt that was
not voided counts; its verified file, once there, is the shot's image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .plan import Shot
from .take_cards import BodyCards, CardKey, Look, Place, listed_places
from .take_log import Record


@dataclass(frozen=True)
class Exposure:
    """One exposure on a card that is known to belong to a shot. `key`: which file on which card."""

    shot: int
    step: int
    attempt: int
    camera: str
    key: CardKey
    bytes: int
    record: Record = field(repr=False)

    @property
    def serial(self) -> str:
        return self.key.serial

    @property
    def card_name(self) -> str:
        return self.key.name


@dataclass(frozen=True)
class FiledImage:
    """A verified file of the take. `shot` is None for a frame that belongs to no step (kept under unassigned/)."""

    path: str
    sha256: str
    bytes: int
    key: CardKey
    shot: int | None
    attempt: int | None
    record: Record = field(repr=False)

    @property
    def serial(self) -> str:
        return self.key.serial

    @property
    def card_name(self) -> str:
        return self.key.name


@dataclass(frozen=True)
class TakeState:
    """See the module. `strays`: card files of this take that belong to no step. `cards`: what each body's cards held.

    An exposure whose card was taken out (or formatted) before its file was fetched does not count while that card is
    away: `lost` has those.
    """

    plan: tuple[Shot, ...]
    attempts: dict[int, int]
    exposures: dict[int, tuple[Exposure, ...]]
    files: tuple[FiledImage, ...]
    lost: tuple[Exposure, ...]
    strays: tuple[CardKey, ...]
    cards: dict[str, BodyCards]
    open_press: Record | None
    closed: bool
    cleared: frozenset[CardKey]
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

    def strays_to_download(self) -> list[CardKey]:
        """Files of this take without a step on the cards in the bodies that are not on disk yet."""
        filed = {file.key for file in self.files}
        return [key for key in self.strays if key not in filed and self.in_body(key)]

    def in_body(self, key: CardKey) -> bool:
        """Is the card of this file the one that is in its body (as far as the log knows)?"""
        return self.cards[key.serial].current == key.card

    def known(self, serial: str) -> set[Place]:
        """All files of the card in a body that are accounted for."""
        cards = self.cards.get(serial)
        return set(cards.held[cards.current]) if cards else set()

    @property
    def complete(self) -> bool:
        """Every shot of the plan is verified on disk."""
        return all(self.image(shot.index) for shot in self.plan)


def take_state(plan: Sequence[Shot], records: Iterable[Record]) -> TakeState:
    """Replay a log."""
    attempts: dict[int, int] = {}
    exposed: dict[tuple[int, int], list[Exposure]] = {}
    void: set[tuple[int, int]] = set()
    files: dict[CardKey, FiledImage] = {}
    strays: dict[CardKey, None] = {}
    cards: dict[str, BodyCards] = {}
    cleared: set[CardKey] = set()
    kept: dict[str, str] = {}
    open_press: Record | None = None
    closed = False
    for record in records:
        event = record["event"]
        if event == "baseline":
            # A card seen again after a crash holds frames of this take by now: only the first listing is the baseline.
            if record["serial"] not in cards:
                cards[record["serial"]] = BodyCards(held={0: listed_places(record["files"])})
        elif event == "card":
            cards[record["serial"]].change(record["card"], record["files"])
        elif event == "press":
            attempts[record["step"]] = record["attempt"] + 1
            open_press = record
        elif event == "exposed":
            open_press = None
            for entry in record["files"]:
                exposure = _exposure(record, entry, _put(cards, entry))
                exposed.setdefault((exposure.step, exposure.attempt), []).append(exposure)
        elif event == "void":
            open_press = None
            void.add((record["step"], record["attempt"]))
        elif event == "stray":
            strays.setdefault(_put(cards, record))
        elif event == "file":
            file = _filed(record, cards[record["serial"]])
            files[file.key] = file
        elif event == "damaged":
            files = {key: file for key, file in files.items() if file.path != record["path"]}
        elif event == "kept":
            kept[record["path"]] = record["sha256"]
        elif event == "cleared":
            body = cards[record["serial"]]
            cleared.add(body.key(record["serial"], record["card_folder"], record["card_name"]))
            body.drop(record["card_folder"], record["card_name"])
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
    lost = tuple(
        e
        for exposures in counted.values()
        for e in exposures
        if e.key not in files and cards[e.key.serial].current != e.key.card
    )
    return TakeState(
        plan=tuple(plan),
        attempts=attempts,
        exposures={index: _there(exposures, lost) for index, exposures in counted.items()},
        files=tuple(files.values()),
        lost=lost,
        strays=tuple(key for key in strays if key not in used),
        cards=cards,
        open_press=open_press,
        closed=closed,
        cleared=frozenset(cleared),
        kept=kept,
    )


def _there(exposures: tuple[Exposure, ...], lost: tuple[Exposure, ...]) -> tuple[Exposure, ...]:
    """The files of a shot that are on disk or can be fetched: none when the RAW cannot, whatever became of the JPEG."""
    return () if exposures[0] in lost else tuple(e for e in exposures if e not in lost)


def _put(cards: dict[str, BodyCards], entry: Record) -> CardKey:
    """Note a new frame on the card that was in its body at this line of the log."""
    body = cards.setdefault(entry["serial"], BodyCards())
    body.add(entry["card_folder"], entry["card_name"], Look(entry["bytes"], entry.get("time_s")))
    return body.key(entry["serial"], entry["card_folder"], entry["card_name"])


def _exposure(record: Record, entry: dict[str, Any], key: CardKey) -> Exposure:
    return Exposure(
        shot=entry["shot"],
        step=record["step"],
        attempt=record["attempt"],
        camera=entry["camera"],
        key=key,
        bytes=entry["bytes"],
        record={**{k: v for k, v in record.items() if k != "files"}, **entry},
    )


def _filed(record: Record, body: BodyCards) -> FiledImage:
    return FiledImage(
        path=record["path"],
        sha256=record["sha256"],
        bytes=record["bytes"],
        key=body.key(record["serial"], record["card_folder"], record["card_name"]),
        shot=record.get("shot"),
        attempt=record.get("attempt"),
        record=record,
    )
