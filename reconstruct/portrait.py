"""Portraits: a virtual head under environment light from a free viewpoint, with truth; a stand-in for photographs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json, write_json
from ..capture.image_files import srgb_from_linear, write_png, write_tiff
from ..capture.rigid import RigidTransform, look_at
from .environment import background, make_environment
from .face_load import load_face_model
from .head import VirtualHead, build_head
from .mesh_files import write_mesh
from .mitsuba_engine import use_variant
from .mitsuba_scene import StudioScene, surface_data
from .studio_light import View, environment_components, make_view
from .studio_options import StudioOptions
from .truth import ViewTruth, view_truth

SENSOR_HEIGHT_MM = 24.0
MANIFEST = "portrait.json"


@dataclass(frozen=True, slots=True)
class PortraitOptions:
    """Everything that decides a portrait's pixels."""

    width_px: int = 640
    height_px: int = 800
    subject: int = 1
    expression: str = "neutral"
    face_model: str = "procedural"
    seed: int = 0
    """Seed of the surroundings and the noise."""
    yaw_deg: float = 0.0
    """Turn of the camera around the head; positive: the camera stands to the subject's left."""
    pitch_deg: float = 0.0
    """Positive: the camera looks from above."""
    roll_deg: float = 0.0
    distance_mm: float = 1200.0
    focal_mm: float = 85.0
    """Lens on a 24 mm high sensor."""
    samples: int = 32
    engine: Literal["scalar", "llvm"] = "scalar"

    def __post_init__(self) -> None:
        limits = (
            ("width_px", 64, 8000),
            ("height_px", 64, 8000),
            ("yaw_deg", -100, 100),
            ("pitch_deg", -80, 80),
            ("roll_deg", -180, 180),
            ("distance_mm", 250, 20000),
            ("focal_mm", 10, 1000),
            ("samples", 1, 1024),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                raise UserError(f"portrait: {name} is {getattr(self, name)}, allowed are {low} to {high}")

    def camera(self) -> PinholeCamera:
        """The camera, aimed at the face's centre."""
        yaw, pitch = np.deg2rad(self.yaw_deg), np.deg2rad(self.pitch_deg)
        direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        focal_px = self.focal_mm / SENSOR_HEIGHT_MM * self.height_px
        pose = look_at(self.distance_mm * direction, np.array([0.0, 0.0, 0.0]), self.roll_deg)
        return PinholeCamera(
            self.width_px, self.height_px, focal_px, focal_px, (self.width_px - 1) / 2, (self.height_px - 1) / 2, pose
        )


@dataclass(frozen=True, slots=True)
class Portrait:
    """A rendered portrait and its truth."""

    srgb: np.ndarray
    """(H, W, 3) uint8."""
    linear: np.ndarray
    """(H, W, 3) float32, before exposure."""
    environment: np.ndarray
    camera: PinholeCamera
    truth: ViewTruth
    landmarks_px: np.ndarray
    """(68, 2) float64 column, row; NaN where the model lacks one."""
    head: VirtualHead


def make_portrait(options: PortraitOptions, head: VirtualHead | None = None) -> Portrait:
    """Render a portrait (and build its head unless one is given). Raises UserError for an unknown expression."""
    use_variant(options.engine)
    if head is None:
        head = portrait_head(options)
    rng = np.random.Generator(np.random.PCG64([0x9087, options.seed]))
    surroundings = make_environment(rng)
    camera = options.camera()
    mesh = head.base
    scene = StudioScene(
        surface_data(
            head.detailed_mm,
            head.detailed_normals,
            mesh.triangles,
            mesh.uv,
            mesh.uv_triangles,
            head.skin.albedo,
            head.skin.roughness,
        )
    )
    truth = view_truth(camera, scene.triangle_pass(camera), head)
    if not truth.mask_head.any():
        raise UserError("portrait: the head is outside the picture; choose a shorter focal_mm or a larger distance_mm")
    still = RigidTransform(np.eye(3), np.zeros(3))
    view: View = make_view(scene, camera, truth, still, max(4, options.samples // 4))
    light, coverage = environment_components(scene, view, surroundings, options.samples, seed=options.seed)
    linear = light.diffuse + light.specular + background(surroundings, camera) * (1 - coverage[..., None])
    # exposed for the face, as a photographer would: its mean luminance at 28-40 % grey
    grey = linear[truth.mask_face].mean() if truth.mask_face.any() else linear.mean()
    exposed = linear * (rng.uniform(0.28, 0.40) / max(float(grey), 1e-6))
    noisy = exposed + 0.004 * np.sqrt(np.maximum(exposed, 0) + 0.02) * rng.standard_normal(exposed.shape)
    landmarks, _ = camera.project(np.nan_to_num(head.landmarks_mm))
    landmarks[np.isnan(head.landmarks_mm).any(1)] = np.nan
    return Portrait(srgb_from_linear(noisy), linear.astype(np.float32), surroundings, camera, truth, landmarks, head)


def portrait_head(options: PortraitOptions) -> VirtualHead:
    """The head of a portrait, refined to what its size can show."""
    size = StudioOptions(width_px=max(48, options.width_px), height_px=max(32, options.height_px))
    return build_head(
        load_face_model(options.face_model),
        options.subject,
        options.expression,
        edge_mm=size.edge_mm,
        map_size=size.map_size,
    )


def write_portrait(options: PortraitOptions, out: Path) -> Path:
    """Render a portrait into folder `out` with its truth, unless it is there already; returns `out`.

    Raises UserError when `out` holds something else; nothing is overwritten then.
    """
    content = {name: getattr(options, name) for name in options.__dataclass_fields__}
    manifest_path = out / MANIFEST
    if manifest_path.exists():
        try:
            found = json.loads(manifest_path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{manifest_path}: cannot be read ({error}); choose another --out folder") from None
        if found.get("content_hash") != sha256_json(content):
            raise UserError(f"{out}: holds another portrait; choose another --out folder, or remove this one")
        if all((out / n).is_file() and sha256_file(out / n) == h for n, h in found.get("files", {}).items()):
            return out
    elif out.exists() and (not out.is_dir() or any(p for p in out.iterdir() if ".part" not in p.name)):
        raise UserError(f"{out}: is not empty and holds no {MANIFEST}; choose an empty or new --out folder")
    made = make_portrait(options)
    write_png(out / "portrait.png", made.srgb)
    write_tiff(out / "linear.tif", made.linear, encoding="linear")
    write_tiff(out / "environment.tif", made.environment, encoding="linear", layout="latitude-longitude, centre +z")
    write_tiff(out / "depth_mm.tif", made.truth.depth_mm, unit="mm", along="optical axis", outside="NaN")
    write_tiff(out / "normal_cam.tif", made.truth.normal_cam, frame="camera: x right, y down, z forward")
    write_tiff(out / "displacement_mm.tif", made.truth.displacement_mm, unit="mm", along="base normal")
    write_tiff(out / "albedo.tif", made.truth.albedo, encoding="linear")
    write_png(out / "region.png", made.truth.region)
    write_png(out / "mask_face.png", made.truth.mask_face.astype(np.uint8) * 255)
    write_mesh(out / "head.obj", made.head.coarse)
    camera = made.camera
    write_json(
        out / "truth.json",
        {
            "landmarks_px": [None if np.isnan(p).any() else [round(float(x), 4) for x in p] for p in made.landmarks_px],
            "landmarks_mm": [
                None if np.isnan(p).any() else [round(float(x), 4) for x in p] for p in made.head.landmarks_mm
            ],
            "fx_px": camera.fx_px,
            "fy_px": camera.fy_px,
            "cx_px": camera.cx_px,
            "cy_px": camera.cy_px,
            "rotation_cam_from_world": camera.cam_from_world.rotation.tolist(),
            "translation_mm_cam_from_world": camera.cam_from_world.translation_mm.tolist(),
        },
    )
    names = sorted(p.name for p in out.iterdir() if p.is_file() and p.name != MANIFEST and ".part" not in p.name)
    write_json(
        manifest_path,
        {
            "format": "mesoface-portrait",
            "schema_version": 1,
            "content_hash": sha256_json(content),
            "content": content,
            "files": {name: sha256_file(out / name) for name in names},
        },
    )
    return out
