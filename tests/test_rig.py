"""rig.toml: the shipped example is right, and every mistake is named with key, value and what is allowed."""

from pathlib import Path

import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.rig import Rig, Targets, example_rig_path, load_example_rig, load_rig, rig_warnings

EXAMPLE = example_rig_path().read_text()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rig.toml"
    path.write_text(text)
    return path


def message_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_rig(write(tmp_path, text))
    return str(caught.value)


def changed(*replacements: tuple[str, str]) -> str:
    """The example with the FIRST occurrence of each text replaced."""
    text = EXAMPLE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_example_is_the_papers_rig():
    rig = load_example_rig()
    assert len(rig.cameras) == 5 and len(rig.side_cameras) == 4 and len(rig.flashes) == 9
    assert rig.centre is rig.cross_camera and rig.centre.analyser_deg == 90
    assert {camera.model for camera in rig.cameras} == {"Canon EOS 760D"}
    assert all(len(camera.serial) == 12 and camera.serial.isdigit() for camera in rig.cameras)
    assert [light.name for light in rig.uniform_lights] == ["dome"]
    assert rig_warnings(rig) == []


def test_a_rig_survives_json():
    rig = load_example_rig()
    assert Rig.model_validate(rig.model_dump(mode="json")) == rig
    assert Rig.model_validate_json(rig.model_dump_json()) == rig


def test_targets_are_optional_and_the_example_shows_their_defaults(tmp_path):
    start, end = EXAMPLE.index("[targets]"), EXAMPLE.index("# ---", EXAMPLE.index("[targets]"))
    without = load_rig(write(tmp_path, EXAMPLE[:start] + EXAMPLE[end:]))
    assert without == load_example_rig()
    shown = {line.split(" = ")[0] for line in EXAMPLE[start:end].splitlines() if " = " in line}
    assert shown == set(Targets.model_fields)


def test_lookups_name_what_exists():
    rig = load_example_rig()
    assert rig.camera("left1").serial == "063034022590" and rig.light("flash3").channel == 3
    with pytest.raises(UserError, match="known: left2, left1, centre"):
        rig.camera("middle")
    with pytest.raises(UserError, match="known: flash1"):
        rig.light("flash10")


