"""The `mesoface rig` commands as functions: what they print and what they refuse to overwrite."""

import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.rig import example_rig_path, load_rig
from mesoface.flows.rig_commands import check, example


def test_example_is_written_once(tmp_path, capsys):
    out = tmp_path / "rig.toml"
    example(out)
    assert out.read_bytes() == example_rig_path().read_bytes() and "mesoface rig check" in capsys.readouterr().out
    out.write_text("mine")
    with pytest.raises(UserError, match="--force"):
        example(out)
    assert out.read_text() == "mine"
    example(out, force=True)
    assert load_rig(out).name == "studio"
    with pytest.raises(UserError, match="is a folder"):
        example(tmp_path, force=True)


def test_check_prints_serials_films_plan_and_duration(capsys):
    check(example_rig_path())
    text = capsys.readouterr().out
    for part in (
        "063034018213",
        "12.7°",
        "22_flash9_cross",
        "23 exposures in 19 light steps, about 3.6 s",
        "no warnings",
    ):
        assert part in text


def test_check_prints_warnings_and_uncalibrated_cameras(tmp_path, capsys):
    text = example_rig_path().read_text().replace("frames_per_s = 5.0", "frames_per_s = 2.0")
    path = tmp_path / "rig.toml"
    path.write_text(text.replace("pose = { position_mm = [0.0, 0.0, 950.0] }", 'pose = "uncalibrated"'))
    check(path)
    printed = capsys.readouterr().out
    assert "uncalibrated" in printed and printed.count("warning:") == 2
