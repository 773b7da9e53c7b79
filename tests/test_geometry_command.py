"""`mesoface geometry`: results that are kept while valid, a report, and messages instead of tracebacks."""

import json
import shutil

import pytest

from mesoface.flows.cli import main
from mesoface.flows.stage import read_stage
from mesoface.reconstruct.geometry_files import read_geometry


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_results_are_kept_until_something_changes(uniform_scan, tmp_path, capsys):
    source, out = tmp_path / "scan", tmp_path / "geometry"
    shutil.copytree(uniform_scan, source)
    command = ["geometry", str(source), "--out", str(out), "--no-features", "--resolution", "2"]
    assert main(command) == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files >= {
        "z0_mm.tif", "depth_mm.tif", "confidence.tif", "mask.png", "geometry.json", "report.html", "stage.json",
        "sparse/cameras.txt", "dense/fused.ply", "dense/mesh.ply", "dense/stereo/fusion.cfg", "images/centre.png",
    }  # fmt: skip
    page = (out / "report.html").read_text()
    assert "Error against the truth" in page and page.count("<img") >= 10 and "http" not in page
    made = (out / "z0_mm.tif").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert "is up to date" in told(capsys) and (out / "z0_mm.tif").stat().st_mtime_ns == made
    (source / "images/00_uniform_left2.tif").unlink()
    assert main(command) == 1
    text = told(capsys)
    assert "made again: other input (frame 00_uniform_left2.tif)" in text
    assert "view left2: its uniform frame is missing" in text and "depth from 4 of 5 views" in text
    assert set(read_geometry(out).cameras) == {"centre", "left1", "right1", "right2"}
    assert read_stage(out)["warnings"] == json.loads((out / "geometry.json").read_text())["warnings"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{scan}", "--calibration", "nowhere"], "nowhere: no calibration.json"),
        (["{scan}", "--proxy", "nose.ply"], "nose.ply: no such file"),
        (["{scan}", "--truth", "{scan}"], "no folder centre here"),
        (["{scan}", "--no-features", "--cameras", "sfm"], "needs features"),
        (["{scan}/truth"], "no take (data/take.json), no rendered scan"),
    ],
)
def test_mistakes_are_one_message(uniform_scan, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    command = ["geometry", *(text.format(scan=uniform_scan) for text in arguments), "--out", "out"]
    assert main(command) == 2
    assert message in told(capsys) and not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == []


def test_cuda_stereo_without_a_device_says_so(uniform_scan, tmp_path, capsys):
    from mesoface.reconstruct.colmap_patch_match import cuda_devices

    if cuda_devices():
        pytest.skip("there is a CUDA device that pycolmap can use")
    command = ["geometry", str(uniform_scan), "--out", str(tmp_path / "out"), "--no-features", "--resolution", "4"]
    assert main([*command, "--backend", "colmap-cuda"]) == 2
    assert "needs a CUDA device" in told(capsys)
