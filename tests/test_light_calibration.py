"""Flashes from the mirror ball and the card, flat fields, colours, polarisers: against the virtual studio's truth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from calibration_fixtures import scene_of, small_rig, take_of

from mesoface.capture.errors import UserError
from mesoface.capture.rig_models import Rig
from mesoface.capture.target_patterns import CLASSIC24, chart_pattern
from mesoface.reconstruct.calibrate import calibrate_takes, same_rig
from mesoface.reconstruct.colour_chart import fit_colour
from mesoface.reconstruct.flat_field import fit_flat_field, flattened
from mesoface.reconstruct.light_calibration import locate_lights
from mesoface.reconstruct.light_intensity import fit_intensities, irradiance
from mesoface.reconstruct.mirror_ball import find_highlight, find_outline, fit_ball, mirror_points
from mesoface.reconstruct.polariser_calibration import calibrate_polarisers, fit_leak
from mesoface.reconstruct.rig_files import CalibratedRig
from mesoface.reconstruct.targets_scene import vignette
from mesoface.reconstruct.targets_sphere import highlight_point

CAMERAS = ("left2", "centre", "right2")


def perfect(scene) -> CalibratedRig:
    """A calibration without errors, in the frame of the truth."""
    serials = {camera.name: camera.serial for camera in scene.rig.cameras}
    return CalibratedRig("studio", "centre", dict(scene.cameras), serials, dict.fromkeys(scene.cameras, 0.0))


@pytest.fixture(scope="module")
def sphere():
    return scene_of("sphere", small_rig(CAMERAS), width_px=750, height_px=500)


@pytest.fixture(scope="module")
def flat():
    return scene_of("flat", small_rig(("left2", "centre")), width_px=480, height_px=320, vignetting=0.3, leak=0.02)


def test_ball_is_found_to_a_hundredth_of_a_millimetre(sphere):
    take = take_of(sphere)
    outlines = {}
    for shot in take.shots:
        if shot.pose == 1 and len(shot.lights) and sphere.rig.light(shot.lights[0]).role == "uniform":
            outlines[shot.camera] = find_outline(take.linear(shot).mean(axis=2))
    fit = fit_ball(sphere.cameras, outlines, 50.0)
    assert fit is not None and set(fit.per_camera_px) == set(CAMERAS)
    assert np.linalg.norm(fit.centre_mm - np.array(sphere.placements[1].centre_mm)) < 0.03
    assert fit.radius_mm == pytest.approx(50, abs=0.15) and fit.rms_px < 0.1
    alone = fit_ball(sphere.cameras, {"centre": outlines["centre"]}, 50.0)
    assert alone is not None and np.linalg.norm(alone.centre_mm - np.array(sphere.placements[1].centre_mm)) < 4


def test_pictures_without_a_ball_say_so():
    empty = np.zeros((200, 300), np.float32)
    assert "black" in find_outline(empty).problem
    square = empty.copy()
    square[60:140, 40:260] = 0.5
    assert "round" in find_outline(square).problem
    cut = cv2.circle(empty.copy(), (20, 100), 60, 0.5, -1)
    assert find_outline(cut).problem
    ball = cv2.circle(empty.copy(), (150, 100), 60, 0.5, -1, cv2.LINE_AA)
    outline = find_outline(ball)
    assert not outline.problem and np.abs(outline.middle_px - [150, 100]).max() < 0.1
    assert find_highlight(ball, outline) is None


def test_mirror_points_follow_the_renderers(sphere):
    ball, light = sphere.ball(sphere.placements[0]), np.array([300.0, 400.0, 600.0])
    eyes = np.array([camera.centre_mm for camera in sphere.cameras.values()])
    points = mirror_points(np.tile(ball.centre_mm, (len(eyes), 1)), ball.radius_mm, eyes, light)
    for eye, point in zip(eyes, points, strict=True):
        assert np.allclose(point, highlight_point(ball, eye, light), atol=1e-6)


def test_flashes_are_located(sphere):
    """750 x 500 px, three cameras, three places: half the resolution of the bound of 5 mm."""
    found = locate_lights([take_of(sphere)], perfect(sphere))
    assert list(found.lights) == [flash.name for flash in sphere.rig.flashes] and found.warnings == ()
    for name, light in found.lights.items():
        true = np.array(sphere.rig.light(name).position_mm)
        assert np.linalg.norm(np.array(light.position_mm) - true) < 10
        assert light.rays == 9 and light.sigma_mm < 8 and light.rms_px < 0.3


def test_a_ball_of_another_size_is_refused(sphere):
    content = small_rig(CAMERAS).model_dump()
    content["targets"]["sphere_mm"] = 95.0
    take = take_of(sphere, rig=Rig.model_validate(content))
    uniform = replace(take, shots=tuple(shot for shot in take.shots if shot.index < len(CAMERAS)))
    with pytest.raises(UserError, match=r"measures 100\.\d mm.*sphere_mm is 95"):
        locate_lights([uniform], perfect(sphere))


def test_exchanged_and_dark_lamps_are_named(sphere):
    content = small_rig(CAMERAS).model_dump()
    names = [light["name"] for light in content["lights"]]
    places = [light["position_mm"] for light in content["lights"]]
    content["lights"][0]["position_mm"], content["lights"][1]["position_mm"] = places[1], places[0]
    with pytest.raises(UserError, match=f"{names[0]}.*{names[1]}.*exchanged"):
        locate_lights([take_of(sphere, rig=Rig.model_validate(content))], perfect(sphere))
    dark = take_of(
        sphere, change=lambda shot, light: 0.2 * np.minimum(light, 0.05) if names[2] in shot.lights else light
    )
    found = locate_lights([dark], perfect(sphere))
    assert names[2] not in found.lights and any(names[2] in text for text in found.warnings)


def test_no_ball_at_all(sphere):
    take = take_of(sphere, change=lambda shot, light: 0 * light)
    uniform = replace(take, shots=tuple(shot for shot in take.shots if shot.index < len(CAMERAS)))
    with pytest.raises(UserError, match="no mirror ball"):
        locate_lights([uniform], perfect(sphere))


def test_flat_field_is_the_fall_off(flat):
    take = take_of(flat)
    for shot in (shot for shot in take.shots if shot.polariser == "U"):
        fit = fit_flat_field(take.linear(shot), shot.camera)
        true = vignette(flat.cameras[shot.camera], 0.3)
        ones = flattened(true[..., None] * np.ones(3, np.float32), fit.field)
        assert np.abs(ones / ones[160, 240] - 1).max() < 0.01
        assert fit.corner_loss == pytest.approx(0.3, abs=0.01)


def test_cards_that_are_none_are_refused():
    plain = np.full((200, 300, 3), 0.4, np.float32)
    fit_flat_field(plain, "centre")
    with pytest.raises(UserError, match=r"view left1.*nearly black"):
        fit_flat_field(0.001 * plain, "left1")
    with pytest.raises(UserError, match=r"view left1.*burnt out"):
        fit_flat_field(np.ones_like(plain), "left1")
    half = plain.copy()
    half[:, :150] = 0.05
    with pytest.raises(UserError, match=r"view left1.*plain card"):
        fit_flat_field(half, "left1")


def test_light_on_the_face_is_predicted(flat):
    """Aim and exponent make up for each other on a card; what counts is the light in the volume of a face."""
    take = take_of(flat)
    uniform = next(shot for shot in take.shots if shot.polariser == "U" and shot.camera == "centre")
    field = fit_flat_field(take.linear(uniform), "centre").field
    positions = {light.name: np.array(light.position_mm) for light in flat.rig.flashes}
    fits, warnings = fit_intensities(take, perfect(flat), positions, field)
    assert warnings == ()
    points = np.random.default_rng(0).uniform([-90, -120, -60], [90, 120, 60], (300, 3))
    for light in flat.rig.flashes:
        fit, at = fits[light.name], positions[light.name]
        found, _ = irradiance(points, at, np.array(fit.aim_mm), fit.intensity_rgb[1], fit.falloff_exponent)
        true, _ = irradiance(
            points, at, np.array(light.aim_mm), light.relative_energy * 750.0**2, light.falloff_exponent
        )
        assert np.percentile(np.abs(found / true - 1), 95) < 0.02
        assert fit.residual < 0.01 and fit.pair_gain == pytest.approx(1, abs=0.003)
        assert fit.intensity_rgb[0] == pytest.approx(fit.intensity_rgb[2], rel=0.005)


def test_leak_of_each_pair(flat):
    scene = scene_of("flat", small_rig(("left2", "centre")), misalignment=0, leak=0.02, width_px=900, height_px=600)
    pairs, warnings = calibrate_polarisers([take_of(scene)], {})
    assert warnings == () and len(pairs) == 3
    for pair in pairs.values():
        assert pair.leak == pytest.approx(0.02, abs=0.003) and pair.sigma < 0.003 and pair.gain == 1
    shiny = np.zeros((60, 60), np.float32)
    assert "no highlight" in str(fit_leak(shiny, shiny, "flash1"))
    shiny[20:40, 20:40] = 1
    assert "burnt out" in str(fit_leak(shiny, shiny, "flash1"))


def test_colours_of_a_camera_that_mixes_them():
    rig = small_rig(("left2", "centre"))
    scene = scene_of("chart", rig, width_px=480, height_px=320)
    mix = np.array([[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.0, 0.25, 0.75]])
    take = take_of(scene, change=lambda shot, light: (light @ mix.T).astype(np.float32))
    placement = take.plan().placements[0].world_from_target()
    for shot in (shot for shot in take.shots if shot.polariser == "U"):
        nominal = perfect(scene).camera(shot.camera)
        fit = fit_colour(take.linear(shot), nominal, placement, rig.targets, shot.camera)
        back = fit.matrix.matrix @ mix
        assert np.allclose(back / back[1, 1], np.eye(3), atol=0.02)
        assert fit.delta_e.mean() < 1
    assert len(chart_pattern(rig.targets).reflectance) == len(CLASSIC24) + 1
    black = np.zeros((320, 480, 3), np.float32)
    with pytest.raises(UserError, match=r"view centre.*not found"):
        fit_colour(black, scene.cameras["centre"], placement, rig.targets, "centre")


def test_takes_must_fit_together(flat, tmp_path):
    take = take_of(flat)
    other = take_of(flat, rig=small_rig(("left2", "centre"), flat_mm=(600.0, 500.0)))
    with pytest.raises(UserError, match="different rig files"):
        same_rig([take, other])
    with pytest.raises(UserError, match="board take"):
        calibrate_takes([take], tmp_path / "nothing")
    with pytest.raises(UserError, match="no takes"):
        same_rig([])
