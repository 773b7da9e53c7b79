"""Look at a face model: a rendered view, contact sheets, and a description in numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..capture.image_files import srgb_from_linear
from .face_frame import vertex_normals
from .face_model import FACE_REGIONS, FaceModel, Region

BACKGROUND_LINEAR = 0.18
CLAY_LINEAR = 0.48
_DISTANCE_MM = 1100.0


def render_face(
    model: FaceModel,
    alpha: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    gamma: np.ndarray | None = None,
    size: tuple[int, int] = (640, 800),
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    clay: bool = False,
    colours: np.ndarray | None = None,
    samples: int = 16,
) -> np.ndarray:
    """An sRGB picture (H, W, 3) uint8 of the face, `size` = (width, height) in px, seen from about 1.1 m.

    Yaw turns the face to its own left (image right), pitch lifts the chin; degrees. `clay` renders grey without
    colours, `colours` (N, 3) linear RGB replaces the model's albedo. Neutral key light from above and a constant
    environment; Mitsuba's scalar_rgb variant, which needs no LLVM. The same arguments give the same bytes.
    """
    import mitsuba as mi

    before = mi.variant()
    mi.set_variant("scalar_rgb")
    try:
        turn = rotation(yaw_deg, pitch_deg).T
        # The mean face sets the frame, so that pictures of different identities and expressions compare.
        centre, height = _framing(model, model.mean_mm @ turn, size)
        turned = model.shape_mm(alpha, beta).astype(np.float64) @ turn - centre
        triangles = model.triangles
        albedo = model.albedo(gamma) if colours is None else np.asarray(colours)
        if clay:
            albedo = np.full((len(turned), 3), CLAY_LINEAR)
        mesh = _mesh(mi, turned, triangles, albedo)
        distance = max(_DISTANCE_MM, 3.0 * height)
        key = 2.7 * distance**2
        scene = mi.load_dict(
            {
                "type": "scene",
                "head": mesh,
                "key": {
                    "type": "point",
                    "position": [-0.4 * distance, 0.55 * distance, distance],
                    "intensity": {"type": "rgb", "value": key},
                },
                "room": {"type": "constant", "radiance": {"type": "rgb", "value": 0.42}},
                "camera": {
                    "type": "perspective",
                    "fov_axis": "y",
                    "fov": float(2 * np.degrees(np.arctan(height / 2 / distance))),
                    "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, distance], target=[0, 0, 0], up=[0, 1, 0]),
                    "film": {
                        "type": "hdrfilm",
                        "width": size[0],
                        "height": size[1],
                        "pixel_format": "rgba",
                        "component_format": "float32",
                        "rfilter": {"type": "gaussian"},
                    },
                    "sampler": {"type": "multijitter", "sample_count": samples},
                },
            }
        )
        integrator = mi.load_dict({"type": "direct", "hide_emitters": True, "emitter_samples": 1, "bsdf_samples": 1})
        image = np.array(mi.render(scene, integrator=integrator, spp=samples, seed=0))  # pyright: ignore[reportArgumentType]
    finally:
        if before is not None:
            mi.set_variant(before)
    alpha_channel = np.clip(image[..., 3:4], 0, 1)
    linear = np.nan_to_num(image[..., :3]) + (1 - alpha_channel) * BACKGROUND_LINEAR
    return srgb_from_linear(linear)


def rotation(yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """(3, 3) rotation that first lifts the chin by `pitch_deg`, then turns the face to its left by `yaw_deg`."""
    yaw, pitch = np.radians(yaw_deg), np.radians(-pitch_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return about_y @ about_x


def _framing(model: FaceModel, vertices: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Centre (3,) and height in mm of the view: the face proper with half as much around it, or else the whole mesh."""
    used = np.unique(model.triangles)
    face = used[np.isin(model.regions[used], FACE_REGIONS)]
    points = vertices[face if len(face) >= 3 else used]
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float(max(1.5 * (high[1] - low[1]), 1.35 * (high[0] - low[0]) * size[1] / size[0], 1.0))


