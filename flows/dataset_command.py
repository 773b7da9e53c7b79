"""`mesoface dataset`: from scans to shards that a trainer can trust."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..dataset.assemble import assemble, read_face_patches
from ..dataset.dataset_index import DatasetIndex, read_index, read_split, verify_shards
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.pca_basis import COMPONENTS
from ..dataset.subject_split import SHARES, SPLITS
from ..dataset.uv_registration import RegistrationOptions, with_regions
from ..reconstruct.face_load import load_face_model
from .dataset_basis import PCA_FILE, fit_basis, train_count
from .dataset_card import write_card
from .dataset_jobs import ScanJob, full_disk_told, remove_abandoned, run_jobs, worker_count
from .dataset_stages import model_in_use
from .dataset_wild import run_wild
from .json_output import json_result
from .proxy_command import Prior
from .proxy_stage import LEAST_FACE_PX
from .studio_commands import progress_display

console = Console()


def build(
    sources: list[Path],
    *,
    out: Path,
    wild: Path | None = None,
    wild_licence: str = "",
    min_face: int = LEAST_FACE_PX,
    prior: Prior = "none",
    dictionary: Path | None = None,
    scans: Path = Path("scans"),
    calibration: Path | None = None,
    face_model: str = "procedural",
    size: int = 2048,
    patch: int | None = None,
    count: int = 28,
    texture: Literal["diffuse", "uniform"] = "diffuse",
    landmarks: Path | None = None,
    lips: bool = False,
    brows: bool = False,
    eyelids: bool = False,
    features: bool = True,
    seed: int = 0,
    shares: str = "80,10,10",
    workers: int = 1,
    memory_mb: int | None = None,
    json: bool = False,
) -> int:
    """Build a dataset from takes or rendered scans: reconstruct, register to UV, cut patches, shards, PCA, card.

    Every scan's stages are kept in SCANS/NAME while they are valid: a changed scan makes only its own patches and its
    shard again. A scan that fails is listed with its reason and left out. Exit code 1: some failed.

    Example: mesoface dataset build sessions/S* --out datasets/first --calibration calibration/2026-03

    Parameters
    ----------
    sources
        Takes, rendered scans, or folders of `mesoface dataset import`.
    out
        Folder of the dataset.
    wild
        Folder of photographs for unsupervised patches; what fails is listed with its reason.
    wild_licence
        Under which terms the photographs may be used; must be given with --wild.
    min_face
        Photographs whose face is smaller, in px across the landmarks, are left out.
    prior
        Expression prior of the photographs' proxies, as for `mesoface proxy`.
    dictionary
        Its dictionary.
    scans
        Folder of the scans' stages, one folder each.
    calibration
        As for `mesoface reconstruct`.
    face_model
        As for `mesoface face-model info`.
    size
        Side of the UV maps in texels.
    patch
        Side of a patch in texels; without it an eighth of the map, as the paper's 256 of 2048.
    count
        Patches of a scan.
    texture
        Colour of the patches: the separated diffuse light, or the picture in uniform light.
    landmarks
        Folder with a folder per scan of VIEW.pts or VIEW.json, instead of the built-in detector.
    lips
        Take lips in.
    brows
        Take brows in.
    eyelids
        Take eyelids in.
    features
        As for `mesoface reconstruct`.
    seed
        Of the places of patches, the split and the PCA.
    shares
        Shares of training, validation and test, in subjects.
    workers
        Scans at the same time, each a process of up to 2.5 GB.
    memory_mb
        Fewer workers when they would need more than this.
    json
        One JSON object on standard output.
    """
    registration = with_regions(
        RegistrationOptions(size=size, texture=texture), lips=lips, brows=brows, eyelids=eyelids
    )
    patch = patch_side(size, patch, count)
    sampling = SamplingOptions(patch=patch, count=count, regions=registration.regions)
    split_shares = parse_shares(shares)
    names = [path.resolve().name for path in sources]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two scans are called {doubled[0]}; the name of a scan must be its own: rename a folder")
    jobs = [
        ScanJob(
            path, scans / name, calibration, face_model, registration, sampling,
            None if landmarks is None else landmarks / name, seed, features,
        )
        for path, name in zip(sources, names, strict=True)
    ]  # fmt: skip
    if wild is not None and not wild_licence:
        raise UserError("--wild: say under which terms the photographs may be used, with --wild-licence")
    with json_result(json) as result:
        done, failures, told = run_jobs(jobs, worker_count(workers, memory_mb))
        if wild is not None:
            used = model_in_use(load_face_model(face_model), size)
            found, failed = run_wild(
                wild,
                scans / "wild",
                used,
                sampling,
                seed,
                licence=wild_licence,
                prior=prior,
                dictionary=dictionary,
                min_face=min_face,
            )
            done, failures = [*done, *found], {**failures, **failed}
        for text in told:
            console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
        for name, reason in failures.items():
            console.print(f"[red]left out:[/] {escape(name)}: {escape(reason)}", soft_wrap=True)
        faces = [read_face_patches(path) for path in sorted(done)]
        parameters: dict[str, Any] = {"size": size, "patch": patch, "count": count, "texture": texture, "seed": seed}
        remove_abandoned(out)
        with full_disk_told(), progress_display() as progress:
            task = progress.add_task("shards", total=None)

            def shown(what: str, finished: int, total: int) -> None:
                progress.update(task, description=what, completed=finished, total=total)

            index = assemble(
                faces, out, out.resolve().name, failures=failures, parameters=parameters, shares=split_shares,
                seed=seed, progress=shown,
            )  # fmt: skip
            if index.count() >= 2:
                fit_basis(out, index, min(COMPONENTS, train_count(out, index)), seed, shown)
            shown("card", 0, 1)
            write_card(out, index, _registration_facts([job.results for job in jobs]))
        print_counts(out, index)
        result.update(_facts(index, read_split(out)), folder=out, card=out / "card.html", warnings=list(told))
        console.print(f"card: {escape(str(out / 'card.html'))}", soft_wrap=True)
        return 1 if failures else 0


def info(folder: Path, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """What a dataset holds: patches, subjects, splits, scale, licences.

    Example: mesoface dataset info datasets/first

    Parameters
    ----------
    folder
        Folder of the dataset.
    as_json
        One JSON object on standard output.
    """
    index, split = read_index(folder), read_split(folder)
    if as_json:
        console.print_json(json.dumps(_facts(index, split)))
        return 0
    print_counts(folder, index)
    for name in SPLITS:
        console.print(f"{name}: {len(split[name])} subjects: {', '.join(split[name])}", soft_wrap=True)
    for name, reason in index.failures.items():
        console.print(f"left out: {escape(name)}: {escape(reason)}", soft_wrap=True)
    return 0


def verify(folder: Path, *, json: bool = False) -> int:
    """Compare every byte of a dataset with what was written. Exit code 1: something is missing, truncated or altered.

    Example: mesoface dataset verify datasets/first

    Parameters
    ----------
    folder
        Folder of the dataset.
    json
        One JSON object on standard output.
    """
    index = read_index(folder)
    with json_result(json) as result:
        problems = verify_shards(folder, index)
        result.update(folder=folder, shards=len(index.shards), patches=index.count(), problems=list(problems))
        for problem in problems:
            console.print(f"[red]{escape(problem)}[/]", soft_wrap=True)
        if not problems:
            console.print(f"{len(index.shards)} shards with {index.count()} patches are as they were written")
    return 1 if problems else 0


def pca(folder: Path, *, components: int = COMPONENTS, seed: int = 0) -> int:
    """Fit the displacement basis of a dataset's training patches anew.

    Example: mesoface dataset pca datasets/first --components 64

    Parameters
    ----------
    folder
        Folder of the dataset.
    components
        Number of basis patches; the paper has 64.
    seed
        Of the random probe.
    """
    index = read_index(folder)
    with progress_display() as progress:
        task = progress.add_task("PCA", total=None)
        basis = fit_basis(
            folder, index, components, seed,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )  # fmt: skip
    console.print(
        f"{components} components explain {100 * basis.explained[-1]:.2f} % of {basis.patches} patches: "
        f"{escape(str(folder / PCA_FILE))}",
        soft_wrap=True,
    )
    return 0


def card(folder: Path, *, scans: Path | None = None) -> int:
    """Write the dataset card again: mosaics, histograms, spectra, regions, subjects, licences.

    Example: mesoface dataset card datasets/first --scans scans

    Parameters
    ----------
    folder
        Folder of the dataset.
    scans
        Folder of the scans' stages: the card then shows their registration, as `build` does.
    """
    index = read_index(folder)
    results = [] if scans is None else [scans / entry.scan for entry in index.scans()]
    path = write_card(folder, index, _registration_facts(results))
    console.print(f"card: {escape(str(path))}", soft_wrap=True)
    return 0


def _registration_facts(results: Sequence[Path]) -> dict[str, dict[str, Any]]:
    found = {}
    for folder in results:
        path = folder / "uv/registration.json"
        if path.is_file():
            found[folder.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def print_counts(folder: Path, index: DatasetIndex) -> None:
    """One line on the console."""
    subjects = {entry.subject for entry in index.scans()}
    console.print(
        f"{escape(str(folder))}: {index.count()} patches of {len(index.scans())} scans, {len(subjects)} subjects, in "
        f"{len(index.shards)} shards; {index.count('wild')} wild patches; {index.texel_mm:.3f} mm per texel, "
        f"99.9 % of displacement within {index.height_scale_mm:.2f} mm",
        soft_wrap=True,
    )


def _facts(index: DatasetIndex, split: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What a dataset holds, as JSON."""
    return {
        "name": index.name, "face_model": index.face_model, "patches": index.count(), "wild": index.count("wild"),
        "shards": len(index.shards), "split": {name: list(split[name]) for name in SPLITS},
        "height_scale_mm": index.height_scale_mm, "texel_mm": index.texel_mm, "failures": dict(index.failures),
    }  # fmt: skip


def patch_side(size: int, patch: int | None, count: int) -> int:
    """Side of a patch in texels, by default an eighth of the map. Raises UserError for numbers that make no sense."""
    patch = size // 8 if patch is None else patch
    if not 128 <= size <= 8192 or not 16 <= patch <= size or not 1 <= count <= 10000:
        raise UserError(
            f"--size {size}, --patch {patch}, --count {count}: expected 128 to 8192 texels, patches of 16 texels up to "
            "the size, and 1 to 10000 of them"
        )
    return patch


def parse_shares(text: str) -> dict[str, float]:
    """80,10,10 as shares of train, val and test. Raises UserError."""
    try:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) != 3 or min(numbers) < 0 or numbers[0] <= 0:
            raise ValueError
    except ValueError:
        raise UserError(f"--shares {text!r}: expected three numbers such as 80,10,10") from None
    return {name: number for name, number in zip(SHARES, numbers, strict=True)}
