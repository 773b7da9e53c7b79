"""Training of the landmark network: seeded, resumable, on pictures rendered by the fast portraits."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from .landmark_data import CROP_PX, LandmarkPictures, crop_matrix, cut, face_square, standardised, training_batch
from .landmark_net import CELLS, STRIDE_PX, build_network, predict, read_out, save_network

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "landmarks.npz"


@dataclass(frozen=True, slots=True)
class LandmarkTraining:
    """How to train."""

    images: int = 24000
    epochs: int = 8
    batch: int = 32
    learning_rate: float = 3e-3
    seed: int = 0
    smoothing: float = 0.995
    """Per step, of the running mean of the weights that is kept as the result."""

    def __post_init__(self) -> None:
        for name, low in (("images", 64), ("epochs", 1), ("batch", 2)):
            if getattr(self, name) < low:
                raise UserError(f"training: {name} is {getattr(self, name)}, allowed are {low} and more")


def train_landmarks(
    pictures: LandmarkPictures,
    folder: Path,
    training: LandmarkTraining = LandmarkTraining(),
    *,
    about: str = "",
    progress: Callable[[int, int, float], None] = lambda step, steps, error_px: None,
    pause: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Train, or continue from the checkpoint in `folder`; returns the file of weights.

    progress: called with the finished steps, all steps and the running error in crop pixels. pause: asked now and
    then; when true a checkpoint is written and None returned. Raises UserError for a checkpoint of other settings.
    """
    import torch

    steps_per_epoch = max(1, len(pictures.grey) // training.batch)
    steps = steps_per_epoch * training.epochs
    torch.manual_seed(training.seed)
    network, smooth = build_network(), build_network()
    smooth.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, steps, pct_start=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    file, first = folder / CHECKPOINT, 0
    if file.exists():
        first = _resume(file, training, network, smooth, optimizer, schedule)
    network.train()
    running = float("nan")
    for step in range(first, steps):
        rng = np.random.Generator(np.random.PCG64([0x7EA1, training.seed, step]))
        order = np.random.Generator(np.random.PCG64([0x0D, training.seed, step // steps_per_epoch])).permutation(
            len(pictures.grey)
        )
        at = step % steps_per_epoch * training.batch
        error = _step(network, pictures, order[at : at + training.batch], rng, optimizer)
        schedule.step()
        keep = min(training.smoothing, step / (step + 10))
        with torch.no_grad():
            for old, new in zip(smooth.state_dict().values(), network.state_dict().values(), strict=True):
                old.lerp_(new, 1 - keep) if old.dtype.is_floating_point else old.copy_(new)
        running = error if np.isnan(running) else 0.98 * running + 0.02 * error
        if step % 10 == 9 or step == steps - 1:
            progress(step + 1, steps, running)
        stopping = step % 10 == 9 and pause()
        if step % 200 == 199 or step == steps - 1 or stopping:
            _save(file, training, step + 1, network, smooth, optimizer, schedule)
        if stopping:
            return None
    save_network(smooth, folder / WEIGHTS, about)
    return folder / WEIGHTS


def _step(
    network: Any, pictures: LandmarkPictures, rows: np.ndarray, rng: np.random.Generator, optimizer: Any
) -> float:
    """One step of optimisation; the mean error of visible points in crop pixels."""
    import torch

    crops, points, weights = training_batch(pictures, rows, rng)
    fakes = len(rows) // 8
    if fakes:
        crops[:fakes] = _not_faces(pictures, rows[:fakes], rng)
        weights[:fakes] = 0
    is_face = torch.from_numpy((np.arange(len(rows)) >= fakes).astype(np.float32))
    truth, weight = torch.from_numpy(points), torch.from_numpy(weights)
    maps, logits = network(torch.from_numpy(crops).contiguous(memory_format=torch.channels_last))
    found, _ = read_out(maps)
    away = (found - truth).abs().sum(-1)
    cell = STRIDE_PX * torch.arange(CELLS) + (STRIDE_PX - 1) / 2
    # A bump of one cell's width about the truth: keeps the maps compact, which the mean alone would not.
    x = torch.exp(-0.5 * ((cell - truth[..., :1]) / STRIDE_PX) ** 2)
    y = torch.exp(-0.5 * ((cell - truth[..., 1:]) / STRIDE_PX) ** 2)
    bump = (y[..., :, None] * x[..., None, :]).flatten(2)
    bump = bump / bump.sum(-1, keepdim=True).clamp(min=1e-6)
    entropy = -(bump * torch.log_softmax(maps.flatten(2), -1)).sum(-1)
    total = weight.sum().clamp(min=1)
    loss = (weight * (away + 0.3 * entropy)).sum() / total
    loss = loss + 0.5 * torch.nn.functional.binary_cross_entropy_with_logits(logits, is_face)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    with torch.no_grad():
        return float((weight * (found - truth).norm(dim=-1)).sum() / total)


def _not_faces(pictures: LandmarkPictures, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crops (B, 1, C, C) that hold no face, or one far off the middle, far too small or large, or upside down."""
    from ..reconstruct.fast_portrait_scene import background
    from .landmark_data import grey_of

    out = np.empty((len(rows), 1, CROP_PX, CROP_PX), np.float32)
    for k, row in enumerate(rows):
        if rng.random() < 0.5:
            picture = 255 * np.clip(grey_of(background(rng, CROP_PX)), 0, 1) ** (1 / 2.2)
            crop = picture + rng.normal(0, 3, picture.shape)
        else:
            centre, side = face_square(pictures.points_px[row].astype(np.float64))
            turn, kind = rng.normal(0, 0.2), rng.integers(4)
            if kind == 0:
                way = rng.uniform(0, 2 * np.pi)
                centre = centre + side * rng.uniform(0.45, 0.9) * np.array([np.cos(way), np.sin(way)])
            elif kind == 1:
                side *= rng.uniform(2.2, 3.5)
            elif kind == 2:
                side *= rng.uniform(0.2, 0.45)
            else:
                turn = rng.uniform(1.4, 2 * np.pi - 1.4)
            crop = cut(pictures.grey[row], crop_matrix(centre, side, turn))
        out[k, 0] = standardised(crop)
    return out


def nme(network: Any, pictures: LandmarkPictures, *, passes: int = 2, seed: int = 1) -> np.ndarray:
    """(N, 68) error of every point over the distance of the outer eye corners; NaN outside the picture.

    The first crop is placed at random as a face detector would; each later pass is cut about the points found.
    """
    rng = np.random.Generator(np.random.PCG64([0xE7A1, seed]))
    truth = pictures.points_px.astype(np.float64)
    squares = [face_square(points) for points in truth]
    places = [
        (centre + rng.normal(0, 0.04 * side, 2), side * np.exp(rng.normal(0, 0.08)), 0.0) for centre, side in squares
    ]
    found = truth
    for _ in range(passes):
        matrices = [crop_matrix(*place) for place in places]
        crops = np.stack([standardised(cut(g, m))[None] for g, m in zip(pictures.grey, matrices, strict=True)])
        points = np.concatenate([predict(network, crops[k : k + 64])[0] for k in range(0, len(crops), 64)])
        found = np.stack([
            (p - m[:, 2]) @ np.linalg.inv(m[:, :2]).T for p, m in zip(points, matrices, strict=True)
        ])  # fmt: skip
        places = [(*face_square(p), eye_roll(p)) for p in found]
    apart = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=1)
    error = np.linalg.norm(found - truth, axis=-1) / apart[:, None]
    inside = ((truth > 0) & (truth < pictures.grey.shape[1] - 1)).all(-1)
    return np.where(inside, error, np.nan)


def eye_roll(points_px: np.ndarray) -> float:
    """How far the line through the eyes (68 points) leans in the picture, radians; positive: clockwise on screen."""
    across = points_px[42:48].mean(0) - points_px[36:42].mean(0)
    return float(np.arctan2(across[1], across[0]))


def _save(file: Path, training: LandmarkTraining, step: int, network, smooth, optimizer, schedule) -> None:
    import torch

    partial = file.with_suffix(".partial")
    content = {
        "training": asdict(training),
        "step": step,
        "network": network.state_dict(),
        "smooth": smooth.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(content, partial)
    partial.replace(file)


def _resume(file: Path, training: LandmarkTraining, network, smooth, optimizer, schedule) -> int:
    import torch

    try:
        content = torch.load(file, weights_only=True)
        same = content["training"] == asdict(training)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{file}: cannot be continued from ({error}); delete it to start again") from error
    if not same:
        raise UserError(
            f"{file}: was trained with {content['training']}, this run asks for {asdict(training)}. "
            "Give the same settings, or another --out folder."
        )
    network.load_state_dict(content["network"])
    smooth.load_state_dict(content["smooth"])
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    return int(content["step"])
