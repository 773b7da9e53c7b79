"""Compiled per-pixel fit of a microfacet lobe to the gloss under each light (GGX distribution, Smith shadowing)."""

import math

import numba
import numpy as np

STEPS = 8
PRIOR_DEG, PRIOR_LOG = 6.0, 0.7
"""Standard deviations of the start: direction of the normal, logarithms of roughness and intensity."""
LEAST_ALPHA, MOST_ALPHA = 0.02, 0.8


@numba.njit(cache=True, nogil=True)
def _fresnel(cosine, index):
    if index <= 1.0:
        index = 1.4
    ct = math.sqrt(1.0 - (1.0 - cosine * cosine) / (index * index))
    s = (cosine - index * ct) / (cosine + index * ct)
    p = (ct - index * cosine) / (ct + index * cosine)
    return 0.5 * (s * s + p * p)


@numba.njit(cache=True, nogil=True)
def lobe(noh, nol, nov, alpha):
    """Gloss over irradiance x Fresnel reflectance x intensity: pi D G / (4 n.v); 0 where light or view is behind."""
    if noh <= 0.0 or nol <= 0.0 or nov <= 0.0:
        return 0.0
    a2 = alpha * alpha
    d = noh * noh * (a2 - 1.0) + 1.0
    shadow_l = 2.0 * nol / (nol + math.sqrt(a2 + (1.0 - a2) * nol * nol))
    shadow_v = 2.0 * nov / (nov + math.sqrt(a2 + (1.0 - a2) * nov * nov))
    return a2 / (d * d) * shadow_l * shadow_v / (4.0 * nov)


@numba.njit(cache=True, nogil=True)
def _predict(n, to_light, h, v, f, lit, lights, alpha, k, out):
    nov = n[0] * v[0] + n[1] * v[1] + n[2] * v[2]
    for i in range(lights):
        if lit[i] <= 0.0:
            out[i] = 0.0
            continue
        noh = n[0] * h[i, 0] + n[1] * h[i, 1] + n[2] * h[i, 2]
        nol = n[0] * to_light[i, 0] + n[1] * to_light[i, 1] + n[2] * to_light[i, 2]
        out[i] = k * f[i] * lobe(noh, nol, nov, alpha)


@numba.njit(cache=True, nogil=True)
def _tilted(n0, t1, t2, a, b, n):
    for k in range(3):
        n[k] = n0[k] + a * t1[k] + b * t2[k]
    length = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
    for k in range(3):
        n[k] /= length


