"""Light and albedo of a photographed face: the two unknowns of Eq. 14, from sparse vertices of the proxy.

The method is ours. The paper estimates both "from sparse proxy vertices" and leaves the algorithm to a supplement that
is not public. Here: picture = albedo(gamma) . shading(normal), nine harmonics per colour (`harmonic_light`), gamma
standard normal as the face model says (Eq. 3). Maximum a posteriori by Gauss-Newton over light and gamma together,
re-weighted by Geman and McClure's function at a scale that shrinks: highlights, shadows, hair and glasses drop out.

Light and albedo share a factor per colour that no picture tells apart (a dark face in bright light). The prior decides:
along it gamma stays 0, so the albedo has the brightness and tint of the model's mean and the light takes the rest.
"""

from dataclasses import dataclass, replace

import numpy as np

from .face_model import FaceModel, Region
from .harmonic_light import COSINE_LOBE, HarmonicLight, harmonics
from .mesh_refine import vertex_normals
from .uv_raster import sample_uv
from .uv_unwrap import UvTexture

SKIN = (
    Region.FOREHEAD, Region.NOSE, Region.CHEEK_RIGHT, Region.CHEEK_LEFT, Region.PERIORAL, Region.CHIN,
    Region.LIP_UPPER, Region.LIP_LOWER, Region.JAW,
)  # fmt: skip
"""Where samples come from: brows, lids and scalp are hair in a photograph."""
SPACING_MM = 4.5
LEAST_SAMPLES = 60
USUAL = np.array([0.2, 0.2, 0, 0, 0, 0, 0, 0])
"""Prior mean of the light over its constant term: a little from above and from the front, where people stand."""
STARTING_STEPS = 12


@dataclass(frozen=True, slots=True)
class LightOptions:
    """Settings of the estimate."""

    noise: float = 0.03
    """Expected misfit of a good sample as a share of its brightness."""
    independent: float = 60.0
    """How many independent samples the face is worth: neighbours err alike, so the prior keeps its say."""
    least_facing: float = 0.35
    """Samples seen under a smaller cosine are left out."""
    clipped: float = 0.985
    """Linear value from which a colour counts as saturated."""
    contrast: float = 0.5
    """Prior of the light: standard deviation of a coefficient over the constant term and the order's cosine lobe."""
    detail_mm: float = 7.0
    """Smoothing of the albedo that the model cannot express; shorter shading would end up in it."""


@dataclass(frozen=True, slots=True)
class SkinSamples:
    """Sparse vertices with what the picture shows there."""

    vertex: np.ndarray
    """(M,) int64."""
    colour_linear: np.ndarray
    """(M, 3) float64."""
    normals: np.ndarray
    """(M, 3) float64 unit, model frame."""


@dataclass(frozen=True, slots=True)
class LightEstimate:
    """Light and albedo of a picture."""

    light: HarmonicLight
    gamma: np.ndarray
    """(Ka,) float64: albedo coefficients."""
    albedo: np.ndarray
    """(N, 3) float32 per vertex, linear: the model's with `gamma`, times a smooth deviation where skin was seen."""
    samples: SkinSamples
    trust: np.ndarray
    """(M,) float64 0..1: weight of each sample in the end; near 0 for highlights and cast shadow."""
    misfit: float
    """Mean absolute error of re-rendered trusted samples as a share of their mean brightness."""
    warnings: tuple[str, ...] = ()

    def rendered(self, normals: np.ndarray) -> np.ndarray:
        """(N, 3) float32 linear picture of every vertex with normals (N, 3): Eq. 14."""
        return self.albedo * self.light.shading(normals)


