"""Places on a face model that the fast portraits need: the outline beside the jaw, the hairline."""

import numpy as np

from .face_model import FaceModel, Region

CANDIDATES = 9
"""Vertices per jaw landmark that may be the visible outline: the landmark and eight more towards the nose."""


def contour_candidates(model: FaceModel) -> np.ndarray:
    """(17, CANDIDATES) int32 vertices: from each jaw landmark over the cheek, at its height, half way to the midline.

    In a turned face the outline of the far cheek hides the jaw behind it, and annotators mark what they see
    (X. Zhu et al., High-fidelity pose and expression normalization, CVPR 2015, call it landmark marching).
    """
    jaw = np.maximum(model.landmarks[:17], 0)
    skin = np.flatnonzero(
        ~np.isin(model.regions, (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT, Region.MOUTH_INTERIOR, Region.SCALP,
                                 Region.EAR_LEFT, Region.EAR_RIGHT, Region.NECK))
    )  # fmt: skip
    mean = model.mean_mm.astype(np.float64)
    out = np.repeat(jaw[:, None], CANDIDATES, 1)
    nose = mean[np.maximum(model.landmarks[33], 0)]
    for k in range(17):
        start = mean[jaw[k]]
        if k == 8:
            continue
        # Straight towards the midline for the upper points, towards the nose's base for those near the chin.
        goal = np.array([nose[0], start[1] + 0.5 * max(0.0, nose[1] - 25.0 - start[1])])
        for step in range(1, CANDIDATES):
            at = start[:2] + (goal - start[:2]) * 0.55 * step / (CANDIDATES - 1)
            away = ((mean[skin, :2] - at) ** 2).sum(1)
            near = skin[away < max(9.0, float(away.min()) + 4.0)]
            out[k, step] = near[np.argmax(mean[near, 2])]  # the foremost layer
    return out.astype(np.int32)


def hair_fields(model: FaceModel, vertices_mm: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height above the hairline (V,) and depth behind the temples (V,), float32 mm, for thinned vertices.

    Hair grows where either exceeds 0 (or a number drawn per picture). Both are -1000 on features, ears, lower neck.
    """
    mark = model.mean_mm[np.maximum(model.landmarks, 0)].astype(np.float64)
    brow, root, base = mark[17:27, 1].mean(), mark[27], mark[33]
    third = brow - base[1]
    y, z = vertices_mm[:, 1], vertices_mm[:, 2]
    x = np.abs(vertices_mm[:, 0] - root[0])
    # The hairline arches down towards the temples.
    line = brow + 0.95 * third - 0.006 * x**2 * (x < 70) - 29.0 * (x >= 70)
    front = y - line
    side = (root[2] - 62.0) - z
    bare = np.isin(regions, (Region.EYEBALL_LEFT, Region.EYEBALL_RIGHT, Region.MOUTH_INTERIOR, Region.EAR_LEFT,
                             Region.EAR_RIGHT, Region.NOSE, Region.LIP_LOWER, Region.LIP_UPPER, Region.EYELID_LEFT,
                             Region.EYELID_RIGHT, Region.PERIORAL, Region.CHIN))  # fmt: skip
    # In front of the ears the sideburns end at the nose's base; behind them hair reaches down to the nape.
    lowest = np.where(z > root[2] - 105.0, base[1] + 12.0, base[1] - 55.0)
    bare |= y < lowest
    front, side = (np.where(bare, -1000.0, f).astype(np.float32) for f in (front, side))
    return front, side
