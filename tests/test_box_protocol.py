"""The language of the trigger box: lines there and back, checksums, and the specification's examples."""

import random
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mesoface.capture.box_protocol import (
    MAX_CHANNELS,
    BoxLogRow,
    BoxProtocolError,
    BoxStatus,
    BoxStep,
    box_steps,
    canonical_bytes,
    check_step,
    format_log,
    format_row,
    format_status,
    format_step,
    parse_log,
    parse_row,
    parse_status,
    parse_step,
    read_number,
    read_token,
    sequence_crc,
    split_command,
)
from mesoface.capture.plan import shot_plan, steps
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rig_models import Rig
from mesoface.capture.sim_box import SimBox
from mesoface.capture.sim_box_commands import COMMANDS

STEP = BoxStep(0x200, "U", 150, 60_000)
ROW = BoxLogRow(7, 4_000_000_000, "edge", True, 0x3FF, "X", "", 5)


def two_bodies_rig() -> Rig:
    """The example rig with a second centre body instead of a switched polariser."""
    rig = load_example_rig()
    centre = rig.centre
    cameras = [camera for camera in rig.cameras if camera != centre]
    for role, serial in (("centre_parallel", "063034018213"), ("centre_cross", "063034018999")):
        cameras.append(centre.model_copy(update={"name": role, "role": role, "serial": serial}))
    header = rig.rig.model_copy(update={"pair_mode": "two_bodies"})
    return rig.model_copy(update={"rig": header, "cameras": tuple(cameras)})


def test_one_box_step_per_plan_step():
    rig = load_example_rig()
    plan = steps(shot_plan(rig), rig)
    made = box_steps(rig, plan)
    assert len(made) == len(plan) == 19
    assert made[0] == BoxStep(0x200, "U", plan[0].energy_permille, 60_000), "five bodies: open flash"
    assert [step.delay_us for step in made[1:]] == [0] * 18, "one body: at once"
    assert [(step.light_mask, step.polariser) for step in made] == [(step.light_mask, step.polariser) for step in plan]


def test_pairs_of_two_bodies_are_open_flash_too():
    rig = two_bodies_rig()
    made = box_steps(rig, steps(shot_plan(rig), rig))
    assert len(made) == 10
    assert {step.delay_us for step in made} == {60_000}


def test_canonical_bytes_and_checksum():
    two = (STEP, BoxStep(0x1, "P", 270, 0))
    assert canonical_bytes(two).hex() == "000200005596" + "0060ea0000" + "01000000500e01" + "00000000"
    assert sequence_crc([]) == "00000000"
    assert len(sequence_crc(two)) == 8
    assert sequence_crc(two) != sequence_crc(two[::-1])


def test_checksum_sees_every_field():
    rng = random.Random(1)
    seen = {sequence_crc([STEP])}
    for change in ({"light_mask": 0x201}, {"polariser": "P"}, {"energy_permille": 151}, {"delay_us": 60_001}):
        seen.add(sequence_crc([replace(STEP, **change)]))
    assert len(seen) == 5
    many = [BoxStep(rng.randint(1, 1023), "X", rng.randint(1, 1000), 0) for _ in range(40)]
    assert sequence_crc(many) != sequence_crc(many[:-1])


def test_steps_there_and_back():
    rng = random.Random(2)
    for _ in range(200):
        step = BoxStep(rng.randint(1, 2**32 - 1), rng.choice("UPX"), rng.randint(1, 1000), rng.randint(0, 10**6))  # type: ignore[arg-type]
        assert parse_step(format_step(step).split(","), MAX_CHANNELS) == step


@pytest.mark.parametrize(
    ("step", "channels", "code", "text"),
    [
        (replace(STEP, light_mask=0), 10, -222, "mask out of range"),
        (replace(STEP, light_mask=0x400), 10, -222, "mask out of range"),
        (replace(STEP, light_mask=-1), 10, -222, "mask out of range"),
        (replace(STEP, light_mask=1 << 32), 32, -222, "mask out of range"),
        (replace(STEP, polariser="N"), 10, -224, "polariser"),  # type: ignore[arg-type]
        (replace(STEP, energy_permille=0), 10, -222, "energy out of range"),
        (replace(STEP, energy_permille=1001), 10, -222, "energy out of range"),
        (replace(STEP, delay_us=-1), 10, -222, "delay out of range"),
        (replace(STEP, delay_us=1_000_001), 10, -222, "delay out of range"),
    ],
)
def test_bad_steps_have_the_codes_of_the_specification(step: BoxStep, channels: int, code: int, text: str):
    with pytest.raises(BoxProtocolError) as caught:
        check_step(step, channels)
    assert (caught.value.code, caught.value.text) == (code, text)


def test_nine_lamps_accept_masks_below_0x200():
    check_step(replace(STEP, light_mask=0x1FF), 9)
    with pytest.raises(BoxProtocolError):
        check_step(replace(STEP, light_mask=0x200), 9)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_000", "0x1", "12345678901", "\u0661"])
def test_numbers_are_plain_digits(text: str):
    with pytest.raises(BoxProtocolError) as caught:
        read_number(text, 0, 2**32, "value")
    assert caught.value.code == -102


