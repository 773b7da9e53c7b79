"""The memory card of a simulated body: folders, files, handles, and how much fits on it."""

import time
from dataclasses import dataclass, field

from .sim_eos_values import FOLDER, FORMATS

FIRST_HANDLE = 0x91900001
# What the body reckons with for one exposure: a 24 Mpx RAW file.
SHOT_BYTES = 30_000_000


@dataclass(frozen=True)
class CardObject:
    """A folder or a file; `time_utc_s` is Unix time by the camera's clock, `exposure` counts from 1 (folders 0)."""

    handle: int
    parent: int
    format: int
    name: str
    data: bytes | memoryview
    time_utc_s: float
    exposure: int = 0

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return memoryview(self.data).nbytes

    @property
    def date(self) -> str:
        """Time of the file in the camera's time zone as PTP writes it, YYYYMMDDThhmmss."""
        return time.strftime("%Y%m%dT%H%M%S", time.localtime(self.time_utc_s))


@dataclass
class Card:
    """Objects by handle, in the order of their making. Not locked: its body does that."""

    free_shots: int
    time_utc_s: float
    objects: dict[int, CardObject] = field(default_factory=dict)
    next_handle: int = FIRST_HANDLE

    def __post_init__(self) -> None:
        self._dcim = self._add(0, FOLDER, "DCIM", b"", self.time_utc_s, 0)
        self.folder = self._add(self._dcim.handle, FOLDER, "100CANON", b"", self.time_utc_s, 0)

    def make_file(
        self, exposure: int, suffix: str, data: bytes | memoryview, time_utc_s: float, *, in_ram: bool
    ) -> CardObject:
        """A new file IMG_<exposure>.<suffix>: on the card, or (in_ram) outside it with parent 0."""
        name = f"IMG_{(exposure - 1) % 9999 + 1:04d}.{suffix}"
        if in_ram:
            return CardObject(self._new_handle(), 0, FORMATS[suffix], name, data, time_utc_s, exposure)
        return self._add(self.folder.handle, FORMATS[suffix], name, data, time_utc_s, exposure)

    def files(self) -> tuple[CardObject, ...]:
        """All files, oldest first."""
        return tuple(item for item in self.objects.values() if item.format != FOLDER)

    def children(self, parent: int) -> tuple[CardObject, ...]:
        """Objects right below a folder; parent 0 is the card itself."""
        return tuple(item for item in self.objects.values() if item.parent == parent)

    @property
    def capacity_bytes(self) -> int:
        """Size of the whole card."""
        return self.free_shots * SHOT_BYTES

    @property
    def shots_left(self) -> int:
        """How many more exposures fit."""
        return max(0, self.free_shots - len({item.exposure for item in self.files()}))

    @property
    def free_bytes(self) -> int:
        """Room for the exposures that still fit."""
        return self.shots_left * SHOT_BYTES

    def _add(
        self, parent: int, kind: int, name: str, data: bytes | memoryview, time_utc_s: float, exposure: int
    ) -> CardObject:
        item = CardObject(self._new_handle(), parent, kind, name, data, time_utc_s, exposure)
        self.objects[item.handle] = item
        return item

    def _new_handle(self) -> int:
        handle = self.next_handle
        self.next_handle += 1
        return handle
