"""Cameras of a rendered scan found from its own features: how far from the truth, with lenses known.

python benchmarks/structure_from_motion.py SCAN [SCAN ...]

SCAN is a folder of `mesoface studio render`. Positions are compared after the alignment that the command itself makes
(turn, shift and scale that fit the rig file best). A scan that is refused is printed with the reason: that passes too,
a wrong model would not.
"""

import argparse
import tempfile
import time
from pathlib import Path

from mesoface.capture.errors import UserError
from mesoface.reconstruct.colmap_features import FeatureView, match_features
from mesoface.reconstruct.colmap_sfm import solve_cameras
from mesoface.reconstruct.scan_source import open_scan
from mesoface.reconstruct.uniform_views import load_uniform_views

BOUND_MM = 1.5


def judge(scan: Path) -> bool:
    views = load_uniform_views(open_scan(scan)).views
    true = {name: view.camera for name, view in views.items()}
    given = {name: FeatureView(view.camera, view.linear, view.mask) for name, view in views.items()}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        matches = match_features(given, folder)
        try:
            solved = solve_cameras(folder, matches, true)
        except UserError as error:
            print(f"{scan.name}: refused: {error}")
            return True
    worst = max(solved.shift_mm.values())
    places = ", ".join(f"{name} {shift:.2f}" for name, shift in solved.shift_mm.items())
    print(
        f"{scan.name}: {solved.points} points, {solved.error_px:.2f} px; halves {1e3 * solved.disagreement:.2f} o/oo"
        f" apart, {time.perf_counter() - started:.0f} s; centres off by mm: {places}; worst {worst:.2f} <= {BOUND_MM}: "
        f"{'PASS' if worst <= BOUND_MM else 'FAIL'}"
    )
    return worst <= BOUND_MM


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    return 0 if all([judge(scan) for scan in parser.parse_args().scans]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
