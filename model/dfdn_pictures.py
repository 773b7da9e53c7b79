"""Pictures of a DFDN's progress: texture, truth, PDIM's map and the result side by side, with a scale in mm."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..capture.image_files import write_png
from .dfdn_score import Scores

LOW, MIDDLE, HIGH, NOTHING = (25, 60, 160), (245, 245, 245), (170, 25, 35), (120, 120, 120)
GAP, HEADER, BAR = 6, 22, 70
TITLES = ("texture", "truth", "PDIM", "result")


def height_colours(height_mm: np.ndarray, valid: np.ndarray, limit_mm: float) -> np.ndarray:
    """(P, P, 3) uint8: blue below, white at 0, red above; grey where not valid."""
    share = np.clip(height_mm / max(limit_mm, 1e-9), -1, 1)[..., None]
    low, middle, high = (np.array(colour, np.float64) for colour in (LOW, MIDDLE, HIGH))
    colours = middle + np.where(share < 0, -share * (low - middle), share * (high - middle))
    return np.where(valid[..., None] > 0, colours, NOTHING).round().astype(np.uint8)


def score_grid(scores: Scores) -> np.ndarray:
    """(H, W, 3) uint8: a row per patch, columns TITLES, and the colour scale."""
    import cv2

    pictures = scores.pictures
    side = len(pictures[0]["truth"])
    limit = max(float(np.quantile(np.abs(np.stack([p["truth"] for p in pictures])), 0.995)), 1e-3)
    rows = []
    for picture in pictures:
        texture = np.rint(255 * np.clip(picture["texture"], 0, 1)).astype(np.uint8)
        maps = [height_colours(picture[name], picture["valid"], limit) for name in ("truth", "pca", "fine")]
        rows.append(_joined([texture, *maps], 1))
    grid = _joined(rows, 0)
    canvas = np.full((len(grid) + HEADER, grid.shape[1] + BAR, 3), 255, np.uint8)
    canvas[HEADER:, : grid.shape[1]] = grid
    ramp = np.linspace(limit, -limit, len(grid))[:, None] * np.ones((1, 14))
    canvas[HEADER:, grid.shape[1] + GAP : grid.shape[1] + GAP + 14] = height_colours(ramp, np.ones_like(ramp), limit)

    def write(text: str, x: int, y: int) -> None:
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)

    for k, title in enumerate(TITLES):
        write(title, k * (side + GAP) + 4, 15)
    write("mm", grid.shape[1] + GAP, 15)
    for share, at in ((1.0, HEADER + 10), (0.0, HEADER + len(grid) // 2 + 4), (-1.0, HEADER + len(grid) - 4)):
        write(f"{share * limit:+.2f}" if share else "0", grid.shape[1] + GAP + 18, at)
    return canvas


def write_score_grid(path: Path, scores: Scores) -> None:
    """PNG of `score_grid`."""
    write_png(path, score_grid(scores))


def _joined(images: Sequence[np.ndarray], axis: int) -> np.ndarray:
    gap = np.full((images[0].shape[0], GAP, 3) if axis else (GAP, images[0].shape[1], 3), 255, np.uint8)
    out = [part for image in images for part in (image, gap)][:-1]
    return np.concatenate(out, axis)
