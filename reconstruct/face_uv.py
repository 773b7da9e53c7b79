"""Texture coordinates for models that ship none: a companion file, or a cylinder around the head."""

from pathlib import Path

import numpy as np

from ..capture.errors import UserError


def cylindrical_uv(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UVs (U, 2) float32 in [0, 1]^2 and their triangles (T, 3) int32 by unrolling the head's vertical cylinder.

    Ours, not published with any model: u is the angle about the vertical axis through the middle of the head,
    v the height; the face looks along the middle of the map. Triangles across the seam at the back get coordinates of
    their own. Where a horizontal ray from the axis meets the skin more than once, the map folds: inside lips, lid rims
    and nostrils, and in the ears. Measured on ICT-FaceKit's face, forehead, brows, cheeks, chin and the skin around the
    mouth are free of overlaps, and 3 % of the face's map area is folded in all.
    """
    vertices = np.asarray(vertices, np.float64)
    used = vertices[np.unique(triangles)]
    low, high = used.min(0), used.max(0)
    # A face mask is a shallow shell: its axis must lie behind it, about a head's half width behind the front.
    depth = min(high[2] - low[2], 1.2 * (high[0] - low[0]))
    axis_x, axis_z = (low[0] + high[0]) / 2, high[2] - max(depth * 0.5, 0.62 * (high[0] - low[0]))
    angle = np.arctan2(vertices[:, 0] - axis_x, vertices[:, 2] - axis_z)
    uv_triangles = triangles.astype(np.int32)
    corner_angles = angle[triangles]
    wraps = np.ptp(corner_angles, axis=1) > np.pi
    if wraps.any():
        moved = np.unique(triangles[wraps][corner_angles[wraps] < 0])
        renumber = np.arange(len(vertices))
        renumber[moved] = len(vertices) + np.arange(len(moved))
        far = uv_triangles[wraps]
        uv_triangles[wraps] = np.where(corner_angles[wraps] < 0, renumber[far], far)
        angle = np.concatenate([angle, angle[moved] + 2 * np.pi])
        vertices = np.concatenate([vertices, vertices[moved]])
    span = angle[np.unique(uv_triangles)]
    u = (angle - span.min()) / max(np.ptp(span), 1e-9)
    v = (vertices[:, 1] - low[1]) / max(high[1] - low[1], 1e-9)
    return np.clip(np.stack([u, v], 1), 0, 1).astype(np.float32), uv_triangles


def read_vertex_uv(path: Path, vertices: int, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UVs (N, 2) float32 from a `.mat` or `.npz` file with one (N, 2) or (2, N) array; its v runs down and is flipped.

    Raises UserError for a missing or unreadable file and for an array of another size.
    """
    import scipy.io

    try:
        if path.suffix.lower() == ".npz":
            with np.load(path) as archive:
                arrays = {name: archive[name] for name in archive.files}
        else:
            arrays = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise UserError(
            f"{path}: expected a MATLAB 5 .mat or .npz file with texture coordinates, but it cannot be read ({error}). "
            "Check the path or copy the file again."
        ) from error
    for value in arrays.values():
        table = np.asarray(value)
        if table.shape == (2, vertices):
            table = table.T
        if table.shape == (vertices, 2) and table.dtype.kind == "f":
            return np.stack([table[:, 0], 1 - table[:, 1]], 1).astype(np.float32), triangles.astype(np.int32)
    found = ", ".join(f"{name} {np.shape(value)}" for name, value in arrays.items()) or "nothing"
    raise UserError(
        f"{path}: expected one float array ({vertices}, 2), a texture coordinate per vertex, found {found}. "
        "Give the file that belongs to this model."
    )
