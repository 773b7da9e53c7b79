"""Files on disk: whole or not at all, readable again, and named in every complaint."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.files import atomic_path, sha256_file, sha256_json, write_bytes, write_json, write_text
from mesoface.capture.image_files import read_tiff, srgb_from_linear, write_png, write_tiff


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_interrupted_writing_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "deep" / "file.bin"
    if old is not None:
        write_bytes(path, old)
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.suffix == path.suffix and temporary.parent == path.parent
        raise error
    assert [p.name for p in path.parent.iterdir()] == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old


def test_interrupted_before_anything_is_written(tmp_path):
    with pytest.raises(Interrupted), atomic_path(tmp_path / "a.txt"):
        raise Interrupted
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass  # the writer forgot to write
    assert not list(tmp_path.iterdir())


def test_other_names_beside_each_other(tmp_path):
    """Two files that differ in the suffix only may be written at the same time."""
    with atomic_path(tmp_path / "a.txt") as text, atomic_path(tmp_path / "a.bin") as binary:
        assert text != binary
        text.write_text("t")
        binary.write_bytes(b"b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.txt"]


def test_text_and_json(tmp_path):
    write_text(tmp_path / "a.txt", "Größe µm\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe µm\n".encode()
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": 1, "a": [1.5, None]} and text.endswith("}\n")
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text() == text
    assert sha256_file(tmp_path / "a.json") == hashlib.sha256(text.encode()).hexdigest()


def test_content_hash():
    first = sha256_json({"a": 1, "b": {"c": [1, 2], "d": "é"}})
    assert first == sha256_json({"b": {"d": "é", "c": [1, 2]}, "a": 1})
    assert first == sha256_json(json.loads(json.dumps({"a": 1, "b": {"c": [1, 2], "d": "é"}})))
    different = [{"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": [2, 1]}, {"a": [1, 2]}]
    assert len({sha256_json(value) for value in different}) == len(different)
    with pytest.raises(ValueError):
        sha256_json({"a": float("inf")})


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.uint8])
@pytest.mark.parametrize("shape", [(70, 41), (70, 41, 3)])
def test_tiff_round_trip(tmp_path, dtype, shape):
    rng = np.random.default_rng(1)
    image = (rng.random(shape) * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    if dtype == np.float32:
        image.flat[:3] = np.nan, -1e30, np.inf
    path = tmp_path / "map.tif"
    write_tiff(path, image, unit="mm", black_level=2048, frame="world", nested={"a": [1, 2]})
    again, description = read_tiff(path)
    assert again.dtype == dtype and again.tobytes() == image.tobytes() and again.shape == shape
    assert description == {"unit": "mm", "black_level": 2048, "frame": "world", "nested": {"a": [1, 2]}}
    first = path.read_bytes()
    write_tiff(path, image, unit="mm", black_level=2048, frame="world", nested={"a": [1, 2]})
    assert path.read_bytes() == first  # no time stamps
    seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # another reader
    assert seen is not None and (seen if seen.ndim == 2 else seen[..., ::-1]).tobytes() == image.tobytes()


def test_tiff_refuses_other_types_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="float64"):
        write_tiff(tmp_path / "a.tif", np.zeros((4, 4)))
    with pytest.raises(ValueError):
        write_tiff(tmp_path / "a.tif", np.zeros((4, 4), np.float32), gain=float("nan"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_damaged_tiff_names_the_file(tmp_path, dtype):
    path = tmp_path / "picture.tif"
    with pytest.raises(UserError, match=r"picture\.tif: no such file"):
        read_tiff(path)
    image = (np.random.default_rng(1).random((200, 150)) * 60000).astype(dtype)
    write_tiff(path, image)
    whole = path.read_bytes()
    for kept in (0, 4, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:kept])
        with pytest.raises(UserError, match=r"picture\.tif"):
            read_tiff(path)
    path.write_bytes(b"not a TIFF at all" * 100)
    with pytest.raises(UserError, match=r"picture\.tif"):
        read_tiff(path)


def test_foreign_tiff_has_no_description(tmp_path):
    image = np.arange(120, dtype=np.uint8).reshape(10, 12)
    assert cv2.imwrite(str(tmp_path / "foreign.tif"), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    again, description = read_tiff(tmp_path / "foreign.tif")
    assert np.array_equal(again, image) and description == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(tmp_path, dtype):
    image = np.random.default_rng(2).integers(0, np.iinfo(dtype).max, (20, 30, 3)).astype(dtype)
    write_png(tmp_path / "a.png", image)
    seen = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert seen is not None and np.array_equal(seen[..., ::-1], image) and seen.dtype == dtype
    write_png(tmp_path / "b.png", image[..., 0])
    grey = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert grey is not None and np.array_equal(grey, image[..., 0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_srgb_curve():
    assert srgb_from_linear(np.array([-1, 0, 0.0031308, 0.2159, 1, 7])).tolist() == [0, 0, 10, 128, 255, 255]
