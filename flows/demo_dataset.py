"""The demo's dataset: every take reconstructed, in texture space, cut into patches; shards, split, basis, card."""

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.files import sha256_file
from ..capture.image_files import read_tiff
from ..dataset.assemble import assemble, read_face_patches
from ..dataset.dataset_index import read_index, read_split
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.uv_maps import read_uv_maps
from ..dataset.uv_registration import RegistrationOptions
from ..reconstruct.face_load import load_face_model
from . import html
from .dataset_basis import fit_basis, train_count
from .dataset_card import write_card
from .dataset_jobs import ScanJob, build_scan
from .dataset_stages import PATCHES_FILE, ModelInUse, model_in_use
from .demo_figures import Figure, worst
from .demo_people import scan_folder
from .demo_plan import DemoPlan, Person
from .demo_steps import Shown, in_parallel
from .pictures import map_with_scale, shrink
from .stage import Stage, run_stage

FACE_MODEL = "procedural"
COMPONENTS = 24
"""Of the basis: a few dozen faces would be needed for more."""
DAMPING_TEXELS = 25.0
"""Half of the usual, so that as many patches find a place."""
LIMIT_MM = 0.3


def reconstruct_all(
    pool: ProcessPoolExecutor, out: Path, plan: DemoPlan, takes: Mapping[Person, Path], calibration: Path, shown: Shown
) -> dict[Person, Path]:
    """Stages of every take, two at a time, from its raw files to its patches; folders of the stages by person."""
    registration = RegistrationOptions(size=plan.map_size)
    sampling = SamplingOptions(
        patch=plan.patch, count=plan.count, least_valid=0.6, damping_sigma=DAMPING_TEXELS, jitter=16
    )  # fmt: skip
    results = {person: out / "scans" / person.name for person in takes}
    jobs = [
        (ScanJob(take, results[person], calibration, FACE_MODEL, registration, sampling, None, plan.seed, True,
                 scan_folder(out, person) / "truth"),)
        for person, take in takes.items()
    ]  # fmt: skip
    in_parallel(pool, _build, jobs, shown, "takes")
    return results


def _build(job: ScanJob) -> None:
    build_scan(job, _model(job.registration.size))


@cache
def _model(size: int) -> ModelInUse:
    """Once per process: loading it costs seconds."""
    return model_in_use(load_face_model(FACE_MODEL), size)


def demo_dataset(out: Path, plan: DemoPlan, scans: Mapping[Person, Path], shown: Shown) -> Path:
    """out/dataset of all takes, one person held out; a valid one is kept."""
    patches = {person: folder / "patches" / PATCHES_FILE for person, folder in scans.items()}

    def work(folder: Path) -> tuple[str, ...]:
        faces = [read_face_patches(path) for path in patches.values()]
        held_out = 1 / len(plan.subjects)
        shares = {"train": 1 - held_out, "val": 0.0, "test": held_out}
        index = assemble(faces, folder, "demo", shares=shares, seed=plan.seed, progress=shown)
        fit_basis(folder, index, min(COMPONENTS, train_count(folder, index)), plan.seed, shown)
        write_card(folder, index, {person.name: registration(results) for person, results in scans.items()})
        return ()

    parameters = {"seed": plan.seed, "components": COMPONENTS}
    inputs = {person.name: sha256_file(path) for person, path in patches.items()}
    return run_stage(out / "dataset", Stage("demo-dataset", 1, parameters, inputs), work).folder


def registration(results: Path) -> dict[str, Any]:
    """Facts of a take's registration; `truth` holds its errors."""
    return json.loads((results / "uv/registration.json").read_text(encoding="utf-8"))


def dataset_figures(plan: DemoPlan, dataset: Path, scans: Mapping[Person, Path]) -> list[Figure]:
    """Registration of the worst take, displacement in texture space, and what the basis can hold of a new face."""
    found = [registration(results)["truth"] for results in scans.values()]
    held_out = json.loads((dataset / "pca.json").read_text(encoding="utf-8"))["held_out"]
    bounds = plan.bounds
    return [
        Figure("dataset: correspondence, median of the worst take", worst(f["correspondence_median_mm"] for f in found),
               "mm", bounds["correspondence"], True, "dataset"),
        Figure("dataset: displacement in texture space, correlation, worst take",
               worst((f["correlation"] for f in found), False), "", bounds["texture space"], False, "dataset"),
        Figure("dataset: what the basis loses of the held-out person", held_out["oracle_error_um"] / held_out["rms_um"],
               "of the relief", bounds["oracle"], True, "dataset"),
    ]  # fmt: skip


def dataset_parts(out: Path, dataset: Path, scans: Mapping[Person, Path]) -> list[str]:
    """What the report shows of it."""
    index, split = read_index(dataset), read_split(dataset)
    first, results = next(iter(scans.items()))
    maps = read_uv_maps(results / "uv")
    full = read_tiff(scan_folder(out, first) / "truth/uv/displacement_mm.tif")[0]
    true_mm = cv2.resize(full, (maps.size, maps.size), interpolation=cv2.INTER_AREA)
    rows, columns = np.nonzero(maps.valid)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    texture = np.clip(maps.texture_linear / max(float(np.quantile(maps.texture_linear, 0.99)), 1e-6), 0, 1)
    shown = (255 * texture ** (1 / 2.2)).astype(np.uint8)
    heights = []
    for words, field in (("displacement", maps.displacement_mm), ("true displacement", true_mm)):
        seen = shrink(np.where(maps.valid, field, np.nan)[window], 420)
        heights.append((words, map_with_scale(seen, "mm", True, LIMIT_MM)))
    table = []
    for person, folder in scans.items():
        facts = registration(folder)
        truth = facts["truth"]
        table.append([
            person.name, f"{truth['correspondence_median_mm']:.2f} mm", f"{truth['correlation']:.2f}",
            f"{truth['error_um']:.0f} of {truth['true_um']:.0f} micrometres", f"{100 * facts['valid_share']:.0f} %",
        ])  # fmt: skip
    return [
        html.table([
            ["patches", f"{index.count()} of {index.patch_px} texels, {index.texel_mm:.2f} mm each"],
            ["trained on", ", ".join(split["train"])],
            ["held out", ", ".join(split["test"])],
            ["card", (dataset / "card.html").relative_to(out).as_posix()],
        ]),
        html.table(table, ("take", "correspondence", "displacement, correlation", "its error", "texels that are sure")),
        html.gallery([("diffuse texture of " + first.name, shrink(shown[window], 420)), *heights], 300),
        html.gallery([("patches: texture and displacement", _mosaic(dataset))], 900),
    ]  # fmt: skip


def _mosaic(dataset: Path, count: int = 8, side: int = 110) -> np.ndarray:
    """Pairs of texture and displacement of patches all over the dataset."""
    from ..dataset.torch_patches import PatchDataset
    from ..reconstruct.photo import encoded_srgb

    patches = PatchDataset(dataset, "all", verify=False)
    columns = []
    for number in np.linspace(0, len(patches) - 1, count).round().astype(int):
        item = patches[int(number)]
        texture = encoded_srgb(item["texture_linear"].numpy().transpose(1, 2, 0))
        picture = np.rint(255 * np.clip(texture, 0, 1)).astype(np.uint8)
        height = np.where(item["valid"][0].numpy() > 0, item["displacement_mm"][0].numpy(), np.nan)
        pair = [shrink(picture, side), map_with_scale(shrink(height, side), "mm", True, LIMIT_MM)]
        columns.append(np.pad(np.concatenate(pair), ((0, 0), (0, 6), (0, 0)), constant_values=255))
    return np.concatenate(columns, axis=1)
