"""Stages: folders that know what they were made of. Valid results are kept, stale ones made again, none half-written.

A stage's folder holds its files and stage.json: schema and code version, parameters, SHA-256 of every input and
output, seconds, warnings. It is written under a temporary name and renamed when it is whole. A hidden file says that
the folder is ours, so that one whose stage.json was lost or damaged can be made again without touching others' folders.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json, sync_folder, write_json, write_text
from ..capture.json_files import read_format

FORMAT = "mesoface-stage"
SCHEMA_VERSION = 1
STAGE_FILE, MARK_FILE = "stage.json", ".mesoface-stage"
MARK = "Made by mesoface. What is out of date or damaged here is made again as a whole: keep nothing of yours here.\n"
CHECKSUM = "manifest_sha256"
"""Entry of stage.json: hash of all its others."""


@dataclass(frozen=True)
class Stage:
    """What a stage's result depends on. `code` goes up when the same inputs give another result.

    inputs: a name for each file (usually its path relative to its source) -> SHA-256.
    """

    name: str
    code: int
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def content_hash(self) -> str:
        """Hash of everything above."""
        return sha256_json(
            {"name": self.name, "code": self.code, "parameters": dict(self.parameters), "inputs": dict(self.inputs)}
        )


@dataclass(frozen=True)
class StageResult:
    """A finished stage. `reused`: it was valid already."""

    folder: Path
    reused: bool
    seconds: float
    warnings: tuple[str, ...] = ()
    why: str = field(default="", compare=False)
    """Why it was made again, in words; empty for a new one."""


def run_stage(
    folder: str | Path, stage: Stage, work: Callable[[Path], Sequence[str]], *, force: bool = False
) -> StageResult:
    """Make `folder` by `work(temporary folder)`, unless what is there is valid.

    `work` fills the folder it is given and returns warnings. When it fails or is interrupted, an earlier result stays
    as it was. Raises UserError when `folder` holds something that is no stage of this name.
    """
    folder = Path(folder)
    _remove_abandoned(folder, _hidden_at_first(folder.parent))
    why = _why_stale(folder, stage)
    if why == "" and not force:
        found = read_stage(folder)
        return StageResult(folder, True, float(found["seconds"]), tuple(found["warnings"]))
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder, _hidden(folder.parent))
    temporary.mkdir()
    started = time.perf_counter()
    try:
        with _one_blas_thread():
            warnings = tuple(work(temporary))
        seconds = time.perf_counter() - started
        content = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "stage": stage.name,
            "code": stage.code,
            "mesoface": version("mesoface"),
            "content_hash": stage.content_hash,
            "parameters": dict(stage.parameters),
            "inputs": dict(sorted(stage.inputs.items())),
            "outputs": _hashes(temporary),
            "links": _links(temporary),
            "seconds": round(seconds, 2),
            "made_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "warnings": list(warnings),
        }
        write_text(temporary / MARK_FILE, MARK)
        write_json(temporary / STAGE_FILE, {**content, CHECKSUM: sha256_json(content)})
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return StageResult(folder, False, seconds, warnings, "" if why == "new" else why)


def read_stage(folder: str | Path) -> dict[str, Any]:
    """stage.json of a folder. Raises UserError when there is none, or it is damaged or newer."""
    return read_format(
        Path(folder) / STAGE_FILE, FORMAT, SCHEMA_VERSION, missing="this is no result of a mesoface stage",
        again="remove the folder and run the stage again",
    )  # fmt: skip


def stage_outputs(folder: Path) -> str:
    """What a stage made, as one hash; reports (.html) are not part of it. Raises UserError when there is no stage."""
    try:
        outputs = read_stage(folder)["outputs"]
    except (UserError, KeyError):
        raise UserError(f"{folder}: no finished stage here") from None
    return sha256_json({name: sha256 for name, sha256 in outputs.items() if not name.endswith(".html")})


def _one_blas_thread() -> AbstractContextManager[Any]:
    """A matrix product has other last bits with another number of threads: the same stage made on another machine, or
    by a worker with one thread, would be another file. Our own kernels and torch keep their threads."""
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which can be limited only when it is there
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _why_stale(folder: Path, stage: Stage) -> str:
    """Empty when the folder is valid, "new" when there is none, else what has changed."""
    if not folder.exists():
        return "new"
    if (folder / MARK_FILE).is_file() and (damage := _damage(folder / STAGE_FILE)):
        return damage
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / STAGE_FILE).is_file()):
        raise UserError(f"{folder}: holds something that is no mesoface stage; choose another place, or remove it")
    if not (folder / STAGE_FILE).is_file():
        return "new"
    found = read_stage(folder)
    if found.get("stage") != stage.name:
        raise UserError(f"{folder}: holds the stage {found.get('stage')!r}, not {stage.name!r}; choose another place")
    if found.get("code") != stage.code:
        return "a newer method"
    if changed := _changed(found.get("parameters", {}), dict(stage.parameters)):
        return f"other parameters ({', '.join(changed)})"
    if changed := _changed(found.get("inputs", {}), dict(stage.inputs)):
        return f"other input ({', '.join(changed[:3])}{' ...' if len(changed) > 3 else ''})"
    for name, sha256 in found.get("outputs", {}).items():
        path = folder / name
        if not path.is_file() or sha256_file(path) != sha256:
            return f"{name} is {'altered' if path.is_file() else 'missing'}"
    for name, target in found.get("links", {}).items():
        if not (folder / name).is_symlink() or str((folder / name).readlink()) != target:
            return f"{name} is no longer the link that it was"
    return ""


def _damage(manifest: Path) -> str:
    """What is wrong with the stage.json of a folder of ours, whatever it may say; empty for nothing."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        checksum = content.pop(CHECKSUM)
    except FileNotFoundError:
        return f"{STAGE_FILE} is missing"
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return f"{STAGE_FILE} is damaged"
    return "" if sha256_json(content) == checksum else f"{STAGE_FILE} is altered"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [str(key) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def _hashes(folder: Path) -> dict[str, str]:
    """Files below the folder; links (a workspace's images) are not followed."""
    names = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _below_link(path, folder)]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in names}


def _links(folder: Path) -> dict[str, str]:
    """Symbolic links below the folder and where they point."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() and not _below_link(path.parent, folder)
    }


def _below_link(path: Path, folder: Path) -> bool:
    return any(part.is_symlink() for part in (path, *path.parents) if part != folder and folder in part.parents)


def _replace(temporary: Path, folder: Path) -> None:
    """Put the new result in the place of the old one, which goes only then."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    for path in temporary.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            sync_folder(path)
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _hidden(parent: Path) -> tuple[str, ...]:
    return tuple(path.name for path in parent.glob(".*")) if parent.is_dir() else ()


@lru_cache(maxsize=64)
def _hidden_at_first(parent: Path) -> tuple[str, ...]:
    """As a folder was when this process first looked: one with results of 100,000 pictures isn't listed for each."""
    return _hidden(parent)


def _remove_abandoned(folder: Path, hidden: Sequence[str]) -> None:
    """Temporary folders of runs that were killed; those of running processes stay. hidden: names in folder.parent."""
    pattern = re.compile(re.escape(f".{folder.name}.") + r"(\d+)\.(part|old)")
    for name in hidden:
        found, path = pattern.fullmatch(name), folder.with_name(name)
        if found is None or not path.exists() or _alive(int(found[1])):
            continue
        if found[2] == "old" and not folder.exists():
            path.rename(folder)  # killed between the two renames
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
