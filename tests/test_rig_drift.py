"""Has the rig moved? Synthetic matches with noise and wrong ones, on the shipped rig: nothing rendered."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mesoface.capture.camera_model import PinholeCamera
from mesoface.capture.errors import UserError
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rigid import RigidTransform
from mesoface.reconstruct.board_triangulation import triangulate
from mesoface.reconstruct.rig_drift import check_drift
from mesoface.reconstruct.rig_files import CalibratedRig
from mesoface.reconstruct.rig_refine import refine_poses
from mesoface.reconstruct.rig_tracks import RigPoses, TrackTable, tracks_of_matches

RIG = load_example_rig()
CAMERAS = {
    camera.name: replace(
        PinholeCamera.from_rig(camera).scaled(1500, 1000), distortion=(-0.05 + 0.02 * k, 0.01, 1e-4, -1e-4)
    )
    for k, camera in enumerate(RIG.cameras)
}
CALIBRATED = CalibratedRig(
    RIG.name, "centre", CAMERAS, {c.name: c.serial for c in RIG.cameras}, dict.fromkeys(CAMERAS, 0.02)
)


def tracks_of(cameras, count=250, noise_px=0.3, wrong=0.1, seen=0.7, seed=0) -> list[dict[str, np.ndarray]]:
    """Points on a face; a share of all observations is 20 px off."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-80, -100, -30], [80, 100, 40], (count, 3))
    tracks: list[dict[str, np.ndarray]] = [{} for _ in points]
    for name, camera in cameras.items():
        pixels = camera.project(points)[0] + rng.normal(0, noise_px, (count, 2))
        bad = rng.random(count) < wrong
        pixels[bad] += rng.normal(0, 20, (bad.sum(), 2))
        for track, pixel, there in zip(tracks, pixels, rng.random(count) < seen, strict=True):
            if there:
                track[name] = pixel
    return tracks


def turned(camera: PinholeCamera, deg: float, mm: float = 0.0) -> PinholeCamera:
    """Turned about its own centre, and shifted."""
    rotation = Rotation.from_rotvec(np.deg2rad(deg) * np.array([0.6, 0.7, 0.4])).as_matrix()
    rotation = rotation @ camera.cam_from_world.rotation
    centre = camera.centre_mm + mm * np.array([0.5, 0.8, 0.3])
    return replace(camera, cam_from_world=RigidTransform(rotation, -rotation @ centre))


def picture_shift_px(first: PinholeCamera, second: PinholeCamera) -> float:
    points = np.random.default_rng(9).uniform(-60, 60, (60, 3))
    return float(np.median(np.linalg.norm(first.project(points)[0] - second.project(points)[0], axis=1)))


@pytest.mark.parametrize("noise_px", [0.3, 0.6])
@pytest.mark.parametrize("count", [60, 250])
def test_a_rig_that_stands_still_is_not_suspected(noise_px, count):
    drift = check_drift(CALIBRATED, tracks_of(CAMERAS, count, noise_px))
    assert drift.warnings == () and drift.moved == "" and not drift.drifted
    # mean length of offsets with this noise, less what triangulation takes up; a tenth of wrong matches does not show
    assert 0.8 * noise_px < drift.error_px < 1.1 * noise_px
    assert set(drift.per_camera_px) == set(CAMERAS) and max(drift.per_camera_px.values()) < 1.4 * noise_px
    assert drift.refined is not None and max(drift.refined.moved_mm.values()) < 0.1


@pytest.mark.parametrize("noise_px", [0.3, 0.6])
@pytest.mark.parametrize(("name", "deg", "mm"), [("left2", 0.025, 0), ("centre", 0.025, 0), ("right1", 0, 0.6),
                                                 ("right2", 0.5, 3.0)])  # fmt: skip
def test_the_camera_that_moved_is_named_and_brought_back(name, deg, mm, noise_px):
    moved = CAMERAS | {name: turned(CAMERAS[name], deg, mm)}
    drift = check_drift(CALIBRATED, tracks_of(moved, noise_px=noise_px))
    assert drift.drifted and drift.moved == name
    assert len(drift.warnings) == 1 and f"view {name}: has moved" in drift.warnings[0]
    assert drift.refined is not None
    before, after = (picture_shift_px(c[name], moved[name]) for c in (CAMERAS, drift.refined.cameras))
    assert before > 1.2 and after < 0.6 and drift.refined.after_px < 1.1 * noise_px
    assert drift.refined.shift_px[name] == pytest.approx(before, rel=0.5)
    for other, camera in drift.refined.cameras.items():  # frame and scale stay: nobody else goes along
        if other != name:
            assert np.linalg.norm(camera.centre_mm - CAMERAS[other].centre_mm) < 0.1
        assert camera.matrix_px == pytest.approx(CAMERAS[other].matrix_px)


