"""Contact sheet and report of a rendered scan: every exposure, and the truth maps with their scales."""

from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_text
from ..capture.image_files import read_tiff, srgb_from_linear, write_png
from ..reconstruct.scan_folder import read_manifest
from ..reconstruct.studio_checks import Check, check_scan
from . import html
from .pictures import caption, map_with_scale, normal_picture, relief, sheet, shrink

DISPLAY_GAIN = 1.6
"""Thumbnails are brightened, because a crossed image holds half of the diffuse light."""


def shot_picture(path: Path) -> np.ndarray:
    """A linear sensor TIFF as uint8 sRGB at full size."""
    image, facts = read_tiff(path)
    black, white = facts["black_level"], facts["white_level"]
    return srgb_from_linear(DISPLAY_GAIN * (image.astype(np.float32) - black) / (white - black))


def face_window(folder: Path, camera: str, margin: float = 0.04) -> tuple[slice, slice]:
    """Rows and columns of the head in a view, with some air; as wide as it is high times 0.75 where there is room."""
    mask = cv2.imread(str(folder / f"truth/{camera}/mask_head.png"), cv2.IMREAD_GRAYSCALE)
    if mask is None or not mask.any():
        raise UserError(f"{folder}/truth/{camera}/mask_head.png: no head to show; render the scan again")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    air = int(margin * mask.shape[0])
    top, bottom = max(rows[0] - air, 0), min(rows[-1] + air, mask.shape[0])
    half = max((columns[-1] - columns[0]) // 2 + air, int(0.375 * (bottom - top)))
    middle = (columns[0] + columns[-1]) // 2
    return slice(top, bottom), slice(max(middle - half, 0), min(middle + half, mask.shape[1]))


def contact_sheet(folder: Path, width_px: int = 150, columns: int = 8) -> np.ndarray:
    """All exposures and the main truth maps of a scan as one picture."""
    shots = sorted((folder / "images").glob("*.tif"))
    centre = face_window(folder, centre_camera(folder))
    tiles = []
    for path in shots:
        name = path.stem[3:]
        window = face_window(folder, name.removeprefix("uniform_")) if name.startswith("uniform_") else centre
        tiles.append(caption(shrink(shot_picture(path)[window], width_px), name.replace("_", " ")))
    for title, picture in truth_pictures(folder, width_px):
        tiles.append(caption(picture, title))
    return sheet(tiles, columns)


def centre_camera(folder: Path) -> str:
    """Name of the centre camera of a scan."""
    cameras = read_manifest(folder)["content"]["rig"]["cameras"]
    return next(c["name"] for c in cameras if c["role"] in ("centre", "centre_parallel"))


def truth_pictures(folder: Path, width_px: int) -> list[tuple[str, np.ndarray]]:
    """Titles and pictures of the centre view's truth."""
    centre = folder / "truth" / centre_camera(folder)
    window = face_window(folder, centre.name)
    normal = read_tiff(centre / "normal_cam.tif")[0][window]
    displacement = read_tiff(centre / "displacement_mm.tif")[0][window]
    depth = read_tiff(centre / "depth_mm.tif")[0][window]
    albedo = read_tiff(centre / "albedo.tif")[0][window]
    return [
        ("relief", shrink(relief(normal), width_px)),
        ("normals", shrink(normal_picture(normal), width_px)),
        ("albedo", shrink(srgb_from_linear(np.nan_to_num(albedo, nan=0.02)), width_px)),
        ("displacement", map_with_scale(shrink(displacement, width_px), "mm", diverging=True)),
        ("depth", map_with_scale(shrink(depth, width_px), "mm", diverging=False)),
    ]


def close_ups(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Full-size windows of forehead, eye and cheek: crossed, parallel, relief, displacement."""
    import json

    centre = folder / "truth" / centre_camera(folder)
    landmarks = json.loads((folder / "truth/landmarks.json").read_text())["points_mm"]
    camera = json.loads((folder / "cameras.json").read_text())["cameras"][centre.name]
    rotation = np.array(camera["rotation_cam_from_world"])
    normal, displacement = read_tiff(centre / "normal_cam.tif")[0], read_tiff(centre / "displacement_mm.tif")[0]
    shots = {p.stem.split("_", 1)[1]: p for p in (folder / "images").glob("*.tif")}
    name = next(stem.removesuffix("_cross") for stem in sorted(shots) if stem.endswith("_cross"))
    crossed, parallel = shot_picture(shots[f"{name}_cross"]), shot_picture(shots[f"{name}_parallel"])
    half = max(16, int(28 * camera["fx_px"] / camera["translation_mm_cam_from_world"][2]))
    pictures = []
    for title, indices, lift_mm in (
        ("forehead", (21, 22), 35.0),
        ("left eye", (45,), 0.0),
        ("nose and cheek", (31,), 4.0),
    ):
        points = [landmarks[i] for i in indices]
        if any(p is None for p in points):
            continue
        anchor_mm = np.mean(points, axis=0) + np.array([0, lift_mm, 0])
        point = rotation @ anchor_mm + camera["translation_mm_cam_from_world"]
        x = int(camera["fx_px"] * point[0] / point[2] + camera["cx_px"])
        y = int(camera["fy_px"] * point[1] / point[2] + camera["cy_px"])
        window = (slice(max(y - half, 0), y + half), slice(max(x - half, 0), x + half))
        for kind, picture in (("parallel", parallel), ("crossed", crossed), ("true relief", relief(normal))):
            pictures.append((f"{title}, {kind}", picture[window]))
        pictures.append(
            (f"{title}, displacement", map_with_scale(shrink(displacement[window], 320), "mm", diverging=True))
        )
    return pictures


def check_rows(checks: list[Check]) -> list[list[str]]:
    """Table rows of a scan's self-checks."""
    return [
        [c.name, f"{c.value:.4g} {c.unit}", f"{c.bound:.3g} {c.unit}", "ok" if c.passed else "FAILED"] for c in checks
    ]


def write_scan_report(folder: Path, seconds: float | None = None) -> Path:
    """Write contact-sheet.png and report.html into a scan folder; returns the report's path."""
    manifest = read_manifest(folder)
    options, facts = manifest["content"]["options"], manifest["facts"]
    write_png(folder / "contact-sheet.png", contact_sheet(folder))
    shots = [
        (p.stem.replace("_", " "), shrink(shot_picture(p), 420)) for p in sorted((folder / "images").glob("*.tif"))
    ]
    rows = [
        ["subject, expression", f"{options['subject']}, {options['expression']}"],
        ["image size", f"{options['width_px']} x {options['height_px']} px"],
        ["mesh", f"{facts['vertices']:,} vertices, {facts['triangles']:,} triangles"],
        [
            "light",
            f"interreflection {_on(options['interreflection'])}, subsurface scattering {_on(options['subsurface'])}, "
            f"{options['diffuse']} diffuse, analyser leak {options['leak']:.3g}, noise {_on(options['noise'])}",
        ],
    ]
    if seconds is not None:
        rows.append(["time of this run", f"{seconds:.0f} s"])
    checks = check_scan(folder)
    parts = [
        html.table(rows),
        html.heading("Self-checks", "Computed from the files of this folder alone."),
        html.table(check_rows(checks), ("check", "found", "bound", "")),
        html.heading(
            "Close-ups", "Highlights vanish in the crossed image; what remains is the skin's own colour and shape."
        ),
        html.gallery(close_ups(folder), 300),
        html.heading(
            "Exposures", "Five views in uniform light, then nine flashes, each parallel and crossed, from the centre."
        ),
        html.gallery(shots, 260),
        html.heading("Truth of the centre view"),
        html.gallery(truth_pictures(folder, 420), 300),
    ]
    path = folder / "report.html"
    write_text(path, html.page(f"Virtual scan: subject {options['subject']}, {options['expression']}", parts))
    return path


def _on(value: bool) -> str:
    return "on" if value else "off"
