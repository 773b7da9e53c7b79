"""Dense stereo, fusion and the depth prior on a rendered scan at tiny size (1.8 mm per pixel).

Bounds are about 1.3 times what is measured here; the figures at full size come from benchmarks/stereo.py.
"""

from pathlib import Path

import numpy as np
import pytest
from stereo_fixtures import Seen, off_by, read_uniform_views

from mesoface.capture.image_files import srgb_from_linear
from mesoface.reconstruct.colmap_fusion import fuse_workspace, mesh_cloud, read_cloud, read_mesh
from mesoface.reconstruct.colmap_workspace import write_workspace
from mesoface.reconstruct.dense_stereo import dense_depth
from mesoface.reconstruct.depth_prior import SIGMA_MM, depth_prior, face_mask
from mesoface.reconstruct.mesh_raster import depth_from_mesh
from mesoface.reconstruct.stereo_mask import skin_mask
from mesoface.reconstruct.stereo_types import DenseStereo, DepthPrior
from mesoface.reconstruct.surface_lowpass import lowpass_surface


@pytest.fixture(scope="module")
def scene(tiny_scan: Path) -> dict[str, Seen]:
    return read_uniform_views(tiny_scan)


@pytest.fixture(scope="module")
def stereo(scene: dict[str, Seen]) -> DenseStereo:
    return dense_depth([one.view for one in scene.values()], "centre")


@pytest.fixture(scope="module")
def mask(scene: dict[str, Seen], stereo: DenseStereo) -> np.ndarray:
    return face_mask(stereo, skin_mask(scene["centre"].linear, scene["centre"].view.mask))


def lowpassed_truth(truth: Seen, mask: np.ndarray, pixel_mm: float) -> np.ndarray:
    region = mask & np.isfinite(truth.depth_mm)
    values = np.where(region, truth.depth_mm, 0)
    return lowpass_surface(values, region.astype(np.float32), mask, SIGMA_MM / pixel_mm)


def prior_errors(prior: DepthPrior, truth: Seen, pixel_mm: float) -> np.ndarray:
    return np.abs(prior.z0_mm - lowpassed_truth(truth, prior.mask, pixel_mm))[prior.mask & truth.face]


def test_depth_of_every_view(scene: dict[str, Seen], stereo: DenseStereo):
    for name, one in scene.items():
        error = off_by(stereo.maps[name].depth_mm, one)
        assert np.median(np.abs(error)) < 1.3, name
        assert (np.abs(error) < 1).mean() > 0.45, name
        assert (np.abs(error) < 3).mean() > 0.72, name
    centre = off_by(stereo.centre_map.depth_mm, scene["centre"])
    assert np.median(np.abs(centre)) < 1.0
    assert (np.abs(centre) < 1).mean() > 0.52
    assert abs(np.median(centre[np.abs(centre) < 1])) < 0.15
    merged = np.abs(stereo.merged.depth_mm - scene["centre"].depth_mm)[scene["centre"].face]
    assert np.nanmedian(merged) < np.median(np.abs(centre))
    assert stereo.warnings == ()


def test_the_face_mask_comes_from_the_data(scene: dict[str, Seen], mask: np.ndarray):
    truth = scene["centre"]
    assert mask[truth.face].mean() > 0.94
    assert (mask & ~np.isfinite(truth.depth_mm)).sum() < 0.01 * mask.sum(), "no background"
    assert mask.sum() < 1.25 * truth.face.sum(), "not the whole head"


def test_z0_is_complete_and_close_to_the_truth(scene: dict[str, Seen], stereo: DenseStereo, mask: np.ndarray):
    prior = depth_prior(stereo, mask)
    assert np.isfinite(prior.z0_mm[prior.mask]).all()
    assert np.isnan(prior.z0_mm[~prior.mask]).all()
    error = prior_errors(prior, scene["centre"], stereo.pixel_mm)
    assert np.median(error) < 0.75
    assert np.quantile(error, 0.95) < 5
    sure = prior_errors(prior, scene["centre"], stereo.pixel_mm)[
        prior.confidence[prior.mask & scene["centre"].face] > 0.8
    ]
    assert np.median(sure) <= np.median(error)
    assert (prior.source, prior.mask.sum()) == ("map", mask.sum())


def test_fusion_and_meshing_by_colmap(scene: dict[str, Seen], stereo: DenseStereo, mask: np.ndarray, tmp_path: Path):
    cameras = {name: one.view.camera for name, one in scene.items()}
    images = {name: srgb_from_linear(one.linear) for name, one in scene.items()}
    dense = write_workspace(tmp_path, cameras, images, stereo)
    # at 1.8 mm per pixel the depths of the views differ by more than the metre-sized default of 1 mm
    fused = fuse_workspace(dense, max_depth_error=0.004, max_reproj_error=1.0)
    assert fused.count > 4000
    points, normals = read_cloud(fused.path)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    centre = scene["centre"]
    pixels, depth = centre.view.camera.project(points)
    nearest = np.rint(pixels).astype(int)
    inside = ((nearest >= 0) & (nearest < [240, 160])).all(1)
    true = np.full(len(points), np.nan)
    true[inside] = centre.depth_mm[nearest[inside, 1], nearest[inside, 0]]
    off = np.abs(depth - true)
    assert np.nanmedian(off[off < 20]) < 1.2
    cam_normals = normals @ centre.view.camera.cam_from_world.rotation.T
    true_normals = np.full((len(points), 3), np.nan)
    true_normals[inside] = centre.normal_cam[nearest[inside, 1], nearest[inside, 0]]
    close = off < 3
    angle = np.degrees(np.arccos(np.clip((cam_normals * true_normals).sum(1), -1, 1)))
    assert np.nanmedian(angle[close]) < 15, "54 degrees and more when the maps are not planar"
    meshed = mesh_cloud(dense, depth=6, trim=5.0)
    mesh = read_mesh(meshed.path)
    assert meshed.count == len(mesh[0]) > 500
    prior = depth_prior(stereo, mask, mesh=mesh)
    assert prior.source == "mesh" and np.isfinite(prior.z0_mm[prior.mask]).all()
    assert np.isfinite(depth_from_mesh(centre.view.camera, *mesh)[centre.face]).mean() > 0.9
    assert np.median(prior_errors(prior, centre, stereo.pixel_mm)) < 0.9
