"""Batches of patches for training: numbered from 0 without end, the same for the same number, on any device.

That a batch follows from its number alone is what makes a resumed run equal an uninterrupted one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..dataset.dataset_index import INDEX, DatasetIndex
from ..dataset.face_areas import Area
from ..dataset.pca_basis import PcaBasis, read_pca
from ..dataset.torch_patches import EpochSampler, PatchDataset
from .dfdn_input import srgb_from_linear_torch

if TYPE_CHECKING:
    import torch

PCA_FILE = "pca.npz"
AREAS = ("all", Area.UPPER.name, Area.LOWER.name)
USED = ("displacement_mm", "texture_srgb", "valid", "region", "position_mm", "normal", "albedo_linear", "light")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A dataset opened for training."""

    folder: Path
    index: DatasetIndex
    basis: PcaBasis
    train: PatchDataset
    check: PatchDataset
    """Patches of the validation subjects; those of training where there are none."""
    held_out: bool
    dataset_sha256: str
    pca_sha256: str


def area_of(name: str) -> Area | None:
    """None for "all". Raises UserError for unknown names."""
    if name not in AREAS:
        raise UserError(f"area {name!r}: allowed are {', '.join(AREAS)}")
    return None if name == "all" else Area[name]


def open_training_set(folder: Path, area: str, seed: int, augment: bool, verify: bool = True) -> TrainingSet:
    """Scan patches of a dataset. Raises UserError when it is damaged, has no basis, or one of another patch size."""
    from contextlib import suppress

    where, augment_seed = area_of(area), seed if augment else None
    train = PatchDataset(folder, "train", area=where, verify=verify, augment_seed=augment_seed)
    basis = read_pca(folder / PCA_FILE)
    if len(basis.mean_mm) != train.index.patch_px:
        raise UserError(
            f"{folder / PCA_FILE}: a basis of {len(basis.mean_mm)} texel patches, the dataset's have "
            f"{train.index.patch_px}; make it again with `mesoface dataset pca`"
        )
    check, held_out = PatchDataset(folder, "train", area=where, verify=False), False
    with suppress(UserError):  # a small dataset may have no validation subjects
        check, held_out = PatchDataset(folder, "val", area=where, verify=False), True
    return TrainingSet(
        folder, train.index, basis, train, check, held_out, sha256_file(folder / INDEX), sha256_file(folder / PCA_FILE)
    )


def open_wild(folder: Path, like: DatasetIndex, area: str, seed: int, augment: bool) -> PatchDataset:
    """Photographs' patches for the appearance loss. Raises UserError when they don't fit the scans' dataset."""
    wild = PatchDataset(folder, "train", kind="wild", area=area_of(area), augment_seed=seed if augment else None)
    for name in ("face_model", "map_size", "patch_px"):
        if getattr(wild.index, name) != getattr(like, name):
            raise UserError(
                f"{folder}: {name} is {getattr(wild.index, name)!r}, that of the scans' dataset "
                f"{getattr(like, name)!r}; a texel must mean the same in both: build one of them again"
            )
    return wild


class BatchStream:
    """Batches of one split for one rank."""

    def __init__(
        self, patches: PatchDataset, batch: int, *, seed: int, rank: int = 0, ranks: int = 1, workers: int = 0
    ) -> None:
        import torch
        from torch.utils.data import DataLoader

        if len(patches) < ranks:
            raise UserError(f"{patches.folder}: {len(patches)} patches for {ranks} processes; use fewer processes")
        self.patches = patches
        self.sampler = EpochSampler(len(patches), seed=seed, rank=rank, ranks=ranks)
        self.batch = min(batch, len(self.sampler))
        self.per_epoch = len(self.sampler) // self.batch
        self.loader: Any = DataLoader(
            patches, self.batch, sampler=self.sampler, drop_last=True, num_workers=workers,
            pin_memory=torch.cuda.is_available(), persistent_workers=workers > 0,
            generator=torch.Generator(),  # its own: a loader must not draw from the training's random numbers
        )  # fmt: skip

    def batches(self, first: int) -> Iterator[dict[str, Any]]:
        """Batch `first`, first + 1, ... without end."""
        while True:
            epoch, at = divmod(first, self.per_epoch)
            self.patches.set_epoch(epoch)
            self.sampler.set_epoch(epoch, at * self.batch)
            for batch in self.loader:
                yield batch
                first += 1


def on_device(batch: dict[str, Any], device: "torch.device") -> dict[str, "torch.Tensor"]:
    """Tensors of a batch on a device; a scan's linear texture becomes sRGB, as photographs come."""
    moved = {
        name: value.to(device, non_blocking=True)
        for name, value in batch.items()
        if name in (*USED, "texture_linear") and not isinstance(value, list)
    }
    if "texture_linear" in moved:
        moved["texture_srgb"] = srgb_from_linear_torch(moved.pop("texture_linear"))
    return moved


def parts(batch: dict[str, "torch.Tensor"], count: int) -> Iterator[dict[str, "torch.Tensor"]]:
    """A batch in `count` parts of nearly the same size."""
    import torch

    size = len(batch["valid"])
    for rows in torch.arange(size).tensor_split(min(count, size)):
        yield {name: value[int(rows[0]) : int(rows[-1]) + 1] for name, value in batch.items()}
