"""Plans of calibration takes: exposures, placements in words and numbers, and the board to print."""

import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import cv2
import numpy as np
import pytest

from mesoface.capture.board_print import page_mm, write_board
from mesoface.capture.calibration_plan import (
    BOARD_PLACES,
    SPHERE_PLACES,
    calibration_plan,
    frontal_flash,
    target_rotation,
)
from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.plan import shot_plan, step_times_s, steps, take_plan
from mesoface.capture.rig import Rig, Targets, load_example_rig
from mesoface.capture.target_patterns import board_corners_mm, board_pattern, charuco_board, patch_centres_mm

KINDS = ("board", "sphere", "flat", "chart", "dark")


def example_with(**tables) -> Rig:
    return Rig.model_validate({**load_example_rig().model_dump(), **tables})


def two_bodies() -> Rig:
    content = load_example_rig().model_dump()
    content["rig"]["pair_mode"] = "two_bodies"
    centre = content["cameras"][2]
    cross = {**centre, "name": "cross", "role": "centre_cross", "serial": "063034018999"}
    centre["role"] = "centre_parallel"
    content["cameras"] = [cross, *content["cameras"]]
    return Rig.model_validate(content)


def test_a_take_ends_with_a_frame_without_lamps():
    rig = load_example_rig()
    *scan, ambient = take_plan(rig)
    assert tuple(scan) == shot_plan(rig)
    assert (ambient.index, ambient.step, ambient.stem) == (23, 19, "23_ambient_centre")
    assert (ambient.kind, ambient.lights, ambient.light_mask, ambient.polariser) == ("ambient", (), 0, "U")
    last = steps(take_plan(rig), rig)[-1]
    assert (last.index, last.light_mask, last.energy_permille, last.shots) == (19, 0, 0, (ambient,))
    times_s = step_times_s(rig, take_plan(rig))
    assert times_s[:19] == step_times_s(rig) and times_s[19] > times_s[18]
    capture = {**rig.capture.model_dump(), "ambient_frame": False}
    assert take_plan(example_with(capture=capture)) == shot_plan(rig)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [load_example_rig, two_bodies])
def test_shots_are_numbered_grouped_and_named(kind, make):
    rig = make()
    plan = calibration_plan(rig, kind)
    assert [shot.index for shot in plan.shots] == list(range(len(plan.shots)))
    boxed = steps(plan.shots, rig)
    assert [step.index for step in boxed] == list(range(len(boxed)))
    stems = [shot.stem for shot in plan.shots]
    assert stems == sorted(set(stems)) and all(re.fullmatch(r"\d{2,3}_[A-Za-z0-9_-]+", stem) for stem in stems)
    for step in boxed:
        bodies = [shot.camera for shot in step.shots]
        assert len(set(bodies)) == len(bodies)
        assert len({(shot.lights, shot.light_mask, shot.pose) for shot in step.shots}) == 1
        assert all(shot.kind == kind and shot.stem.endswith(f"_{shot.camera}") for shot in step.shots)
        assert step.polariser in ("U", "P", "X") and (step.energy_permille > 0) == (kind != "dark")
    assert [placement.pose for placement in plan.placements] == list(range(len(plan.placements)))
    assert {shot.pose for shot in plan.shots} == ({None} if kind == "dark" else set(range(len(plan.placements))))
    poses = [shot.pose or 0 for shot in plan.shots]
    assert poses == sorted(poses)  # a target is put down once, not fetched back
    assert plan.preparation


def test_what_each_take_holds():
    rig = load_example_rig()
    board, sphere, flat, chart, dark = (calibration_plan(rig, kind).shots for kind in KINDS)
    assert len(board) == 15 * 5 and board[0].stem == "00_board00_left2" and board[74].stem == "74_board14_right2"
    assert all(shot.polariser == "U" and shot.lights == ("dome",) for shot in board)
    assert len(sphere) == 3 * (5 + 9 * 5)
    assert {shot.polariser for shot in sphere} == {"U", "P"}
    assert {(shot.pose, shot.pair, shot.camera) for shot in sphere if shot.pair is not None} == {
        (pose, flash, camera.name) for pose in range(3) for flash in range(9) for camera in rig.cameras
    }
    assert len(flat) == 5 + 2 * 18 and [shot.polariser for shot in flat[5:]] == ["P", "X"] * 18
    assert [shot.lights[0] for shot in flat[5:23:2]] == [shot.lights[0] for shot in flat[23::2]]
    assert flat[5].stem == "05_flat_flash1_parallel_centre" and flat[40].stem == "40_glossball_flash9_cross_centre"
    assert [shot.stem for shot in chart[4:]] == ["04_chart_uniform_right2", "05_chart_flash9_parallel_centre"]
    assert frontal_flash(rig).name == "flash9"  # 19 degrees off the axis, the least
    assert len(dark) == 4 * 5 and all(shot.light_mask == 0 for shot in dark)


