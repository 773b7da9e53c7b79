"""Which memory card is in a body: the one that holds this take's frames, an earlier one, or one never seen before.

Cards are exchanged and formatted in the middle of a take, and a formatted card may number its frames from 1 again:
a name alone does not tell a frame. So the cards of a body are counted, and a frame's key says on which it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .camera_messages import CardFile

CLOCK_S = 2.0
"""Cards keep times in steps of 2 s."""
HOUR_S = 3600.0
"""The same time read in another time zone, or after the clock change, differs by whole hours."""

Place = tuple[str, str]
"""(folder, name) on a card."""


class CardKey(NamedTuple):
    """A frame on a card. `card` counts the cards of that body within the take from 0."""

    serial: str
    card: int
    folder: str
    name: str


@dataclass(frozen=True)
class Look:
    """What tells two files of one name apart: size, and the camera's own time in s; None where it is not known."""

    bytes: int | None = None
    time_s: float | None = None

    def contradicts(self, other: "Look") -> bool:
        """Certainly not the same file."""
        if self.bytes and other.bytes and self.bytes != other.bytes:
            return True
        if self.time_s is None or other.time_s is None:
            return False
        apart_s = abs(self.time_s - other.time_s) % HOUR_S
        return min(apart_s, HOUR_S - apart_s) > CLOCK_S


@dataclass
class BodyCards:
    """The cards of one body as a log tells: `held` by card what was on it and was not deleted by us, `used` those on
    which frames of this take have been."""

    current: int = 0
    held: dict[int, dict[Place, Look]] = field(default_factory=lambda: {0: {}})
    used: set[int] = field(default_factory=set)

    def key(self, serial: str, folder: str, name: str) -> CardKey:
        """The key of a file on the card that is in the body."""
        return CardKey(serial, self.current, folder, name)

    def change(self, card: int, files: Iterable[Iterable[Any]]) -> None:
        """Another card is in the body; `files` were on it, as the log holds them."""
        self.current = card
        if card not in self.held:
            self.held[card] = listed_places(files)

    def add(self, folder: str, name: str, look: Look) -> None:
        """A frame of this take is on the card in the body."""
        self.used.add(self.current)
        self.held[self.current][folder, name] = look

    def drop(self, folder: str, name: str) -> None:
        """A frame was deleted from the card in the body."""
        self.held[self.current].pop((folder, name), None)

    def recognise(self, listed: Iterable[CardFile]) -> int:
        """The number of the card that holds `listed`: the current one, an earlier one, or the next free number.

        A card is the same when it holds something that is on record and nothing that contradicts it. One that lost
        all that was on record is a new one, for its numbers may begin again.
        """
        looks = {(file.folder, file.name): Look(file.bytes, file.time_s) for file in listed}
        shared = {card: _shared(held, looks) for card, held in self.held.items()}
        best = max(shared, key=lambda card: (shared[card], card == self.current))
        if shared[best]:
            return best
        if self.current not in self.used and not self.held[self.current]:
            return self.current
        return max(self.held) + 1


def listed_places(files: Iterable[Iterable[Any]]) -> dict[Place, Look]:
    """[[folder, name, bytes, time_s], ...] of a log; older logs have no more than [folder, name]."""
    return {(folder, name): Look(*look) for folder, name, *look in files}


def card_record(files: Iterable[CardFile]) -> list[list[Any]]:
    """A listing as a log keeps it."""
    return [[file.folder, file.name, file.bytes, file.time_s] for file in files]


def _shared(held: Mapping[Place, Look], looks: Mapping[Place, Look]) -> int:
    both = held.keys() & looks.keys()
    return 0 if any(held[place].contradicts(looks[place]) for place in both) else len(both)
