"""How much of a virtual head's true displacement each preset recovers from the true normals, by wavelength.

python benchmarks/displacement.py SCAN [SCAN ...] [--noise-deg 1.5] [--bias-deg 2]

SCAN is a folder of `mesoface studio scan`; only its truth is read. Normals get white noise and a slow bias, the prior
is the true depth smoothed as stereo's is. Judged on forehead, cheeks, chin and around the mouth, 6 mm away from brows,
lids, nose, lips and borders. The head's base mesh has some curvature at 4 to 20 mm of its own, at the mouth above all,
which is in the recovered displacement but not in the true one.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.detail_truth import BANDS_MM, SKIN, band
from mesoface.reconstruct.displacement import FULL_BAND, PAPER, Preset, feather, geometry_pair
from mesoface.reconstruct.surface_lowpass import lowpass_surface

ONE_PASS = replace(FULL_BAND, passes=1, low_pass_mm=21.0, name="full_band, one pass at 21 mm")
PRESETS = (
    PAPER,
    replace(ONE_PASS, base_mm=PAPER.base_mm, low_pass_mm=PAPER.base_mm, name="paper's mu, base low-passed at 9.93"),
    ONE_PASS,
    FULL_BAND,
)


def load_camera(scan: Path) -> PinholeCamera:
    centre = json.loads((scan / "cameras.json").read_text())["cameras"]["centre"]
    rotation, translation = (centre[f"{key}_cam_from_world"] for key in ("rotation", "translation_mm"))
    numbers = {key: centre[key] for key in ("width_px", "height_px", "fx_px", "fy_px", "cx_px", "cy_px")}
    return PinholeCamera(**numbers, cam_from_world=RigidTransform(np.array(rotation), np.array(translation)))


def facing(normals: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    x, y = camera.normalised_grid()
    rays = np.stack(np.broadcast_arrays(x[None], y[:, None], 1.0), axis=-1)
    return -(normals * rays).sum(-1) / np.linalg.norm(rays, axis=-1)


def disturbed(normals: np.ndarray, pixel_mm: float, noise_deg: float, bias_deg: float) -> np.ndarray:
    """Normals with white noise per component, and a tilt in waves of 80 mm."""
    rng = np.random.default_rng(0)
    made = normals + np.radians(noise_deg) * rng.standard_normal(normals.shape)
    rows = np.arange(len(normals))[:, None] * pixel_mm
    made[..., 0] += np.radians(bias_deg) * np.sin(2 * np.pi * rows / 80)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def judge(scan: Path, preset: Preset, noise_deg: float, bias_deg: float) -> None:
    folder = scan / "truth/centre"
    depth, normals, truth = (
        tifffile.imread(folder / f"{name}.tif") for name in ("depth_mm", "normal_cam", "displacement_mm")
    )
    region = cv2.imread(str(folder / "region.png"), cv2.IMREAD_UNCHANGED)
    face = cv2.imread(str(folder / "mask_face.png"), cv2.IMREAD_UNCHANGED)
    assert region is not None and face is not None
    camera = load_camera(scan)
    mask = (face > 0) & (facing(normals, camera) > np.cos(np.radians(80)))
    pixel_mm = float(np.median(depth[mask])) / camera.fx_px
    z0 = lowpass_surface(np.where(mask, depth, 0), mask.astype(np.float32), mask, 8 / pixel_mm)
    pair = geometry_pair(disturbed(normals, pixel_mm, noise_deg, bias_deg), mask, z0, camera, preset)
    judged = feather(np.isin(region, SKIN) & mask, 6 / pixel_mm) >= 0.999
    judged &= pair.mask
    all_um = 1000 * np.sqrt(np.mean((pair.displacement_mm - truth)[judged] ** 2))
    print(f"  {preset.name}: {all_um:.0f} um rms over all wavelengths")
    for shortest_mm, longest_mm in BANDS_MM:
        a, b = (band(v, pair.mask, shortest_mm, longest_mm, pixel_mm)[judged] for v in (pair.displacement_mm, truth))
        gain, correlation = (a * b).sum() / (b * b).sum(), (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        error_um, true_um = 1000 * np.sqrt(np.mean((a - b) ** 2)), 1000 * np.sqrt(np.mean(b * b))
        print(
            f"    {shortest_mm:>2}-{longest_mm:<2} mm: gain {gain:.3f}, correlation {correlation:.3f}, "
            f"error {error_um:.1f} of {true_um:.1f} um"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--noise-deg", type=float, default=1.5)
    parser.add_argument("--bias-deg", type=float, default=2.0)
    arguments = parser.parse_args()
    for scan in arguments.scans:
        print(scan.name)
        for preset in PRESETS:
            judge(scan, preset, arguments.noise_deg, arguments.bias_deg)


if __name__ == "__main__":
    main()
