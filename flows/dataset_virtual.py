"""`mesoface dataset virtual` and `portraits`: patches with exact displacement, of lit heads and of renderings."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json
from ..dataset.assemble import assemble, read_face_patches
from ..dataset.patch_cut import cut_scan_patches, scan_places
from ..dataset.patch_sampling import PatchPlace, SamplingOptions, grid_places
from ..dataset.patch_shards import Patch, write_shard
from ..dataset.portrait_maps import open_portrait, portrait_maps
from ..dataset.uv_maps import UvMaps
from ..dataset.virtual_faces import VirtualFaceOptions, random_expressions, virtual_pictures
from ..dataset.wild_patches import cut_wild_patches
from ..reconstruct.face_load import load_face_model
from ..reconstruct.worker_pool import worker_pool
from .dataset_basis import fit_basis, train_count
from .dataset_card import write_card
from .dataset_command import parse_shares, print_counts
from .dataset_stages import PATCHES_FILE, ModelInUse, model_in_use, patch_attributes
from .stage import Stage, run_stage, stage_outputs
from .studio_commands import progress_display

console = Console()
CODE = 1
LEAST_VALID = 0.4
"""Of a patch: at 1024 texels a patch spans half a face, with eyes and lips in it."""


def virtual(
    *,
    out: Path,
    subjects: str = "1001-1032",
    wild_subjects: str = "",
    expressions: int = 2,
    lights: int = 2,
    faces: Path = Path("faces"),
    face_model: str = "procedural",
    size: int = 1024,
    patch: int = 256,
    count: int = 10,
    seed: int = 0,
    shares: str = "85,15,0",
    workers: int = 1,
) -> int:
    """Make a dataset of virtual people, lit in texture space under random surroundings, with exact displacement.

    Synthetic heads only. A core makes a picture in about ten seconds. Interrupted, the same command continues.

    Example: mesoface dataset virtual --subjects 1001-1032 --wild-subjects 1101-1106 --out datasets/virtual

    Parameters
    ----------
    out
        Folder of the dataset.
    subjects
        Numbers of the people, such as 1001-1032 or 1,5,9; their patches carry displacement.
    wild_subjects
        People whose pictures become unsupervised patches: texture, proxy, light and albedo without displacement.
    expressions
        Expressions of each person: neutral and others drawn at random.
    lights
        Pictures of each expression, each under its own surroundings, viewpoint and camera.
    faces
        Folder of the pictures' stages, kept while they are valid.
    face_model
        As for `mesoface face-model info`; one with named units.
    size
        Side of the UV maps in texels.
    patch
        Side of a patch in texels.
    count
        Patches of a picture.
    seed
        Of the pictures, the places of patches, the split and the PCA.
    shares
        Shares of training, validation and test, in subjects.
    workers
        Faces at the same time, each a process of about 1 GB.
    """
    wanted, wild = parse_numbers(subjects), parse_numbers(wild_subjects) if wild_subjects else []
    if both := sorted(set(wanted) & set(wild)):
        raise UserError(f"--subjects and --wild-subjects share {both[0]}; give different people")
    if expressions < 1 or lights < 1 or count < 1 or not 16 <= patch <= size <= 8192 or workers < 1:
        raise UserError("--expressions, --lights, --count and --workers must be 1 or more, --patch 16 up to --size")
    model = load_face_model(face_model)
    if not model.expression_is_units:
        raise UserError(f"face model {model.name}: has no named expression units; take procedural or ICT-FaceKit")
    split_shares = parse_shares(shares)
    options, sampling = VirtualFaceOptions(size=size, lights=lights), _sampling(patch, count)
    jobs = [
        (subject, expression, subject in set(wild))
        for subject in (*wanted, *wild)
        for expression in random_expressions(subject, expressions)
    ]
    made: list[Path] = []
    with progress_display() as progress:
        task = progress.add_task("virtual faces", total=len(jobs))
        used = model_in_use(model, size)
        arguments = [(faces, face_model, subject, expression, options, sampling, seed, unlabelled)
                     for subject, expression, unlabelled in jobs]  # fmt: skip
        if workers == 1:
            for job in arguments:
                made += _face_stage(*job, used=used)
                progress.advance(task)
        else:
            from concurrent.futures import as_completed

            with worker_pool(workers) as pool:
                for future in as_completed([pool.submit(_face_stage, *job) for job in arguments]):
                    made += future.result()
                    progress.advance(task)
    parameters = {"size": size, "patch": patch, "count": count, "seed": seed, **_plain_options(options)}
    return _finish(made, out, parameters, split_shares, seed)


def portraits(
    folders: list[Path],
    *,
    out: Path,
    proxies: Path | None = None,
    maps: Path = Path("portraits"),
    face_model: str = "procedural",
    size: int = 1024,
    patch: int = 256,
    seed: int = 0,
) -> int:
    """Make a dataset of rendered portraits with their true displacement, to judge a network by (`mesoface evaluate`).

    Patches lie on the grid of inference. All subjects are in the split `test`.

    Example: mesoface dataset portraits portraits/p* --proxies proxies --out datasets/portraits-estimated

    Parameters
    ----------
    folders
        Folders of `mesoface studio portrait`.
    out
        Folder of the dataset.
    proxies
        Folder with a folder of `mesoface proxy` per portrait, of the same names. Without it the true head and camera.
    maps
        Folder of the portraits' stages.
    face_model
        As for `mesoface face-model info`.
    size
        Side of the UV maps in texels.
    patch
        Side of a patch in texels.
    seed
        Recorded with the patches.
    """
    if not 16 <= patch <= size <= 8192:
        raise UserError(f"--patch {patch}, --size {size}: expected patches of 16 texels up to the size, at most 8192")
    made = []
    with progress_display() as progress:
        task = progress.add_task("portraits", total=len(folders))
        used = model_in_use(load_face_model(face_model), size)
        for folder in folders:
            proxy = None if proxies is None else proxies / folder.resolve().name
            made.append(_portrait_stage(folder, proxy, maps, used, _sampling(patch, 1), seed))
            progress.advance(task)
    parameters = {"size": size, "patch": patch, "proxy": "true" if proxies is None else "estimated"}
    return _finish(made, out, parameters, {"train": 0.0, "val": 0.0, "test": 1.0}, seed)


def parse_numbers(text: str) -> list[int]:
    """1001-1003,7 as [7, 1001, 1002, 1003]. Raises UserError."""
    numbers: set[int] = set()
    try:
        for part in text.split(","):
            ends = [int(end) for end in part.split("-", 1)]
            numbers |= set(range(ends[0], ends[-1] + 1))
    except ValueError:
        raise UserError(f"subjects {text!r}: expected numbers such as 1001-1032 or 1,5,9") from None
    if not numbers or min(numbers) < 0:
        raise UserError(f"subjects {text!r}: expected numbers such as 1001-1032 or 1,5,9")
    return sorted(numbers)


def _face_stage(
    faces: Path, face_model: str, subject: int, expression: str, options: VirtualFaceOptions,
    sampling: SamplingOptions, seed: int, wild: bool, used: ModelInUse | None = None,
) -> list[Path]:  # fmt: skip
    """Patches of all pictures of one face, one shard each. Runs in a worker process."""
    used = used or model_in_use(load_face_model(face_model), options.size)
    model, chosen = used, _plain_options(options)
    parameters = {
        "subject": subject, "expression": expression, "seed": seed, "wild": wild, "model": used.sha256,
        **chosen, "patch": sampling.patch, "count": sampling.count,
    }  # fmt: skip

    def work(folder: Path) -> Sequence[str]:
        for number, picture in enumerate(
            virtual_pictures(model.model, model.charts, subject, expression, options, seed)
        ):
            path = folder / f"{number}-{PATCHES_FILE}"
            if wild:
                face = picture.wild
                patches = list(cut_wild_patches(face, model.area, sampling, seed + number))
                _check(patches, face.name)
                attributes = {
                    "face_model": face.face_model, "map_size": options.size, "patch_px": sampling.patch,
                    "texel_mm": face.texel_mm, "licence": picture.maps.source.licence,
                    "provenance": picture.maps.source.provenance, "image_sha256": face.image_sha256,
                }  # fmt: skip
                write_shard(path, "wild", sampling.patch, len(patches), patches, attributes)
            else:
                _write_scan(path, picture.maps, model.area, scan_places(picture.maps, sampling, seed), sampling, seed)
        return ()

    name = f"V{subject:04d}_{sha256_json(expression)[:8]}" + ("_wild" if wild else "")
    result = run_stage(faces / name, Stage("virtual-face", CODE, parameters, {}), work)
    return [result.folder / f"{number}-{PATCHES_FILE}" for number in range(options.lights)]


def _portrait_stage(
    folder: Path, proxy: Path | None, maps: Path, used: ModelInUse, sampling: SamplingOptions, seed: int
) -> Path:
    portrait = open_portrait(folder)
    inputs = {"portrait": sha256_file(folder / "portrait.json")}
    if proxy is not None:
        inputs["proxy"] = stage_outputs(proxy)
    parameters = {"model": used.sha256, "size": used.charts.size, "patch": sampling.patch, "seed": seed}

    def work(target: Path) -> Sequence[str]:
        made = portrait_maps(portrait, used.model, used.charts, proxy=proxy)
        half = sampling.patch // 2
        grid = grid_places(made.valid, sampling.patch, 0.5, sampling.least_valid)
        places = [PatchPlace(row, column, int(made.region[row + half, column + half])) for row, column in grid]
        _write_scan(target / PATCHES_FILE, made, used.area, places, sampling, seed)
        return ()

    name = folder.resolve().name + ("" if proxy is None else "_estimated")
    return run_stage(maps / name, Stage("portrait-patches", CODE, parameters, inputs), work).folder / PATCHES_FILE


def _write_scan(
    path: Path, maps: UvMaps, area: np.ndarray, places: list[PatchPlace], sampling: SamplingOptions, seed: int
) -> None:
    patches = list(cut_scan_patches(maps, area, places, sampling, seed))
    _check(patches, maps.source.scan)
    write_shard(path, "scan", sampling.patch, len(patches), patches, patch_attributes(maps, sampling, patches))


def _check(patches: Sequence[Patch], name: str) -> None:
    if not patches:
        raise UserError(f"{name}: no place for a patch; too little skin is seen. Smaller patches, or a larger map")


def _finish(made: Sequence[Path], out: Path, parameters: dict[str, object], shares: dict[str, float], seed: int) -> int:
    found = [read_face_patches(path) for path in sorted(made)]
    with progress_display() as progress:
        task = progress.add_task("shards", total=None)

        def shown(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        index = assemble(
            found, out, out.resolve().name, parameters=parameters, shares=shares, seed=seed, progress=shown
        )
        if (count := train_count(out, index)) >= 2:
            fit_basis(out, index, min(64, count), seed, shown)
        shown("card", 0, 1)
        write_card(out, index, {})
    print_counts(out, index)
    console.print(f"card: {escape(str(out / 'card.html'))}", soft_wrap=True)
    return 0


def _sampling(patch: int, count: int) -> SamplingOptions:
    return SamplingOptions(patch=patch, count=count, least_valid=LEAST_VALID, jitter=24)


def _plain_options(options: VirtualFaceOptions) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
