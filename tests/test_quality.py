"""Verdicts over takes: clean ones pass, every fault is found, named and blamed on the right steps."""

import json

import numpy as np
import pytest
from quality_fixtures import StudioTake, blurred, crossed, nothing, parallel, with_noise

from mesoface.capture.plan import Shot
from mesoface.capture.quality_models import Quality
from mesoface.capture.rig import load_example_rig


@pytest.fixture(scope="module")
def take(tiny_scan, tmp_path_factory) -> StudioTake:
    return StudioTake.of(tiny_scan, tmp_path_factory.mktemp("frames"), load_example_rig())


def failed(quality: Quality) -> set[str]:
    return {finding.check for finding in quality.findings if finding.severity == "fail"}


def message(quality: Quality, check: str) -> str:
    return next(finding.message for finding in quality.findings if finding.check == check)


def test_clean_take_is_accepted(take):
    quality = take.judge()
    assert quality.verdict == "accept" and quality.findings == () and quality.reshoot_steps == ()
    assert quality.summary == "All checks passed."
    assert all(figure.passed for figure in quality.figures)
    by_name = {figure.name: figure.value for figure in quality.figures}
    assert by_name["frames"] == 23 and by_name["first to last exposure"] == pytest.approx(3.6)
    assert 80 < by_name["weakest flash, of expected"] <= 100 <= by_name["strongest flash, of expected"] < 120
    assert by_name["misfit of other lamps over the own"] > 1.3
    assert by_name["motion of the subject"] < 0.9, "half a pixel"
    assert json.loads(quality.model_dump_json())["schema_version"] == 1
    assert Quality.model_validate_json(quality.model_dump_json()) == quality


@pytest.mark.parametrize("flash", [1, 6, 9])
@pytest.mark.parametrize("which", [parallel, crossed])
def test_missed_flash(take, flash, which):
    quality = take.judge(take.changed(nothing, which(flash)))
    assert quality.verdict == "reshoot" and failed(quality) == {"flash_missing"}
    assert quality.reshoot_steps == (2 * flash - 1, 2 * flash), "whole pairs"
    assert f"flash{flash} did not fire in its {'parallel' if which is parallel else 'crossed'} frame" in message(
        quality, "flash_missing"
    )


def test_weak_and_strong_flash(take):
    weak = take.judge(take.changed(lambda s: 0.4 * s, parallel(4)))
    assert failed(weak) == {"flash_weak"} and weak.reshoot_steps == (7, 8)
    assert "flash4 reached only 4" in message(weak, "flash_weak")
    strong = take.judge(take.changed(lambda s: 2.2 * s, crossed(5)))
    assert "flash_strong" in failed(strong) and strong.reshoot_steps == (9, 10)
    # a tenth of a stop is within what flashes do
    assert take.judge(take.changed(lambda s: 0.93 * s, parallel(4))).verdict == "accept"


@pytest.mark.parametrize("first, second", [(1, 2), (2, 9), (1, 9), (4, 9), (3, 8), (6, 7), (5, 8), (7, 8)])
def test_exchanged_lamps_are_named(take, first, second):
    changes = {}
    for which in (parallel, crossed):
        a, b = which(first), which(second)
        changes |= {a: take.facts[b], b: take.facts[a]}
    quality = take.judge(changes)
    assert failed(quality) == {"wrong_light"} and quality.verdict == "reshoot"
    assert f"flash{first} and flash{second} are exchanged: check their channels" in message(quality, "wrong_light")
    steps = {2 * first - 1, 2 * first, 2 * second - 1, 2 * second}
    assert set(quality.reshoot_steps) == steps
    found = {q.shot: q.light for q in quality.shots}
    assert found[parallel(first)] == f"flash{second}" and found[crossed(second)] == f"flash{first}"


@pytest.mark.parametrize("flash, other", [(2, 4), (9, 1), (8, 7)])
@pytest.mark.parametrize("which", [parallel, crossed])
def test_one_frame_with_the_light_of_another_flash(take, flash, other, which):
    quality = take.judge(take.showing(**{f"s{which(flash)}": which(other)}))
    assert "wrong_light" in failed(quality) and quality.reshoot_steps == (2 * flash - 1, 2 * flash)
    assert f"shows the light of flash{other}" in message(quality, "wrong_light")


def test_lamps_on_all_the_wrong_channels(take):
    changes = {}
    for flash in range(1, 10):
        for which in (parallel, crossed):
            changes[which(flash)] = take.facts[which(flash % 9 + 1)]
    quality = take.judge(changes)
    assert quality.verdict == "reject" and "channels of the trigger box" in message(quality, "wrong_light")


