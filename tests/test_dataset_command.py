"""`mesoface dataset` on a virtual subject and a photograph: truth, resume, same bytes, damage, failures."""

import json
import shutil

import numpy as np
import pytest
from dataset_fixtures import hashes

from mesoface.dataset.dataset_index import read_index
from mesoface.dataset.patch_shards import ShardReader
from mesoface.dataset.uv_maps import read_uv_maps
from mesoface.flows.cli import main
from mesoface.flows.dataset_command import patch_side
from mesoface.reconstruct.landmark_files import write_landmark_json
from mesoface.reconstruct.landmarks import Landmarks
from mesoface.reconstruct.scan_source import open_scan

SHAPE = ["--size", "256", "--patch", "32", "--count", "8"]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def landmarks(tiny_scan, tmp_path_factory):
    """Landmark files of the uniform views, from the truth with 0.3 px of noise."""
    folder = tmp_path_factory.mktemp("landmarks")
    points = json.loads((tiny_scan / "truth/landmarks.json").read_text())["points_mm"]
    world = np.array([[np.nan] * 3 if point is None else point for point in points], float)
    scan, rng = open_scan(tiny_scan), np.random.default_rng(0)
    (folder / scan.name).mkdir()
    for name, frame in scan.uniform.items():
        height, width = scan.linear(frame).rgb.shape[:2]
        pixels, _ = scan.nominal[name].scaled(width, height).project(np.nan_to_num(world))
        face = Landmarks(pixels + 0.3 * rng.standard_normal(pixels.shape), np.ones(68), "truth")
        write_landmark_json(folder / scan.name / f"{name}.json", [face])
    return folder


@pytest.fixture(scope="module")
def built(tiny_scan, landmarks, tmp_path_factory):
    root = tmp_path_factory.mktemp("dataset")
    photos = root / "photos"
    photos.mkdir()
    import skimage.data

    from mesoface.capture.image_files import write_png

    write_png(photos / "astronaut.png", skimage.data.astronaut())
    write_png(photos / "coffee.png", skimage.data.coffee())
    (photos / "broken.jpg").write_bytes(b"nothing")
    command = [
        "dataset", "build", str(tiny_scan), "--out", str(root / "set"), "--scans", str(root / "scans"), "--landmarks",
        str(landmarks), "--no-features", "--shares", "100,0,0", "--wild", str(photos), "--wild-licence",
        "public domain", "--min-face", "80", *SHAPE,
    ]  # fmt: skip
    assert main(command) == 1  # two of the photographs are no portraits
    return root, command


def test_registration_finds_the_true_points(built):
    root, _ = built
    scan = next(path for path in (root / "scans").iterdir() if path.name != "wild")
    facts = json.loads((scan / "uv/registration.json").read_text())
    assert facts["truth"]["correspondence_median_mm"] < 1.5 and facts["distance_after_mm"] < 0.3
    maps = read_uv_maps(scan / "uv")
    assert maps.source.subject == "V003" and maps.source.expression == "smile" and 1.0 < maps.texel_mm < 2.0
    assert 0.05 < maps.valid.mean() < 0.5 and not maps.displacement_mm[~maps.valid].any()
    assert np.abs(np.linalg.norm(maps.normal[maps.valid], axis=-1) - 1).max() < 1e-3


def test_shards_card_and_failures(built, capsys):
    root, _ = built
    index = read_index(root / "set")
    assert 6 <= index.count() <= 8 and index.count("wild") > 0
    assert set(index.failures) == {"broken.jpg", "coffee.png"} and "no face" in index.failures["coffee.png"]
    assert "public domain" in index.licences
    with ShardReader(root / "set/wild-000.h5") as shard:
        arrays = shard.arrays(0)
        good = arrays["valid"] > 0
        assert np.abs(np.linalg.norm(arrays["normal"].astype(float), axis=-1)[good] - 1).max() < 0.02
        assert arrays["light"].shape == (9, 3) and 0.02 < arrays["albedo_linear"][good].mean() < 0.9
    card = (root / "set/card.html").read_text()
    assert "V003" in card and "correspondence" in card and "no face" in card
    assert main(["dataset", "info", str(root / "set"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["patches"] == index.count()


def test_again_is_quick_and_gives_the_same_bytes(built, capsys, monkeypatch):
    from mesoface.flows import dataset_stages

    root, command = built
    before = hashes(root / "set")
    monkeypatch.setattr(dataset_stages, "register_scan", None)  # nothing is registered again
    assert main(command) == 1
    assert hashes(root / "set") == before
    capsys.readouterr()
    assert main(["dataset", "verify", str(root / "set")]) == 0
    assert "as they were written" in told(capsys)


def test_interrupted_build_ends_in_the_same_bytes(built, tmp_path, monkeypatch):
    from mesoface.flows import dataset_stages

    root, command = built
    shutil.copytree(root / "scans", tmp_path / "scans", symlinks=True)
    scan = next(path for path in (tmp_path / "scans").iterdir() if path.name != "wild")
    shutil.rmtree(scan / "patches")
    again = [part.replace(str(root / "set"), str(tmp_path / "set")) for part in command]
    again = [part.replace(str(root / "scans"), str(tmp_path / "scans")) for part in again]

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset_stages, "write_shard", stopped)
        assert main(again) == 130
    assert not (tmp_path / "set").exists() and not (scan / "patches").exists()
    assert main(again) == 1
    assert hashes(tmp_path / "set") == hashes(root / "set")


def test_damage_and_mistakes(built, tmp_path, tiny_scan, capsys):
    root, command = built
    shutil.copytree(root / "set", tmp_path / "set")
    shard = tmp_path / "set/scan-000.h5"
    data = bytearray(shard.read_bytes())
    data[-2000] ^= 255
    shard.write_bytes(bytes(data))
    assert main(["dataset", "verify", str(tmp_path / "set")]) == 1
    assert "scan-000.h5: its contents are not" in told(capsys)
    assert main([*command[:3], str(tiny_scan), *command[3:]]) == 2
    assert "its own: rename a folder" in told(capsys)
    assert patch_side(2048, None, 28) == 256 and patch_side(1024, None, 28) == 128 and patch_side(1024, 64, 28) == 64
    assert main(["dataset", "build", str(tiny_scan), "--out", str(tmp_path / "x"), "--patch", "4"]) == 2
    assert "patches of 16 texels up" in told(capsys)
    without = [part for part in command if part not in ("--wild-licence", "public domain")]
    assert main(without) == 2 and "--wild-licence" in told(capsys)
    assert main(["dataset", "info", str(tmp_path / "none")]) == 2
    assert "mesoface dataset build" in told(capsys)