def test_exchanged_views_are_named():
    names = {"left1": "right2", "right2": "left1"}
    tracks = [{names.get(name, name): pixel for name, pixel in track.items()} for track in tracks_of(CAMERAS, 120)]
    drift = check_drift(CALIBRATED, tracks)
    assert drift.exchanged == ("left1", "right2") and drift.moved == ""
    assert any("left1 and right2 have each other's pictures" in text for text in drift.warnings)


def test_several_moved_cameras_are_not_blamed_on_one():
    moved = {name: turned(camera, 0.04 * (-1) ** k * k) for k, (name, camera) in enumerate(CAMERAS.items())}
    drift = check_drift(CALIBRATED, tracks_of(moved))
    assert drift.drifted and drift.moved == "" and "several cameras" in drift.warnings[0]


def test_pictures_of_another_size_without_distortion_and_without_one_view():
    """As the geometry stage calls it: scaled, undistorted, one view missing."""
    cameras = {name: camera.scaled(750, 500).undistorted() for name, camera in CAMERAS.items() if name != "left1"}
    moved = cameras | {"right2": turned(cameras["right2"], 0.1)}
    drift = check_drift(CALIBRATED, tracks_of(moved), cameras)
    assert drift.moved == "right2" and "left1" not in drift.per_camera_px
    assert check_drift(CALIBRATED, tracks_of(cameras), cameras).warnings == ()
    large = {name: camera.scaled(6000, 4000) for name, camera in CAMERAS.items()}
    assert check_drift(CALIBRATED, tracks_of(large), large).limit_px == pytest.approx(1.2, abs=0.05)


def test_too_few_matches_are_refused_with_their_numbers():
    with pytest.raises(UserError, match=r"points matched .*30 are needed .*view left2: \d+"):
        check_drift(CALIBRATED, tracks_of(CAMERAS, 20))
    blind = [{name: pixel for name, pixel in track.items() if name != "right1"} for track in tracks_of(CAMERAS)]
    assert "view right1: 0 matched points" in check_drift(CALIBRATED, blind).warnings[0]
    with pytest.raises(UserError, match="view right1 has 0 matched points, 20 are needed"):
        refine_poses(CAMERAS, blind)
    with pytest.raises(UserError, match="60 are needed"):
        refine_poses(CAMERAS, tracks_of(CAMERAS, 50))
    with pytest.raises(UserError, match="2 views, 3 are needed"):
        refine_poses({name: CAMERAS[name] for name in ("left1", "centre")}, tracks_of(CAMERAS))
    rng = np.random.default_rng(0)
    nonsense = [{name: rng.uniform(0, 1000, 2) for name in CAMERAS} for _ in range(100)]
    drift = check_drift(CALIBRATED, nonsense)
    assert drift.warnings and drift.moved == ""


def test_triangulation_has_the_least_reprojection_error():
    """Against the iterated triangulation of single points in board_triangulation.py."""
    tracks = tracks_of(CAMERAS, 12, noise_px=0.5, wrong=0, seen=1)
    points, offsets = TrackTable.of(CAMERAS, tracks).solve(RigPoses.of(CAMERAS))
    straight = {name: camera.undistorted() for name, camera in CAMERAS.items()}
    for track, point, offset in zip(tracks, points, offsets, strict=True):
        best = triangulate(list(CAMERAS.values()), np.array(list(track.values())))
        assert np.linalg.norm(point - best) < 0.02
        pixels = np.array([straight[name].project(point[None])[0][0] for name in CAMERAS])
        slopes = TrackTable.of(CAMERAS, [track]).slopes[0]
        middle = np.array([[c.cx_px, c.cy_px] for c in CAMERAS.values()])
        focal = np.array([[c.fx_px, c.fy_px] for c in CAMERAS.values()])
        assert np.abs(pixels - (slopes * focal + middle) - offset).max() < 0.01


def test_matches_are_chained_and_contradictions_dropped():
    keypoints = {name: np.arange(20.0).reshape(10, 2) + 100 * k for k, name in enumerate(("a", "b", "c"))}
    matches = {
        ("a", "b"): np.array([[0, 1], [2, 2], [5, 6]]),
        ("b", "c"): np.array([[1, 3], [2, 4], [6, 7]]),
        ("a", "c"): np.array([[0, 3], [2, 5], [9, 9]]),  # the second says that a2 is both c4 (by b2) and c5
    }
    tracks = tracks_of_matches(keypoints, matches)
    assert sorted(tuple(sorted(track)) for track in tracks) == [("a", "b", "c"), ("a", "b", "c"), ("a", "c")]
    first = next(track for track in tracks if np.array_equal(track["a"], keypoints["a"][0]))
    assert np.array_equal(first["b"], keypoints["b"][1]) and np.array_equal(first["c"], keypoints["c"][3])
