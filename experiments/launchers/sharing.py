"""What another study of the same root has done already is not done again."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from expedition import UserError, __version__
from experiments.studies.runs import PlannedRun
from training.storage.folder import read_config, read_result
from training.storage.state_tree import disk_errors

_NOT_TAKEN = shutil.ignore_patterns(".lock", "wandb", "wandb_id.json")
"""At W&B the run stays the other study's: sent from two folders, it would be there twice."""


def is_done(run: PlannedRun, folder: Path) -> bool:
    """Whether the run's folder holds its result, and not that of one that was made longer since.

    Raises:
        UserError: the folder's files are broken.
    """
    return read_result(folder) is not None and read_config(folder).steps == run.config.steps


def done_elsewhere(root: Path, folder: Path, run: PlannedRun) -> Path | None:
    """The run as another study below `root` has finished it with this version, if there is one."""
    for path in sorted(root.glob(f"*/{run.id}")):
        if path.parent.resolve() != folder.resolve() and _serves(run, path):
            return path
    return None


def _serves(run: PlannedRun, path: Path) -> bool:
    try:
        return is_done(run, path) and (read_result(path) or {}).get("version") == __version__
    except UserError:  # that run is broken, and no affair of this study
        return False


def take_over(root: Path, folder: Path, runs: Iterable[PlannedRun]) -> dict[str, Path]:
    """Link runs that other studies have finished into a study's folder; returns those, and from where.

    Either study may then lengthen or delete its own: tensors, which are linked, are written once and never
    changed; everything else is copied.

    Args:
        root: folder of studies.
        folder: the study's own.
        runs: what it consists of; those that have a folder already are left alone.
    """
    found: dict[str, Path] = {}
    for run in runs:
        source = None if (folder / run.id).exists() else done_elsewhere(root, folder, run)
        if source is None:
            continue
        with disk_errors("a run of another study", folder, "nothing was started"):
            aside = folder / f".{run.id}.part"
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(source, aside, copy_function=linked, ignore=_NOT_TAKEN)
            aside.rename(folder / run.id)
        found[run.id] = source
    return found


def linked(source: str, target: str) -> None:
    """A second name for a file of tensors, a copy of any other, and where the disk cannot link."""
    if source.endswith(".safetensors"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
