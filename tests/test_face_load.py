"""Choosing a loader by path, OBJ and eos files, regions on any mesh."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from face_fixtures import NAMED, cut_file, face_sheet, write_bfm

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_bfm import load_bfm
from mesoface.reconstruct.face_eos import load_eos
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import Region
from mesoface.reconstruct.face_obj import fan_triangles, read_obj
from mesoface.reconstruct.face_regions import MIRROR, average_landmarks, complete_landmarks, label_regions

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def sheet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return face_sheet(60, 50)


@pytest.fixture
def small(tmp_path: Path, sheet: tuple) -> tuple[Path, dict]:
    path = tmp_path / "model2019_small.h5"
    return path, write_bfm(path, *sheet)


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
    cut_file(tmp_path, "written.bin", 0.5)
    with pytest.raises(UserError, match=r"written\.bin.*cannot read it"):
        load_face_model(path)


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
