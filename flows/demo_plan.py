"""What the demo does, as data: the people it shoots, the sizes of pictures, patches and training, and its bounds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import write_json
from ..reconstruct.studio_options import StudioOptions

PLAN_FILE = "demo.json"


@dataclass(frozen=True, slots=True)
class Person:
    """One scan of the demo: a virtual person with an expression."""

    subject: int
    """Of the virtual studio."""
    expression: str
    pseudonym: str
    """Under which the take is shot: S001."""

    @property
    def name(self) -> str:
        return f"{self.pseudonym}_{self.expression}"


@dataclass(frozen=True)
class DemoPlan:
    """One size of the demo. `bounds`: what each figure of demo_figures.py must keep at this size."""

    name: str
    size_px: tuple[int, int]
    """Width and height of the scans' pictures."""
    subjects: tuple[int, ...]
    expressions: tuple[str, ...]
    epochs: float
    checkpoint_steps: int
    """Training steps that an interruption can cost at most."""
    bounds: Mapping[str, float]
    map_size: int = 512
    patch: int = 64
    count: int = 150
    """Patches of a scan: they overlap, which tells the network that a wrinkle may lie anywhere in one."""
    learning_rate: float = 2e-3
    slope: float = 2.0
    """Weight of the relief's slopes in the loss; four times the preset's, as there is little time to find them."""
    portrait_subject: int = 40
    """Of the portrait: nobody who was shot, and nobody whom the shipped network was trained on."""
    portrait_expression: str = "brow_raise"
    portrait_px: tuple[int, int] = (400, 500)
    board_px: tuple[int, int] = (600, 400)
    """The board's markers are not readable in smaller pictures; a calibration scales to any size."""
    seed: int = 0

    @property
    def people(self) -> tuple[Person, ...]:
        return tuple(
            Person(subject, expression, f"S{number:03d}")
            for number, subject in enumerate(self.subjects, start=1)
            for expression in self.expressions
        )

    def studio(self, person: Person) -> StudioOptions:
        """How a person is rendered."""
        width, height = self.size_px
        return StudioOptions(width_px=width, height_px=height, subject=person.subject, expression=person.expression)

    def content(self) -> dict[str, Any]:
        """What decides the results, as plain data."""
        return json.loads(json.dumps({key: value for key, value in asdict(self).items() if key != "bounds"}))


DEFAULT = DemoPlan(
    "default", (600, 400), (1, 2, 3), ("brow_raise", "smile"), 6, 40,
    {
        "camera place": 0.15, "focal length": 0.05, "depth": 0.3, "depth share": 86.0, "normals": 4.5,
        "displacement": 0.9, "gain": 0.85, "correspondence": 1.0, "texture space": 0.7, "oracle": 0.85,
        "training": 0.85, "evaluation": 0.97, "evaluation correlation": 0.2, "proxy": 1.0, "portrait": 1.0,
        "portrait correlation": 0.1,
    },
)  # fmt: skip
QUICK = DemoPlan(
    "quick", (480, 320), (1, 2, 3), ("brow_raise",), 8, 40,
    {
        "camera place": 0.15, "focal length": 0.05, "depth": 0.3, "depth share": 86.0, "normals": 4.0,
        "displacement": 0.93, "gain": 0.88, "correspondence": 1.0, "texture space": 0.85, "oracle": 0.85,
        "training": 0.8, "evaluation": 0.95, "evaluation correlation": 0.3, "proxy": 1.0, "portrait": 1.0,
        "portrait correlation": 0.1,
    },
)  # fmt: skip


def claim(out: Path, plan: DemoPlan) -> None:
    """Note in `out` which demo it holds. Raises UserError when it holds another one, or somebody else's files."""
    path = out / PLAN_FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{path}: cannot be read; remove {out}, or choose another --out folder") from None
        if found != plan.content():
            raise UserError(
                f"{out}: holds a demo of other settings ({found.get('name', 'unknown')}); choose another --out folder, "
                "or remove this one"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty and holds no demo; choose an empty or new --out folder")
    write_json(path, plan.content())
