"""Compiled per-pixel photometric stereo: robust weighted 3 x 3 solves over a strip of rows.

Per pixel, with point x from the depth and light i at x_i: I_i = albedo * E_i(x) * T(n.l_i) * n.l_i * (T(n.v) * coat).
Given T at the current normal this is linear in b = albedo * n. Weights follow from noise, from what is clipped or dark,
and from the residuals: light that is missing (a cast shadow) is distrusted more than light that is too much.
"""

import math

import numba
import numpy as np

TABLE = 1024
"""Entries of the transmission over the cosine 0..1."""
LEAST_COSINE = 0.05
"""n.l below which a light does not count; its weight rises from there to 2 x as much."""
ITERATIONS = 8
SETTLED = 1e-7
"""1 - cosine of a normal's last change below which it is kept."""
MODEL_ERROR = 0.012
"""Relative error of the model itself (interreflection, calibration) beside the noise of a pixel."""
TOO_DARK, TOO_BRIGHT = 2.5, 4.0
"""Residuals in standard deviations at which a light's weight has fallen to a quarter."""

_FAST = {"contract", "nsz", "arcp"}


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _solve3(a, b, ridge):
    """Solution of the symmetric system a x = b; a = (xx, xy, xz, yy, yz, zz). Returns x, y, z, determinant."""
    xx, xy, xz, yy, yz, zz = a[0] + ridge, a[1], a[2], a[3] + ridge, a[4], a[5] + ridge
    c0 = yy * zz - yz * yz
    c1 = xz * yz - xy * zz
    c2 = xy * yz - xz * yy
    det = xx * c0 + xy * c1 + xz * c2
    if det <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    c3 = xx * zz - xz * xz
    c4 = xy * xz - xx * yz
    c5 = xx * yy - xy * xy
    inverse = 1.0 / det
    return (
        (c0 * b[0] + c1 * b[1] + c2 * b[2]) * inverse,
        (c1 * b[0] + c3 * b[1] + c4 * b[2]) * inverse,
        (c2 * b[0] + c4 * b[1] + c5 * b[2]) * inverse,
        det,
    )


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _lookup(table, cosine):
    at = min(max(cosine, 0.0), 1.0) * (TABLE - 1)
    k = min(int(at), TABLE - 2)
    f = at - k
    return table[k] * (1.0 - f) + table[k + 1] * f


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def solve_strip(
    images, usable, depth, start, columns, rows, position, axis, exponent, intensity, table, mix, shot, read2,
    normal, normal_rgb, albedo, residual, confidence, used,
):  # fmt: skip
    """One strip of rows.

    images (L, h, W, 3) float32 diffuse light; usable (L, h, W) uint8, 255 full weight; depth (h, W) mm, NaN outside;
    start (h, W, 3) first normal; columns (W,), rows (h,): x/z, y/z of the pixels; position, axis (L, 3), exponent (L,),
    intensity (L, 3): LightModel; table: transmission; mix (3,): channels of the combined normal; variance of a pixel =
    shot * value + read2. Outputs: normal (h, W, 3), normal_rgb (h, W, 3 channels, 3) or (0, ...), albedo (h, W, 3),
    residual (h, W) relative rms, confidence (h, W) 0..1, used (h, W) uint16 lights of at least half weight.
    """
    lights, height, width = images.shape[0], images.shape[1], images.shape[2]
    per_channel = normal_rgb.shape[0] > 0
    lx, ly, lz = np.empty(lights), np.empty(lights), np.empty(lights)
    e, y, noise2, given, w, t = (
        np.empty(lights), np.empty(lights), np.empty(lights), np.empty(lights), np.empty(lights), np.empty(lights),
    )  # fmt: skip
    a, b = np.empty(6), np.empty(3)
    phi = np.empty(lights)
    for i in range(lights):
        phi[i] = mix[0] * intensity[i, 0] + mix[1] * intensity[i, 1] + mix[2] * intensity[i, 2]
    for row in range(height):
        for col in range(width):
            z = depth[row, col]
            if not (z > 0.0):
                continue
            px, py = columns[col] * z, rows[row] * z
            far = math.sqrt(columns[col] * columns[col] + rows[row] * rows[row] + 1.0)
            vx, vy, vz = -columns[col] / far, -rows[row] / far, -1.0 / far
            brightest = 0.0
            for i in range(lights):
                dx, dy, dz = position[i, 0] - px, position[i, 1] - py, position[i, 2] - z
                inv = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                lx[i], ly[i], lz[i] = dx * inv, dy * inv, dz * inv
                cosine = -(lx[i] * axis[i, 0] + ly[i] * axis[i, 1] + lz[i] * axis[i, 2])
                power = exponent[i]
                if cosine <= 0.0:
                    e[i] = 0.0
                elif power == 1.0:
                    e[i] = cosine * inv * inv
                else:
                    e[i] = math.pow(cosine, power) * inv * inv
                total = 0.0
                variance = 0.0
                for c in range(3):
                    value = images[i, row, col, c]
                    total += mix[c] * value
                    variance += mix[c] * mix[c] * (shot * max(value, 0.0) + read2)
                given[i] = usable[i, row, col] / 255.0 if e[i] > 0.0 and math.isfinite(total) else 0.0
                scale = 1.0 / (phi[i] * e[i]) if given[i] > 0.0 else 0.0
                y[i] = total * scale if given[i] > 0.0 else 0.0
                noise2[i] = variance * scale * scale
                brightest = max(brightest, y[i])
            if brightest <= 0.0:
                continue
            nx, ny, nz = start[row, col, 0], start[row, col, 1], start[row, col, 2]
            started = nx * nx + ny * ny + nz * nz > 0.5
            if not started:
                nx, ny, nz = vx, vy, vz
            length, det, weight_sum = 0.0, 0.0, 0.0
            for step in range(ITERATIONS):
                for k in range(6):
                    a[k] = 0.0
                for k in range(3):
                    b[k] = 0.0
                weight_sum = 0.0
                for i in range(lights):
                    w[i] = 0.0
                    if given[i] <= 0.0:
                        continue
                    cosine = nx * lx[i] + ny * ly[i] + nz * lz[i]
                    t[i] = _lookup(table, max(cosine, LEAST_COSINE))
                    trust = given[i]
                    if step > 0 or started:
                        gate = min(max(cosine / LEAST_COSINE - 1.0, 0.0), 1.0)
                        trust *= gate
                    if trust <= 0.0:
                        continue
                    expected = length * cosine * t[i] if step > 0 else 0.5 * brightest
                    # in early rounds the model error is larger, so that no good light is thrown away
                    relative = MODEL_ERROR * (1.0 + 6.0 / (1.0 + step * step))
                    sigma2 = noise2[i] + relative * relative * (expected * expected + 0.01 * brightest * brightest)
                    if step > 0:
                        r = y[i] - expected
                        limit = TOO_BRIGHT if r > 0.0 else TOO_DARK
                        u = r * r / (sigma2 * limit * limit)
                        trust /= (1.0 + u) * (1.0 + u)
                    elif y[i] < 0.08 * brightest:
                        trust *= 0.01
                    w[i] = trust
                    k = trust / sigma2
                    tt = t[i] * t[i] * k
                    a[0] += tt * lx[i] * lx[i]
                    a[1] += tt * lx[i] * ly[i]
                    a[2] += tt * lx[i] * lz[i]
                    a[3] += tt * ly[i] * ly[i]
                    a[4] += tt * ly[i] * lz[i]
                    a[5] += tt * lz[i] * lz[i]
                    ty = t[i] * y[i] * k
                    b[0] += ty * lx[i]
                    b[1] += ty * ly[i]
                    b[2] += ty * lz[i]
                    weight_sum += trust
                if weight_sum < 1e-3:
                    length = 0.0
                    break
                x0, x1, x2, det = _solve3(a, b, 1e-7 * (a[0] + a[3] + a[5]))
                length = math.sqrt(x0 * x0 + x1 * x1 + x2 * x2)
                if length <= 0.0 or det <= 0.0:
                    length = 0.0
                    break
                moved = nx * x0 + ny * x1 + nz * x2
                nx, ny, nz = x0 / length, x1 / length, x2 / length
                if step >= 4 and moved > (1.0 - SETTLED) * length:
                    break
            count = 0
            for i in range(lights):
                if w[i] >= 0.5:
                    count += 1
            facing = nx * vx + ny * vy + nz * vz
            if length <= 0.0 or facing <= 0.0 or weight_sum < 2.0:
                continue
            normal[row, col, 0], normal[row, col, 1], normal[row, col, 2] = nx, ny, nz
            used[row, col] = count
            squares, values, squares_expected = 0.0, 0.0, 0.0
            for i in range(lights):
                if w[i] > 0.0:
                    expected = length * t[i] * (nx * lx[i] + ny * ly[i] + nz * lz[i])
                    squares += w[i] * (y[i] - expected) * (y[i] - expected)
                    squares_expected += w[i] * (noise2[i] + MODEL_ERROR * MODEL_ERROR * expected * expected)
                    values += w[i]
            residual[row, col] = math.sqrt(squares / values) / length
            # enough lights, spread in direction, that agree within the noise
            free = max(weight_sum - 2.0, 0.0)
            agree = 1.0 / (1.0 + squares / (4.0 * squares_expected))
            confidence[row, col] = agree * free / (free + 1.5) * min(1.0, facing / 0.3)
            out = _lookup(table, facing)
            for c in range(3):
                for k in range(6):
                    a[k] = 0.0
                for k in range(3):
                    b[k] = 0.0
                top, bottom = 0.0, 0.0
                for i in range(lights):
                    if w[i] <= 0.0:
                        continue
                    scale = 1.0 / (intensity[i, c] * e[i])
                    value = images[i, row, col, c] * scale
                    shade = t[i] * max(nx * lx[i] + ny * ly[i] + nz * lz[i], 0.0)
                    variance = shot * max(images[i, row, col, c], 0.0) + read2
                    level = shade * length
                    k = w[i] / (variance * scale * scale + MODEL_ERROR * MODEL_ERROR * level * level)
                    top += k * shade * value
                    bottom += k * shade * shade
                    if per_channel:
                        tt = t[i] * t[i] * k
                        a[0] += tt * lx[i] * lx[i]
                        a[1] += tt * lx[i] * ly[i]
                        a[2] += tt * lx[i] * lz[i]
                        a[3] += tt * ly[i] * ly[i]
                        a[4] += tt * ly[i] * lz[i]
                        a[5] += tt * lz[i] * lz[i]
                        ty = t[i] * value * k
                        b[0] += ty * lx[i]
                        b[1] += ty * ly[i]
                        b[2] += ty * lz[i]
                albedo[row, col, c] = top / (bottom * out) if bottom > 0.0 and out > 0.0 else 0.0
                if per_channel:
                    x0, x1, x2, _ = _solve3(a, b, 1e-7 * (a[0] + a[3] + a[5]))
                    size = math.sqrt(x0 * x0 + x1 * x1 + x2 * x2)
                    if size > 0.0:
                        normal_rgb[row, col, c, 0] = x0 / size
                        normal_rgb[row, col, c, 1] = x1 / size
                        normal_rgb[row, col, c, 2] = x2 / size
