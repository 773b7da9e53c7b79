"""`mesoface train dfdn` and `mesoface model export`: the Deep Facial Detail Net, from a dataset to a model."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..capture.errors import UserError
from .train_command import _needs_torch

if TYPE_CHECKING:
    from ..model.dfdn_presets import Preset
    from ..model.dfdn_train import Outcome, Status

LARGEST_SHIPPED = 40e6
"""Bytes: a model to be shipped should not be larger."""


def dfdn(
    dataset: Path,
    *,
    out: Path = Path("runs/dfdn"),
    preset: Literal["paper", "released", "small", "fast"] = "small",
    wild: Path | None = None,
    epochs: float = 250,
    batch: int | None = None,
    lr: float | None = None,
    gan: Literal["log", "lsgan", "none"] | None = None,
    appearance: bool = True,
    refine: bool = True,
    region_conditioning: Annotated[bool, Parameter(negative=())] = False,
    area: Literal["all", "UPPER", "LOWER"] = "all",
    augment: bool = True,
    seed: int = 0,
    evaluate_every: int = 0,
    limit_minutes: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    threads: int | None = None,
    workers: int | None = None,
    compile_network: Annotated[bool, Parameter(name="--compile", negative=())] = False,
    verify: bool = True,
) -> None:
    """Train the Deep Facial Detail Net on a dataset's patches; interrupted runs continue with the same command.

    Example: mesoface train dfdn datasets/studio --out runs/small --preset small --wild datasets/photos --epochs 20

    Several GPUs: torchrun --nproc-per-node 4 -m mesoface.flows.cli train dfdn ...
    The run's folder holds best.pt, last.pt, run.json, log.jsonl and pictures of every evaluation.

    Parameters
    ----------
    dataset
        Folder of `mesoface dataset build`, with its PCA basis.
    out
        Folder of the run.
    preset
        'paper': section 4 as written; 'released': as the authors' code; 'small': few channels, for a CPU;
        'fast': our own, at most a quarter of the paper's parameters and time.
    wild
        Dataset of photographs, for the appearance loss.
    epochs
        The schedule (PDIM alone, supervised, alternating, decay) is stretched to it; may be a fraction.
    batch
        Patches per step and process; by default the preset's.
    lr
        Learning rate; by default the preset's.
    gan
        Adversarial loss; by default the preset's.
    appearance
        --no-appearance: supervised only, even if --wild is given.
    refine
        --no-refine: PDIM alone, without the refinement PDRM.
    region_conditioning
        Tell the network each texel's facial region.
    area
        Patches of one of the paper's two areas only; 'all': one model for the whole face.
    augment
        Mirror and relight patches.
    seed
        Seed of weights, order and noise.
    evaluate_every
        Steps between evaluations and checkpoints; 0: an epoch, at most 500 steps.
    limit_minutes
        Stop after so long with a checkpoint; the same command continues. The schedule does not shrink.
    device
        'auto' takes a GPU if there is one.
    precision
        Of the networks while training; 'auto': bfloat16 on a GPU. It pays too on processors that compute with bfloat16
        (AVX512-BF16, AMX): 1.5 times the steps of 'fast'.
    threads
        Threads for the network on a CPU.
    workers
        Processes that read patches; by default none on a CPU, 4 for a GPU.
    compile_network
        Compile the network with torch.compile: a minute's wait, then faster steps on a GPU.
    verify
        --no-verify: don't compare the shards' hashes first.
    """
    _needs_torch()
    import torch

    from ..capture.files import sha256_file
    from ..dataset.dataset_index import INDEX
    from ..model.dfdn_data import open_training_set, open_wild
    from ..model.dfdn_parallel import join_ranks, leave_ranks
    from ..model.dfdn_train import DfdnTraining, Machine, train_dfdn

    for name, number, low in (("batch", batch, 1), ("threads", threads, 1), ("workers", workers, 0)):
        if number is not None and not low <= number <= 4096:
            raise UserError(f"{name} {number}: allowed are {low} to 4096")
    if limit_minutes is not None and not limit_minutes > 0:
        raise UserError(f"limit-minutes {limit_minutes}: allowed are numbers above 0")
    if evaluate_every < 0:
        raise UserError(f"evaluate-every {evaluate_every}: allowed are 0 and more")
    chosen = _chosen(preset, batch=batch, learning_rate=lr, gan=gan)
    chosen = replace(chosen, refine=refine, region_conditioning=region_conditioning)
    training = DfdnTraining(chosen, epochs, area, seed, augment, evaluate_every)
    kind = _device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    ranks = join_ranks(kind)
    where = f"cuda:{ranks.local}" if kind == "cuda" else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(ranks.local)
    console = Console(quiet=not ranks.first)
    try:
        scans = open_training_set(dataset, area, seed, augment, verify)
        photographs = open_wild(wild, scans.index, area, seed, augment) if wild is not None and appearance else None
        wild_sha256 = sha256_file(wild / INDEX) if wild is not None and photographs is not None else ""
        readers = workers if workers is not None else (4 if kind == "cuda" else 0)
        half = precision == "bfloat16" or (precision == "auto" and kind == "cuda")
        machine = Machine(where, ranks, readers, compile_network, half)
        _introduce(console, chosen, scans, photographs, where)
        began = time.monotonic()
        with _bar(console) as bar, _interruptible() as interrupted:

            def pause() -> str:
                if interrupted():
                    return "interrupted"
                late = limit_minutes is not None and time.monotonic() - began > 60 * limit_minutes
                return f"{limit_minutes:g} minutes are over" if late else ""

            outcome = train_dfdn(
                training, scans, photographs, out, machine=machine, wild_sha256=wild_sha256,
                report=_reporter(console, bar), pause=pause,
            )  # fmt: skip
    finally:
        leave_ranks(ranks)
    _conclude(console, out, outcome)
    if outcome.paused == "interrupted":
        raise KeyboardInterrupt


def export(run: Path, *, out: Path = Path("dfdn.npz")) -> None:
    """Write a trained DFDN as one float16 file, with its PCA basis and units, for `mesoface synthesize --model`.

    Example: mesoface model export runs/fast --out dfdn.npz

    Parameters
    ----------
    run
        Run folder of `mesoface train dfdn` (its best checkpoint), or a checkpoint.
    out
        File to write.
    """
    _needs_torch()
    from ..model.dfdn_model import load_dfdn

    if out.suffix != ".npz":
        raise UserError(f"{out}: give a name that ends in .npz")
    model = load_dfdn(run)
    model.export(out)
    size = out.stat().st_size
    console = Console(soft_wrap=True)
    console.print(
        f"wrote {escape(str(out))}: preset {model.preset.name}, {size / 1e6:.1f} MB, trained on "
        f"{escape(model.about.trained_on)}, {model.about.steps} steps"
    )
    if size > LARGEST_SHIPPED:
        console.print(f"[yellow]larger than the {LARGEST_SHIPPED / 1e6:.0f} MB that a shipped model may have[/]")


def _chosen(name: str, **wanted: Any) -> "Preset":
    from ..model.dfdn_presets import PRESETS

    return replace(PRESETS[name], **{key: value for key, value in wanted.items() if value is not None})


def _device(wanted: str) -> str:
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda: this PyTorch finds no CUDA device; use --device cpu, or install a CUDA build")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM raise a flag that the loop sees after its step; a second Ctrl-C stops at once."""
    asked = []

    def handle(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                    TimeRemainingColumn(elapsed_when_finished=False), console=console)  # fmt: skip


