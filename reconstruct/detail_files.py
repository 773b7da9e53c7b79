"""Files of the detail stages: normals and albedo, surfaces and displacement."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import atomic_path, write_json
from ..capture.image_files import read_tiff, write_png, write_tiff
from ..capture.json_files import read_format
from .detail import Normals
from .displacement import GeometryPair, Preset
from .normal_fusion import CAUTION
from .photometric_stereo import PhotometricMaps

NORMALS_FORMAT, DISPLACEMENT_FORMAT = "mesoface-normals", "mesoface-displacement"
SCHEMA_VERSION = 1
NORMALS_FILE, DISPLACEMENT_FILE = "normals.json", "displacement.json"
STEP_MM = 1e-4
"""Of the 16-bit displacement map: +-3.27 mm."""
FRAME = "camera: x right, y down, z forward; towards the viewer"


@dataclass(frozen=True, eq=False)
class NormalsResult:
    """What the displacement stage reads."""

    maps: PhotometricMaps
    start_mm: np.ndarray
    warnings: tuple[str, ...]
    noise_wavelength_mm: np.ndarray
    """(B,) descending; empty when the noise was not measured."""
    noise_share: np.ndarray
    """(B,) share of noise in the power of the normals' relief."""


def write_normals(folder: str | Path, normals: Normals) -> None:
    """Maps and normals.json into `folder`."""
    folder, maps = Path(folder), normals.maps
    write_tiff(folder / "normal_cam.tif", maps.normal, frame=FRAME, outside="NaN")
    write_tiff(folder / "albedo.tif", maps.albedo, encoding="linear", outside="NaN")
    write_tiff(folder / "diffuse.tif", normals.diffuse, encoding="linear", meaning="mean over the flashes, 2 x crossed")
    write_tiff(
        folder / "specular.tif", normals.specular, encoding="linear", meaning="mean over the flashes, may be negative"
    )
    write_tiff(folder / "start_mm.tif", normals.start_mm, unit="mm", along="optical axis", outside="NaN")
    write_tiff(folder / "residual.tif", maps.residual, meaning="relative rms misfit of the light model", outside="NaN")
    write_tiff(folder / "confidence.tif", maps.confidence, unit="0 to 1")
    write_png(folder / "lights.png", maps.lights.astype(np.uint8))
    if normals.lobes is not None:
        lobes = normals.lobes
        write_tiff(folder / "specular_normal_cam.tif", lobes.normal, frame=FRAME, outside="NaN")
        write_tiff(folder / "specular_roughness.tif", lobes.roughness, meaning="sqrt of GGX alpha", outside="NaN")
        write_tiff(folder / "specular_strength.tif", lobes.strength, meaning="1: a coat of the model's index")
        write_tiff(folder / "specular_confidence.tif", lobes.confidence, unit="0 to 1")
    pairs, scatter = normals.pairs, normals.scatter
    write_json(
        folder / NORMALS_FILE,
        {
            "format": NORMALS_FORMAT,
            "schema_version": SCHEMA_VERSION,
            "reference": pairs.reference,
            "lights": list(pairs.diffuse.names),
            "expected_lights": list(pairs.expected),
            "pairs": [
                {
                    "light": facts.light,
                    "gain": facts.gain,
                    "gain_sigma": facts.gain_sigma,
                    "leak": facts.leak,
                    "residual": facts.residual,
                    "pair_shift_px": list(facts.pair_shift_px),
                    "moved_px": facts.moved_px,
                    "moved_mm": facts.moved_mm,
                    "local_px": facts.local_px,
                    "clipped": facts.clipped,
                }
                for facts in pairs.facts
            ],
            "scatter": None
            if scatter is None
            else {
                "scale": round(scatter.scale, 3),
                "wavelength_mm": (1 / scatter.frequency_per_mm).tolist(),
                "noise_share": scatter.noise_share(CAUTION).tolist(),
            },
            "warnings": list(normals.warnings),
        },
    )


def read_normals(folder: str | Path) -> NormalsResult:
    """Read a finished normals stage. Raises UserError when files are missing, damaged or of different sizes."""
    folder = Path(folder)
    content = read_json(folder / NORMALS_FILE, NORMALS_FORMAT)
    maps = {
        name: read_tiff(folder / f"{name}.tif")[0]
        for name in ("normal_cam", "albedo", "start_mm", "residual", "confidence")
    }
    lights = cv2.imread(str(folder / "lights.png"), cv2.IMREAD_UNCHANGED)
    size = maps["start_mm"].shape
    if lights is None or any(image.shape[:2] != size for image in (lights, *maps.values())):
        raise UserError(f"{folder}: maps are missing or of different sizes; run `mesoface reconstruct` again")
    normal = maps["normal_cam"]
    found = PhotometricMaps(
        normal, None, maps["albedo"], maps["residual"], maps["confidence"], lights.astype(np.uint16),
        np.isfinite(normal[..., 0]),
    )  # fmt: skip
    scatter = content.get("scatter") or {"wavelength_mm": [], "noise_share": []}
    return NormalsResult(
        found, maps["start_mm"], tuple(content.get("warnings", ())), np.asarray(scatter["wavelength_mm"]),
        np.asarray(scatter["noise_share"]),
    )  # fmt: skip


