"""A take on disk: the folder of one capture, opened by one program at a time.

sessions/S012_smile_20260301T101500Z/
    data/take.json  rig.toml  take.jsonl       what it is, with which rig, what happened
    data/raw/00_uniform_left2.cr2 ...          verified images; _r1, _r2 ... are later attempts of a step
    data/unassigned/...                        verified frames that belong to no step: nothing is thrown away
    data/quality.json  contact-sheet.html      made from the above, and made again whenever they change
    bagit.txt  manifest-sha256.txt ...         once closed: a BagIt bag (RFC 8493)
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .camera_messages import CardFile
from .errors import REFUSALS, UserError
from .files import sha256_file, sync_folder, write_bytes, write_json
from .plan import Shot
from .rig import load_rig
from .rig_models import Rig
from .take_cards import CardKey, card_record
from .take_log import TakeLog, read_log
from .take_manifest import (
    TakeKind,
    TakeManifest,
    check_notes,
    check_reference,
    folder_name,
    parse_manifest,
    shot_records,
    utc_now,
    utc_text,
)
from .take_state import Exposure, FiledImage, TakeState, take_state

LOCK = "take.lock"


class Take:
    """An open take. Use `create_take` or `open_take`; `close_files` (or `with`) releases it."""

    def __init__(self, folder: Path, manifest: TakeManifest, rig: Rig, log: TakeLog, lock: int) -> None:
        self.folder, self.manifest, self.rig, self.log = folder, manifest, rig, log
        self._lock = lock

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def plan(self) -> tuple[Shot, ...]:
        return self.manifest.plan

    @property
    def name(self) -> str:
        return self.folder.name

    def state(self) -> TakeState:
        """Where the take stands now."""
        return take_state(self.plan, self.log.records)

    def path_for(self, exposure: Exposure) -> Path:
        """Where the file of an exposure belongs: the shot's stem, the attempt, the camera's own suffix."""
        attempt = f"_r{exposure.attempt}" if exposure.attempt else ""
        suffix = Path(exposure.card_name).suffix.lower() or ".raw"
        return self.data / "raw" / f"{self.plan[exposure.shot].stem}{attempt}{suffix}"

    def path_for_stray(self, camera: str, key: CardKey) -> Path:
        """Where a frame without a step is kept; the card and its folder keep equal names apart."""
        card = f"_card{key.card}" if key.card else ""
        place = re.sub(r"[^A-Za-z0-9]+", "-", key.folder).strip("-")
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", key.name).lstrip(".")
        return self.data / "unassigned" / f"{camera}{card}_{place}_{safe}"

    def note_stray(self, camera: str, file: CardFile) -> None:
        """Write into the log that a file on a body's card belongs to no step."""
        self.log.append(
            "stray",
            camera=camera,
            serial=self.rig.camera(camera).serial,
            card_folder=file.folder,
            card_name=file.name,
            bytes=file.bytes,
            time_s=file.time_s,
        )

    def note_card(self, camera: str, listed: Sequence[CardFile]) -> str:
        """Write into the log when the card in a body is not the one that was in it; returns what an operator should
        know, or an empty text. Call at every connection of a body that has a baseline."""
        serial = self.rig.camera(camera).serial
        before = self.state()
        cards = before.cards[serial]
        card = cards.recognise(listed)
        if card == cards.current:
            return ""
        back = card in cards.held
        self.log.append("card", camera=camera, serial=serial, card=card, files=card_record(listed))
        gone = [e for e in self.state().lost if e not in before.lost]
        if not gone:
            which = "an earlier card is back" if back else "another card, or a formatted one"
            return f"{camera}: {which}; nothing is lost"
        steps = ", ".join(map(str, sorted({e.step for e in gone})))
        return (
            f"{camera}: another card, or a formatted one: it does not hold the frames of step {steps}, which were not "
            "fetched. Put the earlier card back and run `mesoface take resume`, or shoot these steps again; they count "
            "as missing"
        )

    def close_files(self) -> None:
        self.log.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> "Take":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close_files()


