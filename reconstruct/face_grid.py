"""Topology of the left half head: a grid of rows and columns, slit at eye and mouth, with rims and a closed mouth bag.

Rows run from a ring about the crown down to the neck cut, columns from the midline of the face to the midline of the
back. The half is mirrored into the whole head by `mirrored`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

COLUMNS = 136
"""Columns 0..COLUMNS: column 0 is the front midline and column COLUMNS the back midline."""
COLUMN_CHEEK, COLUMN_EAR, COLUMN_NAPE = 64, 100, 124
ROWS = 206
ROW_HAIRLINE, ROW_GLABELLA, ROW_EYE, ROW_NOSE_BASE, ROW_MOUTH, ROW_MENTON, ROW_NECK = 20, 47, 70, 121, 144, 180, 195
ROW_CREASE = ROW_EYE - 8
ROW_LIP_UPPER, ROW_LIP_LOWER = ROW_MOUTH - 9, ROW_MOUTH + 10
EYE_INNER, EYE_OUTER = 22, 59
"""Columns of the two corners of the eye."""
MOUTH_CORNER = 30
CAP_RINGS = (2, 4, 8)
"""Rings between row 0 and the crown: every 2nd, 4th, 8th column."""
LID_RINGS, BAG_RINGS = 5, 11
"""Rings behind the lid margin; rings behind the lip line, the last of which closes the mouth bag."""


@dataclass(frozen=True, slots=True)
class HalfGrid:
    """Vertex numbering and triangles of the half head (subject's left)."""

    count: int
    triangles: np.ndarray
    """(T, 3) counter-clockwise from outside."""
    midplane: np.ndarray
    """(count,) bool: vertices at x = 0, shared by both halves."""
    back_seam: np.ndarray
    """(count,) bool: vertices on the back midline (cap included), where the texture is cut."""
    upper: np.ndarray
    """(ROWS, COLUMNS + 1) vertex of each grid point; slit rows: the copy above the slit."""
    lower: np.ndarray
    """As `upper`, slit rows: the copy below the slit."""
    cap: tuple[np.ndarray, ...]
    """Vertices of each ring of CAP_RINGS, then the crown vertex (1,)."""
    lid: np.ndarray
    """(LID_RINGS + 1, L) closed loops about the eye, ring 0 the lid margin; inner corner, upper, outer, lower."""
    bag_upper: np.ndarray
    """(BAG_RINGS + 1, MOUTH_CORNER + 1) from the upper lip line inwards; column MOUTH_CORNER is the corner."""
    bag_lower: np.ndarray
    """As `bag_upper` from the lower lip line; shares the corner column and the last ring."""

    @property
    def skin_count(self) -> int:
        """Vertices of grid and slit copies; cap, rims and bag follow."""
        return int(self.lower.max()) + 1


@lru_cache(maxsize=1)
def half_grid() -> HalfGrid:
    """The topology, the same for every face."""
    columns = COLUMNS + 1
    upper = np.arange(ROWS * columns).reshape(ROWS, columns)
    lower, count = upper.copy(), ROWS * columns

    def fresh(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal count
        block = np.arange(count, count + int(np.prod(shape))).reshape(shape)
        count += block.size
        return block

    eye = slice(EYE_INNER + 1, EYE_OUTER)
    lower[ROW_EYE, eye] = fresh((EYE_OUTER - EYE_INNER - 1,))
    lower[ROW_MOUTH, :MOUTH_CORNER] = fresh((MOUTH_CORNER,))
    cap = (*(fresh((COLUMNS // step + 1,)) for step in CAP_RINGS), fresh((1,)))
    margin = np.concatenate([upper[ROW_EYE, EYE_INNER : EYE_OUTER + 1], lower[ROW_EYE, eye][::-1]])
    lid = np.concatenate([margin[None], fresh((LID_RINGS, len(margin)))])
    bag_upper = np.concatenate([upper[None, ROW_MOUTH, : MOUTH_CORNER + 1], fresh((BAG_RINGS, MOUTH_CORNER + 1))])
    bag_lower = bag_upper.copy()
    bag_lower[0, :MOUTH_CORNER] = lower[ROW_MOUTH, :MOUTH_CORNER]
    bag_lower[1:-1, :MOUTH_CORNER] = fresh((BAG_RINGS - 1, MOUTH_CORNER))

    parts = [_quads(lower[:-1, :-1], upper[1:, :-1], upper[1:, 1:], lower[:-1, 1:])]
    parts += _cap_triangles(upper[0], cap)
    following = np.roll(lid, -1, axis=1)
    parts.append(_quads(lid[:-1], lid[1:], following[1:], following[:-1]))
    parts.append(_quads(bag_upper[:-1, :-1], bag_upper[1:, :-1], bag_upper[1:, 1:], bag_upper[:-1, 1:]))
    # Split the other way than above: the last ring's corner lies straight between its neighbours in the texture.
    parts.append(_quads(bag_lower[:-1, :-1], bag_lower[:-1, 1:], bag_lower[1:, 1:], bag_lower[1:, :-1]))

    midplane, back_seam = np.zeros(count, bool), np.zeros(count, bool)
    for loop in (upper[:, 0], lower[:, 0], bag_upper[:, 0], bag_lower[:, 0], *(ring[:1] for ring in cap)):
        midplane[loop] = True
    for loop in (upper[:, -1], *(ring[-1:] for ring in cap)):
        midplane[loop] = back_seam[loop] = True
    back_seam[cap[-1]] = False
    return HalfGrid(count, np.concatenate(parts), midplane, back_seam, upper, lower, cap, lid, bag_upper, bag_lower)


def _quads(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Two triangles per quad with corners a, b, c, d counter-clockwise."""
    a, b, c, d = (v.ravel() for v in (a, b, c, d))
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])


def _cap_triangles(first: np.ndarray, cap: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Rings that halve their columns towards the crown, closed by a fan."""
    parts, fine = [], first
    for coarse in cap[:-1]:
        a, b, left, middle, right = coarse[:-1], coarse[1:], fine[:-2:2], fine[1::2], fine[2::2]
        parts += [np.stack(t, -1) for t in ((a, left, middle), (a, middle, b), (b, middle, right))]
        fine = coarse
    parts.append(np.stack([np.broadcast_to(cap[-1], fine.size - 1), fine[:-1], fine[1:]], -1))
    return parts


@dataclass(frozen=True, slots=True)
class Mirroring:
    """How the whole head follows from its left half."""

    half: np.ndarray
    """(N,) half vertex behind each whole vertex: first the left half, then the right without the midplane."""
    sign: np.ndarray
    """(N,) +1 for the left half, -1 for the mirrored."""
    partner: np.ndarray
    """(count,) whole vertex of the right half for each half vertex (itself on the midplane)."""
    triangles: np.ndarray
    """(T, 3) of the whole head, left half first."""


@lru_cache(maxsize=1)
def mirrored() -> Mirroring:
    """Whole-head numbering: half vertex k is whole vertex k; its mirror image is `partner[k]`."""
    grid = half_grid()
    off = np.flatnonzero(~grid.midplane)
    partner = np.arange(grid.count)
    partner[off] = grid.count + np.arange(len(off))
    half = np.concatenate([np.arange(grid.count), off])
    sign = np.concatenate([np.ones(grid.count), -np.ones(len(off))])
    return Mirroring(half, sign, partner, np.concatenate([grid.triangles, partner[grid.triangles][:, ::-1]]))


def whole_vectors(left: np.ndarray, right: np.ndarray | None = None) -> np.ndarray:
    """Vectors (N, 3) of the whole head from those of the left half and, mirrored, of the right (both (count, 3)).

    `right` is given in the mirrored frame (as if it were a left half); without it the head is symmetric. On the
    midplane the two sides agree by their mean, and x follows from the difference.
    """
    grid, mirror = half_grid(), mirrored()
    flip = np.array([-1.0, 1.0, 1.0])
    right = left if right is None else right
    whole = np.concatenate([left, (right * flip)[~grid.midplane]])
    whole[: grid.count][grid.midplane] = 0.5 * (left + right * flip)[grid.midplane]
    return whole[: len(mirror.half)]
