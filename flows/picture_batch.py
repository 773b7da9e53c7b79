"""Many pictures through one stage: bad ones are listed with their reasons and cost the others nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.files import write_json
from .stage import StageResult
from .studio_commands import progress_display

FAILURES_FILE = "failures.json"
MOST_TOLD = 20


@dataclass(frozen=True)
class Batch:
    """What became of the pictures of a folder. `failures`: file name and reason."""

    done: dict[str, StageResult]
    failures: tuple[tuple[str, str], ...]


def run_pictures(images: list[Path], out: Path, what: str, work: Callable[[Path, Path], StageResult]) -> Batch:
    """`work(image, its folder in out)` for all pictures, whatever happens to one.

    Failures go to out/failures.json, which is removed when there are none. what: for the progress display.
    """
    done: dict[str, StageResult] = {}
    failures: list[tuple[str, str]] = []
    names = result_names(images)
    with progress_display() as progress:
        task = progress.add_task(what, total=len(images))
        for image in images:
            progress.update(task, description=image.name[:28])
            try:
                done[image.name] = work(image, out / names[image])
            except UserError as error:
                failures.append((image.name, str(error)))
            except (OSError, MemoryError, ArithmeticError, ValueError, RuntimeError, LookupError) as error:
                # a picture that breaks something of ours must not cost the others
                failures.append((image.name, f"{image}: unexpected {type(error).__name__}: {error}"))
            progress.advance(task)
        progress.update(task, description="done")
    _write_failures(out, len(images), failures)
    return Batch(done, tuple(failures))


def result_names(images: list[Path]) -> dict[Path, str]:
    """Name of each picture's folder: its stem, with the suffix where two pictures share it."""
    stems = [image.stem.lower() for image in images]
    return {
        image: image.stem if stems.count(image.stem.lower()) == 1 else image.name.replace(".", "_") for image in images
    }


def tell_batch(console: Console, batch: Batch, out: Path) -> int:
    """Say what became of the pictures; the exit code: 0, 1 when some failed, 2 when all did."""
    fresh = sum(not result.reused for result in batch.done.values())
    warned = sum(bool(result.warnings) for result in batch.done.values())
    kept = len(batch.done) - fresh
    console.print(
        f"{fresh} made, {kept} up to date, {len(batch.failures)} failed; {warned} with warnings", soft_wrap=True
    )
    for _, reason in batch.failures[:MOST_TOLD]:
        console.print(f"[red]failed:[/] {escape(reason)}", soft_wrap=True)
    if batch.failures:
        console.print(f"reasons: {escape(str(out / FAILURES_FILE))}", soft_wrap=True)
    if not batch.done:
        return 2
    return 1 if batch.failures else 0


def tell_result(console: Console, name: str, result: StageResult) -> int:
    """Say what became of one picture; the exit code: 0, 1 with warnings."""
    if result.reused:
        console.print(f"{escape(str(result.folder))} is up to date", soft_wrap=True)
    elif result.why:
        console.print(f"made again: {escape(result.why)}", soft_wrap=True)
    for text in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    report = escape(str(result.folder / "report.html"))
    console.print(f"{name}: {escape(str(result.folder))}, report: {report}", soft_wrap=True)
    return 1 if result.warnings else 0


def stage_facts(result: StageResult) -> dict[str, Any]:
    """What became of one picture or scan, for --json."""
    return {
        "folder": result.folder,
        "reused": result.reused,
        "seconds": round(result.seconds, 3),
        "warnings": list(result.warnings),
        "report": result.folder / "report.html",
    }


def batch_facts(batch: Batch) -> dict[str, Any]:
    """What became of the pictures of a folder, for --json."""
    return {
        "done": [{"picture": name, **stage_facts(result)} for name, result in batch.done.items()],
        "failures": [{"picture": name, "reason": reason} for name, reason in batch.failures],
    }


def _write_failures(out: Path, count: int, failures: list[tuple[str, str]]) -> None:
    path = out / FAILURES_FILE
    if not failures:
        path.unlink(missing_ok=True)
        return
    entries = [{"image": image, "reason": reason} for image, reason in failures]
    write_json(path, {"format": "mesoface-failures", "schema_version": 1, "pictures": count, "failures": entries})
