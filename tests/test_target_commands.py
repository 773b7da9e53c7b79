"""`mesoface studio targets` and `mesoface rig board`, as functions: files, messages, refusals."""

import json
from pathlib import Path

import pytest

from mesoface.capture.errors import UserError
from mesoface.capture.rig import example_rig_path
from mesoface.flows.target_commands import board, targets
from mesoface.reconstruct.studio_checks import check_scan


def test_targets_renders_a_take(tmp_path: Path, capsys):
    targets(kind="chart", out=tmp_path / "chart", size="48x32", misalignment=2)
    assert "chart take:" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "chart/scan.json").read_text())
    assert manifest["complete"] and manifest["content"]["options"]["misalignment"] == 2
    with pytest.raises(UserError, match="seed 0 there, 7 asked for"):
        targets(kind="chart", out=tmp_path / "chart", size="48x32", misalignment=2, seed=7)
    with pytest.raises(UserError):  # a take is no scan of a face; say so, don't stumble
        check_scan(tmp_path / "chart")


def test_board_follows_the_rig_and_keeps_files(tmp_path: Path, capsys):
    rig = tmp_path / "rig.toml"
    rig.write_text(example_rig_path().read_text().replace("board_square_mm = 20.0", "board_square_mm = 24.6"))
    board(tmp_path / "board.svg", rig=rig)
    said = capsys.readouterr().out
    assert "420 x 297 mm" in said and "12 x 9 squares of 24.6 mm" in said and "100 %" in said
    assert "square 24.6 mm" in (tmp_path / "board.svg").read_text()
    with pytest.raises(UserError, match="--force"):
        board(tmp_path / "board.svg")
    board(tmp_path / "board.svg", force=True)
    assert "square 20 mm" in (tmp_path / "board.svg").read_text()
    with pytest.raises(UserError, match="is a folder"):
        board(tmp_path)