def _reporter(console: Console, bar: Progress) -> "Callable[[Status], None]":
    task = bar.add_task("train", total=None)

    def report(status: "Status") -> None:
        if status.message:
            console.print(f"[yellow]{escape(status.message)}[/]")
            return
        words = f"{status.phase}, epoch {status.epoch:.2f}"
        bar.update(task, completed=status.step, total=status.steps, description=f"{words}, loss {status.loss:.3f}")
        if status.scores is not None:
            zero, pca, fine = status.scores.zero, status.scores.pca, status.scores.fine
            console.print(
                f"step {status.step}: error in the 1-8 mm band {1000 * fine.band_mm:.1f} um "
                f"(PDIM {1000 * pca.band_mm:.1f}, "
                f"zero map {1000 * zero.band_mm:.1f}); mean {1000 * fine.mean_mm:.1f} um (zero map "
                f"{1000 * zero.mean_mm:.1f})"
            )

    return report


def _introduce(console: Console, preset: "Preset", scans: Any, photographs: Any, where: str) -> None:
    from ..model.dfdn_log import tensorboard_installed

    told = f"preset {preset.name} on {where}: {len(scans.train)} patches of {scans.index.name}"
    told += f", {len(photographs)} of photographs" if photographs is not None else ", supervised only"
    console.print(escape(told))
    if not scans.held_out:
        console.print("[yellow]the dataset has no validation subjects: scores are those of training patches[/]")
    if not tensorboard_installed():
        console.print("scalars go to log.jsonl (TensorBoard's files too once `pip install tensorboard` is done)")


def _conclude(console: Console, out: Path, outcome: "Outcome") -> None:
    if outcome.paused:
        console.print(
            f"{escape(outcome.paused)}: stopped at step {outcome.step} of {outcome.steps}; "
            f"{escape(str(out / 'last.pt'))} is written, the same command continues"
        )
    if outcome.history:
        best = min(outcome.history, key=lambda entry: entry["fine_band_mm"])
        share = 100 * (1 - best["fine_band_mm"] / max(best["zero_band_mm"], 1e-12))
        compared = f"{abs(share):.0f} % {'below' if share >= 0 else 'above'} the zero map"
        console.print(
            f"best: step {best['step']}, {1000 * best['fine_band_mm']:.1f} um in the 1-8 mm band, {compared}; patches "
            f"were waited for {100 * outcome.loading:.1f} % of the time"
        )
    console.print(f"run: {escape(str(out))}")
