"""Datasets on shared storage: published whole or not to be seen, fetched verified, opened by address.

    folder = local_dataset("s3://studio/datasets/first", Path("cache"))
    patches = PatchDataset(folder, split="train")

A published dataset never changes: shards go first, the list of hashes next, dataset.json last, so that whoever finds
an index finds everything that it names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..capture.bag import MANIFEST, parse_hashes
from ..capture.errors import UserError
from ..capture.files import sha256_file, write_bytes
from ..capture.shared_files import cache_folder, is_url, open_shared, safe_name
from .dataset_index import INDEX, SPLIT, read_index, verify_shards

BESIDE = (SPLIT, "pca.npz", "pca.json", "card.html", "version.json")
"""What is published beside the shards, where it is there. Nothing else of the folder is."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Transfer:
    """What a transfer did. `moved`: files that had to be; the others were there and verified."""

    where: str
    files: int
    moved: int
    bytes: int
    """Of all files."""


def publish_dataset(folder: Path, url: str, tell: Tell = lambda name: None) -> Transfer:
    """Upload a finished dataset to `url`; interrupted, the same call continues. tell: gets each file's name.

    Each file is read back and compared. Raises UserError when the dataset is damaged here, or another one is there;
    OSError when the storage fails.
    """
    index = read_index(folder)
    problems = verify_shards(folder, index)
    if problems:
        raise UserError("\n".join(problems))
    hashes = {shard.file: shard.sha256 for shard in index.shards}
    hashes |= {name: sha256_file(folder / name) for name in (*BESIDE, INDEX) if (folder / name).is_file()}
    listing = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items())).encode()
    shared = open_shared(url)
    if shared.exists(INDEX) and (not shared.exists(MANIFEST) or shared.read(MANIFEST) != listing):
        raise UserError(
            f"{url}: holds another dataset, and a published one never changes; publish to another address, or, when "
            "this was meant as its continuation, remove it there first"
        )
    moved = 0
    for name in [name for name in hashes if name != INDEX]:
        tell(name)
        moved += shared.publish(folder / name, name, hashes[name])
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / MANIFEST
        path.write_bytes(listing)
        shared.publish(path, MANIFEST, sha256_file(path))
    tell(INDEX)
    moved += shared.publish(folder / INDEX, INDEX, hashes[INDEX])
    return Transfer(url, len(hashes), moved, sum((folder / name).stat().st_size for name in hashes))


def fetch_dataset(url: str, out: Path, tell: Tell = lambda name: None) -> Transfer:
    """Bring a published dataset into the folder `out`; interrupted, the same call continues.

    Files that are there and have the right bytes stay. Raises UserError when `out` holds something else, or what is at
    `url` is not whole; OSError when the storage fails.
    """
    shared = open_shared(url)
    for name in (INDEX, MANIFEST):
        if not shared.exists(name):
            raise UserError(
                f"{url}: has no {name}: no dataset, or one whose `mesoface dataset publish` is not finished"
            )
    listing = shared.read(MANIFEST)
    hashes = parse_hashes(listing.decode(errors="replace"), shared.address(MANIFEST))
    if INDEX not in hashes or not all(safe_name(name) and "/" not in name for name in hashes):
        raise UserError(f"{shared.address(MANIFEST)}: is damaged; expected file names, {INDEX} among them")
    known = out / MANIFEST
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not known.is_file() or known.read_bytes() != listing:
            raise UserError(f"{out}: holds something else than {url}; choose another folder, or remove it")
    else:
        write_bytes(known, listing)  # first: by it a fetch that was interrupted is known
    moved = 0
    for name in [*(name for name in hashes if name != INDEX), INDEX]:
        tell(name)
        moved += shared.fetch(name, out / name, hashes[name])
    for shard in read_index(out).shards:
        if hashes.get(shard.file) != shard.sha256:
            raise UserError(f"{url}: {INDEX} and {MANIFEST} disagree about {shard.file}; publish it anew elsewhere")
    return Transfer(str(out), len(hashes), moved, sum((out / name).stat().st_size for name in hashes))


def local_dataset(location: str | Path, cache: Path = Path("cache"), tell: Tell = lambda name: None) -> Path:
    """The folder of a dataset: a path as it is; of an address the copy below `cache`, made at the first use.

    Raises as `fetch_dataset`.
    """
    if not is_url(location):
        return Path(location)
    url = str(location)
    return Path(fetch_dataset(url, cache_folder(cache, url), tell).where)
