"""Two trigger boxes on a test bench with the same handles: the simulator, and the firmware compiled for this machine.

The firmware runs as a program on `arduino_stub`, a board with a clock, pins and an EEPROM; its serial port is a
pseudo-terminal, its pins are worked through a socket.
"""

import math
import os
import shutil
import socket
import subprocess
import threading
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mesoface.capture.sim_box import SimBox
from mesoface.capture.sim_box_port import SimBoxPort

ROOT = Path(__file__).resolve().parent.parent
SKETCH = ROOT / "capture/firmware/mesoface_box/mesoface_box.ino"
STUB = ROOT / "tests/arduino_stub"
LAMP_PINS = range(22, 32)
SYNC_PINS = (2, 3, 18, 19, 20, 21)
POLARISER_PINS = {40: "P", 41: "X"}


@dataclass(frozen=True)
class Light:
    """Lamps seen to go on: channel mask, state of the polariser then, time.monotonic() in s."""

    light_mask: int
    polariser: str
    time_s: float


class Bench(Protocol):
    kind: Literal["simulator", "firmware"]

    @property
    def path(self) -> str: ...
    def edge(self, number: int) -> float:
        """A falling edge at sync input `number` (from 1) now; returns when."""
        ...

    def lights(self) -> list[Light]: ...
    def heat(self, celsius: float) -> None: ...
    def restart(self) -> None:
        """Cut the power for a moment; what the EEPROM holds stays."""
        ...

    def close(self) -> None: ...


class SimBench:
    """The simulator."""

    kind: Literal["simulator", "firmware"] = "simulator"

    def __init__(self, box: SimBox | None = None):
        self.box = box or SimBox(cameras=["one", "two", "three"], serial="BOX0001")
        self.port = SimBoxPort(self.box)

    @property
    def path(self) -> str:
        return self.port.path

    def edge(self, number: int) -> float:
        now_s = time.monotonic()
        self.box.sync_edge(("one", "two", "three")[number - 1], now_s)
        return now_s

    def lights(self) -> list[Light]:
        return [Light(f.light_mask, f.polariser, f.time_s) for f in self.box.firings_between(0, time.monotonic())]

    def heat(self, celsius: float) -> None:
        self.box.temperature_c = celsius

    def restart(self) -> None:
        self.port.dead()
        self.port.revive(power_lost=True)

    def close(self) -> None:
        self.port.close()


class FirmwareBench:
    """The compiled sketch. `pins` collects (time.monotonic() in s, pin, level) of every output that changed."""

    kind: Literal["simulator", "firmware"] = "firmware"

    def __init__(self, program: Path, folder: Path, clock_start_us: int = 0):
        self._program, self._folder, self._clock_start_us = program, folder, clock_start_us
        self._start()

    def _start(self) -> None:
        self.pins: list[tuple[float, int, int]] = []
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        self._control, theirs = socket.socketpair()
        arguments = [str(self._master), str(theirs.fileno()), str(self._folder / "eeprom"), str(self._clock_start_us)]
        self._process = subprocess.Popen([self._program, *arguments], pass_fds=(self._master, theirs.fileno()))
        theirs.close()
        self._lines = self._control.makefile("r")
        assert self._lines_until_ready(), "the firmware did not start"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _lines_until_ready(self) -> bool:
        for line in self._lines:
            if line == "ready\n":
                return True
            self._note(line)
        return False

    def _read(self) -> None:
        for line in self._lines:
            self._note(line)

    def _note(self, line: str) -> None:
        nanoseconds, pin, level = line.split()
        self.pins.append((int(nanoseconds) / 1e9, int(pin), int(level)))

    def send(self, line: str) -> None:
        """A line to the board: "edge <pin>", "analog <value>", "stall <us>"."""
        self._control.sendall(f"{line}\n".encode())

    @property
    def path(self) -> str:
        return os.ttyname(self._slave)

    def edge(self, number: int) -> float:
        now_s = time.monotonic()
        self.send(f"edge {SYNC_PINS[number - 1]}")
        return now_s

    def lights(self) -> list[Light]:
        time.sleep(0.03)  # what the pins did must have come through the socket
        found: list[Light] = []
        polariser = "U"
        for time_s, pin, level in list(self.pins):
            if pin in POLARISER_PINS:  # the sketch switches one off before the other on
                polariser = POLARISER_PINS[pin] if level else "U"
            if pin in LAMP_PINS and level:
                bit = 1 << (pin - LAMP_PINS[0])
                if found and time_s - found[-1].time_s < 0.001:
                    found[-1] = Light(found[-1].light_mask | bit, polariser, found[-1].time_s)
                else:
                    found.append(Light(bit, polariser, time_s))
        return found

    def heat(self, celsius: float) -> None:
        ohm = 10_000 * math.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))
        self.send(f"analog {round(1023 * ohm / (ohm + 10_000))}")
        time.sleep(0.6)  # it measures twice a second

    def restart(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        self._control.close()
        os.close(self._master)
        os.close(self._slave)


def compiler() -> str | None:
    """A C++ compiler of this machine, or None."""
    return shutil.which("g++") or shutil.which("clang++")


def build_firmware(folder: Path, *defines: str) -> Path:
    """Compile the sketch with the stub board into `folder`; warnings are errors."""
    found = compiler()
    assert found
    program = folder / "firmware"
    flags = ["-std=gnu++17", "-O0", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", str(STUB)]
    sources = ["-x", "c++", str(SKETCH), str(STUB / "board.cpp")]
    done = subprocess.run(
        [found, *flags, *(f"-D{define}" for define in defines), *sources, "-o", str(program)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return program
