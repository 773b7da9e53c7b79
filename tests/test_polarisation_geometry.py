"""Polarised highlights: the reference table of rotations, Fresnel's laws, and the null of every film."""

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.polarisation import (
    analyser_axis_world,
    crossed_leak,
    film_axis_world,
    film_frame_world,
    film_table,
    fresnel_amplitudes,
    null_film_deg,
    specular_transfer,
)
from mesoface.capture.rig import RigLight, load_example_rig

CAMERA = np.array([0.0, 0.0, 8.0])
VERTICAL = np.array([0.0, 1.0, 0.0])


def sphere_highlight(light: np.ndarray) -> np.ndarray:
    """Point of the unit sphere that mirrors the light into the camera, by fixed-point iteration."""
    point = np.array([0.0, 0.0, 1.0])
    for _ in range(100):
        to_camera, to_light = CAMERA - point, light - point
        half = to_camera / np.linalg.norm(to_camera) + to_light / np.linalg.norm(to_light)
        point = half / np.linalg.norm(half)
    return point


@pytest.mark.parametrize(("light", "leak"), [((2, 2, 6), 0.011), ((4, 3, 4), 0.135), ((5, 3, 2), 0.22)])
def test_leak_of_vertical_films_at_a_spheres_highlight(light, leak):
    """Measured with a polarised renderer: films parallel to the world's y axis, highlight of a unit sphere."""
    light = np.array(light, float)
    parallel, cross, _ = specular_transfer(sphere_highlight(light), CAMERA, light, VERTICAL, VERTICAL)
    assert cross == pytest.approx(leak, rel=0.05)
    assert parallel + cross == pytest.approx(1)
    # A film that stands perpendicular to the lamp's axis turns the light a little less.
    film = film_axis_world(light, (0, 0, 0), 0.0)
    _, cross, _ = specular_transfer(sphere_highlight(light), CAMERA, light, film, VERTICAL)
    assert 0.7 * leak < cross < leak


@pytest.mark.parametrize("light", [(0, 3, 5), (0, -2, 6), (4, 0, 4), (-1, 0, 7), (0, 0, 6)])
def test_meridian_lights_do_not_leak(light):
    light = np.array(light, float)
    film = film_axis_world(light, (0, 0, 0), 0.0)
    assert specular_transfer(sphere_highlight(light), CAMERA, light, film, VERTICAL)[1] == pytest.approx(0, abs=1e-12)


def test_fresnel_amplitudes():
    r_s, r_p = fresnel_amplitudes(1.0, 1.4)
    assert r_s == pytest.approx(-0.4 / 2.4) and r_p == pytest.approx(0.4 / 2.4)
    assert fresnel_amplitudes(np.cos(np.arctan(1.4)), 1.4)[1] == pytest.approx(0, abs=1e-12)  # Brewster's angle
    assert np.square(fresnel_amplitudes(1e-9, 1.4)) == pytest.approx(1)  # grazing


def test_fresnel_ratio_is_s_or_p_over_their_mean():
    """A light in the upright plane has its vertical film along p, one in the level plane along s."""
    half_angle = np.deg2rad(20)
    r_s, r_p = fresnel_amplitudes(np.cos(half_angle))
    mean = (r_s**2 + r_p**2) / 2
    above = 8 * np.array([0, np.sin(2 * half_angle), np.cos(2 * half_angle)])
    aside = 8 * np.array([np.sin(2 * half_angle), 0, np.cos(2 * half_angle)])
    film = film_axis_world(above, (0, 0, 0), 0.0)
    assert specular_transfer(np.zeros(3), CAMERA, above, film, VERTICAL)[2] == pytest.approx(r_p**2 / mean)
    assert specular_transfer(np.zeros(3), CAMERA, aside, VERTICAL, VERTICAL)[2] == pytest.approx(r_s**2 / mean)