def skin_samples(
    unwrapped: UvTexture, model: FaceModel, vertices_mm: np.ndarray, options: LightOptions | None = None
) -> SkinSamples:
    """Vertices about `SPACING_MM` apart on skin that is seen well and not saturated.

    unwrapped: the picture in linear light in the model's charts; a small one (512) will do and smooths away noise.
    """
    options = options or LightOptions()
    uv_of_vertex = np.zeros(len(model.mean_mm), np.int64)
    uv_of_vertex[model.triangles.ravel()] = model.uv_triangles.ravel()
    used = np.zeros(len(model.mean_mm), bool)
    used[model.triangles.ravel()] = True
    chosen = np.flatnonzero(used & np.isin(model.regions, SKIN))
    cells = np.floor(model.mean_mm[chosen] / SPACING_MM).astype(np.int64)
    chosen = chosen[np.unique(cells, axis=0, return_index=True)[1]]
    uv = model.uv[uv_of_vertex[chosen]]
    colour = sample_uv(unwrapped.texture, uv).astype(np.float64)
    seen = sample_uv(unwrapped.visible.astype(np.float32), uv) > 0.999
    facing = sample_uv(unwrapped.facing, uv)
    good = seen & (facing >= options.least_facing) & (colour.max(1) < options.clipped) & (colour.min(1) > 0)
    normals = vertex_normals(vertices_mm, model.triangles)
    return SkinSamples(chosen[good], colour[good], normals[chosen[good]])


def estimate_light(samples: SkinSamples, model: FaceModel, options: LightOptions | None = None) -> LightEstimate:
    """Light and albedo from `skin_samples`. With too few samples: even light, mean albedo and a warning."""
    options = options or LightOptions()
    if len(samples.vertex) < LEAST_SAMPLES:
        return _nothing_known(samples, model)
    basis = harmonics(samples.normals)
    mean = model.albedo_mean[samples.vertex].astype(np.float64)
    modes = model.albedo_basis[:, samples.vertex].astype(np.float64)
    # Brightness about 1, so that the light's prior has a scale.
    gain = np.median(samples.colour_linear / np.maximum(mean, 0.01), axis=0)
    observed = samples.colour_linear / gain
    problem = _Problem(observed, observed + 0.1 * observed.mean(0), basis, mean, modes, options)
    coefficients, gamma, trust = _robust_fit(problem, samples.normals)
    light = HarmonicLight(coefficients * gain)
    albedo = model.albedo(gamma)
    estimate = LightEstimate(light, gamma, albedo, samples, trust, 0.0)
    albedo = albedo * _deviation(model, estimate, options)
    estimate = replace(estimate, albedo=np.clip(albedo, 0.01, 0.95).astype(np.float32))
    misfit = relative_error(estimate)
    warnings = []
    if misfit > 0.12:
        warnings.append(f"light: the shading explains the face only to {100 * misfit:.0f} %; shape or light is unusual")
    if trust.mean() < 0.35:
        warnings.append("light: most of the face looks like shadow, highlight or something in front; light is a guess")
    return replace(estimate, misfit=misfit, warnings=tuple(warnings))


def relative_error(estimate: LightEstimate) -> float:
    """Mean absolute difference of picture and re-rendering over the trusted samples, over their mean brightness."""
    samples = estimate.samples
    made = estimate.albedo[samples.vertex] * estimate.light.shading(samples.normals)
    weight = estimate.trust[:, None]
    return float((weight * np.abs(samples.colour_linear - made)).sum() / (weight * samples.colour_linear).sum())


