"""The whole `mesoface reconstruct` against the truth of rendered scans: normals, surface, displacement, time.

    mesoface studio render --subject 13 --expression frown --size 1500x1000 --out /tmp/s13
    python benchmarks/reconstruct.py /tmp/s13 ... [--calibration FOLDER] [--normals diffuse] [--out FOLDER]

Normals are judged over the face seen at less than 72 degrees and lit by at least 4 flashes; displacement on plain skin
6 mm off brows, lids, nose, lips and borders, less what the same solves make of the head without detail. Bounds are for
scans with every effect on. Time is of the stages after stereo. Exit code 1 when a bound is broken.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from mesoface.flows.reconstruct_command import run_reconstruction
from mesoface.reconstruct.detail import DetailOptions
from mesoface.reconstruct.detail_files import read_displacement, read_normals
from mesoface.reconstruct.detail_truth import (
    FEWEST_LIGHTS,
    displacement_fits,
    displacement_transfer,
    displacement_truth,
    normal_error_deg,
)
from mesoface.reconstruct.displacement import surface_normals
from mesoface.reconstruct.eq9_perspective import log_depth
from mesoface.reconstruct.geometry_files import read_geometry
from mesoface.reconstruct.geometry_truth import read_centre_truth
from mesoface.reconstruct.normal_fusion import MODES
from mesoface.reconstruct.scan_source import open_scan
from mesoface.reconstruct.studio_checks import Check

NORMALS_DEG, SURFACE_DEG, ERROR_UM = 4.0, 1.5, 15.0
SECONDS = 45.0


def judge(folder: Path, out: Path, calibration: Path | None, options: DetailOptions) -> list[Check]:
    scan = open_scan(folder)
    assert scan.truth is not None, f"{folder} has no truth"
    started = time.process_time(), time.perf_counter()
    first, second, third = run_reconstruction(scan, out, calibration, options=options)
    spent = time.process_time() - started[0], time.perf_counter() - started[1]
    geometry, normals = read_geometry(first.folder), read_normals(second.folder)
    pair = read_displacement(third.folder)
    known = read_centre_truth(scan.truth, scan.centre)
    region = known.region(geometry.camera) & (normals.maps.lights >= FEWEST_LIGHTS)
    angles = normal_error_deg(normals.maps.normal, known, region)
    fine = surface_normals(log_depth(pair.fine_mm, pair.mask), pair.mask, geometry.camera)
    surface = normal_error_deg(fine, known, region & pair.mask)
    truth = displacement_truth(pair, normals.start_mm, geometry.camera, scan.truth, scan.centre)
    print(f"{folder}: {options.drive} normals; all stages {spent[0]:.0f} CPU-s, {spent[1]:.0f} s")
    print(
        f"  normals {angles.mean():.2f} deg mean, {np.median(angles):.2f} median; surface {surface.mean():.2f} deg mean"
    )
    for words, fits in (
        ("less the smooth face", displacement_fits(pair, truth)),
        ("with its folds", displacement_fits(pair, truth, less_base=False)),
    ):
        for fit in fits:
            print(
                f"  {words}: {fit.shortest_mm:g}-{fit.longest_mm:g} mm gain {fit.gain:.3f}, correlation "
                f"{fit.correlation:.3f}, error {fit.error_um:.1f} of {fit.true_um:.1f} um"
            )
    transfer = displacement_transfer(pair, truth)
    for row in zip(transfer.wavelength_mm, transfer.gain, transfer.coherence, strict=True):
        print("  {:6.2f} mm: gain {:.3f}, coherence {:.3f}".format(*row))
    whole = displacement_fits(pair, truth)[0]
    checks = [
        Check("normals, mean error", float(angles.mean()), "deg", NORMALS_DEG),
        Check("surface normals, mean error", float(surface.mean()), "deg", SURFACE_DEG),
        Check("displacement 1-8 mm, gain at least", whole.gain, "", 0.9, at_most=False),
        Check("displacement 1-8 mm, gain at most", whole.gain, "", 1.1),
        Check("displacement 1-8 mm, correlation", whole.correlation, "", 0.95, at_most=False),
        Check("displacement 1-8 mm, error", whole.error_um, "um", ERROR_UM),
    ]
    if not second.reused and not third.reused:
        checks.append(Check("normals and displacement, time", second.seconds + third.seconds, "s", SECONDS))
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--calibration", type=Path, default=None)
    parser.add_argument("--normals", choices=MODES, default="diffuse")
    parser.add_argument("--out", type=Path, default=None, help="keep the stages here, a folder per scan")
    arguments = parser.parse_args()
    options, broken = DetailOptions(drive=arguments.normals), 0
    with tempfile.TemporaryDirectory() as temporary:
        for scan in arguments.scans:
            checks = judge(scan, (arguments.out or Path(temporary)) / scan.name, arguments.calibration, options)
            for check in checks:
                sign = "<=" if check.at_most else ">="
                verdict = "PASS" if check.passed else "FAIL"
                print(f"  {check.name:<40}{check.value:>9.3f} {check.unit:<4}{sign} {check.bound:<6g}{verdict}")
            broken |= any(not check.passed for check in checks)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
