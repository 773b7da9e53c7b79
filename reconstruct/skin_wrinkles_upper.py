"""Folds of forehead, eyes and nose, laid out from landmarks."""

import numpy as np

from .skin_folds import Fold, make_fold, march, roughen
from .skin_frame import SkinFrame
from .skin_layout import lifted, line, middle_x, sides


def forehead_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Long lines across, of the frontalis, with short companions between them."""
    folds = []
    lm = frame.landmarks_mm
    brow = lm[[18, 19, 20, 23, 24, 25], 1].mean()
    middle = middle_x(frame)
    span = 0.5 * (lm[25, 0] - lm[18, 0]) + 4.0
    height = 11.0 + 3.0 * rng.random()
    for row in range(int(rng.integers(4, 7))):
        # Lines follow the brows' arch near them and flatten upwards; some stop early, some are broken in the middle.
        arch = 4.5 * 0.75**row
        pieces = [(-1.0, 1.0)] if rng.random() < 0.55 else [(-1.0, -0.08 + 0.2 * rng.random()), (-0.12, 1.0)]
        reach = span * (0.98 - 0.07 * row + 0.1 * rng.random())
        depth = (0.62 + 0.25 * rng.random()) * (1.0 - 0.1 * row)
        for start, stop in pieces:
            u = np.linspace(start + 0.1 * rng.random(), stop - 0.1 * rng.random(), 9)
            y = brow + height + arch * (np.sin(np.pi * np.abs(u)) - 0.5) + rng.normal(0.0, 0.8)
            path = line(frame, middle + reach * u, y, rng, 0.9)
            centre = abs(0.5 * (start + stop)) < 0.25
            gains = {
                "brow_inner_raise": 0.6 if centre else 0.45,
                "brow_outer_raise": 0.5 if centre else 0.65,
                "lid_raise": 0.1,
            }
            folds.append(
                make_fold(
                    path,
                    depth,
                    1.15 + 0.4 * rng.random(),
                    rng,
                    lean=-0.3,
                    gaps=0.55,
                    taper_mm=14.0,
                    gains=gains,
                    rest=(0.05, 0.5),
                )
            )
            # Short companions between the main lines.
            for _ in range(int(rng.integers(1, 4))):
                u0, length = rng.uniform(start, stop), rng.uniform(0.15, 0.4)
                u = np.linspace(u0 - length / 2, u0 + length / 2, 5)
                y = (
                    brow
                    + height
                    + rng.uniform(1.8, 4.2)
                    + arch * (np.sin(np.pi * np.abs(u)) - 0.5)
                    + rng.normal(0, 1.5) * (u - u0)
                )
                path = line(frame, middle + reach * u, y, rng, 0.5)
                folds.append(
                    make_fold(
                        path,
                        rng.uniform(0.12, 0.3),
                        rng.uniform(0.5, 0.9),
                        rng,
                        gaps=0.4,
                        gains=gains,
                        rest=(0.05, 0.55),
                    )
                )
        height += rng.uniform(6.0, 9.0)
    return folds


def glabella_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Frown lines of the corrugator and the line across the nasal root."""
    folds = []
    for sign, at in sides(frame):
        inner, eye = at["brow_in"], at["inner"]
        # The main frown line starts beside the inner end of the brow; a weaker one may stand beside it.
        for order in range(1 + int(rng.random() < 0.55)):
            x = 0.66 * inner[0] + sign * order * rng.uniform(3.5, 5.0) - sign * 1.0
            low = 0.45 * inner[1] + 0.55 * eye[1] + rng.normal(0, 1.5) + 5.0 * order
            top = inner[1] + rng.uniform(8.0, 14.0) - 4.0 * order
            y = np.linspace(low, top, 6)
            lean_x = x + sign * np.linspace(-1.2, 2.0, 6) + rng.normal(0, 0.4)
            path = line(frame, lean_x, y, rng, 0.5)
            folds.append(
                make_fold(
                    path,
                    rng.uniform(0.6, 0.95) * (1.0 - 0.45 * order),
                    rng.uniform(1.1, 1.5),
                    rng,
                    lean=0.4 * sign,
                    gaps=0.2,
                    taper_mm=9.0,
                    gains={"brow_lower": 1.0},
                    rest=(0.03, 0.5),
                )
            )
        # Oblique lines above the inner brow, where the corrugator pulls in.
        for _ in range(2):
            start = lifted(frame, (inner[0] + sign * rng.uniform(2, 9), inner[1] + rng.uniform(4, 10)))[0]
            path = roughen(
                frame,
                march(frame, start, np.array([sign * 0.5, 0.85, 0.0]), rng.uniform(6, 11), rng.normal(0, 2)),
                rng,
                0.4,
            )
            folds.append(make_fold(path, rng.uniform(0.1, 0.22), 0.8, rng, gains={"brow_lower": 1.0}, rest=(0.02, 0.3)))
    root = frame.landmarks_mm[27]
    for order in range(int(rng.integers(1, 3))):
        x = root[0] + np.linspace(-8.0, 8.0, 5) * rng.uniform(0.7, 1.1)
        y = root[1] + 2.0 - 5.0 * order + 1.5 * np.cos(np.linspace(-1.5, 1.5, 5)) + rng.normal(0, 0.7)
        path = line(frame, x, y, rng, 0.5)
        folds.append(
            make_fold(
                path,
                rng.uniform(0.35, 0.55),
                1.1,
                rng,
                gaps=0.2,
                gains={"brow_lower": 0.55, "nose_wrinkle": 0.7},
                rest=(0.06, 0.4),
            )
        )
    return folds


