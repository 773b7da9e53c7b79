"""What Eq. 9 can be solved for: checks of slopes, mask, prior, mu and weights, with messages that say what to do."""

from dataclasses import dataclass

import numpy as np

from ..capture.errors import UserError

LEAST_WEIGHT = 1e-6
"""Of the largest weight. Where mu is 0 somewhere, smaller weights are raised to this, so that every pixel stays tied
to one with a prior."""

Weights = np.ndarray | tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True, eq=False)
class Problem:
    """Checked input of Eq. 9, all (H, W) in full size."""

    p: np.ndarray
    """float32, finite on the mask."""
    q: np.ndarray
    mask: np.ndarray
    """bool, at least one pixel."""
    z0: np.ndarray
    """float32 or float64, finite on the mask; holes under mu = 0 filled."""
    mu: float | np.ndarray
    weights: Weights

    @property
    def has_prior(self) -> np.ndarray | None:
        """(H, W) bool pixels with mu above 0, None when that is all of them."""
        return self.mu > 0 if isinstance(self.mu, np.ndarray) else None


def check_problem(
    p: np.ndarray, q: np.ndarray, mask: np.ndarray, z0: np.ndarray, mu: float | np.ndarray, weights: Weights
) -> Problem:
    """The input with one set of types. Raises UserError."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise UserError(f"mask has shape {mask.shape}, but expected (height, width)")
    mask = np.ascontiguousarray(mask if mask.dtype == np.bool_ else mask != 0)
    if not mask.any():
        raise UserError("mask is empty: no pixel to integrate; check how the mask was made")
    kept = {}
    for name, values in (("p", p), ("q", q), ("z0", z0)):
        array = np.asarray(values)
        if array.shape != mask.shape:
            raise UserError(f"{name} has shape {array.shape}, but the mask has {mask.shape}; crop or scale them alike")
        if not np.issubdtype(array.dtype, np.floating):
            array = array.astype(np.float64)
        kept[name] = array
    mu = _check_mu(mu, mask)
    for name in ("p", "q"):
        _raise_not_finite(name, kept[name], mask, "fill them in or take them out of the mask")
        kept[name] = np.asarray(kept[name], np.float32)
    z0 = kept["z0"] if kept["z0"].dtype in (np.float32, np.float64) else kept["z0"].astype(np.float64)
    needed = mask & (mu > 0) if isinstance(mu, np.ndarray) else mask
    _raise_not_finite("z0", z0, needed, "fill the holes, set mu = 0 there, or take them out of the mask")
    if isinstance(mu, np.ndarray) and not np.isfinite(z0[mask & (mu == 0)]).all():
        z0 = fill_holes(z0, needed)
    return Problem(kept["p"], kept["q"], mask, z0, mu, _check_weights(weights, mask, mu))


def check_islands(labels: np.ndarray, count: int, problem: Problem, boxes: np.ndarray) -> None:
    """Every island needs a prior somewhere. `boxes` (count, 4): left, top, width, height. Raises UserError."""
    prior = problem.has_prior
    if prior is None:
        return
    tied = np.bincount(labels[prior & problem.mask], minlength=count) > 0
    tied[0] = True
    if not tied.all():
        island = int(np.flatnonzero(~tied)[0])
        left, top, width, height = boxes[island][:4]
        raise UserError(
            f"{int((~tied).sum())} of {count - 1} islands of the mask have mu = 0 everywhere, so their depth is "
            f"undetermined; the first spans columns {left}..{left + width - 1}, rows {top}..{top + height - 1}. "
            "Give z0 and mu > 0 at some pixel there, or take it out of the mask"
        )


def fill_holes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`values` with the pixels that are not `known` filled from ever larger blocks around them (push-pull)."""
    weight = known.astype(np.float32)
    means = np.where(known, values, 0).astype(values.dtype)
    if min(known.shape) == 0 or known.all() or not known.any():
        return means
    side = tuple(-(-length // 2) for length in known.shape)
    if max(known.shape) <= 2:
        return np.where(known, values, (means.sum() / weight.sum()).astype(values.dtype))
    padded = [(0, 2 * half - length) for half, length in zip(side, known.shape, strict=True)]
    blocks = (side[0], 2, side[1], 2)
    total = np.pad(weight, padded).reshape(blocks).sum((1, 3))
    mean = np.pad(means, padded).reshape(blocks).sum((1, 3)) / np.maximum(total, 1)
    coarse = fill_holes(mean.astype(values.dtype), total > 0)
    enlarged = coarse.repeat(2, 0).repeat(2, 1)[: known.shape[0], : known.shape[1]]
    return np.where(known, values, enlarged)


def _check_mu(mu: float | np.ndarray, mask: np.ndarray) -> float | np.ndarray:
    if np.ndim(mu) == 0:
        value = float(mu)
        if not (np.isfinite(value) and value > 0):
            raise UserError(
                f"mu = {value:g}, but expected a finite number above 0 in px^-2, such as 1e-3; "
                "without a prior the depth's constant is undetermined"
            )
        return value
    mu = np.asarray(mu)
    if mu.shape != mask.shape:
        raise UserError(f"mu has shape {mu.shape}, but expected one number or the mask's {mask.shape}")
    mu = np.asarray(mu, np.float32)
    _raise_not_finite("mu", mu, mask, "give a number, 0 where there is no prior")
    least, most = float(mu.min(where=mask, initial=np.inf)), float(mu.max(where=mask, initial=-np.inf))
    if least < 0 or most <= 0:
        raise UserError(f"mu spans {least:g} to {most:g} on the mask, but expected >= 0, and above 0 somewhere")
    return mu


def _check_weights(weights: Weights, mask: np.ndarray, mu: float | np.ndarray) -> Weights:
    if weights is None:
        return None
    kept = []
    pair = isinstance(weights, tuple)
    if pair and len(weights) != 2:
        raise UserError(f"{len(weights)} arrays of edge weights, but expected two, to the right and downwards")
    names = ("edge weights to the right", "edge weights downwards") if pair else ("weights",)
    for name, values in zip(names, weights if pair else (weights,), strict=True):
        array = np.asarray(values)
        if array.shape != mask.shape:
            raise UserError(f"{name} have shape {array.shape}, but the mask has {mask.shape}")
        array = np.asarray(array, np.float32)
        _raise_not_finite(name, array, mask, "give a number >= 0, 0 where the slope says nothing")
        if array.min(where=mask, initial=np.inf) < 0:
            raise UserError(f"{name} are negative at some pixels of the mask, but expected >= 0")
        kept.append(array)
    if isinstance(mu, np.ndarray) and not mu.all(where=mask):
        least = np.float32(LEAST_WEIGHT * max(float(array.max(where=mask, initial=0)) for array in kept))
        kept = [np.maximum(array, least) for array in kept]
    return (kept[0], kept[1]) if pair else kept[0]


def _raise_not_finite(name: str, values: np.ndarray, where: np.ndarray, advice: str) -> None:
    wrong = ~np.isfinite(values)
    wrong &= where
    if wrong.any():
        row, column = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise UserError(
            f"{name}: {int(wrong.sum())} of {int(where.sum())} pixels are NaN or infinite, the first at "
            f"column {column}, row {row}; {advice}"
        )
