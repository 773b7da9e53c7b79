"""Registration of the face between exposures: right to a fraction of a pixel, whatever the light does."""

import json

import cv2
import numpy as np
import pytest
from quality_fixtures import StudioTake, crossed, parallel
from scipy.spatial.transform import Rotation

from mesoface.capture.quality_face import face_window
from mesoface.capture.quality_models import Take
from mesoface.capture.quality_motion import colour_ratios, measure_shift
from mesoface.capture.quality_path import subject_path
from mesoface.capture.rig import load_example_rig


@pytest.fixture(scope="module")
def take(tiny_scan, tmp_path_factory) -> StudioTake:
    return StudioTake.of(tiny_scan, tmp_path_factory.mktemp("frames"), load_example_rig())


def prepared(take: StudioTake, index: int, moved: np.ndarray | None = None, gain: float = 1.0):
    facts = take.facts[index]
    window = face_window(take.rig, "centre", *facts.view_px)
    face = facts.face
    if moved is not None:
        face = cv2.warpAffine(face, moved, face.shape[1::-1], flags=cv2.INTER_CUBIC)
    return colour_ratios(np.asarray(gain * face, np.float32), window.mask, facts.mm_per_px)


def moving(take: StudioTake, right_mm: float, down_mm: float, turn_deg: float) -> np.ndarray:
    """The affine map of a face box that moves and turns about its middle, clockwise positive."""
    height, width = take.facts[2].face.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -turn_deg, 1.0)
    return matrix + np.array([[0, 0, right_mm], [0, 0, down_mm]]) / take.facts[2].mm_per_px


@pytest.mark.parametrize("right_mm, down_mm, turn_deg", [(0, 0, 0), (1.5, -0.6, 0), (-6, 4, 1.5), (0.4, 9, -3)])
@pytest.mark.parametrize("flash", [2, 6])
def test_known_motion_is_measured(take, right_mm, down_mm, turn_deg, flash):
    """Same light, half the brightness: a tenth of a pixel (1.9 mm)."""
    after = prepared(take, crossed(flash), moving(take, right_mm, down_mm, turn_deg), gain=0.5)
    shift = measure_shift(prepared(take, crossed(flash)), after)
    assert shift.right_mm == pytest.approx(right_mm, abs=0.2)
    assert shift.down_mm == pytest.approx(down_mm, abs=0.2)
    assert shift.turn_deg == pytest.approx(turn_deg, abs=0.25)
    assert shift.overlap > 0.3


def test_light_alone_moves_nothing(take):
    """Every crossed frame against every other: shadows move by centimetres, the skin by nothing."""
    frames = {flash: prepared(take, crossed(flash)) for flash in (1, 4, 6, 8)}
    distances = [
        measure_shift(frames[a], frames[b]).largest_mm for a in frames for b in frames if a != b
    ]  # fmt: skip
    assert max(distances) < 0.7 and np.mean(distances) < 0.4
    # highlights of the parallel frame are outliers
    for flash in (2, 9):
        shift = measure_shift(prepared(take, crossed(flash)), prepared(take, parallel(flash)))
        assert shift.largest_mm < 0.25


def test_other_light_and_motion_together(take):
    after = prepared(take, crossed(4), moving(take, 3.0, -2.0, 1.0))
    shift = measure_shift(prepared(take, crossed(9)), after)
    assert shift.right_mm == pytest.approx(3.0, abs=0.5)
    assert shift.down_mm == pytest.approx(-2.0, abs=0.5)


def test_dark_frames_tell_nothing(take):
    facts = take.facts[2]
    window = face_window(take.rig, "centre", *facts.view_px)
    dark = colour_ratios(np.zeros_like(facts.face), window.mask, facts.mm_per_px)
    assert measure_shift(prepared(take, 2), dark).overlap == 0
    other = colour_ratios(facts.face[:-8], window.mask[:-8], facts.mm_per_px)
    with pytest.raises(ValueError, match="one size"):
        measure_shift(prepared(take, 2), other)


def test_path_starts_at_the_first_exposure(take):
    facts = dict(take.facts)
    path = subject_path(Take(take.rig, take.shots, facts, {}), set())
    assert set(path) == {s.index for s in take.shots if s.camera == "centre"}
    assert path[2].largest_mm == 0, "the uniform frame of the centre body comes first"
    assert max(shift.largest_mm for shift in path.values()) < 0.9
    without = subject_path(Take(take.rig, take.shots, facts, {}), {2, crossed(9)})
    assert 2 not in without and crossed(9) not in without and parallel(9) in without
    assert without[parallel(1)].largest_mm == 0
    assert subject_path(Take(take.rig, take.shots, {}, {}), set()) == {}


@pytest.mark.slow
def test_drifting_subject_of_the_studio(tmp_path):
    """The virtual subject moves by some millimetres; its path comes back within a fraction of a pixel (0.75 mm)."""
    from mesoface.reconstruct.studio import render_scan
    from mesoface.reconstruct.studio_options import StudioOptions

    rig = load_example_rig()
    options = StudioOptions(width_px=600, height_px=400, subject=7, motion_mm=2.0, seed=4, samples=1)
    options = options.model_copy(update={"interreflection": False})
    scan = render_scan(rig, options, tmp_path / "scan")
    moving_take = StudioTake.of(scan, tmp_path, rig)
    path = subject_path(Take(rig, moving_take.shots, moving_take.facts, {}), set())
    poses = json.loads((scan / "truth" / "motion.json").read_text())["exposures"]
    places = {i: np.array(poses[i]["translation_mm"]) for i in path}
    turns = {i: Rotation.from_matrix(poses[i]["rotation"]).as_rotvec(degrees=True)[2] for i in path}
    errors = []
    for i, shift in path.items():
        true = places[i] - places[2]
        errors.append((shift.right_mm - true[0], shift.down_mm + true[1], shift.turn_deg + turns[i] - turns[2]))
    rms = np.sqrt(np.mean(np.square(errors), axis=0))
    assert max(np.hypot(*(places[i] - places[2])[:2]) for i in path) > 2.0
    assert rms[0] < 0.25 and rms[1] < 0.25 and rms[2] < 0.15
