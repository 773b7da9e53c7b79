"""The expression dictionary Psi: semantic features of rendered faces and the expression coefficients behind them.

Section 3.2 of the paper: expression coefficients are drawn at random, faces are rendered with them, Emotion-Net and the
appearance predictor describe each face, and the entry nearest to a photograph's description gives the prior (Eq. 5).

Ours where the paper is silent:
- Each feature is standardised by its mean and deviation over the dictionary, then divided by the square root of its
  block's length, so that 128 emotion features and 17 action units count the same; `weights` shifts the balance.
- Coefficients of PCA models are standard normal, clipped to [-3, 3]. Models with named units take activations in
  [0, 1]: clip((z - 0.5) / 2, 0, 1) of the same z, so that a face shows some eight of 26 units (`sampling="normal"`), or
  mixtures of named expressions and single units (`sampling="expressions"`).
- Every face is of another person (identity, skin, light, pose within some 10 degrees), so that features of expression
  are not mixed up with one face's looks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path
from ..reconstruct.face_model import FaceModel

FORMAT = "mesoface-expression-dictionary"
SCHEMA_VERSION = 1
Weighting = Literal["distance", "uniform"]


def model_identity(model: FaceModel) -> str:
    """Hex SHA-256 of what coefficients mean in a face model: its shapes and the names of its expressions."""
    import hashlib

    total = hashlib.sha256("|".join(model.expression_names).encode())
    for array in (model.mean_mm, model.expression_mm):
        total.update(str(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
    return total.hexdigest()


def sample_beta(model: FaceModel, rng: np.random.Generator, sampling: str = "normal") -> np.ndarray:
    """Expression coefficients (Ke,) float32 as described above; `sampling` matters to models with named units only."""
    from ..reconstruct.fast_portrait import random_beta

    if model.expression_is_units and sampling == "expressions":
        return random_beta(model, rng)
    drawn = np.clip(rng.standard_normal(len(model.expression_mm)), -3, 3)
    return (np.clip((drawn - 0.5) / 2, 0, 1) if model.expression_is_units else drawn).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ExpressionDictionary:
    """A dictionary in memory."""

    beta: np.ndarray
    """(N, Ke) float32."""
    emotion: np.ndarray
    """(N, 128) float32 features of Emotion-Net."""
    units: np.ndarray
    """(N, 17) float32 AU intensities."""
    face_model: str
    face_model_identity: str
    """`model_identity` of the face model whose coefficients these are."""
    extractors: str
    """Which weights made the features: their SHA-256, one after the other."""
    about: str

    def check_model(self, model: FaceModel) -> None:
        """Raises UserError where the dictionary was built for another face model."""
        if model_identity(model) != self.face_model_identity:
            raise UserError(
                f"expression dictionary: built for the face model '{self.face_model}', this run uses '{model.name}' "
                "(other shapes or expressions). Build one for it: mesoface dictionary build"
            )


@dataclass(frozen=True, slots=True)
class Matches:
    """What a query found."""

    rows: np.ndarray
    """(k,) int64, nearest first."""
    distances: np.ndarray
    """(k,) float64 in normalised features."""
    beta: np.ndarray
    """(Ke,) float64: the nearest entry's, or the weighted mean of k."""


