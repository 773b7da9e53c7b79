"""One step of training: forward, losses, backward, update; in parts when memory is short."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..capture.errors import UserError
from .appearance_loss import appearance_loss, eroded
from .dfdn_data import parts
from .dfdn_losses import discriminator_loss, generator_loss, geometry_loss, texel_weights
from .dfdn_parallel import Ranks, average_gradients
from .dfdn_state import TrainingState
from .patch_blend import out_of_memory

if TYPE_CHECKING:
    import torch

Batch = dict[str, "torch.Tensor"]
Terms = dict[str, "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Stepper:
    """How steps are computed; what they change is in the state."""

    state: TrainingState
    forward: Any
    """The network, or its compiled form."""
    ranks: Ranks
    autocast: Callable[[], AbstractContextManager[Any]]
    say: Callable[[str], None]

    def supervised(self, batch: Batch, noise: "torch.Tensor | None", pdim_only: bool) -> dict[str, float]:
        """Eq. 6 on scans: adversarial term plus lambda times L_scans; D learns from the same maps."""
        preset = self.state.network.preset
        adversarial = self.state.discriminator is not None and not pdim_only

        def losses(part: Batch) -> Terms:
            found, seen = self._run(part, pdim_only)
            terms = geometry_loss(
                preset, self.state.network, found, part["displacement_mm"], part["valid"], part["weight"], pdim_only
            )
            terms = {name: preset.lambda_ * value for name, value in terms.items()}
            if adversarial:
                share = len(part["valid"]) / len(batch["valid"])
                terms |= {name: share * value for name, value in self._adversarial(part, found[1], seen).items()}
            return terms

        return self._update({**batch, "weight": texel_weights(batch["valid"])}, noise, losses)

    def unsupervised(self, batch: Batch, noise: "torch.Tensor | None") -> dict[str, float]:
        """Eqs. 8 and 14 on photographs: lambda eta L_recon."""
        preset = self.state.network.preset

        def losses(part: Batch) -> Terms:
            found, _ = self._run(part, False)
            loss = appearance_loss(
                found[1], part["texture_srgb"], part["position_mm"], part["normal"], part["albedo_linear"],
                part["light"], part["weight"], colour=preset.colour, kind=preset.appearance_normals,
            )  # fmt: skip
            return {"appearance": preset.lambda_ * preset.eta * loss}

        return self._update({**batch, "weight": texel_weights(eroded(batch["valid"]))}, noise, losses)

    def _run(self, part: Batch, pdim_only: bool) -> tuple[Any, "torch.Tensor"]:
        seen = self.state.network.prepare(part["texture_srgb"], part["valid"], part["region"])
        with self.autocast():
            found = self.forward(seen, part.get("noise"), part["valid"], pdim_only)
        return found, seen

    def _adversarial(self, part: Batch, fine_mm: "torch.Tensor", seen: "torch.Tensor") -> Terms:
        """The terms of D and G. G's gradient must not reach D's weights, nor D's the generator."""
        import torch

        network, disc = self.state.network, self.state.discriminator
        kind, scale, seen = network.preset.gan, network.height_scale_mm, seen.detach()

        def logits(height_mm: torch.Tensor) -> torch.Tensor:
            # masked alike, or D would tell true from made by what lies outside the mask
            return disc(torch.cat([seen, height_mm * part["valid"] / scale], 1)).float()

        with self.autocast():
            disc.requires_grad_(True)
            learn = discriminator_loss(kind, logits(part["displacement_mm"]), logits(fine_mm.detach()))
            disc.requires_grad_(False)
            fool = generator_loss(kind, logits(fine_mm))
            disc.requires_grad_(True)
        return {"gan": fool, "discriminator": learn}

    def _update(self, batch: Batch, noise: "torch.Tensor | None", losses: Callable[[Batch], Terms]) -> dict[str, float]:
        state = self.state
        if noise is not None:
            batch = {**batch, "noise": noise}
        while True:
            try:
                told = self._gradients(batch, losses)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._halve(len(batch["valid"]), error)
        average_gradients(state.network.parameters(), self.ranks)
        self._advance(state.optimizer, state.network, state.network.preset.clip, told)
        if "discriminator" in told:
            average_gradients(state.discriminator.parameters(), self.ranks)
            self._advance(state.disc_optimizer, state.discriminator, 0.0, told)
        return told

    def _gradients(self, batch: Batch, losses: Callable[[Batch], Terms]) -> dict[str, float]:
        import torch

        told: dict[str, torch.Tensor] = {}
        for optimizer in (self.state.optimizer, self.state.disc_optimizer):
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
        for part in parts(batch, self.state.chunks):
            terms = losses(part)
            torch.stack(list(terms.values())).sum().backward()
            for name, value in terms.items():
                told[name] = told.get(name, torch.zeros_like(value)) + value.detach()
        return {name: float(value) for name, value in told.items()}

    def _advance(self, optimizer: Any, network: Any, clip: float, told: dict[str, float]) -> None:
        import torch

        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip or float("inf"))
        if not torch.isfinite(norm):  # of the averaged gradient, so that all processes stop
            terms = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
            raise UserError(
                f"training went astray at step {self.state.step + 1}: the gradient is {float(norm)} (losses: {terms}). "
                "The last checkpoint is from before and intact. Start again with a smaller --lr, or look for patches "
                "that are not finite with `mesoface dataset verify`"
            )
        optimizer.step()

    def _halve(self, size: int, error: BaseException) -> None:
        import torch

        if self.state.chunks >= size:
            raise UserError(
                "out of memory with a single patch at a time; train a smaller preset (--preset small or fast), or on "
                f"a machine with more memory ({str(error).splitlines()[0][:120]})"
            ) from None
        self.state.chunks *= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(
            f"out of memory: batches of {size} are computed in {self.state.chunks} parts from now on; "
            "slower, with the same result but for batch normalisation"
        )
