"""The virtual head: a morphable instance whose skin is really displaced, exact to the vertex."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..capture.errors import UserError
from .expressions import activations_of
from .face_model import FACE_REGIONS, FaceModel, Region
from .mesh_refine import TriangleMesh, edge_stretch, fair, refine_edges, vertex_normals
from .skin import SkinMaps, SkinParameters, make_skin, random_skin
from .uv_raster import interpolate, rasterize_uv, sample_uv

_EDGE_FACTOR = {region: 1.0 for region in FACE_REGIONS} | {
    Region.JAW: 1.5, Region.EAR_LEFT: 2.0, Region.EAR_RIGHT: 2.0, Region.EYEBALL_LEFT: 2.0, Region.EYEBALL_RIGHT: 2.0,
}  # fmt: skip
"""Edge length of a region as a multiple of the face's; the others (scalp, neck, mouth interior) get the coarsest."""
COARSEST_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class VirtualHead:
    """A head without and with skin detail, vertex by vertex: detailed = base + displacement . base normal."""

    subject: int
    expression: str
    coarse: TriangleMesh
    """The face model's own mesh, before refinement."""
    base: TriangleMesh
    """Smooth surface, refined; vertices (N, 3) float64 mm."""
    base_normals: np.ndarray
    """(N, 3) float64 unit."""
    displacement_mm: np.ndarray
    """(N,) float64 along the base normal."""
    detailed_mm: np.ndarray
    """(N, 3) float64."""
    detailed_normals: np.ndarray
    """(N, 3) float64 unit vertex normals of the detailed surface; what the renderer shades with."""
    regions: np.ndarray
    """(N,) uint8, values of Region."""
    landmarks_mm: np.ndarray
    """(68, 3) float64 on the detailed surface; NaN where the model lacks a landmark."""
    skin: SkinMaps


def subject_coefficients(model: FaceModel, subject: int) -> tuple[np.ndarray, np.ndarray, SkinParameters]:
    """Identity (Ki,), albedo coefficients (Ka,) and skin of a subject number: the same whatever the expression."""
    rng = np.random.Generator(np.random.PCG64([0x5EED, subject]))
    alpha = np.clip(rng.standard_normal(len(model.identity_mm)), -2.5, 2.5)
    gamma = np.clip(rng.standard_normal(len(model.albedo_basis)), -2.0, 2.0)
    return alpha, gamma, random_skin(rng)


