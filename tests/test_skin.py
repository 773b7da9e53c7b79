"""The virtual head's skin: exact UV rasterisation, depths in millimetres, and what may change with what."""

import dataclasses
import hashlib

import numba
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mesoface.reconstruct.face_model import FaceModel, Region
from mesoface.reconstruct.face_procedural import procedural_face_model
from mesoface.reconstruct.skin import SkinMaps, SkinParameters, make_skin, random_skin
from mesoface.reconstruct.skin_folds import FoldField, fold_displacement, fold_field, make_fold
from mesoface.reconstruct.skin_frame import Area, SkinFrame, skin_frame
from mesoface.reconstruct.skin_points import SurfacePoints, vertex_points
from mesoface.reconstruct.skin_pores import place_pores
from mesoface.reconstruct.uv_raster import (
    UvRaster,
    dilate,
    interpolate,
    pad_raster,
    rasterize_uv,
    sample_uv,
    texel_from_uv,
    uv_from_texel,
)

SIZE = 512
BROWS_UP = {"brow_inner_raise": 1.0, "brow_outer_raise": 1.0}
SMILE = {"lip_corner_pull": 1.0, "cheek_raise": 1.0}


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return procedural_face_model()


@pytest.fixture(scope="module")
def frame(model) -> SkinFrame:
    return skin_frame(model, model.mean_mm)


def skin_of(model: FaceModel, activations: dict[str, float], size: int = SIZE, **parameters) -> SkinMaps:
    values = SkinParameters(**{"seed": 3, "age": 0.15, **parameters})
    return make_skin(model, model.mean_mm, activations, model.albedo(), values, size, components=True)


@pytest.fixture(scope="module")
def rest(model) -> SkinMaps:
    return skin_of(model, {})


@pytest.fixture(scope="module")
def raised(model) -> SkinMaps:
    return skin_of(model, BROWS_UP)


@pytest.fixture(scope="module")
def smiling(model) -> SkinMaps:
    return skin_of(model, SMILE)


@pytest.fixture(scope="module")
def raster(model) -> UvRaster:
    return rasterize_uv(model.uv, model.uv_triangles, SIZE)


@pytest.fixture(scope="module")
def region_of(model, raster):
    """(S, S) uint8 region of the first corner of each texel's triangle, 255 outside."""
    labels = model.regions[model.triangles]
    uniform = np.where((labels == labels[:, :1]).all(1), labels[:, 0], 254)
    return np.where(raster.valid, uniform[raster.triangle], 255)


# --- rasterisation


def test_raster_reconstructs_uv(model, raster):
    got = interpolate(raster, model.uv_triangles, model.uv)
    rows, columns = np.nonzero(raster.valid)
    want = uv_from_texel(np.column_stack([columns, rows]), SIZE)
    assert np.abs(got[rows, columns] - want).max() < 1e-4
    weights = raster.barycentric[raster.valid]
    assert weights.min() > -1e-6 and weights.sum(1).max() < 1 + 1e-6


def test_texel_conversion_round_trip_and_origin():
    uv = np.array([[0.0, 0.0], [1.0, 1.0], [0.25, 0.75]])
    texel = texel_from_uv(uv, 8)
    assert np.allclose(texel[0], [-0.5, 7.5])  # bottom-left corner of UV is the bottom-left corner of the image
    assert np.allclose(uv_from_texel(texel, 8), uv)


def test_raster_covers_a_shared_edge_exactly_once():
    uv = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    raster = rasterize_uv(uv, np.array([[0, 1, 2], [0, 2, 3]]), 16)
    assert raster.valid.all()
    assert np.count_nonzero(raster.triangle == 0) == 136 and np.count_nonzero(raster.triangle == 1) == 120


def test_padding_extrapolates_and_dilation_averages():
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    raster = rasterize_uv(uv, triangles, 32)
    padded = pad_raster(raster, uv, triangles, 3)
    assert padded.valid.sum() == 22 * 22 and raster.valid.sum() == 16 * 16
    got = interpolate(padded, triangles, uv.astype(np.float32))
    rows, columns = np.nonzero(padded.valid)
    assert np.abs(got[rows, columns] - uv_from_texel(np.column_stack([columns, rows]), 32)).max() < 1e-5
    values = np.where(raster.valid, 5.0, 0.0).astype(np.float32)
    grown = dilate(values, raster.valid, 2)
    assert np.count_nonzero(grown == 5.0) == 20 * 20


