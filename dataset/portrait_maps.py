"""A rendered portrait in the charts of its face model, with the true displacement: held-out pictures to judge by.

With the true proxy (the head's own mesh and camera) or an estimated one (`mesoface proxy`): then picture and truth are
looked up at the same pixels, so that what is judged is the detail, not the correspondence.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from ..capture.rigid import RigidTransform
from ..reconstruct.expressions import activations_of
from ..reconstruct.face_frame import srgb_to_linear
from ..reconstruct.face_model import FaceModel
from ..reconstruct.head import subject_coefficients
from ..reconstruct.portrait import MANIFEST
from ..reconstruct.proxy_camera import FaceCamera
from ..reconstruct.proxy_files import read_proxy
from ..reconstruct.uv_charts import UvCharts, normal_map, position_map
from ..reconstruct.uv_unwrap import UnwrapOptions, unwrap
from .face_areas import SKIN_REGIONS, region_map
from .uv_maps import FaceSource, UvMaps, texel_length_mm
from .virtual_faces import LICENCE

LEAST_FACING = 0.35


@dataclass(frozen=True, slots=True)
class PortraitFiles:
    """What of a folder of `mesoface studio portrait` is needed here."""

    folder: Path
    content: dict[str, Any]
    camera: PinholeCamera

    @property
    def name(self) -> str:
        """With the yaw, so that an evaluation can be sorted by it."""
        return f"{self.folder.name}_yaw{self.content['yaw_deg']:+.0f}"


def open_portrait(folder: str | Path) -> PortraitFiles:
    """Raises UserError for a folder that is no finished portrait."""
    folder = Path(folder)
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["content"]
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        pose = RigidTransform(
            np.array(truth["rotation_cam_from_world"]), np.array(truth["translation_mm_cam_from_world"])
        )
        camera = PinholeCamera(
            content["width_px"], content["height_px"], truth["fx_px"], truth["fy_px"], truth["cx_px"],
            truth["cy_px"], pose,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: expected a finished folder of `mesoface studio portrait`, found none ({error})"
        ) from None
    return PortraitFiles(folder, content, camera)


def portrait_maps(portrait: PortraitFiles, model: FaceModel, charts: UvCharts, *, proxy: Path | None = None) -> UvMaps:
    """Maps of a portrait with its true displacement. proxy: folder of `mesoface proxy` for it; None: the true one.

    Raises UserError when the portrait shows another face model, or the proxy is of another picture.
    """
    if portrait.content["face_model"] != "procedural" and proxy is None:
        raise UserError(f"{portrait.folder}: rendered with another face model than procedural; give proxies")
    picture = cv2.imread(str(portrait.folder / "portrait.png"), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{portrait.folder}/portrait.png: is missing or damaged; render it again")
    height = read_tiff(portrait.folder / "displacement_mm.tif")[0]
    known = np.isfinite(height)
    layers = np.dstack(
        [srgb_to_linear(picture[..., ::-1] / 255.0), np.where(known, height, 0), known]
    ).astype(np.float32)  # fmt: skip
    if proxy is None:
        alpha, _, _ = subject_coefficients(model, int(portrait.content["subject"]))
        vertices = model.shape_mm(alpha, model.beta_from_units(activations_of(portrait.content["expression"])))
        camera = portrait.camera
        project, depth, near = (lambda p: camera.project(p)[0]), (lambda p: camera.project(p)[1]), True
    else:
        fitted = read_proxy(proxy)
        vertices = fitted.vertices_mm(model)
        view = fitted.view_camera
        project, depth, near = view.project, view.depth, isinstance(view, FaceCamera)
    seen = unwrap(
        layers, project, depth, model, vertices, charts.size, charts=charts, perspective=near,
        options=UnwrapOptions(least_facing=LEAST_FACING),
    )  # fmt: skip
    region = region_map(model, charts.size, charts.raster)
    valid = seen.visible & (seen.texture[..., 4] > 0.98) & np.isin(region, [int(r) for r in SKIN_REGIONS])
    if not valid.any():
        raise UserError(f"{portrait.folder}: nothing of the face's skin is seen")
    position, normal = position_map(charts, model, vertices), normal_map(charts, model, vertices)
    subject, expression = f"V{int(portrait.content['subject']):04d}", str(portrait.content["expression"])
    manifest = json.loads((portrait.folder / MANIFEST).read_text(encoding="utf-8"))
    source = FaceSource(
        subject, expression, portrait.name, model.name, LICENCE,
        "portrait rendered by mesoface, " + ("true proxy" if proxy is None else "estimated proxy"),
        str(manifest["files"]["portrait.png"]),
    )  # fmt: skip
    return UvMaps(
        source, seen.texture[..., :3].copy(), np.where(valid, seen.texture[..., 3], 0).astype(np.float32), position,
        normal, valid, region, max(texel_length_mm(position, valid), 1e-6),
    )  # fmt: skip
