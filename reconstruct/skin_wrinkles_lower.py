"""Folds of cheeks, mouth, chin and neck, laid out from landmarks."""

import numpy as np

from .skin_folds import Fold, make_fold, march, roughen
from .skin_frame import Area, SkinFrame
from .skin_layout import chin_point, lifted, line, sides


def nasolabial_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """The fold from the wing of the nose to beside the mouth, and a fine crease in it."""
    folds = []
    gains = {
        "lip_corner_pull": 0.9,
        "lip_raise": 0.8,
        "nose_wrinkle": 0.4,
        "cheek_raise": 0.3,
        "lip_stretch": 0.4,
        "dimple": 0.3,
    }
    for sign, at in sides(frame):
        alar, corner = at["alar"], at["corner"]
        outward = np.array([sign, 0.0])
        points = [
            alar[:2] + 7.0 * outward + [0.0, 9.0],
            alar[:2] + 10.0 * outward + [0.0, 3.0],
            0.6 * alar[:2] + 0.4 * corner[:2] + 11.5 * outward,
            0.25 * alar[:2] + 0.75 * corner[:2] + 12.0 * outward,
            corner[:2] + 11.0 * outward + [0.0, -1.0],
            corner[:2] + 9.0 * outward + [0.0, -9.0],
        ]
        course = lifted(frame, *points) + np.array([0.6, 0.6, 0.0]) * rng.normal(0, 1.0, (6, 1)) * [sign, 0.3, 0.0]
        # Bottom to top on one side and the reverse on the other would swap left and right: `lean` follows the sign.
        folds.append(
            make_fold(
                roughen(frame, course, rng, 0.7),
                0.85,
                rng.uniform(2.7, 3.5),
                rng,
                lean=0.8 * sign,
                gaps=0.0,
                taper_mm=20.0,
                gains=gains,
                rest=(0.12, 0.75),
            )
        )
        folds.append(
            make_fold(
                roughen(frame, course, rng, 0.9), 0.28, 0.8, rng, gaps=0.9, taper_mm=12.0, gains=gains, rest=(0.03, 0.6)
            )
        )
    return folds


def lower_cheeks_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Brackets of a smile, the dimple, the marionette line."""
    folds = []
    for sign, at in sides(frame):
        corner = at["corner"]
        # Brackets that a smile pushes up beside the nasolabial fold.
        for order in range(int(rng.integers(1, 4))):
            x = corner[0] + sign * (18.0 + 6.5 * order + rng.normal(0, 0.8) + 3.0 * np.sin(np.linspace(0.2, 2.6, 6)))
            y = corner[1] + np.linspace(15.0 - 2.0 * order, -9.0 + 3.0 * order, 6) + rng.normal(0, 1.5)
            path = line(frame, x, y, rng, 0.8)
            folds.append(
                make_fold(
                    path,
                    rng.uniform(0.35, 0.6) * 0.85**order,
                    rng.uniform(1.4, 2.0),
                    rng,
                    lean=0.4 * sign,
                    gaps=0.5,
                    taper_mm=10.0,
                    gains={"lip_corner_pull": 0.75, "lip_stretch": 0.4},
                    rest=(0.0, 0.28),
                )
            )
        # The dimple proper, deep in few faces.
        x = np.full(5, corner[0] + sign * 12.5) + sign * np.array([-0.8, 0.2, 0.6, 0.2, -0.8])
        y = corner[1] + np.linspace(6.0, -6.0, 5) + rng.normal(0, 1.0)
        path = line(frame, x, y, rng, 0.3)
        folds.append(
            make_fold(
                path,
                rng.uniform(0.45, 0.9),
                2.2,
                rng,
                lean=0.5 * sign,
                gaps=0.0,
                taper_mm=6.0,
                gains={"dimple": 1.0, "lip_corner_pull": 0.45 * rng.random()},
                rest=(0.0, 0.1),
            )
        )
        # Marionette line, from the corner of the mouth downwards.
        x = corner[0] + sign * np.array([2.5, 4.5, 6.0, 6.5, 6.5])
        y = corner[1] + np.array([-2.5, -7.0, -13.0, -19.0, -25.0])
        path = line(frame, x, y, rng, 0.6)
        folds.append(
            make_fold(
                path,
                rng.uniform(0.5, 0.75),
                rng.uniform(1.3, 1.8),
                rng,
                lean=0.5 * sign,
                gaps=0.2,
                taper_mm=10.0,
                gains={"lip_corner_depress": 1.0, "chin_raise": 0.3, "lip_press": 0.2},
                rest=(0.05, 0.6),
            )
        )
    return folds


def lips_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Fine vertical lines on the vermilion."""
    folds = []
    lm = frame.landmarks_mm
    gains = {"lip_pucker": 0.75, "lip_press": 0.5, "lip_tighten": 0.5, "lip_funnel": 0.3}
    pairs = (([48, 49, 50, 51, 52, 53, 54], [60, 61, 62, 64]), ([48, 59, 58, 57, 56, 55, 54], [60, 67, 66, 65, 64]))
    for outer, inner in pairs:
        u = 0.07
        while u < 0.93:
            top = np.array([np.interp(u, np.linspace(0, 1, len(outer)), lm[outer, k]) for k in range(3)])
            v = np.clip(u + rng.normal(0, 0.012), 0.0, 1.0)
            bottom = np.array([np.interp(v, np.linspace(0, 1, len(inner)), lm[inner, k]) for k in range(3)])
            first, last = rng.uniform(-0.05, 0.3), rng.uniform(0.65, 1.0)
            t = np.linspace(first, last, 4)[:, None]
            path = roughen(frame, frame.snap(top * (1 - t) + bottom * t), rng, 0.22)
            folds.append(
                make_fold(
                    path,
                    rng.uniform(0.05, 0.16),
                    rng.uniform(0.28, 0.5),
                    rng,
                    gaps=0.3,
                    taper_mm=2.5,
                    gains=gains,
                    rest=(0.42, 0.7),
                )
            )
            u += rng.uniform(0.016, 0.038)
    return folds


