"""Emotion-Net: a sequential fully-convolutional network that tells eleven emotions apart and describes faces.

The sequential fully-CNN of O. Arriaga, M. Valdenegro-Toro, P. Ploeger, Real-time convolutional neural networks for
emotion and gender classification (reference [4] of the paper): four pairs of convolutions of shrinking kernels
and growing width, each followed by batch normalisation, ReLU, average pooling and dropout, no fully connected layer,
global average pooling. At 48 x 48 grey. The last hidden layer has 128 channels instead of 256, so that its global
mean is the 128-D feature of the paper's section 3.2.
"""

from pathlib import Path
from typing import Any

import numpy as np

from .network_weights import load_weights, save_weights

FACE_PX = 48
FEATURES = 128
EMOTIONS = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt", "None", "Uncertain",
            "No-Face")  # fmt: skip
"""AffectNet's eleven categories, in its numbering."""
SHIPPED = Path(__file__).parent / "tables" / "emotion.npz"
FORMAT = "mesoface-emotion-1"


def build_emotion_net(dropout: float = 0.5) -> Any:
    """A new network (torch.nn.Module): faces (B, 1, 48, 48) -> (logits (B, 11), features (B, 128))."""
    import torch
    from torch import nn

    def pair(inputs: int, outputs: int, kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2), nn.BatchNorm2d(outputs),
            nn.Conv2d(outputs, outputs, kernel, 1, kernel // 2, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(True), nn.AvgPool2d(2), nn.Dropout(dropout),
        )  # fmt: skip

    class EmotionNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(pair(1, 16, 7), pair(16, 32, 5), pair(32, 64, 3), pair(64, 128, 3))
            self.last = nn.Sequential(
                nn.Conv2d(128, FEATURES, 3, 1, 1, bias=False), nn.BatchNorm2d(FEATURES), nn.ReLU(True)
            )
            # A 1 x 1 convolution commutes with the global mean, so it is written after it.
            self.classes = nn.Linear(FEATURES, len(EMOTIONS))

        def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.last(self.body(faces)).mean((2, 3))
            return self.classes(features), features

    return EmotionNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def as_input(faces: np.ndarray) -> np.ndarray:
    """(B, 1, 48, 48) float32 in [-1, 1] of grey faces (B, 48, 48), uint8 or float in [0, 1]."""
    scale = 2 / 255 if faces.dtype == np.uint8 else 2.0
    return (faces.astype(np.float32) * scale - 1)[:, None]


def describe(network: Any, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (B, 11) and features (B, 128), float32, of grey faces (B, 48, 48), uint8 or float in [0, 1]."""
    import torch

    with torch.inference_mode():
        logits, features = network(torch.from_numpy(as_input(faces)).contiguous(memory_format=torch.channels_last))
        return torch.softmax(logits, 1).numpy(), features.numpy()


def save_emotion_net(network: Any, path: Path, about: str) -> None:
    """Write weights; `about`: how they were made, one line."""
    save_weights(network, path, FORMAT, about)


def load_emotion_net(path: Path | None = None) -> Any:
    """The network in evaluation mode, from `path` or with the shipped weights. Raises UserError as `load_weights`."""
    return load_weights(build_emotion_net(), path or SHIPPED, FORMAT, "mesoface train emotion")
