"""Shading of the fast portraits: one pass over the pixels of a raster, and the light it takes."""

from dataclasses import dataclass

import numba
import numpy as np

from .fast_portrait_skin import BEARD, BLUSH, BROW, LASH, LID, LIP


@dataclass(frozen=True, slots=True)
class Light:
    """Sky, ground and a few distant lamps; linear RGB."""

    sky: np.ndarray
    """(3,) float32 from above (camera frame)."""
    ground: np.ndarray
    """(3,) float32 from below."""
    directions: np.ndarray
    """(L, 3) float32 unit, towards the lamp, model frame; the first one may cast shadows."""
    colours: np.ndarray
    """(L, 3) float32."""
    up: np.ndarray
    """(3,) float32 unit, model frame."""


@dataclass(frozen=True, slots=True)
class Paint:
    """What a person wears in one picture: strengths of the masks and colours."""

    tint: np.ndarray
    """(3,) float32 factor on the skin's albedo."""
    hair: np.ndarray
    """(3,) float32 linear RGB of brows, beard and scalp hair."""
    lip: np.ndarray
    """(3,) float32 factor on the lips."""
    lash: float
    shadow: float
    """How dark lids are."""
    beard: float
    brow: float
    blush: float
    gloss: float
    white: float
    """Factor on the eyeballs: they lie in the shade of lashes and sockets."""


def random_light(rng: np.random.Generator) -> Light:
    """From soft daylight to one hard lamp at the side."""
    ambient = rng.uniform(0.15, 1.0)
    count = int(rng.integers(1, 4))
    side, height = rng.normal(0, 0.7, count), rng.normal(0.35, 0.45, count)
    front = rng.uniform(0.15, 1.2, count)
    axes = np.stack([side, height, front], 1)
    axes[1:, 2] *= np.where(rng.random(count - 1) < 0.25, -1, 1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    power = rng.uniform(0.2, 1.0, count) * (1.6 - ambient)
    power[1:] *= 0.5
    up = np.array([rng.normal(0, 0.2), 1.0, rng.normal(0.2, 0.2)])
    return Light(
        (ambient * _tint(rng)).astype(np.float32),
        (ambient * rng.uniform(0.25, 0.9) * _tint(rng)).astype(np.float32),
        axes.astype(np.float32),
        (power[:, None] * np.stack([_tint(rng) for _ in range(count)])).astype(np.float32),
        (up / np.linalg.norm(up)).astype(np.float32),
    )


def random_paint(rng: np.random.Generator, grey_model: bool) -> Paint:
    """A person's colouring; `grey_model`: the face model has no skin tones of its own, so these vary more."""
    melanin = float(np.clip(rng.normal(0.1, 0.5 if grey_model else 0.3), -0.45, 1.4))
    tint = np.exp(-melanin * np.array([0.62, 1.0, 1.55]) + rng.normal(0, [0.04, 0.03, 0.05]))
    tone = rng.beta(1.0, 1.8) * (melanin < 0.5)
    dark, blond = np.array([0.016, 0.011, 0.008]), np.array([0.30, 0.19, 0.09])
    hair = dark * (blond / dark) ** (tone**1.3)
    if rng.random() < 0.12:
        hair = np.full(3, rng.uniform(0.1, 0.5))  # grey hair
    if rng.random() < 0.08:
        hair = np.array([0.18, 0.06, 0.02])  # red hair
    made_up = rng.random() < 0.35
    lip = (
        np.array([1.0, rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.85)])
        if made_up
        else np.array([1.0, rng.uniform(0.75, 1.05), rng.uniform(0.75, 1.05)])
    )
    return Paint(
        tint=tint.astype(np.float32),
        hair=hair.astype(np.float32),
        lip=(lip * rng.uniform(0.7, 1.05)).astype(np.float32),
        lash=float(rng.uniform(0.5, 1.0) if made_up else rng.uniform(0.15, 0.8)),
        shadow=float(rng.uniform(0, 0.6) if made_up else rng.uniform(0, 0.25)),
        beard=float(rng.uniform(0.2, 0.95)) if not made_up and rng.random() < 0.35 else 0.0,
        brow=float(rng.uniform(0.1, 0.95)),
        blush=float(rng.uniform(0, 0.2)),
        gloss=float(rng.uniform(0.05, 0.6)),
        white=float(rng.uniform(0.35, 0.85)),
    )


