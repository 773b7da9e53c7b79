"""The virtual studio end to end at tiny size: images, truth and files agree; interruption loses nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rawpy
import trimesh
from scipy.spatial import KDTree

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.colmap_text import read_colmap_text
from mesoface.capture.dng import mosaic_rggb
from mesoface.capture.files import sha256_file
from mesoface.capture.image_files import read_tiff
from mesoface.capture.plan import shot_plan
from mesoface.capture.rig import load_example_rig
from mesoface.reconstruct.scan_folder import read_manifest
from mesoface.reconstruct.studio import render_scan
from mesoface.reconstruct.studio_checks import check_scan, normal_error_deg, reprojection_error_px
from mesoface.reconstruct.studio_options import StudioOptions

TINY = StudioOptions(width_px=240, height_px=160, subject=3, expression="smile", samples=4)  # as in conftest.py


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a chosen moment."""


def centre_view(scan: Path) -> tuple[PinholeCamera, dict[str, np.ndarray]]:
    camera = read_colmap_text(scan / "truth/colmap")["02_uniform_centre.tif"]
    maps = {p.stem: read_tiff(p)[0] for p in (scan / "truth/centre").glob("*.tif")}
    return camera, maps


def linear_image(scan: Path, stem: str) -> np.ndarray:
    """Sensor numbers above black, as a fraction of the range."""
    image, facts = read_tiff(next((scan / "images").glob(f"*_{stem}.tif")))
    return (image.astype(np.float64) - facts["black_level"]) / (facts["white_level"] - facts["black_level"])


def test_scan_is_complete_and_checks_pass(tiny_scan: Path) -> None:
    manifest = read_manifest(tiny_scan)
    plan = shot_plan(load_example_rig())
    assert manifest["complete"]
    assert sorted(p.stem for p in (tiny_scan / "images").iterdir()) == [shot.stem for shot in plan]
    assert len(plan) == 23
    for name, digest in manifest["files"].items():
        assert sha256_file(tiny_scan / name) == digest
    assert all(check.passed for check in check_scan(tiny_scan))


def test_raw_files_decode_to_the_image_values(tiny_scan: Path) -> None:
    for path in sorted((tiny_scan / "images").glob("*.tif"))[::7]:
        image, facts = read_tiff(path)
        with rawpy.imread(str(tiny_scan / "raw" / f"{path.stem}.dng")) as raw:
            assert np.array_equal(raw.raw_image_visible, mosaic_rggb(image))
            assert raw.black_level_per_channel == [facts["black_level"]] * 4
            assert raw.white_level == facts["white_level"]


def test_pairs_differ_by_highlights_only(tiny_scan: Path) -> None:
    """parallel - cross is never negative beyond noise, and zero on average where no highlight falls."""
    cameras = json.loads((tiny_scan / "cameras.json").read_text())
    sensor = cameras["sensor"]
    range_dn, well = sensor["white_level"] - sensor["black_level"], sensor["full_well_e"]
    _, maps = centre_view(tiny_scan)
    head = np.isfinite(maps["depth_mm"])
    for flash in (f"flash{k}" for k in range(1, 10)):
        parallel, cross = linear_image(tiny_scan, f"{flash}_parallel"), linear_image(tiny_scan, f"{flash}_cross")
        noise = np.sqrt((np.maximum(parallel, 0) + np.maximum(cross, 0)) / well + (4 / well) ** 2 + (1 / range_dn) ** 2)
        score = ((parallel - cross) / noise)[head]
        assert np.percentile(score, 0.1) > -5.0
        specular, _ = read_tiff(tiny_scan / f"truth/light/{flash}_specular.tif")
        diffuse_only = head & (specular < 1e-5) & (cross[..., 1] > 0)
        assert diffuse_only.sum() > 50
        values = (parallel - cross)[diffuse_only]
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size) + 2e-5


