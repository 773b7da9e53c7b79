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
    low = np.floor(np.asarray(lower_mm, np.float64).reshape(-1, 3) / cell_mm).astype(np.int64)
    high = np.floor(np.asarray(upper_mm, np.float64).reshape(-1, 3) / cell_mm).astype(np.int64)
    slots, items = _fill(low, high)
    return CellLists(cell_mm, slots, items)


@numba.njit(cache=True)
def _slot(slots, i, j, k):
    mask = np.uint64(len(slots) - 1)
    slot = np.int64(hash_cell(i, j, k, 0) & mask)
    while slots[slot, 4] > 0 and (slots[slot, 0] != i or slots[slot, 1] != j or slots[slot, 2] != k):
        slot = np.int64(np.uint64(slot + 1) & mask)
    return slot


@numba.njit(cache=True)
def _fill(low, high):
    slots = np.zeros((1024, 5), np.int64)
    used, entries = 0, 0
    for item in range(len(low)):
        for k in range(low[item, 2], high[item, 2] + 1):
            for j in range(low[item, 1], high[item, 1] + 1):
                for i in range(low[item, 0], high[item, 0] + 1):
                    s = _slot(slots, i, j, k)
                    if slots[s, 4] == 0:
                        slots[s, 0], slots[s, 1], slots[s, 2] = i, j, k
                        used += 1
                    slots[s, 4] += 1
                    entries += 1
                    if 2 * used > len(slots):
                        larger = np.zeros((2 * len(slots), 5), np.int64)
                        for old in range(len(slots)):
                            if slots[old, 4] > 0:
                                larger[_slot(larger, slots[old, 0], slots[old, 1], slots[old, 2])] = slots[old]
                        slots = larger
    # Ranges one after the other, then the items in ascending order; column 3 serves as the write position meanwhile.
    start = 0
    for s in range(len(slots)):
        slots[s, 3] = start
        start += slots[s, 4]
    items = np.empty(entries, np.int32)
    for item in range(len(low)):
        for k in range(low[item, 2], high[item, 2] + 1):
            for j in range(low[item, 1], high[item, 1] + 1):
                for i in range(low[item, 0], high[item, 0] + 1):
                    s = _slot(slots, i, j, k)
                    items[slots[s, 3]] = item
                    slots[s, 3] += 1
    for s in range(len(slots)):
        slots[s, 3] -= slots[s, 4]
    return slots, items


@numba.njit(cache=True, inline="always")
def find_cell(slots, cell_mm, x, y, z):
    """(first, last) range of items whose influence reaches the cell of a point."""
    s = _slot(slots, np.int64(np.floor(x / cell_mm)), np.int64(np.floor(y / cell_mm)), np.int64(np.floor(z / cell_mm)))
    return slots[s, 3], slots[s, 3] + slots[s, 4]
