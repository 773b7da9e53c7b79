"""The dataset card: what is in a dataset, to look at; one self-contained HTML file."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.files import write_text
from ..capture.image_files import srgb_from_linear
from ..dataset.dataset_index import DatasetIndex, read_split
from ..dataset.patch_sampling import region_name
from ..dataset.patch_shards import PatchInfo, ShardReader
from ..dataset.subject_split import SPLITS
from . import html
from .histogram_chart import histogram_chart
from .pictures import colour_map, sheet, shrink
from .transfer_chart import transfer_chart

MOSAIC = 48
THUMBNAIL_PX = 120
LIMIT_MM = 0.2
BINS = 80


def write_card(folder: str | Path, index: DatasetIndex, registrations: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write folder/card.html. registrations: facts of each scan's registration.json, where at hand."""
    folder = Path(folder)
    look = _look(folder, index)
    infos = look.infos
    split = read_split(folder)
    where = {subject: name for name in SPLITS for subject in split[name]}
    per_subject = Counter((info.subject, info.expression) for info in infos)
    parts = [
        html.table(
            [
                ["face model", index.face_model],
                ["maps, patches", f"{index.map_size} and {index.patch_px} texels of {index.texel_mm:.3f} mm (median)"],
                ["patches", f"{index.count():,} of {len(index.scans())} scans; {index.count('wild'):,} wild"],
                ["displacement", f"mm; 99.9 % within {index.height_scale_mm:.2f} mm"],
                ["subjects", ", ".join(f"{name} {len(split[name])}" for name in SPLITS)],
                ["licences", "; ".join(index.licences)],
            ]
        ),
        html.heading("Left out") + html.table([[k, v] for k, v in index.failures.items()] or [["none"]]),
        *_mosaics(look),
        html.heading(
            "Displacement",
            f"Share of texels by height: all valid ones of {look.seen} of the scans' patches, {len(look.counts)} bins; "
            "the outermost take what lies beyond.",
        ),
        histogram_chart(look.counts, look.edges_mm, "mm") if look.counts.any() else "",
        html.heading("Spectrum", "Displacement by wavelength: rms per third of an octave, relative to the highest."),
        transfer_chart([("rms, relative", *look.spectrum)]) if len(look.spectrum[0]) else "",
        html.heading(
            "Regions", "Patches by the region at their centre, and their valid texels by the region they are in."
        ),
        _region_table(infos, look.coverage),
        html.heading("Subjects"),
        html.table(
            [[s, where.get(s, ""), e, str(n)] for (s, e), n in sorted(per_subject.items())],
            ("subject", "split", "expression", "patches"),
        ),
        _basis_parts(folder),
        _registration_parts(registrations),
    ]
    path = folder / "card.html"
    write_text(path, html.page(f"Dataset {index.name}", parts))
    return path


@dataclass(frozen=True, eq=False)
class _Look:
    """What was seen of a dataset: every patch's origin, and the content of up to MOSAIC scan and wild patches."""

    infos: list[PatchInfo]
    textures: list[np.ndarray]
    heights: list[np.ndarray]
    wild: list[np.ndarray]
    seen: int
    counts: np.ndarray
    """(BINS,) valid texels by displacement between edges_mm."""
    edges_mm: np.ndarray
    coverage: np.ndarray
    """(256,) valid texels by region."""
    spectrum: tuple[np.ndarray, np.ndarray]


