"""Report of a fitted proxy: landmarks and outline over the photograph, what was measured, light, maps."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..capture.files import write_text
from ..reconstruct.harmonic_light import NAMES
from ..reconstruct.landmarks import Landmarks
from ..reconstruct.photo import encoded_srgb
from ..reconstruct.proxy_fit import Proxy
from ..reconstruct.proxy_maps import ProxyMaps
from . import html
from .proxy_pictures import View, clay, light_ball, photo_picture, relit, textured

MAP_PX = 420
STRONGEST = 8
"""Expression components that are listed."""


def write_proxy_report(
    folder: Path,
    name: str,
    view: View,
    overlay: np.ndarray,
    proxy: Proxy,
    landmarks: Landmarks,
    maps: ProxyMaps,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
) -> Path:
    """Write folder/report.html; `facts`: rows about the picture that come first."""
    light = maps.light
    parts = [
        html.table([*([left, right] for left, right in facts), *_rows(proxy, landmarks, maps)]),
        html.heading("Warnings") + html.table([[text] for text in warnings or ("none",)]),
        html.heading(
            "Fit",
            "Green: landmarks as given; red: ones that contradict the rest and were left out; cyan: outline and "
            "features of the fitted proxy. They should lie on the face's own lines.",
        ),
        html.gallery([("landmarks and proxy", overlay), ("shape", clay(view, proxy))], 520),
        html.heading(
            "Texture, light and albedo",
            "Light: second-order harmonics; albedo: the face model's, with smooth deviations where skin was seen. Both "
            "from sparse vertices by our own method (the paper's is not public). The re-rendering is their product "
            "(Eq. 14): highlights, cast shadow, hair and wrinkles are not in it.",
        ),
        html.gallery(
            [
                ("photograph", photo_picture(view)),
                ("proxy with its texture", textured(view, proxy, maps)),
                ("re-rendered, albedo x shading", relit(view, proxy, maps)),
            ],
            360,
        ),
        html.gallery([("a white ball in this light", light_ball(maps, proxy))], 200),
        html.table([[f"{value:+.3f}" for value in row] for row in light.light.coefficients.T], NAMES),
        html.heading("Maps", "In the texture layout of the face model; dark where the camera saw nothing."),
        html.gallery(_maps(maps), 300),
    ]
    path = folder / "report.html"
    write_text(path, html.page(f"Proxy of {name}", parts))
    return path


def _rows(proxy: Proxy, landmarks: Landmarks, maps: ProxyMaps) -> list[list[str]]:
    used = np.isfinite(proxy.residuals_px)
    rms = float(np.sqrt(np.mean(proxy.residuals_px[used] ** 2))) if used.any() else float("nan")
    scale = proxy.view_camera.scale_px_per_mm
    yaw, pitch, roll = proxy.pose_deg
    light = maps.light
    seen = maps.texture.visible & maps.valid
    return [
        ["face model", proxy.model.name],
        ["landmarks", f"{int(landmarks.known.sum())} of 68, from {landmarks.source}"],
        ["face", f"{landmarks.size_px:.0f} px across the landmarks, {1 / scale:.2f} mm per px"],
        ["yaw, pitch, roll", f"{yaw:+.1f}, {pitch:+.1f}, {roll:+.1f} degrees"],
        ["landmarks off by", f"{rms:.2f} px rms, {rms / scale:.2f} mm"],
        ["confidence of the fit", f"{proxy.confidence:.2f}"],
        ["strongest expression", _expression(proxy)],
        ["charts seen", f"{100 * seen.sum() / max(int(maps.valid.sum()), 1):.0f} %"],
        ["brightest from", _direction(light.light.main_direction)],
        [
            "light explains the skin to",
            f"{100 * light.misfit:.1f} % of its brightness ({100 * float(light.trust.mean()):.0f} % of "
            f"{len(light.trust)} samples trusted)"
            if light.misfit
            else "not estimated",
        ],
    ]


def _expression(proxy: Proxy) -> str:
    order = np.argsort(-np.abs(proxy.beta))[:STRONGEST]
    names = [
        f"{proxy.model.expression_names[k].replace('_', ' ')} {proxy.beta[k]:.2f}"
        for k in order
        if abs(proxy.beta[k]) >= 0.05
    ]
    return ", ".join(names) or "neutral"


def _direction(direction: np.ndarray) -> str:
    """In words, as the subject would say it."""
    x, y, z = direction.tolist()
    words = [
        word
        for value, word in ((y, "above"), (-y, "below"), (x, "the subject's left"), (-x, "the subject's right"))
        if value > 0.25
    ]
    if abs(z) > 0.25:
        words.insert(0, "the front" if z > 0 else "behind")
    return " and ".join(words) or "all sides"


def _maps(maps: ProxyMaps) -> list[tuple[str, np.ndarray]]:
    seen = maps.texture
    position, normal = _small(maps.position_mm), _small(maps.normal)
    inside = np.abs(normal).max(2) > 0.1
    low, high = position[inside].min(0), position[inside].max(0)
    visible, facing = _small(seen.visible.astype(np.float32)), _small(np.clip(seen.facing, 0, 1))
    pictures = [
        ("texture, where seen", _small(seen.texture)),
        ("texture.png, unseen filled smoothly", _small(maps.filled)),
        ("visible", np.repeat(visible[..., None], 3, 2)),
        ("facing: cosine to the view", np.repeat(facing[..., None], 3, 2)),
        ("position: x red, y green, z blue", (position - low) / (high - low) * inside[..., None]),
        ("normal", (normal + 1) / 2 * inside[..., None]),
        ("albedo", encoded_srgb(_small(maps.albedo))),
    ]
    return [(text, np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)) for text, picture in pictures]


def _small(values: np.ndarray) -> np.ndarray:
    side = min(MAP_PX, len(values))
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA)
