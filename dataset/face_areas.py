"""Semantic regions in texture space, and the two areas that the paper trains separate models for."""

from enum import IntEnum

import numpy as np

from ..reconstruct.face_model import FACE_REGIONS, FaceModel, Region
from ..reconstruct.uv_raster import UvRaster, rasterize_uv

NOSE_BRIDGE_LOW = 29
"""iBUG landmark (0-based) on the lower bridge of the nose: the height where the two areas meet."""
SKIN_REGIONS = (
    Region.FOREHEAD, Region.NOSE, Region.CHEEK_RIGHT, Region.CHEEK_LEFT, Region.PERIORAL, Region.CHIN,
)  # fmt: skip
"""Where skin detail is learnt by default: without brows, lids and lips, whose hair and wet film are no skin relief."""
LEFT_RIGHT = {
    Region.BROW_RIGHT: Region.BROW_LEFT,
    Region.EYELID_RIGHT: Region.EYELID_LEFT,
    Region.CHEEK_RIGHT: Region.CHEEK_LEFT,
    Region.EAR_RIGHT: Region.EAR_LEFT,
    Region.EYEBALL_RIGHT: Region.EYEBALL_LEFT,
}


class Area(IntEnum):
    """Training areas of the original: "forehead" and "mouth"."""

    NONE = 0
    UPPER = 1
    LOWER = 2


def region_map(model: FaceModel, size: int, raster: UvRaster | None = None) -> np.ndarray:
    """(S, S) uint8, values of Region: that of the nearest corner of the texel's triangle; 0 off the charts."""
    raster = raster or rasterize_uv(model.uv, model.uv_triangles, size)
    return _of_nearest_corner(model, raster, model.regions)


def area_map(model: FaceModel, size: int, raster: UvRaster | None = None) -> np.ndarray:
    """(S, S) uint8, values of Area, over the facial regions.

    Divided at the height of the lower bridge of the nose on the mean face; the released areas meet along a line that
    follows cheek and nose at about that height.
    """
    raster = raster or rasterize_uv(model.uv, model.uv_triangles, size)
    landmark = model.landmarks[NOSE_BRIDGE_LOW]
    divide_mm = float(model.mean_mm[landmark, 1]) if landmark >= 0 else 0.0
    face = np.isin(model.regions, FACE_REGIONS)
    area = np.where(face, np.where(model.mean_mm[:, 1] > divide_mm, Area.UPPER, Area.LOWER), Area.NONE)
    return _of_nearest_corner(model, raster, area.astype(np.uint8))


def mirrored_regions(region: np.ndarray) -> np.ndarray:
    """(...) uint8: left and right exchanged, as a flipped picture needs it."""
    table = np.arange(256, dtype=np.uint8)
    for right, left in LEFT_RIGHT.items():
        table[right], table[left] = left, right
    return table[region]


def _of_nearest_corner(model: FaceModel, raster: UvRaster, labels: np.ndarray) -> np.ndarray:
    second, third = raster.barycentric[..., 0], raster.barycentric[..., 1]
    weights = np.stack([1 - second - third, second, third], -1)
    corner = np.argmax(weights, axis=-1)
    vertex = np.take_along_axis(model.triangles[np.maximum(raster.triangle, 0)], corner[..., None], -1)[..., 0]
    return np.where(raster.triangle >= 0, labels[vertex], 0).astype(np.uint8)