def _albedo(mean: np.ndarray, modes: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    return np.maximum(mean + np.tensordot(gamma, modes, 1), 0.01)


def _robust_fit(problem: "_Problem", normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light, gamma and trust: the best of several starts on a third of the samples, then all of them.

    A shadow over one side can pass for light from the other; starts from either side and from the brighter part of the
    face find the light that explains more of it.
    """
    few = problem.part(slice(None, None, 3))
    side, bright = normals[::3, 0], few.observed.mean(1)
    parts = (np.ones(len(side), bool), side > -0.1, side < 0.1, bright > np.quantile(bright, 0.4))
    found = [_anneal(few, part.astype(np.float64), STARTING_STEPS) for part in parts]
    best = min(found, key=lambda fit: _loss(few.error(*fit[:2]), 2 * problem.options.noise))
    error = problem.error(*best[:2])
    return _anneal(
        problem, (error < 4 * max(float(np.median(error)), problem.options.noise)).astype(np.float64), 25, best
    )


def _anneal(
    problem: "_Problem", trust: np.ndarray, steps: int, start: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Re-weighted fit from samples of trust (M,) 0 or 1, at a scale that shrinks; returns light, gamma, trust."""
    coefficients, gamma = np.zeros((9, 3)), np.zeros(len(problem.modes))
    coefficients[0] = 2 * np.sqrt(np.pi)
    if start is not None:
        coefficients, gamma = start[:2]
    part, noise = trust.copy(), problem.options.noise
    for _ in range(5 if start is None else 1):  # light alone: linear, least absolute deviations
        coefficients, gamma = problem.step(coefficients, gamma, trust, noise, fixed_gamma=True)
        trust = part / np.maximum(problem.error(coefficients, gamma) / noise, 1.0)
    coefficients, gamma = problem.step(coefficients, gamma, trust, noise)
    sigma = np.inf
    for _ in range(steps):
        error = problem.error(coefficients, gamma)
        # Half the samples are taken for good ones, so the scale never closes in on a lucky few.
        floor = max(1.5 * noise, 2.0 * float(np.median(error)))
        sigma = max(min(0.75 * sigma, 4 * float(np.median(error))), floor)
        trust = (1 + (error / sigma) ** 2) ** -2
        before = coefficients
        for _ in range(2):
            # Where the model explains less, the data say less and the prior more.
            coefficients, gamma = problem.step(coefficients, gamma, trust, sigma / 1.5)
        if sigma <= floor and np.abs(coefficients - before).max() < 1e-3:
            break
    return coefficients, gamma, trust


def _loss(error: np.ndarray, sigma: float) -> float:
    """Geman and McClure's bounded loss."""
    return float(np.mean(error**2 / (error**2 + sigma**2)))


@dataclass(frozen=True, slots=True)
class _Problem:
    """Residuals and priors of light (9, 3) and gamma (Ka,) for M samples."""

    observed: np.ndarray
    scale: np.ndarray
    """(M, 3): a residual is a share of it."""
    basis: np.ndarray
    mean: np.ndarray
    modes: np.ndarray
    options: LightOptions

    def part(self, chosen: slice) -> "_Problem":
        """The same for some of the samples."""
        return replace(
            self, observed=self.observed[chosen], scale=self.scale[chosen], basis=self.basis[chosen],
            mean=self.mean[chosen], modes=self.modes[:, chosen],
        )  # fmt: skip

    def error(self, coefficients: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """(M,) relative misfit of each sample over the three colours."""
        made = _albedo(self.mean, self.modes, gamma) * (self.basis @ coefficients)
        return np.sqrt(np.mean(((self.observed - made) / self.scale) ** 2, axis=1))

    def _prior(self, coefficients: np.ndarray) -> np.ndarray:
        """(24,) the light's orders over its constant term, in standard deviations: brightness does not matter."""
        constant = np.maximum(coefficients[0], 0.1)
        return (
            (coefficients[1:] / constant - USUAL[:, None]) / (self.options.contrast * COSINE_LOBE[1:, None])
        ).ravel()

    def _prior_slope(self, coefficients: np.ndarray) -> np.ndarray:
        """(24, 27) derivative of `_prior`."""
        constant = np.maximum(coefficients[0], 0.1)
        slope = np.zeros((8, 3, 9, 3))
        for k in range(8):
            for c in range(3):
                scale = self.options.contrast * COSINE_LOBE[k + 1] * constant[c]
                slope[k, c, k + 1, c] = 1 / scale
                slope[k, c, 0, c] = -coefficients[k + 1, c] / (scale * constant[c])
        return slope.reshape(24, 27)

    def step(
        self, coefficients: np.ndarray, gamma: np.ndarray, trust: np.ndarray, noise: float, *, fixed_gamma: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """A Gauss-Newton step at fixed trust, shortened until it helps. noise: relative, of a trusted sample."""
        information = self.options.independent / len(self.observed) / noise**2
        albedo, shading = _albedo(self.mean, self.modes, gamma), self.basis @ coefficients
        weight = np.sqrt(trust * information)
        size = 27 + len(gamma)
        normal, right = np.zeros((size, size)), np.zeros(size)
        for c in range(3):
            factor = weight / self.scale[:, c]
            by_light = (albedo[:, c] * factor)[:, None] * self.basis
            by_gamma = (shading[:, c] * factor * self.modes[:, :, c]).T
            rows = np.concatenate([by_light, by_gamma], axis=1)
            place = np.concatenate([np.arange(9) * 3 + c, np.arange(27, size)])
            normal[np.ix_(place, place)] += rows.T @ rows
            right[place] += rows.T @ (factor * (self.observed[:, c] - albedo[:, c] * shading[:, c]))
        slope = self._prior_slope(coefficients)
        value = np.concatenate([coefficients.ravel(), gamma])
        normal[:27, :27] += slope.T @ slope
        right[:27] -= slope.T @ self._prior(coefficients)
        normal[27:, 27:] += np.eye(len(gamma))
        right[27:] -= gamma
        free = slice(0, 27) if fixed_gamma else slice(0, size)
        move = np.zeros(size)
        move[free] = np.linalg.solve((normal + 1e-9 * np.eye(size))[free, free], right[free])

        def cost(light: np.ndarray, modes: np.ndarray) -> float:
            data = 3 * information * (trust * self.error(light, modes) ** 2).sum()
            return float(data + (self._prior(light) ** 2).sum() + (modes**2).sum())

        start = cost(coefficients, gamma)
        for share in (1.0, 0.5, 0.25, 0.1, 0.03):
            tried = value + share * move
            new_light, new_gamma = tried[:27].reshape(9, 3), np.clip(tried[27:], -4, 4)
            if cost(new_light, new_gamma) <= start:
                return new_light, new_gamma
        return coefficients, gamma


def _deviation(model: FaceModel, estimate: LightEstimate, options: LightOptions) -> np.ndarray:
    """(N, 3) smooth factor on the model's albedo that the trusted samples ask for; 1 far from them."""
    from scipy.spatial import KDTree

    samples = estimate.samples
    made = estimate.albedo[samples.vertex] * estimate.light.shading(samples.normals)
    asked = np.log(np.clip(samples.colour_linear / np.maximum(made, 1e-6), 0.5, 2.0)) * estimate.trust[:, None]
    near, index = KDTree(model.mean_mm[samples.vertex]).query(
        model.mean_mm, k=min(24, len(samples.vertex)), distance_upper_bound=3 * options.detail_mm, workers=1
    )
    kernel = np.where(np.isfinite(near), np.exp(-0.5 * (near / options.detail_mm) ** 2), 0)
    index = np.minimum(index, len(samples.vertex) - 1)
    total = np.einsum("nk,nkc->nc", kernel, asked[index])
    # One kernel's worth of "no deviation" keeps the edge of the seen skin calm.
    return np.exp(total / (1.0 + np.einsum("nk,nk->n", kernel, estimate.trust[index]))[:, None])


def _nothing_known(samples: SkinSamples, model: FaceModel) -> LightEstimate:
    coefficients = np.zeros((9, 3))
    coefficients[0] = 2 * np.sqrt(np.pi)
    if len(samples.vertex):
        coefficients[0] *= np.median(
            samples.colour_linear / np.maximum(model.albedo_mean[samples.vertex], 0.01), axis=0
        )
    warning = f"light: only {len(samples.vertex)} skin samples are seen well, so even light is assumed"
    gamma = np.zeros(len(model.albedo_basis))
    return LightEstimate(
        HarmonicLight(coefficients), gamma, model.albedo(), samples, np.ones(len(samples.vertex)), 0.0, (warning,)
    )
