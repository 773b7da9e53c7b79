"""The mirror ball in pictures: its outline gives its centre, its highlights give the directions of the flashes.

The ball is the only bright round thing in uniform light. Its diameter is known, but the centre follows from where
several cameras see it; the diameter that the outlines show is then a check.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from ..capture.camera_model import PinholeCamera
from ..capture.rigid import Array
from .targets_rays import ray_directions

RAYS = 180
"""Directions from the ball's middle in which its edge is looked for."""
SMOOTH_PX = 0.8
ROUND = 0.85
"""Share of its enclosing circle that a ball's picture fills, at least."""
SMALLEST_RADIUS_PX = 8.0
EDGE_CONTRAST = 0.03
HIGHLIGHT_CONTRAST = 0.03
"""Share of the white level by which a highlight stands out of the ball, at least."""
RIM = 0.97
"""Highlights nearer to the edge than this share of the radius are left out: they move by nothing there."""


@dataclass(frozen=True, eq=False)
class Outline:
    """Edge of a ball in one image: points (N, 2) px, a circle around them, or a problem in words."""

    points_px: Array
    middle_px: Array
    radius_px: float
    problem: str = ""


@dataclass(frozen=True, eq=False)
class BallFit:
    """`centre_mm` (3,) world, `radius_mm` as the outlines show it, `rms_px` of the edges, per camera used."""

    centre_mm: Array
    radius_mm: float
    rms_px: float
    per_camera_px: dict[str, float]


def find_outline(grey: np.ndarray) -> Outline:
    """The ball's edge in linear light (H, W), uniform light, to a few hundredths of a pixel."""
    image = cv2.GaussianBlur(np.asarray(grey, np.float32), (0, 0), SMOOTH_PX)
    high = float(np.percentile(image, 99.5))
    if high < EDGE_CONTRAST:
        return _no_outline("the image is black")
    _, binary = cv2.threshold(
        np.clip(image * (255 / high), 0, 255).astype(np.uint8), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU
    )
    filled = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    balls = []
    for contour in contours:
        (x, y), radius = cv2.minEnclosingCircle(contour)
        if radius > SMALLEST_RADIUS_PX and cv2.contourArea(contour) > ROUND * np.pi * radius**2:
            balls.append((radius, x, y))
    if not balls:
        return _no_outline("no bright round ball before a darker background")
    radius, x, y = max(balls)
    if min(x, y) - radius < 1 or x + radius > image.shape[1] - 2 or y + radius > image.shape[0] - 2:
        return _no_outline("the ball is not wholly inside of the picture")
    points = _edge_points(image, np.array([x, y]), radius)
    if len(points) < RAYS // 3:
        return _no_outline("the ball's edge does not stand out")
    middle, radius = _circle(points)
    return Outline(points, middle, radius)


def fit_ball(cameras: Mapping[str, PinholeCamera], outlines: Mapping[str, Outline], radius_mm: float) -> BallFit | None:
    """Ball that touches the cones through all outlines; None without a usable one.

    With two or more cameras the radius is free, which keeps small errors of the edges away from the centre. With one,
    `radius_mm` gives the distance.
    """
    used = {name: outline for name, outline in outlines.items() if not outline.problem}
    if not used:
        return None
    centres = {name: cameras[name].centre_mm for name in used}
    rays = {name: ray_directions(cameras[name], outline.points_px) for name, outline in used.items()}
    free = len(used) > 1

    def residuals(values: Array) -> Array:
        """Angles between edge rays and the ball's cone, in px."""
        radius = float(values[3]) if free else radius_mm
        parts = []
        for name, directions in rays.items():
            to_centre = values[:3] - centres[name]
            distance = float(np.linalg.norm(to_centre))
            sine = np.clip(np.linalg.norm(np.cross(directions, to_centre / distance), axis=1), 0, 1)
            cone = np.arcsin(min(radius / max(distance, 1e-6), 1.0))
            parts.append((np.arcsin(sine) - cone) * cameras[name].fx_px)
        return np.concatenate(parts)

    name = max(used, key=lambda n: len(used[n].points_px))
    ahead = ray_directions(cameras[name], used[name].middle_px[None])[0]
    distance_mm = radius_mm * cameras[name].fx_px / used[name].radius_px
    start = np.append(centres[name] + distance_mm * ahead, radius_mm)
    found = least_squares(residuals, start if free else start[:3], loss="soft_l1", f_scale=0.3, x_scale="jac")
    errors = residuals(found.x)
    ends = np.cumsum([len(directions) for directions in rays.values()])[:-1]
    per_camera = {n: float(np.sqrt((part**2).mean())) for n, part in zip(rays, np.split(errors, ends), strict=True)}
    return BallFit(
        found.x[:3], float(found.x[3]) if free else radius_mm, float(np.sqrt((errors**2).mean())), per_camera
    )


