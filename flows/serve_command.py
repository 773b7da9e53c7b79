"""`mesoface studio serve`: a simulated rig to practise on, until Ctrl-C."""

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..capture.errors import UserError
from ..capture.rig import example_rig_path
from ..capture.sim_rig import SimulatedStudio, VirtualRig
from ..capture.take_manifest import TakeKind
from ..reconstruct.studio_options import parse_size
from .virtual_studio import virtual_folders, virtual_rig_file

console = Console(highlight=False)
ALL_KINDS: tuple[TakeKind, ...] = ("scan", "board", "sphere", "flat", "chart", "dark")


def serve(
    *,
    rig: Path | None = None,
    subject: int = 1,
    expression: str = "neutral",
    size: str = "small",
    targets: bool = True,
    motion_mm: float = 0.0,
    raw_size: str | None = None,
    usb_mb_s: float = 21.0,
    speed: float = 1.0,
    stray_light: float = 0.0,
) -> int:
    """Start a simulated rig: cameras that speak PTP/IP as EOS 760D, and a trigger box on a serial port.

    Then, in another terminal: mesoface capture --rig virtual --subject S001 --expression smile. Any gphoto2 program can
    be pointed at the printed addresses. Ctrl-C ends it.

    Example: mesoface studio serve --subject 3 --size medium

    Parameters
    ----------
    rig
        rig.toml to simulate; the shipped example without it.
    subject
        Person in the chair.
    expression
        As for `studio render`.
    size
        Size of the rendered frames; as for `studio render`.
    targets
        Also render calibration targets, for `mesoface capture --rig virtual --calibration board` and so on.
    motion_mm
        RMS drift of the subject between exposures.
    raw_size
        WIDTHxHEIGHT to enlarge the frames to, for large files.
    usb_mb_s
        Megabytes per second that each body sends; 0 = as fast as it goes.
    speed
        Run bodies and box faster than life by this factor.
    stray_light
        Part of the uniform light that is always on.
    """
    if VirtualRig.running() is not None:
        raise UserError("a simulated rig is running already; end it first (Ctrl-C in its terminal)")
    frame_px = parse_size(raw_size or size)
    path = virtual_rig_file(rig or example_rig_path(), frame_px)
    kinds = ALL_KINDS if targets else ("scan",)
    folders = virtual_folders(path, kinds, size, subject, expression, motion_mm)
    studio = SimulatedStudio(
        path,
        folders,
        speed=speed,
        bytes_per_s=usb_mb_s * 1e6 if usb_mb_s > 0 else None,
        size_px=frame_px if raw_size else None,
        stray_light=stray_light,
    )
    with VirtualRig.start(studio) as running:
        running.publish()
        try:
            for name, port in running.facts["ports"].items():
                console.print(f"camera {name:<12} {port}", soft_wrap=True)
            console.print(f"trigger box        {escape(running.facts['trigger_box'])}", soft_wrap=True)
            console.print("serving; Ctrl-C ends it. In another terminal:")
            console.print("  mesoface capture --rig virtual --subject S001 --expression smile", soft_wrap=True)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            console.print("the simulated rig is off")
        finally:
            running.withdraw()
    return 0