def test_maps_of_points_equal_single_points():
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.5, 0.5, (4, 5, 3))
    light = np.array([3.0, 2.0, 5.0])
    film = film_axis_world(light, (0, 0, 0), 30.0)
    maps = specular_transfer(points, CAMERA, light, film, VERTICAL)
    assert all(part.shape == (4, 5) for part in maps)
    single = specular_transfer(points[2, 3], CAMERA, light, film, VERTICAL)
    assert [part[2, 3] for part in maps] == pytest.approx([float(part) for part in single])


def test_film_angles_turn_counter_clockwise_for_the_subject():
    """A subject who looks along +z at a lamp sees +y up and +x on the left."""
    lamp = (0, 0, 700)
    assert film_axis_world(lamp, (0, 0, 0), 0) == pytest.approx([0, 1, 0])
    assert film_axis_world(lamp, (0, 0, 0), 90) == pytest.approx([1, 0, 0])
    up, left = film_frame_world((300, 400, 500), (10, 20, 30))
    forward = np.array([-290, -380, -470.0])
    assert [up @ forward, left @ forward, up @ left] == pytest.approx([0, 0, 0], abs=1e-9)
    assert up[1] > 0 and np.linalg.norm(film_axis_world((0, 700, 0), (0, 0, 0), 20)) == pytest.approx(1)
    with pytest.raises(ValueError, match="aims at itself"):
        film_axis_world(lamp, lamp, 0)


def test_analyser_axis():
    centre = PinholeCamera.from_rig(load_example_rig().centre)
    assert analyser_axis_world(centre, 0) == pytest.approx([1, 0, 0])
    assert analyser_axis_world(centre, 90) == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("aim_mm", [(0.0, 0.0, 0.0), (60.0, -40.0, 25.0)])
@pytest.mark.parametrize("analyser_deg", [90.0, 0.0, 30.0])
def test_null_is_the_smallest_leak(aim_mm, analyser_deg):
    rig = load_example_rig()
    camera = rig.centre.model_copy(update={"analyser_deg": analyser_deg})
    light = rig.light("flash2").model_copy(update={"aim_mm": aim_mm})
    null_deg = null_film_deg(camera, light, (5.0, -8.0, 20.0))
    assert 0 <= null_deg < 180
    assert crossed_leak(camera, light, (5.0, -8.0, 20.0), null_deg) == pytest.approx(0, abs=1e-12)
    leaks = [crossed_leak(camera, light, (5.0, -8.0, 20.0), angle) for angle in np.arange(0, 180, 0.5)]
    assert abs((np.argmin(leaks) * 0.5 - null_deg + 90) % 180 - 90) <= 0.25 + 1e-9
    # Near the null the leak grows as the square of the film's error, times (r_p / r_s) or its inverse.
    one, two = (crossed_leak(camera, light, (5.0, -8.0, 20.0), null_deg + error_deg) for error_deg in (1, 2))
    assert two / one == pytest.approx(4, rel=0.05) and one == pytest.approx(np.deg2rad(1) ** 2, rel=0.5)


def test_mirrored_lamps_have_mirrored_nulls():
    rig = load_example_rig()
    nulls = {light.name: null_deg for light, _, null_deg, _ in film_table(rig)}
    assert nulls["flash2"] + nulls["flash3"] == pytest.approx(180)
    assert nulls["flash1"] == pytest.approx(0, abs=1e-6) and nulls["flash6"] == pytest.approx(0, abs=1e-6)
    assert all(leak < 1e-12 for *_, leak in film_table(rig))


def test_only_flashes_and_centre_cameras_have_angles():
    rig = load_example_rig()
    dome: RigLight = rig.light("dome")
    with pytest.raises(UserError, match='light "dome" has no position_mm'):
        null_film_deg(rig.centre, dome, (0, 0, 0))
    with pytest.raises(UserError, match='camera "left1" has no analyser_deg'):
        null_film_deg(rig.camera("left1"), rig.flashes[0], (0, 0, 0))
