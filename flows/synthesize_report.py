"""Report of a synthesized face: photograph, displacement in mm, meshes beside each other, a view to turn."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..capture.files import write_text
from ..model.detailed_mesh import DetailedMesh, normal_colours
from ..model.synthesis import SkinDetail
from . import html
from .mesh_viewer import mesh_viewer
from .pictures import map_with_scale, shrink
from .proxy_pictures import photo_picture
from .synthesize_pictures import TURNS_DEG, FaceInPhoto, shaded, turned

MAP_PX = 640
LEAST_LIMIT_MM = 0.02


def write_synthesis_report(
    folder: Path,
    name: str,
    face: FaceInPhoto,
    overlay: np.ndarray,
    detail: SkinDetail,
    tangent_space: np.ndarray,
    mesh: DetailedMesh,
    coarse: DetailedMesh,
    relit: tuple[np.ndarray, np.ndarray],
    texture: np.ndarray,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
) -> Path:
    """Write folder/report.html.

    tangent_space: (S, S, 3) normals of the detail; coarse: a mesh of few vertices for the 3D view; relit: the
    photograph re-rendered with the proxy's and with the detailed normals.
    """
    moved = detail.displacement_mm[detail.valid]
    limit_mm = max(float(np.percentile(np.abs(moved), 99)), LEAST_LIMIT_MM)
    shown = np.where(detail.valid, detail.displacement_mm, np.nan)
    parts = [
        html.table(
            [
                *([left, right] for left, right in facts),
                ["displacement", f"{1000 * float(np.sqrt(np.mean(moved**2))):.0f} micrometres rms, "
                                 f"{moved.min():+.2f} to {moved.max():+.2f} mm"],
            ]
        ),
        html.heading("Warnings") + html.table([[text] for text in warnings or ("none",)]),
        html.heading(
            "Photograph and shape", "Both meshes are seen by the photograph's camera, lit from the upper left."
        ),
        html.gallery(
            [
                ("photograph", photo_picture(face.view)),
                ("landmarks and proxy", overlay),
                ("proxy", shaded(face, mesh, detailed=False)),
                ("with skin detail", shaded(face, mesh, detailed=True)),
            ],
            330,
        ),
        html.heading("From all sides"),
        html.gallery([(f"{turn:+d} degrees", turned(mesh, turn)) for turn in TURNS_DEG], 250),
        html.heading(
            "Turn it", "Displaced at 2 mm, finer detail by the normal map. Off: the smooth base's normals alone."
        ),
        mesh_viewer(coarse, texture, normal_colours(tangent_space)),
        html.heading(
            "Maps", "In the texture layout of the face model. Grey: not seen, or no skin; towards it the displacement "
            "fades to 0. Normal map: red along u, green up, blue outward (glTF, OpenGL)."
        ),
        html.gallery(
            [
                ("displacement", map_with_scale(shrink(shown, MAP_PX), "mm", True, limit_mm)),
                ("normal map", shrink(normal_colours(tangent_space), MAP_PX)),
                ("texture", cv2.resize(texture, (MAP_PX, MAP_PX), interpolation=cv2.INTER_AREA)),
            ],
            420,
        ),
        html.heading(
            "Re-rendered",
            "Albedo of the proxy times its estimated light (Eq. 14), with the proxy's normals and with the detailed "
            "ones. Highlights, cast shadow and hair are not in the model.",
        ),
        html.gallery(
            [("photograph", photo_picture(face.view)), ("proxy", relit[0]), ("with skin detail", relit[1])], 420
        ),
    ]  # fmt: skip
    path = folder / "report.html"
    write_text(path, html.page(f"Skin detail of {name}", parts))
    return path
