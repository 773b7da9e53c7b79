"""libgphoto2's error numbers in words. -1 is its catch-all, so what was being done and what the camera says decide."""

from typing import Literal

from .camera_device import Device, library
from .camera_messages import CameraError

Doing = Literal["connect", "setting", "press", "events", "list", "download", "delete"]

NO_MEMORY, IO, NOT_SUPPORTED, TIMEOUT, BUSY = -3, -7, -6, -10, -110
ACCESS_LOST = {-7, -10, -31, -34, -35, -52}  # input/output, time-out, USB read, write, update, device gone
CLAIMED = {-53, -60}  # USB interface claimed, device locked
NOT_THERE = {-5, -105}  # unknown port, no such camera
NO_FILE = {-107, -108}

WORDS: dict[Doing, str] = {
    "connect": "connecting",
    "setting": "changing a setting",
    "press": "releasing the shutter",
    "events": "waiting for a photograph",
    "list": "reading the card's directory",
    "download": "sending a photograph",
    "delete": "deleting a photograph",
}


def camera_error(device: Device, error: Exception, doing: Doing) -> CameraError:
    """The CameraError for a GPhoto2Error that came up while `doing`. May ask the camera whether it still answers."""
    code = int(getattr(error, "code", -1))
    where = f"camera at {device.port}"
    text = f"libgphoto2: {error}"
    if doing == "connect":
        if code in CLAIMED:
            return CameraError(
                "in_use",
                f"{where} is held by another program, often the desktop's gvfs-gphoto2-volume-monitor: end it ({text})",
                code,
            )
        if code in NOT_THERE or code in ACCESS_LOST:
            return CameraError(
                "not_found",
                f"no camera answers at {device.port}: check that it is switched on, its cable and the port ({text})",
                code,
            )
        return CameraError(
            "failed",
            f"{where} refuses the connection: switch it off and on; another program may hold it ({text})",
            code,
        )
    if code == BUSY:
        return CameraError("busy", f"{where} is still busy while {WORDS[doing]}: wait, then try again", code)
    if code in ACCESS_LOST or not answers(device):
        return CameraError("lost", f"{where} was lost while {WORDS[doing]}: check cable and battery ({text})", code)
    if code in NO_FILE:
        return CameraError("not_found", f"{where} has no such file or folder any more ({text})", code)
    if doing == "press":
        if code == NO_MEMORY or card_is_full(device):
            return CameraError("card_full", f"{where}: its memory card is full; change the card or make room", code)
        return CameraError(
            "failed",
            f"{where} refuses to release: check that the lens is set to MF and that a card is in ({text})",
            code,
        )
    if doing == "setting":
        return CameraError("denied", f"{where} refuses the setting ({text})", code)
    return CameraError("failed", f"{where} failed while {WORDS[doing]} ({text})", code)


def answers(device: Device) -> bool:
    """Whether the connection still works: one harmless question to the camera."""
    if not device.connected:
        return False
    try:
        device.free_bytes()
    except library().GPhoto2Error as error:
        return error.code == NOT_SUPPORTED
    return True


def card_is_full(device: Device) -> bool:
    """Whether the camera says it has no room for another photograph."""
    try:
        shots = device.setting("availableshots")
        return (shots is not None and shots.strip() == "0") or device.free_bytes() == 0
    except library().GPhoto2Error:
        return False
