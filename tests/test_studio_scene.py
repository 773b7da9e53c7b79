"""The renderer against closed formulas on spheres and planes: cameras, flashes, skin's two lobes, shadows, bounces."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from mesoface.capture.camera_model import PinholeCamera, look_at
from mesoface.capture.polarisation import fresnel_amplitudes
from mesoface.reconstruct.mitsuba_engine import use_variant, variant_works
from mesoface.reconstruct.mitsuba_scene import (
    FLASH_CUTOFF_DEG,
    SKIN_INDEX,
    PointFlash,
    StudioScene,
    SurfaceData,
    surface_data,
)
from mesoface.reconstruct.truth import SurfaceHits, intersect
from mesoface.reconstruct.uv_raster import sample_uv

RADIUS_MM = 90.0
ROUGHNESS = 0.45
ALBEDO = (0.6, 0.4, 0.3)

FLASHES = [
    ((200.0, 150.0, 700.0), (0.0, 0.0, 0.0), 1.3, 1.0),
    ((-300.0, 400.0, 500.0), (20.0, 10.0, 0.0), 0.7, 0.0),
    ((-100.0, 600.0, 300.0), (0.0, -30.0, 40.0), 1.0, 2.5),
]
"""Position, aim, energy, falloff exponent."""


@pytest.fixture(scope="module", autouse=True)
def scalar_engine():
    use_variant("scalar")


def ball(centre_mm=(0.0, 0.0, 0.0), radius_mm=RADIUS_MM, subdivisions=5):
    """Vertices, exact normals and triangles of a sphere."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    normals = np.asarray(mesh.vertices) / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    return normals * radius_mm + np.asarray(centre_mm), normals, np.asarray(mesh.faces)


def square(half_mm: float, spacing_mm: float, centre_mm, across, up):
    """A flat square patch of small triangles, facing across x up."""
    steps = np.arange(-half_mm, half_mm + 1e-6, spacing_mm)
    x, y = (a.ravel()[:, None] for a in np.meshgrid(steps, steps))
    vertices = np.asarray(centre_mm) + x * np.asarray(across, float) + y * np.asarray(up, float)
    index = np.arange(len(x)).reshape(len(steps), -1)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return vertices, np.tile(np.cross(across, up).astype(float), (len(vertices), 1)), triangles


def join(*parts):
    """One mesh of several."""
    first = np.cumsum([0] + [len(p[0]) for p in parts])
    triangles = np.concatenate([p[2] + start for p, start in zip(parts, first, strict=False)])
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), triangles


def surface(vertices, normals, triangles, albedo=ALBEDO, roughness=ROUGHNESS) -> SurfaceData:
    uv = np.full((len(vertices), 2), 0.5)
    maps = np.full((8, 8, 3), albedo, np.float32), np.full((8, 8), roughness, np.float32)
    return surface_data(vertices, normals, triangles, uv, triangles, *maps)


def view(width=110, height=84, focal=520.0, centre=(60.0, 40.0, 650.0)) -> PinholeCamera:
    """A rolled camera with its principal point off the middle; the sphere nearly fills the image."""
    pose = look_at(np.array(centre), np.array([5.0, -3.0, 0.0]), 17.0)
    return PinholeCamera(width, height, focal, focal, (width - 1) / 2 + 4.3, (height - 1) / 2 - 2.7, pose)


def flash_of(position, aim, energy, exponent) -> PointFlash:
    return PointFlash(np.array(position), np.array(aim), energy, exponent)


@cache
def ball_scene(diffuse: str) -> StudioScene:
    use_variant("scalar")
    return StudioScene(surface(*ball()), diffuse)  # pyright: ignore[reportArgumentType]


@cache
def ball_hits() -> SurfaceHits:
    vertices, _, triangles = ball()
    return intersect(view(), ball_scene("lambert").triangle_pass(view()), vertices, triangles)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def geometry(flash: PointFlash):
    """Normals, n.l, n.v and the unit half vector at every hit of the ball."""
    hits = ball_hits()
    normal = unit(hits.position_mm)
    to_light, to_view = unit(flash.position_mm - hits.position_mm), unit(view().centre_mm - hits.position_mm)
    return normal, (normal * to_light).sum(1), (normal * to_view).sum(1), unit(to_light + to_view)


