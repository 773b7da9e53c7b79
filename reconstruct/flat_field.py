"""Flat field and dark frame of each camera: how evenly lens and sensor answer to even light.

The flat field is the picture of a plain matt card in uniform light, smoothed: fall-off of lenses is smooth, dust and
noise are not meant. What is uneven in the light itself ends up in it as well, so the card should be lit as evenly as
can be. Each colour is 1 in the middle of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..capture.calibration_maps import DarkFrame, FlatField
from ..capture.errors import UserError
from .calibration_take import CalibrationTake

BLOCKS_ACROSS = 60
DEGREE = 6
"""Highest power of the polynomial in x and y; its even terms are the fall-off of a lens."""
MAP_WIDTH_PX = 300
DARKEST = 0.01
"""Mean share of the white level below which a card is not lit."""
CLIPPED = 0.98
UNEVEN = 0.03
"""Residual of the smooth fit (95th percentile, relative) from which the picture is no plain card."""
DARK_OUTLIER = 0.02


@dataclass(frozen=True, eq=False)
class FlatFit:
    """`field`, the picture's level in the middle per colour (3,), the fit's residual, and the loss in the corners."""

    field: FlatField
    level: tuple[float, float, float]
    residual: float
    corner_loss: float


def fit_flat_field(card: np.ndarray, view: str) -> FlatFit:
    """Flat field from one picture (H, W, 3) of the plain card in uniform light, shares of the white level.

    Raises UserError naming `view` when the picture is black, burnt out, or not filled by a plain card.
    """
    height, width = card.shape[:2]
    blocks = _block_means(card)
    level = np.median(blocks.reshape(-1, 3), axis=0)
    if level.min() < DARKEST:
        raise UserError(
            f"view {view}: the card is nearly black ({level.min():.3f} of white) in the flat take; is it lit?"
        )
    if float(np.percentile(blocks, 98)) > CLIPPED:
        raise UserError(f"view {view}: the card is burnt out in the flat take; lower the energy of the uniform light")
    terms = _terms(*_grid(blocks.shape[1], blocks.shape[0]))
    target_w = MAP_WIDTH_PX if width > MAP_WIDTH_PX else width
    target_h = max(1, round(height * target_w / width))
    fine = _terms(*_grid(target_w, target_h))
    middle = _terms(np.zeros(1), np.zeros(1))
    gain = np.empty((target_h, target_w, 3), np.float32)
    residuals, centre = [], []
    for colour in range(3):
        values = blocks[..., colour].ravel()
        weights, relative = np.ones(len(values)), np.zeros(len(values))
        solution = np.zeros(terms.shape[1])
        for _ in range(5):  # dust and other small things count less and less
            weighted = terms * (weights**2)[:, None]
            solution = np.linalg.solve(weighted.T @ terms, weighted.T @ values)
            relative = values / np.maximum(terms @ solution, 1e-6) - 1
            weights = 1 / (1 + (relative / max(2 * float(np.median(np.abs(relative))), 1e-4)) ** 2)
        at_middle = float((middle @ solution)[0])
        centre.append(at_middle)
        residuals.append(np.abs(relative))
        gain[..., colour] = (fine @ solution / at_middle).reshape(target_h, target_w)
    residual = float(np.percentile(np.concatenate(residuals), 95))
    if residual > UNEVEN:
        raise UserError(
            f"view {view}: the flat take shows no plain card ({100 * residual:.0f} % off a smooth fall-off): "
            "the card must fill the whole view and lie in even light"
        )
    corners = gain[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    red, green, blue = centre
    return FlatFit(FlatField(np.maximum(gain, 0.03)), (red, green, blue), residual, float(1 - corners))


def flat_fields(takes: Sequence[CalibrationTake]) -> tuple[dict[str, FlatFit], tuple[str, ...]]:
    """Flat field of every camera that a flat take shows in uniform light; warnings name the views without one."""
    fits: dict[str, FlatFit] = {}
    warnings: list[str] = []
    rig = takes[0].rig
    for take in takes:
        for shot in take.shots:
            if shot.polariser == "U" and shot.camera not in fits and len(shot.lights) > 0:
                fits[shot.camera] = fit_flat_field(take.linear(shot), shot.camera)
    for camera in rig.cameras:
        if camera.name not in fits:
            warnings.append(f"view {camera.name}: no uniform frame of the card, so no flat field")
    return fits, tuple(warnings)


def flattened(image: np.ndarray, field: FlatField | None) -> np.ndarray:
    """The image (H, W, 3) divided by a flat field; unchanged without one."""
    if field is None:
        return image
    height, width = image.shape[:2]
    gain = np.stack([field.channel(colour, height, width) for colour in range(3)], axis=2)
    return np.asarray(image / gain, np.float32)


def dark_frames(takes: Sequence[CalibrationTake]) -> tuple[dict[str, DarkFrame], tuple[str, ...]]:
    """Mean dark mosaic of every camera of the dark takes; a frame with light in it is left out, with a warning."""
    sums: dict[str, tuple[np.ndarray, int]] = {}
    warnings: list[str] = []
    for take in takes:
        for shot in take.shots:
            mosaic = take.mosaic(shot)
            if abs(float(mosaic.mean())) > DARK_OUTLIER:
                warnings.append(f"view {shot.camera}: {shot.stem} is not dark ({mosaic.mean():.3f} of white); left out")
                continue
            before, count = sums.get(shot.camera, (np.zeros_like(mosaic), 0))
            if before.shape != mosaic.shape:
                raise UserError(f"view {shot.camera}: dark frames of different sizes; shoot the dark take again")
            sums[shot.camera] = before + mosaic, count + 1
    return {name: DarkFrame((total / count).astype(np.float32)) for name, (total, count) in sums.items()}, tuple(
        warnings
    )


def _block_means(image: np.ndarray) -> np.ndarray:
    across = min(BLOCKS_ACROSS, image.shape[1])
    down = max(2, round(across * image.shape[0] / image.shape[1]))
    return cv2.resize(np.asarray(image, np.float32), (across, down), interpolation=cv2.INTER_AREA).astype(np.float64)


def _grid(across: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of pixel middles, -1 to 1 over the picture's width, and in proportion over its height."""
    columns = (2 * np.arange(across) + 1) / across - 1
    rows = ((2 * np.arange(down) + 1) / down - 1) * down / across
    x, y = np.meshgrid(columns, rows)
    return x.ravel(), y.ravel()


def _terms(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x**i * y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)], axis=1)
