"""Report of an evaluation: scores beside the baselines, curves over wavelength, the worst and the best patches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..capture.files import write_text
from ..dataset.patch_sampling import region_name
from ..model.detail_scores import HEADLINE_MM, Score
from ..model.dfdn_evaluate import ALL, NETWORK, ZERO, Evaluation, PatchResult, PatchSample
from ..reconstruct.photo import encoded_srgb
from . import html
from .pictures import caption, map_with_scale, sheet, shrink
from .transfer_chart import transfer_chart

PATCH_PX = 200
HEADER = (
    "", "patches", "RMSE, um", "median, um", "normal, deg", "1-8 mm RMSE, um", "against zero map", "gain",
    "correlation",
)  # fmt: skip
Example = tuple[PatchResult, PatchSample, np.ndarray]
"""What became of a patch, the patch, and its predicted height (P, P) mm."""


def write_evaluation_report(
    path: Path, title: str, evaluation: Evaluation, facts: Sequence[tuple[str, str]], worst: Sequence[Example],
    best: Sequence[Example],
) -> Path:  # fmt: skip
    """Write the page; facts: rows about network and dataset."""
    parts = [
        html.table([*([left, right] for left, right in facts), *(["note", text] for text in evaluation.notes)]),
        html.heading(
            "Methods",
            f"Over all judged texels. The band of {HEADLINE_MM[0]:g} to {HEADLINE_MM[1]:g} mm is the one that counts; "
            "against zero map: its error less than a flat surface makes. Gain: strength of the prediction along the "
            "truth; a regression to the mean keeps it below 1.",
        ),
        html.table([score_row(name, groups[ALL], evaluation.scores[ZERO][ALL])
                    for name, groups in evaluation.scores.items()], HEADER),
        html.heading("Correlation with the truth by wavelength"),
        _chart(evaluation, lambda band: band.correlation),
        html.heading("Gain by wavelength"),
        _chart(evaluation, lambda band: band.gain),
        html.heading("Error by wavelength", "RMS error over the RMS of the truth: 1 is the zero map, 0 is perfect."),
        _chart(evaluation, lambda band: band.rmse_um / max(band.true_um, 1e-9)),
        *(part for words, prefix in GROUPS for part in _group_table(evaluation, words, prefix)),
        html.heading("Worst patches", "Largest error in the band; one scale for truth, prediction and error."),
        html.gallery([example_strip(one) for one in worst], 900),
        html.heading("Best patches", "Smallest share of the truth left as error, among the stronger half."),
        html.gallery([example_strip(one) for one in best], 900),
    ]  # fmt: skip
    write_text(path, html.page(title, parts))
    return path


GROUPS = (
    ("By region at the patch's centre", "region "), ("By region of the texels", "texels "),
    ("By expression", "expression "), ("By yaw, degrees", "yaw "),
)  # fmt: skip
"""Headings and the prefixes of groups."""


def score_row(name: str, score: Score, zero: Score) -> list[str]:
    """Cells below `HEADER`."""
    better = 1 - score.headline.rmse_um / max(zero.headline.rmse_um, 1e-9)
    return [
        name, f"{score.patches}", f"{score.rmse_um:.1f}", f"{score.median_um:.1f}", f"{score.normal_mean_deg:.2f}",
        f"{score.headline.rmse_um:.2f}", f"{-100 * better:+.1f} %" if abs(better) > 1e-12 else "0",
        f"{score.headline.gain:.2f}", f"{score.headline.correlation:.2f}",
    ]  # fmt: skip


def group_rows(evaluation: Evaluation, prefix: str, method: str = NETWORK) -> list[list[str]]:
    """Rows of a method for all groups whose name begins with `prefix`."""
    return [
        score_row(group.removeprefix(prefix), score, evaluation.scores[ZERO][group])
        for group, score in evaluation.scores[method].items()
        if group.startswith(prefix)
    ]


def _group_table(evaluation: Evaluation, words: str, prefix: str) -> list[str]:
    return [html.heading(words, "The network alone."), html.table(group_rows(evaluation, prefix), HEADER)]


def _chart(evaluation: Evaluation, value) -> str:
    curves = []
    for name, groups in evaluation.scores.items():
        octaves = groups[ALL].octaves
        if name == ZERO or len(octaves) < 2:
            continue
        middle = np.array([np.sqrt(band.shortest_mm * band.longest_mm) for band in octaves])
        curves.append((name, middle, np.array([value(band) for band in octaves])))
    return transfer_chart(curves) if curves else html.table([["patches too small for a curve over wavelength"]])


def example_strip(one: Example) -> tuple[str, np.ndarray]:
    result, sample, found = one
    truth = np.where(sample.valid, sample.truth_mm, np.nan)
    seen = np.where(sample.valid, found, np.nan)
    limit = max(float(np.nanpercentile(np.abs(truth), 99)), 0.005)
    texture = np.rint(255 * np.clip(encoded_srgb(sample.texture_linear), 0, 1)).astype(np.uint8)
    pictures = [
        shrink(texture, PATCH_PX),
        *(map_with_scale(shrink(values, PATCH_PX), "mm", True, limit) for values in (truth, seen, seen - truth)),
    ]
    strip = sheet(
        [caption(image, text) for image, text in zip(pictures, ("texture", "truth", "network", "error"), strict=True)],
        len(pictures),
    )
    info = result.info
    return (
        f"{info.scan}, {info.expression or 'no expression'}, {region_name(info.label)}: error "
        f"{result.error_um:.1f} of {result.true_um:.1f} micrometres in the band",
        strip,
    )