def find_highlight(grey: np.ndarray, outline: Outline) -> Array | None:
    """Middle (2,) px of the brightest spot on the ball, weighted by light; None when none stands out.

    A burnt-out highlight is weighted evenly, which is right for a round lamp.
    """
    reach = RIM * outline.radius_px
    low = np.maximum(np.floor(outline.middle_px - reach).astype(int), 0)
    high = np.ceil(outline.middle_px + reach).astype(int) + 1
    part = np.asarray(grey[low[1] : high[1], low[0] : high[0]], np.float32)
    rows, columns = np.indices(part.shape)
    inside = np.hypot(columns + low[0] - outline.middle_px[0], rows + low[1] - outline.middle_px[1]) < reach
    if inside.sum() < 20:
        return None
    level = float(np.median(part[inside]))
    above = np.where(inside, part - level, 0)
    smooth = cv2.GaussianBlur(above, (0, 0), SMOOTH_PX)
    peak = float(smooth.max())
    if peak < HIGHLIGHT_CONTRAST:
        return None
    _, labels = cv2.connectedComponents((smooth > 0.25 * peak).astype(np.uint8))
    spot = labels == labels[np.unravel_index(int(smooth.argmax()), smooth.shape)]
    if spot.sum() > 0.02 * inside.sum():
        return None  # no lamp but a bright room
    spot = cv2.dilate(spot.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    weight = np.where(spot, np.maximum(above, 0), 0).astype(np.float64)
    total = weight.sum()
    return np.array([(weight * columns).sum() / total + low[0], (weight * rows).sum() / total + low[1]])


def mirrored_rays(
    camera: PinholeCamera, pixels: Array, centre_mm: Array, radius_mm: float
) -> tuple[Array, Array] | None:
    """Rays through pixels (N, 2), mirrored by the ball: points and unit directions (N, 3); None if one misses."""
    directions = ray_directions(camera, pixels)
    to_centre = centre_mm - camera.centre_mm
    along = directions @ to_centre
    under_root = along**2 - (to_centre @ to_centre - radius_mm**2)
    if (under_root <= 0).any():
        return None
    points = camera.centre_mm + (along - np.sqrt(under_root))[:, None] * directions
    normals = (points - centre_mm) / radius_mm
    return points, directions - 2 * np.sum(directions * normals, axis=1, keepdims=True) * normals


def mirror_points(centres_mm: Array, radius_mm: float, cameras_mm: Array, light_mm: Array) -> Array:
    """Points (N, 3) of balls at `centres_mm` (N, 3) that mirror one lamp into cameras at (N, 3): Alhazen's problem."""
    normals = _unit(_unit(cameras_mm - centres_mm) + _unit(light_mm - centres_mm))
    for _ in range(60):
        points = centres_mm + radius_mm * normals
        previous, normals = normals, _unit(_unit(cameras_mm - points) + _unit(light_mm - points))
        if np.abs(normals - previous).max() < 1e-12:
            break
    return centres_mm + radius_mm * normals


def _edge_points(image: np.ndarray, middle: Array, radius: float) -> Array:
    """Where brightness falls most steeply along rays from the middle, by a parabola through the steepest samples."""
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    step = 0.25
    reach = max(6.0, 0.06 * radius)
    distances = np.arange(radius - reach, radius + reach, step)
    samples = (middle + distances[:, None, None] * outward).astype(np.float32)
    columns, rows = (np.ascontiguousarray(samples[..., axis]) for axis in (0, 1))
    profile = cv2.remap(image, columns, rows, cv2.INTER_CUBIC).astype(np.float64)
    slope = cv2.GaussianBlur(
        -np.diff(profile, axis=0) / step, (1, 9), 1.5 / step * 0.6, borderType=cv2.BORDER_REPLICATE
    )
    best = np.clip(slope.argmax(axis=0), 1, len(slope) - 2)
    before, at, after = (slope[best + k, np.arange(RAYS)] for k in (-1, 0, 1))
    shift = 0.5 * (before - after) / np.minimum(before - 2 * at + after, -1e-9)
    edge = distances[0] + step * (best + 0.5 + np.clip(shift, -0.5, 0.5))
    clear = (at > 0.25 * np.median(at)) & (np.abs(edge - np.median(edge)) < 0.5 * reach)
    return (middle + edge[:, None] * outward)[clear]


def _circle(points: Array) -> tuple[Array, float]:
    """Middle and radius of the circle nearest to points (N, 2)."""
    terms = np.column_stack([2 * points, np.ones(len(points))])
    x, y, rest = np.linalg.lstsq(terms, (points**2).sum(axis=1), rcond=None)[0]
    return np.array([x, y]), float(np.sqrt(rest + x * x + y * y))


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _no_outline(problem: str) -> Outline:
    return Outline(np.zeros((0, 2)), np.zeros(2), 0.0, problem)
