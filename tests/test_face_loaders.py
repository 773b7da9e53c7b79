"""Face model loaders: Basel, ICT-FaceKit, eos, our own file; every failure is one clear UserError."""

import json
import logging
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_bfm import load_bfm
from mesoface.reconstruct.face_eos import load_eos
from mesoface.reconstruct.face_frame import srgb_to_linear, triangle_normals
from mesoface.reconstruct.face_ict import PARTS, UV_TILES, load_ict
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel, Region
from mesoface.reconstruct.face_model_file import read_face_model, save_face_model
from mesoface.reconstruct.face_obj import fan_triangles, read_obj
from mesoface.reconstruct.face_regions import MIRROR, average_landmarks, complete_landmarks, label_regions
from mesoface.reconstruct.face_uv import cylindrical_uv

h5py = pytest.importorskip("h5py")

ICT = Path(__file__).resolve().parents[2] / "shared" / "data" / "ict-facekit"
needs_ict = pytest.mark.skipif(
    not (ICT / "FaceXModel").is_dir(), reason="the ICT-FaceKit sample is not on this machine"
)

NAMED = {
    "center.chin.tip": 8, "center.nose.tip": 30, "right.nose.wing.tip": 31, "left.nose.wing.tip": 35,
    "center.nose.attachement_to_philtrum": 33, "right.eye.corner_outer": 36, "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42, "left.eye.corner_outer": 45, "right.lips.corner": 48, "left.lips.corner": 54,
    "center.lips.upper.outer": 51, "center.lips.lower.outer": 57, "right.lips.philtrum_ridge": 50,
    "left.lips.philtrum_ridge": 52,
}  # fmt: skip


