"""The simulated trigger box: its physics, its faults, and the light that was really emitted."""

import math
import threading
import time
from pathlib import Path

import pytest

from mesoface.capture.box import BoxError, TriggerBox
from mesoface.capture.box_protocol import BoxStep, format_step
from mesoface.capture.sim_box import SimBox
from mesoface.capture.sim_box_parts import BoxFault, Filter, Lamp
from mesoface.capture.sim_box_port import SimBoxPort

SPEED = 10.0
STEPS = [BoxStep(0x200, "U", 150, 60_000)] + [BoxStep(1 << n, p, 270, 0) for n in range(3) for p in "PX"]  # type: ignore[arg-type]


@pytest.fixture
def box() -> SimBox:
    made = SimBox(speed=SPEED, cameras=["centre", "left"])
    for step in STEPS:
        assert made.handle_line(f"SEQ:ADD {format_step(step)}")[0].startswith("OK")
    return made


def shoot(box: SimBox, count: int = 1, pause_s: float = 0.25 / SPEED, arm: bool = True) -> None:
    """`count` edges of the centre body, each when the box is ready."""
    for _ in range(count):
        time.sleep(pause_s)
        if arm and " LEFT=0" in box.handle_line("STAT?")[0]:
            assert box.handle_line(f"ARM 60,{len(STEPS)}")[0].startswith("OK"), box.handle_line("SYST:ERR?")
        box.sync_edge("centre", time.monotonic())
        time.sleep(0.07 / SPEED)


def rows(box: SimBox) -> list[str]:
    return box.handle_line("LOG?")[1:-1]


def light(box: SimBox) -> list[tuple[int, int, str]]:
    return [(f.step, f.light_mask, f.polariser) for f in box.firings_between(0, math.inf)]


PLANNED = [(number, step.light_mask, step.polariser) for number, step in enumerate(STEPS)]


def test_a_take_without_faults(box: SimBox):
    shoot(box, len(STEPS))
    assert light(box) == PLANNED
    assert [row.split(",")[4] for row in rows(box)] == ["1"] * len(STEPS)
    assert "ARMED=0" in box.handle_line("STAT?")[0]


def test_light_is_timed_by_the_edge_however_late_the_box_is_asked(box: SimBox):
    box.handle_line(f"ARM 60,{len(STEPS)}")
    time.sleep(0.2 / SPEED)
    edge_s = time.monotonic()
    box.sync_edge("left", edge_s)
    box.sync_edge("centre", edge_s + 0.002)
    time.sleep(0.3)
    (firing,) = box.firings_between(edge_s, edge_s + 0.1 / SPEED)
    assert firing.time_s == pytest.approx(edge_s + 0.06 / SPEED, abs=1e-6)
    assert rows(box)[0].split(",")[7] == "3", "both inputs were seen"
    assert box.firings_between(edge_s + 0.1 / SPEED, math.inf) == []


def test_speed_leaves_the_arm_timeout_alone():
    box = SimBox(speed=50)
    box.handle_line("SEQ:ADD 1,U,10,0")
    box.handle_line("ARM 1,1")
    time.sleep(0.2)
    assert "ARMED=1" in box.handle_line("STAT?")[0]


def test_missed_flash_is_dark_but_logged(box: SimBox):
    box.inject(BoxFault("missed_flash", step=1))
    shoot(box, 3)
    assert light(box) == [PLANNED[0], PLANNED[2]]
    assert len(rows(box)) == 3 and rows(box)[1].split(",")[4] == "1"
    assert box.faults == ()


def test_missed_flash_of_one_lamp():
    box = SimBox(speed=SPEED)
    box.handle_line("SEQ:ADD 7,U,100,0")
    box.inject(BoxFault("missed_flash", mask=0b10))
    box.handle_line("ARM 5,1")
    box.sync_edge("centre", time.monotonic())
    assert light(box) == [(0, 0b101, "U")]


