"""After a crash between the release and the note of its result: what became of the last step?

The log says which bodies were released. If every one of them holds exactly one exposure more than is accounted for,
and the trigger box, still holding this take's sequence, fired exactly this step and nothing behind it, the frames are
this step's beyond doubt. In every other case they are strays, and the step has to be shot again.
"""

from collections.abc import Callable
from dataclasses import asdict

from .box import BoxError
from .camera_messages import CardFile
from .plan import Step
from .session_box import SessionBox
from .session_crew import Crew
from .take import Take


def settle_open_press(take: Take, crew: Crew, box: SessionBox | None, step_of: Callable[[int], Step]) -> None:
    """Decide an open press of the log, once and for all; notes every other unknown frame of these bodies as a stray."""
    state = take.state()
    press = state.open_press
    if press is None:
        return
    step, attempt = step_of(press["step"]), press["attempt"]
    found, errors = crew.each(lambda name: _unknown(take, crew, name), press["cameras"])
    if errors:
        return  # undecided; the next connection tries again
    reason = _doubt(take, crew, box, step, found)
    if not reason:
        files = [
            {
                "shot": shot.index,
                "camera": shot.camera,
                "serial": crew.rig.camera(shot.camera).serial,
                "card_folder": file.folder,
                "card_name": file.name,
                "bytes": file.bytes,
                "time_s": file.time_s,
                "pressed_s": None,
                "released_s": None,
                "seen_s": None,
                "via": "resume",
            }
            for shot in step.shots
            for file in found[shot.camera]
        ]
        row = box.last_row(step) if box is not None and step.light_mask else None
        take.log.append(
            "exposed",
            step=step.index,
            attempt=attempt,
            light_mask=step.light_mask,
            polariser=step.polariser,
            box=asdict(row) if row else None,
            files=files,
        )
        crew.view.say(f"step {step.index} was exposed before the interruption; its frames are on the cards")
        crew.view.set_step(step.index, "shot")
        return
    take.log.append("void", step=step.index, attempt=attempt, reason=f"interrupted: {reason}")
    for name, files in found.items():
        for file in files:
            take.note_stray(name, file)


def _unknown(take: Take, crew: Crew, name: str) -> list[CardFile]:
    known = take.state().known(crew.rig.camera(name).serial)
    files = [f for f in crew.cameras[name].list_files() if (f.folder, f.name) not in known]
    return sorted(files, key=lambda f: f.name.lower().endswith((".jpg", ".jpeg")))


def _doubt(take: Take, crew: Crew, box: SessionBox | None, step: Step, found: dict[str, list[CardFile]]) -> str:
    """Why the new frames cannot be filed under `step`, or an empty text."""
    for name, files in found.items():
        expected = 2 if crew.rig.camera(name).exposure.image_format == "RAW+JPEG" else 1
        if len(files) != expected:
            return f"{name} has {len(files)} new files instead of {expected}"
    if not step.light_mask:
        return ""
    try:
        row = box.last_row(step) if box is not None else None
    except BoxError as error:
        return f"the trigger box does not tell what it fired ({error})"
    if row is None:
        return "the trigger box does not hold the firing of this step any more"
    good = row.fired and row.light_mask == step.light_mask and row.polariser == step.polariser
    if not good or row.inputs.bit_count() != len(step.shots):
        return "the trigger box fired something else last"
    return ""
