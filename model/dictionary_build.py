"""Building the expression dictionary: render, describe, store; in shards, so that an interrupted build continues."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path, sha256_file, write_json
from ..reconstruct.worker_pool import worker_pool
from .appearance_features import SHIPPED as SHIPPED_REGRESSORS
from .appearance_features import aligned_face, description, load_regressors
from .emotion_net import FACE_PX, describe, load_emotion_net
from .emotion_net import SHIPPED as SHIPPED_EMOTION
from .expression_dictionary import ExpressionDictionary, model_identity, sample_beta, save_dictionary
from .landmark_data import grey_of

SHARD = 500


@dataclass(frozen=True, slots=True)
class DictionaryOptions:
    """What a dictionary is made of."""

    entries: int = 90_000
    face_model: str = "procedural"
    sampling: Literal["normal", "expressions"] = "normal"
    size_px: int = 112
    people: int = 8
    """Painted skins that the faces share; shapes, tones and light differ in every face."""
    jitter: float = 0.012
    """Scatter of the landmarks over the distance of the eyes, as a detector's."""
    seed: int = 0
    emotion_weights: str = ""
    """Emotion-Net weights; empty: the shipped ones."""
    regressors: str = ""
    """Action-unit regressors; empty: the shipped ones."""

    def __post_init__(self) -> None:
        if not (1 <= self.entries <= 10_000_000 and 64 <= self.size_px <= 512 and self.people >= 1):
            raise UserError(
                f"dictionary: entries {self.entries}, size_px {self.size_px}, people {self.people}; allowed are "
                "1 to 10000000, 64 to 512, and 1 or more"
            )

    def weight_files(self) -> tuple[Path, Path]:
        """Files of Emotion-Net and of the regressors."""
        return (Path(self.emotion_weights) if self.emotion_weights else SHIPPED_EMOTION,
                Path(self.regressors) if self.regressors else SHIPPED_REGRESSORS)  # fmt: skip


def extractors_identity(files: tuple[Path, Path]) -> str:
    """SHA-256 of both weight files, joined. Raises UserError for a missing one."""
    load_emotion_net(files[0])
    load_regressors(files[1])
    return "+".join(sha256_file(file) for file in files)


def build_dictionary(
    path: Path,
    options: DictionaryOptions = DictionaryOptions(),
    *,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> ExpressionDictionary:
    """Build the dictionary `path` (.h5), or finish one that was begun with the same options.

    Shards lie in `path`.partial until all are there. Entry i depends on (seed, i) and the options alone, whatever the
    number of worker processes. Raises UserError when `path` exists, and for shards of other options.
    """
    from ..reconstruct.face_load import load_face_model

    if path.exists():
        raise UserError(f"{path}: exists already; choose another name, or remove it")
    model = load_face_model(options.face_model)
    extractors = extractors_identity(options.weight_files())
    recipe = asdict(options) | {"model": model_identity(model), "extractors": extractors}
    recipe.pop("entries")
    folder = path.with_name(path.name + ".partial")
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "recipe.json"
    if note.exists():
        try:
            same = json.loads(note.read_text()) == recipe
        except ValueError:
            same = False
        if not same:
            raise UserError(f"{folder}: holds a build with other options or weights; remove it, or choose another name")
    else:
        write_json(note, recipe)
    firsts = list(range(0, options.entries, SHARD))
    counts = [min(SHARD, options.entries - first) for first in firsts]
    todo = [part for part in zip(firsts, counts, strict=True) if not _shard(folder, *part).exists()]
    done = options.entries - sum(count for _, count in todo)
    progress(done)
    for count in _made(folder, options, todo, workers):
        done += count
        progress(done)
    beta, emotion, units = ([] for _ in range(3))
    for part in zip(firsts, counts, strict=True):
        with np.load(_shard(folder, *part), allow_pickle=False) as data:
            for column, name in ((beta, "beta"), (emotion, "emotion"), (units, "units")):
                column.append(data[name])
    about = f"{options.entries} entries, sampling {options.sampling}, {options.size_px} px, seed {options.seed}"
    whole = ExpressionDictionary(
        *(np.concatenate(column) for column in (beta, emotion, units)),
        face_model=model.name, face_model_identity=recipe["model"], extractors=extractors, about=about,
    )  # fmt: skip
    save_dictionary(whole, path)
    for file in [*folder.glob("*.npz"), note]:
        file.unlink()
    folder.rmdir()
    return whole


def portrait_options(size_px: int) -> Any:
    """FastPortraitOptions of the entries: one face that fills the picture, about frontal, nothing in front of it."""
    from ..reconstruct.fast_portrait import FastPortraitOptions

    return FastPortraitOptions(
        size_px=size_px, detail=1.0, yaw_deg=9, pitch_deg=6, roll_deg=6, face_share=(0.7, 0.85), shift=0.03, plain=True
    )


def _shard(folder: Path, first: int, count: int) -> Path:
    return folder / f"entries_{first:08d}_{count}.npz"


def _made(folder: Path, options: DictionaryOptions, todo: list[tuple[int, int]], workers: int) -> Iterator[int]:
    """Make the shards `todo` (first entry and count), yielding the count of each as it is done."""
    if workers <= 1 or len(todo) <= 1:
        tools = _Tools(options) if todo else None
        for first, count in todo:
            assert tools is not None
            yield tools.write(folder, first, count)
        return
    with worker_pool(workers, "spawn", _prepare, (options,)) as pool:
        yield from pool.map(_write, [folder] * len(todo), *zip(*todo, strict=True))


class _Tools:
    """Everything a process needs to make entries."""

    def __init__(self, options: DictionaryOptions) -> None:
        from ..reconstruct.fast_portrait import fast_portraits

        emotion, regressors = options.weight_files()
        self.options = options
        portraits = portrait_options(options.size_px)
        self.maker = fast_portraits(options.face_model, portraits, options.people)
        self.model = self.maker.model
        self.network, self.regressors = load_emotion_net(emotion), load_regressors(regressors)

    def write(self, folder: Path, first: int, count: int) -> int:
        betas, faces, descriptions = [], [], []
        for k in range(first, first + count):
            rng = np.random.Generator(np.random.PCG64([0xD1C7, self.options.seed, k]))
            beta = sample_beta(self.model, rng, self.options.sampling)
            made = self.maker.draw(rng, beta=beta)
            grey = grey_of(made.image_srgb)
            eyes = np.linalg.norm(made.landmarks_px[36] - made.landmarks_px[45])
            points = made.landmarks_px + rng.normal(0, self.options.jitter * eyes, (68, 2))
            betas.append(beta)
            faces.append(aligned_face(grey, points, FACE_PX))
            descriptions.append(description(grey, points))
        emotion = np.concatenate(
            [describe(self.network, np.stack(faces[at : at + 50]))[1] for at in range(0, count, 50)]
        )
        units = self.regressors.intensities(np.stack(descriptions))
        with atomic_path(_shard(folder, first, count)) as temporary:
            np.savez(temporary, beta=np.stack(betas), emotion=emotion, units=units)
        return count


_TOOLS: dict[str, Any] = {}
"""Of a worker process; empty in the parent."""


def _prepare(options: DictionaryOptions) -> None:
    import torch

    torch.set_num_threads(1)
    _TOOLS["tools"] = _Tools(options)


def _write(folder: Path, first: int, count: int) -> int:
    return _TOOLS["tools"].write(folder, first, count)
