"""Reports of the detail stages: what the flashes saw, normals, displacement, and errors where the truth is known."""

from pathlib import Path

import numpy as np

from ..capture.files import write_text
from ..capture.image_files import srgb_from_linear
from ..reconstruct.detail import Normals
from ..reconstruct.detail_files import NormalsResult
from ..reconstruct.detail_truth import FEWEST_LIGHTS, displacement_fits, normal_error_deg
from ..reconstruct.displacement import GeometryPair, surface_normals
from ..reconstruct.eq9_perspective import log_depth
from ..reconstruct.geometry_files import GeometryResult
from ..reconstruct.geometry_truth import depth_error, read_centre_truth
from . import html
from .pictures import map_with_scale, normal_picture, relief, sheet, shrink

WIDTH_PX = 460
LIGHTS_CAM = ((-0.85, -0.2, -0.4), (-0.5, -0.7, -0.4), (0.0, -0.9, -0.4), (0.5, -0.7, -0.4), (0.85, -0.2, -0.4))
"""A raking light going around the face, for the relit row."""
DISPLACEMENT_LIMIT_MM = 0.3


def write_normals_report(
    folder: Path, name: str, normals: Normals, geometry: GeometryResult, truth: Path | None, centre: str
) -> Path:
    """Write folder/report.html of the normals stage."""
    maps, window = normals.maps, _window(geometry.mask)
    pairs = [
        [
            facts.light, f"{facts.gain:.3f}", f"{100 * facts.leak:.2f} %", f"{facts.moved_mm:.2f} mm",
            f"{facts.pair_shift_px[0]:+.2f}, {facts.pair_shift_px[1]:+.2f} px", f"{100 * facts.clipped:.2f} %",
        ]
        for facts in normals.pairs.facts
    ]  # fmt: skip
    parts = [
        html.table(
            [
                ["lights used", f"{len(normals.pairs.diffuse.names)} of {len(normals.pairs.expected)}"],
                ["pose of the images", f"that of {normals.pairs.reference}"],
                ["pixels solved", f"{int(maps.solved.sum()):,}"],
                ["seconds", ", ".join(f"{what} {value:.0f}" for what, value in normals.seconds.items())],
            ]
        ),
        html.heading("Warnings") + html.table([[text] for text in normals.warnings or ("none",)]),
        html.heading(
            "Pairs", "Gain: exposure of the crossed over the parallel frame. Leak: highlight left in the crossed one."
        ),
        html.table(pairs, ("flash", "gain", "leak", "head moved", "within the pair", "burnt out")),
        html.heading("Separated light", "Means over the flashes. Diffuse is twice the crossed image."),
        html.gallery(
            [
                ("diffuse", _photo(normals.diffuse, window)),
                ("specular", _photo(normals.specular, window)),
                ("albedo", _photo(maps.albedo, window, white=1.0)),
            ],
            360,
        ),
        html.heading("Normals"),
        html.gallery(
            [
                ("normals", shrink(normal_picture(maps.normal)[window], WIDTH_PX)),
                ("confidence", _map(maps.confidence, maps.solved, window, "0 to 1", 1.0)),
                ("lights that count", _map(maps.lights, maps.solved, window, "lights", float(maps.lights.max()))),
                ("misfit of the light model", _map(maps.residual, maps.solved, window, "relative", 0.2)),
            ],
            300,
        ),
        html.gallery([("relit by a raking light, without albedo", _relit(maps.normal, window))], 1200),
    ]
    if truth is not None:
        known = read_centre_truth(truth, centre)
        region = known.region(geometry.camera) & (maps.lights >= FEWEST_LIGHTS)
        angles = normal_error_deg(maps.normal, known, region)
        off = np.full(region.shape, np.nan, np.float32)
        there = region & maps.solved
        off[there] = normal_error_deg(maps.normal, known, there)
        parts += [
            html.heading(
                "Error against the truth",
                "Over the face without its rim, seen from under 72 degrees and lit by four or more flashes.",
            ),
            html.table([_angle_row("photometric normals", angles)], _ANGLES),
            html.gallery([("angle between found and true normal", _map(off, there, window, "deg", 6.0))], 460),
        ]
    return _write(folder, f"Normals of {name}", parts)