def test_polariser_exchanged_or_stuck(take):
    flash = 5
    p, x = parallel(flash), crossed(flash)
    exchanged = take.judge({p: take.facts[x], x: take.facts[p]})
    assert failed(exchanged) == {"pair_exchanged"} and exchanged.reshoot_steps == (9, 10)
    for stuck in (take.showing(**{f"s{x}": p}), take.showing(**{f"s{p}": x})):
        quality = take.judge(stuck)
        assert failed(quality) == {"pair_alike"} and quality.reshoot_steps == (9, 10)
        assert "did not turn" in message(quality, "pair_alike")


def test_leaking_highlight(take):
    p, x = parallel(2), crossed(2)
    leaks = {}
    for share in (0.0, 0.03, 0.12):
        signal = take.signal(x) + share * (take.signal(p) - take.signal(x))
        quality = take.judge({x: take.frame(x, signal)})
        leaks[share] = next(q.leak for q in quality.shots if q.shot == x)
        assert share == 0.03 or ("leak" in failed(quality)) == (share > 0)
    # the leak is that of parallel - crossed, which the leak itself lowers
    assert leaks[0.03] - leaks[0.0] == pytest.approx(0.03, abs=0.012)
    assert leaks[0.12] - leaks[0.0] == pytest.approx(0.12 / 0.88, abs=0.03)


def test_burnt_out(take):
    quality = take.judge(take.changed(lambda s: 7 * s, parallel(9)))
    assert "clipped" in failed(quality) and quality.reshoot_steps == (17, 18)
    assert "burnt out" in message(quality, "clipped")


def test_noisy_frames(take):
    noisy = {1: take.facts[1].model_copy(update={"noise": 0.05, "noise_is_bound": False})}
    quality = take.judge(noisy)
    assert failed(quality) == {"noise"} and quality.reshoot_steps == (0,)
    assert "left1: noise of 5.0 % of the signal" in message(quality, "noise") and "ISO" in message(quality, "noise")
    texture = {1: noisy[1].model_copy(update={"noise_is_bound": True})}
    assert take.judge(texture).verdict == "accept", "texture as fine as the pixels tells nothing about noise"


def test_blurred_body(take):
    quality = take.judge(take.changed(blurred(5.0), 3))
    assert failed(quality) == {"sharpness"} and quality.reshoot_steps == (0,)
    assert "uniform right1 is blurred" in message(quality, "sharpness")


@pytest.mark.parametrize("flash", [3, 8])
def test_subject_moved_for_one_pair(take, flash):
    """4 px are 7.5 mm here; what the fault moved is what the check measures."""
    changes = take.changed(lambda s: np.roll(s, (4, -2), (0, 1)), parallel(flash), crossed(flash))
    quality = take.judge(changes)
    assert failed(quality) == {"motion"} and quality.reshoot_steps == (2 * flash - 1, 2 * flash)
    moved = {q.shot: q.moved_mm for q in quality.shots}
    expected_mm = np.hypot(4, 2) * take.facts[2].mm_per_px
    assert moved[crossed(flash)] == pytest.approx(expected_mm, abs=0.8)
    assert moved[crossed(5)] < 0.9


def test_missing_copied_and_unreadable_files(take):
    missing = take.judge(without=(crossed(1), 0))
    assert failed(missing) == {"missing"} and missing.reshoot_steps == (0, 1, 2)
    assert "2 frames are missing: uniform left2, flash1 crossed" in message(missing, "missing")
    copied = take.judge({parallel(4): take.facts[parallel(2)]})
    assert "copy" in failed(copied) and "one and the same picture" in message(copied, "copy")
    broken = take.judge(without=(7,), unreadable={7: "07.dng: the file is truncated"})
    assert failed(broken) == {"unreadable"} and "truncated" in message(broken, "unreadable")
    assert broken.reshoot_steps == (3, 4)


def test_take_with_nothing_or_next_to_nothing(take):
    empty = take.judge(without=tuple(range(23)))
    assert empty.verdict == "reject" and failed(empty) == {"missing"}
    few = take.judge(without=tuple(range(7, 23)))
    assert failed(few) == {"missing"} and all(f.check == "missing" for f in few.findings)


