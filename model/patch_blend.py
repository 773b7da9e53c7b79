"""Overlapping patches to one map: predicted in batches, blended with the Gaussian of the released code.

The released code weights a patch of 256 texels with a separable Gaussian of sigma 50 texels; here sigma follows the
patch's side. Only valid texels carry weight. Batches that do not fit into memory are halved.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ..capture.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
SIGMA_SHARE = 50 / 256
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""Textures (B, P, P, 3) float32, masks (B, P, P) bool and labels (B, P, P) or None to displacement (B, P, P) mm."""


def patch_weight(side: int) -> np.ndarray:
    """(side, side) float32: separable Gaussian about the centre of a patch, 1 at its middle."""
    offset = np.arange(side) - (side - 1) / 2
    line = np.exp(-0.5 * (offset / (SIGMA_SHARE * side)) ** 2)
    return np.outer(line, line).astype(np.float32)


@dataclass
class PatchBlend:
    """Sums of weighted patches over a map of `size` x `size` texels."""

    size: int
    side: int
    total: np.ndarray = field(init=False)
    weight: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        # float64, so that the result does not depend on which patches came together in a batch
        self.total, self.weight = np.zeros((self.size, self.size)), np.zeros((self.size, self.size))
        self._window = patch_weight(self.side)

    def add(self, row: int, column: int, values: np.ndarray, share: np.ndarray) -> None:
        """Add a patch (side, side) at its top-left texel; share (side, side) in 0..1 scales its weight."""
        weight = self._window * share
        window = np.s_[row : row + self.side, column : column + self.side]
        self.total[window] += weight * values
        self.weight[window] += weight

    def result(self) -> np.ndarray:
        """(size, size) float32; 0 where no patch had weight."""
        return np.divide(self.total, self.weight, out=np.zeros_like(self.total), where=self.weight > 0).astype(
            np.float32
        )


def predict_places(
    predict: Predict,
    texture_srgb: np.ndarray,
    valid: np.ndarray,
    region: np.ndarray | None,
    places: Sequence[tuple[int, int]],
    side: int,
    blend: PatchBlend,
    share: np.ndarray,
    *,
    batch: int,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Predict the patches at `places` (row, column) and add them to `blend`; returns the batch size that fitted.

    texture_srgb (S, S, 3) float32; valid (S, S) bool; region (S, S) labels or None; share (S, S) float32 0..1: weight
    of this prediction. A batch that runs out of memory is halved, and `tell` says so. Raises UserError when not even
    one patch fits, or when the prediction is not finite.
    """

    def work(chosen: Sequence[tuple[int, int]]) -> np.ndarray:
        windows = [np.s_[row : row + side, column : column + side] for row, column in chosen]
        labels = None if region is None else np.stack([region[window] for window in windows])
        masks = np.stack([valid[window] for window in windows])
        return checked(predict(np.stack([texture_srgb[window] for window in windows]), masks, labels), masks)

    done = 0
    for chosen, found in in_batches(places, batch, work, tell):
        for (row, column), values in zip(chosen, found, strict=True):
            window = np.s_[row : row + side, column : column + side]
            blend.add(row, column, values, share[window] * valid[window])
        # the size that is kept is the one that went through; the last batch may be a rest
        done, batch = done + len(chosen), min(batch, len(chosen)) if done + len(chosen) < len(places) else batch
        progress(done, len(places))
    return batch


def in_batches(
    items: Sequence[Item], batch: int, work: Callable[[Sequence[Item]], Result], tell: Callable[[str], None]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """`work` of all items, `batch` at once: pairs of items and result. A batch without enough memory is halved.

    Raises UserError when not even one item fits.
    """
    done = 0
    while done < len(items):
        chosen = items[done : done + batch]
        try:
            result = work(chosen)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(chosen) == 1:
                raise UserError(
                    "not enough memory for a single patch; close other programs, or take a smaller model (preset fast "
                    "or small)"
                ) from error
            batch = len(chosen) // 2
            tell(f"out of memory with {len(chosen)} patches at once; going on with {batch}")
            continue
        done += len(chosen)
        yield chosen, result


def checked(found: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """`found`. Raises UserError for a prediction (B, P, P) of another shape than its masks, or with NaN in it."""
    if found.shape != masks.shape or not np.isfinite(found).all():
        raise UserError(
            f"the network gave {found.shape} patches with {int((~np.isfinite(found)).sum())} values that are no "
            f"numbers, expected {masks.shape} of finite millimetres; its weights are damaged: take another model"
        )
    return found


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, or torch's on a CPU or a GPU (plain RuntimeErrors there)."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
