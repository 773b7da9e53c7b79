"""The landmark network: a small U-shaped CNN whose heat maps are read out by soft-argmax.

Input: a grey crop of CROP_PX pixels with mean 0 and standard deviation 1 (landmark_data.standardised). Output: 68 maps
of 28 x 28 cells, whose softmax has the landmark as its mean (X. Sun et al., Integral human pose regression, ECCV 2018),
and one logit: is this a face, roughly upright and in the middle. Half a million weights, one megabyte in float16.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .landmark_data import CROP_PX
from .network_weights import load_weights, save_weights

CELLS = 28
STRIDE_PX = CROP_PX / CELLS
SHIPPED = Path(__file__).parent / "tables" / "landmarks.npz"
FORMAT = "mesoface-landmarks-1"


def build_network() -> Any:
    """A new network (torch.nn.Module): crops (B, 1, CROP_PX, CROP_PX) -> maps (B, 68, CELLS, CELLS), logits (B,)."""
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)
        )

    class Residual(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.first = conv(channels, channels)
            self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.second(self.first(x)))

    class LandmarkNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine = nn.Sequential(conv(1, 16, 2), conv(16, 24, 2), Residual(24))
            self.middle = nn.Sequential(conv(24, 48, 2), Residual(48))
            self.coarse = nn.Sequential(conv(48, 96, 2), Residual(96), Residual(96))
            self.down = conv(96, 48, 1, 1)
            self.up_middle = nn.Sequential(conv(48, 48), conv(48, 24, 1, 1))
            self.up_fine = nn.Sequential(conv(24, 48), nn.Conv2d(48, 68, 1))
            self.presence = nn.Linear(96, 1)

        def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            fine = self.fine(crops)
            middle = self.middle(fine)
            coarse = self.coarse(middle)
            twice = nn.Upsample(scale_factor=2, mode="nearest")
            middle = self.up_middle(middle + twice(self.down(coarse)))
            maps = self.up_fine(fine + twice(middle))
            return maps, self.presence(coarse.mean((2, 3)))[:, 0]

    return LandmarkNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_out(maps: Any) -> tuple[Any, Any]:
    """Points (B, 68, 2) in crop px and their spread (B, 68) px from heat maps (torch tensors)."""
    import torch

    probability = torch.softmax(maps.flatten(2), -1).view(*maps.shape)
    cell = STRIDE_PX * torch.arange(CELLS, dtype=maps.dtype) + (STRIDE_PX - 1) / 2
    columns, rows = probability.sum(2), probability.sum(3)
    x, y = (columns * cell).sum(-1), (rows * cell).sum(-1)
    spread = (columns * cell**2).sum(-1) - x**2 + (rows * cell**2).sum(-1) - y**2
    return torch.stack([x, y], -1), torch.sqrt(torch.clamp(spread, min=0.01))


def save_network(network: Any, path: Path, about: str) -> None:
    """Write weights; `about`: how they were made, one line."""
    save_weights(network, path, FORMAT, about)


def load_network(path: Path | None = None) -> Any:
    """The network in evaluation mode, from `path` or with the shipped weights. Raises UserError as `load_weights`."""
    return load_weights(build_network(), path or SHIPPED, FORMAT, "mesoface train landmarks")


@lru_cache(maxsize=1)
def shipped_network() -> Any:
    """The network that comes with mesoface, read once."""
    return load_network()


def predict(network: Any, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (B, 68, 2) crop px, spread (B, 68) px and probability of a face (B,) for crops (B, 1, C, C) float32."""
    import torch

    with torch.inference_mode():
        maps, logits = network(torch.from_numpy(crops).contiguous(memory_format=torch.channels_last))
        points, spread = read_out(maps)
        return points.numpy().astype(np.float64), spread.numpy().astype(np.float64), torch.sigmoid(logits).numpy()
