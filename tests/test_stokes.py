"""Our split of polarised highlights against Mitsuba's polarised materials and its Stokes renderer.

Scene of the reference: unit sphere, camera at z = 8 with up = +y, `pplastic` skin. Point lights do not shine through a
polariser plate in Mitsuba, so two ways: the material's Mueller matrix at every pixel, lit by a polarised point light
(exact, no noise), and a rendered image of a small panel behind a plate (noisy, but it fixes the renderer's signs).
Mitsuba's polarised engine holds for a whole process, so this file runs itself as a program.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera, look_at
from mesoface.capture.polarisation import (
    SKIN_INDEX,
    analyser_axis_world,
    film_axis_world,
    null_film_deg,
    specular_transfer,
)
from mesoface.capture.rig import load_example_rig

VARIANT = "scalar_spectral_polarized"
CENTRE = np.array([0.0, 0.0, 8.0])
SKIN = {"type": "pplastic", "diffuse_reflectance": 0.5, "alpha": 0.12, "int_ior": SKIN_INDEX, "ext_ior": 1.0}
CAMERA = PinholeCamera(60, 60, 215.0, 215.0, 29.5, 29.5, look_at(CENTRE, np.zeros(3)))
LIGHTS = {"meridian": (0.0, 3.0, 5.0), "25 degrees": (2.0, 2.0, 6.0), "51 degrees": (4.0, 3.0, 4.0)}
SIDE = 22
LEAKS = {"meridian": 0.0, "25 degrees": 0.011, "51 degrees": 0.135}
"""Reference table: share of the highlight that vertical films (world y) leave in the crossed image."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def across(axis: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Unit axis perpendicular to a ray."""
    return unit(axis - (axis @ ray) * ray)


def highlight_of(light: np.ndarray) -> np.ndarray:
    """The point that mirrors the light into the camera."""
    point = np.array([0.0, 0.0, 1.0])
    for _ in range(100):
        point = unit(unit(CENTRE - point) + unit(light - point))
    return point


def window(light: tuple) -> tuple[int, int]:
    """First column and row of the part of the image around the highlight."""
    column, row = np.rint(CAMERA.project(highlight_of(np.array(light))[None])[0][0]).astype(int) - SIDE // 2
    return min(max(column, 0), CAMERA.width_px - SIDE), min(max(row, 0), CAMERA.height_px - SIDE)


