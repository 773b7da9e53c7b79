"""Photographs as people have them: any bit depth, grey, transparent, turned by Exif, with a colour profile."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
"""What can be read."""
REFUSED = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".cr2": "camera raw", ".cr3": "camera raw", ".nef": "camera raw",
    ".arw": "camera raw", ".dng": "camera raw", ".raf": "camera raw", ".orf": "camera raw", ".rw2": "camera raw",
    ".gif": "GIF", ".svg": "SVG", ".jp2": "JPEG 2000",
}  # fmt: skip
"""Pictures that can not, and what they are."""
MOST_PIXELS = 200_000_000
BACKDROP = 0.5
"""What shows through transparent pixels, sRGB grey."""
ORIENTATION = 274
"""Exif tag."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture, upright and in sRGB."""

    srgb: np.ndarray
    """(H, W, 3) float32 in [0, 1]."""
    notes: tuple[str, ...]
    """What was done to it: `grey`, `16 bit`, `transparency over grey`, `turned as its Exif says`, ..."""

    @property
    def size(self) -> str:
        """Width x height."""
        return f"{self.srgb.shape[1]} x {self.srgb.shape[0]} px"


def load_photo(path: str | Path) -> Photo:
    """Read a picture for a person's eyes: JPEG, PNG, TIFF, WebP, BMP.

    Exif orientation is applied, embedded colour profiles are converted to sRGB, grey becomes RGB, transparent parts lie
    over grey, 16 bits are kept. A float TIFF is taken as sRGB, or as linear light when its description says so
    (`encoding: linear`, as our own). Raises UserError with the path and what to do for everything else.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    _refuse_foreign(path, data)
    if data[:4] == b"\x89PNG" and data[24:25] == b"\x10":
        values, notes = _deep_png(path, data)
    else:
        values, notes = (_deep_tiff(path, data) if data[:2] in (b"II", b"MM") else None) or _pixels(path, data)
    return Photo(*_as_rgb(path, values, notes))


def _refuse_foreign(path: Path, data: bytes) -> None:
    if not data:
        raise UserError(f"{path}: is empty; copy it again")
    kind = REFUSED.get(path.suffix.lower())
    if data[4:8] == b"ftyp":
        kind = "AVIF" if data[8:11] == b"avi" else "HEIC" if data[8:10] in (b"he", b"mi", b"ms") else "a video"
    if kind is not None:
        advice = "develop it" if kind == "camera raw" else "convert it"
        raise UserError(f"{path}: is {kind}, which is not read; {advice} to JPEG, PNG or TIFF first")


def _pixels(path: Path, data: bytes) -> tuple[np.ndarray, list[str]]:
    """8-bit pictures, by Pillow: values 0..1 and notes."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own limit of size; ours follows
            picture = Image.open(io.BytesIO(data))
        _check_size(path, *picture.size)
        picture.load()
        notes = []
        turned = picture.getexif().get(ORIENTATION, 1) not in (0, 1)
        profile = picture.info.get("icc_profile")
        if turned:
            picture = ImageOps.exif_transpose(picture)
            notes.append("turned as its Exif says")
        if picture.mode == "P" or "transparency" in picture.info:
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
            picture = picture.convert("RGB")
        if profile:
            picture, note = _to_srgb(picture, profile)
            notes += note
        if picture.mode == "CMYK":
            picture = picture.convert("RGB")
        return np.asarray(picture, np.float32) / 255, notes
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{path}: is no picture that can be read; expected {', '.join(s[1:].upper() for s in SUFFIXES)}"
        ) from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: is larger than {MOST_PIXELS / 1e6:.0f} megapixels; make it smaller") from None
    except Exception as error:  # decoders raise many kinds for a damaged file
        raise UserError(f"{path}: is damaged or cut short ({error}); copy or export it again") from None


def _to_srgb(picture: Any, profile: bytes) -> tuple[Any, list[str]]:
    """Convert by the embedded profile; one that is broken, or sRGB already, changes nothing."""
    from PIL import ImageCms

    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(given).strip()
        if "srgb" in name.lower() or picture.mode not in ("RGB", "RGBA", "CMYK"):
            return picture, []
        mode = "RGB" if picture.mode == "CMYK" else picture.mode
        converted = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"), outputMode=mode)
        return converted, [f"colours converted from {name[:40]}"]
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture, ["its colour profile is broken and was ignored"]


def _deep_png(path: Path, data: bytes) -> tuple[np.ndarray, list[str]]:
    """16-bit PNG, which Pillow would cut to 8."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if b"IEND" in data[-16:] else None
    if pixels is None:
        raise UserError(f"{path}: is damaged or cut short; copy or export it again")
    _check_size(path, pixels.shape[1], pixels.shape[0])
    values = pixels.astype(np.float32) / 65535
    if values.ndim == 3:
        values[..., :3] = values[..., 2::-1].copy()
    return values, ["16 bit"]


def _deep_tiff(path: Path, data: bytes) -> tuple[np.ndarray, list[str]] | None:
    """TIFF with more than 8 bits; None for others, which Pillow reads."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as handle:
            page: Any = handle.pages[0]
            if page.dtype not in (np.uint16, np.float32, np.float64):
                return None
            _check_size(path, page.imagewidth, page.imagelength)
            pixels = page.asarray()
            linear = "linear" in str(page.description)[:2000] and page.dtype != np.uint16
            orientation = page.tags.get(ORIENTATION)
    except UserError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds for a damaged file
        raise UserError(f"{path}: is damaged or cut short ({error}); copy or export it again") from None
    if page.planarconfig == 2 and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    notes = ["16 bit" if pixels.dtype == np.uint16 else "floating point"]
    values = pixels.astype(np.float32) / (65535 if pixels.dtype == np.uint16 else 1)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: holds values that are no numbers; export it again")
    if linear:
        values, notes = encoded_srgb(values), [*notes, "linear light encoded as sRGB"]
    if orientation is not None and orientation.value in _TURNS:
        turns, mirrored = _TURNS[orientation.value]
        values = np.rot90(values[:, ::-1] if mirrored else values, turns)
        notes.append("turned as its Exif says")
    return values, notes


_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
"""Exif orientation: quarter turns against the clock, after mirroring left and right."""


def encoded_srgb(linear: np.ndarray) -> np.ndarray:
    """float32 sRGB values in [0, 1] of linear light (IEC 61966-2-1)."""
    clipped = np.clip(linear, 0, 1).astype(np.float32)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** np.float32(1 / 2.4) - 0.055)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path}: has {width * height / 1e6:.0f} megapixels, at most {MOST_PIXELS / 1e6:.0f} are read; "
            "make it smaller"
        )


def _as_rgb(path: Path, values: np.ndarray, notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(H, W, 3) in [0, 1] from grey, grey with alpha, RGB or RGBA."""
    if values.ndim == 2:
        values = values[..., None]
    channels = values.shape[2] if values.ndim == 3 else 0
    if channels not in (1, 2, 3, 4):
        raise UserError(f"{path}: expected a grey or colour picture, found an array of {values.shape}")
    colour = values[..., : 1 if channels < 3 else 3]
    if channels in (2, 4):
        alpha = np.clip(values[..., -1:], 0, 1)
        if (alpha < 1).any():
            colour = alpha * colour + (1 - alpha) * BACKDROP
            notes = [*notes, "transparency over grey"]
    if channels < 3:
        colour = np.repeat(colour, 3, axis=2)
        notes = [*notes, "grey"]
    return np.ascontiguousarray(np.clip(colour, 0, 1), np.float32), tuple(notes)
