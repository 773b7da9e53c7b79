"""Emotion-Net, its data in AffectNet's layout and in class folders, action units, OpenFace's CSV."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.model.appearance_features import (
    AU_NAMES,
    aligned_face,
    alignment,
    au_of_activations,
    description,
    fit_regressors,
    hog,
    load_regressors,
    save_regressors,
)
from mesoface.model.appearance_train import correlations, render_descriptions
from mesoface.model.emotion_data import (
    AFFECTNET_COLUMNS,
    load_faces,
    read_affectnet,
    read_class_folders,
    render_faces,
)
from mesoface.model.emotion_net import EMOTIONS, build_emotion_net, describe, load_emotion_net
from mesoface.model.emotion_train import EmotionTraining, class_weights, confusion, train_emotion
from mesoface.model.openface import read_openface, run_openface


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def rendered() -> tuple[np.ndarray, np.ndarray]:
    return render_faces(84, people=1)


@pytest.fixture(scope="module")
def affectnet(tmp_path_factory: pytest.TempPathFactory, rendered) -> Path:
    """training.csv and numbered sub-folders as AffectNet comes; each face lies in a larger picture."""
    root = tmp_path_factory.mktemp("AffectNet")
    faces, labels = rendered
    with (root / "training.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(AFFECTNET_COLUMNS)
        for k, (face, label) in enumerate(zip(faces, labels, strict=True)):
            name = f"{k % 3 + 1}/{k:040x}.jpg"
            picture = np.full((80, 90), 40, np.uint8)
            picture[20:68, 30:78] = face
            (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "images" / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            marks = ";".join(f"{20 + i};{30 + i}" for i in range(68))
            writer.writerow([name, 30, 20, 48, 48, marks, label, 0.1, 0.2])
        writer.writerow(["9/missing.jpg", 0, 0, 10, 10, "", 1, -2, -2])
    return root


def test_affectnet_layout(affectnet: Path, rendered):
    faces = read_affectnet(affectnet / "training.csv", affectnet / "images")
    assert len(faces) == 84, "the missing picture is left out"
    images, labels, failures = load_faces(faces[:20])
    assert failures == [] and np.array_equal(labels, rendered[1][:20])
    assert np.abs(images.astype(int) - rendered[0][:20]).mean() < 4, "the box is not cut where it says"


def test_affectnet_without_header_and_bad_rows(affectnet: Path, tmp_path: Path):
    lines = (affectnet / "training.csv").read_text().splitlines()
    bare = tmp_path / "validation.csv"
    bare.write_text("\n".join(lines[1:4]) + "\n")
    assert len(read_affectnet(bare, affectnet / "images")) == 3
    bare.write_text("\n".join([lines[0], lines[1].replace(",0.1,", ",x,"), lines[2].rsplit(",", 3)[0] + ",17,0,0"]))
    with pytest.raises(UserError, match="line 3: expression is 17"):
        read_affectnet(bare, affectnet / "images")
    with pytest.raises(UserError, match="none of its"):
        read_affectnet(affectnet / "training.csv", tmp_path)
    bare.write_text("subDirectory_filePath,emotion\na,b\n")
    with pytest.raises(UserError, match="expected an AffectNet table"):
        read_affectnet(bare, tmp_path)


def test_class_folders(tmp_path: Path, rendered):
    for label in (0, 1):
        (tmp_path / EMOTIONS[label].lower()).mkdir()
        cv2.imwrite(str(tmp_path / EMOTIONS[label].lower() / "a.png"), rendered[0][label])
    (tmp_path / "happiness" / "broken.png").write_bytes(b"no picture")
    listed = read_class_folders(tmp_path)
    images, labels, failures = load_faces(listed)
    assert sorted(labels.tolist()) == [0, 1] and images.shape == (2, 48, 48)
    assert len(failures) == 1 and "broken.png" in failures[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="expected sub-folders"):
        read_class_folders(tmp_path / "empty")


def test_class_balance():
    labels = np.array([0] * 90 + [1] * 9 + [6])
    weights = class_weights(labels)
    assert weights[[0, 1, 6]] @ [90, 9, 1] == pytest.approx(100)
    assert weights[0] * 90 == pytest.approx(weights[6]) and weights[2] == 0


def test_network_learns_resumes_and_reloads(tmp_path: Path, rendered):
    faces, labels = rendered
    keep = np.isin(labels, (0, 1, 3))  # neutral, happiness, surprise: the clear ones
    faces, labels = faces[keep], labels[keep]
    few = EmotionTraining(epochs=8, batch=6, dropout=0.0)
    network = load_emotion_net(train_emotion(faces, labels, tmp_path / "a", few))
    table = confusion(network, faces, labels)
    assert table.sum() == len(faces) and table.sum(1)[[0, 1, 3]].tolist() == np.bincount(labels)[[0, 1, 3]].tolist()
    assert np.trace(table) > 0.6 * len(faces), "chance is a third"
    chances, features = describe(network, faces[:4])
    assert features.shape == (4, 128) and np.allclose(chances.sum(1), 1, atol=1e-4)

    class Stop(Exception):
        pass

    def stop(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 1:
            raise Stop

    short = EmotionTraining(epochs=2, batch=6)
    some = faces[:12], labels[:12]
    with pytest.raises(Stop):
        train_emotion(*some, tmp_path / "b", short, progress=stop)
    resumed = load_emotion_net(train_emotion(*some, tmp_path / "b", short))
    straight = load_emotion_net(train_emotion(*some, tmp_path / "c", short))
    assert np.allclose(describe(resumed, faces[:8])[1], describe(straight, faces[:8])[1], atol=1e-4)
    with pytest.raises(UserError, match="was trained with"):
        train_emotion(*some, tmp_path / "b", EmotionTraining(epochs=3, batch=6))


def test_foreign_weights(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        load_emotion_net(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="another kind"):
        load_emotion_net(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="cannot be read"):
        load_regressors(tmp_path / "cut.npz")
    assert sum(p.numel() for p in build_emotion_net().parameters()) < 1_000_000


def test_alignment_undoes_a_similarity():
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 80, (68, 2))
    points[36:42], points[42:48], points[48:] = [40, 40], [70, 42], [56, 75]
    turn = np.deg2rad(25)
    spin = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = points @ spin.T + [30, -4]
    a, b = alignment(points, 64), alignment(moved, 64)
    assert np.allclose(points @ a[:, :2].T + a[:, 2], moved @ b[:, :2].T + b[:, 2], atol=1e-6)


def test_hog_tells_orientation_and_not_contrast():
    rows, columns = np.mgrid[:48, :48]
    stripes = [0.5 + 0.2 * np.sin(0.8 * x).astype(np.float32) for x in (columns, rows)]
    first, second = (hog(s.astype(np.float32)) for s in stripes)
    assert first @ second < 0.35 * (first @ first)
    assert np.allclose(first, hog((0.25 + 0.5 * stripes[0]).astype(np.float32)), atol=0.02)
    assert aligned_face(stripes[0].astype(np.float32), np.random.default_rng(1).uniform(5, 40, (68, 2)), 32).shape == (
        32,
        32,
    )


def test_action_units_from_rendered_faces(tmp_path: Path):
    """Strong units of other people are found by regressors of a few hundred faces."""
    described, truth = render_descriptions(["procedural"], 260, people=1)
    trained = fit_regressors(described[:200], truth[:200], 30.0, "test")
    found = trained.intensities(described[200:])
    score = correlations(found, truth[200:])
    by_name = dict(zip(AU_NAMES, score.tolist(), strict=True))
    assert min(by_name["AU12"], by_name["AU26"], by_name["AU25"], by_name["AU45"]) > 0.55, by_name
    save_regressors(trained, tmp_path / "au.npz")
    again = load_regressors(tmp_path / "au.npz")
    assert np.abs(again.intensities(described[:9]) - trained.intensities(described[:9])).max() < 0.05
    assert au_of_activations({"lip_corner_pull": 0.6})[AU_NAMES.index("AU12")] == pytest.approx(3.0)
    assert description(np.zeros((60, 60), np.float32), np.random.default_rng(0).uniform(10, 50, (68, 2))).ndim == 1


def test_openface_csv(tmp_path: Path):
    columns = ["frame", "confidence", "success", *(f"x_{k}" for k in range(68)), *(f"y_{k}" for k in range(68))]
    columns += [f"{name}_r" for name in AU_NAMES] + ["AU28_c"]
    file = tmp_path / "out.csv"
    values = [1, 0.98, 1, *range(68), *range(100, 168), *np.linspace(0, 5, 17), 1]
    lost = [2, 0.1, 0, *[0] * (len(values) - 3)]
    file.write_text("\n".join(", ".join(map(str, line)) for line in (columns, values, lost)) + "\n")
    rows = read_openface(file)
    assert len(rows) == 1 and rows[0].confidence == pytest.approx(0.98)
    assert np.allclose(rows[0].intensities, np.linspace(0, 5, 17)) and rows[0].points_px[3].tolist() == [3, 103]
    file.write_text("\n".join(", ".join(map(str, line)) for line in (columns, values[:-5])))
    with pytest.raises(UserError, match="line 2: expected"):
        read_openface(file)
    file.write_text("frame,confidence\n1,2\n")
    with pytest.raises(UserError, match=r"AU01_r \(and 16 more\)"):
        read_openface(file)


def test_openface_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for the program: called with picture and folder, its table is read; without it a clear message."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not found on PATH"):
        run_openface(tmp_path / "a.jpg")
    program = tmp_path / "FaceLandmarkImg"
    header = ",".join(["face", "confidence", *(f"{name}_r" for name in AU_NAMES)])
    line = ",".join(["0", "0.9", *["1.5"] * 17])
    program.write_text(f'#!/bin/sh\necho "{header}" > "$4/a.csv"\necho "{line}" >> "$4/a.csv"\n')
    program.chmod(0o755)
    assert run_openface(tmp_path / "a.jpg")[0].intensities.tolist() == [1.5] * 17
    program.write_text("#!/bin/sh\necho no face >&2\nexit 3\n")
    with pytest.raises(UserError, match="exit code 3; it said: no face"):
        run_openface(tmp_path / "a.jpg")
