"""Scores against a known truth: exact for perfect and for half-strong predictions, honest baselines, bad input."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_fixtures import OPTIONS as ALL_OPTIONS
from dataset_fixtures import PATCH, made_maps, written_patches
from synthesis_fixtures import About, Function

from mesoface.capture.errors import UserError
from mesoface.dataset.assemble import assemble
from mesoface.dataset.dataset_index import read_index
from mesoface.dataset.pca_basis import fit_pca, write_pca
from mesoface.dataset.torch_patches import PatchDataset
from mesoface.flows.cli import main
from mesoface.model.detail_scores import HEADLINE_MM, Tally, judged_texels, octaves_mm, patch_parts
from mesoface.model.dfdn_evaluate import NETWORK, ORACLE, PDIM, SHADING, ZERO, evaluate, extreme_patches
from mesoface.model.dfdn_model import DfdnAbout, new_dfdn
from mesoface.model.dfdn_presets import PRESETS
from mesoface.model.shading_baseline import fit_shading
from mesoface.reconstruct.face_frame import srgb_to_linear
from mesoface.reconstruct.photo import encoded_srgb

OPTIONS = replace(ALL_OPTIONS, count=6)
TINY = replace(PRESETS["fast"], name="tiny", pdim_channels=(8, 8, 8, 8, 8), pdrm_channels=(8, 8))
SIZE, MIDDLE, GREY_PER_MM = 256, 0.4, 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faces whose grey value is their height, with yaw in the names of half of them; and a PCA basis."""
    place = tmp_path_factory.mktemp("scored")
    (place / "faces").mkdir()
    faces = []
    for number in range(6):
        maps = made_maps(f"S{number}", "smile" if number % 2 else "", 7 * number)
        grey = (MIDDLE + GREY_PER_MM * maps.displacement_mm)[..., None] * np.ones(3, np.float32)
        scan = f"S{number}_scan" + ("" if number < 3 else f"_yaw{'+-'[number % 2]}{4 + 10 * (number % 3)}")
        source = replace(maps.source, scan=scan)
        faces.append(written_patches(place / "faces", replace(maps, source=source, texture_linear=grey), OPTIONS))
    assemble(faces, place / "set", "scored", shard_patches=100)
    patches = PatchDataset(place / "set", "all")
    heights = np.stack([patches[k]["displacement_mm"][0].numpy() for k in range(len(patches))])
    write_pca(place / "set" / "pca.npz", fit_pca(lambda: iter([heights]), components=12), {})
    return place / "set"


def reader(strength: float = 1.0, **about: Any) -> Function:
    """A network that has seen through the fixture: it reads the height from the grey value."""
    return Function(
        replace(About(map_size=SIZE, patch_px=PATCH, texel_mm=0.4), **about),
        lambda t: strength * (srgb_to_linear(t[..., 0]) - MIDDLE) / GREY_PER_MM,
    )


def test_a_perfect_network_has_no_error_and_the_zero_map_that_of_the_truth(folder):
    found = evaluate(reader(), folder, split="all", batch=7)
    network, zero = (found.scores[name]["all"] for name in (NETWORK, ZERO))
    assert network.rmse_um < 0.5 and network.headline.gain == pytest.approx(1, abs=1e-3)
    assert network.headline.correlation > 0.9999 and network.normal_mean_deg < 0.1
    patches = PatchDataset(folder, "all")
    truth, angles = [], []
    for number in range(len(patches)):
        valid = patches[number]["valid"][0].numpy() > 0
        height = patches[number]["displacement_mm"][0].numpy()
        judged = judged_texels(valid)
        truth.append(height[judged])
        down, across = np.gradient(np.where(valid, height, 0), read_index(folder).texel_mm)
        angles.append(np.degrees(np.arctan(np.hypot(down, across)))[judged])
    truth, angles = np.concatenate(truth), np.concatenate(angles)
    assert zero.rmse_um == pytest.approx(1000 * np.sqrt(np.mean(truth**2)), rel=1e-4)
    assert zero.median_um == pytest.approx(1000 * np.median(np.abs(truth)), abs=0.5)
    assert zero.normal_mean_deg == pytest.approx(angles.mean(), rel=1e-3)
    assert zero.normal_median_deg == pytest.approx(np.median(angles), abs=0.05)
    assert zero.headline.gain == 0 and zero.headline.rmse_um == pytest.approx(zero.headline.true_um)
    assert found.patches == len(patches) and zero.texels == len(truth)
    assert (zero.headline.shortest_mm, zero.headline.longest_mm) == HEADLINE_MM


