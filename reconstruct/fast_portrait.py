"""Fast random portraits with exact truth: hundreds a second instead of one in ten seconds.

For training the landmark network and for the expression dictionary. The pictures are rasterised, not path-traced:
a thinned face model, painted skin, a sky with a few lamps and a shadow map, hair, clothes, occluders, a bad camera.
The virtual studio's portraits (portrait.py) are the slower, more realistic check.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ..capture.errors import UserError
from ..capture.rigid import look_at
from .expressions import EXPRESSIONS
from .face_load import load_face_model
from .face_model import UNIT_NAMES, FaceModel
from .fast_portrait_mesh import RenderMesh, build_render_mesh, lit_share
from .fast_portrait_scene import (
    background,
    clothes,
    glasses,
    hair_behind,
    hair_in_front,
    occluders,
    strand_texture,
)
from .fast_portrait_sensor import photograph
from .fast_portrait_shading import Light, Paint, quick_normals, random_light, random_paint, shade
from .fast_portrait_skin import SkinPool, make_skin_pool
from .image_raster import rasterize_image


@dataclass(frozen=True, slots=True)
class FastPortraitOptions:
    """How far the pictures vary."""

    size_px: int = 128
    detail: float = 1.25
    """Rendered at this multiple of the size, then reduced."""
    yaw_deg: float = 22.0
    """Standard deviation; drawn values stay within `limit_deg`."""
    pitch_deg: float = 11.0
    roll_deg: float = 12.0
    limit_deg: float = 55.0
    face_share: tuple[float, float] = (0.5, 0.85)
    """Longer side of the landmarks' box over the picture's side."""
    shift: float = 0.1
    """Largest offset of that box from the middle, as a share of the picture's side."""
    plain: bool = False
    """No hair in front, glasses, occluders, blur, noise or grey: for the expression dictionary."""

    def __post_init__(self) -> None:
        if not 32 <= self.size_px <= 1024 or not 1 <= self.detail <= 4:
            raise UserError(
                f"fast portraits: size_px {self.size_px}, detail {self.detail}; allowed: 32 to 1024, 1 to 4"
            )


@dataclass(frozen=True, slots=True)
class FastPortrait:
    """A picture and its truth."""

    image_srgb: np.ndarray
    """(S, S, 3) float32 in [0, 1]."""
    landmarks_px: np.ndarray
    """(68, 2) float64 column, row; the jaw's points on the visible outline, as annotators mark them."""
    vertex_landmarks_px: np.ndarray
    """(68, 2) float64: the model's own landmark vertices, hidden or not. NaN where the model lacks one."""
    visible: np.ndarray
    """(68,) bool: in the picture and not covered by anything."""
    alpha: np.ndarray
    """(Ki,) float32."""
    beta: np.ndarray
    """(Ke,) float32."""
    pose_deg: tuple[float, float, float]
    """Yaw (positive: camera at the subject's left), pitch (positive: camera above), roll."""


