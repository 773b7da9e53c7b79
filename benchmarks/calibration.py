"""Accuracy of calibration on simulated takes of a misaligned rig, against the truth: one table with bounds.

    python benchmarks/calibration.py                        # 1500x1000, seed 2 (held out), noise on
    python benchmarks/calibration.py --seeds 3 --size 900x600 --folder takes

Seed 1 was used in development; every seed gives another misaligned rig, other placements and other noise. Poses and
places are compared after one rigid motion that lays the calibrated camera centres on the true ones: pictures of targets
cannot tell where the rig stands in the room. Exit code 1 when a bound is broken.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rig_models import Rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.board_triangulation import rotation_deg
from mesoface.reconstruct.calibrate import CalibrationRun, calibrate_takes
from mesoface.reconstruct.calibration_take import read_calibration_take
from mesoface.reconstruct.light_intensity import irradiance
from mesoface.reconstruct.studio_options import parse_size
from mesoface.reconstruct.targets import render_calibration
from mesoface.reconstruct.targets_scene import TargetOptions, vignette

KINDS = ("board", "sphere", "flat", "chart", "dark")
BOUNDS = {
    "rotation of a camera, worst, deg": 0.02,
    "centre of a camera, worst, mm": 0.1,
    "focal length, worst, %": 0.1,
    "place of a flash, worst, mm": 5.0,
    "held-out board, triangulated, median mm": 0.01,
    "held-out board, scale error, %": 0.01,
    "light of a flash on the face, worst p95, %": 3.0,
    "flat field, worst rms, %": 0.3,
    "flat field, worst place, %": 1.5,
    "polariser leak, worst error, % of the highlight": 0.2,
    "colour chart, worst view's mean, CIE 1976": 1.0,
}
"""The first four are the project's; the others keep what is reached."""
MISALIGNED_FILM_DEG = 1.0
VIGNETTING = 0.25
FACE_MM = (90.0, 120.0, 60.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1500x1000")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--folder", type=Path, default=None, help="keep takes and results here, and reuse takes")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="mesoface-calibration-"))
    width, height = parse_size(arguments.size)
    worst: dict[str, float] = {}
    for seed in arguments.seeds:
        options = TargetOptions(width_px=width, height_px=height, seed=seed, misalignment=seed, vignetting=VIGNETTING)
        takes = []
        for kind in arguments.kinds:
            started = time.perf_counter()
            takes.append(render_calibration(load_example_rig(), kind, options, folder / f"{kind}_{seed}_{width}"))
            print(f"seed {seed}: {kind} take rendered in {time.perf_counter() - started:.0f} s", flush=True)
        started, cpu = time.perf_counter(), cpu_s()
        run = calibrate_takes([read_calibration_take(take) for take in takes], folder / f"calibration_{seed}_{width}")
        print(f"seed {seed}: calibrated in {time.perf_counter() - started:.0f} s, {cpu_s() - cpu:.0f} CPU-s")
        truth = Rig.model_validate_json((takes[0] / "truth/rig.json").read_text())
        for name, value in compare(run, truth, takes, (width, height)).items():
            worst[name] = max(worst.get(name, 0.0), value)
    print(f"\n{width}x{height} px, seeds {', '.join(map(str, arguments.seeds))}, noise on")
    print(f"| {'figure':<48} | {'found':>9} | {'bound':>6} |      |\n|{'-' * 50}|{'-' * 11}|{'-' * 8}|------|")
    for name, value in worst.items():
        bound = BOUNDS[name]
        print(f"| {name:<48} | {value:9.4f} | {bound:6g} | {'PASS' if value <= bound else 'FAIL'} |")
    return int(any(value > BOUNDS[name] for name, value in worst.items()))


