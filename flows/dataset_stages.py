"""Stages of a dataset: maps of a scan in UV, and its patches; each valid by content hash."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json, write_json
from ..capture.image_files import read_tiff
from ..capture.take import read_take
from ..dataset.face_areas import area_map
from ..dataset.patch_cut import cut_scan_patches, height_histogram, scan_places
from ..dataset.patch_sampling import SamplingOptions
from ..dataset.patch_shards import write_shard
from ..dataset.uv_maps import FaceSource, UvMaps, read_uv_maps, write_uv_maps
from ..dataset.uv_registration import Registration, RegistrationOptions, ScanViews, register_scan
from ..reconstruct.detail_files import read_displacement, read_normals
from ..reconstruct.face_frame import srgb_to_linear
from ..reconstruct.face_model import FaceModel
from ..reconstruct.geometry_files import GeometryResult, read_geometry
from ..reconstruct.landmarks import LandmarkDetector, Landmarks
from ..reconstruct.scan_folder import read_manifest
from ..reconstruct.scan_source import ScanSource
from ..reconstruct.uv_charts import UvCharts
from .stage import STAGE_FILE, Stage, StageResult, run_stage, stage_outputs

UV_CODE, PATCHES_CODE = 4, 1
PATCHES_FILE = "patches.h5"
OWN_LICENCE = "own scan"


@dataclass(frozen=True, eq=False)
class ModelInUse:
    """A face model with what is computed once for many scans. `sha256`: of the model's numbers."""

    model: FaceModel
    sha256: str
    charts: UvCharts
    area: np.ndarray


def model_in_use(model: FaceModel, size: int) -> ModelInUse:
    """Charts and areas of a model at a map size; seconds."""
    from ..reconstruct.uv_charts import uv_charts

    charts = uv_charts(model, size)
    parts = (model.mean_mm, model.identity_mm, model.expression_mm, model.triangles, model.uv, model.regions)
    fingerprint = sha256_json([model.name, *(_digest(part) for part in parts)])
    return ModelInUse(model, fingerprint, charts, area_map(model, size, charts.raster))


def face_source(scan: ScanSource, model_name: str) -> FaceSource:
    """Subject, expression and hash of the pictures. Raises UserError for a scan that does not say who it shows."""
    images = sha256_json(sorted(scan.hashes({frame.stem: frame for frame in scan.frames}).values()))
    if scan.origin == "take":
        manifest = read_take(scan.folder)[0]
        subject, expression, words, licence = manifest.subject, manifest.expression, "take", OWN_LICENCE
    elif scan.origin == "rendered":
        options = read_manifest(scan.folder)["content"]["options"]
        subject, expression = f"V{int(options['subject']):03d}", str(options["expression"])
        words, licence = (
            f"rendered by mesoface, head of the {options['face_model']} model",
            "virtual, no rights of persons",
        )
    else:
        raise UserError(
            f"{scan.folder}: an imported folder does not say whom it shows; bring its mesh and maps in with "
            "`mesoface dataset import`, which asks for subject, expression and licence"
        )
    return FaceSource(subject, expression, scan.name, model_name, licence, words, images)


def run_uv(
    scan: ScanSource,
    results: Path,
    used: ModelInUse,
    detector: LandmarkDetector,
    options: RegistrationOptions,
    *,
    landmarks: Path | None = None,
    detector_id: str = "",
    truth: Path | None = None,
    force: bool = False,
) -> StageResult:
    """Registration of a scan: results/uv from results/{geometry,normals,displacement}.

    landmarks: a folder of VIEW.pts or VIEW.json files instead of the detector; detector_id: hash of its weights.
    truth: of the rendered scan that a simulated take shows. Raises UserError that names the view.
    """
    for name in ("geometry", "normals", "displacement"):
        if not (results / name / STAGE_FILE).is_file():
            raise UserError(f"{results / name}: is missing; run `mesoface reconstruct {scan.folder}` first")
    source = face_source(scan, used.model.name)
    parameters = {"model": used.sha256, "detector": _detector_name(detector, landmarks), **_plain(asdict(options))}
    inputs = {name: stage_outputs(results / name) for name in ("geometry", "normals", "displacement")}
    inputs["images"] = source.image_sha256
    if detector_id and landmarks is None:
        inputs["detector"] = detector_id
    if truth is not None:
        inputs["truth"] = sha256_file(truth / scan.centre / "uv.tif")
    if landmarks is not None:
        inputs |= {f"landmarks {path.name}": sha256_file(path) for path in sorted(landmarks.iterdir())}

    def work(folder: Path) -> tuple[str, ...]:
        geometry = read_geometry(results / "geometry")
        pictures = {name: _picture(results / "geometry/images" / f"{name}.png") for name in geometry.cameras}
        found, warnings = _landmarks(geometry, pictures, detector, landmarks)
        views = _views(results, geometry, pictures, found, options)
        made = register_scan(used.model, views, source, options, charts=used.charts)
        write_uv_maps(folder, made.maps)
        facts = registration_facts(made)
        known = truth or (scan.truth if scan.origin == "rendered" else None)
        if known is not None:
            facts["truth"] = truth_facts(made, geometry.camera, known / scan.centre, used)
        write_json(folder / "registration.json", facts)
        return (*warnings, *made.warnings)

    return run_stage(results / "uv", Stage("uv", UV_CODE, parameters, inputs), work, force=force)


