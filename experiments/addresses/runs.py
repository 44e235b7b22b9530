"""One run's folder, sent to an address and brought from it, so that a whole checkpoint is always there."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from experiments.launchers.sharing import linked
from training.storage.checkpoint import MANIFEST, Checkpoint, TornCheckpoint, checkpoint_folders
from training.storage.shared import Store

RESULT, STATUS = "result.json", "status.json"
NONE = -1
"""Step of a run without a checkpoint."""
_LAST = (RESULT, STATUS)
_LEFT = ("wandb",)
"""What W&B keeps stays on the machine that wrote it: the next one tells it all again."""

Hashes = Mapping[str, str]
"""SHA-256 of the files of checkpoints, by their path from the run's folder."""


def step_here(folder: Path) -> int:
    """Step of the newest checkpoint in a run's folder."""
    steps = (_step(path.name) for path in checkpoint_folders(folder) if (path / MANIFEST).is_file())
    return max(steps, default=NONE)


def step_there(names: Iterable[str]) -> int:
    """Step of the newest checkpoint among the files of a run at an address.

    Its manifest is sent last: where it is, all else is.
    """
    paths = (PurePosixPath(name) for name in names)
    return max((_step(path.parts[0]) for path in paths if path.name == MANIFEST), default=NONE)


def is_light(name: str) -> bool:
    """Whether a file of a run is none of its checkpoints', nor a replay's: a report needs no others."""
    return PurePosixPath(name).parts[0] not in ("replay",) and not name.startswith("checkpoint-")


def bring(store: Store, run: str, folder: Path, names: Iterable[str]) -> None:
    """Put files of a run at an address in the place of its folder here.

    Raises:
        UserError: the address does not answer; the folder is as it was.
    """
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    store.get({f"{run}/{name}": aside / name for name in names})
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def send(store: Store, run: str, folder: Path, there: Hashes | None) -> Hashes:
    """Send a run's folder as it is now, which may go on meanwhile.

    First come the tensors that are not there, then all that is light, then the manifests, and the result
    last: whoever is cut off leaves the checkpoint that was there before.

    Args:
        store: of the study.
        run: its name there.
        folder: its folder here.
        there: what an earlier call returned; None to ask the address.

    Returns:
        Hashes of the files of checkpoints that are there now.

    Raises:
        UserError: the address does not answer.
    """
    with _still(folder) as still:
        names = sorted(path.relative_to(still).as_posix() for path in still.rglob("*") if path.is_file())
        held = set(store.sizes(run))
        there = _hashes_there(store, run, held) if there is None else there
        here = _hashes(still)
        manifests = [name for name in names if PurePosixPath(name).name == MANIFEST]
        heavy = [name for name in here if there.get(name) != here[name]]
        light = [name for name in names if is_light(name) and name not in _LAST]
        gone = held - set(names)
        store.remove(f"{run}/{name}" for name in gone if is_light(name))
        for part in (heavy, light, manifests, [name for name in _LAST if name in names]):
            store.put({f"{run}/{name}": still / name for name in part})
        store.remove(f"{run}/{name}" for name in sorted(gone, reverse=True) if not is_light(name))
    return here


def _step(name: str) -> int:
    number = name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else NONE  # `.replaced` ones stay where they are


@contextlib.contextmanager
def _still(folder: Path) -> Iterator[Path]:
    """A copy of a run's folder in which tensors are second names, so that a run that goes on changes nothing.

    Checkpoints come first: what is logged is then at least as new as they are.
    """
    aside = folder.with_name(f".{folder.name}.sent")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    finished = (folder / RESULT).is_file()
    try:
        for path in checkpoint_folders(folder):
            if path.suffix == "":
                _copy_checkpoint(path, aside)
        for path in folder.iterdir():
            left = path.name.startswith(".") or path.name in _LEFT or not is_light(path.name)
            if not left and (finished or path.name != RESULT):
                _copy(path, aside / path.name)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy_checkpoint(path: Path, aside: Path) -> None:
    """Copy a checkpoint and what it shares; one that is torn, or dropped meanwhile, is left out."""
    try:
        shared = Checkpoint(path).shared_files
        _copy(path, aside / path.name)
        for file in shared:
            target = aside / file.relative_to(path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                linked(str(file), str(target))
    except (TornCheckpoint, OSError, shutil.Error):
        shutil.rmtree(aside / path.name, ignore_errors=True)


def _copy(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, target, copy_function=linked, ignore=shutil.ignore_patterns(".*"))
    else:
        shutil.copy2(path, target)


def _hashes(folder: Path) -> dict[str, str]:
    """Hashes of all files of the checkpoints in a folder, as their manifests say."""
    found: dict[str, str] = {}
    for path in checkpoint_folders(folder):
        with contextlib.suppress(TornCheckpoint):
            found |= _named(Checkpoint(path))
    return found


def _named(checkpoint: Checkpoint) -> dict[str, str]:
    shared = {path.relative_to(checkpoint.path.parent).as_posix() for path in checkpoint.shared_files}
    return {n if n in shared else f"{checkpoint.path.name}/{n}": h for n, h in checkpoint.hashes.items()}


def _hashes_there(store: Store, run: str, held: Collection[str]) -> dict[str, str]:
    """The same of the checkpoints at an address, of files that are still there."""
    manifests = [name for name in held if PurePosixPath(name).name == MANIFEST]
    with tempfile.TemporaryDirectory() as folder:
        store.get({f"{run}/{name}": Path(folder) / name for name in manifests})
        return {name: value for name, value in _hashes(Path(folder)).items() if name in held}
