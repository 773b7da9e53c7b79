"""A serial port with a simulated trigger box behind it: a pseudo-terminal that pyserial opens like any port."""

import contextlib
import os
import select
import threading
import time
import tty
from pathlib import Path

from .sim_box import SimBox

_LONGEST_INPUT = 4096


class SimBoxPort:
    """Serves `box` on a pseudo-terminal from a thread; use as a context manager or call `close`.

    `path` is what the host opens. With `link`, a symbolic link of that name always points at the present terminal, as
    a udev rule would make it; the terminal itself changes with each `revive`.
    """

    def __init__(self, box: SimBox, link: Path | None = None):
        self.box = box
        self.link = link
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._terminal: tuple[int, int] | None = None
        self._stop_r, self._stop_w = -1, -1
        self._path = ""
        self._mute = False
        self.revive()

    def __enter__(self) -> "SimBoxPort":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """What the host opens."""
        return str(self.link) if self.link else self._path

    @property
    def alive(self) -> bool:
        """False after `dead` or a dead fault, until `revive`."""
        return self._terminal is not None

    def dead(self) -> None:
        """Pull the plug: whoever has the port open gets an input/output error, and the port is gone."""
        self._unplug()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def mute(self, silent: bool = True) -> None:
        """Ignore every command (the port stays open) until called with False."""
        self._mute = silent

    def revive(self, power_lost: bool = False) -> None:
        """Plug the box in again, with its memory or, when the power was cut, without."""
        if self.alive:
            return
        if self._thread:
            self._thread.join()
        if power_lost:
            self.box.power_cycle()
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        self._path = os.ttyname(slave)
        self._stop_r, self._stop_w = os.pipe()
        self._terminal = (master, slave)
        if self.link:
            temporary = self.link.with_name(f".{self.link.name}.new")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self._path)
            temporary.replace(self.link)
        self._thread = threading.Thread(target=self._serve, args=(master, slave), name="sim-box", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the service and remove the link."""
        self.dead()
        if self.link:
            self.link.unlink(missing_ok=True)

    def _unplug(self) -> None:
        with self._lock:
            if self._terminal:
                self._terminal = None
                os.close(self._stop_w)

    def _serve(self, master: int, slave: int) -> None:
        # The slave stays open here, so that a host that closes its end does not end the service.
        stop = self._stop_r
        waiting = b""
        try:
            while self.alive:
                readable, _, _ = select.select([master, stop], [], [])
                if stop in readable:
                    return
                waiting += os.read(master, 1024)
                *lines, waiting = waiting.split(b"\n")
                for line in lines:
                    self._answer(master, line.decode("latin-1"))
                waiting = waiting[-_LONGEST_INPUT:]
        except OSError:
            return
        finally:
            self._unplug()
            for descriptor in (master, slave, stop):
                os.close(descriptor)

    def _answer(self, master: int, line: str) -> None:
        box = self.box
        if not self.alive or self._mute or box.take_line_fault("mute"):
            return
        if box.take_line_fault("dead"):
            self._unplug()
            return
        lines = box.handle_line(line)
        if not lines or box.take_line_fault("lost_answer"):
            return
        if box.take_line_fault("garbage"):
            lines = ["\x00\xff\x13~\x80garb\x07"]
        late = box.take_line_fault("late_answer")
        data = "".join(one + "\r\n" for one in lines).encode("latin-1")
        if late:
            threading.Timer(late.delay_s, self._write, args=(master, data)).start()
        else:
            self._write(master, data)

    def _write(self, master: int, data: bytes) -> None:
        # A host that never reads must not hold the service for ever.
        deadline_s = time.monotonic() + 2.0
        with contextlib.suppress(OSError, ValueError):
            while data and self.alive and time.monotonic() < deadline_s:
                if select.select([], [master], [], 0.1)[1]:
                    data = data[os.write(master, data[:512]) :]
