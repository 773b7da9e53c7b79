"""The demo's measurements: the rig calibrated on a board, every take's depth, normals and displacement, and their
errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.files import sha256_file
from ..capture.image_files import read_tiff, srgb_from_linear
from ..capture.rig import load_example_rig
from ..reconstruct.calibrate import calibrate_takes
from ..reconstruct.calibration_take import read_calibration_take
from ..reconstruct.detail_files import read_displacement, read_normals
from ..reconstruct.detail_truth import BandFit, displacement_fits, displacement_truth, normal_error_deg
from ..reconstruct.geometry_files import GeometryResult, read_geometry
from ..reconstruct.geometry_truth import depth_error, read_centre_truth
from ..reconstruct.rig_files import CalibratedRig
from ..reconstruct.stereo_normals import normals_from_depth
from . import html
from .calibrate_report import write_calibration_report
from .demo_figures import Figure, worst
from .demo_people import scan_folder
from .demo_plan import DemoPlan, Person
from .demo_steps import Shown
from .pictures import map_with_scale, relief, shrink
from .stage import Stage, run_stage

BAND_MM = (4.0, 8.0)
"""Of wavelengths in which the displacement of single takes is judged: the finest of the usual bands that the demo's
pictures hold for sure."""
LIMIT_MM = 0.3
"""Of the maps of displacement."""


@dataclass(frozen=True)
class TakeErrors:
    """Errors of one take's reconstruction against the truth of the person it shows."""

    depth_mm: float
    under_1mm: float
    normal_deg: float
    fits: tuple[BandFit, ...]
    pixel_mm: float

    @property
    def fit(self) -> BandFit:
        """In `BAND_MM`."""
        return next(fit for fit in self.fits if (fit.shortest_mm, fit.longest_mm) == BAND_MM)


def calibrate_demo(out: Path, shown: Shown) -> Path:
    """Calibration folder of the shipped rig, from the rendered board; a valid one is kept."""

    def work(folder: Path) -> tuple[str, ...]:
        take = read_calibration_take(out / "board")
        run = calibrate_takes([take], folder, shown)
        write_calibration_report(folder / "report.html", run, [take])
        return tuple(run.warnings)

    stage = Stage("calibration", 1, {}, {"board/scan.json": sha256_file(out / "board/scan.json")})
    return run_stage(out / "calibration", stage, work).folder


def calibration_errors(calibration: Path) -> tuple[float, float]:
    """Worst place of a camera, seen from the centre one, in mm; worst focal length in percent."""
    rig = CalibratedRig.load(calibration)
    real = {c.name: PinholeCamera.from_rig(c).scaled(*rig.size_px) for c in load_example_rig().cameras}
    centre, true_centre = rig.cameras[rig.centre].cam_from_world, real[rig.centre].cam_from_world
    places = [
        np.linalg.norm(centre.apply(camera.centre_mm) - true_centre.apply(real[name].centre_mm))
        for name, camera in rig.cameras.items()
    ]
    focals = [abs(camera.fx_px / real[name].fx_px - 1) for name, camera in rig.cameras.items()]
    return float(max(places)), 100 * float(max(focals))


def take_errors(results: Path, truth: Path) -> TakeErrors:
    """Compare a take's stages with the truth folder of its person."""
    found, normals = read_geometry(results / "geometry"), read_normals(results / "normals")
    pair = read_displacement(results / "displacement")
    known = read_centre_truth(truth, found.centre)
    region = known.region(found.camera)
    depth = depth_error(found.depth_mm, known.depth_mm, region)
    angles = normal_error_deg(normals.maps.normal, known, region)
    checked = displacement_truth(pair, normals.start_mm, found.camera, truth, found.centre)
    fits = tuple(fit for fit in displacement_fits(pair, checked) if fit.longest_mm <= BAND_MM[1])
    return TakeErrors(depth.median_mm, depth.under_1mm, float(np.median(angles)), fits, found.pixel_mm)


