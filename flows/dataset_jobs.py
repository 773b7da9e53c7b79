"""One scan after another, or several at once, through all stages up to its patches."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.patch_shards import FULL, DiskFull
from ..dataset.uv_maps import MANIFEST
from ..dataset.uv_registration import RegistrationOptions
from ..reconstruct.detail import DetailOptions
from ..reconstruct.face_load import load_face_model
from ..reconstruct.geometry import GeometryOptions
from ..reconstruct.scan_source import open_scan
from ..reconstruct.worker_pool import worker_pool
from .dataset_stages import PATCHES_FILE, ModelInUse, model_in_use, run_patches, run_uv
from .proxy_command import weights_of
from .reconstruct_command import run_reconstruction

console = Console()
WORKER_MB = 2500
"""Peak memory of one scan at 2048 texels, reconstruction included, up to 24 MP."""


@dataclass(frozen=True)
class ScanJob:
    """Everything a worker process needs for one scan; picklable."""

    source: Path
    results: Path
    calibration: Path | None
    face_model: str
    registration: RegistrationOptions
    sampling: SamplingOptions
    landmarks: Path | None
    seed: int
    features: bool
    truth: Path | None = None
    """Truth folder of the rendered scan that a simulated take shows."""


def build_scan(job: ScanJob, used: ModelInUse | None = None) -> tuple[Path, tuple[str, ...]]:
    """All stages of one scan; the path of its patches, and warnings. Runs in a worker process.

    used: the job's face model at its map size, when it is at hand; loading it costs seconds.
    """
    from ..model.landmark_detector import LandmarkNetwork

    if (job.source / "uv" / MANIFEST).is_file():  # imported: its maps are there
        used = used or model_in_use(load_face_model(job.face_model), job.registration.size)
        cut = run_patches(job.source / "uv", used, job.sampling, job.seed)
        return cut.folder / PATCHES_FILE, tuple(f"{job.source.name}: {text}" for text in cut.warnings)
    scan = open_scan(job.source)
    stages = run_reconstruction(
        scan, job.results, job.calibration, GeometryOptions(features=job.features), DetailOptions(), job.truth
    )
    used = used or model_in_use(load_face_model(job.face_model), job.registration.size)
    uv = run_uv(
        scan,
        job.results,
        used,
        LandmarkNetwork(),
        job.registration,
        landmarks=job.landmarks,
        detector_id=weights_of("network", None),
        truth=job.truth,
    )
    cut = run_patches(job.results / "uv", used, job.sampling, job.seed)
    warnings = [text for stage in (*stages, uv, cut) for text in stage.warnings]
    return job.results / "patches" / PATCHES_FILE, tuple(f"{scan.name}: {text}" for text in dict.fromkeys(warnings))


def run_jobs(jobs: Sequence[ScanJob], workers: int) -> tuple[list[Path], dict[str, str], list[str]]:
    """Paths of the patches, failures with reasons, and warnings. A user's mistake in one scan doesn't stop the rest."""
    done: list[Path] = []
    failures: dict[str, str] = {}
    told: list[str] = []

    def take(job: ScanJob, result: Callable[[], tuple[Path, tuple[str, ...]]]) -> None:
        try:
            with full_disk_told():
                path, warnings = result()
            done.append(path)
            told.extend(warnings)
        except DiskFull:  # the next scan would find it full too
            raise
        except UserError as error:
            failures[job.results.name] = str(error)
        console.print(f"{escape(job.results.name)}: {'left out' if job.results.name in failures else 'ready'}")

    if workers == 1:
        used = model_in_use(load_face_model(jobs[0].face_model), jobs[0].registration.size)
        for job in jobs:
            take(job, lambda job=job: build_scan(job, used))
    else:
        with worker_pool(workers) as pool:
            running = {pool.submit(build_scan, job): job for job in jobs}
            for future in as_completed(running):
                take(running[future], future.result)
    return done, dict(sorted(failures.items())), sorted(told)


def worker_count(workers: int, memory_mb: int | None) -> int:
    if workers < 1:
        raise UserError(f"--workers {workers}: expected 1 or more")
    return workers if memory_mb is None else max(1, min(workers, memory_mb // WORKER_MB))


@contextmanager
def full_disk_told() -> Iterator[None]:
    """A full disk becomes a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"{error.filename or 'the results'}: {error.strerror}; every finished file is kept. Make room, or choose "
            "another disk, and run the same command again"
        ) from None


def remove_abandoned(folder: Path) -> None:
    """Half-written files of builds that were killed (capture/files.py names them by process); others stay."""
    for path in folder.glob(".*.part.*"):
        number = path.name.split(".part.")[0].rsplit(".", 1)[-1]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            path.unlink(missing_ok=True)
