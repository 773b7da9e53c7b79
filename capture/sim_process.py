"""The process of a simulated rig: all bodies on loopback addresses, the trigger box on a pty, one room for all.

Started by `sim_rig.VirtualRig` with one JSON line on standard input; answers one JSON line when everything serves, then
lives until standard input closes. Commands come as JSON lines over a Unix socket, one answer line each.
"""

import json
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .plan import Shot, steps
from .rig import load_rig
from .sim_box import SimBox
from .sim_box_parts import BoxFault
from .sim_box_port import SimBoxPort
from .sim_camera import SimCamera
from .sim_camera_types import SimCameraOptions
from .sim_faults import Fault
from .sim_images import ImageLibrary
from .sim_world import VirtualRoom
from .take_manifest import ShotRecord


class SimulatedRig:
    """Bodies, box and room in this process, and the commands that steer them."""

    def __init__(self, config: dict[str, Any]) -> None:
        rig = load_rig(config["rig"])
        library = ImageLibrary(tuple(config["size_px"]) if config.get("size_px") else None)
        plan: list[Shot] = []
        for folder in config["folders"]:
            shots = tuple(ShotRecord(**record).shot() for record in folder["shots"])
            library.add(Path(folder["path"]), shots)
            plan += shots
        speed = config["speed"]
        self.box = SimBox(
            channels=max(10, *(light.channel for light in rig.lights)),
            recycle_s=rig.limits.recycle_s,
            polariser_switch_s=rig.limits.polariser_switch_s,
            speed=speed,
            cameras=[camera.name for camera in rig.cameras],
        )
        planned = {(s.light_mask, s.energy_permille): s for s in steps(plan, rig)}
        self.room = VirtualRoom(rig, library, self.box, tuple(planned.values()), config["seed"])
        self.room.stray_light = config["stray_light"]
        self.port = SimBoxPort(self.box, Path(config["control"]).with_name("trigger-box"))
        self.cameras: dict[str, SimCamera] = {}
        for camera, address in zip(rig.cameras, config["addresses"], strict=True):
            options = SimCameraOptions(
                name=camera.name,
                serial=camera.serial,
                address=address,
                model=camera.model,
                fps=rig.limits.frames_per_s,
                bytes_per_s=config["bytes_per_s"],
                speed=speed,
            )
            self.cameras[camera.name] = SimCamera(options, self.room)

    def start(self) -> None:
        for camera in self.cameras.values():
            camera.start()

    def stop(self) -> None:
        for camera in self.cameras.values():
            camera.stop()
        self.port.close()

    def facts(self) -> dict[str, Any]:
        """What a client needs to connect."""
        return {
            "pid": os.getpid(),
            "ports": {name: camera.port_path for name, camera in self.cameras.items()},
            "trigger_box": self.port.path,
        }

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Obey one command."""
        what = command["do"]
        if what == "camera_fault":
            self.cameras[command["camera"]].inject(Fault(**command["fault"]))
        elif what == "box_fault":
            self.box.inject(BoxFault(**command["fault"]))
        elif what == "clear_faults":
            for camera in self.cameras.values():
                camera.clear_faults()
            self.box.clear_faults()
            self.room.unplugged.clear()
            self.port.mute(False)
            self.port.revive()
        elif what == "box_plug":
            if command["plugged"]:
                self.port.revive(command.get("power_lost", False))
            else:
                self.port.dead()
        elif what == "power_cycle_box":
            self.box.power_cycle()
        elif what == "box_mute":
            self.port.mute(command["silent"])
        elif what == "unplug_sync":
            self.room.unplugged.add(command["camera"])
        elif what == "truncate_next":
            self.room.truncate.add(command["camera"])
        elif what == "pose":
            self.room.pose = command["pose"]
        elif what == "stray_light":
            self.room.stray_light = command["share"]
        elif what == "truths":
            return {"truths": [asdict(truth) for truth in self.room.truths]}
        elif what == "cards":
            return {name: [asdict(file) for file in camera.card] for name, camera in self.cameras.items()}
        elif what == "presses":
            return {
                name: [[e.pressed_s, e.opened_s] for e in camera.exposures] for name, camera in self.cameras.items()
            }
        else:
            raise ValueError(f"unknown command {what!r}")
        return {}


def serve_control(rig: SimulatedRig, listener: socket.socket) -> None:
    """Answer commands, one connection at a time, for ever."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_converse, args=(rig, connection), daemon=True).start()


def _converse(rig: SimulatedRig, connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as stream:
        for line in stream:
            try:
                reply = {"ok": True, **rig.answer(json.loads(line))}
            except Exception as error:  # the client is told; the rig goes on
                reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(reply) + "\n")
            stream.flush()


def main() -> None:
    config = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is meant for the capture program
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(config["control"])
    listener.listen()
    rig = SimulatedRig(config)
    rig.start()
    threading.Thread(target=serve_control, args=(rig, listener), daemon=True).start()
    sys.stdout.write(json.dumps(rig.facts()) + "\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the parent closes its end, or dies
    rig.stop()


if __name__ == "__main__":
    main()