def _look(folder: Path, index: DatasetIndex) -> _Look:
    infos: list[PatchInfo] = []
    textures, heights, wild, powers = [], [], [], []
    reach = max(index.height_scale_mm, 0.01)
    edges, coverage = np.linspace(-reach, reach, BINS + 1), np.zeros(256, np.int64)
    counts, places = np.zeros(BINS, np.int64), {"scan": 0, "wild": 0}
    for shard in index.shards:
        step = max(index.count(shard.kind) // MOSAIC, 1)
        with ShardReader(folder / shard.file) as reader:
            own = reader.infos()
            for number in range(-places[shard.kind] % step, len(own), step):
                arrays = reader.arrays(number)
                if shard.kind == "wild":
                    wild.append(shrink(arrays["texture_srgb"], THUMBNAIL_PX))
                    continue
                texture = srgb_from_linear(arrays["texture_linear"].astype(np.float32) / 65535)
                good = arrays["valid"] > 0
                height = np.where(good, arrays["displacement_mm"], np.nan)
                textures.append(shrink(texture, THUMBNAIL_PX))
                heights.append(shrink(colour_map(height, -LIMIT_MM, LIMIT_MM, True), THUMBNAIL_PX))
                powers.append(np.abs(np.fft.rfft2(arrays["displacement_mm"] * _window(index.patch_px))) ** 2)
                counts += np.histogram(np.clip(height[good], -reach, reach), edges)[0]
                coverage += np.bincount(arrays["region"][good], minlength=256)
            places[shard.kind] += len(own)
            infos += own if shard.kind == "scan" else []
    return _Look(
        infos, textures[:MOSAIC], heights[:MOSAIC], wild[:MOSAIC], len(powers), counts, edges, coverage,
        _spectrum(powers, index),
    )  # fmt: skip


def _mosaics(look: _Look) -> list[str]:
    note = f"Texture above, displacement below: blue -{LIMIT_MM} mm, red +{LIMIT_MM} mm, dark grey not valid."
    parts = []
    if look.textures:
        pictures = [("", sheet(look.textures, 12)), ("", sheet(look.heights, 12))]
        parts += [html.heading("Patches", note), html.gallery(pictures, 900)]
    if look.wild:
        parts += [html.heading("Wild patches"), html.gallery([("", sheet(look.wild, 12))], 900)]
    return parts


def _region_table(infos: list[PatchInfo], coverage: np.ndarray) -> str:
    patches = Counter(info.label for info in infos)
    labels = sorted({*patches, *np.flatnonzero(coverage).tolist()})
    total = max(int(coverage.sum()), 1)
    rows = [[region_name(k), str(patches[k]), f"{100 * coverage[k] / total:.1f} %"] for k in labels]
    return html.table(rows, ("region", "patches", "valid texels"))


def _spectrum(powers: list[np.ndarray], index: DatasetIndex) -> tuple[np.ndarray, np.ndarray]:
    if not powers:
        return np.zeros(0), np.zeros(0)
    side, texel = index.patch_px, index.texel_mm
    frequency = np.hypot(np.fft.fftfreq(side, texel)[:, None], np.fft.rfftfreq(side, texel))
    edges = np.geomspace(2 / (side * texel), 0.5 / texel, 16)
    number = np.digitize(frequency, edges).ravel()
    total = np.bincount(number, np.mean(powers, axis=0).ravel(), len(edges) + 1)[1:-1]
    rms = np.sqrt(total)
    return 1 / np.sqrt(edges[1:] * edges[:-1]), rms / max(float(rms.max()), 1e-12)


def _window(side: int) -> np.ndarray:
    taper = np.hanning(side)
    return taper[:, None] * taper


def _basis_parts(folder: Path) -> str:
    path = folder / "pca.json"
    if not path.is_file():
        return ""
    facts = json.loads(path.read_text(encoding="utf-8"))
    explained = facts["explained"]
    rows = [[f"{k} components", f"{100 * explained[k - 1]:.2f} %"] for k in (1, 4, 16, 64) if k <= len(explained)]
    if "held_out" in facts:
        held = facts["held_out"]
        rows.append(["held-out subjects", f"{held['oracle_error_um']:.1f} of {held['rms_um']:.1f} um rms are lost"])
    return html.heading("PCA basis", "Energy of the training patches that the first components hold.") + html.table(
        rows
    )


def pooled_agreement(judged: Sequence[Mapping[str, float]]) -> tuple[float, float, float]:
    """(gain, correlation, rms error in micrometres) of several scans as if their texels were one sample, each scan
    weighing the same; from each scan's `gain`, `correlation`, `error_um` and `true_um`."""
    true_um2 = np.array([truth["true_um"] ** 2 for truth in judged])
    gains = np.array([truth["gain"] for truth in judged])
    error_um2 = np.array([truth["error_um"] ** 2 for truth in judged])
    product_um2 = gains * true_um2
    found_um2 = error_um2 + 2 * product_um2 - true_um2
    return (
        float(product_um2.sum() / true_um2.sum()),
        float(product_um2.sum() / np.sqrt(true_um2.sum() * found_um2.sum())),
        float(np.sqrt(error_um2.mean())),
    )


def _registration_parts(registrations: Mapping[str, Mapping[str, Any]]) -> str:
    if not registrations:
        return ""
    rows = []
    for name, facts in sorted(registrations.items()):
        truth = facts.get("truth", {})
        rows.append(
            [
                name, f"{facts['landmark_noise_mm']:.2f}", f"{facts['distance_after_mm']:.2f}",
                f"{100 * facts['valid_share']:.0f} %",
                *(str(truth.get(key, "")) for key in ("correspondence_median_mm", "gain", "correlation", "error_um")),
            ]
        )  # fmt: skip
    judged = [facts["truth"] for facts in registrations.values() if "truth" in facts]
    if len(judged) > 1:
        gain, correlation, error_um = pooled_agreement(judged)
        middle_mm = float(np.median([truth["correspondence_median_mm"] for truth in judged]))
        rows.append(
            ["all together", "", "", "", f"{middle_mm:.3f}", f"{gain:.3f}", f"{correlation:.4f}", f"{error_um:.2f}"]
        )
    header = (
        "scan", "landmarks, mm", "off the depth, mm", "valid", "correspondence, mm", "gain 1-8 mm", "correlation",
        "error, um",
    )  # fmt: skip
    return html.heading("Registration", "The last four against the truth of rendered scans.") + html.table(rows, header)
