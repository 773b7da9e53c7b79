"""Where a face folds: expression wrinkles laid out from landmarks, with the movements that deepen each of them.

Positions are those of the muscles' action on the skin (Ekman, Friesen, Hager, Facial Action Coding System, 2002):
the frontalis folds the forehead, the corrugator the glabella, orbicularis oculi the corners of the eyes, and so on.
"""

from dataclasses import dataclass

import numpy as np

from .skin_folds import Fold, fold_displacement, fold_field, fold_strength, make_fold, march, roughen
from .skin_frame import Area, SkinFrame, SurfacePoints
from .skin_spots import BUMP, Spots, add_spots, make_spots, scatter, tangent
from .surface_noise import seed64

_RIGHT = {
    "outer": 36,
    "upper": 37,
    "inner": 39,
    "lower_in": 40,
    "lower_out": 41,
    "alar": 31,
    "corner": 48,
    "brow_in": 21,
    "brow_mid": 19,
    "brow_out": 17,
}
_LEFT = {
    "outer": 45,
    "upper": 44,
    "inner": 42,
    "lower_in": 47,
    "lower_out": 46,
    "alar": 35,
    "corner": 54,
    "brow_in": 22,
    "brow_mid": 24,
    "brow_out": 26,
}


@dataclass(frozen=True, slots=True)
class Wrinkles:
    """All folds a face can make, and the dimples of its chin."""

    folds: tuple[Fold, ...]
    chin: Spots
    seed: np.uint64


def place_wrinkles(frame: SkinFrame, rng: np.random.Generator) -> Wrinkles:
    """Lay out a face's folds: depends on the neutral shape and the generator, not on any expression."""
    folds: list[Fold] = []
    parts = (
        _forehead,
        _glabella,
        _crows_feet,
        _under_eyes,
        _upper_lids,
        _bunny_lines,
        _nasolabial,
        _lower_cheeks,
        _lips,
        _around_lips,
        _chin,
        _neck,
    )
    # One generator each: more lines in one place leave the others as they are.
    streams = rng.spawn(len(parts) + 1)
    for part, stream in zip(parts, streams, strict=False):
        folds += part(frame, stream)
    folds = [fold for fold in folds if np.isfinite(fold.path_mm).all()]
    chin_rng = streams[-1]
    chin = _chin_point(frame)
    distance = np.linalg.norm((frame.vertices_mm - chin) / [1.25, 1.0, 1.0], axis=1)
    centre, normal, _ = scatter(frame, 0.075 * np.exp(-((distance / 13.0) ** 4)), chin_rng)
    radius = 1.2 + 0.9 * chin_rng.random(len(centre))
    depth = -0.28 * (0.4 + 0.6 * chin_rng.random(len(centre)))
    dimples = make_spots(
        BUMP,
        centre,
        tangent(normal, chin_rng.standard_normal(normal.shape)),
        np.stack([radius, 0.8 * radius], 1),
        depth,
    )
    return Wrinkles(tuple(folds), dimples, seed64(chin_rng))


def wrinkle_displacement(
    frame: SkinFrame, wrinkles: Wrinkles, points: SurfacePoints, activations: dict[str, float], age: float, gain: float
) -> np.ndarray:
    """(M,) float32 mm for one expression; `gain` scales all depths. See `prepare_wrinkles` for many strips."""
    return prepare_wrinkles(frame, wrinkles, activations, age, gain)(points)


def prepare_wrinkles(frame: SkinFrame, wrinkles: Wrinkles, activations: dict[str, float], age: float, gain: float):
    """A function of SurfacePoints giving (M,) float32 mm for one expression."""
    field = fold_field(frame, list(wrinkles.folds), activations, age, gain)
    pull = fold_strength(
        Fold(np.zeros((2, 3)), np.zeros(2), np.zeros(2), 0.0, {"chin_raise": 1.0}, 0.02, 0.08), activations, age
    )

    def evaluate(points: SurfacePoints) -> np.ndarray:
        out = fold_displacement(field, points, wrinkles.seed)
        dimples = np.zeros(len(out), np.float32)
        add_spots(wrinkles.chin, points, dimples)
        return out + dimples * points.free * np.float32(pull * gain)

    return evaluate


