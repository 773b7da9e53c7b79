"""Bad input on a rendered scan at tiny size: every message names the view, and four good views still give a result."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from stereo_fixtures import Seen, off_by, read_uniform_views

from mesoface.capture.errors import UserError
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.dense_stereo import dense_depth
from mesoface.reconstruct.stereo_mask import foreground_mask, grey_image, skin_mask
from mesoface.reconstruct.stereo_types import StereoView

ALL = ("left2", "left1", "centre", "right1", "right2")


@pytest.fixture(scope="module")
def scene(tiny_scan: Path) -> dict[str, Seen]:
    return read_uniform_views(tiny_scan)


def changed(scene: dict[str, Seen], **changes: StereoView | None) -> list[StereoView]:
    """All views, some replaced, some (None) left out."""
    made = {name: one.view for name, one in scene.items()} | changes
    return [view for view in made.values() if view is not None]


def told_of(warnings: Sequence[str], *names: str) -> list[str]:
    """The warnings about views, after checking that they are about these and no other."""
    about = [warning for warning in warnings if warning.startswith("view ")]
    assert {warning.split('"')[1] for warning in about} == set(names), warnings
    return about


def works(views: list[StereoView], scene: dict[str, Seen], share: float = 0.4) -> Sequence[str]:
    """Warnings of a run whose depth is good on at least `share` of the face (0.56 with five good views)."""
    found = dense_depth(views, "centre", expected=ALL)
    assert (np.abs(off_by(found.centre_map.depth_mm, scene["centre"])) < 1).mean() > share
    return found.warnings


def test_good_views_give_no_warning(scene: dict[str, Seen]):
    assert works(changed(scene), scene, 0.5) == ()


def test_a_missing_view(scene: dict[str, Seen]):
    (warning,) = told_of(works(changed(scene, left1=None), scene), "left1")
    assert "missing" in warning


def test_a_black_view(scene: dict[str, Seen]):
    view = scene["right1"].view
    noise = np.random.default_rng(0).normal(0, 0.002, (*view.image.shape, 3)).astype(np.float32)
    mask = foreground_mask(noise)
    black = replace(view, image=np.zeros_like(view.image), mask=mask)
    (warning,) = told_of(works(changed(scene, right1=black), scene), "right1")
    assert "black" in warning and "flash" in warning


def test_a_view_without_subject(scene: dict[str, Seen]):
    view = scene["left2"].view
    empty = replace(view, image=np.full_like(view.image, 0.3), mask=np.zeros_like(view.mask))
    (warning,) = told_of(works(changed(scene, left2=empty), scene), "left2")
    assert "no subject" in warning


def test_a_blurred_view(scene: dict[str, Seen]):
    view = scene["left1"].view
    blurred = replace(view, image=cv2.GaussianBlur(view.image, (0, 0), 2.5))
    (warning,) = told_of(works(changed(scene, left1=blurred), scene), "left1")
    assert "blurred" in warning


@pytest.mark.parametrize(("name", "degrees"), [("left1", 0.5), ("right2", 1.0)])
def test_a_moved_camera(scene: dict[str, Seen], name: str, degrees: float):
    camera = scene[name].view.camera
    turn = Rotation.from_rotvec(np.radians([0.7 * degrees, 0.7 * degrees, 0])).as_matrix()
    pose = camera.cam_from_world
    moved = replace(camera, cam_from_world=RigidTransform(turn @ pose.rotation, turn @ pose.translation_mm))
    views = changed(scene, **{name: replace(scene[name].view, camera=moved)})
    (warning,) = told_of(works(views, scene), name)
    assert "moved" in warning


@pytest.mark.parametrize(("first", "second"), [("left1", "right1"), ("left1", "left2"), ("centre", "right1")])
def test_swapped_views(scene: dict[str, Seen], first: str, second: str):
    a, b = scene[first].view, scene[second].view
    swapped = {first: replace(a, image=b.image, mask=b.mask), second: replace(b, image=a.image, mask=a.mask)}
    found = dense_depth(changed(scene, **swapped), "centre")
    warnings = told_of(found.warnings, first, second)
    assert all("swapped" in warning for warning in warnings)


def test_views_of_another_size_are_refused_by_name(scene: dict[str, Seen]):
    one = scene["right2"]
    with pytest.raises(UserError, match=r'view "right2": image \(120, 80\)'):
        replace(one.view, image=one.view.image[::2, ::2], mask=one.view.mask[::2, ::2])


def test_a_smaller_view_with_its_own_camera_works(scene: dict[str, Seen]):
    """Bodies may differ in size, as long as each has its own calibration."""
    view = scene["right2"].view
    size = (180, 120)
    smaller = StereoView(
        "right2",
        cv2.resize(view.image, size, interpolation=cv2.INTER_AREA),
        view.camera.scaled(*size),
        cv2.resize(view.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5,
    )
    assert works(changed(scene, right2=smaller), scene, 0.5) == ()


def test_the_centre_view_is_needed(scene: dict[str, Seen]):
    view = scene["centre"].view
    with pytest.raises(UserError, match=r'no view is called "centre".*left2, left1'):
        dense_depth(changed(scene, centre=None), "centre")
    black = replace(view, image=np.zeros_like(view.image), mask=np.zeros_like(view.mask))
    with pytest.raises(UserError, match=r'centre view "centre".*black'):
        dense_depth(changed(scene, centre=black), "centre")


def test_two_usable_views_are_needed(scene: dict[str, Seen]):
    view = scene["left1"].view
    black = replace(view, image=np.zeros_like(view.image), mask=np.zeros_like(view.mask))
    with pytest.raises(UserError, match=r'two usable views, found 1 \("left1": .*black'):
        dense_depth([scene["centre"].view, black], "centre")
    with pytest.raises(UserError, match="a name appears twice"):
        dense_depth([scene["centre"].view, scene["centre"].view], "centre")


def test_masks_and_grey_values(scene: dict[str, Seen]):
    for name, one in scene.items():
        head = np.isfinite(one.depth_mm)
        assert (one.view.mask & head).sum() / (one.view.mask | head).sum() > 0.95, name
        assert 0.7 < np.quantile(one.view.image[one.view.mask], 0.98) < 0.85, name
    centre = scene["centre"]
    skin = skin_mask(centre.linear, centre.view.mask)
    assert skin[centre.face].mean() > 0.97
    brighter = grey_image(3 * centre.linear, centre.view.mask)
    assert np.abs(brighter - centre.view.image)[centre.view.mask].max() < 1e-3
    noise = np.random.default_rng(0).normal(0, 0.01, (60, 90, 3)).astype(np.float32)
    assert not foreground_mask(noise).any()
    assert not skin_mask(noise, np.zeros((60, 90), bool)).any()
