"""Tiny imported faces for flows, and steps that Dask workers can import."""

import os
import signal
from pathlib import Path

from dataset_fixtures import made_maps

from mesoface.dataset.uv_maps import write_uv_maps
from mesoface.flows.stage import Stage, run_stage

SHAPE = ("--size", "128", "--patch", "16", "--count", "6", "--shares", "1,0,0")


def made_sessions(folder: Path, count: int = 3) -> Path:
    """Imported faces in folder/sessions: of their stages only the patches are left to make."""
    for number in range(count):
        maps = made_maps(f"S{number:03d}", "smile", number, size=128)

        def work(temporary: Path, maps=maps) -> tuple[str, ...]:
            write_uv_maps(temporary, maps)
            return ()

        run_stage(folder / f"sessions/{maps.source.scan}/uv", Stage("uv", 2, {"seed": number}, {}), work)
    return folder / "sessions"


def arguments(root: Path, *more: str) -> list[str]:
    """Of `mesoface flows run regenerate-all`, everything below `root`."""
    places = ("sessions", "datasets", "scans")
    return ["flows", "run", "regenerate-all", *(part for name in places for part in (f"--{name}", str(root / name))),
            *SHAPE, *more]  # fmt: skip


def stage_that_kills(folder: Path, name: str) -> str:
    """A stage whose first worker is killed (kill -9) in the middle of it; the content hash of its end."""

    def work(temporary: Path) -> tuple[str, ...]:
        (temporary / "first.txt").write_text(name)
        marker = folder / f"{name}.killed"
        if name == "doomed" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (temporary / "second.txt").write_text(name * 2)
        return ()

    stage = Stage("fake", 1, {"name": name}, {})
    run_stage(folder / name, stage, work)
    return stage.content_hash


def kill_always() -> None:
    """No worker survives it."""
    os.kill(os.getpid(), signal.SIGKILL)
