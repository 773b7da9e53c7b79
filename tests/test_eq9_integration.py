"""Eq. 9 against a sparse direct solution in float64, its limits of accuracy, and its messages."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import splu

from mesoface.capture.errors import UserError
from mesoface.reconstruct.eq9_checks import fill_holes
from mesoface.reconstruct.eq9_integration import integrate, solve_eq9


def direct(p, q, mask, z0, mu, weights=None):
    """Eq. 9 in float64 by a sparse factorisation, written from the energy alone."""
    index = np.cumsum(mask.ravel()).reshape(mask.shape) - 1
    across, below = mask[:, :-1] & mask[:, 1:], mask[:-1] & mask[1:]
    near = np.concatenate([index[:, :-1][across], index[:-1][below]])
    far = np.concatenate([index[:, 1:][across], index[1:][below]])
    slope = np.concatenate([(p[:, :-1] + p[:, 1:])[across], (q[:-1] + q[1:])[below]]).astype(float) / 2
    if weights is None:
        c = np.ones(len(near))
    elif isinstance(weights, tuple):
        c = np.concatenate([weights[0][:, :-1][across], weights[1][:-1][below]]).astype(float)
    else:
        c = np.concatenate(
            [np.minimum(weights[:, :-1], weights[:, 1:])[across], np.minimum(weights[:-1], weights[1:])[below]]
        ).astype(float)
    edge = np.arange(len(near))
    b = sparse.csr_array(
        (np.repeat([-1.0, 1.0], len(near)), (np.tile(edge, 2), np.concatenate([near, far]))),
        shape=(len(near), mask.sum()),
    )
    mass = np.broadcast_to(mu, mask.shape)[mask].astype(float)
    prior = np.where(mass > 0, z0[mask], 0).astype(float)
    matrix = b.T @ sparse.diags_array(c) @ b + sparse.diags_array(mass)
    z = np.full(mask.shape, np.nan)
    z[mask] = splu(matrix.tocsc()).solve(b.T @ (c * slope) + mass * prior)
    return z


def bumpy(shape, seed=0, noise=0.02):
    """(p, q, z0) of a surface with bumps, slopes noisy, and a prior that is off by waves of 1 mm."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    z = 8 * np.sin(x / 23) * np.cos(y / 31) + 0.5 * np.sin(x / 3 + y / 5)
    p = 8 / 23 * np.cos(x / 23) * np.cos(y / 31) + 0.5 / 3 * np.cos(x / 3 + y / 5)
    q = -8 / 31 * np.sin(x / 23) * np.sin(y / 31) + 0.5 / 5 * np.cos(x / 3 + y / 5)
    p, q = (slope + noise * rng.standard_normal(shape) for slope in (p, q))
    return p.astype(np.float32), q.astype(np.float32), z + np.sin(x / 40 + y / 25)


