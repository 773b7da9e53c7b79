"""Report of the geometry stage: views, depth as relief, confidence, and error maps where the truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.files import write_text
from ..capture.rigid import look_at
from ..reconstruct.colmap_features import display_image
from ..reconstruct.colmap_fusion import read_mesh
from ..reconstruct.depth_prior import SIGMA_MM
from ..reconstruct.geometry import Geometry
from ..reconstruct.geometry_truth import (
    CentreTruth,
    DepthError,
    aligned_depth,
    depth_error,
    lowpassed_truth,
    read_centre_truth,
)
from ..reconstruct.mesh_raster import depth_from_mesh
from ..reconstruct.scan_source import ScanSource, nominal_at
from ..reconstruct.stereo_normals import normals_from_depth
from . import html
from .pictures import caption, map_with_scale, relief, sheet, shrink

WIDTH_PX = 460
LIMITS_MM = {"depth": 0.5, "z0": 0.2}
DIRECTIONS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)


def write_geometry_report(folder: Path, scan: ScanSource, geometry: Geometry, truth: Path | None = None) -> Path:
    """Write folder/report.html; truth: truth folder of a rendered scan, for error maps."""
    window = _window(geometry)
    parts = [
        html.table(_facts(scan, geometry)),
        html.heading("Warnings") + html.table([[text] for text in geometry.warnings or ("none",)]),
        html.heading("Views", "Undistorted; outside of the subject's mask darkened."),
        html.gallery([("", _views(geometry))], 1200),
        html.table(_view_rows(geometry), ("view", "confirmed by others", "sharpness", "matches", "drift", "")),
        html.heading(
            "Depth of the centre view",
            "Measured depth is the merged depth of all views. z0, the depth prior, is smooth on purpose: detail comes "
            "from the flashes. Where confidence is low, z0 only bridges a hole.",
        ),
        html.gallery(_depth_pictures(geometry, window), 360),
        html.heading("Fused surface", "Meshed from the point cloud; rendered from several directions."),
        html.gallery([("", _turntable(folder, geometry))], 1200),
    ]
    if truth is not None:
        parts += _truth_parts(scan, geometry, read_centre_truth(truth, geometry.views.centre), window)
    return_path = folder / "report.html"
    write_text(return_path, html.page(f"Geometry of {scan.name}", parts))
    return return_path


def truth_rows(scan: ScanSource, geometry: Geometry, truth: CentreTruth) -> list[tuple[str, DepthError]]:
    """Errors of every depth map against the truth; with estimated cameras, after rigid alignment as well."""
    stereo, prior = geometry.stereo, geometry.prior
    region = truth.region(stereo.centre_camera)
    smooth = _smooth_truth(geometry, truth)
    rows = [
        ("centre view alone, unfiltered", depth_error(stereo.centre_map.depth_mm, truth.depth_mm, region)),
        ("all views merged", depth_error(stereo.merged.depth_mm, truth.depth_mm, region)),
        (f"z0 against the equally smoothed truth ({prior.source})", depth_error(prior.z0_mm, smooth, region)),
    ]
    if geometry.views.cameras_from != "described":
        true_camera = _true_camera(scan, stereo.centre_camera)
        depth, moved_mm, turned_deg = aligned_depth(
            stereo.merged.depth_mm, stereo.centre_camera, truth.depth_mm, true_camera, region
        )
        text = f"all views merged, moved by {moved_mm:.2f} mm and {turned_deg:.3f} deg"
        rows.append((text, depth_error(depth, truth.depth_mm, region)))
    return rows


def _facts(scan: ScanSource, geometry: Geometry) -> list[list[str]]:
    stereo, figures = geometry.stereo, geometry.figures
    origin = {
        "calibration": "the calibration", "described": "the scan's own description, taken as exact",
        "sfm": "this scan's own features",
    }  # fmt: skip
    rows = [
        ["scan", scan.name],
        ["views", ", ".join(stereo.maps)],
        ["cameras from", origin[geometry.views.cameras_from]],
        ["pixel on the subject", f"{stereo.pixel_mm:.3f} mm"],
        ["texture over noise", f"{stereo.texture_snr:.1f} (below about 1 stereo needs a proxy surface)"],
        ["points of the fused cloud", f"{geometry.cloud.count:,}"],
        ["vertices of the mesh", f"{geometry.mesh.count:,}"],
        ["z0 only bridges", f"{100 * figures['bridged_share']:.1f} % of the face"],
    ]
    if geometry.drift is not None:
        drift = geometry.drift
        rows.append(
            ["drift of the rig", f"{drift.drift_px:.2f} px, allowed {drift.limit_px:.2f} px ({drift.tracks} points)"]
        )
    seconds = {key.removeprefix("seconds "): value for key, value in figures.items() if key.startswith("seconds ")}
    rows.append(["seconds", ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())])
    return rows


def _views(geometry: Geometry) -> np.ndarray:
    pictures = []
    for name, view in geometry.views.views.items():
        picture = display_image(view.linear, view.mask)
        picture[~view.mask] = picture[~view.mask] // 4
        pictures.append(caption(shrink(picture, 240), name))
    return sheet(pictures, len(pictures))


def _view_rows(geometry: Geometry) -> list[list[str]]:
    rows = []
    drift = geometry.drift.per_camera_px if geometry.drift else {}
    for name, found in geometry.stereo.agreement.items():
        matched = str(geometry.matches.matches_of(name)) if geometry.matches else "-"
        missed = f"{drift[name]:.2f} px" if name in drift else "-"
        confirmed = f"{100 * found.confirmed:.0f} %" if np.isfinite(found.confirmed) else "-"
        rows.append([name, confirmed, f"{found.sharpness:.2f}", matched, missed, found.problem or "good"])
    return rows


def _window(geometry: Geometry) -> tuple[slice, slice]:
    """The face's box in the centre view."""
    rows, columns = np.nonzero(geometry.prior.mask)
    margin = max((int(rows.max()) - int(rows.min())) // 20, 4)
    return (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin),
    )


