"""Small things on a surface (pores, hairs, fold segments) found by the 3-D cell that a surface point lies in.

Every item is entered in all cells that its box of influence touches, so that a point needs a single look-up.
Working in space and not in the map makes a pore that crosses a UV seam whole, and its size true in millimetres.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .surface_noise import hash_cell


@dataclass(frozen=True, slots=True)
class CellLists:
    """Open-addressing hash table from cells to ranges of `items`."""

    cell_mm: float
    slots: np.ndarray
    """(C, 5) int64: cell x, y, z, first entry, number of entries (0: free slot); C a power of two."""
    items: np.ndarray
    """(L,) int32 item indices, ascending within a cell."""


def build_cells(lower_mm: np.ndarray, upper_mm: np.ndarray, cell_mm: float) -> CellLists:
    """Cell lists of items whose boxes of influence are `lower_mm`..`upper_mm`, both (K, 3)."""
    if len(lower_mm) == 0:
        return CellLists(cell_mm, np.zeros((2, 5), np.int64), np.zeros(0, np.int32))
    low = np.floor(np.asarray(lower_mm, np.float64) / cell_mm).astype(np.int64)
    high = np.floor(np.asarray(upper_mm, np.float64) / cell_mm).astype(np.int64)
    spans = high - low + 1
    counts = spans.prod(1)
    item = np.repeat(np.arange(len(low)), counts)
    within = np.arange(len(item)) - np.repeat(np.cumsum(counts) - counts, counts)
    span = spans[item]
    cell = low[item] + np.stack(
        [within % span[:, 0], within // span[:, 0] % span[:, 1], within // (span[:, 0] * span[:, 1])], 1
    )
    key = ((cell[:, 2] + 2**20) * 2**21 + cell[:, 1] + 2**20) * 2**21 + cell[:, 0] + 2**20
    order = np.argsort(key, kind="stable")
    key, item = key[order], item[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    lengths = np.diff(np.r_[first, len(key)])
    capacity = 1 << int(np.ceil(np.log2(2 * len(first) + 2)))
    slots = np.zeros((capacity, 5), np.int64)
    _insert(cell[order][first], first, lengths, slots)
    return CellLists(cell_mm, slots, item.astype(np.int32))


@numba.njit(cache=True)
def _insert(cells, first, lengths, slots):
    mask = np.uint64(len(slots) - 1)
    for c in range(len(cells)):
        slot = hash_cell(cells[c, 0], cells[c, 1], cells[c, 2], 0) & mask
        while slots[np.int64(slot), 4] > 0:
            slot = (slot + np.uint64(1)) & mask
        s = np.int64(slot)
        slots[s, 0], slots[s, 1], slots[s, 2] = cells[c, 0], cells[c, 1], cells[c, 2]
        slots[s, 3], slots[s, 4] = first[c], lengths[c]


@numba.njit(cache=True, inline="always")
def find_cell(slots, cell_mm, x, y, z):
    """(first, last) range of items whose influence reaches the cell of a point."""
    i, j, k = np.int64(np.floor(x / cell_mm)), np.int64(np.floor(y / cell_mm)), np.int64(np.floor(z / cell_mm))
    mask = np.uint64(len(slots) - 1)
    slot = np.int64(hash_cell(i, j, k, 0) & mask)
    first, last = 0, 0
    while slots[slot, 4] > 0:
        if slots[slot, 0] == i and slots[slot, 1] == j and slots[slot, 2] == k:
            first, last = slots[slot, 3], slots[slot, 3] + slots[slot, 4]
            break
        slot = np.int64(np.uint64(slot + 1) & mask)
    return first, last
