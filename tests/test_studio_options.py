"""What is checked before a scan is rendered: sizes, memory, expressions; and the subject's drift."""

import numpy as np
import pytest
from pydantic import ValidationError

from mesoface.capture.errors import UserError
from mesoface.capture.rig import load_example_rig
from mesoface.reconstruct import studio_options
from mesoface.reconstruct.expressions import EXPRESSIONS, activations_of
from mesoface.reconstruct.face_model import UNIT_NAMES
from mesoface.reconstruct.head_motion import drift
from mesoface.reconstruct.studio_options import (
    SIZES,
    StudioOptions,
    check_options,
    memory_available_bytes,
    memory_needed_bytes,
    parse_size,
)

# -- sizes and memory ---------------------------------------------------------------------------------------------


def test_parse_size():
    assert parse_size("tiny") == SIZES["tiny"] and parse_size("full") == (6000, 4000)
    assert parse_size("1500x1000") == parse_size("1500X1000") == (1500, 1000)


@pytest.mark.parametrize(
    "text", ["", "huge", "Tiny ", "x", "100x", "x100", "10 x 10", "-5x5", "1.5x2", "1x2x3", "1e3x1e3"]
)
def test_bad_sizes(text):
    with pytest.raises(UserError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value) and "medium" in str(caught.value) and "1500x1000" in str(caught.value)


@pytest.mark.parametrize("text", ["²x³", "٣٠٠x٢٠٠"])
def test_sizes_in_other_digits(text):
    """`str.isdigit` is true for superscripts, which `int` refuses."""
    try:
        assert parse_size(text) == (300, 200)
    except UserError as error:
        assert repr(text) in str(error)


def test_presets_are_in_bounds_and_in_order():
    pixels = [width * height for width, height in SIZES.values()]
    assert pixels == sorted(pixels)
    for width, height in SIZES.values():
        options = StudioOptions(width_px=width, height_px=height)
        assert 0.2 <= options.edge_mm <= 0.8 and options.map_size in (1024, 2048, 4096)
    edges = [StudioOptions(width_px=w, height_px=h).edge_mm for w, h in SIZES.values()]
    assert edges == sorted(edges, reverse=True)


@pytest.mark.parametrize(
    "bad", [{"width_px": 10}, {"samples": 0}, {"leak": 1.0}, {"engine": "cuda"}, {"leek": 0}, {"seed": -1}]
)
def test_options_are_bounded(bad):
    with pytest.raises(ValidationError):
        StudioOptions(**bad)


