"""The torch form of Eq. 9 gives what the CPU form gives; on a GPU where there is one."""

import sys

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.reconstruct.eq9_integration import solve_eq9
from mesoface.reconstruct.eq9_torch import solve_eq9_torch


def problem(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    p = 0.3 * np.cos(x / 23) * np.cos(y / 31) + 0.02 * rng.standard_normal(shape)
    q = -0.3 * np.sin(x / 23) * np.sin(y / 31) + 0.02 * rng.standard_normal(shape)
    mask = ((x / shape[1] - 0.5) ** 2 + (y / shape[0] - 0.5) ** 2 < 0.22) & (rng.random(shape) > 0.03)
    mask[:, shape[1] // 3] = False
    weights = rng.uniform(0.05, 1, shape).astype(np.float32)
    return p, q, mask, 1000 + np.sin(x / 40), weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mu", [1e-5, 1e-3])
def test_agrees_with_the_cpu(mu, weighted):
    torch = pytest.importorskip("torch")
    p, q, mask, z0, weights = problem((121, 150))
    given = weights if weighted else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    there = solve_eq9_torch(p, q, mask, z0, mu, device=device, weights=given)
    here = solve_eq9(p, q, mask, z0, mu, weights=given)
    assert np.abs(there.offset - here.offset).max() < 2e-4 < 0.1 < np.std(here.offset[mask])
    assert there.iterations <= 12 and there.islands == here.islands > 1
    assert np.array_equal(np.isfinite(there.z), mask)


def test_mu_per_pixel_with_a_hole_in_the_prior():
    pytest.importorskip("torch")
    p, q, mask, z0, _ = problem((75, 90))
    z0[30:40, 40:50] = np.nan
    mu = np.where(np.isnan(z0), 0, 1e-3)
    there = solve_eq9_torch(p, q, mask, z0, mu, device="cpu")
    assert np.nanmax(np.abs(there.z - solve_eq9(p, q, mask, z0, mu).z)) < 2e-4


def test_missing_gpu_or_torch_is_said(monkeypatch):
    torch = pytest.importorskip("torch")
    p, q, mask, z0, _ = problem((20, 30))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no GPU"):
        solve_eq9_torch(p, q, mask, z0, 1e-3)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="pip install torch"):
        solve_eq9_torch(p, q, mask, z0, 1e-3)
