"""Photometric stereo on a synthetic sphere with exact truth: model, shadows, bad input, files, memory layout."""

from pathlib import Path

import numpy as np
import pytest
from photometric_scenes import angles_deg, sphere

from mesoface.capture.errors import UserError
from mesoface.reconstruct.light_model import coat_gain, transmission
from mesoface.reconstruct.photometric_stereo import ImageStack, depth_normals, photometric_stereo


def solve(scene, images=None, names=None, clipped=None, **options):
    names = names or scene.lights.names
    stack = ImageStack.from_arrays(names, images if images is not None else scene.images, clipped)
    return photometric_stereo(stack, scene.lights, scene.camera, scene.depth_mm, scene.mask, **options)


def test_exact_on_its_own_model():
    scene = sphere()
    maps = solve(scene)
    lit = scene.mask & ((scene.cosines > 0.15).sum(0) >= 5)
    assert lit.sum() > 2000
    errors = angles_deg(maps.normal, scene.normal, lit)
    assert errors.mean() < 0.05 and np.percentile(errors, 99) < 0.6
    assert np.abs(maps.albedo[lit] / scene.albedo[lit] - 1).mean() < 0.003
    for channel in range(3):
        assert maps.normal_rgb is not None
        assert angles_deg(maps.normal_rgb[channel], scene.normal, lit).mean() < 0.05
    assert np.median(maps.residual[lit]) < 1e-3 and np.median(maps.confidence[lit]) > 0.6
    assert np.isnan(maps.normal[~scene.mask]).all() and not maps.warnings


def test_transmission_through_the_coat_matters():
    scene = sphere()
    from dataclasses import replace

    matt = replace(scene.lights, index=1.0)
    stack = ImageStack.from_arrays(scene.lights.names, scene.images)
    maps = photometric_stereo(stack, matt, scene.camera, scene.depth_mm, scene.mask)
    assert angles_deg(maps.normal, scene.normal, scene.mask & maps.solved).mean() > 0.5
    assert transmission(np.array([1.0]), 1.4)[0] == pytest.approx(1 - (0.4 / 2.4) ** 2, abs=1e-9)
    assert coat_gain(1.0) == 1.0 and 1.05 < coat_gain(1.4) * 1.4**2 * 0.5 < 1.25


def test_noise_and_shadows():
    scene = sphere(relief=0.15)
    rng = np.random.default_rng(1)
    images = [image + rng.normal(0, 0.004, image.shape).astype(np.float32) for image in scene.images]
    clean = angles_deg(solve(scene, images).normal, scene.normal, scene.mask & ((scene.cosines > 0.15).sum(0) >= 6))
    assert clean.mean() < 1.5
    # cast shadows of two lights over a third of the picture, one light burnt out in a corner
    images[0][:, :40] *= 0.03
    images[4][30:60] *= 0.1
    clipped = [np.zeros(scene.mask.shape, bool) for _ in images]
    images[7][50:, 50:] = 0.02
    clipped[7][50:, 50:] = True
    lit = scene.mask & ((scene.cosines > 0.15).sum(0) >= 8)
    maps = solve(scene, images, clipped=clipped)
    errors = angles_deg(maps.normal, scene.normal, lit)
    assert errors.mean() < 1.6 and np.percentile(errors, 98) < 5
    assert np.median(maps.lights[lit & (np.arange(96) < 38)]) <= 8


def test_missing_lights_are_named_and_survivable():
    scene = sphere()
    maps = solve(scene, scene.images[3:], scene.lights.names[3:])
    assert len(maps.warnings) >= 1 and all(name in maps.warnings[0] for name in ("flash1", "flash2", "flash3"))
    lit = scene.mask & ((scene.cosines[3:] > 0.2).sum(0) >= 5)
    assert angles_deg(maps.normal, scene.normal, lit).mean() < 0.2
    with pytest.raises(UserError, match=r"flash1, flash2, flash3, flash4"):
        solve(scene, scene.images[4:], scene.lights.names[4:])
    with pytest.raises(UserError, match="at least 3"):
        solve(scene, scene.images[:2], scene.lights.names[:2])


def test_bad_input_is_explained():
    scene = sphere(48)
    with pytest.raises(UserError, match="another rig"):
        solve(scene, names=("lamp", *scene.lights.names[1:]))
    with pytest.raises(UserError, match=r"flash2.*image of \(40, 48\)"):
        solve(scene, [scene.images[0], scene.images[1][:40], *scene.images[2:]])
    stack = ImageStack.from_arrays(scene.lights.names, scene.images)
    with pytest.raises(UserError, match="mask is empty"):
        photometric_stereo(stack, scene.lights, scene.camera, scene.depth_mm, np.zeros_like(scene.mask))
    with pytest.raises(UserError, match="no depth inside the mask"):
        photometric_stereo(stack, scene.lights, scene.camera, np.full_like(scene.depth_mm, np.nan), scene.mask)
    with pytest.raises(UserError, match="48x48 px, but the camera has 24x24"):
        photometric_stereo(stack, scene.lights, scene.camera.scaled(24, 24), scene.depth_mm, scene.mask)


def test_holes_and_nans_stay_local():
    scene = sphere(64)
    images = [image.copy() for image in scene.images]
    for image in images:
        image[30:32, 30:32] = np.nan
    images[2][:20] = np.nan
    depth = scene.depth_mm.copy()
    depth[40:44, 40:44] = np.nan
    stack = ImageStack.from_arrays(scene.lights.names, images)
    maps = photometric_stereo(stack, scene.lights, scene.camera, depth, scene.mask)
    assert not maps.solved[30:32, 30:32].any() and not maps.solved[40:44, 40:44].any()
    lit = scene.mask & maps.solved & ((np.delete(scene.cosines, 2, 0) > 0.2).sum(0) >= 6)
    assert angles_deg(maps.normal, scene.normal, lit).mean() < 0.1


def test_files_and_strips_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scene = sphere(64)
    whole = solve(scene)
    paths = []
    for name, image in zip(scene.lights.names, scene.images, strict=True):
        paths.append(tmp_path / f"{name}.f32")
        image.tofile(paths[-1])
    monkeypatch.setattr("mesoface.reconstruct.photometric_stereo.STRIP_PIXELS", 640)
    stack = ImageStack(scene.lights.names, tuple(paths), (None,) * 9, scene.mask.shape)
    maps = photometric_stereo(stack, scene.lights, scene.camera, scene.depth_mm, scene.mask, threads=1)
    # a strip's first and last row lack the slopes of the row beyond: the start differs, the end hardly
    same = scene.mask & ((scene.cosines > 0.15).sum(0) >= 5)
    assert angles_deg(maps.normal, whole.normal.astype(np.float64), same).max() < 0.2
    with pytest.raises(ValueError, match="another size"):
        ImageStack(scene.lights.names, tuple(paths), (None,) * 9, (63, 64))


def test_normals_of_a_depth_map():
    scene = sphere(64)
    inner = scene.mask & np.isfinite(depth_normals(scene.depth_mm, scene.camera)[..., 0])
    errors = angles_deg(depth_normals(scene.depth_mm, scene.camera), scene.normal, inner)
    assert np.median(errors) < 0.5
