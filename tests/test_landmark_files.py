"""Landmarks: files in and out, their conventions and faults, and the detectors that users bring."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.reconstruct.face_regions import MIRROR, average_landmarks
from mesoface.reconstruct.landmark_dlib import DlibDetector
from mesoface.reconstruct.landmark_files import (
    read_landmarks,
    read_pts,
    write_landmark_json,
    write_pts,
)
from mesoface.reconstruct.landmark_mediapipe import MediapipeDetector, landmarks_from_mediapipe, mediapipe_table
from mesoface.reconstruct.landmark_models import model_file
from mesoface.reconstruct.landmarks import Landmarks, landmarks_from_points


def some_points() -> np.ndarray:
    return np.random.default_rng(3).uniform(10, 300, (68, 2)).round(3)


def pts_text(points: np.ndarray, count: int | str = 68) -> str:
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    return f"version: 1\nn_points:  {count}\n{{\n{rows}\n}}\n"


def test_pts_counts_from_one(tmp_path: Path):
    """The first pixel's centre is (1, 1) in the file and (0, 0) here; both line endings and a BOM are read."""
    path = tmp_path / "face.pts"
    path.write_bytes(b"\xef\xbb\xbf" + pts_text(some_points() + 1).replace("\n", "\r\n").encode())
    (face,) = read_landmarks(path)
    np.testing.assert_allclose(face.points_px, some_points(), atol=1e-6)
    assert face.weights.sum() == 68 and face.source == "file: face.pts"
    np.testing.assert_allclose(read_pts(path, first_pixel=0).points_px, some_points() + 1, atol=1e-6)


def test_pts_round_trip(tmp_path: Path):
    path = tmp_path / "a" / "face.pts"
    write_pts(path, landmarks_from_points(some_points(), "t"))
    np.testing.assert_allclose(read_pts(path).points_px, some_points(), atol=1e-6)
    points = some_points()
    points[5] = np.nan
    with pytest.raises(ValueError, match="1 points are unknown"):
        write_pts(path, landmarks_from_points(points, "t"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pts_text(some_points()[:51], 51), ("expected 68", "found 51")),
        (pts_text(some_points(), 70), ("n_points says 70", "68 points follow")),
        ("version: 1\n1 2\n", ("no braces",)),
        (pts_text(some_points()).replace("\n}", " 7\n}"), ("line 71", "expected two numbers")),
        (pts_text(some_points()).replace("{\n", "{\nnan nan\n"), ("line 4", "finite")),
        ("", ("no braces",)),
    ],
)
def test_faulty_pts(tmp_path: Path, text: str, says: tuple[str, ...]):
    path = tmp_path / "bad.pts"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_landmarks(path)
    assert str(path) in str(caught.value) and all(word in str(caught.value) for word in says)


def test_json_round_trip_with_unknown_points(tmp_path: Path):
    points = some_points()
    points[[3, 60]] = np.nan
    weights = np.linspace(0.1, 1, 68)
    first, second = Landmarks(points, weights, "network"), landmarks_from_points(some_points() + 5, "network")
    write_landmark_json(tmp_path / "two.json", [first, second])
    read = read_landmarks(tmp_path / "two.json")
    assert len(read) == 2 and not read[0].known[[3, 60]].any() and read[0].known.sum() == 66
    np.testing.assert_allclose(read[0].points_px, points, atol=1e-4)
    np.testing.assert_allclose(read[0].weights[known := read[0].known], weights[known], atol=1e-4)


def test_truth_of_a_portrait_is_a_landmark_file(tmp_path: Path):
    entries = [[float(x), float(y)] for x, y in some_points()]
    (tmp_path / "truth.json").write_text(json.dumps({"landmarks_px": [None, *entries[1:]], "fx_px": 1.0}))
    (face,) = read_landmarks(tmp_path / "truth.json")
    assert not face.known[0] and face.known[1:].all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ('{"a": 1}', "found the keys a"),
        ("[1]", "something else"),
        ({"schema_version": 9}, "schema_version 9"),
        ({"faces": []}, "at least one face"),
        ({"faces": [{}]}, "faces[0] has no 'points_px'"),
        ({"faces": [{"points_px": [[1, 2]] * 67}]}, "expected 68 points [column, row] or null, found 67"),
        ({"faces": [{"points_px": [[1, 2]] * 67 + [[1]]}]}, "points_px[67]"),
        ({"faces": [{"points_px": [[1, 2]] * 68, "weights": [-1] * 68}]}, "weights"),
        ({"faces": [{"points_px": [[1, True]] * 68}]}, "points_px[0]"),
    ],
)
def test_faulty_json(tmp_path: Path, content, says: str):
    if not isinstance(content, str):
        content = json.dumps({"format": "mesoface-landmarks", "schema_version": 1} | content)
    path = tmp_path / "face.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_landmarks(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


