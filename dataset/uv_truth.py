"""How well a registered face agrees with the virtual head it shows."""

import cv2
import numpy as np

from ..capture.camera_model import PinholeCamera
from ..reconstruct.detail_truth import band
from ..reconstruct.face_model import FaceModel
from ..reconstruct.uv_charts import UvCharts
from ..reconstruct.uv_raster import interpolate
from .uv_maps import UvMaps
from .uv_registration import Registration

BAND_MM = (1.0, 8.0)
INNER_MM = 1.5
"""Off the border of what is valid, where the band filter sees only half of its surroundings."""


def looked_up_px(made: Registration, camera: PinholeCamera, model: FaceModel, charts: UvCharts) -> np.ndarray:
    """(S, S, 2) float64: the pixel at which each texel was looked up."""
    world = interpolate(charts.raster, model.triangles, made.refined.vertices_mm)
    pixels, _ = camera.project(world.reshape(-1, 3).astype(np.float64))
    return pixels.reshape(*world.shape[:2], 2)


def displacement_agreement(maps: UvMaps, pixels: np.ndarray, true_mm: np.ndarray) -> dict[str, float]:
    """Displacement of the valid texels against the true one of the same surface point, both between 1 and 8 mm.

    true_mm (H, W): of the picture that `pixels` lie in. Correspondence is another matter (`correspondence_error_mm`).
    """
    columns, rows = (np.clip(pixels[..., k], -1, 32000).astype(np.float32) for k in range(2))
    known = np.isfinite(true_mm)
    true = cv2.remap(np.where(known, true_mm, 0).astype(np.float32), columns, rows, cv2.INTER_LINEAR)
    sure = cv2.remap(known.astype(np.float32), columns, rows, cv2.INTER_LINEAR) > 0.999
    there = maps.valid & sure
    shortest_mm = max(BAND_MM[0], 2 * maps.texel_mm)
    ours, theirs = (
        band(field, there, shortest_mm, BAND_MM[1], maps.texel_mm) for field in (maps.displacement_mm, true)
    )
    reach = 2 * round(INNER_MM / maps.texel_mm) + 1
    inner = cv2.erode(there.astype(np.uint8), np.ones((reach, reach), np.uint8), borderValue=0) > 0
    a, b = ours[inner].astype(np.float64), theirs[inner].astype(np.float64)
    product = float((a * b).sum())
    return {
        "gain": round(product / max(float((b * b).sum()), 1e-18), 3),
        "correlation": round(product / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-18), 4),
        "error_um": round(1000 * float(np.sqrt(np.mean((a - b) ** 2))), 2),
        "true_um": round(1000 * float(np.sqrt(np.mean(b**2))), 2),
    }
