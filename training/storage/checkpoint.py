"""Checkpoints to read: safetensors and JSON under a hashed manifest."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from expedition.errors import UserError, unknown_name
from training.storage.state_tree import unflatten

FORMAT = 1
MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)
_FOLDER = re.compile(r"checkpoint-(\d{12})(\.replaced)?")


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
        self._verified: set[str] = set()

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file by its name in the folder, of shared files by their path from the run's."""
        entries = {**self._manifest["files"], **self._manifest["shared"]}
        return {name: entry["sha256"] for name, entry in entries.items()}

    @property
    def shared_files(self) -> list[Path]:
        """The files beside this folder that it needs, in the order in which they were given to `save`."""
        return [self.path.parent / name for name in self._manifest["shared"]]

    def whole_files(self, drop_damaged: bool = False) -> list[Path]:
        """Return the shared files, each of which holds what was saved.

        Args:
            drop_damaged: leave out those that don't, and those that are gone.

        Raises:
            UserError: one doesn't.
        """
        whole = []
        for name, entry in self._manifest["shared"].items():
            try:
                self._verify(self.path.parent, name, entry)
            except TornCheckpoint as error:
                if not drop_damaged:
                    raise UserError(
                        f"The replay of checkpoint '{self.path}' is damaged ({error})."
                    ) from error
                continue
            whole.append(self.path.parent / name)
        return whole

    def section_hash(self, section: str) -> str:
        """Return one SHA-256 over all that the section holds."""
        names = [
            name for name in (f"{section}.json", f"{section}.safetensors") if name in self._manifest["files"]
        ]
        return hashlib.sha256(" ".join(self.hashes[name] for name in names).encode()).hexdigest()

    def load(self, section: str) -> dict[Any, Any]:
        """Return the nested state dictionary that was saved under this name, its tensors on the CPU.

        Raises:
            UserError: no such section, or it is not what was saved.
        """
        if section not in self.sections:
            raise unknown_name(f"section of checkpoint '{self.path}'", section, self.sections)
        try:
            for name in (f"{section}.json", f"{section}.safetensors"):
                if name in self._manifest["files"]:
                    self._verify(self.path, name, self._manifest["files"][name])
            skeleton = json.loads((self.path / f"{section}.json").read_text(encoding="utf-8"))
            tensors_file = self.path / f"{section}.safetensors"
            # Clones, because loaded tensors may be windows on the file.
            tensors = (
                {n: t.clone() for n, t in load_file(tensors_file).items()} if tensors_file.exists() else {}
            )
            return unflatten(skeleton, tensors)
        except (OSError, ValueError, KeyError, SafetensorError, TornCheckpoint) as error:
            raise UserError(f"Cannot read '{section}' in checkpoint '{self.path}': {error}.") from error

    def verify(self, shared: bool = True) -> None:
        """Compare every file with the manifest's sizes and hashes, the shared ones too unless told otherwise.

        Raises:
            TornCheckpoint: naming the first file that differs.
        """
        for name, entry in self._manifest["files"].items():
            self._verify(self.path, name, entry)
        for name, entry in self._manifest["shared"].items() if shared else ():
            self._verify(self.path.parent, name, entry)

    def _verify(self, root: Path, name: str, entry: Mapping[str, Any]) -> None:
        if name not in self._verified:
            _verify_file(root / name, entry)
            self._verified.add(name)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the newest checkpoint of another run whose own files are whole, or one checkpoint of it.

    Damage costs what it damages: where no checkpoint is whole, the newest that can say what it holds is
    opened, and what is damaged is refused when it is asked for. Shared files are verified then at all events.

    Args:
        path: a run's folder, or a `checkpoint-<step>` folder.

    Raises:
        UserError: nothing there, nothing of ours, or nothing that can be opened.
    """
    wanted = "give the folder of a run that has saved a checkpoint, or one of its checkpoint-<step> folders"
    if not path.exists():
        raise UserError(f"There is no checkpoint at '{path}': {wanted}.")
    if not path.is_dir():
        raise UserError(f"'{path}' is a file, not a checkpoint: {wanted}.")
    one = (path / MANIFEST).exists() or _FOLDER.fullmatch(path.name)
    folders = [path] if one else checkpoint_folders(path)[::-1]
    if not folders:
        raise UserError(f"'{path}' holds no checkpoint of Expedition: {wanted}.")
    opened: list[Checkpoint] = []
    torn: list[str] = []
    for folder in folders:
        try:
            opened.append(Checkpoint(folder))
            opened[-1].verify(shared=False)
            for told in torn:
                _log.warning("Checkpoint %s is torn: the one before it is used.", told)
            return opened[-1]
        except TornCheckpoint as error:
            torn.append(f"'{folder}' ({error})")
    if not opened:
        raise UserError(f"No checkpoint can be opened: {', '.join(torn)}; {wanted}.")
    _log.warning(
        "No checkpoint is whole: %s; '%s' is used as far as it goes.", ", ".join(torn), opened[0].path
    )
    return opened[0]


def checkpoint_folders(run_dir: Path) -> list[Path]:
    """Return the checkpoint folders, the newest last; a replaced one before the one that replaced it."""
    if not run_dir.is_dir():
        return []
    found = [(match, path) for path in run_dir.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    return [path for match, path in sorted(found, key=lambda item: (int(item[0][1]), item[0][2] is None))]


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its SHA-256 and size."""
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
            size += len(block)
    return {"sha256": hashed.hexdigest(), "bytes": size}


def _verify_file(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size  # cheap, and says most of what goes wrong
        if size != entry["bytes"]:
            raise TornCheckpoint(f"{path.name} has {size:,} bytes, not {entry['bytes']:,}")
        if file_entry(path) != entry:
            raise TornCheckpoint(f"{path.name} has been changed")
    except OSError as error:
        raise TornCheckpoint(f"{path.name}: {error.strerror}") from error


def digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest that does not hold it yet."""
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
    if manifest.pop("sha256", None) != digest(manifest):
        raise TornCheckpoint(f"{path.name} has been changed")
    if any(".." in Path(name).parts or Path(name).is_absolute() for name in _names(manifest)):
        raise TornCheckpoint(f"{path.name} names files outside the run's folder")
    return manifest


def _names(manifest: Mapping[str, Any]) -> Iterable[str]:
    return [*manifest["files"], *manifest["shared"], *manifest["sections"]]
