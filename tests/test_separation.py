"""Separation of a pair: gain, leak, shift, noise; and whole scans with missing, moved and spoilt frames."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from photometric_scenes import SKIN, angles_deg

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.develop import LinearImage
from mesoface.capture.errors import UserError
from mesoface.capture.image_files import read_tiff
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.frame_warp import warp_frame
from mesoface.reconstruct.photometric_stereo import photometric_stereo
from mesoface.reconstruct.polar_pairs import separate_scan
from mesoface.reconstruct.scan_source import open_scan
from mesoface.reconstruct.separation import separate_pair, shifted


def pair(gain=1.0, leak=0.0, shift=(0.0, 0.0), noise=0.002, size=(160, 200)):
    """Parallel and crossed frame of a shaded, textured skin with a broad highlight; true diffuse, true specular."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[: size[0], : size[1]]
    texture = cv2.GaussianBlur(rng.normal(0, 1, size).astype(np.float32), (0, 0), 2.5)
    shade = (0.6 + 0.3 * np.sin(columns / 40) * np.cos(rows / 33) + texture)[..., None]
    diffuse = (np.maximum(shade, 0.05) * SKIN).astype(np.float32)
    spot = np.exp(-((columns - 110) ** 2 + (rows - 70) ** 2) / (2 * 25.0**2))
    specular = np.repeat(0.25 * spot[..., None], 3, axis=2).astype(np.float32)
    crossed = gain * (diffuse / 2 + leak * specular)
    if shift != (0.0, 0.0):
        crossed = shifted(crossed, (-shift[0], -shift[1]))[0]
    frames = [
        (image + rng.normal(0, noise, image.shape)).astype(np.float32) for image in (diffuse / 2 + specular, crossed)
    ]
    none = np.zeros(size, bool)
    return LinearImage(frames[0], none), LinearImage(frames[1], none), diffuse, specular


def test_gain_and_leak_are_undone():
    parallel, cross, diffuse, specular = pair(gain=1.04, leak=0.02)
    made = separate_pair(parallel, cross, leak=0.02)
    assert made.gain == pytest.approx(1.04, abs=0.002) and made.gain_sigma < 0.002
    assert np.hypot(*made.shift_px) < 0.05
    bright = specular[..., 0] > 0.1
    assert np.median(made.specular[bright] / specular[bright]) == pytest.approx(1, abs=0.01)
    assert np.median(made.diffuse[bright] / diffuse[bright]) == pytest.approx(1, abs=0.005)
    assert made.diffuse.dtype == made.specular.dtype == np.float32


