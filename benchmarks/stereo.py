"""Dense stereo against the truth of rendered scans, and its cost over image size.

    python benchmarks/stereo.py accuracy SCAN...                     # scans of `mesoface studio render`
    python benchmarks/stereo.py accuracy --subject 11 --expression smile --size 1500x1000   # renders one first
    python benchmarks/stereo.py scaling SCAN --megapixels 0.4 1.5 6 24

Regions, of the centre view: "face" is the studio's mask of facial skin and lips, all of it; "core" is the face less
3 px at its border and less skin seen at more than 60 degrees, where depth along the optical axis says little. z0 is
compared over its own mask with the true depth after the same low-pass over that mask; both leave out the dark inside
of an open mouth. A pixel without depth counts as wrong.
Exit code 1 when a bound is broken.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import trimesh
from scipy.spatial import KDTree
from stereo_scenes import TruthView, read_scan, resized_scan, simulated_proxy, with_weak_skin

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.colmap_text import read_colmap_text, write_colmap_text
from mesoface.capture.image_files import srgb_from_linear
from mesoface.capture.rig import load_example_rig
from mesoface.reconstruct.colmap_fusion import fuse_workspace, mesh_cloud, read_cloud, read_mesh
from mesoface.reconstruct.colmap_workspace import write_workspace
from mesoface.reconstruct.dense_stereo import dense_depth
from mesoface.reconstruct.depth_prior import SIGMA_MM, depth_prior, face_mask
from mesoface.reconstruct.stereo_mask import skin_mask
from mesoface.reconstruct.stereo_types import DenseStereo, DepthPrior, StereoView
from mesoface.reconstruct.studio import render_scan
from mesoface.reconstruct.studio_checks import Check
from mesoface.reconstruct.studio_options import StudioOptions, parse_size
from mesoface.reconstruct.surface_lowpass import lowpass_surface

CENTRE = "centre"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    accuracy = tasks.add_parser("accuracy")
    accuracy.add_argument("scans", type=Path, nargs="*")
    accuracy.add_argument("--subject", type=int, nargs="+", default=[])
    accuracy.add_argument("--expression", default="neutral")
    accuracy.add_argument("--size", default="1500x1000")
    accuracy.add_argument("--out", type=Path, default=None, help="keep workspaces and pictures here")
    accuracy.add_argument("--no-mesh", action="store_true", help="leave out fusion and meshing")
    scaling = tasks.add_parser("scaling")
    scaling.add_argument("scan", type=Path)
    scaling.add_argument("--megapixels", type=float, nargs="+", default=[0.4, 1.5, 6.0, 24.0])
    measure = tasks.add_parser("measure")
    measure.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.task == "measure":
        return measured(arguments.folder)
    if arguments.task == "scaling":
        with tempfile.TemporaryDirectory(prefix="mesoface-stereo-") as folder:
            return report("scaling", scaled(arguments.scan, arguments.megapixels, Path(folder)))
    out = arguments.out or Path(tempfile.mkdtemp(prefix="mesoface-stereo-"))
    broken = 0
    for subject in arguments.subject:
        arguments.scans.append(rendered(subject, arguments.expression, arguments.size, out))
    for scan in arguments.scans:
        broken |= report(scan.name, accuracy_of(scan, out / scan.name, not arguments.no_mesh))
    return broken


def rendered(subject: int, expression: str, size: str, out: Path) -> Path:
    width, height = parse_size(size)
    options = StudioOptions(width_px=width, height_px=height, subject=subject, expression=expression)
    return render_scan(load_example_rig(), options, out / f"scan_{subject}_{expression}")


def report(title: str, checks: Iterable[Check]) -> int:
    """Print each figure as soon as it is known; 1 when a bound is broken. A bound of NaN is only for information."""
    broken = 0
    print(title, flush=True)
    for check in checks:
        told = f"  {check.name:<58}{check.value:>10.4g} {check.unit:<7}"
        if np.isfinite(check.bound):
            told += f"{'<=' if check.at_most else '>='} {check.bound:<8g}{'PASS' if check.passed else 'FAIL'}"
            broken |= not check.passed
        print(told, flush=True)
    return int(broken)


def accuracy_of(folder: Path, out: Path, with_mesh: bool) -> Iterable[Check]:
    scan = read_scan(folder)
    centre = scan[CENTRE]
    views = {name: view.stereo_view(name) for name, view in scan.items()}
    started, cpu = time.perf_counter(), time.process_time()
    stereo = dense_depth(list(views.values()), CENTRE)
    yield info("five views: time", time.perf_counter() - started, "s")
    yield info("five views: CPU time", time.process_time() - cpu, "s")
    yield info("texture over noise, as estimated from the match", stereo.texture_snr, "")
    for what, depth in (("centre depth", stereo.centre_map.depth_mm), ("merged depth", stereo.merged.depth_mm)):
        yield from depth_checks(f"{what}, core", depth, centre, centre.core, 0.12, 0.96)
        yield from depth_checks(f"{what}, face", depth, centre, centre.face)
    skin = skin_mask(centre.linear, views[CENTRE].mask)
    mask = face_mask(stereo, skin)
    yield info(
        "z0: share of the studio's face inside its mask", float((mask & centre.face).sum() / centre.face.sum()), ""
    )
    prior = depth_prior(stereo, mask)
    yield from prior_checks(prior, stereo, centre)
    pictures(out, stereo, prior, centre)
    if with_mesh:
        yield from fusion_checks(scan, stereo, mask, folder, out)
    proxy = simulated_proxy(scan)
    for snr, least in ((1.0, 0.84), (0.6, np.nan)):
        weak_views = [view.stereo_view(name) for name, view in with_weak_skin(scan, snr).items()]
        what = f"texture {snr:g} of the noise"
        alone = dense_depth(weak_views, CENTRE)
        yield from depth_checks(f"{what}, no proxy, core", alone.centre_map.depth_mm, centre, centre.core)
        helped = dense_depth(weak_views, CENTRE, proxy_mm=proxy)
        yield info(f"{what}: as estimated from the match", helped.texture_snr, "")
        yield from depth_checks(f"{what}, proxy, core", helped.centre_map.depth_mm, centre, centre.core, least=least)
        yield from depth_checks(f"{what}, proxy, face", helped.centre_map.depth_mm, centre, centre.face)
        for check in prior_checks(depth_prior(helped, mask), helped, centre):
            yield info(f"{what}, proxy: {check.name}", check.value, check.unit)


def info(name: str, value: float, unit: str) -> Check:
    return Check(name, value, unit, np.nan)


def depth_checks(
    what: str,
    depth_mm: np.ndarray,
    truth: TruthView,
    region: np.ndarray,
    median_mm: float = np.nan,
    least: float = np.nan,
) -> Iterable[Check]:
    """Median error and share below 1 mm over the region's pixels."""
    error = (depth_mm - truth.depth_mm)[region]
    off = np.where(np.isfinite(error), np.abs(error), np.inf)
    yield Check(f"{what}: median error", float(np.median(off)), "mm", median_mm)
    yield Check(f"{what}: share below 1 mm", float((off < 1).mean()), "", least, at_most=False)
    yield info(f"{what}: bias (median of those)", float(np.median(error[off < 1])), "mm")


