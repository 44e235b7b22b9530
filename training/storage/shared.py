"""Files at an address (an fsspec URL): runs fetched into a folder of this machine, and what is put there."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from expedition.errors import UserError

INSTALL = "pip install 'expedition[s3]'"
_held: list[tempfile.TemporaryDirectory[str]] = []  # fetched runs, removed when the process ends
_addresses: dict[Path, str] = {}  # where each fetched folder came from


def is_address(source: Path | str) -> bool:
    """Whether this is an fsspec URL (`s3://bucket/run`) and no path of this machine."""
    return "://" in str(source)


@functools.cache  # one process meets one state of the run, however often it asks
def fetched(address: str) -> Path:
    """Fetch the run at an address, and return its folder here, which lives as long as the process.

    Nothing is verified: what opens the folder compares it with its manifests, as it does any other.

    Args:
        address: an fsspec URL of a run's folder, for instance `s3://bucket/runs/study/id`.

    Raises:
        UserError: the address cannot be read, or holds nothing.
    """
    held = tempfile.TemporaryDirectory(prefix="expedition-")
    folder = Path(held.name) / PurePosixPath(address).name
    pull(address, folder)
    _held.append(held)
    remember(folder, address)
    return folder


def remember(folder: Path, address: str) -> None:
    """Note where a folder was fetched from, which is its `origin`."""
    _addresses[folder] = address


def origin(folder: Path) -> str:
    """Where a folder lies for good: the address that it was fetched from, or else its own path."""
    return _addresses.get(folder, str(folder.resolve()))


def pull(address: str, folder: Path) -> None:
    """Copy every file below an address into a folder of this machine, which is made where it is missing.

    Raises:
        UserError: the address cannot be read, or holds nothing.
    """
    store = Store(address)
    names = store.sizes()
    if not names:
        raise UserError(f"There is nothing at '{address}': give the address of a run's folder.")
    store.get({name: folder / name for name in names})


class Store:
    """The files below an address, by their path from there.

    Every method raises `UserError` in one sentence where the store does not answer or refuses.

    Args:
        address: an fsspec URL.

    Raises:
        UserError: it is none, or its package is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, root = _opened(self.address)
        self._root = root.rstrip("/")

    def sizes(self, below: str = "") -> dict[str, int]:
        """Bytes of each file below a folder, by its path from that folder. None leads out of it."""
        root = self._at(below)
        with self._told("read"):
            found = self._system.find(root, detail=True)
        named = {stored.removeprefix(root).lstrip("/"): entry["size"] for stored, entry in found.items()}
        return {n: size for n, size in named.items() if n and ".." not in PurePosixPath(n).parts}

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        with self._told("read"):
            try:
                return self._system.cat_file(self._at(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file anew."""
        with self._told("written to"):
            self._system.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file where there is none; False where there is one.

        Only one of several that try at once succeeds where the store can promise that (S3, Google's, a disk);
        where it cannot, the last one's content stands, which is why it is read again.
        """
        with self._told("written to"):
            try:
                self._system.pipe_file(self._at(name), content, mode="create")
            except FileExistsError:
                return False
        return self.read(name) == content

    def get(self, files: Mapping[str, Path]) -> None:
        """Fetch files, each to its own path here."""
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._told("read"):  # lists, which the store may fetch side by side
            self._system.get([self._at(name) for name in files], [str(path) for path in files.values()])

    def put(self, files: Mapping[str, Path]) -> None:
        """Send files of this machine, by their names there."""
        with self._told("written to"):
            self._system.put([str(path) for path in files.values()], [self._at(name) for name in files])

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, those that there are."""
        paths = [self._at(name) for name in names]
        with self._told("written to"), contextlib.suppress(FileNotFoundError):
            if paths:
                self._system.rm(paths)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - every store raises errors of its own
            raise UserError(
                f"'{self.address}' cannot be {done} ({_reason(error)}): check its name, your credentials for "
                "it and the network."
            ) from error


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the address as that system writes it."""
    local = {"auto_mkdir": True} if address.startswith(("file:", "local:")) else {}
    new = not address.startswith("memory:")
    try:
        return fsspec.core.url_to_fs(address, skip_instance_cache=new, use_listings_cache=False, **local)
    except ValueError as error:
        raise UserError(
            f"'{address}' cannot be opened ({_reason(error)}): write s3://..., gs://... or file://...."
        ) from error
    except ImportError as error:
        raise UserError(
            f"'{address}' needs a package ({_reason(error)}); for s3:// that is {INSTALL}."
        ) from error


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
