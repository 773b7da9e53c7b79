"""Shards, index, split and assembly of a dataset."""

import h5py
import numpy as np
import pytest
from dataset_fixtures import OPTIONS, PATCH, hashes, made_dataset, made_maps, written_patches

from mesoface.capture.errors import UserError
from mesoface.dataset.assemble import assemble
from mesoface.dataset.dataset_index import read_index, read_split, verify_shards
from mesoface.dataset.patch_cut import cut_scan_patches, height_quantile_mm, scan_places
from mesoface.dataset.patch_sampling import SamplingOptions, greedy_places, grid_places
from mesoface.dataset.patch_shards import ShardReader
from mesoface.dataset.subject_split import ScanEntry, check_split, split_subjects
from mesoface.dataset.uv_maps import read_uv_maps, texel_length_mm, write_uv_maps
from mesoface.reconstruct.face_model import Region


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    index, faces = made_dataset(folder)
    return folder / "set", index, faces


def test_maps_survive_their_folder(tmp_path):
    maps = made_maps("S001", "smile", 3)
    write_uv_maps(tmp_path, maps)
    back = read_uv_maps(tmp_path)
    assert back.source == maps.source and back.texel_mm == maps.texel_mm
    for name in ("texture_linear", "displacement_mm", "position_mm", "normal", "valid", "region"):
        np.testing.assert_array_equal(getattr(back, name), getattr(maps, name))
    assert texel_length_mm(maps.position_mm, maps.valid) == pytest.approx(0.4, rel=1e-5)
    text = (tmp_path / "uv_maps.json").read_text()
    (tmp_path / "uv_maps.json").write_text(text.replace('"displacement_unit": "mm"', '"displacement_unit": "px"'))
    with pytest.raises(UserError, match="expected 'mm'"):
        read_uv_maps(tmp_path)


def test_greedy_patches_go_where_detail_is():
    maps = made_maps("S001", "neutral", 1)
    options = SamplingOptions(patch=PATCH, count=12, jitter=0, damping_sigma=120)
    places = greedy_places(maps.displacement_mm, maps.valid, maps.region, options, np.random.default_rng(0))
    assert len(places) == 12
    labels = [place.region for place in places]
    assert {Region.FOREHEAD, Region.CHEEK_RIGHT, Region.CHIN} == set(labels)  # every region has its quota
    assert labels.count(Region.FOREHEAD) >= 4
    centres = np.array([(p.row + PATCH / 2, p.column + PATCH / 2) for p in places])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + 1e3 * np.eye(12)
    assert apart.min() > 8  # damping keeps them from piling up
    for place in places:
        assert maps.valid[place.row : place.row + PATCH, place.column : place.column + PATCH].mean() >= 0.8
    # within a region the strongest gradient comes first: a bump beats flat skin
    bumped = 0 * maps.displacement_mm
    bumped[60:68, 60:68] = 1
    first = greedy_places(bumped, maps.valid, maps.region, options, np.random.default_rng(0))[0]
    assert abs(first.row + PATCH / 2 - 64) < 14 and abs(first.column + PATCH / 2 - 64) < 14


def test_grid_covers_every_valid_texel():
    valid = made_maps("S001", "neutral", 1).valid
    for overlap, least in ((0.5, 1), (0.75, 9)):
        count = np.zeros(valid.shape, int)
        for row, column in grid_places(valid, PATCH, overlap, least_valid=1e-6):
            count[row : row + PATCH, column : column + PATCH] += 1
        assert count[valid].min() >= least
    assert np.median(count[valid]) == 16


def test_shard_holds_what_was_cut_and_opens_with_plain_h5py(tmp_path):
    maps = made_maps("S001", "neutral", 1)
    face = written_patches(tmp_path, maps, seed=5)
    places = scan_places(maps, OPTIONS, 5)
    with h5py.File(face.path) as file:
        assert file.attrs["unit"] == "mm" and file["displacement_mm"].chunks == (1, PATCH, PATCH)  # pyright: ignore
        height = file["displacement_mm"][0]  # pyright: ignore
        assert bytes(file["subject"][0]) == b"S001"  # pyright: ignore
    place = places[0]
    window = np.s_[place.row : place.row + PATCH, place.column : place.column + PATCH]
    np.testing.assert_array_equal(height, maps.displacement_mm[window])
    with ShardReader(face.path) as shard:
        info = shard.infos()[0]
        assert (info.row, info.column, info.label, info.seed) == (place.row, place.column, place.region, 5)
        texture = shard.arrays(0)["texture_linear"]
        assert np.abs(texture / 65535 - maps.texture_linear[window]).max() < 1e-5
    again = written_patches(tmp_path, maps, seed=5)
    assert again.sha256 == face.sha256  # the same patches, the same bytes