def test_two_bodies_expose_a_pair_in_one_step():
    rig = two_bodies()
    flat = steps(calibration_plan(rig, "flat").shots, rig)
    assert len(flat) == 1 + 2 * 9
    assert [(shot.camera, shot.polariser) for shot in flat[1].shots] == [("centre", "P"), ("cross", "X")]
    flash = steps(calibration_plan(rig, "sphere").shots, rig)[1]
    assert flash.polariser == "P" and {shot.camera: shot.polariser for shot in flash.shots}["cross"] == "X"


def test_counts_follow_the_rig_file():
    targets = {"board_poses": 30, "sphere_poses": 6, "dark_frames": 1}
    rig = example_with(targets=targets)
    board = calibration_plan(rig, "board")
    assert len(board.placements) == 30 and board.shots[-1].stem == "149_board29_right2"
    assert len({(p.centre_mm, p.turn_deg, p.tilt_deg, p.roll_deg) for p in board.placements}) == 30
    assert len(calibration_plan(rig, "sphere").placements) == len(SPHERE_PLACES)
    assert len(calibration_plan(rig, "dark").shots) == 5


def test_unknown_kind_is_refused():
    with pytest.raises(UserError, match='no calibration take "colour"; known: board, sphere, flat, chart, dark'):
        calibration_plan(load_example_rig(), "colour")


def test_placements_say_where_and_how():
    rig = example_with(subject={"target_mm": [0.0, 10.0, 0.0]})
    board = calibration_plan(rig, "board").placements
    assert board[0].text == "Hold the board where the face will be, facing the centre camera, upright."
    assert board[1].text == (
        "Hold the board where the face will be: 6 cm nearer to the centre camera, turned 25 degrees to the subject's "
        "left, rotated 15 degrees clockwise as the camera sees it."
    )
    assert board[8].text == (
        "Hold the board where the face will be: 11 cm to the subject's left, 6 cm lower and 3 cm nearer to the centre "
        "camera, turned 10 degrees to the subject's right and tilted 10 degrees up, rotated 10 degrees "
        "counter-clockwise as the camera sees it."
    )
    assert board[8].centre_mm == (110, -50, 30)
    assert calibration_plan(rig, "sphere").placements[2].text == (
        "Put the mirror ball where the face will be: 7 cm higher and 2 cm further from the centre camera."
    )


def test_turns_are_what_the_words_say():
    def normal_and_right(*angles: float) -> tuple[np.ndarray, np.ndarray]:
        rotation = target_rotation(*angles)
        return -rotation[:, 2], rotation[:, 0]

    normal, right = normal_and_right(0, 0, 0)
    assert normal == pytest.approx([0, 0, 1]) and right == pytest.approx([1, 0, 0])
    assert normal_and_right(30, 0, 0)[0] == pytest.approx([0.5, 0, np.sqrt(0.75)])  # to the subject's left: +x
    assert normal_and_right(0, 30, 0)[0] == pytest.approx([0, 0.5, np.sqrt(0.75)])  # up
    assert normal_and_right(0, 0, 30)[1] == pytest.approx([np.sqrt(0.75), -0.5, 0])  # clockwise: right goes down
    assert np.linalg.det(target_rotation(20, -10, 50)) == pytest.approx(1)


def test_every_camera_sees_enough_of_every_placement():
    rig = load_example_rig()
    corners = board_corners_mm(rig.targets)
    for camera in rig.cameras:
        pinhole = PinholeCamera.from_rig(camera)
        seen = []
        for placement in calibration_plan(rig, "board").placements:
            pose = placement.world_from_target()
            towards = pinhole.centre_mm - pose.translation_mm
            facing = -pose.rotation[:, 2] @ towards / np.linalg.norm(towards)
            assert facing > np.cos(np.deg2rad(65)), (camera.name, placement.text)
            pixels, _ = pinhole.project(pose.apply(corners))
            inside = ((pixels > 0) & (pixels < [pinhole.width_px, pinhole.height_px])).all(1)
            assert inside.sum() > 60, (camera.name, placement.text)
            seen.append(pixels[inside])
        middle = np.array([pinhole.width_px / 2, pinhole.height_px / 2])
        reach = (np.concatenate(seen) - middle) / middle
        for corner in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            assert (reach * corner).min(1).max() > 0.7, (camera.name, corner)
        for placement in calibration_plan(rig, "sphere").placements:
            pixel, depth_mm = pinhole.project(np.array([placement.centre_mm]))
            radius_px = pinhole.fx_px * 58 / depth_mm[0]  # the ball, and a hand that misses the place by 8 mm
            assert (pixel[0] > radius_px).all(), (camera.name, placement.text)
            assert (pixel[0] < [pinhole.width_px - radius_px, pinhole.height_px - radius_px]).all()


