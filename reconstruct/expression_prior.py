"""What tells the proxy fit the expression of a face: a seam, so that the fit needs no network (section 3.3)."""

from typing import Protocol

import numpy as np

from .face_model import FaceModel
from .landmarks import Landmarks


class ExpressionPrior(Protocol):
    """Predicts the expression coefficients of one face in a picture; the fit then holds them fixed."""

    name: str
    face_model: str
    """Name of the face model whose coefficients it predicts; they mean nothing to another model."""

    def predict(self, image_srgb: np.ndarray, landmarks: Landmarks) -> np.ndarray:
        """Coefficients (Ke,) float64 of the face at `landmarks` in an image (H, W, 3) float32 in [0, 1]."""
        ...


def checked_beta(model: FaceModel, beta: np.ndarray) -> np.ndarray:
    """`beta` as (Ke,) float64, clipped to [0, 1] for a model with named units.

    Raises ValueError when it does not fit the model.
    """
    beta = np.asarray(beta, np.float64)
    if beta.shape != (len(model.expression_mm),) or not np.isfinite(beta).all():
        raise ValueError(
            f"expression prior of shape {beta.shape}, but {model.name} has {len(model.expression_mm)} finite "
            "expression coefficients; use a prior made for this face model"
        )
    return np.clip(beta, 0.0, 1.0) if model.expression_is_units else beta
