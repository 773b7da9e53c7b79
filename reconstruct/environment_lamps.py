"""An environment map as a few dozen distant lamps: cut in two where its light balances, again and again.

Debevec, A Median Cut Algorithm for Light Probe Sampling, 2005.
"""

from dataclasses import dataclass

import numpy as np

from .environment import environment_directions

CUTS = 6
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True, slots=True)
class DistantLamps:
    """Lamps at infinity, in the frame of the environment (the head's)."""

    directions: np.ndarray
    """(L, 3) float64 unit, towards the lamp."""
    power: np.ndarray
    """(L, 3) float64 radiance times solid angle: a surface that faces one alone has irradiance `power`."""
    solid_angle: np.ndarray
    """(L,) float64 steradians; together 4 pi."""


def environment_lamps(environment: np.ndarray, cuts: int = CUTS) -> DistantLamps:
    """2 ** cuts lamps of an environment (h, 2h, 3) as of `make_environment`: equal luminance, total power kept."""
    height, width = environment.shape[:2]
    directions = environment_directions(height)
    edge = np.cos(np.pi * np.arange(height + 1) / height)
    area = np.repeat(((edge[:-1] - edge[1:]) * 2 * np.pi / width)[:, None], width, axis=1)
    power = environment.astype(np.float64) * area[..., None]
    light = power @ LUMINANCE
    regions = [(0, height, 0, width)]
    for _ in range(cuts):
        regions = [half for region in regions for half in _halves(region, light)]
    lamps = []
    for top, bottom, left, right in regions:
        part = np.s_[top:bottom, left:right]
        weight = light[part][..., None]
        axis = (directions[part] * weight).sum((0, 1))
        lamps.append((axis / max(float(np.linalg.norm(axis)), 1e-12), power[part].sum((0, 1)), area[part].sum()))
    axes, powers, angles = zip(*lamps, strict=True)
    return DistantLamps(np.array(axes), np.array(powers), np.array(angles))


def _halves(region: tuple[int, int, int, int], light: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The region cut across its longer side (on the sphere) so that both halves shine alike; one of a texel stays."""
    top, bottom, left, right = region
    tall = bottom - top
    wide = (right - left) * np.sin(np.pi * (top + bottom) / 2 / len(light))
    across = (tall >= wide and tall > 1) or right - left == 1
    if across and tall == 1:
        return [region]
    profile = light[top:bottom, left:right].sum(1 if across else 0)
    sums = np.cumsum(profile)
    place = int(np.clip(np.searchsorted(sums, sums[-1] / 2) + 1, 1, len(profile) - 1))
    if across:
        return [(top, top + place, left, right), (top + place, bottom, left, right)]
    return [(top, bottom, left, left + place), (top, bottom, left + place, right)]