def test_weak_flash(box: SimBox):
    box.inject(BoxFault("weak_flash", step=0))
    shoot(box, 2)
    energies = [firing.energy_permille for firing in box.firings_between(0, math.inf)]
    assert energies == [45, 270]


def test_missed_edge_leaves_no_row_and_no_light(box: SimBox):
    box.inject(BoxFault("missed_edge", step=0))
    box.handle_line(f"ARM 60,{len(STEPS)}")
    time.sleep(0.2 / SPEED)
    now_s = time.monotonic()
    box.sync_edge("centre", now_s)
    box.sync_edge("left", now_s + 0.001)
    time.sleep(0.2 / SPEED)
    assert rows(box) == [] and light(box) == []
    shoot(box)
    assert light(box) == PLANNED[:1], "the step is still due"


def test_spurious_edge_fires_the_next_step_with_no_shutter_open(box: SimBox):
    box.inject(BoxFault("spurious_edge", step=1))
    shoot(box, 2)
    time.sleep(0.4 / SPEED)
    assert light(box) == PLANNED[:3]
    last = rows(box)[2].split(",")
    assert last[1] == "2" and last[7] == "0", "no input saw it"


def test_spurious_edge_finds_a_box_armed_for_one_step_disarmed(box: SimBox):
    box.inject(BoxFault("spurious_edge", step=0))
    box.handle_line(f"ARM 60,{len(STEPS)},1")
    shoot(box, arm=False)
    time.sleep(0.4 / SPEED)
    assert light(box) == PLANNED[:1]
    assert " STRAY=1 " in box.handle_line("STAT?")[0]


def test_wrong_lamp_honest_and_lying(box: SimBox):
    box.inject(BoxFault("wrong_lamp", step=1, mask=0x80))
    box.inject(BoxFault("wrong_lamp_silent", step=2))
    shoot(box, 4)
    assert light(box) == [PLANNED[0], (1, 0x80, "P"), (2, 0b10, "X"), PLANNED[3]]
    assert [row.split(",")[5] for row in rows(box)] == ["200", "80", "1", "2"]


def test_out_of_order_swaps_two_steps_and_says_so(box: SimBox):
    box.inject(BoxFault("out_of_order", step=2))
    shoot(box, 5)
    assert [step for step, _, _ in light(box)] == [0, 1, 3, 2, 4]
    assert light(box)[2] == PLANNED[3]
    assert [row.split(",")[1] for row in rows(box)] == ["0", "1", "3", "2", "4"]


def test_stuck_polariser_shows_in_the_light_only(box: SimBox):
    box.inject(BoxFault("stuck_polariser", step=2))
    shoot(box, 3)
    assert [state for _, _, state in light(box)] == ["U", "P", "P"]
    assert [row.split(",")[6] for row in rows(box)] == ["U", "P", "X"]


def test_slow_recycle(box: SimBox):
    box.recycle_s = 2.0
    box.inject(BoxFault("slow_recycle", step=1))
    shoot(box, 2)
    shoot(box, pause_s=0.08)  # it would be charged after 0.054 s
    assert rows(box)[2].endswith("not ready")
    time.sleep(0.54)
    shoot(box)
    assert rows(box)[3].split(",")[1:5:3] == ["2", "1"]


def test_lost_line_changes_the_checksum():
    box = SimBox()
    box.inject(BoxFault("lost_line", step=1))
    crcs = []
    for _ in range(2):
        box.handle_line("SEQ:CLR")
        for step in STEPS:
            box.handle_line(f"SEQ:ADD {format_step(step)}")
        crcs.append(box.handle_line("SEQ:CRC?"))
    assert crcs[0] != crcs[1]


def test_faults_count_down_and_can_be_cleared(box: SimBox):
    box.inject(BoxFault("missed_flash", times=2))
    assert box.faults[0].times == 2
    shoot(box)
    assert box.faults[0].times == 1
    box.clear_faults()
    shoot(box)
    assert light(box) == [PLANNED[1]]


