"""The board in single pictures: found where it is, refined to a few thousandths of a pixel, refused when useless."""

import cv2
import numpy as np
import pytest
from calibration_fixtures import scene_of, small_rig

from mesoface.capture.rigid import RigidTransform
from mesoface.capture.target_patterns import board_corners_mm
from mesoface.reconstruct.board_detect import BoardView, detect_board, mark_blurred
from mesoface.reconstruct.camera_calibration import board_pose
from mesoface.reconstruct.corner_refine import refine_corners
from mesoface.reconstruct.rig_bundle import compose


@pytest.fixture(scope="module")
def scene():
    return scene_of("board", small_rig(("left2", "centre")), width_px=900, height_px=600)


def picture(scene, pose: int = 1, camera: str = "centre") -> np.ndarray:
    shot = next(shot for shot in scene.plan.shots if shot.pose == pose and shot.camera == camera)
    rng = np.random.default_rng(pose)
    light = scene.light(shot)[..., 1] * 1.2
    return (light + rng.normal(0, 0.006, light.shape)).astype(np.float32)


def true_corners(scene, pose: int = 1, camera: str = "centre") -> np.ndarray:
    board = scene.placements[pose].world_from_target()
    return scene.cameras[camera].project(board.apply(board_corners_mm(scene.rig.targets)))[0]


def test_corners_are_found_where_they_are(scene):
    view = detect_board(picture(scene), scene.rig.targets, "centre", 1)
    assert view.usable and len(view.ids) > 80 and (np.diff(view.ids) > 0).all()
    offset = view.corners_px - true_corners(scene)[view.ids]
    assert np.sqrt((offset**2).sum(axis=1).mean()) < 0.15
    assert 0.8 < view.edge_px < 2


@pytest.mark.parametrize("blur_px", [0.0, 0.9])
def test_refined_corners_follow_the_picture_not_the_drawing(scene, blur_px):
    """The lens blurs by an amount nobody told, light falls off across the board, and the first guess is 0.4 px off."""
    rows, columns = np.mgrid[0:600, 0:900]
    image = picture(scene) * (0.5 + 0.4 * columns / 900 + 0.2 * rows / 600).astype(np.float32)
    if blur_px:
        image = cv2.GaussianBlur(image, (0, 0), blur_px)
    targets, camera = scene.rig.targets, scene.cameras["centre"]
    view = detect_board(image, targets, "centre", 1)
    found = len(view.ids)
    assert view.usable and found > 50
    truth = compose(camera.cam_from_world, scene.placements[1].world_from_target())
    guess = RigidTransform(truth.rotation, truth.translation_mm + np.array([0.2, -0.15, 0]))
    errors = []
    for _ in range(3):
        view = refine_corners(image, view, camera, guess, targets)
        offset = view.corners_px - true_corners(scene)[view.ids]
        errors.append(float(np.sqrt((offset**2).mean())))
        guess = board_pose(camera, view, targets)
        assert guess is not None
    assert len(view.ids) > 0.9 * found
    assert errors[0] < 0.12 and errors[-1] < 0.01
    assert np.abs(offset.mean(axis=0)).max() < 0.003


def test_fingers_on_the_board_cost_their_corners_only(scene):
    image = picture(scene)
    corners = true_corners(scene)
    view = detect_board(image, scene.rig.targets, "centre", 1)
    column, row = (int(value) for value in corners[40])
    image[row - 25 : row + 25, column - 25 : column + 25] = 0.3
    camera = scene.cameras["centre"]
    pose = compose(camera.cam_from_world, scene.placements[1].world_from_target())
    refined = refine_corners(image, view, camera, pose, scene.rig.targets)
    assert 40 in view.ids and 40 not in refined.ids
    assert len(refined.ids) > len(view.ids) - 10


def test_useless_pictures_say_why(scene):
    targets, sharp = scene.rig.targets, picture(scene)
    assert detect_board(np.zeros_like(sharp), targets).problem == "the image is black"
    assert "no marker" in detect_board(sharp[:, ::-1], targets).problem  # mirrored: no marker reads right
    assert "blurred" in detect_board(cv2.GaussianBlur(sharp, (0, 0), 6), targets).problem
    x, y = true_corners(scene).mean(axis=0)
    covered = sharp.copy()
    covered[:, int(x) - 60 :] = 0.1
    covered[int(y) :, :] = 0.1
    few = detect_board(covered, targets)
    assert 0 < len(few.ids) < 40 or "corners" in few.problem
    covered[:, int(x) - 150 :] = 0.1
    assert "corners" in detect_board(covered, targets).problem or "marker" in detect_board(covered, targets).problem


def test_one_soft_view_among_sharp_ones_is_marked():
    views = [BoardView("c", k, np.arange(20), np.zeros((20, 2)), 1.5 if k else 4.0) for k in range(6)]
    marked = mark_blurred(views)
    assert "blurred" in marked[0].problem and all(view.usable for view in marked[1:])
