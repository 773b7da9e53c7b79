"""What the networks see of a texture: colour space, normalisation, and no cliff at the border of what is valid.

Hue is an angle: red is 0 and 1, and skin lies about red. So HSV enters as S cos H, S sin H, V, without atan2: with
a = R - (G + B) / 2 and b = sqrt(3) / 2 (G - B) the first two are a / V and b / V (the hexagon of HSV taken as a circle,
at most 13 % apart in S). Invalid texels are filled with the patch's mean over valid ones.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .dfdn_presets import Preset

DARK = 0.02
"""Brightness below which colour and contrast fade out: camera noise rules there."""
CONTRAST = 0.03
"""Local contrast (of log V) below which it is not amplified."""


def srgb_from_linear_torch(linear: "torch.Tensor") -> "torch.Tensor":
    """sRGB encoding of linear values; differentiable, also at 0."""
    import torch

    x = linear.clamp(min=0.0)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def cone_coordinates(rgb: "torch.Tensor") -> "torch.Tensor":
    """(B, 3, H, W): S cos H, S sin H, V of (B, 3, H, W) in [0, 1]; chroma fades out in the dark."""
    import torch

    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    shade = value + DARK
    return torch.stack([(red - (green + blue) / 2) / shade, math.sqrt(0.75) * (green - blue) / shade, value], 1)


def masked_mean(values: "torch.Tensor", valid: "torch.Tensor") -> "torch.Tensor":
    """(B, C, 1, 1) means of (B, C, H, W) over valid (B, 1, H, W) texels; 0 where there are none."""
    return (values * valid).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1.0)


def texture_input(preset: "Preset", texture_srgb: "torch.Tensor", valid: "torch.Tensor") -> "torch.Tensor":
    """(B, C, P, P) network input of sRGB textures (B, 3, P, P) in [0, 1] and valid (B, 1, P, P) 0/1.

    C is 1 for colour v, 3 for hsv, and 4 for local: contrast of log V about its surroundings in units of the
    surroundings' contrast, log V less its mean, and the two chroma coordinates.
    """
    import torch

    texture_srgb = texture_srgb * valid
    if preset.colour == "v":
        planes = texture_srgb.amax(1, keepdim=True)
    else:
        planes = cone_coordinates(texture_srgb)
    if preset.colour == "local":
        log = torch.log(planes[:, 2:] + DARK)
        planes = torch.cat([log, log, planes[:, :2]], 1)
    mean = masked_mean(planes, valid)
    filled = torch.where(valid > 0, planes, mean)
    if preset.colour == "local":
        level = (filled - mean) * valid
        scale = planes.new_tensor([1.0, 1.0, 2.0, 2.0])[:, None, None]
        return torch.cat([_local_contrast(level[:, :1], valid), level[:, 1:] * scale[1:]], 1)
    return 2 * (filled - mean) if preset.normalisation == "mean" else filled


def _local_contrast(log: "torch.Tensor", valid: "torch.Tensor") -> "torch.Tensor":
    """Difference to the surroundings over the surroundings' standard deviation; surroundings: sigma a 12th of P."""
    import torch
    from torch.nn import functional

    side = log.shape[-1]
    sigma = side / 48  # at a quarter of the resolution
    reach = max(1, math.ceil(2 * sigma))
    place = torch.arange(-reach, reach + 1, device=log.device, dtype=log.dtype)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    sums = functional.avg_pool2d(torch.cat([log * valid, log * log * valid, valid], 1), 4)
    sums = functional.conv2d(sums, kernel[..., None, :], padding=(0, reach), groups=3)
    sums = functional.conv2d(sums, kernel[..., :, None], padding=(reach, 0), groups=3)
    mean, square = (sums[:, :2] / sums[:, 2:].clamp(min=1e-3)).unbind(1)
    spread = torch.sqrt((square - mean * mean).clamp(min=0) + CONTRAST**2)
    around = functional.interpolate(torch.stack([mean, spread], 1), size=(side, side), mode="bilinear")
    return (log - around[:, :1]) / around[:, 1:] * valid
