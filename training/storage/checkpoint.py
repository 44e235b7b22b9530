"""Checkpoints: safetensors and JSON under a hashed manifest, written aside and renamed, the last few kept."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from expedition.errors import UserError, unknown_name
from training.storage.state_tree import disk_errors, flatten, sync, unflatten, write_json

FORMAT = 1
MANIFEST = "manifest.json"

_KEPT = "checkpoints that were there before are intact"
_log = logging.getLogger(__name__)
_FOLDER = re.compile(r"checkpoint-(\d{12})(\.replaced)?")
_SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class TornCheckpoint(Exception):
    """A checkpoint whose manifest or files are missing, cut short or changed; the message says which."""


class Checkpoint:
    """One checkpoint folder, read-only.

    Args:
        path: a folder `checkpoint-<step>`.

    Raises:
        TornCheckpoint: its manifest is missing, cut short, changed, or of a format unknown here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest = _read_manifest(path / MANIFEST)
        self.step: int = self._manifest["step"]  # environment steps
        self.metadata: dict[str, Any] = self._manifest["metadata"]
        self.sections: list[str] = self._manifest["sections"]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file by its name in the folder, of shared files by their path from the run's."""
        entries = {**self._manifest["files"], **self._manifest["shared"]}
        return {name: entry["sha256"] for name, entry in entries.items()}

    @property
    def shared_files(self) -> list[Path]:
        """The files beside this folder that it needs, in the order in which they were given to `save`."""
        return [self.path.parent / name for name in self._manifest["shared"]]

    def section_hash(self, section: str) -> str:
        """Return one SHA-256 over all that the section holds."""
        names = [
            name for name in (f"{section}.json", f"{section}.safetensors") if name in self._manifest["files"]
        ]
        return hashlib.sha256(" ".join(self.hashes[name] for name in names).encode()).hexdigest()

    def load(self, section: str) -> dict[Any, Any]:
        """Return the nested state dictionary that was saved under this name, its tensors on the CPU.

        Raises:
            UserError: no such section, or it cannot be read.
        """
        if section not in self.sections:
            raise unknown_name(f"section of checkpoint '{self.path}'", section, self.sections)
        try:
            skeleton = json.loads((self.path / f"{section}.json").read_text(encoding="utf-8"))
            tensors_file = self.path / f"{section}.safetensors"
            # Clones, because loaded tensors may be windows on the file.
            tensors = (
                {n: t.clone() for n, t in load_file(tensors_file).items()} if tensors_file.exists() else {}
            )
            return unflatten(skeleton, tensors)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(f"Cannot read '{section}' in checkpoint '{self.path}': {error}.") from error

    def verify(self) -> None:
        """Compare every file, shared ones included, with the manifest's sizes and hashes.

        Raises:
            TornCheckpoint: naming the first file that differs.
        """
        for root, kind in ((self.path, "files"), (self.path.parent, "shared")):
            for name, entry in self._manifest[kind].items():
                _verify_file(root / name, entry)


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

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint whose files all hold; None where none was ever saved.

        A torn one is named in a warning and the one before it is taken.

        Raises:
            UserError: there are checkpoints, but none is whole.
        """
        torn = []
        for path in reversed(_folders(self.run_dir)):
            try:
                checkpoint = Checkpoint(path)
                checkpoint.verify()
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
            "files": {path.name: _entry(path) for path in sorted(folder.iterdir())},
            "shared": {name: self._shared_entry(name, path) for name, path in shared.items()},
        }
        write_json(folder / MANIFEST, {**manifest, "sha256": _digest(manifest)})
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
        folders = _folders(self.run_dir)
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
            self._known[key] = _entry(path)["sha256"]
        return {"sha256": self._known[key], "bytes": status.st_size}


def open_checkpoint(path: Path) -> Checkpoint:
    """Open and verify the newest checkpoint of another run, or one checkpoint of it.

    Args:
        path: a run's folder, or a `checkpoint-<step>` folder.

    Raises:
        UserError: nothing there, nothing of ours, or nothing whole.
    """
    wanted = "give the folder of a run that has saved a checkpoint, or one of its checkpoint-<step> folders"
    if not path.exists():
        raise UserError(f"There is no checkpoint at '{path}': {wanted}.")
    if not path.is_dir():
        raise UserError(f"'{path}' is a file, not a checkpoint: {wanted}.")
    if not (path / MANIFEST).exists() and not _FOLDER.fullmatch(path.name):
        checkpoint = Checkpointer(path).latest()
        if checkpoint is None:
            raise UserError(f"'{path}' holds no checkpoint of Expedition: {wanted}.")
        return checkpoint
    try:
        checkpoint = Checkpoint(path)
        checkpoint.verify()
    except TornCheckpoint as error:
        raise UserError(f"Checkpoint '{path}' is torn or foreign ({error}): {wanted}.") from error
    return checkpoint


def _folders(run_dir: Path) -> list[Path]:
    """Return the checkpoint folders, the newest last; a replaced one before the one that replaced it."""
    if not run_dir.is_dir():
        return []
    found = [(match, path) for path in run_dir.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), item[0][2] is None))]


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


def _entry(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _verify_file(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size  # cheap, and says most of what goes wrong
        if size != entry["bytes"]:
            raise TornCheckpoint(f"{path.name} has {size:,} bytes, not {entry['bytes']:,}")
        if _entry(path) != entry:
            raise TornCheckpoint(f"{path.name} has been changed")
    except OSError as error:
        raise TornCheckpoint(f"{path.name}: {error.strerror}") from error


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest whose own hash holds and whose names stay inside the run's folder."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TornCheckpoint(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise TornCheckpoint(f"{path.name} is not JSON") from error
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise TornCheckpoint(f"{path.name} is not one of Expedition's")
    if manifest["format"] != FORMAT:
        raise TornCheckpoint(f"{path.name} has format {manifest['format']}, this version reads {FORMAT}")
    if manifest.pop("sha256", None) != _digest(manifest):
        raise TornCheckpoint(f"{path.name} has been changed")
    if any(".." in Path(name).parts or Path(name).is_absolute() for name in _names(manifest)):
        raise TornCheckpoint(f"{path.name} names files outside the run's folder")
    return manifest


def _names(manifest: Mapping[str, Any]) -> Iterable[str]:
    return [*manifest["files"], *manifest["shared"], *manifest["sections"]]


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
