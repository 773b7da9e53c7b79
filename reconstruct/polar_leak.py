"""How much of a highlight a crossed frame keeps, point by point.

A film is turned so that nothing of the highlight at the face's middle passes the crossed analyser; elsewhere on the
face the reflection turns the plane of polarisation a little, and some passes (capture/polarisation.py). Films and
analyser themselves let their extinction ratio pass everywhere.
"""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.polarisation import SKIN_INDEX, analyser_axis_world, specular_transfer

STEP_PX = 16
"""The map is smooth: it is computed on every so many pixels."""


def leak_map(
    depth_mm: np.ndarray,
    camera: PinholeCamera,
    light: Mapping[str, Any],
    analyser_deg: float,
    extinction: float,
    index: float = SKIN_INDEX,
) -> np.ndarray:
    """(H, W) float32: highlight in the crossed over highlight in the parallel frame.

    Args:
        depth_mm: (H, W), NaN outside the head; holes take the median depth.
        light: entry of lights.json with position_mm and film_axis_world.
        analyser_deg: angle of the analyser in its parallel state (capture/polarisation.py).
        extinction: share of a stopped highlight that passes nevertheless.
    """
    height, width = depth_mm.shape
    rows = np.minimum(np.arange(0, height + STEP_PX, STEP_PX), height - 1)
    columns = np.minimum(np.arange(0, width + STEP_PX, STEP_PX), width - 1)
    coarse = depth_mm[np.ix_(rows, columns)].astype(np.float64)
    coarse = np.where(np.isfinite(coarse), coarse, np.nanmedian(depth_mm))
    x, y = camera.normalised_grid()
    in_camera = np.stack([x[columns][None] * coarse, y[rows][:, None] * coarse, coarse], axis=2)
    points = camera.cam_from_world.inverse().apply(in_camera)
    kept, stopped, _ = specular_transfer(
        points,
        camera.centre_mm,
        np.asarray(light["position_mm"], np.float64),
        np.asarray(light["film_axis_world"], np.float64),
        analyser_axis_world(camera, analyser_deg),
        index,
    )
    share = ((stopped + extinction * kept) / (kept + extinction * stopped)).astype(np.float32)
    at_x = np.interp(np.arange(width), columns[:-1], np.arange(len(columns) - 1)).astype(np.float32)
    at_y = np.interp(np.arange(height), rows[:-1], np.arange(len(rows) - 1)).astype(np.float32)
    out = np.empty((height, width), np.float32)
    for first in range(0, height, 512):
        strip = slice(first, first + 512)
        down, across = np.meshgrid(at_y[strip], at_x, indexing="ij")
        out[strip] = cv2.remap(share, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out
