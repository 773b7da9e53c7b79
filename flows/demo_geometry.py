"""The demo's reconstruction: calibrate the virtual rig on a rendered board, then reconstruct the demo's take."""

from pathlib import Path

import numpy as np

from ..capture.files import sha256_file
from ..capture.image_files import read_tiff, srgb_from_linear
from ..capture.rig import load_rig
from ..reconstruct.calibrate import calibrate_takes
from ..reconstruct.calibration_take import read_calibration_take
from ..reconstruct.geometry_files import read_geometry
from ..reconstruct.geometry_truth import depth_error, read_centre_truth
from ..reconstruct.scan_source import open_scan
from ..reconstruct.stereo_normals import normals_from_depth
from ..reconstruct.targets import render_calibration
from ..reconstruct.targets_scene import TargetOptions
from . import html
from .calibrate_report import write_calibration_report
from .pictures import map_with_scale, relief, shrink
from .reconstruct_command import run_reconstruction
from .stage import Stage, run_stage
from .studio_commands import progress_display

SMALLEST_BOARD_PX = (600, 400)
"""The board's markers are not readable in smaller pictures; a calibration scales to any size."""


def demo_calibration(out: Path, size_px: tuple[int, int]) -> Path:
    """Calibration folder of the shipped rig, from a rendered board take; a valid one is kept."""
    from ..capture.rig import example_rig_path

    width, height = max(size_px, SMALLEST_BOARD_PX)
    board, calibration = out / "board", out / "calibration"
    with progress_display() as progress:
        task = progress.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"board: {what}", completed=done, total=total)

        rig = load_rig(example_rig_path())
        render_calibration(rig, "board", TargetOptions(width_px=width, height_px=height), board, show)

        def work(folder: Path) -> tuple[str, ...]:
            take = read_calibration_take(board)
            run = calibrate_takes([take], folder, show)
            write_calibration_report(folder / "report.html", run, [take])
            return tuple(run.warnings)

        stage = Stage("calibration", 1, {}, {"board/scan.json": sha256_file(board / "scan.json")})
        run_stage(calibration, stage, work)
    return calibration


def demo_reconstruction(out: Path, take: Path, scan: Path, calibration: Path) -> None:
    """Geometry, normals and displacement of the take, checked against the scan's truth; valid ones are kept."""
    run_reconstruction(open_scan(take), out, calibration, truth=scan / "truth")


def geometry_parts(out: Path, scan: Path) -> list[str]:
    """What the demo's report shows of it."""
    found = read_geometry(out / "geometry")
    truth = read_centre_truth(scan / "truth", found.centre)
    error = depth_error(found.depth_mm, truth.depth_mm, truth.region(found.camera))
    raw = np.where(found.mask, found.depth_mm, np.nan).astype(np.float32)
    albedo_free = relief(normals_from_depth(raw, found.camera, max(0.6 / found.pixel_mm, 1.0)))
    off = np.where(found.mask, found.depth_mm - truth.depth_mm, np.nan)
    rows, columns = np.nonzero(found.mask)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    return [
        html.heading(
            "Geometry: metric depth from five views",
            "The rig was calibrated on a rendered board, the take developed from its raw files; the error is against "
            "the exact truth. More: geometry/report.html and calibration/report.html.",
        ),
        html.table(
            [
                ["median error of depth", f"{error.median_mm:.3f} mm"],
                ["under 1 mm", f"{100 * error.under_1mm:.1f} % of the face"],
                ["pixel on the subject", f"{found.pixel_mm:.2f} mm"],
            ]
        ),
        html.gallery(
            [
                ("measured depth as relief", shrink(albedo_free[window], 420)),
                ("depth prior z0", map_with_scale(shrink(found.z0_mm[window], 420), "mm", False)),
                ("error of the measured depth", map_with_scale(shrink(off[window], 420), "mm", True, 1.0)),
            ],
            300,
        ),
        *_detail_parts(out, scan, found.centre, window),
    ]


def _detail_parts(out: Path, scan: Path, centre: str, window: tuple[slice, slice]) -> list[str]:
    """Displacement beside the truth."""
    folder = out / "displacement"
    displacement = read_tiff(folder / "displacement_mm.tif")[0]
    true_mm = read_tiff(scan / "truth" / centre / "displacement_mm.tif")[0]
    there = np.isfinite(displacement)
    normal = read_tiff(out / "normals/normal_cam.tif")[0]
    diffuse, specular = (read_tiff(out / f"normals/{name}.tif")[0] for name in ("diffuse", "specular"))
    photos = [srgb_from_linear(image[window] / (np.quantile(image, 0.999) / 0.85)) for image in (diffuse, specular)]
    return [
        html.heading(
            "Displacement: wrinkles and pores from the flashes",
            "Diffuse and specular light separated by polarisation, normals by photometric stereo, surfaces by Eq. 9. "
            "The true map holds skin detail alone, the found one everything shorter than about 10 mm. More: "
            "normals/report.html and displacement/report.html.",
        ),
        html.gallery(
            [
                ("diffuse light", shrink(photos[0], 420)),
                ("specular light", shrink(photos[1], 420)),
                ("photometric normals as relief", shrink(relief(normal)[window], 420)),
                ("displacement found", map_with_scale(shrink(displacement[window], 420), "mm", True, 0.3)),
                (
                    "true displacement",
                    map_with_scale(shrink(np.where(there, true_mm, np.nan)[window], 420), "mm", True, 0.3),
                ),
            ],
            260,
        ),
    ]
