"""The displacement basis: 64 patches whose linear combinations are PDIM's output (section 4.2).

Randomised SVD (Halko, Martinsson and Tropp, 2011) in passes over the patches, so that 100,000 of them need not fit in
memory. Components are orthonormal over the texels of a patch, coefficients are in mm. By default no mean is taken off:
"each patch is a linear combination of 64 basis patches", and a flat patch then has all coefficients 0.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..capture.errors import UserError
from ..capture.files import atomic_path

FORMAT = "mesoface-pca"
SCHEMA_VERSION = 1
COMPONENTS = 64
EXTRA, POWER_PASSES = 24, 2
Blocks = Callable[[], Iterator[np.ndarray]]
"""Gives the patches again from the start: (n, P, P) float32 blocks in mm, 0 where not valid."""


@dataclass(frozen=True, eq=False)
class PcaBasis:
    """patches ~ mean + coefficients . components."""

    components: np.ndarray
    """(K, P, P) float32, orthonormal rows over P x P texels."""
    mean_mm: np.ndarray
    """(P, P) float32; 0 unless the basis was centred."""
    variance_mm2: np.ndarray
    """(K,) float64: mean square of each coefficient."""
    total_mm2: float
    """Mean squared norm of a patch (less the mean)."""
    patches: int
    area: str
    """Area or regions it stands for, "all" by default."""

    def __post_init__(self) -> None:
        k, rows, columns = self.components.shape
        if rows != columns or self.mean_mm.shape != (rows, columns) or self.variance_mm2.shape != (k,):
            raise ValueError(
                f"components {self.components.shape}, mean {self.mean_mm.shape}, variance {self.variance_mm2.shape}"
            )

    @property
    def explained(self) -> np.ndarray:
        """(K,) cumulated share of the patches' energy."""
        return np.cumsum(self.variance_mm2) / max(self.total_mm2, 1e-30)

    def coefficients(self, patches_mm: np.ndarray) -> np.ndarray:
        """(n, K) float32 of patches (n, P, P) in mm."""
        flat = (patches_mm - self.mean_mm).reshape(len(patches_mm), -1)
        return (flat @ self.components.reshape(len(self.components), -1).T).astype(np.float32)

    def patches_mm(self, coefficients: np.ndarray) -> np.ndarray:
        """(n, P, P) float32 of coefficients (n, K)."""
        flat = coefficients @ self.components.reshape(len(self.components), -1)
        return (flat.reshape(-1, *self.mean_mm.shape) + self.mean_mm).astype(np.float32)


def fit_pca(
    blocks: Blocks, *, components: int = COMPONENTS, centre: bool = False, area: str = "all", seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> PcaBasis:  # fmt: skip
    """Basis of all patches that `blocks()` gives; it is called once per pass.

    Raises UserError when there are fewer patches than components.
    """
    passes = 3 + 2 * POWER_PASSES
    progress("mean and energy", 0, passes)
    count, shape, total, energy = 0, (0, 0), 0.0, 0.0
    for block in blocks():
        shape = block.shape[1:]
        count += len(block)
        total = total + block.sum(0, dtype=np.float64)
        energy += float(np.sum(np.square(block, dtype=np.float64)))
    if count < components:
        raise UserError(f"PCA: {count} patches for {components} components; build a larger dataset or ask for fewer")
    mean = (np.asarray(total) / count if centre else np.zeros(shape)).astype(np.float32)
    width = min(components + EXTRA, count, int(np.prod(shape)))

    def rows() -> Iterator[np.ndarray]:
        for block in blocks():
            yield (block - mean if centre else block).reshape(len(block), -1)

    rng = np.random.Generator(np.random.PCG64(seed))
    probe = rng.standard_normal((int(np.prod(shape)), width)).astype(np.float32)
    for number in range(POWER_PASSES + 1):
        # the range of X^T X is searched in the space of patches, whatever their number
        progress("range of the patches", 1 + number, passes)
        image = np.zeros_like(probe, np.float64)
        for flat in rows():
            image += flat.T @ (flat @ probe)
        probe = np.linalg.qr(image)[0].astype(np.float32)
    progress("components", passes - 1, passes)
    gram = np.zeros((width, width))
    for flat in rows():
        inside = (flat @ probe).astype(np.float64)
        gram += inside.T @ inside
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][:components]
    found, upper = np.linalg.qr(probe.astype(np.float64) @ vectors[:, order])
    found = (found * np.sign(np.diag(upper))).T
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(1)])  # the same sign whatever the order of sums
    found *= signs[:, None]
    left = energy / count - float(np.sum(np.square(mean, dtype=np.float64)))
    return PcaBasis(
        found.reshape(-1, *shape).astype(np.float32), mean, np.maximum(values[order], 0) / count, left, count, area
    )


def write_pca(path: str | Path, basis: PcaBasis, sources: dict[str, str]) -> None:
    """One .npz; `sources`: what it was fitted to, name -> SHA-256."""
    about = {
        "format": FORMAT, "schema_version": SCHEMA_VERSION, "unit": "mm", "area": basis.area, "patches": basis.patches,
        "total_mm2": basis.total_mm2, "sources": sources,
    }  # fmt: skip
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file, components=basis.components, mean_mm=basis.mean_mm, variance_mm2=basis.variance_mm2,
            about=np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
        )  # fmt: skip


def read_pca(path: str | Path) -> PcaBasis:
    """Read a basis. Raises UserError when it is missing, damaged, newer or not in mm."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(bytes(file["about"]).decode())
            arrays = file["components"], file["mean_mm"], file["variance_mm2"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it with `mesoface dataset pca`") from None
    except Exception as error:
        raise UserError(f"{path}: no readable PCA basis ({error}); make it again") from None
    if about.get("format") != FORMAT or about.get("schema_version", 0) > SCHEMA_VERSION or about.get("unit") != "mm":
        raise UserError(f"{path}: expected {FORMAT} up to version {SCHEMA_VERSION} in mm, found {about}")
    return PcaBasis(*arrays, float(about["total_mm2"]), int(about["patches"]), str(about["area"]))
