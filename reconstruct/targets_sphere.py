"""Pictures of balls: the mirror ball that shows where the flashes are, and the black satin ball that shows the leak.

A ray through a pixel meets the ball or not; there is nothing to integrate but the pixel's area. Lamps are discs for the
mirror ball, so that each flash gives a small round highlight, and points for everything else, as in the studio.
"""

from dataclasses import dataclass

import numpy as np

from ..capture.camera_model import PinholeCamera
from ..capture.polarisation import fresnel_amplitudes
from ..capture.rigid import Array
from .mitsuba_scene import REFERENCE_DISTANCE_MM, PointFlash
from .targets_rays import ray_directions

LAMP_RADIUS_MM = 30.0
"""Radius of a flash's front, as the mirror ball shows it."""
MIRROR_INDEX = 8.0
"""A dielectric of this index reflects 60 % with hardly a turn of polarisation, as polished steel does."""
ROOM = 0.004
"""Light of the dark room in the mirror ball while a flash fires, at the horizon; more from above, less from below."""
GLOSS_INDEX, GLOSS_ROUGHNESS, GLOSS_ALBEDO = 1.5, 0.4, 0.03
"""The black satin ball: plastic, microfacets with alpha = roughness^2 = 0.16, nearly no diffuse light."""
BALL_SAMPLES, HIGHLIGHT_SAMPLES = 4, 16
"""Rays per pixel and direction: over a ball, and over the highlight of a lamp in the mirror ball."""


@dataclass(frozen=True, slots=True)
class Ball:
    centre_mm: Array
    """(3,) world."""
    radius_mm: float


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels, [top, bottom) x [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    def pixels(self) -> Array:
        """(N, 2) centres of all its pixels, row by row."""
        columns, rows = np.meshgrid(np.arange(self.left, self.right), np.arange(self.top, self.bottom))
        return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64)


def ball_window(camera: PinholeCamera, ball: Ball) -> Window:
    """The pixels that can see the ball; empty when it is out of the picture."""
    pixel, depth_mm = camera.project(ball.centre_mm[None])
    if depth_mm[0] <= ball.radius_mm:
        return Window(0, 0, 0, 0)
    reach = 1.3 * ball.radius_mm * camera.fx_px / (depth_mm[0] - ball.radius_mm) + 2
    return _clipped(camera, pixel[0], reach)


def _clipped(camera: PinholeCamera, middle: Array, reach: float) -> Window:
    low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int) + 1
    left, right = np.clip([low[0], high[0]], 0, camera.width_px)
    top, bottom = np.clip([low[1], high[1]], 0, camera.height_px)
    return Window(int(top), int(max(top, bottom)), int(left), int(max(left, right)))


def meet(ball: Ball, origin_mm: Array, directions: Array) -> tuple[np.ndarray, Array, Array]:
    """Where rays meet the ball: hit (N,) bool; of the hits the point (K, 3) mm and the outward normal (K, 3)."""
    to_centre = ball.centre_mm - origin_mm
    along = directions @ to_centre
    under_root = along**2 - (to_centre @ to_centre - ball.radius_mm**2)
    hit = (under_root > 0) & (along > 0)
    distance = along[hit] - np.sqrt(under_root[hit])
    points = origin_mm + distance[:, None] * directions[hit]
    return hit, points, (points - ball.centre_mm) / ball.radius_mm


def highlight_point(ball: Ball, camera_mm: Array, light_mm: Array) -> Array:
    """The point (3,) of the ball that mirrors a point lamp into the camera (Alhazen's problem, by iteration)."""
    normal = np.zeros(3)
    for _ in range(100):
        point = ball.centre_mm + ball.radius_mm * normal
        half = _unit(camera_mm - point) + _unit(light_mm - point)
        previous, normal = normal, _unit(half)
        if np.abs(normal - previous).max() < 1e-14:
            break
    return ball.centre_mm + ball.radius_mm * normal


def mirror_surrounding(camera: PinholeCamera, ball: Ball, window: Window, gradients: tuple[float, ...]) -> np.ndarray:
    """The mirror ball in soft light, (h, w, n) float32, one layer per surrounding.

    Each surrounding shines with 1 from the sides and with 1 + gradient from straight above.
    """
    rising = np.array(gradients)
    total = np.zeros((window.shape[0] * window.shape[1], len(rising)))
    for offset in _offsets(BALL_SAMPLES):
        directions = ray_directions(camera, window.pixels() + offset)
        hit, _, normals = meet(ball, camera.centre_mm, directions)
        cosine = -np.sum(directions[hit] * normals, axis=1)
        mirrored_up = (directions[hit] + 2 * cosine[:, None] * normals)[:, 1]
        total[hit] += _reflectance(cosine, MIRROR_INDEX)[:, None] * (1 + mirrored_up[:, None] * rising)
    return (total / BALL_SAMPLES**2).reshape(*window.shape, len(rising)).astype(np.float32)


