"""The cosine transform as a preconditioner of Eq. 9: the exact inverse on a full rectangle without weights.

On other masks the rectangle's solution is only near the mask's, and holes, slits or weights make it a poor guide
(hundreds of steps for weights of 1e-3): multigrid is for those.
"""

import numpy as np

ROWS_AT_ONCE = 256


class CosineSolver:
    """Solves (L + mu) z = f on the full rectangle of `size`, free boundary, one mu; `cycle` is the preconditioner.

    On a mask that is not the whole rectangle, `size` may be rounded up by `fast_size` and `inside` (h, w) bool keeps
    the result within the mask.
    """

    def __init__(self, size: tuple[int, int], mu: float, threads: int, inside: np.ndarray | None = None) -> None:
        self.size, self.threads, self.inside = size, threads, inside
        rows, columns = (2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in size)
        self._rows, self._columns = (rows + mu).astype(np.float32), columns.astype(np.float32)

    def cycle(self, f: np.ndarray, z: np.ndarray) -> None:
        """z = approximate solution of (L + mu) z = f, both padded (see `eq9_kernels`), float32."""
        from scipy import fft

        rows, columns = (min(side, whole - 2) for side, whole in zip(self.size, f.shape, strict=True))
        grid = np.zeros(self.size, np.float32)
        grid[:rows, :columns] = f[1 : rows + 1, 1 : columns + 1]
        spectrum = np.asarray(fft.dctn(grid, norm="ortho", overwrite_x=True, workers=self.threads))
        del grid
        for first in range(0, self.size[0], ROWS_AT_ONCE):
            strip = slice(first, first + ROWS_AT_ONCE)
            spectrum[strip] /= self._rows[strip, None] + self._columns
        found = np.asarray(fft.idctn(spectrum, norm="ortho", overwrite_x=True, workers=self.threads))
        if self.inside is None:
            z[1 : rows + 1, 1 : columns + 1] = found[:rows, :columns]
        else:
            height, width = self.inside.shape
            np.multiply(found[:height, :width], self.inside, out=z[1 : height + 1, 1 : width + 1])


def fast_size(size: tuple[int, int]) -> tuple[int, int]:
    """The next larger size with small prime factors: an unlucky one costs several times more."""
    from scipy.fft import next_fast_len

    rows, columns = (int(next_fast_len(side, real=True) or side) for side in size)
    return rows, columns


def is_fast(side: int, largest_factor: int = 31) -> bool:
    """Whether a side has only small prime factors, so that its transform is cheaper than multigrid."""
    factor = 2
    while factor <= largest_factor and side > 1:
        if side % factor:
            factor += 1
        else:
            side //= factor
    return side == 1
