"""The rig from pictures of the board, against the virtual studio's truth; and what is refused, by name."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from calibration_fixtures import scene_of, small_rig, take_of, world_from_truth

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.colmap_text import read_colmap_text
from mesoface.capture.errors import UserError
from mesoface.capture.rig_models import Rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.board_triangulation import rotation_deg
from mesoface.reconstruct.calibration_take import SizeCheck
from mesoface.reconstruct.rig_alignment import align_to_nominal
from mesoface.reconstruct.rig_bundle import compose
from mesoface.reconstruct.rig_calibration import calibrate_rig
from mesoface.reconstruct.rig_files import CalibratedRig


@pytest.fixture(scope="module")
def scene():
    return scene_of("board", small_rig(("left2", "centre", "right2")))


@pytest.fixture(scope="module")
def made(scene):
    """Calibration of a take in which one frame is blurred and right2 misses three placements."""

    def spoil(shot, light):
        if shot.camera == "left2" and shot.pose == 4:
            return cv2.GaussianBlur(light, (0, 0), 5)
        return 0 * light if shot.camera == "right2" and shot.pose in (2, 5, 7) else light

    return calibrate_rig([take_of(scene, change=spoil)])


def test_cameras_stand_where_they_truly_do(scene, made):
    """600 x 400 px: a third of the bounds for 1500 x 1000."""
    cameras = made.rig.cameras
    assert list(cameras) == ["left2", "centre", "right2"]
    moved = world_from_truth(cameras, scene.cameras)
    for name, camera in cameras.items():
        truth = scene.cameras[name]
        assert abs(camera.fx_px / truth.fx_px - 1) < 3e-4 and abs(camera.fy_px / truth.fy_px - 1) < 3e-4
        assert np.linalg.norm(camera.centre_mm - moved.apply(truth.centre_mm)) < 0.06
        turned = truth.cam_from_world.rotation @ moved.rotation.T
        assert rotation_deg(camera.cam_from_world.rotation, turned) < 0.01
        assert np.abs(np.subtract(camera.distortion, truth.distortion)[:1]).max() < 0.01
    assert max(made.rig.baseline_px.values()) < 0.02
    assert made.held_out is not None and made.held_out.median_mm < 0.01 and made.held_out.p95_mm < 0.03
    assert abs(made.held_out.scale - 1) < 1e-5
    assert made.rig.warnings == ()


def test_the_world_frame_is_the_rig_files(made):
    """Cameras were moved by about 2 mm and 0.2 degrees each; aligned to all of them, none is far from its place."""
    assert max(made.alignment.offset_mm.values()) < 12
    assert max(made.alignment.turn_deg.values()) < 1
    assert abs(made.alignment.scale_ratio - 1) < 0.01


def test_spoilt_frames_are_left_out_by_name(made):
    problems = {(view.camera, view.pose): view.problem for view in made.views if not view.usable}
    assert "blurred" in problems["left2", 4]
    assert all(problems["right2", pose] == "the image is black" for pose in (2, 5, 7))
    assert len(problems) == 4


def test_residuals_are_found_minus_predicted(made):
    """Recomputed from the calibrated cameras in the world frame: the half pixel of COLMAP is nowhere left."""
    seen, corner_mm = made.bundle.observations, made.corners_mm
    name = made.bundle.names[2]
    chosen = (seen.camera == 2) & (seen.pose == 3)
    board = compose(made.alignment.world_from_reference, made.bundle.reference_from_board[3])
    predicted, _ = made.rig.cameras[name].project(board.apply(corner_mm[seen.corner[chosen]]))
    assert np.abs(seen.pixels[chosen] - predicted - made.bundle.residuals_px[chosen]).max() < 1e-6


def test_saved_rig_reads_back(made, tmp_path):
    made.rig.save(tmp_path)
    again = CalibratedRig.load(tmp_path)
    text = read_colmap_text(tmp_path / "rig")
    for name, camera in made.rig.cameras.items():
        for other in (again.cameras[name], text[f"{name}/calibration.tif"]):
            assert np.allclose(other.matrix_px, camera.matrix_px, atol=1e-9)
            assert np.allclose(other.distortion, camera.distortion, atol=1e-12)
            assert np.allclose(other.cam_from_world.rotation, camera.cam_from_world.rotation, atol=1e-9)
            assert np.allclose(other.cam_from_world.translation_mm, camera.cam_from_world.translation_mm, atol=1e-9)
    assert again.baseline_px == made.rig.baseline_px and again.size_px == (600, 400)
    assert (tmp_path / "rig/rigs.bin").stat().st_size > 100
    with pytest.raises(UserError, match=r"no calibration\.json"):
        CalibratedRig.load(tmp_path / "rig")
    (tmp_path / "calibration.json").write_text('{"format": "mesoface-calibration", "schema_version": 1}')
    with pytest.raises(UserError, match="damaged"):
        CalibratedRig.load(tmp_path)


def moved_camera(camera: PinholeCamera, shift_mm) -> PinholeCamera:
    pose = camera.cam_from_world
    return replace(camera, cam_from_world=RigidTransform(pose.rotation, pose.translation_mm + shift_mm))


def nominal_cameras(names=("left2", "left1", "centre", "right1", "right2")) -> dict[str, PinholeCamera]:
    rig = small_rig(names)
    return {c.name: PinholeCamera.from_rig(c).scaled(600, 400) for c in rig.cameras}


def moved_rig(cameras, scale=1.0):
    """The same rig in another frame, and of another size."""
    turn = cv2.Rodrigues(np.array([0.3, -0.8, 0.2]))[0]
    move = RigidTransform(np.asarray(turn, np.float64), np.array([40.0, -30.0, 200.0]))
    return {
        name: replace(
            camera,
            cam_from_world=RigidTransform(
                camera.cam_from_world.rotation @ move.rotation.T,
                scale * camera.cam_from_world.translation_mm
                - camera.cam_from_world.rotation @ move.rotation.T @ move.translation_mm,
            ),
        )
        for name, camera in cameras.items()
    }


def test_alignment_brings_the_rig_home():
    nominal = nominal_cameras()
    aligned = align_to_nominal(moved_rig(nominal), nominal, "centre", 20.0)
    for name, camera in aligned.cameras.items():
        assert np.allclose(camera.centre_mm, nominal[name].centre_mm, atol=1e-3)
    assert aligned.warnings == () and aligned.scale_ratio == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.95, 1.04])
def test_wrong_board_size_is_noticed_with_its_ratio(scale):
    nominal = nominal_cameras()
    with pytest.raises(UserError, match=rf"{scale:.3f} times.*{20 / scale:.2f} mm.*board_square_mm"):
        align_to_nominal(moved_rig(nominal, scale), nominal, "centre", 20.0)


@pytest.mark.parametrize("pair", [("left1", "right1"), ("left2", "left1"), ("centre", "right2")])
def test_exchanged_views_are_named(pair):
    nominal = nominal_cameras()
    found = moved_rig(nominal)
    found[pair[0]], found[pair[1]] = found[pair[1]], found[pair[0]]
    with pytest.raises(UserError, match="exchanged") as error:
        align_to_nominal(found, nominal, "centre", 20.0)
    assert all(f'"{name}"' in str(error.value) for name in pair)
    others = set(nominal) - set(pair)
    assert not any(f'"{name}"' in str(error.value) for name in others)


def test_a_camera_elsewhere_is_named_and_moves_no_other():
    nominal = nominal_cameras()
    found = moved_rig(nominal)
    found["left1"] = moved_camera(found["left1"], [60.0, 40.0, 0.0])
    aligned = align_to_nominal(found, nominal, "centre", 20.0)
    assert len(aligned.warnings) == 1 and "left1" in aligned.warnings[0]
    assert max(offset for name, offset in aligned.offset_mm.items() if name != "left1") < 6


def only(take, cameras=("left2", "centre", "right2"), poses=range(100)):
    """A part of a take: fewer pictures to look at."""
    return replace(take, shots=tuple(shot for shot in take.shots if shot.camera in cameras and shot.pose in poses))


def test_side_view_that_never_sees_the_board_is_left_out_by_name(scene):
    take = take_of(scene, change=lambda shot, light: 0 * light if shot.camera == "right2" else light)
    made = calibrate_rig([only(take, poses=range(6))], refinements=0)
    assert list(made.rig.cameras) == ["left2", "centre"]
    assert len(made.rig.warnings) == 1 and "view right2" in made.rig.warnings[0] and "black" in made.rig.warnings[0]


def test_centre_view_without_board_is_refused_with_the_reason(scene):
    def spoil(shot, light):
        return cv2.GaussianBlur(light, (0, 0), 6) if shot.camera == "centre" else light

    with pytest.raises(UserError, match=r"view centre: the board is usable in 0 of 5 placements.*blurred"):
        calibrate_rig([only(take_of(scene, change=spoil), ("centre", "right2"), range(5))])
    with pytest.raises(UserError, match=r"view centre: the board is usable in 3 of 3 placements, 5 are needed"):
        calibrate_rig([only(take_of(scene), ("centre", "right2"), range(3))])
    black = take_of(scene, change=lambda shot, light: 0 * light)
    with pytest.raises(UserError, match=r"usable in none of 4 images \(the image is black\)"):
        calibrate_rig([only(black, ("centre", "right2"), range(2))])
    alone = only(take_of(scene), ("centre",), range(5))
    with pytest.raises(UserError, match=r"one usable view only.*\n.*view left2"):
        calibrate_rig([alone])


@pytest.mark.parametrize("wrong", [{"board_squares": (10, 9)}, {"board_dictionary": "DICT_6X6_250"}])
def test_another_board_than_described_is_refused(scene, wrong):
    """Other squares: markers have other numbers; other markers: nothing is read. Either way, the rig file is named."""
    content = scene_rig_content(scene)
    content["targets"] |= wrong
    take = only(take_of(scene, rig=Rig.model_validate(content)), ("centre", "right2"), range(6))
    with pytest.raises(UserError, match=r"\[targets\]|rig file"):
        calibrate_rig([take])


def test_squares_of_another_size_are_refused_with_the_right_size(scene):
    """The whole way: a board printed at 20 mm that the rig file takes for 19 mm."""
    content = scene_rig_content(scene)
    content["targets"] |= {"board_square_mm": 19.0, "board_marker_mm": 19 * 0.75}
    take = only(take_of(scene, rig=Rig.model_validate(content)), ("left2", "centre", "right2"), range(6))
    with pytest.raises(UserError, match=r"0\.9\d\d times as far apart.*(19\.9|20\.0|20\.1)\d mm, not 19 mm"):
        calibrate_rig([take], refinements=0)


def test_board_takes_of_different_image_sizes_are_refused(scene):
    smaller = scene_of("board", small_rig(("left2", "centre", "right2")), width_px=480, height_px=320)
    takes = [only(take_of(s), ("centre", "right2"), range(2)) for s in (scene, smaller)]
    with pytest.raises(UserError, match=r"view centre.*480x320.*600x400.*one size"):
        calibrate_rig(takes)


def scene_rig_content(scene) -> dict:
    return small_rig(tuple(camera.name for camera in scene.rig.cameras)).model_dump()


def test_sizes_of_pictures_must_agree():
    rig = small_rig()
    shots = {name: shot for shot in scene_of("board", rig).plan.shots for name in [shot.camera]}

    def sizes(*pairs):
        check = SizeCheck(rig)
        for name, (width, height) in pairs:
            check.check(shots[name], np.zeros((height, width, 3), np.float32))
        return check

    assert sizes(("centre", (600, 400)), ("left2", (600, 400))).camera("left2").width_px == 600
    with pytest.raises(UserError, match=r"view centre.*600x400.*one size"):
        sizes(("centre", (600, 400)), ("centre", (300, 200)))
    with pytest.raises(UserError, match=r"view left2.*300x200.*centre.*different sizes"):
        sizes(("centre", (600, 400)), ("left2", (300, 200)))
    with pytest.raises(UserError, match=r"view right1.*500x400"):
        sizes(("right1", (500, 400)))
