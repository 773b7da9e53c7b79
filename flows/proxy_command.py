"""`mesoface proxy`: from a photograph, or a folder of them, to fitted face models with maps and light."""

from pathlib import Path
from typing import Literal

from rich.console import Console

from ..capture.errors import UserError
from ..capture.files import sha256_file
from ..reconstruct.expression_prior import ExpressionPrior
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FaceModel
from ..reconstruct.landmark_models import data_folder
from ..reconstruct.landmarks import LandmarkDetector
from ..reconstruct.photo import REFUSED, SUFFIXES
from .json_output import json_result
from .picture_batch import Batch, batch_facts, run_pictures, stage_facts, tell_batch, tell_result
from .proxy_stage import LEAST_FACE_PX, ProxyTools, run_proxy
from .stage import StageResult

console = Console()

DICTIONARY_FILE = "dictionary.h5"
"""In the data folder."""
SIZES = (512, 8192)
LANDMARK_SUFFIXES = (".pts", ".json")

Prior = Literal["emotion", "facs", "both", "none"]
Detector = Literal["network", "mediapipe", "dlib"]


def proxy(
    source: Path,
    *,
    out: Path = Path("results"),
    face_model: str = "procedural",
    prior: Prior = "none",
    dictionary: Path | None = None,
    landmarks: Path | None = None,
    detector: Detector = "network",
    detector_file: Path | None = None,
    all: bool = False,
    size: int = 2048,
    min_face: int = LEAST_FACE_PX,
    force: bool = False,
    json: bool = False,
) -> int:
    """Fit a face model to a photograph: textured mesh, pose, expression, maps, light, albedo, report.

    Everything goes to OUT/NAME, one folder per picture, kept while it is valid. A folder of pictures runs to its end
    whatever happens to one of them: failures.json lists those with their reasons. Exit code 1: done with warnings, or
    some pictures of a folder failed; 2: nothing could be done.

    Example: mesoface proxy portrait.jpg --out results

    Parameters
    ----------
    source
        A picture (JPEG, PNG, TIFF, WebP, BMP), or a folder of them (its subfolders are left out).
    out
        Folder of the results.
    face_model
        procedural, a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file.
    prior
        Where the expression comes from: the dictionary by emotion, by facial action units or both, as in the paper;
        none fits it to the landmarks.
    dictionary
        File of `mesoface dictionary build` for this face model; default dictionary.h5 in the data folder.
    landmarks
        68 landmarks of the upright picture: .pts (300-W) or .json; for a folder, a folder of such files named as the
        pictures. Without it the detector finds them.
    detector
        Our own network, MediaPipe, or dlib.
    detector_file
        The file that mediapipe (.task) or dlib (.dat) needs, when it is not in the data folder.
    all
        Every face of a picture, not only the largest.
    size
        Side of the maps in texels.
    min_face
        Faces smaller than this many pixels across their landmarks are refused: they show no detail of the skin.
    force
        Make valid results again.
    json
        One JSON object on standard output.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"size is {size}, allowed are {SIZES[0]} to {SIZES[1]} texels")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; expected a picture or a folder of pictures")
    images = find_images(source)
    with console.status("loading the face model"):
        model = load_face_model(face_model)
    needs_detector = landmarks is None
    expression, expression_id = find_prior(prior, model, dictionary)
    tools = ProxyTools(
        model,
        size,
        find_detector(detector, detector_file) if needs_detector else None,
        expression,
        all,
        min_face,
        weights_of(detector, detector_file) if needs_detector else "",
        expression_id,
    )
    with json_result(json) as facts:
        if not source.is_dir():
            with console.status(f"fitting {source.name}"):
                result = run_proxy(source, out / source.stem, tools, landmarks, force=force)
            facts.update(stage_facts(result))
            return tell_result(console, "proxy", result)
        batch = run_batch(images, out, tools, landmarks, force=force)
        facts.update(batch_facts(batch))
        return tell_batch(console, batch, out)


def run_batch(
    images: list[Path], out: Path, tools: ProxyTools, landmarks: Path | None = None, *, force: bool = False
) -> Batch:
    """All pictures, whatever happens to one; failures go to out/failures.json (removed when there are none)."""

    def one(image: Path, folder: Path) -> StageResult:
        points = None if landmarks is None else landmarks_beside(image, landmarks)
        return run_proxy(image, folder, tools, points, force=force)

    return run_pictures(images, out, "proxies", one)


def find_images(source: Path) -> list[Path]:
    """The picture itself, or the pictures of a folder by name; ones that cannot be read (HEIC, raw) count too.

    Raises UserError for a folder without pictures.
    """
    if not source.is_dir():
        return [source]
    known = (*SUFFIXES, *REFUSED)
    found = sorted(
        path
        for path in source.iterdir()
        if path.is_file() and path.suffix.lower() in known and not path.name.startswith(".")
    )
    if not found:
        raise UserError(f"{source}: holds no picture; expected {', '.join(SUFFIXES)} files directly in this folder")
    return found


def landmarks_beside(image: Path, folder: Path) -> Path:
    """The landmark file of a picture in a folder of them. Raises UserError when there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: for a folder of pictures, expected a folder of landmark files, not one file")
    for suffix in LANDMARK_SUFFIXES:
        path = folder / f"{image.stem}{suffix}"
        if path.is_file():
            return path
    raise UserError(f"{image}: no landmark file {image.stem}.pts or {image.stem}.json in {folder}")


def find_detector(kind: Detector, file: Path | None) -> LandmarkDetector:
    """A landmark detector by name. Raises UserError saying what is missing."""
    if kind == "mediapipe":
        from ..reconstruct.landmark_mediapipe import MediapipeDetector

        return MediapipeDetector(file)
    if kind == "dlib":
        from ..reconstruct.landmark_dlib import DlibDetector

        return DlibDetector(file)
    from ..model.landmark_detector import LandmarkNetwork

    return LandmarkNetwork()


def weights_of(kind: Detector, file: Path | None) -> str:
    """SHA-256 of the file that a detector looks with: part of what a result depends on."""
    if kind == "network":
        from ..model.landmark_net import SHIPPED

        return sha256_file(SHIPPED) if SHIPPED.is_file() else ""
    path = getattr(find_detector(kind, file), "path", None)
    return sha256_file(path) if path is not None else ""


def find_prior(kind: Prior, model: FaceModel, file: Path | None) -> tuple[ExpressionPrior | None, str]:
    """The expression prior (None for a fit to the landmarks alone) and the hash of its dictionary.

    Raises UserError for a missing dictionary, or one of another face model.
    """
    if kind == "none":
        return None, ""
    path = file or data_folder() / DICTIONARY_FILE
    if not path.is_file():
        raise UserError(
            f"--prior {kind}: needs an expression dictionary of {model.name}, found none at {path}. Make one with "
            f"`mesoface dictionary build {path}`, or use --prior none"
        )
    from ..model.dictionary_prior import DictionaryPrior
    from ..model.expression_dictionary import load_dictionary

    return DictionaryPrior(load_dictionary(path), model, kind=kind), sha256_file(path)
