"""Scans without our capture stage: what is brought in is what later stages see."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mesoface.capture.colmap_text import read_colmap_text, write_colmap_text
from mesoface.capture.errors import UserError
from mesoface.capture.image_files import read_tiff, srgb_from_linear, write_png
from mesoface.flows.cli import main
from mesoface.reconstruct.scan_import import import_scan, read_image
from mesoface.reconstruct.scan_source import open_scan

UNITS = {"subject": 1.0, "metres": 1000.0}


@pytest.fixture
def theirs(tiny_scan: Path, tmp_path: Path) -> Path:
    """A plain folder: images, model, lights."""
    folder = tmp_path / "theirs"
    shutil.copytree(tiny_scan / "images", folder / "images")
    shutil.copytree(tiny_scan / "truth/colmap", folder / "sparse")
    shutil.copyfile(tiny_scan / "lights.json", folder / "lights.json")
    return folder


def test_import_gives_the_scan_it_was_made_from(theirs, tiny_scan, tmp_path):
    assert main(["import", str(theirs), "--out", str(tmp_path / "in")]) == 0
    ours, scan = open_scan(tiny_scan), open_scan(tmp_path / "in")
    assert scan.origin == "imported" and scan.trusted and scan.name == "theirs" and scan.centre == "centre"
    assert set(scan.uniform) == set(ours.uniform)
    assert {(f.stem, f.kind, f.light, f.camera) for f in scan.frames} == {
        (f.stem, f.kind, f.light, f.camera) for f in ours.frames
    }
    for name, camera in scan.nominal.items():
        meant = ours.nominal[name].scaled(240, 160)
        np.testing.assert_allclose(camera.matrix_px, meant.matrix_px, rtol=1e-9)
        np.testing.assert_allclose(camera.centre_mm, meant.centre_mm, atol=1e-6)
    assert np.abs(np.array(scan.volume.centre_mm)).max() < 1.0  # where the optical axes meet
    frame = next(f for f in scan.frames if f.kind == "cross")
    same = next(f for f in ours.frames if f.stem == frame.stem)
    np.testing.assert_array_equal(scan.linear(frame).rgb, ours.linear(same).rgb)
    assert scan.lights == ours.lights


def test_other_names_units_and_encodings(theirs, tmp_path):
    """frames.csv says what the files are; a model in metres; PNG as sRGB; no flashes."""
    views = read_colmap_text(theirs / "sparse")
    shutil.rmtree(theirs / "sparse")
    rows, cameras, linear = [], {}, {}
    for number, (file, camera) in enumerate(views.items()):
        name, image = f"view {number}".replace(" ", ""), read_tiff(theirs / "images" / file)[0]
        linear[name] = np.clip((image.astype(float) - 2048) / 40000, 0, 1)
        write_png(theirs / f"IMG_{number}.png", srgb_from_linear(linear[name]))
        rows.append({"file": f"IMG_{number}.png", "camera": name, "kind": "uniform", "lights": ""})
        pose = camera.cam_from_world
        metres = type(pose)(pose.rotation, pose.translation_mm / 1000)
        cameras[f"IMG_{number}"] = type(camera)(**{**vars(camera), "cam_from_world": metres})
    with (theirs / "frames.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    write_colmap_text(theirs / "model", cameras, {name: f"{name}.png" for name in cameras})
    with pytest.raises(UserError, match="--mm-per-unit"):
        import_scan(theirs, tmp_path / "in", model=theirs / "model", lights=None)
    scan = import_scan(theirs, tmp_path / "in", model=theirs / "model", centre="view2", mm_per_unit=1000.0)
    assert scan.centre == "view2" and list(scan.uniform) == [f"view{n}" for n in range(5)]
    middle = scan.nominal["view2"].centre_mm
    np.testing.assert_allclose(middle, list(views.values())[2].centre_mm, atol=1e-6)
    back = scan.linear(scan.uniform["view2"]).rgb
    assert np.abs(back - linear["view2"]).max() < 0.006  # 8 bits


def test_what_is_wrong_is_named(theirs, tmp_path):
    out = tmp_path / "in"
    with pytest.raises(UserError, match="no such folder"):
        import_scan(tmp_path / "nowhere", out)
    (theirs / "images/06_flash1_cross.tif").unlink(missing_ok=True)
    with pytest.raises(UserError, match="flash flash1: has its parallel image only"):
        import_scan(theirs, out)
    assert not out.exists()
    (theirs / "images/05_flash1_parallel.tif").unlink()
    lights = json.loads((theirs / "lights.json").read_text())
    lights["lights"] = [light for light in lights["lights"] if light["name"] != "flash3"]
    (theirs / "lights.json").write_text(json.dumps(lights))
    with pytest.raises(UserError, match=r"lights.json: has no flash flash3"):
        import_scan(theirs, out)
    (theirs / "lights.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a lights.json"):
        import_scan(theirs, out)
    (theirs / "lights.json").unlink()
    with pytest.raises(UserError, match=r"but no lights.json"):
        import_scan(theirs, out)
    (theirs / "sparse/cameras.txt").rename(theirs / "sparse/cameras.bin")
    with pytest.raises(UserError, match="binary COLMAP model"):
        import_scan(theirs, out)
    (theirs / "sparse/cameras.bin").unlink()
    with pytest.raises(UserError, match="no COLMAP text model"):
        import_scan(theirs, out)


def test_altered_imports_are_noticed(theirs, tmp_path):
    scan = import_scan(theirs, tmp_path / "in")
    frame = scan.uniform["left1"]
    shutil.copyfile(scan.uniform["left2"].path, frame.path)
    with pytest.raises(UserError, match="is not the image that was imported"):
        scan.linear(frame)
    frame.path.unlink()
    assert "left1" not in open_scan(tmp_path / "in").uniform
    assert "01_uniform_left1" in open_scan(tmp_path / "in").missing
    (tmp_path / "in/import.json").write_text('{"format": "other"}')
    with pytest.raises(UserError, match=r"import.json: is damaged"):
        open_scan(tmp_path / "in")


def test_sixteen_bit_and_grey_images(tmp_path):
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5957
    assert cv2.imwrite(str(tmp_path / "a.png"), grey)
    image = read_image(tmp_path / "a.png")
    assert image.rgb.shape == (3, 4, 3) and image.clipped.sum() == 0
    encoded = grey / 65535
    np.testing.assert_allclose(
        image.rgb[..., 1], np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4), atol=1e-6
    )
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(UserError, match="no readable image"):
        read_image(tmp_path / "b.png")