@numba.njit(cache=True, nogil=True)
def fit_strip(
    gloss, noise, usable, depth, start, columns, rows, position, axis, exponent, intensity, index, alpha0,
    normal, roughness, strength, confidence,
):  # fmt: skip
    """One strip. gloss (L, h, W) float32 mean of the channels, noise (h, W) its standard deviation; start (h, W, 3)
    normals; the rest as in photometric_kernel. Outputs normal (h, W, 3), roughness = sqrt(alpha), strength, confidence
    (h, W)."""
    lights, height, width = gloss.shape
    to_light, h = np.zeros((lights, 3)), np.zeros((lights, 3))
    f, y, sigma, lit = np.zeros(lights), np.zeros(lights), np.zeros(lights), np.zeros(lights)
    base, moved = np.zeros(lights), np.zeros(lights)
    n0, n, t1, t2, v = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    jacobian = np.zeros((lights, 4))
    x, trial, step = np.zeros(4), np.zeros(4), np.zeros(4)
    a, b = np.zeros((4, 4)), np.zeros(4)
    prior = np.array([1.0 / math.radians(PRIOR_DEG) ** 2, 1.0 / math.radians(PRIOR_DEG) ** 2, 0.0, 0.0])
    prior[2] = prior[3] = 1.0 / PRIOR_LOG**2
    for row in range(height):
        for col in range(width):
            z = depth[row, col]
            for k in range(3):
                n0[k] = start[row, col, k]
            if not (z > 0.0) or not (n0[0] * n0[0] + n0[1] * n0[1] + n0[2] * n0[2] > 0.5):
                continue
            far = math.sqrt(columns[col] * columns[col] + rows[row] * rows[row] + 1.0)
            v[0], v[1], v[2] = -columns[col] / far, -rows[row] / far, -1.0 / far
            for i in range(lights):
                lit[i] = 0.0
                inverse2 = 0.0
                for k in range(3):
                    at = columns[col] * z if k == 0 else (rows[row] * z if k == 1 else z)
                    to_light[i, k] = position[i, k] - at
                    inverse2 += to_light[i, k] * to_light[i, k]
                distance = math.sqrt(inverse2)
                cosine, size = 0.0, 0.0
                for k in range(3):
                    to_light[i, k] /= distance
                    cosine -= to_light[i, k] * axis[i, k]
                    h[i, k] = to_light[i, k] + v[k]
                    size += h[i, k] * h[i, k]
                size = math.sqrt(size)
                voh = 0.0
                for k in range(3):
                    h[i, k] /= size
                    voh += h[i, k] * v[k]
                nol = n0[0] * to_light[i, 0] + n0[1] * to_light[i, 1] + n0[2] * to_light[i, 2]
                if cosine <= 0.0 or usable[i, row, col] == 0 or nol < 0.1:
                    continue
                phi = (intensity[i, 0] + intensity[i, 1] + intensity[i, 2]) / 3.0
                scale = inverse2 / (phi * math.pow(cosine, exponent[i]))
                f[i] = _fresnel(voh, index)
                y[i] = gloss[i, row, col] * scale
                # noise of the pixel, and 5 % of the model
                sigma[i] = math.sqrt((noise[row, col] * scale) ** 2 + (0.05 * y[i]) ** 2)
                lit[i] = 1.0
            # two directions at right angles to the start
            if abs(n0[2]) > 0.5:
                t1[0], t1[1], t1[2] = n0[2], 0.0, -n0[0]
            else:
                t1[0], t1[1], t1[2] = -n0[1], n0[0], 0.0
            length = math.sqrt(t1[0] * t1[0] + t1[1] * t1[1] + t1[2] * t1[2])
            for k in range(3):
                t1[k] /= length
            t2[0] = n0[1] * t1[2] - n0[2] * t1[1]
            t2[1] = n0[2] * t1[0] - n0[0] * t1[2]
            t2[2] = n0[0] * t1[1] - n0[1] * t1[0]
            x[0], x[1], x[2], x[3] = 0.0, 0.0, math.log(alpha0), 0.0
            damping = 1e-2
            cost = -1.0
            for _ in range(STEPS):
                _tilted(n0, t1, t2, x[0], x[1], n)
                _predict(n, to_light, h, v, f, lit, lights, math.exp(x[2]), math.exp(x[3]), base)
                now = prior[0] * (x[0] ** 2 + x[1] ** 2) + prior[2] * ((x[2] - math.log(alpha0)) ** 2 + x[3] ** 2)
                for i in range(lights):
                    if lit[i] > 0.0:
                        now += ((base[i] - y[i]) / sigma[i]) ** 2
                cost = now
                for k in range(4):
                    delta = 1e-3
                    for m in range(4):
                        trial[m] = x[m]
                    trial[k] += delta
                    _tilted(n0, t1, t2, trial[0], trial[1], n)
                    _predict(n, to_light, h, v, f, lit, lights, math.exp(trial[2]), math.exp(trial[3]), moved)
                    for i in range(lights):
                        jacobian[i, k] = (moved[i] - base[i]) / delta / sigma[i] if lit[i] > 0.0 else 0.0
                for p in range(4):
                    target = math.log(alpha0) if p == 2 else 0.0
                    b[p] = -prior[p] * (x[p] - target)
                    for q in range(4):
                        a[p, q] = prior[p] if p == q else 0.0
                        for i in range(lights):
                            a[p, q] += jacobian[i, p] * jacobian[i, q]
                    for i in range(lights):
                        if lit[i] > 0.0:
                            b[p] -= jacobian[i, p] * (base[i] - y[i]) / sigma[i]
                for p in range(4):
                    a[p, p] *= 1.0 + damping
                step[:] = np.linalg.solve(a, b)
                for p in range(4):
                    trial[p] = x[p] + step[p]
                trial[2] = min(max(trial[2], math.log(LEAST_ALPHA)), math.log(MOST_ALPHA))
                _tilted(n0, t1, t2, trial[0], trial[1], n)
                _predict(n, to_light, h, v, f, lit, lights, math.exp(trial[2]), math.exp(trial[3]), moved)
                after = prior[0] * (trial[0] ** 2 + trial[1] ** 2)
                after += prior[2] * ((trial[2] - math.log(alpha0)) ** 2 + trial[3] ** 2)
                for i in range(lights):
                    if lit[i] > 0.0:
                        after += ((moved[i] - y[i]) / sigma[i]) ** 2
                if after < cost:
                    x[:] = trial
                    damping *= 0.3
                    if cost - after < 1e-3 * cost:
                        break
                else:
                    damping *= 10.0
            _tilted(n0, t1, t2, x[0], x[1], n)
            # how much more the data say about the direction than the start did; times how well the lobe fits
            told = min(a[0, 0], a[1, 1]) / prior[0] - 1.0
            count = 0.0
            for i in range(lights):
                count += lit[i]
            fit = 1.0 / (1.0 + max(cost, 0.0) / max(3.0 * count, 1.0))
            for k in range(3):
                normal[row, col, k] = n[k]
            roughness[row, col] = math.sqrt(math.exp(x[2]))
            strength[row, col] = math.exp(x[3])
            confidence[row, col] = fit * told / (told + 10.0) if told > 0.0 else 0.0
