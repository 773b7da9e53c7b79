"""The torch reader: right values, lazy handles, order, ranks, damage."""

import pickle

import numpy as np
import pytest
from dataset_fixtures import made_dataset

from mesoface.capture.errors import UserError
from mesoface.dataset.dataset_index import read_split
from mesoface.dataset.face_areas import Area
from mesoface.dataset.patch_shards import ShardReader
from mesoface.dataset.torch_patches import EpochSampler, PatchDataset

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("torch")
    made_dataset(root)
    return root / "set"


def test_items_are_what_the_shards_hold(folder):
    patches = PatchDataset(folder, "all")
    assert len(patches) == 120
    with ShardReader(folder / "scan-002.h5") as shard:
        stored = shard.arrays(3)
    item = patches[83]
    assert item["displacement_mm"].shape == (1, 32, 32) and item["displacement_mm"].dtype == torch.float32
    np.testing.assert_array_equal(item["displacement_mm"][0].numpy(), stored["displacement_mm"])
    np.testing.assert_allclose(
        item["texture_linear"].numpy(), stored["texture_linear"].transpose(2, 0, 1) / 65535, atol=1e-6
    )
    assert item["valid"].max() == 1 and item["region"].dtype == torch.int64


def test_splits_and_areas_are_kept_apart(folder):
    split = read_split(folder)
    counts = {}
    for name in ("train", "val", "test"):
        patches = PatchDataset(folder, name)
        counts[name] = len(patches)
        assert {info.subject for info in patches.infos} == set(split[name])
    assert counts == {"train": 80, "val": 20, "test": 20}
    upper, lower = (PatchDataset(folder, "all", area=area) for area in (Area.UPPER, Area.LOWER))
    assert len(upper) + len(lower) == 120 and all(info.area == Area.UPPER for info in upper.infos)


def test_workers_of_both_kinds_read_the_same(folder):
    patches = PatchDataset(folder, "val")
    direct = torch.stack([patches[k]["displacement_mm"] for k in range(len(patches))])  # handles are open now
    for context in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(patches, batch_size=5, num_workers=1, multiprocessing_context=context)
        read = torch.cat([batch["displacement_mm"] for batch in loader])
        assert torch.equal(read, direct)
    assert len(pickle.dumps(patches)) < 50_000


def test_order_is_seeded_and_dealt_out_to_ranks():
    whole = EpochSampler(103, seed=1)
    first = list(whole)
    assert sorted(first) == list(range(103)) and first == list(EpochSampler(103, seed=1))
    whole.set_epoch(1)
    assert list(whole) != first
    ranks = [EpochSampler(103, seed=1, rank=r, ranks=4) for r in range(4)]
    dealt = [list(sampler) for sampler in ranks]
    assert {len(own) for own in dealt} == {25} and len(set().union(*dealt)) == 100
    ranks[2].set_epoch(0, start=10)
    assert list(ranks[2]) == dealt[2][10:] and len(ranks[2]) == 15


def test_damaged_shards_are_refused(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "set")
    path = tmp_path / "set/scan-001.h5"
    data = bytearray(path.read_bytes())
    data[-5000] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"scan-001\.h5: its contents"):
        PatchDataset(tmp_path / "set")
    path.unlink()
    with pytest.raises(UserError, match=r"scan-001\.h5: is missing"):
        PatchDataset(tmp_path / "set", verify=False)
    with pytest.raises(UserError, match="no wild patches"):
        PatchDataset(folder, kind="wild")


def test_augmentation_is_seeded_and_keeps_heights(folder):
    plain, changed = PatchDataset(folder, "val"), PatchDataset(folder, "val", augment_seed=3)
    loader = torch.utils.data.DataLoader(changed, batch_size=None, num_workers=1, persistent_workers=True)
    first = list(loader)
    changed.set_epoch(1)
    second = list(loader)
    changed.set_epoch(0)
    flips = [item["flipped"] for item in first]
    assert 0 < sum(flips) < len(flips) and flips != [item["flipped"] for item in second]
    for k, item in enumerate(first):
        own = plain[k]
        height = own["displacement_mm"].flip(-1) if item["flipped"] else own["displacement_mm"]
        assert torch.equal(item["displacement_mm"], height)
        ratio = (item["texture_linear"].mean((1, 2)) / own["texture_linear"].mean((1, 2))).numpy()
        assert (0.4 < ratio).all() and (ratio < 2.2).all() and ratio.std() > 1e-3
        assert torch.equal(changed[k]["texture_linear"], item["texture_linear"])


def test_mirrored_wild_patch_is_the_mirrored_face():
    from mesoface.dataset.augment import mirrored
    from mesoface.reconstruct.face_model import Region
    from mesoface.reconstruct.harmonic_light import HarmonicLight

    rng = np.random.default_rng(0)
    normal = rng.standard_normal((4, 4, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = rng.standard_normal((9, 3))
    light[0] = 9
    region = np.full((4, 4), Region.CHEEK_LEFT, np.uint8)
    made = mirrored({"normal": normal, "light": light, "region": region})
    assert (made["region"] == Region.CHEEK_RIGHT).all()
    before, after = HarmonicLight(light).shading(normal), HarmonicLight(made["light"]).shading(made["normal"])
    np.testing.assert_allclose(after, before[:, ::-1], rtol=1e-5)