def around_lips_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Lines that radiate from the lips."""
    folds = []
    lm = frame.landmarks_mm
    gains = {"lip_pucker": 1.0, "lip_press": 0.5, "lip_tighten": 0.4, "lip_funnel": 0.5}
    centre = 0.5 * (lm[51] + lm[57]) - [0.0, 0.0, 12.0]
    for outer, gap, longest in (([49, 50, 51, 52, 53], 0.075, 9.0), ([59, 58, 57, 56, 55], 0.13, 6.5)):
        u = 0.03 + 0.04 * rng.random()
        while u < 0.98:
            border = np.array([np.interp(u, np.linspace(0, 1, len(outer)), lm[outer, k]) for k in range(3)])
            heading = border - centre
            heading[0] *= 0.55
            path = march(frame, border + 0.06 * heading, heading, rng.uniform(0.45, 1.0) * longest, rng.normal(0, 1.5))
            folds.append(
                make_fold(
                    roughen(frame, path, rng, 0.35),
                    rng.uniform(0.18, 0.42),
                    rng.uniform(0.55, 0.95),
                    rng,
                    gaps=0.3,
                    taper_mm=3.5,
                    gains=gains,
                    rest=(0.01, 0.42),
                )
            )
            u += gap * rng.uniform(0.7, 1.4)
    return folds


def chin_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """The fold between lower lip and chin."""
    lip, chin = frame.landmarks_mm[57], chin_point(frame)
    y = lip[1] + 0.42 * (chin[1] - lip[1])
    u = np.linspace(-1.0, 1.0, 7)
    folds = []
    for depth, width, drop, rest in ((0.75, 2.3, 0.0, (0.25, 0.6)), (0.22, 0.8, rng.uniform(-2.0, 2.0), (0.02, 0.4))):
        path = lifted(frame, *zip(lip[0] + rng.uniform(12.0, 15.0) * u, y + drop - 2.6 * u**2, strict=True))
        folds.append(
            make_fold(
                roughen(frame, path, rng, 0.45),
                depth,
                width,
                rng,
                lean=-0.3,
                gaps=0.2,
                taper_mm=9.0,
                gains={"chin_raise": 0.85, "lip_press": 0.2, "lip_corner_depress": 0.25},
                rest=rest,
            )
        )
    return folds


def neck_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Two rings across the throat."""
    folds = []
    neck = frame.weights[:, Area.NECK] > 0.7
    if not neck.any():
        return folds
    chin = chin_point(frame)
    for drop in (34.0, 56.0):
        start = frame.snap(np.array([[chin[0], chin[1] - drop, chin[2] - 25.0]]))[0]
        for sign in (-1.0, 1.0):
            path = march(
                frame, start, np.array([sign, 0.06, -0.3]), rng.uniform(28.0, 45.0), sign * rng.normal(0.3, 0.2)
            )
            folds.append(
                make_fold(
                    roughen(frame, path, rng, 0.8),
                    rng.uniform(0.3, 0.5),
                    1.5,
                    rng,
                    gaps=0.4,
                    taper_mm=9.0,
                    gains={"chin_raise": 0.1},
                    rest=(0.2, 0.9),
                )
            )
    return folds