def test_other_files(tmp_path: Path):
    with pytest.raises(UserError, match=r"no such landmark file"):
        read_landmarks(tmp_path / "none.pts")
    with pytest.raises(UserError, match=r"\.pts \(300-W\) or \.json"):
        read_landmarks(tmp_path / "face.txt")
    (tmp_path / "binary.pts").write_bytes(b"\x89PNG\xff\xfe{")
    with pytest.raises(UserError, match="cannot be read as text"):
        read_landmarks(tmp_path / "binary.pts")


def test_landmarks_check_themselves():
    with pytest.raises(ValueError, match="expected"):
        Landmarks(np.zeros((51, 2)), np.ones(51), "t")
    with pytest.raises(ValueError, match="not negative"):
        Landmarks(some_points(), -np.ones(68), "t")
    face = landmarks_from_points(some_points(), "t")
    twice = face.moved(2.0)
    # the outer edge of the first pixel stays: its centre (0, 0) goes to (0.5, 0.5)
    np.testing.assert_allclose(twice.points_px, 2 * face.points_px + 0.5)
    assert twice.interocular_px == pytest.approx(2 * face.interocular_px)
    assert face.size_px == pytest.approx(np.ptp(face.points_px, axis=0).max())


def test_mediapipe_table_mirrors_itself():
    """Each left landmark uses as many points as its mirror partner, and no point serves two corners of the face."""
    table = mediapipe_table()
    assert sorted(table) == list(range(68))
    assert all(len(table[k]) == len(table[int(MIRROR[k])]) for k in table)
    singles = [points[0] for points in table.values() if len(points) == 1]
    assert len(set(singles)) == len(singles) and max(max(p) for p in table.values()) < 468


def fake_mediapipe(faces: list[np.ndarray]):
    """The part of MediaPipe's interface that the detector uses."""

    def create(options):
        assert options.base_options.model_asset_path.endswith(".task")
        found = [[SimpleNamespace(x=x, y=y) for x, y in points] for points in faces]
        return SimpleNamespace(detect=lambda image: SimpleNamespace(face_landmarks=found))

    vision = SimpleNamespace(
        FaceLandmarker=SimpleNamespace(create_from_options=create), FaceLandmarkerOptions=SimpleNamespace
    )
    return SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace),
        Image=SimpleNamespace,
        ImageFormat=SimpleNamespace(SRGB=1),
    )


def test_mediapipe_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Points count from the picture's edge; the larger face comes first."""
    table, points = mediapipe_table(), np.full((478, 2), 0.5)
    wanted = average_landmarks()[:, :2] * (0.1, -0.1) + 0.5
    for number, used in table.items():
        points[list(used)] = wanted[number]
    (tmp_path / "face_landmarker.task").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "mediapipe", fake_mediapipe([(points - 0.5) / 2 + 0.5, points]))
    faces = MediapipeDetector(tmp_path / "face_landmarker.task").detect(np.zeros((200, 400, 3), np.float32))
    assert len(faces) == 2 and faces[0].size_px == pytest.approx(2 * faces[1].size_px)
    np.testing.assert_allclose(faces[0].points_px[30], wanted[30] * (400, 200) - 0.5)
    with pytest.raises(ValueError, match="expected 468 or 478"):
        landmarks_from_mediapipe(points[:100], 400, 200)


def test_dlib_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    box = {n: SimpleNamespace(width=lambda n=n: n, height=lambda n=n: n, size=n) for n in (10, 30)}

    def shape(points: int):
        return lambda image, where: SimpleNamespace(
            parts=lambda: [SimpleNamespace(x=k * where.size, y=k) for k in range(points)]
        )

    library = SimpleNamespace(
        get_frontal_face_detector=lambda: lambda image, upsample: [box[10], box[30]],
        shape_predictor=lambda path: shape(68),
    )
    monkeypatch.setitem(sys.modules, "dlib", library)
    path = tmp_path / "five.dat"
    path.write_bytes(b"x")
    faces = DlibDetector(path).detect(np.zeros((20, 20, 3), np.float32))
    assert [face.points_px[1, 0] for face in faces] == [30, 10]
    library.shape_predictor = lambda path: shape(5)
    with pytest.raises(UserError, match="expected a predictor of 68 points, found 5"):
        DlibDetector(path).detect(np.zeros((20, 20, 3), np.float32))


def test_missing_model_files_and_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        MediapipeDetector()
    assert str(tmp_path / "mesoface" / "face_landmarker.task") in str(caught.value)
    assert "Get face_landmarker.task from" in str(caught.value) and "put it there" in str(caught.value)
    (tmp_path / "mesoface").mkdir()
    for name, detector, module in (
        ("face_landmarker.task", MediapipeDetector, "mediapipe"),
        ("shape_predictor_68_face_landmarks.dat", DlibDetector, "dlib"),
    ):
        (tmp_path / "mesoface" / name).write_bytes(b"x")
        assert model_file(None, name, "").is_file()
        monkeypatch.setitem(sys.modules, module, None)  # as if not installed
        with pytest.raises(UserError, match=rf"pip install 'mesoface\[{module}\]'"):
            detector().detect(np.zeros((20, 20, 3), np.float32))
