"""A 3D view inside of a report: one mesh, quantised, with its textures and a small viewer of our own (WebGL 2)."""

import base64
import json
from importlib.resources import files

import cv2
import numpy as np

from ..model.detailed_mesh import DetailedMesh
from ..reconstruct.face_model import FACE_REGIONS

TEXTURE_PX = 1024
HIDDEN_HEIGHT = 1.25
"""The view is this much higher than the face."""
_PAGE = """<div class="viewer">
<canvas style="width:100%;height:620px;touch-action:none;cursor:grab;border-radius:3px;background:#222"></canvas>
<p><label><input type="checkbox" name="detailed" checked> skin detail</label>
<label style="margin-left:1.5rem"><input type="checkbox" name="textured"> texture</label>
<label style="margin-left:1.5rem">light <input type="range" name="light" min="0" max="100" value="15"></label>
<span style="margin-left:1.5rem;color:#444">drag to turn, wheel to come closer</span>
<span class="message" style="margin-left:1.5rem;color:#a00"></span></p>
<script type="application/json">%DATA%</script>
<script>%SCRIPT%</script>
</div>"""


def mesh_viewer(mesh: DetailedMesh, texture_srgb: np.ndarray, normal_rgb: np.ndarray) -> str:
    """HTML of an interactive view.

    mesh: of 2 mm edges or so, its displaced vertices carry the smooth base's normals, to which the normal map adds the
    detail. texture_srgb, normal_rgb: (S, S, 3) uint8 in the charts; reduced to 1024 texels.
    """
    base = mesh.base
    keys = base.triangles.astype(np.int64).ravel() * len(base.uv) + base.uv_triangles.ravel()
    unique, corner = np.unique(keys, return_inverse=True)
    vertex, place = unique // len(base.uv), unique % len(base.uv)
    points = mesh.vertices_mm[vertex]
    low, high = points.min(0), points.max(0)
    positions = np.zeros((len(points), 4), "<u2")  # four, so that rows start at multiples of four bytes
    positions[:, :3] = np.rint((points - low) / np.maximum(high - low, 1e-6) * 65535)
    normals = np.zeros((len(points), 4), "i1")
    normals[:, :3] = np.rint(mesh.base_normals[vertex] * 127)
    uv = np.clip(base.uv[place].astype(np.float64), 0, 1)
    uvs = np.rint(np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * 65535).astype("<u2")
    face = mesh.base.vertices_mm[np.isin(mesh.regions, FACE_REGIONS)]
    face = face if len(face) else points
    data = {
        "positions": _text(positions.tobytes()),
        "normals": _text(normals.tobytes()),
        "uvs": _text(uvs.tobytes()),
        "triangles": _text(corner.reshape(-1, 3).astype("<u4").tobytes()),
        "low": low.tolist(),
        "span": (high - low).tolist(),
        "middle": ((face.min(0) + face.max(0)) / 2).tolist(),
        "height_mm": HIDDEN_HEIGHT * float(np.ptp(face[:, 1])),
        "colour": _picture(texture_srgb, 88),
        "bumps": _picture(normal_rgb, 95),
    }
    script = (files("mesoface.flows") / "tables" / "mesh_viewer.js").read_text(encoding="utf-8")
    return _PAGE.replace("%SCRIPT%", script).replace("%DATA%", json.dumps(data, separators=(",", ":")))


def _picture(image: np.ndarray, quality: int) -> str:
    side = min(TEXTURE_PX, len(image))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    made, data = cv2.imencode(
        ".jpg",
        np.ascontiguousarray(small[..., ::-1]),
        [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    )
    if not made:
        raise OSError("cannot encode a JPEG")
    return "data:image/jpeg;base64," + _text(data.tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
