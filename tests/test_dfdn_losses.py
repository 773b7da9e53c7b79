"""Losses of the DFDN: masked, as the paper's equations say, and differentiable where they must teach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dfdn_fixtures import ABOUT, PATCH, random_basis

from mesoface.capture.errors import UserError
from mesoface.model.appearance_loss import (
    appearance_loss,
    eroded,
    fine_normals,
    fine_points,
    harmonic_shading,
    rendered_srgb,
    surface_normals,
)
from mesoface.model.dfdn_input import srgb_from_linear_torch
from mesoface.model.dfdn_losses import discriminator_loss, distance, generator_loss, geometry_loss, texel_weights
from mesoface.model.dfdn_model import new_dfdn
from mesoface.model.dfdn_presets import PRESETS
from mesoface.model.dfdn_schedule import PAPER_SCHEDULE
from mesoface.reconstruct.harmonic_light import HarmonicLight

SIDE = 12
TEXEL_MM = 0.4


def curved_proxy(batch: int = 1, dtype: torch.dtype = torch.float64):
    """Position and unit normal maps (B, 3, S, S) of a sphere of 60 mm, columns along x, rows along -y."""
    rows, columns = torch.meshgrid(torch.arange(SIDE, dtype=dtype), torch.arange(SIDE, dtype=dtype), indexing="ij")
    x, y = TEXEL_MM * (columns - SIDE / 2) + 10, -TEXEL_MM * (rows - SIDE / 2)
    position = torch.stack([x, y, torch.sqrt(60**2 - x**2 - y**2)])
    return position.expand(batch, -1, -1, -1).clone(), (position / 60).expand(batch, -1, -1, -1).clone()


def some_light(batch: int = 1, dtype: torch.dtype = torch.float64):
    rng = np.random.default_rng(2)
    light = rng.uniform(-0.3, 0.3, (batch, 9, 3))
    light[:, 0] = 2.5
    return torch.from_numpy(light).to(dtype)


def test_shading_is_that_of_harmonic_light():
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((5, 7, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    light = rng.uniform(-1.5, 1.5, (9, 3))  # strong enough to go below the darkest allowed
    light[0] = 2
    expected = HarmonicLight(light).shading(normals)
    made = harmonic_shading(torch.from_numpy(normals).permute(2, 0, 1)[None], torch.from_numpy(light)[None])
    assert np.abs(made[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6
    assert (expected < 0.01).any() and (expected > 0.5).any()


def test_normals_of_a_displaced_surface_are_those_of_geometry():
    """A sphere moved outward by a constant keeps its normals; a ramp on a plane tilts them by its slope."""
    position, normal = curved_proxy()
    inner = (..., slice(1, -1), slice(1, -1))
    grown = surface_normals(fine_points(position, normal, torch.full_like(position[:, :1], 2.0)), normal)
    assert float((grown - normal)[inner].norm(dim=1).max()) < 1e-4
    flat = torch.zeros_like(position)
    flat[:, :2] = position[:, :2]
    up = torch.zeros_like(flat)
    up[:, 2] = 1
    ramp = 0.2 * position[:, :1]
    tilted = fine_normals(flat, up, ramp, "literal")[inner]
    expected = torch.tensor([-0.2, 0.0, 1.0], dtype=torch.float64) / np.sqrt(1.04)
    assert float((tilted - expected[:, None, None]).abs().max()) < 1e-9
    assert float((tilted.norm(dim=1) - 1).abs().max()) < 1e-9  # Eq. 13 as printed would be shorter on skewed charts
    mirrored = fine_normals(flat.flip(3), up, ramp.flip(3), "literal")[inner]
    assert float((mirrored - expected[:, None, None]).abs().max()) < 1e-9  # on the proxy's side whatever the chart


def test_change_normals_leave_out_the_facets_of_the_proxy():
    position, normal = curved_proxy()
    facets = position.clone()
    facets[:, 2] += 0.3 * (position[:, 0] - 10).abs()  # a crease that the smooth normals do not have
    nothing = torch.zeros_like(position[:, :1])
    assert float((fine_normals(facets, normal, nothing, "change") - normal).abs().max()) < 1e-6
    assert float((fine_normals(facets, normal, nothing, "literal") - normal)[..., 2:-2, 2:-2].abs().max()) > 0.1


@pytest.mark.parametrize("kind", ["literal", "change"])
@pytest.mark.parametrize("colour", ["hsv", "v"])
def test_appearance_loss_passes_gradcheck(kind, colour):
    torch.manual_seed(0)
    position, normal = curved_proxy()
    displacement = (0.05 * torch.randn(1, 1, SIDE, SIDE, dtype=torch.float64)).requires_grad_()
    albedo = (0.4 + 0.2 * torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64)).requires_grad_()
    light = (some_light() * torch.tensor([1.3, 1.0, 0.8])).requires_grad_()
    texture = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64)
    weight = texel_weights(eroded(torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)))

    def loss(displacement, albedo, light):
        return appearance_loss(displacement, texture, position, normal, albedo, light, weight, colour=colour, kind=kind)

    assert torch.autograd.gradcheck(loss, (displacement, albedo, light), eps=1e-7, atol=1e-5, fast_mode=True)


def test_relief_is_found_again_through_its_shading():
    """From the photograph alone: gradient descent on Eq. 14 brings back the slope that made the shading."""
    position, normal = curved_proxy(dtype=torch.float32)
    albedo, light = torch.full_like(position, 0.4), some_light(dtype=torch.float32)
    light[:, 3] = 1.2  # from the side
    columns = torch.arange(SIDE, dtype=torch.float32)
    truth = (0.08 * torch.sin(2 * np.pi * columns / 8)).expand(1, 1, SIDE, SIDE).contiguous()
    texture = rendered_srgb(truth, position, normal, albedo, light)
    weight = texel_weights(eroded(torch.ones_like(truth)))
    found = torch.zeros_like(truth, requires_grad=True)
    optimizer = torch.optim.Adam([found], 5e-3)
    losses = []
    for _ in range(150):
        loss = appearance_loss(found, texture, position, normal, albedo, light, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    slope, true_slope = (torch.diff(values[..., 2:-2, 1:-1:2], dim=3) for values in (found.detach(), truth))
    together = torch.corrcoef(torch.stack([slope.flatten(), true_slope.flatten()]))[0, 1]
    assert losses[-1] < 0.15 * losses[0] and float(together) > 0.9


def test_hidden_texels_and_their_neighbours_do_not_count():
    position, normal = curved_proxy(dtype=torch.float32)
    valid = torch.ones(1, 1, SIDE, SIDE)
    valid[:, :, 5, 5] = 0
    inner = eroded(valid)
    assert inner[0, 0, 4:7, 4:7].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]] and inner[0, 0, 0].sum() == 0
    displacement = torch.zeros(1, 1, SIDE, SIDE, requires_grad=True)
    broken = position.clone()
    broken[:, :, 5, 5] = 1e6
    texture, albedo = torch.rand(1, 3, SIDE, SIDE), torch.full_like(position, 0.5)
    arguments = (texture, broken, normal, albedo, some_light(dtype=torch.float32), texel_weights(inner))
    loss = appearance_loss(displacement, *arguments)
    loss.backward()
    assert displacement.grad is not None and torch.isfinite(displacement.grad).all()
    clean = appearance_loss(displacement, texture, position, *arguments[2:])
    assert float(loss.detach()) == pytest.approx(float(clean.detach()), rel=1e-6)


def test_nothing_valid_gives_no_loss_and_no_nan():
    position, normal = curved_proxy(dtype=torch.float32)
    nothing = torch.zeros(1, 1, SIDE, SIDE)
    displacement = torch.zeros_like(nothing, requires_grad=True)
    loss = appearance_loss(
        displacement, 0 * position, 0 * position, 0 * normal, 0 * position, 0 * some_light(dtype=torch.float32),
        texel_weights(nothing),
    )  # fmt: skip
    loss.backward()
    assert float(loss.detach()) == 0 and displacement.grad is not None and float(displacement.grad.abs().max()) == 0


def geometry(preset, found_mm: float, truth_mm: float, valid: torch.Tensor, pdim_only: bool = False):
    network = new_dfdn(preset, random_basis(), ABOUT).network
    maps = torch.full((2, 1, PATCH, PATCH), found_mm)
    truth = torch.full_like(maps, truth_mm)
    truth[valid == 0] = 99.0
    coefficients = torch.zeros(2, 16)
    return geometry_loss(preset, network, (maps, maps, coefficients), truth, valid, texel_weights(valid), pdim_only)


def test_geometry_loss_is_the_mean_distance_in_height_scales_over_valid_texels():
    valid = torch.ones(2, 1, PATCH, PATCH)
    valid[0, :, 5:] = 0
    tiny = {"fc": (8,), "pdim_channels": (8, 8), "pdrm_channels": (8, 8)}
    paper = replace(PRESETS["paper"], **tiny)
    terms = geometry(paper, 0.03, 0.01, valid)
    assert set(terms) == {"pca", "fine"}
    assert all(float(value) == pytest.approx(0.02 / ABOUT.height_scale_mm, rel=1e-5) for value in terms.values())
    assert set(geometry(paper, 0.03, 0.01, valid, pdim_only=True)) == {"pca"}
    released = geometry(replace(PRESETS["released"], **tiny), 0.03, 0.01, valid)
    assert float(released["pca"]) == pytest.approx(5 * float(released["fine"])) and float(released["coefficients"]) > 0
    ours = geometry(PRESETS["small"], 0.03, 0.01, valid)
    assert float(ours["slope"]) == 0  # a constant offset has no slope


def test_huber_is_quadratic_below_and_linear_above():
    values = distance("huber", torch.tensor([0.0, 0.1, 0.5, 1.5, -1.5]))
    assert values.tolist() == pytest.approx([0, 0.01, 0.25, 1.25, 1.25])


@pytest.mark.parametrize("kind", ["log", "lsgan"])
def test_adversarial_losses_reward_the_right_side(kind):
    high, low = torch.full((1, 1, 3, 3), 3.0), torch.full((1, 1, 3, 3), -3.0)
    if kind == "lsgan":
        high, low = torch.ones_like(high), torch.zeros_like(low)
    assert float(discriminator_loss(kind, high, low)) < 0.1 < float(discriminator_loss(kind, low, high))
    assert float(generator_loss(kind, high)) < 0.1 < float(generator_loss(kind, low))


def test_schedule_is_the_papers_and_stretches():
    phases = [PAPER_SCHEDULE.phase(epoch) for epoch in (0, 9.9, 10, 14.9, 15, 249)]
    assert phases == ["pdim", "pdim", "supervised", "supervised", "alternating", "alternating"]
    rates = [PAPER_SCHEDULE.rate(epoch) for epoch in (0, 100, 175, 250)]
    assert rates == pytest.approx([1, 1, 0.5, 0])
    short = PAPER_SCHEDULE.scaled(2.5)
    assert short.phase(0.099) == "pdim" and short.phase(0.16) == "alternating"
    assert short.rate(1.75) == pytest.approx(0.5)
    with pytest.raises(UserError, match="epochs"):
        PAPER_SCHEDULE.scaled(0)


def test_srgb_has_a_finite_slope_at_black():
    dark = torch.zeros(3, requires_grad=True)
    srgb_from_linear_torch(dark).sum().backward()
    assert dark.grad is not None and torch.isfinite(dark.grad).all()
