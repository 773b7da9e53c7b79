"""Finding bodies by serial number, and saying exactly what does not match a rig."""

import socket
import threading
from collections.abc import Iterator
from time import monotonic

import pytest
from sim_camera_process import SimCameraProcess, address

from mesoface.capture.camera_find import FoundCameras, find_cameras, match_cameras
from mesoface.capture.camera_messages import CameraError, CameraIdentity
from mesoface.capture.errors import UserError
from mesoface.capture.rig import load_example_rig
from mesoface.capture.rig_models import Rig
from mesoface.capture.sim_camera_types import SimCameraOptions
from mesoface.capture.sim_faults import Fault

RIG = load_example_rig()
MODEL = "Canon EOS 760D"


@pytest.fixture(scope="module")
def bodies() -> Iterator[SimCameraProcess]:
    serials = [RIG.cameras[0].serial, RIG.cameras[1].serial]
    process = SimCameraProcess(
        [SimCameraOptions(f"cam{i}", serial, address(20 + i), port=0) for i, serial in enumerate(serials)], 10_000
    )
    yield process
    process.close()


def identities(rig: Rig = RIG) -> list[CameraIdentity]:
    return [CameraIdentity(f"usb:001,{i:03d}", MODEL, c.serial, "3-1.0.0") for i, c in enumerate(rig.cameras, 4)]


def found(cameras: list[CameraIdentity], **problems: CameraError) -> FoundCameras:
    return FoundCameras(tuple(cameras), problems)


def test_bodies_on_the_network(bodies: SimCameraProcess):
    pytest.importorskip("gphoto2")
    # One port is dead, one takes the connection and stays silent: neither holds the others up.
    with socket.create_server((address(30), 0)) as silent:
        threading.Thread(target=_accept, args=(silent,), daemon=True).start()
        host, port = silent.getsockname()
        mute, dead = f"ptpip:{host}:{port}:{port}", f"ptpip:{address(31)}:9:9"
        started_s = monotonic()
        result = find_cameras((*bodies.ports, dead, mute), timeout_s=2)
        assert monotonic() - started_s < 5
    assert [(c.port, c.serial, c.model) for c in result] == [
        (bodies.ports[i], RIG.cameras[i].serial, MODEL) for i in range(2)
    ]
    assert {port: error.kind for port, error in result.problems.items()} in (
        {dead: "not_found", mute: "timeout"},
        {dead: "not_found", mute: "not_found"},
    )


def test_one_serial_number_at_two_ports(bodies: SimCameraProcess):
    pytest.importorskip("gphoto2")
    bodies.call(1, "inject", Fault("wrong_serial", serial=RIG.cameras[0].serial))
    result = find_cameras(tuple(bodies.ports), timeout_s=10)
    bodies.call(1, "clear_faults")
    assert [c.serial for c in result] == [RIG.cameras[0].serial] * 2
    with pytest.raises(UserError, match=f"answers at {bodies.ports[0]} and {bodies.ports[1]}"):
        match_cameras(RIG, result)


def test_matching_by_serial_not_by_order():
    matched = match_cameras(RIG, found(identities()[::-1]))
    assert {name: identity.serial for name, identity in matched.items()} == {c.name: c.serial for c in RIG.cameras}


def test_further_bodies_do_not_disturb():
    stranger = CameraIdentity("usb:001,099", "Nikon DSC D750", "0.1", "")
    assert len(match_cameras(RIG, found([*identities(), stranger]))) == len(RIG.cameras)


def test_everything_wrong_is_told_at_once():
    cameras = identities()
    missing = RIG.cameras[2]
    cameras[2] = CameraIdentity("usb:001,044", MODEL, "999999999999", "3-1.0.0")
    problems = {"usb:001,055": CameraError("timeout", "camera at usb:001,055 did not answer")}
    with pytest.raises(UserError) as caught:
        match_cameras(RIG, found(cameras, **problems))
    text = str(caught.value)
    assert f"missing: {missing.name} ({MODEL}, serial {missing.serial})" in text
    assert f"not in the rig: {MODEL}, serial 999999999999, at usb:001,044" in text
    assert "no answer: camera at usb:001,055 did not answer" in text
    assert "capture.camera_ports" in text and RIG.cameras[0].serial not in text


def test_nothing_found():
    with pytest.raises(UserError, match="no camera was found at all"):
        match_cameras(RIG, found([]))


def _accept(server: socket.socket) -> None:
    kept = []
    try:
        while True:
            kept.append(server.accept())
    except OSError:
        pass
