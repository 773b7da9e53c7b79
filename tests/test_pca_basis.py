"""The displacement basis: orthonormal, in mm, the same as a full SVD, in passes over blocks."""

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.dataset.pca_basis import fit_pca, read_pca, write_pca

SIDE = 24


def made_patches(count: int, seed: int) -> np.ndarray:
    """(n, SIDE, SIDE) float32 mm: 12 smooth modes of falling strength, and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    modes = np.stack([np.cos(np.pi * i * rows) * np.cos(np.pi * j * columns) for i in range(3) for j in range(4)])
    strength = 0.2 * 0.7 ** np.arange(12)
    patches = np.tensordot(rng.standard_normal((count, 12)) * strength, modes, 1)
    return (patches + 0.002 * rng.standard_normal(patches.shape)).astype(np.float32)


def blocks_of(patches: np.ndarray, size: int = 37):
    return lambda: (patches[k : k + size] for k in range(0, len(patches), size))


@pytest.mark.parametrize("centre", [False, True])
def test_basis_is_that_of_a_full_svd(centre):
    patches = made_patches(300, 1) + (0.05 if centre else 0)
    basis = fit_pca(blocks_of(patches), components=10, centre=centre)
    flat = patches.reshape(300, -1).astype(np.float64)
    if centre:
        flat = flat - flat.mean(0)
    _, values, rows = np.linalg.svd(flat, full_matrices=False)
    own = basis.components.reshape(10, -1).astype(np.float64)
    np.testing.assert_allclose(own @ own.T, np.eye(10), atol=2e-6)
    np.testing.assert_allclose(basis.variance_mm2, values[:10] ** 2 / 300, rtol=1e-3)
    overlap = np.linalg.svd(own @ rows[:10].T)[1]
    assert overlap.min() > 0.999
    assert basis.explained[-1] == pytest.approx((values[:10] ** 2).sum() / (values**2).sum(), rel=1e-3)


def test_coefficients_are_millimetres_and_rebuild_held_out_patches(tmp_path):
    basis = fit_pca(blocks_of(made_patches(400, 2)), components=12)
    held = made_patches(50, 3)
    coefficients = basis.coefficients(held)
    error = basis.patches_mm(coefficients) - held
    assert np.sqrt(np.mean(error**2)) < 0.0022  # what is left is the noise
    assert np.square(coefficients).sum(1) == pytest.approx(np.square(held).sum((1, 2)), rel=0.01)
    assert not basis.mean_mm.any() and not basis.patches_mm(np.zeros((1, 12), np.float32)).any()
    write_pca(tmp_path / "basis.npz", basis, {"scan-000.h5": "ab"})
    back = read_pca(tmp_path / "basis.npz")
    np.testing.assert_array_equal(back.components, basis.components)
    assert (back.patches, back.area, back.total_mm2) == (400, "all", basis.total_mm2)


def test_the_same_patches_give_the_same_basis():
    patches = made_patches(120, 4)
    one, other = (fit_pca(blocks_of(patches), components=8, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.components, other.components)
    blocked = fit_pca(blocks_of(patches, 11), components=8, seed=5)  # signs do not flip with the order of sums
    np.testing.assert_allclose(blocked.components, one.components, atol=1e-3)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="20 patches for 64 components"):
        fit_pca(blocks_of(made_patches(20, 0)))
    with pytest.raises(UserError, match="mesoface dataset pca"):
        read_pca(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(UserError, match="no readable PCA basis"):
        read_pca(tmp_path / "bad.npz")
