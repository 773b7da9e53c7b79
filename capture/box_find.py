"""Which serial port is the trigger box, and is it one."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .box_link import BoxError, BoxLink, open_link
from .box_protocol import PROTOCOL

BOOT_S = 3.0
"""A board that restarts when its port is opened answers after about two seconds."""


@dataclass(frozen=True)
class BoxIdentity:
    """Answer to *IDN?."""

    maker: str
    model: str
    serial: str
    version: str


def identify(link: BoxLink, patience_s: float) -> BoxIdentity:
    """Ask *IDN? until the box is awake, at most `patience_s`.

    Raises BoxError: not_a_box for everything that answers otherwise, mute, dead.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            wait_s = min(0.4, max(0.05, deadline_s - time.monotonic()))
            fields = link.ask("*IDN?", timeout_s=wait_s, retry=False)[0].split(",")
            language = link.ask("SYST:PROT?")[0]
            break
        except BoxError as error:
            if error.kind == "rejected":
                fields, language = [], ""
                break
            if error.kind not in ("mute", "garbage"):
                raise
            if time.monotonic() >= deadline_s:
                if error.kind == "garbage":
                    raise BoxError("not_a_box", f"{error}") from error
                raise
    if len(fields) != 4 or language != PROTOCOL:
        raise BoxError(
            "not_a_box",
            f"the device at {link.name} is no Mesoface trigger box of this version: it says {','.join(fields)!r} and "
            f"speaks {language!r}, wanted {PROTOCOL!r}. Choose another port or load the firmware of this release.",
        )
    return BoxIdentity(*fields)


def find_box(port: str = "auto", candidates: Sequence[str] | None = None) -> str:
    """The serial port of the trigger box: `port` itself, or with "auto" the one that answers like a box.

    "auto" asks every USB serial port (or `candidates`) at the same time, within about BOOT_S. Raises BoxError: no_port
    when none answers (saying what was tried), in_use when one may be the box but is open elsewhere, mismatch when
    several boxes answer.
    """
    if port != "auto":
        return port
    names = _usb_ports() if candidates is None else list(candidates)
    if not names:
        raise BoxError(
            "no_port",
            "no USB serial port was found: plug the trigger box in, or set capture.trigger_box in the rig file.",
        )
    with ThreadPoolExecutor(len(names)) as pool:
        results = list(pool.map(_probe, names))
    boxes = [name for name, error in zip(names, results, strict=True) if error is None]
    if len(boxes) == 1:
        return boxes[0]
    if boxes:
        raise BoxError(
            "mismatch",
            f"several trigger boxes answer ({', '.join(boxes)}): set capture.trigger_box in the rig file to one.",
        )
    kind = "in_use" if any(error and error.kind == "in_use" for error in results) else "no_port"
    tried = "; ".join(str(error) for error in results)
    raise BoxError(kind, f"no trigger box answers on {', '.join(names)}. {tried}")


def _usb_ports() -> list[str]:
    from serial.tools.list_ports import comports

    return sorted(port.device for port in comports() if port.vid is not None)


def _probe(name: str) -> BoxError | None:
    try:
        link = open_link(name, 1.0)
    except BoxError as error:
        return error
    try:
        identify(link, BOOT_S)
    except BoxError as error:
        return error
    finally:
        link.close()
    return None