def create_take(
    sessions: Path,
    rig_text: str,
    rig: Rig,
    plan: tuple[Shot, ...],
    *,
    kind: TakeKind,
    subject: str,
    expression: str,
    operator: str = "",
    consent: str = "",
    notes: str = "",
    version: str,
) -> Take:
    """Make the folder of a new take and open it.

    `subject` and `expression` must have been checked (`check_subject`, `check_label`). Raises UserError when the folder
    cannot be written, or for references that are not plain text.
    """
    check_reference(operator, "operator")
    check_reference(consent, "consent")
    check_notes(notes)
    moment = utc_now()
    try:
        sessions.mkdir(parents=True, exist_ok=True)
        folder = _new_folder(sessions, folder_name(subject, expression, moment))
        for part in ("data/raw", "data/unassigned"):
            (folder / part).mkdir(parents=True)
        write_bytes(folder / "data/rig.toml", rig_text.encode())
        manifest = TakeManifest(
            take_id=secrets.token_hex(8),
            kind=kind,
            subject=subject,
            expression=expression,
            operator=operator,
            consent=consent,
            notes=notes,
            created_utc=utc_text(moment),
            rig_name=rig.name,
            rig_sha256=sha256_file(folder / "data/rig.toml"),
            mesoface_version=version,
            shots=shot_records(plan),
        )
        write_json(folder / "data/take.json", manifest.model_dump(mode="json"))
        sync_folder(sessions)
        lock = _lock(folder)
        log = TakeLog(folder / "data/take.jsonl")
        log.append("opened", take_id=manifest.take_id, program=os.getpid())
    except OSError as error:
        raise UserError(
            f"{sessions}: a take cannot be started here ({reason(error)}); free space, or choose another --sessions"
        ) from error
    return Take(folder, manifest, rig, log, lock)


def open_take(folder: str | Path) -> Take:
    """Open an existing take and take its lock.

    Raises UserError when it is no take, was edited, or another program has it open.
    """
    folder = Path(folder)
    manifest, rig = read_manifest(folder)
    try:
        lock = _lock(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({reason(error)}); mend that and run the command again"
        ) from error
    try:
        log = TakeLog(folder / "data/take.jsonl")
    except OSError as error:
        os.close(lock)
        raise UserError(f"{folder}: the log cannot be written ({reason(error)}); mend that and try again") from error
    except UserError:
        os.close(lock)
        raise
    return Take(folder, manifest, rig, log, lock)


@contextmanager
def opened_take(folder: str | Path) -> Iterator[Take]:
    """`open_take` as a context."""
    take = open_take(folder)
    try:
        yield take
    finally:
        take.close_files()


def read_take(folder: str | Path) -> tuple[TakeManifest, Rig, TakeState]:
    """Look at a take without touching it, even while another program works on it."""
    folder = Path(folder)
    manifest, rig = read_manifest(folder)
    return manifest, rig, take_state(manifest.plan, read_log(folder / "data/take.jsonl").records)


def read_manifest(folder: Path) -> tuple[TakeManifest, Rig]:
    """take.json and rig.toml of a take. Raises UserError when they are missing, damaged or do not belong together."""
    path = folder / "data/take.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{folder}: is not a take (no data/take.json); `mesoface take list` shows the takes of a folder"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it from a copy") from None
    manifest = parse_manifest(content, str(path))
    rig_path = folder / "data/rig.toml"
    if not rig_path.is_file() or sha256_file(rig_path) != manifest.rig_sha256:
        raise UserError(
            f"{rig_path}: is not the rig this take was shot with (its hash differs); restore it from a copy"
        )
    return manifest, load_rig(rig_path)


def verify_image(folder: Path, file: FiledImage) -> str:
    """What is wrong with a verified file now, or an empty text."""
    path = folder / "data" / file.path
    try:
        size = path.stat().st_size
        if size != file.bytes:
            return f"has {size} bytes instead of {file.bytes}"
        return "" if sha256_file(path) == file.sha256 else "has other bytes than were verified"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({reason(error)})"


def takes_in(sessions: Path) -> list[Path]:
    """All folders below `sessions` that hold a take, oldest first."""
    if not sessions.is_dir():
        raise UserError(f"{sessions}: no such folder; give the sessions folder with --sessions")
    found = [path.parent.parent for path in sessions.glob("*/data/take.json")]
    return sorted(found, key=lambda path: (path.name.rsplit("_", 1)[-1], path.name))


def reason(error: OSError) -> str:
    """An operating system's refusal in words an operator can act on."""
    return REFUSALS.get(error.errno or 0, error.strerror or str(error))


def _new_folder(sessions: Path, name: str) -> Path:
    for number in range(1, 100):
        folder = sessions / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{sessions}: a hundred takes named {name}; wait a second and try again")


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 64).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{folder}: another program works on this take (process {holder or 'unknown'}); wait until it has finished"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
