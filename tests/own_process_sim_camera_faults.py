"""Faults of simulated cameras, each by the error that the stock camera driver makes of it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sim_camera_process import (
    FOLDER,
    SimCameraProcess,
    address,
    connected,
    download,
    new_files,
    open_camera,
    press,
    read,
    standard_input_kept,
    write,
)

from mesoface.capture.sim_camera_types import SimCameraOptions
from mesoface.capture.sim_faults import Fault

gp: Any = pytest.importorskip("gphoto2")
ERROR, IO, TIMEOUT, BUSY = -1, -7, -10, -110
RAW_BYTES = 2_500_000


@pytest.fixture(scope="module")
def process() -> Iterator[SimCameraProcess]:
    made = SimCameraProcess([SimCameraOptions("centre", "063034018213", address(20), port=0, speed=4)], RAW_BYTES)
    yield made
    made.close()


@pytest.fixture
def body(process: SimCameraProcess) -> Iterator[SimCameraProcess]:
    yield process
    process.call(0, "clear_faults")


def inject(body: SimCameraProcess, *faults: Fault) -> None:
    for fault in faults:
        body.call(0, "inject", fault)


def exposures(body: SimCameraProcess) -> int:
    return len(body.get(0, "exposures"))


def code_of(call: Any, *arguments: Any) -> int:
    """Error code of a call that must fail."""
    with standard_input_kept(), pytest.raises(gp.GPhoto2Error) as failure:
        call(*arguments)
    return failure.value.code


def drain(camera: Any) -> None:
    """Read what the driver has in store, and poll the body once or more."""
    while camera.wait_for_event(1)[0] != gp.GP_EVENT_TIMEOUT:
        pass


@pytest.mark.parametrize(("kind", "code"), [("busy", BUSY), ("card_full", ERROR), ("shutter_failure", ERROR)])
def test_refused_release(body: SimCameraProcess, kind: Any, code: int):
    inject(body, Fault(kind, nth=2))
    before = exposures(body)
    with connected(body.ports[0], imageformat="RAW") as camera:
        press(camera)
        assert len(new_files(camera, 1)) == 1
        assert code_of(press, camera) == code
        assert not new_files(camera, 1, timeout_s=0.3) and exposures(body) == before + 1
        press(camera)  # a retry works
        assert len(new_files(camera, 1)) == 1


def test_duplicate_and_missing_exposures(body: SimCameraProcess):
    with connected(body.ports[0], imageformat="RAW") as camera:
        for fault, count in ((Fault("duplicate_trigger"), 2), (Fault("no_exposure"), 0)):
            before = exposures(body)
            inject(body, fault)
            press(camera)
            assert len(new_files(camera, count + 1, timeout_s=0.5)) == count
            assert exposures(body) == before + count
        write(camera, drivemode="Continuous")
        inject(body, Fault("duplicate_trigger"))
        press(camera)
        assert len(new_files(camera, 3, timeout_s=0.5)) == 2
        write(camera, drivemode="Single")


def test_settings_refused_and_ignored(body: SimCameraProcess):
    with connected(body.ports[0], iso="100", aperture="8") as camera:
        inject(body, Fault("denied_setting", property=0xD103), Fault("ignored_setting", property=0xD101, times=None))
        assert code_of(lambda: write(camera, iso="200")) == ERROR
        write(camera, iso="200", aperture="11")
        write(camera, aperture="5.6")
        assert read(camera, "aperture") == "5.6"  # the driver remembers what it wrote; only a new host sees the truth
    with connected(body.ports[0]) as camera:
        assert (read(camera, "iso"), read(camera, "aperture")) == ("200", "8")


def test_connection_dropped_at_the_release(body: SimCameraProcess):
    before = exposures(body)
    inject(body, Fault("drop", operation="release"))
    with connected(body.ports[0]) as camera:
        assert code_of(press, camera) == ERROR
        assert code_of(press, camera) == IO
    with connected(body.ports[0], imageformat="RAW") as camera:
        press(camera)
        assert len(new_files(camera, 1)) == 1
    assert exposures(body) == before + 1


@pytest.mark.parametrize("kind", ["drop", "cut"])
@pytest.mark.parametrize("at_byte", [0, 2_000_000])
def test_connection_lost_in_a_download(body: SimCameraProcess, kind: Any, at_byte: int):
    with connected(body.ports[0], imageformat="RAW") as camera:
        names = []
        for _ in range(2):
            press(camera)
            names += new_files(camera, 1)
        inject(body, Fault(kind, nth=2, at_byte=at_byte))
        first = download(camera, names[0])
        assert code_of(download, camera, names[1]) in (ERROR, IO)
    with connected(body.ports[0]) as camera:
        assert first == body.call(0, "card_data", names[0])
        assert download(camera, names[1]) == body.call(0, "card_data", names[1])


def test_stalled_download_times_out_and_a_new_host_gets_in(body: SimCameraProcess):
    with connected(body.ports[0], imageformat="RAW") as camera:
        press(camera)
        (name,) = new_files(camera, 1)
        inject(body, Fault("stall", stall_s=1.0))
        start_s = time.monotonic()
        data = download(camera, name)  # within the driver's patience
        assert 1.0 < time.monotonic() - start_s < 2.4
        assert data == body.call(0, "card_data", name)
        inject(body, Fault("stall"))
        start_s = time.monotonic()
        assert code_of(camera.file_get, FOLDER, name, gp.GP_FILE_TYPE_NORMAL) == TIMEOUT
        assert 1.9 < time.monotonic() - start_s < 5
        body.call(0, "clear_faults")
    with connected(body.ports[0]) as camera:
        assert download(camera, name) == data


def test_frozen_body_answers_nobody_until_cleared(body: SimCameraProcess):
    with connected(body.ports[0], imageformat="RAW", drivemode="Continuous") as camera:
        write(camera, eosremoterelease="Press Full MF")
        time.sleep(0.2)
        inject(body, Fault("freeze"))
        time.sleep(0.1)
        frames = exposures(body)
        assert code_of(open_camera, body.ports[0]) in (IO, TIMEOUT)
        assert code_of(drain, camera) == TIMEOUT
        assert exposures(body) == frames > 0  # no shutter moves
        body.call(0, "clear_faults")
    with connected(body.ports[0], drivemode="Single", imageformat="RAW") as camera:
        press(camera)
        assert len(new_files(camera, 1)) == 1


def test_body_that_dies_at_a_release_and_comes_back(body: SimCameraProcess):
    before = exposures(body)
    inject(body, Fault("dead", operation="release", nth=2))
    with connected(body.ports[0], imageformat="RAW") as camera:
        press(camera)
        (name,) = new_files(camera, 1)
        assert code_of(press, camera) in (ERROR, IO)
    assert code_of(open_camera, body.ports[0]) == IO
    assert exposures(body) == before + 1
    body.call(0, "clear_faults")
    with connected(body.ports[0]) as camera:
        assert download(camera, name) == body.call(0, "card_data", name)


def test_another_body_at_the_address_and_a_low_battery(body: SimCameraProcess):
    inject(body, Fault("wrong_serial", serial="063034099999"), Fault("battery_low"))
    with connected(body.ports[0]) as camera:
        assert read(camera, "serialnumber") == read(camera, "eosserialnumber") == "063034099999"
        assert read(camera, "batterylevel") == "Low"
    body.call(0, "clear_faults")
    with connected(body.ports[0]) as camera:
        assert read(camera, "serialnumber") == "063034018213"
        assert read(camera, "batterylevel") == "100%"


def test_event_poll_that_breaks(body: SimCameraProcess):
    with connected(body.ports[0]) as camera:
        drain(camera)
        inject(body, Fault("drop", operation=0x9116))
        assert code_of(drain, camera) == ERROR
