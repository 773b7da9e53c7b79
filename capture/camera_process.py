"""A camera's worker process: started with its own settings folder, asked over a socket, killed at its deadline."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from .camera_messages import CameraError, Channel

# libgphoto2 keeps this in a file, not in the camera; without it photographs go to the camera's internal memory.
GPHOTO_SETTINGS = "ptp2=capturetarget=card\n"
LAST_LINES = 6
FOLDER_NAME = "mesoface-camera-"


class CameraProcess:
    """The worker for the camera at `port`; `environment` adds to this process's variables."""

    def __init__(self, port: str, environment: Mapping[str, str]):
        self.port = port
        self._requests = 0
        self._lost = False
        self._said = ""
        _sweep_folders()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER_NAME}{os.getpid()}-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        settings = folder / "config" / "gphoto" / "settings"
        settings.parent.mkdir(parents=True)
        settings.write_text(GPHOTO_SETTINGS)
        self._log = folder / "worker.log"
        ours, theirs = socket.socketpair()
        watched, self._lifeline = os.pipe()
        command = [sys.executable, "-m", f"{__package__}.camera_worker", "--fd", str(theirs.fileno())]
        command += ["--lifeline", str(watched), "--owner", str(os.getpid())]
        # English labels, whatever the user's language is; the settings of other programs stay untouched.
        variables = {"LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(folder / "config")}
        with theirs, self._log.open("wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment, **variables},
                pass_fds=(theirs.fileno(), watched),
            )
        os.close(watched)
        self._channel = Channel(ours)

    @property
    def alive(self) -> bool:
        """Whether the process runs and its camera has not been lost."""
        return not self._lost and self._child.poll() is None

    @property
    def pid(self) -> int:
        return self._child.pid

    def call(
        self, operation: str, timeout_s: float, progress: Callable[[int], None] | None = None, **fields: Any
    ) -> Any:
        """Ask and wait for the answer, at most `timeout_s` from now or from the last sign of progress.

        Raises the worker's CameraError; "timeout" after killing a worker that does not answer; "lost" when it has died.
        """
        if self._lost:
            raise CameraError("lost", f"camera at {self.port} was lost: reconnect first")
        self._requests += 1
        try:
            self._channel.send({"id": self._requests, "op": operation, **fields})
            deadline_s = monotonic() + timeout_s
            while True:
                answer = self._channel.receive(deadline_s)
                if "progress" not in answer:
                    break
                deadline_s = monotonic() + timeout_s
                if progress is not None:
                    progress(answer["progress"])
        except TimeoutError:
            self.kill()
            raise CameraError(
                "timeout",
                f"camera at {self.port} did not answer within {timeout_s:.1f} s ({operation}); its process was ended. "
                "Reconnect; if that fails, switch the body off and on" + self._said,
            ) from None
        except (EOFError, OSError, ValueError):
            self.kill()
            raise CameraError(
                "lost",
                f"the process of the camera at {self.port} ended during {operation} ({self._fate()}): reconnect"
                + self._said,
            ) from None
        except BaseException:
            # Ctrl-C, or an error in `progress`: the answer would be taken for that of the next call.
            self.kill()
            raise
        if "error" in answer:
            error = CameraError.from_json(answer["error"])
            if error.kind == "lost":
                self.kill()
            raise error
        return answer["result"]

    def kill(self) -> None:
        """End the process at once."""
        self._lost = True
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._said = self._said or self._last_lines()
        self._channel.close()
        with suppress(OSError):
            os.close(self._lifeline)
        self._lifeline = -1
        self._folder.cleanup()

    def _fate(self) -> str:
        code = self._child.wait()
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def _last_lines(self) -> str:
        """What the worker said last, for a message."""
        try:
            text = self._log.read_text(errors="replace").strip()
        except OSError:
            return ""
        # faulthandler's list of stack frames and modules says less than the line before it
        lines = [line for line in text.splitlines() if line and not line.startswith((" ", "Extension modules"))]
        return "".join(f"\n  {line}" for line in lines[-LAST_LINES:])


def _sweep_folders() -> None:
    """Remove the folders of programs that were killed; names end in "<process id>-<letters>"."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_NAME}*-*"):
        pid = folder.name.removeprefix(FOLDER_NAME).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
