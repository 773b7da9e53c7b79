"""The dataset card: what is in a dataset, to look at; one self-contained HTML file."""

import json
from collections import Counter
from collections.abc import Mapping
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
from .pictures import colour_map, sheet, shrink
from .transfer_chart import transfer_chart

MOSAIC = 48
THUMBNAIL_PX = 120
LIMIT_MM = 0.2


def write_card(folder: str | Path, index: DatasetIndex, registrations: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write folder/card.html. registrations: facts of each scan's registration.json, where at hand."""
    folder = Path(folder)
    infos, textures, heights, spectrum = _look(folder, index)
    split = read_split(folder)
    where = {subject: name for name in SPLITS for subject in split[name]}
    per_subject = Counter((info.subject, info.expression) for info in infos)
    regions = Counter(region_name(info.label) for info in infos)
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
        html.heading("Patches", f"Texture above, displacement below: blue -{LIMIT_MM} mm, red +{LIMIT_MM} mm."),
        html.gallery([("", sheet(textures, 12)), ("", sheet(heights, 12))], 1400),
        html.heading("Spectrum", "Displacement by wavelength: rms per third of an octave, relative to the highest."),
        transfer_chart([("rms, relative", *spectrum)]) if len(spectrum[0]) else "",
        html.heading("Regions") + html.table([[name, str(n)] for name, n in sorted(regions.items())]),
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


def _look(
    folder: Path, index: DatasetIndex
) -> tuple[list[PatchInfo], list[np.ndarray], list[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Infos of all scan patches, thumbnails of some, and the mean spectrum of those."""
    infos: list[PatchInfo] = []
    textures, heights, powers = [], [], []
    step = max(index.count() // MOSAIC, 1)
    for shard in index.shards:
        if shard.kind != "scan":
            continue
        with ShardReader(folder / shard.file) as reader:
            own = reader.infos()
            for number in range(-len(infos) % step, len(own), step):
                arrays = reader.arrays(number)
                texture = srgb_from_linear(arrays["texture_linear"].astype(np.float32) / 65535)
                height = np.where(arrays["valid"] > 0, arrays["displacement_mm"], np.nan)
                textures.append(shrink(texture, THUMBNAIL_PX))
                heights.append(shrink(colour_map(height, -LIMIT_MM, LIMIT_MM, True), THUMBNAIL_PX))
                powers.append(np.abs(np.fft.rfft2(arrays["displacement_mm"] * _window(index.patch_px))) ** 2)
            infos += own
    return infos, textures[:MOSAIC], heights[:MOSAIC], _spectrum(powers, index)


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
    header = (
        "scan", "landmarks, mm", "off the depth, mm", "valid", "correspondence, mm", "gain 1-8 mm", "correlation",
        "error, um",
    )  # fmt: skip
    return html.heading("Registration", "The last four against the truth of rendered scans.") + html.table(rows, header)
