"""Expression components of the procedural face: one smooth displacement field per unit of UNIT_NAMES.

Fields are written for the left half (sculpting frame, mm); `toward` is +1 where the half lies on the side to which a
one-sided unit moves and -1 on the other half, which is computed in its mirrored frame.
"""

from collections.abc import Callable

import numpy as np

from .face_contours import MOUTH_HALF_MM, lid_margin_mm, lip_heights_mm
from .face_fields import Frame, carry_hidden, frame, lid_glide
from .face_grid import EYE_INNER, EYE_OUTER, whole_vectors
from .face_model import UNIT_NAMES
from .face_primitives import bump, ease

_LIDS = np.linspace(0.0, 1.0, EYE_OUTER - EYE_INNER + 1)
_CORNER = (MOUTH_HALF_MM, -69.2, 12.0)
_JAW_JOINT_YZ_MM = (-18.0, -70.0)


def unit_fields_mm() -> np.ndarray:
    """(26, N, 3) offsets of the whole skin at activation 1, in the order of UNIT_NAMES."""
    f = frame()
    fields = []
    for name in UNIT_NAMES:
        make = _UNITS[name]
        if name in _SIDED:
            whole = whole_vectors(carry_hidden(make(f, toward=1.0)), carry_hidden(make(f, toward=-1.0)))
        else:
            whole = whole_vectors(carry_hidden(make(f)))
        fields.append(whole.astype(np.float32))
    return np.stack(fields)


# --- brows and lids ---


