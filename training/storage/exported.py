"""Explorers to share: a run's folder with no more than acting and carrying need, and a record of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expedition import UserError
from training.storage.checkpoint import digest, file_entry
from training.storage.folder import RECORD, read_json
from training.storage.state_tree import publish_json

FORMAT = 1
_AGAIN = "export it again, or fetch it again"


def write_record(folder: Path, names: Sequence[str]) -> None:
    """Write the record of files in `folder`, after which it `is_exported`.

    Args:
        folder: of the export.
        names: files that stand outside of the checkpoint's own manifest, and that manifest.
    """
    files = {name: file_entry(folder / name) for name in names}
    record = {"format": FORMAT, "files": files}
    publish_json(folder / RECORD, {**record, "sha256": digest(record)})


def check_exported(folder: Path) -> None:
    """Compare an exported folder with its record.

    The checkpoint's tensors are not read: its own manifest, which is checked here, holds their hashes.

    Raises:
        UserError: the record or a file was changed, or is gone.
    """
    record = read_json(folder / RECORD, _AGAIN)
    written = record.pop("sha256", None)
    if record.get("format") != FORMAT:
        raise UserError(
            f"{folder / RECORD} has format {record.get('format')}, this version reads {FORMAT}: use the "
            "version of Expedition that exported it."
        )
    if written != digest(record):
        raise UserError(f"{folder / RECORD} has been changed: {_AGAIN}.")
    for name, entry in record["files"].items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"{folder / RECORD} names a file outside of its folder ({name}): do not use it.")
        if not path.is_file() or file_entry(path) != entry:
            raise UserError(f"{path} is not the file that was exported: {_AGAIN}.")