def lowpassed_truth(prior: DepthPrior, stereo: DenseStereo, truth: TruthView) -> tuple[np.ndarray, np.ndarray]:
    """The true depth as z0 should be, and where it is compared."""
    region = prior.mask & np.isfinite(truth.depth_mm) & ~truth.mouth
    values = np.where(region, truth.depth_mm, 0)
    return lowpass_surface(values, region.astype(np.float32), prior.mask, SIGMA_MM / stereo.pixel_mm), region


def prior_checks(prior: DepthPrior, stereo: DenseStereo, truth: TruthView) -> Iterable[Check]:
    what = f"z0 from the {prior.source}"
    low, region = lowpassed_truth(prior, stereo, truth)
    error = (prior.z0_mm - low)[region]
    yield Check(f"{what}: median error to the low-passed truth", float(np.median(np.abs(error))), "mm", 0.03)
    yield Check(f"{what}: 95th percentile", float(np.quantile(np.abs(error), 0.95)), "mm", 0.3)
    yield info(f"{what}: bias", float(np.median(error)), "mm")
    complete = float(np.isfinite(prior.z0_mm[prior.mask]).mean())
    yield Check(f"{what}: complete inside its mask", complete, "", 1.0, at_most=False)
    yield info(
        f"{what}: share of its mask with confidence below 0.3", float((prior.confidence[prior.mask] < 0.3).mean()), ""
    )


