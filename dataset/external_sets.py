"""Faces of other people's sets: a mesh with a displacement map in its own UV, or a base and a detailed mesh.

They come with scale and unit of their own, which the caller must state; here they become millimetres in the texture
space of a face model. The mesh is treated as a scan whose depth is exact: five virtual cameras look at it, its 68
landmarks are projected into them, and the face model is fitted and laid onto it as for a scan (uv_registration.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.image_files import read_tiff
from ..capture.rigid import look_at
from ..reconstruct.displacement import FULL_BAND
from ..reconstruct.face_frame import srgb_to_linear
from ..reconstruct.face_model import FaceModel
from ..reconstruct.image_raster import ImageRaster, rasterize_image
from ..reconstruct.landmarks import COUNT, Landmarks
from ..reconstruct.mesh_refine import vertex_normals
from ..reconstruct.proxy_refine import RefineOptions
from ..reconstruct.uv_charts import UvCharts
from ..reconstruct.uv_raster import interpolate, sample_uv
from .uv_maps import FaceSource
from .uv_registration import Registration, RegistrationOptions, ScanViews, register_scan

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
DISTANCE_MM, FOCAL_MM_PER_MM = 1200.0, 5.0
VIEWS_DEG = {"centre": (0, 0), "left": (30, 0), "right": (-30, 0), "up": (0, 25), "down": (0, -20)}
SIDE_PX = 2000
EXACT = RefineOptions(cutoffs_mm=(100.0, 50.0, 25.0, 15.0, 10.0), lowpass_sigma_mm=0.0)
"""A mesh's depth has no noise, so the face model may follow it closely."""


@dataclass(frozen=True, eq=False)
class ExternalFace:
    """A face as it came, in millimetres; the frame is anyone's, the face's own landmarks tell it."""

    vertices_mm: np.ndarray
    """(N, 3) float64."""
    triangles: np.ndarray
    """(T, 3) int."""
    uv: np.ndarray
    """(U, 2) float, origin bottom-left; may be empty when there are no maps."""
    uv_triangles: np.ndarray
    landmarks_mm: np.ndarray
    """(68, 3) float64, iBUG order; NaN where unknown."""
    displacement_mm: np.ndarray | None = None
    """(S, S) float32 in the mesh's UV, along its normals."""
    detailed_mm: np.ndarray | None = None
    """(N, 3) float64: the detailed mesh, vertex by vertex beside the base."""
    texture_linear: np.ndarray | None = None
    """(S, S, 3) float32 in the mesh's UV."""

    def __post_init__(self) -> None:
        if (self.displacement_mm is None) == (self.detailed_mm is None):
            raise ValueError("an external face has either a displacement map or a detailed mesh")
        if self.detailed_mm is not None and self.detailed_mm.shape != self.vertices_mm.shape:
            raise ValueError(f"detailed mesh {self.detailed_mm.shape}, base {self.vertices_mm.shape}")


def register_external(
    model: FaceModel,
    face: ExternalFace,
    source: FaceSource,
    options: RegistrationOptions | None = None,
    *,
    charts: UvCharts | None = None,
) -> Registration:
    """Maps of an external face in the texture space of `model`.

    The displacement is that of the set, above the set's own base mesh: nothing is taken off.
    Raises UserError when landmarks are missing, or the face model cannot be laid onto the mesh.
    """
    options = options or RegistrationOptions()
    options = replace(options, less_proxy=False, refine=EXACT)
    upright = _upright(face)
    cameras = {name: _camera(*angles) for name, angles in VIEWS_DEG.items()}
    known = np.asarray(np.isfinite(upright.landmarks_mm).all(1))
    landmarks = {}
    for name, camera in cameras.items():
        pixels, _ = camera.project(np.nan_to_num(upright.landmarks_mm))
        pixels[~known] = np.nan
        landmarks[name] = Landmarks(pixels, known.astype(np.float64), "of the mesh")
    camera = cameras["centre"]
    raster = _seen(camera, upright.vertices_mm, upright.triangles)
    there = raster.valid
    depth = np.where(there, raster.depth, np.nan).astype(np.float32)
    height = _height(upright, raster)
    texture = np.full((*there.shape, 3), 0.5, np.float32)
    if upright.texture_linear is not None:
        texture = _looked_up(upright, raster, upright.texture_linear)
    height = np.where(there, height, np.nan).astype(np.float32)
    sure = there.astype(np.float32)
    outward = vertex_normals(upright.vertices_mm, upright.triangles) @ camera.cam_from_world.rotation.T
    normals = np.where(there[..., None], interpolate(raster, upright.triangles, outward), np.nan).astype(np.float32)
    views = ScanViews(cameras, "centre", landmarks, sure, height, there, sure, texture, depth, FULL_BAND, normals)
    return register_scan(model, views, source, options, charts=charts)


