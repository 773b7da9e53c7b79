"""Stand-in face data for the loader tests: a sheet the size of a face, files in published layouts."""

import json
from pathlib import Path

import numpy as np
import pytest

from mesoface.reconstruct.face_regions import average_landmarks

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


def uv_areas(uv: np.ndarray, uv_triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[uv_triangles[:, i]].astype(np.float64) for i in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    return ux * vy - uy * vx


def cut_file(folder: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
