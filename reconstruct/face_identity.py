"""Identity components of the procedural face: anthropometric variations, one offset field per standard deviation.

Fields are written for the left half (sculpting frame, mm). `s` is +1 on the subject's left and -1 for the mirrored
right half; symmetric components ignore it. Near an eye every field becomes the motion of the eyeball's centre, so that
lids stay on the ball; components that reshape the lids add that on top.
"""

from collections.abc import Callable

import numpy as np

from .face_contours import EYE_CENTRE_MM, lip_heights_mm
from .face_fields import Frame, carry_hidden, frame, lid_glide
from .face_grid import EYE_INNER, EYE_OUTER, whole_vectors
from .face_primitives import ease

Field = Callable[[Frame, float], np.ndarray]


def identity_fields_mm() -> tuple[np.ndarray, np.ndarray]:
    """Skin offsets (K, N, 3) per standard deviation and eyeball shifts (K, 2, 3), left and right."""
    f = frame()
    x, y, z = np.array(EYE_CENTRE_MM)[:, None]
    ball = Frame(x, y, z, np.zeros(1))
    near_eye = _near_eye(f)[:, None]
    skins, balls = [], []
    for name in IDENTITY_NAMES:
        sides = []
        for s in (1.0, -1.0) if name in _SIDED else (1.0,):
            shift = _FIELDS[name](ball, s)[0]
            offsets = _FIELDS[name](f, s)
            offsets += near_eye * (shift - offsets)
            if name in _LIDS:
                offsets += _LIDS[name](f)
            sides.append((carry_hidden(offsets, shift), shift))
        (left, left_ball), (right, right_ball) = sides[0], sides[-1]
        skins.append(whole_vectors(left, right).astype(np.float32))
        balls.append(np.stack([left_ball, right_ball * [-1.0, 1.0, 1.0]]))
    return np.stack(skins), np.stack(balls)


def _near_eye(f: Frame) -> np.ndarray:
    """1 on the lids, fading over the socket."""
    gap = [((c - c0) / r) ** 2 for c, c0, r in zip((f.x, f.y, f.z), EYE_CENTRE_MM, (1.1, 1.0, 1.0), strict=True)]
    return ease(np.sqrt(gap[0] + gap[1] + gap[2]), 28.0, 15.0)


def _face(f: Frame) -> np.ndarray:
    """1 over the face, 0 over neck and back of the head."""
    return ease(f.z, -95.0, -35.0) * ease(f.y, -150.0, -105.0)


def _soft(x: np.ndarray, width_mm: float) -> np.ndarray:
    """x near the midline, levelling off at about `width_mm`."""
    return width_mm * np.tanh(x / width_mm)


# --- the whole head ---


def _size(f: Frame, s: float) -> np.ndarray:
    return 0.022 * f.offset(f.x, f.y + 40.0, f.z + 70.0)


def _head_length(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 0.035 * (f.z + 20.0) * ease(f.z, 0.0, -60.0) * ease(f.y, -120.0, -40.0))


def _head_breadth(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.038 * f.x * ease(f.y, -60.0, 20.0) * ease(f.z, 20.0, -50.0))


def _neck_width(f: Frame, s: float) -> np.ndarray:
    low = ease(f.y + 0.5 * f.z, -95.0, -150.0)
    return f.offset(0.06 * f.x * low, 0.0, 0.06 * (f.z + 98.0) * low)


# --- proportions of the face ---


def _face_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.036 * f.x * _face(f) * ease(f.y, 60.0, 10.0))


def _face_length(f: Frame, s: float) -> np.ndarray:
    within = ease(f.y, 0.0, -40.0) * ease(f.z, -95.0, -30.0) * ease(f.y, -170.0, -110.0)
    return f.offset(0.0, 0.042 * np.minimum(f.y + 5.0, 0.0) * within, 0.0)


def _forehead_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 3.6 * ease(f.y, 12.0, 85.0), 0.0)


