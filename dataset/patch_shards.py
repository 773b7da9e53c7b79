"""Shards: HDF5 files of patches that plain h5py opens; one chunk a patch, written whole or not at all.

    with h5py.File("shard-000.h5") as file:
        height_mm = file["displacement_mm"][7]              # (256, 256) float32 mm
        print(file["scan"][7], file.attrs["unit"])

No compression: it saves a sixth of the bytes of noisy skin and costs four to fifteen times the reading time. The same
patches give the same bytes, so a shard can be told valid by its hash.
"""

import errno
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path

FORMAT = "mesoface-patches"
SCHEMA_VERSION = 1
Kind = Literal["scan", "wild"]
ARRAYS: dict[str, dict[str, tuple[str, tuple[int, ...], str]]] = {
    "scan": {
        "displacement_mm": ("<f4", (), "mm along the base normal; 0 where not valid"),
        "texture_linear": ("<u2", (3,), "linear RGB, 65535 is 1"),
        "valid": ("|u1", (), "0 or 1"),
        "region": ("|u1", (), "label of mesoface.reconstruct.face_model.Region"),
    },
    "wild": {
        "texture_srgb": ("|u1", (3,), "sRGB, 255 is 1"),
        "valid": ("|u1", (), "0 or 1: visible in the picture"),
        "region": ("|u1", (), "label of mesoface.reconstruct.face_model.Region"),
        "position_mm": ("<f4", (3,), "mm, frame of the face model"),
        "normal": ("<f2", (3,), "unit, frame of the face model"),
        "albedo_linear": ("<f2", (3,), "linear RGB"),
    },
}
"""Per kind: dataset name -> type, shape after (patches, P, P), meaning. Wild shards also hold light (patches, 9, 3)."""
LIGHT_SHAPE = (9, 3)
TEXT = {"subject": 64, "scan": 128, "expression": 64}
"""Bytes of the text columns, UTF-8."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a spent quota and a limit on the size of files say."""
ROOM_BYTES = 1 << 20
"""For everything in a shard but its patches."""
NUMBERS = ("row", "column", "label", "area", "flipped", "seed")


class DiskFull(UserError):
    """No room for a result: not the fault of the scan at hand."""