def read_displacement_map(path: str | Path, *, mm_at_white: float, mm_at_black: float) -> np.ndarray:
    """(S, S) float32 mm of a grey 8 or 16-bit picture, or a float TIFF (then the two numbers are those of 1 and 0).

    FaceScape's maps: 16 bits, black -0.914 mm, white +0.914 mm. Raises UserError for other pictures.
    """
    path = Path(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        image = read_tiff(path)[0]
    else:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise UserError(f"{path}: is missing or no picture; expected a 16-bit PNG or a TIFF")
    if image.ndim == 3:
        if np.ptp(image[..., :3].astype(np.int64), axis=2).any():
            raise UserError(f"{path}: has colours; a displacement map is grey")
        image = image[..., 0]
    if image.dtype == np.uint8:
        raise UserError(
            f"{path}: has 8 bits, a step of {(mm_at_white - mm_at_black) / 255:.4f} mm; give the 16-bit map"
        )
    if image.shape[0] != image.shape[1]:
        raise UserError(f"{path}: is {image.shape[1]} x {image.shape[0]}; a displacement map is square")
    share = image.astype(np.float32) / (65535 if image.dtype == np.uint16 else 1)
    return (mm_at_black + share * (mm_at_white - mm_at_black)).astype(np.float32)


def read_texture(path: str | Path) -> np.ndarray:
    """(S, S, 3) float32 linear of an sRGB picture. Raises UserError when it cannot be read or is not square."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or image.shape[0] != image.shape[1]:
        raise UserError(f"{path}: is missing, no picture, or not square")
    return srgb_to_linear(image[..., ::-1].astype(np.float32) / 255).astype(np.float32)


def _upright(face: ExternalFace) -> ExternalFace:
    """The face turned and moved into the frame of face models, by its landmarks: eyes level, looking along z."""
    points = face.landmarks_mm
    known = np.asarray(np.isfinite(points).all(1))
    if known.sum() < COUNT // 2 or not known[[36, 45, 48, 54, 30]].all():
        raise UserError(
            f"{int(known.sum())} of 68 landmarks known; at least half are needed, among them the outer eye corners "
            "(37, 46), the mouth corners (49, 55) and the tip of the nose (31)"
        )
    right, left = points[36], points[45]
    mouth = (points[48] + points[54]) / 2
    across = left - right
    if not 40 < np.linalg.norm(across) < 160:
        raise UserError(
            f"the outer eye corners are {np.linalg.norm(across):.1f} mm apart, people have about 90: is the unit right?"
        )
    x = across / np.linalg.norm(across)
    up = (right + left) / 2 - mouth
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    rotation = np.stack([x, y, np.cross(x, y)])
    origin = np.nanmean(points[17:], axis=0)

    def moved(values: np.ndarray) -> np.ndarray:
        return (values - origin) @ rotation.T

    detailed = None if face.detailed_mm is None else moved(face.detailed_mm)
    return ExternalFace(
        moved(face.vertices_mm), face.triangles, face.uv, face.uv_triangles, moved(points), face.displacement_mm,
        detailed, face.texture_linear,
    )  # fmt: skip


def _camera(yaw_deg: float, pitch_deg: float) -> PinholeCamera:
    yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(pitch_deg)
    direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    pose = look_at(DISTANCE_MM * direction, np.zeros(3))
    focal_px = FOCAL_MM_PER_MM * SIDE_PX  # 0.12 mm per pixel on the face
    return PinholeCamera(SIDE_PX, SIDE_PX, focal_px, focal_px, (SIDE_PX - 1) / 2, (SIDE_PX - 1) / 2, pose)


def _seen(camera: PinholeCamera, vertices_mm: np.ndarray, triangles: np.ndarray) -> ImageRaster:
    pixels, depth = camera.project(vertices_mm)
    return rasterize_image(pixels, depth, triangles, SIDE_PX, SIDE_PX, perspective=True)


def _height(face: ExternalFace, raster: ImageRaster) -> np.ndarray:
    """(H, W) float32 mm along the base's normal at every pixel."""
    if face.detailed_mm is not None:
        normals = vertex_normals(face.vertices_mm, face.triangles)
        signed = ((face.detailed_mm - face.vertices_mm) * normals).sum(1)
        return interpolate(raster, face.triangles, signed)[..., 0]
    assert face.displacement_mm is not None
    return _looked_up(face, raster, face.displacement_mm[..., None])[..., 0]


def _looked_up(face: ExternalFace, raster: ImageRaster, image: np.ndarray) -> np.ndarray:
    """(H, W, C) float32: a map in the mesh's UV at every pixel."""
    if not len(face.uv):
        raise UserError("the mesh has no texture coordinates, so its maps cannot be placed; give an OBJ with vt lines")
    uv = interpolate(raster, face.uv_triangles, face.uv)
    values = sample_uv(image, uv.reshape(-1, 2).astype(np.float64))
    return values.reshape(*raster.triangle.shape, -1)