def mirror_highlight(camera: PinholeCamera, ball: Ball, flash: PointFlash) -> tuple[Window, np.ndarray]:
    """The flash in the mirror ball: its window and (h, w) float32 light there, as if the flash were unpolarised."""
    point = highlight_point(ball, camera.centre_mm, flash.position_mm)
    pixel, depth_mm = camera.project(point[None])
    # a ball of radius r makes of a lamp of radius R, far away at distance d, an image of radius R r / (2 d)
    distance_mm = float(np.linalg.norm(flash.position_mm - point))
    reach_mm = LAMP_RADIUS_MM * ball.radius_mm / (2 * distance_mm)
    window = _clipped(camera, pixel[0], 1.3 * reach_mm * camera.fx_px / depth_mm[0] + 2)
    axis = _unit(flash.aim_mm - flash.position_mm)
    # radiance of a disc that gives, from afar, the intensity of the studio's point flash
    brightness = flash.energy * (REFERENCE_DISTANCE_MM / LAMP_RADIUS_MM) ** 2
    # the window is small: all rays of all its pixels at once
    samples = (window.pixels()[:, None] + _offsets(HIGHLIGHT_SAMPLES)).reshape(-1, 2)
    directions = ray_directions(camera, samples)
    hit, points, normals = meet(ball, camera.centre_mm, directions)
    cosine = -np.sum(directions[hit] * normals, axis=1)
    mirrored = directions[hit] + 2 * cosine[:, None] * normals
    slope = -(mirrored @ axis)  # above 0: towards the lamp's face
    distance = ((points - flash.position_mm) @ axis) / np.where(slope > 0, slope, np.nan)
    beside = points + distance[:, None] * mirrored - flash.position_mm
    seen = (distance > 0) & (np.sum(beside * beside, axis=1) < LAMP_RADIUS_MM**2)
    light = np.zeros(len(samples))
    light[hit] = np.where(seen, brightness * np.maximum(slope, 1e-9) ** (flash.falloff_exponent - 1), 0.0)
    light[hit] *= _reflectance(cosine, MIRROR_INDEX)
    return window, light.reshape(-1, HIGHLIGHT_SAMPLES**2).mean(1).reshape(window.shape).astype(np.float32)


def satin_ball(
    camera: PinholeCamera, ball: Ball, window: Window, flash: PointFlash
) -> tuple[np.ndarray, np.ndarray, Array]:
    """The black satin ball under one flash: diffuse and specular light (h, w) float32, and points (h, w, 3) mm.

    The specular light is as if the flash were unpolarised: microfacets after Walter et al. 2007 (GGX). Points belong to
    the pixels' centres, on or beside the ball.
    """
    diffuse, specular = np.zeros(window.shape).ravel(), np.zeros(window.shape).ravel()
    for offset in _offsets(BALL_SAMPLES):
        directions = ray_directions(camera, window.pixels() + offset)
        hit, points, normals = meet(ball, camera.centre_mm, directions)
        to_light = _unit(flash.position_mm - points)
        received = flash.irradiance(points) * np.maximum(np.sum(to_light * normals, axis=1), 0)
        diffuse[hit] += GLOSS_ALBEDO * received
        specular[hit] += np.pi * _microfacets(normals, -directions[hit], to_light) * received
    directions = ray_directions(camera, window.pixels())
    nearest = camera.centre_mm + directions * (directions @ (ball.centre_mm - camera.centre_mm))[:, None]
    hit, points, _ = meet(ball, camera.centre_mm, directions)
    nearest[hit] = points
    share = BALL_SAMPLES**2
    return (
        (diffuse / share).reshape(window.shape).astype(np.float32),
        (specular / share).reshape(window.shape).astype(np.float32),
        nearest.reshape(*window.shape, 3),
    )


def _microfacets(normals: Array, to_camera: Array, to_light: Array) -> Array:
    """Value (N,) of the GGX lobe for unpolarised light, 0 where lamp or camera is behind the surface."""
    half = _unit(to_camera + to_light)
    cos_half, cos_in, cos_out, cos_facet = (
        np.sum(a * b, axis=1) for a, b in ((half, normals), (to_light, normals), (to_camera, normals), (half, to_light))
    )
    alpha2 = GLOSS_ROUGHNESS**4
    facets = alpha2 / (np.pi * (cos_half**2 * (alpha2 - 1) + 1) ** 2)

    def unshadowed(cosine: Array) -> Array:
        return 2 * cosine / (cosine + np.sqrt(alpha2 + (1 - alpha2) * cosine**2))

    lit = (cos_in > 1e-6) & (cos_out > 1e-6)
    cos_in, cos_out = np.where(lit, cos_in, 1.0), np.where(lit, cos_out, 1.0)
    value = _reflectance(cos_facet, GLOSS_INDEX) * facets * unshadowed(cos_in) * unshadowed(cos_out)
    return np.where(lit, value / (4 * cos_in * cos_out), 0.0)


def _reflectance(cosine: Array, index: float) -> Array:
    """Share of unpolarised light that is reflected."""
    r_s, r_p = fresnel_amplitudes(cosine, index)
    return (r_s**2 + r_p**2) / 2


def _offsets(count: int) -> Array:
    """Middles (count^2, 2) of the parts of a pixel, as offsets from its centre."""
    steps = (np.arange(count) + 0.5) / count - 0.5
    return np.stack(np.meshgrid(steps, steps), axis=2).reshape(-1, 2)


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