@dataclass(frozen=True, slots=True)
class PatchInfo:
    """Where a patch comes from. label: Region at its centre; area: Area; flipped: left and right exchanged."""

    subject: str
    scan: str
    expression: str
    row: int
    column: int
    label: int
    area: int
    flipped: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch: `arrays` as of ARRAYS (and light for wild ones)."""

    info: PatchInfo
    arrays: Mapping[str, np.ndarray]


def write_shard(
    path: str | Path, kind: Kind, patch_px: int, count: int, patches: Iterable[Patch], attributes: Mapping[str, Any]
) -> None:
    """Write `count` patches from an iterator, one at a time, under a temporary name.

    attributes: further entries of the file (texel_mm, face_model, licences, source hashes ...), JSON values.
    Raises ValueError when arrays have other names, types or shapes, or another number of patches comes; DiskFull when
    there is no room for the whole shard.
    """
    import h5py

    specification = ARRAYS[kind]
    with atomic_path(path) as temporary:
        _check_room(path, temporary, kind, patch_px, count)
        with h5py.File(temporary, "w", libver=("v110", "v110")) as opened:
            file: Any = opened
            columns = _make_datasets(file, kind, patch_px, count)
            number = -1
            for number, patch in enumerate(patches):
                if number >= count:
                    raise ValueError(f"{path}: more than the {count} patches announced")
                expected = {*specification, *(("light",) if kind == "wild" else ())}
                if set(patch.arrays) != expected:
                    raise ValueError(f"{path}: patch {number} has {sorted(patch.arrays)}, expected {sorted(expected)}")
                for name, values in patch.arrays.items():
                    _check(path, number, name, values, file[name])
                    file[name][number] = values
                for name in (*TEXT, *NUMBERS):
                    columns[name].append(getattr(patch.info, name))
            if number + 1 != count:
                raise ValueError(f"{path}: {number + 1} patches came, {count} were announced")
            for name, length in TEXT.items():
                file[name][...] = np.array([_bytes(path, text, length) for text in columns[name]], f"S{length}")
            for name in NUMBERS:
                file[name][...] = np.asarray(columns[name], np.int64)
            entries = {
                "format": FORMAT, "schema_version": SCHEMA_VERSION, "kind": kind, "patch_px": patch_px, "unit": "mm",
                "attributes": json.dumps(dict(attributes), sort_keys=True),
            }  # fmt: skip
            for name in sorted(entries):
                file.attrs[name] = entries[name]


class ShardReader:
    """A shard opened for reading; use as a context. Raises UserError for a damaged, foreign or newer file."""

    def __init__(self, path: str | Path) -> None:
        import h5py

        self.path = Path(path)
        try:
            self._file: Any = h5py.File(self.path, "r")
        except FileNotFoundError:
            raise UserError(f"{path}: no such shard; `mesoface dataset verify` tells what else is missing") from None
        except OSError as error:
            raise UserError(f"{path}: is truncated or no HDF5 file ({error}); build the dataset again") from None
        about: dict[str, Any] = dict(self._file.attrs)
        if about.get("format") != FORMAT:
            self.close()
            raise UserError(f"{path}: format {FORMAT!r} expected, found {about.get('format')!r}")
        if about["schema_version"] > SCHEMA_VERSION:
            self.close()
            raise UserError(f"{path}: schema version {about['schema_version']} is newer than {SCHEMA_VERSION}; update")
        if about.get("unit") != "mm":
            self.close()
            raise UserError(f"{path}: unit {about.get('unit')!r}, expected 'mm'")
        self.kind: Kind = about["kind"]
        self.patch_px = int(about["patch_px"])
        self.attributes: dict[str, Any] = json.loads(about["attributes"])
        self._names = [*ARRAYS[self.kind], *(("light",) if self.kind == "wild" else ())]
        self._bytes = self.path.open("rb", buffering=0)
        self._stored: dict[str, _Stored | None] = {}

    def __len__(self) -> int:
        return int(self._file["row"].shape[0])

    def infos(self) -> list[PatchInfo]:
        """Of every patch, in order."""
        texts = {name: [value.decode() for value in self._file[name][...]] for name in TEXT}
        numbers = {name: self._file[name][...] for name in NUMBERS}
        return [
            PatchInfo(
                texts["subject"][k], texts["scan"][k], texts["expression"][k], int(numbers["row"][k]),
                int(numbers["column"][k]), int(numbers["label"][k]), int(numbers["area"][k]),
                bool(numbers["flipped"][k]), int(numbers["seed"][k]),
            )
            for k in range(len(self))
        ]  # fmt: skip

    def arrays(
        self, index: int, names: Sequence[str] | None = None, empty: Callable[..., np.ndarray] = np.empty
    ) -> dict[str, np.ndarray]:
        """The arrays of one patch, as stored; `empty(shape, dtype)` gives the memory they are read into.

        Raises IndexError, and UserError when the file was cut since it was opened.
        """
        return {name: self._array(name, index, empty) for name in names or self._names}

    def stacked(self, name: str, indices: Sequence[int]) -> np.ndarray:
        """(n, ...) one array of the patches `indices`."""
        data = self._file[name]
        stack = np.empty((len(indices), *data.shape[1:]), data.dtype)
        for number, index in enumerate(indices):
            place: np.ndarray = stack[number]
            array = self._array(name, index, lambda shape, dtype, place=place: place)
            if array is not place:
                place[...] = array
        return stack

    def close(self) -> None:
        self._file.close()
        if hasattr(self, "_bytes"):
            self._bytes.close()

    def _array(self, name: str, index: int, empty: Callable[..., np.ndarray]) -> np.ndarray:
        if name not in self._stored:
            self._stored[name] = _stored(self._file[name])
        stored = self._stored[name]
        if stored is None:
            return self._file[name][index]
        if not -len(stored.offsets) <= index < len(stored.offsets):
            raise IndexError(f"{self.path}: patch {index} of {len(stored.offsets)}")
        values = empty(stored.shape, stored.dtype)
        if os.preadv(self._bytes.fileno(), [values.data], stored.offsets[index]) != values.nbytes:
            raise UserError(f"{self.path}: is truncated: {name} of patch {index} is not there; build the dataset again")
        return values

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where each patch's bytes of one array lie: read straight from there, without HDF5's way through its chunks."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offsets: list[int]


def _stored(data: Any) -> _Stored | None:
    """None when the bytes are not as in memory (a shard that another tool has compressed or rearranged)."""
    shape, offsets = data.shape[1:], {}
    size = data.dtype.itemsize * int(np.prod(shape))
    if data.chunks is None:
        first = data.id.get_offset()
        return None if first is None else _Stored(data.dtype, shape, [first + k * size for k in range(len(data))])
    if data.chunks != (1, *shape) or data.id.get_create_plist().get_nfilters():
        return None

    def found(chunk: Any) -> None:
        offsets[chunk.chunk_offset[0]] = chunk.byte_offset

    data.id.chunk_iter(found)
    return _Stored(data.dtype, shape, [offsets[k] for k in range(len(data))]) if len(offsets) == len(data) else None


def _check_room(path: str | Path, temporary: Path, kind: Kind, patch_px: int, count: int) -> None:
    """Have the whole shard's bytes allotted once: HDF5 does not survive a write that fails, it crashes at exit."""
    texels = sum(np.dtype(dtype).itemsize * int(np.prod(more)) for dtype, more, _ in ARRAYS[kind].values())
    size = count * (texels * patch_px**2 + 1024) + ROOM_BYTES
    try:
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"{path}: no room for {size / 1e6:.0f} MB ({error.strerror}); nothing was written. Make room, or choose "
            "another disk, and run the same command again"
        ) from None
    temporary.unlink()  # HDF5 makes it anew


