"""One program at a time per camera: lock files that vanish with the process that holds them."""

import fcntl
import os
import re
import tempfile
from pathlib import Path

from .camera_messages import CameraError


def lock_folder() -> Path:
    """Where this user's lock files are: $XDG_RUNTIME_DIR/mesoface, else mesoface-<user id> in the temporary folder."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    shared = Path(tempfile.gettempdir()) / f"mesoface-{os.getuid()}"
    folder = Path(runtime) / "mesoface" if runtime and Path(runtime).is_dir() else shared
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CameraError("failed", f"{folder} cannot hold the lock files of cameras: {error.strerror}") from error
    return folder


def lock_camera(kind: str, name: str, owner_pid: int) -> int:
    """Hold the lock of a port or serial number until this process ends; returns the open descriptor.

    `owner_pid` is the program to name to others. Raises CameraError "in_use" when another process holds the lock.
    """
    path = lock_folder() / f"camera-{kind}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CameraError("failed", f"lock file {path}: {error.strerror}; remove it if it is nobody's") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        whose = "this program" if holder == str(owner_pid) else f"another program (process {holder})"
        raise CameraError(
            "in_use", f"the camera with {kind} {name} is in use by {whose}; end that first, then try again"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{owner_pid}\n".encode())
    return descriptor
