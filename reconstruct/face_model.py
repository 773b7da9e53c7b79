"""One type for every face model: procedural, BFM, ICT-FaceKit, eos (Eqs. 1-3 of the paper)."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Region(IntEnum):
    """Facial region of a vertex. Left and right are the subject's own."""

    OTHER = 0
    FOREHEAD = 1
    BROW_RIGHT = 2
    BROW_LEFT = 3
    EYELID_RIGHT = 4
    EYELID_LEFT = 5
    NOSE = 6
    CHEEK_RIGHT = 7
    CHEEK_LEFT = 8
    LIP_UPPER = 9
    LIP_LOWER = 10
    PERIORAL = 11
    CHIN = 12
    JAW = 13
    NECK = 14
    EAR_RIGHT = 15
    EAR_LEFT = 16
    SCALP = 17
    EYEBALL_RIGHT = 18
    EYEBALL_LEFT = 19
    MOUTH_INTERIOR = 20


FACE_REGIONS = tuple(Region(i) for i in range(Region.FOREHEAD, Region.CHIN + 1))
"""The regions that make the face proper: where skin detail lives and accuracy is judged."""

UNIT_NAMES = (
    "brow_inner_raise", "brow_outer_raise", "brow_lower", "lid_raise", "lid_tighten", "blink", "cheek_raise",
    "nose_wrinkle", "lip_raise", "lip_corner_pull", "dimple", "lip_corner_depress", "lower_lip_depress", "chin_raise",
    "lip_pucker", "lip_stretch", "lip_funnel", "lip_tighten", "lip_press", "jaw_open", "jaw_left", "jaw_right",
    "mouth_left", "mouth_right", "cheek_puff", "nostril_flare",
)  # fmt: skip
"""Canonical expression units with FACS-like meaning; an activation of 1 is a strong, natural movement.
Symmetric units; `jaw_left` and `mouth_left` move to the subject's left."""


@dataclass(frozen=True, slots=True)
class FaceModel:
    """A linear face model: vertices = mean + identity . alpha + expression . beta; albedo = mean + basis . gamma.

    Frame: x to the subject's left (image right in a frontal picture), y up, z out of the face; millimetres;
    origin at the centroid of landmarks 18-68 of the mean (0-based 17..67).
    """

    name: str
    mean_mm: np.ndarray
    """(N, 3) float32."""
    identity_mm: np.ndarray
    """(Ki, N, 3) float32: offset per unit of a standard normal coefficient."""
    expression_mm: np.ndarray
    """(Ke, N, 3) float32: offset per unit activation (named units) or standard deviation (PCA)."""
    expression_names: tuple[str, ...]
    """Ke names. Canonical names of UNIT_NAMES where `expression_is_units`."""
    expression_is_units: bool
    """True: coefficients are activations in [0, 1] with the meaning of UNIT_NAMES; False: PCA coefficients."""
    albedo_mean: np.ndarray
    """(N, 3) float32 linear RGB in [0, 1]; a plain skin tone where a model has none."""
    albedo_basis: np.ndarray
    """(Ka, N, 3) float32 per standard deviation; Ka may be 0."""
    triangles: np.ndarray
    """(T, 3) int32 vertex indices, counter-clockwise seen from outside."""
    uv: np.ndarray
    """(U, 2) float32 texture coordinates, origin bottom-left."""
    uv_triangles: np.ndarray
    """(T, 3) int32 indices into `uv`, corner by corner beside `triangles`."""
    landmarks: np.ndarray
    """(68,) int32 vertex index of each iBUG landmark (0-based, subject's right jaw first), -1 where unknown."""
    regions: np.ndarray
    """(N,) uint8, values of Region."""
    licence: str
    """Under which terms the model may be used."""

    def __post_init__(self) -> None:
        n, t = len(self.mean_mm), len(self.triangles)
        for label, array, shape, kind in (
            ("mean_mm", self.mean_mm, (n, 3), "f"),
            ("identity_mm", self.identity_mm, (len(self.identity_mm), n, 3), "f"),
            ("expression_mm", self.expression_mm, (len(self.expression_names), n, 3), "f"),
            ("albedo_mean", self.albedo_mean, (n, 3), "f"),
            ("albedo_basis", self.albedo_basis, (len(self.albedo_basis), n, 3), "f"),
            ("triangles", self.triangles, (t, 3), "i"),
            ("uv", self.uv, (len(self.uv), 2), "f"),
            ("uv_triangles", self.uv_triangles, (t, 3), "i"),
            ("landmarks", self.landmarks, (68,), "i"),
            ("regions", self.regions, (n,), "u"),
        ):
            if array.shape != shape or array.dtype.kind != kind:
                raise ValueError(f"{self.name}: {label} is {array.dtype} {array.shape}, expected kind {kind} {shape}")
        for label, index, bound in (("triangles", self.triangles, n), ("uv_triangles", self.uv_triangles, len(self.uv)),
                                    ("landmarks", self.landmarks, n)):  # fmt: skip
            lowest = -1 if label == "landmarks" else 0
            if index.size and (index.min() < lowest or index.max() >= bound):
                raise ValueError(f"{self.name}: {label} holds an index outside {lowest}..{bound - 1}")

    def shape_mm(self, alpha: np.ndarray | None = None, beta: np.ndarray | None = None) -> np.ndarray:
        """Vertices (N, 3) float32 in mm for identity `alpha` (up to Ki) and expression `beta` (up to Ke); Eqs. 1, 2."""
        vertices = self.mean_mm.astype(np.float64)
        for coefficients, basis in ((alpha, self.identity_mm), (beta, self.expression_mm)):
            if coefficients is not None and len(coefficients):
                if len(coefficients) > len(basis):
                    raise ValueError(f"{self.name}: {len(coefficients)} coefficients for {len(basis)} components")
                vertices += np.tensordot(np.asarray(coefficients, np.float64), basis[: len(coefficients)], 1)
        return vertices.astype(np.float32)

    def albedo(self, gamma: np.ndarray | None = None) -> np.ndarray:
        """Per-vertex albedo (N, 3) float32, linear RGB clipped to [0.01, 0.95]; Eq. 3."""
        colours = self.albedo_mean.astype(np.float64)
        if gamma is not None and len(gamma):
            colours = colours + np.tensordot(np.asarray(gamma, np.float64), self.albedo_basis[: len(gamma)], 1)
        return np.clip(colours, 0.01, 0.95).astype(np.float32)

    def beta_from_units(self, activations: dict[str, float]) -> np.ndarray:
        """Expression coefficients (Ke,) float32 for named activations; names the model lacks are left out.

        Raises ValueError for a model without named units.
        """
        if not self.expression_is_units:
            raise ValueError(f"{self.name}: its expression components are PCA modes and have no unit names")
        return np.array([activations.get(name, 0.0) for name in self.expression_names], np.float32)
