"""Close a take as a BagIt 1.0 bag (RFC 8493), and check one: any archive can do so with its own tools.

The payload of a take is in data/ from its first second on, so closing only adds the tag files beside it; nothing is
moved, and a crash half way leaves a take that is closed again with the same result.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .files import sha256_file, write_text

DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
MANIFEST, TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
TAGS = ("bagit.txt", "bag-info.txt", MANIFEST)
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class BagFinding:
    """One file that is not as the bag says. `path` is relative to the bag."""

    path: str
    problem: str


def write_bag(folder: Path, info: dict[str, str]) -> int:
    """Write the tag files of the bag `folder` with payload in folder/data; returns the number of payload files.

    `info` goes into bag-info.txt as "Key: value" lines. Existing tag files are replaced.
    """
    payload = _payload(folder)
    hashes = _hash_all(folder, payload)
    octets = sum((folder / name).stat().st_size for name in payload)
    lines = {**info, "Payload-Oxum": f"{octets}.{len(payload)}"}
    for key, value in lines.items():
        if "\n" in value or "\r" in value:
            raise ValueError(f"bag-info {key}: {value!r} has more than one line")
    write_text(folder / "bagit.txt", DECLARATION)
    write_text(folder / "bag-info.txt", "".join(f"{key}: {value}\n" for key, value in lines.items()))
    write_text(folder / MANIFEST, "".join(f"{hashes[name]}  {_encode(name)}\n" for name in payload))
    tags = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in TAGS)
    write_text(folder / TAG_MANIFEST, tags)  # last: its presence says that the bag is whole
    return len(payload)


def is_bag(folder: Path) -> bool:
    """Was the take closed completely?"""
    return (folder / TAG_MANIFEST).is_file()


def check_bag(folder: Path) -> list[BagFinding]:
    """Compare every file of a bag with its manifests. Raises UserError when it is no whole bag."""
    if not is_bag(folder):
        raise UserError(f"{folder}: is not a closed take (no {TAG_MANIFEST}); close it with `mesoface take close`")
    findings = []
    for name in (TAG_MANIFEST, MANIFEST):
        listed = parse_hashes((folder / name).read_text(encoding="utf-8"), str(folder / name))
        present = [path for path in listed if (folder / path).is_file()]
        findings += [BagFinding(path, "is missing") for path in listed if path not in present]
        hashes = _hash_all(folder, present)
        findings += [
            BagFinding(path, "has other bytes than when the take was closed")
            for path in present
            if hashes[path] != listed[path]
        ]
        if name == MANIFEST:
            extra = set(_payload(folder)) - set(listed)
            findings += [BagFinding(path, "was added after the take was closed") for path in sorted(extra)]
    return findings


def _payload(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in (folder / "data").rglob("*") if path.is_file()]
    return sorted(name for name in names if not name.endswith(".part") and ".part." not in name)


def _hash_all(folder: Path, names: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # hashlib releases the interpreter's lock
        return dict(zip(names, pool.map(lambda name: sha256_file(folder / name), names), strict=True))


def parse_hashes(text: str, where: str) -> dict[str, str]:
    """Path -> SHA-256 of the lines of a manifest. Raises UserError, naming `where`, for any other line."""
    listed = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{where}: line {number} is not a hash and a path; restore the file")
        listed[_decode(match[2])] = match[1]
    return listed


def _encode(name: str) -> str:
    """RFC 8493: only %, CR and LF are written as percent codes."""
    return name.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _decode(name: str) -> str:
    return name.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
