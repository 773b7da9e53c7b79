"""Second-order spherical harmonics: what a Lambertian surface makes of distant light, nine numbers per colour.

Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps, 2001. Convention: the radiance
that leaves a surface is albedo . shading(normal), with shading = harmonics(normal) @ coefficients; so the cosine lobe
(1, 2/3, 1/4 for orders 0, 1, 2) is part of the coefficients, and a constant environment of radiance 1 shades by 1.
"""

from dataclasses import dataclass

import numpy as np

ORDERS = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
COSINE_LOBE = np.array([1.0, 2 / 3, 1 / 4])[ORDERS]
"""Shading coefficient over the environment's radiance coefficient."""
NAMES = ("1", "y", "z", "x", "xy", "yz", "3zz-1", "xz", "xx-yy")
"""What each of the nine functions varies as; axes of the face model: x subject's left, y up, z out of the face."""
DARKEST = 1e-3
"""Shading is held at this share of its constant term: nine numbers may go below zero where no light falls."""


@dataclass(frozen=True, slots=True)
class HarmonicLight:
    """Light on a face, in the face model's frame."""

    coefficients: np.ndarray
    """(9, 3) float64: shading coefficients of red, green, blue in the order of `NAMES`."""

    def __post_init__(self) -> None:
        if self.coefficients.shape != (9, 3):
            raise ValueError(f"light coefficients are {self.coefficients.shape}, expected (9, 3)")

    def shading(self, normals: np.ndarray) -> np.ndarray:
        """(..., 3) float32 linear light that unit normals (..., 3) receive, times 1 / pi; never below zero."""
        raw = harmonics(normals) @ self.coefficients
        return np.maximum(raw, DARKEST * self.ambient).astype(np.float32)

    @property
    def ambient(self) -> np.ndarray:
        """(3,) shading averaged over all directions."""
        return self.coefficients[0] * _CONSTANT

    @property
    def main_direction(self) -> np.ndarray:
        """(3,) unit direction towards the brightest side (of the luminance); zero for even light."""
        linear = (self.coefficients[[3, 1, 2]] @ np.array([0.2126, 0.7152, 0.0722])).astype(np.float64)
        length = float(np.linalg.norm(linear))
        return linear / length if length > 0 else np.zeros(3)


_CONSTANT = 0.5 / np.sqrt(np.pi)


def harmonics(normals: np.ndarray) -> np.ndarray:
    """(..., 9) float64: the nine orthonormal real functions at unit directions (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(normals, np.float64), -1, 0)
    one, two = np.sqrt(3 / (4 * np.pi)), np.sqrt(15 / (4 * np.pi))
    return np.stack(
        [
            np.full_like(x, _CONSTANT),
            one * y,
            one * z,
            one * x,
            two * x * y,
            two * y * z,
            np.sqrt(5 / (16 * np.pi)) * (3 * z * z - 1),
            two * x * z,
            two / 2 * (x * x - y * y),
        ],
        axis=-1,
    )


def light_from_environment(environment: np.ndarray) -> HarmonicLight:
    """The light of a latitude-longitude radiance map (h, 2 h, 3), layout of `environment.make_environment`."""
    from .environment import environment_directions

    height = len(environment)
    sine = np.sin(np.pi * (np.arange(height) + 0.5) / height)
    solid_angle = np.repeat(sine[:, None] * (np.pi / height) ** 2, 2 * height, axis=1)
    basis = harmonics(environment_directions(height)) * solid_angle[..., None]
    radiance = np.tensordot(basis, np.asarray(environment, np.float64), axes=([0, 1], [0, 1]))
    return HarmonicLight(radiance * COSINE_LOBE[:, None])
