"""Losses on geometry and the adversarial ones: Eqs. 6, 7 and 10. All are taken over valid texels only.

Heights enter as shares of the dataset's height scale, so that lambda = 100 means the same on every dataset.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .dfdn_presets import Gan, Preset

HUBER = 0.5
SLOPE_STEP = 2
"""Texels between the heights whose difference is a slope."""
SLOPE_GAIN = 4.0
"""Such differences of skin are smaller than heights by about this factor."""


def texel_weights(valid: "torch.Tensor") -> "torch.Tensor":
    """(B, 1, P, P) weights of valid 0/1 texels that sum to 1 over the batch (0 if none is valid)."""
    return valid / valid.sum().clamp(min=1.0)


def distance(kind: str, difference: "torch.Tensor") -> "torch.Tensor":
    """|d| ("l1"), or d^2 / 2 b below b = HUBER and |d| - b / 2 above ("huber"), per element."""
    import torch

    size = difference.abs()
    if kind == "l1":
        return size
    return torch.where(size < HUBER, 0.5 / HUBER * difference**2, size - 0.5 * HUBER)


def geometry_loss(
    preset: "Preset",
    network: Any,
    found: tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"],
    truth_mm: "torch.Tensor",
    valid: "torch.Tensor",
    weight: "torch.Tensor",
    pdim_only: bool,
) -> dict[str, "torch.Tensor"]:
    """The terms of Eq. 10 that a preset asks for, by name, weighted; their sum is L_scans.

    found: what the network gave; truth_mm, valid and weight (`texel_weights`): (B, 1, P, P).
    """
    pca_mm, fine_mm, coefficients = found
    scale = network.height_scale_mm
    terms = {"pca": preset.weight_pca * (weight * distance(preset.distance, (pca_mm - truth_mm) / scale)).sum()}
    if preset.weight_coefficients:
        seen = (truth_mm - network.mean_mm) * valid
        off = (coefficients - seen.flatten(1) @ network.components.T) / network.coefficient_mm
        shares = weight.sum((1, 2, 3))  # a patch counts by its valid texels
        terms["coefficients"] = preset.weight_coefficients * (shares * off.abs().mean(1)).sum()
    if pdim_only or not preset.refine:
        return terms
    error = (fine_mm - truth_mm) / scale
    terms["fine"] = preset.weight_fine * (weight * distance(preset.distance, error)).sum()
    if preset.weight_slope:
        terms["slope"] = preset.weight_slope * slope_distance(preset.distance, error, weight)
    return terms


def slope_distance(kind: str, error: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """Distance of differences between texels SLOPE_STEP apart along rows and columns, where both are valid."""
    step, total = SLOPE_STEP, error.new_zeros(())
    for axis in (2, 3):
        length = error.shape[axis] - step
        change = error.narrow(axis, step, length) - error.narrow(axis, 0, length)
        both = weight.narrow(axis, step, length).minimum(weight.narrow(axis, 0, length))
        total = total + 0.5 * (both * distance(kind, SLOPE_GAIN * change)).sum()
    return total


def discriminator_loss(kind: "Gan", real: "torch.Tensor", fake: "torch.Tensor") -> "torch.Tensor":
    """What D minimises, of its logits for true and synthesized displacement: Eq. 7 negated, or least squares."""
    from torch.nn import functional

    if kind == "log":
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()
    return 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()


def generator_loss(kind: "Gan", fake: "torch.Tensor") -> "torch.Tensor":
    """The adversarial term of G. log: - log D instead of log(1 - D), which has no gradient where D is sure."""
    from torch.nn import functional

    return functional.softplus(-fake).mean() if kind == "log" else 0.5 * ((fake - 1) ** 2).mean()
