"""The `shared` design (ours): one trunk for PDIM and PDRM, half the resolution, no fully connected layers.

What the paper's cascade spends most on is dropped: the fully connected head (62 % of its parameters) becomes the
projection of a rough map on the PCA basis, which is what the head has to learn anyway; PDRM reads the trunk's features
instead of extracting its own; and everything runs on 2 x 2 texels folded into channels, for displacement has hardly
any energy near two texels. Five levels of residual blocks see the whole patch.
"""

from typing import TYPE_CHECKING, Any

from .dfdn_presets import Preset

if TYPE_CHECKING:
    pass


def build_shared(preset: Preset, inputs: int, patch_px: int) -> Any:
    """Body with `partial` and `refine` as of dfdn_networks.Cascade."""
    import torch
    from torch import nn
    from torch.nn import functional

    from .dfdn_networks import levels, normalisation

    channels = levels(patch_px, preset.pdim_channels)

    def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), normalisation(preset.norm, after), nn.ReLU(inplace=True)
        )

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.first = convolution(width, width)
            self.second = nn.Conv2d(width, width, 3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.relu(x + self.second(self.first(x)))

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fold, self.unfold = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
            self.enter = convolution(4 * inputs, channels[0])
            self.down = nn.ModuleList()
            self.meet = nn.ModuleList()
            for k, width in enumerate(channels):
                layers: list[nn.Module] = [] if k == 0 else [convolution(channels[k - 1], width, 2)]
                self.down.append(nn.Sequential(*layers, Residual(width)))
                if k:
                    # narrowed before it is enlarged: a quarter of the work
                    self.meet.append(
                        nn.ModuleDict(
                            {"narrow": nn.Conv2d(width, channels[k - 1], 1), "block": Residual(channels[k - 1])}
                        )
                    )
            self.rough = nn.Conv2d(channels[0], 4, 3, 1, 1)
            wide = (channels[0] + 4, *preset.pdrm_channels)
            finish = [convolution(wide[k], wide[k + 1]) for k in range(len(wide) - 1)] if preset.refine else []
            self.finish = nn.Sequential(*finish)
            self.detail = nn.Conv2d(wide[-1], 4, 3, 1, 1) if preset.refine else None

        def partial(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """(rough map (B, 1, P, P), features (B, c, P/2, P/2))"""
            x = self.enter(self.fold(x))
            kept = []
            for stage in self.down:
                x = stage(x)
                kept.append(x)
            for k in reversed(range(len(self.meet))):
                meet = self.meet[k]
                above = functional.interpolate(meet["narrow"](x), scale_factor=2.0, mode="bilinear")  # type: ignore[index]
                x = meet["block"](kept[k] + above)  # type: ignore[index]
            return self.unfold(self.rough(x)), x

        def refine(self, pca: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
            seen = self.finish(torch.cat([features, self.fold(pca).to(features.dtype)], 1))
            return self.unfold(self.detail(seen))  # type: ignore[misc]

        def last_layers(self) -> list[nn.Module]:
            return [self.rough, *([] if self.detail is None else [self.detail])]

    return Shared()
