"""The demo's network: a short training on the demo's own dataset, and its scores on the person it has never seen."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..capture.files import sha256_file, write_json
from ..capture.image_files import write_png
from ..dataset.dataset_index import INDEX
from ..model.detail_scores import HEADLINE_MM
from ..model.dfdn_evaluate import ALL, NETWORK, ZERO, PatchResult, evaluate, extreme_patches, predicted
from . import html
from .dataset_basis import PCA_FILE
from .demo_chart import step_chart
from .demo_figures import Figure
from .demo_plan import DemoPlan
from .demo_steps import Shown
from .evaluate_report import HEADER, example_strip, score_row, write_evaluation_report
from .stage import Stage, run_stage

if TYPE_CHECKING:
    from ..model.dfdn_train import DfdnTraining, Status
    from ..model.synthesis import DetailPredictor

MODEL_FILE, HISTORY_FILE = "dfdn.npz", "history.json"
EXAMPLES = 2


def train_demo(out: Path, plan: DemoPlan, dataset: Path, shown: Shown) -> Path:
    """The exported network in out/network; a valid one is kept, an interrupted training continues from out/run."""
    from ..model.dfdn_data import open_training_set
    from ..model.dfdn_model import load_dfdn
    from ..model.dfdn_parallel import Ranks
    from ..model.dfdn_presets import PRESETS
    from ..model.dfdn_train import DfdnTraining, settings_of, train_dfdn

    preset = replace(PRESETS["small"], learning_rate=plan.learning_rate, weight_slope=plan.slope)
    training = DfdnTraining(preset, plan.epochs, seed=plan.seed, evaluate_steps=plan.checkpoint_steps)
    run = out / "run"

    def work(folder: Path) -> tuple[str, ...]:
        scans = open_training_set(dataset, training.area, training.seed, training.augment)
        settings = settings_of(training, scans, "", Ranks())
        if not _continues(run, settings):
            shutil.rmtree(run, ignore_errors=True)

        def report(status: "Status") -> None:
            shown(f"loss {status.loss:.3f}", status.step, status.steps)

        with _one_thread():
            outcome = train_dfdn(training, scans, None, run, report=report)
        load_dfdn(run).export(folder / MODEL_FILE)
        write_json(folder / HISTORY_FILE, list(outcome.history))
        last = max((run / "pictures").glob("step_*.png"))
        shutil.copyfile(last, folder / "patches.png")
        return ()

    return run_stage(out / "network", Stage("demo-network", 1, _plain(training), _inputs(dataset)), work).folder


@contextmanager
def _one_thread() -> Iterator[None]:
    """Patches this small leave a second thread little to do but wait; on a busy machine both wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _continues(run: Path, settings: dict[str, Any]) -> bool:
    """Is what was begun in `run` the same training?"""
    try:
        found = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError):
        return False
    return found == json.loads(json.dumps(settings))


def _plain(training: "DfdnTraining") -> dict[str, Any]:
    return json.loads(json.dumps(asdict(training)))


def _inputs(dataset: Path) -> dict[str, str]:
    return {name: sha256_file(dataset / name) for name in (INDEX, PCA_FILE)}


def evaluate_demo(out: Path, dataset: Path, network: Path, shown: Shown) -> Path:
    """out/evaluation: scores, report and pictures of the held-out person's patches; a valid one is kept."""
    from ..model.dfdn_model import load_dfdn

    def work(folder: Path) -> tuple[str, ...]:
        model = load_dfdn(network / MODEL_FILE)
        with _one_thread():
            found = evaluate(model, dataset, split="test", progress=shown)
        write_json(folder / "evaluate.json", found.content())
        worst, best = (_examples(model, dataset, some) for some in extreme_patches(found, EXAMPLES))
        facts = [("network", model.about.trained_on), ("dataset", f"{found.patches} patches of the held-out person")]
        write_evaluation_report(folder / "report.html", "The demo's network", found, facts, worst, best)
        rows = [score_row(name, groups[ALL], found.scores[ZERO][ALL]) for name, groups in found.scores.items()]
        captions = []
        for kind, examples in (("worst", worst), ("best", best)):
            for number, example in enumerate(examples):
                words, strip = example_strip(example)
                captions.append([f"{kind}_{number}.png", f"{kind} patch: {words}"])
                write_png(folder / captions[-1][0], strip)
        write_json(folder / "table.json", {"rows": rows, "captions": captions})
        return tuple(found.notes)

    inputs = {**_inputs(dataset), MODEL_FILE: sha256_file(network / MODEL_FILE)}
    return run_stage(out / "evaluation", Stage("demo-evaluation", 1, {"examples": EXAMPLES}, inputs), work).folder


