"""The procedural face model: form, proportions, texture layout, and that no component breaks the surface."""

import hashlib
from functools import lru_cache

import numpy as np
import pytest

from mesoface.reconstruct.face_contours import EYE_CENTRE_MM, EYE_RADIUS_MM
from mesoface.reconstruct.face_fields import frame
from mesoface.reconstruct.face_grid import EYE_INNER, EYE_OUTER, ROW_EYE, half_grid, mirrored
from mesoface.reconstruct.face_model import FACE_REGIONS, UNIT_NAMES, FaceModel, Region
from mesoface.reconstruct.face_procedural import build_face_model, procedural_face_model
from mesoface.reconstruct.face_wrap import mean_half_mm

_MIRROR_68 = np.array([16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
                       27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
                       54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65])  # fmt: skip


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return procedural_face_model()


@lru_cache(maxsize=1)
def _hidden() -> np.ndarray:
    """Whole-head vertices of lid rims and mouth bag, which fold by design."""
    grid, partner = half_grid(), mirrored().partner
    half = np.concatenate([grid.lid[1:].ravel(), grid.bag_upper[1:].ravel(), grid.bag_lower[1:].ravel()])
    return np.concatenate([half, partner[half]])


def _areas_and_normals(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))
    cross = np.cross(b - a, c - a)
    size = np.linalg.norm(cross, axis=1)
    return 0.5 * size, cross / np.maximum(size, 1e-12)[:, None]


