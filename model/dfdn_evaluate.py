"""A network against the truth of a dataset's patches, beside baselines: by region, expression, yaw and wavelength."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..dataset.dataset_index import INDEX, DatasetIndex, read_index
from ..dataset.patch_sampling import region_name
from ..dataset.patch_shards import PatchInfo
from ..dataset.pca_basis import PcaBasis, read_pca
from ..reconstruct.photo import encoded_srgb
from .detail_scores import PatchParts, Score, Tally, judged_texels, patch_parts
from .patch_blend import checked, in_batches
from .shading_baseline import ShadingBaseline, fit_shading
from .synthesis import BATCH, DetailPredictor

if TYPE_CHECKING:
    from ..dataset.torch_patches import PatchDataset

Split = Literal["train", "val", "test", "all"]
ZERO, SHADING, ORACLE, PDIM, NETWORK = "zero map", "shading baseline", "PCA oracle", "PDIM only", "network"
ALL = "all"
PCA_FILE = "pca.npz"
LEAST_JUDGED = 64
"""Texels; patches with fewer are left out."""
YAW = re.compile(r"_yaw([+-]?\d+)")
YAW_BIN_DEG = 10


@dataclass(frozen=True, eq=False)
class PatchSample:
    """One patch with its truth."""

    index: int
    info: PatchInfo
    texture_linear: np.ndarray
    """(P, P, 3) float32."""
    truth_mm: np.ndarray
    valid: np.ndarray
    region: np.ndarray


@dataclass(frozen=True, eq=False)
class PatchResult:
    """Of one patch, in the headline band."""

    index: int
    info: PatchInfo
    error_um: float
    true_um: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores by method and by group of patches."""

    dataset: str
    dataset_sha256: str
    split: str
    texel_mm: float
    patch_px: int
    patches: int
    scores: dict[str, dict[str, Score]]
    """Method -> group ("all", "region nose", "expression smile", "yaw 10-20", "texels nose") -> score."""
    results: tuple[PatchResult, ...]
    notes: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        """Plain data for evaluate.json."""
        return {
            "format": "mesoface-evaluation",
            "schema_version": 1,
            "dataset": self.dataset,
            "dataset_sha256": self.dataset_sha256,
            "split": self.split,
            "texel_mm": self.texel_mm,
            "patch_px": self.patch_px,
            "patches": self.patches,
            "units": "um: micrometres; deg: angle between predicted and true normal; bands: wavelengths in mm",
            "notes": list(self.notes),
            "scores": {
                method: {group: asdict(score) for group, score in groups.items()}
                for method, groups in self.scores.items()
            },
        }