def _depth_pictures(geometry: Geometry, window: tuple[slice, slice]) -> list[tuple[str, np.ndarray]]:
    stereo, prior, camera = geometry.stereo, geometry.prior, geometry.stereo.centre_camera
    measured = np.where(prior.mask, stereo.merged.depth_mm, np.nan).astype(np.float32)
    sigma_px = max(0.6 / stereo.pixel_mm, 1.0)
    pictures = [
        ("measured depth as relief", relief(normals_from_depth(measured, camera, sigma_px))[window]),
        ("depth prior z0 as relief", relief(normals_from_depth(prior.z0_mm, camera, 1.0))[window]),
        ("z0, mm from the camera", map_with_scale(shrink(prior.z0_mm[window], WIDTH_PX), "mm", False)),
        (
            "confidence of z0",
            map_with_scale(
                shrink(np.where(prior.mask, prior.confidence, np.nan)[window], WIDTH_PX), "share measured", False, 1.0
            ),
        ),
        (
            "views that agree",
            map_with_scale(
                shrink(np.where(prior.mask, stereo.merged.count, np.nan).astype(np.float32)[window], WIDTH_PX),
                "views", False, float(len(stereo.maps)),
            ),
        ),
        (
            "measured minus z0: shape that the flashes must give",
            map_with_scale(shrink((measured - prior.z0_mm)[window], WIDTH_PX), "mm", True, 2.0),
        ),
    ]  # fmt: skip
    return [
        (text, picture if picture.shape[1] == WIDTH_PX else shrink(picture, WIDTH_PX)) for text, picture in pictures
    ]


def _turntable(folder: Path, geometry: Geometry) -> np.ndarray:
    vertices_mm, triangles = read_mesh(folder / "dense/mesh.ply")
    centre = geometry.stereo.centre_camera
    face = geometry.prior.mask & np.isfinite(geometry.prior.z0_mm)
    middle = np.median(centre.unproject(geometry.prior.z0_mm)[face], axis=0).astype(np.float64)
    distance = float(np.linalg.norm(centre.centre_mm - middle))
    pictures = []
    for angle_deg in DIRECTIONS_DEG:
        around = np.deg2rad(angle_deg)
        place = middle + distance * np.array([np.sin(around), 0.0, np.cos(around)])
        size = (300, 360)
        focal_px = 360 * distance / 320.0
        camera = PinholeCamera(
            *size, focal_px, focal_px, (size[0] - 1) / 2, (size[1] - 1) / 2, look_at(place, middle, 0.0)
        )
        depth = depth_from_mesh(camera, vertices_mm, triangles)
        pictures.append(caption(relief(normals_from_depth(depth, camera, 0.8)), f"{angle_deg:+.0f} deg"))
    return sheet(pictures, len(pictures))


def _truth_parts(scan: ScanSource, geometry: Geometry, truth: CentreTruth, window: tuple[slice, slice]) -> list[str]:
    stereo, prior = geometry.stereo, geometry.prior
    seen = prior.mask & np.isfinite(truth.depth_mm)
    raw = np.where(seen, stereo.centre_map.depth_mm - truth.depth_mm, np.nan)
    merged = np.where(seen, stereo.merged.depth_mm - truth.depth_mm, np.nan)
    smooth = np.where(seen, prior.z0_mm - _smooth_truth(geometry, truth), np.nan)
    maps = [
        ("centre view alone minus truth", raw, LIMITS_MM["depth"]),
        ("all views merged minus truth", merged, LIMITS_MM["depth"]),
        ("z0 minus the equally smoothed truth", smooth, LIMITS_MM["z0"]),
    ]
    rows = [
        [
            text, f"{error.median_mm:.3f} mm", f"{error.bias_mm:+.3f} mm", f"{error.p95_mm:.3f} mm",
            f"{100 * error.under_1mm:.1f} %", f"{100 * error.covered:.1f} %",
        ]
        for text, error in truth_rows(scan, geometry, truth)
    ]  # fmt: skip
    return [
        html.heading(
            "Error against the truth", "Over the true face without its rim, where seen from under 72 degrees."
        ),
        html.table(rows, ("depth", "median |error|", "median error", "95 %", "under 1 mm", "covered")),
        html.gallery(
            [(text, map_with_scale(shrink(m[window], WIDTH_PX), "mm", True, limit)) for text, m, limit in maps], 360
        ),
    ]


def _smooth_truth(geometry: Geometry, truth: CentreTruth) -> np.ndarray:
    return lowpassed_truth(truth, geometry.prior.mask, SIGMA_MM / geometry.stereo.pixel_mm)


def _true_camera(scan: ScanSource, like: PinholeCamera) -> PinholeCamera:
    """The centre camera that rendered the truth, as far as the scan knows it."""
    camera = nominal_at(scan, scan.centre, (like.width_px, like.height_px)).undistorted()
    return replace(camera, cam_from_world=like.cam_from_world)
