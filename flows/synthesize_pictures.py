"""Pictures of a synthesized face: the detailed mesh beside the plain one, from all sides, and the photo re-rendered."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..model.detailed_mesh import DetailedMesh
from ..reconstruct.face_model import FACE_REGIONS, FaceModel
from ..reconstruct.harmonic_light import HarmonicLight
from ..reconstruct.image_raster import rasterize_image
from ..reconstruct.landmarks import Landmarks, landmarks_from_points
from ..reconstruct.photo import encoded_srgb
from ..reconstruct.proxy_camera import FaceCamera
from ..reconstruct.proxy_files import ProxyResult
from ..reconstruct.proxy_fit import Proxy
from ..reconstruct.uv_raster import interpolate
from ..reconstruct.uv_render import render_texture
from .pictures import relief
from .proxy_pictures import View, face_view

VIEW_PX = 1200
TURNS_DEG = (-50, -25, 0, 25, 50)


@dataclass(frozen=True, eq=False)
class FaceInPhoto:
    """A finished proxy before its photograph."""

    proxy: Proxy
    landmarks: Landmarks
    view: View


def face_in_photo(photo_srgb: np.ndarray, result: ProxyResult, model: FaceModel) -> FaceInPhoto:
    """Camera, shape and landmarks of a proxy's folder, and the part of the photograph (H, W, 3) they are in."""
    content = result.content
    points = [[np.nan, np.nan] if p is None else p for p in content["landmarks"]["points_px"]]
    landmarks = landmarks_from_points(np.array(points, np.float64), str(content["landmarks"]["source"]))
    residuals = [np.nan if value is None else value for value in content["landmarks"]["residuals_px"]]
    pose, camera = content["pose_deg"], result.view_camera
    proxy = Proxy(
        model, result.alpha, result.beta, result.camera, result.vertices_mm(model), np.array(residuals, np.float64),
        result.confidence, (pose["yaw"], pose["pitch"], pose["roll"]), tuple(content["warnings"]),
        perspective=camera if isinstance(camera, FaceCamera) else None,
    )  # fmt: skip
    return FaceInPhoto(proxy, landmarks, face_view(photo_srgb, proxy, landmarks, VIEW_PX))


def shaded(face: FaceInPhoto, mesh: DetailedMesh, *, detailed: bool) -> np.ndarray:
    """(h, w, 3) uint8: the mesh as clay in the photograph's view, with its detail or as the smooth base."""
    camera, view = face.proxy.view_camera, face.view
    vertices = mesh.vertices_mm if detailed else mesh.base.vertices_mm
    normals = mesh.normals if detailed else mesh.base_normals
    near = face.proxy.perspective is not None
    height, width = view.raster.triangle.shape
    pixels = view.place(camera.project(vertices))
    return _clay(pixels, camera.depth(vertices), mesh, normals @ camera.rotation.T, (width, height), near)


def turned(mesh: DetailedMesh, yaw_deg: float, *, detailed: bool = True, width_px: int = 420) -> np.ndarray:
    """(h, w, 3) uint8: the face as clay, turned by `yaw_deg` about the vertical."""
    yaw = np.deg2rad(yaw_deg)
    cam_from_model = np.array(
        [[np.cos(yaw), 0, np.sin(yaw)], [0, -1, 0], [np.sin(yaw), 0, -np.cos(yaw)]]
    )  # x right, y down, z forward
    vertices = (mesh.vertices_mm if detailed else mesh.base.vertices_mm) @ cam_from_model.T
    normals = (mesh.normals if detailed else mesh.base_normals) @ cam_from_model.T
    face = vertices[np.isin(mesh.regions, FACE_REGIONS)]
    low, high = face.min(0) - 8, face.max(0) + 8
    scale = width_px / float(high[0] - low[0])
    pixels = (vertices[:, :2] - low[:2]) * scale - 0.5
    height_px = max(round(float(high[1] - low[1]) * scale), 1)
    return _clay(pixels, vertices[:, 2], mesh, normals, (width_px, height_px), False)


def relit_photo(face: FaceInPhoto, albedo_linear: np.ndarray, normals: np.ndarray, light: HarmonicLight) -> np.ndarray:
    """(h, w, 3) uint8: albedo times shading (Eq. 14) over the photograph.

    albedo_linear, normals: (S, S, 3) in the charts, the latter in the model's frame.
    """
    view, model = face.view, face.proxy.model
    seen = view.raster.valid
    directions = render_texture(normals, view.raster, model)[seen]
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
    linear = render_texture(albedo_linear, view.raster, model)[seen] * light.shading(directions)
    picture = view.photo.copy()
    picture[seen] = encoded_srgb(np.clip(linear, 0, 1))
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def read_albedo(folder: Path, result: ProxyResult, size: int) -> np.ndarray:
    """(size, size, 3) float32 linear albedo of a proxy's folder. Raises UserError when it is missing or damaged."""
    units = cv2.imread(str(folder / "albedo.png"), cv2.IMREAD_UNCHANGED)
    if units is None or units.dtype != np.uint16 or units.ndim != 3:
        raise UserError(f"{folder}/albedo.png: is missing or damaged; run `mesoface proxy` again")
    scale = np.float32(result.content["maps"]["albedo"]["per_unit"])
    albedo = np.ascontiguousarray(units[..., ::-1]).astype(np.float32) * scale
    return albedo if len(albedo) == size else cv2.resize(albedo, (size, size), interpolation=cv2.INTER_AREA)


def _clay(
    pixels: np.ndarray, depth: np.ndarray, mesh: DetailedMesh, normals: np.ndarray, size: tuple[int, int], near: bool
) -> np.ndarray:
    raster = rasterize_image(pixels, depth, mesh.base.triangles, *size, perspective=near)
    seen = interpolate(raster, mesh.base.triangles, normals)
    seen /= np.maximum(np.linalg.norm(seen, axis=2, keepdims=True), 1e-9)
    seen[~raster.valid] = np.nan
    return relief(seen)