def geometry_figures(plan: DemoPlan, calibration: Path, errors: Mapping[Person, TakeErrors]) -> list[Figure]:
    """The worst of all takes."""
    place_mm, focal = calibration_errors(calibration)
    bounds, every = plan.bounds, errors.values()
    band = f"{BAND_MM[0]:g} to {BAND_MM[1]:g} mm"
    return [
        Figure("calibration: place of a camera, worst", place_mm, "mm", bounds["camera place"], True, "calibration"),
        Figure("calibration: focal length, worst", focal, "%", bounds["focal length"], True, "calibration"),
        Figure("depth: median error, worst take", worst(e.depth_mm for e in every), "mm", bounds["depth"], True,
               "reconstruction"),
        Figure("depth: within 1 mm, worst take", 100 * worst((e.under_1mm for e in every), False), "%",
               bounds["depth share"], False, "reconstruction"),
        Figure("normals: median error, worst take", worst(e.normal_deg for e in every), "degrees", bounds["normals"],
               True, "reconstruction"),
        Figure(f"displacement, {band}: correlation with the truth, worst take",
               worst((e.fit.correlation for e in every), False), "", bounds["displacement"], False, "reconstruction"),
        Figure(f"displacement, {band}: gain, lowest", worst((e.fit.gain for e in every), False), "",
               bounds["gain"], False, "reconstruction"),
    ]  # fmt: skip


def geometry_parts(out: Path, scans: Mapping[Person, Path], errors: Mapping[Person, TakeErrors]) -> list[str]:
    """What the report shows of the reconstruction: figures of every take, pictures of the first."""
    rows = []
    for person, found in errors.items():
        fits = "; ".join(f"{fit.shortest_mm:g}-{fit.longest_mm:g} mm: {fit.correlation:.2f}" for fit in found.fits)
        rows.append([
            person.name, f"{found.depth_mm:.3f} mm", f"{100 * found.under_1mm:.1f} %", f"{found.normal_deg:.1f} deg",
            fits, f"{found.pixel_mm:.2f} mm", (scans[person] / "displacement/report.html").relative_to(out).as_posix(),
        ])  # fmt: skip
    first = next(iter(scans))
    header = ("take", "depth, median error", "within 1 mm", "normals, median error",
              "displacement, correlation by wavelength", "pixel on the skin", "report")  # fmt: skip
    return [html.table(rows, header), *_pictures(first, scans[first], scan_folder(out, first) / "truth")]


def _pictures(person: Person, results: Path, truth: Path) -> list[str]:
    found = read_geometry(results / "geometry")
    known = read_centre_truth(truth, found.centre)
    raw = np.where(found.mask, found.depth_mm, np.nan).astype(np.float32)
    off = np.where(found.mask, found.depth_mm - known.depth_mm, np.nan)
    window = _window(found)
    normal = read_tiff(results / "normals/normal_cam.tif")[0]
    displacement = read_tiff(results / "displacement/displacement_mm.tif")[0]
    true_mm = np.where(np.isfinite(displacement), read_tiff(truth / found.centre / "displacement_mm.tif")[0], np.nan)
    light = [read_tiff(results / f"normals/{name}.tif")[0] for name in ("diffuse", "specular")]
    photos = [srgb_from_linear(image[window] / (np.quantile(image, 0.999) / 0.85)) for image in light]
    stereo = relief(normals_from_depth(raw, found.camera, max(0.6 / found.pixel_mm, 1.0)))
    shown = [
        ("depth of stereo as relief", shrink(stereo[window], 420)),
        ("its error", map_with_scale(shrink(off[window], 420), "mm", True, 1.0)),
        ("diffuse light", shrink(photos[0], 420)),
        ("specular light", shrink(photos[1], 420)),
        ("photometric normals as relief", shrink(relief(normal)[window], 420)),
        ("displacement found", map_with_scale(shrink(displacement[window], 420), "mm", True, LIMIT_MM)),
        ("true displacement", map_with_scale(shrink(true_mm[window], 420), "mm", True, LIMIT_MM)),
    ]
    return [html.gallery([(f"{person.name}: {words}", picture) for words, picture in shown], 240)]


def _window(found: GeometryResult) -> tuple[slice, slice]:
    rows, columns = np.nonzero(found.mask)
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
