"""Portraits under environment light: camera, truth, surroundings, files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.files import sha256_file
from mesoface.capture.rigid import look_at
from mesoface.reconstruct.environment import background, environment_directions, make_environment
from mesoface.reconstruct.portrait import PortraitOptions, make_portrait, portrait_head, write_portrait

OPTIONS = PortraitOptions(width_px=120, height_px=150, subject=5, yaw_deg=20, pitch_deg=5, samples=4, seed=2)


@pytest.fixture(scope="module")
def head():
    return portrait_head(OPTIONS)


def test_landmarks_lie_on_the_visible_face(head) -> None:
    made = make_portrait(OPTIONS, head)
    assert made.srgb.shape == (150, 120, 3) and made.srgb.dtype == np.uint8
    assert made.truth.mask_face.mean() > 0.1
    assert 30 < made.srgb[made.truth.mask_face].mean() < 200
    inner = np.rint(made.landmarks_px[27:36]).astype(int)  # the nose is visible from everywhere in front
    assert made.truth.mask_head[inner[:, 1], inner[:, 0]].all()
    # the camera stands on the subject's left, so the left eye is nearer and the nose points to image left
    depth = made.camera.cam_from_world.apply(made.head.landmarks_mm)[:, 2]
    assert depth[42:48].mean() < depth[36:42].mean()
    assert made.landmarks_px[30, 0] < made.landmarks_px[[36, 45], 0].mean()


def test_same_options_same_bytes_and_other_seed_other_light(head) -> None:
    first, again = make_portrait(OPTIONS, head), make_portrait(OPTIONS, head)
    assert np.array_equal(first.srgb, again.srgb)
    other = make_portrait(PortraitOptions(**{**_fields(OPTIONS), "seed": 3}), head)
    assert np.abs(first.srgb.astype(int) - other.srgb).mean() > 5
    assert np.array_equal(first.truth.depth_mm, other.truth.depth_mm, equal_nan=True)


def _fields(options: PortraitOptions) -> dict:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def test_environment_is_seen_where_it_is() -> None:
    """A bright spot at a direction appears at the pixel that looks there."""
    surroundings = np.zeros((64, 128, 3), np.float32)
    directions = environment_directions(64)
    wanted = np.array([0.3, 0.2, -1.0]) / np.linalg.norm([0.3, 0.2, -1.0])  # behind the head, to its left, above
    surroundings[np.unravel_index((directions @ wanted).argmax(), (64, 128))] = 1
    camera = PinholeCamera(200, 160, 120.0, 120.0, 99.5, 79.5, look_at(np.array([0.0, 0, 1000]), np.zeros(3)))
    row, column = np.unravel_index(background(surroundings, camera)[..., 0].argmax(), (160, 200))
    expected = camera.project(camera.centre_mm[None] + 1000 * wanted)[0][0]
    assert abs(column - expected[0]) < 6 and abs(row - expected[1]) < 6


def test_environment_is_seeded_and_positive() -> None:
    a, b = (make_environment(np.random.default_rng(k)) for k in (1, 1))
    assert np.array_equal(a, b) and a.min() > 0 and a.mean() == pytest.approx(1, rel=1e-4)
    assert a.max() > 5  # there is a key light


def test_files_are_whole_and_another_portrait_is_refused(tmp_path: Path) -> None:
    out = write_portrait(OPTIONS, tmp_path / "p")
    manifest = json.loads((out / "portrait.json").read_text())
    assert {"portrait.png", "depth_mm.tif", "truth.json", "head.obj"} <= set(manifest["files"])
    digests = {name: sha256_file(out / name) for name in manifest["files"]}
    assert digests == manifest["files"]
    write_portrait(OPTIONS, out)
    with pytest.raises(UserError, match="holds another portrait"):
        write_portrait(PortraitOptions(**{**_fields(OPTIONS), "subject": 6}), out)
    assert digests == {name: sha256_file(out / name) for name in manifest["files"]}


def test_head_outside_the_picture_is_said() -> None:
    with pytest.raises(UserError, match="focal_mm is 5000"):
        PortraitOptions(focal_mm=5000)


def test_model_without_landmarks_is_refused() -> None:
    """Skin is placed by landmarks; a model that lacks some must say so and not put wrinkles anywhere."""
    from mesoface.reconstruct.face_load import load_face_model
    from mesoface.reconstruct.head import build_head

    model = load_face_model("procedural")
    landmarks = model.landmarks.copy()
    landmarks[[32, 34]] = -1
    with pytest.raises(UserError, match="landmarks 33, 35"):
        build_head(replace(model, landmarks=landmarks), 1)


def test_damaged_manifest_is_said(tmp_path: Path) -> None:
    (tmp_path / "portrait.json").write_text("{")
    with pytest.raises(UserError, match=r"portrait.json: cannot be read"):
        write_portrait(OPTIONS, tmp_path)
