"""Two rows of plain teeth for face models that have a mouth but no teeth."""

from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel, Region

_TOOTH_LINEAR = np.array([0.62, 0.57, 0.47], np.float32)
_JAW_UNITS = ("jaw_open", "jaw_left", "jaw_right")


@dataclass(frozen=True, slots=True)
class Teeth:
    """Mesh and modes of the teeth: the upper row follows the skull, the lower one the jaw."""

    mean_mm: np.ndarray
    """(V, 3) float32."""
    identity_mm: np.ndarray
    """(Ki, V, 3) float32."""
    expression_mm: np.ndarray
    """(Ke, V, 3) float32."""
    triangles: np.ndarray
    """(T, 3) int32."""
    colour: np.ndarray
    """(V, 3) float32 linear RGB."""


def add_teeth(model: FaceModel) -> Teeth | None:
    """Teeth for `model`; None where it has its own (light vertices inside the mouth), or no mouth or no landmarks."""
    inside = model.regions == Region.MOUTH_INTERIOR
    if not inside.any() or (model.landmarks[48:] < 0).any() or not model.expression_is_units:
        return None
    if (model.albedo_mean[inside].min(1) > 0.3).any():
        return None
    mark = model.mean_mm[model.landmarks]
    middle = 0.5 * (mark[62] + mark[66])
    half_width = 0.47 * float(mark[54, 0] - mark[48, 0])
    rows = []
    # heights about the lip line, mm: the upper teeth end just above the lower lip
    for top, bottom in ((9.0, -1.2), (-2.2, -10.0)):
        t = np.linspace(-1.0, 1.0, 41)
        x = middle[0] + half_width * t
        z = middle[2] - 5.5 - 17.0 * t**2
        gap = 0.8 * (np.abs(np.sin(np.pi * 4.0 * (t + 0.0))) < 0.15)  # lines between teeth, as notches
        rows.append(
            np.concatenate(
                [
                    np.stack([x, np.full_like(x, middle[1] + top), z], 1),
                    np.stack([x, middle[1] + bottom + gap, z + 0.5], 1),
                ]
            )
        )
    n = 41
    strip = np.arange(n - 1)
    quads = np.concatenate([np.stack([strip, strip + n, strip + n + 1], 1),
                            np.stack([strip, strip + n + 1, strip + 1], 1)])  # fmt: skip
    triangles = np.concatenate([quads, quads + 2 * n]).astype(np.int32)
    anchors = np.repeat([model.landmarks[33], model.landmarks[57]], 2 * n)
    expression = np.zeros((len(model.expression_mm), 4 * n, 3), np.float32)
    for row, name in enumerate(model.expression_names):
        if name in _JAW_UNITS:
            expression[row, 2 * n :] = model.expression_mm[row, model.landmarks[8]]
    tone = np.tile(np.where(np.abs(np.sin(4.0 * np.pi * np.linspace(-1, 1, n))) < 0.15, 0.6, 1.0), 4)
    colour = _TOOTH_LINEAR * tone[:, None] * np.repeat([1.0, 0.85], 2 * n)[:, None]
    return Teeth(
        np.concatenate(rows).astype(np.float32), model.identity_mm[:, anchors], expression, triangles,
        colour.astype(np.float32),
    )  # fmt: skip