def holey(shape, seed=0):
    """An ellipse with round holes and missing pixels, in several islands."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = ((x / shape[1] - 0.5) / 0.48) ** 2 + ((y / shape[0] - 0.5) / 0.48) ** 2 < 1
    for _ in range(12):
        row, column, radius = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(2, 9)
        mask &= (y - row) ** 2 + (x - column) ** 2 > radius**2
    mask[:, shape[1] // 3] = False
    return mask & (rng.random(shape) > 0.03)


def smooth_noise(shape, seed, sigma=5):
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return ((field - field.min()) / np.ptp(field)).astype(np.float32)


SHAPE = (121, 150)
P, Q, Z0 = bumpy(SHAPE)
HOLEY = holey(SHAPE)
WEIGHTS = 0.01 + 0.99 * smooth_noise(SHAPE, 1)
MU_MAP = np.where(smooth_noise(SHAPE, 2) > 0.5, 1e-3, 2e-5).astype(np.float32)
SOME_PRIOR = np.where(smooth_noise(SHAPE, 3) > 0.45, 1e-3, 0).astype(np.float32)
ELLIPSE = ((np.mgrid[:121, :150][1] - 75) / 70) ** 2 + ((np.mgrid[:121, :150][0] - 60) / 55) ** 2 < 1


@pytest.mark.parametrize(
    ("mask", "mu", "weights"),
    [
        pytest.param(HOLEY, 1e-5, None, id="holes and islands, low mu"),
        pytest.param(HOLEY, 1e-3, None, id="holes and islands, high mu"),
        pytest.param(np.ones(SHAPE, bool), 1e-5, None, id="rectangle"),
        pytest.param(HOLEY, MU_MAP, None, id="mu per pixel"),
        pytest.param(ELLIPSE, SOME_PRIOR, None, id="no prior on half of the pixels"),
        pytest.param(HOLEY, 1e-4, WEIGHTS, id="weights per pixel"),
        pytest.param(HOLEY, 1e-4, (WEIGHTS, WEIGHTS[::-1].copy()), id="weights per edge"),
        pytest.param(ELLIPSE, SOME_PRIOR, WEIGHTS, id="weights and half a prior"),
    ],
)
def test_equals_direct_solution(mask, mu, weights):
    found = solve_eq9(P, Q, mask, Z0, mu, weights=weights)
    expected = direct(P, Q, mask, Z0, mu, weights)
    assert np.array_equal(np.isfinite(found.z), mask)
    assert np.nanmax(np.abs(found.z - expected)) < 1e-4
    assert np.nanstd(expected - Z0) > 0.3, "the slopes must matter for this to be a test"
    assert found.iterations <= 10 and found.residual <= 1e-5


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (1, 400), (333, 1), (2, 301), (3, 5), (17, 17), (127, 131), (64, 64)]
)
def test_any_shape(shape):
    p, q, z0 = bumpy(shape)
    mask = np.ones(shape, bool)
    for solver in ("auto", "multigrid", "cosine"):
        found = integrate(p, q, mask, z0, 1e-4, solver=solver)
        assert np.abs(found - direct(p, q, mask, z0, 1e-4)).max() < 1e-4


def test_displacement_of_two_mu_is_exact_at_a_metre():
    """Depth of 1 m, where float32 depth alone would be rounded to 6e-5 mm."""
    z0 = Z0 + 1000
    ours = integrate(P, Q, ELLIPSE, z0, 1e-5) - integrate(P, Q, ELLIPSE, z0, 1e-3)
    expected = direct(P, Q, ELLIPSE, z0, 1e-5) - direct(P, Q, ELLIPSE, z0, 1e-3)
    assert np.nanstd(expected) > 0.1
    assert np.nanmax(np.abs(ours - expected)) < 3e-5


@pytest.mark.parametrize("mu", [1e-5, 1e-3])
def test_iterations_do_not_grow_with_size_holes_and_weights(mu):
    counts = {}
    for side in (100, 400, 1000):
        shape = (side, side + 31)
        p, q, z0 = bumpy(shape)
        plain = holey(shape) & (np.arange(shape[1]) != shape[1] // 3)
        counts[side] = solve_eq9(p, q, plain, z0, mu).iterations
        weights = np.exp(np.log(1e-3) * smooth_noise(shape, 4, 6))
        counts[side, "weights"] = solve_eq9(p, q, plain, z0, mu, weights=weights).iterations
    assert max(counts.values()) <= 10, counts
    assert counts[1000] <= counts[100] + 2, counts


def test_islands_are_independent():
    """Each island of a mask comes out as if it were alone, also beside one with slopes a million times larger."""
    shape = (90, 260)
    p, q, z0 = bumpy(shape)
    left, right = np.zeros(shape, bool), np.zeros(shape, bool)
    left[5:80, 5:120] = right[3:85, 130:250] = True
    p[left], q[left], z0[left] = p[left] * 1e-6, q[left] * 1e-6, z0[left] * 1e-6
    both = solve_eq9(p, q, left | right, z0, 1e-4)
    assert both.islands == 2
    for island in (left, right):
        alone = direct(p, q, island, z0, 1e-4)
        assert np.abs(both.z - alone)[island].max() < 1e-4 * np.ptp(alone[island])


def test_thousand_specks():
    mask = np.zeros((200, 210), bool)
    mask[:, :150] = True
    mask[::3, 151::4] = mask[1::3, 151::4] = True
    p, q, z0 = bumpy(mask.shape)
    found = solve_eq9(p, q, mask, z0, 1e-3)
    assert found.islands > 1000
    assert np.nanmax(np.abs(found.z - direct(p, q, mask, z0, 1e-3))) < 1e-4


def test_values_off_the_mask_are_never_read():
    p, q, z0, weights = (array.copy() for array in (P, Q, Z0, WEIGHTS))
    for array in (p, q, z0, weights):
        array[~HOLEY] = np.nan
    clean = integrate(P, Q, HOLEY, Z0, 1e-4, weights=WEIGHTS)
    assert np.array_equal(integrate(p, q, HOLEY, z0, 1e-4, weights=weights), clean, equal_nan=True)


def test_prior_with_holes_where_mu_is_zero():
    z0 = np.where(SOME_PRIOR > 0, Z0, np.nan)
    found = integrate(P, Q, ELLIPSE, z0, SOME_PRIOR)
    assert np.nanmax(np.abs(found - direct(P, Q, ELLIPSE, Z0, SOME_PRIOR))) < 1e-4


def test_zero_weight_cuts():
    """A pixel without confidence keeps its prior, and its neighbours do not hear of its slopes."""
    weights = np.ones(SHAPE, np.float32)
    weights[40:60, 40:60] = 0
    p = P.copy()
    p[41:59, 41:59] = 1e6
    found = integrate(p, Q, ELLIPSE, Z0, 1e-3, weights=weights)
    assert np.array_equal(found[40:60, 40:60], Z0[40:60, 40:60])
    assert np.array_equal(found, integrate(P, Q, ELLIPSE, Z0, 1e-3, weights=weights), equal_nan=True)


def test_direction_of_slopes():
    """p is the change per column, q per row: a plane comes back as it was."""
    plane = 0.3 * np.arange(80)[None, :] - 0.2 * np.arange(60)[:, None]
    p, q = np.full(plane.shape, 0.3), np.full(plane.shape, -0.2)
    found = integrate(p, q, np.ones(plane.shape, bool), np.zeros(plane.shape), 1e-7)
    assert np.abs((found - found.mean()) - (plane - plane.mean())).max() < 0.02


def test_rectangle_takes_the_cosine_transform_and_agrees_with_multigrid():
    shape = (480, 640)
    p, q, z0 = bumpy(shape)
    mask = np.ones(shape, bool)
    fast = solve_eq9(p, q, mask, z0, 1e-5)
    slow = solve_eq9(p, q, mask, z0, 1e-5, solver="multigrid")
    assert (fast.solver, slow.solver) == ("cosine", "multigrid") and fast.iterations <= 2
    assert np.abs(fast.z - slow.z).max() < 5e-5
    on_ellipse = [integrate(P, Q, ELLIPSE, Z0, 1e-5, solver=solver) for solver in ("cosine", "multigrid")]
    assert np.nanmax(np.abs(on_ellipse[0] - on_ellipse[1])) < 5e-5


def test_threads_do_not_matter():
    shape = (700, 900)
    p, q, z0 = bumpy(shape)
    mask = holey(shape)
    one, three = (solve_eq9(p, q, mask, z0, 1e-5, threads=threads).offset for threads in (1, 3))
    assert np.abs(one - three).max() < 1e-4
    again = solve_eq9(p, q, mask, z0, 1e-5, threads=3).offset
    assert np.array_equal(three, again)


def test_fill_holes_continues_neighbours():
    values = np.full((37, 50), 7.0)
    known = np.ones(values.shape, bool)
    known[5:30, 10:45] = False
    values[~known] = np.nan
    assert np.allclose(fill_holes(values, known), 7.0)


def with_nan(array):
    array = array.copy()
    array[60, 75] = np.nan
    return array


NO_PRIOR_LEFT = np.where(np.arange(150) < 60, 0, 1e-3) * np.ones((121, 1))
TWO = np.ones(SHAPE, bool) & (np.arange(150) != 60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.zeros(SHAPE, bool)}, ["mask is empty"]),
        ({"mask": np.ones((4, 5), bool)}, ["p has shape (121, 150)", "(4, 5)"]),
        ({"q": Q[:-1]}, ["q has shape (120, 150)", "(121, 150)"]),
        ({"p": with_nan(P)}, ["p: 1 of", "column 75, row 60", "mask"]),
        ({"z0": with_nan(Z0)}, ["z0: 1 of", "column 75, row 60", "mu = 0 there"]),
        ({"mu": 0.0}, ["mu = 0", "undetermined"]),
        ({"mu": -1e-3}, ["mu = -0.001"]),
        ({"mu": np.full(SHAPE, -1.0)}, ["mu spans -1 to -1"]),
        ({"mu": with_nan(MU_MAP)}, ["mu: 1 of"]),
        ({"mu": NO_PRIOR_LEFT, "mask": TWO}, ["1 of 2 islands", "columns 0..59, rows 0..120"]),
        ({"weights": -WEIGHTS}, ["weights are negative"]),
        ({"weights": WEIGHTS[1:]}, ["weights have shape"]),
        ({"weights": (WEIGHTS, with_nan(WEIGHTS))}, ["edge weights downwards: 1 of"]),
        ({"tolerance": 1e-12}, ["tolerance = 1e-12"]),
        ({"solver": "magic"}, ['solver = "magic"']),
        ({"solver": "cosine", "weights": WEIGHTS}, ["one mu and no weights"]),
    ],
)
def test_bad_input_is_named(change, words):
    arguments = {"p": P, "q": Q, "mask": ELLIPSE, "z0": Z0, "mu": 1e-3} | change
    with pytest.raises(UserError) as raised:
        integrate(**arguments)
    for word in words:
        assert word in str(raised.value)