def _sideways(f: Frame, width_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors that still the midline: one odd across it, for motion in x, and one even, for motion in y and z."""
    odd = np.tanh(f.x / width_mm)
    return odd, odd * odd


def _brow_inner_raise(f: Frame) -> np.ndarray:
    lift = f.patch((13, 22, 16), (17, 17, 22)) * _above_lid(f)
    return f.offset(-0.6 * lift, 7.5 * lift, -0.8 * lift)


def _brow_outer_raise(f: Frame) -> np.ndarray:
    lift = f.patch((43, 22, 4), (19, 17, 24)) * _above_lid(f)
    return f.offset(0.4 * lift, 7.5 * lift, -1.2 * lift)


def _brow_lower(f: Frame) -> np.ndarray:
    drop = f.patch((20, 19, 14), (19, 14, 22)) * _above_lid(f)
    knit = f.patch((9, 15, 18), (6, 8, 14))
    return f.offset(-2.6 * drop * np.tanh(f.x / 9.0), -5.0 * drop, 0.5 * drop + 1.2 * knit)


def _above_lid(f: Frame) -> np.ndarray:
    """Keeps brow motion off the lid margin."""
    return ease(f.y, 3.0, 16.0)


def _lid_raise(f: Frame) -> np.ndarray:
    arch = np.sin(np.pi * _LIDS) ** 0.9
    return lid_glide(f, np.outer(arch, (0.0, 2.0)), np.outer(arch, (0.0, -0.4)), (12.0, 9.0))


def _lid_tighten(f: Frame) -> np.ndarray:
    arch = np.sin(np.pi * _LIDS) ** 0.9
    squeeze = f.patch((33, -10, 8), (16, 6, 14)) * ease(f.y, -4.5, -9.0)
    lids = lid_glide(f, np.outer(arch, (0.0, -1.2)), np.outer(arch, (-0.4, 2.0)), (13.0, 12.0))
    return lids + f.offset(-0.6 * squeeze, 0.8 * squeeze, 0.9 * squeeze)


def _blink(f: Frame) -> np.ndarray:
    upper, lower = lid_margin_mm(_LIDS, True), lid_margin_mm(_LIDS, False)
    meet = lower + 0.16 * (upper - lower)
    return lid_glide(f, meet - upper, meet - lower, (16.0, 11.0))


def _cheek_raise(f: Frame) -> np.ndarray:
    arch = np.sin(np.pi * _LIDS) ** 0.9
    apple = f.patch((38, -25, 5), (20, 14, 24)) * ease(f.y, -4.0, -12.0)
    foot = f.patch((53, 0, -6), (9, 12, 16))
    lids = lid_glide(f, np.outer(arch, (0.0, -0.8)), np.outer(arch, (0.0, 1.5)), (13.0, 12.0))
    return lids + f.offset(0.5 * apple - 1.0 * foot, 4.2 * apple, 2.2 * apple)


# --- nose and cheeks ---


def _nose_wrinkle(f: Frame) -> np.ndarray:
    flank = f.patch((13, -26, 20), (9, 15, 18))
    root = f.patch((6, 8, 18), (13, 11, 18))
    lip = f.patch((13, -56, 20), (13, 11, 18)) * (1.0 - f.lower_lip)
    return f.offset(0.5 * flank, 4.4 * flank - 3.2 * root + 3.2 * lip, 1.6 * flank + 1.4 * root)


def _nostril_flare(f: Frame) -> np.ndarray:
    wing = f.patch((17.5, -41, 23), (6.5, 7.5, 11))
    return f.offset(2.6 * wing, 0.5 * wing, -0.4 * wing)


def _cheek_puff(f: Frame) -> np.ndarray:
    bag = f.patch((40, -57, 0), (19, 20, 24))
    lips = f.patch((0, -68, 24), (24, 15, 20))
    return f.offset(7.0 * bag, 0.0, 6.0 * bag + 1.6 * lips)


# --- lips ---


def _lip_raise(f: Frame) -> np.ndarray:
    lip = f.patch((11, -62, 24), (15, 15, 24)) * (1.0 - f.lower_lip)
    fold = f.patch((19, -44, 17), (9, 12, 16))
    return f.offset(0.6 * lip + 0.8 * fold, 5.5 * lip + 2.2 * fold, 0.6 * lip + 0.7 * fold)


def _lip_corner_pull(f: Frame) -> np.ndarray:
    (aside, along), pull = _sideways(f, 10.0), f.patch(_CORNER, (20, 18, 26))
    apple = f.patch((40, -33, 4), (19, 16, 24))
    fold = (
        bump((f.x - np.interp(f.y, [-74, -60, -44], [33, 29, 21.5])) / 5.0)
        * bump((f.y + 58.0) / 15.0)
        * ease(f.z, -15, 0)
    )
    spread = f.patch((0, -69, 26), (22, 16, 26))
    lower_lid = f.patch((33, -12, 10), (16, 7, 14)) * ease(f.y, -4.5, -10.0)
    return f.offset(7.2 * aside * pull + 1.2 * apple,
                    7.0 * along * pull + 3.6 * apple - 0.4 * spread + 0.8 * lower_lid,
                    -4.6 * along * pull + 3.2 * apple - 1.1 * fold - 1.4 * spread)  # fmt: skip


def _dimple(f: Frame) -> np.ndarray:
    (aside, along), pull = _sideways(f, 10.0), f.patch(_CORNER, (12, 12, 20))
    side = f.patch((33, -66, 4), (8, 14, 16))
    return f.offset(3.6 * aside * pull, 0.8 * along * pull, -3.0 * along * pull + 0.9 * side)


def _lip_corner_depress(f: Frame) -> np.ndarray:
    (aside, along), pull = _sideways(f, 10.0), f.patch((26, -71, 11), (17, 15, 24))
    chin = f.patch((0, -92, 20), (15, 9, 18))
    return f.offset(0.8 * aside * pull, -6.2 * along * pull + 0.8 * chin, -1.2 * along * pull + 0.6 * chin)


def _lower_lip_depress(f: Frame) -> np.ndarray:
    lip = f.patch((9, -74, 22), (17, 13, 24)) * f.lower_lip
    return f.offset(0.8 * lip * np.tanh(f.x / 8.0), -5.5 * lip, 0.2 * lip)


def _chin_raise(f: Frame) -> np.ndarray:
    boss = f.patch((0, -95, 18), (20, 13, 22))
    lips = f.patch((0, -70, 24), (19, 13, 22))
    return f.offset(0.0, 3.4 * boss + 2.6 * lips, 0.8 * boss + 1.2 * lips * f.lower_lip)


def _lip_pucker(f: Frame) -> np.ndarray:
    ring = f.patch((0, -69, 22), (29, 19, 34))
    lips = f.patch((0, -69, 26), (16, 12, 26))
    return f.offset(-0.36 * f.x * ring, 0.0, 3.4 * ring + 3.6 * lips)


def _lip_stretch(f: Frame) -> np.ndarray:
    (aside, along), pull = _sideways(f, 12.0), f.patch((26, -71, 11), (20, 17, 26))
    flat = f.patch((0, -69, 24), (24, 15, 24))
    return f.offset(6.5 * aside * pull, -1.4 * along * pull, -3.0 * along * pull - 1.2 * flat)


def _lip_funnel(f: Frame) -> np.ndarray:
    ring = f.patch((0, -69, 22), (27, 18, 32))
    part = f.patch((0, -69, 24), (21, 15, 26)) * (1.0 - 2.0 * f.lower_lip)
    return f.offset(-0.24 * f.x * ring, 4.2 * part, 5.0 * ring)


def _roll_in(f: Frame, share: float, back_mm: float) -> np.ndarray:
    """Lips drawn towards the mouth line by a share of their height, and backwards."""
    line, upper, lower = lip_heights_mm(f.x)
    rise = f.y - line
    height = np.where(rise > 0.0, upper, lower)
    t = np.abs(rise) / height
    draw = -share * rise * np.exp(-((t / 1.5) ** 2)) * ease(f.x, 31.0, 22.0) * ease(f.z, -12.0, 2.0)
    return f.offset(0.0, draw, -back_mm * f.patch((0, -69, 24), (22, 8.5, 20)))


def _lip_tighten(f: Frame) -> np.ndarray:
    pull = f.patch(_CORNER, (12, 10, 20))
    return _roll_in(f, 0.38, 1.4) + f.offset(-1.6 * pull * np.tanh(f.x / 10.0), 0.0, 0.0)


def _lip_press(f: Frame) -> np.ndarray:
    swell = f.patch((0, -80, 20), (22, 6, 18)) + f.patch((10, -56, 21), (14, 6, 16))
    return _roll_in(f, 0.28, 1.0) + f.offset(0.0, 0.0, 1.1 * swell)


def _mouth_aside(f: Frame, toward: float) -> np.ndarray:
    mouth = f.patch((0, -69, 16), (36, 19, 36))
    cheek = f.patch((38, -58, 0), (13, 20, 24))
    return f.offset(8.0 * toward * mouth, 0.0, toward * 1.2 * cheek - 0.02 * f.x * mouth * toward)


# --- jaw ---


def _jaw_share(f: Frame) -> np.ndarray:
    """How much a point goes with the lower jaw: fading into cheek, neck and the angle of the jaw."""
    down_neck = -0.6 * (f.y + 112.0) - 0.8 * f.z
    return f.lower_lip * ease(down_neck, 85.0, 0.0) * (0.25 + 0.75 * ease(f.z, -70.0, -15.0))


def _jaw_open(f: Frame) -> np.ndarray:
    angle = np.radians(17.5)
    y, z = f.y - _JAW_JOINT_YZ_MM[0], f.z - _JAW_JOINT_YZ_MM[1]
    share = _jaw_share(f)
    dy = (np.cos(angle) - 1.0) * y - np.sin(angle) * z
    dz = np.sin(angle) * y + (np.cos(angle) - 1.0) * z + 5.0
    hollow = f.patch((43, -52, -6), (16, 22, 26))
    return f.offset(-1.8 * hollow - 1.2 * f.patch(_CORNER, (14, 16, 24)), share * dy, share * dz)


def _jaw_aside(f: Frame, toward: float) -> np.ndarray:
    share = _jaw_share(f) * ease(f.z, -52.0, 8.0)
    return f.offset(8.0 * toward * share, 0.0, 0.0)


_UNITS: dict[str, Callable[..., np.ndarray]] = {
    "brow_inner_raise": _brow_inner_raise, "brow_outer_raise": _brow_outer_raise, "brow_lower": _brow_lower,
    "lid_raise": _lid_raise, "lid_tighten": _lid_tighten, "blink": _blink, "cheek_raise": _cheek_raise,
    "nose_wrinkle": _nose_wrinkle, "lip_raise": _lip_raise, "lip_corner_pull": _lip_corner_pull, "dimple": _dimple,
    "lip_corner_depress": _lip_corner_depress, "lower_lip_depress": _lower_lip_depress, "chin_raise": _chin_raise,
    "lip_pucker": _lip_pucker, "lip_stretch": _lip_stretch, "lip_funnel": _lip_funnel, "lip_tighten": _lip_tighten,
    "lip_press": _lip_press, "jaw_open": _jaw_open, "jaw_left": _jaw_aside, "mouth_left": _mouth_aside,
    "jaw_right": lambda f, toward: _jaw_aside(f, -toward), "mouth_right": lambda f, toward: _mouth_aside(f, -toward),
    "cheek_puff": _cheek_puff, "nostril_flare": _nostril_flare,
}  # fmt: skip
_SIDED = ("jaw_left", "jaw_right", "mouth_left", "mouth_right")
