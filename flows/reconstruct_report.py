"""Reports of the detail stages: what the flashes saw, normals, displacement, and errors where the truth is known."""

from pathlib import Path

import numpy as np

from ..capture.files import write_text
from ..capture.image_files import srgb_from_linear
from ..reconstruct.detail import Normals
from ..reconstruct.detail_files import NormalsResult
from ..reconstruct.detail_truth import (
    BANDS_MM,
    FEWEST_LIGHTS,
    DisplacementTruth,
    band,
    displacement_fits,
    displacement_transfer,
    displacement_truth,
    normal_error_deg,
)
from ..reconstruct.displacement import GeometryPair, surface_normals
from ..reconstruct.eq9_perspective import log_depth
from ..reconstruct.geometry_files import GeometryResult
from ..reconstruct.geometry_truth import depth_error, read_centre_truth
from . import html
from .pictures import map_with_scale, normal_picture, relief, sheet, shrink
from .transfer_chart import transfer_chart

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
                ["blur of the skin", _scatter_words(normals)],
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
    if normals.lobes is not None:
        lobes = normals.lobes
        found = lobes.confidence > 0
        parts += [
            html.heading("Specular lobes", "Fitted to the highlights; they count as far as they are confident."),
            html.gallery(
                [
                    ("specular normals", shrink(normal_picture(lobes.normal)[window], WIDTH_PX)),
                    ("roughness", _map(lobes.roughness, found, window, "sqrt of alpha", 0.8)),
                    ("strength", _map(lobes.strength, found, window, "of the coat", 2.0)),
                    ("confidence", _map(lobes.confidence, found, window, "0 to 1", 1.0)),
                ],
                300,
            ),
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
    ]
    curves = [("preset", np.geomspace(3 * pair.pixel_mm, 64, 60))]
    curves = [(name, mm, np.array([float(preset.gain(w, pair.pixel_mm)) for w in mm])) for name, mm in curves]
    if len(normals.noise_share):
        shown = normals.noise_wavelength_mm > 3 * pair.pixel_mm
        coherence = np.sqrt(np.clip(1 - normals.noise_share[shown], 0, 1))
        curves.append(("coherence, estimated", normals.noise_wavelength_mm[shown], coherence))
    checked = None if truth is None else displacement_truth(pair, normals.start_mm, camera, truth, centre)
    if checked is not None and checked.judged.sum() > 2000:
        transfer = displacement_transfer(pair, checked)
        curves += [
            ("measured gain", transfer.wavelength_mm, transfer.gain),
            ("measured coherence", transfer.wavelength_mm, transfer.coherence),
        ]
    parts += [
        html.heading(
            "Transfer function",
            "Share of a wrinkle that the displacement keeps, by wavelength. Coherence is estimated from what the "
            "colour channels share of one relief"
            + ("; measured curves are against the truth, on plain skin." if checked else "."),
        ),
        transfer_chart(curves),
        html.table(_band_rows(pair, normals), ("wavelengths", "displacement, um rms", "noise floor, um rms")),
    ]
    if truth is not None and checked is not None:
        parts += _truth_parts(pair, fine, geometry, truth, checked, centre, window)
    return _write(folder, f"Displacement of {name}", parts)


def _truth_parts(
    pair: GeometryPair,
    fine: np.ndarray,
    geometry: GeometryResult,
    truth: Path,
    checked: DisplacementTruth,
    centre: str,
    window: tuple[slice, slice],
) -> list[str]:
    known = read_centre_truth(truth, centre)
    region = known.region(geometry.camera) & pair.mask
    found_mm, true_mm = pair.displacement_mm - checked.base_share_mm, checked.true_mm
    rows = [
        [
            f"{fit.shortest_mm:g} to {fit.longest_mm:g} mm", f"{fit.gain:.3f}", f"{fit.correlation:.3f}",
            f"{fit.error_um:.1f}", f"{fit.true_um:.1f}", f"{raw.gain:.3f}", f"{raw.correlation:.3f}",
        ]
        for fit, raw in zip(
            displacement_fits(pair, checked), displacement_fits(pair, checked, less_base=False), strict=True
        )
    ]  # fmt: skip
    depth = depth_error(pair.fine_mm.astype(np.float32), known.depth_mm, region)
    return [
        html.heading(
            "Against the truth",
            "On forehead, cheeks, chin and around the mouth, 6 mm off brows, lids, nose, lips and borders. The folds "
            "of the smooth face itself reach into the displacement's band: what the same solves make of the face "
            "without detail is taken off first, but for the last two columns.",
        ),
        html.table(
            rows,
            ("wavelengths", "gain", "correlation", "error, um rms", "true, um rms", "with folds: gain", "correlation"),
        ),
        html.table([_angle_row("normals of the fine surface", normal_error_deg(fine, known, region))], _ANGLES),
        html.table([["fine surface, depth", f"{depth.median_mm:.3f} mm median", f"{depth.p95_mm:.3f} mm at 95 %"]]),
        html.gallery(
            [
                (
                    "found, less the smooth face",
                    _signed(np.where(region, found_mm, np.nan), window, "mm", DISPLACEMENT_LIMIT_MM),
                ),
                ("true", _signed(np.where(region, true_mm, np.nan), window, "mm", DISPLACEMENT_LIMIT_MM)),
                (
                    "found minus true",
                    _signed(np.where(region, found_mm - true_mm, np.nan), window, "mm", 0.1),
                ),
            ],
            360,
        ),
    ]


def _scatter_words(normals: Normals) -> str:
    if normals.scatter is None:
        return "as it is, not undone"
    if normals.scatter.scale == 0:
        return "none found"
    return f"undone: {normals.scatter.scale:.2f} of the published skin profile's width, read off the colour channels"


def _band_rows(pair: GeometryPair, normals: NormalsResult) -> list[list[str]]:
    """Own height of the displacement by band, and what of it noise accounts for."""
    there, rows = pair.mask & np.isfinite(pair.displacement_mm), []
    for shortest_mm, longest_mm in BANDS_MM:
        if shortest_mm < 2 * pair.pixel_mm:
            continue
        part = band(np.nan_to_num(pair.displacement_mm), there, shortest_mm, longest_mm, pair.pixel_mm)[there]
        own_um, floor = 1000 * float(np.sqrt(np.mean(part.astype(np.float64) ** 2))), "not measured"
        if len(normals.noise_share):
            middle = np.log(np.sqrt(shortest_mm * longest_mm))
            order = np.argsort(normals.noise_wavelength_mm)
            share = np.interp(middle, np.log(normals.noise_wavelength_mm[order]), normals.noise_share[order])
            floor = f"{own_um * float(np.sqrt(share)):.1f}"
        rows.append([f"{shortest_mm:g} to {longest_mm:g} mm", f"{own_um:.1f}", floor])
    return rows


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
