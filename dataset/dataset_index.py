"""dataset.json: what a dataset folder holds, without silent holes, and the checks on it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import sha256_file, write_json
from ..capture.json_files import read_format, read_object
from .patch_shards import Kind
from .subject_split import SPLITS, ScanEntry

FORMAT = "mesoface-dataset"
SCHEMA_VERSION = 1
INDEX, SPLIT = "dataset.json", "split.json"


@dataclass(frozen=True, slots=True)
class Member:
    """The patches of one face within a shard: first .. first + count - 1."""

    scan: str
    subject: str
    expression: str
    patches_sha256: str
    """Of the face's own patches, whatever shard they are in."""
    image_sha256: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard file. Paths are relative to the dataset's folder."""

    file: str
    kind: Kind
    sha256: str
    bytes: int
    members: tuple[Member, ...]

    @property
    def count(self) -> int:
        return sum(member.count for member in self.members)


@dataclass(frozen=True, slots=True)
class DatasetIndex:
    """Everything about a dataset but the split."""

    name: str
    face_model: str
    map_size: int
    patch_px: int
    texel_mm: float
    """Median over the faces."""
    height_scale_mm: float
    """99.9 % of the valid texels of the scans are within +- this; networks scale displacement by it."""
    licences: tuple[str, ...]
    shards: tuple[ShardEntry, ...]
    failures: Mapping[str, str]
    """Scans and pictures that gave no patches -> why."""
    parameters: Mapping[str, Any]

    def scans(self, kind: Kind = "scan") -> list[ScanEntry]:
        """The faces of a kind."""
        return [
            ScanEntry(member.scan, member.subject, member.expression, member.image_sha256)
            for shard in self.shards
            if shard.kind == kind
            for member in shard.members
        ]

    def count(self, kind: Kind = "scan") -> int:
        """Patches of a kind."""
        return sum(shard.count for shard in self.shards if shard.kind == kind)


def write_index(folder: str | Path, index: DatasetIndex) -> None:
    """dataset.json, whole or not at all. It holds no times, so the same data give the same bytes."""
    write_json(Path(folder) / INDEX, {"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(index)})


def read_index(folder: str | Path) -> DatasetIndex:
    """Raises UserError when dataset.json is missing, damaged or newer."""
    path = Path(folder) / INDEX
    content = read_format(
        path, FORMAT, SCHEMA_VERSION, missing="make the dataset with `mesoface dataset build`",
        again="build the dataset again",
    )  # fmt: skip
    try:
        shards = tuple(
            ShardEntry(**{**shard, "members": tuple(Member(**member) for member in shard["members"])})
            for shard in content["shards"]
        )
        entries = {field.name: content[field.name] for field in fields(DatasetIndex)}
        return DatasetIndex(**{**entries, "shards": shards, "licences": tuple(content["licences"])})
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is damaged ({error}); build the dataset again") from None


def write_split(folder: str | Path, split: Mapping[str, Iterable[str]], seed: int) -> None:
    """split.json."""
    write_json(Path(folder) / SPLIT, {"seed": seed, **{name: list(split[name]) for name in SPLITS}})


def read_split(folder: str | Path) -> dict[str, tuple[str, ...]]:
    """Subjects of each split. Raises UserError when split.json is missing or damaged."""
    path = Path(folder) / SPLIT
    content = read_object(path, missing="build the dataset again", again="build the dataset again")
    try:
        return {name: tuple(str(subject) for subject in content[name]) for name in SPLITS}
    except (KeyError, TypeError):
        raise UserError(f"{path}: expected lists of subjects for {', '.join(SPLITS)}") from None


def verify_shards(folder: str | Path, index: DatasetIndex, *, contents: bool = True) -> list[str]:
    """What is wrong with the shards of a dataset, a sentence each; empty when all are as they were written.

    contents: compare the hash of every byte; False: only presence and size.
    """
    problems = []
    for shard in index.shards:
        path = Path(folder) / shard.file
        if not path.is_file():
            problems.append(f"{path}: is missing; build the dataset again, or copy the shard back")
        elif path.stat().st_size != shard.bytes:
            problems.append(f"{path}: has {path.stat().st_size} bytes, expected {shard.bytes}: truncated or altered")
        elif contents and sha256_file(path) != shard.sha256:
            problems.append(f"{path}: its contents are not those that were written; copy it again, or build again")
    return problems