def face_sheet(rows: int, columns: int, extra: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A curved sheet the size of a face (mm), its triangles, and the vertex of each average landmark.

    `extra` vertices are appended to reach a count; they lie on the first vertex and in no triangle.
    """
    landmarks = average_landmarks() * 88 + (0, 30, 90)
    x, y = np.meshgrid(np.linspace(-80, 80, columns), np.linspace(-90, 110, rows))
    z = 110 - (x / 14) ** 2 * 1.6 - ((y - 10) / 30) ** 2 * 2
    vertices = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), np.zeros((extra, 3))])
    vertices[rows * columns :] = vertices[0]
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1])
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    nearest = [np.argmin(((vertices[:, :2] - point[:2]) ** 2).sum(1)) for point in landmarks]
    return vertices, triangles, np.array(nearest)


def write_bfm(
    path: Path, vertices: np.ndarray, triangles: np.ndarray, landmarks: np.ndarray, **changes: object
) -> dict:
    """A file in exactly the published layout, with random orthonormal bases; `changes` replaces datasets by key."""
    rng = np.random.default_rng(5)
    size = vertices.size
    data: dict[str, np.ndarray] = {}
    for group, components, mean in (
        ("shape", 4, vertices.ravel()),
        ("color", 3, np.tile([0.8, 0.6, 0.5], len(vertices))),
        ("expression", 2, rng.normal(0, 0.3, size)),
    ):
        data[f"{group}/model/mean"] = mean.astype(np.float32)
        data[f"{group}/model/pcaBasis"] = np.linalg.qr(rng.normal(size=(size, components)))[0].astype(np.float32)
        data[f"{group}/model/pcaVariance"] = np.linspace(9, 1, components).astype(np.float32)
        data[f"{group}/model/noiseVariance"] = np.zeros((), np.float32)
    data["shape/representer/points"] = vertices.T.astype(np.float32)
    data["shape/representer/cells"] = triangles.T.astype(np.int32)
    data.update(changes)  # pyright: ignore[reportArgumentType, reportCallIssue]
    entries = [{"id": name, "coordinates": vertices[landmarks[number]].tolist()} for name, number in NAMED.items()]
    with h5py.File(path, "w") as file:
        for key, value in data.items():
            if value is not None:
                file[key] = value
        file.create_dataset("metadata/landmarks/json", data=json.dumps(entries), dtype=h5py.string_dtype())
    return data


@pytest.fixture(scope="module")
def sheet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return face_sheet(60, 50)


@pytest.fixture
def small(tmp_path: Path, sheet: tuple) -> tuple[Path, dict]:
    path = tmp_path / "model2019_small.h5"
    return path, write_bfm(path, *sheet)


# --- Basel ---------------------------------------------------------------------------------------------------------


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


def uv_areas(uv: np.ndarray, uv_triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[uv_triangles[:, i]].astype(np.float64) for i in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    return ux * vy - uy * vx


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


def test_damaged_and_foreign_hdf5_files_say_what_they_are(small: tuple, tmp_path: Path) -> None:
    whole = small[0].read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.h5.*cut short"):
        load_face_model(cut)
    text = tmp_path / "page.h5"
    text.write_text("<html>login required</html>")
    with pytest.raises(UserError, match="cannot be opened"):
        load_face_model(text)
    shard = tmp_path / "shard.h5"
    with h5py.File(shard, "w") as file:
        file["patches"], file["displacement_mm"] = np.zeros(3), np.zeros(3)
    with pytest.raises(UserError, match=r"another kind.*displacement_mm, patches"):
        load_face_model(shard)
    with pytest.raises(UserError, match="top-level groups displacement_mm, patches"):
        load_bfm(shard)


def test_paths_that_name_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        load_face_model(tmp_path / "absent.h5")
    (tmp_path / "face.fbx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"\.fbx"):
        load_face_model(tmp_path / "face.fbx")
    with pytest.raises(UserError, match=r"generic_neutral_mesh\.obj, found face\.fbx"):
        load_face_model(tmp_path)
    stand_in = SimpleNamespace(procedural_face_model=lambda: "built in")
    monkeypatch.setitem(sys.modules, "mesoface.reconstruct.face_procedural", stand_in)
    assert load_face_model("procedural") == "built in"


# --- OBJ -----------------------------------------------------------------------------------------------------------


def test_obj_reads_triangles_and_quads_in_every_corner_form(tmp_path: Path) -> None:
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 2 2 2\nvt 0 0\nvt 1 0\nvt 1 1\n"
    for form, textured in (("{0}", 0), ("{0}/{1}", 1), ("{0}//{0}", 0), ("{0}/{1}/{0}", 1)):
        quad = " ".join(form.format(v, t) for v, t in ((1, 1), (2, 2), (3, 3), (4, 1)))
        triangle = " ".join(form.format(v, t) for v, t in ((1, 3), (3, 2), (5, 1)))
        path = tmp_path / "m.obj"
        path.write_text(f"# comment\n{corners}usemtl skin\nf {quad}\nf  {triangle} \n")
        mesh = read_obj(path)
        triangles, polygon = fan_triangles(mesh.corners, mesh.counts)
        assert triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 4]] and polygon.tolist() == [0, 0, 1]
        assert mesh.uv_corners.tolist() == ([0, 1, 2, 0, 2, 1, 0] if textured else [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 4\n", "vertex 4, but the file holds 3"),
        ("v 0 0 0\nvt 0 0\nv 1 0 0\nv 1 1 0\nf 1/1 2/2 3/1\n", "texture coordinate 2, but the file holds 1"),
        ("v 0 0 0\nv 1 0\nv 1 1 0\nf 1 2 3\n", "'v' lines"),
        ("v 0 0 0\nv 1 0 x\nv 1 1 0\nf 1 2 3\n", "'v' lines"),
        ("v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 -1\n", "relative indices"),
        ("v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2\n", "fewer than three corners"),
        ("v 0 0 0\n", "1 vertices and 0 faces"),
    ],
)
def test_obj_damage_is_one_user_error(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "bad.obj"
    path.write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        read_obj(path)
    assert "bad.obj" in str(caught.value)


# --- ICT-FaceKit ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ict() -> FaceModel:
    if not (ICT / "FaceXModel").is_dir():
        pytest.skip("the ICT-FaceKit sample is not on this machine")
    return load_ict(ICT)


@needs_ict
def test_ict_sample_loads_quickly_in_our_frame(caplog: pytest.LogCaptureFixture) -> None:
    began = time.perf_counter()
    with caplog.at_level(logging.WARNING):
        model = load_face_model(ICT / "FaceXModel")
    assert time.perf_counter() - began < 6
    assert "49 of 53 expression files are missing" in caplog.text and "jawLeft" in caplog.text
    assert model.expression_names == ("lip_corner_pull", "jaw_open") and model.expression_is_units
    assert len(model.identity_mm) == 3 and (model.landmarks >= 0).all()
    np.testing.assert_allclose(model.mean_mm[model.landmarks[17:]].mean(0), 0, atol=1e-4)
    eyes = model.mean_mm[model.landmarks[[36, 45]]]
    assert eyes[0, 0] < 0 < eyes[1, 0] and 80 < np.linalg.norm(eyes[1] - eyes[0]) < 100
    assert model.mean_mm[model.landmarks[30], 2] == model.mean_mm[model.landmarks, 2].max()
    assert model.mean_mm[model.landmarks[8], 1] < -60


@needs_ict
def test_ict_shapes_are_differences_in_millimetres(ict: FaceModel) -> None:
    neutral, left, right, identity = (
        read_obj(ICT / "FaceXModel" / f"{name}.obj").vertices
        for name in ("generic_neutral_mesh", "mouthSmile_L", "mouthSmile_R", "identity001")
    )
    np.testing.assert_allclose(ict.identity_mm[1], 10 * (identity - neutral), atol=1e-3)
    np.testing.assert_allclose(ict.expression_mm[0], 10 * (left + right - 2 * neutral), atol=1e-3)
    chin = ict.expression_mm[1][ict.landmarks[8]]
    assert chin[1] < -15, "jaw_open lowers the chin by centimetres"
    smile = ict.expression_mm[0][ict.landmarks[[48, 54]]]
    assert smile[0, 0] < -3 < 3 < smile[1, 0] and (smile[:, 1] > 3).all()
    everything = load_ict(ICT, all_shapes=True)
    assert set(everything.expression_names[2:]) == {"browInnerUp_L", "jawOpen", "mouthSmile_L", "mouthSmile_R"}


@needs_ict
def test_ict_drops_the_shells_over_the_eyes_and_packs_the_tiles(ict: FaceModel) -> None:
    used = np.unique(ict.triangles)
    for part, (first, end) in PARTS.items():
        inside = ((used >= first) & (used < end)).sum()
        assert (inside > 0) == (part in UV_TILES), part
    assert not ((used >= 22221) & (used < 23021)).any(), "the inner iris shell is hidden"
    assert ict.uv.min() >= 0 and ict.uv.max() <= 1
    ranges = {"face": (0, 9547), "head_and_sockets": (9547, 14629), "gums_and_tongue": (14629, 17991),
              "teeth": (17991, 23343), "eyeball_left": (23343, 25063), "eyeball_right": (25063, 26783)}  # fmt: skip
    shown = np.unique(ict.uv_triangles)
    boxes = {}
    for part, (first, end) in ranges.items():
        points = ict.uv[shown[(shown >= first) & (shown < end)]]
        boxes[part] = (points.min(0), points.max(0))
    assert shown.max() < 26783
    for one in boxes:
        for other in boxes:
            low, high = np.maximum(boxes[one][0], boxes[other][0]), np.minimum(boxes[one][1], boxes[other][1])
            assert one == other or (low >= high).any(), f"{one} and {other} overlap in the map"
    assert (boxes["face"][1] - boxes["face"][0] > 0.78).all()
    areas = uv_areas(ict.uv, ict.uv_triangles)[ict.uv_triangles.max(1) < 9547]
    assert (areas > 0).mean() > 0.99, "the face is mirrored or folded in the map"
    a, b, c = (ict.mean_mm[ict.triangles[:, i]].astype(np.float64) for i in range(3))
    ball = (ict.triangles >= 21451).all(1) & (ict.triangles < 23021).all(1)
    assert np.einsum("ij,ij->", a[ball] - a[ball].mean(0), np.cross(b[ball], c[ball])) > 0, "eyeball turned inside out"


@needs_ict
def test_ict_regions_follow_the_anatomy(ict: FaceModel) -> None:
    at = {number: Region(ict.regions[ict.landmarks[number]]) for number in range(68)}
    assert at[30] == at[33] == Region.NOSE and at[8] in (Region.CHIN, Region.NECK)
    assert at[19] == Region.BROW_RIGHT and at[24] == Region.BROW_LEFT
    assert at[37] == Region.EYELID_RIGHT and at[44] == Region.EYELID_LEFT
    counts = np.bincount(ict.regions, minlength=len(Region))
    assert all(counts[region] > 40 for region in Region)
    x = ict.mean_mm[:, 0]
    for right, left in ((Region.BROW_RIGHT, Region.BROW_LEFT), (Region.EYELID_RIGHT, Region.EYELID_LEFT),
                        (Region.CHEEK_RIGHT, Region.CHEEK_LEFT), (Region.EAR_RIGHT, Region.EAR_LEFT),
                        (Region.EYEBALL_RIGHT, Region.EYEBALL_LEFT)):  # fmt: skip
        assert x[ict.regions == right].max() <= 0.01 and x[ict.regions == left].min() >= -0.01
        assert abs(int(counts[right]) - int(counts[left])) <= 0.05 * counts[left], "the mesh is symmetric"
    lips = ict.mean_mm[ict.regions == Region.LIP_UPPER], ict.mean_mm[ict.regions == Region.LIP_LOWER]
    assert lips[0][:, 1].mean() > lips[1][:, 1].mean() + 3
    assert ict.mean_mm[ict.regions == Region.FOREHEAD][:, 1].min() > 20
    assert ict.mean_mm[ict.regions == Region.NECK][:, 1].max() < 0
    assert ict.mean_mm[ict.regions == Region.CHIN][:, 1].max() < ict.mean_mm[ict.landmarks[57], 1]


@pytest.fixture
def ict_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "kit" / "FaceXModel"
    folder.mkdir(parents=True)
    for name in ("generic_neutral_mesh.obj", "identity000.obj", "vertex_indices.json"):
        shutil.copy(ICT / "FaceXModel" / name, folder / name)
        (folder / name).chmod(0o644)
    return folder


def _cut(folder: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])


@needs_ict
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), r"expected an ICT-FaceKit folder.*found"),
        (lambda f: (f / "identity000.obj").unlink(), r"at least one identity file"),
        (lambda f: (f / "vertex_indices.json").unlink(), r"vertex_indices\.json.*no such file"),
        (lambda f: (f / "vertex_indices.json").write_text("{"), r"vertex_indices\.json.*unreadable JSON"),
        (lambda f: (f / "vertex_indices.json").write_text('{"expressions": []}'), r"68 indices.*\['expressions'\]"),
        (lambda f: _cut(f, "generic_neutral_mesh.obj", 0.2), r"generic_neutral_mesh\.obj.*0 faces"),
        (lambda f: _cut(f, "identity000.obj", 0.7), r"identity000\.obj"),
        (lambda f: (f / "identity000.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), r"topology.*3 vertices"),
        (lambda f: (f / "jawOpen.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 3\n"), r"jawOpen\.obj.*vertex 3"),
    ],
)
def test_ict_damage_is_one_user_error(ict_copy: Path, damage, words: str) -> None:
    damage(ict_copy)
    with pytest.raises(UserError, match=words):
        load_face_model(ict_copy.parent)


@needs_ict
def test_ict_other_face_order_is_refused(ict_copy: Path) -> None:
    file = ict_copy / "identity000.obj"
    lines = file.read_text().splitlines()
    faces = [number for number, line in enumerate(lines) if line.startswith("f ")]
    lines[faces[0]], lines[faces[9]] = lines[faces[9]], lines[faces[0]]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"identity000\.obj: its faces differ"):
        load_ict(ict_copy)


# --- eos -----------------------------------------------------------------------------------------------------------


class StandInPca:
    """The documented methods of eos.morphablemodel.PcaModel."""

    def __init__(self, mean: np.ndarray, basis: np.ndarray, eigenvalues: np.ndarray, triangles: list) -> None:
        self.mean, self.basis, self.values, self.triangles = mean, basis, eigenvalues, triangles

    def get_mean(self) -> np.ndarray:
        return self.mean

    def get_rescaled_pca_basis(self) -> np.ndarray:
        return self.basis * np.sqrt(self.values)

    def get_triangle_list(self) -> list:
        return self.triangles

    def get_data_dimension(self) -> int:
        return len(self.mean)


def stand_in_eos(sheet: tuple, uv: list) -> SimpleNamespace:
    vertices, triangles, numbered = sheet
    basis = np.linalg.qr(np.random.default_rng(2).normal(size=(vertices.size, 2)))[0].astype(np.float32)
    shape = StandInPca(vertices.ravel().astype(np.float32), basis, np.array([4.0, 1.0], np.float32), triangles.tolist())
    smile = SimpleNamespace(name="happiness", deformation=np.ones(vertices.size, np.float32))
    model = SimpleNamespace(
        get_shape_model=lambda: shape, has_color_model=lambda: False, has_separate_expression_model=lambda: True,
        get_expression_model=lambda: [smile], get_texture_coordinates=lambda: uv,
        get_texture_triangle_indices=lambda: [],
        get_landmark_definitions=lambda: {str(number + 1): int(numbered[number]) for number in range(17, 60)},
    )  # fmt: skip
    return SimpleNamespace(morphablemodel=SimpleNamespace(load_model=lambda name: model))


def test_eos_model_through_the_documented_api(sheet: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = np.random.default_rng(3).random((3000, 2))
    monkeypatch.setitem(sys.modules, "eos", stand_in_eos(sheet, uv.tolist()))
    (tmp_path / "model.bin").write_bytes(b"x")
    model = load_face_model(tmp_path / "model.bin")
    assert model.expression_names == ("happiness",) and not model.expression_is_units
    assert abs(np.linalg.norm(model.identity_mm[0]) - 2) < 1e-4
    np.testing.assert_allclose(model.uv, np.stack([uv[:, 0], 1 - uv[:, 1]], 1), atol=1e-6)
    assert np.array_equal(model.uv_triangles, model.triangles)
    assert (model.landmarks[17:60] == sheet[2][17:60]).all() and (model.landmarks[60:] == -1).all()
    np.testing.assert_allclose(model.mean_mm[model.landmarks[17:60]].mean(0), 0, atol=1e-4)


def test_eos_absent_or_refusing_is_one_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sfm_shape_3448.bin"
    path.write_bytes(bytes(100))
    monkeypatch.setitem(sys.modules, "eos", None)
    with pytest.raises(UserError, match=r"sfm_shape_3448\.bin.*pip install mesoface\[eos\]"):
        load_face_model(path)

    def refuse(name: str) -> None:
        raise RuntimeError("unknown version number: 7")

    monkeypatch.setitem(sys.modules, "eos", SimpleNamespace(morphablemodel=SimpleNamespace(load_model=refuse)))
    with pytest.raises(UserError, match=r"sfm_shape_3448\.bin.*unknown version number: 7"):
        load_face_model(path)
    with pytest.raises(UserError, match="no such file"):
        load_eos(tmp_path / "absent.bin")


def test_eos_package_reads_a_file_it_wrote(sheet: tuple, tmp_path: Path) -> None:
    eos = pytest.importorskip("eos", reason="the optional package eos-py is not installed").morphablemodel
    vertices, triangles, numbered = sheet
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(vertices.size, 3)))[0].astype(np.float32)
    cells = triangles.tolist()
    shape = eos.PcaModel(vertices.ravel().astype(np.float32), basis, np.array([9, 4, 1], np.float32), cells)
    colour = eos.PcaModel(np.full(vertices.size, 0.5, np.float32), basis, np.array([9, 4, 1], np.float32), cells)
    smile = [eos.Blendshape("smile", np.ones(vertices.size, np.float32))]
    named = {str(number + 1): int(numbered[number]) for number in range(17, 68)}
    path = tmp_path / "written.bin"
    eos.save_model(eos.MorphableModel(shape, smile, colour, vertex_definitions=named), str(path))
    model = load_face_model(path)
    np.testing.assert_allclose(model.identity_mm[0].ravel(), 3 * basis[:, 0], atol=1e-5)
    assert model.expression_names == ("smile",) and len(model.albedo_basis) == 3
    assert (model.landmarks[17:] == numbered[17:]).all() and (model.landmarks[:17] == -1).all()
    _cut(tmp_path, "written.bin", 0.5)
    with pytest.raises(UserError, match=r"written\.bin.*cannot read it"):
        load_face_model(path)


# --- our own file --------------------------------------------------------------------------------------------------


def test_own_format_round_trip_is_bit_exact(small: tuple, tmp_path: Path) -> None:
    model = load_bfm(small[0])
    save_face_model(model, tmp_path / "own.h5")
    again = load_face_model(tmp_path / "own.h5")
    for name in FaceModel.__slots__:  # pyright: ignore[reportAttributeAccessIssue]
        before, after = getattr(model, name), getattr(again, name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype and before.tobytes() == after.tobytes(), name
        else:
            assert before == after and type(before) is type(after), name
    save_face_model(again, tmp_path / "twice.h5")
    assert (tmp_path / "own.h5").read_bytes() == (tmp_path / "twice.h5").read_bytes()
    with h5py.File(tmp_path / "own.h5") as file:
        assert file.attrs["format"] == "mesoface-face-model" and file.attrs["units"] == "mm"
        assert file.attrs["schema_version"] == 1 and "subject's left" in str(file.attrs["frame"])


def test_own_format_refuses_newer_damaged_and_incomplete_files(small: tuple, tmp_path: Path) -> None:
    path = tmp_path / "own.h5"
    save_face_model(load_bfm(small[0]), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"own\.h5"):
        load_face_model(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["uv"]
    with pytest.raises(UserError, match="datasets uv are missing"):
        load_face_model(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["landmarks"]
        file["landmarks"] = np.zeros(5, np.int32)
    with pytest.raises(UserError, match=r"landmarks is int32 \(5,\)"):
        load_face_model(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 2
    with pytest.raises(UserError, match=r"schema version 2.*up to 1"):
        load_face_model(path)
    with pytest.raises(UserError, match="saved by mesoface"):
        read_face_model(small[0])


# --- regions on any mesh -------------------------------------------------------------------------------------------


def test_regions_need_landmarks_and_estimate_the_missing_ones(sheet: tuple) -> None:
    vertices, _, numbered = sheet
    landmarks = numbered.astype(np.int32)
    full = label_regions(vertices, landmarks, eyes_in_mesh=True)
    present = {Region(int(label)) for label in np.unique(full)}
    assert {
        Region.FOREHEAD,
        Region.NOSE,
        Region.LIP_UPPER,
        Region.CHIN,
        Region.EYEBALL_LEFT,
        Region.BROW_RIGHT,
    } <= present
    assert (label_regions(vertices, np.where(np.arange(68) < 63, -1, landmarks)) == Region.OTHER).all()
    sparse = np.full(68, -1, np.int32)
    sparse[list(NAMED.values())] = landmarks[list(NAMED.values())]
    guessed = complete_landmarks(vertices, sparse)
    assert guessed is not None
    apart = np.linalg.norm((guessed - vertices[landmarks])[:, :2], axis=1)
    assert apart[17:].max() < 9, "estimates from an average face, on an average face"
    face = np.isin(full, range(Region.FOREHEAD, Region.CHIN + 1))
    assert (label_regions(vertices, sparse, eyes_in_mesh=True) == full)[face].mean() > 0.85
    outer = np.zeros(len(vertices), bool)
    assert (label_regions(vertices, landmarks, outer=outer) == Region.OTHER).all()


def test_landmark_mirror_pairs_match_the_average_face() -> None:
    average = average_landmarks()
    assert np.array_equal(MIRROR[MIRROR], np.arange(68))
    np.testing.assert_allclose(average[MIRROR], average * (-1, 1, 1), atol=1e-12)