def transmission(cosine):
    """Fresnel transmittance into skin for unpolarised light."""
    return 1 - np.square(fresnel_amplitudes(cosine, SKIN_INDEX)).mean(0)


# -- cameras ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, (90, 41, 110, 84)])
def test_triangle_pass_looks_through_pixel_centres(window):
    """With an edge of 1 px, an error of 0.01 px would put some 100 hits outside their triangle."""
    camera = view(300, 220, 900.0)
    camera = camera.cropped(*window) if window else camera
    vertices, normals, triangles = ball(subdivisions=6)
    hits = intersect(
        camera, StudioScene(surface(vertices, normals, triangles)).triangle_pass(camera), vertices, triangles
    )
    pixels, depth = camera.project(hits.position_mm)
    rows, columns = np.nonzero(hits.mask)
    assert np.abs(pixels - np.stack([columns, rows], 1)).max() < 1e-6
    assert (depth < np.linalg.norm(camera.centre_mm)).all()  # the near side
    assert hits.barycentric.min() > -2e-3
    assert np.quantile(hits.barycentric, 1e-4) > -2e-4
    # the outline: rays that pass the sphere's centre nearer than its radius
    rays = camera.ray_directions_world(np.float64)
    passing = np.linalg.norm(np.cross(rays, camera.centre_mm), axis=-1)
    assert hits.mask[passing < RADIUS_MM - 0.05].all() and not hits.mask[passing > RADIUS_MM].any()


def test_triangle_pass_has_no_cracks():
    """Rays that meet mesh vertices and edges exactly must not slip through to what lies behind."""
    front = square(60.0, 1.0, (0, 0, 0), (1, 0, 0), (0, 1, 0))
    scene = StudioScene(surface(*join(front, square(200.0, 20.0, (0, 0, -200), (1, 0, 0), (0, 1, 0)))))
    camera = PinholeCamera(100, 100, 600.0, 600.0, 50.0, 50.0, look_at(np.array([0, 0, 600.0]), np.zeros(3)))
    seen = scene.triangle_pass(camera)
    assert np.count_nonzero(seen >= len(front[2])) == 0


def test_surface_data_splits_vertices_at_uv_seams_only():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    uv = np.array([[0, 0], [0.4, 0], [0, 0.4], [0.6, 0.6], [0.9, 0.6], [0.6, 0.9]])
    uv_triangles = np.array([[0, 1, 2], [3, 4, 5]])
    data = surface_data(vertices, vertices, triangles, uv, uv_triangles, np.zeros((2, 2, 3)), np.zeros((2, 2)))
    assert len(data.vertices_mm) == 6
    assert data.vertices_mm[data.triangles] == pytest.approx(vertices[triangles])
    assert data.uv[data.triangles] == pytest.approx(uv[uv_triangles] * [1, -1] + [0, 1])  # v from the top


def test_textures_lie_where_the_truth_reads_them():
    """The albedo pass agrees with `sample_uv` (top row = v 1), so image and truth map show the same skin."""
    vertices, normals, triangles = square(50.0, 5.0, (0, 0, 0), (1, 0, 0), (0, 1, 0))
    uv = vertices[:, :2] / 100 + 0.5
    size = 64
    down, right = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    albedo = np.stack([0.2 + 0.6 * down, 0.2 + 0.6 * right, 0.5 + 0.3 * np.sin(9 * down + 5 * right)], 2)
    roughness = np.where(down < 0.5, 0.3, 0.6).astype(np.float32)
    scene = StudioScene(surface_data(vertices, normals, triangles, uv, triangles, albedo.astype(np.float32), roughness))
    camera = PinholeCamera(60, 60, 300.0, 300.0, 29.2, 29.7, look_at(np.array([0, 0, 600.0]), np.zeros(3)))
    hits = intersect(camera, scene.triangle_pass(camera), vertices, triangles)
    image = scene.albedo_pass(camera, 64)[hits.mask]
    whole = image[:, 3] == 1
    assert whole.sum() == 49**2
    truth = sample_uv(albedo, hits.blend(triangles, uv))
    # half a texel off would be 0.005; the pixels average 64 samples and the texture has half-float texels
    assert image[whole, :3] == pytest.approx(truth[whole], abs=0.004)
    assert (image[whole, :3] - truth[whole]).mean(0) == pytest.approx(0, abs=3e-4)
    part = ~whole & (image[:, 3] > 0)
    assert part.sum() > 90
    assert image[part, :3] == pytest.approx(truth[part] * image[part, 3:], abs=0.01)  # premultiplied
    # a flash at the camera's place: the dull half has the wider, darker highlight
    gloss = scene.flash_pass(camera, flash_of((0, 0, 600), (0, 0, 0), 1.0, 0.0), 4)[..., 1]
    assert gloss[28, 29] > 3 * gloss[31, 29] > 0


