"""Light on a real head against closed formulas: what the renderer gives is what lights.json promises."""

from dataclasses import replace

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.plan import shot_plan
from mesoface.capture.polarisation import film_angle_deg, film_axis_world
from mesoface.capture.rig import load_example_rig
from mesoface.reconstruct.studio import ScanRenderer
from mesoface.reconstruct.studio_checks import normal_error_deg
from mesoface.reconstruct.studio_light import (
    flash_in_head_frame,
    highlight_split,
    light_components,
    make_view,
    through_polariser,
)
from mesoface.reconstruct.studio_options import StudioOptions


@pytest.fixture(scope="module")
def close_up():
    """Cheek and nose at 0.28 mm per pixel on a 0.3 mm mesh, Lambertian, direct light only."""
    options = StudioOptions(
        width_px=1500, height_px=1000, subject=2, diffuse="lambert", interreflection=False, subsurface=False, samples=16
    )
    rig = load_example_rig()
    renderer = ScanRenderer(rig, options, shot_plan(rig))
    full = PinholeCamera.from_rig(rig.centre).scaled(1500, 1000)
    camera = full.cropped(600, 420, 280, 200)
    renderer.cameras["centre"] = camera
    return rig, options, renderer, renderer.view("centre", 5)


def test_mesh_is_fine_enough(close_up) -> None:
    """Edges of the displaced mesh are at most 0.3 mm in the face proper."""
    from mesoface.reconstruct.face_model import FACE_REGIONS
    from mesoface.reconstruct.mesh_refine import edge_lengths_mm

    head = close_up[2].head
    face = np.isin(head.regions, [*FACE_REGIONS])[head.base.triangles].all(1)
    lengths = edge_lengths_mm(head.detailed_mm, head.base.triangles[face])
    assert face.sum() > 300_000
    assert np.percentile(lengths, 99.99) < 0.3
    assert lengths.max() < 0.4  # steps of a fold that only show once its edges are split


def test_truth_normals_equal_normals_of_truth_depth(close_up) -> None:
    _, _, _, view = close_up
    truth = view.truth
    assert truth.mask_face.mean() > 0.9
    assert normal_error_deg(view.camera, truth.depth_mm, truth.normal_cam, truth.mask_face) < 1.0


@pytest.mark.parametrize("flash_name", ["flash1", "flash2", "flash7"])
def test_diffuse_image_is_the_near_light_prediction(close_up, flash_name: str) -> None:
    """albedo x intensity x cos^m / r^2 x n.l on unshadowed pixels, within 2 %."""
    rig, options, renderer, view = close_up
    light = rig.light(flash_name)
    components = light_components(renderer.scene, view, light, options, seed=3)
    truth, flash = view.truth, flash_in_head_frame(light, view.head_from_world)
    points = truth.position_mm.astype(np.float64)
    normal = truth.normal_cam.astype(np.float64) @ view.camera.cam_from_world.rotation
    to_light = flash.position_mm - points
    cosine = (normal * to_light).sum(2) / np.linalg.norm(to_light, axis=2)
    predicted = view.albedo * (flash.irradiance(points) * np.maximum(cosine, 0))[..., None]
    lit = truth.mask_face & (cosine > 0.3)
    ratio = (components.diffuse / np.maximum(predicted, 1e-9)).mean(2)[lit]
    unshadowed = ratio[ratio > 0.8]  # a cast shadow takes all direct light, so nothing lies between
    assert len(unshadowed) > 0.6 * len(ratio)
    assert abs(np.median(unshadowed) - 1) < 0.003
    # a pixel holds a range of normals; the prediction has the one at its centre
    assert np.percentile(np.abs(unshadowed - 1), 80) < 0.02


def test_pairs_follow_the_film_angle(close_up) -> None:
    """At its null a flash leaves no highlight in the crossed image; with a vertical film it leaks as predicted."""
    rig, options, renderer, view = close_up
    light = rig.light("flash2")  # high left: off both meridians
    components = light_components(renderer.scene, view, light, options, seed=3)
    shiny = components.specular > np.percentile(components.specular, 90)

    def leak(film_deg: float | str) -> float:
        lamp = light.model_copy(update={"film_deg": film_deg})
        lamps = tuple(lamp if x.name == light.name else x for x in rig.lights)
        turned = rig.model_copy(update={"lights": lamps})
        split = highlight_split(view, rig.centre, lamp, turned)
        cross = through_polariser(components, split, rig.centre, "X", leak=0.0)
        parallel = through_polariser(components, split, rig.centre, "P", leak=0.0)
        highlight = (parallel + cross - components.diffuse)[shiny].sum()
        return float((cross - components.diffuse / 2)[shiny].sum() / highlight)

    assert leak("null") < 0.005
    assert leak(0.0) > 0.02
    null_deg = film_angle_deg(rig.centre, light, rig.subject.target_mm)
    assert leak(null_deg + 90.0) > 0.95  # crossed and parallel change places
    axis = film_axis_world(light.position_mm, light.aim_mm, null_deg)
    assert abs(axis @ (np.array(light.position_mm) / np.linalg.norm(light.position_mm))) < 1e-9


def test_uncrossed_leak_adds_what_it_says(close_up) -> None:
    rig, options, renderer, view = close_up
    light = rig.light("flash1")
    components = light_components(renderer.scene, view, light, options, seed=3)
    split = highlight_split(view, rig.centre, light, rig)
    ideal, leaky = (through_polariser(components, split, rig.centre, "X", leak=x) for x in (0.0, 0.01))
    parallel = through_polariser(components, split, rig.centre, "P", leak=0.0)
    gained = (leaky - ideal).sum() / (parallel - components.diffuse / 2).sum()
    assert gained == pytest.approx(0.01, rel=1e-3)


def test_scattering_blurs_red_most_and_keeps_energy(close_up) -> None:
    rig, options, renderer, view = close_up
    light = rig.light("flash2")
    sharp = light_components(renderer.scene, view, light, options, seed=3).diffuse
    soft_options = options.model_copy(update={"subsurface": True})
    soft = light_components(renderer.scene, view, light, soft_options, seed=3).diffuse
    detail = []
    for channel in range(3):
        a, b = (image[20:-20, 20:-20, channel] / view.albedo[20:-20, 20:-20, channel] for image in (sharp, soft))
        assert b.mean() == pytest.approx(a.mean(), rel=0.01)
        detail.append(np.abs(np.diff(b, axis=1)).mean() / np.abs(np.diff(a, axis=1)).mean())
    assert detail[0] < 0.8 * detail[2] < 0.8
    assert detail[0] < detail[1] < detail[2]


def test_interreflection_adds_light_in_concave_places(close_up) -> None:
    rig, options, renderer, _ = close_up
    camera = replace(renderer.cameras["centre"])
    view = make_view(renderer.scene, camera, renderer.truth(camera), close_up[3].head_from_world, 4)
    light = rig.light("flash1")
    without = light_components(renderer.scene, view, light, options, seed=3).diffuse
    bounced = options.model_copy(update={"interreflection": True})
    added = light_components(renderer.scene, view, light, bounced, seed=3).diffuse - without
    assert added.min() > -1e-6
    assert 0.01 < added.mean() / without.mean() < 0.3
