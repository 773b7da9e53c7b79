"""Training of Emotion-Net as the paper states it: Adam at 1e-3, 20 epochs; class balance, confusion matrix, resume."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path
from .emotion_net import EMOTIONS, as_input, build_emotion_net, describe, save_emotion_net

CHECKPOINT, WEIGHTS = "checkpoint.pt", "emotion.npz"


@dataclass(frozen=True, slots=True)
class EmotionTraining:
    """How to train."""

    epochs: int = 20
    learning_rate: float = 1e-3
    batch: int = 32
    balance: bool = True
    """Rare categories weigh more in the loss: all count the same in total."""
    dropout: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.epochs >= 1 and self.batch >= 2 and 0 < self.learning_rate <= 1 and 0 <= self.dropout < 1):
            raise UserError(
                f"training: epochs {self.epochs}, batch {self.batch}, learning_rate {self.learning_rate}, dropout "
                f"{self.dropout}; allowed are 1 and more, 2 and more, above 0 to 1, 0 to below 1"
            )


def class_weights(labels: np.ndarray) -> np.ndarray:
    """(11,) float32 loss weights that make all categories present count the same; 0 for absent ones."""
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    present = counts > 0
    return np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0).astype(np.float32)


def confusion(network: Any, faces: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(11, 11) int64: how often a face of each category (row) was taken for each (column)."""
    table = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
    for first in range(0, len(faces), 64):
        guess = describe(network, faces[first : first + 64])[0].argmax(1)
        np.add.at(table, (labels[first : first + 64], guess), 1)
    return table


def train_emotion(
    faces: np.ndarray,
    labels: np.ndarray,
    folder: Path,
    training: EmotionTraining = EmotionTraining(),
    *,
    about: str = "",
    progress: Callable[[int, int, float], None] = lambda epoch, epochs, loss: None,
) -> Path:
    """Train on grey faces (N, 48, 48) uint8 with labels (N,), or continue from `folder`; returns the weights' file.

    A checkpoint is written after every epoch. Raises UserError for a checkpoint of other settings or a damaged one.
    """
    import torch

    torch.manual_seed(training.seed)
    network = build_emotion_net(training.dropout)
    optimizer = torch.optim.Adam(network.parameters(), training.learning_rate)
    weights = torch.from_numpy(class_weights(labels)) if training.balance else None
    folder.mkdir(parents=True, exist_ok=True)
    file, first = folder / CHECKPOINT, 0
    settings = asdict(training) | {"faces": len(faces)}
    if file.exists():
        first = _resume(file, settings, network, optimizer)
    for epoch in range(first, training.epochs):
        rng = np.random.Generator(np.random.PCG64([0xE107, training.seed, epoch]))
        torch.manual_seed(training.seed * 1000 + epoch)  # dropout, the same whether resumed or not
        network.train()
        order, total, count = rng.permutation(len(faces)), 0.0, 0
        for at in range(0, len(order) - 1, training.batch):
            rows = order[at : at + training.batch]
            if len(rows) < 2:  # batch normalisation needs two
                continue
            batch = torch.from_numpy(as_input(_varied(faces[rows], rng))).contiguous(memory_format=torch.channels_last)
            logits, _ = network(batch)
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows]), weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total, count = total + float(loss.detach()), count + 1
        with atomic_path(file) as temporary, temporary.open("wb") as opened:
            torch.save({"settings": settings, "epoch": epoch + 1, "network": network.state_dict(),
                        "optimizer": optimizer.state_dict()}, opened)  # fmt: skip
        progress(epoch + 1, training.epochs, total / max(count, 1))
    save_emotion_net(network, folder / WEIGHTS, about)
    return folder / WEIGHTS


def _varied(faces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored and shifted by up to two pixels at random."""
    out = faces.copy()
    flip = rng.random(len(out)) < 0.5
    out[flip] = out[flip][:, :, ::-1]
    dy, dx = rng.integers(-2, 3, 2)
    return np.roll(out, (dy, dx), (1, 2))


def _resume(file: Path, settings: dict[str, Any], network: Any, optimizer: Any) -> int:
    import torch

    try:
        content = torch.load(file, weights_only=True)
        found = content["settings"]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{file}: cannot be continued from ({error}); delete it to start again") from error
    if found != settings:
        raise UserError(
            f"{file}: was trained with {found}, this run asks for {settings}. Give the same settings, or another --out."
        )
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return int(content["epoch"])
