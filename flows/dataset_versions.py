"""Versions of a dataset: DATASETS/NAME-v001, NAME-v002 and so on, in a folder or on shared storage."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..capture.errors import UserError
from ..capture.shared_files import open_shared
from ..dataset.dataset_index import INDEX
from ..dataset.shared_dataset import fetch_dataset

VERSION_FILE, VERSION_FORMAT = "version.json", "mesoface-dataset-version"


def version_folder(datasets: Path, name: str, made_of: str, again: bool) -> tuple[Path, bool]:
    """The folder of the version to make and False, or the last one and True when it is made of just this.

    A version without version.json was interrupted and is continued.
    """
    if not name or not all(sign.isalnum() or sign in "-_" for sign in name):
        raise UserError(f"--name {name!r}: expected letters, digits, - and _")
    known = _versions(name, _folders(datasets))
    if not known:
        return datasets / f"{name}-v001", False
    last = max(known)
    newest = datasets / known[last]
    if not (newest / VERSION_FILE).is_file():
        return newest, False
    content = json.loads((newest / VERSION_FILE).read_text(encoding="utf-8"))
    if content.get("made_of") == made_of and not again:
        return newest, True
    return datasets / f"{name}-v{last + 1:03d}", False


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