def crows_feet_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Rays from the outer corners of the eyes, some of them forked."""
    folds = []
    gains = {"cheek_raise": 0.75, "lip_corner_pull": 0.4, "lid_tighten": 0.55, "blink": 0.15}
    rays = int(rng.integers(5, 8))
    for sign, at in sides(frame):
        outward = np.array([sign, 0.0, -0.6])
        for ray in range(rays):
            angle = np.deg2rad(np.linspace(42.0, -52.0, rays)[ray] + rng.normal(0, 5.0))
            heading = np.cos(angle) * outward + np.sin(angle) * np.array([0.0, 1.0, 0.0])
            start = at["outer"] + rng.uniform(5.0, 8.5) * heading + [0.0, 1.0, 0.0]
            length = rng.uniform(11.0, 26.0) * (0.75 + 0.25 * np.cos(1.5 * angle))
            bend = sign * np.sin(angle) * 1.2 + rng.normal(0, 0.5)
            path = roughen(frame, march(frame, start, heading, length, bend), rng, 0.5)
            depth = rng.uniform(0.3, 0.55)
            folds.append(
                make_fold(
                    path,
                    depth,
                    rng.uniform(0.75, 1.1),
                    rng,
                    lean=0.2,
                    gaps=0.45,
                    taper_mm=10.0,
                    gains=gains,
                    rest=(0.04, 0.5),
                )
            )
            if rng.random() < 0.6:
                node = path[int(len(path) * rng.uniform(0.3, 0.6))]
                along = path[-1] - path[0]
                fork = along / np.linalg.norm(along) + rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.5) * np.array(
                    [0.0, 1.0, 0.0]
                )
                branch = roughen(frame, march(frame, node, fork, 0.5 * length, rng.normal(0, 1)), rng, 0.3)
                folds.append(
                    make_fold(branch, 0.55 * depth, rng.uniform(0.5, 0.75), rng, gains=gains, rest=(0.04, 0.5))
                )
    return folds


def under_eyes_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Fine lines under the lower lid and the lower border of the bag."""
    folds = []
    gains = {"cheek_raise": 0.6, "lid_tighten": 0.65, "lip_corner_pull": 0.3, "blink": 0.15}
    for sign, at in sides(frame):
        lid = np.stack([at["inner"], at["lower_in"], at["lower_out"], at["outer"]])
        offsets = np.cumsum(rng.uniform(1.7, 2.8, 5)) + 2.0
        for order, offset in enumerate(offsets):
            u = np.linspace(rng.uniform(0.0, 0.45), rng.uniform(0.6, 1.15), 7)
            base = np.stack([np.interp(u, [0.0, 0.35, 0.7, 1.0], lid[:, k], right=lid[3, k]) for k in range(2)], 1)
            base[:, 0] += sign * np.maximum(u - 1.0, 0.0) * 40.0
            y = (
                base[:, 1]
                - offset * (0.75 + 0.45 * np.sin(np.pi * np.clip(u, 0, 1)))
                + rng.normal(-0.3, 1.4) * (u - 0.5)
            )
            path = line(frame, base[:, 0], y, rng, 0.45)
            folds.append(
                make_fold(
                    path,
                    rng.uniform(0.08, 0.24),
                    rng.uniform(0.45, 0.85),
                    rng,
                    gaps=0.8,
                    gains=gains,
                    rest=(0.12, 0.55) if order < 3 else (0.04, 0.4),
                )
            )
        # The lower border of the eye bag: broad, running from the inner corner down and out.
        u = np.linspace(0.0, 0.85, 7)
        base = np.stack([np.interp(u, [0.0, 0.35, 0.7, 1.0], lid[:, k]) for k in range(2)], 1)
        y = base[:, 1] - 6.0 - 6.0 * np.sin(0.75 * np.pi * u)
        path = line(frame, base[:, 0], y, rng, 0.4)
        folds.append(
            make_fold(
                path,
                0.55,
                2.4,
                rng,
                lean=0.5 * sign,
                gaps=0.0,
                taper_mm=12.0,
                gains={"cheek_raise": 0.4, "lid_tighten": 0.25},
                rest=(0.12, 0.95),
            )
        )
    return folds


