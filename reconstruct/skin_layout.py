"""Places on a face by name: landmarks of either side, lines in frontal coordinates, the pad of the chin."""

from collections.abc import Iterator

import numpy as np

from .skin_folds import roughen
from .skin_frame import SkinFrame

_RIGHT = {
    "outer": 36,
    "upper": 37,
    "inner": 39,
    "lower_in": 40,
    "lower_out": 41,
    "alar": 31,
    "corner": 48,
    "brow_in": 21,
    "brow_mid": 19,
    "brow_out": 17,
}
_LEFT = {
    "outer": 45,
    "upper": 44,
    "inner": 42,
    "lower_in": 47,
    "lower_out": 46,
    "alar": 35,
    "corner": 54,
    "brow_in": 22,
    "brow_mid": 24,
    "brow_out": 26,
}


def sides(frame: SkinFrame) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
    """The subject's right (-1) and left (+1) half, each with its landmarks by name, (3,) float64 mm."""
    for sign, table in ((-1.0, _RIGHT), (1.0, _LEFT)):
        yield sign, {name: frame.landmarks_mm[index] for name, index in table.items()}


def chin_point(frame: SkinFrame) -> np.ndarray:
    """(3,) float64: the pad of the chin."""
    lip, nose = frame.landmarks_mm[57], frame.landmarks_mm[33]
    # It lies below the lip by two thirds of the distance from nose to lower lip.
    return frame.lift((lip + 0.68 * (lip - nose))[None, :2])[0]


def middle_x(frame: SkinFrame) -> float:
    """x of the midline, mm."""
    return float(frame.landmarks_mm[[27, 28, 29, 33, 51]].mean(0)[0])


def lifted(frame: SkinFrame, *xy: np.ndarray | tuple[float, float]) -> np.ndarray:
    """(n, 3) float64: the foremost skin at n points given by their first two coordinates."""
    return frame.lift(np.array([np.asarray(p, np.float64)[:2] for p in xy]))


def line(frame: SkinFrame, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, wander_mm: float) -> np.ndarray:
    """(n, 3) float64: an irregular line on the skin through frontal coordinates `x`, `y` (k,) mm; see `roughen`."""
    return roughen(frame, frame.lift(np.column_stack([x, y])), rng, wander_mm)
