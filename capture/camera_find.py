"""Which cameras are there: every port is asked in a process of its own, so a frozen body holds nobody up."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from .camera_messages import CameraError, CameraIdentity
from .camera_process import CameraProcess
from .errors import UserError
from .rig_models import Rig

FIND_S = 15.0


@dataclass(frozen=True)
class FoundCameras:
    """The bodies that answered, and the error of every port that did not. Iterates over the bodies."""

    cameras: tuple[CameraIdentity, ...]
    problems: Mapping[str, CameraError]

    def __iter__(self) -> Iterator[CameraIdentity]:
        return iter(self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)


def find_cameras(
    ports: Literal["usb"] | tuple[str, ...],
    timeout_s: float = FIND_S,
    environment: Mapping[str, str] | None = None,
) -> FoundCameras:
    """The cameras on USB, or at the given gphoto2 ports, with their serial numbers.

    Takes at most about `timeout_s` (twice that for "usb"), however many ports there are. A port that is silent,
    unreachable or in use by another program is in `problems`.
    """
    variables = dict(environment or {})
    if ports == "usb":
        ports = tuple(port for port, _ in _ask("usb", "ports", timeout_s, variables))

    ports = tuple(dict.fromkeys(ports))

    def identify(port: str) -> CameraIdentity | CameraError:
        try:
            answer = _ask(port, "connect", timeout_s, variables, port=port, serial=None, learn=False, known=None)
        except CameraError as error:
            return error
        return CameraIdentity(**answer["identity"])

    with ThreadPoolExecutor(max_workers=max(1, len(ports))) as pool:
        results = dict(zip(ports, pool.map(identify, ports), strict=True))
    return FoundCameras(
        tuple(result for result in results.values() if isinstance(result, CameraIdentity)),
        {port: result for port, result in results.items() if isinstance(result, CameraError)},
    )


def match_cameras(rig: Rig, found: FoundCameras) -> dict[str, CameraIdentity]:
    """{camera name of the rig: the body with its serial number}.

    Raises UserError, listing everything wrong at once: bodies missing, serial numbers the rig does not know (with
    their ports), one serial number at two ports, ports without an answer.
    """
    by_serial: dict[str, list[CameraIdentity]] = {}
    for identity in found:
        by_serial.setdefault(identity.serial, []).append(identity)
    lines: list[str] = []
    for camera in rig.cameras:
        bodies = by_serial.get(camera.serial, [])
        if not bodies:
            lines.append(f"missing: {camera.name} ({camera.model}, serial {camera.serial})")
        elif len(bodies) > 1:
            places = " and ".join(identity.port for identity in bodies)
            lines.append(f"{camera.name}: serial {camera.serial} answers at {places}; list only one of these ports")
    if not lines:
        return {camera.name: by_serial[camera.serial][0] for camera in rig.cameras}
    serials = {camera.serial for camera in rig.cameras}
    for identity in found:
        if identity.serial not in serials:
            lines.append(f"not in the rig: {identity.model}, serial {identity.serial or '(none)'}, at {identity.port}")
    lines += [f"no answer: {error}" for error in found.problems.values()]
    if not len(found) and not found.problems:
        lines.append("no camera was found at all")
    raise UserError(
        f'the cameras of rig "{rig.name}" do not match those connected. Switch all bodies on, or correct the serial '
        "numbers and capture.camera_ports in the rig file:\n" + "\n".join(f"  {line}" for line in lines)
    )


def _ask(where: str, operation: str, timeout_s: float, environment: Mapping[str, str], **fields: Any) -> Any:
    process = CameraProcess(where, environment)
    try:
        answer = process.call(operation, timeout_s, **fields)
        if operation == "connect":
            process.call("close", timeout_s)
        return answer
    finally:
        process.kill()
