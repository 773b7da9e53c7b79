"""Small pictures for people: thumbnails, colour maps with a millimetre scale, shaded relief, sheets with captions."""

import base64

import cv2
import numpy as np

from ..capture.image_files import srgb_from_linear

_DIVERGING = np.array(
    [[5, 48, 97], [67, 147, 195], [209, 229, 240], [247, 247, 247], [253, 219, 199], [214, 96, 77], [103, 0, 31]],
    np.float64,
)
_SEQUENTIAL = np.array([[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]], np.float64)
GREY = 40


def colour_map(values: np.ndarray, low: float, high: float, diverging: bool) -> np.ndarray:
    """(H, W) values as uint8 RGB between `low` and `high`; NaN is dark grey."""
    table = _DIVERGING if diverging else _SEQUENTIAL
    place = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12), 0, 1) * (len(table) - 1)
    index = np.minimum(place.astype(int), len(table) - 2)
    mixed = table[index] + (table[index + 1] - table[index]) * (place - index)[..., None]
    mixed[np.isnan(values)] = GREY
    return np.rint(mixed).astype(np.uint8)


def map_with_scale(values: np.ndarray, unit: str, diverging: bool, limit: float | None = None) -> np.ndarray:
    """A colour map (H + 34, W, 3) uint8 with a colour bar and its end values below.

    limit: diverging maps run from -limit to limit (default: the 99th percentile of |values|); others from the 1st to
    the 99th percentile.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        finite = np.zeros(1)
    if diverging:
        high = limit or max(float(np.percentile(np.abs(finite), 99)), 1e-9)
        low = -high
    else:
        low, high = (float(x) for x in np.percentile(finite, [1, 99])) if limit is None else (0.0, limit)
    picture = colour_map(values, low, high, diverging)
    width = picture.shape[1]
    bar = np.full((34, width, 3), 255, np.uint8)
    ramp = colour_map(np.linspace(low, high, max(width - 20, 8))[None], low, high, diverging)
    bar[2:12, 10 : 10 + ramp.shape[1]] = ramp
    left, right = f"{low:.4g} {unit}", f"{high:.4g}"
    right_px = cv2.getTextSize(right, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]
    for text, x in ((left, 4), (right, max(width - 4 - right_px, 0))):
        cv2.putText(bar, text, (x, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([picture, bar])


def normal_picture(normal_cam: np.ndarray) -> np.ndarray:
    """Camera-frame normals as the usual colours (red right, green up, blue to the viewer); uint8 RGB."""
    rgb = (normal_cam * np.array([1, -1, -1]) + 1) / 2
    rgb[np.isnan(normal_cam)] = GREY / 255
    return np.rint(255 * np.clip(rgb, 0, 1)).astype(np.uint8)


def relief(normal_cam: np.ndarray, light_cam: tuple[float, float, float] = (-0.75, -0.45, -0.5)) -> np.ndarray:
    """Clay shading (H, W, 3) uint8 of camera-frame normals by a raking light; background dark grey."""
    direction = np.array(light_cam) / np.linalg.norm(light_cam)
    shade = 0.06 + 0.7 * np.clip(normal_cam @ direction, 0, 1) + 0.2 * np.clip(-normal_cam[..., 2], 0, 1)
    grey = srgb_from_linear(np.nan_to_num(shade, nan=0.02))
    return np.repeat(grey[..., None], 3, axis=2)


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """Resize to a width by area averaging (or linear enlargement); NaN only where no valid pixel contributes."""
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    if image.dtype.kind != "f" or not np.isnan(image).any():
        return cv2.resize(image, size, interpolation=method)
    valid = np.isfinite(image)
    share = cv2.resize(valid.astype(np.float32), size, interpolation=method)
    values = cv2.resize(np.where(valid, image, 0), size, interpolation=method)
    return np.where(share > 0.3, values / np.maximum(share, 1e-6), np.nan)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """The image with one line of text in a strip above it."""
    strip = np.full((20, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def sheet(images: list[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Images of equal width in rows of `columns` on white."""
    rows = []
    for start in range(0, len(images), columns):
        chosen = images[start : start + columns]
        height, width = max(i.shape[0] for i in chosen), images[0].shape[1]
        row = np.full((height + gap, columns * (width + gap), 3), 255, np.uint8)
        for k, image in enumerate(chosen):
            row[: image.shape[0], k * (width + gap) : k * (width + gap) + image.shape[1]] = image
        rows.append(row)
    return np.concatenate(rows)


def data_url(image: np.ndarray, quality: int = 88) -> str:
    """A JPEG data URL of a uint8 RGB image, for self-contained HTML."""
    ok, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise OSError("cannot encode a JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
