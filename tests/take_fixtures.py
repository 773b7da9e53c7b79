"""Takes without cameras: folders and logs as a session would leave them."""

from pathlib import Path
from typing import Any

from mesoface.capture.files import sha256_file
from mesoface.capture.plan import take_plan
from mesoface.capture.rig import example_rig_path, load_example_rig
from mesoface.capture.take import Take, create_take

RIG = load_example_rig()
PLAN = take_plan(RIG)
FOLDER = "/store_00020001/DCIM/100CANON"


def new_take(folder: Path, **fields: Any) -> Take:
    """An open take of the shipped rig, nothing shot yet."""
    values: dict[str, Any] = {"kind": "scan", "subject": "S012", "expression": "smile", "version": "0", **fields}
    return create_take(folder, example_rig_path().read_text(), RIG, PLAN, **values)


def expose(take: Take, step: int, attempt: int = 0, first: int = 1) -> list[dict[str, Any]]:
    """Log a step as pressed and exposed; the bodies' frames are IMG_<first + step>."""
    take.log.append("press", step=step, attempt=attempt, cameras=[s.camera for s in PLAN if s.step == step])
    files = [
        {
            "shot": shot.index,
            "camera": shot.camera,
            "serial": RIG.camera(shot.camera).serial,
            "card_folder": FOLDER,
            "card_name": f"IMG_{first + step + 100 * attempt:04d}.CR2",
            "bytes": 4 + shot.index,
        }
        for shot in PLAN
        if shot.step == step
    ]
    shot = next(s for s in PLAN if s.step == step)
    take.log.append(
        "exposed",
        step=step,
        attempt=attempt,
        light_mask=shot.light_mask,
        polariser=shot.polariser,
        box=None,
        files=files,
    )
    return files


def file_away(take: Take, step: int) -> list[Path]:
    """Write and log the files of a step's current exposures."""
    paths = []
    state = take.state()
    for shot in PLAN:
        if shot.step != step:
            continue
        for exposure in state.current(shot.index):
            path = take.path_for(exposure)
            path.write_bytes(b"x" * exposure.bytes)
            take.log.append(
                "file",
                path=path.relative_to(take.data).as_posix(),
                sha256=sha256_file(path),
                bytes=exposure.bytes,
                camera=exposure.camera,
                serial=exposure.key.serial,
                card_folder=exposure.key.folder,
                card_name=exposure.card_name,
                shot=shot.index,
                step=step,
                attempt=exposure.attempt,
            )
            paths.append(path)
    return paths


def whole_take(folder: Path) -> Take:
    """A complete take."""
    take = new_take(folder)
    for step in sorted({shot.step for shot in PLAN}):
        expose(take, step)
        file_away(take, step)
    return take