def test_highlights_vanish_when_crossed(tiny_scan: Path) -> None:
    camera = json.loads((tiny_scan / "cameras.json").read_text())["cameras"]["centre"]
    for flash in (f"flash{k}" for k in range(1, 10)):
        specular, _ = read_tiff(tiny_scan / f"truth/light/{flash}_specular.tif")
        diffuse, _ = read_tiff(tiny_scan / f"truth/light/{flash}_diffuse.tif")
        parallel = linear_image(tiny_scan, f"{flash}_parallel") / camera["exposure_gain"]
        cross = linear_image(tiny_scan, f"{flash}_cross") / camera["exposure_gain"]
        bright = (specular > np.percentile(specular[specular > 0], 98)) & (parallel.max(2) < 0.8)
        assert bright.sum() > 20
        leaked = (cross - diffuse / 2)[bright].mean() / specular[bright].mean()
        kept = (parallel - diffuse / 2)[bright].mean() / specular[bright].mean()
        assert leaked < 0.03
        assert 0.75 < kept < 1.45  # not 1: the film sets how much of each polarisation the skin reflects


def test_depth_normals_and_reprojection(tiny_scan: Path) -> None:
    cameras = read_colmap_text(tiny_scan / "truth/colmap")
    by_name = {Path(image).stem.split("_uniform_")[1]: camera for image, camera in cameras.items()}
    depths = {name: read_tiff(tiny_scan / f"truth/{name}/depth_mm.tif")[0] for name in by_name}
    assert set(by_name) == {"centre", "left1", "left2", "right1", "right2"}
    assert reprojection_error_px(by_name, depths, "centre") < 0.1
    camera, maps = centre_view(tiny_scan)
    mask = np.isfinite(maps["depth_mm"])
    assert normal_error_deg(camera, maps["depth_mm"], maps["normal_cam"], mask) < 2.4
    assert np.all(maps["normal_cam"][mask][:, 2] < 0.5)
    assert np.abs(np.linalg.norm(maps["normal_cam"][mask], axis=1) - 1).max() < 1e-5


def test_displacement_is_detailed_minus_base_along_the_normal(tiny_scan: Path) -> None:
    """Independent of how the map was made: shoot from the visible point along the base normal at the base mesh."""
    camera, maps = centre_view(tiny_scan)
    base = trimesh.load_mesh(tiny_scan / "truth/mesh/base.ply", process=False)
    rows, columns = np.nonzero(np.isfinite(maps["displacement_mm"]))
    chosen = np.random.default_rng(0).choice(len(rows), 600, replace=False)
    rows, columns = rows[chosen], columns[chosen]
    points = camera.unproject(maps["depth_mm"].astype(np.float64))[rows, columns]
    normals = maps["base_normal_cam"][rows, columns].astype(np.float64) @ camera.cam_from_world.rotation
    corners = np.asarray(base.vertices)[np.asarray(base.faces)]
    _, near = KDTree(corners.mean(1)).query(points, k=40)
    errors_um = []
    for point, normal, row, column, candidates in zip(points, normals, rows, columns, np.atleast_2d(near), strict=True):
        a, b, c = corners[candidates].transpose(1, 0, 2)
        face = np.cross(b - a, c - a)
        distance = ((point - a) * face).sum(1) / (face @ normal)  # along the normal, from the base to the point
        foot = point - distance[:, None] * normal
        inside = np.ones(len(candidates), bool)
        for p, q in ((a, b), (b, c), (c, a)):
            inside &= (np.cross(q - p, foot - p) * face).sum(1) > -1e-6 * (face * face).sum(1)
        if inside.any():
            best = distance[inside][np.abs(distance[inside]).argmin()]
            errors_um.append(1000 * abs(best - maps["displacement_mm"][row, column]))
    assert len(errors_um) > 500
    assert np.median(errors_um) < 1.0
    assert np.abs(maps["displacement_mm"][rows, columns]).max() > 0.05  # there is detail to speak of