def _make_datasets(file: Any, kind: Kind, patch_px: int, count: int) -> dict[str, list[Any]]:
    import h5py

    def make(name: str, shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...] | None = None) -> Any:
        # All bytes are allotted here, in this order. Else their places depend on when HDF5's caches were emptied,
        # which differs from run to run in a process with several threads, and with them the file's hash.
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        return file.create_dataset(name, shape, dtype, chunks=chunks, track_times=False, dcpl=plan)

    for name, (dtype, more, meaning) in ARRAYS[kind].items():
        shape = (patch_px, patch_px, *more)
        make(name, (count, *shape), dtype, (1, *shape)).attrs["meaning"] = meaning
    if kind == "wild":
        data = make("light", (count, *LIGHT_SHAPE), "<f4")
        data.attrs["meaning"] = "second-order spherical harmonics of the irradiance, per channel"
    for name, length in TEXT.items():
        make(name, (count,), f"S{length}")
    for name in NUMBERS:
        make(name, (count,), "<i8")
    return {field.name: [] for field in fields(PatchInfo)}


def _check(path: str | Path, number: int, name: str, values: np.ndarray, data: Any) -> None:
    if values.shape != data.shape[1:] or values.dtype != data.dtype:
        raise ValueError(
            f"{path}: patch {number}: {name} is {values.dtype} {values.shape}, expected {data.dtype} {data.shape[1:]}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{path}: patch {number}: {name} holds NaN")


def _bytes(path: str | Path, text: str, length: int) -> bytes:
    data = text.encode()
    if len(data) > length:
        raise UserError(f"{path}: the name {text!r} is longer than {length} bytes; choose a shorter one")
    return data