def test_negative_noise_is_kept():
    parallel, cross, _, specular = pair()
    made = separate_pair(parallel, cross, gain=1.0, register=False)
    dark = specular[..., 0] < 1e-4
    assert (made.specular[dark] < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert abs(made.specular[dark].mean()) < 2e-4


def test_a_given_map_of_leaks_and_gain():
    parallel, cross, diffuse, _ = pair(gain=0.9, leak=0.01)
    leak = np.full(parallel.clipped.shape, 0.01, np.float32)
    made = separate_pair(parallel, cross, gain=0.9, leak=leak)
    assert made.gain == 0.9 and made.gain_sigma == 0 and made.leak == pytest.approx(0.01)
    assert np.median(made.diffuse / diffuse) == pytest.approx(1, abs=0.003)


def test_a_moved_pair_is_registered():
    parallel, cross, _, specular = pair(shift=(0.7, -1.4), gain=1.03)
    made = separate_pair(parallel, cross)
    assert made.shift_px == pytest.approx((0.7, -1.4), abs=0.06)
    assert made.gain == pytest.approx(1.03, abs=0.003)
    left = separate_pair(parallel, cross, register=False)
    assert made.residual < 0.5 * left.residual
    inner = np.s_[5:-5, 5:-5]
    assert np.std(made.specular[inner] - specular[inner]) < 0.5 * np.std(left.specular[inner] - specular[inner])


def test_bad_pairs_are_explained():
    parallel, cross, _, _ = pair()
    small = LinearImage(cross.rgb[:100], cross.clipped[:100])
    with pytest.raises(UserError, match=r"light flash3: parallel frame of 200x160 px, crossed frame of 200x100"):
        separate_pair(parallel, small, light="flash3")
    black = LinearImage(np.zeros_like(cross.rgb), cross.clipped)
    with pytest.raises(UserError, match="crossed frame is black"):
        separate_pair(parallel, black)
    grey = LinearImage(np.repeat(parallel.rgb[..., :1], 3, axis=2), parallel.clipped)
    with pytest.raises(UserError, match="too little skin colour"):
        separate_pair(grey, grey)
    with pytest.raises(UserError, match=r"4\.0\d times as bright"):
        separate_pair(parallel, LinearImage(cross.rgb * 4, cross.clipped))


def scene(folder: Path):
    source = open_scan(folder)
    truth = folder / "truth" / "centre"
    depth = read_tiff(truth / "base_depth_mm.tif")[0]
    masks = [cv2.imread(str(truth / f"mask_{name}.png"), cv2.IMREAD_GRAYSCALE) for name in ("head", "face")]
    head, face = (np.asarray(mask) > 0 for mask in masks)
    camera = source.nominal["centre"].scaled(depth.shape[1], depth.shape[0])
    normal = read_tiff(truth / "normal_cam.tif")[0]
    return (
        source,
        camera,
        depth,
        head & np.isfinite(depth),
        cv2.erode(face.astype(np.uint8), np.ones((3, 3))) > 0,
        normal,
    )


def separate(source, camera, depth, mask, **options):
    assert source.lights is not None
    return separate_scan(source, camera, depth, mask, lights=source.lights, **options)


def test_a_rendered_scan(tiny_scan: Path):
    source, camera, depth, mask, face, normal = scene(tiny_scan)
    pairs = separate(source, camera, depth, mask, motion=False)
    assert pairs.diffuse.names == tuple(f"flash{i}" for i in range(1, 10)) and not pairs.warnings
    for name, diffuse, specular, fact in zip(
        pairs.diffuse.names, pairs.diffuse.images, pairs.specular.images, pairs.facts, strict=True
    ):
        assert fact.gain == pytest.approx(1, abs=0.004) and fact.residual < 0.01
        assert isinstance(diffuse, np.ndarray) and isinstance(specular, np.ndarray)
        true = read_tiff(tiny_scan / "truth/light" / f"{name}_diffuse.tif")[0] * 1.2
        bright = face & (true[..., 1] > 0.05)
        assert np.median(diffuse[bright] / true[bright]) == pytest.approx(1, abs=0.004)
        gloss = read_tiff(tiny_scan / "truth/light" / f"{name}_specular.tif")[0] * 1.2
        assert np.corrcoef(specular[face].mean(1), gloss[face])[0, 1] > 0.97
    maps = photometric_stereo(pairs.diffuse, pairs.lights, camera, depth, mask, mix=(0, 1, 1))
    assert not maps.warnings
    errors = angles_deg(maps.normal, normal, face)
    assert errors.mean() < 2.6 and np.median(errors) < 1.6


def test_frames_that_are_missing_black_or_burnt_out(tiny_scan: Path):
    source, camera, depth, mask, _, _ = scene(tiny_scan)
    kept = tuple(f for f in source.frames if not (f.light == "flash2" and f.kind == "cross"))
    linear = source.read

    def read(frame, maps):
        image = linear(frame, maps)
        if frame.light == "flash5" and frame.kind == "parallel":
            return LinearImage(np.zeros_like(image.rgb), image.clipped)
        if frame.light == "flash7" and frame.kind == "parallel":
            return LinearImage(image.rgb, np.ones_like(image.clipped))
        return image

    spoilt = replace(source, frames=kept, read=read)
    pairs = separate(spoilt, camera, depth, mask, motion=False)
    assert pairs.diffuse.names == ("flash1", "flash3", "flash4", "flash6", "flash8", "flash9")
    said = " ".join(pairs.warnings)
    assert "flash2: no crossed frame" in said and "flash5: its parallel frame is black" in said
    assert "flash7: 100 % of its parallel frame is burnt out" in said
    few = replace(source, frames=tuple(f for f in source.frames if f.light in ("", "flash1", "flash4")))
    with pytest.raises(UserError, match=r"2 usable pairs.*missing: flash2, flash3"):
        separate(few, camera, depth, mask)


def test_another_rigs_calibration_or_size(tiny_scan: Path):
    source, camera, depth, mask, _, _ = scene(tiny_scan)
    assert source.lights is not None
    other = dict(source.lights) | {"lights": [dict(x) | {"name": f"lamp{x['name']}"} for x in source.lights["lights"]]}
    with pytest.raises(UserError, match="another rig"):
        separate_scan(source, camera, depth, mask, lights=other)
    with pytest.raises(UserError, match=r"05_flash1_parallel\.tif: 240x160 px, but the calibration is of 120x80"):
        separate_scan(source, camera.scaled(120, 80), depth[::2, ::2], mask[::2, ::2], lights=source.lights)


def test_a_head_that_moves(tiny_scan: Path, tmp_path: Path):
    source, camera, depth, mask, face, normal = scene(tiny_scan)
    linear = source.read
    still = separate(source, camera, depth, mask)
    assert all(fact.moved_px < 0.25 for fact in still.facts)

    def read(frame, maps):
        image = linear(frame, maps)
        if not frame.light:
            return image
        number = int(frame.light[5:])
        shift = (0.35 * (number - 5), 0.25 * (number % 3))
        return LinearImage(shifted(image.rgb, (-shift[0], -shift[1]))[0], image.clipped)

    moving = replace(source, read=read)
    errors = []
    for motion in (False, True):
        pairs = separate(moving, camera, depth, mask, motion=motion, folder=tmp_path / str(motion))
        assert all(isinstance(image, Path) for image in pairs.diffuse.images)
        maps = photometric_stereo(pairs.diffuse, pairs.lights, camera, depth, mask, mix=(0, 1, 1))
        errors.append(angles_deg(maps.normal, normal, face).mean())
    assert errors[0] > 3.2
    assert errors[1] < 0.75 * errors[0]
    assert pairs.facts[0].moved_px == pytest.approx(np.hypot(1.4, 0.25), abs=0.25)
    assert pairs.reference == "02_uniform_centre"


def test_lens_and_motion_are_undone_in_one_step():
    plain = PinholeCamera(160, 120, 900.0, 900.0, 79.5, 59.5, RigidTransform(np.eye(3), np.zeros(3)))
    lens = replace(plain, distortion=(-0.8, 3.0, 0.002, -0.001))
    depth = np.full((120, 160), 900.0)
    motion = RigidTransform(np.eye(3), np.array([1.5, -0.8, 0.0]))
    # what the lens sees of a pattern on a plane that moved by the motion
    columns, rows = (a.astype(np.float64) for a in np.meshgrid(np.arange(160), np.arange(120)))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)[:, None]
    rays = cv2.undistortPoints(pixels, lens.matrix_px, np.array(lens.distortion))[:, 0]

    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        value = 0.5 + 0.3 * np.sin(x / 2.5) * np.cos(y / 3.0)
        return np.repeat(value.reshape(120, 160, 1), 3, axis=2).astype(np.float32)

    seen = pattern(*(rays.T * 900.0 - motion.translation_mm[:2, None]))
    x, y = plain.normalised_grid()
    true = pattern(*np.broadcast_arrays(x[None] * 900.0, y[:, None] * 900.0))
    made = warp_frame(LinearImage(seen, np.zeros((120, 160), bool)), lens, plain, depth, motion)
    inside = ~made.clipped
    assert 0.9 < inside.mean() < 1
    assert np.abs(made.rgb - true)[inside].max() < 0.01
    assert np.abs(seen - true)[inside].max() > 0.1
    unmoved = LinearImage(true, np.zeros((120, 160), bool))
    assert warp_frame(unmoved, plain, plain, depth) is unmoved