def test_sensor_refuses_what_it_cannot_render():
    scene, camera = ball_scene("lambert"), view()
    for bad in (replace(camera, distortion=(0.1, 0.0, 0.0, 0.0)), replace(camera, fy_px=camera.fy_px * 1.01)):
        with pytest.raises(ValueError, match="undistorted"):
            scene.triangle_pass(bad)


# -- one flash ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diffuse", ["lambert", "coated"])
def test_flash_on_diffuse_sphere(diffuse):
    """The flash moves between passes over one scene, so that stale light would show, and returns at the end.

    Coated: light passes the interface twice, T(n.l) T(n.v), and is reflected inside it many times. The factor for that
    is 1 / (n^2 (1 - R_inside)), and by reciprocity of diffuse transmission 1 / (1 - R_outside), with R_outside the
    mean reflectance of the interface for diffuse light. A flash has nothing to do with gloss: the highlight counts too.
    """
    cosine = (np.arange(20000) + 0.5) / 20000
    multiple = 1 / (2 * transmission(cosine) * cosine).mean()
    hits, scene = ball_hits(), ball_scene(diffuse)
    images = []
    for seed, values in enumerate([*FLASHES, FLASHES[0]]):
        flash = flash_of(*values)
        image = scene.flash_pass(view(), flash, 16, seed % len(FLASHES))
        images.append(image)
        _, cos_light, cos_view, _ = geometry(flash)
        expected = flash.irradiance(hits.position_mm) * np.maximum(cos_light, 0)
        if diffuse == "coated":
            expected *= multiple * transmission(np.clip(cos_light, 0, 1)) * transmission(np.clip(cos_view, 0, 1))
        measured, coverage = image[hits.mask][:, 0], image[hits.mask][:, 2]
        whole = (coverage > 0.999) & (cos_light > 0.2) & (cos_view > 0.2)
        ratio = measured[whole] / expected[whole]
        assert whole.sum() > 1500
        assert np.median(ratio) == pytest.approx(1, abs=2e-3)
        # a ray in about 100000 slips between two triangles, so a single pixel may lose one of its 16 samples
        assert np.quantile(np.abs(ratio - 1), 0.999) < 0.02
        assert not measured[cos_light < -0.03].any()
    assert np.array_equal(images[0], images[-1])
    fresh = StudioScene(surface(*ball()), diffuse).flash_pass(view(), flash_of(*FLASHES[2]), 16, 2)
    assert np.array_equal(fresh, images[2])


def test_flash_falls_off_with_distance_energy_and_angle():
    """A small patch that faces the flash measures PointFlash.irradiance; on the axis at 750 mm that is the energy."""
    patch = square(3.0, 3.0, (0, 0, 0), (1, 0, 0), (0, 1, 0))
    scene = StudioScene(surface(*patch), "lambert")
    camera = PinholeCamera(8, 8, 1000.0, 1000.0, 3.5, 3.5, look_at(np.array([0, 0, 700.0]), np.zeros(3)))

    def centre(flash):
        return float(scene.flash_pass(camera, flash, 4)[3:5, 3:5, 0].mean())

    assert centre(flash_of((0, 0, 750), (0, 0, 0), 1.0, 1.0)) == pytest.approx(1, rel=2e-3)
    assert centre(flash_of((0, 0, 375), (0, 0, 0), 3.0, 1.0)) == pytest.approx(12, rel=2e-3)
    for exponent in (0.0, 1.0, 4.0):
        for degrees in (20.0, 40.0):
            aim = (375 * np.tan(np.deg2rad(degrees)), 0, 375)  # turned away by so much, to the side and up
            for target in (aim, (0, aim[0], 375)):
                expected = np.cos(np.deg2rad(degrees)) ** exponent
                assert centre(flash_of((0, 0, 750), target, 1.0, exponent)) == pytest.approx(expected, rel=3e-3)
    outside = 375 * np.tan(np.deg2rad(FLASH_CUTOFF_DEG + 2))
    assert centre(flash_of((0, 0, 750), (outside, 0, 375), 1.0, 1.0)) == 0


