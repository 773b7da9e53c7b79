"""Unsupervised patches: a photograph's texture with what the appearance loss needs to re-render it (section 4.3).

The proxy of a photograph (`mesoface proxy`) gives position and normal maps, light and albedo; there is no displacement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..reconstruct.face_model import FaceModel
from ..reconstruct.proxy_files import ProxyResult, read_proxy
from ..reconstruct.uv_charts import UvCharts, normal_map, position_map
from .patch_cut import main_area
from .patch_sampling import SamplingOptions, grid_places
from .patch_shards import Patch, PatchInfo
from .uv_maps import texel_length_mm

LEAST_FACING = 0.35
WILD_SUBJECT = "wild"


@dataclass(frozen=True, eq=False)
class WildFace:
    """Maps (S, S, ...) of a photographed face in a face model's texture space."""

    name: str
    image_sha256: str
    face_model: str
    texture_srgb: np.ndarray
    """(S, S, 3) uint8."""
    valid: np.ndarray
    """(S, S) bool: seen well, skin of the chosen regions."""
    region: np.ndarray
    position_mm: np.ndarray
    """(S, S, 3) float32; 0 where there is none."""
    normal: np.ndarray
    albedo_linear: np.ndarray
    light: np.ndarray
    """(9, 3) float32 coefficients, see reconstruct/harmonic_light.py."""
    texel_mm: float


def read_wild_face(
    folder: str | Path, region: np.ndarray, regions: tuple[int, ...], model: FaceModel, charts: UvCharts
) -> WildFace:
    """The face of a finished `mesoface proxy` folder. region (S, S) uint8: `face_areas.region_map` of the same size.

    Positions and normals come from the mesh: those of the folder are rounded to 0.005 mm, too coarse for Eq. 12.
    Raises UserError for another face model or size, and for missing or damaged maps.
    """
    folder = Path(folder)
    proxy = read_proxy(folder)
    vertices_mm = proxy.vertices_mm(model)
    seen = _image(folder / "visible.png") > 0
    if seen.shape != region.shape:
        raise UserError(
            f"{folder}: maps of {len(seen)} texels, but the dataset takes {len(region)}; run `mesoface proxy --size "
            f"{len(region)}`"
        )
    texture, facing = _image(folder / "texture.png"), _image(folder / "facing.png")
    albedo = _decoded(folder, proxy, "albedo")
    position, normal = position_map(charts, model, vertices_mm), normal_map(charts, model, vertices_mm)
    there = charts.valid
    valid = seen & there & (facing / 255 >= LEAST_FACING) & np.isin(region, regions)
    return WildFace(
        folder.name, str(proxy.content["image"]["sha256"]), proxy.face_model, texture, valid, region,
        position, normal, albedo, proxy.light.coefficients.astype(np.float32), texel_length_mm(position, there),
    )  # fmt: skip


def cut_wild_patches(face: WildFace, area: np.ndarray, options: SamplingOptions, seed: int) -> Iterator[Patch]:
    """Up to `options.count` patches of the grid of inference (50 % overlap), drawn at random where enough is valid."""
    places = grid_places(face.valid, options.patch, 0.5, options.least_valid)
    rng = np.random.Generator(np.random.PCG64([0x811D, seed]))
    chosen = sorted(rng.permutation(len(places))[: options.count].tolist())
    side = options.patch
    for number in chosen:
        row, column = places[number]
        window = np.s_[row : row + side, column : column + side]
        centre = int(face.region[row + side // 2, column + side // 2])
        yield Patch(
            PatchInfo(WILD_SUBJECT, face.name, "", row, column, centre, main_area(area[window]), seed=seed),
            {
                "texture_srgb": face.texture_srgb[window],
                "valid": face.valid[window].astype(np.uint8),
                "region": face.region[window],
                "position_mm": face.position_mm[window],
                "normal": face.normal[window].astype(np.float16),
                "albedo_linear": face.albedo_linear[window].astype(np.float16),
                "light": face.light,
            },
        )


def _decoded(folder: Path, proxy: ProxyResult, name: str) -> np.ndarray:
    """(S, S, 3) float32 of a 16-bit map of a proxy's folder; 0 outside."""
    units = _image(folder / f"{name}.png")
    facts = proxy.content["maps"][name]
    values = units.astype(np.float32) * np.float32(facts["per_unit"]) + np.float32(facts.get("offset", 0))
    values[~units.any(2)] = 0
    return values


def _image(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path}: is missing or damaged; run `mesoface proxy` again")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