def evaluate(
    model: DetailPredictor,
    dataset: str | Path,
    *,
    split: Split = "test",
    baseline_from: str | Path | None = None,
    batch: int = BATCH,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Evaluation:
    """Score a network on the scan patches of a dataset's split.

    Args:
        baseline_from: dataset whose training split the shading baseline is fitted to; default: `dataset` itself.
        batch: patches at once; halved when memory runs out, which `tell` hears.
        limit: at most so many patches, evenly chosen.
    Raises UserError for a dataset of another face model, map or patch size, and for one without such patches.
    """
    from ..dataset.torch_patches import PatchDataset

    folder = Path(dataset)
    index = read_index(folder)
    check_fits(model, folder, index)
    patches = PatchDataset(folder, split, verify=False)
    notes: list[str] = []
    shading = _shading(folder, None if baseline_from is None else Path(baseline_from), index, notes, progress)
    oracle = _oracle(folder, index, notes)
    chosen = np.arange(len(patches))
    if limit is not None and limit < len(chosen):
        chosen = np.unique(np.linspace(0, len(patches) - 1, limit).round().astype(int))
        notes.append(f"{len(chosen)} of {len(patches)} patches, evenly chosen")
    tallies: dict[str, dict[str, Tally]] = {}
    results: list[PatchResult] = []
    done = left_out = 0
    for sample, heights in predicted(model, patches, chosen.tolist(), shading, oracle, batch=batch, tell=tell):
        done += 1
        progress("patches", done, len(chosen))
        judged = judged_texels(sample.valid)
        if judged.sum() < LEAST_JUDGED:
            left_out += 1
            continue
        truth, *found = patch_parts([sample.truth_mm, *heights.values()], sample.valid, index.texel_mm)
        groups = {name: judged for name in _groups(sample.info)}
        for label in np.unique(sample.region[judged]).tolist():
            groups[f"texels {region_name(label)}"] = judged & (sample.region == label)
        for method, parts in zip(heights, found, strict=True):
            for group, where in groups.items():
                mine = tallies.setdefault(method, {})
                mine.setdefault(group, Tally(index.texel_mm, index.patch_px)).add(parts, truth, where)
        own = found[list(heights).index(NETWORK)]
        results.append(PatchResult(sample.index, sample.info, *_headline_um(own, truth, judged)))
    if left_out:
        notes.append(f"{left_out} patches left out: fewer than {LEAST_JUDGED} texels to judge")
    if not results:
        raise UserError(f"{folder}: no patch of split {split} has {LEAST_JUDGED} valid texels away from its border")
    scores = {method: {group: tally.score() for group, tally in sorted(groups.items())}
              for method, groups in tallies.items()}  # fmt: skip
    return Evaluation(
        str(index.name), sha256_file(folder / INDEX), split, index.texel_mm, index.patch_px, len(results), scores,
        tuple(results), tuple(notes),
    )  # fmt: skip


def predicted(
    model: DetailPredictor,
    patches: "PatchDataset",
    chosen: Sequence[int],
    shading: ShadingBaseline | None,
    oracle: PcaBasis | None,
    *,
    batch: int = BATCH,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[PatchSample, dict[str, np.ndarray]]]:
    """Patches and, by method, their heights (P, P) mm."""

    def work(indices: Sequence[int]) -> list[tuple[PatchSample, np.ndarray, np.ndarray]]:
        samples = [read_sample(patches, index) for index in indices]
        textures = encoded_srgb(np.stack([sample.texture_linear for sample in samples])).astype(np.float32)
        masks = np.stack([sample.valid for sample in samples])
        labels = np.stack([sample.region for sample in samples])
        full = checked(model.displacement_mm(textures, masks, region=labels), masks)
        coarse = checked(model.displacement_mm(textures, masks, pdim_only=True, region=labels), masks)
        return list(zip(samples, full, coarse, strict=True))

    for _, batch_results in in_batches(chosen, batch, work, tell):
        for sample, full, coarse in batch_results:
            heights = {ZERO: np.zeros_like(full)}
            if shading is not None:
                heights[SHADING] = shading.height_mm(sample.texture_linear, sample.valid, sample.info.label)
            if oracle is not None:
                heights[ORACLE] = oracle.patches_mm(oracle.coefficients(sample.truth_mm[None]))[0]
            yield sample, {**heights, PDIM: coarse, NETWORK: full}


def read_sample(patches: "PatchDataset", index: int) -> PatchSample:
    """A scan patch as arrays, channels last. Texels that are no numbers are not valid."""
    item = patches[index]
    texture, truth = item["texture_linear"].numpy().transpose(1, 2, 0), item["displacement_mm"][0].numpy()
    valid = (item["valid"][0].numpy() > 0) & np.isfinite(truth) & np.isfinite(texture).all(2)
    return PatchSample(
        index, patches.infos[index], np.where(valid[..., None], texture, 0), np.where(valid, truth, 0), valid,
        item["region"][0].numpy(),
    )  # fmt: skip


def check_fits(model: DetailPredictor, folder: Path, index: DatasetIndex) -> None:
    """Raises UserError when a network and a dataset do not belong to the same texture space and scale."""
    for name in ("face_model", "map_size", "patch_px"):
        ours, theirs = getattr(model.about, name), getattr(index, name)
        if ours != theirs:
            raise UserError(
                f"{folder}: {name} is {theirs!r}, the network was trained with {ours!r}; evaluate it on a dataset "
                "built with the same face model, map and patch size"
            )


def extreme_patches(evaluation: Evaluation, count: int) -> tuple[list[PatchResult], list[PatchResult]]:
    """Worst and best patches: largest error, and smallest share of the truth's relief among the stronger half."""
    worst = sorted(evaluation.results, key=lambda one: -one.error_um)[:count]
    middle = float(np.median([one.true_um for one in evaluation.results]))
    strong = [one for one in evaluation.results if one.true_um >= max(middle, 1e-6)]
    return worst, sorted(strong, key=lambda one: one.error_um / one.true_um)[:count]


def _headline_um(found: PatchParts, truth: PatchParts, judged: np.ndarray) -> tuple[float, float]:
    own, true = found.headline_mm[judged], truth.headline_mm[judged]
    error, size = (float(1000 * np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (own - true, true))
    return error, size


def _groups(info: PatchInfo) -> list[str]:
    """Names of the groups that a patch as a whole belongs to."""
    turned = YAW.search(info.scan)
    low = YAW_BIN_DEG * (abs(int(turned[1])) // YAW_BIN_DEG) if turned else 0
    yaw = f"{low}-{low + YAW_BIN_DEG}" if turned else "unknown"
    return [ALL, f"region {region_name(info.label)}", f"expression {info.expression or 'unknown'}", f"yaw {yaw}"]


def _shading(
    folder: Path, other: Path | None, index: DatasetIndex, notes: list[str], progress: Callable[[str, int, int], None]
) -> ShadingBaseline | None:
    """Fitted to the training split of the dataset, or of `other`; None and a note when there is none."""
    from ..dataset.torch_patches import PatchDataset

    source = other or folder
    if other is not None and read_index(other).patch_px != index.patch_px:
        raise UserError(f"{other}: patches of {read_index(other).patch_px} texels, {folder} has {index.patch_px}")
    try:
        patches = PatchDataset(source, "train", verify=False)
    except UserError as error:
        if other is not None:
            raise
        notes.append(f"no shading baseline: {error}; --baseline-from DATASET fits it to another dataset")
        return None
    made = fit_shading(patches, index.texel_mm, progress=lambda done, total: progress("shading baseline", done, total))
    notes.append(f"shading baseline: fitted to {made.patches} training patches of {source.name}")
    return made


def _oracle(folder: Path, index: DatasetIndex, notes: list[str]) -> PcaBasis | None:
    """The dataset's basis; None and a note when there is none that fits."""
    try:
        basis = read_pca(folder / PCA_FILE)
    except UserError as error:
        notes.append(f"no PCA oracle: {error}")
        return None
    if basis.mean_mm.shape != (index.patch_px, index.patch_px):
        notes.append(f"no PCA oracle: {PCA_FILE} is of patches of {len(basis.mean_mm)} texels; make it again")
        return None
    notes.append(f"PCA oracle: the truth projected on the {len(basis.components)} components of {folder.name}")
    return basis
