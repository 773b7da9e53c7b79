"""Takes from shared storage: a verified copy of what a dataset can be made of. Nothing is ever uploaded from here.

A closed take is verified by its own BagIt manifests, a rendered scan by scan.json, an imported face by its stage.json.
What has no such list yet (an open take) cannot be verified and is left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..capture.bag import MANIFEST, TAG_MANIFEST, TAGS, parse_hashes
from ..capture.errors import UserError
from ..capture.files import write_bytes, write_json
from ..capture.shared_files import SharedFolder, cache_folder, open_shared, safe_name
from ..reconstruct.scan_folder import MANIFEST as SCAN_FILE
from .stage import STAGE_FILE

SOURCE_FILE, SOURCE_FORMAT = "source.json", "mesoface-cache"
TAKE_FILE = "data/take.json"


@dataclass(frozen=True)
class SharedSessions:
    """The copy. `names`: folders in it that are whole and verified; others in it are of earlier times."""

    folder: Path
    names: tuple[str, ...]
    left_out: dict[str, str]
    fetched: dict[str, int]
    """Name -> files that had to be brought."""


@dataclass(frozen=True)
class _Listing:
    """What a folder must hold. `root`: the file that vouches for the rest, with its bytes; written last."""

    root: str
    content: bytes
    hashes: dict[str, str]


def fetch_sessions(url: str, cache: Path) -> SharedSessions:
    """Bring all closed takes, rendered scans and imported faces at `url` into a folder below `cache`.

    Interrupted, the same call continues. A file that is there with the right bytes is not brought again; a take that
    was changed at `url` is brought up to date. Raises UserError as `open_shared`, OSError when the storage fails.
    """
    shared, folder = open_shared(url), cache_folder(cache, url)
    names = shared.folders()
    _mark(folder, url)
    fetched: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name in names:
        try:
            listing = _listing(shared, name)
            if listing is not None:
                fetched[name] = _bring(shared, name, folder / name, listing)
        except UserError as error:
            left_out[name] = str(error)
    return SharedSessions(folder, tuple(fetched), left_out, fetched)


def _listing(shared: SharedFolder, name: str) -> _Listing | None:
    """None for a folder that is nothing of ours. Raises UserError for one that is, and cannot be verified."""
    if shared.exists(f"{name}/{TAG_MANIFEST}"):
        return _bag_listing(shared, name)
    if shared.exists(f"{name}/{TAKE_FILE}"):
        raise UserError(f"{shared.address(name)}: has no hashes of its files yet; close it with `mesoface take close`")
    for root, key in ((SCAN_FILE, "files"), (f"uv/{STAGE_FILE}", "outputs")):
        if shared.exists(f"{name}/{root}"):
            content = shared.read(f"{name}/{root}")
            found = _json(content, shared.address(f"{name}/{root}"))
            if not found.get("complete", True):
                raise UserError(f"{shared.address(name)}: is not complete; run the command that made it again")
            below = root.rpartition("/")[0]
            hashes = {f"{below}/{path}" if below else path: str(sha256) for path, sha256 in found[key].items()}
            return _checked(shared, name, _Listing(root, content, hashes))
    return None


def _bag_listing(shared: SharedFolder, name: str) -> _Listing:
    content = shared.read(f"{name}/{TAG_MANIFEST}")
    tags = parse_hashes(content.decode(errors="replace"), shared.address(f"{name}/{TAG_MANIFEST}"))
    if set(tags) != set(TAGS):
        raise UserError(f"{shared.address(name)}/{TAG_MANIFEST}: expected the hashes of {', '.join(TAGS)}")
    if shared.sha256(f"{name}/{MANIFEST}") != tags[MANIFEST]:
        raise UserError(f"{shared.address(name)}/{MANIFEST}: is not as {TAG_MANIFEST} says; mend it there")
    text = shared.read(f"{name}/{MANIFEST}").decode(errors="replace")
    payload = parse_hashes(text, shared.address(f"{name}/{MANIFEST}"))
    return _checked(shared, name, _Listing(TAG_MANIFEST, content, {**payload, **tags}))


def _checked(shared: SharedFolder, name: str, listing: _Listing) -> _Listing:
    if bad := [path for path in listing.hashes if not safe_name(path)]:
        raise UserError(f"{shared.address(name)}: lists {bad[0]!r}, which is no path inside of it")
    return listing


def _bring(shared: SharedFolder, name: str, folder: Path, listing: _Listing) -> int:
    root = folder / listing.root
    if root.is_file() and root.read_bytes() != listing.content:
        root.unlink()  # changed at its source: not whole until all of it has come
    moved = sum(
        shared.fetch(f"{name}/{path}", folder / path, sha256) for path, sha256 in sorted(listing.hashes.items())
    )
    if listing.root == TAG_MANIFEST:
        for path in (folder / "data").rglob("*"):
            if path.is_file() and path.relative_to(folder).as_posix() not in listing.hashes:
                path.unlink()  # of the take as it was before
    write_bytes(root, listing.content)
    return moved


def _mark(folder: Path, url: str) -> None:
    """Say whose copy a folder is. Raises UserError for one that is no copy: its files must not be replaced."""
    path = folder / SOURCE_FILE
    if folder.exists() and any(folder.iterdir()) and not path.is_file():
        raise UserError(f"{folder}: holds something that is no copy of shared takes; choose another --cache")
    write_json(path, {"format": SOURCE_FORMAT, "schema_version": 1, "url": url})


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where}: is damaged ({error}); mend it there") from None
    if not isinstance(found, dict) or not isinstance(found.get("files", found.get("outputs")), dict):
        raise UserError(f"{where}: is damaged; mend it there")
    return found
