"""Files on shared storage by address: anything that fsspec opens (s3://, gs://, sftp://, file://, memory:// ...).

Every file that is fetched or published is compared by SHA-256. Keys and passwords come from where the driver looks for
them (its environment variables and files, or fsspec's own configuration), never from the address.
"""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .errors import UserError
from .files import atomic_path, sha256_file

BLOCK = 1 << 20
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*")
DRIVERS = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "webdav": "webdav4", "hdfs": "pyarrow",
    "http": "aiohttp", "https": "aiohttp",
}  # fmt: skip
"""Scheme of an address -> what pip installs for it."""
WITHOUT_FOLDERS = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"))
"""Stores of objects: a folder is there as soon as something is in it."""


def is_url(location: str | Path) -> bool:
    """Whether a place is an address rather than a path."""
    return isinstance(location, str) and ADDRESS.fullmatch(location) is not None


def cache_folder(cache: Path, url: str) -> Path:
    """The folder below `cache` for what comes from `url`: a readable name, and a hash that tells equal names apart."""
    clean = url.rstrip("/")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", clean.rsplit("/", 1)[-1]).strip("-") or "root"
    return cache / f"{name}-{hashlib.sha256(clean.encode()).hexdigest()[:10]}"


def safe_name(name: str) -> bool:
    """Whether a path that was read from shared storage stays inside its folder."""
    path = PurePosixPath(name)
    return bool(name) and "\\" not in name and not path.is_absolute() and not {"..", "."} & set(name.split("/"))


@dataclass(frozen=True)
class SharedFolder:
    """A folder on shared storage. Paths are relative to it, POSIX.

    All methods raise UserError for what another try would not mend (no such folder, no permission, what a driver says
    in an error of its own), and OSError for what it might.
    """

    url: str
    _files: Any
    _root: str

    def folders(self, *, missing_ok: bool = False) -> list[str]:
        """Names of the folders in it, sorted; none with `missing_ok` when it does not exist yet."""
        with _told(self.url):
            if missing_ok and not self._files.exists(self._root):
                return []
            found = self._files.ls(self._root, detail=True)
        names = {entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in found if entry["type"] == "directory"}
        return sorted(name for name in names if safe_name(name))

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        """Bytes of a file; None when there is none."""
        with _told(self.address(path)):
            try:
                return int(self._files.info(self._place(path))["size"] or 0)
            except FileNotFoundError:
                return None

    def read(self, path: str) -> bytes:
        """All bytes of a small file."""
        with _told(self.address(path)):
            return self._files.cat_file(self._place(path))

    def sha256(self, path: str) -> str:
        """Hex SHA-256 of what the store gives back."""
        found = hashlib.sha256()
        with _told(self.address(path)), self._files.open(self._place(path), "rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
        return found.hexdigest()

    def fetch(self, path: str, destination: Path, sha256: str) -> bool:
        """Bring a file, unless `destination` holds it already; whether it had to be brought.

        It appears under its name only when all its bytes are there and have the hash; else UserError.
        """
        if destination.is_file() and sha256_file(destination) == sha256:
            return False
        with _told(self.address(path)), atomic_path(destination) as temporary:
            self._files.get_file(self._place(path), str(temporary))
            if sha256_file(temporary) != sha256:
                raise UserError(f"{self.address(path)}: has other bytes than its list of hashes says; mend it there")
        return True

    def publish(self, source: Path, path: str, sha256: str) -> bool:
        """Upload a file, unless it is there already, and read it back; whether it had to be uploaded.

        Raises OSError when the store gives back other bytes.
        """
        if self.size(path) == source.stat().st_size and self.sha256(path) == sha256:
            return False
        place = self._place(path)
        with _told(self.address(path)):
            if not WITHOUT_FOLDERS & _schemes(self._files):
                self._files.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
            self._files.put_file(str(source), place)
            self._files.invalidate_cache()
        if self.sha256(path) != sha256:
            raise OSError(errno.EIO, "the store gives back other bytes than were uploaded", self.address(path))
        return True

    def address(self, path: str) -> str:
        """The full address of a file."""
        return f"{self.url}/{path}"

    def _place(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def open_shared(url: str) -> SharedFolder:
    """A folder by its address; it need not exist. Raises UserError for an address that nothing here can open."""
    import fsspec

    url = url.rstrip("/")
    scheme = url.split("://", 1)[0].lower()
    if not is_url(url):
        raise UserError(f"{url}: is no address; expected such as s3://bucket/folder or file:///mnt/share/folder")
    if urlsplit(url).password is not None:
        raise UserError(f"{scheme}://...: the address holds a password; leave it out and give it to the driver")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        driver = DRIVERS.get(scheme)
        remedy = f"its driver is not installed: pip install {driver}" if driver else str(error)
        raise UserError(f"{url}: {remedy}") from None
    except OSError:
        raise
    except Exception as error:
        raise UserError(f"{url}: cannot be opened ({error}); known are s3, gs, abfs, sftp, smb and file") from error
    files.invalidate_cache()  # another program may have written since this process looked
    return SharedFolder(url, files, root)


def _schemes(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


@contextmanager
def storage_mistakes(url: str) -> Iterator[None]:
    """Turn the OSErrors that are left after all tries into one message."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{url}: {error}; what was done is kept, run the same command again") from error


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Errors of a driver in words, but for those that another try may mend. Drivers have kinds of their own."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{address}: no such file or folder") from None
    except PermissionError as error:
        raise UserError(f"{address}: no permission ({error})") from error
    except OSError:
        raise
    except Exception as error:
        raise UserError(f"{address}: {type(error).__name__}: {error}") from error
