"""The flows of scans: reconstruct some, build a dataset, and make a new version of it from all raw takes."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json
from ..capture.shared_files import cache_folder, is_url, storage_mistakes
from ..capture.take import read_take
from ..dataset.dataset_index import INDEX
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.shared_dataset import publish_dataset
from ..dataset.uv_maps import MANIFEST
from ..dataset.uv_registration import RegistrationOptions
from ..reconstruct.scan_folder import MANIFEST as SCAN_FILE
from . import dataset_command
from .dataset_jobs import ScanJob
from .dataset_stages import PATCHES_FILE
from .dataset_versions import bring_last_version, version_folder, write_version
from .flow_run import FlowResult, FlowRun
from .picture_batch import result_names
from .proxy_command import find_images
from .proxy_stage import LEAST_FACE_PX
from .scan_flow_jobs import RECONSTRUCT_STEPS, SCAN_STEPS, StageFacts, WildJob, chunks, stage_hash, wild_step
from .shared_sessions import SharedSessions, fetch_sessions
from .take_quality import read_quality

Facts = dict[str, list[list[StageFacts]]]


def reconstruct_scan(
    run: FlowRun,
    sources: list[Path],
    *,
    scans: Path = Path("scans"),
    calibration: Path | None = None,
    features: bool = True,
) -> FlowResult:
    """Reconstruct scans: geometry, normals and displacement of each, as `mesoface reconstruct` does with its defaults.

    Example: mesoface flows run reconstruct-scan sessions/S0* --calibration calibration/2026-03

    Parameters
    ----------
    sources
        Takes, rendered scans, or folders made by `mesoface import`.
    scans
        Folder of the results, one folder each.
    calibration
        Folder made by `mesoface calibrate`.
    features
        As for `mesoface reconstruct`.
    """
    jobs = _jobs(sources, scans, calibration, "procedural", 2048, SamplingOptions(), features, 0)
    done, failures = run.each({job.results.name: (job,) for job in jobs}, RECONSTRUCT_STEPS)
    _tell(run, "scans", done, failures)
    for label in list(done)[:20]:
        run.link(f"report-{label}", scans / label / "displacement/report.html", f"report of {label}")
    return _result(f"{len(done)} of {len(jobs)} scans reconstructed", done, failures)


def build_dataset(
    run: FlowRun,
    sources: list[Path],
    *,
    out: Path,
    scans: Path = Path("scans"),
    calibration: Path | None = None,
    face_model: str = "procedural",
    wild: Path | None = None,
    wild_licence: str = "",
    min_face: int = LEAST_FACE_PX,
    size: int = 2048,
    patch: int | None = None,
    count: int = 28,
    features: bool = True,
    seed: int = 0,
    shares: str = "80,10,10",
) -> FlowResult:
    """Build a dataset from scans and photographs; the same folder as `mesoface dataset build` with these options.

    Example: mesoface flows run build-dataset sessions/S0* --out datasets/first --calibration calibration/2026-03

    Parameters
    ----------
    sources
        Takes, rendered scans, or folders of `mesoface dataset import`.
    out
        Folder of the dataset.
    scans
        Folder of the scans' stages.
    calibration
        Folder made by `mesoface calibrate`.
    face_model
        As for `mesoface face-model info`.
    wild
        Folder of photographs for unsupervised patches.
    wild_licence
        Under which terms the photographs may be used; must be given with --wild.
    min_face
        Photographs whose face is smaller, in px across the landmarks, are left out.
    size
        Side of the UV maps in texels.
    patch
        Side of a patch in texels; without it an eighth of the map, as the paper's 256 of 2048.
    count
        Patches of a scan.
    features
        As for `mesoface reconstruct`.
    seed
        Of the places of patches, the split and the PCA.
    shares
        Shares of training, validation and test, in subjects.
    """
    settings = dict(
        calibration=calibration, face_model=face_model, wild=wild, wild_licence=wild_licence, min_face=min_face,
        size=size, patch=dataset_command.patch_side(size, patch, count), count=count, features=features, seed=seed,
        shares=shares,
    )  # fmt: skip
    done, failures = _make_patches(run, sources, scans, settings)
    _assemble(run, sources, out, scans, settings)
    return _dataset_result(run, out, done, failures)


def regenerate_all(
    run: FlowRun,
    *,
    sessions: str | Path = "sessions",
    datasets: str | Path = "datasets",
    cache: Path = Path("cache"),
    name: str = "studio",
    scans: Path = Path("scans"),
    calibration: Path | None = None,
    face_model: str = "procedural",
    wild: Path | None = None,
    wild_licence: str = "",
    min_face: int = LEAST_FACE_PX,
    size: int = 2048,
    patch: int | None = None,
    count: int = 28,
    features: bool = True,
    seed: int = 0,
    shares: str = "80,10,10",
    again: bool = False,
) -> FlowResult:
    """Make a new version of a dataset from all raw takes: DATASETS/NAME-v001, NAME-v002 and so on.

    Every complete take that was not rejected, rendered scan and imported face in SESSIONS takes part. Only stages that
    are not valid are made; when all are those of the last version, that one stays the last. Interrupted, run it again.

    Of an address (s3://bucket/sessions and the like) takes are fetched, never uploaded; a version is published when
    --datasets is one.

    Example: mesoface flows run regenerate-all --sessions sessions --name studio --runner dask --workers 8

    Parameters
    ----------
    sessions
        Folder of the takes, or its address on shared storage.
    datasets
        Folder of the versions, or its address: there each version is published when it is finished.
    cache
        Folder of the copies of what comes from an address. Dask's workers must see it under the same path.
    name
        Name of the dataset.
    scans
        Folder of the scans' stages.
    calibration
        Folder made by `mesoface calibrate`.
    face_model
        As for `mesoface face-model info`.
    wild
        Folder of photographs for unsupervised patches.
    wild_licence
        Under which terms the photographs may be used; must be given with --wild.
    min_face
        Photographs whose face is smaller, in px across the landmarks, are left out.
    size
        Side of the UV maps in texels.
    patch
        Side of a patch in texels; without it an eighth of the map, as the paper's 256 of 2048.
    count
        Patches of a scan.
    features
        As for `mesoface reconstruct`.
    seed
        Of the places of patches, the split and the PCA.
    shares
        Shares of training, validation and test, in subjects.
    again
        Make a new version although nothing has changed.
    """
    sources, left_out = _sources(run, sessions, cache)
    if not sources:
        raise UserError(f"{sessions}: holds no complete take, rendered scan or imported face that can be used")
    address = str(datasets).rstrip("/") if is_url(datasets) else None
    versions = Path(datasets) if address is None else cache_folder(cache, address)
    if address is not None:
        with storage_mistakes(address):
            run.step("last version", bring_last_version, address, versions, name)
    settings = dict(
        calibration=calibration, face_model=face_model, wild=wild, wild_licence=wild_licence, min_face=min_face,
        size=size, patch=dataset_command.patch_side(size, patch, count), count=count, features=features, seed=seed,
        shares=shares,
    )  # fmt: skip
    done, failures = _make_patches(run, sources, scans, settings)
    failures = {**left_out, **failures}
    made_of = _made_of(sources, scans, done, settings)
    out, finished = version_folder(versions, name, made_of, again)
    if not finished:
        _assemble(run, sources, out, scans, settings)
        facts = {"dataset": name, "version": out.name, "made_of": made_of, "scans": sorted(done), "left_out": failures}
        write_version(out, facts)
    if address is not None:
        with storage_mistakes(address):
            run.step(f"publish {out.name}", publish_dataset, out, f"{address}/{out.name}")
    return _dataset_result(run, out, done, failures, ", as it was" if finished else "")


def _sources(run: FlowRun, sessions: str | Path, cache: Path) -> tuple[list[Path], dict[str, str]]:
    """As `find_sources`, of a folder or of an address."""
    if not is_url(sessions):
        return find_sources(Path(sessions))
    with storage_mistakes(str(sessions)):
        shared: SharedSessions = run.step("fetch takes", fetch_sessions, str(sessions), cache)
    rows = [[name, f"{shared.fetched[name]} files fetched"] for name in shared.names]
    rows += [[name, f"left out: {reason}"] for name, reason in shared.left_out.items()]
    run.note("shared-takes", "Takes on shared storage", ("take", ""), rows)
    found, left_out = find_sources(shared.folder)  # which may hold others, of earlier times
    found = [path for path in found if path.name in shared.names]
    return found, {**shared.left_out, **{name: why for name, why in left_out.items() if name in shared.names}}


def find_sources(sessions: Path) -> tuple[list[Path], dict[str, str]]:
    """What a dataset can be made of in a folder, by name, and what was left out and why."""
    if not sessions.is_dir():
        raise UserError(f"{sessions}: no such folder; give the folder of the takes with --sessions")
    found, left_out = [], {}
    for folder in sorted(path for path in sessions.iterdir() if path.is_dir()):
        if (folder / "data/take.json").is_file():
            manifest, _, state = read_take(folder)
            quality = read_quality(folder)
            if manifest.kind != "scan":
                continue
            if not state.complete:
                left_out[folder.name] = f"{folder}: is not complete; mesoface take resume, or reshoot"
            elif quality is not None and quality.verdict == "reject":
                left_out[folder.name] = f"{folder}: was rejected: {quality.summary}"
            else:
                found.append(folder)
        elif (folder / SCAN_FILE).is_file() or (folder / "uv" / MANIFEST).is_file():
            found.append(folder)
    return found, left_out


def _jobs(
    sources: Sequence[Path], scans: Path, calibration: Path | None, face_model: str, size: int,
    sampling: SamplingOptions, features: bool, seed: int,
) -> list[ScanJob]:  # fmt: skip
    """Absolute paths: a worker may stand in another folder."""
    names = [path.resolve().name for path in sources]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two scans are called {doubled[0]}; the name of a scan must be its own: rename a folder")
    if missing := [path for path in sources if not path.exists()]:
        raise UserError(f"{missing[0]}: no such folder; expected a take, a rendered scan or an imported face")
    calibration = None if calibration is None else calibration.resolve()
    model = str(Path(face_model).resolve()) if Path(face_model).exists() else face_model
    registration = RegistrationOptions(size=size)
    return [
        ScanJob(path.resolve(), scans.resolve() / label, calibration, model, registration, sampling, None, seed,
                features)
        for path, label in zip(sources, names, strict=True)
    ]  # fmt: skip


def _make_patches(
    run: FlowRun, sources: Sequence[Path], scans: Path, settings: dict[str, Any]
) -> tuple[Facts, dict[str, str]]:
    """All stages of all scans and photographs, in the run's pool."""
    if settings["wild"] is not None and not settings["wild_licence"]:
        raise UserError("--wild: say under which terms the photographs may be used, with --wild-licence")
    registration = RegistrationOptions(size=settings["size"])
    sampling = SamplingOptions(
        patch=settings["patch"], count=settings["count"], regions=registration.regions
    )  # as dataset_command.build
    jobs = _jobs(sources, scans, settings["calibration"], settings["face_model"], settings["size"], sampling,
                 settings["features"], settings["seed"])  # fmt: skip
    done, failures = run.each({job.results.name: (job,) for job in jobs}, SCAN_STEPS)
    if settings["wild"] is not None:
        images = find_images(settings["wild"].resolve())
        job = WildJob(
            scans.resolve() / "wild", jobs[0].face_model if jobs else settings["face_model"], settings["size"],
            sampling, settings["seed"], settings["wild_licence"], "none", None, settings["min_face"],
        )  # fmt: skip
        groups = {label: (job, names) for label, names in chunks(result_names(images)).items()}
        run.each(groups, (("photographs", wild_step),))  # `build` lists what fails
    _tell(run, "scans", done, failures)
    return done, failures


def _assemble(run: FlowRun, sources: Sequence[Path], out: Path, scans: Path, settings: dict[str, Any]) -> None:
    """Shards, PCA and card. The command finds all stages valid, so that its dataset and ours are one."""
    run.step(f"assemble {out.name}", lambda: dataset_command.build(list(sources), out=out, scans=scans, **settings))


def _made_of(sources: Sequence[Path], scans: Path, done: Facts, settings: dict[str, Any]) -> str:
    """Hash of all that a version depends on."""
    folders = [path for path in sources if path.resolve().name in done]
    patches = {path.resolve().name: stage_hash(_patches_folder(path, scans)) for path in folders}
    wild = {}
    if settings["wild"] is not None:
        for name in result_names(find_images(settings["wild"])).values():
            path = scans / "wild" / f"{name}.patches"
            if (path / PATCHES_FILE).is_file():
                wild[name] = stage_hash(path)
    plain = {key: settings[key] for key in ("size", "patch", "count", "seed", "shares")}
    return sha256_json({"scans": patches, "wild": wild, "parameters": plain})


def _patches_folder(source: Path, scans: Path) -> Path:
    imported = (source / "uv" / MANIFEST).is_file()
    return (source if imported else scans / source.resolve().name) / "patches"


def _tell(run: FlowRun, key: str, done: Facts, failures: dict[str, str]) -> None:
    rows = []
    for label, steps in done.items():
        facts = [one for step in steps for one in step]
        made = [Path(one.folder).name for one in facts if not one.reused]
        seconds = sum(one.seconds for one in facts if not one.reused)
        rows.append([label, ", ".join(made) or "none: all valid", f"{seconds:.0f}", str(_warnings(facts))])
    rows += [[label, "left out", "", reason] for label, reason in failures.items()]
    run.note(key, "Scans", ("scan", "stages made", "seconds", "warnings"), rows)


def _warnings(facts: Iterable[StageFacts]) -> int:
    return len(dict.fromkeys(text for one in facts for text in one.warnings))


def _result(summary: str, done: Facts, failures: dict[str, str]) -> FlowResult:
    folders = {
        f"{label}/{Path(one.folder).name}": one.folder for label, steps in done.items() for s in steps for one in s
    }
    hashes = {name: stage_hash(Path(folder)) for name, folder in folders.items()}
    return FlowResult(summary, 1 if failures else 0, hashes, folders, failures)


def _dataset_result(run: FlowRun, out: Path, done: Facts, failures: dict[str, str], words: str = "") -> FlowResult:
    index = json.loads((out / INDEX).read_text(encoding="utf-8"))
    files = {f"{out.name}/{path.name}": path for path in sorted(out.iterdir()) if path.suffix in (".h5", ".json")}
    found = _result("", done, failures)
    left_out = {**index.get("failures", {}), **failures}
    rows = [[path.name, f"{path.stat().st_size / 1e6:.1f} MB"] for path in files.values()]
    run.note("dataset", f"Dataset {out.name}{words}", ("file", "size"), rows)
    run.link("card", out / "card.html", "card of the dataset")
    return FlowResult(
        f"{out}{words}: {len(done)} scans, {len(left_out)} left out", 1 if left_out else 0,
        {**found.hashes, **{name: sha256_file(path) for name, path in files.items()}},
        {**found.folders, "dataset": str(out)}, left_out,
    )  # fmt: skip
