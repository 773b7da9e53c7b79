"""The record of a run: log.jsonl, one JSON object a line, and TensorBoard's files where it is installed."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..capture.files import write_text

LOG = "log.jsonl"


def tensorboard_installed() -> bool:
    """Whether the package `tensorboard`, which is an extra, is there."""
    return find_spec("tensorboard") is not None


class RunLog:
    """Scalars of a run. Only the process that writes files has an effect."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes
        self.board: Any = None

    def begin(self, step: int) -> None:
        """Start, or go on after `step`: lines of later steps, whose work was lost, are dropped."""
        if not self.writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / LOG, "".join(f"{json.dumps(line)}\n" for line in read_log(self.folder, step)))
        if tensorboard_installed():
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry; it holds `step`."""
        if not self.writes:
            return
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.board is not None:
            for name, value in entry.items():
                if isinstance(value, int | float) and name != "step":
                    self.board.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Flush TensorBoard's files."""
        if self.board is not None:
            self.board.close()


def read_log(folder: Path, last_step: int | None = None) -> list[dict[str, Any]]:
    """Entries of log.jsonl up to a step; a line cut short by a crash is left out."""
    path, entries = folder / LOG, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if last_step is None or entry.get("step", 0) <= last_step:
            entries.append(entry)
    return entries
