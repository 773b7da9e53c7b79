"""The Deep Facial Detail Net (section 4.1, Fig. 4): PDIM, PCA layer, PDRM, and the discriminator of Eq. 7.

U-Nets and discriminator are those of P. Isola et al., Image-to-Image Translation with Conditional Adversarial
Networks, 2017: 4 x 4 kernels, stride 2, skip connections; 70-pixel patches. Inside, displacement is a share of the
dataset's height scale and coefficients are in standard deviations; millimetres at the boundary.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dataset.pca_basis import PcaBasis
from .dfdn_input import texture_input
from .dfdn_presets import REGION_CHANNELS, Preset

if TYPE_CHECKING:
    pass

LEAST_SPREAD = 1e-3
"""A component's scale is at least this share of the first one's."""
REGIONS = 32
"""Labels of Region that conditioning tells apart; there are fewer."""


def levels(patch_px: int, channels: tuple[int, ...]) -> tuple[int, ...]:
    """The channels of as many levels as halve a patch without remainder."""
    count = 0
    while count < len(channels) and patch_px % 2 ** (count + 1) == 0:
        count += 1
    return channels[:count]


def normalisation(kind: str, channels: int) -> Any:
    """BatchNorm, or GroupNorm of 8 channels a group."""
    from torch import nn

    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(max(1, channels // 8), channels)


def build_unet(inputs: int, outputs: int, channels: tuple[int, ...], norm: str, up: str) -> Any:
    """U-Net (B, inputs, P, P) -> (output (B, outputs, P, P), bottleneck (B, channels[-1], P / 2^n, P / 2^n)).

    No normalisation after the first, the innermost and the last convolution, no activation after the last.
    """
    import torch
    from torch import nn

    def active() -> nn.Module:
        return nn.ReLU() if up == "relu" else nn.LeakyReLU(0.2)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            wide, last = (inputs, *channels), len(channels) - 1
            self.down = nn.ModuleList()
            self.up = nn.ModuleList()
            for k in range(len(channels)):
                layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if k else []
                layers.append(nn.Conv2d(wide[k], wide[k + 1], 4, 2, 1))
                if 0 < k < last:
                    layers.append(normalisation(norm, wide[k + 1]))
                self.down.append(nn.Sequential(*layers))
                below = wide[k + 1] * (1 if k == last else 2)
                above = wide[k] if k else outputs
                layers = [active(), nn.ConvTranspose2d(below, above, 4, 2, 1)]
                if k:
                    layers.append(normalisation(norm, above))
                self.up.append(nn.Sequential(*layers))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            kept = []
            for layer in self.down:
                x = layer(x)
                kept.append(x)
            bottleneck = x
            for k in reversed(range(len(kept))):
                x = self.up[k](x if k == len(kept) - 1 else torch.cat([kept[k], x], 1))
            return x, bottleneck

    return UNet()


def build_head(preset: Preset, patch_px: int, components: int) -> Any:
    """Fully connected layers of PDIM, or None for a projection."""
    from torch import nn

    if preset.head == "projection":
        return None
    channels = levels(patch_px, preset.pdim_channels)
    inputs = patch_px**2 if preset.head == "output" else channels[-1] * (patch_px // 2 ** len(channels)) ** 2
    sizes, layers = (inputs, *preset.fc, components), []
    for k in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[k], sizes[k + 1]))
        if k < len(sizes) - 2:
            layers.append(nn.ReLU() if preset.fc_activation == "relu" else nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)


def build_dfdn(preset: Preset, basis: PcaBasis, height_scale_mm: float) -> Any:
    """A new network (torch.nn.Module) with random weights of torch's global generator.

    forward(texture_in (B, C, P, P), noise (B, Z, P, P) or None = 0, valid (B, 1, P, P) or None, pdim_only=False)
    -> (pca_mm (B, 1, P, P), fine_mm (B, 1, P, P), coefficients (B, K) in mm); with pdim_only fine_mm is pca_mm.
    prepare(texture_srgb (B, 3, P, P), valid (B, 1, P, P), region (B, 1, P, P) int64 or None) -> texture_in.
    """
    import torch
    from torch import nn

    from .dfdn_fast import build_shared

    patch_px = len(basis.mean_mm)
    inputs = preset.texture_channels + preset.noise_channels

    class Cascade(nn.Module):
        """PDIM's U-Net and PDRM's U-Net one after the other."""

        def __init__(self) -> None:
            super().__init__()
            self.pdim = build_unet(inputs, 1, levels(patch_px, preset.pdim_channels), preset.norm, "relu")
            self.fc = build_head(preset, patch_px, len(basis.components))
            seen = 1 + (preset.texture_channels if preset.pdrm_texture else 0)
            channels = levels(patch_px, preset.pdrm_channels)
            self.pdrm = build_unet(seen, 1, channels, preset.norm, preset.pdrm_up) if preset.refine else None

        def partial(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """(rough map or coefficients, what refine needs)"""
            rough, bottleneck = self.pdim(x)
            if self.fc is None:
                return rough, x
            flat = torch.tanh(rough) if preset.head == "output" else bottleneck
            return self.fc(flat.flatten(1)), x

        def refine(self, pca: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            seen = torch.cat([pca, x[:, : preset.texture_channels]], 1) if preset.pdrm_texture else pca
            return self.pdrm(seen)[0]  # type: ignore[misc]

        def last_layers(self) -> list[nn.Module]:
            first = self.pdim.up[0][1] if self.fc is None else self.fc[-1]
            return [first, *([] if self.pdrm is None else [self.pdrm.up[0][1]])]

    class Dfdn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.preset, self.height_scale_mm = preset, float(height_scale_mm)
            self.body = Cascade() if preset.design == "cascade" else build_shared(preset, inputs, patch_px)
            self.region = nn.Embedding(REGIONS, REGION_CHANNELS) if preset.region_conditioning else None
            spread = np.sqrt(np.maximum(basis.variance_mm2, 0))
            spread = np.maximum(spread, max(LEAST_SPREAD * float(spread.max()), 1e-6))
            self.components: torch.Tensor
            self.mean_mm: torch.Tensor
            self.coefficient_mm: torch.Tensor
            flat = np.array(basis.components.reshape(len(basis.components), -1), np.float32)
            self.register_buffer("components", torch.from_numpy(flat))
            self.register_buffer("mean_mm", torch.from_numpy(np.array(basis.mean_mm, np.float32)))
            self.register_buffer("coefficient_mm", torch.from_numpy(spread.astype(np.float32)))

        def prepare(
            self, texture_srgb: torch.Tensor, valid: torch.Tensor, region: torch.Tensor | None = None
        ) -> torch.Tensor:
            planes = texture_input(preset, texture_srgb, valid)
            if self.region is None:
                return planes
            if region is None:
                raise ValueError("this network is conditioned on facial regions: give `region`")
            told = self.region(region[:, 0].clamp(0, REGIONS - 1)).permute(0, 3, 1, 2)
            return torch.cat([planes, told * valid], 1)

        def forward(
            self,
            texture_in: torch.Tensor,
            noise: torch.Tensor | None = None,
            valid: torch.Tensor | None = None,
            pdim_only: bool = False,
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            x = texture_in
            if preset.noise_channels:
                shape = (len(x), preset.noise_channels, *x.shape[2:])
                x = torch.cat([x, x.new_zeros(shape) if noise is None else noise.to(x.dtype)], 1)
            found, kept = self.body.partial(x)
            with torch.autocast(x.device.type, enabled=False):  # 65,536 products a sum: not in half precision
                found = found.float()
                if preset.head == "projection":
                    rough_mm = self.height_scale_mm * (found if valid is None else found * valid)
                    coefficients = (rough_mm.flatten(1) - self.mean_mm.flatten()) @ self.components.T
                else:
                    coefficients = found * self.coefficient_mm
                pca_mm = (coefficients @ self.components + self.mean_mm.flatten()).view(len(x), 1, patch_px, patch_px)
            if pdim_only or not preset.refine:
                return pca_mm, pca_mm, coefficients
            rest = self.body.refine(pca_mm / self.height_scale_mm, kept).float()
            rest_mm = self.height_scale_mm * (torch.tanh(rest) if preset.output == "tanh" else rest)
            return pca_mm, pca_mm + rest_mm if preset.pdrm_output == "residual" else rest_mm, coefficients

    network: Any = Dfdn()
    if preset.zero_start:
        for layer in network.body.last_layers():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    else:
        network.apply(released_start)
    return network


def build_discriminator(preset: Preset) -> Any:
    """PatchGAN D(x, y): texture and displacement / height scale (B, C + 1, P, P) -> logits (B, 1, p, p)."""
    from torch import nn

    channels, pad = (preset.texture_channels + 1, *preset.disc_channels), preset.disc_padding
    layers: list[nn.Module] = []
    for k in range(len(channels) - 1):
        layers.append(nn.Conv2d(channels[k], channels[k + 1], 4, 1 if k == len(channels) - 2 else 2, pad))
        if k:
            layers.append(normalisation(preset.norm, channels[k + 1]))
        layers.append(nn.LeakyReLU(0.2))
    network = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, pad))
    return network.apply(released_start)


def released_start(module: Any) -> None:
    """Convolutions N(0, 0.02), BatchNorm N(1, 0.02); linear layers keep torch's, as in the released code."""
    from torch import nn

    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def count(network: Any, keep: Callable[[str], bool] = lambda name: True) -> int:
    """Parameters whose name `keep` accepts."""
    return sum(value.numel() for name, value in network.named_parameters() if keep(name))
