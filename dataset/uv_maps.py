"""The maps of one face in the texture space of a face model: what patches are cut from, and their folder.

Maps are square, top row first, texel centres at integers (reconstruct/uv_raster.py converts to UV).
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.files import write_json
from ..capture.image_files import read_tiff, write_png, write_tiff
from ..capture.json_files import read_format

FORMAT = "mesoface-uv-maps"
SCHEMA_VERSION = 1
MANIFEST = "uv_maps.json"


@dataclass(frozen=True, slots=True)
class FaceSource:
    """Where a face comes from. Subjects are pseudonyms."""

    subject: str
    expression: str
    scan: str
    """Name of the scan; unique in a dataset."""
    face_model: str
    licence: str
    provenance: str
    """In words: by which capture or import the maps were made."""
    image_sha256: str = ""
    """Hash over the source's images: the same pictures under two subjects are found by it."""


@dataclass(frozen=True, eq=False)
class UvMaps:
    """One face. All maps are S x S; `valid` tells where displacement can be trusted."""

    source: FaceSource
    texture_linear: np.ndarray
    """(S, S, 3) float32 linear RGB in [0, 1], diffuse or flat light."""
    displacement_mm: np.ndarray
    """(S, S) float32 along the base surface's outward normal; 0 where not valid."""
    position_mm: np.ndarray
    """(S, S, 3) float32 base surface in the face model's frame."""
    normal: np.ndarray
    """(S, S, 3) float32 unit normals of the base surface, the same frame; 0 off the chart."""
    valid: np.ndarray
    """(S, S) bool."""
    region: np.ndarray
    """(S, S) uint8, values of Region."""
    texel_mm: float
    """Median length of a texel on the valid surface."""

    def __post_init__(self) -> None:
        size = self.valid.shape[0]
        expected = {
            "texture_linear": (np.float32, (size, size, 3)),
            "displacement_mm": (np.float32, (size, size)),
            "position_mm": (np.float32, (size, size, 3)),
            "normal": (np.float32, (size, size, 3)),
            "valid": (np.bool_, (size, size)),
            "region": (np.uint8, (size, size)),
        }
        for name, (kind, shape) in expected.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}")
        if not np.isfinite(self.displacement_mm).all():
            raise ValueError("displacement_mm holds NaN; set it to 0 where it is not valid")
        if self.texel_mm <= 0:
            raise ValueError(f"{self.texel_mm=}, expected above 0")

    @property
    def size(self) -> int:
        return self.valid.shape[0]


def texel_length_mm(position_mm: np.ndarray, valid: np.ndarray) -> float:
    """Median distance between neighbouring texels of `valid`, both directions; 0 where there are none."""
    lengths = []
    for step, pair in (
        (np.diff(position_mm, axis=1), valid[:, 1:] & valid[:, :-1]),
        (np.diff(position_mm, axis=0), valid[1:] & valid[:-1]),
    ):
        lengths.append(np.linalg.norm(step[pair], axis=-1))
    every = np.concatenate(lengths)
    return float(np.median(every)) if len(every) else 0.0


def write_uv_maps(folder: str | Path, maps: UvMaps) -> None:
    """Maps and uv_maps.json into `folder`; formats in docs/formats.md."""
    folder = Path(folder)
    frame = f"{maps.source.face_model}: x to the subject's left, y up, z out of the face"
    write_tiff(folder / "texture_linear.tif", maps.texture_linear, encoding="linear")
    write_tiff(folder / "displacement_mm.tif", maps.displacement_mm, unit="mm", along="base normal", outside=0)
    write_tiff(folder / "position_mm.tif", maps.position_mm, unit="mm", frame=frame)
    write_tiff(folder / "normal.tif", maps.normal, frame=frame)
    write_png(folder / "valid.png", maps.valid.astype(np.uint8) * 255)
    write_png(folder / "region.png", maps.region)
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "size": maps.size,
            "texel_mm": maps.texel_mm,
            "displacement_unit": "mm",
            **{field.name: getattr(maps.source, field.name) for field in fields(maps.source)},
        },
    )


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """uv_maps.json. Raises UserError when it is missing, damaged, newer, or not in millimetres."""
    path = Path(folder) / MANIFEST
    content = read_format(
        path, FORMAT, SCHEMA_VERSION, missing="make it with `mesoface dataset build` or `mesoface dataset import`",
        again="make the maps again",
    )  # fmt: skip
    if content.get("displacement_unit") != "mm":
        raise UserError(
            f"{path}: displacement in {content.get('displacement_unit')!r}, expected 'mm'; convert it first"
        )
    return content


def read_source(folder: str | Path) -> FaceSource:
    """Where the maps of a folder come from. Raises UserError as `read_manifest`."""
    content = read_manifest(folder)
    try:
        return FaceSource(**{field.name: content[field.name] for field in fields(FaceSource)})
    except KeyError as error:
        raise UserError(f"{folder}/{MANIFEST}: no entry {error}; make the maps again") from None


def read_uv_maps(folder: str | Path) -> UvMaps:
    """Read a folder of `write_uv_maps`. Raises UserError that names what is missing, damaged or of another size."""
    folder = Path(folder)
    content, source = read_manifest(folder), read_source(folder)
    names = ("texture_linear", "displacement_mm", "position_mm", "normal")
    texture, displacement, position, normal = (read_tiff(folder / f"{name}.tif")[0] for name in names)
    valid, region = (cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in ("valid", "region"))
    if valid is None or region is None:
        raise UserError(f"{folder}: valid.png or region.png is missing or damaged; make the maps again")
    try:
        return UvMaps(source, texture, displacement, position, normal, valid > 0, region, float(content["texel_mm"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: maps do not fit each other ({error}); make them again") from None