def fusion_checks(
    scan: dict[str, TruthView], stereo: DenseStereo, mask: np.ndarray, folder: Path, out: Path
) -> Iterable[Check]:
    cameras = {name: view.camera for name, view in scan.items()}
    images = {name: srgb_from_linear(1.5 * view.linear) for name, view in scan.items()}
    dense = write_workspace(out / "workspace", cameras, images, stereo)
    surface = trimesh.load(folder / "truth/mesh/detailed.ply", process=False)
    vertices, normals = np.asarray(surface.vertices), np.asarray(surface.vertex_normals)  # pyright: ignore
    tree = KDTree(vertices)
    fused = fuse_workspace(dense)
    yield info("fusion: time", fused.seconds, "s")
    # 300 k at 0.96 MP in portrait, which is 0.28 mm per pixel on the face; the framing does not matter
    yield Check("fused points", fused.count, "", 300e3 * min((0.28 / stereo.pixel_mm) ** 2, 1.0), at_most=False)
    points, found = read_cloud(fused.path)
    nearest = np.asarray(tree.query(points, workers=2)[1])
    yield Check(
        "fused points: median distance to the surface", plane_median(points, vertices, normals, nearest), "mm", 0.06
    )
    angle = np.degrees(np.arccos(np.clip((found * normals[nearest]).sum(1), -1, 1)))
    yield Check("fused points: median angle of the normals", float(np.median(angle)), "deg", 4.0)
    meshed = mesh_cloud(dense)
    yield info("meshing: time", meshed.seconds, "s")
    mesh = read_mesh(meshed.path)
    nearest = np.asarray(tree.query(mesh[0], workers=2)[1])
    yield Check("mesh: median distance of its vertices", plane_median(mesh[0], vertices, normals, nearest), "mm", 0.06)
    yield from prior_checks(depth_prior(stereo, mask, mesh=mesh), stereo, scan[CENTRE])


def plane_median(points: np.ndarray, vertices: np.ndarray, normals: np.ndarray, nearest: np.ndarray) -> float:
    """Median distance (mm) to the tangent plane at the nearest true vertex, which is never farther than 0.3 mm."""
    return float(np.median(np.abs(((points - vertices[nearest]) * normals[nearest]).sum(1))))


def pictures(out: Path, stereo: DenseStereo, prior: DepthPrior, truth: TruthView) -> None:
    """z0 and raw depth as shaded relief, error of both (grey = right, white = 0.5 mm too far), confidence."""
    out.mkdir(parents=True, exist_ok=True)
    rows, columns = (np.flatnonzero(truth.face.any(axis)) for axis in (1, 0))
    inner = np.s_[max(rows[0] - 20, 0) : rows[-1] + 21, max(columns[0] - 20, 0) : columns[-1] + 21]
    low, _ = lowpassed_truth(prior, stereo, truth)
    raw = stereo.centre_map.depth_mm
    shown = {
        "relief_z0": relief(prior.z0_mm, stereo.pixel_mm),
        "relief_raw": relief(raw, stereo.pixel_mm),
        "relief_truth": relief(truth.depth_mm, stereo.pixel_mm),
        "error_z0": 0.5 + (prior.z0_mm - low),
        "error_raw": np.where(truth.face, 0.5 + (raw - truth.depth_mm), np.nan),
        "confidence": prior.confidence,
    }
    for name, plane in shown.items():
        grey = np.uint8(255 * np.clip(np.nan_to_num(plane[inner], nan=0.0), 0, 1))
        cv2.imwrite(str(out / f"{name}.png"), np.asarray(grey))


