"""`--json`: one JSON object on standard output, everything meant for people on standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any


@contextmanager
def json_result(wanted: bool) -> Iterator[dict[str, Any]]:
    """A dict to fill; when the block is left it becomes one JSON object on standard output.

    Meanwhile tables, progress and warnings go to standard error. An exception leaves standard output empty. Not
    wanted: nothing is redirected and nothing is written. Paths become text.
    """
    result: dict[str, Any] = {}
    if not wanted:
        yield result
        return
    output = sys.stdout
    with redirect_stdout(sys.stderr):
        yield result
    output.write(json.dumps(result, indent=1, default=_plain) + "\n")
    output.flush()


def _plain(value: Any) -> Any:
    """Paths, tuples and NumPy numbers as JSON knows them."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