def test_bilinear_lookup_is_exact_on_a_plane():
    rows, columns = np.mgrid[:64, :64]
    plane = (0.3 * columns - 0.2 * rows).astype(np.float32)
    uv = np.random.Generator(np.random.PCG64(0)).uniform(0.02, 0.98, (500, 2))
    texel = texel_from_uv(uv, 64)
    assert np.allclose(sample_uv(plane, uv), 0.3 * texel[:, 0] - 0.2 * texel[:, 1], atol=1e-4)
    assert sample_uv(np.stack([plane, plane], -1), uv).shape == (500, 2)


# --- determinism and consistency


def digest(maps: SkinMaps) -> str:
    parts = (maps.displacement_mm, maps.albedo, maps.roughness)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_same_seed_same_bytes_whatever_the_threads(model, rest, smiling):
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert digest(skin_of(model, {})) == digest(rest)
    finally:
        numba.set_num_threads(threads)
    assert digest(smiling) != digest(rest)


def test_resolutions_agree(model, rest):
    large = skin_of(model, {}, 2 * SIZE)
    valid = rest.valid & large.valid[::2, ::2] & large.valid[1::2, 1::2]
    core = gaussian_filter(valid.astype(np.float32), 3.0) > 0.999
    for name, sigma in (("wrinkles", 1.0), ("relief", 1.5), ("pores", 1.5)):
        small, big = rest.components[name], large.components[name]
        reduced = big.reshape(SIZE, 2, SIZE, 2).mean((1, 3))
        a, b = gaussian_filter(small, sigma)[core], gaussian_filter(reduced, sigma)[core]
        assert np.corrcoef(a, b)[0, 1] > 0.93, name
        assert 0.7 < a.std() / b.std() < 1.4, name
    reduced = large.albedo[..., 1].reshape(SIZE, 2, SIZE, 2).mean((1, 3))
    a, b = gaussian_filter(rest.albedo[..., 1], 1.0)[core], gaussian_filter(reduced, 1.0)[core]
    assert np.corrcoef(a, b)[0, 1] > 0.98


# --- wrinkles


def test_wrinkles_are_weak_at_rest_and_deep_in_expressions(rest, raised, smiling):
    still = rest.components["wrinkles"][rest.valid]
    assert 0.01 < -still.min() < 0.45
    assert np.percentile(np.abs(still), 98) < 0.1
    for maps in (raised, smiling):
        moved = maps.components["wrinkles"][maps.valid]
        assert 0.35 < -moved.min() <= 1.11
        assert moved.max() < 0.45


def test_forehead_folds_with_the_brows_and_not_with_a_smile(rest, raised, smiling, region_of):
    forehead = region_of == Region.FOREHEAD
    power = [float(np.square(m.components["wrinkles"][forehead]).mean()) for m in (rest, raised, smiling)]
    assert power[1] > 10 * power[0]
    # the outermost crow's feet reach the region's border; the brows fold all of it
    assert power[2] < 0.2 * power[1]
    cheeks = np.isin(region_of, (Region.CHEEK_LEFT, Region.CHEEK_RIGHT, Region.PERIORAL))
    power = [float(np.square(m.components["wrinkles"][cheeks]).mean()) for m in (rest, raised, smiling)]
    assert power[2] > 3 * power[0] and power[1] < 1.1 * power[0] + 1e-6


@pytest.fixture(scope="module")
def old_and_dark(model) -> SkinMaps:
    return skin_of(model, {}, age=0.95, melanin=0.8)


def test_age_deepens_lines_at_rest(rest, old_and_dark):
    old = old_and_dark.components["wrinkles"][old_and_dark.valid]
    assert old.std() > 1.8 * rest.components["wrinkles"][rest.valid].std()


def test_pores_and_relief_do_not_depend_on_the_expression(rest, raised, smiling):
    for name in ("pores", "relief"):
        assert np.array_equal(rest.components[name], raised.components[name])
        assert np.array_equal(rest.components[name], smiling.components[name])


def flat_points(n: int, spacing: float) -> SurfacePoints:
    """A flat square of n x n points, z = 0, without any rim."""
    x, y = np.meshgrid((np.arange(n) - n / 2) * spacing, (np.arange(n) - n / 2) * spacing)
    position = np.column_stack([x.ravel(), y.ravel(), np.zeros(n * n)]).astype(np.float32)
    weights = np.zeros((n * n, len(Area)), np.float32)
    weights[:, Area.CHEEK] = 1.0
    return SurfacePoints(
        position, np.tile(np.array([0, 0, 1], np.float32), (n * n, 1)), np.full(n * n, spacing, np.float32), weights,
        np.full((n * n, 4), -30, np.float32), np.ones(n * n, np.float32), np.full((n * n, 3), 0.4, np.float32),
    )  # fmt: skip


class FlatFrame(SkinFrame):
    """A plane, for what asks a frame for normals only."""

    def __init__(self):
        pass

    def normals_at(self, points):
        return np.tile([0.0, 0.0, 1.0], (len(points), 1))


