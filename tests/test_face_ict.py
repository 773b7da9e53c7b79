"""ICT-FaceKit: frame, shapes, texture tiles, regions; every failure is one clear UserError."""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from face_fixtures import ICT, cut_file, needs_ict, uv_areas

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_ict import PARTS, UV_TILES, load_ict
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel, Region
from mesoface.reconstruct.face_obj import read_obj


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


@needs_ict
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), r"expected an ICT-FaceKit folder.*found"),
        (lambda f: (f / "identity000.obj").unlink(), r"at least one identity file"),
        (lambda f: (f / "vertex_indices.json").unlink(), r"vertex_indices\.json.*no such file"),
        (lambda f: (f / "vertex_indices.json").write_text("{"), r"vertex_indices\.json.*unreadable JSON"),
        (lambda f: (f / "vertex_indices.json").write_text('{"expressions": []}'), r"68 indices.*\['expressions'\]"),
        (lambda f: cut_file(f, "generic_neutral_mesh.obj", 0.2), r"generic_neutral_mesh\.obj.*0 faces"),
        (lambda f: cut_file(f, "identity000.obj", 0.7), r"identity000\.obj"),
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
