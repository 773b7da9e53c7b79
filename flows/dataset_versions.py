"""Versions of a dataset: DATASETS/NAME-v001, NAME-v002 and so on, in a folder or on shared storage."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json, write_json
from ..capture.shared_files import open_shared
from ..dataset.dataset_index import INDEX
from ..dataset.shared_dataset import fetch_dataset
from .stage import CHECKSUM

VERSION_FILE, VERSION_FORMAT = "version.json", "mesoface-dataset-version"


def version_folder(datasets: Path, name: str, made_of: str, again: bool) -> tuple[Path, bool]:
    """The folder of the version to make and False, or the last one and True when it is made of just this.

    A version without version.json, or with a damaged one, was interrupted and is continued; so is the last one when one
    of its files is no longer as it was written.
    """
    if not name or not all(sign.isalnum() or sign in "-_" for sign in name):
        raise UserError(f"--name {name!r}: expected letters, digits, - and _")
    known = _versions(name, _folders(datasets))
    if not known:
        return datasets / f"{name}-v001", False
    last = max(known)
    newest = datasets / known[last]
    content = _read_version(newest)
    if content is None:
        return newest, False
    if content.get("made_of") == made_of and not again:
        return newest, _is_whole(newest, content.get("files", {}))
    return datasets / f"{name}-v{last + 1:03d}", False


def write_version(folder: Path, facts: Mapping[str, Any]) -> None:
    """version.json, the last file of a version: `facts`, and the hashes of all its files."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if _is_part(path)}
    content = {"format": VERSION_FORMAT, "schema_version": 1, **facts, "files": files}
    write_json(folder / VERSION_FILE, {**content, CHECKSUM: sha256_json(content)})


def _read_version(folder: Path) -> dict[str, Any] | None:
    """None for none that is as it was written."""
    try:
        content = json.loads((folder / VERSION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    checksum = content.pop(CHECKSUM, None)  # versions before this entry have none
    return content if checksum in (None, sha256_json(content)) else None


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() and sha256_file(folder / name) == sha256 for name, sha256 in files.items())


def _is_part(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name != VERSION_FILE


def bring_last_version(url: str, datasets: Path, name: str) -> None:
    """Have the last version published at `url` in the folder `datasets`, unless that one or a later one is there.

    Raises as `fetch_dataset`.
    """
    shared = open_shared(url)
    published = [found for found in shared.folders(missing_ok=True) if shared.exists(f"{found}/{INDEX}")]
    known = _versions(name, published)
    if known and max(known) > max(_versions(name, _folders(datasets)), default=0):
        last = known[max(known)]
        fetch_dataset(shared.address(last), datasets / last)


def _folders(datasets: Path) -> list[str]:
    return [path.name for path in datasets.iterdir() if path.is_dir()] if datasets.is_dir() else []


def _versions(name: str, folders: Iterable[str]) -> dict[int, str]:
    """Number -> name, of the folders that are versions of `name`."""
    found = {folder.removeprefix(f"{name}-v"): folder for folder in folders if folder.startswith(f"{name}-v")}
    return {int(number): folder for number, folder in found.items() if number.isdigit()}
