"""Views for stereo tests: textured planes and spheres seen by five cameras, uniform views of a rendered scan."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from mesoface.capture.camera_model import PinholeCamera, look_at
from mesoface.capture.colmap_text import read_colmap_text
from mesoface.capture.image_files import read_tiff
from mesoface.reconstruct.stereo_mask import foreground_mask, grey_image
from mesoface.reconstruct.stereo_types import (
    DenseStereo,
    DepthMap,
    MergedDepth,
    StereoView,
    ViewAgreement,
    WorkingVolume,
)

DISTANCE_MM = 950.0
FOCAL_PX = 3363.0
"""0.28 mm/px, as of the real rig at 1500x1000."""
DIRECTIONS = {"left2": (-35, 0), "left1": (-17.5, -12), "centre": (0, 0), "right1": (17.5, 12), "right2": (35, 0)}
VOLUME = WorkingVolume(extent_mm=(60.0, 60.0, 40.0), margin_mm=10.0)
PATCH_MM = 23.0
Surface = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(origin (3,), directions (N, 3)) -> distance along them (N,) with NaN beside the surface, normals (N, 3)."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A view with its truth."""

    view: StereoView
    depth_mm: np.ndarray
    normal_cam: np.ndarray
    face: np.ndarray
    """(H, W) bool: where accuracy is asked for."""
    linear: np.ndarray


def plane(normal: tuple[float, float, float]) -> Surface:
    """A disc of PATCH_MM radius around the origin, facing `normal`."""
    facing = np.asarray(normal, float) / np.linalg.norm(normal)

    def hit(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = -(origin @ facing) / (directions @ facing)
        far = np.linalg.norm(origin + directions * distance[:, None], axis=1) > PATCH_MM
        return np.where(far, np.nan, distance), np.broadcast_to(facing, directions.shape)

    return hit


def sphere(radius_mm: float = 45.0) -> Surface:
    """The cap of a sphere that touches the origin, facing the centre camera."""
    middle = np.array([0.0, 0.0, -radius_mm])

    def hit(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        along = unit @ (middle - origin)
        with np.errstate(invalid="ignore"):
            near = along - np.sqrt(along**2 - ((middle - origin) ** 2).sum() + radius_mm**2)
        points = origin + unit * near[:, None]
        inside = np.hypot(points[:, 0], points[:, 1]) < PATCH_MM
        distance = near / np.linalg.norm(directions, axis=1)
        return np.where(inside, distance, np.nan), (points - middle) / radius_mm

    return hit


def camera(name: str, width_px: int = 200, height_px: int = 200) -> PinholeCamera:
    """One of DIRECTIONS (azimuth, elevation in degrees); the principal point is not the middle."""
    azimuth, elevation = np.radians(DIRECTIONS[name])
    place = DISTANCE_MM * np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    pose = look_at(place, np.zeros(3))
    return PinholeCamera(
        width_px, height_px, FOCAL_PX, FOCAL_PX, (width_px - 1) / 2 + 3.3, (height_px - 1) / 2 - 2.6, pose
    )


def seen(
    surface: Surface,
    *,
    contrast: float = 0.15,
    noise: float = 0.004,
    size_px: tuple[int, int] = (200, 200),
    seed: int = 1,
) -> dict[str, Seen]:
    """Five views of a surface with a solid random texture of about 2 px and coarser, black around it."""
    rng = np.random.default_rng(seed)
    fine = gaussian_filter(rng.standard_normal((64, 64, 64)), 0.8, mode="wrap")
    fine /= fine.std()
    made = {}
    for name in DIRECTIONS:
        view_camera = camera(name, *size_px)
        columns, rows = view_camera.normalised_grid()
        rays = np.dstack([*np.meshgrid(columns, rows), np.ones((len(rows), len(columns)))]).reshape(-1, 3)
        rotation = view_camera.cam_from_world.rotation
        depth, normals = surface(view_camera.centre_mm, rays @ rotation)
        points = view_camera.centre_mm + (rays @ rotation) * np.nan_to_num(depth)[:, None]
        texture = sum(
            weight * map_coordinates(fine, (points / step_mm).T, order=1, mode="grid-wrap")
            for weight, step_mm in ((0.8, 0.5), (0.6, 2.0))
        )
        there = np.isfinite(depth)
        light = np.where(there, 0.5 * (1 + contrast * texture), 0) + noise * rng.standard_normal(len(depth))
        shape = (view_camera.height_px, view_camera.width_px)
        image, mask = np.clip(light, 0, 1).astype(np.float32).reshape(shape), there.reshape(shape)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        normal_cam = np.where(there[:, None], normals @ rotation.T, np.nan).reshape(*shape, 3).astype(np.float32)
        made[name] = Seen(
            StereoView(name, image, view_camera, mask),
            np.where(there, depth, np.nan).reshape(shape).astype(np.float32), normal_cam, inner, image,
        )  # fmt: skip
    return made


def views(scene: dict[str, Seen]) -> list[StereoView]:
    return [one.view for one in scene.values()]


def exact_stereo(scene: dict[str, Seen], centre: str = "centre") -> DenseStereo:
    """What perfect stereo would have found."""
    maps = {}
    for name, one in scene.items():
        there = np.isfinite(one.depth_mm)
        score = np.where(there, 0.9, 0).astype(np.float32)
        maps[name] = DepthMap(one.depth_mm, score, np.where(there, 4, 0).astype(np.uint8), one.normal_cam, there)
    own = maps[centre]
    merged = MergedDepth(own.depth_mm.copy(), np.where(own.kept, 5, 0).astype(np.uint8))
    agreement = {name: ViewAgreement(1.0, 1.0) for name in scene}
    return DenseStereo(maps, {name: one.view.camera for name, one in scene.items()}, centre, merged, agreement, 3.0)


def off_by(depth_mm: np.ndarray, truth: Seen) -> np.ndarray:
    """Signed errors over the face, 99 mm where there is no depth."""
    error = (depth_mm - truth.depth_mm)[truth.face]
    return np.where(np.isfinite(error), error, 99.0)


def read_uniform_views(folder: Path) -> dict[str, Seen]:
    """The uniform views of a scan that the virtual studio rendered."""
    gains = json.loads((folder / "cameras.json").read_text())["cameras"]
    scene = {}
    for file_name, view_camera in read_colmap_text(folder / "truth/colmap").items():
        numbers, facts = read_tiff(folder / "images" / file_name)
        name = facts["camera"]
        span = (facts["white_level"] - facts["black_level"]) * gains[name]["exposure_gain"]
        linear = ((numbers.astype(np.float32) - facts["black_level"]) / span).astype(np.float32)
        mask = foreground_mask(linear)
        face = cv2.imread(str(folder / f"truth/{name}/mask_face.png"), cv2.IMREAD_GRAYSCALE)
        assert face is not None
        scene[name] = Seen(
            StereoView(name, grey_image(linear, mask), view_camera, mask),
            read_tiff(folder / f"truth/{name}/depth_mm.tif")[0],
            read_tiff(folder / f"truth/{name}/normal_cam.tif")[0],
            face > 0,
            linear,
        )
    return scene
