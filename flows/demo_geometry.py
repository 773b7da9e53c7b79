"""The demo's geometry: calibrate the virtual rig on a rendered board, then reconstruct depth from the demo's take."""

from pathlib import Path

import numpy as np

from ..capture.files import sha256_file
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
from .geometry_command import run_geometry
from .pictures import map_with_scale, relief, shrink
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


def demo_geometry(out: Path, take: Path, scan: Path, calibration: Path) -> Path:
    """Geometry of the take with the calibration, checked against the rendered scan's truth; a valid one is kept."""
    return run_geometry(open_scan(take), out / "geometry", calibration, truth=scan / "truth").folder


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
    ]
