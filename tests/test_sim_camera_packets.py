"""Packets, values and faults of the simulated camera, spoken to over a plain socket."""

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mesoface.capture import sim_eos_values as values
from mesoface.capture import sim_ptp as ptp
from mesoface.capture.sim_camera import SimCamera
from mesoface.capture.sim_camera_types import SimCameraOptions, SimFile
from mesoface.capture.sim_card import Card
from mesoface.capture.sim_faults import Fault, FaultPlan
from mesoface.capture.sim_server import Pacer

PRESS = (values.Op.EOS_RELEASE_ON, (3, 1))
RELEASE = (values.Op.EOS_RELEASE_OFF, (3,))


class SlowWorld:
    """Files of 3 MB that take their time; a frame named in `broken` cannot be developed at all."""

    def __init__(self, develop_s: float = 0.0, broken: int = 0) -> None:
        self.develop_s, self.broken = develop_s, broken
        self.data = random.Random(1).randbytes(3_000_000)

    def shutter_opened(self, camera, opened_s):
        pass

    def develop(self, camera, exposure, opened_s, closed_s, settings):
        time.sleep(self.develop_s)
        if exposure == self.broken:
            raise RuntimeError("no film")
        return [SimFile("CR2", self.data)]


class Host:
    """A PTP/IP host of a few lines."""

    def __init__(self, camera: SimCamera) -> None:
        self.address = (camera.options.address, int(camera.port_path.split(":")[2]))
        self.command = socket.create_connection(self.address, timeout=10)
        self.command.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.command.sendall(ptp.packet(ptp.Packet.INIT_COMMAND_REQUEST, bytes(16) + b"h\0\0\0\0\0\1\0"))
        self.first, payload = self.receive()
        self.transaction = 0
        if self.first == ptp.Packet.INIT_COMMAND_ACK:
            self.event = socket.create_connection(self.address, timeout=10)
            self.event.sendall(ptp.packet(ptp.Packet.INIT_EVENT_REQUEST, payload[:4]))

    def receive(self) -> tuple[int, bytes]:
        size, kind = struct.unpack("<II", self._read(8))
        return kind, self._read(size - 8)

    def ask(self, operation: int, params: tuple[int, ...] = (), data: bytes | None = None) -> tuple[int, bytes]:
        """(response code, data) of one operation."""
        self.transaction += 1
        phase = 1 if data is None else 2
        request = struct.pack(f"<IHI{len(params)}I", phase, operation, self.transaction, *params)
        self.command.sendall(ptp.packet(ptp.Packet.COMMAND_REQUEST, request))
        if data is not None:
            for head, block in ptp.data_packets(self.transaction, data):
                self.command.sendall(head + bytes(block))
        received = bytearray()
        while True:
            kind, payload = self.receive()
            if kind == ptp.Packet.COMMAND_RESPONSE:
                return struct.unpack_from("<H", payload)[0], bytes(received)
            if kind in (ptp.Packet.DATA, ptp.Packet.END_DATA):
                received += payload[4:]

    def write(self, prop: int, number: int) -> int:
        return self.ask(values.Op.EOS_SET_PROPERTY, data=struct.pack("<III", 12, prop, number))[0]

    def files(self) -> list[int]:
        """Handles of the files on the card."""
        data = self.ask(values.Op.GET_OBJECT_HANDLES, (values.STORAGE, values.CR2, 0))[1]
        return list(struct.unpack_from(f"<{struct.unpack_from('<I', data)[0]}I", data, 4))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.command.recv(count - len(data))
            if not part:
                raise ConnectionError(f"{len(data)} of {count} bytes")
            data += part
        return data

    def close(self) -> None:
        self.command.close()
        if self.first == ptp.Packet.INIT_COMMAND_ACK:
            self.event.close()


@contextmanager
def body(world: SlowWorld, **options) -> Iterator[SimCamera]:
    camera = SimCamera(SimCameraOptions("centre", "063034018213", "127.0.0.1", port=0, **options), world)
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


