"""Filters of slope maps on a mask: the low-pass of the smooth base, and the sharpening that undoes the grid's loss."""

import numpy as np

SAMPLES_PER_SIGMA = 4
REACH_SIGMAS = 4.0


def low_pass(
    fields: tuple[np.ndarray, ...], mask: np.ndarray, sigma_px: float, passes: int = 1
) -> tuple[np.ndarray, ...]:
    """Each field (H, W) smoothed by a Gaussian of sigma, float32, 0 off the mask; values there are not used.

    Further passes smooth what is left and add it: a gain of 1 - (1 - G)^passes, flatter below and steeper at its edge
    than a Gaussian of the same reach. See `_gaussian` for the border.
    """
    smoothed = _gaussian(fields, mask, sigma_px)
    for _ in range(passes - 1):
        rest = tuple(field - low for field, low in zip(fields, smoothed, strict=True))
        smoothed = tuple(low + more for low, more in zip(smoothed, _gaussian(rest, mask, sigma_px), strict=True))
    return smoothed


def sharpen(p: np.ndarray, q: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes whose mean over an edge is the four-point value at its middle, (-1, 9, 9, -1) / 16, float32.

    The plain mean of two ends, which Eq. 9 takes, loses 21 % of a wave of 4 px and 5 % at 8 px; with this the gain
    stays within 2 % from 4 px upwards. Pixels without both neighbours in the mask stay as they are.
    """
    p_sharp, q_sharp = np.array(p, np.float32), np.array(q, np.float32)
    across = mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2]
    below = mask[2:] & mask[1:-1] & mask[:-2]
    p_sharp[:, 1:-1] -= np.where(across, (p[:, 2:] - 2 * p[:, 1:-1] + p[:, :-2]) / 8, 0)
    q_sharp[1:-1] -= np.where(below, (q[2:] - 2 * q[1:-1] + q[:-2]) / 8, 0)
    return p_sharp, q_sharp


def _gaussian(fields: tuple[np.ndarray, ...], mask: np.ndarray, sigma_px: float) -> tuple[np.ndarray, ...]:
    """Local linear regression with Gaussian weights: inside the mask the plain Gaussian, at its border without the bias
    of a normalised average, which would tilt slopes that change steadily towards the rim of a face. Works on blocks of
    a quarter sigma, so that the cost does not grow with sigma.
    """
    import cv2

    height, width = mask.shape
    step = max(int(sigma_px / SAMPLES_PER_SIGMA), 1)
    size = -(-width // step), -(-height // step)
    # averaging over blocks and linear enlargement blur by s²/12 - 1/12 and s²/6 px²
    added = ((step * step - 1) / 12 + step * step / 6) if step > 1 else 0.0
    sigma = np.sqrt(max(sigma_px**2 - added, 0.05)) / step
    reach = max(int(np.ceil(REACH_SIGMAS * sigma)), 1)
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    gauss = np.exp(-(x**2) / (2 * sigma**2))
    gauss /= gauss.sum()
    kernels = [gauss * (x / sigma) ** power for power in range(3)]

    def moment(field: np.ndarray, along_x: int, along_y: int) -> np.ndarray:
        return cv2.sepFilter2D(field, cv2.CV_64F, kernels[along_x], kernels[along_y], borderType=cv2.BORDER_CONSTANT)

    def blocks(field: np.ndarray) -> np.ndarray:
        padded = cv2.copyMakeBorder(
            field, 0, size[1] * step - height, 0, size[0] * step - width, cv2.BORDER_CONSTANT, value=0
        )
        return cv2.resize(padded, size, interpolation=cv2.INTER_AREA).astype(np.float64)

    weight = blocks(mask.astype(np.float32))
    m00, m10, m01 = moment(weight, 0, 0), moment(weight, 1, 0), moment(weight, 0, 1)
    m20, m11, m02 = moment(weight, 2, 0), moment(weight, 1, 1), moment(weight, 0, 2)
    # weights whose first moments vanish: the value at the middle of the fitted plane. The ridge keeps lone pixels sane.
    ridge = 0.02 * m00 + 1e-9
    m20, m02 = m20 + ridge, m02 + ridge
    determinant = m20 * m02 - m11 * m11
    a = (m11 * m01 - m02 * m10) / determinant
    b = (m11 * m10 - m20 * m01) / determinant
    norm = m00 + a * m10 + b * m01
    known = m00 > 1e-6
    norm = np.where(known & (norm > 1e-3 * m00), norm, np.inf)
    smoothed = []
    for field in fields:
        seen = blocks(np.where(mask, field, 0).astype(np.float32))
        value = (moment(seen, 0, 0) + a * moment(seen, 1, 0) + b * moment(seen, 0, 1)) / norm
        smoothed.append(np.where(mask, _enlarged(value.astype(np.float32), step, (height, width)), np.float32(0)))
    return tuple(smoothed)


def _enlarged(blocks: np.ndarray, step: int, size: tuple[int, int]) -> np.ndarray:
    import cv2

    if step == 1:
        return blocks
    whole = blocks.shape[1] * step, blocks.shape[0] * step
    return cv2.resize(blocks, whole, interpolation=cv2.INTER_LINEAR)[: size[0], : size[1]]