def write_displacement(
    folder: str | Path, pair: GeometryPair, camera: PinholeCamera, albedo: np.ndarray, warnings: tuple[str, ...] = ()
) -> None:
    """Surfaces, displacement, meshes and displacement.json into `folder`."""
    folder = Path(folder)
    along = "optical axis"
    write_tiff(folder / "displacement_mm.tif", pair.displacement_mm, unit="mm", along="base normal", outside="NaN")
    write_tiff(folder / "fine_depth_mm.tif", pair.fine_mm.astype(np.float32), unit="mm", along=along, outside="NaN")
    write_tiff(folder / "base_depth_mm.tif", pair.base_mm.astype(np.float32), unit="mm", along=along, outside="NaN")
    write_tiff(folder / "base_normal_cam.tif", pair.base_normal_camera, frame=FRAME, outside="NaN")
    units = np.rint(np.nan_to_num(pair.displacement_mm) / STEP_MM) + 32768
    write_png(folder / "displacement_16bit.png", np.where(pair.mask, np.clip(units, 1, 65535), 0).astype(np.uint16))
    write_png(folder / "mask.png", pair.mask.astype(np.uint8) * 255)
    for name, depth in (("fine", pair.fine_mm), ("base", pair.base_mm)):
        write_depth_mesh(folder / f"{name}.ply", depth, pair.mask, camera, albedo)
    preset = pair.preset
    write_json(
        folder / DISPLACEMENT_FILE,
        {
            "format": DISPLACEMENT_FORMAT,
            "schema_version": SCHEMA_VERSION,
            "preset": {
                "name": preset.name,
                "fine_mm": preset.fine_mm,
                "base_mm": preset.base_mm,
                "low_pass_mm": preset.low_pass_mm,
                "passes": preset.passes,
                "sharpen": preset.sharpen,
                "feather_mm": preset.feather_mm,
            },
            "mu_per_px2": list(preset.mu(pair.pixel_mm)),
            "pixel_mm": pair.pixel_mm,
            "gain_by_wavelength_mm": {
                f"{w:g}": float(preset.gain(w, pair.pixel_mm))
                for w in (0.5, 1, 2, 4, 8, 16, 32)
                if w > 3 * pair.pixel_mm
            },
            "displacement_16bit": {"mm_per_unit": STEP_MM, "offset_mm": -32768 * STEP_MM, "outside": 0},
            "rms_mm": float(np.sqrt(np.mean(pair.displacement_mm[pair.mask] ** 2))),
            "iterations": [pair.fine.iterations, pair.base.iterations],
            "warnings": list(warnings),
        },
    )


@dataclass(frozen=True, eq=False)
class DisplacementResult:
    """What later stages read of a finished displacement stage; fields as of `GeometryPair`."""

    displacement_mm: np.ndarray
    fine_mm: np.ndarray
    base_mm: np.ndarray
    base_normal_camera: np.ndarray
    mask: np.ndarray
    preset: Preset
    pixel_mm: float
    warnings: tuple[str, ...]


def read_displacement(folder: str | Path) -> DisplacementResult:
    """Read a finished displacement stage. Raises UserError when files are missing, damaged or of different sizes."""
    folder = Path(folder)
    content = read_json(folder / DISPLACEMENT_FILE, DISPLACEMENT_FORMAT)
    names = ("displacement_mm", "fine_depth_mm", "base_depth_mm", "base_normal_cam")
    displacement, fine, base, normal = (read_tiff(folder / f"{name}.tif")[0] for name in names)
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_UNCHANGED)
    if mask is None or any(image.shape[:2] != mask.shape for image in (displacement, fine, base, normal)):
        raise UserError(f"{folder}: maps are missing or of different sizes; run `mesoface reconstruct` again")
    try:
        preset, pixel_mm = Preset(**content["preset"]), float(content["pixel_mm"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}/{DISPLACEMENT_FILE}: is damaged ({error}); run `mesoface reconstruct` again"
        ) from None
    return DisplacementResult(
        displacement, fine, base, normal, mask > 0, preset, pixel_mm, tuple(content.get("warnings", ()))
    )


def write_depth_mesh(
    path: Path, depth_mm: np.ndarray, mask: np.ndarray, camera: PinholeCamera, albedo: np.ndarray
) -> None:
    """A depth map as a mesh in world mm (binary PLY): a vertex per pixel, two triangles per square, albedo colours."""
    import trimesh

    from ..capture.image_files import srgb_from_linear

    number = np.full(mask.shape, -1, np.int64)
    number[mask] = np.arange(int(mask.sum()))
    corners = (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    a, b, c, d = (corner.ravel() for corner in corners)
    whole = np.minimum.reduce([a, b, c, d]) >= 0
    a, b, c, d = (corner[whole] for corner in (a, b, c, d))
    triangles = np.concatenate([np.stack([a, d, b], 1), np.stack([b, d, c], 1)])  # counter-clockwise from the camera
    points = camera.unproject(depth_mm)[mask]
    colours = srgb_from_linear(np.nan_to_num(albedo[mask]))
    mesh = trimesh.Trimesh(points, triangles, vertex_colors=colours, process=False)
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(mesh.export(file_type="ply")))  # pyright: ignore[reportArgumentType]


def read_json(path: Path, wanted: str) -> dict[str, Any]:
    """A stage's own JSON. Raises UserError when it is missing, damaged, of another kind or newer."""
    made = "`mesoface reconstruct`"
    return read_format(
        path, wanted, SCHEMA_VERSION, missing=f"expected a folder made by {made}", again=f"run {made} again"
    )
