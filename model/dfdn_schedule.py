"""The paper's training schedule as data (sections 4.3 and 5), stretched to however many epochs are asked for."""

from dataclasses import dataclass
from typing import Literal

from ..capture.errors import UserError

Phase = Literal["pdim", "supervised", "alternating"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Lengths in epochs; they need not be whole."""

    epochs: float = 250
    pdim_only: float = 10
    """"only back propagate the loss of PDIM for the first 10 epochs"."""
    supervised_only: float = 15
    """"supervised geometry loss for the first 15 epochs, and then alternate"."""
    decay_from: float = 100
    """"uniformly reduce learning rate from 0.0001 to 0 starting at 100th epoch"."""

    def __post_init__(self) -> None:
        if not 0 <= self.pdim_only <= self.supervised_only <= self.epochs or not 0 <= self.decay_from < self.epochs:
            raise UserError(
                f"schedule: {self.epochs} epochs, PDIM alone for {self.pdim_only}, supervised for "
                f"{self.supervised_only}, slower from {self.decay_from}; expected 0 <= PDIM <= supervised <= epochs"
            )

    def scaled(self, epochs: float) -> "Schedule":
        """The same proportions in another number of epochs."""
        if not epochs > 0:
            raise UserError(f"epochs {epochs}: allowed are numbers above 0")
        ratio = epochs / self.epochs
        return Schedule(epochs, self.pdim_only * ratio, self.supervised_only * ratio, self.decay_from * ratio)

    def phase(self, epoch: float) -> Phase:
        """What is trained `epoch` epochs after the start."""
        if epoch < self.pdim_only:
            return "pdim"
        return "supervised" if epoch < self.supervised_only else "alternating"

    def rate(self, epoch: float) -> float:
        """Share of the learning rate: 1, then linearly to 0."""
        left = (self.epochs - epoch) / (self.epochs - self.decay_from)
        return min(1.0, max(0.0, left))


PAPER_SCHEDULE = Schedule()