def upper_lids_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """The crease of the upper lid."""
    folds = []
    for sign, at in sides(frame):
        gap = 0.3 * (at["brow_mid"][1] - at["upper"][1])
        height = np.clip(rng.uniform(0.75, 1.05) * gap, 3.0, 6.5)
        x = np.linspace(at["inner"][0] + sign * 2.0, at["outer"][0] + sign * 3.0, 7)
        u = np.linspace(0.0, 1.0, 7)
        lid = np.interp(u, [0.0, 0.35, 0.7, 1.0], [at["inner"][1], at["upper"][1], at["upper"][1], at["outer"][1]])
        path = line(frame, x, lid + height * (0.7 + 0.3 * np.sin(np.pi * u)), rng, 0.25)
        folds.append(
            make_fold(
                path,
                0.45,
                0.9,
                rng,
                lean=0.4 * sign,
                gaps=0.0,
                gains={"lid_raise": 0.4, "brow_lower": 0.2},
                rest=(0.45, 0.75),
            )
        )
    return folds


def bunny_lines_folds(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    """Oblique lines on the sides of the nose."""
    folds = []
    lm = frame.landmarks_mm
    for sign, _ in sides(frame):
        for order in range(int(rng.integers(3, 5))):
            start = lm[27] + (lm[28] - lm[27]) * (0.35 + 0.38 * order + rng.normal(0, 0.08))
            first = lifted(frame, (start[0] + sign * rng.uniform(2.0, 4.5), start[1] + 1.0))[0]
            # Fanning towards the inner corner above and towards the cheek below.
            heading = np.array([sign, 0.35 - 0.45 * order, -0.9])
            path = roughen(
                frame, march(frame, first, heading, rng.uniform(8.0, 14.0), -sign * rng.uniform(0.5, 2.5)), rng, 0.4
            )
            folds.append(
                make_fold(
                    path,
                    rng.uniform(0.32, 0.6),
                    rng.uniform(0.7, 1.0),
                    rng,
                    gaps=0.3,
                    taper_mm=5.0,
                    gains={"nose_wrinkle": 1.0, "lip_raise": 0.15, "cheek_raise": 0.08},
                    rest=(0.01, 0.14),
                )
            )
    return folds
