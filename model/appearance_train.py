"""Training of the action-unit regressors on rendered faces, whose units are known."""

from collections.abc import Callable

import numpy as np

from ..capture.errors import UserError
from .appearance_features import UnitRegressors, au_of_activations, description, fit_regressors
from .landmark_data import grey_of

JITTER = 0.012
"""Standard deviation of a landmark over the distance of the eyes: what a detector's points scatter by."""


def render_descriptions(
    face_models: list[str],
    count: int,
    seed: int = 0,
    people: int = 6,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Descriptions (count, n) and AU intensities (count, 17), float32, of rendered faces; each of another person.

    Raises UserError for face models without named units, whose action units are not known.
    """
    from ..reconstruct.fast_portrait import FastPortraitOptions, fast_portraits

    options = FastPortraitOptions(size_px=128, detail=1.0, yaw_deg=14, pitch_deg=8)
    makers = [fast_portraits(name, options, people) for name in face_models]
    models = [maker.model for maker in makers]
    for model in models:
        if not model.expression_is_units:
            raise UserError(
                f"face model {model.name}: its expressions are not named units; take procedural or ICT-FaceKit"
            )
    rows, intensities = [], np.zeros((count, 17), np.float32)
    for k in range(count):
        rng = np.random.Generator(np.random.PCG64([0xAC5, seed, k]))
        model, maker = models[k % len(models)], makers[k % len(models)]
        made = maker.draw(rng)
        eyes = np.linalg.norm(made.landmarks_px[36] - made.landmarks_px[45])
        points = made.landmarks_px + rng.normal(0, JITTER * eyes, (68, 2))
        rows.append(description(grey_of(made.image_srgb), points))
        intensities[k] = au_of_activations(dict(zip(model.expression_names, made.beta.tolist(), strict=True)))
        progress(k + 1)
    return np.stack(rows), intensities


def train_regressors(
    descriptions: np.ndarray, intensities: np.ndarray, about: str
) -> tuple[UnitRegressors, np.ndarray]:
    """The ridge with the best correlation on the last fifth, fitted on all; and its correlation per unit (17,)."""
    split = len(descriptions) * 4 // 5
    best, chosen, scores = -np.inf, 1.0, np.zeros(intensities.shape[1])
    for ridge in (3.0, 10.0, 30.0, 100.0, 300.0):
        trial = fit_regressors(descriptions[:split], intensities[:split], ridge, "")
        found = correlations(trial.intensities(descriptions[split:]), intensities[split:])
        if np.nanmean(found) > best:
            best, chosen, scores = float(np.nanmean(found)), ridge, found
    return fit_regressors(descriptions, intensities, chosen, f"{about}, ridge {chosen:g}"), scores


def correlations(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pearson's r of every column; NaN where one is constant."""
    a, b = found - found.mean(0), truth - truth.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
