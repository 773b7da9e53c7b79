"""`mesoface evaluate`: a network against the truth of a dataset, beside baselines."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from ..capture.errors import UserError
from ..capture.files import write_json
from ..model.dfdn_evaluate import (
    ALL,
    NETWORK,
    ZERO,
    Evaluation,
    PatchResult,
    Split,
    evaluate,
    extreme_patches,
    predicted,
)
from ..model.synthesis import BATCH, DetailPredictor
from .evaluate_report import GROUPS, Example, group_rows, score_row, write_evaluation_report
from .studio_commands import progress_display
from .synthesize_command import MOST_BATCH, load_networks

console = Console()

JSON_FILE, REPORT_FILE = "evaluate.json", "report.html"
EXAMPLES = 6
COLUMNS = ("", "patches", "RMSE", "median", "normal deg", "1-8 mm", "vs zero", "gain", "corr")
"""As the report's columns, in few letters."""


def evaluate_network(
    run: Path,
    dataset: Path,
    *,
    split: Split = "test",
    out: Path | None = None,
    baseline_from: Path | None = None,
    batch: int = BATCH,
    limit: int | None = None,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Score a trained network on scan patches: micrometres, normals, bands of wavelengths, region, expression, yaw.

    Beside it: a zero map, a shading baseline (band-passed brightness regressed to height on training patches), the
    truth projected on the PCA basis, and the network's own PCA stage alone. Writes evaluate.json and report.html.

    Example: mesoface evaluate runs/dfdn datasets/virtual --split test

    Parameters
    ----------
    run
        A run of `mesoface train dfdn`, a checkpoint (.pt) or an exported model (.npz); `shipped` is the one that comes
        with mesoface.
    dataset
        A dataset with scan patches of the same face model, map and patch size.
    split
        Which of its subjects.
    out
        Folder of the results; default RUN/evaluate-DATASET-SPLIT, or beside RUN when that is a file.
    baseline_from
        Fit the shading baseline to the training patches of this dataset.
    batch
        Patches at once; halved when memory runs out.
    limit
        At most so many patches, evenly chosen.
    device
        auto, cpu or cuda; auto takes a GPU if there is one.
    json
        Print evaluate.json instead of a table.
    """
    if not 1 <= batch <= MOST_BATCH:
        raise UserError(f"batch is {batch}, allowed are 1 to {MOST_BATCH} patches")
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}, expected 1 or more patches")
    shipped = str(run) == "shipped" and not run.exists()
    model = load_networks([] if shipped else [run], device)[0]
    quiet = Console(stderr=True) if json else console

    def tell(text: str) -> None:
        quiet.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)

    display = progress_display()
    display.disable = json
    with display as progress:
        tasks: dict[str, TaskID] = {}

        def forward(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        found = evaluate(
            model, dataset, split=split, baseline_from=baseline_from, batch=batch, limit=limit, tell=tell,
            progress=forward,
        )  # fmt: skip
    folder = out or _folder(run, shipped, dataset, split)
    write_json(folder / JSON_FILE, {"network": run.name, "trained_on": model.about.trained_on, **found.content()})
    worst, best = (_examples(model, dataset, split, some) for some in extreme_patches(found, EXAMPLES))
    facts = [
        ("network", f"{run.name} ({model.about.trained_on})"),
        ("dataset", f"{found.dataset}, split {split}: {found.patches} patches of {found.patch_px} texels, "
                    f"{found.texel_mm:.3f} mm each"),
    ]  # fmt: skip
    report = write_evaluation_report(folder / REPORT_FILE, f"{run.name} on {found.dataset}", found, facts, worst, best)
    if json:
        console.print((folder / JSON_FILE).read_text(encoding="utf-8"), soft_wrap=True, highlight=False, markup=False)
        return 0
    _show(found)
    console.print(f"report: {escape(str(report))}", soft_wrap=True)
    return 0


def _folder(run: Path, shipped: bool, dataset: Path, split: str) -> Path:
    name = f"evaluate-{dataset.resolve().name}-{split}"
    if shipped:
        return Path("runs") / f"shipped-{name}"
    return run / name if run.is_dir() else run.with_name(f"{run.stem}-{name}")


def _examples(model: DetailPredictor, dataset: Path, split: Split, results: Sequence[PatchResult]) -> list[Example]:
    from ..dataset.torch_patches import PatchDataset

    patches = PatchDataset(dataset, split, verify=False)
    found = predicted(model, patches, [one.index for one in results], None, None)
    return [(one, sample, heights[NETWORK]) for one, (sample, heights) in zip(results, found, strict=True)]


def _show(found: Evaluation) -> None:
    """Tables of the methods, and of the network by groups."""
    zero = found.scores[ZERO]
    _print("methods", [score_row(name, groups[ALL], zero[ALL]) for name, groups in found.scores.items()])
    for words, prefix in GROUPS:
        rows = group_rows(found, prefix)
        if len(rows) > 1:
            _print(f"{words}: network", rows)
    for text in found.notes:
        console.print(escape(text), soft_wrap=True)


def _print(title: str, rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=f"{title} (errors in micrometres)", title_justify="left", box=None, padding=(0, 1))
    for name in COLUMNS:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
