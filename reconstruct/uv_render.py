"""From a texture to a picture: a texture in a view, and the filling of texels that no camera saw."""

import cv2
import numpy as np

from .face_model import FaceModel
from .image_raster import ImageRaster
from .uv_raster import interpolate, sample_uv


def render_texture(texture: np.ndarray, raster: ImageRaster, model: FaceModel) -> np.ndarray:
    """(H, W, C) float32 picture of a model with `texture` (S, S, C) in its charts; 0 beside the head.

    raster: the model's triangles in the view. The texture is halved as often as a pixel spans more than two texels, so
    it must be filled around its charts (`fill_unseen`), or borders turn dark.
    """
    texture = np.asarray(texture, np.float32)
    texture = texture[..., None] if texture.ndim == 2 else texture
    uv = interpolate(raster, model.uv_triangles, model.uv)
    seen = raster.valid
    spans = _texels_per_pixel(raster, model, texture.shape[0])
    while spans > 2 and len(texture) >= 4:
        channels, half = texture.shape[2], len(texture) // 2
        texture = cv2.resize(texture, (half, half), interpolation=cv2.INTER_AREA).reshape(half, half, channels)
        spans /= 2
    out = np.zeros((*seen.shape, texture.shape[2]), np.float32)
    out[seen] = sample_uv(texture, uv[seen])
    return out


def fill_unseen(texture: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A copy of `texture` (S, S, C) float32 whose unseen texels continue the seen ones smoothly; `seen` (S, S) bool.

    Push-pull: every level holds the mean of what is known below it and gives it to what is unknown. Made for looking
    at and for mip maps; it is not evidence, `seen` is.
    """
    colour = np.ascontiguousarray(texture, np.float32)
    if not seen.any():
        return np.zeros_like(colour)
    mask = seen.astype(np.uint8)
    known = cv2.copyTo(colour, mask).reshape(colour.shape)
    filled = np.ascontiguousarray(_coarser_fill(known, seen.astype(np.float32)))
    return cv2.copyTo(colour, mask, filled).reshape(colour.shape)


def _coarser_fill(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Colours (h, w, C) from half the resolution; `colour` comes multiplied by its weight (h, w) in 0..1."""
    height, width = weight.shape
    half = ((width + 1) // 2, (height + 1) // 2)
    share = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(colour, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
    # A texel that saw anything at all counts as fully known one level up, or holes would never close.
    known = np.minimum(4 * share, 1.0)
    coarse *= (known / np.maximum(share, 1e-6))[..., None]
    if known.min() < 1 and max(half) > 1:
        coarse += (1 - known)[..., None] * _coarser_fill(coarse, known)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)


def _texels_per_pixel(raster: ImageRaster, model: FaceModel, size: int) -> float:
    """Median over the seen triangles of the square root of texture area per picture area."""
    triangles, pixels = np.unique(raster.triangle[raster.valid], return_counts=True)
    if not len(triangles):
        return 1.0
    corners = model.uv[model.uv_triangles[triangles]].astype(np.float64) * size
    texels = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 2
    return float(np.sqrt(texels.sum() / pixels.sum()))
