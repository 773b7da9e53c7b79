"""Rendered calibration targets against their truth, measured as a lab would: with OpenCV, or with a ruler's formula."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rawpy

from mesoface.capture.calibration_plan import calibration_plan
from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.image_files import read_tiff
from mesoface.capture.plan import Shot
from mesoface.capture.rig import Rig, load_example_rig
from mesoface.capture.rigid import RigidTransform
from mesoface.capture.target_patterns import CLASSIC24, Pattern, board_corners_mm, charuco_board
from mesoface.reconstruct.sensor import Sensor, exposure_gain
from mesoface.reconstruct.targets import render_calibration
from mesoface.reconstruct.targets_planar import planar_view
from mesoface.reconstruct.targets_rays import ray_directions
from mesoface.reconstruct.targets_rig import misaligned_rig
from mesoface.reconstruct.targets_scene import TargetOptions, TargetScene, point_flash
from mesoface.reconstruct.targets_sphere import meet, mirror_highlight

WIDTH, HEIGHT = 1200, 800


def rig_with_lens(**lens: float) -> Rig:
    content = load_example_rig().model_dump()
    for camera in content["cameras"]:
        camera["lens"] |= lens
    return Rig.model_validate(content)


def scene_of(kind: str, rig: Rig | None = None, **options) -> TargetScene:
    rig = rig or load_example_rig()
    content = {"width_px": WIDTH, "height_px": HEIGHT, "misalignment": 1} | options
    return TargetScene(rig, TargetOptions.model_validate(content), calibration_plan(rig, kind))


def shot_of(scene: TargetScene, ending: str) -> Shot:
    return next(shot for shot in scene.plan.shots if shot.stem.endswith(ending))


def board_views(scene: TargetScene, camera: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Per placement: found corners (N, 2), their ids, true corners (M, 2), board points (M, 3) of OpenCV's frame."""
    board = charuco_board(scene.rig.targets)
    detector, points = cv2.aruco.CharucoDetector(board), board_corners_mm(scene.rig.targets)
    views = []
    for shot in scene.plan.shots:
        if shot.camera == camera:
            image = np.clip(scene.light(shot)[..., 1] * 400, 0, 255).astype(np.uint8)
            corners, ids, _, _ = detector.detectBoard(image)
            pose = scene.placements[shot.pose or 0].world_from_target()
            truth, _ = scene.cameras[camera].project(pose.apply(points))
            views.append((corners.reshape(-1, 2), ids.ravel(), truth, np.asarray(board.getChessboardCorners())))
    return views


@pytest.mark.parametrize("camera", ["centre", "left2"])
def test_opencv_finds_the_boards_corners_where_they_are(camera):
    content = load_example_rig().model_dump()
    content["targets"] = {"board_poses": 6}
    scene = scene_of("board", Rig.model_validate(content))
    assert scene.cameras[camera].has_distortion
    offsets = []
    for corners, ids, truth, _ in board_views(scene, camera):
        assert len(ids) > 55
        offset = corners - truth[ids]
        assert np.sqrt((offset**2).sum(1).mean()) < 0.2
        offsets.append(offset)
    every = np.concatenate(offsets)
    assert np.sqrt((every**2).sum(1).mean()) < 0.14  # OpenCV's own, on sharp edges; 0.04 on rotated boards
    assert np.abs(every.mean(0)).max() < 0.02  # no half pixel anywhere


@pytest.mark.parametrize("k1", [-0.15, 0.15])
def test_opencv_calibrates_a_camera_from_the_boards(k1):
    size = (900, 600)
    scene = scene_of("board", rig_with_lens(k1=k1), misalignment=0, seed=4, width_px=size[0], height_px=size[1])
    views = board_views(scene, "centre")
    error, matrix, lens, _, _ = cv2.calibrateCamera(
        [points[ids].astype(np.float32) for _, ids, _, points in views],
        [corners.astype(np.float32) for corners, _, _, _ in views],
        size,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        flags=cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST,
    )
    real = scene.cameras["centre"]
    assert error < 0.15
    assert matrix[0, 0] == pytest.approx(real.fx_px, rel=0.002) and matrix[1, 1] == pytest.approx(real.fy_px, rel=0.002)
    assert np.abs(matrix[:2, 2] - [real.cx_px, real.cy_px]).max() < 5
    assert lens.ravel()[0] == pytest.approx(k1, abs=0.03)


