"""What is measured on one frame: exposure, noise, sharpness, identity; at any picture size."""

import json

import cv2
import numpy as np
import pytest

from mesoface.capture.dng import DngFacts, mosaic_rggb, write_dng
from mesoface.capture.errors import UserError
from mesoface.capture.plan import shot_plan
from mesoface.capture.quality_detail import noise_at_mid_grey, noise_gain, sharpness
from mesoface.capture.quality_face import face_surface, face_window, flash_vectors
from mesoface.capture.quality_frame import frame_facts, measure_frames
from mesoface.capture.quality_models import HISTOGRAM_BINS, FrameFacts
from mesoface.capture.raw import read_raw
from mesoface.capture.rig import Rig, load_example_rig

RANGE_DN, FULL_WELL_E = 12952, 30000


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_example_rig()


def write_frame(path, light, camera, rng=None, iso=100):
    """A raw file of linear light (H, W, 3) in shares of the white level, with a sensor's noise."""
    signal = mosaic_rggb(light.astype(np.float32)) * RANGE_DN  # pyright: ignore[reportArgumentType]
    if rng is not None:
        variance = np.maximum(signal, 0) * RANGE_DN * (iso / 100) / FULL_WELL_E + 1.7
        signal = signal + np.sqrt(variance) * rng.standard_normal(signal.shape)
    numbers = np.clip(np.rint(signal + 2048), 0, 15000).astype(np.uint16)
    body = (camera.model, camera.serial, iso, 0.1, 11.0, "2026:01:01 12:00:00")
    write_dng(path, numbers, DngFacts(2048, 15000, *body))


