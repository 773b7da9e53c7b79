"""A calibration folder appears, or grows, all at once: it is made beside its place and moved there when complete."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..capture.errors import UserError
from ..capture.files import sync_folder


@contextmanager
def folder_in_the_making(out: Path, last: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder beside `out`. On success its files move to `out`, replacing those of the same name.

    An exception (Ctrl-C too) removes the folder and leaves `out` as it was. A new `out` appears by one rename; in one
    that is there already, whole files are replaced one after the other, those named in `last` at the very end.
    Raises UserError when nothing can be written there.
    """
    out = out.resolve()
    making = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error}); choose another --out folder") from None
    try:
        yield making
        if not out.exists():
            making.rename(out)
        else:
            files = [path.relative_to(making) for path in making.rglob("*") if path.is_file()]
            for name in sorted(files, key=lambda path: path.as_posix() in last):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (making / name).replace(out / name)
            sync_folder(out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(making, ignore_errors=True)
