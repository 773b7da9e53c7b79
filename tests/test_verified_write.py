"""Verified writes: nothing half-written ever bears the final name, nothing existing is ever replaced."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesoface.capture.verified_write import VerifiedWriter, WriteError, verified_copy

DATA = bytes(range(256)) * 5000 + b"end"


def store(path: Path, data: bytes = DATA, expected: int | None = None):
    with VerifiedWriter(path) as writer:
        for start in range(0, len(data), 100_000):
            writer.write(memoryview(data)[start : start + 100_000])
        return writer.finish(len(data) if expected is None else expected)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_stored_file_is_proven(tmp_path: Path):
    download = store(tmp_path / "a.cr2")
    assert (tmp_path / "a.cr2").read_bytes() == DATA
    assert (download.bytes, download.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert names(tmp_path) == ["a.cr2"]


def test_empty_file(tmp_path: Path):
    assert store(tmp_path / "a.txt", b"").bytes == 0
    assert (tmp_path / "a.txt").read_bytes() == b""


@pytest.mark.parametrize("expected", [len(DATA) + 1, len(DATA) - 1])
def test_other_size_than_announced(tmp_path: Path, expected: int):
    with pytest.raises(WriteError, match="announced") as caught:
        store(tmp_path / "a.cr2", expected=expected)
    assert caught.value.kind == "truncated" and names(tmp_path) == []


def test_exception_of_the_source_leaves_nothing(tmp_path: Path):
    with pytest.raises(KeyError), VerifiedWriter(tmp_path / "a.cr2") as writer:
        writer.write(DATA)
        assert names(tmp_path) == ["a.cr2.part"]
        raise KeyError
    assert names(tmp_path) == []


def test_identical_file_is_kept(tmp_path: Path):
    store(tmp_path / "a.cr2")
    before = (tmp_path / "a.cr2").stat()
    assert store(tmp_path / "a.cr2").sha256 == hashlib.sha256(DATA).hexdigest()
    after = (tmp_path / "a.cr2").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert names(tmp_path) == ["a.cr2"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_different_file_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool):
    if not links:
        monkeypatch.setattr(os, "link", _refuse(errno.EPERM))
    store(tmp_path / "a.cr2")
    other = bytes(reversed(DATA))
    with pytest.raises(WriteError, match="not overwritten") as caught:
        store(tmp_path / "a.cr2", other)
    assert caught.value.kind == "exists"
    assert (tmp_path / "a.cr2").read_bytes() == DATA and names(tmp_path) == ["a.cr2"]


def test_leftover_of_a_killed_writer_is_replaced(tmp_path: Path):
    (tmp_path / "a.cr2.part").write_bytes(b"half")
    store(tmp_path / "a.cr2")
    assert (tmp_path / "a.cr2").read_bytes() == DATA and names(tmp_path) == ["a.cr2"]


def test_leftover_that_shares_its_bytes_with_a_finished_file(tmp_path: Path):
    # What a crash between publishing and tidying up leaves behind.
    store(tmp_path / "a.cr2")
    os.link(tmp_path / "a.cr2", tmp_path / "a.cr2.part")
    writer = VerifiedWriter(tmp_path / "a.cr2")
    writer.write(b"other")
    assert (tmp_path / "a.cr2").read_bytes() == DATA
    writer.abort()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:70_001]))
    store(tmp_path / "a.cr2")
    monkeypatch.undo()
    assert (tmp_path / "a.cr2").read_bytes() == DATA


def test_disk_that_gives_back_other_bytes(tmp_path: Path):
    with pytest.raises(WriteError, match="other bytes") as caught, VerifiedWriter(tmp_path / "a.cr2") as writer:
        writer.write(DATA)
        with (tmp_path / "a.cr2.part").open("r+b") as part:
            part.seek(1000)
            part.write(b"\xff\xfe")
        writer.finish(len(DATA))
    assert caught.value.kind == "corrupt" and names(tmp_path) == []


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(WriteError, match="disk is full") as caught, VerifiedWriter(tmp_path / "a.cr2") as writer:
        writer.write(DATA)
        monkeypatch.setattr(os, "write", _refuse(errno.ENOSPC))
        writer.write(DATA)
    monkeypatch.undo()
    assert caught.value.kind == "disk_full" and names(tmp_path) == []


def test_file_size_limit(tmp_path: Path):
    # RLIMIT_FSIZE makes the kernel itself write short counts, then fail.
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from mesoface.capture.verified_write import VerifiedWriter, WriteError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n"
        "    with VerifiedWriter(Path(sys.argv[1])) as writer: writer.write(bytes(3_000_000))\n"
        "except WriteError as error: sys.exit(error.kind)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.cr2")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, "disk_full")
    assert names(tmp_path) == []


def test_folder_that_cannot_be_written(tmp_path: Path):
    folder = Path("/sys") if os.geteuid() == 0 else tmp_path
    if os.geteuid() != 0:
        tmp_path.chmod(0o555)
    with pytest.raises(WriteError, match="permissions") as caught:
        VerifiedWriter(folder / "a.cr2")
    tmp_path.chmod(0o755)
    assert caught.value.kind == "read_only"


def test_missing_folder(tmp_path: Path):
    with pytest.raises(WriteError, match="create it") as caught:
        VerifiedWriter(tmp_path / "nowhere" / "a.cr2")
    assert caught.value.kind == "no_folder"


def test_kill_leaves_only_the_part(tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mesoface.capture.verified_write import VerifiedWriter\n"
        "writer = VerifiedWriter(Path(sys.argv[1])); writer.write(bytes(3_000_000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.cr2")], timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["a.cr2.part"]


def test_copy(tmp_path: Path):
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    seen: list[int] = []
    download = verified_copy(source, tmp_path / "copy.bin", seen.append)
    assert (tmp_path / "copy.bin").read_bytes() == DATA and source.read_bytes() == DATA
    assert download.sha256 == hashlib.sha256(DATA).hexdigest() and seen[-1] == len(DATA)


def _refuse(number: int):
    def call(*_: object):
        raise OSError(number, os.strerror(number))

    return call