def cpu_s() -> float:
    """CPU seconds of this process and of its finished children (COLMAP)."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def compare(run: CalibrationRun, truth: Rig, takes: list[Path], size: tuple[int, int]) -> dict[str, float]:
    """Print the errors of one run; returns the figures of BOUNDS that its takes allow."""
    real = {c.name: PinholeCamera.from_rig(c).scaled(*size) for c in truth.cameras}
    to_truth = rigid_to(run.calibrated.cameras, real)
    worst = camera_errors(run, real, to_truth)
    if run.lights is not None:
        worst |= flash_errors(run, truth, to_truth)
    for name, fit in run.flats.items():
        true = vignette(real[name], VIGNETTING)
        gain = fit.field.channel(1, size[1], size[0])
        off = 100 * np.abs((gain / true) / (gain / true)[size[1] // 2, size[0] // 2] - 1)
        rms = float(np.sqrt((off**2).mean()))
        print(f"  flat {name:<8} worst {off.max():.2f} %, rms {rms:.3f} %")
        keep_worst(worst, "flat field, worst rms, %", rms)
        keep_worst(worst, "flat field, worst place, %", float(off.max()))
    flat = next((take for take in takes if take.name.startswith("flat")), None)
    if flat is not None and run.polarisers:
        leak = json.loads((flat / "truth/truth.json").read_text())["leak"]
        true_leak = 100 * (leak + np.sin(np.deg2rad(MISALIGNED_FILM_DEG)) ** 2 / 2)
        found = [100 * pair.leak for pair in run.polarisers.values()]
        print(f"  leak {min(found):.2f} to {max(found):.2f} % (about {true_leak:.2f} %, films turned by a degree)")
        error = float(np.abs(np.array(found) - true_leak).max())
        keep_worst(worst, "polariser leak, worst error, % of the highlight", error)
    for name, colours in run.colours.items():
        mean = float(colours.delta_e.mean())
        print(f"  colour {name:<8} error {mean:.2f} mean, {colours.delta_e.max():.2f} worst (CIE 1976)")
        keep_worst(worst, "colour chart, worst view's mean, CIE 1976", mean)
    for text in run.warnings:
        print(f"  warning: {text}")
    return worst


def keep_worst(worst: dict[str, float], name: str, value: float) -> None:
    worst[name] = max(worst.get(name, 0.0), value)


def camera_errors(run: CalibrationRun, real: dict[str, PinholeCamera], to_truth: RigidTransform) -> dict[str, float]:
    worst: dict[str, float] = {}
    print("  view      rot deg  centre mm  focal %   cx, cy px        rms px")
    for name, camera in run.calibrated.cameras.items():
        true = real[name]
        turned = camera.cam_from_world.rotation @ to_truth.rotation.T
        rotation = rotation_deg(turned, true.cam_from_world.rotation)
        centre = float(np.linalg.norm(to_truth.apply(camera.centre_mm) - true.centre_mm))
        focal = 100 * max(abs(camera.fx_px / true.fx_px - 1), abs(camera.fy_px / true.fy_px - 1))
        print(
            f"  {name:<8}{rotation:9.5f}{centre:11.4f}{focal:9.5f}   {camera.cx_px - true.cx_px:+.3f}, "
            f"{camera.cy_px - true.cy_px:+.3f}   {run.calibrated.baseline_px[name]:.4f}"
        )
        for key, value in zip(list(BOUNDS)[:3], (rotation, centre, focal), strict=True):
            keep_worst(worst, key, value)
    held = run.calibrated.figures.get("held_out")
    if held:
        print(
            f"  held-out boards: {held['median_mm']:.5f} mm median, {held['p95_mm']:.5f} p95, scale {held['scale']:.7f}"
        )
        worst["held-out board, triangulated, median mm"] = held["median_mm"]
        worst["held-out board, scale error, %"] = 100 * abs(held["scale"] - 1)
    return worst


def flash_errors(run: CalibrationRun, truth: Rig, to_truth: RigidTransform) -> dict[str, float]:
    """Errors of the places, and of the light in the volume of a face."""
    assert run.lights is not None
    worst: dict[str, float] = {}
    points = np.random.default_rng(0).uniform(-np.array(FACE_MM), FACE_MM, (500, 3))
    print("  flash   place mm  sigma mm   light on the face: mean %, worst 5 % of places")
    for name, light in run.lights.lights.items():
        true = truth.light(name)
        place = to_truth.apply(np.array(light.position_mm))
        error = float(np.linalg.norm(place - np.array(true.position_mm)))
        keep_worst(worst, "place of a flash, worst, mm", error)
        text, fit = "", run.intensities.get(name)
        if fit is not None:
            aim = to_truth.apply(np.array(fit.aim_mm))
            found, _ = irradiance(points, place, aim, fit.intensity_rgb[1], fit.falloff_exponent)
            wanted, _ = irradiance(
                points, np.array(true.position_mm), np.array(true.aim_mm), true.relative_energy * 750.0**2,
                true.falloff_exponent,
            )  # fmt: skip
            off = 100 * (found / wanted - 1)
            text = f"{off.mean():+9.2f} {np.percentile(np.abs(off), 95):9.2f}"
            keep_worst(worst, "light of a flash on the face, worst p95, %", float(np.percentile(np.abs(off), 95)))
        print(f"  {name:<8}{error:8.2f}{light.sigma_mm:10.2f}   {text}")
    missing = [flash.name for flash in truth.flashes if flash.name not in run.lights.lights]
    if missing:
        print(f"  not located: {', '.join(missing)}")
        worst["place of a flash, worst, mm"] = float("inf")
    return worst


def rigid_to(cameras: dict[str, PinholeCamera], real: dict[str, PinholeCamera]) -> RigidTransform:
    """Rigid motion of the calibrated camera centres onto the true ones."""
    a = np.array([camera.centre_mm for camera in cameras.values()])
    b = np.array([real[name].centre_mm for name in cameras])
    u, _, vt = np.linalg.svd((b - b.mean(axis=0)).T @ (a - a.mean(axis=0)))
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return RigidTransform(rotation, b.mean(axis=0) - rotation @ a.mean(axis=0))


if __name__ == "__main__":
    sys.exit(main())
