"""The COLMAP workspace: planar maps, half a pixel, seed points; COLMAP's fusion and meshing really run on it."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stereo_fixtures import Seen, exact_stereo, plane, seen

from mesoface.capture.colmap_text import read_colmap_text
from mesoface.capture.errors import UserError
from mesoface.reconstruct import colmap_process
from mesoface.reconstruct.colmap_fusion import fuse_workspace, mesh_cloud, read_cloud, read_mesh
from mesoface.reconstruct.colmap_maps import read_map, write_map
from mesoface.reconstruct.colmap_patch_match import cuda_devices, patch_match
from mesoface.reconstruct.colmap_process import run_step
from mesoface.reconstruct.colmap_workspace import read_workspace, write_model, write_workspace
from mesoface.reconstruct.stereo_types import DenseStereo

NORMAL = np.array([0.4, 0.3, 1.0]) / np.linalg.norm([0.4, 0.3, 1.0])


@pytest.fixture(scope="module")
def scene() -> dict[str, Seen]:
    return seen(plane((0.4, 0.3, 1.0)))


def written(folder: Path, scene: dict[str, Seen], stereo: DenseStereo | None = None) -> Path:
    images = {name: np.uint8(255 * one.view.image) for name, one in scene.items()}
    cameras = {name: one.view.camera for name, one in scene.items()}
    return write_workspace(folder, cameras, images, stereo or exact_stereo(scene))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def dense(scene: dict[str, Seen], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of exact maps, not to be changed except by fusion and meshing."""
    return written(tmp_path_factory.mktemp("workspace"), scene)


def test_maps_are_planar(tmp_path: Path):
    """pycolmap's own writer interleaves the channels, and its reader puts them back: a round trip finds nothing."""
    values = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    write_map(tmp_path / "n.bin", values)
    data = (tmp_path / "n.bin").read_bytes()
    assert data.startswith(b"4&2&3&")
    assert np.array_equal(np.frombuffer(data[6:], "<f4"), values.transpose(2, 0, 1).ravel())
    assert np.array_equal(read_map(tmp_path / "n.bin"), values)
    write_map(tmp_path / "d.bin", values[..., 0])
    assert np.array_equal(read_map(tmp_path / "d.bin"), values[..., 0])


def test_damaged_maps_are_named(tmp_path: Path):
    path = tmp_path / "depth.bin"
    with pytest.raises(UserError, match=r"depth\.bin: cannot be read"):
        read_map(path)
    for content in (b"", b"4&4&1&", b"4&4&1&" + bytes(63), b"x&4&1&" + bytes(64), b"0&4&1&"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"depth\.bin: not a whole COLMAP map"):
            read_map(path)


def test_workspace_reads_back(dense: Path, scene: dict[str, Seen]):
    views = read_workspace(dense)
    assert list(views) == [f"{name}.png" for name in scene]
    for name, one in scene.items():
        found = views[f"{name}.png"]
        assert np.array_equal(found.depth_mm, one.depth_mm, equal_nan=True)
        assert np.array_equal(found.normal_cam, one.normal_cam, equal_nan=True)
        assert abs(found.camera.cx_px - one.view.camera.cx_px) < 1e-9
        assert np.allclose(found.camera.centre_mm, one.view.camera.centre_mm, atol=1e-6)
    assert (dense / "images").resolve() == (dense.parent / "images").resolve()
    assert len((dense / "stereo/fusion.cfg").read_text().split()) == 5
    config = (dense / "stereo/patch-match.cfg").read_text().splitlines()
    assert config[::2] == list(views) and all(
        "__auto__" not in line and len(line.split(", ")) == 4 for line in config[1::2]
    )


def test_half_a_pixel_less_in_the_dense_model_only(dense: Path, scene: dict[str, Seen]):
    shown, fused = read_colmap_text(dense.parent / "sparse"), read_colmap_text(dense / "sparse")
    for name, one in scene.items():
        true = one.view.camera
        assert shown[f"{name}.png"].cx_px == pytest.approx(true.cx_px, abs=1e-9)
        assert fused[f"{name}.png"].cx_px == pytest.approx(true.cx_px - 0.5, abs=1e-9)
        assert fused[f"{name}.png"].cy_px == pytest.approx(true.cy_px - 0.5, abs=1e-9)


def test_fused_points_and_normals_lie_on_the_plane(dense: Path):
    """Regression of three traps at once: planar normals, half a pixel, options for five views."""
    fused = fuse_workspace(dense)
    points, normals = read_cloud(fused.path)
    assert fused.count == len(points) > 10_000
    off = np.abs(points @ NORMAL)
    assert np.median(off) < 0.007, "0.012 mm when half a pixel is forgotten"
    assert abs(np.median(points @ NORMAL)) < 0.001, "0.004 mm then"
    assert np.quantile(off, 0.95) < 0.03
    angle = np.degrees(np.arccos(np.clip(normals @ NORMAL, -1, 1)))
    assert np.quantile(angle, 0.95) < 1, "54 degrees when the maps are interleaved"


def test_true_principal_points_would_shift_the_cloud(dense: Path, scene: dict[str, Seen], tmp_path: Path):
    """The control of the test above: fusion with COLMAP's true principal points is measurably off."""
    other = written(tmp_path, scene)
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        (other / "sparse" / name).write_bytes((dense.parent / "sparse" / name).read_bytes())
    points, _ = read_cloud(fuse_workspace(other).path)
    assert np.median(np.abs(points @ NORMAL)) > 0.01
    assert abs(np.median(points @ NORMAL)) > 0.003


