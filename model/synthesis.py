"""Skin detail of a photographed face: its texture in patches through the network, blended to one displacement map.

    from mesoface.model.dfdn_model import load_dfdn
    from mesoface.model.synthesis import read_face, synthesize
    face = read_face("results/anna/proxy")                       # a folder of `mesoface proxy`
    detail = synthesize(load_dfdn(None), face.texture_srgb, face.valid, face.region)
    detail.displacement_mm                                       # (S, S) float32 mm along the proxy's normals

The map has the size that the network was trained with; `enlarged` makes 2048 or 4096 of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..capture.errors import UserError
from ..dataset.face_areas import SKIN_REGIONS, Area, area_map, region_map
from ..dataset.patch_sampling import grid_places
from ..dataset.wild_patches import LEAST_FACING
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FaceModel
from ..reconstruct.photo import load_photo
from ..reconstruct.proxy_files import ProxyResult, read_proxy
from ..reconstruct.uv_charts import UvCharts, uv_charts
from .patch_blend import PatchBlend, predict_places

FADE_MM = 3.0
"""Over this distance from the border of what was seen, displacement falls to 0: a mesh then has no cliff there."""
HOLE_MM = 2.0
"""Gaps in what was seen that are narrower are predicted as well (texels that slipped through the z-buffer)."""
LEAST_SHARE = 0.02
BATCH = 16


class PredictorAbout(Protocol):
    """What a model says about itself."""

    @property
    def face_model(self) -> str: ...
    @property
    def map_size(self) -> int: ...
    @property
    def patch_px(self) -> int: ...
    @property
    def texel_mm(self) -> float: ...
    @property
    def area(self) -> str: ...
    @property
    def trained_on(self) -> str: ...


class DetailPredictor(Protocol):
    """A trained network: `dfdn_model.DfdnModel`, or anything else that turns texture into millimetres."""

    @property
    def about(self) -> PredictorAbout: ...
    def displacement_mm(
        self, texture_srgb: np.ndarray, valid: np.ndarray, *, pdim_only: bool = False, region: np.ndarray | None = None
    ) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class PhotoFace:
    """Maps (S, S, ...) of a photographed face, as a network takes them."""

    texture_srgb: np.ndarray
    """(S, S, 3) float32; unseen texels continue the seen ones."""
    valid: np.ndarray
    """(S, S) bool: seen well enough."""
    region: np.ndarray
    """(S, S) uint8, labels of Region."""
    area: np.ndarray
    """(S, S) uint8, labels of Area."""
    proxy: ProxyResult


@dataclass(frozen=True, eq=False)
class SkinDetail:
    """Predicted detail in the texture space of the face model, at the network's own map size."""

    displacement_mm: np.ndarray
    """(S, S) float32 along the proxy's outward normal; fades to 0 towards the border of `valid`, 0 outside."""
    valid: np.ndarray
    """(S, S) bool: where something was predicted."""
    patches: int
    batch: int
    """Patches at once that fitted into memory."""