def run_patches(
    uv_folder: Path, used: ModelInUse, options: SamplingOptions, seed: int, *, force: bool = False
) -> StageResult:
    """Patches of one face beside its maps: FOLDER/../patches/patches.h5."""
    parameters = {"seed": seed, "model": used.sha256, **_plain(asdict(options))}
    inputs = {"uv": stage_outputs(uv_folder)}

    def work(folder: Path) -> tuple[str, ...]:
        maps = read_uv_maps(uv_folder)
        if maps.size != used.charts.size:
            raise UserError(f"{uv_folder}: maps of {maps.size} texels, expected {used.charts.size}; build them again")
        places = scan_places(maps, options, seed)
        if not places:
            raise UserError(
                f"{uv_folder}: no place for a patch of {options.patch} texels; too little of it is valid. "
                "Smaller patches (--patch), or a scan in which more of the face is seen sharply"
            )
        patches = list(cut_scan_patches(maps, used.area, places, options, seed))
        attributes = patch_attributes(maps, options, patches)
        write_shard(folder / PATCHES_FILE, "scan", options.patch, len(patches), patches, attributes)
        missing = options.count - len(places)
        return (f"{maps.source.scan}: {missing} of {options.count} patches found no place",) if missing > 0 else ()

    return run_stage(
        uv_folder.parent / "patches", Stage("patches", PATCHES_CODE, parameters, inputs), work, force=force
    )


def _landmarks(
    geometry: GeometryResult,
    pictures: Mapping[str, np.ndarray],
    detector: LandmarkDetector,
    folder: Path | None,
) -> tuple[dict[str, Landmarks], tuple[str, ...]]:
    from ..reconstruct.landmark_files import read_landmarks

    found: dict[str, Landmarks] = {}
    told = []
    for name, picture in pictures.items():
        if folder is not None:
            paths = [folder / f"{name}{end}" for end in (".pts", ".json") if (folder / f"{name}{end}").is_file()]
            if paths:
                found[name] = read_landmarks(paths[0])[0]
            continue
        faces = detector.detect(picture)
        if faces:
            found[name] = faces[0]
        else:
            told.append(f"view {name}: no face was found in it")
    if len(found) < 2:
        where = f"{folder} has landmarks of" if folder is not None else f"{detector.name} found a face in"
        raise UserError(
            f"{where} {len(found)} of {len(pictures)} views, at least 2 are needed; give --landmarks FOLDER"
        )
    return found, tuple(told)


def _views(
    results: Path,
    geometry: GeometryResult,
    pictures: Mapping[str, np.ndarray],
    found: Mapping[str, Landmarks],
    options: RegistrationOptions,
) -> ScanViews:
    normals, pair = read_normals(results / "normals"), read_displacement(results / "displacement")
    if options.texture == "diffuse":
        texture = np.nan_to_num(read_tiff(results / "normals/diffuse.tif")[0])
        # as bright as a well exposed picture: the same gain for all channels
        texture = texture * np.float32(0.6 / max(float(np.quantile(texture[pair.mask].max(1), 0.95)), 1e-6))
    else:
        texture = srgb_to_linear(pictures[geometry.centre]).astype(np.float32)
    return ScanViews(
        geometry.cameras, geometry.centre, found, geometry.confidence, pair.displacement_mm, pair.mask,
        normals.maps.confidence, texture, normals.start_mm, pair.preset, normals.maps.normal,
    )  # fmt: skip


def registration_facts(made: Registration) -> dict[str, Any]:
    """registration.json of a registered face."""
    return {
        "landmark_noise_mm": round(made.proxy.noise_mm, 3),
        "distance_before_mm": round(made.refined.distance_before_mm, 3),
        "distance_after_mm": round(made.refined.distance_after_mm, 3),
        "valid_share": round(float(made.maps.valid.mean()), 4),
        "alpha": made.proxy.alpha.tolist(),
        "beta": made.proxy.beta.tolist(),
    }


def truth_facts(made: Registration, camera: PinholeCamera, truth: Path, used: ModelInUse) -> dict[str, float]:
    """Errors of a registration against a rendered head: correspondence in mm, displacement at the same point."""
    from ..dataset.uv_registration import correspondence_error_mm
    from ..dataset.uv_truth import displacement_agreement, looked_up_px

    pixels = looked_up_px(made, camera, used.model, used.charts)
    away = correspondence_error_mm(made.maps, pixels, read_tiff(truth / "uv.tif")[0])
    agreement = displacement_agreement(made.maps, pixels, read_tiff(truth / "displacement_mm.tif")[0])
    return {
        "correspondence_median_mm": round(float(np.median(away)), 3),
        "correspondence_p90_mm": round(float(np.percentile(away, 90)), 3),
        **agreement,
    }


def patch_attributes(maps: UvMaps, options: SamplingOptions, patches: list[Any]) -> dict[str, Any]:
    """What a file of patches says about all of them."""
    histogram = height_histogram([p.arrays["displacement_mm"] for p in patches], [p.arrays["valid"] for p in patches])
    source = maps.source
    return {
        "face_model": source.face_model, "map_size": maps.size, "patch_px": options.patch, "texel_mm": maps.texel_mm,
        "licence": source.licence, "provenance": source.provenance, "image_sha256": source.image_sha256,
        "height_histogram": histogram.tolist(),
    }  # fmt: skip


def _picture(path: Path) -> np.ndarray:
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: is missing or damaged; run `mesoface reconstruct` again")
    return np.ascontiguousarray(image[..., ::-1], np.float32) / 255


def _detector_name(detector: LandmarkDetector, landmarks: Path | None) -> str:
    return "files" if landmarks is not None else detector.name


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a manifest: lists for tuples."""
    return json.loads(json.dumps(values))


def _digest(array: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