def relief(depth_mm: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Shading by a light from the upper left."""
    down, across = np.gradient(depth_mm / pixel_mm)
    normal = np.stack([across, down, -np.ones_like(down)]) / np.sqrt(across**2 + down**2 + 1)
    return np.tensordot(np.array([-0.5, -0.5, -0.707]), normal, 1)


def scaled(folder: Path, megapixels: list[float], out: Path) -> Iterable[Check]:
    """Each size in a process of its own, which reads the finished views: time and peak memory are the stereo's."""
    bounds = {1.5: (60.0, 3.0), 24.0: (np.nan, 8.0)}
    per_mp = {}
    for size in megapixels:
        scan = resized_scan(read_scan(folder), size)
        place = out / f"{size:g}"
        place.mkdir(parents=True, exist_ok=True)
        write_colmap_text(place, {name: view.camera for name, view in scan.items()}, {name: name for name in scan})
        for name, view in scan.items():
            made = view.stereo_view(name)
            np.savez(place / f"{name}.npz", image=made.image, mask=made.mask)
        np.savez(place / "truth.npz", depth=scan[CENTRE].depth_mm, face=scan[CENTRE].face)
        del scan, made
        done = subprocess.run([sys.executable, __file__, "measure", str(place)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        seconds, memory = bounds.get(size, (np.nan, np.nan))
        per_mp[size] = found["cpu_s"] / size
        yield Check(f"{size:g} MP: time", found["wall_s"], "s", seconds)
        yield Check(f"{size:g} MP: peak memory", found["peak_gib"], "GiB", memory)
        yield info(f"{size:g} MP: CPU time", found["cpu_s"], "s")
        yield info(f"{size:g} MP: median error, face", found["median_mm"], "mm")
        yield info(f"{size:g} MP: share below 1 mm, face", found["share"], "")
        for path in place.glob("*.npz"):
            path.unlink()
    if len(per_mp) > 1 and 1.5 in per_mp:
        worst = max(per_mp[size] for size in per_mp if size >= 1.5) / per_mp[1.5]
        yield Check("CPU time per MP against 1.5 MP, the worst of the larger sizes", worst, "", 1.5)


def measured(folder: Path) -> int:
    """The stereo of prepared views, in this process alone; kernels are compiled beforehand on a small crop."""
    cameras = read_colmap_text(folder)
    views = []
    for name, camera in cameras.items():
        with np.load(folder / f"{name}.npz") as planes:
            views.append(StereoView(name, planes["image"], camera, planes["mask"]))
    warm_up(views)
    started, cpu = time.perf_counter(), time.process_time()
    stereo = dense_depth(views, CENTRE)
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with np.load(folder / "truth.npz") as truth:
        off = np.abs(stereo.centre_map.depth_mm - truth["depth"])[truth["face"]]
    off = np.where(np.isfinite(off), off, np.inf)
    figures = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_gib": peak_gib,
               "median_mm": float(np.median(off)), "share": float((off < 1).mean())}  # fmt: skip
    print(json.dumps(figures))
    return 0


def warm_up(views: list[StereoView]) -> None:
    """Load or compile the kernels."""
    small = []
    for view in views:
        camera: PinholeCamera = view.camera.scaled(240, 160)
        image = cv2.resize(view.image, (240, 160), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(view.mask.astype(np.float32), (240, 160), interpolation=cv2.INTER_AREA) > 0.5
        small.append(StereoView(view.name, image, camera, mask))
    dense_depth(small, CENTRE)


if __name__ == "__main__":
    sys.exit(main())
