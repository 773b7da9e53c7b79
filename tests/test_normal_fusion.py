"""Fusion of normals by wavelength, de-blurring of scattering, and the specular lobe."""

import numpy as np
import pytest
from photometric_scenes import angles_deg, sphere

from mesoface.capture.errors import UserError
from mesoface.reconstruct.light_model import transmission
from mesoface.reconstruct.normal_fusion import fuse_normals
from mesoface.reconstruct.photometric_stereo import ImageStack, NoiseModel, PhotometricMaps
from mesoface.reconstruct.scatter_model import profile_gain
from mesoface.reconstruct.specular_lobe import fit_lobes

PIXEL_MM = 0.3


def blurred_normals(scale: float, noise: float = 0.01, size: int = 256) -> tuple[PhotometricMaps, np.ndarray]:
    """Maps whose channels were blurred by the skin profile, stretched by `scale`; and the true normals."""
    rng = np.random.default_rng(3)
    f = np.hypot(np.fft.fftfreq(size, PIXEL_MM)[:, None], np.fft.rfftfreq(size, PIXEL_MM)[None])
    # a relief with the spectrum of skin: power falls with frequency
    slopes = np.fft.rfft2(rng.normal(0, 1, (2, size, size))) / (1 + (f / 0.3) ** 2) ** 0.75
    fields = np.fft.irfft2(slopes, (size, size))
    fields *= 0.15 / fields.std()
    gains = profile_gain(f, scale)

    def normals(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        made = np.stack([x, y, -np.ones_like(x)], axis=2)
        return (made / np.linalg.norm(made, axis=2, keepdims=True)).astype(np.float32)

    truth = normals(*fields)
    channels = []
    for c in range(3):
        x, y = (np.fft.irfft2(np.fft.rfft2(field) * gains[c], (size, size)) for field in fields)
        channels.append(normals(x + rng.normal(0, noise, x.shape), y + rng.normal(0, noise * (1 + c), y.shape)))
    combined = (channels[1] + channels[2]) / 2
    combined /= np.linalg.norm(combined, axis=2, keepdims=True)
    flat = np.ones((size, size), np.float32)
    solved = np.ones((size, size), bool)
    solved[:, :3] = False
    combined[~solved] = np.nan
    maps = PhotometricMaps(
        combined, np.stack(channels), np.repeat(flat[..., None], 3, 2), flat, flat, flat.astype(np.uint8), solved
    )
    return maps, truth


def gain(normal: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Height of the detail over the truth's, and their correlation."""
    inner = np.s_[20:-20, 20:-20, :2]
    a, b = (x[inner] - x[inner].mean((0, 1)) for x in (normal, truth))
    return float((a * b).sum() / (b * b).sum()), float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5])
def test_scattering_is_measured_and_undone(scale: float):
    maps, truth = blurred_normals(scale)
    made = fuse_normals(maps, PIXEL_MM)
    assert made.scatter is not None and made.scatter.scale == pytest.approx(scale, rel=0.15)
    before, after = gain(maps.normal, truth), gain(made.normal, truth)
    assert after[0] > 0.95 and after[0] > before[0] and after[0] < 1.04
    assert after[1] > max(0.96, before[1] - 0.002)


def test_nothing_is_undone_without_scattering():
    maps, truth = blurred_normals(0.0)
    made = fuse_normals(maps, PIXEL_MM)
    assert made.scatter is not None and made.scatter.scale == 0
    height, likeness = gain(made.normal, truth)
    assert height == pytest.approx(1, abs=0.02)
    # all three channels together are less noisy than green and blue
    assert likeness > gain(maps.normal, truth)[1]


def test_switch():
    maps, _ = blurred_normals(1.0, size=64)
    assert fuse_normals(maps, PIXEL_MM, mode="channels").normal is maps.normal
    for mode, message in (("sharp", "mode 'sharp'; expected one of diffuse"), ("specular", "needs the specular lobes")):
        with pytest.raises(UserError, match=message):
            fuse_normals(maps, PIXEL_MM, mode=mode)  # pyright: ignore[reportArgumentType]
    nothing = PhotometricMaps(
        maps.normal, maps.normal_rgb, maps.albedo, maps.residual, maps.confidence, maps.lights, ~maps.solved & False
    )
    assert fuse_normals(nothing, PIXEL_MM).scatter is None


def gloss_images(scene, alpha: float) -> list[np.ndarray]:
    """Highlights of a GGX lobe, strength 1."""
    x, y = scene.camera.normalised_grid()
    size = len(x)
    ray = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((size, size))], axis=2)
    view = -ray / np.linalg.norm(ray, axis=2, keepdims=True)
    points = np.nan_to_num(ray * scene.depth_mm[..., None], nan=500.0)
    towards, irradiance = scene.lights.at(points.reshape(-1, 3))
    images = []
    for i in range(len(towards)):
        light = towards[i].reshape(size, size, 3)
        half = light + view
        half /= np.linalg.norm(half, axis=2, keepdims=True)
        nh, nl, nv = ((scene.normal * v).sum(2) for v in (half, light, view))
        spread = alpha**2 / ((nh * nh) * (alpha**2 - 1) + 1) ** 2
        shadow = 1.0
        for c in (nl, nv):
            shadow = shadow * 2 * c / (c + np.sqrt(alpha**2 + (1 - alpha**2) * c * c))
        mirrored = 1 - transmission((half * view).sum(2), 1.4)
        strength = irradiance[i].reshape(size, size) * scene.lights.intensity[i, 0]
        value = np.where(scene.mask & (nl > 0), spread * shadow / (4 * nv) * mirrored * strength, 0)
        images.append(np.repeat(value[..., None], 3, axis=2).astype(np.float32))
    return images


def test_specular_lobe():
    scene = sphere(64)
    rng = np.random.default_rng(5)
    noise = NoiseModel(1e-6, 5e-4)
    images = [i + rng.normal(0, 2e-4, i.shape).astype(np.float32) for i in gloss_images(scene, 0.2)]
    start = scene.normal + rng.normal(0, 0.05, scene.normal.shape)
    start /= np.linalg.norm(start, axis=2, keepdims=True)
    start = np.where(scene.mask[..., None], start, np.nan).astype(np.float32)
    stack = ImageStack.from_arrays(scene.lights.names, images)
    made = fit_lobes(stack, scene.lights, scene.camera, scene.depth_mm, start, noise=noise)
    sure = scene.mask & (made.confidence > 0.6)
    assert sure.sum() > 0.2 * scene.mask.sum()
    before, after = angles_deg(start, scene.normal, sure), angles_deg(made.normal, scene.normal, sure)
    assert np.median(before) > 3 and np.median(after) < 0.7
    assert np.median(made.roughness[sure]) == pytest.approx(np.sqrt(0.2), rel=0.05)
    assert np.median(made.strength[sure]) == pytest.approx(1, rel=0.1)
    # it knows where it knows little
    unsure = scene.mask & (made.confidence < 0.2)
    assert np.median(angles_deg(made.normal, scene.normal, unsure)) > np.median(after)
    with pytest.raises(UserError, match="specular lobes"):
        fit_lobes(stack, scene.lights, scene.camera, scene.depth_mm[:10], start)
