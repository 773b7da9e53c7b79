"""The log of a take: one JSON line per event, appended and flushed to the disk before work goes on.

Each line carries the hash of everything before it, so that an edited, removed or reordered line shows. A torn last
line, left by a crash while writing, is not an error: it is reported, and the next line starts behind it.
"""

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import sync_folder
from .take_manifest import utc_text

Record = dict[str, Any]
START = "0" * 16


@dataclass(frozen=True)
class LogContent:
    """All events of a log in order. `torn`: the last line was cut off by a crash. `chain`: hash to continue with."""

    records: tuple[Record, ...]
    torn: bool
    chain: str


def _link(chain: str, record: Record) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256((chain + text).encode()).hexdigest()[:16]


def read_log(path: Path) -> LogContent:
    """Read and check a log. Raises UserError naming the first line that was altered."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; a take has it from its first second on, restore it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    records: list[Record] = []
    chain, torn = START, False
    *lines, tail = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is None:
            # A torn line stays where the crash left it; what was written next says so.
            if number < len(lines) and b'"event":"torn"' in lines[number].replace(b" ", b""):
                continue
            if number == len(lines) and not tail:
                torn = True
                continue
            raise UserError(f"{path}: line {number} is not readable; the log is never edited, restore it")
        found = record.pop("chain", None)
        chain = _link(chain, record)
        if found != chain:
            raise UserError(
                f"{path}: line {number} does not follow from the lines before it: the log was edited; restore it"
            )
        records.append(record)
    if tail:
        # Only the newline is missing, or the line was cut off.
        whole = _parse(tail)
        found = whole.pop("chain", None) if whole else None
        if whole is None or found != _link(chain, whole):
            torn = True
        else:
            records.append(whole)
            chain = _link(chain, whole)
    return LogContent(tuple(records), torn, chain)


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class TakeLog:
    """Appends events; safe to call from several threads. Every call returns after the line is on the disk."""

    def __init__(self, path: Path) -> None:
        """Open a log to continue it, or start one. Raises UserError when it was altered."""
        self._lock = threading.Lock()
        self._path = path
        content = read_log(path) if path.exists() else LogContent((), False, START)
        self._chain = content.chain
        self._number = len(content.records)
        self.records: list[Record] = list(content.records)
        ends_open = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        # Never truncated, never rewritten: O_APPEND, and whatever was torn off stays visible.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        sync_folder(path.parent)
        if ends_open:
            self._write(b"\n")
        if content.torn:
            self.append("torn", note="the line before this one was cut off by a crash")

    def append(self, event: str, **fields: Any) -> Record:
        """Write one event; returns it. Raises UserError when the disk refuses it (full, read-only)."""
        with self._lock:
            record: Record = {"n": self._number, "utc": utc_text(), "event": event, **fields}
            record = json.loads(json.dumps(record, allow_nan=False))  # what a reader will see: tuples become lists
            chain = _link(self._chain, record)
            line = json.dumps({**record, "chain": chain}, separators=(",", ":"), ensure_ascii=False)
            self._write(line.encode() + b"\n")
            self._chain, self._number = chain, self._number + 1
            self.records.append(record)
            return record

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise UserError(
                f"{self._path}: the log cannot be written ({error.strerror}); nothing on the cards is lost. Free space "
                "on the disk, then run: mesoface take resume"
            ) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