def _mesh(mi: Any, vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> Any:
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(
        {
            "type": "twosided",
            "bsdf": {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}},
        }
    )
    mesh = mi.Mesh("head", len(vertices), len(triangles), has_vertex_normals=True, props=properties)
    mesh.add_attribute("vertex_color", 3, np.ascontiguousarray(colours, np.float32).ravel())
    handle = mi.traverse(mesh)
    handle["vertex_positions"] = vertices.astype(np.float32).ravel()
    handle["vertex_normals"] = vertex_normals(vertices, triangles).astype(np.float32).ravel()
    handle["faces"] = triangles.astype(np.uint32).ravel()
    handle.update()
    return mesh


def region_colours(regions: np.ndarray) -> np.ndarray:
    """(N, 3) float32 linear RGB: one clear hue per region, grey for OTHER."""
    hue = (np.arange(len(Region)) * 0.618034) % 1.0
    wheel = 0.5 + 0.42 * np.cos(2 * np.pi * (hue[:, None] + np.array([0.0, 1 / 3, 2 / 3])))
    wheel[Region.OTHER] = 0.35
    return (wheel**1.6).astype(np.float32)[regions]


def contact_sheet(images: Sequence[np.ndarray], labels: Sequence[str], columns: int = 4) -> np.ndarray:
    """One picture (H, W, 3) uint8 of equally sized pictures with a line of text under each, row by row."""
    import cv2

    if not images or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: expected as many labels as images, at least one"
        )
    height, width = images[0].shape[:2]
    strip = max(18, height // 14)
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + strip), columns * width, 3), 40, np.uint8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        top, left = number // columns * (height + strip), number % columns * width
        sheet[top : top + height, left : left + width] = image
        scale = strip / 34
        while scale > 0.2 and cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > width - 8:
            scale *= 0.9
        cell = np.ascontiguousarray(sheet[top + height : top + height + strip, left : left + width])
        place = (4, round(strip * 0.7))
        cv2.putText(cell, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (225, 225, 225), 1, cv2.LINE_AA)
        sheet[top + height : top + height + strip, left : left + width] = cell
    return sheet


def expression_sheet(model: FaceModel, size: tuple[int, int] = (200, 250), strength: float = 1.0) -> np.ndarray:
    """Contact sheet of the mean and every expression component at `strength`, at most 40 of them."""
    names = model.expression_names[:40]
    images = [render_face(model, size=size, samples=8)]
    for number in range(len(names)):
        beta = np.zeros(number + 1, np.float32)
        beta[number] = strength
        images.append(render_face(model, beta=beta, size=size, samples=8))
    return contact_sheet(images, ["mean", *names], columns=6)


def identity_sheet(
    model: FaceModel, rng: np.random.Generator, count: int = 11, size: tuple[int, int] = (200, 250)
) -> np.ndarray:
    """Contact sheet of the mean and `count` random identities (shape and albedo, standard normal)."""
    images, labels = [render_face(model, size=size, samples=8)], ["mean"]
    for number in range(count):
        alpha, gamma = (rng.standard_normal(len(basis)) for basis in (model.identity_mm, model.albedo_basis))
        images.append(render_face(model, alpha, None, gamma, size=size, samples=8))
        labels.append(f"identity {number + 1}")
    return contact_sheet(images, labels, columns=6)


def describe(model: FaceModel) -> dict[str, Any]:
    """What a model holds, as plain data for a table or JSON."""
    used = np.unique(model.triangles)
    points = model.mean_mm[used] if len(used) else model.mean_mm
    uv = model.uv[np.unique(model.uv_triangles)] if len(model.uv_triangles) else model.uv
    counts = np.bincount(model.regions, minlength=len(Region))
    return {
        "name": model.name,
        "licence": model.licence,
        "vertices": len(model.mean_mm),
        "triangles": len(model.triangles),
        "identity_components": len(model.identity_mm),
        "expression_components": len(model.expression_mm),
        "expressions_are_units": model.expression_is_units,
        "expression_names": list(model.expression_names),
        "albedo_components": len(model.albedo_basis),
        "bounding_box_mm": [points.min(0).round(2).tolist(), points.max(0).round(2).tolist()],
        "landmarks_known": int((model.landmarks >= 0).sum()),
        "landmarks_total": len(model.landmarks),
        "vertices_per_region": {region.name.lower(): int(counts[region]) for region in Region if counts[region]},
        "uv_range": [uv.min(0).round(4).tolist(), uv.max(0).round(4).tolist()] if len(uv) else [],
    }
