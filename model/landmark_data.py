"""Training pictures of the landmark network: fast portraits, stored in shards, and the crops that training cuts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..capture.errors import UserError

PICTURE_PX = 160
CROP_PX = 112
"""Side of the network's input."""
FACE_SHARE = 0.70
"""Longer side of the landmarks' box over the side of a well-placed crop."""
SHARD = 1000
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

MIRRORED = np.concatenate([
    np.arange(16, -1, -1), np.arange(26, 16, -1), np.arange(27, 31), np.arange(35, 30, -1),
    [45, 44, 43, 42, 47, 46], [39, 38, 37, 36, 41, 40], np.arange(54, 47, -1), np.arange(59, 54, -1),
    np.arange(64, 59, -1), np.arange(67, 64, -1),
])  # fmt: skip
"""Which landmark of the mirrored face each landmark becomes."""


@dataclass(frozen=True, slots=True)
class LandmarkPictures:
    """Grey pictures with their landmarks."""

    grey: np.ndarray
    """(N, PICTURE_PX, PICTURE_PX) uint8 sRGB luma."""
    points_px: np.ndarray
    """(N, 68, 2) float32 column, row."""
    visible: np.ndarray
    """(N, 68) bool."""


def grey_of(image_srgb: np.ndarray) -> np.ndarray:
    """(H, W) float32 luma in [0, 1] of (H, W, 3) float32 sRGB."""
    return image_srgb @ _GREY


def render_pictures(
    models: list[str],
    count: int,
    folder: Path,
    *,
    seed: int = 0,
    people: int = 12,
    progress: Callable[[int], None] = lambda done: None,
) -> LandmarkPictures:
    """Render `count` pictures of the face models named, in turn, or read those that `folder` has from an earlier run.

    Picture i depends on (seed, i) and the models alone, so an interrupted run continues where it stopped and more
    pictures can be added later. Raises UserError for a folder made with other models or another seed.
    """
    from ..reconstruct.fast_portrait import FastPortraitOptions, FastPortraits, fast_portraits

    folder.mkdir(parents=True, exist_ok=True)
    recipe = f"models={'|'.join(Path(m).name for m in models)} seed={seed} people={people} size={PICTURE_PX}"
    makers: list[FastPortraits] = []
    parts = []
    for first in range(0, count, SHARD):
        file = folder / f"pictures_{first // SHARD:04d}.npz"
        if not file.exists():
            if not makers:
                options = FastPortraitOptions(size_px=PICTURE_PX, detail=1.0, face_share=(0.42, 0.68), shift=0.08)
                makers = [fast_portraits(name, options, people) for name in models]
            shard = _render_shard(makers, seed, first, lambda done, at=first: progress(min(count, at + done)))
            partial = file.with_suffix(".partial.npz")
            np.savez(partial, recipe=recipe, grey=shard.grey, points_px=shard.points_px, visible=shard.visible)
            partial.replace(file)
        try:
            with np.load(file, allow_pickle=False) as data:
                found = str(data["recipe"])
                parts.append(LandmarkPictures(data["grey"], data["points_px"], data["visible"]))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise UserError(f"{file}: no picture shard, or a damaged one ({error}); delete it and run again") from error
        if found != recipe:
            raise UserError(
                f"{file}: rendered with '{found}', this run wants '{recipe}'. Give another --out folder, or delete it."
            )
        progress(min(count, first + SHARD))
    return LandmarkPictures(
        np.concatenate([p.grey for p in parts])[:count],
        np.concatenate([p.points_px for p in parts])[:count],
        np.concatenate([p.visible for p in parts])[:count],
    )


def _render_shard(makers: list, seed: int, first: int, progress: Callable[[int], None]) -> LandmarkPictures:
    grey = np.zeros((SHARD, PICTURE_PX, PICTURE_PX), np.uint8)
    points, visible = np.zeros((SHARD, 68, 2), np.float32), np.zeros((SHARD, 68), bool)
    for k in range(SHARD):
        rng = np.random.Generator(np.random.PCG64([0x1A4D, seed, first + k]))
        made = makers[(first + k) % len(makers)].draw(rng)
        grey[k] = np.rint(grey_of(made.image_srgb) * 255)
        points[k], visible[k] = made.landmarks_px, made.visible
        if k % 50 == 49:
            progress(k + 1)
    return LandmarkPictures(grey, points, visible)