# (what is changed in the example), (key as written, value found, what is allowed)
MISTAKES = {
    "negative_focal": (
        ("focal_mm = 50.0", "focal_mm = -50.0"),
        ('cameras[0].lens.focal_mm ("left2")', "found -50.0", "a number above 0 and at most 2000: focal length in mm"),
    ),
    "unknown_key": (
        ("focal_mm = 50.0", "focal_mm = 50.0, focla_mm = 35"),
        ('cameras[0].lens.focla_mm ("left2")', "an unknown key", 'did you mean "focal_mm"?'),
    ),
    "unknown_limit": (
        ("recycle_s = 0.5", "recicle_s = 0.5"),
        ("limits.recicle_s", "an unknown key", 'did you mean "recycle_s"?'),
    ),
    "unknown_capture_key": (
        ("flash_delay_s = 0.06", "flash_dealy_s = 0.06"),
        ("capture.flash_dealy_s", "an unknown key", 'did you mean "flash_delay_s"?'),
    ),
    "unknown_target": (
        ("sphere_mm = 100.0", "sphere_cm = 10.0"),
        ("targets.sphere_cm", "an unknown key", 'did you mean "sphere_mm"?'),
    ),
    "markers_fill_the_squares": (
        ("board_marker_mm = 15.0", "board_marker_mm = 19.0"),
        ("targets.board_marker_mm", "found 19", "8 to 18 mm for squares of 20 mm"),
    ),
    "board_needs_more_markers": (
        ("board_squares = [12, 9]", "board_squares = [30, 20]"),
        ("targets.board_squares", "[30, 20], which needs 300 markers", "DICT_5X5_250 has 250 markers"),
    ),
    "board_of_one_square": (
        ("board_squares = [12, 9]", "board_squares = [12, 1]"),
        ("targets.board_squares[1]", "found 1", "squares of the ChArUco board, 3 to 30 each"),
    ),
    "unknown_dictionary": (
        ('"DICT_5X5_250" ', '"DICT_5X5_50" '),
        ("targets.board_dictionary", 'found "DICT_5X5_50"', '"DICT_5X5_250" or "DICT_5X5_1000"'),
    ),
    "too_few_poses": (
        ("board_poses = 15", "board_poses = 3"),
        ("targets.board_poses", "found 3", "at least 6 and at most 30: placements of the board"),
    ),
    "missing_key": (
        ('serial = "063034021847"\n', ""),
        ('cameras[0].serial ("left2")', "no such key", "text in quotes"),
    ),
    "serial_without_quotes": (
        ('serial = "063034021847"', "serial = 63034021847"),
        ("cameras[0].serial", "found 63034021847", "text in quotes"),
    ),
    "number_in_quotes": (
        ("iso = 100", 'iso = "100"'),
        ("cameras[0].exposure.iso", 'found "100"', "a whole number at least 50 and at most 102400"),
    ),
    "wrong_word": (
        ('white_balance = "Flash"', 'white_balance = "Auto"'),
        ("cameras[0].exposure.white_balance", 'found "Auto"', '"Daylight" or "Shadow"'),
    ),
    "wrong_role": (
        ('role = "side"', 'role = "centre"'),
        ("cameras:", '2 cameras with role "centre" (left2, centre)', 'exactly one camera with role "centre"'),
    ),
    "no_centre": (
        ('role = "centre"', 'role = "side"'),
        ("cameras:", '0 cameras with role "centre"', 'exactly one camera with role "centre"'),
    ),
    "role_of_the_other_mode": (
        ('role = "side"', 'role = "centre_cross"\nanalyser_deg = 90'),
        ("cameras[0].role", '"centre_cross"', '"centre" or "side" when pair_mode is "switched"'),
    ),
    "centre_without_analyser": (
        ('analyser = "linear"\nanalyser_deg = 90.0', 'analyser = "none"'),
        ('cameras[2].analyser ("centre")', 'found "none"', '"linear"'),
    ),
    "centre_without_angle": (
        ("analyser_deg = 90.0\n", ""),
        ("cameras[2].analyser_deg", "no value", "PARALLEL state in degrees"),
    ),
    "duplicate_serial": (
        ("063034022590", "063034021847"),
        ('cameras[1].serial ("left1")', '"063034021847", already used by cameras[0]', "a serial of its own"),
    ),
    "duplicate_channel": (
        ("channel = 10", "channel = 9"),
        ('lights[9].channel ("dome")', "9, already used by lights[8]", "a channel of its own"),
    ),
    "channel_out_of_range": (
        ("channel = 10", "channel = 33"),
        ('lights[9].channel ("dome")', "found 33", "at least 1 and at most 32"),
    ),
    "energy_out_of_range": (
        ("relative_energy = 1.08", "relative_energy = 4.5"),
        ("lights[0].relative_energy", "found 4.5", "above 0 and at most 4"),
    ),
    "wrong_film_word": (
        ('film_deg = "null"', 'film_deg = "vertical"'),
        ('lights[0].film_deg ("flash1")', 'found "vertical"', 'the word "null"'),
    ),
    "film_missing": (
        ('film_deg = "null"\n', ""),
        ('lights[0].film_deg ("flash1")', "no value", 'the word "null" in quotes'),
    ),
    "bare_flash": (
        ('polariser = "linear"', 'polariser = "none"'),
        ("lights[0].polariser", 'found "none"', '"linear" for a flash'),
    ),
    "uniform_with_position": (
        ("channel = 10", "channel = 10\nposition_mm = [0, 0, 700]"),
        ("lights[9].position_mm", "[0.0, 0.0, 700.0]", "no position_mm"),
    ),
    "wrong_pose_word": (
        ("pose = { position_mm = [0.0, 0.0, 950.0] }", 'pose = "unknown"'),
        ('cameras[2].pose ("centre")', 'found "unknown"', 'the word "uncalibrated"'),
    ),
    "two_coordinates": (
        ("position_mm = [0.0, 0.0, 950.0]", "position_mm = [0.0, 950.0]"),
        ("cameras[2].pose.position_mm", "[0.0, 950.0]", "a list of 3 numbers"),
    ),
    "infinite": (
        ("position_mm = [0.0, 0.0, 950.0]", "position_mm = [0.0, 0.0, inf]"),
        ("cameras[2].pose.position_mm[2]", "found inf", "a list of 3 numbers"),
    ),
    "looks_away": (
        ("position_mm = [0.0, 0.0, 950.0]", "position_mm = [0.0, 0.0, 950.0], target_mm = [0, 0, 2000]"),
        ('cameras[2].pose ("centre")', "target_mm [0.0, 0.0, 2000.0]", "contains subject.target_mm [0.0, 0.0, 0.0]"),
    ),
    "light_too_near": (
        ("position_mm = [0.0, 480.2, 614.6]", "position_mm = [0.0, 40.0, 60.0]"),
        ('lights[0].position_mm ("flash1")', "[0.0, 40.0, 60.0]", "at least 100 mm"),
    ),
    "light_behind": (
        ("position_mm = [0.0, 480.2, 614.6]", "position_mm = [0.0, 480.2, -614.6]"),
        ("lights[0].position_mm", "-614.6", "in front of the face"),
    ),
    "schema_version": (
        ("schema_version = 1 ", "schema_version = 2 "),
        ("rig.schema_version", "found 2", "allowed: 1"),
    ),
    "pair_mode": (
        ('pair_mode = "switched" ', 'pair_mode = "two bodies" '),
        ("rig.pair_mode", 'found "two bodies"', '"switched" or "two_bodies"'),
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_name_key_value_and_allowed(tmp_path, case):
    replacement, expected = MISTAKES[case]
    message = message_of(tmp_path, changed(replacement))
    lines = message.splitlines()
    assert lines[0].endswith("has 1 problem:") and len(lines) == 2, message
    for part in expected:
        assert part in lines[1], message
    assert "allowed: " in lines[1] and str(tmp_path / "rig.toml") in lines[1]


def test_all_mistakes_come_in_one_message(tmp_path):
    text = changed(
        ("focal_mm = 50.0", "focal_mm = 0"),
        ('serial = "063034018213"', 'serial = "063034022590"'),
        ("channel = 10", "channel = 9"),
        ("span_s = 5.0", "span_s = true"),
    )
    lines = message_of(tmp_path, text).splitlines()
    assert "4 problems" in lines[0] and len(lines) == 5
    for key in ("cameras[0].lens.focal_mm", "cameras[2].serial", "lights[9].channel", "limits.span_s"):
        assert sum(key in line for line in lines) == 1


def test_one_typo_copied_to_every_table_is_not_blamed_on_the_array(tmp_path):
    message = message_of(tmp_path, EXAMPLE.replace("focal_mm = 50.0 }", "focla_mm = 50.0 }"))
    assert len(message.splitlines()) == 1 + 2 * 5  # per camera: an unknown key, and the one it should have been
    assert " cameras: " not in message


def test_empty_arrays_are_named(tmp_path):
    message = message_of(
        tmp_path, "cameras = []\nlights = []\n" + EXAMPLE[EXAMPLE.index("[rig]") : EXAMPLE.index("# ---")]
    )
    assert "cameras: found 0 cameras" in message and "lights: found 0 flashes" in message


def test_messages_point_at_the_line(tmp_path):
    text = changed(("channel = 10", "channel = 33"), ("span_s = 5.0", "span_s = -1"))
    lines = text.splitlines()
    message = message_of(tmp_path, text)
    assert f"rig.toml:{lines.index('channel = 33') + 1}: lights[9].channel" in message
    span_line = next(number for number, line in enumerate(lines, start=1) if line.startswith("span_s"))
    assert f"rig.toml:{span_line}: limits.span_s" in message


def test_sub_tables_may_be_written_out(tmp_path):
    text = changed(
        (
            'sensor = { width_px = 6000, height_px = 4000, width_mm = 22.3 }\nlens = { focal_mm = 50.0 }\n',
            'lens.focal_mm = 50.0\nsensor.width_px = 6000\nsensor.height_px = 4000\nsensor.width_mm = 22.3\n',
        )
    )  # fmt: skip
    assert load_rig(write(tmp_path, text)) == load_example_rig()


def test_toml_syntax_errors_give_line_and_column(tmp_path):
    message = message_of(tmp_path, changed(("channel = 10", "channel = ")))
    line = changed(("channel = 10", "channel = ")).splitlines().index("channel = ") + 1
    assert "not valid TOML" in message and f"line {line}, column 11" in message


@pytest.mark.parametrize(
    "text", ["", "cameras = 3\nlights = 'x'\nrig = []", "[[rig]]\nname = 'x'", "[cameras]\n[lights]"]
)
def test_hopeless_files_still_give_a_message(tmp_path, text):
    message = message_of(tmp_path, text)
    assert "rig:" in message and "cameras:" in message and "lights:" in message


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"no rig file at .*mesoface rig example"):
        load_rig(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the rig file"):
        load_rig(tmp_path / "binary.toml")


def test_flash_count_limits(tmp_path):
    head, *lights = EXAMPLE.split("[[lights]]\n")
    two = "[[lights]]\n".join([head, *lights[:2], lights[-1]])
    assert "found 2 flashes; allowed: 3 to 31 lights" in message_of(tmp_path, two)
    three = "[[lights]]\n".join([head, *lights[:3], lights[-1]])
    assert len(load_rig(write(tmp_path, three)).flashes) == 3


def test_uncalibrated_cameras_are_allowed_and_remarked(tmp_path):
    rig = load_rig(write(tmp_path, changed(("pose = { position_mm = [544.9, 0.0, 778.2] }", 'pose = "uncalibrated"'))))
    assert rig.cameras[0].pose is None
    assert any("left2" in warning and "not checked" in warning for warning in rig_warnings(rig))


# (what is changed in the example), (what the one warning says)
REMARKS = {
    "slow_bodies": (("frames_per_s = 5.0", "frames_per_s = 3.0"), "23 exposures take 6.0 s at 3 frames per s"),
    "slow_lamps": (("recycle_s = 0.5", "recycle_s = 3.0"), "limits.span_s is 5 s"),
    "leak": (
        ('611.7]\npolariser = "linear"\nfilm_deg = "null"', '611.7]\npolariser = "linear"\nfilm_deg = 0'),
        "flash flash2 leaks 5.0 % specular in the crossed image with its film at 0.0 degrees (null at 12.7)",
    ),
    "shutter": (("shutter_s = 0.1", "shutter_s = 0.001"), 'camera "left2": shutter_s 0.001 s is faster'),
    "cut_off": (("extent_mm = [180.0, 240.0", "extent_mm = [180.0, 340.0"), "cuts off part of the subject"),
    "in_the_way": (("[86.5, 190.0, 615.5]", "[60.0, 20.0, 615.5]"), 'line of sight of camera "centre"'),
    "grazing": (("[0.0, 480.2, 614.6]", "[0.0, 700.2, 214.6]"), "flash flash1 is 73 degrees from the centre"),
}  # fmt: skip


@pytest.mark.parametrize("case", REMARKS)
def test_warnings(tmp_path, case):
    replacement, expected = REMARKS[case]
    warnings = rig_warnings(load_rig(write(tmp_path, changed(replacement))))
    assert any(expected in warning for warning in warnings), warnings


def test_two_bodies_rig(tmp_path):
    centre = EXAMPLE[EXAMPLE.index('[[cameras]]\nname = "centre"') : EXAMPLE.index('[[cameras]]\nname = "right1"')]
    second = centre.replace('"centre"', '"cross"', 1).replace('role = "centre"', 'role = "centre_cross"')
    second = second.replace("063034018213", "063034018999")
    text = EXAMPLE.replace('pair_mode = "switched" ', 'pair_mode = "two_bodies" ')
    missing = message_of(tmp_path, text)
    assert 'exactly one camera with role "centre_parallel" when rig.pair_mode is "two_bodies"' in missing
    both = text.replace(centre, centre.replace('role = "centre"', 'role = "centre_parallel"') + second)
    rig = load_rig(write(tmp_path, both))
    assert rig.centre.role == "centre_parallel" and rig.cross_camera.name == "cross"
    other_sensor = second.replace("width_px = 6000", "width_px = 5472")
    assert "another sensor; allowed: the sensor of" in message_of(tmp_path, both.replace(second, other_sensor))