def test_lamp_heats_up_and_cools_down():
    lamp = Lamp(speed=1.0)
    now_s = 100.0
    fired = 0
    while lamp.refusal(now_s, 1000, True) == "":
        lamp.fire(now_s, 1000, 0.5)
        fired, now_s = fired + 1, now_s + 0.5
    assert lamp.refusal(now_s, 1000, True) == "duty"
    assert 12 <= fired <= 14, "ten at once, and one more for each two seconds meanwhile"
    assert not lamp.is_ready(now_s)
    assert lamp.refusal(now_s + 2.1, 1000, True) == "" and lamp.is_ready(now_s + 2.1)


def test_filter_turns_late_and_changes_its_mind():
    turner = Filter()
    turner.turn("P", 10.0, 10.5, 0.1)
    assert (turner.at(10.2), turner.is_settled(10.2)) == ("U", True), "held while lamps burn"
    assert (turner.at(10.55), turner.is_settled(10.55)) == ("P", False)
    assert turner.is_settled(10.61)
    turner.turn("X", 11.0, 11.5, 0.1)
    turner.turn("P", 11.1, 11.5, 0.1)
    assert (turner.at(11.6), turner.is_settled(11.55)) == ("P", True), "it never left"
    turner.turn("X", 12.0, 12.0, 0.1)
    turner.turn("P", 12.05, 12.05, 0.1)
    assert (turner.at(12.1), turner.is_settled(12.1)) == ("P", False)
    assert turner.is_settled(12.16)


def test_edges_from_many_threads_make_one_row_per_step():
    box = SimBox(speed=SPEED)
    for _ in range(3):
        box.handle_line("SEQ:ADD 1,U,10,20000")
    for number in range(3):
        time.sleep(0.2 / SPEED)
        box.handle_line("ARM 60,3,1")
        barrier = threading.Barrier(8)

        def release(name: str, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            box.sync_edge(name, time.monotonic())

        threads = [threading.Thread(target=release, args=(f"camera{k}",)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.03)
        assert len(rows(box)) == number + 1
    assert len(light(box)) == 3


def test_power_cut_erases_the_log_but_not_the_charge(box: SimBox):
    box.recycle_s = 1000.0
    box.handle_line("SEQ:ID take-1")
    shoot(box)
    box.power_cycle()
    assert box.handle_line("SEQ:ID?") == ["-"]
    assert rows(box) == []
    assert "READY=1FF" in box.handle_line("STAT?")[0], "the lamp that fired still charges"


def test_dead_port_and_its_return(tmp_path: Path):
    sim = SimBox()
    link = tmp_path / "trigger-box"
    with SimBoxPort(sim, link=link) as port:
        assert port.path == str(link)
        box = TriggerBox.open(port.path)
        box.load(STEPS, sequence_id="take-1")
        port.dead()
        assert not port.alive
        with pytest.raises(BoxError) as caught:
            box.status()
        assert caught.value.kind == "dead" and "Plug" in str(caught.value)
        box.close()
        with pytest.raises(BoxError) as caught:
            TriggerBox.open(port.path)
        assert caught.value.kind == "no_port"
        port.revive()
        with TriggerBox.open(port.path) as again:
            assert again.read_sequence_id() == "take-1"
        port.dead()
        port.revive(power_lost=True)
        with TriggerBox.open(port.path) as again:
            assert again.read_sequence_id() == "-"
    assert not link.is_symlink()


def test_line_faults_wait_for_their_step():
    sim = SimBox(speed=SPEED)
    with SimBoxPort(sim) as port, TriggerBox.open(port.path, timeout_s=0.2) as box:
        box.load(STEPS)
        sim.inject(BoxFault("mute", step=0))
        assert box.status().rows == 0
        box.arm(10)
        time.sleep(0.2 / SPEED)
        sim.sync_edge("centre", time.monotonic())
        time.sleep(0.1 / SPEED)
        with pytest.raises(BoxError) as caught:
            box._link.ask("ABORT")
        assert caught.value.kind == "mute"
        assert box.status().rows == 1 and box.status().armed, "the fault was for one command, which was not done"
