"""The live board: everything an operator must see fits on a terminal, and messages appear without one."""

import io

from rich.console import Console
from take_fixtures import RIG, new_take

from mesoface.capture.session_view import CameraView, SessionView
from mesoface.flows.capture_board import Board, shown


def a_view() -> SessionView:
    view = SessionView(title="S012_smile", phase="shooting", box="Box SIM0001")
    view.cameras = {camera.name: CameraView(camera.name, camera.serial, "ready", 100, 42) for camera in RIG.cameras}
    view.steps = {0: "shot", 1: "retry", **dict.fromkeys(range(2, 20), "waiting")}
    return view


def test_board_shows_cameras_steps_and_messages(tmp_path):
    view = a_view()
    view.set_step(1, "shooting")
    view.camera("left1", state="sending IMG_0001.CR2", files_done=1, files_total=2)
    view.transferred("left1", 5_000_000, 25_000_000, 21e6)
    view.say("flash 3 is slow", "warning")
    out = io.StringIO()
    with new_take(tmp_path) as take:
        Console(file=out, width=100, force_terminal=False).print(Board(view, take))
    text = out.getvalue()
    assert all(camera.serial in text for camera in RIG.cameras)
    for part in ("shooting", "100 %", "42", "sending IMG_0001.CR2", "1/2", "21 MB/s", "■U0", "▶P1", "·X18", "·U19"):
        assert part in text, part
    assert "step 1: flash1, parallel" in text and "flash 3 is slow" in text
    assert max(map(len, text.splitlines())) <= 100


def test_without_a_terminal_messages_are_lines(tmp_path):
    view, out = a_view(), io.StringIO()
    with new_take(tmp_path) as take, shown(view, take, Console(file=out, width=60), live=True):
        view.say("centre: connected again [ok]")
        assert out.getvalue() == "centre: connected again [ok]\n"
        view.say("a long line that must not be wrapped because somebody may search the log file for it", "error")
    assert len(out.getvalue().splitlines()) == 2 and len(view.messages) == 2
