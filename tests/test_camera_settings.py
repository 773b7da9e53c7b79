"""Settings are found by meaning, in the words of old and new versions of libgphoto2 and of other makers."""

from dataclasses import replace
from typing import Any

import pytest

from mesoface.capture.camera_settings import (
    Meaning,
    Wanted,
    choose,
    meanings,
    press_and_release,
    read_aperture,
    read_battery_percent,
    read_format,
    read_iso,
    read_shutter_s,
    says,
)

OLD_FORMATS = ("Large Fine JPEG", "Large Normal JPEG", "Smaller JPEG (S2)", "RAW + Large Fine JPEG", "RAW")
NEW_FORMATS = ("L", "cL", "M", "S1", "mRAW", "cRAW", "RAW + S1", "RAW + cL", "RAW + L", "cRAW + L", "RAW")
NIKON_FORMATS = ("JPEG Basic", "JPEG Fine", "NEF (Raw)", "NEF+Basic", "NEF+Fine")


WANTED = Wanted(iso=100, aperture=11, shutter_s=0.1, white_balance="Flash", image_format="RAW")


def meaning(name: str, **values: Any) -> Meaning:
    return next(m for m in meanings(replace(WANTED, **values)) if m.name == name)


@pytest.mark.parametrize(
    ("label", "seconds"),
    [
        ("1/10", 0.1),
        ("0.1", 0.1),
        ("0.0050s", 0.005),
        ("1/2.5", 0.4),
        ("10/25", 0.4),
        ('2"', 2),
        ('0"5', 0.5),
        ("30", 30),
        ("0,8", 0.8),
        ("auto", None),
        ("bulb", None),
        ("Bulb (B)", None),
        ("Time", None),
        ("", None),
        ("0", None),
        ("1/0", None),
        ("Unknown value 0010", None),
    ],
)
def test_shutter_labels(label: str, seconds: float | None):
    assert read_shutter_s(label) == (None if seconds is None else pytest.approx(seconds))


def test_aperture_iso_and_battery_labels():
    assert [read_aperture(x) for x in ("f/8", "8", "F8.0", "5,6", "implicit auto")] == [8, 8, 8, 5.6, None]
    assert [read_iso(x) for x in ("100", "ISO 100", "Auto", "Auto ISO")] == [100, 100, None, None]
    assert [read_battery_percent(x) for x in ("75%", "50", "Low", "Unknown value 0003")] == [75, 50, 0, None]


@pytest.mark.parametrize("choices", [OLD_FORMATS, NEW_FORMATS, NIKON_FORMATS], ids=["2015", "2.5.34", "Nikon"])
def test_image_format(choices: tuple[str, ...]):
    raw, both = meaning("format"), meaning("format", image_format="RAW+JPEG")
    assert choose(raw, choices) in ("RAW", "NEF (Raw)")
    assert choose(both, choices) in ("RAW + L", "RAW + Large Fine JPEG", "NEF+Fine")
    for label in choices:
        assert not (says(raw, label) and says(both, label))


def test_reduced_raw_is_not_raw():
    for label in ("cRAW", "mRAW", "sRAW1", "cRAW + L", "mRAW + L"):
        assert read_format(label) is None


def test_shutter_takes_the_nearest_third_stop():
    choices = ("bulb", "1/6", "1/8", "1/10", "1/13", "1/80", "1/100", "1/125")
    assert choose(meaning("shutter", shutter_s=0.1), choices) == "1/10"
    assert choose(meaning("shutter", shutter_s=1 / 125), choices) == "1/125"
    assert choose(meaning("shutter", shutter_s=0.5), choices) is None
    assert choose(meaning("shutter", shutter_s=1 / 800), ("0.0025s", "0.0012s")) == "0.0012s"
    # half way between two neighbours means neither
    assert choose(meaning("shutter", shutter_s=0.112), choices) is None


def test_aperture_must_be_there():
    assert choose(meaning("aperture", aperture=8), ("f/7.1", "f/8", "f/9")) == "f/8"
    assert choose(meaning("aperture", aperture=8.5), ("7.1", "8", "9")) is None


def test_words():
    assert choose(meaning("exposure_mode"), ("P", "TV", "AV", "Manual", "Bulb")) == "Manual"
    assert choose(meaning("drive_mode"), ("Continuous", "Single silent", "Single", "Timer 2 sec")) == "Single"
    assert choose(meaning("drive_mode"), ("Burst", "Single Shot")) == "Single Shot"
    assert choose(meaning("target"), ("Internal RAM", "Memory card")) == "Memory card"
    assert choose(meaning("white_balance", white_balance="Tungsten"), ("Automatic", "Incandescent")) == "Incandescent"
    assert says(meaning("power_off"), "0") and not says(meaning("power_off"), "120")
    assert says(meaning("review"), "None") and not says(meaning("review"), "2 seconds")
    assert says(meaning("focus"), "Manual") and not says(meaning("focus"), "One Shot")
    # an EOS body's live view switch reads 2 until it was used
    assert (
        says(meaning("viewfinder"), "2") and says(meaning("viewfinder"), "0") and not says(meaning("viewfinder"), "1")
    )


def test_exposure_mode_is_set_first():
    # in other modes a body offers no shutter speeds
    order = [m.name for m in meanings(WANTED)]
    assert order.index("exposure_mode") < min(order.index(name) for name in ("iso", "aperture", "shutter"))


def test_remote_release_words_of_old_and_new_versions():
    new = ("None", "Press Half AF", "Press Full AF", "Press Half MF", "Press Full MF", "Release Half", "Release Full")
    old = ("None", "Press Half", "Press Full", "Release Half", "Release Full", "Immediate", "Press 1", "Press 2")
    assert press_and_release((*new, "Release")) == ("Press Full MF", "Release")
    assert press_and_release(new) == ("Press Full MF", "Release Full")
    assert press_and_release(old) == ("Press Full", "Release Full")
    assert press_and_release(()) is None and press_and_release(("None", "Immediate")) is None
