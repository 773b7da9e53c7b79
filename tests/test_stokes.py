"""Our split of polarised highlights against Mitsuba's polarised materials and its Stokes renderer.

Scene of the reference: unit sphere, camera at z = 8 with up = +y, `pplastic` skin. Point lights do not shine through a
polariser plate in Mitsuba, so two ways: the material's Mueller matrix at every pixel, lit by a polarised point light
(exact, no noise), and a rendered image of a small panel behind a plate (noisy, but it fixes every sign of the renderer).
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
LEAKS = {"meridian": 0.0, "25 degrees": 0.011, "51 degrees": 0.135}
"""Reference table: share of the highlight that vertical films (world y) leave in the crossed image."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def across(axis: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Unit axis perpendicular to a ray."""
    return unit(axis - (axis @ ray) * ray)


def sphere_points() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W) bool that see the unit sphere, and where (K, 3)."""
    rays = CAMERA.ray_directions_world(np.float64)
    along = -(rays @ CENTRE)
    inside = along**2 - (CENTRE @ CENTRE - 1)
    mask = inside > 0.02
    return mask, CENTRE + rays[mask] * (along[mask] - np.sqrt(inside[mask]))[:, None]


def highlight_of(light: np.ndarray) -> np.ndarray:
    """The point that mirrors the light into the camera."""
    point = np.array([0.0, 0.0, 1.0])
    for _ in range(100):
        point = unit(unit(CENTRE - point) + unit(light - point))
    return point


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
            return np.array(mi.mueller.rotate_stokes_basis(forward.tolist(), axis.tolist(), other.tolist()))[..., 0]

        def basis(forward):
            return np.array(mi.mueller.stokes_basis(mi.Vector3f(forward.tolist())))

        upright = across(np.array([0.0, 1.0, 0.0]), to_view)
        source = turn(-to_light, across(film, -to_light), basis(-to_light)) @ [1, 1, 0, 0]
        stokes = turn(to_view, basis(to_view), upright) @ mueller @ source
        result.append([(stokes[0] + stokes[1]) / 2, (stokes[0] - stokes[1]) / 2, mueller[0, 0]])
    return np.array(result)


def _panel(mi, light: np.ndarray, film: np.ndarray, spp: int) -> np.ndarray:
    """Rendered Stokes image (H, W, 4) under a small panel behind a polariser plate."""
    transform = mi.ScalarTransform4f()

    def plate(distance: float, half: float):
        place = transform.look_at(origin=(light * distance).tolist(), target=[0, 0, 0], up=film.tolist())
        return place @ transform.scale([half, half, 1])

    half = 0.05 * np.linalg.norm(light)
    scene = mi.load_dict({
        "type": "scene",
        "sphere": {"type": "sphere", "bsdf": {**SKIN, "diffuse_reflectance": 0.0}},
        "panel": {"type": "rectangle", "to_world": plate(1.001, half), "emitter": {
            "type": "area", "radiance": {"type": "uniform", "value": 100.0}}},
        # the panel's up is the plate's local y; theta turns the axis that passes from local x
        "plate": {"type": "rectangle", "to_world": plate(1.0, 1.5 * half), "bsdf": {"type": "polarizer", "theta": 90.0}},
        "sensor": {
            "type": "perspective", "fov": float(np.degrees(2 * np.arctan(30 / 215.0))),
            "to_world": transform.look_at(origin=CENTRE.tolist(), target=[0, 0, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": 60, "height": 60, "rfilter": {"type": "box"}},
            "sampler": {"type": "independent", "sample_count": spp},
        },
    })  # fmt: skip
    integrator = mi.load_dict({"type": "stokes", "nested": {"type": "path", "max_depth": 4, "hide_emitters": True}})
    image = np.array(mi.render(scene, integrator=integrator, spp=spp, seed=3))
    return image[..., [-12, -9, -6, -3]]


def _main(path: str) -> None:
    import mitsuba as mi

    mi.set_variant(VARIANT)
    _, points = sphere_points()
    found = {}
    for name, light in LIGHTS.items():
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


if __name__ == "__main__":
    _main(sys.argv[1])
