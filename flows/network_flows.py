"""The flows of networks: train them, build the dictionary, synthesize detail. The commands, watched."""

import json
from pathlib import Path
from typing import Literal

from ..capture.files import sha256_file
from .dfdn_command import dfdn
from .dictionary_command import build
from .flow_run import FlowResult, FlowRun
from .picture_batch import result_names
from .proxy_command import Prior, find_images
from .scan_flow_jobs import stage_hash
from .stage import STAGE_FILE
from .synthesize_command import synthesize as synthesize_command
from .train_command import emotion


def train_emotion_net(
    run: FlowRun,
    *,
    source: Path | None = None,
    images: Path | None = None,
    rendered: int = 0,
    out: Path = Path("runs/emotion"),
    validate: Path | None = None,
    epochs: int = 20,
    batch: int = 32,
    balance: bool = True,
    seed: int = 0,
    threads: int = 2,
) -> FlowResult:
    """Train Emotion-Net, as `mesoface train emotion`; interrupted, the same flow continues.

    Example: mesoface flows run train-emotion-net --rendered 8000 --out runs/emotion

    Parameters
    ----------
    source
        AffectNet's training.csv, or a folder with one sub-folder of pictures per emotion.
    images
        For AffectNet: the folder that holds its numbered sub-folders.
    rendered
        Instead of a source: so many rendered faces of seven emotions.
    out
        Folder of the run.
    validate
        Faces for the confusion matrix; without it a tenth is held out.
    epochs
        How often each face is seen.
    batch
        Faces per step.
    balance
        Let rare emotions weigh more.
    seed
        Seed of rendering and training.
    threads
        Threads for the network.
    """
    run.step(
        f"train {out.name}",
        lambda: emotion(
            source,
            images=images,
            rendered=rendered,
            out=out,
            validate=validate,
            epochs=epochs,
            batch=batch,
            balance=balance,
            seed=seed,
            threads=threads,
        ),
    )
    table = json.loads((out / "confusion.json").read_text(encoding="utf-8"))
    rows = [[name, *map(str, row)] for name, row in zip(table["categories"], table["rows_are_truth"], strict=True)]
    run.note("confusion", "Confusion, rows are truth", ("emotion", *table["categories"]), rows)
    return FlowResult(f"{out}: trained", 0, _files(out, "emotion.npz", "confusion.json"), {"run": str(out)})


def build_dictionary(
    run: FlowRun,
    *,
    out: Path,
    face_model: str = "procedural",
    entries: int = 90_000,
    sampling: Literal["normal", "expressions"] = "normal",
    emotion_weights: Path | None = None,
    seed: int = 0,
    workers: int = 2,
) -> FlowResult:
    """Build the expression dictionary, as `mesoface dictionary build`; interrupted, the same flow continues.

    Example: mesoface flows run build-dictionary --out expressions.h5 --entries 90000

    Parameters
    ----------
    out
        File to write (.h5).
    face_model
        procedural, an ICT-FaceKit folder, or a .h5 face model.
    entries
        Faces.
    sampling
        As for `mesoface dictionary build`.
    emotion_weights
        Weights of `mesoface train emotion`; without them the shipped ones.
    seed
        Seed of the faces.
    workers
        Processes that render.
    """
    run.step(
        f"dictionary {out.name}",
        lambda: build(
            out,
            face_model=face_model,
            entries=entries,
            sampling=sampling,
            emotion_weights=emotion_weights,
            seed=seed,
            workers=workers,
        ),
    )
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    run.note("dictionary", "Expression dictionary", ("file", "entries", "size"), [[out.name, str(entries), size]])
    return FlowResult(f"{out}: {entries} entries", 0, {out.name: sha256_file(out)}, {"dictionary": str(out)})


def train_dfdn(
    run: FlowRun,
    dataset: Path,
    *,
    out: Path = Path("runs/dfdn"),
    preset: Literal["paper", "released", "small", "fast"] = "small",
    wild: Path | None = None,
    epochs: float = 250,
    seed: int = 0,
    limit_minutes: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
) -> FlowResult:
    """Train the Deep Facial Detail Net on one machine, as `mesoface train dfdn`; interrupted, the same flow continues.

    Several GPUs or machines: torchrun, without a flow (docs/flows.md).

    Example: mesoface flows run train-dfdn datasets/studio-v001 --out runs/studio --epochs 20

    Parameters
    ----------
    dataset
        Folder of a dataset with its PCA basis.
    out
        Folder of the run.
    preset
        As for `mesoface train dfdn`.
    wild
        Dataset of photographs, for the appearance loss.
    epochs
        The schedule is stretched to it.
    seed
        Seed of weights, order and noise.
    limit_minutes
        Stop after so long with a checkpoint; the same flow continues.
    device
        'auto' takes a GPU if there is one.
    threads
        Threads for the network on a CPU.
    """
    run.step(
        f"train {out.name}",
        lambda: dfdn(
            dataset,
            out=out,
            preset=preset,
            wild=wild,
            epochs=epochs,
            seed=seed,
            limit_minutes=limit_minutes,
            device=device,
            threads=threads,
        ),
    )
    log = out / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    last = {key: value for key, value in (lines[-1] if lines else {}).items() if isinstance(value, int | float | str)}
    run.note("training", f"Last record of {out.name}", ("what", "value"), [[k, f"{v}"] for k, v in last.items()])
    return FlowResult(f"{out}: trained", 0, _files(out, "best.pt", "run.json"), {"run": str(out)})


def synthesize(
    run: FlowRun,
    source: Path,
    *,
    model: list[Path] = [],  # noqa: B006
    out: Path = Path("results"),
    size: int = 2048,
    overlap: int = 50,
    prior: Prior = "none",
    dictionary: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> FlowResult:
    """Predict the skin detail of a photograph, or of a folder of them, as `mesoface synthesize`.

    Example: mesoface flows run synthesize portraits --out results

    Parameters
    ----------
    source
        A picture, or a folder of them.
    model
        As for `mesoface synthesize`.
    out
        Folder of the results.
    size
        Side of the maps in texels.
    overlap
        Of neighbouring patches in percent.
    prior
        Where the expression comes from.
    dictionary
        File of `mesoface dictionary build`.
    device
        auto takes a GPU if there is one.
    """
    code = run.step(
        f"synthesize {source.name}",
        lambda: synthesize_command(
            source, model=model, out=out, size=size, overlap=overlap, prior=prior, dictionary=dictionary, device=device
        ),
    )
    folders = {name: out / name / "detail" for name in result_names(find_images(source)).values()}
    hashes = {name: stage_hash(folder) for name, folder in folders.items() if (folder / STAGE_FILE).is_file()}
    run.note("detail", "Skin detail", ("picture", "state"), [[n, "made" if n in hashes else "failed"] for n in folders])
    for name in list(hashes)[:20]:
        run.link(f"report-{name}", folders[name] / "report.html", f"report of {name}")
    made = {name: str(folders[name]) for name in hashes}
    failures = {name: "no result; see failures.json" for name in folders if name not in hashes}
    return FlowResult(f"{len(hashes)} of {len(folders)} pictures", code, hashes, made, failures)


def _files(folder: Path, *names: str) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}