def _forehead_slope(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, -4.2 * f.patch((0, 66, 8), (60, 38, 40)))


def _midface_depth(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 2.2 * f.patch((0, -40, 20), (34, 32, 45)))


# --- jaw and chin ---


def _jaw_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(3.4 * f.patch((54, -66, -45), (30, 30, 38)), 0.0, 0.0)


def _jaw_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, -3.0 * f.patch((50, -72, -48), (24, 26, 34)), 0.0)


def _chin_forward(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 3.2 * f.patch((0, -102, 12), (30, 20, 34)))


def _chin_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, -3.2 * f.patch((0, -108, 4), (38, 22, 36)), 0.0)


def _chin_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.13 * _soft(f.x, 26.0) * f.patch((0, -102, 6), (44, 18, 40)), 0.0, 0.0)


# --- nose ---


def _nose_length(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, -2.3 * f.patch((0, -42, 34), (20, 19, 26)), 0.0)


def _nose_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.105 * _soft(f.x, 18.0) * f.patch((0, -41, 26), (24, 11, 20)), 0.0, 0.0)


def _nose_root(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 2.1 * f.patch((0, -2, 20), (11, 17, 22)))


def _nose_forward(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 2.5 * f.patch((0, -37, 38), (12, 15, 20)))


def _nose_hump(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 1.5 * f.patch((0, -15, 28), (8, 10, 16)))


def _nose_tip_up(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 2.0 * f.patch((0, -39, 42), (10, 12, 14)), 0.0)


def _nose_bridge_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.13 * _soft(f.x, 10.0) * f.patch((0, -16, 22), (16, 20, 16)), 0.0, 0.0)


# --- eyes and brows ---


def _brow_ridge(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 2.2 * f.patch((18, 20, 16), (30, 11, 26)))


def _brow_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 1.8 * f.patch((32, 20, 8), (30, 13, 30)), 0.0)


def _eye_spacing(f: Frame, s: float) -> np.ndarray:
    return f.offset(1.5 * np.tanh(f.x / 16.0) * f.patch((31.5, 2, 6), (32, 26, 34)), 0.0, 0.0)


def _eye_depth(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, -1.5 * f.patch((31.5, 0, 6), (26, 19, 30)))


def _eye_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 1.1 * f.patch((31.5, 0, 6), (30, 24, 36)), 0.0)


_ALONG = np.linspace(0.0, 1.0, EYE_OUTER - EYE_INNER + 1)
_ARCH = np.sin(np.pi * _ALONG) ** 0.9


def _still(f: Frame, s: float) -> np.ndarray:
    return f.offset()


def _open_lids(f: Frame) -> np.ndarray:
    return lid_glide(f, np.outer(_ARCH, (0.0, 0.55)), np.outer(_ARCH, (0.0, -0.35)), (12.0, 9.0))


def _tilt_lids(f: Frame) -> np.ndarray:
    tilt = np.outer(2.0 * _ALONG - 1.0, (0.0, 0.75))
    return lid_glide(f, tilt, tilt, (12.0, 12.0))


# --- cheeks ---


def _cheekbone(f: Frame, s: float) -> np.ndarray:
    bone = f.patch((52, -20, -12), (22, 16, 30))
    return f.offset(2.2 * bone, 0.0, 1.8 * bone)


def _cheek_fullness(f: Frame, s: float) -> np.ndarray:
    cheek = f.patch((44, -52, -10), (22, 26, 30))
    return f.offset(3.0 * cheek, 0.0, 2.2 * cheek)


# --- mouth ---


