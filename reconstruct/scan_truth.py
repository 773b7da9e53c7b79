"""Truth files of a rendered scan. Formats, axes and units: docs/formats.md."""

from typing import Any

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.colmap_text import write_colmap_text
from ..capture.files import write_json
from ..capture.image_files import write_png, write_tiff
from ..capture.plan import Shot
from ..capture.polarisation import film_angle_deg, film_axis_world
from ..capture.rig_models import Rig
from ..capture.rigid import RigidTransform
from .face_model import Region
from .head import VirtualHead
from .mesh_files import write_mesh
from .mitsuba_scene import REFERENCE_DISTANCE_MM, SKIN_INDEX
from .scan_folder import ScanFolder
from .sensor import EXPOSURE_GAIN, Sensor
from .studio_options import StudioOptions
from .truth import ViewTruth

COLMAP_FILES = ("cameras.txt", "images.txt", "points3D.txt")
UV_FILES = {
    "displacement_mm": "truth/uv/displacement_mm.tif",
    "albedo": "truth/uv/albedo.tif",
    "roughness": "truth/uv/roughness.tif",
    "valid": "truth/uv/valid.png",
}
MESH_FILES = ("truth/mesh/base.ply", "truth/mesh/detailed.ply", "truth/mesh/head.obj")
CENTRE_MAPS = ("base_depth_mm.tif", "base_normal_cam.tif", "displacement_mm.tif", "albedo.tif", "uv.tif")
VIEW_MAPS = ("depth_mm.tif", "normal_cam.tif", "region.png", "mask_face.png", "mask_head.png")


def shared_truth_files() -> list[str]:
    """Files that `write_shared_truth` makes, relative to the scan folder."""
    colmap = [f"truth/colmap/{name}" for name in COLMAP_FILES]
    return [
        *colmap,
        *UV_FILES.values(),
        *MESH_FILES,
        "lights.json",
        "cameras.json",
        "truth/landmarks.json",
        "truth/motion.json",
    ]


def view_truth_files(camera_name: str, is_centre: bool) -> list[str]:
    """Files that `write_view_truth` makes, relative to the scan folder."""
    return [f"truth/{camera_name}/{name}" for name in VIEW_MAPS + (CENTRE_MAPS if is_centre else ())]


def write_shared_truth(
    folder: ScanFolder,
    head: VirtualHead,
    rig: Rig,
    options: StudioOptions,
    motion: tuple[RigidTransform, ...],
    plan: tuple[Shot, ...],
) -> None:
    """Write what all views share: cameras, lights, UV maps, meshes, landmarks, motion."""
    root = folder.folder
    cameras = {
        c.name: PinholeCamera.from_rig(c).scaled(options.width_px, options.height_px).undistorted() for c in rig.cameras
    }
    uniform = {shot.camera: f"{shot.stem}.tif" for shot in plan if shot.kind == "uniform"}
    write_colmap_text(root / "truth/colmap", cameras, uniform)
    write_json(root / "cameras.json", cameras_description(cameras, rig))
    write_json(root / "lights.json", lights_description(rig, options))
    maps = head.skin
    write_tiff(root / UV_FILES["displacement_mm"], maps.displacement_mm, unit="mm", along="base normal")
    write_tiff(root / UV_FILES["albedo"], maps.albedo, encoding="linear")
    write_tiff(root / UV_FILES["roughness"], maps.roughness, meaning="microfacet roughness, alpha = roughness^2")
    write_png(root / UV_FILES["valid"], maps.valid.astype(np.uint8) * 255)
    mesh = head.base
    write_mesh(root / "truth/mesh/base.ply", mesh, normals=head.base_normals)
    write_mesh(root / "truth/mesh/detailed.ply", mesh, head.detailed_mm, head.detailed_normals)
    write_mesh(root / "truth/mesh/head.obj", head.coarse)  # small enough for a text format
    write_json(
        root / "truth/landmarks.json",
        {
            "unit": "mm",
            "frame": "world at the reference exposure",
            "order": "iBUG 68, subject's right jaw first",
            "points_mm": [None if np.isnan(p).any() else [round(float(x), 5) for x in p] for p in head.landmarks_mm],
        },
    )
    write_json(
        root / "truth/motion.json",
        {
            "unit": "mm",
            "meaning": "world_from_head: x_world = rotation @ x_head + translation_mm",
            "exposures": [
                {"shot": shot.stem, "rotation": m.rotation.tolist(), "translation_mm": m.translation_mm.tolist()}
                for shot, m in zip(plan, motion, strict=True)
            ],
        },
    )
    folder.facts = {
        "subject": head.subject,
        "expression": head.expression,
        "vertices": len(mesh.vertices_mm),
        "triangles": len(mesh.triangles),
        "map_size": options.map_size,
        "region_names": {str(int(region)): region.name.lower() for region in Region},
    }
    folder.record(*shared_truth_files())


