"""Patches of many faces into shards of about a thousand; only shards whose members changed are written."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import sha256_file
from .dataset_index import INDEX, DatasetIndex, Member, ShardEntry, read_index, write_index, write_split
from .patch_cut import BINS, height_quantile_mm
from .patch_shards import Kind, Patch, ShardReader, write_shard
from .subject_split import SHARES, ScanEntry, check_duplicates, check_split, split_subjects

SHARD_PATCHES = 1000
KINDS: tuple[Kind, ...] = ("scan", "wild")


@dataclass(frozen=True, slots=True)
class FacePatches:
    """The patches of one face, in a file of their own (a shard), as the stage of that face wrote it."""

    path: Path
    sha256: str
    entry: ScanEntry
    kind: Kind
    count: int
    attributes: Mapping[str, Any]


def read_face_patches(path: str | Path) -> FacePatches:
    """Look into a face's patches. Raises UserError as `ShardReader`, and when the file is empty."""
    path = Path(path)
    with ShardReader(path) as shard:
        infos, attributes = shard.infos(), shard.attributes
        if not infos:
            raise UserError(f"{path}: holds no patches; remove it and build again")
        first = infos[0]
        entry = ScanEntry(first.scan, first.subject, first.expression, str(attributes.get("image_sha256", "")))
        return FacePatches(path, sha256_file(path), entry, shard.kind, len(infos), attributes)


def assemble(
    faces: Sequence[FacePatches],
    folder: str | Path,
    name: str,
    *,
    failures: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    shard_patches: int = SHARD_PATCHES,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> DatasetIndex:
    """Write shards, split.json and dataset.json into `folder`, in this order; stale shards go last.

    Raises UserError for a face under two names, mixed face models, map sizes or patch sizes, or too few subjects.
    """
    folder = Path(folder)
    if not faces:
        raise UserError(f"{folder}: no face gave patches; look at the failures listed above")
    common = _common(faces)
    check_duplicates([face.entry for face in faces])
    known = _known_shards(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    groups: list[tuple[Kind, list[FacePatches]]] = []
    for kind in KINDS:
        for group in _groups(faces, kind, shard_patches):
            groups.append((kind, group))
    for number, (kind, group) in enumerate(groups):
        progress("shards", number, len(groups))
        position = sum(1 for shard in shards if shard.kind == kind)
        shards.append(_write_group(folder, f"{kind}-{position:03d}.h5", kind, group, common, known))
    scans = [face.entry for face in faces if face.kind == "scan"]
    split = split_subjects(scans, shares, seed) if scans else {key: () for key in ("train", "val", "test")}
    check_split(split, scans)
    histogram = np.zeros(BINS, np.int64)
    for face in faces:
        histogram += np.asarray(face.attributes.get("height_histogram", np.zeros(BINS)), np.int64)
    index = DatasetIndex(
        name=name,
        face_model=common["face_model"],
        map_size=common["map_size"],
        patch_px=common["patch_px"],
        texel_mm=float(np.median([face.attributes["texel_mm"] for face in faces])),
        height_scale_mm=height_quantile_mm(histogram, 0.999),
        licences=tuple(sorted({str(face.attributes["licence"]) for face in faces})),
        shards=tuple(shards),
        failures=dict(sorted((failures or {}).items())),
        parameters=dict(parameters or {}),
    )
    write_split(folder, split, seed)
    write_index(folder, index)
    kept = {shard.file for shard in shards}
    for path in folder.glob("*-[0-9][0-9][0-9].h5"):
        if path.name not in kept:
            path.unlink()
    return index


def _common(faces: Sequence[FacePatches]) -> dict[str, Any]:
    """What all faces must share. Raises UserError that names two that differ."""
    first = faces[0]
    for face in faces:
        for key, words in (("face_model", "face model"), ("map_size", "map size"), ("patch_px", "patch size")):
            if face.attributes.get(key) != first.attributes.get(key):
                raise UserError(
                    f"{face.entry.scan} has {words} {face.attributes.get(key)!r}, {first.entry.scan} has "
                    f"{first.attributes.get(key)!r}; a dataset takes one: build them apart, or again with the same"
                )
    return {key: first.attributes[key] for key in ("face_model", "map_size", "patch_px")}


def _groups(faces: Sequence[FacePatches], kind: Kind, shard_patches: int) -> list[list[FacePatches]]:
    """Faces of a kind in the order of their names, as many to a shard as make about `shard_patches`."""
    groups: list[list[FacePatches]] = []
    filled = shard_patches
    for face in sorted((face for face in faces if face.kind == kind), key=lambda face: face.entry.scan):
        if filled >= shard_patches:
            groups.append([])
            filled = 0
        groups[-1].append(face)
        filled += face.count
    return groups


def _write_group(
    folder: Path,
    file: str,
    kind: Kind,
    group: list[FacePatches],
    common: Mapping[str, Any],
    known: Mapping[str, ShardEntry],
) -> ShardEntry:
    members, first = [], 0
    for face in group:
        entry = face.entry
        members.append(
            Member(entry.scan, entry.subject, entry.expression, face.sha256, entry.image_sha256, first, face.count)
        )
        first += face.count
    path, old = folder / file, known.get(file)
    valid = old is not None and old.members == tuple(members) and path.is_file() and sha256_file(path) == old.sha256
    if old is not None and valid:
        return old
    attributes = {**common, "members": {member.scan: member.patches_sha256 for member in members}}
    write_shard(path, kind, int(common["patch_px"]), first, _copied(group), attributes)
    return ShardEntry(file, kind, sha256_file(path), path.stat().st_size, tuple(members))


def _copied(group: list[FacePatches]) -> Iterator[Patch]:
    for face in group:
        with ShardReader(face.path) as shard:
            for number, info in enumerate(shard.infos()):
                yield Patch(info, shard.arrays(number))


def _known_shards(folder: Path) -> dict[str, ShardEntry]:
    """Shards of an earlier build; none when there is no valid index."""
    if not (folder / INDEX).exists():
        return {}
    with contextlib.suppress(UserError):
        return {shard.file: shard for shard in read_index(folder).shards}
    return {}
