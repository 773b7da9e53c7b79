"""Everything that training changes, so that it can be put aside and taken up again bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..capture.errors import UserError
from .dfdn_checkpoint import DfdnAbout, pack
from .dfdn_presets import Preset

if TYPE_CHECKING:
    import torch


@dataclass(eq=False)
class TrainingState:
    """Networks, optimisers and counters. Batches and noise follow from `step` alone (dfdn_data.py)."""

    network: Any
    averaged: Any
    """The network whose weights are kept: a running mean, or `network` itself."""
    optimizer: Any
    discriminator: Any
    """None without an adversarial loss."""
    disc_optimizer: Any
    step: int = 0
    unsupervised: int = 0
    """Batches of photographs seen."""
    best_mm: float = float("inf")
    seconds: float = 0.0
    chunks: int = 1
    """A batch is computed in so many parts: more than one after memory ran out."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Scores at each evaluation."""

    def follow(self) -> None:
        """After a step: let the running mean of the weights follow."""
        import torch

        if self.averaged is self.network:
            return
        keep = min(self.network.preset.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for old, new in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
                old.lerp_(new, 1 - keep) if old.dtype.is_floating_point else old.copy_(new)


def new_state(preset: Preset, network: Any, device: "torch.device") -> TrainingState:
    """A state at step 0, on a device."""
    import copy

    import torch

    from .dfdn_networks import build_discriminator

    network = network.to(device, memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).requires_grad_(False) if preset.average else network
    betas = (0.5, 0.999)
    optimizer = torch.optim.Adam(network.parameters(), preset.learning_rate, betas)
    if preset.gan == "none":
        return TrainingState(network, averaged, optimizer, None, None)
    disc = build_discriminator(preset).to(device, memory_format=torch.channels_last)
    return TrainingState(
        network, averaged, optimizer, disc, torch.optim.Adam(disc.parameters(), preset.learning_rate, betas)
    )


def as_content(state: TrainingState, preset: Preset, about: DfdnAbout, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint to continue from: a model to infer with (its averaged weights), and all the rest."""
    import torch

    content = pack(state.averaged, preset, about)
    rest: dict[str, Any] = {
        "settings": dict(settings), "step": state.step, "unsupervised": state.unsupervised, "best_mm": state.best_mm,
        "seconds": state.seconds, "chunks": state.chunks, "history": state.history,
        "optimizer": state.optimizer.state_dict(), "torch_rng": torch.get_rng_state(),
    }  # fmt: skip
    if state.averaged is not state.network:
        rest["trained"] = {name: value.detach().cpu() for name, value in state.network.state_dict().items()}
    if torch.cuda.is_available():
        rest["cuda_rng"] = torch.cuda.get_rng_state()
    if state.discriminator is not None:
        rest["discriminator"] = state.discriminator.state_dict()
        rest["disc_optimizer"] = state.disc_optimizer.state_dict()
    return {**content, "training": rest}


def restore(state: TrainingState, path: Path, content: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Take up what `as_content` put aside. Raises UserError when it belongs to other settings."""
    import torch

    rest = content.get("training")
    if rest is None:
        raise UserError(f"{path}: a model without its training state; it can be used but not continued")
    found = rest["settings"]
    differ = sorted(name for name in {*found, *settings} if found.get(name) != settings.get(name))
    if differ:
        was = ", ".join(f"{name} {found.get(name)!r}" for name in differ)
        now = ", ".join(f"{name} {settings.get(name)!r}" for name in differ)
        raise UserError(
            f"{path}: cannot be continued with other settings: it was trained with {was}; this run asks for {now}. "
            "Give the same settings and dataset, or another --out"
        )
    try:
        state.averaged.load_state_dict(content["network"])
        if state.averaged is not state.network:
            state.network.load_state_dict(rest["trained"])
        state.optimizer.load_state_dict(rest["optimizer"])
        if state.discriminator is not None:
            state.discriminator.load_state_dict(rest["discriminator"])
            state.disc_optimizer.load_state_dict(rest["disc_optimizer"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: does not fit the networks of these settings ({error}); use another --out") from None
    torch.set_rng_state(rest["torch_rng"])
    if "cuda_rng" in rest and torch.cuda.is_available():
        torch.cuda.set_rng_state(rest["cuda_rng"])
    state.step, state.unsupervised, state.best_mm = rest["step"], rest["unsupervised"], rest["best_mm"]
    state.seconds, state.chunks, state.history = rest["seconds"], rest["chunks"], list(rest["history"])
