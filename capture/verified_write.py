"""Files that are proven to be on disk: written aside, synced, read back, compared, renamed without overwriting.

A file appears under its final name only when all of it is there: as many bytes as its source announced, and the same
SHA-256 read back from the file as was computed over the bytes as they came in. Until then it is called NAME.part.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Literal

from .camera_messages import Download
from .files import sync_folder

BLOCK = 1 << 20
WriteKind = Literal["disk_full", "read_only", "no_folder", "exists", "truncated", "corrupt", "failed"]


class WriteError(RuntimeError):
    """A file could not be written or proven. `kind` says why, the message what to do; nothing bears the final name."""

    def __init__(self, kind: WriteKind, message: str):
        super().__init__(message)
        self.kind = kind


class VerifiedWriter:
    """Takes the bytes of one file, then proves and publishes it.

    with VerifiedWriter(path) as writer:
        writer.write(block); ...
        download = writer.finish(expected_bytes)

    Leaving the block without `finish` (an exception, too) removes NAME.part. A killed process leaves NAME.part behind;
    the next writer of the same file replaces it. All failures are `WriteError`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.bytes = 0
        self._started_s = monotonic()
        self._hash = hashlib.sha256()
        self._descriptor = -1
        with _errors_of(self.part):
            # A leftover is unlinked, not truncated: after a crash between link and unlink it may share its bytes with
            # a finished file.
            self.part.unlink(missing_ok=True)
            self._descriptor = os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Append `block`, however many system calls that takes."""
        view = memoryview(block)
        self._hash.update(view)
        with _errors_of(self.part):
            while view:
                # A short count is not an error of write(2): the next call reports what stopped it.
                written = os.write(self._descriptor, view)
                self.bytes += written
                view = view[written:]

    def finish(self, expected_bytes: int) -> Download:
        """Sync, compare size and hash, publish. An identical file already there is as good; a different one stays."""
        if self.bytes != expected_bytes:
            raise WriteError(
                "truncated", f"{self.path.name}: {self.bytes:,} bytes came, {expected_bytes:,} were announced"
            )
        received = self._hash.hexdigest()
        with _errors_of(self.part):
            os.fsync(self._descriptor)
            # Clean pages leave the cache, so that the comparison reads what the disk holds.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            stored = hashlib.sha256()
            stored_bytes = 0
            while block := os.read(self._descriptor, BLOCK):
                stored.update(block)
                stored_bytes += len(block)
        if stored_bytes != expected_bytes or stored.hexdigest() != received:
            raise WriteError("corrupt", f"{self.part}: the disk gives back other bytes than were written; check it")
        self._publish(received)
        return Download(self.bytes, received, monotonic() - self._started_s)

    def abort(self) -> None:
        """Forget the file: close and remove NAME.part. Harmless after `finish`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(OSError):
                self.part.unlink()

    def _publish(self, sha256: str) -> None:
        with _errors_of(self.path):
            try:
                os.link(self.part, self.path)  # unlike rename, never replaces a file that is already there
            except FileExistsError:
                _expect_same(self.path, self.bytes, sha256)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                # A file system without hard links (exFAT): the check and the rename are two steps.
                if self.path.exists():
                    _expect_same(self.path, self.bytes, sha256)
                else:
                    self.part.rename(self.path)
            self.part.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> "VerifiedWriter":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.abort()


def verified_copy(source: Path, destination: Path, progress: Callable[[int], None] | None = None) -> Download:
    """Copy a file with the same proof; `progress` gets the bytes so far. Raises WriteError, or OSError of `source`."""
    with source.open("rb") as handle, VerifiedWriter(destination) as writer:
        expected_bytes = os.fstat(handle.fileno()).st_size
        for block in _blocks(handle.fileno()):
            writer.write(block)
            if progress is not None:
                progress(writer.bytes)
        return writer.finish(expected_bytes)


def _blocks(descriptor: int) -> Iterator[bytes]:
    while block := os.read(descriptor, BLOCK):
        yield block


def _expect_same(path: Path, expected_bytes: int, sha256: str) -> None:
    with path.open("rb") as handle:
        same = os.fstat(handle.fileno()).st_size == expected_bytes
        if not same or hashlib.file_digest(handle, "sha256").hexdigest() != sha256:
            raise WriteError(
                "exists", f"{path} already holds something else and is not overwritten: move it away, then try again"
            )


class _errors_of:
    """Turn the OSErrors of a block into WriteErrors that say what to do about `path`."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, OSError):
            return
        folder = self.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WriteError("disk_full", f"{self.path}: the disk is full; free space in {folder}") from error
        if error.errno == errno.EFBIG:
            raise WriteError("disk_full", f"{self.path}: larger than a limit on file sizes allows") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise WriteError("read_only", f"{folder} cannot be written to: check its permissions") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise WriteError("no_folder", f"{folder} is not a folder: create it first") from error
        raise WriteError("failed", f"{self.path}: {error.strerror or error}") from error