def build_head(
    model: FaceModel,
    subject: int,
    expression: str = "neutral",
    *,
    edge_mm: float = 0.3,
    map_size: int = 2048,
    skin: SkinParameters | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> VirtualHead:
    """Build subject number `subject` with an expression (see `activations_of`).

    Args:
        model: any face model; one without named units takes a PCA expression drawn from the expression's name.
        edge_mm: longest edge of the displaced mesh in the face proper; other skin up to 4 times that. Detail shorter
            than an edge is filtered from the displacement: what the mesh carries is what the truth maps say.
        map_size: side of the UV maps in texels.
        skin: other skin parameters than the subject's own (None: drawn from the subject number).
        progress: called with the name of each stage as it starts.
    Raises UserError for an unknown expression, or a model without landmarks 18-68.
    """
    unknown = [int(k) + 1 for k in np.flatnonzero(model.landmarks < 0) if k >= 17]
    if unknown:
        raise UserError(
            f"face model {model.name}: landmarks {', '.join(map(str, unknown))} (iBUG) are unknown, and wrinkles "
            "are placed by landmarks 18-68; render with --face-model procedural or an ICT-FaceKit folder"
        )
    alpha, gamma, own_skin = subject_coefficients(model, subject)
    activations = activations_of(expression)
    if model.expression_is_units:
        beta = model.beta_from_units(activations)
    else:
        drawn = np.random.Generator(np.random.PCG64(list(expression.encode()))).standard_normal(
            len(model.expression_mm)
        )
        beta = np.zeros_like(drawn) if expression == "neutral" else np.clip(drawn, -2, 2)
    progress("skin maps")
    neutral_mm = model.shape_mm(alpha)
    maps = make_skin(model, neutral_mm, activations, model.albedo(gamma), skin or own_skin, map_size)
    maps = replace(maps, displacement_mm=carried_displacement(model, maps, edge_mm))
    progress("mesh")
    coarse = TriangleMesh(model.shape_mm(alpha, beta).astype(np.float64), model.triangles, model.uv, model.uv_triangles)
    base, regions = refine_edges(coarse, edge_mm * edge_factors(model.regions), model.regions)
    base = replace(base, vertices_mm=fair(base.vertices_mm, base.triangles, 4))
    base, regions = refine_edges(base, _stretched_targets_mm(base, regions, maps, edge_mm), regions, max_rounds=2)
    normals = vertex_normals(base.vertices_mm, base.triangles)
    displacement = sample_displacement(maps, base)
    detailed = base.vertices_mm + displacement[:, None] * normals
    landmarks = np.where(model.landmarks[:, None] >= 0, detailed[model.landmarks], np.nan)
    return VirtualHead(
        subject,
        expression,
        coarse,
        base,
        normals,
        displacement,
        detailed,
        vertex_normals(detailed, base.triangles),
        regions,
        landmarks,
        maps,
    )


def edge_factors(regions: np.ndarray) -> np.ndarray:
    """Longest edge (N,) at vertices of these regions as a multiple of the face's."""
    return np.array([_EDGE_FACTOR.get(region, COARSEST_FACTOR) for region in Region])[regions]


def _stretched_targets_mm(base: TriangleMesh, regions: np.ndarray, maps: SkinMaps, edge_mm: float) -> np.ndarray:
    """Base edge lengths (N,) that keep the displaced edges short: smaller where wrinkles stretch the surface."""
    normals = vertex_normals(base.vertices_mm, base.triangles)
    detailed = base.vertices_mm + sample_displacement(maps, base)[:, None] * normals
    return 0.98 * edge_mm * edge_factors(regions) / edge_stretch(base.vertices_mm, detailed, base.triangles)


def carried_displacement(model: FaceModel, maps: SkinMaps, edge_mm: float) -> np.ndarray:
    """The displacement map (S, S) float32 mm without what the mesh is too coarse to carry.

    A Gaussian of 0.2 edge lengths passes 75 % of a wavelength of 1.7 edges and 20 % of 0.7; coarser regions get the
    stronger filter of their edges, blended across their borders.
    """
    size = len(maps.displacement_mm)
    valid = maps.valid.astype(np.float32)

    def blurred(length_mm: float) -> np.ndarray:
        sigma = 0.2 * length_mm / maps.mm_per_texel
        if sigma < 0.2:  # far below a texel
            return maps.displacement_mm
        top, bottom = (cv2.GaussianBlur(x, (0, 0), sigma) for x in (maps.displacement_mm * valid, valid))
        return np.where(bottom > 0.01, top / np.maximum(bottom, 0.01), 0)

    raster = rasterize_uv(model.uv, model.uv_triangles, size)
    factor = interpolate(raster, model.triangles, edge_factors(model.regions))[..., 0]
    fine_share = np.where(maps.valid, np.clip((COARSEST_FACTOR - factor) / (COARSEST_FACTOR - 1), 0, 1), 1)
    fine, coarse = blurred(edge_mm), blurred(COARSEST_FACTOR * edge_mm)
    return (fine * fine_share + coarse * (1 - fine_share)).astype(np.float32)


def sample_displacement(maps: SkinMaps, mesh: TriangleMesh) -> np.ndarray:
    """Displacement (N,) float64 mm at the mesh's vertices; a vertex on a UV seam takes one of its coordinates."""
    uv_of_vertex = np.zeros(len(mesh.vertices_mm), np.int64)
    uv_of_vertex[mesh.triangles.ravel()] = mesh.uv_triangles.ravel()
    return sample_uv(maps.displacement_mm, mesh.uv[uv_of_vertex]).astype(np.float64).reshape(-1)
