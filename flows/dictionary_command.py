"""`mesoface dictionary ...`: build the expression dictionary of a face model, and ask it about a picture."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..capture.errors import UserError
from ..reconstruct.face_load import load_face_model


def build(
    out: Path,
    *,
    face_model: str = "procedural",
    entries: int = 90_000,
    sampling: Literal["normal", "expressions"] = "normal",
    emotion_weights: Path | None = None,
    seed: int = 0,
    workers: int = 2,
) -> None:
    """Render faces with random expressions, describe them, and store both; an interrupted build continues.

    Example: mesoface dictionary build expressions.h5 --entries 90000

    Parameters
    ----------
    out
        File to write (.h5). Until it is whole, its parts lie in OUT.partial.
    face_model
        procedural, an ICT-FaceKit folder, or a .h5 face model with landmarks and texture coordinates.
    entries
        Faces; 90,000 in the paper.
    sampling
        normal: as in the paper; expressions: mixtures of named expressions and single units.
    emotion_weights
        Emotion-Net weights of `mesoface train emotion` (.npz); without them the shipped ones.
    seed
        Seed of the faces.
    workers
        Processes that render.
    """
    _needs_torch()
    from ..model.dictionary_build import DictionaryOptions, build_dictionary

    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise UserError(f"{out}: expected a name that ends in .h5")
    if not 1 <= workers <= 256:
        raise UserError(f"workers {workers}: allowed are 1 to 256")
    options = DictionaryOptions(
        entries=entries, face_model=face_model, sampling=sampling, seed=seed,
        emotion_weights=str(emotion_weights.absolute()) if emotion_weights else "",
    )  # fmt: skip
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("faces", total=entries)
        built = build_dictionary(out, options, workers=workers, progress=lambda done: bar.update(task, completed=done))
    console.print(f"wrote {escape(str(out))}: {len(built.beta)} expressions of {escape(built.face_model)}")


def query(
    dictionary: Path,
    image: Path,
    *,
    face_model: str = "procedural",
    landmarks: Path | None = None,
    prior: Literal["emotion", "facs", "both"] = "both",
    k: Annotated[int, Parameter(name=("--k", "-k"))] = 1,
    weighting: Literal["distance", "uniform"] = "distance",
    emotion_weights: Path | None = None,
) -> None:
    """Which expression of the dictionary a picture's largest face shows.

    Example: mesoface dictionary query expressions.h5 portrait.jpg -k 8

    Parameters
    ----------
    dictionary
        File of `mesoface dictionary build`.
    image
        A picture with a face.
    face_model
        The face model the dictionary was built for.
    landmarks
        68 landmarks of the picture, .pts or .json; without it mesoface's network finds them.
    prior
        Features to compare: of emotion, of facial action units, or both.
    k
        Entries to average; 1 as in the paper.
    weighting
        How they are averaged: by inverse squared distance, or all the same.
    emotion_weights
        The Emotion-Net weights that the dictionary was built with, where not the shipped ones.
    """
    _needs_torch()
    from ..model.appearance_features import AU_NAMES
    from ..model.dictionary_prior import DictionaryPrior
    from ..model.expression_dictionary import load_dictionary
    from ..model.landmark_detector import LandmarkNetwork
    from ..reconstruct.landmark_files import read_landmarks
    from ..reconstruct.photo import load_photo

    model = load_face_model(face_model)
    asked = DictionaryPrior(load_dictionary(dictionary), model, kind=prior, k=k, weighting=weighting,
                            emotion_weights=emotion_weights)  # fmt: skip
    photo = load_photo(image)
    if landmarks is not None:
        face = read_landmarks(landmarks)[0]
    else:
        faces = LandmarkNetwork().detect(photo.srgb)
        if not faces:
            raise UserError(f"{image}: no face found in {photo.size}. Give its landmarks with --landmarks.")
        face = faces[0]
    matches = asked.matches(photo.srgb, face)
    _, units = asked.features(photo.srgb, face)
    table = Table("coefficient", "value", title=f"expression of {image.name}")
    for index in np.argsort(-np.abs(matches.beta))[:12]:
        if abs(matches.beta[index]) > 1e-3:
            table.add_row(escape(model.expression_names[index]), f"{matches.beta[index]:.2f}")
    console = Console()
    console.print(table)
    told = ", ".join(f"{name} {value:.1f}" for name, value in zip(AU_NAMES, units, strict=True) if value > 0.5)
    console.print(f"entries {', '.join(map(str, matches.rows[:8]))}; distance {matches.distances[0]:.2f}")
    console.print(f"action units of the picture: {told or 'none above 0.5'}")


def _needs_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UserError("Emotion-Net needs PyTorch, which is not installed: `pip install torch`") from error
