"""From a developed image to what stereo needs: grey values, the foreground, the skin."""

import cv2
import numpy as np

BRIGHT_QUANTILE = 0.98


def grey_image(linear: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """(H, W) float32 in [0, 1], sRGB-like encoding, of linear light (H, W) or (H, W, 3).

    The bright end of the foreground becomes 0.8, whatever the exposure, so views of different bodies compare alike.
    """
    grey = linear.astype(np.float32) if linear.ndim == 2 else linear.astype(np.float32) @ _LUMINANCE
    bright = float(np.quantile(_sparse(grey if mask is None or not mask.any() else grey[mask]), BRIGHT_QUANTILE))
    # linear 0.6 is sRGB 0.8
    scaled = np.clip(grey * np.float32(0.6 / max(bright, 1e-6)), 0, 1)
    bent = 1.055 * scaled ** np.float32(1 / 2.4) - 0.055
    return np.where(scaled <= 0.0031308, 12.92 * scaled, bent).astype(np.float32)


def foreground_mask(linear: np.ndarray, share: float = 0.08) -> np.ndarray:
    """(H, W) bool of a subject before a black background: the largest bright area, its holes filled.

    linear: (H, W) or (H, W, 3) linear light, black at 0 (noise may be negative). The threshold is `share` of the
    bright end, but well above the noise of the picture's border. An image without a subject gives an empty mask.
    """
    grey = linear.astype(np.float32) if linear.ndim == 2 else linear.astype(np.float32).max(2)
    grey = cv2.GaussianBlur(grey, (0, 0), max(grey.shape[1] / 1000, 0.5))
    border = np.concatenate([grey[0], grey[:, 0], grey[:, -1]])
    dark = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - dark)))
    bright = float(np.quantile(_sparse(grey), 0.99))
    if bright - dark < max(20 * noise, 1e-4):
        return np.zeros(grey.shape, bool)
    mask = (grey > max(dark + share * (bright - dark), dark + 8 * noise)).astype(np.uint8)
    return _solid(mask, max(round(grey.shape[1] / 300), 1))


def skin_mask(linear: np.ndarray, foreground: np.ndarray, volume: np.ndarray | None = None) -> np.ndarray:
    """(H, W) bool: foreground with the colour and brightness of the skin in the middle of the face; no hair, no cloth.

    linear: (H, W, 3) linear light. volume: (H, W) bool where the face may be (the projected working volume); its
    middle third is taken as skin to begin with. Eyes, brows and mouth are holes that are filled.
    """
    region = foreground if volume is None else foreground & volume
    rows, columns = np.nonzero(region)
    if len(rows) == 0:
        return np.zeros(foreground.shape, bool)
    blurred = cv2.GaussianBlur(np.maximum(linear, 0).astype(np.float32), (0, 0), max(linear.shape[1] / 500, 0.6))
    level = np.log(blurred.sum(2) + 1e-6)
    chroma = np.stack([blurred[..., 0], blurred[..., 2]], 2) / (blurred.sum(2, keepdims=True) + 1e-6)
    spread = [np.quantile(axis, [0.3, 0.7]) for axis in (rows, columns)]
    core = np.zeros_like(region)
    core[int(spread[0][0]) : int(spread[0][1]) + 1, int(spread[1][0]) : int(spread[1][1]) + 1] = True
    core &= region
    if core.sum() < 16:
        return region
    features = np.dstack([chroma, 0.1 * level])
    middle = np.median(features[core], axis=0)
    width = 1.4826 * np.median(np.abs(features[core] - middle), axis=0) + np.array([0.006, 0.006, 0.012])
    distance = np.sqrt((((features - middle) / width) ** 2 * [1.0, 1.0, 0.6]).sum(2))
    skin = (distance < 6) & region
    return _solid(skin.astype(np.uint8), max(round(linear.shape[1] / 200), 1)) & region


def _solid(mask: np.ndarray, radius_px: int) -> np.ndarray:
    """Opened and closed, largest component, holes filled."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc, borderType=cv2.BORDER_REPLICATE)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc, borderType=cv2.BORDER_REPLICATE)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return np.zeros(mask.shape, bool)
    largest = labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats((~largest).astype(np.uint8), connectivity=4)
    touching = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, touching) & ~largest
    return ~outside


def _sparse(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: max(flat.size // 200_000, 1)]


_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
