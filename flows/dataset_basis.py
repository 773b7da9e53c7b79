"""The displacement basis of a dataset's training patches, and what it loses of held-out subjects."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.files import write_json
from ..dataset.dataset_index import DatasetIndex, read_split
from ..dataset.patch_shards import ShardReader
from ..dataset.pca_basis import PcaBasis, fit_pca, write_pca

PCA_FILE = "pca.npz"
BLOCK = 128
"""Patches in memory at a time: 32 MiB."""


def fit_basis(folder: Path, index: DatasetIndex, components: int, seed: int, progress: Callable[[str, int, int], None]):
    """PCA of the training patches; also pca.json with the oracle error on what was held out."""
    train = set(read_split(folder)["train"])
    shards = [shard for shard in index.shards if shard.kind == "scan"]

    def blocks(held_out: bool) -> Iterator[np.ndarray]:
        for shard in shards:
            with ShardReader(folder / shard.file) as reader:
                rows = [k for k, info in enumerate(reader.infos()) if (info.subject in train) != held_out]
                for first in range(0, len(rows), BLOCK):
                    yield reader.stacked("displacement_mm", rows[first : first + BLOCK])

    basis = fit_pca(lambda: blocks(False), components=components, seed=seed, progress=progress)
    write_pca(folder / PCA_FILE, basis, {shard.file: shard.sha256 for shard in shards})
    facts: dict[str, Any] = {"components": components, "patches": basis.patches, "explained": basis.explained.tolist()}
    if held_out := _oracle(basis, blocks(True), index.texel_mm):
        facts["held_out"] = held_out
    write_json(folder / "pca.json", facts)
    return basis


def train_count(folder: Path, index: DatasetIndex) -> int:
    """Patches of the training subjects."""
    train = set(read_split(folder)["train"])
    return sum(member.count for shard in index.shards for member in shard.members if member.subject in train)


def _oracle(basis: PcaBasis, blocks: Iterator[np.ndarray], texel_mm: float) -> dict[str, Any]:
    """What the best coefficients lose of patches: in all, and by wavelength. Empty when there are none."""
    side = len(basis.mean_mm)
    frequency = np.hypot(np.fft.fftfreq(side, texel_mm)[:, None], np.fft.rfftfreq(side, texel_mm))
    edges = np.geomspace(1 / (side * texel_mm), 0.5 / texel_mm, 9)
    number = np.digitize(frequency, edges).ravel()
    window = np.hanning(side)[:, None] * np.hanning(side)
    squares, errors, power, lost = 0.0, 0.0, np.zeros(8), np.zeros(8)
    count = 0
    for block in blocks:
        left = basis.patches_mm(basis.coefficients(block)) - block
        errors, squares = errors + float(np.square(left).sum()), squares + float(np.square(block).sum())
        count += block.size
        for total, values in ((power, block), (lost, left)):
            spectrum = (np.abs(np.fft.rfft2(values * window)) ** 2).sum(0)
            total += np.bincount(number, spectrum.ravel(), len(edges) + 1)[1:-1]
    if count == 0:
        return {}
    return {
        "rms_um": 1000 * float(np.sqrt(squares / count)),
        "oracle_error_um": 1000 * float(np.sqrt(errors / count)),
        "wavelength_mm": (1 / np.sqrt(edges[1:] * edges[:-1])).tolist(),
        "lost_share": np.sqrt(lost / np.maximum(power, 1e-30)).tolist(),
    }