def one_fold(depth: float, half_width: float, lean: float) -> FoldField:
    rng = np.random.Generator(np.random.PCG64(1))
    path = np.column_stack([np.arange(-40, 40.1, 0.8), np.zeros(101), np.zeros(101)])
    fold = make_fold(path, depth, half_width, rng, lean=lean, gaps=0.0, gains={"blink": 1.0}, rest=(0.0, 0.0))
    return fold_field(FlatFrame(), [fold], {"blink": 1.0}, 0.5, 1.0)


@pytest.mark.parametrize("half_width", [0.8, 1.5, 3.0])
def test_fold_keeps_volume_and_has_shoulders(half_width):
    points = flat_points(300, 0.15)
    map_mm = fold_displacement(one_fold(0.5, half_width, 0.0), points, np.uint64(5)).reshape(300, 300)
    profile = map_mm[:, 60:240].mean(1)
    assert profile.min() < -0.2
    assert 0.05 * -profile.min() < profile.max() < 0.55 * -profile.min()
    assert abs(profile.sum()) < 0.12 * np.abs(profile).sum()


def test_fold_is_continuous_everywhere():
    points = flat_points(500, 0.06)
    map_mm = fold_displacement(one_fold(0.6, 2.5, 0.8), points, np.uint64(5)).reshape(500, 500)
    step = max(np.abs(np.diff(map_mm, axis=axis)).max() for axis in (0, 1))
    assert step < 0.05  # a jump would show as a step of its full height; the steepest flank rises 0.5 mm per mm


# --- pores


def test_pore_depths_and_sizes(frame):
    pores = place_pores(frame, np.random.Generator(np.random.PCG64(2)))
    assert 0.005 < pores.pits.amplitude.min() and pores.pits.amplitude.max() <= 0.1
    assert 0.02 < np.median(pores.pits.amplitude) < 0.06
    diameter = 2.0 * np.sqrt(pores.pits.radius_mm.prod(1))
    assert diameter.min() >= 0.149 and diameter.max() <= 0.501
    assert (pores.moles.amplitude >= 0.1).all() and (pores.moles.amplitude <= 0.3).all()


def density_of(frame: SkinFrame, centres: np.ndarray, area: Area) -> float:
    """Pores per mm^2 where the weight of a region is above 0.8."""
    corners = frame.vertices_mm[frame.triangles].astype(np.float64)
    size = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    inside = frame.weights[:, area] > 0.8
    _, nearest = frame.tree.query(centres)
    return np.count_nonzero(inside[frame.tree_vertices[nearest]]) / max(
        size[inside[frame.triangles].all(1)].sum(), 1e-6
    )


def test_pore_density_by_region(frame):
    centres = place_pores(frame, np.random.Generator(np.random.PCG64(2))).pits.centre_mm
    nose, cheek = density_of(frame, centres, Area.NOSE), density_of(frame, centres, Area.CHEEK)
    assert 1.0 < nose < 2.5
    assert 0.3 < cheek < nose
    assert density_of(frame, centres, Area.LID) < 0.15 * nose
    assert density_of(frame, centres, Area.LIP) < 0.05 * nose


def test_pores_keep_their_distance(frame):
    from scipy.spatial import KDTree

    centres = place_pores(frame, np.random.Generator(np.random.PCG64(2))).pits.centre_mm
    nose = centres[np.linalg.norm(centres - frame.landmarks_mm[29], axis=1) < 9]
    gap = KDTree(nose).query(nose, k=2)[0][:, 1]
    # Random points of this density would lie 0.5/sqrt(density) apart on average, a tenth of them much closer.
    assert np.percentile(gap, 5) > 0.35


