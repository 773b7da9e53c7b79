"""Patches to one map: an exact blend whatever the batch, memory that runs out, masks, areas, borders."""

from dataclasses import replace

import numpy as np
import pytest
from synthesis_fixtures import About, Function, grey_height

from mesoface.capture.errors import UserError
from mesoface.dataset.face_areas import Area
from mesoface.dataset.pca_basis import PcaBasis
from mesoface.model.dfdn_model import DfdnAbout, new_dfdn
from mesoface.model.dfdn_presets import PRESETS
from mesoface.model.patch_blend import PatchBlend, patch_weight
from mesoface.model.synthesis import FADE_MM, border_fade, enlarged, synthesize
from mesoface.reconstruct.face_model import Region

SIZE, FADE = 192, round(FADE_MM / 0.5)


def face(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy texture and a round mask."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    valid = (rows - 95.5) ** 2 + (columns - 95.5) ** 2 < 80**2
    return np.random.default_rng(seed).uniform(0, 1, (SIZE, SIZE, 3)).astype(np.float32), valid


def inner(valid: np.ndarray) -> np.ndarray:
    """Where nothing fades."""
    return border_fade(valid, 0.5) == 1


@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_blending_keeps_what_all_patches_agree_on(overlap):
    texture, valid = face()
    found = synthesize(Function(About(), grey_height), texture, valid, overlap=overlap)
    assert (found.valid == valid).all(), "every valid texel is covered"
    np.testing.assert_allclose(found.displacement_mm[inner(valid)], grey_height(texture)[inner(valid)], atol=1e-6)
    assert not found.displacement_mm[~valid].any()
    step = 16 if overlap == 0.5 else 8
    assert 0.55 * ((SIZE - 32) / step) ** 2 < found.patches < ((SIZE - 32) / step + 1) ** 2


def test_weight_is_the_gaussian_of_the_released_code():
    weight = patch_weight(256)
    assert weight[0, 127] / weight[127, 127] == pytest.approx(np.exp(-(127.5**2 - 0.25) / (2 * 50**2)), rel=1e-5)
    assert weight[10, 20] == pytest.approx(weight[10, 127] * weight[127, 20] / weight[127, 127], rel=1e-5)
    assert patch_weight(128)[0, 63] == pytest.approx(weight[0, 127], rel=0.04), "sigma scales with the patch"


def test_patches_that_disagree_meet_without_a_step():
    texture, valid = face()
    # one number per patch: the network's own mean wanders from patch to patch
    found = synthesize(
        Function(About(), lambda t: np.broadcast_to(t.mean((1, 2, 3))[:, None, None] * 100, t.shape[:3])),
        texture, valid, overlap=0.5,
    )  # fmt: skip
    inside = inner(valid)
    values = found.displacement_mm
    spread = np.ptp(values[inside])
    steps = np.abs(np.diff(values, axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert spread > 1 and steps.max() < 0.25 * spread


def test_result_does_not_depend_on_the_batch():
    texture, valid = face(1)
    results = [synthesize(Function(About(), grey_height), texture, valid, batch=batch) for batch in (1, 7, 1000)]
    assert all(np.array_equal(results[0].displacement_mm, other.displacement_mm) for other in results[1:])


def tiny_network(side: int = 32):
    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.standard_normal((side * side, 64)))[0].T.reshape(64, side, side).astype(np.float32)
    basis = PcaBasis(rows, np.zeros((side, side), np.float32), np.full(64, 0.01), 1.0, 100, "all")
    about = DfdnAbout("procedural", SIZE, side, 0.5, 0.5, "all", "", "", "random weights")
    tiny = replace(PRESETS["fast"], name="tiny", pdim_channels=(8, 8, 8, 8, 8), pdrm_channels=(8, 8))
    return new_dfdn(tiny, basis, about, seed=3)


def test_a_real_network_does_not_depend_on_the_batch_either():
    texture, valid = face(2)
    valid[:, 110:] = False
    network = tiny_network()
    one, many = (synthesize(network, texture, valid, batch=batch).displacement_mm for batch in (1, 64))
    assert np.abs(one).max() > 1e-3, "random weights give something"
    np.testing.assert_allclose(one, many, atol=1e-4 * np.abs(one).max())


def test_memory_that_runs_out_halves_the_batch_and_is_told():
    texture, valid = face(3)
    told: list[str] = []
    small = Function(About(), grey_height, most=3)
    found = synthesize(small, texture, valid, batch=16, tell=told.append)
    whole = synthesize(Function(About(), grey_height), texture, valid)
    assert np.array_equal(found.displacement_mm, whole.displacement_mm) and found.batch == 2
    assert [text.split("; ")[1] for text in told] == ["going on with 8", "going on with 4", "going on with 2"]
    with pytest.raises(UserError, match="single patch"):
        synthesize(Function(About(), grey_height, most=0), texture, valid)


def test_other_errors_of_a_network_are_not_taken_for_missing_memory():
    def broken(texture: np.ndarray) -> np.ndarray:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        synthesize(Function(About(), broken), *face())


def test_texels_that_are_no_numbers_are_left_out_and_told():
    texture, valid = face(4)
    texture[90:100, 90:100] = np.nan
    told: list[str] = []
    found = synthesize(Function(About(), grey_height), texture, valid, tell=told.append)
    assert np.isfinite(found.displacement_mm).all() and not found.displacement_mm[90:100, 90:100].any()
    assert told and told[0].startswith("100 texels")
    with pytest.raises(UserError, match="no numbers, expected"):
        synthesize(Function(About(), lambda t: np.full(t.shape[:3], np.nan)), *face())
    constant = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    assert not synthesize(Function(About(), grey_height), constant, valid).displacement_mm.any()


def test_only_skin_is_predicted_and_the_border_has_no_cliff():
    texture = np.full((SIZE, SIZE, 3), 1.0, np.float32)  # 0.5 mm everywhere
    valid = np.ones((SIZE, SIZE), bool)
    region = np.full((SIZE, SIZE), Region.CHEEK_LEFT, np.uint8)
    region[60:130, 60:130] = Region.EYELID_LEFT
    found = synthesize(Function(About(), grey_height), texture, valid, region).displacement_mm
    assert not found[60:130, 60:130].any() and not found[0].any() == bool(found[0, 5] > 0.1)
    assert found[30, 30] == pytest.approx(0.5) and found[20, 100] == pytest.approx(0.5)
    steps = np.maximum(np.abs(np.diff(found, axis=0)).max(), np.abs(np.diff(found, axis=1)).max())
    assert steps < 0.5 * 2.2 / FADE, "it falls over 3 mm"


def test_narrow_gaps_are_bridged_but_not_wide_ones():
    texture, valid = face(5)
    valid[95, :] = False
    valid[40:60, 90:110] = False
    found = synthesize(Function(About(), grey_height), texture, valid)
    assert found.valid[95, 60:130].all() and not found.valid[44:56, 94:106].any()


def test_models_of_areas_are_blended_where_they_meet():
    texture, valid = face(6)
    area = np.where(np.arange(SIZE)[:, None] < 96, Area.UPPER, Area.LOWER) * np.ones((1, SIZE), int)
    upper = Function(About(area="UPPER"), lambda t: np.ones(t.shape[:3]))
    lower = Function(About(area="LOWER"), lambda t: -np.ones(t.shape[:3]))
    found = synthesize([upper, lower], texture, valid, area=area).displacement_mm
    assert found[60, 96] == pytest.approx(1) and found[130, 96] == pytest.approx(-1)
    across = found[86:106, 96]
    assert (np.diff(across) <= 1e-6).all() and np.abs(np.diff(across)).max() < 0.6
    assert abs(found[95, 96] + found[96, 96]) < 0.1
    with pytest.raises(UserError, match="map of areas"):
        synthesize([upper, lower], texture, valid)


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([Function(About(map_size=256), grey_height)], "maps of 256 texels"),
        ([Function(About(), grey_height), Function(About(patch_px=64), grey_height)], "do not belong together"),
        ([], "no network"),
    ],
)
def test_maps_and_models_that_do_not_fit(models, words):
    with pytest.raises(UserError, match=words):
        synthesize(models, *face())


def test_nothing_seen_is_a_users_error():
    texture, valid = face()
    with pytest.raises(UserError, match="no skin of the face was seen"):
        synthesize(Function(About(), grey_height), texture, valid & False)


def test_enlarging_keeps_heights_and_zeros():
    rows = np.arange(SIZE)[:, None] / SIZE * np.ones((1, SIZE))
    small = (0.1 * np.sin(12 * rows) * (rows > 0.3)).astype(np.float32)
    large = enlarged(small, 2 * SIZE)
    exact = 0.1 * np.sin(12 * (np.arange(2 * SIZE) - 0.5) / 2 / SIZE)
    np.testing.assert_allclose(large[150:-4, 7], exact[150:-4], atol=4e-4)
    assert not large[: 2 * 57].any() and large.shape == (2 * SIZE, 2 * SIZE)


def test_an_empty_blend_is_zero():
    assert not PatchBlend(64, 16).result().any()