def _tint(rng: np.random.Generator) -> np.ndarray:
    warm = rng.normal(0, 0.08)
    return np.array([1 + warm, 1.0, 1 - warm]) * rng.normal(1, 0.03, 3)


def shade(
    triangle: np.ndarray,
    barycentric: np.ndarray,
    triangles: np.ndarray,
    corner_uv: np.ndarray,
    skin_uv: np.ndarray,
    attributes: np.ndarray,
    colour: np.ndarray,
    albedo: np.ndarray,
    masks: np.ndarray,
    strands: np.ndarray,
    light: Light,
    paint: Paint,
    view: np.ndarray,
    out: np.ndarray,
    hair_out: np.ndarray,
) -> None:
    """Shade every covered pixel into `out` (H, W, 3) float32 linear; how much is hair into `hair_out` (H, W).

    attributes: (V, 7) float32: normal, occlusion, gloss, hair, light of the first lamp (0 in its shadow).
    view: (3,) unit vector from the face to the camera, model frame.
    """
    strengths = np.array([paint.lash, paint.shadow, paint.beard, paint.brow, paint.blush, paint.gloss,
                          paint.white], np.float32)  # fmt: skip
    _shade(
        triangle, barycentric, triangles, corner_uv, skin_uv, attributes, colour, albedo, masks, strands, light.sky,
        light.ground, light.directions, light.colours, light.up, paint.tint, paint.hair, paint.lip, strengths,
        view.astype(np.float32), out, hair_out,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade(triangle, barycentric, triangles, corner_uv, skin_uv, attributes, colour, albedo, masks, strands, sky,
           ground, directions, lamps, up, tint, hair, lip, strengths, view, out, hair_out):  # fmt: skip
    height, width = triangle.shape
    size = albedo.shape[0]
    lamp_count = len(directions)
    a = np.empty(7, np.float32)
    base = np.empty(3, np.float32)
    m = np.empty(6, np.float32)
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            w1, w2 = barycentric[row, column, 0], barycentric[row, column, 1]
            w0 = np.float32(1.0) - w1 - w2
            for c in range(7):
                a[c] = w0 * attributes[i, c] + w1 * attributes[j, c] + w2 * attributes[k, c]
            length = np.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]) + np.float32(1e-6)
            nx, ny, nz = a[0] / length, a[1] / length, a[2] / length
            if skin_uv[t]:
                u = w0 * corner_uv[t, 0, 0] + w1 * corner_uv[t, 1, 0] + w2 * corner_uv[t, 2, 0]
                v = w0 * corner_uv[t, 0, 1] + w1 * corner_uv[t, 1, 1] + w2 * corner_uv[t, 2, 1]
                x = min(max(u * size - np.float32(0.5), np.float32(0.0)), np.float32(size - 1.001))
                y = min(max((np.float32(1.0) - v) * size - np.float32(0.5), np.float32(0.0)), np.float32(size - 1.001))
                x0, y0 = int(x), int(y)
                fx, fy = x - x0, y - y0
                q00, q01, q10, q11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
                for c in range(3):
                    base[c] = (q00 * albedo[y0, x0, c] + q01 * albedo[y0, x0 + 1, c] + q10 * albedo[y0 + 1, x0, c]
                               + q11 * albedo[y0 + 1, x0 + 1, c])  # fmt: skip
                for c in range(6):
                    m[c] = (q00 * masks[y0, x0, c] + q01 * masks[y0, x0 + 1, c] + q10 * masks[y0 + 1, x0, c]
                            + q11 * masks[y0 + 1, x0 + 1, c])  # fmt: skip
                fine = np.float32(0.75) + np.float32(0.5) * strands[row & 255, (column * 3) & 255]
                coarse = np.float32(0.75) + np.float32(0.5) * strands[row & 255, column & 255]
                skin = np.float32(1.0) if a[4] < 0.75 else np.float32(0.0)  # eyeballs keep their white
                white = np.float32(1.0) if skin > 0 else strengths[6]
                dark = (1 - strengths[0] * m[LASH]) * (1 - strengths[1] * m[LID] * skin)
                covered = min(np.float32(1.0), strengths[2] * m[BEARD] * fine + strengths[3] * m[BROW] * fine)
                grown = min(np.float32(1.0), max(np.float32(0.0), a[5]))
                hair_out[row, column] = grown
                for c in range(3):
                    if skin > 0:
                        base[c] *= tint[c] * (1 + m[LIP] * (lip[c] - 1))
                    base[c] += covered * (hair[c] - base[c])
                    base[c] += grown * (hair[c] * coarse * coarse * np.float32(1.6) - base[c])
                    base[c] *= dark * white
                base[1] *= 1 - strengths[4] * m[BLUSH] * skin
                base[2] *= 1 - strengths[4] * m[BLUSH] * skin
            else:
                grown = np.float32(0.0)
                for c in range(3):
                    base[c] = w0 * colour[i, c] + w1 * colour[j, c] + w2 * colour[k, c]
            tilt = np.float32(0.5) + np.float32(0.5) * (nx * up[0] + ny * up[1] + nz * up[2])
            r = a[3] * (ground[0] + tilt * (sky[0] - ground[0]))
            g = a[3] * (ground[1] + tilt * (sky[1] - ground[1]))
            b = a[3] * (ground[2] + tilt * (sky[2] - ground[2]))
            spec_r, spec_g, spec_b = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for lamp in range(lamp_count):
                dx, dy, dz = directions[lamp, 0], directions[lamp, 1], directions[lamp, 2]
                cosine = nx * dx + ny * dy + nz * dz
                lit = a[6] if lamp == 0 else np.float32(0.3) + np.float32(0.7) * a[3]
                # Skin scatters light around the terminator.
                soft = max(np.float32(0.0), (cosine + np.float32(0.12)) / np.float32(1.12)) * lit
                r += lamps[lamp, 0] * max(np.float32(0.0), (cosine + np.float32(0.22)) / np.float32(1.22)) * lit
                g += lamps[lamp, 1] * soft
                b += lamps[lamp, 2] * soft
                hx, hy, hz = dx + view[0], dy + view[1], dz + view[2]
                half = np.sqrt(hx * hx + hy * hy + hz * hz) + np.float32(1e-6)
                shine = (nx * hx + ny * hy + nz * hz) / half
                if shine > 0.5 and cosine > 0:
                    peak = shine**4
                    peak *= peak
                    peak *= peak  # exponent 16; 64 on wet surfaces
                    if a[4] > 0.75:
                        peak *= peak
                        peak *= peak
                    s = strengths[5] * a[4] * lit * peak * np.float32(0.5)
                    if grown > 0.3:
                        s *= np.float32(0.4)
                    spec_r += s * lamps[lamp, 0]
                    spec_g += s * lamps[lamp, 1]
                    spec_b += s * lamps[lamp, 2]
            out[row, column, 0] = base[0] * r + spec_r
            out[row, column, 1] = base[1] * g + spec_g
            out[row, column, 2] = base[2] * b + spec_b


def quick_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) float32 vertex normals, weighted by area."""
    out = np.zeros((len(vertices), 3), np.float32)
    _add_normals(np.ascontiguousarray(vertices, np.float32), triangles, out)
    return out


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_normals(vertices, triangles, out):
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        bx, by, bz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += x
            out[v, 1] += y
            out[v, 2] += z
    for v in range(len(out)):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + np.float32(1e-9)
        for c in range(3):
            out[v, c] /= length
