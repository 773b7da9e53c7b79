"""Training of the DFDN (section 4): one visible loop, on any number of processes, resumable at any step.

    for every batch of scans:  PDIM alone, or PDIM and PDRM  (Eqs. 6, 7, 10)
        later, in turn:        a batch of photographs        (Eqs. 8, 11-14)
    now and then:              scores on held-out subjects, a checkpoint, a picture

A run's folder holds run.json, last.pt (to continue from), best.pt (least error in BAND_MM on held-out subjects),
log.jsonl and pictures/.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..capture.files import write_json
from ..dataset.torch_patches import PatchDataset
from .dfdn_checkpoint import BEST, LAST, DfdnAbout, read_checkpoint, write_checkpoint
from .dfdn_data import BatchStream, TrainingSet, on_device
from .dfdn_log import RunLog
from .dfdn_parallel import Ranks, any_rank, average_statistics, same_start
from .dfdn_pictures import write_score_grid
from .dfdn_presets import Preset
from .dfdn_schedule import PAPER_SCHEDULE
from .dfdn_score import Scores, score
from .dfdn_state import TrainingState, as_content, new_state, restore
from .dfdn_step import Stepper

if TYPE_CHECKING:
    import torch

EVALUATE_STEPS = 500
"""An epoch, but not more steps, lies between evaluations."""
LOG_STEPS = 10


@dataclass(frozen=True, slots=True)
class DfdnTraining:
    """What the result depends on, besides the data."""

    preset: Preset
    """Its learning_rate, batch, gan and refine may be changed with dataclasses.replace."""
    epochs: float = 250
    area: str = "all"
    seed: int = 0
    augment: bool = True
    evaluate_steps: int = 0
    """Steps between evaluations; 0: an epoch, at most EVALUATE_STEPS."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it is computed."""

    device: str = "cpu"
    ranks: Ranks = field(default_factory=Ranks)
    workers: int = 0
    """Processes that read patches."""
    compile: bool = False
    half: bool = False
    """bfloat16 autocast: on a GPU, and on processors with instructions for it (1.5 times the steps of `fast`)."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is."""

    step: int
    steps: int
    epoch: float
    phase: str
    loss: float
    scores: Scores | None = None
    """Fresh ones, at an evaluation."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a call of `train_dfdn`."""

    step: int
    steps: int
    paused: str
    """Why it stopped early; "" when training is complete."""
    history: tuple[dict[str, float], ...]
    loading: float
    """Share of this call's training time that went into waiting for patches."""


def train_dfdn(
    training: DfdnTraining,
    scans: TrainingSet,
    wild: PatchDataset | None,
    out: Path,
    *,
    machine: Machine = Machine(),
    wild_sha256: str = "",
    report: Callable[[Status], None] = lambda status: None,
    pause: Callable[[], str] = lambda: "",
) -> Outcome:
    """Train, or continue from `out`/last.pt.

    wild: photographs' patches for the appearance loss; None: supervised only. pause: asked after every step; when it
    returns a reason a checkpoint is written and training stops, to be continued by the same call.
    Raises UserError for a checkpoint of other settings or a damaged one, for NaN, and when memory is too small.
    """
    import torch

    from .dfdn_networks import build_dfdn

    preset, ranks, device = training.preset, machine.ranks, torch.device(machine.device)
    schedule = PAPER_SCHEDULE.scaled(training.epochs)
    common = {"seed": training.seed, "rank": ranks.rank, "ranks": ranks.count, "workers": machine.workers}
    stream = BatchStream(scans.train, preset.batch, **common)
    wild_stream = BatchStream(wild, preset.batch, **common) if wild is not None else None
    steps = max(1, round(training.epochs * stream.per_epoch))
    every = training.evaluate_steps or min(stream.per_epoch, EVALUATE_STEPS)
    settings = settings_of(training, scans, wild_sha256, ranks)

    torch.manual_seed(training.seed)
    network = build_dfdn(preset, scans.basis, scans.index.height_scale_mm)
    state = new_state(preset, network, device)
    log = RunLog(out, ranks.first)
    if (out / LAST).exists():
        restore(state, out / LAST, read_checkpoint(out / LAST), settings)
    for made in (state.network, state.averaged, state.discriminator):
        if made is not None:
            same_start(made, ranks)
    if ranks.first:
        write_json(out / "run.json", {"settings": settings, "steps": steps, "mesoface": version("mesoface")})
    log.begin(state.step)

    def say(message: str) -> None:
        log.write({"step": state.step, "message": message})
        report(Status(state.step, steps, state.step / stream.per_epoch, "", float("nan"), None, message))

    stepper = Stepper(
        state, torch.compile(network) if machine.compile else network, ranks,
        lambda: torch.autocast(device.type, torch.bfloat16, enabled=machine.half), say,
    )  # fmt: skip
    keeper = _Keeper(state, training, scans, wild, out, settings, log, ranks, stream.per_epoch)
    if state.step == 0:
        report(Status(0, steps, 0.0, "start", float("nan"), keeper.evaluate(device)))
    batches, pictures = stream.batches(state.step), None
    started, before, waited, paused = time.monotonic(), state.seconds, 0.0, ""
    network.train()
    while state.step < steps:
        epoch = state.step / stream.per_epoch
        phase = schedule.phase(epoch) if wild_stream is not None or epoch < schedule.pdim_only else "supervised"
        _set_rate(state, preset.learning_rate * schedule.rate(epoch))
        asked = time.monotonic()
        batch = on_device(next(batches), device)
        waited += time.monotonic() - asked
        told = stepper.supervised(batch, _noise(training, state.step, 0, batch, ranks), phase == "pdim")
        if phase == "alternating" and wild_stream is not None:
            pictures = pictures or wild_stream.batches(state.unsupervised)
            asked = time.monotonic()
            batch = on_device(next(pictures), device)
            waited += time.monotonic() - asked
            told |= stepper.unsupervised(batch, _noise(training, state.step, 1, batch, ranks))
            state.unsupervised += 1
        state.step += 1
        state.follow()
        state.seconds = before + time.monotonic() - started
        loss = sum(value for name, value in told.items() if name != "discriminator")
        if state.step % LOG_STEPS == 0 or state.step == steps:
            rate = preset.learning_rate * schedule.rate(epoch)
            log.write({"step": state.step, "epoch": state.step / stream.per_epoch, "phase": phase, "rate": rate,
                       "loss": loss, **told, "seconds": state.seconds})  # fmt: skip
        scores = None
        if state.step % every == 0 or state.step == steps:
            scores = keeper.evaluate(device)
        report(Status(state.step, steps, state.step / stream.per_epoch, phase, loss, scores))
        reason = pause()
        if any_rank(bool(reason), device, ranks) and state.step < steps:
            paused = reason or "another process asked"
            break
    keeper.keep()
    log.close()
    spent = time.monotonic() - started
    return Outcome(state.step, steps, paused, tuple(state.history), waited / max(spent, 1e-9))


