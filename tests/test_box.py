"""The host's side of the trigger box: every way a port, an answer or a sequence can be wrong, in words."""

import os
import statistics
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mesoface.capture.box import BoxError, TriggerBox, check_sequence, expected_times_s, find_box
from mesoface.capture.box_protocol import BoxStep, box_steps, sequence_crc
from mesoface.capture.plan import shot_plan, step_times_s, steps
from mesoface.capture.rig import load_example_rig
from mesoface.capture.sim_box import SimBox
from mesoface.capture.sim_box_parts import BoxFault, BoxFaultKind
from mesoface.capture.sim_box_port import SimBoxPort

RIG = load_example_rig()
SEQUENCE = box_steps(RIG, steps(shot_plan(RIG), RIG))


@pytest.fixture
def sim() -> SimBox:
    return SimBox(speed=5.0)


@pytest.fixture
def port(sim: SimBox) -> Iterator[SimBoxPort]:
    with SimBoxPort(sim) as opened:
        yield opened


@pytest.fixture
def box(port: SimBoxPort) -> Iterator[TriggerBox]:
    with TriggerBox.open(port.path, timeout_s=0.25) as opened:
        yield opened


def soon(seconds: float = 3.0) -> float:
    return time.monotonic() + seconds


@contextmanager
def device(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """A serial device that answers each line with `answer(line)`; yields its port."""
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    os.set_blocking(master, False)
    stop = threading.Event()

    def serve() -> None:
        waiting = b""
        while not stop.wait(0.002):
            try:
                waiting += os.read(master, 1024)
            except BlockingIOError:
                continue
            *lines, waiting = waiting.split(b"\n")
            for line in lines:
                if line:
                    os.write(master, answer(line))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stop.set()
        thread.join()
        os.close(master)
        os.close(slave)


def test_a_whole_take(sim: SimBox, box: TriggerBox):
    plan = steps(shot_plan(RIG), RIG)
    check_sequence(SEQUENCE, RIG)
    box.configure(RIG)
    token = box.load(SEQUENCE, sequence_id="S012_smile_1")
    assert token == box.sequence_id == box.read_sequence_id() == "S012_smile_1"
    assert (box.crc(), box.length()) == (sequence_crc(SEQUENCE), 19)
    for number, step in enumerate(plan):
        box.wait_ready(step.light_mask, step.polariser, soon())
        assert box.arm(10, count=1, expected=len(plan)) == 1
        now_s = time.monotonic()
        for shot in step.shots:
            sim.sync_edge(shot.camera, now_s)
        row = box.wait_row(number, soon())
        assert (row.step, row.fired, row.light_mask, row.polariser) == (number, True, step.light_mask, step.polariser)
    assert len(box.log()) == 19
    emitted = [(firing.light_mask, firing.polariser) for firing in sim.firings]
    assert emitted == [(step.light_mask, step.polariser) for step in plan]


def test_configure_tells_the_rig_and_the_box_keeps_its_own_limits(sim: SimBox, box: TriggerBox):
    slow = RIG.model_copy(update={"limits": RIG.limits.model_copy(update={"recycle_s": 1.25})})
    box.configure(slow, watchdog_s=3)
    assert [box.ask(query) for query in ("SYST:REC?", "SYST:POL?", "SYST:WDOG?", "SEQ:WIN?")] == [
        "1250",
        "100",
        "3000",
        "100000",
    ]
    quick = RIG.model_copy(update={"limits": RIG.limits.model_copy(update={"recycle_s": 0.01})})
    box.configure(quick)
    assert box.ask("SYST:REC?") == "500", "the lamps' own time"


def test_a_random_id_is_given_when_none_is(box: TriggerBox):
    assert box.load(SEQUENCE) != box.load(SEQUENCE)


@pytest.mark.parametrize("token", ["a b", "../x", "x" * 25])
def test_bad_ids_are_refused_by_the_box(box: TriggerBox, token: str):
    with pytest.raises(BoxError) as caught:
        box.load(SEQUENCE[:1], sequence_id=token)
    assert caught.value.kind == "rejected"


def test_a_line_lost_once_is_loaded_again(sim: SimBox, box: TriggerBox):
    sim.inject(BoxFault("lost_line", step=7))
    box.load(SEQUENCE)
    assert box.crc() == sequence_crc(SEQUENCE)


def test_a_line_lost_again_and_again_is_reported(sim: SimBox, box: TriggerBox):
    sim.inject(BoxFault("lost_line", step=7, times=2))
    with pytest.raises(BoxError) as caught:
        box.load(SEQUENCE)
    assert caught.value.kind == "mismatch" and "cable" in str(caught.value)
    assert sequence_crc(SEQUENCE) in str(caught.value)
    assert box.sequence_id is None


@pytest.mark.parametrize("kind", ["lost_answer", "garbage", "mute"])
def test_loading_survives_one_bad_answer(sim: SimBox, box: TriggerBox, kind: BoxFaultKind):
    box.load(SEQUENCE[:3])  # makes the log empty and the line idle
    for skipped in (0, 1, 5, 12):
        ask = box._link.ask
        count = 0

        def counting(command: str, *args, skipped=skipped, ask=ask, **kwargs):
            nonlocal count
            if count == skipped:
                sim.inject(BoxFault(kind))
            count += 1
            return ask(command, *args, **kwargs)

        box._link.ask = counting  # type: ignore[method-assign]
        box.load(SEQUENCE)
        box._link.ask = ask  # type: ignore[method-assign]
        assert box.crc() == sequence_crc(SEQUENCE)


def test_a_mute_box(sim: SimBox, port: SimBoxPort, box: TriggerBox):
    port.mute()
    started_s = time.monotonic()
    with pytest.raises(BoxError) as caught:
        box.arm(5)
    assert caught.value.kind == "mute" and "power" in str(caught.value)
    assert time.monotonic() - started_s < 1.0
    with pytest.raises(BoxError) as caught:
        box.wait_ready(1, "U", soon(0.1))
    assert caught.value.kind == "mute"
    port.mute(False)
    assert box.status().rows == 0, "nothing is left over"


def test_opening_a_mute_box_takes_no_longer_than_its_boot(port: SimBoxPort):
    port.mute()
    started_s = time.monotonic()
    with pytest.raises(BoxError) as caught:
        TriggerBox.open(port.path, timeout_s=0.2, boot_s=0.6)
    assert caught.value.kind == "mute"
    assert 0.5 < time.monotonic() - started_s < 1.6


def test_a_board_that_is_still_starting_is_waited_for(port: SimBoxPort):
    port.mute()
    threading.Timer(0.7, port.mute, args=(False,)).start()
    with TriggerBox.open(port.path) as box:
        assert box.identity.model == "trigger box"


def test_a_late_answer_is_not_the_next_ones(sim: SimBox, box: TriggerBox):
    box.load(SEQUENCE)
    sim.inject(BoxFault("late_answer", delay_s=0.4))
    with pytest.raises(BoxError) as caught:
        box._link.ask("SEQ:NEXT?", retry=False)
    assert caught.value.kind == "mute"
    seen = set()
    until_s = time.monotonic() + 0.4
    while time.monotonic() < until_s:
        seen.add(box.ask("SEQ:LEN?"))
    assert seen == {"19"}


def test_what_an_earlier_program_left_on_the_line_is_ignored(sim: SimBox, port: SimBoxPort):
    import serial

    crashed = serial.Serial(port.path, exclusive=True)
    crashed.write(b"#5 *IDN?\n#6 STAT?\nnonsense\nSEQ:AD")
    time.sleep(0.05)
    crashed.close()  # without reading any answer, and in the middle of a command
    with TriggerBox.open(port.path) as box:
        assert box.status().rows == 0
        assert box.ask("SYST:ERR?") == '0,"No error"'


def test_garbage(sim: SimBox, box: TriggerBox):
    sim.inject(BoxFault("garbage"))
    assert box.status().rows == 0, "a query is asked again"
    sim.inject(BoxFault("garbage", times=2))
    with pytest.raises(BoxError) as caught:
        box.status()
    assert caught.value.kind == "garbage" and "garb" in str(caught.value)
    assert box.status().rows == 0


def test_a_lost_fire_is_never_repeated(sim: SimBox, box: TriggerBox):
    box.load(SEQUENCE)
    box.wait_ready(SEQUENCE[0].light_mask, "U", soon())
    box.arm(5)
    ask = box._link.ask

    def lose(command: str, *args, **kwargs):
        if command == "FIRE":
            sim.inject(BoxFault("lost_answer"))
        return ask(command, *args, **kwargs)

    box._link.ask = lose  # type: ignore[method-assign]
    with pytest.raises(BoxError) as caught:
        box.fire()
    assert caught.value.kind == "mute"
    time.sleep(0.1)
    assert len(sim.firings) == 1 and len(box.log()) == 1


def test_a_box_that_dies(sim: SimBox, box: TriggerBox):
    box.load(SEQUENCE)
    sim.inject(BoxFault("dead"))
    with pytest.raises(BoxError) as caught:
        box.status()
    assert caught.value.kind == "dead" and "resume" in str(caught.value)
    with pytest.raises(BoxError):
        box.wait_row(0, soon())


def test_a_port_in_use(port: SimBoxPort, box: TriggerBox):
    with pytest.raises(BoxError) as caught:
        TriggerBox.open(port.path)
    assert caught.value.kind == "in_use" and "another program" in str(caught.value)


def test_a_port_that_is_not_there(tmp_path: Path):
    with pytest.raises(BoxError) as caught:
        TriggerBox.open(str(tmp_path / "ttyACM0"))
    assert caught.value.kind == "no_port" and "capture.trigger_box" in str(caught.value)


def test_a_file_is_no_port(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(BoxError) as caught:
        TriggerBox.open(str(path))
    assert caught.value.kind == "not_a_box"
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    "answer",
    [
        lambda line: line + b"\r\n",  # an echo: a modem, a shell
        lambda line: line.split()[0] + b" ACME,oscilloscope,1,2\r\n",
        lambda line: line.split()[0] + b" hello\r\n",
        lambda line: b"ok T:20.1 /0.0\r\n",  # a 3D printer
        lambda line: b"\x00\xff\xfe" * 50,
        lambda line: line.split()[0] + b" ERR\r\n",
    ],
    ids=["echo", "scope", "words", "printer", "noise", "errors"],
)
def test_other_devices_are_told_apart(answer: Callable[[bytes], bytes]):
    with device(answer) as path:
        started_s = time.monotonic()
        with pytest.raises(BoxError) as caught:
            TriggerBox.open(path, timeout_s=0.3, boot_s=0.5)
        assert caught.value.kind in ("not_a_box", "mute")
        assert path in str(caught.value)
        assert time.monotonic() - started_s < 6


def test_a_device_that_talks_without_end():
    with device(lambda line: b"x" * 4000) as path:
        started_s = time.monotonic()
        with pytest.raises(BoxError):
            TriggerBox.open(path, timeout_s=0.3, boot_s=0.5)
        assert time.monotonic() - started_s < 4


def test_find_box(port: SimBoxPort, tmp_path: Path):
    assert find_box("/dev/ttyACM7") == "/dev/ttyACM7"
    missing = str(tmp_path / "none")
    with device(lambda line: b"ok\r\n") as printer:
        assert find_box("auto", [missing, printer, port.path]) == port.path
    with pytest.raises(BoxError) as caught:
        find_box("auto", [])
    assert caught.value.kind == "no_port" and "plug" in str(caught.value)
    with pytest.raises(BoxError) as caught:
        find_box("auto", [missing])
    assert missing in str(caught.value)
    with SimBoxPort(SimBox()) as other, pytest.raises(BoxError) as caught:
        find_box("auto", [port.path, other.path])
    assert caught.value.kind == "mismatch"


def test_find_box_says_when_it_is_in_use(port: SimBoxPort, box: TriggerBox):
    with pytest.raises(BoxError) as caught:
        find_box("auto", [port.path])
    assert caught.value.kind == "in_use"


def test_a_rejected_command_says_why(sim: SimBox, box: TriggerBox):
    with pytest.raises(BoxError) as caught:
        box.ask("SEQ:ADD 0,P,1,0")
    assert (caught.value.kind, caught.value.code) == ("rejected", -222)
    assert "mask out of range" in str(caught.value)
    assert box.ask("SYST:ERR?") == '0,"No error"'


def test_older_errors_do_not_explain_a_new_one(sim: SimBox, box: TriggerBox):
    sim.queue_error(-365, "host silent")
    with pytest.raises(BoxError, match="Undefined header"):
        box.ask("WHAT")


def test_no_edge(box: TriggerBox):
    box.load(SEQUENCE)
    box.arm(5)
    with pytest.raises(BoxError) as caught:
        box.wait_row(0, soon(0.1))
    assert caught.value.kind == "timeout" and "sync cables" in str(caught.value)


def test_wait_ready_names_a_box_at_another_step(box: TriggerBox):
    box.load(SEQUENCE, first=1)
    with pytest.raises(BoxError) as caught:
        box.wait_ready(1, "X", soon(0.1))
    assert caught.value.kind == "not_ready" and '"P" for step 1' in str(caught.value)


def test_closing_disarms(sim: SimBox, port: SimBoxPort):
    with TriggerBox.open(port.path) as box:
        box.load(SEQUENCE)
        box.arm(60)
    assert "ARMED=0" in sim.handle_line("STAT?")[0]


def test_a_second_thread_may_watch(sim: SimBox, box: TriggerBox):
    box.load(SEQUENCE)
    seen: list[object] = []

    def watch() -> None:
        for _ in range(200):
            seen.append(box.status())

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(200):
        assert box.length() == 19
    thread.join()
    assert len(seen) == 200


def test_round_trip(box: TriggerBox):
    times = []
    for _ in range(300):
        started_s = time.perf_counter()
        box.status()
        times.append(time.perf_counter() - started_s)
    assert statistics.median(times) < 0.005, "in s; 0.2 ms on an idle machine"


# -- safety --------------------------------------------------------------------------------------------------------


def test_expected_times_are_the_plans():
    assert expected_times_s(SEQUENCE, RIG) == pytest.approx(step_times_s(RIG))


def unsafe(steps: list[BoxStep], times_s: list[float] | None = None, **options: bool) -> str:
    with pytest.raises(BoxError) as caught:
        check_sequence(steps, RIG, times_s, **options)
    assert caught.value.kind == "unsafe"
    return str(caught.value)


FLASH = BoxStep(1, "P", 270, 0)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "empty"),
        ([replace(FLASH, light_mask=0)], "mask out of range"),
        ([FLASH, replace(FLASH, energy_permille=1001)], "step 1: energy"),
        ([replace(FLASH, energy_permille=0)], "energy"),
        ([replace(FLASH, light_mask=1 << 10)], "channel 11"),
        ([replace(FLASH, delay_us=100_000)], "flash_delay_s"),
        ([replace(FLASH, polariser="N")], "polariser"),
    ],
)
def test_sequences_that_cannot_be(steps: list[BoxStep], words: str):
    assert words in unsafe(steps)


