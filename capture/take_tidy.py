"""Put a take's folder in order before it is continued: after a crash, or after somebody worked in it by hand.

Nothing is deleted that is not on disk a second time under its right name. Files with wrong bytes are set aside and
fetched again from the card; files that the log does not know are set aside as well.
"""

from pathlib import Path

from .files import sha256_file, sync_folder
from .take import Take, verify_image


def set_aside(take: Take) -> list[str]:
    """Move damaged and unknown files out of data/raw; returns what was done, in words."""
    done = []
    for file in take.state().files:
        wrong = verify_image(take.folder, file)
        if not wrong:
            continue
        path = take.data / file.path
        if path.exists():
            moved = _move(take, path)
            done.append(f"data/{file.path} {wrong}; it was moved to {moved} and is fetched again")
        else:
            done.append(f"data/{file.path} {wrong}; it is fetched again")
        take.log.append(
            "damaged",
            path=file.path,
            serial=file.serial,
            card_folder=file.key.folder,
            card_name=file.key.name,
            problem=wrong,
        )
    listed = {file.path for file in take.state().files}
    for path in sorted((take.data / "raw").iterdir()):
        name = path.relative_to(take.data).as_posix()
        if name in listed:
            continue
        if ".part" in path.name:
            path.unlink()  # half a download; the whole is on the card
            continue
        done.append(f"data/{name} is not in the log; it was moved to {_move(take, path)}")
    for path in sorted((take.data / "unassigned").iterdir()):
        if ".part" in path.name:
            path.unlink()
    return done


def drop_copies(take: Take) -> None:
    """After fetching: files set aside go when the same bytes are now filed; the others are noted and kept."""
    state = take.state()
    known = {file.sha256 for file in state.files}
    listed = {file.path for file in state.files} | set(state.kept)
    for path in sorted((take.data / "unassigned").iterdir()):
        name = path.relative_to(take.data).as_posix()
        if name in listed or ".part" in path.name or not path.is_file():
            continue
        sha256 = sha256_file(path)
        if sha256 in known:
            path.unlink()
        else:
            take.log.append("kept", path=name, sha256=sha256, bytes=path.stat().st_size)
    sync_folder(take.data / "unassigned")


def _move(take: Take, path: Path) -> str:
    """Rename into data/unassigned under a free name."""
    for number in range(1, 1000):
        target = take.data / "unassigned" / f"aside{number}_{path.name}"
        if not target.exists():
            path.rename(target)
            sync_folder(target.parent)
            sync_folder(path.parent)
            return target.relative_to(take.folder).as_posix()
    raise OSError(f"{path}: a thousand files of that name are set aside already")
