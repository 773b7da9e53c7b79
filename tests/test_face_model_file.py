"""Our own face model file: exact round trip, refusals."""

from pathlib import Path

import numpy as np
import pytest
from face_fixtures import face_sheet, write_bfm

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_bfm import load_bfm
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.face_model import FaceModel
from mesoface.reconstruct.face_model_file import read_face_model, save_face_model

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def sheet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return face_sheet(60, 50)


@pytest.fixture
def small(tmp_path: Path, sheet: tuple) -> tuple[Path, dict]:
    path = tmp_path / "model2019_small.h5"
    return path, write_bfm(path, *sheet)


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