def test_half_the_height_is_half_the_gain_and_half_the_error(folder):
    found = evaluate(reader(0.5), folder, split="all")
    network, zero, pdim = (found.scores[name]["all"] for name in (NETWORK, ZERO, PDIM))
    for own, flat in ((network.headline, zero.headline), *zip(network.octaves, zero.octaves, strict=True)):
        assert own.gain == pytest.approx(0.5, abs=0.01) and own.correlation > 0.999
        assert own.rmse_um == pytest.approx(flat.rmse_um / 2, rel=0.02)
    assert pdim.headline.gain == pytest.approx(0.25, abs=0.01), "PDIM alone is scored by itself"


def test_a_band_sees_its_own_wavelengths_alone():
    side, texel_mm = 128, 0.4
    columns = np.mgrid[:side, :side][1] * texel_mm
    truth = 0.1 * np.sin(2 * np.pi * columns / 4.5)
    drift = truth + 0.3 * np.sin(2 * np.pi * columns / 80)
    valid = np.ones((side, side), bool)
    judged = judged_texels(valid)
    bands = octaves_mm(texel_mm, side)
    assert bands[0] == (0.8, 1.6) and bands[-1][1] == pytest.approx(12.8) and len(bands) == 4
    tally = Tally(texel_mm, side)
    one, other = patch_parts([drift, truth], valid, texel_mm)
    tally.add(one, other, judged)
    score = tally.score()
    assert score.rmse_um > 150 and score.headline.rmse_um < 10 and score.headline.gain == pytest.approx(1, abs=0.03)
    assert score.headline.true_um == pytest.approx(70.7, rel=0.25)
    strongest = max(score.octaves, key=lambda band: band.true_um)
    assert strongest.shortest_mm <= 4.5 <= strongest.longest_mm


def test_groups_by_region_expression_and_yaw(folder):
    found = evaluate(reader(), folder, split="all")
    groups = found.scores[NETWORK]
    patches = PatchDataset(folder, "all")
    assert {name for name in groups if name.startswith("expression")} == {"expression unknown", "expression smile"}
    yaws = {name: groups[name].patches for name in groups if name.startswith("yaw")}
    assert set(yaws) == {"yaw unknown", "yaw 0-10", "yaw 10-20", "yaw 20-30"} and sum(yaws.values()) == len(patches)
    centres = [name for name in groups if name.startswith("region")]
    assert sum(groups[name].patches for name in centres) == len(patches) and len(centres) >= 2
    by_texel = [name for name in groups if name.startswith("texels")]
    assert sum(groups[name].texels for name in by_texel) == groups["all"].texels
    assert groups["texels forehead"].headline.true_um > 2 * groups["texels chin"].headline.true_um


def test_baselines_are_what_they_say(folder):
    found = evaluate(reader(0.0), folder, split="test")
    shading, oracle, zero = (found.scores[name]["all"].headline for name in (SHADING, ORACLE, ZERO))
    assert shading.gain > 0.65 and shading.rmse_um < 0.75 * zero.rmse_um, "brightness tells all of it here"
    assert oracle.rmse_um < zero.rmse_um and 0 < oracle.gain < 1.01
    assert any("12 components" in note for note in found.notes)


def test_the_shading_baseline_is_linear_in_brightness(folder):
    patches = PatchDataset(folder, "train")
    fitted = fit_shading(patches, 0.4, most=20)
    item = patches[0]
    valid, texture = item["valid"][0].numpy() > 0, item["texture_linear"].numpy().transpose(1, 2, 0)
    height = fitted.height_mm(texture, valid, patches.infos[0].label)
    brighter = fitted.height_mm(np.clip(1.02 * texture, 0, None), valid, patches.infos[0].label)
    judged = judged_texels(valid)
    assert fitted.patches == 20 and np.corrcoef(height[judged], item["displacement_mm"][0].numpy()[judged])[0, 1] > 0.8
    np.testing.assert_allclose(height, brighter, atol=0.05 * np.abs(height).max() + 1e-6)  # exposure says nothing