def test_split_pass_separates_gloss():
    """The specular part equals a render of gloss alone, follows GGX, and everything is linear in energy."""
    scene, flash, hits = ball_scene("coated"), flash_of(*FLASHES[0]), ball_hits()
    image = scene.flash_pass(view(), flash, 16, 5)
    assert image.min() >= 0
    assert not image[image[..., 2] == 0].any()
    integrator = {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0}
    alone = np.pi * scene._render("gloss", view(), integrator, 16, 5, flash)[..., 0]
    peak = alone.max()
    # the split material spends one random number more, so its samples lie elsewhere in the pixel
    assert np.abs(image[..., 1] - alone).max() < 0.02 * peak
    assert image[..., 1].sum() == pytest.approx(alone.sum(), rel=2e-3)
    lambert = ball_scene("lambert").flash_pass(view(), flash, 16, 5)
    assert np.abs(image[..., 1] - lambert[..., 1]).max() < 1e-5 * peak

    doubled = scene.flash_pass(view(), flash_of(*FLASHES[0][:2], 2 * flash.energy, flash.falloff_exponent), 16, 5)
    assert doubled[..., :2] == pytest.approx(2 * image[..., :2], rel=1e-5, abs=1e-6)
    assert np.array_equal(doubled[..., 2], image[..., 2])

    normal, cos_light, cos_view, half = geometry(flash)
    alpha2 = ROUGHNESS**4  # the material's roughness is the square root of GGX's alpha

    def masking(cosine):
        return 2 / (1 + np.sqrt(1 + alpha2 * (1 / cosine**2 - 1)))

    cos_half = (normal * half).sum(1)
    lobe = alpha2 / (np.pi * (cos_half**2 * (alpha2 - 1) + 1) ** 2)
    to_light = unit(flash.position_mm - hits.position_mm)
    fresnel = 1 - transmission((half * to_light).sum(1))
    with np.errstate(divide="ignore"):
        shape = lobe * fresnel * masking(cos_light) * masking(cos_view) / (4 * cos_view)
    expected = np.pi * shape * flash.irradiance(hits.position_mm)
    lit = (cos_light > 0.2) & (cos_view > 0.3) & (expected > 0.05 * peak)
    ratio = image[hits.mask][:, 1][lit] / expected[lit]
    assert lit.sum() > 300
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert np.quantile(np.abs(ratio - 1), 0.99) < 0.03


def test_cast_shadow():
    """A small ball between flash and plane takes away all the flash's light behind it, and none beside it."""
    centre, radius = np.array([20.0, 10.0, 120.0]), 25.0
    plane = square(110.0, 10.0, (0, 0, 0), (1, 0, 0), (0, 1, 0))
    vertices, normals, triangles = join(plane, ball(centre, radius, 4))
    scene = StudioScene(surface(vertices, normals, triangles), "lambert")
    camera = PinholeCamera(100, 80, 300.0, 300.0, 49.5, 39.5, look_at(np.array([-260.0, 0, 420.0]), np.zeros(3)))
    flash = flash_of((60.0, 80.0, 600.0), (0, 0, 0), 1.0, 1.0)
    hits = intersect(camera, scene.triangle_pass(camera), vertices, triangles)
    image = scene.flash_pass(camera, flash, 4)[hits.mask]
    ray = unit(hits.position_mm - flash.position_mm)
    passing = np.linalg.norm(np.cross(ray, centre - flash.position_mm), axis=1)
    on_plane = (hits.triangle < len(plane[2])) & (image[:, 2] > 0.999)
    occluder = hits.spread(hits.triangle >= len(plane[2]), 0) > 0
    away = np.asarray(ndimage.distance_transform_edt(~occluder))[hits.mask] > 2
    shadow, lit = on_plane & (passing < radius - 3), on_plane & (passing > radius + 3) & away
    assert shadow.sum() > 100 and lit.sum() > 1000
    assert not image[shadow, :2].any()
    expected = flash.irradiance(hits.position_mm) * -ray[:, 2]
    assert image[lit, 0] == pytest.approx(expected[lit], rel=0.02)


