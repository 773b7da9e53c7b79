"""`mesoface dataset regions`: a picture of a face model's regions and the two training areas, in texture space."""

from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.image_files import srgb_from_linear, write_png
from ..dataset.face_areas import SKIN_REGIONS, Area, area_map, region_map
from ..dataset.patch_sampling import region_name
from ..reconstruct.face_load import load_face_model
from ..reconstruct.face_model import FaceModel, Region
from ..reconstruct.face_preview import region_colours
from ..reconstruct.uv_raster import rasterize_uv

console = Console()
AREA_RGB = np.array([[60, 60, 60], [231, 138, 60], [70, 130, 200]], np.uint8)
AREA_WORDS = {Area.UPPER: "upper", Area.LOWER: "lower", Area.NONE: "none"}
LINE_PX = 20


def regions(*, out: Path, face_model: str = "procedural", size: int = 512, force: bool = False) -> int:
    """Draw a face model's regions and the two training areas as they lie in its texture space.

    Example: mesoface dataset regions --out regions.png

    Parameters
    ----------
    out
        Picture to write, PNG.
    face_model
        As for `mesoface face-model info`.
    size
        Side of each of the two maps in pixels.
    force
        Replace an existing file.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"{out}: expected a name that ends in .png")
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name, or replace it with --force")
    if not 128 <= size <= 4096:
        raise UserError(f"--size {size}: expected 128 to 4096 pixels")
    write_png(out, regions_picture(load_face_model(face_model), size))
    console.print(f"wrote {escape(str(out))}", soft_wrap=True)
    return 0


def regions_picture(model: FaceModel, size: int) -> np.ndarray:
    """(H, W, 3) uint8: regions, areas, and a legend beside them. Regions that are trained on have a star."""
    raster = rasterize_uv(model.uv, model.uv_triangles, size)
    labels, areas = region_map(model, size, raster), area_map(model, size, raster)
    inside = raster.triangle >= 0
    colours = srgb_from_linear(region_colours(np.arange(256).clip(max=len(Region) - 1)))
    maps = [_outlined(colours[labels], labels, inside), _outlined(AREA_RGB[areas], areas, inside)]
    rows = [
        (colours[label], region_name(label).replace("_", " ") + (" *" if label in SKIN_REGIONS else ""))
        for label in np.unique(labels[inside]).tolist()
    ]
    rows += [(np.full(3, 255, np.uint8), "* patches by default"), (np.full(3, 255, np.uint8), "")]
    rows += [(AREA_RGB[area], f"area: {words}") for area, words in AREA_WORDS.items()]
    return np.concatenate([*maps, _legend(rows, size)], axis=1)


def _outlined(picture: np.ndarray, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """White off the charts, a dark line where labels change."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    out = np.where(inside[..., None], picture, 255).astype(np.uint8)
    out[edge & inside] = 20
    return out


def _legend(rows: list[tuple[np.ndarray, str]], height: int) -> np.ndarray:
    strip = np.full((max(height, LINE_PX * (len(rows) + 1)), 190, 3), 255, np.uint8)
    for number, (colour, words) in enumerate(rows):
        top = 8 + LINE_PX * number
        strip[top : top + 14, 10:28] = colour
        cv2.putText(strip, words, (36, top + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return strip[:height] if len(strip) <= height else cv2.resize(strip, (round(190 * height / len(strip)), height))