def smooth_face(width=900, height=600):
    """A shaded ball in the face's place, without texture."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x - width / 2) / (0.2 * width), (y - height / 2) / (0.4 * height))
    shade = np.where(radius < 1, 0.35 * np.sqrt(np.maximum(1 - radius**2, 0)), 0)
    return np.stack([shade * 1.3, shade, shade * 0.7], axis=2)


def test_numbers_of_a_known_frame(tmp_path, rig):
    shot = shot_plan(rig)[5]
    light = np.zeros((400, 600, 3))
    light[:, 150:450] = (0.3, 0.2, 0.1)
    light[:40, :40] = 2.0
    path = tmp_path / "a.dng"
    write_frame(path, light, rig.camera(shot.camera))
    facts = frame_facts(path, shot, rig)
    assert facts.mean_rgb == pytest.approx((0.3, 0.2, 0.1), abs=3e-4)
    assert facts.face_level == pytest.approx(0.2, abs=3e-4)
    assert facts.clipped_share == pytest.approx(40 * 40 / 240_000)
    assert facts.black_share == 0 and facts.brightest == pytest.approx(1.0, abs=0.01)
    assert len(facts.histogram) == HISTOGRAM_BINS and sum(facts.histogram) == 240_000
    assert facts.histogram[0] > 100_000 and facts.histogram[-1] >= 1500
    assert (facts.serial, facts.iso, facts.width_px) == (rig.centre.serial, 100, 600)
    assert facts.preview.shape == (200, 300, 3) and facts.face.dtype == np.float32


def test_facts_are_json_without_their_pictures(tmp_path, rig):
    shot = shot_plan(rig)[5]
    write_frame(tmp_path / "a.dng", smooth_face(300, 200), rig.centre, np.random.default_rng(0))
    facts = frame_facts(tmp_path / "a.dng", shot, rig)
    content = json.loads(facts.model_dump_json())
    assert "preview" not in content and "face" not in content and content["stem"] == "05_flash1_parallel"
    again = FrameFacts(**content, preview=None, face=None)
    assert again.fingerprint == facts.fingerprint


@pytest.mark.parametrize("iso", [100, 400, 1600])
def test_noise_is_that_of_the_sensor(tmp_path, rig, iso):
    """Shot noise at 18 % of the white level, whatever the brightness of the face."""
    shot = shot_plan(rig)[5]
    expected = np.sqrt(iso / 100 / (FULL_WELL_E * 0.18))
    for part in (1.0, 0.3):
        write_frame(tmp_path / "a.dng", part * smooth_face(), rig.centre, np.random.default_rng(1), iso)
        facts = frame_facts(tmp_path / "a.dng", shot, rig)
        assert facts.noise == pytest.approx(expected, rel=0.08) and not facts.noise_is_bound


def test_texture_as_fine_as_the_pixels_is_not_taken_for_noise(tmp_path, rig):
    texture = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (600, 900)), (0, 0), 1.2)
    light = smooth_face() * (1 + 0.3 * texture[..., None] / texture.std())
    write_frame(tmp_path / "a.dng", light, rig.centre, np.random.default_rng(1))
    facts = frame_facts(tmp_path / "a.dng", shot_plan(rig)[5], rig)
    assert facts.noise_is_bound and facts.noise is not None and facts.noise > 0.02


def test_dark_frame_has_no_noise_figure(tmp_path, rig):
    write_frame(tmp_path / "a.dng", np.zeros((400, 600, 3)), rig.centre, np.random.default_rng(1))
    facts = frame_facts(tmp_path / "a.dng", shot_plan(rig)[5], rig)
    assert facts.noise is None and facts.sharpness == 0 and facts.black_share > 0.99
    assert abs(facts.face_level) < 1e-4


def test_sharpness_falls_with_blur_and_ignores_noise_and_brightness(rig):
    window = face_window(rig, "centre", 1500, 1000)
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (1000, 1500)).astype(np.float32), (0, 0), 2)
    green = 0.1 * (1 + 0.1 * texture / texture.std())
    clean = sharpness(green, window, 0.0)
    assert sharpness(2 * green, window, 0.0) == pytest.approx(clean, rel=1e-3)
    gain = 0.0005
    noisy = green + np.sqrt(gain * green) * rng.standard_normal(green.shape).astype(np.float32)
    assert sharpness(noisy, window, gain) == pytest.approx(clean, rel=0.1)
    assert sharpness(noisy, window, 0.0) > 1.1 * clean
    blurred = [sharpness(cv2.GaussianBlur(green, (0, 0), s), window, 0.0) / clean for s in (1, 2, 4)]
    assert 0.75 < blurred[0] < 0.98 and 0.4 < blurred[1] < 0.8 and blurred[2] < 0.4


def test_noise_does_not_count_as_sharpness(tmp_path, rig):
    """A picture large enough to be looked at in half size: the same blurred texture at three ISO speeds."""
    texture = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (800, 1200)), (0, 0), 5.0)
    light = smooth_face(1200, 800) * (1 + 0.1 * texture[..., None] / texture.std())
    values = []
    for iso in (100, 400, 1600):
        write_frame(tmp_path / "a.dng", light, rig.centre, np.random.default_rng(1), iso)
        facts = frame_facts(tmp_path / "a.dng", shot_plan(rig)[5], rig)
        assert not facts.noise_is_bound
        values.append(facts.sharpness)
    write_frame(tmp_path / "a.dng", light, rig.centre)
    clean = frame_facts(tmp_path / "a.dng", shot_plan(rig)[5], rig).sharpness
    np.testing.assert_allclose(values, clean, rtol=0.12)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_noise_in_every_colour_pattern(tmp_path, rig, cfa):
    """A ramp across the face must not count as noise, wherever the greens lie."""
    from mesoface.capture.exif import Exif
    from mesoface.capture.raw import RawImage

    y, x = np.mgrid[:600, :900]
    signal = 2000 + 3.0 * x - 2.0 * y
    noise = 30 * np.random.default_rng(4).standard_normal(signal.shape)
    raw = RawImage((signal + noise).astype(np.float32), cfa, (0.0, 0.0, 0.0, 0.0), 12952.0, Exif())
    gain, is_bound = noise_gain(raw, face_window(rig, "centre", 450, 300))
    assert gain is not None and not is_bound
    # the quietest blocks relative to the signal are the brightest ones
    assert noise_at_mid_grey(gain) == pytest.approx(30 / 12952 / np.sqrt(0.2 * 0.18), rel=0.25)


def test_two_exposures_have_two_fingerprints(tmp_path, rig):
    shot = shot_plan(rig)[5]
    prints = []
    for seed in (1, 2, 1):
        write_frame(tmp_path / "a.dng", smooth_face(300, 200), rig.centre, np.random.default_rng(seed))
        prints.append(frame_facts(tmp_path / "a.dng", shot, rig).fingerprint)
    assert prints[0] == prints[2] != prints[1]


def test_many_frames_and_unreadable_ones(tmp_path, rig):
    plan = shot_plan(rig)
    paths = {}
    for index in (0, 5, 6):
        paths[index] = tmp_path / f"{plan[index].stem}.dng"
        write_frame(paths[index], smooth_face(300, 200), rig.camera(plan[index].camera), np.random.default_rng(index))
    paths[6].write_bytes(b"\xff\xd8\xff\xe0 jpeg")
    done = []
    facts, unreadable = measure_frames(paths, plan, rig, workers=2, done=done.append)
    assert set(facts) == {0, 5} and facts[5].stem == plan[5].stem and facts[0].camera == "left2"
    assert set(unreadable) == {6} and "JPEG" in unreadable[6]
    assert sorted(done) == [0, 5, 6]


def test_pictures_of_another_shape_are_refused(tmp_path, rig):
    write_frame(tmp_path / "a.dng", smooth_face(300, 300), rig.centre)
    with pytest.raises(UserError, match="300x300"):
        frame_facts(tmp_path / "a.dng", shot_plan(rig)[5], rig)


def test_face_box_lies_on_the_head_in_every_view(tiny_scan, rig):
    """No detector: the rig's geometry alone finds the face, turned or not."""
    for camera in rig.cameras:
        head = cv2.imread(str(tiny_scan / "truth" / camera.name / "mask_head.png"), cv2.IMREAD_GRAYSCALE)
        assert head is not None
        window = face_window(rig, camera.name, 240, 160)
        inside = window.cut(head > 0)[window.mask]
        assert inside.mean() > 0.85, camera.name
        assert (head > 0).sum() < 3.2 * inside.sum()
        assert camera.pose is not None
        depth_mm = np.linalg.norm(camera.pose.position_mm)
        assert window.mm_per_px == pytest.approx(depth_mm * 22.3 / 50 / 240, rel=0.15)


