"""`mesoface proxy`: from a photograph, or a folder of them, to fitted face models with maps and light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.files import sha256_file, write_json
from ..reconstruct.expression_prior import ExpressionPrior
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FaceModel
from ..reconstruct.landmark_models import data_folder
from ..reconstruct.landmarks import LandmarkDetector
from ..reconstruct.photo import REFUSED, SUFFIXES
from .proxy_stage import LEAST_FACE_PX, ProxyTools, run_proxy
from .stage import StageResult
from .studio_commands import progress_display

console = Console()

FAILURES_FILE = "failures.json"
DICTIONARY_FILE = "dictionary.h5"
"""In the data folder."""
SIZES = (512, 8192)
LANDMARK_SUFFIXES = (".pts", ".json")

Prior = Literal["emotion", "facs", "both", "none"]
Detector = Literal["network", "mediapipe", "dlib"]


@dataclass(frozen=True)
class Batch:
    """What became of the pictures of a folder. `failures`: file name and reason."""

    done: dict[str, StageResult]
    failures: tuple[tuple[str, str], ...]


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
    if not source.is_dir():
        with console.status(f"fitting {source.name}"):
            result = run_proxy(source, out / source.stem, tools, landmarks, force=force)
        return _tell(result)
    batch = run_batch(images, out, tools, landmarks, force=force)
    return _tell_batch(batch, out)


def run_batch(
    images: list[Path], out: Path, tools: ProxyTools, landmarks: Path | None = None, *, force: bool = False
) -> Batch:
    """All pictures, whatever happens to one; failures go to out/failures.json (removed when there are none)."""
    done: dict[str, StageResult] = {}
    failures: list[tuple[str, str]] = []
    names = result_names(images)
    with progress_display() as progress:
        task = progress.add_task("proxies", total=len(images))
        for image in images:
            progress.update(task, description=image.name[:28])
            try:
                points = None if landmarks is None else landmarks_beside(image, landmarks)
                done[image.name] = run_proxy(image, out / names[image], tools, points, force=force)
            except UserError as error:
                failures.append((image.name, str(error)))
            except (OSError, MemoryError, ArithmeticError, ValueError, RuntimeError, LookupError) as error:
                # a picture that breaks something of ours must not cost the others
                failures.append((image.name, f"{image}: unexpected {type(error).__name__}: {error}"))
            progress.advance(task)
        progress.update(task, description="done")
    _write_failures(out, len(images), failures)
    return Batch(done, tuple(failures))


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


def result_names(images: list[Path]) -> dict[Path, str]:
    """Name of each picture's folder: its stem, with the suffix where two pictures share it."""
    stems = [image.stem.lower() for image in images]
    return {
        image: image.stem if stems.count(image.stem.lower()) == 1 else image.name.replace(".", "_") for image in images
    }


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


def _tell(result: StageResult) -> int:
    if result.reused:
        console.print(f"{escape(str(result.folder))} is up to date", soft_wrap=True)
    elif result.why:
        console.print(f"made again: {escape(result.why)}", soft_wrap=True)
    for text in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    words = f"proxy: {escape(str(result.folder))}, report: {escape(str(result.folder / 'report.html'))}"
    console.print(words, soft_wrap=True)
    return 1 if result.warnings else 0


def _tell_batch(batch: Batch, out: Path) -> int:
    fresh = sum(not result.reused for result in batch.done.values())
    warned = sum(bool(result.warnings) for result in batch.done.values())
    kept = len(batch.done) - fresh
    console.print(
        f"{fresh} made, {kept} up to date, {len(batch.failures)} failed; {warned} with warnings", soft_wrap=True
    )
    for _, reason in batch.failures[:20]:
        console.print(f"[red]failed:[/] {escape(reason)}", soft_wrap=True)
    if batch.failures:
        console.print(f"reasons: {escape(str(out / FAILURES_FILE))}", soft_wrap=True)
    if not batch.done:
        return 2
    return 1 if batch.failures else 0


def _write_failures(out: Path, count: int, failures: list[tuple[str, str]]) -> None:
    path = out / FAILURES_FILE
    if not failures:
        path.unlink(missing_ok=True)
        return
    entries = [{"image": image, "reason": reason} for image, reason in failures]
    write_json(path, {"format": "mesoface-failures", "schema_version": 1, "pictures": count, "failures": entries})