def test_pixels_average_what_they_cover():
    """A half plane's edge through the image at many angles: the pixel sums follow the edge to 0.03 px."""
    camera = PinholeCamera(64, 64, 100.0, 100.0, 31.5, 31.5, RigidTransform(np.eye(3), np.zeros(3)))
    edges = np.array([0.0, 1000.0])
    half_plane = Pattern(edges, np.array([-1000.0, 1000.0]), np.zeros((1, 1), np.int64), np.ones((1, 3)))
    for degrees, shift in ((0, 0.13), (0, 0.41), (0.4, 0.2), (7, -0.3), (31, 0.07)):
        turn = np.deg2rad(degrees)
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        pose = RigidTransform(rotation, np.array([shift, 0.0, 100.0]))
        image = planar_view(camera, pose, half_plane).reflectance[..., 0]
        row = np.arange(64)
        edge = shift - (row - 31.5) * np.tan(turn)
        covered = 63.5 - (edge + 31.5)
        assert np.abs(image.sum(1) - covered).max() < 0.03
        if degrees:  # a slanted edge: the samples' steps cancel from row to row
            assert image.sum() == pytest.approx(covered.sum(), abs=0.1)


def test_rays_undo_the_projection():
    content = {"k1": -0.3, "k2": 0.2, "p1": 0.003, "p2": -0.002}
    camera = PinholeCamera.from_rig(rig_with_lens(**content).cameras[0]).scaled(300, 200)
    pixels = np.stack(np.meshgrid(np.linspace(-0.5, 299.5, 7), np.linspace(-0.5, 199.5, 5)), axis=2).reshape(-1, 2)
    points = camera.centre_mm + 800 * ray_directions(camera, pixels)
    assert np.abs(camera.project(points)[0] - pixels).max() < 1e-8


def test_uniform_light_and_analyser_on_the_card():
    scene = scene_of("flat", misalignment=0, width_px=600, height_px=400)
    for camera, part in (("left2", 1.0), ("right1", 1.0), ("centre", 0.5)):
        light = scene.light(shot_of(scene, f"flat_uniform_{camera}"))
        assert light == pytest.approx(0.6 * 0.6 * part, rel=1e-5)  # no pixel misses the card


@pytest.mark.parametrize("name", ["flash1", "flash7"])
def test_flash_on_the_card_follows_the_formula(name):
    scene = scene_of("flat", width_px=240, height_px=160)
    shot = shot_of(scene, f"flat_{name}_parallel_centre")
    parallel, cross = (scene.light(shot_of(scene, f"flat_{name}_{state}_centre")) for state in ("parallel", "cross"))
    lamp, camera = scene.rig.light(name), scene.cameras["centre"]
    assert lamp.position_mm is not None
    card = scene.placements[0].world_from_target()
    normal = -card.rotation[:, 2]
    for column, row in ((0, 0), (239, 159), (120, 30)):
        ray = ray_directions(camera, np.array([[column, row]]))[0]
        point = camera.centre_mm + ray * ((card.translation_mm - camera.centre_mm) @ normal) / (ray @ normal)
        offset, axis = np.array(lamp.position_mm) - point, np.array(lamp.aim_mm) - np.array(lamp.position_mm)
        distance = np.linalg.norm(offset)
        fall_off = (-offset @ axis / distance / np.linalg.norm(axis)) ** lamp.falloff_exponent
        expected = 0.6 * lamp.relative_energy * (750 / distance) ** 2 * fall_off * (offset @ normal) / distance / 2
        assert parallel[row, column] == pytest.approx(expected, rel=1e-4)
    assert parallel.max() * exposure_gain(scene.rig.centre.exposure) < 1, "burnt out"
    assert np.array_equal(parallel, cross)  # no gloss on the card: the pair is equal
    assert shot.pose == 0


def test_other_rigs_render_too(tmp_path):
    """Two centre bodies, and no uniform lamp: then all flashes share their energy, as the trigger box sets it."""
    content = load_example_rig().model_dump()
    centre = content["cameras"][2]
    cross = {**centre, "name": "cross", "role": "centre_cross", "serial": "063034018999"}
    centre["role"], content["rig"]["pair_mode"] = "centre_parallel", "two_bodies"
    content["cameras"] = [*content["cameras"], cross]
    content["lights"] = content["lights"][:9]
    rig = Rig.model_validate(content)
    folder = render_calibration(rig, "flat", TargetOptions(width_px=48, height_px=32), tmp_path / "flat")
    assert len(list((folder / "raw").iterdir())) == 6 + 36
    scene = scene_of("flat", rig, width_px=48, height_px=32, misalignment=0)
    parallel, crossed = (scene.light(shot_of(scene, f"glossball_flash4_pair_{name}")) for name in ("centre", "cross"))
    assert crossed.max() < 0.2 * parallel.max()
    together = scene.light(shot_of(scene, "flat_uniform_centre"))
    each = [scene.light(shot_of(scene, f"flat_{lamp.name}_pair_centre")) / lamp.relative_energy for lamp in rig.flashes]
    assert together == pytest.approx(0.75 / 9 * np.sum(each, axis=0), rel=1e-4)