def _sides(frame: SkinFrame):
    for sign, table in ((-1.0, _RIGHT), (1.0, _LEFT)):
        yield sign, {name: frame.landmarks_mm[index] for name, index in table.items()}


def _chin_point(frame: SkinFrame) -> np.ndarray:
    lip, nose = frame.landmarks_mm[57], frame.landmarks_mm[33]
    # The pad of the chin lies below the lip by two thirds of the distance from nose to lower lip.
    return frame.lift((lip + 0.68 * (lip - nose))[None, :2])[0]


def _lifted(frame: SkinFrame, *xy) -> np.ndarray:
    return frame.lift(np.array([np.asarray(p, np.float64)[:2] for p in xy]))


def _middle(frame: SkinFrame) -> float:
    return float(frame.landmarks_mm[[27, 28, 29, 33, 51]].mean(0)[0])


def _forehead(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    lm = frame.landmarks_mm
    brow = lm[[18, 19, 20, 23, 24, 25], 1].mean()
    middle = _middle(frame)
    span = 0.5 * (lm[25, 0] - lm[18, 0]) + 4.0
    height = 11.0 + 3.0 * rng.random()
    for line in range(int(rng.integers(4, 7))):
        # Lines follow the brows' arch near them and flatten upwards; some stop early, some are broken in the middle.
        arch = 4.5 * 0.75**line
        pieces = [(-1.0, 1.0)] if rng.random() < 0.55 else [(-1.0, -0.08 + 0.2 * rng.random()), (-0.12, 1.0)]
        reach = span * (0.98 - 0.07 * line + 0.1 * rng.random())
        depth = (0.62 + 0.25 * rng.random()) * (1.0 - 0.1 * line)
        for start, stop in pieces:
            u = np.linspace(start + 0.1 * rng.random(), stop - 0.1 * rng.random(), 9)
            y = brow + height + arch * (np.sin(np.pi * np.abs(u)) - 0.5) + rng.normal(0.0, 0.8)
            path = roughen(frame, _lifted(frame, *zip(middle + reach * u, y, strict=True)), rng, 0.9)
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
                path = roughen(frame, _lifted(frame, *zip(middle + reach * u, y, strict=True)), rng, 0.5)
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


def _glabella(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    for sign, at in _sides(frame):
        inner, eye = at["brow_in"], at["inner"]
        # The main frown line starts beside the inner end of the brow; a weaker one may stand beside it.
        for order in range(1 + int(rng.random() < 0.55)):
            x = 0.66 * inner[0] + sign * order * rng.uniform(3.5, 5.0) - sign * 1.0
            low = 0.45 * inner[1] + 0.55 * eye[1] + rng.normal(0, 1.5) + 5.0 * order
            top = inner[1] + rng.uniform(8.0, 14.0) - 4.0 * order
            y = np.linspace(low, top, 6)
            lean_x = x + sign * np.linspace(-1.2, 2.0, 6) + rng.normal(0, 0.4)
            path = roughen(frame, _lifted(frame, *zip(lean_x, y, strict=True)), rng, 0.5)
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
            start = _lifted(frame, (inner[0] + sign * rng.uniform(2, 9), inner[1] + rng.uniform(4, 10)))[0]
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
        path = roughen(frame, _lifted(frame, *zip(x, y, strict=True)), rng, 0.5)
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


def _crows_feet(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    gains = {"cheek_raise": 0.75, "lip_corner_pull": 0.4, "lid_tighten": 0.55, "blink": 0.15}
    rays = int(rng.integers(5, 8))
    for sign, at in _sides(frame):
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


def _under_eyes(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    gains = {"cheek_raise": 0.6, "lid_tighten": 0.65, "lip_corner_pull": 0.3, "blink": 0.15}
    for sign, at in _sides(frame):
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
            path = roughen(frame, _lifted(frame, *zip(base[:, 0], y, strict=True)), rng, 0.45)
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
        path = roughen(frame, _lifted(frame, *zip(base[:, 0], y, strict=True)), rng, 0.4)
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


def _upper_lids(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    for sign, at in _sides(frame):
        gap = 0.3 * (at["brow_mid"][1] - at["upper"][1])
        height = np.clip(rng.uniform(0.75, 1.05) * gap, 3.0, 6.5)
        x = np.linspace(at["inner"][0] + sign * 2.0, at["outer"][0] + sign * 3.0, 7)
        u = np.linspace(0.0, 1.0, 7)
        lid = np.interp(u, [0.0, 0.35, 0.7, 1.0], [at["inner"][1], at["upper"][1], at["upper"][1], at["outer"][1]])
        path = roughen(
            frame, _lifted(frame, *zip(x, lid + height * (0.7 + 0.3 * np.sin(np.pi * u)), strict=True)), rng, 0.25
        )
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


def _bunny_lines(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    lm = frame.landmarks_mm
    for sign, _ in _sides(frame):
        for order in range(int(rng.integers(3, 5))):
            start = lm[27] + (lm[28] - lm[27]) * (0.35 + 0.38 * order + rng.normal(0, 0.08))
            first = _lifted(frame, (start[0] + sign * rng.uniform(2.0, 4.5), start[1] + 1.0))[0]
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


def _nasolabial(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    gains = {
        "lip_corner_pull": 0.9,
        "lip_raise": 0.8,
        "nose_wrinkle": 0.4,
        "cheek_raise": 0.3,
        "lip_stretch": 0.4,
        "dimple": 0.3,
    }
    for sign, at in _sides(frame):
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
        course = _lifted(frame, *points) + np.array([0.6, 0.6, 0.0]) * rng.normal(0, 1.0, (6, 1)) * [sign, 0.3, 0.0]
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


def _lower_cheeks(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    for sign, at in _sides(frame):
        corner = at["corner"]
        # Brackets that a smile pushes up beside the nasolabial fold.
        for order in range(int(rng.integers(1, 4))):
            x = corner[0] + sign * (18.0 + 6.5 * order + rng.normal(0, 0.8) + 3.0 * np.sin(np.linspace(0.2, 2.6, 6)))
            y = corner[1] + np.linspace(15.0 - 2.0 * order, -9.0 + 3.0 * order, 6) + rng.normal(0, 1.5)
            path = roughen(frame, _lifted(frame, *zip(x, y, strict=True)), rng, 0.8)
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
        path = roughen(frame, _lifted(frame, *zip(x, y, strict=True)), rng, 0.3)
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
        path = roughen(frame, _lifted(frame, *zip(x, y, strict=True)), rng, 0.6)
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


def _lips(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
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


def _around_lips(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
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


def _chin(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    lip, chin = frame.landmarks_mm[57], _chin_point(frame)
    y = lip[1] + 0.42 * (chin[1] - lip[1])
    u = np.linspace(-1.0, 1.0, 7)
    folds = []
    for depth, width, drop, rest in ((0.75, 2.3, 0.0, (0.25, 0.6)), (0.22, 0.8, rng.uniform(-2.0, 2.0), (0.02, 0.4))):
        path = _lifted(frame, *zip(lip[0] + rng.uniform(12.0, 15.0) * u, y + drop - 2.6 * u**2, strict=True))
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


def _neck(frame: SkinFrame, rng: np.random.Generator) -> list[Fold]:
    folds = []
    neck = frame.weights[:, Area.NECK] > 0.7
    if not neck.any():
        return folds
    chin = _chin_point(frame)
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
