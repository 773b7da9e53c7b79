"""Self-checks of a rendered scan, from its files alone: do images, maps, cameras and meshes agree?"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from ..capture.camera_model import PinholeCamera
from ..capture.colmap_text import read_colmap_text
from ..capture.image_files import read_tiff
from .scan_folder import read_manifest


@dataclass(frozen=True, slots=True)
class Check:
    """One figure and the bound it must keep (at most, or at least)."""

    name: str
    value: float
    unit: str
    bound: float
    at_most: bool = True

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def check_scan(folder: Path) -> list[Check]:
    """All checks of a complete scan folder. Raises UserError when files are missing or damaged."""
    manifest = read_manifest(folder)
    cameras = read_colmap_text(folder / "truth/colmap")
    by_name = {Path(image).stem.split("_uniform_", 1)[1]: camera for image, camera in cameras.items()}
    rig_cameras = manifest["content"]["rig"]["cameras"]
    centre = next(c["name"] for c in rig_cameras if c["role"] in ("centre", "centre_parallel"))
    depths = {name: read_tiff(folder / f"truth/{name}/depth_mm.tif")[0] for name in by_name}
    normals = read_tiff(folder / f"truth/{centre}/normal_cam.tif")[0]
    face = cv2.imread(str(folder / f"truth/{centre}/mask_face.png"), cv2.IMREAD_GRAYSCALE)
    assert face is not None
    # pixels wider than 0.75 mm step over wrinkles, so differences of depth no longer follow the normals
    pixel_mm = float(np.nanmedian(depths[centre])) / by_name[centre].fx_px
    checks = [
        Check(
            "normals against depth, median angle",
            normal_error_deg(by_name[centre], depths[centre], normals, face > 0),
            "deg",
            max(1.0, pixel_mm / 0.75),
        ),
        Check("depth reprojected between cameras, median", reprojection_error_px(by_name, depths, centre), "px", 0.1),
    ]
    if manifest["content"]["rig"]["rig"]["pair_mode"] == "switched":
        lowest, leftover = pair_figures(folder, manifest, centre)
        checks.append(Check("parallel - cross, lowest 1 % in units of its noise", lowest, "sigma", -4.0, at_most=False))
        checks.append(Check("highlight left in the crossed images", leftover, "", 0.02))
    return checks


def normals_from_depth(camera: PinholeCamera, depth_mm: np.ndarray) -> np.ndarray:
    """Camera-frame normals (H, W, 3) float64 by central differences of the unprojected depth; NaN at borders."""
    points = camera.cam_from_world.apply(np.asarray(camera.unproject(depth_mm.astype(np.float64)), np.float64))
    across, down = np.full_like(points, np.nan), np.full_like(points, np.nan)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = np.cross(down, across)  # image down x image right points to the viewer
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)


def normal_error_deg(camera: PinholeCamera, depth_mm: np.ndarray, normal_cam: np.ndarray, mask: np.ndarray) -> float:
    """Median angle between truth normals and those of the truth depth, away from silhouettes."""
    depth_edge = np.zeros(mask.shape, bool)
    filled = np.nan_to_num(depth_mm, nan=1e9)
    step = 6.0 * float(np.nanmedian(depth_mm)) / camera.fx_px
    for axis in (0, 1):
        jump = np.abs(np.diff(filled, axis=axis)) > step
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        depth_edge |= np.pad(jump, pad)
        pad[axis] = (1, 0)
        depth_edge |= np.pad(jump, pad)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inner &= cv2.dilate(depth_edge.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    numeric = normals_from_depth(camera, depth_mm)
    cosine = np.einsum("ijk,ijk->ij", numeric, normal_cam.astype(np.float64))[inner]
    return float(np.degrees(np.median(np.arccos(np.clip(cosine[np.isfinite(cosine)], -1, 1)))))


def reprojection_error_px(cameras: dict[str, PinholeCamera], depths: dict[str, np.ndarray], centre: str) -> float:
    """Median distance in pixels after centre pixel -> surface -> other view's depth -> centre, over all other views.

    The point is projected into the other view, the other view's own depth is read there (bilinear), and that surface
    point is projected back; hidden points (another surface in front) are left out.
    """
    source = cameras[centre]
    rows, columns = np.nonzero(np.isfinite(depths[centre]))
    points = np.asarray(source.unproject(depths[centre].astype(np.float64))[rows, columns], np.float64)
    errors = []
    for name, camera in cameras.items():
        if name == centre:
            continue
        pixels, depth = camera.project(points)
        seen = map_coordinates(depths[name].astype(np.float64), pixels.T[::-1], order=1, mode="constant", cval=np.nan)
        visible = np.isfinite(seen) & (np.abs(seen - depth) < 1.0)
        ray = np.stack(
            [
                (pixels[:, 0] - camera.cx_px) / camera.fx_px,
                (pixels[:, 1] - camera.cy_px) / camera.fy_px,
                np.ones(len(pixels)),
            ],
            axis=1,
        )[visible]
        back, _ = source.project(camera.cam_from_world.inverse().apply(ray * seen[visible, None]))
        errors.append(np.hypot(back[:, 0] - columns[visible], back[:, 1] - rows[visible]))
    return float(np.median(np.concatenate(errors)))


def pair_figures(folder: Path, manifest: dict, centre: str) -> tuple[float, float]:
    """(lowest percentile of (parallel - cross) / noise, share of the highlight in the crossed image), worst pair.

    The highlight is where the true specular light is strongest; what the crossed image holds beyond half of the true
    diffuse light is what leaked.
    """
    facts = json.loads((folder / "cameras.json").read_text())
    sensor, camera = facts["sensor"], facts["cameras"][centre]
    range_dn = sensor["white_level"] - sensor["black_level"]
    gain_e = sensor["full_well_e"] / range_dn
    head = cv2.imread(str(folder / f"truth/{centre}/mask_head.png"), cv2.IMREAD_GRAYSCALE)
    assert head is not None
    lowest, leftover = np.inf, 0.0
    shots = {p.stem.split("_", 1)[1]: p for p in (folder / "images").glob("*.tif")}
    for light in (entry for entry in manifest["content"]["rig"]["lights"] if entry["role"] == "flash"):
        parallel = read_tiff(shots[f"{light['name']}_parallel"])[0].astype(np.float64) - sensor["black_level"]
        cross = read_tiff(shots[f"{light['name']}_cross"])[0].astype(np.float64) - sensor["black_level"]
        variance = (
            (np.maximum(parallel, 0) + np.maximum(cross, 0)) / gain_e + 2 * (sensor["read_noise_e"] / gain_e) ** 2 + 1
        )
        score = ((parallel - cross) / np.sqrt(variance))[head > 0]
        lowest = min(lowest, float(np.percentile(score, 1)))
        specular = read_tiff(folder / f"truth/light/{light['name']}_specular.tif")[0]
        diffuse = read_tiff(folder / f"truth/light/{light['name']}_diffuse.tif")[0]
        unclipped = (parallel < 0.98 * range_dn).all(2) & (head > 0)
        bright = unclipped & (specular > np.percentile(specular[head > 0], 98))
        if bright.any():
            unit = range_dn * camera["exposure_gain"]
            leaked = (cross / unit - diffuse / 2)[bright].mean()
            leftover = max(leftover, float(leaked / ((parallel - cross) / unit)[bright].mean()))
    return lowest, leftover