def test_memory_message(monkeypatch):
    rig, options = load_example_rig(), StudioOptions(width_px=6000, height_px=4000)
    needed = memory_needed_bytes(options)
    monkeypatch.setattr(studio_options, "memory_available_bytes", lambda: needed)
    check_options(options, rig)
    monkeypatch.setattr(studio_options, "memory_available_bytes", lambda: 3 * 2**30 // 2)
    with pytest.raises(UserError) as caught:
        check_options(options, rig)
    message = str(caught.value)
    medium = memory_needed_bytes(StudioOptions()) / 2**30
    for part in ("6000x4000", f"{needed / 2**30:.1f} GiB", "1.5 GiB are free", "--size", f"needs {medium:.1f} GiB"):
        assert part in message


def test_memory_grows_with_the_image():
    needed = [memory_needed_bytes(StudioOptions(width_px=w, height_px=h)) for w, h in SIZES.values()]
    assert needed == sorted(needed) and needed[0] > 4e8
    assert 1e7 < memory_available_bytes() < 1e14


def test_options_are_checked_before_work():
    rig = load_example_rig()
    with pytest.raises(UserError, match="grin"):
        check_options(StudioOptions(width_px=240, height_px=160, expression="grin"), rig)
    with pytest.raises(UserError, match="aspect"):
        check_options(StudioOptions(width_px=240, height_px=240), rig)


# -- expressions --------------------------------------------------------------------------------------------------


def test_expressions_use_known_units_only():
    for units in EXPRESSIONS.values():
        assert set(units) <= set(UNIT_NAMES) and all(0 < v <= 1 for v in units.values())


def test_expressions_add_up():
    assert activations_of("neutral") == {}
    assert activations_of("smile") == EXPRESSIONS["smile"]
    assert activations_of("smile:0.5") == pytest.approx({k: v / 2 for k, v in EXPRESSIONS["smile"].items()})
    assert activations_of("jaw_open:0.3") == {"jaw_open": 0.3}
    assert activations_of(" mouth_open:0.5 + jaw_open:0.3 ") == pytest.approx({"jaw_open": 0.8})
    assert activations_of("laugh+mouth_open")["jaw_open"] == 1.0
    assert activations_of("smile:0") == pytest.approx(dict.fromkeys(EXPRESSIONS["smile"], 0.0))


def test_expressions_do_not_share_state():
    activations_of("smile")["jaw_open"] = 9.0
    assert "jaw_open" not in activations_of("smile")


@pytest.mark.parametrize(
    ("text", "named"),
    [("grin", "grin"), ("", "''"), ("smile+", "''"), ("smile:2", "'2'"), ("smile:-0.1", "-0.1"), ("smile:x", "'x'"),
     ("smile:nan", "nan"), ("smile:0.5:0.5", "0.5:0.5"), ("Smile", "Smile"), ("smile,frown", "smile,frown")],
)  # fmt: skip
def test_bad_expressions(text, named):
    with pytest.raises(UserError) as caught:
        activations_of(text)
    assert repr(text) in str(caught.value) and named in str(caught.value)


def test_unknown_names_are_answered_with_the_allowed_ones():
    with pytest.raises(UserError) as caught:
        activations_of("grin")
    assert "smile" in str(caught.value) and "jaw_open" in str(caught.value)


# -- the subject's drift ------------------------------------------------------------------------------------------


def centres(motion) -> np.ndarray:
    return np.array([step.apply(np.zeros((1, 3)))[0] for step in motion])


@pytest.mark.parametrize("amplitude", [0.5, 3.0])
@pytest.mark.parametrize("seed", [0, 7])
def test_drift_starts_at_rest_and_has_its_amplitude(amplitude, seed):
    motion = drift(18, amplitude, seed)
    assert len(motion) == 18
    assert np.array_equal(motion[0].rotation, np.eye(3)) and motion[0].translation_mm == pytest.approx(0, abs=1e-12)
    moved = np.linalg.norm(centres(motion), axis=1)
    # the turn about the neck moves the face centre as well: 0.27 mm per mm of shift, in any direction
    assert np.sqrt((moved**2).mean()) == pytest.approx(amplitude, rel=0.4)
    steps = np.linalg.norm(np.diff(centres(motion), axis=0), axis=1)
    assert steps.max() < 1.5 * amplitude and (steps > 0).all()
    for step in motion:
        turn = np.rad2deg(np.arccos(np.clip((np.trace(step.rotation) - 1) / 2, -1, 1)))
        assert turn < 0.1 * amplitude * 6


def test_drift_amplitude_is_the_documented_one_on_average():
    squares = [(np.linalg.norm(centres(drift(18, 2.0, seed)), axis=1) ** 2).mean() for seed in range(40)]
    assert np.sqrt(np.mean(squares)) == pytest.approx(2.0, rel=0.05)


def test_drift_is_decided_by_its_seed():
    assert np.array_equal(centres(drift(9, 1.0, 4)), centres(drift(9, 1.0, 4)))
    assert not np.array_equal(centres(drift(9, 1.0, 4)), centres(drift(9, 1.0, 5)))
    assert centres(drift(9, 2.0, 4)) == pytest.approx(2 * centres(drift(9, 1.0, 4)), abs=0.01)


@pytest.mark.parametrize("amplitude", [0.0, -1.0])
def test_no_drift(amplitude):
    motion = drift(5, amplitude, 3)
    assert len(motion) == 5
    for step in motion:
        assert np.array_equal(step.rotation, np.eye(3)) and not step.translation_mm.any()


def test_drift_of_a_single_exposure():
    (only,) = drift(1, 2.0, 3)
    assert only.translation_mm == pytest.approx(0, abs=1e-12)