def wait_for(condition, timeout_s: float = 5.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_encodings():
    assert ptp.packet(14, b"ab") == b"\x0a\0\0\0\x0e\0\0\0ab"
    assert ptp.text("") == b"\0" and ptp.text("Aé") == b"\x03A\0\xe9\0\0\0"
    with pytest.raises(ValueError, match="254"):
        ptp.text("x" * 255)
    assert ptp.array16([1, 0x9128]) == b"\2\0\0\0\1\0\x28\x91"
    request = ptp.parse_request(struct.pack("<IHIII", 2, 0x9110, 7, 8, 9))
    assert request == ptp.Request(0x9110, 7, (8, 9), True)
    assert request.param(1) == 9 and request.param(2) == 0
    with pytest.raises(ValueError, match="at least 10"):
        ptp.parse_request(b"\1\0\0\0")


@pytest.mark.parametrize("size", [0, 1, ptp.BLOCK_BYTES, ptp.BLOCK_BYTES + 1, 3 * ptp.BLOCK_BYTES])
def test_data_phase_holds_every_byte_once(size: int):
    data = random.Random(size).randbytes(size)
    packets = list(ptp.data_packets(5, data))
    kinds = [struct.unpack_from("<II", head) for head, _ in packets]
    assert [kind for _, kind in kinds] == [9] + [10] * (len(packets) - 2) + [12]
    assert packets[0][0] == struct.pack("<IIIQ", 20, 9, 5, size)
    assert b"".join(bytes(block) for _, block in packets) == data
    assert all(length == len(head) + len(block) for (length, _), (head, block) in zip(kinds, packets, strict=True))


def test_codes_follow_the_scale_of_eighths_of_a_stop():
    for code, seconds in values.SHUTTERS_S.items():
        assert seconds == pytest.approx(2 ** ((0x38 - code) / 8), rel=0.13)
    for code, stop in values.APERTURES.items():
        assert stop == pytest.approx(2 ** ((code - 8) / 16), rel=0.05)
    named = {0x38: 1, 0x40: 0.5, 0x50: 1 / 8, 0x53: 1 / 10, 0x58: 1 / 15, 0x5B: 1 / 20, 0x70: 1 / 125, 0x98: 1 / 4000}
    assert {code: values.SHUTTERS_S[code] for code in named} == named
    assert (values.APERTURES[0x40], values.ISOS[0x48], values.ISOS[0x80]) == (11, 100, 12800)
    for image_format in values.IMAGE_FORMATS:
        encoded = values.encode_image_format(image_format)
        assert values.decode_image_format(encoded + bytes(4)) == image_format
    assert values.decode_image_format(bytes(20)) is None
    assert [values.battery_code(percent) for percent in (0, 25, 50, 75, 100)] == [0, 5, 1, 4, 2]


def test_card_keeps_handles_and_counts_exposures():
    card = Card(free_shots=3, time_utc_s=0.0)
    raw, jpeg = (card.make_file(1, suffix, b"x", 0.0, in_ram=False) for suffix in ("CR2", "JPG"))
    ram = card.make_file(2, "CR2", b"y", 0.0, in_ram=True)
    assert (raw.name, jpeg.name, card.shots_left) == ("IMG_0001.CR2", "IMG_0001.JPG", 2)
    assert ram.handle not in card.objects and [item.name for item in card.children(0)] == ["DCIM"]
    del card.objects[raw.handle]
    assert card.shots_left == 2
    del card.objects[jpeg.handle]
    assert card.shots_left == 3
    assert card.make_file(3, "CR2", b"z", 0.0, in_ram=False).handle > ram.handle


def test_faults_count_from_their_injection():
    plan = FaultPlan()
    full, half = (ptp.Request(values.Op.EOS_RELEASE_ON, 1, params, False) for params in ((2, 1), (1, 1)))
    assert plan.take(full, b"") is None
    fault = Fault("busy", nth=2, times=2)
    plan.inject(fault)
    assert [plan.take(request, b"") for request in (full, half, full, full, full)] == [None, None, fault, fault, None]
    block = Fault("cut", at_byte=1_500_000, nth=2, times=None)
    plan.inject(block)
    reads = [
        ptp.Request(0x101B, 1, (handle, offset, 1 << 20), False) for handle in (7, 8, 9) for offset in (0, 1 << 20)
    ]
    assert [plan.take(request, b"") for request in reads] == [None, None, None, block, None, block]
    iso = struct.pack("<III", 12, values.Prop.ISO, 0x50)
    denied = Fault("denied_setting", property=values.Prop.APERTURE)
    plan.inject(denied)
    write = ptp.Request(values.Op.EOS_SET_PROPERTY, 1, (), True)
    assert plan.take(write, iso) is None
    assert plan.take(write, struct.pack("<III", 12, values.Prop.APERTURE, 0x40)) == denied
    plan.inject(Fault("freeze", operation=0x9116))
    assert plan.active("freeze") is None
    plan.take(ptp.Request(0x9116, 1, (), False), b"")
    assert plan.active("freeze") is not None
    plan.clear()
    assert plan.active("freeze") is None and plan.take(reads[1], b"") is None
    with pytest.raises(ValueError, match="nth"):
        Fault("busy", nth=0)


def test_pacer_holds_the_mean():
    pacer = Pacer(20e6)
    start_s = time.monotonic()
    for _ in range(40):
        pacer.sent(262_144)
    assert 40 * 262_144 / (time.monotonic() - start_s) == pytest.approx(20e6, rel=0.1)


def test_slow_development_does_not_slow_the_shutter():
    with body(SlowWorld(develop_s=0.15), fps=10) as camera:
        host = Host(camera)
        assert host.write(values.Prop.DRIVE, 1) == ptp.Response.OK
        assert host.ask(*PRESS)[0] == ptp.Response.OK
        assert host.ask(*PRESS)[0] == ptp.Response.DEVICE_BUSY
        time.sleep(0.35)
        host.ask(*RELEASE)
        wait_for(lambda: len(camera.card) == 4)
        opened_s = [made.opened_s - made.pressed_s for made in camera.exposures]
        assert opened_s == pytest.approx([0.06, 0.16, 0.26, 0.36], abs=0.09)
        host.close()


def test_undevelopable_frame_leaves_no_file_and_the_body_works_on(caplog):
    with body(SlowWorld(broken=1), speed=10) as camera:
        host = Host(camera)
        for _ in range(2):
            host.ask(*PRESS)
            time.sleep(0.1)
        wait_for(lambda: len(camera.card) == 1)
        assert [file.name for file in camera.card] == ["IMG_0002.CR2"]
        assert "could not develop" in caplog.text
        host.close()


def test_partial_reads_cut_and_late_handles():
    with body(SlowWorld(), speed=20) as camera:
        host = Host(camera)
        host.ask(*PRESS)
        wait_for(lambda: len(camera.card) == 1)
        (handle,) = host.files()
        whole = camera.card_data("IMG_0001.CR2")
        assert host.ask(values.Op.GET_OBJECT, (handle,)) == (ptp.Response.OK, whole)
        assert host.ask(values.Op.GET_PARTIAL_OBJECT, (handle, 2_999_990, 1 << 20)) == (ptp.Response.OK, whole[-10:])
        assert host.ask(values.Op.GET_PARTIAL_OBJECT, (handle, 5_000_000, 10)) == (ptp.Response.OK, b"")
        assert host.ask(values.Op.GET_OBJECT, (handle + 9,))[0] == ptp.Response.INVALID_OBJECT_HANDLE
        assert host.ask(0x9153)[0] == ptp.Response.OPERATION_NOT_SUPPORTED
        camera.inject(Fault("cut"))
        with pytest.raises(ConnectionError):
            host.ask(values.Op.GET_OBJECT, (handle,))
        host.close()
        again = Host(camera)
        assert again.ask(values.Op.GET_OBJECT, (handle,)) == (ptp.Response.OK, whole)
        second = Host(camera)
        assert second.first == ptp.Packet.INIT_FAIL
        second.close()
        again.close()


def test_five_paced_streams_share_one_process():
    rate = 21e6
    world = SlowWorld()
    cameras = [
        SimCamera(SimCameraOptions(f"c{i}", f"00000000000{i}", "127.0.0.1", port=0, speed=20, bytes_per_s=rate), world)
        for i in range(5)
    ]
    took_s: list[float] = []

    def read_all(camera: SimCamera) -> None:
        host = Host(camera)
        (handle,) = host.files()
        start_s = time.monotonic()
        for _ in range(4):
            assert host.ask(values.Op.GET_OBJECT, (handle,))[1] == world.data
        took_s.append(time.monotonic() - start_s)
        host.close()

    for camera in cameras:
        camera.start()
        host = Host(camera)
        host.ask(*PRESS)
        wait_for(lambda camera=camera: len(camera.card) == 1)
        host.close()
    threads = [threading.Thread(target=read_all, args=(camera,)) for camera in cameras]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for camera in cameras:
        camera.stop()
    rates = [4 * len(world.data) / seconds for seconds in took_s]
    # a loaded machine slows them; streams that wait for each other would reach a fifth
    assert len(rates) == 5 and max(rates) < 1.15 * rate and min(rates) > 0.5 * rate


def test_garbage_on_the_wire_harms_nobody():
    rng = random.Random(5)
    with body(SlowWorld(), speed=20) as camera:
        address = ("127.0.0.1", int(camera.port_path.split(":")[2]))
        for attempt in range(60):
            data = rng.randbytes(rng.randrange(1, 200))
            if attempt % 3 == 0:  # a well-formed packet of any kind with a senseless body
                data = ptp.packet(rng.randrange(16), data)
            with socket.create_connection(address, timeout=5) as junk:
                junk.sendall(data)
        host = Host(camera)
        operations = [int(op) for op in values.Op if op != values.Op.CLOSE_SESSION]
        for _ in range(200):  # a host that asks for anything
            params = tuple(rng.choice((0, 1, 0x91900001, 0xFFFFFFFF)) for _ in range(rng.randrange(6)))
            data = rng.randbytes(rng.randrange(40)) if rng.random() < 0.5 else None
            assert 0x2000 < host.ask(rng.choice(operations), params, data)[0] < 0x2020
        host.close()
