"""Structure of the DFDN: sizes as published, millimetres at the boundary, patches that do not see each other."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from dfdn_fixtures import ABOUT, PATCH, random_basis

from mesoface.capture.errors import UserError
from mesoface.dataset.pca_basis import PcaBasis
from mesoface.model.dfdn_checkpoint import _plain
from mesoface.model.dfdn_input import cone_coordinates, srgb_from_linear_torch, texture_input
from mesoface.model.dfdn_model import load_dfdn, new_dfdn
from mesoface.model.dfdn_networks import build_dfdn, build_discriminator, count, levels
from mesoface.model.dfdn_presets import PRESETS, Preset, preset_from

PIXELS = 256


def big_basis() -> PcaBasis:
    zeros = np.zeros((64, PIXELS, PIXELS), np.float32)
    return PcaBasis(zeros, zeros[0], np.ones(64), 64.0, 100, "all")


def sizes(preset: Preset) -> tuple[int, int, int, int]:
    """Parameters of PDIM's convolutions, its fully connected layers, PDRM, and the discriminator."""
    with torch.device("meta"):
        return (*_body_sizes(preset), count(build_discriminator(preset)))


def _body_sizes(preset: Preset) -> tuple[int, int, int]:
    network = build_dfdn(preset, big_basis(), 0.5)
    parts = ("body.pdim.", "body.fc.", "body.pdrm.")
    return tuple(count(network, lambda name, part=part: name.startswith(part)) for part in parts)  # type: ignore[return-value]


def test_released_preset_has_the_published_parameter_counts():
    assert sizes(PRESETS["released"]) == (54_413_313, 136_875_584, 29_242_369, 2_765_505)


def test_paper_preset_differs_by_the_channels_of_its_inputs():
    # HSV and one plane of noise enter PDIM (3 x 64 x 16 weights more), the PCA map alone enters PDRM, HSV enters D
    expected = (54_413_313 + 3 * 64 * 16, 136_875_584, 29_242_369 - 64 * 16, 2_765_505 + 2 * 64 * 16)
    assert sizes(PRESETS["paper"]) == expected


def test_fast_preset_is_below_a_quarter_of_the_paper_preset_and_fits_in_40_mb():
    network = build_dfdn(PRESETS["fast"], big_basis(), 0.5)
    assert count(network) < sum(sizes(PRESETS["paper"])[:3]) / 4 and count(network) < 20e6
    assert sum(2 * value.numel() for value in network.state_dict().values()) < 40e6


@pytest.mark.parametrize("name", PRESETS)
def test_patches_do_not_depend_on_each_other(name: str):
    preset = PRESETS[name]
    if name in ("paper", "released"):
        preset = replace(preset, fc=(32, 16), pdim_channels=(16, 32, 32), pdrm_channels=(16, 32))
    model = new_dfdn(preset, random_basis(), ABOUT, seed=3)
    rng = np.random.default_rng(0)
    texture = rng.random((5, PATCH, PATCH, 3), dtype=np.float32)
    valid = np.ones((5, PATCH, PATCH), bool)
    valid[:, :7] = False
    texture[:, :7] = np.nan  # outside the mask anything may stand
    found = model.displacement_mm(texture, valid)
    assert found.shape == (5, PATCH, PATCH) and found.dtype == np.float32
    assert np.all(found[:, :7] == 0) and found[:, 7:].std() > 1e-5
    alone = np.concatenate([model.displacement_mm(texture[k : k + 1], valid[k : k + 1]) for k in range(5)])
    assert np.abs(found - alone).max() < 1e-5 * np.abs(found).max() + 1e-7
    partial = model.displacement_mm(texture, valid, pdim_only=True)
    assert np.abs(partial - found).max() > 1e-5


@pytest.mark.parametrize("name", ["small", "fast"])
def test_training_starts_at_the_zero_map_and_every_weight_learns(name: str):
    torch.manual_seed(0)
    network = build_dfdn(PRESETS[name], random_basis(), 0.1)
    texture, valid = torch.rand(2, 3, PATCH, PATCH), torch.ones(2, 1, PATCH, PATCH)
    seen = network.prepare(texture, valid)
    assert float(network(seen)[1].detach().abs().max()) == 0
    for layer in network.body.last_layers():
        torch.nn.init.normal_(layer.weight, 0, 0.02)
    pca, fine, _ = network(seen, None, valid)
    (pca.square().mean() + (fine - 0.01).square().mean()).backward()
    # a normalisation without affine shift before it leaves a bias without effect: gradients may be tiny, not absent
    assert all(p.grad is not None for p in network.parameters())


def test_pca_map_lies_in_the_span_of_the_basis_and_coefficients_are_mm():
    basis = random_basis()
    model = new_dfdn(PRESETS["small"], basis, ABOUT)
    seen = model.network.prepare(torch.rand(2, 3, PATCH, PATCH), torch.ones(2, 1, PATCH, PATCH))
    with torch.inference_mode():
        pca, _, coefficients = model.network(seen)
    assert np.allclose(basis.patches_mm(coefficients.numpy()), pca[:, 0].numpy(), atol=1e-6)
    assert np.allclose(basis.coefficients(pca[:, 0].numpy()), coefficients.numpy(), atol=1e-5)


def test_small_patches_use_fewer_levels():
    assert levels(256, PRESETS["paper"].pdim_channels) == PRESETS["paper"].pdim_channels
    assert len(levels(96, PRESETS["paper"].pdim_channels)) == 5