def test_any_six_placements_already_tilt_both_ways():
    first = np.array(BOARD_PLACES[:6])
    assert (first[:, 3].min(), first[:, 3].max()) == (-25, 25) and (first[:, 4].min(), first[:, 4].max()) == (-25, 25)


@pytest.mark.parametrize(
    ("squares", "dictionary"), [((12, 9), "DICT_5X5_250"), ((7, 6), "DICT_4X4_1000"), ((5, 8), "DICT_6X6_250")]
)
def test_pattern_is_opencvs_board(squares, dictionary):
    targets = Targets(board_squares=squares, board_dictionary=dictionary, board_square_mm=24.0, board_marker_mm=16.0)
    pattern = board_pattern(targets)
    assert pattern.size_mm == pytest.approx((24.0 * squares[0], 24.0 * squares[1]))
    modules = int(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary)).markerSize) + 2
    pixels = 6 * modules  # a whole number of pixels for every edge: square, marker 2/3, its margin 1/6
    board = charuco_board(targets).generateImage((squares[0] * pixels, squares[1] * pixels), marginSize=0)
    x, y = (((np.arange(count * pixels) + 0.5) / pixels - count / 2) * 24.0 for count in squares)
    columns = np.searchsorted(pattern.x_edges_mm, x, side="right") - 1
    rows = np.searchsorted(pattern.y_edges_mm, y, side="right") - 1
    assert np.array_equal(pattern.cells[np.ix_(rows, columns)] == 1, board > 127)
    corners = board_corners_mm(targets)
    assert corners.mean(0) == pytest.approx([0, 0, 0]) and len(corners) == (squares[0] - 1) * (squares[1] - 1)


def test_chart_patches_lie_in_their_order():
    centres = patch_centres_mm(Targets())
    assert centres[0] == pytest.approx([-115, -69, 0]) and centres[5] == pytest.approx([115, -69, 0])
    assert centres[23] == pytest.approx([115, 69, 0])


def test_svg_board_is_in_millimetres(tmp_path):
    assert write_board(tmp_path / "board.svg", Targets()) == (297.0, 210.0)
    root = ElementTree.parse(tmp_path / "board.svg").getroot()
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("297mm", "210mm", "0 0 297 210")
    path = root.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    boxes = np.array(
        [[float(v) for v in re.split("[Mhvz ]+", part)[:4]] for part in (path.get("d") or "").split("M")[1:]]
    )
    assert boxes[:, 0].min() == pytest.approx(28.5) and (boxes[:, 0] + boxes[:, 2]).max() == pytest.approx(268.5)
    ruler = boxes[boxes[:, 2] > 99]
    assert len(ruler) == 1 and ruler[0, 2] == 100


def test_png_board_is_found_and_carries_its_resolution(tmp_path):
    write_board(tmp_path / "board.png", Targets())
    data = (tmp_path / "board.png").read_bytes()
    at = data.index(b"pHYs")
    assert struct.unpack(">IIB", data[at + 4 : at + 13]) == (23622, 23622, 1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None and image.shape == (4961, 7016)
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(charuco_board(Targets())).detectBoard(small)
    assert len(ids) == 88
    found_mm = (corners.reshape(-1, 2) + 0.5) * 4 / (600 / 25.4) - [148.5, 105.0]
    assert np.abs(found_mm - board_corners_mm(Targets())[np.asarray(ids, np.int64).ravel(), :2]).max() < 0.05


def test_pdf_board_is_a_whole_file(tmp_path):
    write_board(tmp_path / "board.pdf", Targets())
    data = (tmp_path / "board.pdf").read_bytes()
    table = int(data.split(b"startxref\n")[1].split(b"\n")[0])
    assert data[table : table + 4] == b"xref"
    for number, line in enumerate(data[table:].split(b"\n")[3:8], start=1):
        assert data[int(line[:10]) :].startswith(b"%d 0 obj" % number)
    assert b"/MediaBox [0 0 841.8898 595.2756]" in data  # A4
    stream = zlib.decompress(data[data.index(b"stream\n") + 7 : data.index(b"\nendstream")]).decode()
    boxes = np.array([[float(v) for v in line.split()[:4]] for line in stream.splitlines() if line.endswith(" re")])
    assert np.ptp(np.append(boxes[:, 0], boxes[:, 0] + boxes[:, 2])) == pytest.approx(240 / 25.4 * 72, abs=0.01)


def test_large_boards_get_large_pages(tmp_path):
    assert page_mm(Targets(board_squares=(14, 10))) == (420.0, 297.0)
    assert page_mm(Targets(board_squares=(30, 10), board_square_mm=60, board_marker_mm=45)) == (1824, 624)
    with pytest.raises(UserError, match=r"board is written as \.svg, \.pdf, \.png"):
        write_board(tmp_path / "board.jpg", Targets())
