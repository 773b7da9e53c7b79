"""Wavefront OBJ in and out, PLY out: meshes with texture coordinates and mixed triangles and quads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path


@dataclass(frozen=True, slots=True)
class ObjMesh:
    """A parsed OBJ file."""

    vertices: np.ndarray
    """(N, 3) float64."""
    uv: np.ndarray
    """(U, 2) float64; U may be 0."""
    corners: np.ndarray
    """(C,) int64: vertex index of every face corner, face after face, 0-based."""
    uv_corners: np.ndarray
    """(C,) int64: index into `uv` beside `corners`; empty where the file has no texture coordinates."""
    counts: np.ndarray
    """(F,) int64: corners per face."""
    face_text: bytes
    """The raw `f` lines: equal text means equal topology, so that further shapes need not parse it again."""


def read_obj(path: Path, same_faces_as: ObjMesh | None = None) -> ObjMesh:
    """Read vertices, texture coordinates and faces; normals, materials and groups are ignored.

    `same_faces_as` lets a blend shape share the base mesh's parsed faces where the text is identical.
    Raises UserError for a missing or unreadable file, bad numbers, mixed corner forms, and indices beyond the data.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read this OBJ file ({error.strerror}). Check the path and copy it again."
        ) from error
    vertices = _numbers(path, [line[2:] for line in lines if line[:2] == b"v "], "v", (3, 6, 4), 3)
    uv = _numbers(path, [line[3:] for line in lines if line[:3] == b"vt "], "vt", (2, 3), 2)
    faces = [line[2:] for line in lines if line[:2] == b"f "]
    if not len(vertices) or not faces:
        raise UserError(
            f"{path}: expected an OBJ mesh, found {len(vertices)} vertices and {len(faces)} faces. "
            "The file is empty or cut short: copy it again."
        )
    text = b"\n".join(faces)
    if same_faces_as is not None and text == same_faces_as.face_text:
        base = same_faces_as
        corners, uv_corners, counts = base.corners, base.uv_corners, base.counts
    else:
        corners, uv_corners, counts = _faces(path, faces, text)
    for label, index, bound in (("vertex", corners, len(vertices)), ("texture coordinate", uv_corners, len(uv))):
        if index.size and not (0 <= index.min() and index.max() < bound):
            raise UserError(
                f"{path}: a face uses {label} {index.max() + 1}, but the file holds {bound}. "
                "It is cut short or was edited: copy it again."
            )
    return ObjMesh(vertices, uv, corners, uv_corners, counts, text)


def _numbers(path: Path, rows: list[bytes], label: str, widths: tuple[int, ...], keep: int) -> np.ndarray:
    if not rows:
        return np.zeros((0, keep))
    try:
        flat = np.array(b" ".join(rows).split(), np.float64)
        width = flat.size // len(rows)
        if width not in widths or flat.size != width * len(rows):
            raise ValueError(f"{flat.size} numbers in {len(rows)} lines")
    except ValueError as error:
        raise UserError(
            f"{path}: the '{label}' lines are not {keep} numbers each ({error}). The file is damaged: copy it again."
        ) from error
    return flat.reshape(len(rows), width)[:, :keep]


def _faces(path: Path, faces: list[bytes], text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = np.array([len(face.split()) for face in faces], np.int64)
    tokens = text.split()
    slashes = tokens[0].count(b"/")
    try:
        # Every corner has the same form (v, v/vt, v//vn, v/vt/vn), so one flat conversion serves the whole file.
        if b"//" in tokens[0]:
            table, textured = np.array(text.replace(b"//", b" ").split(), np.int64).reshape(-1, 2), False
        else:
            table = np.array(text.replace(b"/", b" ").split(), np.int64).reshape(-1, slashes + 1)
            textured = slashes > 0
        if len(table) != counts.sum() or counts.min() < 3 or table.min() < 1:
            raise ValueError("mixed forms, fewer than three corners or relative indices")
    except ValueError as error:
        raise UserError(
            f"{path}: the faces cannot be read ({error}). Expected 'f v', 'f v/vt' or 'f v/vt/vn' with one form "
            "throughout and positive indices; the file is cut short or comes from another tool: export it again."
        ) from error
    return table[:, 0] - 1, table[:, 1] - 1 if textured else np.zeros(0, np.int64), counts


def fan_triangles(corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split polygons into fans: (T, 3) int32 of `corners` values and (T,) int64 polygon number of each triangle."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    polygon = np.repeat(np.arange(len(counts)), counts - 2)
    step = np.arange(len(polygon)) - np.repeat(np.cumsum(counts - 2) - (counts - 2), counts - 2)
    first = starts[polygon]
    index = np.stack([first, first + step + 1, first + step + 2], 1)
    return corners[index].astype(np.int32), polygon


def write_obj(
    path: Path, vertices: np.ndarray, triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray
) -> None:
    """Write a triangle mesh (mm, 1e-5 mm) with texture coordinates as OBJ, atomically."""
    rows = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices.tolist()]
    rows += [f"vt {u:.6f} {v:.6f}" for u, v in uv.tolist()]
    corners = np.stack([triangles, uv_triangles], 2).reshape(-1, 6) + 1
    rows += [f"f {a}/{b} {c}/{d} {e}/{f}" for a, b, c, d, e, f in corners.tolist()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(rows) + "\n", encoding="ascii")


def write_ply(path: Path, vertices: np.ndarray, triangles: np.ndarray, rgb: np.ndarray) -> None:
    """Write a triangle mesh (mm) with uint8 sRGB vertex colours (N, 3) as binary PLY, atomically."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    points = np.empty(len(vertices), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    points["xyz"], points["rgb"] = vertices, rgb
    faces = np.empty(len(triangles), [("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, triangles
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.encode("ascii") + points.tobytes() + faces.tobytes())
