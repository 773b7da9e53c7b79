"""Patches for a torch training loop: lazy per process, the same order for the same seed, each rank its own share.

    patches = PatchDataset("datasets/studio", split="train")
    loader = DataLoader(patches, batch_size=16, sampler=EpochSampler(len(patches), seed=0))
    batch = next(iter(loader))       # batch["displacement_mm"]: (16, 1, 256, 256) float32 mm

An HDF5 handle must not cross into another process: each opens its own at its first read.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from ..capture.errors import UserError
from .array_pool import ArrayPool
from .augment import augmented
from .dataset_index import read_index, read_split, verify_shards
from .face_areas import Area
from .patch_shards import Kind, PatchInfo, ShardReader

if TYPE_CHECKING:  # torch takes a second to import, and a loader asks for the methods, not for the base class
    import torch
    from torch.utils.data import Dataset, Sampler

    PatchBase, SamplerBase = Dataset[dict[str, Any]], Sampler[int]
else:
    PatchBase = SamplerBase = object

WHITE = {"texture_linear": 65535, "texture_srgb": 255}
"""Stored value of 1."""


class PatchDataset(PatchBase):
    """Patches of one split. Items: tensors, channels first, float32; and "info", see `__getitem__`.

    Args:
        folder: of the dataset.
        split: "train", "val", "test", or "all". Wild patches have no subjects and are all in "train".
        kind: "scan" or "wild".
        area: only patches of this training area.
        verify: compare the shards' hashes once, here; False trusts them (presence and size are always checked).
        augment_seed: mirror and relight patches (augment.py), differently in every epoch (`set_epoch`), the same for
            the same seed, epoch and index; None: as they are.
    Raises UserError that names the shard when one is missing, truncated or altered, or when nothing is left.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Literal["train", "val", "test", "all"] = "train",
        *,
        kind: Kind = "scan",
        area: Area | None = None,
        verify: bool = True,
        augment_seed: int | None = None,
    ) -> None:
        import torch

        self.augment_seed = augment_seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # workers that live on see it change
        self.folder, self.kind = Path(folder), kind
        self.index = read_index(self.folder)
        problems = verify_shards(self.folder, self.index, contents=verify)
        if problems:
            raise UserError("\n".join(problems))
        subjects = None if split == "all" or kind == "wild" else set(read_split(self.folder)[split])
        self._files: list[str] = []
        self._places: list[tuple[int, int]] = []
        self.infos: list[PatchInfo] = []
        for shard in self.index.shards:
            if shard.kind != kind:
                continue
            self._files.append(shard.file)
            with ShardReader(self.folder / shard.file) as reader:
                for number, info in enumerate(reader.infos()):
                    if (subjects is None or info.subject in subjects) and (area is None or info.area == area):
                        self._places.append((len(self._files) - 1, number))
                        self.infos.append(info)
        if not self._places or (kind == "wild" and split in ("val", "test")):
            raise UserError(f"{self.folder}: no {kind} patches in split {split}" + (f", area {area}" if area else ""))
        self._readers: dict[int, ShardReader] = {}
        self._owner = os.getpid()
        self._pool = ArrayPool()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """(C, P, P) float32 tensors by the names of patch_shards.ARRAYS (`valid` 0 or 1; `texture_linear` and
        `texture_srgb` in [0, 1]), `light` (9, 3) for wild patches, `region` (1, P, P) int64, `index`, `flipped`."""
        file, number = self._places[index]
        arrays, flipped = self._reader(file).arrays(number, empty=self._pool.empty), False
        if self.augment_seed is not None:
            seed = [0xA06E, self.augment_seed, int(self._epoch[0]), index]
            arrays, flipped = augmented(arrays, np.random.Generator(np.random.PCG64(seed)))
        item: dict[str, Any] = {"index": index, "flipped": flipped}
        for name, values in arrays.items():
            item[name] = _tensor(name, values, self._pool)
        return item

    def set_epoch(self, epoch: int) -> None:
        """Epoch of the augmentation, for this process and all workers."""
        self._epoch[0] = epoch

    def _reader(self, file: int) -> ShardReader:
        if self._owner != os.getpid():  # forked: the parent's handles are not ours to use or close
            self._readers, self._owner = {}, os.getpid()
        if file not in self._readers:
            self._readers[file] = ShardReader(self.folder / self._files[file])
        return self._readers[file]

    def close(self) -> None:
        """Close this process's files; they open again at the next read."""
        if self._owner == os.getpid():
            for reader in self._readers.values():
                reader.close()
        self._readers = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}, "_pool": ArrayPool()}


class EpochSampler(SamplerBase):
    """Indices of one epoch: shuffled over all shards by (seed, epoch), dealt out to ranks, resumable.

    Every rank gets the same number: the last few of an epoch are left out when they can't be shared evenly.
    """

    def __init__(self, count: int, *, seed: int, rank: int = 0, ranks: int = 1) -> None:
        if not 0 <= rank < ranks or count < ranks:
            raise ValueError(f"{rank=}, {ranks=}, {count=}")
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.epoch, self.start = 0, 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Next iteration: this epoch, leaving out the first `start` of this rank's indices (to resume)."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.count // self.ranks - self.start

    def __iter__(self) -> Iterator[int]:
        order = np.random.Generator(np.random.PCG64([0x0E9C, self.seed, self.epoch])).permutation(self.count)
        mine = order[: self.count // self.ranks * self.ranks][self.rank :: self.ranks]
        return iter(mine[self.start :].tolist())


def _tensor(name: str, values: np.ndarray, pool: ArrayPool) -> "torch.Tensor":
    import torch

    if name == "light":
        return torch.from_numpy(values)
    if values.ndim == 2:
        kind = np.int64 if name == "region" else np.float32
        if values.dtype != kind:
            stored, values = values, pool.empty(values.shape, kind)
            values[...] = stored
        return torch.from_numpy(values)[None]
    planes = pool.empty((values.shape[2], *values.shape[:2]), np.float32)
    one = pool.empty(values.shape[:2], values.dtype)
    for number, plane in enumerate(planes):
        if values.dtype == np.float16:  # unknown to cv2, which takes channels apart twice as fast
            plane[...] = values[..., number]
        else:
            plane[...] = cv2.extractChannel(values, number, one)
        if name in WHITE:
            plane /= np.float32(WHITE[name])
    return torch.from_numpy(planes)
