"""A face model's texture charts, rasterised once, and the maps of a shape in them: positions and normals (Fig. 2)."""

from dataclasses import dataclass

import numpy as np

from ..capture.errors import UserError
from .face_model import FaceModel
from .mesh_refine import vertex_normals
from .uv_raster import UvRaster, interpolate, pad_raster, rasterize_uv

PADDING_TEXELS = 4


@dataclass(frozen=True, slots=True)
class UvCharts:
    """What does not change from picture to picture: keep one per model and size, and pass it on."""

    raster: UvRaster
    """Extended beyond the charts' borders by `PADDING_TEXELS`, so that bilinear look-ups never meet empty texels."""
    valid: np.ndarray
    """(S, S) bool: texels whose centre lies in a chart."""

    @property
    def size(self) -> int:
        """Side of the maps in texels."""
        return len(self.valid)


def uv_charts(model: FaceModel, size: int) -> UvCharts:
    """Rasterise the charts of `model` at size x size; works for any layout, several UVs per vertex too.

    Raises UserError for a model without texture coordinates.
    """
    if not len(model.uv) or not np.ptp(model.uv, axis=0).all():
        raise UserError(f"face model {model.name}: has no texture coordinates, so it has no maps; take another model")
    exact = rasterize_uv(model.uv, model.uv_triangles, size)
    return UvCharts(pad_raster(exact, model.uv, model.uv_triangles, PADDING_TEXELS), exact.valid)


def position_map(charts: UvCharts, model: FaceModel, vertices_mm: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32 mm, model frame; zero outside of the padded charts."""
    return interpolate(charts.raster, model.triangles, vertices_mm)


def normal_map(charts: UvCharts, model: FaceModel, vertices_mm: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32 unit normals, model frame, outwards; zero outside of the padded charts."""
    normals = interpolate(charts.raster, model.triangles, vertex_normals(vertices_mm, model.triangles))
    length = np.sqrt(np.einsum("ijk,ijk->ij", normals, normals))[..., None]
    return np.divide(normals, length, out=normals, where=length > 0)
