"""Basel face models: bases, colours, landmarks, UV; every failure is one clear UserError."""

import json
from pathlib import Path

import numpy as np
import pytest
from face_fixtures import NAMED, face_sheet, uv_areas, write_bfm

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_bfm import load_bfm
from mesoface.reconstruct.face_frame import srgb_to_linear, triangle_normals
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import Region
from mesoface.reconstruct.face_uv import cylindrical_uv

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def sheet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return face_sheet(60, 50)


@pytest.fixture
def small(tmp_path: Path, sheet: tuple) -> tuple[Path, dict]:
    path = tmp_path / "model2019_small.h5"
    return path, write_bfm(path, *sheet)


def test_bfm_bases_are_rescaled_and_named_points_become_landmarks(small: tuple, sheet: tuple) -> None:
    path, data = small
    vertices, _, numbered = sheet
    model = load_face_model(path)
    for component in range(4):
        wanted = data["shape/model/pcaBasis"][:, component] * np.sqrt(data["shape/model/pcaVariance"][component])
        np.testing.assert_allclose(model.identity_mm[component].ravel(), wanted, rtol=1e-6)
    assert model.expression_mm.shape == (2, len(vertices), 3) and not model.expression_is_units
    assert {number for number in range(68) if model.landmarks[number] >= 0} == set(NAMED.values())
    for number in NAMED.values():
        assert model.landmarks[number] == numbered[number]
    known = model.landmarks[17:][model.landmarks[17:] >= 0]
    np.testing.assert_allclose(model.mean_mm[known].mean(0), 0, atol=1e-4)
    expected = vertices + data["expression/model/mean"].reshape(-1, 3)
    np.testing.assert_allclose(model.mean_mm - model.mean_mm[0], expected - expected[0], atol=1e-4)
    neutral = load_bfm(path, neutral_mean=True)
    np.testing.assert_allclose(neutral.mean_mm - neutral.mean_mm[0], vertices - vertices[0], atol=1e-4)
    assert triangle_normals(model.mean_mm, model.triangles)[:, 2].mean() > 0


def test_bfm_colours_are_linearised_in_either_range(small: tuple, sheet: tuple, tmp_path: Path) -> None:
    path, data = small
    model = load_bfm(path)
    np.testing.assert_allclose(model.albedo_mean[7], srgb_to_linear(np.array([0.8, 0.6, 0.5])), atol=1e-5)
    wide = tmp_path / "wide.h5"
    write_bfm(wide, *sheet, **{"color/model/mean": data["color/model/mean"] * 255,
                               "color/model/pcaVariance": data["color/model/pcaVariance"] * 255**2})  # fmt: skip
    other = load_bfm(wide)
    np.testing.assert_allclose(other.albedo_mean, model.albedo_mean, atol=1e-6)
    np.testing.assert_allclose(other.albedo_basis, model.albedo_basis, atol=1e-6)
    # The slope of the transfer curve: a small step in sRGB and the same step through the linear basis agree.
    step = 1e-3 * np.sqrt(9) * data["color/model/pcaBasis"][:3, 0]
    exact = srgb_to_linear(np.array([0.8, 0.6, 0.5]) + step) - model.albedo_mean[0]
    np.testing.assert_allclose(1e-3 * model.albedo_basis[0, 0], exact, atol=1e-7)


def test_bfm_takes_triangles_in_both_orders_and_windings(small: tuple, sheet: tuple, tmp_path: Path) -> None:
    model = load_bfm(small[0])
    flat = tmp_path / "rows.h5"
    write_bfm(flat, *sheet, **{"shape/representer/cells": sheet[1].astype(np.int32)})
    assert np.array_equal(load_bfm(flat).triangles, model.triangles)
    inside_out = tmp_path / "inside_out.h5"
    write_bfm(inside_out, *sheet, **{"shape/representer/cells": sheet[1][:, ::-1].T.astype(np.int32)})
    turned = load_bfm(inside_out)
    assert (triangle_normals(turned.mean_mm, turned.triangles)[:, 2] > 0).mean() > 0.95


