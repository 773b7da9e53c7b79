"""From a Bayer mosaic to three colours per pixel, in float: values below zero are kept, nothing is clipped.

`half`      one pixel per 2 x 2 block: red, the mean of both greens, blue. No interpolation, half the size; a pixel
            (column, row) lies at (2 column + 0.5, 2 row + 0.5) of the full image.
`bilinear`  the mean of the nearest pixels of the missing colour.
`malvar`    bilinear, corrected by the Laplacian of the colour that was measured there; linear 5 x 5 filters of
            H. S. Malvar, L. He and R. Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned
            color images", ICASSP 2004. Being linear, it treats parallel - cross and its parts alike.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from .raw import CFA_PATTERNS, Cfa

Method = Literal["malvar", "bilinear", "half"]
METHODS: tuple[Method, ...] = ("malvar", "bilinear", "half")
Image = NDArray[np.float32]

STRIP_ROWS = 256
HALO_ROWS = 2

# Green where red or blue was measured; red (blue) at greens of its own row; at greens of its own column: transposed;
# red where blue was measured and the other way round. The paper's figure 2, in eighths.
MALVAR = {
    "green": [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    "row": [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]],
    "diagonal": [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]],
}
BILINEAR = {
    "green": [[0, 2, 0], [2, 0, 2], [0, 2, 0]],
    "row": [[0, 0, 0], [4, 0, 4], [0, 0, 0]],
    "diagonal": [[2, 0, 2], [0, 0, 0], [2, 0, 2]],
}


def demosaic(mosaic: Image, cfa: Cfa, method: Method = "malvar", workers: int = 1) -> Image:
    """Interpolate a mosaic (H, W) float32 with even sides to (H, W, 3) float32 RGB; `half` gives (H/2, W/2, 3).

    Works in strips of rows, in `workers` threads. Raises ValueError on another shape, dtype, pattern or method.
    """
    if mosaic.ndim != 2 or mosaic.dtype != np.float32 or mosaic.shape[0] % 2 or mosaic.shape[1] % 2 or not mosaic.size:
        raise ValueError(f"{mosaic.shape=} {mosaic.dtype=}, but expected (even height, even width) float32")
    if cfa not in CFA_PATTERNS or method not in METHODS:
        raise ValueError(f"{cfa=} {method=}, but expected one of {CFA_PATTERNS} and one of {METHODS}")
    height, width = mosaic.shape
    if method == "half":
        rgb = np.empty((height // 2, width // 2, 3), np.float32)
        return _in_strips(lambda top, bottom: _bin(mosaic, cfa, rgb, top, bottom), height, workers, rgb)
    kernels = _kernels(method)
    rgb = np.empty((height, width, 3), np.float32)
    return _in_strips(lambda top, bottom: _interpolate(mosaic, cfa, kernels, rgb, top, bottom), height, workers, rgb)


def red_place(cfa: Cfa) -> tuple[int, int]:
    """(row, column) of red in the 2 x 2 block; blue lies diagonally opposite."""
    return divmod(cfa.index("R"), 2)


def _in_strips(work: Callable[[int, int], None], height: int, workers: int, result: Image) -> Image:
    strips = [(top, min(top + STRIP_ROWS, height)) for top in range(0, height, STRIP_ROWS)]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        list(pool.map(lambda strip: work(*strip), strips))
    return result


def _bin(mosaic: Image, cfa: Cfa, rgb: Image, top: int, bottom: int) -> None:
    row, column = red_place(cfa)
    block, out = mosaic[top:bottom], rgb[top // 2 : bottom // 2]
    out[..., 0] = block[row::2, column::2]
    np.add(block[row::2, 1 - column :: 2], block[1 - row :: 2, column::2], out=out[..., 1])
    out[..., 1] *= np.float32(0.5)
    out[..., 2] = block[1 - row :: 2, 1 - column :: 2]


def _kernels(method: Method) -> dict[str, Image]:
    table = MALVAR if method == "malvar" else BILINEAR
    kernels = {name: np.array(eighths, np.float32) / np.float32(8) for name, eighths in table.items()}
    return kernels | {"column": np.ascontiguousarray(kernels["row"].T)}


def _interpolate(mosaic: Image, cfa: Cfa, kernels: dict[str, Image], rgb: Image, top: int, bottom: int) -> None:
    """Fill rows top:bottom (both even) of `rgb`. Mirroring at the border keeps the pattern's phase."""
    first, last = max(0, top - HALO_ROWS), min(len(mosaic), bottom + HALO_ROWS)
    block, out, inner = mosaic[first:last], rgb[top:bottom], slice(top - first, bottom - first)
    row, column = red_place(cfa)

    def fill(kernel: str | None, *targets: tuple[int, tuple[int, int]]) -> None:
        source = (
            block if kernel is None else cv2.filter2D(block, -1, kernels[kernel], borderType=cv2.BORDER_REFLECT_101)
        )
        for channel, (y, x) in targets:
            out[y::2, x::2, channel] = source[inner][y::2, x::2]

    red, blue = (row, column), (1 - row, 1 - column)
    beside_red, beside_blue = (row, 1 - column), (1 - row, column)  # the greens of red's row and of blue's
    fill(None, (0, red), (1, beside_red), (1, beside_blue), (2, blue))
    fill("green", (1, red), (1, blue))
    fill("row", (0, beside_red), (2, beside_blue))
    fill("column", (0, beside_blue), (2, beside_red))
    fill("diagonal", (0, blue), (2, red))