@pytest.mark.parametrize("text", ["", "a b", "a/b", "ä", "x" * 25, "a,b"])
def test_tokens_are_short_words(text: str):
    with pytest.raises(BoxProtocolError):
        read_token(text)


def test_rows_there_and_back():
    assert parse_row(format_row(3, ROW)) == (3, ROW)
    dark = replace(ROW, fired=False, reason="not ready", source="host", inputs=0)
    assert parse_row(format_row(0, dark)) == (0, dark)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0,7,4,E,1,3FF,X,5",
        "0,7,4,Q,1,3FF,X,5,",
        "0,7,4,E,2,3FF,X,5,",
        "0,7,4,E,1,3FF,Z,5,",
        "0,7,4,E,1,3FF,X,5,because",
        "x,7,4,E,1,3FF,X,5,",
    ],
)
def test_damaged_rows_are_refused(line: str):
    with pytest.raises(BoxProtocolError):
        parse_row(line)


def test_logs_there_and_back():
    rows = [replace(ROW, step=number) for number in range(5)]
    assert parse_log(format_log(rows, 2, "take-1"), 2) == ("take-1", tuple(rows[2:]))
    assert parse_log(format_log(rows, 5, "-"), 5) == ("-", ())


def test_a_log_with_any_damage_is_refused():
    lines = format_log([replace(ROW, step=number) for number in range(4)], 0, "take-1")
    for number in range(len(lines)):
        missing = lines[:number] + lines[number + 1 :]
        with pytest.raises(BoxProtocolError):
            parse_log(missing, 0)
    for number in range(1, len(lines)):
        for position in range(len(lines[number])):
            letter = "7" if lines[number][position] != "7" else "8"
            changed = list(lines)
            changed[number] = lines[number][:position] + letter + lines[number][position + 1 :]
            with pytest.raises(BoxProtocolError):
                parse_log(changed, 0)
    with pytest.raises(BoxProtocolError):
        parse_log(lines, 1)


def test_status_there_and_back():
    status = BoxStatus(True, 0x3FF, 4, 2, "P", False, -3.5, 7, 4, "none")
    assert parse_status(format_status(status)) == status
    bare = replace(status, temperature_c=None, armed=False, end="watchdog")
    assert parse_status(format_status(bare)) == bare
    assert parse_status(format_status(bare) + " FAN=1 =") == bare, "newer boxes may say more"


@pytest.mark.parametrize("line", ["", "OK", "ARMED=1", "ARMED=x READY=G NEXT=0 LEFT=0 POL=P SETTLED=1 TEMP=- STRAY=0"])
def test_damaged_status_is_refused(line: str):
    with pytest.raises(BoxProtocolError):
        parse_status(line)


def test_commands_are_taken_apart():
    assert split_command("#17 seq:add 1, P ,3,4") == ("#17 ", "SEQ:ADD", ["1", "P", "3", "4"])
    assert split_command("STAT?") == ("", "STAT?", [])
    assert split_command("LOG?  5") == ("", "LOG?", ["5"])
    with pytest.raises(BoxProtocolError):
        split_command("#abc STAT?")


def test_the_specification_names_every_command_and_its_example_is_true(repository: Path):
    text = (repository / "docs/trigger-box.md").read_text()
    for header in COMMANDS:
        assert f"`{header}" in text, f"docs/trigger-box.md does not describe {header}"
    example = re.search(r"<!-- example -->\n+```text\n(.*?)```", text, re.DOTALL)
    assert example, "the worked example is gone"
    steps_said = re.findall(r"^SEQ:ADD (.*)$", example[1], re.MULTILINE)
    made = [parse_step(said.split(","), 10) for said in steps_said]
    assert len(made) >= 3
    bytes_said = re.findall(r"^bytes +([0-9a-f ]+)$", example[1], re.MULTILINE)
    assert "".join(bytes_said).replace(" ", "") == canonical_bytes(made).hex()
    assert re.findall(r"^crc +([0-9A-F]{8})$", example[1], re.MULTILINE) == [sequence_crc(made)]


def test_the_specified_conversation_is_what_the_box_says(repository: Path):
    """The printed session, with times replaced: every answer comes out of the simulator word for word."""
    text = (repository / "docs/trigger-box.md").read_text()
    session = re.search(r"<!-- session -->\n+```text\n(.*?)```", text, re.DOTALL)
    assert session, "the printed session is gone"
    box = SimBox(10, serial="BOX0001")
    wanted: list[str] = []
    for line in session[1].splitlines():
        command, said = line[2:].strip(), line.startswith("< ")
        if not said:
            assert wanted == [], f"the box said less than printed before {command}"
            if line.startswith("> "):
                wanted = box.handle_line(command)
            elif "edge" in line:
                _edge(box)
            continue
        answer = wanted.pop(0)
        for pattern in (r",[0-9]{4,},", r"TEMP=\S+", r"(?<=END )[0-9A-F]{8}", r"1\.0(-sim)?$"):
            answer, command = re.sub(pattern, "*", answer), re.sub(pattern, "*", command)
        assert answer == command


def _edge(box: SimBox) -> None:
    time.sleep(0.12)
    box.sync_edge("centre", time.monotonic())
    time.sleep(0.03)
