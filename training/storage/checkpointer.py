"""Checkpoints to write: written aside and renamed, the last few kept, the newest whole one found again."""

import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from expedition.errors import UserError
from training.storage.checkpoint import (
    FORMAT,
    MANIFEST,
    Checkpoint,
    TornCheckpoint,
    checkpoint_folders,
    digest,
    file_entry,
)
from training.storage.state_tree import disk_errors, flatten, sync, write_json

_KEPT = "checkpoints that were there before are intact"
_log = logging.getLogger(__name__)
_SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Checkpointer:
    """Saves the checkpoints of one run, keeps the last few, and finds the newest that is whole.

    Args:
        run_dir: the run's folder; made when first saved to.
        keep: checkpoints to keep.
    """

    def __init__(self, run_dir: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1.")
        self.run_dir = run_dir
        self.keep = keep
        self._torn: set[Path] = set()  # folders that `latest` found wanting
        self._known: dict[
            tuple[str, int, int], str
        ] = {}  # name, bytes, time changed -> hash of a shared file

    def save(
        self,
        step: int,
        sections: Mapping[str, Mapping[Any, Any]],
        shared_files: Sequence[Path] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write `checkpoint-<step>` whole or not at all, then drop what is older than the last `keep`.

        Checkpoints of later steps are dropped too: a run that saves an earlier step has gone back to it.

        Args:
            step: environment steps taken.
            sections: nested state dictionaries by name; `state_tree.flatten` says what they may hold.
            shared_files: files already written in folders below `run_dir` that this checkpoint needs (the
                replay's chunks). Those folders are the checkpointer's: what no kept one needs is deleted.
            metadata: JSON-able values to keep in the manifest.

        Returns:
            The checkpoint's folder.

        Raises:
            UserError: the disk refuses; every checkpoint that was there is still there.
        """
        final = self.run_dir / f"checkpoint-{step:012d}"
        shared = {self._shared_name(path): path for path in shared_files}
        with disk_errors(f"the checkpoint of step {step:,}", self.run_dir, _KEPT):
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._sweep()
            aside = self.run_dir / f".{final.name}.tmp"
            try:
                self._write(aside, step, sections, shared, metadata or {})
            except Exception:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            self._publish(aside, final)
        self._torn.discard(final)
        self._prune(final)
        return final

    def latest(self, shared: bool = True) -> Checkpoint | None:
        """Return the newest checkpoint whose files all hold; None where none was ever saved.

        A torn one is named in a warning and the one before it is taken.

        Args:
            shared: whether its shared files must hold too.

        Raises:
            UserError: there are checkpoints, but none is whole.
        """
        torn = []
        for path in reversed(checkpoint_folders(self.run_dir)):
            try:
                checkpoint = Checkpoint(path)
                checkpoint.verify(shared)
            except TornCheckpoint as error:
                _log.warning("Checkpoint '%s' is torn (%s): the one before it is used.", path, error)
                torn.append(f"'{path}' ({error})")
                self._torn.add(path)
                continue
            return checkpoint
        if torn:
            raise UserError(
                f"No checkpoint is whole: {', '.join(torn)}; restore one from a copy, or delete "
                f"'{self.run_dir}' to start the run anew."
            )
        return None

    def _write(
        self,
        folder: Path,
        step: int,
        sections: Mapping[str, Mapping[Any, Any]],
        shared: Mapping[str, Path],
        metadata: Mapping[str, Any],
    ) -> None:
        folder.mkdir()
        for name, tree in sections.items():
            _write_section(folder, name, tree)
        manifest = {
            "format": FORMAT,
            "step": step,
            "metadata": dict(metadata),
            "sections": list(sections),
            "files": {path.name: file_entry(path) for path in sorted(folder.iterdir())},
            "shared": {name: self._shared_entry(name, path) for name, path in shared.items()},
        }
        write_json(folder / MANIFEST, {**manifest, "sha256": digest(manifest)})
        sync(folder)

    def _publish(self, aside: Path, final: Path) -> None:
        """Rename into place; one of the same step gives way under a name that `latest` still finds."""
        replaced = final.with_name(f"{final.name}.replaced")
        if final.exists():
            if replaced.exists():
                shutil.rmtree(replaced)
            os.rename(final, replaced)
        os.rename(aside, final)
        sync(self.run_dir)

    def _sweep(self) -> None:
        """Remove what saves that were killed have left."""
        for path in self.run_dir.glob(".checkpoint-*.tmp"):
            shutil.rmtree(path)

    def _prune(self, saved: Path) -> None:
        """Drop the checkpoints not kept and shared files that no kept one needs; failing costs only space."""
        folders = checkpoint_folders(self.run_dir)
        older = [path for path in folders if path.name < saved.name and path not in self._torn]
        kept = [*older[max(0, len(older) - self.keep + 1) :], saved]
        needed: set[Path] = set()
        known: set[Path] = set()
        for path in folders:
            files = _shared_or_none(path)
            known.update(files)
            needed.update(files if path in kept else ())
        for path in set(folders) - set(kept):
            shutil.rmtree(path, ignore_errors=True)
        for folder in {path.parent for path in known}:
            _remove_unneeded(folder, needed)

    def _shared_name(self, path: Path) -> str:
        try:
            relative = path.resolve().relative_to(self.run_dir.resolve())
        except ValueError:
            relative = Path()
        if len(relative.parts) < 2:
            raise ValueError(f"A shared file lies in a folder below '{self.run_dir}', not at '{path}'.")
        return relative.as_posix()

    def _shared_entry(self, name: str, path: Path) -> dict[str, Any]:
        status = path.stat()
        key = (name, status.st_size, status.st_mtime_ns)
        if key not in self._known:
            self._known[key] = file_entry(path)["sha256"]
        return {"sha256": self._known[key], "bytes": status.st_size}


def _write_section(folder: Path, name: str, tree: Mapping[Any, Any]) -> None:
    if not _SECTION.fullmatch(name) or f"{name}.json" == MANIFEST:
        raise ValueError(
            f"A section's name is letters, digits, '_', '.' and '-', and not 'manifest': {name!r}."
        )
    skeleton, tensors = flatten(tree)
    write_json(folder / f"{name}.json", skeleton)
    if tensors:
        save_file(tensors, str(folder / f"{name}.safetensors"))
        sync(folder / f"{name}.safetensors")


def _shared_or_none(path: Path) -> list[Path]:
    try:
        return Checkpoint(path).shared_files
    except TornCheckpoint:
        return []


def _remove_unneeded(folder: Path, needed: set[Path]) -> None:
    """Remove the files of a folder of shared files that no kept checkpoint needs."""
    try:
        for path in folder.iterdir():
            if path.suffix in (".safetensors", ".tmp") and path not in needed:
                path.unlink()
    except OSError as error:
        _log.warning("Could not clear '%s' of old files: %s.", folder, error)