def test_uncalibrated_cameras_are_taken_to_be_filled_by_the_face(rig):
    cameras = [c.model_copy(update={"pose": None}) if c.name == "left2" else c for c in rig.cameras]
    loose = rig.model_copy(update={"cameras": tuple(cameras)})
    window = face_window(loose, "left2", 600, 400)
    assert (window.rows.stop - window.rows.start) / 400 == pytest.approx(0.7, abs=0.05)
    assert abs((window.columns.start + window.columns.stop) / 2 - 300) < 3


def test_subject_out_of_the_picture_is_said(rig):
    away = rig.model_copy(update={"subject": rig.subject.model_copy(update={"target_mm": (900.0, 0.0, 0.0)})})
    with pytest.raises(UserError, match=r"centre.*not in its picture"):
        face_window(away, "centre", 600, 400)


def test_ellipsoid_is_lit_as_the_rig_says(rig):
    """Irradiance at the point that faces a lamp: energy (750 / distance)^2, and less elsewhere."""
    surface = face_surface(rig, "centre", 600, 400)
    assert surface.points_mm.shape == surface.normals.shape == (surface.mask.sum(), 3)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1)
    assert (surface.normals[:, 2] > 0).all(), "every visible cell faces the centre camera"
    for light in rig.flashes:
        shading = (flash_vectors(surface, light) * surface.normals).sum(axis=1)
        distance_mm = np.linalg.norm(np.array(light.position_mm))
        assert shading.max() == pytest.approx(light.relative_energy * (750 / distance_mm) ** 2, rel=0.2)
        brightest = surface.points_mm[np.argmax(shading)]
        assert np.array(light.position_mm) @ brightest > -3000, "on the lamp's side"
    with pytest.raises(ValueError):
        flash_vectors(surface, rig.uniform_lights[0])


def test_small_and_large_pictures_agree(tiny_scan, rig, tmp_path):
    """Levels, blackness and noise-free figures do not depend on the picture's size."""
    path = next((tiny_scan / "raw").glob("*_flash5_cross.dng"))
    shot = next(s for s in shot_plan(rig) if s.stem == path.stem)
    small = frame_facts(path, shot, rig)
    raw = read_raw(path)
    from mesoface.capture.demosaic import demosaic

    light = demosaic(raw.mosaic, raw.cfa) / np.float32(raw.range_dn)
    large_light = cv2.resize(light, (1440, 960), interpolation=cv2.INTER_LINEAR)
    large_path = tmp_path / "large.dng"
    write_frame(large_path, large_light, rig.centre)
    large = frame_facts(large_path, shot, rig)
    assert large.mean_rgb == pytest.approx(small.mean_rgb, rel=0.01)
    assert large.black_share == pytest.approx(small.black_share, abs=0.03)
    assert large.view_px == (720, 480) and small.view_px == (240, 160)
