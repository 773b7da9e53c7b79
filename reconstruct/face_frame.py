"""The common frame of all face models: landmark tables, origin, outward triangles, colours."""

import json
from importlib import resources
from typing import Any

import numpy as np

LANDMARKS = 68
INNER = slice(17, 68)
"""Landmarks that define the frame's origin: all but the jaw contour."""

SKIN_LINEAR = np.array([0.50, 0.27, 0.19], np.float32)
"""A plain light skin tone, linear RGB: the albedo of models that ship none."""


def read_table(name: str) -> dict[str, Any]:
    """A JSON table of the package, e.g. `landmarks_bfm2017.json`."""
    return json.loads(resources.files("mesoface.reconstruct").joinpath("tables", name).read_text(encoding="utf-8"))


def landmarks_from_ibug(table: dict[str, int], vertices: int) -> np.ndarray:
    """(68,) int32 vertex indices from a table {1-based iBUG number: vertex}; -1 where absent or out of range."""
    landmarks = np.full(LANDMARKS, -1, np.int32)
    for number, vertex in table.items():
        if number.isdecimal() and 1 <= int(number) <= LANDMARKS and 0 <= vertex < vertices:
            landmarks[int(number) - 1] = vertex
    return landmarks


def frame_origin(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Centroid (3,) float64 of the known landmarks 17..67 (0-based); of all vertices when none is known."""
    known = landmarks[INNER][landmarks[INNER] >= 0]
    return np.asarray(vertices[known] if len(known) else vertices, np.float64).mean(0)


def triangle_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(T, 3) float64 normals whose length is twice the triangle's area."""
    a, b, c = (np.asarray(vertices, np.float64)[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(N, 3) float64 unit normals, area-weighted over adjacent triangles; zero for vertices without a triangle."""
    facet = triangle_normals(vertices, triangles)
    normals = np.empty((len(vertices), 3))
    for axis in range(3):
        weights = np.repeat(facet[:, axis], 3)
        normals[:, axis] = np.bincount(triangles.ravel(), weights, minlength=len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 1e-12)


def outward(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """`triangles` with their winding reversed as a whole where most of the surface faces inwards.

    The files differ: the Basel and Surrey models do not state a winding. Works for open face masks and closed heads,
    because both bulge away from their centroid.
    """
    centres = np.asarray(vertices, np.float64)[triangles].mean(1)
    facing = np.einsum("ij,ij->", triangle_normals(vertices, triangles), centres - centres.mean(0))
    return triangles if facing >= 0 else np.ascontiguousarray(triangles[:, ::-1])


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Linear light from sRGB-encoded values in [0, 1] (IEC 61966-2-1); float64, same shape."""
    colour = np.clip(np.asarray(colour, np.float64), 0, 1)
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def linear_albedo(mean_srgb: np.ndarray, basis_srgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Albedo mean (N, 3) and basis (K, N, 3) float32 in linear light from an sRGB colour model in [0, 1].

    The encoding is not linear, so the basis is carried over to first order: multiplied by the slope of the transfer
    curve at the mean. Within one standard deviation of a skin colour this errs by a few percent.
    """
    mean = srgb_to_linear(mean_srgb)
    encoded = np.clip(np.asarray(mean_srgb, np.float64), 0, 1)
    slope = np.where(encoded <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((encoded + 0.055) / 1.055) ** 1.4)
    return mean.astype(np.float32), basis_srgb.astype(np.float32) * slope.astype(np.float32)