def test_vignetting_takes_from_the_corners():
    plain, dim = (scene_of("flat", width_px=240, height_px=160, vignetting=v) for v in (0.0, 0.3))
    shot = shot_of(plain, "flat_uniform_left1")
    ratio = dim.light(shot)[..., 0] / plain.light(shot)[..., 0]
    assert ratio[80, 120] == pytest.approx(1, abs=1e-4) and ratio[0, 0] == pytest.approx(0.7, abs=0.006)


@pytest.mark.parametrize("leak", [0.005, 0.03])
def test_the_satin_ball_shows_the_leak(leak):
    """Regression of the crossed image on the parallel one; the rig's films stand at their nulls."""
    scene = scene_of("flat", misalignment=0, leak=leak)
    for name in ("flash2", "flash9"):
        parallel, cross = (
            scene.light(shot_of(scene, f"glossball_{name}_{state}_centre"))[..., 0] for state in ("parallel", "cross")
        )
        assert 0.3 < parallel.max() * exposure_gain(scene.rig.centre.exposure) < 0.95
        shiny = parallel > 0.5 * parallel.max()
        slope, _ = np.polyfit(parallel[shiny], cross[shiny], 1)
        assert slope == pytest.approx(leak, abs=0.002)
        pixel, _ = scene.cameras["centre"].project(
            scene.highlight_mm(shot_of(scene, f"glossball_{name}_cross_centre"), name)[None]
        )
        row, column = np.unravel_index(parallel.argmax(), parallel.shape)
        assert np.hypot(column - pixel[0, 0], row - pixel[0, 1]) < 3  # a broad lobe, its top near the mirror point


@pytest.mark.parametrize("camera", ["centre", "right2"])
def test_mirror_ball_shows_lamps_where_they_are(camera):
    scene = scene_of("sphere", width_px=900, height_px=600)
    for pose, name in ((0, "flash1"), (1, "flash8"), (2, "flash9")):
        shot = shot_of(scene, f"sphere{pose}_{name}_{camera}")
        light = scene.light(shot)[..., 0]
        pixel, _ = scene.cameras[camera].project(scene.highlight_mm(shot, name)[None])
        rows, columns = np.nonzero(light > 1)
        weight = light[rows, columns]
        centroid = [columns @ weight / weight.sum(), rows @ weight / weight.sum()]
        assert np.hypot(*(centroid - pixel[0])) < 0.1
        assert 10 < len(rows) < 60 and light.max() * exposure_gain(scene.rig.centre.exposure) > 1  # small and burnt out
        # the law of reflection, by itself
        ball, point = scene.ball(scene.placements[pose]), scene.highlight_mm(shot, name)
        normal = (point - ball.centre_mm) / ball.radius_mm
        to_camera, to_lamp = (
            scene.cameras[camera].centre_mm - point,
            np.array(scene.rig.light(name).position_mm) - point,
        )
        both = to_camera / np.linalg.norm(to_camera) + to_lamp / np.linalg.norm(to_lamp)
        assert np.linalg.norm(ball.centre_mm - point) == pytest.approx(50)
        assert np.linalg.norm(np.cross(both, normal)) < 1e-9


def test_highlights_of_the_mirror_ball_locate_the_flashes():
    """As light calibration will do it: burnt-out highlights of all cameras and places, mirrored rays, nearest point."""
    scene = scene_of("sphere", misalignment=3, width_px=1500, height_px=1000)
    for name in ("flash1", "flash8"):
        lamp, matrix, right = scene.rig.light(name), np.zeros((3, 3)), np.zeros(3)
        for shot in scene.plan.shots:
            if shot.lights == (name,):
                camera, ball = scene.cameras[shot.camera], scene.ball(scene.placements[shot.pose or 0])
                window, light = mirror_highlight(camera, ball, point_flash(lamp))
                weight = np.minimum(light.ravel() * exposure_gain(scene.rig.centre.exposure), 1)
                pixel = (window.pixels() * weight[:, None]).sum(0) / weight.sum()
                ray = ray_directions(camera, pixel[None])
                _, point, normal = meet(ball, camera.centre_mm, ray)
                mirrored = ray[0] - 2 * (ray[0] @ normal[0]) * normal[0]
                across = np.eye(3) - np.outer(mirrored, mirrored)
                matrix, right = matrix + across, right + across @ point[0]
        assert np.linalg.norm(np.linalg.solve(matrix, right) - np.array(lamp.position_mm)) < 4.5, name


