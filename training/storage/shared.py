"""Runs that lie at an address (an fsspec URL), fetched into a folder of this machine."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from expedition.errors import UserError

INSTALL = "pip install 'expedition[s3]'"
_held: list[tempfile.TemporaryDirectory[str]] = []  # fetched runs, removed when the process ends


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
    return folder


def pull(address: str, folder: Path) -> None:
    """Copy every file below an address into a folder of this machine, which is made where it is missing.

    Raises:
        UserError: the address cannot be read, or holds nothing.
    """
    system, root = _opened(address)
    try:
        names = _names(system, root)
        for name, stored in names.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(stored, str(target))
    except Exception as error:  # noqa: BLE001 - every store raises errors of its own
        raise UserError(
            f"'{address}' cannot be read ({_reason(error)}): check its name, your credentials for it and the "
            "network."
        ) from error
    if not names:
        raise UserError(f"There is nothing at '{address}': give the address of a run's folder.")


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the address as that system writes it."""
    try:
        return fsspec.core.url_to_fs(address, skip_instance_cache=not address.startswith("memory:"))
    except ValueError as error:
        raise UserError(
            f"'{address}' cannot be opened ({_reason(error)}): write s3://..., gs://... or file://...."
        ) from error
    except ImportError as error:
        raise UserError(
            f"'{address}' needs a package ({_reason(error)}); for s3:// that is {INSTALL}."
        ) from error


def _names(system: Any, root: str) -> dict[str, str]:
    """Files below the root: the path from there -> the stored name. None leads out of it."""
    below = {stored.removeprefix(root.rstrip("/")).lstrip("/"): stored for stored in system.find(root)}
    return {name: stored for name, stored in below.items() if name and ".." not in PurePosixPath(name).parts}


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
