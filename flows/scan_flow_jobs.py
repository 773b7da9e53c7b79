"""The steps of a scan and of a group of photographs as plain functions that any process with the same disk can run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import sha256_json
from ..dataset.face_areas import region_map
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.patch_shards import DiskFull
from ..dataset.uv_maps import MANIFEST
from ..reconstruct.detail import DetailOptions
from ..reconstruct.face_load import load_face_model
from ..reconstruct.geometry import GeometryOptions
from ..reconstruct.scan_source import open_scan
from .dataset_jobs import ScanJob, full_disk_told
from .dataset_stages import ModelInUse, model_in_use, run_patches, run_uv
from .dataset_wild import run_wild_patches
from .geometry_command import run_geometry
from .proxy_command import Detector, Prior, find_detector, find_prior, weights_of
from .proxy_stage import ProxyTools, run_proxy
from .reconstruct_command import run_reconstruction
from .stage import StageResult, read_stage

PICTURES_AT_ONCE = 32
"""Photographs of a step: a step costs Prefect and Dask milliseconds, a photograph seconds."""


@dataclass(frozen=True)
class StageFacts:
    """A stage as its step reports it."""

    folder: str
    reused: bool
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class WildJob:
    """Everything a worker needs for photographs; picklable, and the key of its tools."""

    results: Path
    face_model: str
    size: int
    sampling: SamplingOptions
    seed: int
    licence: str
    prior: Prior
    dictionary: Path | None
    min_face: int
    detector: Detector = "network"


def geometry_step(job: ScanJob) -> list[StageFacts]:
    """Geometry of a scan; nothing for imported maps."""
    if _imported(job):
        return []
    scan = open_scan(job.source)
    with full_disk_told():
        options = GeometryOptions(features=job.features)
        return _facts(run_geometry(scan, job.results / "geometry", job.calibration, options, scan.truth))


def detail_step(job: ScanJob) -> list[StageFacts]:
    """Normals and displacement of a scan."""
    if _imported(job):
        return []
    options = GeometryOptions(features=job.features)
    with full_disk_told():
        return _facts(
            *run_reconstruction(open_scan(job.source), job.results, job.calibration, options, DetailOptions())[1:]
        )


def register_step(job: ScanJob) -> list[StageFacts]:
    """Registration of a scan to the face model's texture space."""
    from ..model.landmark_detector import LandmarkNetwork

    if _imported(job):
        return []
    with full_disk_told():
        return _facts(
            run_uv(
                open_scan(job.source),
                job.results,
                _model(job.face_model, job.registration.size),
                LandmarkNetwork(),
                job.registration,
                landmarks=job.landmarks,
                detector_id=weights_of("network", None),
            )
        )


def patches_step(job: ScanJob) -> list[StageFacts]:
    """Patches of a scan, or of imported maps."""
    uv = (job.source if _imported(job) else job.results) / "uv"
    with full_disk_told():
        return _facts(run_patches(uv, _model(job.face_model, job.registration.size), job.sampling, job.seed))


RECONSTRUCT_STEPS = (("geometry", geometry_step), ("detail", detail_step))
SCAN_STEPS = (*RECONSTRUCT_STEPS, ("register", register_step), ("patches", patches_step))


def wild_step(job: WildJob, names: Mapping[Path, str]) -> list[StageFacts]:
    """Proxies and patches of some photographs; names: picture -> name of its folder. One that fails is passed over:
    `dataset build` lists it with its reason."""
    tools, used = _wild_tools(job)
    region = region_map(used.model, used.charts.size, used.charts.raster)
    found: list[StageFacts] = []
    for image, name in names.items():
        folder = job.results / name
        try:
            with full_disk_told():
                found += _facts(run_proxy(image, folder, tools))
                patches = run_wild_patches(folder, used, region, job.sampling, job.seed, job.licence).parent
                found.append(StageFacts(str(patches), False, 0.0, ()))
        except DiskFull:
            raise
        except UserError:
            continue
        except (MemoryError, ArithmeticError, ValueError, RuntimeError, LookupError):
            continue  # as run_pictures: a picture that breaks something of ours must not cost the others
    return found


def stage_hash(folder: Path) -> str:
    """What a stage made from what, as one hash; reports left out, times not part of it."""
    content = read_stage(folder)
    outputs = {name: sha256 for name, sha256 in content["outputs"].items() if not name.endswith(".html")}
    return sha256_json({"content": content["content_hash"], "outputs": outputs})


def _facts(*results: StageResult) -> list[StageFacts]:
    return [StageFacts(str(one.folder), one.reused, round(one.seconds, 2), one.warnings) for one in results]


def _imported(job: ScanJob) -> bool:
    return (job.source / "uv" / MANIFEST).is_file()


@lru_cache(maxsize=1)
def _model(face_model: str, size: int) -> ModelInUse:
    """Once per process: loading costs seconds."""
    return model_in_use(load_face_model(face_model), size)


@lru_cache(maxsize=1)
def _wild_tools(job: WildJob) -> tuple[ProxyTools, ModelInUse]:
    used = _model(job.face_model, job.size)
    expression, expression_id = find_prior(job.prior, used.model, job.dictionary)
    tools = ProxyTools(
        used.model, used.charts.size, find_detector(job.detector, None), expression,
        least_face_px=job.min_face, detector_id=weights_of(job.detector, None), prior_id=expression_id,
    )  # fmt: skip
    return tools, used


def chunks(names: Mapping[Path, str], size: int = PICTURES_AT_ONCE) -> dict[str, dict[Path, str]]:
    """Groups of photographs, labelled by number."""
    listed: Sequence[Path] = list(names)
    return {
        f"photographs {start + 1}-{min(start + size, len(listed))}": {
            path: names[path] for path in listed[start : start + size]
        }
        for start in range(0, len(listed), size)
    }
