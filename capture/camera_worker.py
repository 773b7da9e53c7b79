"""The process that holds one camera: `python -m mesoface.capture.camera_worker --fd N --lifeline M --owner PID`.

It answers one request at a time, each a JSON line on the socket N. libgphoto2 may hang, crash, or hold Python's global
lock; so the main program kills this process when a deadline passes, and this process ends by itself when the main
program does.
"""

import argparse
import faulthandler
import fcntl
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .camera_device import Device, library, list_ports
from .camera_faults import camera_error
from .camera_lock import lock_camera
from .camera_messages import CameraError, CardFile, Channel
from .camera_operations import Operations
from .camera_settings import Wanted

CANNOT_GO_ON = 3


def tie_to_lifeline(descriptor: int) -> None:
    """End this process as soon as the other end of a pipe closes.

    The kernel sends SIGIO, whose default is to terminate, so this works inside a hanging C call, too. (The signal that
    PR_SET_PDEATHSIG asks for would also come when only the THREAD ended that started this process.)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)


class Worker:
    """Turns requests into calls of `Operations`."""

    def __init__(self, channel: Channel, owner_pid: int):
        self.channel = channel
        self.owner_pid = owner_pid
        self.operations: Operations | None = None
        self.request_id = 0

    def serve(self) -> None:
        """Answer requests until "close" or until the main program is gone."""
        while True:
            try:
                request = self.channel.receive()
            except EOFError:
                return
            self.request_id = request.pop("id")
            operation = request.pop("op")
            try:
                answer: dict[str, Any] = {"result": self.handlers()[operation](**request)}
            except CameraError as error:
                answer = {"error": error.to_json()}
            except library().GPhoto2Error as error:
                answer = {"error": CameraError("failed", f"{operation}: libgphoto2: {error}", error.code).to_json()}
            self.channel.send({"id": self.request_id, **answer})
            if operation == "close":
                return

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The requests by name."""
        return {
            "ports": list_ports,
            "connect": self.connect,
            "apply": lambda values, require: self.ready.apply(Wanted(**values), require),
            "preflight": lambda: asdict(self.ready.preflight()),
            "press": lambda at_s, give_up_s: asdict(self.ready.press(at_s, give_up_s)),
            "wait_files": lambda count, deadline_s: [asdict(f) for f in self.ready.wait_files(count, deadline_s)],
            "list_files": lambda: [asdict(f) for f in self.ready.list_files()],
            "download": self.download,
            "delete": lambda file: self.ready.delete(CardFile(**file)),
            "close": self.close,
        }

    @property
    def ready(self) -> Operations:
        """The connected camera."""
        if self.operations is None:
            raise CameraError("failed", "not connected to a camera yet")
        return self.operations

    def connect(
        self, port: str, serial: str | None, learn: bool, known: list[tuple[str, str]] | None
    ) -> dict[str, Any]:
        """Lock and open the camera at `port`; with `learn`, note what is on its card. Returns identity and card."""
        # The locks stay open until this process ends. The port's comes first: connecting would disturb another user.
        lock_camera("port", port, self.owner_pid)
        device = Device(port)
        try:
            device.open()
            identity = device.identity()
        except library().GPhoto2Error as error:
            raise camera_error(device, error, "connect") from error
        if serial is not None and identity.serial != serial:
            raise CameraError(
                "wrong_camera",
                f"the camera at {port} has the serial number {identity.serial!r}, expected {serial!r}: "
                "exchange the cables or correct the rig file",
            )
        # A mere look must be able to find one serial number at two ports.
        if identity.serial and learn:
            lock_camera("serial", identity.serial, self.owner_pid)
        self.operations = Operations(device)
        if learn:
            self.operations.learn_card(known)
        return {"identity": asdict(identity), "known": sorted(self.operations.known)}

    def download(self, file: dict[str, Any], destination: str) -> dict[str, Any]:
        """Fetch a file, with progress messages on the way."""
        number = self.request_id
        return asdict(
            self.ready.download(
                CardFile(**file),
                Path(destination),
                lambda done: self.channel.send({"id": number, "progress": done}),
            )
        )

    def close(self) -> None:
        """Leave the camera in peace; errors do not matter any more."""
        if self.operations is not None:
            try:
                self.operations.device.close()
            except library().GPhoto2Error:
                pass


def main() -> None:
    """Serve one camera; see the module's text."""
    parser = argparse.ArgumentParser()
    for name in ("fd", "lifeline", "owner"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    faulthandler.enable()
    tie_to_lifeline(arguments.lifeline)
    # Ctrl-C reaches every process of the terminal; what then happens to the camera is the main program's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != arguments.owner:
        os._exit(CANNOT_GO_ON)
    worker = Worker(Channel(socket.socket(fileno=arguments.fd)), arguments.owner)
    try:
        worker.serve()
    except (BrokenPipeError, ConnectionError):
        pass
    # Without the interpreter's clean-up: libgphoto2 must not be entered again, and the kernel frees all the rest.
    os._exit(0)


if __name__ == "__main__":
    main()