def test_without_training_patches_or_basis_the_rest_is_scored(folder, tmp_path):
    lone = tmp_path / "set"
    shutil.copytree(folder, lone)
    (lone / "pca.npz").unlink()
    split = json.loads((lone / "split.json").read_text())
    everybody = sorted({subject for name in ("train", "val", "test") for subject in split[name]})
    (lone / "split.json").write_text(json.dumps({"seed": 0, "train": [], "val": [], "test": everybody}))
    found = evaluate(reader(), lone, limit=9)
    assert set(found.scores) == {ZERO, PDIM, NETWORK} and found.patches == 9
    assert sum("no shading baseline" in note or "no PCA oracle" in note for note in found.notes) == 2
    other = evaluate(reader(), lone, limit=9, baseline_from=folder)
    assert SHADING in other.scores
    with pytest.raises(UserError, match="no scan patches in split val"):
        evaluate(reader(), lone, split="val")


@pytest.mark.parametrize(
    ("about", "words"),
    [({"patch_px": 64}, "patch_px is 32"), ({"face_model": "bfm"}, "face_model is 'procedural'"),
     ({"map_size": 1024}, "map_size is 256")],
)  # fmt: skip
def test_a_network_of_another_dataset_is_refused(folder, about, words):
    with pytest.raises(UserError, match=words):
        evaluate(reader(**about), folder)


def test_worst_and_best_patches(folder):
    found = evaluate(reader(0.7), folder, limit=12)
    worst, best = extreme_patches(found, 3)
    assert len(worst) == len(best) == 3
    assert worst[0].error_um == max(one.error_um for one in found.results)
    middle = np.median([one.true_um for one in found.results])
    assert all(one.true_um >= middle for one in best)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random weights, exported."""
    from mesoface.dataset.pca_basis import read_pca

    index = read_index(folder)
    about = DfdnAbout(
        index.face_model, index.map_size, PATCH, index.texel_mm, index.height_scale_mm, "all", "", "", "random weights"
    )
    path = tmp_path_factory.mktemp("network") / "net.npz"
    new_dfdn(TINY, read_pca(folder / "pca.npz"), about).export(path)
    return path


def test_the_command_writes_a_report_and_numbers(folder, trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(trained), str(folder), "--out", str(out), "--split", "all", "--limit", "14"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in (ZERO, SHADING, ORACLE, PDIM, NETWORK, "forehead", "14 of"))
    content = json.loads((out / "evaluate.json").read_text())
    assert content["patches"] == 14 and content["scores"][NETWORK]["all"]["texels"] > 1000
    page = (out / "report.html").read_text()
    assert page.count("<img") == 12 and page.count("<svg") == 3 and "http" not in page
    assert main(["evaluate", str(trained), str(folder), "--limit", "2", "--json", "--baseline-from", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["trained_on"] == "random weights"
    assert (trained.parent / f"net-evaluate-{folder.name}-test" / "report.html").is_file()


def test_the_commands_mistakes_are_one_message(folder, trained, tmp_path, capsys):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(trained.read_bytes()[:500])
    for command, words in (
        ([str(tmp_path / "no"), str(folder)], "no such"),
        ([str(damaged), str(folder)], "cannot be read"),
        ([str(trained), str(tmp_path)], "dataset.json"),
        ([str(trained), str(folder), "--batch", "0"], "batch is 0"),
        ([str(trained), str(folder), "--limit", "0"], "limit is 0"),
    ):
        assert main(["evaluate", *command]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert words in message and "Traceback" not in message


def test_encoding_is_undone_exactly():
    grey = np.linspace(0, 1, 50, dtype=np.float32)
    np.testing.assert_allclose(srgb_to_linear(encoded_srgb(grey)), grey, atol=1e-5)
