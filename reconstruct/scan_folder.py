"""A rendered scan on disk: its manifest, which decides what is valid and what is still to do."""

from pathlib import Path
from typing import Any

from ..capture.errors import UserError
from ..capture.files import sha256_file, sha256_json, write_json
from ..capture.json_files import read_format

FORMAT = "mesoface-scan"
SCHEMA_VERSION = 1
MANIFEST = "scan.json"


class ScanFolder:
    """Files of one scan under a folder, each recorded with its SHA-256 as soon as it is whole.

    A file counts as done when it is recorded and its bytes still have that hash; everything else is made again.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        """Open or start the scan described by `content` (options and rig; its hash identifies the scan).

        Raises UserError when the folder holds another scan, or files that are not a scan.
        """
        self.folder = folder
        self._hash = sha256_json(content)
        self._content = content
        self._files: dict[str, str] = {}
        self._verified: set[str] = set()
        self.facts: dict[str, Any] = {}
        self._saved = ""
        manifest = folder / MANIFEST
        if manifest.exists():
            found = read_manifest(folder)
            if found.get("content_hash") != self._hash:
                raise UserError(
                    f"{folder}: holds another scan ({describe_difference(found.get('content', {}), content)}); "
                    "choose another --out folder, or remove this one"
                )
            self._files = dict(found["files"])
            self.facts = dict(found.get("facts", {}))
            self._saved = sha256_json(found)
        elif folder.exists() and (not folder.is_dir() or any(p for p in folder.iterdir() if ".part" not in p.name)):
            raise UserError(f"{folder}: is not empty and holds no {MANIFEST}; choose an empty or new --out folder")

    def start(self) -> None:
        """Put the manifest there, once everything that could refuse the scan has been checked; one that is stays."""
        if not self._saved:
            self._save(complete=False)

    def done(self, *names: str) -> bool:
        """Are all these files (paths relative to the folder) recorded and unaltered?"""
        return all(self._is_done(name) for name in names)

    def _is_done(self, name: str) -> bool:
        if name not in self._verified:
            path = self.folder / name
            if name not in self._files or not path.is_file() or sha256_file(path) != self._files[name]:
                return False
            self._verified.add(name)
        return True

    def record(self, *names: str) -> None:
        """Note files that have just been written whole."""
        for name in names:
            self._files[name] = sha256_file(self.folder / name)
            self._verified.add(name)
        self._save(complete=False)

    def finish(self) -> None:
        """Mark the scan complete."""
        self._save(complete=True)

    def _save(self, complete: bool) -> None:
        content = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "content_hash": self._hash,
            "complete": complete,
            "content": self._content,
            "facts": dict(self.facts),
            "files": dict(sorted(self._files.items())),
        }
        if (saved := sha256_json(content)) != self._saved:
            write_json(self.folder / MANIFEST, content)
            self._saved = saved


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a scan folder. Raises UserError when it is missing, damaged, of another kind or newer."""
    path = folder / MANIFEST
    found = read_format(
        path, FORMAT, SCHEMA_VERSION, missing="expected a folder made by `mesoface studio render`",
        again="render into a new folder",
    )  # fmt: skip
    for key, kind in {"content": dict, "files": dict, "facts": dict}.items():
        if not isinstance(found.get(key), kind):
            raise UserError(f"{path}: {key!r} is missing or damaged; render into a new folder")
    return found


def describe_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first few settings that differ, in words."""
    changes = []
    for group in sorted({*old, *new}):
        a, b = old.get(group), new.get(group)
        if isinstance(a, dict) and isinstance(b, dict):
            named = [
                f"{key} {a.get(key)!r} there, {b.get(key)!r} asked for"
                for key in sorted({*a, *b})
                if a.get(key) != b.get(key) and not isinstance(a.get(key), (dict, list))
            ]
            changes += named or ([f"another {group}"] if a != b else [])
        elif a != b:
            changes.append(f"{group} {a!r} there, {b!r} asked for")
    return "; ".join(changes[:3]) or "another content"
