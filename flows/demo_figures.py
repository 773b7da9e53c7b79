"""The demo's figures against the truth: each with its bound, all of them in figures.json."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..capture.files import write_text

FIGURES_FILE = "figures.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and the bound that it must keep: at most, or at least. `step`: which part of the demo it judges."""

    name: str
    value: float
    unit: str
    bound: float
    at_most: bool
    step: str

    @property
    def passed(self) -> bool:
        """NaN passes nothing."""
        return bool(self.value <= self.bound if self.at_most else self.value >= self.bound)

    @property
    def row(self) -> list[str]:
        """Cells below ("figure", "found", "bound", "")."""
        kind = "at most" if self.at_most else "at least"
        return [
            self.name, f"{self.value:.3g} {self.unit}".strip(), f"{kind} {self.bound:.3g} {self.unit}".strip(),
            "ok" if self.passed else "FAILED",
        ]  # fmt: skip


def worst(values: Iterable[float], at_most: bool = True) -> float:
    """The largest where small is good, else the smallest; NaN when one is NaN."""
    array = np.array(list(values), np.float64)
    return float(array.max() if at_most else array.min())


def write_figures(out: Path, figures: Sequence[Figure]) -> Path:
    """figures.json, left alone when it says the same already."""
    content = {
        "format": "mesoface-demo-figures",
        "schema_version": 1,
        "figures": [{**asdict(figure), "passed": figure.passed} for figure in figures],
    }
    path, text = out / FIGURES_FILE, json.dumps(content, indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path
