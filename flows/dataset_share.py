"""`mesoface dataset publish` and `fetch`: finished datasets on shared storage."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..capture.shared_files import storage_mistakes
from ..dataset.shared_dataset import Transfer, fetch_dataset, publish_dataset
from .json_output import json_result
from .studio_commands import progress_display

console = Console()


def publish(folder: Path, url: str, *, json: bool = False) -> int:
    """Upload a finished dataset: shards, split, PCA basis and card, dataset.json last. Takes are never uploaded.

    Every file is read back and compared. Its patches show faces: mind who may read the address. Interrupted, the same
    command continues; a dataset that is there already never changes.

    Example: mesoface dataset publish datasets/first s3://studio/datasets/first

    Parameters
    ----------
    folder
        Folder of the dataset.
    url
        Address of its new place, as fsspec knows it: s3://, gs://, abfs://, sftp://, file:// and others.
    json
        One JSON object on standard output.
    """
    return _transfer("published", url, json, lambda tell: publish_dataset(folder, url, tell))


def fetch(url: str, *, out: Path, json: bool = False) -> int:
    """Bring a published dataset into a folder, every file verified; interrupted, the same command continues.

    Example: mesoface dataset fetch s3://studio/datasets/first --out datasets/first

    Parameters
    ----------
    url
        Address of the dataset.
    out
        Folder to bring it to: a new one, or the same again.
    json
        One JSON object on standard output.
    """
    return _transfer("fetched", url, json, lambda tell: fetch_dataset(url, out, tell))


def _transfer(word: str, url: str, json: bool, work: Callable[[Callable[[str], None]], Transfer]) -> int:
    with json_result(json) as result, storage_mistakes(url):
        with progress_display() as progress:
            task = progress.add_task(url, total=None)
            done = work(lambda name: progress.update(task, description=name))
        result.update(where=done.where, files=done.files, moved=done.moved, bytes=done.bytes)
        console.print(
            f"{escape(done.where)}: {done.moved} of {done.files} files {word}, the others were there; "
            f"{done.bytes / 1e6:.1f} MB, all verified",
            soft_wrap=True,
        )
    return 0