# -- light from all around ----------------------------------------------------------------------------------------


def test_dome_on_convex_body():
    """A convex Lambertian body under irradiance E all around measures E; a coated one no more; no bounces."""
    camera, scene = view(60, 45, 280.0), ball_scene("lambert")
    dome = scene.dome_pass(camera, 1.5, 16, 8, 3)
    inside = dome[..., 2] > 0.999
    assert inside.sum() > 1500
    assert np.quantile(dome[inside, 0], [0.01, 1]) == pytest.approx(1.5, rel=1e-5)
    assert dome[inside, 0].min() > 1.5 * 0.97  # a ray in about 30000 slips between two triangles
    specular = dome[inside, 1]
    assert specular.min() >= 0 and 0.02 < np.median(specular) / 1.5 < 0.08  # 2.8 % at normal incidence
    assert not dome[dome[..., 2] == 0].any()
    coated = ball_scene("coated").dome_pass(camera, 1.5, 16, 8, 3)[inside, 0] / 1.5
    assert 0.9 < np.median(coated) < 1.05
    for light in (1.5, flash_of(*FLASHES[0])):
        bounce = scene.bounce_pass(camera, light, 8, 4)
        assert np.abs(bounce[..., :3]).max() < 2e-3
        assert np.median(np.abs(bounce[inside, :3])) < 1e-6


def test_interreflection_in_a_corner():
    """Half the sky is hidden in a square corner; the other wall gives some of it back, most in the brightest colour."""
    floor = square(150.0, 10.0, (0, -150.0, 0), (1, 0, 0), (0, 0, -1))
    wall = square(150.0, 10.0, (0, 0, -150.0), (1, 0, 0), (0, 1, 0))
    pose = look_at(np.array([0, 60, 400.0]), np.array([0, -130, -150]))
    camera = PinholeCamera(60, 60, 150.0, 150.0, 29.5, 29.5, pose)
    scene = StudioScene(surface(*join(floor, wall), albedo=(0.8, 0.4, 0.0)), "lambert")
    points = camera.project(np.array([[0, -146.0, -150.0], [0, 0.0, -150.0]]))[0]
    (column, row), (_, far_row) = np.rint(points).astype(int)
    dome = scene.dome_pass(camera, 1.0, 64, 16, 1)
    corner = np.s_[row, column - 4 : column + 5]
    assert dome[*corner, 0].mean() == pytest.approx(0.5, abs=0.05)
    image = scene.bounce_pass(camera, 1.0, 64, 2)
    bounce = image[*corner, :3].mean(0)
    # the first bounce from a wall that gets 1/2 of the sky is albedo^2 * 1/2 * 1/2; far from the edge it gets more
    assert 0.8**2 / 4 < bounce[0] < 0.5
    assert 0.4**2 / 4 < bounce[1] < 0.4 * bounce[0]
    assert abs(bounce[2]) < 1e-6
    assert 0 < image[far_row, column - 4 : column + 5, 0].mean() < 0.6 * bounce[0]


def test_interreflection_between_two_balls():
    """Only the sides that face each other get light from the other ball, with a flash and with a dome."""
    left, right = ball((-95.0, 0, 0), 85.0, 4), ball((95.0, 0, 0), 85.0, 4)
    scene = StudioScene(surface(*join(left, right), albedo=0.7), "lambert")
    camera = PinholeCamera(80, 40, 150.0, 150.0, 39.5, 19.5, look_at(np.array([0, 0, 700.0]), np.zeros(3)))
    for light in (1.0, flash_of((0, 0, 800.0), (0, 0, 0), 1.0, 1.0)):
        bounce = scene.bounce_pass(camera, light, 64, 6)[..., 0]
        assert bounce[18:22, 35:37].mean() > 0.02
        assert bounce[18:22, 43:45].mean() == pytest.approx(bounce[18:22, 35:37].mean(), rel=0.3)
        assert abs(bounce[18:22, 4:12].mean()) < 0.1 * bounce[18:22, 35:37].mean()