def test_size_in_millimetres_does_not_depend_on_the_uv_layout(model, frame, rest):
    squeezed = dataclasses.replace(model, uv=(model.uv * np.array([1.0, 0.5])).astype(np.float32))
    narrow = skin_of(squeezed, {}, SIZE + SIZE // 2)
    # The same surface points, found through either layout. Only the averaging over texels may differ.
    near_nose = np.linalg.norm(frame.vertices_mm - frame.landmarks_mm[30], axis=1) < 40
    uv_of = np.zeros(len(model.mean_mm), np.int64)
    uv_of[model.triangles.ravel()] = model.uv_triangles.ravel()
    picked = uv_of[near_nose]
    a = sample_uv(rest.components["wrinkles"], model.uv[picked]) + sample_uv(
        rest.components["relief"], model.uv[picked]
    )
    b = sample_uv(narrow.components["wrinkles"], squeezed.uv[picked])
    b = b + sample_uv(narrow.components["relief"], squeezed.uv[picked])
    assert np.corrcoef(a, b)[0, 1] > 0.85
    stretched = skin_frame(squeezed, model.mean_mm)
    first = place_pores(frame, np.random.Generator(np.random.PCG64(2))).pits
    second = place_pores(stretched, np.random.Generator(np.random.PCG64(2))).pits
    assert np.array_equal(first.centre_mm, second.centre_mm) and np.array_equal(first.radius_mm, second.radius_mm)


# --- borders, colour, roughness


def test_no_displacement_on_eyes_in_the_mouth_and_at_rims(model, frame, rest, region_of):
    for region in (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT, Region.MOUTH_INTERIOR):
        inside = region_of == region
        if inside.any():
            assert not rest.displacement_mm[inside].any()
    free = vertex_points(frame, 0.2, model.albedo()).free
    assert (free[frame.rim_mm == 0] == 0).all()
    assert (free[model.landmarks[36:48]] == 0).all()
    assert free[frame.weights[:, Area.CHEEK] > 0.9].mean() > 0.9


def test_displacement_is_continuous_between_regions(rest, raster, model):
    """Neighbouring texels of one chart never differ by more than a flank's slope allows."""
    position = interpolate(raster, model.triangles, model.mean_mm)
    relief = rest.components["relief"]
    step = np.abs(np.diff(relief, axis=1))
    distance = np.linalg.norm(np.diff(position, axis=1), axis=2)
    joined = raster.valid[:, 1:] & raster.valid[:, :-1] & (distance < 1.0)
    assert (step[joined] / np.maximum(distance[joined], 0.1)).max() < 0.9


def test_albedo_range_and_colours(rest, old_and_dark, region_of):
    valid = rest.albedo[rest.valid]
    assert valid.min() >= 0.01 and valid.max() <= 0.95 and np.isfinite(valid).all()
    cheeks = rest.albedo[np.isin(region_of, (Region.CHEEK_LEFT, Region.CHEEK_RIGHT))]
    red, green, blue = np.median(cheeks, axis=0)
    assert red > green > blue
    lips = rest.albedo[np.isin(region_of, (Region.LIP_UPPER, Region.LIP_LOWER))]
    assert np.median(lips[:, 0] / lips[:, 1]) > 1.15 * np.median(cheeks[:, 0] / cheeks[:, 1])
    assert old_and_dark.albedo[old_and_dark.valid].mean() < 0.75 * valid.mean()


@pytest.mark.parametrize("contrast", [0.05, 0.08])
def test_texture_contrast(frame, model, contrast):
    """Luminance texture below 8 mm on a flat piece of skin, at 0.1 mm per sample."""
    from mesoface.reconstruct.skin_albedo import place_pigments, skin_albedo
    from mesoface.reconstruct.skin_hair import place_hair

    rng = np.random.Generator(np.random.PCG64(2))
    pores = place_pores(frame, rng, 0)
    pigments = place_pigments(
        frame, model.albedo(), pores, rng, freckles=0.0, melanin=0.0, contrast=contrast, hair_tone=0.2
    )
    points = flat_points(300, 0.1)
    colour, _ = skin_albedo(pigments, pores, place_hair(frame, rng, 0.0), points)
    tone = np.log(colour.reshape(300, 300, 3) @ np.array([0.2126, 0.7152, 0.0722]))
    fine = (tone - gaussian_filter(tone, 27.0))[40:-40, 40:-40]
    assert 0.75 * contrast < fine.std() < 1.25 * contrast


def test_roughness_by_region(rest, region_of):
    typical = {r: np.median(rest.roughness[region_of == r]) for r in Region if (region_of == r).any()}
    assert typical[Region.NOSE] < typical[Region.CHEEK_LEFT]
    assert 0.25 < typical[Region.LIP_LOWER] < 0.36 and 0.3 < typical[Region.FOREHEAD] < 0.45
    if Region.EYEBALL_LEFT in typical:
        assert typical[Region.EYEBALL_LEFT] == pytest.approx(0.08)


def test_random_skins_are_valid_and_differ():
    rng = np.random.Generator(np.random.PCG64(7))
    skins = [random_skin(rng) for _ in range(50)]
    assert len({skin.seed for skin in skins}) == 50
    assert all(0 <= s.age <= 1 and 0 <= s.freckles <= 1 and 0.04 < s.contrast < 0.09 for s in skins)


def test_unusable_input_is_named(model):
    with pytest.raises(ValueError, match="sizes are"):
        skin_of(model, {}, 16)
    landmarks = model.landmarks.copy()
    landmarks[30] = -1
    with pytest.raises(ValueError, match=r"landmarks 17\.\.67"):
        skin_of(dataclasses.replace(model, landmarks=landmarks), {}, 256)