def sphere_points(light: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (SIDE, SIDE) bool of the window that see the unit sphere, and where (K, 3)."""
    rays = CAMERA.cropped(*window(light), SIDE, SIDE).ray_directions_world(np.float64)
    along = -(rays @ CENTRE)
    inside = along**2 - (CENTRE @ CENTRE - 1)
    mask = inside > 0.02
    return mask, CENTRE + rays[mask] * (along[mask] - np.sqrt(inside[mask]))[:, None]


def film_angles(light: tuple) -> tuple[float, float, float]:
    """Upright, the null for an upright analyser at the highlight, and one in between."""
    rig = load_example_rig()
    pose = rig.cross_camera.pose.model_copy(update={"position_mm": tuple(CENTRE), "target_mm": (0.0, 0.0, 0.0)})  # pyright: ignore
    camera = rig.cross_camera.model_copy(update={"pose": pose, "analyser_deg": 90.0})
    lamp = rig.flashes[0].model_copy(update={"position_mm": light, "aim_mm": (0.0, 0.0, 0.0)})
    return 0.0, null_film_deg(camera, lamp, highlight_of(np.array(light))), 33.0


# -- the program: Mitsuba's answers -------------------------------------------------------------------------------


def _point_light(mi, light: np.ndarray, film: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Gloss (K, 3) at points: through an upright analyser, through a level one, and with the film taken away."""
    skin, matte = mi.load_dict(SKIN), mi.load_dict({**SKIN, "specular_reflectance": 0.0})
    context, result = mi.BSDFContext(), []
    for point in points:
        surface = mi.SurfaceInteraction3f()
        surface.n = point.tolist()
        surface.sh_frame = mi.Frame3f(point.tolist())
        surface.wavelengths = [550.0] * 4
        to_view, to_light = unit(CENTRE - point), unit(light - point)
        surface.wi = surface.to_local(mi.Vector3f(to_view.tolist()))
        wo = surface.to_local(mi.Vector3f(to_light.tolist()))
        local = skin.eval(context, surface, wo) - matte.eval(context, surface, wo)
        mueller = np.array(surface.to_world_mueller(local, -wo, surface.wi))[..., 0]

        def turn(forward, axis, other):
            """Stokes vectors about `axis` into Stokes vectors about `other`."""
            return np.array(mi.mueller.rotate_stokes_basis(forward.tolist(), axis.tolist(), other.tolist()))

        def basis(forward):
            return np.array(mi.mueller.stokes_basis(mi.Vector3f(forward.tolist())))

        upright = across(np.array([0.0, 1.0, 0.0]), to_view)
        source = turn(-to_light, across(film, -to_light), basis(-to_light)) @ [1, 1, 0, 0]
        stokes = turn(to_view, basis(to_view), upright) @ mueller @ source
        result.append([(stokes[0] + stokes[1]) / 2, (stokes[0] - stokes[1]) / 2, mueller[0, 0]])
    return np.array(result)


def _panel(mi, light: np.ndarray, film: np.ndarray, spp: int) -> np.ndarray:
    """Rendered Stokes image (SIDE, SIDE, 4) under a small panel behind a polariser plate."""
    transform = mi.ScalarTransform4f()

    def plate(distance: float, half: float):
        place = transform.look_at(origin=(light * distance).tolist(), target=[0, 0, 0], up=film.tolist())
        return place @ transform.scale([half, half, 1])

    half = 0.05 * float(np.linalg.norm(light))
    column, row = (int(c) for c in window(tuple(light)))
    scene = mi.load_dict({
        "type": "scene",
        "sphere": {"type": "sphere", "bsdf": {**SKIN, "diffuse_reflectance": 0.0}},
        "panel": {"type": "rectangle", "to_world": plate(1.001, half), "emitter": {
            "type": "area", "radiance": {"type": "uniform", "value": 100.0}}},
        # the panel's up is the plate's local y; theta turns the axis that passes from local x
        "plate": {"type": "rectangle", "to_world": plate(1.0, 1.5 * half), "bsdf": {
            "type": "polarizer", "theta": 90.0}},
        "sensor": {
            "type": "perspective", "fov": float(np.degrees(2 * np.arctan(30 / 215.0))),
            "to_world": transform.look_at(origin=CENTRE.tolist(), target=[0, 0, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": 60, "height": 60, "rfilter": {"type": "box"},
                     "crop_offset_x": column, "crop_offset_y": row, "crop_width": SIDE, "crop_height": SIDE},
            "sampler": {"type": "independent", "sample_count": spp},
        },
    })  # fmt: skip
    integrator = mi.load_dict({"type": "stokes", "nested": {"type": "path", "max_depth": 4, "hide_emitters": True}})
    image = np.array(mi.render(scene, integrator=integrator, spp=spp, seed=3))
    return image[..., [-12, -9, -6, -3]]


def _main(path: str) -> None:
    import mitsuba as mi

    mi.set_variant(VARIANT)
    found = {}
    for name, light in LIGHTS.items():
        _, points = sphere_points(light)
        for number, angle in enumerate(film_angles(light)):
            film = film_axis_world(light, (0, 0, 0), angle)
            found[f"point {name} {number}"] = _point_light(mi, np.array(light), film, points)
        for number, angle in enumerate(film_angles(light)[:2]):
            film = film_axis_world(light, (0, 0, 0), angle)
            found[f"panel {name} {number}"] = _panel(mi, np.array(light), film, 256)
    np.savez(path, **found)


# -- the tests ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mitsuba(tmp_path_factory):
    import mitsuba as mi

    if VARIANT not in mi.variants():
        pytest.skip(f"this build of Mitsuba has no {VARIANT}")
    path = tmp_path_factory.mktemp("stokes") / "stokes.npz"
    command = [sys.executable, str(Path(__file__)), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    with np.load(path) as found:
        return dict(found)


def prediction(light: tuple, film_deg: float, analyser_deg: float = 90.0):
    """Our shares through that analyser and across it, and the Fresnel ratio, at the window's points (K,)."""
    film = film_axis_world(light, (0, 0, 0), film_deg)
    return specular_transfer(
        sphere_points(light)[1], CENTRE, np.array(light), film, analyser_axis_world(CAMERA, analyser_deg)
    )


@pytest.mark.parametrize("name", LIGHTS)
def test_shares_agree_with_the_mueller_matrices_of_a_polarised_material(mitsuba, name):
    """Parallel and crossed gloss everywhere in the highlight, for three films each; the null leaves nothing."""
    for number, angle in enumerate(film_angles(LIGHTS[name])):
        upright, level, unpolarised = mitsuba[f"point {name} {number}"].T
        parallel, cross, ratio = prediction(LIGHTS[name], angle)
        highlight = unpolarised > 0.05 * unpolarised.max()
        assert highlight.sum() > 50
        scale = unpolarised.max()
        assert (unpolarised * ratio * parallel)[highlight] == pytest.approx(upright[highlight], abs=1e-5 * scale)
        assert (unpolarised * ratio * cross)[highlight] == pytest.approx(level[highlight], abs=1e-5 * scale)
        leak = level[highlight].sum() / (upright + level)[highlight].sum()
        if number == 0:
            assert leak == pytest.approx(LEAKS[name], rel=0.2, abs=1e-4)
        if number == 1:
            assert leak < 3e-4


@pytest.mark.parametrize("name", LIGHTS)
@pytest.mark.parametrize("number", [0, 1], ids=["upright film", "film at its null"])
def test_shares_agree_with_a_rendered_panel_behind_a_plate(mitsuba, name, number):
    """Plane of polarisation and leak of the whole highlight in a Stokes image, noise and a panel's width allowed."""
    light = LIGHTS[name]
    angle, mask = film_angles(light)[number], sphere_points(light)[0]
    image = mitsuba[f"panel {name} {number}"]
    highlight = image[..., 0] > 0.3 * image[..., 0].max()
    assert highlight.sum() > 15 and mask[highlight].all()
    s0, s1, s2, s3 = image[highlight].sum(0)
    weight = (mitsuba[f"point {name} {number}"][:, :2].sum(1))[highlight[mask]]
    cross = prediction(light, angle)[1][highlight[mask]] @ weight / weight.sum()
    diagonal = prediction(light, angle, 45.0)[0][highlight[mask]] @ weight / weight.sum()
    expected_deg = np.rad2deg(np.arctan2(2 * diagonal - 1, 2 * cross - 1)) / 2
    turn = (np.rad2deg(np.arctan2(s2, s1)) / 2 - expected_deg + 90) % 180 - 90
    assert abs(turn) < 1.0
    leak = (s0 + s1) / 2 / s0  # S1 is level minus upright light
    assert leak == pytest.approx(cross, rel=0.08, abs=0.0015)
    assert np.hypot(s1, s2) / s0 > 0.99 and abs(s3) / s0 < 0.02
    if number == 1:
        assert leak < 0.003


if __name__ == "__main__":
    _main(sys.argv[1])