def write_view_truth(folder: ScanFolder, name: str, truth: ViewTruth, base_depth_mm: np.ndarray | None) -> None:
    """Write one view's maps; the centre view (the one with a base depth) gets the full set."""
    root = folder.folder / "truth" / name
    frame = "camera: x right, y down, z forward"
    write_tiff(root / "depth_mm.tif", truth.depth_mm, unit="mm", along="optical axis", outside="NaN")
    write_tiff(root / "normal_cam.tif", truth.normal_cam, frame=frame, surface="detailed")
    write_png(root / "region.png", truth.region)
    write_png(root / "mask_face.png", truth.mask_face.astype(np.uint8) * 255)
    write_png(root / "mask_head.png", truth.mask_head.astype(np.uint8) * 255)
    if base_depth_mm is not None:
        write_tiff(root / "base_depth_mm.tif", base_depth_mm, unit="mm", along="optical axis", outside="NaN")
        write_tiff(
            root / "base_normal_cam.tif", truth.base_normal_cam, frame=frame, surface="base, beneath the visible point"
        )
        write_tiff(root / "displacement_mm.tif", truth.displacement_mm, unit="mm", along="base normal", outside="NaN")
        write_tiff(root / "albedo.tif", truth.albedo, encoding="linear")
        uv = np.concatenate([truth.uv, np.zeros_like(truth.uv[..., :1])], axis=2)
        write_tiff(root / "uv.tif", uv, channels="u, v, 0; origin bottom-left")
    folder.record(*view_truth_files(name, base_depth_mm is not None))


def cameras_description(cameras: dict[str, PinholeCamera], rig: Rig) -> dict[str, Any]:
    """Content of cameras.json: intrinsics, poses, sensor; `distortion` only for lenses that have some."""
    sensor = Sensor()
    return {
        "pixel_convention": "pixel centres at integer coordinates; COLMAP adds 0.5 to cx, cy",
        "sensor": {
            "black_level": sensor.black_level,
            "white_level": sensor.white_level,
            "full_well_e": sensor.full_well_e,
            "read_noise_e": sensor.read_noise_e,
            "bayer_pattern": "RGGB",
        },
        "linear_from_sensor": "linear = (value - black) / (white - black) / exposure_gain",
        "cameras": {
            name: {
                "role": rig.camera(name).role,
                "serial": rig.camera(name).serial,
                "analyser": rig.camera(name).analyser,
                "analyser_deg": rig.camera(name).analyser_deg,
                "exposure_gain": EXPOSURE_GAIN
                * rig.camera(name).exposure.iso
                / 100
                * (11.0 / rig.camera(name).exposure.aperture) ** 2,
                "width_px": c.width_px,
                "height_px": c.height_px,
                "fx_px": c.fx_px,
                "fy_px": c.fy_px,
                "cx_px": c.cx_px,
                "cy_px": c.cy_px,
                "rotation_cam_from_world": c.cam_from_world.rotation.tolist(),
                "translation_mm_cam_from_world": c.cam_from_world.translation_mm.tolist(),
                **({"distortion": list(c.distortion)} if c.has_distortion else {}),
            }
            for name, c in cameras.items()
        },
    }


def lights_description(rig: Rig, options: StudioOptions) -> dict[str, Any]:
    """Content of lights.json: enough to predict every pixel of an unshadowed Lambertian surface."""
    lights = []
    for light in rig.lights:
        entry: dict[str, Any] = {
            "name": light.name,
            "role": light.role,
            "channel": light.channel,
            "polariser": light.polariser,
            "relative_energy": light.relative_energy,
        }
        if light.role == "flash" and light.position_mm is not None:
            film_deg = (
                film_angle_deg(rig.cross_camera, light, rig.subject.target_mm) if light.polariser == "linear" else None
            )
            entry |= {
                "position_mm": list(light.position_mm),
                "aim_mm": list(light.aim_mm),
                "falloff_exponent": light.falloff_exponent,
                "film_deg": film_deg,
                "film_axis_world": None
                if film_deg is None
                else film_axis_world(light.position_mm, light.aim_mm, film_deg).tolist(),
                "intensity_rgb": [light.relative_energy * REFERENCE_DISTANCE_MM**2] * 3,
            }
        lights.append(entry)
    return {
        "frame": "world: x to the subject's left, y up, z to the centre camera; mm",
        "irradiance": "E = intensity * cos(angle to aim)^falloff_exponent / distance_mm^2; uniform: relative_energy",
        "diffuse": "linear light of a surface = albedo * E * max(0, n.l), halved behind an analyser"
        + ("" if options.diffuse == "lambert" else "; times the coated surface's Fresnel transmission in and out"),
        "diffuse_model": options.diffuse,
        "skin_index": SKIN_INDEX,
        "leak": options.leak,
        "lights": lights,
    }