def test_environment_map_stands_upright():
    """White all around is a dome; the centre column is straight ahead (+z), the top row up, the left half +x."""
    scene, camera = ball_scene("lambert"), view(60, 45, 280.0)
    vertices, _, triangles = ball()
    hits = intersect(camera, scene.triangle_pass(camera), vertices, triangles)
    white = np.full((16, 32, 3), (1 / np.pi, 2 / np.pi, 0.5 / np.pi), np.float32)
    diffuse, specular, coverage = scene.environment_pass(camera, white, 64, 1)
    inside = coverage > 0.999
    assert diffuse[inside].mean(0) == pytest.approx([1, 2, 0.5], rel=0.02)
    colour = specular[inside].mean(0)
    assert colour / colour[0] == pytest.approx([1, 2, 0.5], rel=0.05)
    normal = unit(hits.spread(hits.position_mm))
    for rows, columns, direction in (
        (np.s_[7:9], np.s_[15:17], (0, 0, 1)),
        (np.s_[0:2], np.s_[:], (0, 1, 0)),
        (np.s_[7:9], np.s_[7:9], (1, 0, 0)),
    ):
        patch = np.zeros((16, 32, 3), np.float32)
        patch[rows, columns] = 1.0
        lit = scene.environment_pass(camera, patch, 16, 1)[0][..., 0]
        facing = inside & (normal @ np.array(direction) > 0.4)
        towards = unit(np.linalg.lstsq(normal[facing], lit[facing], rcond=None)[0])  # Lambert: a linear function
        assert towards @ np.array(direction) > 0.995
        assert not lit[inside & (normal @ np.array(direction) < -0.4)].any()


# -- repeatability ------------------------------------------------------------------------------------------------


def passes(scene: StudioScene) -> list[np.ndarray]:
    camera, flash = view(50, 40, 230.0), flash_of(*FLASHES[0])
    return [
        scene.flash_pass(camera, flash, 4, 11),
        scene.dome_pass(camera, 1.0, 4, 4, 11),
        scene.albedo_pass(camera, 4, 11),
        scene.bounce_pass(camera, flash, 4, 11),
        scene.triangle_pass(camera),
    ]


def test_same_seed_same_bytes():
    first, again = passes(ball_scene("coated")), passes(StudioScene(surface(*ball()), "coated"))
    for a, b in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()
    other = ball_scene("coated").flash_pass(view(50, 40, 230.0), flash_of(*FLASHES[0]), 4, 12)
    assert not np.array_equal(other, first[0])


_LLVM = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import test_studio_scene as t
t.use_variant("llvm")
scene = t.StudioScene(t.surface(*t.ball()), "coated")
images = t.passes(scene)
moved = scene.flash_pass(t.view(50, 40, 230.0), t.flash_of(*t.FLASHES[0][:2], 2.0, 1.0), 4, 11)
np.savez(sys.argv[2], *images, moved)
"""


def test_llvm_engine_gives_the_same_light(tmp_path, request):
    """In a process of its own, because the engine holds for a whole process."""
    if not variant_works("llvm_ad_rgb"):
        pytest.skip("the LLVM variant of Mitsuba does not run here (needs libLLVM 19 or newer)")
    command = [sys.executable, "-c", _LLVM, str(request.path.parent), str(tmp_path / "images.npz")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    with np.load(tmp_path / "images.npz") as found:
        images = [found[f"arr_{k}"] for k in range(6)]
    expected = passes(ball_scene("coated"))
    assert np.mean(images[4] == expected[4]) > 0.999
    inside = (expected[0][..., 2] > 0.999) & (images[0][..., 2] > 0.999)
    for image, reference in zip(images[:3], expected[:3], strict=True):
        assert image.dtype == reference.dtype and image.shape == reference.shape
        assert image[inside].mean(0) == pytest.approx(reference[inside].mean(0), rel=0.02)
    flash = FLASHES[0]
    assert images[5][inside, 0].sum() == pytest.approx(images[0][inside, 0].sum() * 2.0 / flash[2], rel=1e-3)
