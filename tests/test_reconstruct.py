"""`mesoface reconstruct` on a virtual subject: accuracy, stages, missing lights, messages."""

import json
import shutil

import numpy as np
import pytest

from mesoface.capture.image_files import read_tiff
from mesoface.flows.cli import main
from mesoface.flows.stage import read_stage
from mesoface.reconstruct.detail import start_surface
from mesoface.reconstruct.detail_files import read_displacement, read_normals
from mesoface.reconstruct.detail_truth import (
    displacement_fits,
    displacement_transfer,
    displacement_truth,
    normal_error_deg,
)
from mesoface.reconstruct.geometry_files import read_geometry
from mesoface.reconstruct.geometry_truth import read_centre_truth


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.fixture(scope="module")
def made(tiny_scan, tmp_path_factory):
    out = tmp_path_factory.mktemp("reconstructed") / "scan"
    assert main(["reconstruct", str(tiny_scan), "--out", str(out), "--no-features", "--no-motion"]) == 0
    return out


def test_normals_are_those_of_the_head(tiny_scan, made):
    geometry, normals = read_geometry(made / "geometry"), read_normals(made / "normals")
    truth = read_centre_truth(tiny_scan / "truth", "centre")
    region = truth.region(geometry.camera) & (normals.maps.lights >= 4)
    angles = normal_error_deg(normals.maps.normal, truth, region)
    assert len(angles) > 3000 and angles.mean() < 5.0 and np.median(angles) < 4.0


def test_displacement_holds_the_preset_and_its_scale(made):
    import cv2

    content = json.loads((made / "displacement/displacement.json").read_text())
    displacement = read_tiff(made / "displacement/displacement_mm.tif")[0]
    units = cv2.imread(str(made / "displacement/displacement_16bit.png"), cv2.IMREAD_UNCHANGED)
    assert units is not None
    scale = content["displacement_16bit"]
    back = units.astype(float) * scale["mm_per_unit"] + scale["offset_mm"]
    there = np.isfinite(displacement)
    assert np.abs(back - displacement)[there].max() < 6e-5 + 1e-9 and (units[~there] == 0).all()
    assert content["preset"]["name"] == "full_band" and 0.01 < content["rms_mm"] < 2.0
    assert max(content["iterations"]) < 30


def test_displacement_is_that_of_the_head(tiny_scan, made):
    pair, normals, geometry = (
        read_displacement(made / "displacement"), read_normals(made / "normals"), read_geometry(made / "geometry")
    )  # fmt: skip
    truth = displacement_truth(pair, normals.start_mm, geometry.camera, tiny_scan / "truth", "centre")
    fits = {(fit.shortest_mm, fit.longest_mm): fit for fit in displacement_fits(pair, truth)}
    assert truth.judged.sum() > 800
    fit = fits[4, 8]
    assert 0.5 < fit.gain < 0.75 and fit.correlation > 0.83, fit  # 2 to 4 pixels: what the grid keeps
    folds = {(fit.shortest_mm, fit.longest_mm): fit for fit in displacement_fits(pair, truth, less_base=False)}
    assert fit.error_um < folds[4, 8].error_um
    transfer = displacement_transfer(pair, truth)
    inside = (transfer.wavelength_mm > 6) & (transfer.wavelength_mm < 9)
    assert (transfer.coherence[inside] > 0.8).all() and transfer.gain[transfer.wavelength_mm > 25].max() < 0.5


def test_normals_that_drive_detail_are_a_switch(tiny_scan, made, tmp_path):
    shutil.copytree(made, tmp_path / "out", symlinks=True)
    command = ["reconstruct", str(tiny_scan), "--out", str(tmp_path / "out"), "--no-features", "--no-motion"]
    before = read_tiff(made / "normals/normal_cam.tif")[0]
    assert main([*command, "--normals", "specular"]) == 0
    assert (tmp_path / "out/normals/specular_confidence.tif").is_file()
    report = (tmp_path / "out/normals/report.html").read_text()
    assert "Specular lobes" in report and "as it is, not undone" in report
    there = np.isfinite(before[..., 0])
    assert np.abs(read_tiff(tmp_path / "out/normals/normal_cam.tif")[0] - before)[there].max() > 0.01


def test_meshes_are_in_world_millimetres(tiny_scan, made):
    import trimesh

    fine = trimesh.load(str(made / "displacement/fine.ply"), process=False)
    base = trimesh.load(str(made / "displacement/base.ply"), process=False)
    there = np.isfinite(read_tiff(made / "displacement/displacement_mm.tif")[0])
    assert len(fine.vertices) == len(base.vertices) == int(there.sum())  # pyright: ignore
    assert np.abs(np.asarray(fine.bounds)).max() < 150  # pyright: ignore
    assert np.asarray(fine.face_normals)[:, 2].mean() > 0.5  # pyright: ignore  towards the camera


def test_start_surface_fills_holes(made):
    geometry = read_geometry(made / "geometry")
    holed = geometry.depth_mm.copy()
    rows, columns = np.nonzero(geometry.mask)
    middle = int(np.median(rows)), int(np.median(columns))
    holed[middle[0] - 4 : middle[0] + 5, middle[1] - 4 : middle[1] + 5] = np.nan
    from dataclasses import replace

    start = start_surface(replace(geometry, depth_mm=holed))
    assert np.isfinite(start[geometry.mask]).all()
    assert np.nanmedian(np.abs(start - geometry.depth_mm)[geometry.mask]) < 0.6


def test_only_what_changed_is_made_again(tiny_scan, made, capsys):
    command = ["reconstruct", str(tiny_scan), "--out", str(made), "--no-features", "--no-motion"]
    assert main(command) == 0
    text = told(capsys)
    assert all(f"{name}: up to date" in text for name in ("geometry", "normals", "displacement"))
    assert main([*command, "--preset", "paper"]) == 0
    text = told(capsys)
    assert "normals: up to date" in text and "made again: other parameters (preset)" in text
    stage = read_stage(made / "displacement")
    assert stage["parameters"]["preset"]["name"] == "paper"
    assert main(command) == 0  # as the other tests want it


def test_missing_lights_are_named(tiny_scan, tmp_path, capsys, made):
    source = tmp_path / "scan"
    shutil.copytree(tiny_scan, source)
    (source / "images/06_flash1_cross.tif").unlink()
    shutil.copytree(made / "geometry", tmp_path / "out/geometry", symlinks=True)
    command = ["reconstruct", str(source), "--out", str(tmp_path / "out"), "--no-features", "--no-motion"]
    assert main(command) == 1
    text = told(capsys)
    assert "geometry: up to date" in text and "light flash1: no crossed frame" in text
    for path in sorted((source / "images").glob("*_cross.tif"))[:6]:
        path.unlink()
    assert main(command) == 2
    assert "usable pairs" in told(capsys)
    assert (tmp_path / "out/normals/normal_cam.tif").is_file()  # the earlier result stays


def test_mistakes_are_one_message(tiny_scan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reconstruct", "nowhere"]) == 2
    assert "nowhere: no such folder" in told(capsys)
    assert main(["reconstruct", str(tiny_scan), "--calibration", "nowhere", "--out", "out"]) == 2
    assert "no calibration.json" in told(capsys)
    assert list(tmp_path.iterdir()) == []
