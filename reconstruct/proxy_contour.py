"""Contour landmarks that move with the view: where the cheek hides the jaw, the outline is what a picture shows.

Annotators and detectors trained on their work put landmarks 0-16 on the visible outline, not on fixed points of the
jaw. From each jaw landmark a strip of vertices runs over the cheek towards the middle of the face; the landmark seen
from a direction is the outermost point of its strip. Facing the camera that is the jaw itself.
"""

from dataclasses import dataclass

import numpy as np

from .face_model import FaceModel, Region
from .face_regions import complete_landmarks

SAMPLES = 40
"""Vertices per strip."""
REACH = 0.85
"""Share of the way to the face's middle line that a strip covers."""
HIDDEN_MM = 1.0
"""A jaw point is hidden when the outline lies farther out by this."""
_SKIN = (
    Region.FOREHEAD, Region.EYELID_RIGHT, Region.EYELID_LEFT, Region.CHEEK_RIGHT, Region.CHEEK_LEFT, Region.PERIORAL,
    Region.CHIN, Region.JAW, Region.BROW_RIGHT, Region.BROW_LEFT, Region.LIP_LOWER,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContourStrips:
    """Vertices that can be contour landmarks 0-16."""

    vertices: np.ndarray
    """(17, S) int64, the jaw landmark first, then towards the middle of the face."""
    outward: np.ndarray
    """(17, 3) float64 unit vectors of the model frame, across the outline."""
    fixed: np.ndarray
    """(17,) bool: the model itself defines this landmark."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline seen by one camera."""

    slot: np.ndarray
    """(17,) int64: place in each strip of its outermost point."""
    hidden: np.ndarray
    """(17,) bool: the jaw point itself lies inside the outline."""
    normal_px: np.ndarray
    """(17, 2) float64 unit vectors in the picture across the outline."""


def contour_strips(model: FaceModel) -> ContourStrips | None:
    """Strips on the mean face; None for a model with too few landmarks or without labelled skin."""
    mean = model.mean_mm.astype(np.float64)
    points = complete_landmarks(mean, model.landmarks)
    skin = np.flatnonzero(np.isin(model.regions, _SKIN))
    if points is None or len(skin) < 100:
        return None
    from scipy.spatial import KDTree

    jaw = points[:17]
    axis_z = jaw[[0, 16], 2].mean()
    mouth_y = points[57, 1]

    def unrolled(xyz: np.ndarray) -> np.ndarray:
        """Angle around the vertical axis between the ears, as an arc in mm, and height."""
        radius = 0.5 * np.linalg.norm(points[0] - points[16])
        return np.stack([radius * np.arctan2(xyz[..., 0], xyz[..., 2] - axis_z), xyz[..., 1]], -1)

    start = unrolled(jaw)
    goal = np.stack([np.zeros(17), np.maximum(start[:, 1], mouth_y)], 1)
    share = np.linspace(0, REACH, SAMPLES)[None, :, None]
    wanted = start[:, None] * (1 - share) + goal[:, None] * share
    vertices = skin[KDTree(unrolled(mean[skin])).query(wanted)[1]]
    fixed = model.landmarks[:17] >= 0
    vertices[fixed, 0] = model.landmarks[:17][fixed]
    outward = np.concatenate([start - goal, np.zeros((17, 1))], 1)
    return ContourStrips(vertices, outward / np.linalg.norm(outward, axis=1, keepdims=True), fixed)


def outline(strips: ContourStrips, points_px: np.ndarray, outward_px: np.ndarray, scale_px_per_mm: float) -> Outline:
    """The outline among projected strips.

    points_px: (17, S, 2) projections of the strips' vertices. outward_px: (17, 2) projections of `strips.outward`.
    """
    direction = outward_px / np.maximum(np.linalg.norm(outward_px, axis=1, keepdims=True), 1e-12)
    extent = np.einsum("ksi,ki->ks", points_px, direction)
    slot = extent.argmax(1)
    every = np.arange(17)
    hidden = extent[every, slot] - extent[:, 0] > HIDDEN_MM * scale_px_per_mm
    slot = np.where(hidden, slot, 0)
    chosen = points_px[every, slot]
    before, after = np.maximum(every - 1, 0), np.minimum(every + 1, 16)
    along = chosen[after] - chosen[before]
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > 1e-9, normal / np.maximum(length, 1e-9), direction)
    return Outline(slot, hidden, normal)