def settings_of(training: DfdnTraining, scans: TrainingSet, wild_sha256: str, ranks: Ranks) -> dict[str, Any]:
    """Plain data that a run must share with the checkpoint it continues from."""
    preset = {
        f"preset.{name}": list(value) if isinstance(value, tuple) else value
        for name, value in asdict(training.preset).items()
    }
    rest = {name: value for name, value in asdict(training).items() if name != "preset"}
    hashes = {"dataset": scans.dataset_sha256, "pca": scans.pca_sha256, "wild": wild_sha256}
    return {**preset, **rest, **hashes, "processes": ranks.count}


@dataclass(eq=False)
class _Keeper:
    """Scores and checkpoints of a run."""

    state: TrainingState
    training: DfdnTraining
    scans: TrainingSet
    wild: PatchDataset | None
    out: Path
    settings: dict[str, Any]
    log: RunLog
    ranks: Ranks
    per_epoch: int

    def evaluate(self, device: "torch.device") -> Scores | None:
        """Score the averaged weights, keep the best and the last; every process calls it, the first one works."""
        state = self.state
        self._synchronise()
        if not self.ranks.first:
            return None
        scores = score(state.averaged, self.scans.check, device, self.scans.index.texel_mm)
        entry: dict[str, float] = {"step": state.step, "epoch": state.step / self.per_epoch}
        for name, errors in (("zero", scores.zero), ("pca", scores.pca), ("fine", scores.fine)):
            entry |= {f"{name}_{what}": value for what, value in asdict(errors).items()}
        state.history.append(entry)
        self.log.write({**entry, "seconds": state.seconds})
        write_score_grid(self.out / "pictures" / f"step_{state.step:07d}.png", scores)
        if scores.fine.band_mm < state.best_mm:
            state.best_mm = scores.fine.band_mm
            write_checkpoint(self.out / BEST, {**self._content(), "training": None})
        self._write_last()
        return scores

    def keep(self) -> None:
        """Write last.pt."""
        self._synchronise()
        if self.ranks.first:
            self._write_last()

    def _synchronise(self) -> None:
        for made in (self.state.network, self.state.averaged):
            average_statistics(made, self.ranks)

    def _write_last(self) -> None:
        write_checkpoint(self.out / LAST, self._content())

    def _content(self) -> dict[str, Any]:
        index, state = self.scans.index, self.state
        subjects = {info.subject for info in self.scans.train.infos}
        words = (
            f"{index.name}: {len(self.scans.train)} patches of {len(subjects)} subjects ({'; '.join(index.licences)})"
        )
        if self.wild is not None:
            words += f"; {self.wild.index.name}: {len(self.wild)} patches of photographs"
        about = DfdnAbout(
            index.face_model, index.map_size, index.patch_px, index.texel_mm, index.height_scale_mm,
            self.training.area, self.scans.dataset_sha256, self.scans.pca_sha256, words, state.step,
            state.step / self.per_epoch, version("mesoface"),
        )  # fmt: skip
        return as_content(state, self.training.preset, about, self.settings)


def _set_rate(state: TrainingState, rate: float) -> None:
    for optimizer in (state.optimizer, state.disc_optimizer):
        for group in optimizer.param_groups if optimizer is not None else ():
            group["lr"] = rate


def _noise(
    training: DfdnTraining, step: int, turn: int, batch: dict[str, "torch.Tensor"], ranks: Ranks
) -> "torch.Tensor | None":
    """z of a step: (B, Z, P, P) standard normal, the same whether resumed or not."""
    import torch

    planes = training.preset.noise_channels
    if not planes:
        return None
    seed = ((training.seed * 1_000_003 + step) * 2 + turn) * 4099 + ranks.rank
    count, _, *size = batch["valid"].shape
    made = torch.randn((count, planes, *size), generator=torch.Generator().manual_seed(seed % 2**63))
    return made.to(batch["valid"].device)
