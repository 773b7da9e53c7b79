"""The expression prior of the proxy fit: describe a photograph's face and look it up in the dictionary."""

from pathlib import Path
from typing import Literal

import numpy as np

from ..capture.errors import UserError
from ..reconstruct.face_model import FaceModel
from ..reconstruct.landmarks import Landmarks
from .appearance_features import SHIPPED as SHIPPED_REGRESSORS
from .appearance_features import aligned_face, description, load_regressors
from .dictionary_build import extractors_identity
from .emotion_net import FACE_PX, describe, load_emotion_net
from .emotion_net import SHIPPED as SHIPPED_EMOTION
from .expression_dictionary import DictionaryIndex, ExpressionDictionary, Matches, Weighting
from .landmark_data import grey_of

Kind = Literal["emotion", "facs", "both"]
_BLOCKS: dict[str, tuple[float, float]] = {"emotion": (1.0, 0.0), "facs": (0.0, 1.0), "both": (1.0, 1.0)}


class DictionaryPrior:
    """An `ExpressionPrior` (reconstruct/expression_prior.py) that answers from a dictionary."""

    def __init__(
        self,
        dictionary: ExpressionDictionary,
        model: FaceModel,
        *,
        kind: Kind = "both",
        k: int = 1,
        weighting: Weighting = "distance",
        emotion_weights: Path | None = None,
        regressors: Path | None = None,
    ) -> None:
        """k = 1 is the paper's choice. Raises UserError for a dictionary of another face model or other weights."""
        dictionary.check_model(model)
        files = (emotion_weights or SHIPPED_EMOTION, regressors or SHIPPED_REGRESSORS)
        if extractors_identity(files) != dictionary.extractors:
            raise UserError(
                f"expression dictionary: its features were made with other weights than {files[0].name} and "
                f"{files[1].name}. Give the weights it was built with, or build it again."
            )
        self.name, self.face_model = kind, model.name
        self.index = DictionaryIndex(dictionary, _BLOCKS[kind])
        self.k = k
        self.weighting: Weighting = weighting
        self._network, self._regressors = load_emotion_net(files[0]), load_regressors(files[1])

    def predict(self, image_srgb: np.ndarray, landmarks: Landmarks) -> np.ndarray:
        """Expression coefficients (Ke,) float64 of the face at `landmarks` in an image (H, W, 3) float32 in [0, 1]."""
        return self.matches(image_srgb, landmarks).beta

    def matches(self, image_srgb: np.ndarray, landmarks: Landmarks) -> Matches:
        """The entries behind `predict`. Raises UserError where landmarks 18-68 are not all known."""
        emotion, units = self.features(image_srgb, landmarks)
        return self.index.query(emotion, units, self.k, self.weighting)

    def features(self, image_srgb: np.ndarray, landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
        """Emotion features (128,) and AU intensities (17,) of a face."""
        points = landmarks.points_px
        if not np.isfinite(points[17:]).all():
            raise UserError(
                f"expression prior: landmarks 18-68 are needed, {int(np.isnan(points[17:, 0]).sum())} of them "
                f"are unknown ({landmarks.source}). Take another detector, or --prior none."
            )
        filled = np.where(np.isfinite(points), points, points[17:].mean(0))
        grey = grey_of(np.asarray(image_srgb, np.float32))
        emotion = describe(self._network, aligned_face(grey, filled, FACE_PX)[None])[1][0]
        return emotion, self._regressors.intensities(description(grey, filled)[None])[0]
