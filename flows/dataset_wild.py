"""Photographs into unsupervised patches: proxy of each, patches beside it; what fails is listed with its reason."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..dataset.face_areas import region_map
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.patch_shards import write_shard
from ..dataset.wild_patches import cut_wild_patches, read_wild_face
from .dataset_stages import PATCHES_FILE, ModelInUse
from .picture_batch import result_names
from .proxy_command import Detector, Prior, find_detector, find_images, find_prior, run_batch, weights_of
from .proxy_stage import LEAST_FACE_PX, ProxyTools
from .stage import Stage, run_stage, stage_outputs

CODE = 1


def run_wild(
    pictures: Path,
    results: Path,
    used: ModelInUse,
    sampling: SamplingOptions,
    seed: int,
    *,
    licence: str,
    prior: Prior = "none",
    dictionary: Path | None = None,
    detector: Detector = "network",
    min_face: int = LEAST_FACE_PX,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[list[Path], dict[str, str]]:
    """Patch files of the photographs of a folder, and the failures: picture -> reason.

    Proxies go to results/NAME/proxy, patches to results/NAME/patches; both are kept while they are valid.
    Raises UserError for a folder without pictures or a missing dictionary.
    """
    images = find_images(pictures)
    expression, expression_id = find_prior(prior, used.model, dictionary)
    tools = ProxyTools(
        used.model, used.charts.size, find_detector(detector, None), expression,
        least_face_px=min_face, detector_id=weights_of(detector, None), prior_id=expression_id,
    )  # fmt: skip
    batch = run_batch(images, results, tools)
    failures, done = dict(batch.failures), []
    names = result_names(images)
    region = region_map(used.model, used.charts.size, used.charts.raster)
    for number, image in enumerate(images):
        if image.name in failures:
            continue
        progress("wild patches", number, len(images))
        try:
            done.append(run_wild_patches(results / names[image], used, region, sampling, seed, licence))
        except UserError as error:
            failures[image.name] = str(error)
    return done, failures


def run_wild_patches(
    folder: Path, used: ModelInUse, region: Any, sampling: SamplingOptions, seed: int, licence: str
) -> Path:
    """The patch file of a photograph whose proxy is in `folder`, beside it. Raises UserError for too little skin."""
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(sampling).items()}
    parameters = {"seed": seed, "licence": licence, "model": used.sha256, **options}
    target = folder.with_name(f"{folder.name}.patches")

    def work(temporary: Path) -> tuple[str, ...]:
        face = read_wild_face(folder, region, sampling.regions, used.model, used.charts)
        patches = list(cut_wild_patches(face, used.area, sampling, seed))
        if not patches:
            raise UserError(f"{folder}: too little skin is seen well for a patch of {sampling.patch} texels")
        attributes = {
            "face_model": face.face_model, "map_size": len(face.valid), "patch_px": sampling.patch,
            "texel_mm": face.texel_mm, "licence": licence, "provenance": "photograph",
            "image_sha256": face.image_sha256,
        }  # fmt: skip
        write_shard(temporary / PATCHES_FILE, "wild", sampling.patch, len(patches), patches, attributes)
        return ()

    stage = Stage("wild-patches", CODE, parameters, {"proxy": stage_outputs(folder)})
    run_stage(target, stage, work)
    return target / PATCHES_FILE