def _lips(f: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signed height above the line (1 at the upper border, -1 at the lower), a weight fading outwards, mm above it."""
    line, upper, lower = lip_heights_mm(f.x)
    rise = f.y - line
    height = np.where(rise > 0, upper, lower)
    # Towards the corner the lips are thin and can gain or lose only little.
    weight = ease(f.x, 27.0, 10.0) * ease(f.z, -8.0, 6.0) * np.minimum(height / 7.0, 1.0)
    return rise / height, weight, rise


def _upper_lip(f: Frame, s: float) -> np.ndarray:
    t, weight, rise = _lips(f)
    grow = weight * ease(t, 0.0, 1.0) * ease(rise, 17.0, 6.0)
    full = weight * np.exp(-(((t - 0.6) / 0.6) ** 2))
    return f.offset(0.0, 1.1 * grow, 0.8 * full)


def _lower_lip(f: Frame, s: float) -> np.ndarray:
    t, weight, rise = _lips(f)
    grow = weight * ease(t, 0.0, -1.0) * ease(rise, -20.0, -8.0)
    full = weight * np.exp(-(((t + 0.6) / 0.6) ** 2))
    return f.offset(0.0, -1.2 * grow, 0.9 * full)


def _mouth_width(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.085 * _soft(f.x, 26.0) * f.patch((0, -69, 16), (38, 15, 30)), 0.0, 0.0)


def _mouth_height(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 1.7 * f.patch((0, -69, 20), (34, 16, 36)), 0.0)


def _mouth_forward(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.0, 1.9 * f.patch((0, -69, 22), (27, 17, 30)))


# --- mild asymmetries ---


def _nose_aside(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.8 * s * f.patch((0, -34, 34), (22, 22, 26)), 0.0, 0.0)


def _mouth_cant(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.7 * s * np.tanh(f.x / 20.0) * f.patch((0, -69, 10), (46, 24, 36)), 0.0)


def _chin_aside(f: Frame, s: float) -> np.ndarray:
    return f.offset(1.1 * s * f.patch((0, -98, 4), (52, 34, 50)), 0.0, 0.0)


def _eye_cant(f: Frame, s: float) -> np.ndarray:
    return f.offset(0.0, 0.5 * s * np.tanh(f.x / 16.0) * f.patch((31.5, 8, 4), (32, 26, 36)), 0.0)


def _cheek_cant(f: Frame, s: float) -> np.ndarray:
    side = f.patch((52, -45, -25), (26, 40, 40))
    return f.offset(0.9 * s * side, 0.0, 0.7 * s * side)


_FIELDS: dict[str, Field] = {
    "size": _size, "face_width": _face_width, "face_length": _face_length, "head_length": _head_length,
    "head_breadth": _head_breadth, "jaw_width": _jaw_width, "chin_forward": _chin_forward, "chin_height": _chin_height,
    "cheek_fullness": _cheek_fullness, "cheekbone": _cheekbone, "forehead_height": _forehead_height,
    "forehead_slope": _forehead_slope, "midface_depth": _midface_depth, "jaw_height": _jaw_height,
    "chin_width": _chin_width, "nose_length": _nose_length, "nose_width": _nose_width, "nose_root": _nose_root,
    "nose_forward": _nose_forward, "nose_hump": _nose_hump, "nose_tip_up": _nose_tip_up,
    "nose_bridge_width": _nose_bridge_width, "brow_ridge": _brow_ridge, "brow_height": _brow_height,
    "eye_spacing": _eye_spacing, "eye_depth": _eye_depth, "eye_height": _eye_height, "lid_opening": _still,
    "lid_tilt": _still, "upper_lip": _upper_lip, "lower_lip": _lower_lip, "mouth_width": _mouth_width,
    "mouth_height": _mouth_height, "mouth_forward": _mouth_forward, "neck_width": _neck_width,
    "nose_aside": _nose_aside, "mouth_cant": _mouth_cant, "chin_aside": _chin_aside, "eye_cant": _eye_cant,
    "cheek_cant": _cheek_cant,
}  # fmt: skip
_LIDS: dict[str, Callable[[Frame], np.ndarray]] = {"lid_opening": _open_lids, "lid_tilt": _tilt_lids}
_SIDED = ("nose_aside", "mouth_cant", "chin_aside", "eye_cant", "cheek_cant")
IDENTITY_NAMES = tuple(_FIELDS)