def test_without_seed_points_there_is_nothing_to_fuse(scene: dict[str, Seen], tmp_path: Path):
    other = written(tmp_path, scene)
    cameras = read_colmap_text(other / "sparse")
    write_model(other / "sparse", cameras, {name: name for name in cameras}, np.zeros((0, 3)))
    with pytest.raises(UserError, match=r"no point in common.*seed points"):
        fuse_workspace(other)


def test_seed_points_join_all_views(dense: Path):
    lines = [line for line in (dense / "sparse/points3D.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) >= 200
    assert np.mean([len(line.split()[8:]) == 10 for line in lines]) > 0.95, "ids of five views and their points"
    import pycolmap

    model = pycolmap.Reconstruction(str(dense.parent / "sparse"))
    assert model.num_reg_images() == 5 and model.num_points3D() == len(lines)
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 0.01


def test_the_same_workspace_gives_the_same_bytes(dense: Path):
    found = []
    for _ in range(2):
        cloud, mesh = fuse_workspace(dense), mesh_cloud(dense)
        found.append((cloud.path.read_bytes(), mesh.path.read_bytes()))
    assert found[0] == found[1]


def test_meshing_gives_the_surface(dense: Path):
    if not (dense / "fused.ply").exists():
        fuse_workspace(dense)
    made = mesh_cloud(dense, depth=6, trim=5.0)
    vertices, triangles = read_mesh(made.path)
    assert made.count == len(vertices) > 300 and triangles.max() < len(vertices)
    inner = np.linalg.norm(vertices, axis=1) < 18
    assert np.median(np.abs(vertices[inner] @ NORMAL)) < 0.02


def test_unreliable_pixels_are_left_out(scene: dict[str, Seen], tmp_path: Path):
    stereo = exact_stereo(scene)
    kept = stereo.maps["left1"].kept.copy()
    kept[:100] = False
    stereo = replace(stereo, maps={**stereo.maps, "left1": replace(stereo.maps["left1"], kept=kept)})
    dense = written(tmp_path, scene, stereo)
    found = read_workspace(dense)["left1.png"]
    assert np.isnan(found.depth_mm[:100]).all() and np.isfinite(found.depth_mm[100:]).any()
    assert (read_map(dense / "stereo/depth_maps/left1.png.geometric.bin")[:100] == 0).all()
    nothing = replace(stereo.centre_map, kept=np.zeros_like(kept))
    empty = replace(stereo, maps={**stereo.maps, "centre": nothing})
    with pytest.raises(UserError, match="0 reliable depths"):
        written(tmp_path, scene, empty)


def test_maps_of_another_size_are_named(scene: dict[str, Seen], tmp_path: Path):
    dense = written(tmp_path, scene)
    write_map(dense / "stereo/depth_maps/right1.png.geometric.bin", np.ones((10, 20)))
    with pytest.raises(UserError, match=r"right1\.png are \(20, 10\) px, its camera \(200, 200\)"):
        read_workspace(dense)


def test_files_that_are_no_clouds(tmp_path: Path):
    with pytest.raises(UserError, match=r"fused\.ply: missing; fuse"):
        mesh_cloud(tmp_path)
    (tmp_path / "fused.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(UserError, match="not a point cloud"):
        read_cloud(tmp_path / "fused.ply")
    with pytest.raises(UserError, match="cannot be read"):
        read_cloud(tmp_path / "other.ply")
    (tmp_path / "mesh.ply").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a readable mesh"):
        read_mesh(tmp_path / "mesh.ply")


def worker_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in place of the worker's interpreter."""
    path = tmp_path / "worker"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(colmap_process, "sys", SimpleNamespace(executable=str(path)))


@pytest.mark.skipif(os.name == "nt", reason="shell scripts")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'F20261123 fusion.cc:80] Check failed: w > 0' >&2; echo '    @ 0x7f frame' >&2; kill -ABRT $$",
         r"step fuse failed \(abort\): F20261123 fusion.cc:80\] Check failed: w > 0.*refused its input"),
        ("echo 'terminate called' >&2; exit 134", r"failed \(abort\): terminate called"),
        ("kill -KILL $$", r"failed \(killed: memory\?\)"),
        ("echo \"ModuleNotFoundError: No module named 'pycolmap'\" >&2; exit 1", r"exit code 1.*pip install pycolmap"),
        ("echo 'std::bad_alloc' >&2; exit 134", r"out of memory: use smaller images"),
        ("echo chatter; exit 0", r"gave no result"),
        ("exec sleep 30", r"stopped after 1 s; try smaller images"),
    ],
    ids=["aborts", "exits 134", "is killed", "lacks pycolmap", "lacks memory", "says nothing", "hangs"],
)  # fmt: skip
def test_a_worker_that_fails_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str):
    worker_that(tmp_path, monkeypatch, script)
    with pytest.raises(UserError, match=message):
        run_step("fuse", {}, timeout_s=1.0 if "sleep" in script else 30.0)


def test_errors_of_colmap_itself_are_explained(tmp_path: Path):
    with pytest.raises(UserError, match=r"COLMAP step fuse failed"):
        fuse_workspace(tmp_path)


def test_cuda_stereo_is_gated(dense: Path):
    """It would abort the process where there is no device."""
    if cuda_devices() > 0:
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match=r"CUDA device and pycolmap-cuda12"):
        patch_match(dense, (850.0, 1050.0))
