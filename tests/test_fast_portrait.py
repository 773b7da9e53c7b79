"""Fast portraits: truth that lies on the picture, variety, repeatability."""

from dataclasses import replace

import numpy as np
import pytest

from mesoface.capture.errors import UserError
from mesoface.reconstruct.fast_portrait import (
    FastPortrait,
    FastPortraitOptions,
    FastPortraits,
    fast_portraits,
    random_beta,
)


@pytest.fixture(scope="module")
def maker() -> FastPortraits:
    return fast_portraits("procedural", FastPortraitOptions(), people=1)


def drawn(maker: FastPortraits, seed: int, **options) -> FastPortrait:
    return maker.with_options(FastPortraitOptions(**options)).draw(np.random.default_rng(seed))


def test_thinned_mesh_keeps_the_face(maker: FastPortraits):
    model, mesh = maker.model, maker.mesh
    assert mesh.vertex_count < len(model.mean_mm) / 4
    rng = np.random.default_rng(3)
    alpha, beta = rng.standard_normal(len(model.identity_mm)), random_beta(model, rng)
    whole, thin = model.shape_mm(alpha, beta), mesh.shape_mm(alpha, beta)
    assert np.abs(thin[mesh.vertex_count : mesh.vertex_count + 68] - whole[model.landmarks]).max() < 0.01
    middle = whole[model.landmarks[30]]
    assert np.linalg.norm(thin[: mesh.vertex_count] - middle, axis=1).min() < 2.0, "no vertex near the nose's tip"


def test_lips_are_not_glued(maker: FastPortraits):
    """An open mouth shows its inside: dark or red pixels between the lips, not skin stretched across."""
    model = maker.model
    plain = maker.with_options(FastPortraitOptions(size_px=160, plain=True, yaw_deg=0, pitch_deg=0, roll_deg=0))
    beta = model.beta_from_units({"jaw_open": 1.0})
    darker = 0
    for seed in range(4):
        made = plain.draw(np.random.default_rng(seed), np.zeros(len(model.identity_mm)), beta)
        column, row = np.rint(0.3 * made.landmarks_px[62] + 0.7 * made.landmarks_px[66]).astype(int)
        cheek = np.rint(0.5 * (made.landmarks_px[31] + made.landmarks_px[2])).astype(int)
        darker += made.image_srgb[row, column].mean() < 0.75 * made.image_srgb[cheek[1], cheek[0]].mean()
    assert darker >= 3


def test_landmarks_lie_in_the_picture_and_follow_the_pose(maker: FastPortraits):
    left = [drawn(maker, k, yaw_deg=0.0, limit_deg=1.0, roll_deg=0.0) for k in range(3)]
    for made in left:
        assert made.image_srgb.shape == (128, 128, 3) and made.image_srgb.dtype == np.float32
        assert 0 <= made.image_srgb.min() and made.image_srgb.max() <= 1 and made.image_srgb.std() > 0.02
        p = made.landmarks_px
        assert ((p > 0) & (p < 127)).all()
        assert p[36, 0] < p[39, 0] < p[42, 0] < p[45, 0] and p[27, 1] < p[30, 1] < p[51, 1] < p[57, 1] < p[8, 1]
        assert np.ptp(p, axis=0).max() == pytest.approx(128 * 0.675, abs=128 * 0.19)


def test_turned_faces_hide_their_far_side(maker: FastPortraits):
    """A camera at the subject's left sees the left eye; the jaw's truth then lies on the visible outline."""
    seen_near, seen_far, moved = 0, 0, 0
    for seed in range(40):
        made = drawn(maker, seed, yaw_deg=60.0, pitch_deg=3.0, roll_deg=3.0, plain=True)
        yaw = made.pose_deg[0]
        if abs(yaw) < 40:
            continue
        near, far = (slice(42, 48), slice(36, 42)) if yaw > 0 else (slice(36, 42), slice(42, 48))
        seen_near += made.visible[near].mean()
        seen_far += made.visible[far].mean()
        side, outwards = (slice(1, 7), -1) if yaw > 0 else (slice(10, 16), 1)
        gap = outwards * (made.landmarks_px[side, 0] - made.vertex_landmarks_px[side, 0])
        assert (gap > -2.0).all(), "the outline is at or beyond the vertex behind it"
        moved += gap.max() > 2.0
    assert seen_near > seen_far + 2 and moved >= 5


def test_truth_is_where_the_picture_has_it(maker: FastPortraits):
    """The mouth's corners move in the picture as the landmarks say: an edge-based shift agrees with the truth."""
    a = drawn(maker, 11, yaw_deg=0, pitch_deg=0, roll_deg=0, plain=True, shift=0.0, face_share=(0.6, 0.6))
    b = drawn(maker, 11, yaw_deg=0, pitch_deg=0, roll_deg=0, plain=True, shift=0.0, face_share=(0.6, 0.6))
    assert np.array_equal(a.image_srgb, b.image_srgb) and np.array_equal(a.landmarks_px, b.landmarks_px)
    # pupils are the darkest spots of the eye region in most faces
    hits = 0
    for seed in range(12):
        made = drawn(maker, seed, size_px=192, yaw_deg=3, pitch_deg=3, roll_deg=3, plain=True)
        grey = made.image_srgb.mean(2)
        for rows in (slice(36, 42), slice(42, 48)):
            eye = made.landmarks_px[rows]
            low, high = np.floor(eye.min(0)).astype(int), np.ceil(eye.max(0)).astype(int) + 1
            inside = grey[low[1] : high[1], low[0] : high[0]]
            around = grey[low[1] + 12 : high[1] + 14, low[0] : high[0]]
            hits += inside.min() < 0.8 * np.median(around)
    assert hits >= 16


def test_another_seed_is_another_person(maker: FastPortraits):
    a, b = drawn(maker, 1), drawn(maker, 2)
    assert not np.allclose(a.alpha, b.alpha) and not np.array_equal(a.image_srgb, b.image_srgb)
    assert not np.allclose(a.beta, b.beta) or not (a.beta.any() or b.beta.any())


def test_bad_input(maker: FastPortraits):
    with pytest.raises(UserError, match="size_px 8"):
        FastPortraitOptions(size_px=8)
    model = maker.model
    marks = model.landmarks.copy()
    marks[40] = -1
    with pytest.raises(UserError, match="landmarks 18-68"):
        FastPortraits(replace(model, landmarks=marks))
