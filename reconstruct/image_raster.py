"""Which triangle of a mesh each pixel of an image sees: a z-buffer over projected vertices.

The camera is not this file's business: vertices come as pixels and depths, so an affine camera (`AffineCamera.depth`)
and a perspective one (depth along the optical axis, `perspective=True`) both work. The result has the fields of a
`UvRaster`, so `uv_raster.interpolate` and `gather` fill it with any vertex values.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .uv_raster import UvRaster


@dataclass(frozen=True, slots=True)
class ImageRaster(UvRaster):
    """Nearest triangle, barycentric coordinates (as in `UvRaster`) and depth at the centre of every pixel."""

    depth: np.ndarray
    """(H, W) float32 in the unit the vertices' depth came in, larger is farther; NaN where no triangle is."""


def rasterize_image(
    points_px: np.ndarray,
    depth: np.ndarray,
    triangles: np.ndarray,
    width: int,
    height: int,
    *,
    cull_back: bool = False,
    perspective: bool = False,
) -> ImageRaster:
    """Nearest surface at every pixel centre (integer coordinates) of a width x height image.

    points_px: (N, 2) float, column and row. depth: (N,) float, nearer is smaller. triangles: (T, 3) int.
    cull_back: leave out triangles that turn away (corners counter-clockwise seen from outside, as in `FaceModel`).
    perspective: depth is the distance z > 0 along the optical axis; 1/z is then what is linear in the image, and the
    barycentric weights are the ones on the surface, not in the image. Triangles that reach z <= 0 are left out, as are
    ones with a corner that is not finite. Of two surfaces at one depth the lower triangle index is kept.
    """
    points = np.ascontiguousarray(points_px, np.float64)
    depths = np.ascontiguousarray(depth, np.float64)
    corners = np.ascontiguousarray(triangles, np.int32)
    if points.ndim != 2 or points.shape[1] != 2 or depths.shape != points.shape[:1]:
        raise ValueError(f"points_px {points.shape} and depth {depths.shape}: expected (N, 2) and (N,)")
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 2), np.float32)
    # What grows with nearness and is linear in the image: -depth of an affine camera, 1 / depth in perspective.
    nearness = np.full((height, width), -np.inf)
    with np.errstate(divide="ignore"):
        near = np.where(depths > 0, 1.0 / depths, np.nan) if perspective else -depths
    _draw(points, near, corners, cull_back, perspective, triangle, barycentric, nearness)
    seen = triangle >= 0
    nearness[~seen] = np.nan
    return ImageRaster(triangle, barycentric, (1.0 / nearness if perspective else -nearness).astype(np.float32))


@numba.njit(cache=True, nogil=True)
def _draw(points, near, triangles, cull_back, perspective, triangle, barycentric, nearness):
    height, width = triangle.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        # In an image, with rows downwards, the front of a triangle has a negative area. NaN fails the test as well.
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if not abs(area) > 1e-12 or (cull_back and area > 0.0):
            continue
        na, nb, nc = near[a], near[b], near[c]
        if not np.isfinite(na + nb + nc):
            continue
        # Most triangles of a face in a small picture hold no pixel centre: find that out before anything else.
        left, right = max(0.0, np.ceil(min(ax, bx, cx) - 1e-9)), min(width - 1.0, np.floor(max(ax, bx, cx) + 1e-9))
        top, bottom = max(0.0, np.ceil(min(ay, by, cy) - 1e-9)), min(height - 1.0, np.floor(max(ay, by, cy) + 1e-9))
        if not (left <= right and top <= bottom):
            continue
        # Weights of the second and third corner, linear in column and row.
        b_x, b_y = (cy - ay) / area, -(cx - ax) / area
        c_x, c_y = -(by - ay) / area, (bx - ax) / area
        for row in range(int(top), int(bottom) + 1):
            for column in range(int(left), int(right) + 1):
                fb = (column - ax) * b_x + (row - ay) * b_y
                fc = (column - ax) * c_x + (row - ay) * c_y
                if fb < -1e-9 or fc < -1e-9 or fb + fc > 1.0 + 1e-9:
                    continue
                n = na + fb * (nb - na) + fc * (nc - na)
                if n > nearness[row, column]:
                    nearness[row, column] = n
                    triangle[row, column] = t
                    # In perspective a weight on the surface is its image weight times nearness of corner over pixel.
                    barycentric[row, column, 0] = fb * nb / n if perspective else fb
                    barycentric[row, column, 1] = fc * nc / n if perspective else fc