def test_bfm2017_uses_the_published_table_and_completes_the_nostrils(tmp_path: Path) -> None:
    vertices, triangles, numbered = face_sheet(231, 230, extra=19)
    published = {8: 47846, 17: 38923, 26: 41814, 27: 8127, 30: 8156, 36: 2602, 45: 13481, 48: 5522, 54: 10857, 67: 7719}
    table = json.loads((Path(load_bfm.__code__.co_filename).parent / "tables/landmarks_bfm2017.json").read_text())
    table = {int(number) - 1: vertex for number, vertex in table["ibug_to_vertex"].items()}
    assert published.items() <= table.items() and len(table) == 47
    for number, vertex in table.items():
        vertices[vertex] = vertices[numbered[number]]
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    write_bfm(path, vertices, triangles, numbered)
    model = load_face_model(path)
    assert len(model.mean_mm) == 53149 and model.name.startswith("BFM2017 (")
    for number, vertex in table.items():
        assert model.landmarks[number] == vertex
    for number in (31, 33, 35):
        assert np.linalg.norm(vertices[model.landmarks[number]] - vertices[numbered[number]]) < 1e-3
    unknown = {number for number in range(68) if model.landmarks[number] < 0}
    assert unknown == {*range(8), *range(9, 17), 32, 34}


def test_bfm_companion_uv_is_flipped_and_its_size_is_checked(small: tuple, tmp_path: Path) -> None:
    import scipy.io

    count = 3000
    uv = np.random.default_rng(1).random((count, 2))
    scipy.io.savemat(tmp_path / "texture_uv.mat", {"UV": uv})
    model = load_bfm(small[0], uv_path=tmp_path / "texture_uv.mat")
    np.testing.assert_allclose(model.uv, np.stack([uv[:, 0], 1 - uv[:, 1]], 1), atol=1e-6)
    assert np.array_equal(model.uv_triangles, model.triangles)
    scipy.io.savemat(tmp_path / "wrong.mat", {"UV": uv[:-1]})
    with pytest.raises(UserError, match=r"wrong\.mat.*\(3000, 2\).*\(2999, 2\)"):
        load_bfm(small[0], uv_path=tmp_path / "wrong.mat")
    with pytest.raises(UserError, match="cannot be read"):
        load_bfm(small[0], uv_path=tmp_path / "absent.mat")


def test_cylindrical_uv_has_no_fold_on_a_face_and_closes_a_head(small: tuple) -> None:
    model = load_bfm(small[0], neutral_mean=True)
    assert (uv_areas(model.uv, model.uv_triangles) > 0).all()
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    angle, height = np.meshgrid(np.linspace(-np.pi, np.pi, 40, endpoint=False), np.linspace(-100, 100, 20))
    tube = np.stack([80 * np.sin(angle), height, 80 * np.cos(angle)], -1).reshape(-1, 3)
    grid = np.arange(800).reshape(20, 40)
    around = np.roll(grid, -1, 1)
    quads = np.stack([grid[:-1], around[:-1], around[1:], grid[1:]], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    uv, uv_triangles = cylindrical_uv(tube, triangles)
    areas = uv_areas(uv, uv_triangles)
    assert (areas > 0).all() and abs(areas.sum() / 2 - 1) < 1e-3, "the seam triangles span the map"
    assert len(uv) == 820


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape/model/pcaBasis": np.zeros((8997, 4), np.float32)}, r"pcaBasis \(8997, 4\)"),
        ({"shape/model/pcaVariance": np.ones(3, np.float32)}, r"pcaVariance \(3,\)"),
        ({"expression/model/mean": np.zeros(30, np.float32)}, r"expression/model.*3 x 3000.*mean \(30,\)"),
        ({"color/model/pcaVariance": None}, "color/model/pcaVariance"),
        ({"shape/representer/cells": np.array([[0], [1], [3000]])}, "vertex 3000.*3000 vertices"),
        ({"shape/representer/cells": np.zeros((4, 7), int)}, r"cells.*\(4, 7\)"),
        ({"shape/model/mean": np.full(9000, np.nan, np.float32)}, "not finite"),
    ],
)
def test_bfm_with_wrong_datasets_is_one_user_error(tmp_path: Path, sheet: tuple, changes: dict, words: str) -> None:
    path = tmp_path / "altered.h5"
    write_bfm(path, *sheet, **changes)
    with pytest.raises(UserError, match=words) as caught:
        load_face_model(path)
    assert "altered.h5" in str(caught.value)


def test_bfm_without_colour_or_landmark_text_still_loads(tmp_path: Path, sheet: tuple) -> None:
    path = tmp_path / "shape_only.h5"
    gone = {f"{group}/model/{name}": None for group in ("color", "expression")
            for name in ("mean", "pcaBasis", "pcaVariance", "noiseVariance")}  # fmt: skip
    write_bfm(path, *sheet, **gone)
    with h5py.File(path, "a") as file:
        del file["metadata/landmarks/json"]
        file["metadata/landmarks/json"] = "{ not json"
    model = load_bfm(path)
    assert len(model.expression_mm) == 0 and len(model.albedo_basis) == 0 and (model.landmarks == -1).all()
    assert (model.regions == Region.OTHER).all()