def write_displacement_report(
    folder: Path,
    name: str,
    pair: GeometryPair,
    normals: NormalsResult,
    geometry: GeometryResult,
    truth: Path | None,
    centre: str,
) -> Path:
    """Write folder/report.html of the displacement stage."""
    window, camera, preset = _window(pair.mask), geometry.camera, pair.preset
    fine = surface_normals(log_depth(pair.fine_mm, pair.mask), pair.mask, camera)
    wavelengths = [w for w in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64) if w > 3 * pair.pixel_mm]
    gains = [[f"{w:g} mm", f"{float(preset.gain(w, pair.pixel_mm)):.3f}"] for w in wavelengths]
    rms_um = 1000 * float(np.sqrt(np.mean(pair.displacement_mm[pair.mask] ** 2)))
    parts = [
        html.table(
            [
                ["preset", preset.name],
                ["pixel on the subject", f"{pair.pixel_mm:.3f} mm"],
                ["mu of fine and base surface", ", ".join(f"{mu:.3g} per px^2" for mu in preset.mu(pair.pixel_mm))],
                ["displacement, rms over the face", f"{rms_um:.0f} micrometres"],
                ["iterations of the solver", f"{pair.fine.iterations} and {pair.base.iterations}"],
            ]
        ),
        html.heading("Warnings") + html.table([[text] for text in normals.warnings or ("none",)]),
        html.heading("Displacement", "Height above the base surface along its normal; positive is outward."),
        html.gallery(
            [
                ("displacement", _signed(pair.displacement_mm, window, "mm", DISPLACEMENT_LIMIT_MM)),
                ("base surface as relief", shrink(relief(pair.base_normal_camera)[window], WIDTH_PX)),
                ("fine surface as relief", shrink(relief(fine)[window], WIDTH_PX)),
            ],
            360,
        ),
        html.gallery([("fine surface under a raking light", _relit(fine, window))], 1200),
        html.heading("What the preset keeps", "Share of a wrinkle in the displacement, by wavelength."),
        html.table(gains, ("wavelength", "gain")),
    ]
    if truth is not None:
        parts += _truth_parts(pair, fine, geometry, truth, centre, window)
    return _write(folder, f"Displacement of {name}", parts)


def _truth_parts(
    pair: GeometryPair,
    fine: np.ndarray,
    geometry: GeometryResult,
    truth: Path,
    centre: str,
    window: tuple[slice, slice],
) -> list[str]:
    from ..capture.image_files import read_tiff

    known = read_centre_truth(truth, centre)
    region = known.region(geometry.camera) & pair.mask
    true_mm = read_tiff(truth / centre / "displacement_mm.tif")[0]
    rows = [
        [
            f"{fit.shortest_mm:g} to {fit.longest_mm:g} mm", f"{fit.gain:.3f}", f"{fit.correlation:.3f}",
            f"{fit.error_um:.1f}", f"{fit.true_um:.1f}",
        ]
        for fit in displacement_fits(pair, truth, centre)
    ]  # fmt: skip
    depth = depth_error(pair.fine_mm.astype(np.float32), known.depth_mm, region)
    return [
        html.heading(
            "Against the truth",
            "On forehead, cheeks, chin and around the mouth, 6 mm off brows, lids, nose, lips and borders. Gain by "
            "wavelength is this scan's measured transfer function.",
        ),
        html.table(rows, ("wavelengths", "gain", "correlation", "error, um rms", "true, um rms")),
        html.table([_angle_row("normals of the fine surface", normal_error_deg(fine, known, region))], _ANGLES),
        html.table([["fine surface, depth", f"{depth.median_mm:.3f} mm median", f"{depth.p95_mm:.3f} mm at 95 %"]]),
        html.gallery(
            [
                ("found", _signed(np.where(region, pair.displacement_mm, np.nan), window, "mm", DISPLACEMENT_LIMIT_MM)),
                ("true", _signed(np.where(region, true_mm, np.nan), window, "mm", DISPLACEMENT_LIMIT_MM)),
                (
                    "found minus true",
                    _signed(np.where(region, pair.displacement_mm - true_mm, np.nan), window, "mm", 0.1),
                ),
            ],
            360,
        ),
    ]


_ANGLES = ("", "mean", "median", "90 %", "99 %")


def _angle_row(what: str, angles_deg: np.ndarray) -> list[str]:
    if not len(angles_deg):
        return [what, "-", "-", "-", "-"]
    shares = np.percentile(angles_deg, [50, 90, 99])
    return [what, f"{angles_deg.mean():.2f} deg", *(f"{share:.2f} deg" for share in shares)]


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.nonzero(mask)
    margin = max((int(rows.max()) - int(rows.min())) // 20, 4)
    return (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin),
    )


def _photo(linear: np.ndarray, window: tuple[slice, slice], white: float | None = None) -> np.ndarray:
    part = np.nan_to_num(linear[window])
    bright = white or max(float(np.quantile(part.max(2), 0.995)), 1e-6) / 0.85
    return shrink(srgb_from_linear(part / bright), WIDTH_PX)


def _map(values: np.ndarray, there: np.ndarray, window: tuple[slice, slice], unit: str, limit: float) -> np.ndarray:
    shown = np.where(there, values, np.nan).astype(np.float32)
    return map_with_scale(shrink(shown[window], WIDTH_PX), unit, False, limit)


def _signed(values: np.ndarray, window: tuple[slice, slice], unit: str, limit: float) -> np.ndarray:
    return map_with_scale(shrink(values.astype(np.float32)[window], WIDTH_PX), unit, True, limit)


def _relit(normal_cam: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    return sheet([shrink(relief(normal_cam, light)[window], 280) for light in LIGHTS_CAM], len(LIGHTS_CAM))


def _write(folder: Path, title: str, parts: list[str]) -> Path:
    path = folder / "report.html"
    write_text(path, html.page(title, parts))
    return path