def test_noise_changes_the_result_and_is_zero_at_inference():
    preset = replace(PRESETS["small"], noise_channels=1)
    network = new_dfdn(preset, random_basis(), ABOUT).network
    seen = network.prepare(torch.rand(1, 3, PATCH, PATCH), torch.ones(1, 1, PATCH, PATCH))
    noise = torch.randn(1, 1, PATCH, PATCH)
    with torch.inference_mode():
        plain = network(seen)[1]
        assert torch.equal(plain, network(seen, torch.zeros_like(noise))[1])
        assert float((plain - network(seen, noise)[1]).abs().max()) > 1e-6


def test_region_conditioning_needs_and_uses_regions():
    model = new_dfdn(replace(PRESETS["fast"], region_conditioning=True), random_basis(), ABOUT)
    texture, valid = np.full((1, PATCH, PATCH, 3), 0.5, np.float32), np.ones((1, PATCH, PATCH), bool)
    with pytest.raises(UserError, match="region"):
        model.displacement_mm(texture, valid)
    first, second = (model.displacement_mm(texture, valid, region=np.full((1, PATCH, PATCH), k)) for k in (1, 6))
    assert np.abs(first - second).max() > 1e-6


def test_brightness_of_the_photograph_hardly_matters_to_local_input():
    rng = np.random.default_rng(0)
    bright = torch.from_numpy(rng.uniform(0.5, 0.9, (1, 3, PATCH, PATCH)).astype(np.float32))
    valid = torch.ones(1, 1, PATCH, PATCH)
    first, second = (texture_input(PRESETS["small"], k * bright, valid) for k in (1.0, 0.6))
    assert float((first[:, 1:] - second[:, 1:]).abs().max()) < 0.05 < float(first[:, 1:2].abs().max())
    assert float((first[:, 0] - second[:, 0]).abs().max()) < 0.15 < float(first[:, 0].std())


@pytest.mark.parametrize("name", PRESETS)
def test_invalid_texels_make_no_cliff(name: str):
    texture, valid = torch.full((1, 3, PATCH, PATCH), 0.7), torch.ones(1, 1, PATCH, PATCH)
    valid[:, :, 10:] = 0
    texture[:, :, 10:] = 0
    planes = texture_input(PRESETS[name], texture, valid)
    assert float((planes - planes[:, :, :1, :1]).abs().max()) < 1e-5 and torch.isfinite(planes).all()
    assert torch.isfinite(texture_input(PRESETS[name], texture, torch.zeros_like(valid))).all()


def test_hue_is_continuous_across_red():
    rosy = torch.tensor([[0.8, 0.5, 0.502], [0.8, 0.502, 0.5]])[:, :, None, None]
    first, second = cone_coordinates(rosy)
    assert float((first - second).abs().max()) < 0.01
    import colorsys

    hues = [colorsys.rgb_to_hsv(*colour.flatten().tolist())[0] for colour in rosy]
    assert abs(hues[0] - hues[1]) > 0.9  # hue as a number jumps from 1 to 0 here


def test_srgb_encoding_is_that_of_the_rest_of_the_project():
    from mesoface.capture.image_files import srgb_from_linear

    linear = np.linspace(0, 1, 500, dtype=np.float32)
    assert (
        np.abs(255 * srgb_from_linear_torch(torch.from_numpy(linear)).numpy() - srgb_from_linear(linear)).max() < 0.51
    )


def test_presets_survive_being_plain_data_and_reject_nonsense():
    for preset in PRESETS.values():
        assert preset_from(_plain(asdict(preset))) == preset
    with pytest.raises(UserError, match="gan"):
        replace(PRESETS["small"], gan="wasserstein")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="another version"):
        preset_from({**asdict(PRESETS["small"]), "dropout": 0.5})


def test_wrong_patches_are_refused():
    model = new_dfdn(PRESETS["small"], random_basis(), ABOUT)
    with pytest.raises(UserError, match="32"):
        model.displacement_mm(np.zeros((1, 64, 64, 3), np.float32), np.ones((1, 64, 64), bool))


def test_exported_model_gives_the_same_map(tmp_path):
    model = new_dfdn(PRESETS["fast"], random_basis(), ABOUT)
    model.export(tmp_path / "dfdn.npz")
    again = load_dfdn(tmp_path / "dfdn.npz")
    assert again.preset == model.preset and again.about == model.about
    texture = np.random.default_rng(0).random((2, PATCH, PATCH, 3), dtype=np.float32)
    valid = np.ones((2, PATCH, PATCH), bool)
    first, second = model.displacement_mm(texture, valid), again.displacement_mm(texture, valid)
    assert 0 < np.abs(first - second).max() < 5e-3 * np.abs(first).max()  # float16


def test_missing_and_damaged_models_are_told(tmp_path):
    with pytest.raises(UserError, match=r"best\.pt"):
        load_dfdn(tmp_path)
    for name, data in (("a.npz", b"PK\x03\x04 cut"), ("b.pt", b"PK\x03\x04 cut"), ("c.npz", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            load_dfdn(tmp_path / name)
    np.savez(tmp_path / "d.npz", format="else")
    with pytest.raises(UserError, match="another kind"):
        load_dfdn(tmp_path / "d.npz")
    torch.save({"a": 1}, tmp_path / "e.pt")
    with pytest.raises(UserError, match="another kind"):
        load_dfdn(tmp_path / "e.pt")
