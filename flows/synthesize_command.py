"""`mesoface synthesize`: from a photograph, or a folder of them, to skin detail in millimetres."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from ..capture.errors import UserError
from ..model.detailed_mesh import EDGE_MM
from ..model.synthesis import BATCH, DetailPredictor
from ..reconstruct.face_load import load_face_model
from .json_output import json_result
from .picture_batch import batch_facts, run_pictures, stage_facts, tell_batch, tell_result
from .proxy_command import Detector, Prior, find_detector, find_images, find_prior, landmarks_beside, weights_of
from .proxy_stage import LEAST_FACE_PX, ProxyTools
from .stage import StageResult
from .studio_commands import progress_display
from .synthesize_stage import DETAIL, SynthesisTools, proxy_size, run_synthesis

console = Console()

SIZES = (512, 8192)
OVERLAPS = (50, 75)
MOST_BATCH = 1024
EDGES_MM = (0.2, 10.0)


def synthesize(
    source: Path,
    *,
    model: list[Path] = [],  # noqa: B006
    out: Path = Path("results"),
    size: int = 2048,
    overlap: int = 50,
    batch: int = BATCH,
    edge: Annotated[float, Parameter(name=("--edge-mm", "--edge"))] = EDGE_MM,
    face_model: str = "",
    prior: Prior = "none",
    dictionary: Path | None = None,
    landmarks: Path | None = None,
    detector: Detector = "network",
    detector_file: Path | None = None,
    min_face: int = LEAST_FACE_PX,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
) -> int:
    """Predict the skin detail of a photographed face: displacement in mm, normal map, detailed mesh, report.

    Everything goes to OUT/NAME/proxy and OUT/NAME/detail, kept while it is valid: displacement_mm.tif, displacement.png
    (16 bit, its scale inside and in displacement.json), normal_map.png, detailed.obj, .ply and .glb, rerender.png,
    report.html; displacement_mm.exr when the OpenEXR library is installed. A folder of pictures runs to its end
    whatever happens to one of them. Exit code 1: done with warnings, or some pictures failed; 2: nothing could be done.

    Example: mesoface synthesize portrait.jpg --out results

    Parameters
    ----------
    source
        A picture (JPEG, PNG, TIFF, WebP, BMP), or a folder of them (its subfolders are left out).
    model
        A run of `mesoface train dfdn`, a checkpoint (.pt) or an exported model (.npz); give it twice for models of the
        upper and the lower face. Default: the one that comes with mesoface.
    out
        Folder of the results.
    size
        Side of the displacement and normal map in texels.
    overlap
        Of neighbouring patches in percent: 50 as in the paper, 75 as the released code (four times the work).
    batch
        Patches at once; halved when memory runs out. The result does not depend on it.
    edge
        Length of the detailed mesh's edges in mm, about.
    face_model
        procedural, a BFM or mesoface .h5 file, an ICT-FaceKit folder, or an eos .bin file; default: by the name of the
        model that the network was trained with.
    prior
        Where the expression comes from, see `mesoface proxy`.
    dictionary
        File of `mesoface dictionary build` for this face model; default dictionary.h5 in the data folder.
    landmarks
        68 landmarks of the upright picture: .pts (300-W) or .json; for a folder, a folder of such files.
    detector
        Our own network, MediaPipe, or dlib.
    detector_file
        The file that mediapipe (.task) or dlib (.dat) needs, when it is not in the data folder.
    min_face
        Faces smaller than this many pixels across their landmarks are refused: they show no detail of the skin.
    device
        auto, cpu or cuda; auto takes a GPU if there is one.
    force
        Make valid results again.
    json
        One JSON object on standard output.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"size is {size}, allowed are {SIZES[0]} to {SIZES[1]} texels")
    if overlap not in OVERLAPS:
        raise UserError(f"overlap is {overlap}, allowed are {' and '.join(map(str, OVERLAPS))} percent")
    if not 1 <= batch <= MOST_BATCH:
        raise UserError(f"batch is {batch}, allowed are 1 to {MOST_BATCH} patches")
    if not EDGES_MM[0] <= edge <= EDGES_MM[1]:
        raise UserError(f"edge is {edge:g}, allowed are {EDGES_MM[0]:g} to {EDGES_MM[1]:g} mm")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; expected a picture or a folder of pictures")
    images = find_images(source)
    networks = load_networks(model, device)
    about = networks[0].about
    with console.status("loading the face model"):
        faces = load_face_model(face_model or about.face_model)
    needs_detector = landmarks is None
    expression, expression_id = find_prior(prior, faces, dictionary)
    proxy = ProxyTools(
        faces,
        proxy_size(size, about.map_size),
        find_detector(detector, detector_file) if needs_detector else None,
        expression,
        False,
        min_face,
        weights_of(detector, detector_file) if needs_detector else "",
        expression_id,
    )
    names = [path.name for path in model] or ["as shipped"]
    described = [f"{name} ({one.about.trained_on})" for name, one in zip(names, networks, strict=True)]
    tools = SynthesisTools(networks, described, proxy, size, overlap / 100, batch, edge)
    with json_result(json) as facts:
        if not source.is_dir():
            with progress_display() as progress:
                task = progress.add_task(source.name[:28], total=None)
                result = run_synthesis(
                    source, out / source.stem, tools, landmarks, force=force,
                    progress=lambda done, total: progress.update(task, completed=done, total=total),
                )  # fmt: skip
                progress.update(task, completed=1, total=1)
            facts.update(stage_facts(result))
            return tell_result(console, DETAIL, result)

        def one(image: Path, folder: Path) -> StageResult:
            points = None if landmarks is None else landmarks_beside(image, landmarks)
            return run_synthesis(image, folder, tools, points, force=force)

        found = run_pictures(images, out, "skin detail", one)
        facts.update(batch_facts(found))
        return tell_batch(console, found, out)


def load_networks(paths: Sequence[Path], device: str = "auto") -> list[DetailPredictor]:
    """Networks by the paths of --model, on a device. Raises UserError for a missing or damaged one, or no device."""
    import torch

    from ..model.dfdn_model import load_dfdn

    if device not in ("", "auto", "cpu", "cuda"):
        raise UserError(f"device is {device!r}, allowed are auto, cpu and cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device was found; leave --device away, or install torch for this machine's GPU")
    place = device if device in ("cpu", "cuda") else ("cuda" if torch.cuda.is_available() else "cpu")
    with console.status("loading the network"):
        return [load_dfdn(path).to(place) for path in (paths or [None])]