@lru_cache(maxsize=1)
def _outer_skin() -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the visible skin, and pairs (P, 2) of those that share an edge."""
    model = procedural_face_model()
    hidden = np.zeros(len(model.mean_mm), bool)
    hidden[_hidden()] = True
    hidden |= np.isin(model.regions, (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT))
    triangles = model.triangles[~hidden[model.triangles].any(1)]
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(triangles)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    same = (edges[order][1:] == edges[order][:-1]).all(1)
    return triangles, np.stack([owner[order][:-1][same], owner[order][1:][same]], -1)


def _flipped(vertices: np.ndarray) -> int:
    triangles, pairs = _outer_skin()
    _, normals = _areas_and_normals(vertices, triangles)
    return int(((normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(1) < -0.2).sum())


def _unit(name: str, activation: float = 1.0) -> np.ndarray:
    model = procedural_face_model()
    return model.shape_mm(beta=model.beta_from_units({name: activation}))


def test_type_and_size(model: FaceModel) -> None:
    assert 20_000 <= len(model.mean_mm) <= 70_000
    assert model.expression_names == UNIT_NAMES and model.expression_is_units
    assert len(model.identity_mm) >= 24 and len(model.albedo_basis) >= 6
    for array in (
        model.mean_mm,
        model.identity_mm,
        model.expression_mm,
        model.albedo_mean,
        model.albedo_basis,
        model.uv,
    ):
        assert array.dtype == np.float32 and np.isfinite(array).all()
    assert np.allclose(model.mean_mm[model.landmarks[17:]].mean(0), 0.0, atol=1e-3)
    assert set(Region) - set(model.regions.tolist()) <= {Region.OTHER}
    assert model.albedo_mean.min() >= 0.0 and model.albedo_mean.max() <= 1.0


def test_same_bytes_on_every_build(model: FaceModel) -> None:
    for cached in (half_grid, mirrored, mean_half_mm, frame):
        cached.cache_clear()
    again = build_face_model()
    for name in ("mean_mm", "identity_mm", "expression_mm", "albedo_mean", "albedo_basis", "triangles", "uv",
                 "uv_triangles", "landmarks", "regions"):  # fmt: skip
        digests = {hashlib.sha256(np.ascontiguousarray(getattr(m, name)).tobytes()).hexdigest() for m in (model, again)}
        assert len(digests) == 1, name


def test_landmarks_are_symmetric_and_in_order(model: FaceModel) -> None:
    points = model.mean_mm[model.landmarks]
    assert (model.landmarks >= 0).all() and len(np.unique(model.landmarks)) == 68
    assert np.abs(points[_MIRROR_68] * [-1, 1, 1] - points).max() < 0.01
    assert (np.diff(points[1:16, 0]) > 0).all() and (np.diff(points[8:17, 1]) > 0).all()
    assert (np.diff(points[17:27, 0]) > 0).all() and (np.diff(points[27:31, 1]) < 0).all()
    assert points[27:36, 2].argmax() == 3 and (np.diff(points[31:36, 0]) > 0).all()
    assert (points[36:42, 0] < 0).all() and (points[42:48, 0] > 0).all()
    assert points[36, 0] < points[39, 0] and points[42, 0] < points[45, 0]
    assert points[[37, 38, 43, 44], 1].min() > points[[40, 41, 46, 47], 1].max()
    assert (np.diff(points[48:55, 0]) > 0).all() and (np.diff(points[54:60, 0]) < 0).all()
    assert points[49:54, 1].min() > points[55:60, 1].max()


def test_proportions(model: FaceModel) -> None:
    p, v, region = model.mean_mm[model.landmarks], model.mean_mm, model.regions
    balls = [v[region == r].mean(0) for r in (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT)]
    head = v[region == Region.SCALP]
    measures_mm = {
        "between pupils": (balls[0][0] - balls[1][0], 60, 66),
        "nasion to menton": (p[27, 1] - p[8, 1], 108, 126),
        "nose width": (np.ptp(v[region == Region.NOSE][np.abs(v[region == Region.NOSE, 1] + 12.0) < 6.0, 0]), 30, 46),
        "mouth width": (p[54, 0] - p[48, 0], 46, 54),
        "eye length": (np.linalg.norm(p[45] - p[42]), 27, 34),
        "eye opening": (p[43, 1] - p[47, 1], 7, 12),
        "head breadth": (np.ptp(head[:, 0]), 145, 160),
        "head length": (v[:, 2].max() - 20.0 - head[:, 2].min(), 185, 205),
        "face breadth": (p[15, 0] - p[1, 0], 124, 142),
    }
    for name, (value, low, high) in measures_mm.items():
        assert low <= value <= high, f"{name}: {value:.1f} mm"


def test_spacing_on_the_face(model: FaceModel) -> None:
    face = np.isin(model.regions, FACE_REGIONS)
    t = model.triangles[face[model.triangles].all(1)]
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    lengths = np.linalg.norm(model.mean_mm[edges[:, 0]] - model.mean_mm[edges[:, 1]], axis=1)
    assert lengths.mean() <= 1.6


def test_triangles_face_outwards_and_none_is_degenerate(model: FaceModel) -> None:
    areas, normals = _areas_and_normals(model.mean_mm, model.triangles)
    assert areas.min() > 1e-3
    centres = model.mean_mm[model.triangles].mean(1)
    for region in (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT):
        of_ball = (model.regions[model.triangles] == region).all(1)
        middle = model.mean_mm[model.regions == region].mean(0)
        assert (((centres - middle) * normals)[of_ball].sum(1) > 0).all()
    skin, _ = _outer_skin()
    _, normals = _areas_and_normals(model.mean_mm, skin)
    outwards = ((model.mean_mm[skin].mean(1) - [0.0, 20.0, -100.0]) * normals).sum(1)
    assert (outwards > 0).mean() > 0.97


def test_texture_has_no_overlap_and_enough_texels(model: FaceModel) -> None:
    corners = model.uv[model.uv_triangles].astype(np.float64)
    assert corners.min() >= 0.0 and corners.max() <= 1.0
    (a, b, c) = (corners[:, k] for k in range(3))
    areas = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    assert areas.min() > 0.0
    face = np.isin(model.regions, FACE_REGIONS)[model.triangles].all(1)
    area_mm2, _ = _areas_and_normals(model.mean_mm, model.triangles)
    assert np.sqrt(area_mm2[face].sum() / areas[face].sum()) / 4096 <= 0.1
    assert _coverage(corners, 2048).max() <= 1


def _coverage(corners: np.ndarray, side: int) -> np.ndarray:
    """How many triangles (T, 3, 2) hold each pixel centre strictly inside; (side * side,)."""
    count = np.zeros(side * side, np.int32)
    for part in np.array_split(corners * side, 12):
        low = np.ceil(part.min(1) - 0.5).astype(int)
        size = np.maximum(np.floor(part.max(1) - 0.5).astype(int) - low + 1, 0)
        boxes = size[:, 0] * size[:, 1]
        owner = np.repeat(np.arange(len(part)), boxes)
        rank = np.arange(len(owner)) - np.repeat(np.cumsum(boxes) - boxes, boxes)
        column, row = low[owner, 0] + rank % size[owner, 0], low[owner, 1] + rank // size[owner, 0]
        at = np.stack([column, row], -1) + 0.5
        inside = np.ones(len(at), bool)
        for k in range(3):
            start, along = part[owner, k], part[owner, (k + 1) % 3] - part[owner, k]
            inside &= along[:, 0] * (at - start)[:, 1] - along[:, 1] * (at - start)[:, 0] > 1e-6
        np.add.at(count, row[inside] * side + column[inside], 1)
    return count


def test_mean_and_units_do_not_fold_the_skin(model: FaceModel) -> None:
    assert _flipped(model.mean_mm) == 0
    assert {name: n for name in UNIT_NAMES if (n := _flipped(_unit(name)))} == {}


def test_random_identities_stay_whole(model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    face = np.isin(model.regions, FACE_REGIONS)
    rms_mm = []
    for _ in range(20):
        vertices = model.shape_mm(rng.standard_normal(len(model.identity_mm)))
        assert _flipped(vertices) == 0
        assert _lid_clearance_mm(vertices) > 0.0
        rms_mm.append(np.sqrt(((vertices - model.mean_mm)[face] ** 2).sum(1).mean()))
    assert 3.0 <= np.mean(rms_mm) <= 5.0


def _lid_clearance_mm(vertices: np.ndarray) -> float:
    """Least distance of the outer lid skin (vertices and triangle centres) from the surface of its eyeball."""
    model = procedural_face_model()
    skin, _ = _outer_skin()
    clearances = []
    for lid, ball in ((Region.EYELID_LEFT, Region.EYEBALL_LEFT), (Region.EYELID_RIGHT, Region.EYEBALL_RIGHT)):
        t = skin[(model.regions[skin] == lid).all(1)]
        points = np.concatenate([vertices[np.unique(t)], vertices[t].mean(1)])
        ball_points = vertices[model.regions == ball]
        middle = 0.5 * (ball_points.min(0) + ball_points.max(0))
        clearances.append(np.linalg.norm(points - middle, axis=1).min() - EYE_RADIUS_MM)
    return float(min(clearances))


def test_blink_closes_on_the_eyeball() -> None:
    closed = _unit("blink")
    grid, columns = half_grid(), slice(EYE_INNER + 1, EYE_OUTER)
    upper, lower = grid.upper[ROW_EYE, columns], grid.lower[ROW_EYE, columns]
    partner = mirrored().partner
    for u, w in ((upper, lower), (partner[upper], partner[lower])):
        assert np.linalg.norm(closed[u] - closed[w], axis=1).max() < 0.5


@pytest.mark.parametrize("name", ["blink", "lid_raise", "lid_tighten"])
def test_lids_clear_the_eyeball(name: str) -> None:
    for activation in (0.0, 0.5, 1.0):
        assert _lid_clearance_mm(_unit(name, activation)) > 0.3


def test_lids_lie_close_to_the_eyeball(model: FaceModel) -> None:
    grid = half_grid()
    middle = model.mean_mm[model.regions == Region.EYEBALL_LEFT]
    middle = 0.5 * (middle.min(0) + middle.max(0))
    assert abs(middle[0] - EYE_CENTRE_MM[0]) < 0.01
    margin = np.linalg.norm(model.mean_mm[grid.upper[ROW_EYE, EYE_INNER + 8 : EYE_OUTER - 8]] - middle, axis=1)
    assert margin.max() < EYE_RADIUS_MM + 3.5


def test_jaw_opens_the_mouth(model: FaceModel) -> None:
    opened = _unit("jaw_open")[model.landmarks]
    assert np.linalg.norm(opened[62] - opened[66]) >= 20.0
    assert np.linalg.norm(opened[62] - model.mean_mm[model.landmarks[62]]) < 2.0


def test_units_move_what_they_name(model: FaceModel) -> None:
    neutral = model.mean_mm[model.landmarks]
    moved = {name: _unit(name)[model.landmarks] - neutral for name in UNIT_NAMES}
    assert moved["brow_inner_raise"][[21, 22], 1].min() > 4.0 and moved["brow_outer_raise"][[18, 25], 1].min() > 4.0
    assert moved["brow_lower"][[20, 23], 1].max() < -3.0
    smile = moved["lip_corner_pull"][54]
    assert smile[0] > 4.0 and smile[1] > 4.0 and smile[2] < -2.0
    assert moved["lip_corner_depress"][54, 1] < -4.0 and moved["lip_stretch"][54, 0] > 4.0
    assert moved["lip_pucker"][54, 0] < -4.0 and moved["lip_pucker"][51, 2] > 3.0
    assert moved["lip_raise"][51, 1] > 2.0 and moved["lower_lip_depress"][57, 1] < -2.0
    for left, right in (("jaw_left", "jaw_right"), ("mouth_left", "mouth_right")):
        assert moved[left][57, 0] > 4.0
        assert np.abs(moved[left][_MIRROR_68] * [-1, 1, 1] - moved[right]).max() < 0.01
