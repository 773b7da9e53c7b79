"""The shot plan: the paper's 23 exposures, and the same rules for other rigs."""

import pytest

from mesoface.capture.plan import duration_s, shot_plan, step_times_s, steps
from mesoface.capture.rig import Rig, load_example_rig


def example_with(**tables) -> Rig:
    """The example rig with whole tables of its plain data replaced."""
    return Rig.model_validate({**load_example_rig().model_dump(), **tables})


def two_bodies() -> Rig:
    content = load_example_rig().model_dump()
    content["rig"]["pair_mode"] = "two_bodies"
    centre = content["cameras"][2]
    cross = {**centre, "name": "cross", "role": "centre_cross", "serial": "063034018999"}
    centre["role"] = "centre_parallel"
    content["cameras"] = [*content["cameras"], cross]
    return Rig.model_validate(content)


def test_shipped_rig_gives_23_exposures():
    plan = shot_plan(load_example_rig())
    assert [shot.index for shot in plan] == list(range(23))
    uniform, pairs = plan[:5], plan[5:]
    assert all(shot.step == 0 and shot.kind == "uniform" and shot.polariser == "U" for shot in uniform)
    assert [shot.camera for shot in uniform] == ["left2", "left1", "centre", "right1", "right2"]
    assert all(shot.lights == ("dome",) and shot.light_mask == 1 << 9 and shot.pair is None for shot in uniform)
    assert {shot.camera for shot in pairs} == {"centre"}
    for number in range(9):
        parallel, cross = pairs[2 * number : 2 * number + 2]
        assert (parallel.kind, parallel.polariser, cross.kind, cross.polariser) == ("parallel", "P", "cross", "X")
        assert parallel.pair == cross.pair == number
        assert parallel.lights == cross.lights == (f"flash{number + 1}",)
        assert parallel.light_mask == cross.light_mask == 1 << number
        assert (parallel.step, cross.step) == (2 * number + 1, 2 * number + 2)
    assert [plan[i].stem for i in (0, 5, 6, 22)] == [
        "00_uniform_left2",
        "05_flash1_parallel",
        "06_flash1_cross",
        "22_flash9_cross",
    ]
    assert len({shot.stem for shot in plan}) == 23


def test_steps_follow_the_trigger_box():
    rig = load_example_rig()
    boxed = steps(shot_plan(rig), rig)
    assert [step.index for step in boxed] == list(range(19))
    assert [len(step.shots) for step in boxed] == [5] + [1] * 18
    assert [step.polariser for step in boxed] == ["U"] + ["P", "X"] * 9
    assert boxed[0].energy_permille == 150 and boxed[1].energy_permille == 270
    assert all(1 <= step.energy_permille <= 1000 for step in boxed)


def test_two_bodies_share_a_step():
    rig = two_bodies()
    plan = shot_plan(rig)
    assert len(plan) == 24  # six bodies in the uniform step
    parallel, cross = plan[6:8]
    assert parallel.step == cross.step == 1 and (parallel.camera, cross.camera) == ("centre", "cross")
    assert (parallel.polariser, cross.polariser) == ("P", "X") and parallel.pair == cross.pair == 0
    boxed = steps(plan, rig)
    assert len(boxed) == 10 and [step.polariser for step in boxed] == ["U"] + ["P"] * 9
    assert duration_s(rig) == pytest.approx(9 * 0.2)  # the paper's two seconds


def test_without_uniform_light_all_flashes_fire():
    content = load_example_rig().model_dump()
    rig = example_with(lights=content["lights"][:9])
    plan = shot_plan(rig)
    assert plan[0].light_mask == 0b111111111 and len(plan[0].lights) == 9
    assert steps(plan, rig)[0].energy_permille == round(0.75 / 9 * 250)


def test_other_flash_counts():
    lights = load_example_rig().model_dump()["lights"]
    assert len(shot_plan(example_with(lights=lights[:3]))) == 5 + 6
    many = [{**lights[0], "name": f"f{i}", "channel": i + 1} for i in range(31)]
    plan = shot_plan(example_with(lights=[*many, {**lights[9], "channel": 32}]))
    assert len(plan) == 5 + 62 and plan[0].light_mask == 1 << 31 and plan[-1].stem == "66_f30_cross"


def test_duration_counts_frame_rate_recharging_and_switching():
    assert duration_s(load_example_rig()) == pytest.approx(18 * 0.2)
    fast = {"frames_per_s": 20.0, "polariser_switch_s": 0.0, "recycle_s": 0.0}
    assert duration_s(example_with(limits=fast)) == pytest.approx(18 * 0.1)  # the shutter's 0.1 s, not 1/20 s
    # Switching: 0.3 s behind each exposure of 1/10 s, before every one of the 18 pair exposures.
    slow_switch = {**fast, "polariser_switch_s": 0.3}
    assert duration_s(example_with(limits=slow_switch)) == pytest.approx(18 * 0.4)
    # Recharging: the second frame of a pair waits for its own lamp, the next pair's lamp is fresh.
    slow_lamps = {**fast, "recycle_s": 10.0}
    rig = example_with(limits=slow_lamps)
    times_s = step_times_s(rig)
    assert times_s[2] - times_s[1] == pytest.approx(10.0 * 0.270)
    assert times_s[3] - times_s[2] == pytest.approx(0.1)