def test_mirror_ball_in_uniform_light_shows_its_outline():
    scene = scene_of("sphere", misalignment=0, width_px=900, height_px=600)
    shot = shot_of(scene, "sphere1_uniform_left1")
    light, camera = scene.light(shot)[..., 0], scene.cameras["left1"]
    ball = scene.ball(scene.placements[1])
    distance = np.linalg.norm(ball.centre_mm - camera.centre_mm)
    # a ball fills a cone; its area in pixels is that of the cone's cut with the image plane
    sine = ball.radius_mm / distance
    axis = camera.cam_from_world.apply(ball.centre_mm) / distance
    minor2 = (sine / np.sqrt(axis[2] ** 2 - sine**2)) ** 2
    area = np.pi * camera.fx_px**2 * minor2 * axis[2] * np.sqrt(1 - sine**2) / np.sqrt(axis[2] ** 2 - sine**2)
    inside = light > 0.5 * light.max()
    assert inside.sum() == pytest.approx(area, rel=0.005)
    assert np.median(light[inside]) == pytest.approx(0.605 * 0.6, rel=0.02)
    assert light[~cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)].max() == 0


def test_misalignment_is_moderate_and_repeats():
    rig = load_example_rig()
    assert misaligned_rig(rig, 0) is rig
    real, again, other = (misaligned_rig(rig, seed) for seed in (5, 5, 6))
    assert real == again and real != other
    assert Rig.model_validate_json(real.model_dump_json()) == real
    for nominal, moved in zip(rig.cameras, real.cameras, strict=True):
        a, b = PinholeCamera.from_rig(nominal), PinholeCamera.from_rig(moved)
        assert 0.2 < np.linalg.norm(a.centre_mm - b.centre_mm) < 12
        turn = np.arccos((np.trace(a.cam_from_world.rotation.T @ b.cam_from_world.rotation) - 1) / 2)
        assert 0.01 < np.rad2deg(turn) < 1.2
        assert 0 < abs(b.fx_px / a.fx_px - 1) < 0.02 and 0 < abs(moved.lens.k1) < 0.15
        assert (moved.name, moved.serial, moved.exposure) == (nominal.name, nominal.serial, nominal.exposure)
    for nominal, moved in zip(rig.flashes, real.flashes, strict=True):
        offset = np.array(nominal.position_mm) - np.array(moved.position_mm)
        assert 0.5 < np.linalg.norm(offset) < 30 and isinstance(moved.film_deg, float)
        assert moved.relative_energy == pytest.approx(nominal.relative_energy, rel=0.15)


@pytest.fixture(scope="module")
def chart_folder(tmp_path_factory) -> Path:
    options = TargetOptions(width_px=600, height_px=400, misalignment=2)
    return render_calibration(load_example_rig(), "chart", options, tmp_path_factory.mktemp("targets") / "chart")


def test_chart_patches_have_their_true_values(chart_folder):
    described = json.loads((chart_folder / "cameras.json").read_text())
    rows = list(csv.DictReader((chart_folder / "truth/patches.csv").open()))
    assert len(rows) == 6 * 24 and {row["name"] for row in rows} == {name for name, _ in CLASSIC24}
    for row in rows:
        image, facts = read_tiff(chart_folder / f"images/{row['shot']}.tif")
        gain = described["cameras"][row["camera"]]["exposure_gain"]
        x, y = round(float(row["x_px"])), round(float(row["y_px"]))
        patch = image[y - 6 : y + 7, x - 6 : x + 7].astype(float)
        linear = (patch - facts["black_level"]) / (facts["white_level"] - facts["black_level"]) / gain
        truth = np.array([float(row[colour]) for colour in ("red", "green", "blue")])
        noise = np.sqrt((truth * gain * 30000 + 9) / 169) / 30000 / gain
        assert np.abs(linear.mean((0, 1)) - truth) == pytest.approx([0, 0, 0], abs=(5 * noise).max() + 1e-4), row
    white = next(row for row in rows if row["name"] == "white" and row["camera"] == "left2")
    energy = json.loads((chart_folder / "truth/lights.json").read_text())["lights"][-1]["relative_energy"]
    assert float(white["green"]) == pytest.approx(0.896 * energy, rel=0.002)  # sRGB 243
    assert float(white["green"]) / float(white["blue"]) > 1.005  # 243, 243, 242