def synthesize(
    model: DetailPredictor | Sequence[DetailPredictor],
    texture_srgb: np.ndarray,
    valid: np.ndarray,
    region: np.ndarray | None = None,
    *,
    area: np.ndarray | None = None,
    overlap: float = 0.5,
    batch: int = BATCH,
    pdim_only: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SkinDetail:
    """Displacement of the skin that a texture shows.

    Args:
        model: one network for the whole face, or the networks of its areas, which are blended where they meet.
        texture_srgb: (S, S, 3) float32 in [0, 1], S the model's `map_size`; valid: (S, S) bool.
        region: (S, S) labels: only skin is predicted (without brows, lids, lips); None: all that is valid.
        area: (S, S) labels of Area; needed for networks of single areas.
        overlap: of neighbouring patches: 0.5 (paper) or 0.75 (released code).
        batch: patches at once; the result does not depend on it. Halved when memory runs out, which `tell` hears.
    Raises UserError for maps of another size than the model's, models that do not belong together, and nothing valid.
    """
    models = list(model) if isinstance(model, Sequence) else [model]
    about = _common(models)
    size, side = about.map_size, about.patch_px
    if texture_srgb.shape != (size, size, 3) or valid.shape != (size, size):
        raise UserError(f"texture {texture_srgb.shape} and mask {valid.shape}: the model takes maps of {size} texels")
    finite = np.asarray(np.isfinite(texture_srgb).all(2))
    if not finite[valid].all():
        tell(f"{int((valid & ~finite).sum())} texels of the texture are no numbers and were left out")
    usable = _without_holes(valid & finite, finite, about.texel_mm)
    if region is not None:
        usable &= np.isin(region, SKIN_REGIONS)
    if not usable.any():
        raise UserError("no skin of the face was seen well enough for detail; take a picture more from the front")
    texture = np.where(finite[..., None], texture_srgb, 0).astype(np.float32)
    shares = [_share_of(one.about, area, usable, side) for one in models]
    places = [grid_places(usable & (share > 0), side, overlap, LEAST_SHARE) for share in shares]
    count, blend = sum(len(found) for found in places), PatchBlend(size, side)
    before = 0
    for one, share, found in zip(models, shares, places, strict=True):

        def predict(
            textures: np.ndarray, masks: np.ndarray, labels: np.ndarray | None, one: DetailPredictor = one
        ) -> np.ndarray:
            return one.displacement_mm(textures, masks, pdim_only=pdim_only, region=labels)

        def forward(done: int, total: int, before: int = before) -> None:
            progress(before + done, count)

        batch = predict_places(
            predict, texture, usable, region, found, side, blend, share, batch=batch, tell=tell, progress=forward
        )
        before += len(found)
    covered = usable & (blend.weight > 0)
    return SkinDetail(blend.result() * border_fade(covered, about.texel_mm), covered, count, batch)


def read_face(
    folder: str | Path, size: int | None = None, *, model: FaceModel | None = None, charts: UvCharts | None = None
) -> PhotoFace:
    """Maps of a folder of `mesoface proxy`, reduced to `size` (default: as they are).

    model, charts: of the proxy's face model at `size`, when they are there already. Valid is what faces the camera by
    at least `LEAST_FACING`, as in training. Raises UserError for missing or damaged files and maps smaller than `size`.
    """
    folder = Path(folder)
    proxy = read_proxy(folder)
    texture = load_photo(folder / "texture.png").srgb
    seen, facing = (cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE) for name in ("visible", "facing"))
    if seen is None or facing is None or seen.shape != facing.shape or seen.shape != texture.shape[:2]:
        raise UserError(f"{folder}: visible.png or facing.png is missing or damaged; run `mesoface proxy` again")
    size = size or len(seen)
    if len(seen) < size:
        raise UserError(f"{folder}: maps of {len(seen)} texels, the network takes {size}; run it with --size {size}")
    model = model or load_face_model(proxy.face_model)
    charts = charts or uv_charts(model, size)
    valid = (seen > 0) & (facing / 255 >= LEAST_FACING)
    if len(seen) > size:
        texture = cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)
        valid = cv2.resize(valid.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    region, area = (labels(model, size, charts.raster) * charts.valid for labels in (region_map, area_map))
    return PhotoFace(texture, valid & charts.valid, region, area, proxy)


def border_fade(valid: np.ndarray, texel_mm: float, fade_mm: float = FADE_MM) -> np.ndarray:
    """(S, S) float32 from 0 at the border of `valid` smoothly to 1 at `fade_mm` inside; 0 outside."""
    padded = np.pad(valid, 1).astype(np.uint8)  # the edge of the map is a border, too
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    inside = np.clip((distance - 0.5) * texel_mm / fade_mm, 0, 1)
    return (inside * inside * (3 - 2 * inside)).astype(np.float32) * valid


def enlarged(displacement_mm: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 mm: the map at another resolution, bicubic; it stays 0 away from where it was not."""
    if len(displacement_mm) == size:
        return displacement_mm
    method = cv2.INTER_CUBIC if size > len(displacement_mm) else cv2.INTER_AREA
    made = cv2.resize(displacement_mm, (size, size), interpolation=method)
    there = cv2.resize((displacement_mm != 0).astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    return made * there


def _common(models: list[DetailPredictor]) -> PredictorAbout:
    """Of the first, when all take the same maps."""
    if not models:
        raise UserError("no network was given")
    about = models[0].about
    for one in models[1:]:
        for name in ("face_model", "map_size", "patch_px"):
            if getattr(one.about, name) != getattr(about, name):
                raise UserError(
                    f"the networks do not belong together: {name} is {getattr(about, name)} and "
                    f"{getattr(one.about, name)}; give those that were trained on one dataset"
                )
    if about.patch_px > about.map_size:
        raise UserError(f"the model has patches of {about.patch_px} texels in maps of {about.map_size}; it is damaged")
    return about


def _share_of(about: PredictorAbout, area: np.ndarray | None, usable: np.ndarray, side: int) -> np.ndarray:
    """(S, S) float32: weight of a network's prediction, its own area with a soft edge."""
    if about.area == "all":
        return np.ones(usable.shape, np.float32)
    if area is None or about.area not in Area.__members__:
        raise UserError(f"the network is for the area {about.area!r}: give the map of areas, or a network for all")
    mine = (area == Area[about.area]).astype(np.float32)
    soft = cv2.GaussianBlur(mine, (0, 0), side / 16)
    return np.where(soft > 0.02, soft, 0).astype(np.float32)


def _without_holes(valid: np.ndarray, allowed: np.ndarray, texel_mm: float) -> np.ndarray:
    """`valid` with its narrow gaps closed."""
    side = 2 * max(round(HOLE_MM / 2 / max(texel_mm, 1e-6)), 1) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_CONSTANT) > 0
    return (valid | closed) & allowed
