"""The appearance loss of section 4.3, Eqs. 11-14: photographs teach relief through the shading it makes.

Displacement moves the proxy's surface along its normals (11), normals of the moved surface come from differences of its
position map (12, 13), nine spherical harmonics light them (conventions of reconstruct/harmonic_light.py), albedo
colours them, and the result is compared with the photograph (14). Eq. 13 as printed divides the cross product by the
product of the differences' lengths, which gives a unit vector only where they are at right angles; here it is divided
by its own length. Light and albedo are given, not trained.

Comparison is in HSV, where hue, an angle, enters as S cos H and S sin H (see dfdn_input.py), or in the value alone.
"""

from typing import TYPE_CHECKING, Literal

from ..reconstruct.harmonic_light import DARKEST
from .dfdn_input import cone_coordinates, srgb_from_linear_torch

if TYPE_CHECKING:
    import torch

    from .dfdn_presets import Colour

LEAST_LENGTH = 1e-12
"""mm^2, of a cross product; shorter ones belong to texels without a surface."""


def fine_points(position_mm: "torch.Tensor", normal: "torch.Tensor", displacement_mm: "torch.Tensor") -> "torch.Tensor":
    """Eq. 11: (B, 3, P, P) mm of position and unit normal (B, 3, P, P) and displacement (B, 1, P, P)."""
    return position_mm + displacement_mm * normal


def surface_normals(points_mm: "torch.Tensor", facing: "torch.Tensor") -> "torch.Tensor":
    """Eqs. 12, 13: (B, 3, P, P) unit normals of a position map, on the side of `facing`; 0 in the outermost texels.

    Differences are [-0.5, 0, 0.5] of horizontal and vertical neighbours.
    """
    import torch
    from torch.nn import functional

    along = 0.5 * (points_mm[:, :, 1:-1, 2:] - points_mm[:, :, 1:-1, :-2])
    down = 0.5 * (points_mm[:, :, 2:, 1:-1] - points_mm[:, :, :-2, 1:-1])
    cross = torch.linalg.cross(along, down, dim=1)
    side = (cross * facing[:, :, 1:-1, 1:-1]).sum(1, keepdim=True)
    cross = torch.where(side < 0, -cross, cross)
    square = (cross * cross).sum(1, keepdim=True)
    unit = cross / torch.sqrt(square.clamp(min=LEAST_LENGTH))
    return functional.pad(unit, (1, 1, 1, 1))


def eroded(valid: "torch.Tensor") -> "torch.Tensor":
    """(B, 1, P, P) 0/1: valid with all four neighbours, which the differences look at."""
    import torch

    out = torch.zeros_like(valid)
    out[:, :, 1:-1, 1:-1] = (
        valid[:, :, 1:-1, 1:-1]
        * valid[:, :, 1:-1, 2:] * valid[:, :, 1:-1, :-2] * valid[:, :, 2:, 1:-1] * valid[:, :, :-2, 1:-1]
    )  # fmt: skip
    return out


def fine_normals(
    position_mm: "torch.Tensor",
    normal: "torch.Tensor",
    displacement_mm: "torch.Tensor",
    kind: Literal["literal", "change"],
) -> "torch.Tensor":
    """Unit normals of the displaced proxy. literal: Eq. 12; change: the proxy's own normals (interpolated, without the
    facets of its mesh) plus what displacement changes in Eq. 12."""
    import torch

    moved = surface_normals(fine_points(position_mm, normal, displacement_mm), normal)
    if kind == "literal":
        return moved
    sum_ = normal + moved - surface_normals(position_mm, normal)
    return sum_ / torch.sqrt((sum_ * sum_).sum(1, keepdim=True).clamp(min=1e-6))


def harmonic_shading(normals: "torch.Tensor", light: "torch.Tensor") -> "torch.Tensor":
    """(B, 3, P, P) linear shading of unit normals (B, 3, P, P) under light (B, 9, 3); as HarmonicLight.shading."""
    import math

    import torch

    x, y, z = normals.unbind(1)
    one, two = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    constant = 0.5 / math.sqrt(math.pi)
    basis = torch.stack(
        [
            torch.full_like(x, constant), one * y, one * z, one * x, two * x * y, two * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1), two * x * z, two / 2 * (x * x - y * y),
        ], 1,
    )  # fmt: skip
    raw = torch.einsum("bkhw,bkc->bchw", basis, light)
    return raw.maximum((DARKEST * constant * light[:, 0])[:, :, None, None])


def rendered_srgb(
    displacement_mm: "torch.Tensor",
    position_mm: "torch.Tensor",
    normal: "torch.Tensor",
    albedo_linear: "torch.Tensor",
    light: "torch.Tensor",
    kind: Literal["literal", "change"] = "literal",
) -> "torch.Tensor":
    """I_recon of Eq. 14: (B, 3, P, P) sRGB in [0, 1]."""
    normals = fine_normals(position_mm, normal, displacement_mm, kind)
    return srgb_from_linear_torch(albedo_linear * harmonic_shading(normals, light)).clamp(max=1.0)


def appearance_loss(
    displacement_mm: "torch.Tensor",
    texture_srgb: "torch.Tensor",
    position_mm: "torch.Tensor",
    normal: "torch.Tensor",
    albedo_linear: "torch.Tensor",
    light: "torch.Tensor",
    weight: "torch.Tensor",
    *,
    colour: "Colour" = "hsv",
    kind: Literal["literal", "change"] = "literal",
) -> "torch.Tensor":
    """L_recon of Eq. 14: weighted mean over texels of the L1 distance in HSV (colour v: of the value alone).

    displacement_mm (B, 1, P, P); texture, position, normal, albedo (B, 3, P, P); light (B, 9, 3); weight (B, 1, P, P):
    `dfdn_losses.texel_weights` of the `eroded` mask. Differentiable in all floating arguments.
    """
    made = cone_coordinates(rendered_srgb(displacement_mm, position_mm, normal, albedo_linear, light, kind))
    seen = cone_coordinates(texture_srgb)
    if colour == "v":
        made, seen = made[:, 2:], seen[:, 2:]
    return (weight * (made - seen).abs()).sum()