def test_lamps_are_not_fired_before_they_are_charged():
    full = replace(FLASH, energy_permille=1000)
    assert '"flash1" 400 ms after' in unsafe([full, full], [0.0, 0.4])
    check_sequence([full, full], RIG, [0.0, 0.5])
    check_sequence([full, replace(full, light_mask=2)], RIG, [0.0, 0.1])
    check_sequence([full, full], RIG)  # paced by readiness


def test_every_lamp_of_a_mask_is_watched():
    both, second = replace(FLASH, light_mask=0b11, energy_permille=1000), replace(FLASH, light_mask=0b10)
    assert '"flash2"' in unsafe([both, second], [0.0, 0.2])


def test_strobing_needs_confirmation():
    weak = replace(FLASH, energy_permille=50)
    at_5_hz = [0.2 * number for number in range(5)]
    assert "epileptic" in unsafe([weak] * 5, at_5_hz)
    assert "step 4" in unsafe([weak] * 5, at_5_hz)
    check_sequence([weak] * 5, RIG, at_5_hz, strobe_confirmed=True)
    check_sequence([weak] * 4, RIG, at_5_hz[:4])
    check_sequence([weak] * 20, RIG, [0.34 * number for number in range(20)])
    other = replace(weak, light_mask=2)
    check_sequence([weak, weak, other, other] * 5, RIG, [0.2 * number for number in range(20)])


def test_lamps_do_not_overheat():
    full = replace(FLASH, energy_permille=1000)
    assert "overheat" in unsafe([full] * 20, [0.6 * number for number in range(20)])
    check_sequence([full] * 20, RIG, [2.0 * number for number in range(20)])


def test_times_must_fit():
    assert "one time per step" in unsafe([FLASH], [0.0, 1.0])
    assert "backwards" in unsafe([FLASH, FLASH], [1.0, 0.0])
