"""A log file per run of a command: what ran, on what, how long, how it ended, and the traceback of a defect.

It lies on this machine only. Of the arguments it keeps paths, numbers, switches and choices; free text and everything
that names a person (--subject, --operator, --consent, --notes) is left out, in messages and tracebacks too.
"""

import inspect
import logging
import os
import platform
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

KEPT = 200
PERSONAL = ("subject", "operator", "consent", "notes")
LIBRARIES = ("mesoface", "numpy", "scipy", "opencv-python-headless", "mitsuba", "torch", "pycolmap", "gphoto2")
HARMLESS = ("rig", "path", "face_model", "size", "virtual_size", "steps")
"""Texts that are paths, numbers or names of what comes with mesoface."""
NAME = re.compile(r"[a-z_-]+_\d{8}T\d{6}Z_\d+\.log")
TEXT = "(text)"


def log_folder() -> Path:
    """`$XDG_STATE_HOME/mesoface/logs`, by default ~/.local/state/mesoface/logs."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "mesoface" / "logs"


class RunLog:
    """The log of one run. Nothing here raises: a log that cannot be written is no log, the command goes on."""

    def __init__(self, file: TextIO | None, path: Path | None, personal: tuple[str, ...] = ()) -> None:
        self._file = file
        self._personal = personal
        self._began = time.monotonic()
        self.path = path
        """Where it is written; None for none."""

    def write(self, text: str) -> None:
        """Add lines, without what names a person."""
        if self._file is None:
            return
        for word in self._personal:
            text = text.replace(word, TEXT)
        with suppress(OSError, ValueError):
            self._file.write(text.rstrip("\n") + "\n")
            self._file.flush()

    def error(self, error: BaseException, *, whole: bool) -> None:
        """Note how the command failed: one line, or the whole traceback of a defect."""
        lines = traceback.format_exception(error) if whole else traceback.format_exception_only(error)
        self.write("".join(lines))

    def close(self, code: int) -> None:
        """Note the end."""
        self.write(f"seconds: {time.monotonic() - self._began:.1f}\nexit code: {code}")
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


@contextmanager
def run_log(names: tuple[str, ...], bound: inspect.BoundArguments, wanted: bool) -> Iterator[RunLog]:
    """Open COMMAND_UTC_PID.log with a first few lines; while open, Python's warnings and log messages go there too."""
    file, path = _open("-".join(names)) if wanted else (None, None)
    log = RunLog(file, path, _personal(bound.arguments))
    log.write(f"command: mesoface {' '.join(names)}\nstarted: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    for name, value in bound.arguments.items():
        log.write(f"  {name}: {_shown(name, value, bound.signature.parameters[name].annotation)}")
    if file is not None:
        log.write(f"python {platform.python_version()}, {platform.platform()}")
        log.write(", ".join(f"{name} {found}" for name in LIBRARIES if (found := _version(name))))
    if file is None:
        yield log
        return
    handler = _Handler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield log
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)


class _Handler(logging.Handler):
    """Warnings of the program and its libraries: into the log, and as ever on standard error."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            self._log.write(f"{record.levelname.lower()}: {record.getMessage()}")
            if logging.getLogger().handlers == [self] and logging.lastResort is not None:
                logging.lastResort.handle(record)  # which a handler of the root logger keeps silent


def _open(title: str) -> tuple[TextIO | None, Path | None]:
    try:
        folder = log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _remove_oldest(folder)
        path = folder / f"{title}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{os.getpid()}.log"
        return path.open("a", encoding="utf-8"), path
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None, None


def _remove_oldest(folder: Path) -> None:
    """Make room for one more; other files in the folder are nobody's business."""
    logs = []
    for path in folder.iterdir():
        if NAME.fullmatch(path.name):
            with suppress(OSError):  # another run may remove it meanwhile
                logs.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(logs)[: max(0, len(logs) - KEPT + 1)]:
        with suppress(OSError):
            path.unlink()


def _personal(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The words never to be written, longest first. Single characters are no names, and would spoil every line."""
    words = {str(arguments[name]) for name in PERSONAL if isinstance(arguments.get(name), str)}
    return tuple(sorted((word for word in words if len(word) > 1), key=len, reverse=True))


def _shown(name: str, value: Any, annotation: Any) -> str:
    """A value as it may be kept: free text may say who somebody is, choices of a fixed list do not."""
    if isinstance(value, list | tuple):
        return ", ".join(_shown(name, item, annotation) for item in value) or "none"
    if isinstance(value, str) and name not in HARMLESS and "Literal" not in str(annotation):
        return TEXT if value else "none"
    return str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