def test_uv_map_holds_what_the_mesh_carries(tiny_scan: Path) -> None:
    from mesoface.reconstruct.uv_raster import sample_uv

    _, maps = centre_view(tiny_scan)
    field, _ = read_tiff(tiny_scan / "truth/uv/displacement_mm.tif")
    mask = np.isfinite(maps["displacement_mm"])
    difference = sample_uv(field, maps["uv"][mask][:, :2]) - maps["displacement_mm"][mask]
    assert np.sqrt(np.mean(difference**2)) < 0.25 * maps["displacement_mm"][mask].std()


def test_interrupted_render_continues_to_the_same_bytes(tiny_scan: Path, tmp_path: Path) -> None:
    """Ctrl-C, an altered file and a missing file: the rerun makes the same bytes as an undisturbed run."""
    out = tmp_path / "scan"

    def stop_at(what: str):
        def progress(stage: str, done: int, total: int) -> None:
            if stage.startswith(what):
                raise Interrupted

        return progress

    with pytest.raises(Interrupted):
        render_scan(load_example_rig(), TINY, out, stop_at("image 08"))
    assert not read_manifest(out)["complete"]
    names = [p for p in out.rglob("*") if p.is_file()]
    assert names and not any(".part" in p.name for p in names)
    (out / "images/05_flash1_parallel.tif").unlink()
    damaged = out / "images/06_flash1_cross.tif"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    render_scan(load_example_rig(), TINY, out)
    assert read_manifest(out)["files"] == read_manifest(tiny_scan)["files"]


def test_finished_scan_is_left_alone(tiny_scan: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (tiny_scan / "images").iterdir()}
    calls: list[str] = []
    render_scan(load_example_rig(), TINY, tiny_scan, lambda stage, done, total: calls.append(stage))
    assert calls == ["complete"]
    assert before == {p: p.stat().st_mtime_ns for p in (tiny_scan / "images").iterdir()}


def test_another_scan_in_the_folder_is_refused(tiny_scan: Path, tmp_path: Path) -> None:
    from mesoface.capture.errors import UserError

    folder = tmp_path / "copy"
    shutil.copytree(tiny_scan, folder)
    digests = {p: sha256_file(p) for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=r"another scan.*subject 3 there, 4 asked for"):
        render_scan(load_example_rig(), TINY.model_copy(update={"subject": 4}), folder)
    assert digests == {p: sha256_file(p) for p in folder.rglob("*") if p.is_file()}


def test_motion_moves_the_head_between_exposures(tmp_path: Path) -> None:
    """With drift, the two images of a pair no longer overlay; motion.json says by how much."""
    from mesoface.reconstruct.studio import ScanRenderer

    options = TINY.model_copy(update={"motion_mm": 3.0, "samples": 1, "interreflection": False, "subsurface": False})
    rig = load_example_rig()
    plan = shot_plan(rig)
    renderer = ScanRenderer(rig, options, plan)
    assert np.allclose(renderer.motion[0].translation_mm, 0)
    first, later = plan[5], plan[22]
    camera = renderer.cameras["centre"]
    for shot in (first, later):
        renderer.shot_light(shot)
        seen = renderer.view("centre", shot.index).camera
        head_point = np.array([[10.0, 20.0, 0.0]])
        expected, _ = camera.project(renderer.motion[shot.index].apply(head_point))
        found, _ = seen.project(head_point)
        assert np.allclose(expected, found, atol=1e-9)


def test_flashes_that_fire_together_share_their_energy() -> None:
    """A rig without a uniform light fires all flashes; the frame must not burn out."""
    from mesoface.reconstruct.studio import ScanRenderer

    rig = load_example_rig()
    rig = rig.model_copy(update={"lights": rig.flashes})
    options = TINY.model_copy(update={"samples": 1, "interreflection": False, "subsurface": False})
    plan = shot_plan(rig)
    renderer = ScanRenderer(rig, options, plan)
    together, _ = renderer.shot_light(plan[0])
    assert len(plan[0].lights) == 9
    assert 0.1 < np.percentile(together[together.max(2) > 0], 90) < 0.8
