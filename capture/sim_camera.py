"""A simulated Canon EOS 760D on the network, indistinguishable from a real one to the stock camera driver.

It must live in another process than the driver that talks to it: the driver keeps Python's lock in some calls.

    camera = SimCamera(SimCameraOptions("centre", "063034018213", "127.0.0.11"), world)
    camera.start()  # now gphoto2 finds it at ptpip:127.0.0.11
    camera.inject(Fault("busy", nth=3))
"""

import time
from collections import deque
from dataclasses import dataclass

from .sim_camera_types import LogEntry, SimCameraOptions, SimExposure, World
from .sim_eos import EosBody
from .sim_eos_operations import Reply, answer
from .sim_eos_values import Prop, battery_code
from .sim_faults import LASTING, RESPONSES, Fault, FaultPlan
from .sim_ptp import Request, Response
from .sim_server import CameraServer

DEFAULT_PORT = 15740
LOG_ENTRIES = 200_000


@dataclass(frozen=True)
class SimCardFile:
    """One file on the card; `exposure` counts from 1."""

    folder: str
    name: str
    bytes: int
    time_utc_s: float
    exposure: int


class SimCamera:
    """One body: power it on with `start`, off with `stop`. All methods may be called from any thread.

    Its card keeps its files while hosts come and go.
    """

    def __init__(self, options: SimCameraOptions, world: World) -> None:
        self.options = options
        self._faults = FaultPlan()
        self._body = EosBody(options, world, self._hangs)
        self._server = CameraServer(
            options.address,
            options.port,
            options.model,
            options.bytes_per_s,
            self._faults,
            self._respond,
            self._body.end_session,
        )
        self._log: deque[LogEntry] = deque(maxlen=LOG_ENTRIES)

    def start(self) -> None:
        """Listen at the address; raises OSError when it is taken."""
        self._server.listen()
        self._body.start()

    def stop(self) -> None:
        """Close every connection and end all threads."""
        self._faults.clear()
        self._server.shut()
        self._server.join()
        self._body.stop()

    @property
    def port_path(self) -> str:
        """What the camera driver calls this address: "ptpip:127.0.0.11", or with both ports where they are others."""
        port = self._server.port
        return f"ptpip:{self.options.address}" + ("" if port == DEFAULT_PORT else f":{port}:{port}")

    @property
    def exposures(self) -> tuple[SimExposure, ...]:
        """Everything the shutter did, oldest first; an exposure is listed once the shutter has closed."""
        with self._body.lock:
            return tuple(self._body.exposures)

    @property
    def log(self) -> tuple[LogEntry, ...]:
        """The operations hosts asked for, oldest first (the last 200 000)."""
        return tuple(self._log)

    @property
    def card(self) -> tuple[SimCardFile, ...]:
        """Files on the card, oldest first."""
        with self._body.lock:
            files = self._body.card.files()
        folder = "/store_00020001/DCIM/100CANON"
        return tuple(SimCardFile(folder, f.name, f.size_bytes, f.time_utc_s, f.exposure) for f in files)

    def card_data(self, name: str) -> bytes | memoryview:
        """The bytes of a file on the card; raises KeyError when there is none of this name."""
        with self._body.lock:
            found = [item.data for item in self._body.card.files() if item.name == name]
        if not found:
            raise KeyError(name)
        return found[-1]

    def inject(self, fault: Fault) -> None:
        """Let something go wrong; its counting starts now."""
        self._faults.inject(fault)
        if fault.kind in LASTING and fault.operation is None:
            self._suffer(fault)

    def clear_faults(self) -> None:
        """End all faults; a dead body listens again, a frozen one goes on."""
        self._faults.clear()
        options = self.options
        with self._body.lock:
            self._body.properties.put_text(Prop.SERIAL, options.serial)
            self._body.properties.put_number(Prop.BATTERY, battery_code(options.battery_percent))
            self._body.tell_value(Prop.BATTERY)
        self._server.listen()

    def _hangs(self) -> bool:
        return self._faults.active("freeze") is not None or self._faults.active("dead") is not None

    def _suffer(self, fault: Fault) -> None:
        """What a lasting fault changes at once."""
        with self._body.lock:
            if fault.kind == "wrong_serial":
                self._body.properties.put_text(Prop.SERIAL, fault.serial)
            elif fault.kind == "battery_low":
                self._body.properties.put_number(Prop.BATTERY, battery_code(0))
                self._body.tell_value(Prop.BATTERY)
        if fault.kind == "dead":
            self._server.shut()

    def _respond(self, request: Request, data: bytes) -> tuple[Reply, Fault | None]:
        """Carry out one operation, unless a fault prevents it."""
        time_s = time.monotonic()
        fault = self._faults.take(request, data)
        if fault is not None and fault.kind in LASTING:
            self._suffer(fault)
        if fault is not None and fault.kind in RESPONSES:
            reply = Reply(RESPONSES[fault.kind])
        elif fault is not None and fault.kind in ("drop", "freeze", "dead"):
            reply = Reply(Response.GENERAL_ERROR)  # never sent, or, after a freeze, what a body says to an old order
        else:
            reply = answer(self._body, request, data, fault)
        unanswered = fault is not None and fault.kind in ("drop", "stall", "cut", "freeze", "dead")
        self._log.append(LogEntry(time_s, request.operation, request.params, None if unanswered else reply.code))
        return reply, fault