def test_folder_holds_truth_and_knowledge_apart(chart_folder):
    manifest = json.loads((chart_folder / "scan.json").read_text())
    assert manifest["complete"] and manifest["facts"] == {"calibration": "chart", "placements": 1, "shots": 6}
    known, real = (json.loads((chart_folder / name).read_text()) for name in ("cameras.json", "truth/cameras.json"))
    nominal = PinholeCamera.from_rig(load_example_rig().cameras[0]).scaled(600, 400)
    assert known["cameras"]["left2"]["fx_px"] == nominal.fx_px != real["cameras"]["left2"]["fx_px"]
    assert "distortion" not in known["cameras"]["left2"] and len(real["cameras"]["left2"]["distortion"]) == 4
    described = json.loads((chart_folder / "targets.json").read_text())
    assert described["placements"][0]["text"].startswith("Hold the colour chart where the face will be")
    assert [shot["stem"] for shot in described["shots"]] == sorted(p.stem for p in (chart_folder / "images").iterdir())
    assert Rig.model_validate_json((chart_folder / "truth/rig.json").read_text()) == misaligned_rig(
        load_example_rig(), 2
    )


def test_raw_files_hold_the_same_numbers(chart_folder):
    image, _ = read_tiff(chart_folder / "images/02_chart_uniform_centre.tif")
    with rawpy.imread(str(chart_folder / "raw/02_chart_uniform_centre.dng")) as raw:
        mosaic = raw.raw_image_visible.copy()
    assert np.array_equal(mosaic[0::2, 0::2], image[0::2, 0::2, 0])
    assert np.array_equal(mosaic[1::2, 1::2], image[1::2, 1::2, 2])


def test_an_interrupted_take_continues_with_the_same_pixels(tmp_path):
    rig, options = load_example_rig(), TargetOptions(width_px=48, height_px=32)

    def stop(what: str, done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_calibration(rig, "dark", options, tmp_path / "cut", stop)
    assert not json.loads((tmp_path / "cut/scan.json").read_text())["complete"]
    seen: list[str] = []
    render_calibration(rig, "dark", options, tmp_path / "cut", lambda what, done, total: seen.append(what))
    assert len(seen) == 20 - 8 + 1 and seen[-1] == "complete"
    whole = render_calibration(rig, "dark", options, tmp_path / "whole")
    first, second = (json.loads((folder / "scan.json").read_text()) for folder in (tmp_path / "cut", whole))
    assert first["complete"] and first["files"] == second["files"]
    render_calibration(rig, "dark", options, whole, lambda what, done, total: seen.append(what))
    assert len(seen) == 14  # nothing was left to do
    with pytest.raises(UserError, match="holds another scan"):
        render_calibration(rig, "chart", options, whole)


def test_dark_frames_are_black_level_and_read_noise(tmp_path):
    options = TargetOptions(width_px=240, height_px=160)
    folder = render_calibration(load_example_rig(), "dark", options, tmp_path / "dark")
    sensor, frames = Sensor(), sorted((folder / "images").iterdir())
    assert len(frames) == 20
    stack = np.stack([read_tiff(path)[0].astype(float) for path in frames])
    noise_dn = sensor.read_noise_e * sensor.range_dn / sensor.full_well_e
    assert stack.mean() == pytest.approx(sensor.black_level, abs=0.02)
    assert stack.std() == pytest.approx(np.hypot(noise_dn, 12**-0.5), rel=0.02)
    assert np.abs(stack.mean((1, 2, 3)) - sensor.black_level).max() < 0.05
    assert abs(np.corrcoef(stack[0].ravel(), stack[1].ravel())[0, 1]) < 0.02  # every frame has its own noise


def test_sizes_that_cannot_be_are_refused(tmp_path):
    rig = load_example_rig()
    with pytest.raises(UserError, match="even width and height"):
        render_calibration(rig, "dark", TargetOptions(width_px=601, height_px=400), tmp_path / "a")
    with pytest.raises(UserError, match="aspect ratio"):
        render_calibration(rig, "dark", TargetOptions(width_px=600, height_px=600), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
