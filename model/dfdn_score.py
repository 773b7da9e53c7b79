"""Scores of a DFDN in training: how far its maps are from the truth of the validation patches, in millimetres."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dataset.torch_patches import PatchDataset
from .dfdn_data import on_device

if TYPE_CHECKING:
    import torch

BAND_MM = (1.0, 8.0)
"""Wavelengths that count: wrinkles and coarse pores; shorter ones a texture hardly resolves, longer ones are the
proxy's."""
PATCHES = 96
"""At most so many are looked at, evenly spaced."""
SHOWN = 6
BATCH = 8


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one kind of map over all valid texels."""

    mean_mm: float
    """Mean absolute error."""
    rms_mm: float
    band_mm: float
    """Root mean square error of wavelengths BAND_MM, under a Hann window per patch."""


@dataclass(frozen=True, eq=False)
class Scores:
    """zero: the empty map; pca: PDIM alone; fine: the result."""

    zero: Errors
    pca: Errors
    fine: Errors
    pictures: tuple[dict[str, np.ndarray], ...]
    """Of the first patches: texture (P, P, 3) sRGB, truth, pca, fine (P, P) mm, valid."""


def score(network: Any, patches: PatchDataset, device: "torch.device", texel_mm: float) -> Scores:
    """Evaluate; the network's mode is left as it was."""
    import torch

    rows = np.unique(np.linspace(0, len(patches) - 1, min(PATCHES, len(patches))).round().astype(int))
    shown = set(rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)].tolist())
    sums, pictures, training = {name: np.zeros(4) for name in ("zero", "pca", "fine")}, [], network.training
    texels = 0.0
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(rows), BATCH):
            chosen = rows[first : first + BATCH]
            batch = on_device(torch.utils.data.default_collate([patches[int(k)] for k in chosen]), device)
            valid, truth = batch["valid"], batch["displacement_mm"]
            seen = network.prepare(batch["texture_srgb"], valid, batch["region"])
            pca, fine, _ = network(seen, None, valid)
            texels += float(valid.sum())
            for name, found in (("zero", torch.zeros_like(truth)), ("pca", pca), ("fine", fine)):
                sums[name] += _sums(((found - truth) * valid)[:, 0].double().cpu().numpy(), texel_mm)
            for place, row in enumerate(chosen):
                if int(row) in shown:
                    maps = {"truth": truth, "pca": pca, "fine": fine, "valid": valid}
                    picture = {name: value[place, 0].cpu().numpy() for name, value in maps.items()}
                    picture["texture"] = batch["texture_srgb"][place].permute(1, 2, 0).cpu().numpy()
                    pictures.append(picture)
    network.train(training)
    found = {name: _errors(values, texels) for name, values in sums.items()}
    return Scores(found["zero"], found["pca"], found["fine"], tuple(pictures))


def band_power(error_mm: np.ndarray, texel_mm: float) -> tuple[float, float]:
    """(sum over patches of the windowed error's energy in BAND_MM, sum of the window's energy), of (B, P, P)."""
    side = error_mm.shape[-1]
    window = np.hanning(side)[:, None] * np.hanning(side)
    across, along = np.fft.fftfreq(side, texel_mm)[:, None], np.fft.rfftfreq(side, texel_mm)
    frequency = np.hypot(across, along)
    inside = (frequency >= 1 / BAND_MM[1]) & (frequency <= 1 / BAND_MM[0])
    twice = np.where((along > 0) & (along < 0.5 / texel_mm - 1e-9), 2.0, 1.0)  # the half that rfft leaves out
    power = np.abs(np.fft.rfft2(error_mm * window)) ** 2 * twice * inside
    return float(power.sum()) / side**2, float(np.square(window).sum()) * len(error_mm)


def _sums(error_mm: np.ndarray, texel_mm: float) -> np.ndarray:
    return np.array([np.abs(error_mm).sum(), np.square(error_mm).sum(), *band_power(error_mm, texel_mm)])


def _errors(sums: Iterable[float], texels: float) -> Errors:
    absolute, square, band, window = (float(value) for value in sums)
    whole = max(texels, 1.0)
    return Errors(absolute / whole, math.sqrt(square / whole), math.sqrt(band / max(window, 1e-12)))