class DictionaryIndex:
    """A dictionary prepared for queries: normalised features in one matrix."""

    def __init__(self, dictionary: ExpressionDictionary, weights: tuple[float, float] = (1.0, 1.0)) -> None:
        """weights: of the emotion and of the appearance features; 0 leaves a block out."""
        if min(weights) < 0 or max(weights) <= 0:
            raise UserError(f"dictionary: weights {weights}; allowed are numbers from 0, one of them above 0")
        self.dictionary = dictionary
        self._blocks: list[tuple[np.ndarray, np.ndarray] | None] = []
        parts = []
        for block, weight in zip((dictionary.emotion, dictionary.units), weights, strict=True):
            if weight == 0:
                self._blocks.append(None)
                continue
            mean, spread = block.mean(0), block.std(0)
            scale = np.sqrt(weight / block.shape[1]) / np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-9))
            self._blocks.append((mean, scale.astype(np.float32)))
            parts.append((block - mean) * scale)
        self._matrix = np.ascontiguousarray(np.concatenate(parts, 1), np.float32)
        self._squares = (self._matrix**2).sum(1)

    def query(self, emotion: np.ndarray, units: np.ndarray, k: int = 1, weighting: Weighting = "distance") -> Matches:
        """The k entries nearest to features (128,) and (17,) by L2 (Eq. 5).

        weighting: how k > 1 entries are averaged: by the inverse of their squared distance, or all the same.
        """
        if not 1 <= k <= len(self._squares):
            raise UserError(f"dictionary: k is {k}, allowed are 1 to its {len(self._squares)} entries")
        parts = [
            (feature - block[0]) * block[1]
            for feature, block in zip((emotion, units), self._blocks, strict=True)
            if block is not None
        ]
        wanted = np.concatenate(parts).astype(np.float32)
        squares = self._squares - 2 * (self._matrix @ wanted)
        rows = np.argpartition(squares, k - 1)[:k] if k < len(squares) else np.arange(k)
        rows = rows[np.argsort(squares[rows], kind="stable")]
        # Again, exactly: the expanded square loses digits.
        distances = np.linalg.norm(self._matrix[rows].astype(np.float64) - wanted, axis=1)
        share = np.ones(k) if weighting == "uniform" else 1 / np.maximum(distances, 1e-6) ** 2
        beta = (share / share.sum()) @ self.dictionary.beta[rows].astype(np.float64)
        return Matches(rows, distances, beta)


def save_dictionary(dictionary: ExpressionDictionary, path: Path) -> None:
    """Write as HDF5, atomically."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"], file.attrs["schema_version"] = FORMAT, SCHEMA_VERSION
        for name in ("face_model", "face_model_identity", "extractors", "about"):
            file.attrs[name] = getattr(dictionary, name)
        for name in ("beta", "emotion", "units"):
            file.create_dataset(
                name, data=getattr(dictionary, name).astype(np.float32), compression="lzf", shuffle=True
            )


def load_dictionary(path: Path) -> ExpressionDictionary:
    """Read a dictionary. Raises UserError for a missing, unfinished, damaged or foreign file."""
    import h5py

    wanted = "expected an expression dictionary written by `mesoface dictionary build` (.h5)"
    if not path.is_file():
        started = path.with_name(path.name + ".partial").is_dir()
        also = " It was started but not finished: run the same build command again." if started else " Check the path."
        raise UserError(f"{path}: {wanted}, found no such file.{also}")
    try:
        with h5py.File(path, "r") as file:
            if _text(file.attrs.get("format", "")) != FORMAT:
                raise UserError(f"{path}: {wanted}, found an HDF5 file of another kind. Give the right file.")
            version = int(_number(file.attrs["schema_version"]))
            if version > SCHEMA_VERSION:
                raise UserError(f"{path}: written by a newer mesoface (schema {version}); update mesoface")
            arrays = [np.asarray(_dataset(file, name)) for name in ("beta", "emotion", "units")]
            face_model, identity, extractors, about = (
                _text(file.attrs[name]) for name in ("face_model", "face_model_identity", "extractors", "about")
            )
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: {wanted}, but it cannot be read ({error}). Build or copy it again.") from error
    if len({len(array) for array in arrays}) != 1 or any(array.ndim != 2 for array in arrays):
        raise UserError(f"{path}: {wanted}, found tables of different lengths. Build it again.")
    beta, emotion, units = arrays
    return ExpressionDictionary(beta, emotion, units, face_model, identity, extractors, about)


def _dataset(file: Any, name: str) -> Any:
    return file[name][:]


def _number(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
