"""What surrounds the head of a fast portrait: background, hair, clothes, glasses, things in front of the face."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from .fast_portrait_shading import Paint

PICTURES = ("coffee.png", "chelsea.png", "rocket.jpg", "camera.png", "coins.png", "grass.png", "gravel.png",
            "brick.png", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg", "page.png", "text.png",
            "clock_motion.png", "moon.png")  # fmt: skip
"""Pictures without people that scikit-image brings along. Its astronaut is for tests alone and never in here."""


@lru_cache(maxsize=1)
def background_pictures() -> tuple[np.ndarray, ...]:
    """The sample pictures that are installed, each (h, w, 3) float32 linear RGB, at most 400 pixels wide."""
    from pathlib import Path

    import skimage.data

    found = []
    for name in PICTURES:
        path = Path(skimage.data.__file__).parent / name
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
        if image is not None:
            scale = min(1.0, 400 / max(image.shape[:2]))
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            found.append((small[..., ::-1].astype(np.float32) / 255) ** 2.2)
    return tuple(found)


@lru_cache(maxsize=1)
def strand_texture() -> np.ndarray:
    """(256, 256) float32 about 0.5 +- 0.25: vertical streaks that look like hair, periodic."""
    rng = np.random.Generator(np.random.PCG64(7))
    total = np.zeros((256, 256))
    for length, share in ((61, 1.0), (121, 1.2), (25, 0.6)):
        noise = rng.standard_normal((256, 256))
        smear = cv2.blur(np.tile(noise, (3, 3)), (1 if length < 100 else 3, length))[256:512, 256:512]
        total += share * smear / smear.std()
    return np.clip(0.5 + 0.2 * total / total.std(), 0, 1).astype(np.float32)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32 linear RGB: a gradient, soft blotches or a crop of a picture, often out of focus."""
    kind = rng.random()
    low, high = rng.uniform(0, 0.7, 3) ** 1.5, rng.uniform(0, 0.9, 3) ** 1.5
    pictures = background_pictures()
    if kind < 0.2 or not pictures:
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        turn = rng.uniform(0, 2 * np.pi)
        t = np.clip(0.5 + (ramp[None] - 0.5) * np.cos(turn) + (ramp[:, None] - 0.5) * np.sin(turn), 0, 1)
        return (low + (high - low) * t[..., None]).astype(np.float32)
    if kind < 0.45:
        cells = int(rng.integers(2, 12))
        patch = rng.uniform(0, 1, (cells, cells, 3)).astype(np.float32)
        patch = low + (high - low) * patch * rng.uniform(0.3, 1.5)
        return cv2.resize(
            patch.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC if kind < 0.4 else cv2.INTER_NEAREST
        ).clip(0, 2)
    image = pictures[rng.integers(len(pictures))]
    side = int(min(image.shape[:2]) * rng.uniform(0.3, 1.0))
    top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
    crop = image[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.6:
        crop = cv2.blur(crop, (int(size * rng.uniform(0.01, 0.08)) | 1,) * 2)
    return crop * (rng.uniform(0.3, 1.3) * (1 + rng.normal(0, 0.15, 3))).astype(np.float32)


def _strands(rng: np.random.Generator, size: int, turn_deg: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((128, 128), turn_deg, float(rng.uniform(0.7, 1.6)))
    return cv2.warpAffine(strand_texture(), matrix, (size, size), borderMode=cv2.BORDER_WRAP)


def _blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Paint `colour` ((3,) or image) over `image` float32 in place where `mask` uint8 is set; only in its bounds."""
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return
    area = (slice(y, y + h), slice(x, x + w))
    share = mask[area].astype(np.float32)[..., None] / 255
    paint = colour[area] if colour.ndim == 3 else colour
    image[area] += share * (paint - image[area])


def _polygon(size: int, points: np.ndarray, soft: int = 0) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return cv2.blur(mask, (soft | 1, soft | 1)) if soft > 1 else mask


def _line(image: np.ndarray, ends: tuple[np.ndarray, np.ndarray], colour: Any, thickness: float) -> None:
    first, second = ((round(float(x) * 16), round(float(y) * 16)) for x, y in ends)
    cv2.line(image, first, second, colour, max(1, int(thickness)), cv2.LINE_AA, 4)


def _wavy(rng: np.random.Generator, centre: np.ndarray, radii: np.ndarray, rough: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 1 + rough * np.sum(
        [rng.normal() / k * np.cos(k * turn + rng.uniform(0, 6.3)) for k in (2, 3, 4, 6)], axis=0
    )
    return centre + (np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None] * radii)


def hair_behind(rng: np.random.Generator, image: np.ndarray, head: np.ndarray, axes: np.ndarray, paint: Paint) -> None:
    """Long or full hair behind the head, in place.

    head: (2,) pixel at the middle of the face. axes: (2, 2) pixel steps per mm to the image right and down the face.
    """
    size = len(image)
    wide, high = rng.uniform(78, 125), rng.uniform(105, 150)
    middle = head - axes[1] * 35
    blob = (_wavy(rng, np.zeros(2), np.array([wide, high]), 0.08)) @ axes + middle
    mask = _polygon(size, blob)
    if rng.random() < 0.65:
        length, spread = rng.uniform(60, 220), rng.uniform(0.8, 1.25)
        curtain = np.array([[-wide, -30], [wide, -30], [wide * spread, length], [-wide * spread, length]])
        mask = np.maximum(mask, _polygon(size, (curtain + rng.normal(0, 8, (4, 2))) @ axes + middle))
    turn = float(np.rad2deg(np.arctan2(axes[0, 1], axes[0, 0])))
    shade = _strands(rng, size, -turn + rng.normal(0, 10)) ** rng.uniform(1.0, 2.0)
    _blend(image, mask, (paint.hair * rng.uniform(0.5, 1.6)) * (shade[..., None] * 1.8))


def hair_in_front(rng: np.random.Generator, image: np.ndarray, head: np.ndarray, axes: np.ndarray, paint: Paint,
                  light: float) -> np.ndarray:  # fmt: skip
    """Locks over forehead, temples or cheeks, in place; the mask (H, W) uint8 of what they cover."""
    size = len(image)
    mask = np.zeros((size, size), np.uint8)
    kind = rng.random()
    if kind < 0.5:  # a curtain at one side or both
        for sign in (-1, 1):
            if rng.random() < 0.7:
                inner = rng.uniform(50, 74)
                top, bottom = rng.uniform(-110, -70), rng.uniform(20, 170)
                rise = np.linspace(0, 1, 8)
                edge = inner + 22 * (rise - rng.uniform(0.3, 0.8)) ** 2 * rng.uniform(-1, 2) + rng.normal(0, 2, 8)
                start = rng.uniform(0, 55)
                edge = np.where(rise < 0.35, start + (edge - start) * (rise / 0.35) ** 0.6, edge)
                y = top + (bottom - top) * rise
                outer = np.stack([edge + rng.uniform(25, 50), y], 1)
                lock = np.concatenate([np.stack([edge, y], 1), outer[::-1]]) * [sign, 1]
                mask = np.maximum(mask, _polygon(size, lock @ axes + head, 3))
    else:  # a fringe
        x = np.linspace(-72, 72, 9)
        y = -rng.uniform(42, 68) + 0.006 * x**2 * rng.uniform(-0.5, 2.0) + rng.normal(0, 4, 9) + x * rng.normal(0, 0.15)
        fringe = np.concatenate([np.stack([x, y], 1), np.array([[75, -110], [-75, -110]])])
        mask = np.maximum(mask, _polygon(size, fringe @ axes + head, 3))
    turn = float(np.rad2deg(np.arctan2(axes[0, 1], axes[0, 0])))
    shade = _strands(rng, size, -turn + rng.normal(0, 15)) ** rng.uniform(1.0, 2.0)
    mask = (mask * np.clip(shade * 2.2, 0.5, 1)).astype(np.uint8)
    _blend(image, mask, (paint.hair * light) * (shade[..., None] * 1.8))
    return mask


def clothes(rng: np.random.Generator, image: np.ndarray, head: np.ndarray, axes: np.ndarray, light: float) -> None:
    """Shoulders with a collar below the chin, in place."""
    size = len(image)
    neck, drop = rng.uniform(42, 70), rng.uniform(112, 128)
    dip = rng.uniform(5, 90) if rng.random() < 0.6 else rng.uniform(-14, 5)
    half = np.array([
        [neck * 0.4, drop + 0.6 * dip], [neck * 0.8, drop], [neck + 8, drop + 12], [150, 165], [235, 215], [260, 420],
    ])  # fmt: skip
    outline = np.concatenate([half[::-1] * [-1, 1], [[0, drop + dip]], half])
    colour = (rng.uniform(0.0, 0.8, 3) ** 1.5 * light).astype(np.float32)
    cloth = background(rng, size) * light if rng.random() < 0.3 else np.broadcast_to(colour, image.shape).copy()
    sideways = np.array([rng.normal(0, 6), 0.0])
    mask = _polygon(size, (outline + sideways) @ axes + head)
    _blend(image, mask, cloth * (0.6 + 0.4 * _strands(rng, size, float(rng.uniform(0, 90)))[..., None]))
    if rng.random() < 0.4:
        cv2.polylines(image, [np.rint(((outline[3:10] + sideways) @ axes + head) * 16).astype(np.int32)], False,
                      tuple(map(float, rng.uniform(0, 0.6, 3) * light)), size // 60 + 1, cv2.LINE_AA, 4)  # fmt: skip


def glasses(rng: np.random.Generator, image: np.ndarray, eyes: np.ndarray, brow_to_eye: np.ndarray, light: float,
            mm_px: float) -> bool:  # fmt: skip
    """Glasses over two eyes (2, 2) px, in place; True where they are dark. brow_to_eye: (2,) px down the face."""
    size = len(image)
    across = eyes[1] - eyes[0]
    turn = float(np.arctan2(across[1], across[0]))
    frame = tuple(float(c) for c in (rng.uniform(0, 0.25) * rng.uniform(0.5, 1.5, 3) * light))
    half = np.array([rng.uniform(21, 29), rng.uniform(14, 24)]) * mm_px
    half[0] = min(half[0], 0.47 * float(np.linalg.norm(across)))
    thick = max(1, round(rng.uniform(0.8, 4.0) * mm_px))
    dark = rng.random() < 0.2
    power = rng.uniform(2, 6)
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    cs, sn = np.cos(t), np.sin(t)
    rim = np.stack([np.sign(cs) * np.abs(cs) ** (2 / power), np.sign(sn) * np.abs(sn) ** (2 / power)], 1) * half
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    shift = 0.15 * brow_to_eye
    for eye in eyes:
        points = rim @ spin + eye + shift
        if dark or rng.random() < 0.3:
            tone = (rng.uniform(0, 0.06) if dark else rng.uniform(0.3, 0.9)) * light
            mask = (_polygon(size, points) * (rng.uniform(0.85, 1.0) if dark else rng.uniform(0.03, 0.2))).astype(
                np.uint8
            )
            _blend(image, mask, np.full(3, tone, np.float32))
        cv2.polylines(image, [np.rint(points * 16).astype(np.int32)], True, frame, thick, cv2.LINE_AA, 4)
    axis = across / max(float(np.linalg.norm(across)), 1e-6)
    _line(image, (eyes[0] + axis * half[0] + shift, eyes[1] - axis * half[0] + shift), frame, thick)
    for eye, sign in zip(eyes, (-1, 1), strict=True):
        hinge = eye + sign * axis * half[0] + shift
        _line(image, (hinge, hinge + sign * axis * 26 * mm_px - 0.5 * shift), frame, thick)
    return dark


def occluders(rng: np.random.Generator, image: np.ndarray, face: np.ndarray, reach: float, paint: Paint,
              light: float) -> np.ndarray:  # fmt: skip
    """A hand, bar, ball or cup in front of a part of the face, in place; the mask (H, W) uint8 of what is covered."""
    size = len(image)
    turn = rng.uniform(0, 2 * np.pi)
    place = face + reach * rng.uniform(0.45, 1.0) * np.array([np.cos(turn), np.sin(turn)])
    kind = rng.random()
    mask = np.zeros((size, size), np.uint8)
    if kind < 0.4:  # a hand: four fingers side by side and a palm
        colour = paint.tint * np.array([0.55, 0.35, 0.25]) * light * rng.uniform(0.6, 1.1)
        along = rng.uniform(0, np.pi)
        step, reach_finger = 0.16 * reach, 0.8 * reach
        way, side = np.array([np.cos(along), np.sin(along)]), np.array([-np.sin(along), np.cos(along)])
        shade = np.ones((size, size), np.float32)
        for finger in range(4):
            start = place + side * step * (finger - 1.5)
            end = start + way * reach_finger * rng.uniform(0.75, 1.0)
            _line(mask, (start, end), 255, step * 0.95)
            _line(shade, (start + side * step / 2, end + side * step / 2), 0.6, step * 0.15)
        cv2.ellipse(mask, tuple(int(c) for c in place - way * 0.3 * reach), (int(0.45 * reach), int(0.38 * reach)),
                    float(np.rad2deg(along)), 0, 360, 255, -1, cv2.LINE_AA)  # fmt: skip
        _blend(image, mask, (shade[..., None] * colour).astype(np.float32))
        return mask
    if kind < 0.65:
        radii = reach * rng.uniform(0.15, 0.5, 2)
        mask = _polygon(size, _wavy(rng, place, radii, 0.1))
    else:
        width = reach * rng.uniform(0.08, 0.4)
        way = np.array([np.cos(turn + np.pi / 2), np.sin(turn + np.pi / 2)]) * size
        _line(mask, (place - way, place + way), 255, width)
    cover = background(rng, size) if rng.random() < 0.5 else rng.uniform(0, 0.8, 3).astype(np.float32) ** 1.5
    _blend(image, mask, cover * light)
    return mask
