"""A simulated rig on the tiny scan, and sessions on it: everything real except the hardware."""

from pathlib import Path
from typing import Any

from mesoface.capture.plan import shot_plan, take_plan
from mesoface.capture.rig import example_rig_path, load_rig
from mesoface.capture.session import Session
from mesoface.capture.session_view import SessionView
from mesoface.capture.sim_rig import RenderedFolder, SimulatedStudio, VirtualRig, scaled_rig_text
from mesoface.capture.take import Take, create_take, open_take, read_take
from mesoface.capture.take_tidy import drop_copies, set_aside

SPEED = 3.0
"""Bodies and box run three times faster than life; open times are as long again, so that nothing gets tighter."""


def fast_rig(path: Path, width_px: int = 240, height_px: int = 160) -> Path:
    """The shipped rig as a simulator with SPEED needs it."""
    text = example_rig_path().read_text()
    text = text.replace("shutter_s = 0.1,", f"shutter_s = {0.1 * SPEED},")
    text = text.replace("flash_delay_s = 0.06", f"flash_delay_s = {0.06 * SPEED}")
    text = text.replace("skew_s = 0.03", "skew_s = 0.05").replace("span_s = 5.0", "span_s = 60.0")
    text = text.replace("noise_max = 0.02", "noise_max = 0.2")  # at 2 mm per pixel texture cannot be told from noise
    path.write_text(scaled_rig_text(text, width_px, height_px))
    return path


def start_rig(folder: Path, scan: Path, **options: Any) -> VirtualRig:
    """A simulated rig that serves `scan`."""
    path = fast_rig(folder / "rig.toml")
    plan = shot_plan(load_rig(path))
    return VirtualRig.start(SimulatedStudio(path, (RenderedFolder(scan, plan),), speed=SPEED, **options))


def new_take(sessions: Path, rig: VirtualRig) -> Take:
    """An open take for a simulated rig."""
    loaded = load_rig(rig.rig_path)
    return create_take(
        sessions,
        rig.rig_path.read_text(),
        loaded,
        take_plan(loaded),
        kind="scan",
        subject="S012",
        expression="smile",
        version="0",
    )


def run(take: Take, rig: VirtualRig, mode: str = "shoot", steps: list[int] | None = None) -> SessionView:
    """What a program run does: put the folder in order, connect, shoot (unless mode is "resume"), fetch."""
    view = SessionView()
    set_aside(take)
    with Session(take, rig.connections, view) as session:
        session.connect(for_shooting=mode != "resume")
        if mode != "resume":
            session.shoot(take.state().missing_steps() if steps is None else session.with_partners(steps))
        session.fetch()
    drop_copies(take)
    return view


def repair(folder: Path, rig: VirtualRig, rounds: int = 3) -> None:
    """What an operator does after a fault: mend it, resume, shoot what is missing."""
    for _ in range(rounds):
        rig.command("clear_faults")
        with open_take(folder) as take:
            run(take, rig, "resume")
            if take.state().complete:
                return
            run(take, rig)


def misfiled(folder: Path, rig: VirtualRig) -> list[str]:
    """Images whose true light, as the simulator knows it, is not that of the step they are filed under."""
    truths = {sha: truth for truth in rig.command("truths")["truths"] for sha in truth["sha256"]}
    _, _, state = read_take(folder)
    wrong = []
    for shot in state.plan:
        image = state.image(shot.index)
        if image is None:
            continue
        truth = truths.get(image.sha256)
        planned = [[shot.light_mask, shot.polariser]] if shot.light_mask else []
        if truth is None or truth["camera"] != shot.camera or truth["lights"] != planned:
            wrong.append(f"{shot.stem}: {truth and truth['lights']}")
    return wrong


def messages(view: SessionView) -> str:
    """All lines of a session."""
    return "\n".join(text for _, _, text in view.messages)
