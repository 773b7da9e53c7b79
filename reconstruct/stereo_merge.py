"""One depth map of the centre view from the reliable depths of all views: fewer holes and less noise than its own."""

from collections.abc import Mapping

import numba
import numpy as np

from ..capture.camera_model import PinholeCamera
from .stereo_exchange import seen_from
from .stereo_matching import projection
from .stereo_types import DepthMap, MergedDepth

JUMP = 0.006
TOLERANCE_MM = 1.0
"""Depths this close to the weighted median of all views are averaged."""
LEAST_WEIGHT = 0.02


def merge_depths(maps: Mapping[str, DepthMap], cameras: Mapping[str, PinholeCamera], centre: str) -> MergedDepth:
    """Kept depths of all views, drawn into the centre view; per pixel the mean of those near their weighted median.

    A view weighs by its score and by the square of how squarely it faces the surface.
    """
    target = cameras[centre]
    rows, columns = (np.flatnonzero(np.isfinite(maps[centre].depth_mm).any(axis)) for axis in (1, 0))
    depth = np.full((target.height_px, target.width_px), np.nan, np.float32)
    count = np.zeros(depth.shape, np.uint8)
    if len(rows) == 0:
        return MergedDepth(depth, count)
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window = (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
    cropped = target.cropped(*window)
    planes = np.full((len(maps), window[3], window[2]), np.nan, np.float32)
    weights = np.zeros(planes.shape, np.float32)
    for number, (name, found) in enumerate(maps.items()):
        if name == centre:
            planes[number] = np.where(found.kept, found.depth_mm, np.float32(np.nan))[inner]
        else:
            planes[number] = seen_from(found.depth_mm, found.kept, cameras[name], cropped, JUMP)
        x, y = (axis.astype(np.float32) for axis in cameras[name].normalised_grid())
        matrix, shift = projection(cropped, cameras[name])
        _look_up_weight(planes[number], matrix, shift, found.score, found.normal_cam, x, y, weights[number])
    _merge(planes, weights, np.float32(TOLERANCE_MM), np.float32(LEAST_WEIGHT), depth[inner], count[inner])
    outside = np.isnan(maps[centre].depth_mm)
    depth[outside], count[outside] = np.nan, 0
    return MergedDepth(depth, count)


@numba.njit(cache=True, nogil=True)
def _look_up_weight(depth, matrix, shift, score, normal, x, y, out):
    """Trust of the view that gave `depth`, read where it sees the point."""
    height, width = score.shape
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            z = np.float64(depth[row, column])
            if not z > 0:
                continue
            p2 = matrix[2, 0] * column + matrix[2, 1] * row + matrix[2, 2] + shift[2] / z
            u = (matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2] + shift[0] / z) / p2
            v = (matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2] + shift[1] / z) / p2
            i, j = int(np.rint(v)), int(np.rint(u))
            if not (0 <= i < height and 0 <= j < width):
                continue
            length = np.sqrt(1 + x[j] * x[j] + y[i] * y[i])
            facing = -(normal[i, j, 0] * x[j] + normal[i, j, 1] * y[i] + normal[i, j, 2]) / length
            if facing > 0:
                out[row, column] = min(max((score[i, j] - 0.3) / 0.4, 0.0), 1.0) * facing * facing


@numba.njit(cache=True, nogil=True)
def _merge(planes, weights, tolerance, least, depth, count):
    views, height, width = planes.shape
    values, trust = np.empty(views), np.empty(views)
    for row in range(height):
        for column in range(width):
            n, total = 0, 0.0
            for k in range(views):
                if weights[k, row, column] > 0:  # insertion sort by depth
                    z, w = planes[k, row, column], weights[k, row, column]
                    place = n
                    while place > 0 and values[place - 1] > z:
                        values[place], trust[place] = values[place - 1], trust[place - 1]
                        place -= 1
                    values[place], trust[place] = z, w
                    n += 1
                    total += w
            if total < least:
                continue
            middle, passed = values[n - 1], 0.0
            for k in range(n):
                passed += trust[k]
                if passed >= total / 2:
                    middle = values[k]
                    break
            mean, share, agreeing = 0.0, 0.0, 0
            for k in range(n):
                if abs(values[k] - middle) < tolerance:
                    mean += trust[k] * values[k]
                    share += trust[k]
                    agreeing += 1
            depth[row, column] = mean / share
            count[row, column] = agreeing