def test_other_bodies_and_settings(take):
    exchanged = take.judge({0: take.facts[4], 4: take.facts[0]})
    assert exchanged.verdict == "reject" and "which is right2 in the rig file" in message(exchanged, "serial")
    unknown = take.judge({1: take.frame(1, take.signal(1), serial="063034099999")})
    assert unknown.verdict == "reject" and "not in the rig" in message(unknown, "serial")
    zeros = take.judge({1: take.frame(1, take.signal(1), serial="63034022590")})
    assert zeros.verdict == "accept", "leading zeros are a matter of the file format"
    settings = take.judge({parallel(2): take.frame(parallel(2), take.signal(parallel(2)), iso=400, aperture=8.0)})
    words = " ".join(f.message for f in settings.findings)
    assert failed(settings) == {"settings"} and "ISO 400 instead of 100" in words and "f/8 instead of f/11" in words
    sizes = take.judge(rig=take.rig, shots=take.shots, unreadable={})
    assert sizes.verdict == "accept"


def test_picture_size_is_the_rigs_unless_told(take):
    from mesoface.capture.quality import judge

    quality = judge(take.rig, take.shots, take.facts)
    assert quality.verdict == "reject" and "240x160 px instead of 6000x4000 px" in message(quality, "size")


def test_uniform_light(take):
    one = take.judge(take.changed(nothing, 1))
    assert failed(one) == {"flash_missing"} and "left1 saw no light" in message(one, "flash_missing")
    half = take.judge(take.changed(lambda s: 0.45 * s, 4))
    assert failed(half) == {"uniform_level"} and "right2 got 4" in message(half, "uniform_level")
    assert half.reshoot_steps == (0,)
    none = take.judge(take.changed(nothing, 0, 1, 2, 3, 4))
    assert failed(none) == {"flash_missing"} and "the uniform light did not fire" in message(none, "flash_missing")
    assert none.reshoot_steps == (0,)


def test_no_flash_at_all(take):
    quality = take.judge(take.changed(nothing, *range(5, 23)))
    assert quality.verdict == "reject" and "no flash fired at all" in message(quality, "flash_missing")


def test_times(take):
    times = {s.index: 0.2 * s.step for s in take.shots}
    late = take.judge(started_s={**times, 3: 0.05})
    assert failed(late) == {"skew"} and late.reshoot_steps == (0,)
    assert "right1 started 50 ms after the first body" in message(late, "skew")
    slow = take.judge(started_s={index: 2 * t for index, t in times.items()})
    assert slow.verdict == "accept" and "7.2 s" in message(slow, "span"), "the subject held still all the same"
    unknown = take.judge(started_s={})
    assert unknown.verdict == "accept"
    assert next(f.value for f in unknown.figures if f.name == "first to last exposure") is None


def test_file_of_another_time(take):
    """Exif has whole seconds of the body's own clock; a frame that does not fit is looked at."""
    times = {s.index: float(s.step) for s in take.shots}
    assert take.judge(started_s=times).findings[0].check == "span"
    odd = take.frame(crossed(5), take.signal(crossed(5)), taken="2026:01:01 12:00:31")
    quality = take.judge({crossed(5): odd}, started_s=times)
    assert "flash5 crossed were written at another time" in message(quality, "clock")
    assert quality.verdict == "accept"


@pytest.mark.parametrize("stray", [0.0, 0.05])
def test_ambient_frame(take, stray):
    ambient = Shot(23, 19, "centre", (), 0, "U", "ambient", None, "23_ambient_centre")
    shots = (*take.shots, ambient)
    take.shots = shots
    try:
        frame = take.frame(23, with_noise(np.full((160, 240), stray * 12952.0)))
        quality = take.judge({23: frame}, started_s={}, shots=shots)
        missing = take.judge(started_s={}, shots=shots)
    finally:
        take.shots = shots[:-1]
    assert (quality.verdict == "reject") == bool(stray)
    assert failed(quality) == ({"ambient"} if stray else set())
    assert missing.reshoot_steps == (19,) and "ambient centre" in message(missing, "missing")


def test_many_faults_at_once(take):
    """Everything is named, and the take is shot as a whole when most of it is wrong."""
    changes = take.changed(nothing, parallel(1), crossed(3)) | take.changed(lambda s: 0.3 * s, parallel(7))
    quality = take.judge(changes, without=(crossed(8),))
    assert failed(quality) == {"flash_missing", "flash_weak", "missing"} and quality.verdict == "reshoot"
    assert quality.reshoot_steps == (1, 2, 5, 6, 13, 14, 15, 16)
    worse = take.judge({**changes, **take.changed(nothing, parallel(5))}, without=(crossed(8),))
    assert worse.verdict == "reject" and worse.reshoot_steps == ()
