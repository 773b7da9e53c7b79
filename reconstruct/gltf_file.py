"""glTF 2.0 in one binary file (.glb): a textured mesh with a normal map, as every viewer and engine reads it.

Lengths become metres, texture coordinates get their origin at the top left, and tangents are written, so that the
normal map means what it says: red along increasing u, green up in the picture, blue along the vertex normal.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.files import write_bytes
from .mesh_refine import TriangleMesh, vertex_normals

MAGIC, VERSION = 0x46546C67, 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT, UNSIGNED_INT = 5126, 5125
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
LINEAR, MIPMAPPED, CLAMP = 9729, 9987, 33071
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
ROUGHNESS = 0.6
"""Of skin, about; the format wants one."""


def write_glb(
    path: str | Path,
    mesh: TriangleMesh,
    *,
    normals: np.ndarray | None = None,
    base_colour: bytes | None = None,
    normal_map: bytes | None = None,
    name: str = "face",
    extras: dict[str, Any] | None = None,
) -> None:
    """Write a mesh (mm) with PNG or JPEG textures, atomically.

    Args:
        mesh: vertices appear once per texture coordinate in the file.
        normals: (N, 3) unit, what light and `normal_map` refer to; None: those of the mesh.
        base_colour: sRGB picture, an encoded file's bytes; normal_map: as `detailed_mesh.normal_colours`, likewise.
        extras: further facts for the file's `asset.extras`, JSON values.
    Raises ValueError for a picture that is neither PNG nor JPEG.
    """
    normals = vertex_normals(mesh.vertices_mm, mesh.triangles) if normals is None else normals
    keys = mesh.triangles.astype(np.int64).ravel() * len(mesh.uv) + mesh.uv_triangles.ravel()
    unique, corner = np.unique(keys, return_inverse=True)
    vertex, place = unique // len(mesh.uv), unique % len(mesh.uv)
    uv = mesh.uv[place].astype(np.float64)
    positions, directions = mesh.vertices_mm[vertex] / 1000, normals[vertex]
    triangles = corner.reshape(-1, 3)
    made = _Binary()
    attributes = {
        "POSITION": made.accessor(positions.astype("<f4"), VERTEX_BUFFER, bounds=True),
        "NORMAL": made.accessor(directions.astype("<f4"), VERTEX_BUFFER),
        "TANGENT": made.accessor(tangents(positions, directions, uv, triangles).astype("<f4"), VERTEX_BUFFER),
        "TEXCOORD_0": made.accessor(np.stack([uv[:, 0], 1 - uv[:, 1]], 1).astype("<f4"), VERTEX_BUFFER),
    }
    indices = made.accessor(triangles.reshape(-1).astype("<u4"), INDEX_BUFFER)
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": surface}
    textures: list[dict[str, int]] = []
    images: list[dict[str, Any]] = []
    for label, data in (("base colour", base_colour), ("normals", normal_map)):
        if data is None:
            continue
        images.append({"name": label, "bufferView": made.view(data), "mimeType": _picture_kind(data)})
        textures.append({"source": len(images) - 1, "sampler": 0})
        if label == "normals":
            material["normalTexture"] = {"index": len(textures) - 1}
        else:
            surface["baseColorTexture"] = {"index": len(textures) - 1}
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "mesoface", **({"extras": extras} if extras else {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [material],
        "accessors": made.accessors,
        "bufferViews": made.views,
        "buffers": [{"byteLength": len(made.data)}],
    }
    if images:
        sampler = {"magFilter": LINEAR, "minFilter": MIPMAPPED, "wrapS": CLAMP, "wrapT": CLAMP}
        content |= {"images": images, "textures": textures, "samplers": [sampler]}
    write_bytes(path, _glb(content, bytes(made.data)))


def tangents(positions: np.ndarray, normals: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(N, 4) float64: unit direction of increasing u, perpendicular to the normal, and w = +1, -1 in mirrored charts.

    uv: (N, 2), origin bottom-left; w normal x tangent is then the direction of increasing v.
    """
    corner, place = positions[triangles], uv[triangles]
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    one, two = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
    area = one[:, 0] * two[:, 1] - two[:, 0] * one[:, 1]
    # times the area, so that every triangle counts by its size in the charts and slivers do no harm
    turn = np.sign(area)[:, None]
    along = turn * (first * two[:, 1:] - second * one[:, 1:])
    upwards = turn * (second * one[:, :1] - first * two[:, :1])
    total = np.zeros((2, len(positions), 3))
    for target, values in zip(total, (along, upwards), strict=True):
        for axis in range(3):
            target[:, axis] = np.bincount(triangles.ravel(), np.repeat(values[:, axis], 3), len(positions))
    flat = total[0] - (total[0] * normals).sum(1, keepdims=True) * normals
    length = np.linalg.norm(flat, axis=1)
    # a vertex without texture area gets any direction across its normal
    spare = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    flat = np.where(length[:, None] > 1e-12, flat, spare)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
    side = (np.cross(normals, flat) * total[1]).sum(1)
    return np.concatenate([flat, np.where(side < 0, -1.0, 1.0)[:, None]], 1)


class _Binary:
    """The binary chunk as it grows, every view at a multiple of four bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(entry if target is None else {**entry, "target": target})
        self.data += data
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, target: int, *, bounds: bool = False) -> int:
        kind = KINDS[values.shape[1] if values.ndim == 2 else 1]
        entry: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes(), target),
            "componentType": FLOAT if values.dtype.kind == "f" else UNSIGNED_INT,
            "count": len(values),
            "type": kind,
        }
        if bounds:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def _glb(content: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    return struct.pack("<III", MAGIC, VERSION, 12 + len(chunks)) + chunks


def _picture_kind(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    raise ValueError("a texture of a .glb file is PNG or JPEG")
