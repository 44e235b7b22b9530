"""What another study of the same root has done already is not done again."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from expedition import UserError, __version__
from training.storage.folder import read_result
from training.storage.state_tree import disk_errors


def done_elsewhere(root: Path, folder: Path, run_id: str) -> Path | None:
    """A finished run of this version in the folder of another study below `root`, if there is one."""
    for path in sorted(root.glob(f"*/{run_id}/result.json")):
        if path.parent.parent.resolve() != folder.resolve() and _of_this_version(path.parent):
            return path.parent
    return None


def _of_this_version(run: Path) -> bool:
    try:
        return (read_result(run) or {}).get("version") == __version__
    except UserError:  # that run is broken, and no affair of this study
        return False


def take_over(root: Path, folder: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """Link runs that other studies have finished into a study's folder; returns those, and from where.

    Either study may then lengthen or delete its own: tensors, which are linked, are written once and never
    changed; everything else is copied.

    Args:
        root: folder of studies.
        folder: the study's own.
        run_ids: what it needs; those that have a folder already are left alone.
    """
    found: dict[str, Path] = {}
    for run_id in run_ids:
        source = None if (folder / run_id).exists() else done_elsewhere(root, folder, run_id)
        if source is None:
            continue
        with disk_errors("a run of another study", folder, "nothing was started"):
            aside = folder / f".{run_id}.part"
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(source, aside, copy_function=_linked, ignore=shutil.ignore_patterns(".lock"))
            aside.rename(folder / run_id)
        found[run_id] = source
    return found


def _linked(source: str, target: str) -> None:
    """A second name for a file of tensors, a copy of any other, and where the disk cannot link."""
    if source.endswith(".safetensors"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