def crop_matrix(centre_px: np.ndarray, side_px: float, roll_rad: float = 0.0, mirror: bool = False) -> np.ndarray:
    """(2, 3) float64: pixels of a picture to pixels of the CROP_PX crop of a turned square."""
    scale = CROP_PX / side_px
    cosine, sine = scale * np.cos(roll_rad), scale * np.sin(roll_rad)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    if mirror:
        turn[0] *= -1
    middle = (CROP_PX - 1) / 2
    return np.column_stack([turn, middle - turn @ np.asarray(centre_px, np.float64)])


def face_square(points_px: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the well-placed crop of a face with these landmarks (68, 2)."""
    low, high = points_px.min(0), points_px.max(0)
    return (low + high) / 2, float((high - low).max()) / FACE_SHARE


def cut(grey: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(CROP_PX, CROP_PX) float32 of a grey picture; beyond its edges the edge is repeated."""
    import cv2

    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    source = grey
    if scale < 0.67:  # reduce the picture first, so that fine texture does not alias
        shrink = max(scale, 8 / min(grey.shape[:2]))
        size = (max(8, round(grey.shape[1] * shrink)), max(8, round(grey.shape[0] * shrink)))
        source = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        ratio = np.array([grey.shape[1] / size[0], grey.shape[0] / size[1]])
        matrix = np.column_stack([matrix[:, :2] * ratio, matrix[:, 2] + matrix[:, :2] @ (0.5 * ratio - 0.5)])
    return cv2.warpAffine(
        source, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float32)


def standardised(crop: np.ndarray) -> np.ndarray:
    """A crop with mean 0 and standard deviation 1 over its middle, clipped to +-3."""
    edge = CROP_PX // 6
    middle = crop[..., edge:-edge, edge:-edge]
    mean, spread = middle.mean((-2, -1), keepdims=True), middle.std((-2, -1), keepdims=True)
    return np.clip((crop - mean) / np.maximum(spread, 1e-3 * max(1.0, float(crop.max()))), -3, 3).astype(np.float32)


def training_batch(
    pictures: LandmarkPictures, rows: np.ndarray, rng: np.random.Generator, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random crops of pictures `rows` (B,): (B, 1, C, C) float32, points (B, 68, 2) in crop px, weights (B, 68).

    Half are mirrored. `spread` scales how far a crop lies from the well-placed one. Hidden points weigh 0.4: their
    place follows from the rest of the face; points outside the crop weigh nothing.
    """
    crops = np.empty((len(rows), 1, CROP_PX, CROP_PX), np.float32)
    points, weights = np.empty((len(rows), 68, 2), np.float32), np.empty((len(rows), 68), np.float32)
    for k, row in enumerate(rows):
        truth = pictures.points_px[row].astype(np.float64)
        centre, side = face_square(truth)
        centre = centre + rng.normal(0, 0.045 * spread * side, 2)
        side *= np.exp(rng.normal(0.02, 0.10 * spread))
        mirror = bool(rng.random() < 0.5)
        matrix = crop_matrix(centre, side, float(rng.normal(0, 0.16 * spread)), mirror)
        crop = cut(pictures.grey[row], matrix)
        if rng.random() < 0.3:
            crop = 255 * (np.clip(crop, 0, 255) / 255) ** np.exp(rng.normal(0, 0.3))
        crops[k, 0] = standardised(crop)
        placed = truth @ matrix[:, :2].T + matrix[:, 2]
        seen = pictures.visible[row]
        if mirror:
            placed, seen = placed[MIRRORED], seen[MIRRORED]
        inside = ((placed > -2) & (placed < CROP_PX + 1)).all(1)
        points[k], weights[k] = placed, np.where(seen, 1.0, 0.4) * inside
    return crops, points, weights
