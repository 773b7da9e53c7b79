"""From a dense workspace to a point cloud and a mesh, by COLMAP's own fusion and Poisson meshing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from .colmap_process import file_size, run_step

FUSION_OPTIONS = {
    "min_num_pixels": 2, "max_reproj_error": 0.7, "max_depth_error": 0.001, "max_normal_error": 20.0, "num_threads": 1,
}  # fmt: skip
"""COLMAP's defaults are for fifty and more photos, and let points be 10 mm apart at 1 m. With several threads the cloud
differs from run to run."""
POISSON_OPTIONS = {"depth": 8, "trim": 8.0, "color": True, "num_threads": 1}
"""One thread for the same reason."""


@dataclass(frozen=True)
class Fused:
    """A fused cloud or mesh on disk."""

    path: Path
    count: int
    """Points of a cloud, vertices of a mesh."""
    seconds: float


def fuse_workspace(dense: str | Path, **options: float | int) -> Fused:
    """Fuse the maps of `dense` (see colmap_workspace.py) into `dense`/fused.ply with points, normals, colours.

    options: fields of pycolmap.StereoFusionOptions in place of FUSION_OPTIONS.
    Raises UserError when COLMAP fails or no point is left.
    """
    dense = Path(dense)
    output = dense / "fused.ply"
    done = run_step("fuse", {"workspace": str(dense), "output": str(output), "options": {**FUSION_OPTIONS, **options}})
    count = int(done.values["points"])
    if count == 0:
        raise UserError(
            f"{dense}: fusion found no point in common between the views. The model needs seed points shared by the "
            "views (dense/sparse/points3D.txt), and depth maps that agree: see the agreement in the stereo's warnings"
        )
    return Fused(output, count, done.seconds)


def mesh_cloud(dense: str | Path, **options: float | int | bool) -> Fused:
    """Poisson surface of `dense`/fused.ply as `dense`/mesh.ply.

    options: fields of pycolmap.PoissonMeshingOptions in place of POISSON_OPTIONS. Raises UserError when COLMAP fails.
    """
    dense = Path(dense)
    cloud, output = dense / "fused.ply", dense / "mesh.ply"
    if file_size(cloud) == 0:
        raise UserError(f"{cloud}: missing; fuse the workspace first")
    done = run_step("mesh", {"cloud": str(cloud), "output": str(output), "options": {**POISSON_OPTIONS, **options}})
    if file_size(output) == 0:
        raise UserError(f"{output}: meshing wrote nothing; are there enough points in {cloud}?")
    return Fused(output, len(read_mesh(output)[0]), done.seconds)


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) float64 and triangles (T, 3) int64 of a PLY. Raises UserError when it cannot be read."""
    import trimesh

    try:
        made = trimesh.load(str(path), process=False, force="mesh")
    except Exception as error:  # trimesh raises many kinds for a damaged file
        raise UserError(f"{path}: not a readable mesh ({error})") from None
    return np.asarray(made.vertices, np.float64), np.asarray(made.faces, np.int64)  # pyright: ignore


def read_cloud(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) and unit normals (N, 3) float32 of COLMAP's fused.ply. Raises UserError when it cannot be read."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fuse the workspace first") from None
    head, _, body = data.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").split("\n")
    kinds = {"float": "<f4", "uchar": "u1", "double": "<f8", "int": "<i4"}
    try:
        count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
        fields = [line.split()[1:] for line in lines if line.startswith("property") and "list" not in line]
        vertices = np.frombuffer(body, np.dtype([(name, kinds[kind]) for kind, name in fields]), count)
        points = np.stack([vertices[axis] for axis in ("x", "y", "z")], axis=1)
        normals = np.stack([vertices[axis] for axis in ("nx", "ny", "nz")], axis=1)
    except (StopIteration, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a point cloud of COLMAP's fusion ({error})") from None
    return points, normals
