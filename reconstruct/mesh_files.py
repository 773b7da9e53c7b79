"""Meshes on disk, through trimesh: PLY (binary) and OBJ, vertices split at texture seams, millimetres."""

from pathlib import Path

import numpy as np
from trimesh import Trimesh
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals

from ..capture.files import write_bytes, write_text
from .mesh_refine import TriangleMesh


def write_mesh(
    path: str | Path, mesh: TriangleMesh, vertices_mm: np.ndarray | None = None, normals: np.ndarray | None = None
) -> None:
    """Write `mesh` as .ply or .obj by the suffix, atomically.

    Args:
        vertices_mm: other positions (N, 3) in place of the mesh's own.
        normals: (N, 3) unit vertex normals, written to PLY.
    Vertices appear once per texture coordinate (PLY: properties s, t; OBJ: vt), so every viewer maps textures alike.
    Raises ValueError for another suffix.
    """
    path = Path(path)
    keys = mesh.triangles.astype(np.int64).ravel() * len(mesh.uv) + mesh.uv_triangles.ravel()
    unique, corner = np.unique(keys, return_inverse=True)
    vertex, coordinate = unique // len(mesh.uv), unique % len(mesh.uv)
    positions = mesh.vertices_mm if vertices_mm is None else vertices_mm
    made = Trimesh(
        positions[vertex],
        corner.reshape(-1, 3),
        process=False,
        vertex_normals=None if normals is None else normals[vertex],
        visual=TextureVisuals(uv=mesh.uv[coordinate].astype(np.float64)),
    )
    if path.suffix == ".ply":
        write_bytes(path, export_ply(made, vertex_normal=normals is not None))
    elif path.suffix == ".obj":
        text = export_obj(made, include_normals=False, header="millimetres", digits=6)
        assert isinstance(text, str)
        lines = (line for line in text.splitlines() if not line.startswith(("mtllib", "usemtl")))
        write_text(path, "\n".join(lines) + "\n")
    else:
        raise ValueError(f"{path}: meshes are written as .ply or .obj")
