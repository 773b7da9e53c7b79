"""Skin textures for the fast portraits: a few painted people per face model, and masks that vary them per picture."""

from dataclasses import dataclass

import cv2
import numpy as np

from .face_model import FaceModel
from .head import subject_coefficients
from .skin import make_skin
from .skin_frame import EYE_LEFT, EYE_RIGHT, LIPS, Area, skin_frame
from .skin_points import surface_points, vertex_table
from .uv_raster import pad_raster, rasterize_uv

MAP_SIZE = 256
LASH, LID, LIP, BEARD, BROW, BLUSH = range(6)
"""Channels of the masks."""


@dataclass(frozen=True, slots=True)
class SkinPool:
    """Painted people of one face model and where their features lie on the map."""

    albedo: np.ndarray
    """(K, MAP_SIZE, MAP_SIZE, 3) float32 linear RGB, top row first."""
    masks: np.ndarray
    """(MAP_SIZE, MAP_SIZE, 6) float32 in [0, 1]: lashes, lids, lips, beard, brows, cheeks."""


def make_skin_pool(model: FaceModel, people: list[int]) -> SkinPool:
    """Paint the skin of subject numbers `people` (as `subject_coefficients`), about two seconds each."""
    maps = []
    for subject in people:
        alpha, gamma, skin = subject_coefficients(model, subject)
        painted = make_skin(model, model.shape_mm(alpha), {}, model.albedo(gamma), skin, 2 * MAP_SIZE).albedo
        maps.append(cv2.resize(painted, (MAP_SIZE, MAP_SIZE), interpolation=cv2.INTER_AREA))
    return SkinPool(np.stack(maps), feature_masks(model))


def feature_masks(model: FaceModel) -> np.ndarray:
    """(MAP_SIZE, MAP_SIZE, 6) float32: where lashes, lids, lips, beard, brows and cheeks lie on the mean face."""
    frame = skin_frame(model, model.mean_mm)
    raster = rasterize_uv(model.uv, model.uv_triangles, MAP_SIZE)
    raster = pad_raster(raster, model.uv, model.uv_triangles, 3)
    texels = np.flatnonzero(raster.triangle.reshape(-1) >= 0)
    points = surface_points(frame, vertex_table(frame, model.albedo_mean), raster, texels, MAP_SIZE)
    at, weights = points.position_mm.astype(np.float64), points.weights
    mark = frame.landmarks_mm
    values = np.zeros((len(texels), 6), np.float32)
    for outline, rows in ((EYE_RIGHT, range(36, 42)), (EYE_LEFT, range(42, 48))):
        gap = points.outline_mm[:, outline].astype(np.float64)
        middle = mark[list(rows)].mean(0)
        near = (weights[:, Area.EYEBALL] < 0.5) & (np.abs(at - middle).max(1) < 30)
        above = at[:, 1] > middle[1] - 1.0
        lash = np.exp(-((np.minimum(gap + 0.6, 0) / 0.9) ** 2)) * np.where(above, 1.0, 0.35)
        values[:, LASH] += np.where(near & (gap > -5), lash, 0)
        values[:, LID] += np.where(near & above, np.clip((gap + 9) / 8, 0, 1), 0)
    lip = np.clip((points.outline_mm[:, LIPS] + 0.8) / 1.6, 0, 1) * (1 - weights[:, Area.MOUTH])
    values[:, LIP] = lip
    corner = mark[[48, 54]].mean(0)
    x = at[:, 0] - corner[0]
    beard = weights[:, [Area.PERIORAL, Area.CHIN, Area.JAW]].sum(1) + 0.8 * weights[:, Area.CHEEK]
    beard += 0.5 * weights[:, Area.NECK] * (at[:, 1] > mark[8, 1] - 25)
    low = np.clip((corner[1] + 6 + 0.25 * np.abs(x) - at[:, 1]) / 14, 0, 1)
    moustache = weights[:, Area.PERIORAL] * (np.abs(x) < 32)
    values[:, BEARD] = np.clip(beard * np.maximum(low, moustache), 0, 1) * (1 - lip)
    for rows in (range(17, 22), range(22, 27)):
        spine = mark[list(rows)]
        fine = np.stack([np.interp(np.linspace(0, 4, 60), np.arange(5), spine[:, k]) for k in range(3)], 1)
        close = np.abs(at - spine.mean(0)).max(1) < 40
        apart = ((at[close, None] - (fine + np.array([0, -1.2, 0]))[None]) * [1.0, 1.0, 0.5]).astype(np.float32)
        away = np.sqrt((apart**2).sum(-1))
        place = away.argmin(1) / 59.0
        inner = place if rows.start == 22 else 1 - place
        half = np.interp(inner, [0.0, 0.2, 0.6, 1.0], [3.4, 4.2, 3.4, 1.6])
        values[close, BROW] += np.exp(-((away.min(1) / half) ** 4)) * np.interp(inner, [0, 0.15, 1], [0.6, 1.0, 0.8])
    values[:, BLUSH] = weights[:, Area.CHEEK] + 0.6 * weights[:, Area.NOSE]
    masks = np.zeros((MAP_SIZE * MAP_SIZE, 6), np.float32)
    masks[texels] = np.clip(values, 0, 1)
    return masks.reshape(MAP_SIZE, MAP_SIZE, 6)