def _examples(model: "DetailPredictor", dataset: Path, results: Sequence[PatchResult]) -> list[Any]:
    from ..dataset.torch_patches import PatchDataset

    patches = PatchDataset(dataset, "test", verify=False)
    found = predicted(model, patches, [one.index for one in results], None, None)
    return [(one, sample, heights[NETWORK]) for one, (sample, heights) in zip(results, found, strict=True)]


def training_figures(plan: DemoPlan, network: Path, evaluation: Path) -> list[Figure]:
    """Error left on what was trained on, and on the held-out person, as shares of a zero map's."""
    history = json.loads((network / HISTORY_FILE).read_text(encoding="utf-8"))
    best = min(history, key=lambda entry: entry["fine_band_mm"])
    scores = json.loads((evaluation / "evaluate.json").read_text(encoding="utf-8"))["scores"]
    own, zero = (_headline(scores[name][ALL]) for name in (NETWORK, ZERO))
    band = f"{HEADLINE_MM[0]:g} to {HEADLINE_MM[1]:g} mm"
    return [
        Figure(f"training: error on its own patches, {band}", best["fine_band_mm"] / best["zero_band_mm"],
               "of a zero map's", plan.bounds["training"], True, "training"),
        Figure(f"evaluation: error on the held-out person, {band}", own["rmse_um"] / zero["rmse_um"],
               "of a zero map's", plan.bounds["evaluation"], True, "evaluation"),
        Figure("evaluation: correlation with the truth of the held-out person", own["correlation"], "",
               plan.bounds["evaluation correlation"], False, "evaluation"),
    ]  # fmt: skip


def _headline(score: dict[str, Any]) -> dict[str, float]:
    return score["headline"]


def training_parts(out: Path, network: Path) -> list[str]:
    """What the report shows of the training."""
    history = json.loads((network / HISTORY_FILE).read_text(encoding="utf-8"))
    log = out / "run/log.jsonl"
    return [
        step_chart(
            [entry["step"] for entry in history],
            [(words, [1000 * entry[f"{name}_band_mm"] for entry in history])
             for words, name in (("network", "fine"), ("its PCA stage alone", "pca"), ("zero map", "zero"))],
            f"micrometres, {HEADLINE_MM[0]:g} to {HEADLINE_MM[1]:g} mm, on the training patches",
        ),
        html.table([["network", (network / MODEL_FILE).relative_to(out).as_posix()],
                    ["losses of every tenth step", log.relative_to(out).as_posix()]]),
        html.gallery([("patches that it was trained on, at the end", _picture(network / "patches.png"))], 420),
    ]  # fmt: skip


def evaluation_parts(out: Path, evaluation: Path) -> list[str]:
    """What the report shows of the evaluation."""
    table = json.loads((evaluation / "table.json").read_text(encoding="utf-8"))
    return [
        html.table(table["rows"], HEADER),
        html.gallery([(words, _picture(evaluation / name)) for name, words in table["captions"]], 620),
        html.table([["by region, expression and wavelength", "evaluation/report.html"]]),
    ]


def _picture(path: Path) -> np.ndarray:
    import cv2

    image = cv2.imread(str(path))
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1])