class FastPortraits:
    """Makes fast portraits of one face model."""

    def __init__(self, model: FaceModel, options: FastPortraitOptions = FastPortraitOptions(), people: int = 8) -> None:
        """Thin out the model and paint `people` skins (about two seconds each, subjects 100000 and up).

        Raises UserError for a model without landmarks 18-68 or texture coordinates, which the skin needs.
        """
        if (model.landmarks[17:] < 0).any() or not len(model.uv):
            raise UserError(
                f"face model {model.name}: fast portraits need landmarks 18-68 and texture coordinates; "
                "take --face-model procedural or an ICT-FaceKit folder"
            )
        self.model, self.options = model, options
        self.mesh: RenderMesh = build_render_mesh(model)
        self.skins: SkinPool = make_skin_pool(model, [100_000 + k for k in range(people)])

    def with_options(self, options: FastPortraitOptions) -> "FastPortraits":
        """The same model and skins with other options, without preparing anything again."""
        other = object.__new__(FastPortraits)
        other.model, other.options, other.mesh, other.skins = self.model, options, self.mesh, self.skins
        return other

    def draw(
        self, rng: np.random.Generator, alpha: np.ndarray | None = None, beta: np.ndarray | None = None
    ) -> FastPortrait:
        """One portrait. What is not given is drawn: identity standard normal, expression by `random_beta`."""
        options, mesh = self.options, self.mesh
        if alpha is None:
            alpha = np.clip(rng.standard_normal(mesh.identity_count), -2.5, 2.5)
        if beta is None:
            beta = random_beta(self.model, rng)
        alpha, beta = np.asarray(alpha, np.float32), np.asarray(beta, np.float32)
        drawn_deg = rng.standard_normal(3) * (options.yaw_deg, options.pitch_deg, options.roll_deg)
        yaw, pitch, roll = np.clip(drawn_deg, -options.limit_deg, options.limit_deg).tolist()
        pose = (yaw, pitch, roll)
        shape = mesh.shape_mm(alpha, beta)
        paint, light = random_paint(rng, len(self.model.albedo_basis) == 0), random_light(rng)
        drawn, hair = self._dressed(shape[: mesh.vertex_count].copy(), rng)
        size = round(options.size_px * options.detail)
        view = _View(shape, mesh, pose, size, options, rng)
        linear, depth, covered = self._render(drawn, hair, view, light, paint, rng, size)
        shift = (options.detail - 1) / 2  # pixel centres are integers in both pictures
        to_small = lambda points: (points - shift) / options.detail  # noqa: E731
        landmarks, own = view.landmarks(shape, mesh)
        hidden = view.hidden(shape, mesh, depth)
        seen = cv2.remap(covered, landmarks.astype(np.float32)[None], None, cv2.INTER_LINEAR, borderValue=255)[0] < 128  # type: ignore[call-overload]
        mean_face = float(linear[view.face_box(landmarks, size)].mean())
        image = photograph(linear, mean_face, rng, options.size_px, options.plain)
        own = np.where(mesh.landmark_known[:, None], to_small(own), np.nan)
        return FastPortrait(image, to_small(landmarks), own, seen & ~hidden, alpha, beta, pose)

    def _dressed(self, vertices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Vertices with turned eyes and grown hair, and how much hair each has, (V,) float32."""
        mesh = self.mesh
        turn = rng.normal(0, 0.16, 2)
        for rows in mesh.eyes:
            if len(rows):
                ball = vertices[rows]
                middle = ball.mean(0)
                cx, sx, cy, sy = np.cos(turn[0]), np.sin(turn[0]), np.cos(turn[1]), np.sin(turn[1])
                spin = np.array([[cy, sy * sx, sy * cx], [0, cx, -sx], [-sy, cy * sx, cy * cx]], np.float32)
                vertices[rows] = (ball - middle) @ spin.T + middle
        if rng.random() < 0.07:
            return vertices, np.zeros(len(vertices), np.float32)
        line, temple = rng.normal(0, 9), rng.normal(0, 8)
        # Two smooth fields over the head: one for the hairline, one for the thickness.
        fields = (rng.normal(0, 1, (3, 4)) * [0.12, 0.12, 0.08, 0.08]).astype(np.float32)
        waves = np.sin(mesh.mean_mm[: len(vertices)] @ fields + rng.uniform(0, 6.3, 4).astype(np.float32))
        over = np.maximum(mesh.hair_front_mm - np.float32(line), mesh.hair_side_mm - np.float32(temple))
        over += np.float32(4 * rng.uniform(0, 1.2)) * (waves[:, 0] + waves[:, 1])
        hair = np.clip(0.5 + over / 6, 0, 1)
        thick = rng.uniform(1, 6) if rng.random() < 0.4 else rng.uniform(6, 32)
        rough = np.clip(1 + np.float32(rng.uniform(0, 0.35)) * (waves[:, 2] + waves[:, 3]), 0.3, 2)
        grow = np.float32(thick) * np.sqrt(np.clip(over / np.float32(1.2 * thick + 4), 0, 1)) * rough
        return vertices + grow[:, None] * mesh.normals, hair

    def _render(
        self,
        vertices: np.ndarray,
        hair: np.ndarray,
        view: "_View",
        light: Light,
        paint: Paint,
        rng: np.random.Generator,
        size: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linear picture (S, S, 3), depth (S, S) and what covers the face (S, S) uint8."""
        mesh, options = self.mesh, self.options
        axes, level = view.axes(), float(light.sky.mean() + light.colours.sum(0).mean()) * 0.7
        linear = np.ascontiguousarray(background(rng, size) * level, np.float32)
        long_hair = hair.max() > 0 and rng.random() < 0.55
        if long_hair:
            hair_behind(rng, linear, view.middle, axes, _lit(paint, level))
        pixels, depth = view.project(vertices)
        raster = rasterize_image(pixels, depth, mesh.triangles, size, size, cull_back=False, perspective=True)
        lit = np.ones(len(vertices), np.float32)
        if rng.random() < 0.6:
            lit = lit_share(vertices, mesh.triangles, light.directions[0].astype(np.float64), np.zeros(3), 190.0, 160,
                            2.5).astype(np.float32)  # fmt: skip
        normals = quick_normals(vertices, mesh.triangles)
        attributes = np.column_stack([normals, mesh.occlusion, mesh.gloss, hair, lit]).astype(np.float32)
        grown = np.zeros((size, size), np.float32)
        shade(raster.triangle, raster.barycentric, mesh.triangles, mesh.corner_uv, mesh.skin_uv, attributes,
              mesh.colour, self.skins.albedo[rng.integers(len(self.skins.albedo))], self.skins.masks, strand_texture(),
              light, paint, view.direction, linear, grown)  # fmt: skip
        clothes(rng, linear, view.middle, axes, level)
        covered = np.zeros((size, size), np.uint8)
        if options.plain:
            return linear, raster.depth, covered
        if long_hair and rng.random() < 0.6:
            covered = np.maximum(covered, hair_in_front(rng, linear, view.middle, axes, paint, level))
        if rng.random() < 0.13:
            eyes = view.project(vertices[[rows[np.argmax(vertices[rows, 2])] for rows in mesh.eyes if len(rows)]])[0]
            if len(eyes) == 2:
                glasses(rng, linear, eyes[np.argsort(eyes[:, 0])], axes[1] * 22, level, float(np.linalg.norm(axes[1])))
        if rng.random() < 0.25:
            reach = 75 * float(np.linalg.norm(axes[1]))
            covered = np.maximum(covered, occluders(rng, linear, view.middle, reach, paint, level))
        return linear, raster.depth, covered


def fast_portraits(spec: str | Path, options: FastPortraitOptions, people: int = 8) -> FastPortraits:
    """`FastPortraits` of a face model by its name or path; what takes seconds is prepared once per process."""
    return _prepared(str(spec), people).with_options(options)


@lru_cache(maxsize=2)
def _prepared(spec: str, people: int) -> FastPortraits:
    return FastPortraits(load_face_model(spec), people=people)


class _View:
    """A perspective camera placed so that the face has the wanted size and place."""

    def __init__(self, shape, mesh, pose, size, options, rng) -> None:
        yaw, pitch = np.deg2rad(pose[0]), np.deg2rad(pose[1])
        self.direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        distance = float(np.exp(rng.uniform(np.log(450), np.log(3000))))
        camera = look_at(distance * self.direction, np.zeros(3), pose[2])
        self.rotation, self.translation = np.asarray(camera.rotation), np.asarray(camera.translation_mm)
        self.focal, self.centre = 1.0, np.zeros(2)
        flat, _ = self.project(shape[mesh.vertex_count : mesh.vertex_count + 68])
        low, high = flat.min(0), flat.max(0)
        share = rng.uniform(*options.face_share)
        self.focal = share * size / float((high - low).max())
        shift = rng.uniform(-options.shift, options.shift, 2) * size
        self.centre = (size - 1) / 2 + shift - self.focal * (low + high) / 2
        self.middle = self.project(np.zeros((1, 3)))[0][0]

    def project(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depth along the axis (N,)."""
        at = points_mm @ self.rotation.T + self.translation
        return at[:, :2] / at[:, 2:] * self.focal + self.centre, at[:, 2]

    def axes(self) -> np.ndarray:
        """(2, 2) pixels per mm: row 0 to the image right across the face, row 1 down the face; foreshortening aside."""
        scale = self.focal / float(self.translation[2])
        down = self.rotation[:2] @ np.array([0.0, -1.0, 0.0])
        down /= max(float(np.linalg.norm(down)), 1e-6)
        return scale * np.array([[down[1], -down[0]], down])

    def landmarks(self, shape: np.ndarray, mesh: RenderMesh) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (68, 2) px with the jaw moved to the visible outline, and the plain vertices'."""
        own, _ = self.project(shape[mesh.vertex_count : mesh.vertex_count + 68])
        marched = own.copy()
        flat, _ = self.project(shape[mesh.contour.ravel()])
        flat = flat.reshape(*mesh.contour.shape, 2)
        axes = self.axes()
        for k in range(17):
            # Outwards: sideways for the upper points, turning downwards towards the chin.
            lean = np.deg2rad(90 * min(1.0, abs(k - 8) / 6))
            outward = np.sign(k - 8) * np.sin(lean) * axes[0] + np.cos(lean) * axes[1] * 0.8
            marched[k] = flat[k, np.argmax(flat[k] @ outward)]
        return marched, own

    def hidden(self, shape: np.ndarray, mesh: RenderMesh, depth: np.ndarray) -> np.ndarray:
        """(68,) bool: landmarks behind another part of the head, or outside the picture; jaw points only outside."""
        pixels, away = self.project(shape[mesh.vertex_count : mesh.vertex_count + 68])
        size = len(depth)
        column, row = np.rint(pixels).astype(int).T
        outside = (column < 0) | (row < 0) | (column >= size) | (row >= size)
        front = depth[np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)]
        behind = away > front + 9.0
        behind[:17] = False
        return outside | behind

    @staticmethod
    def face_box(landmarks: np.ndarray, size: int) -> tuple[slice, slice]:
        low = np.clip(np.floor(landmarks[17:].min(0)), 0, size - 2).astype(int)
        high = np.clip(np.ceil(landmarks[17:].max(0)), low + 1, size - 1).astype(int)
        return slice(low[1], high[1] + 1), slice(low[0], high[0] + 1)


def _lit(paint: Paint, level: float) -> Paint:
    return replace(paint, hair=(paint.hair * np.float32(level)).astype(np.float32))


def random_beta(model: FaceModel, rng: np.random.Generator) -> np.ndarray:
    """A random expression (Ke,) float32: a mixture of named expressions and single units, or PCA coefficients."""
    if not model.expression_is_units:
        return np.clip(rng.standard_normal(len(model.expression_mm)), -3, 3).astype(np.float32)
    total: dict[str, float] = dict.fromkeys(UNIT_NAMES, 0.0)
    names = list(EXPRESSIONS)
    for _ in range(int(rng.integers(0, 3))):
        strength = rng.uniform(0.2, 1.0)
        for unit, value in EXPRESSIONS[names[rng.integers(len(names))]].items():
            total[unit] += strength * value
    for unit in rng.choice(len(UNIT_NAMES), int(rng.integers(0, 5)), replace=False):
        total[UNIT_NAMES[unit]] += rng.uniform(0, 0.7)
    return model.beta_from_units({name: min(1.0, value) for name, value in total.items()})