def test_patches_know_their_area():
    maps = made_maps("S001", "neutral", 1)
    area = np.where(np.arange(256)[:, None] < 128, 1, 2) * np.ones((1, 256))
    patches = list(cut_scan_patches(maps, area.astype(np.uint8), scan_places(maps, OPTIONS, 0), OPTIONS, 0))
    for patch in patches:
        middle = patch.info.row + PATCH / 2
        assert patch.info.area == (1 if middle < 128 else 2) or abs(middle - 128) < 2


def test_split_keeps_subjects_whole_and_expressions_even():
    scans = [ScanEntry(f"{s}_{e}", f"S{s:03d}", e) for s in range(40) for e in ("neutral", "smile", "frown")]
    split = split_subjects(scans, seed=3)
    assert [len(split[name]) for name in ("train", "val", "test")] == [32, 4, 4]
    check_split(split, scans)
    assert split == split_subjects(list(reversed(scans)), seed=3) and split != split_subjects(scans, seed=4)
    uneven = [entry for entry in scans if entry.expression != "frown" or entry.subject < "S010"]
    held = split_subjects(uneven)
    frowns = {n: sum(e.expression == "frown" for e in uneven if e.subject in held[n]) for n in held}
    assert frowns["val"] >= 1 and frowns["test"] >= 1
    with pytest.raises(UserError, match="at least one each"):
        split_subjects(scans[:6])
    with pytest.raises(UserError, match="in train and in test"):
        check_split({**split, "test": split["train"][:1]}, scans)


def test_one_person_under_two_names_is_refused(tmp_path, built):
    _, _, faces = built
    maps = made_maps("S999", "neutral", 0)
    object.__setattr__(maps.source, "image_sha256", faces[0].entry.image_sha256)
    with pytest.raises(UserError, match=r"S000.*same pictures|S999.*same pictures"):
        assemble([*faces, written_patches(tmp_path, maps)], tmp_path / "set", "leaky")


def test_mixed_models_are_refused(tmp_path, built):
    with pytest.raises(UserError, match=r"face model 'bfm2017'.*a dataset takes one"):
        other = written_patches(tmp_path, made_maps("S050", "neutral", 7, model="bfm2017"))
        assemble([*built[2], other], tmp_path / "set", "mixed")


def test_index_counts_every_patch_and_scales_height(built):
    folder, index, faces = built
    assert read_index(folder) == index and index.count() == sum(face.count for face in faces) == 120
    assert len(index.shards) == 3 and all(shard.count == 40 for shard in index.shards)
    assert 0.08 < index.height_scale_mm < 0.13
    assert height_quantile_mm(np.array([0] * 7 + [1] + [0] * 392), 0.999) == pytest.approx(0.08)
    assert sum(len(subjects) for subjects in read_split(folder).values()) == 6


def test_only_the_changed_shard_is_written_again(tmp_path):
    _, faces = made_dataset(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("*.h5")}
    changed = made_maps("S003", "smile", 77)
    faces[7] = written_patches(tmp_path / "faces", changed)
    index = assemble(faces, tmp_path / "set", "made", shard_patches=40)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("*.h5")}
    assert [name for name in before if before[name] != after[name]] == ["scan-001.h5"]
    assert verify_shards(tmp_path / "set", index) == []
    fewer = assemble(faces[:8], tmp_path / "set", "made", shard_patches=40)
    assert len(fewer.shards) == 2 and not (tmp_path / "set/scan-002.h5").exists()


def test_same_data_same_bytes(tmp_path, built):
    made_dataset(tmp_path)
    assert hashes(tmp_path / "set") == hashes(built[0])


def test_damage_is_named(tmp_path):
    index, _ = made_dataset(tmp_path)
    folder = tmp_path / "set"
    path = folder / "scan-001.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert verify_shards(folder, index, contents=False) == []
    assert "scan-001.h5: its contents are not" in verify_shards(folder, index)[0]
    path.write_bytes(bytes(data[:5000]))
    assert "truncated or altered" in verify_shards(folder, index, contents=False)[0]
    with pytest.raises(UserError, match=r"scan-001\.h5: is truncated"):
        ShardReader(path)
    path.unlink()
    assert "scan-001.h5: is missing" in verify_shards(folder, index)[0]
    content = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(content.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(UserError, match="newer than 1"):
        read_index(folder)
