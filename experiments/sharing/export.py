"""Writing an explorer for others: what acting and carrying need of a run, with its card and licence."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expedition import UserError
from experiments.sharing.card import FIGURE, model_card
from experiments.sharing.licence import licence
from training import Checkpoint, Checkpointer, RunConfig, open_checkpoint, read_config, read_result
from training.storage.checkpoint import MANIFEST
from training.storage.exported import write_record
from training.storage.folder import read_json, undone_on_failure
from training.storage.state_tree import disk_errors, publish_json

OF_THE_RUN = ("training", "collector", "replay", "loop")
"""Sections of a checkpoint with which only the run itself can go on; the others are components."""


def export(run: Path, folder: Path, replay: bool = False) -> None:
    """Write the explorer of a run into a new folder, which is read like the run's own.

    Args:
        run: folder of a run, whose newest checkpoint is taken, or one of its `checkpoint-<step>`.
        folder: where to write; must not exist, or be empty.
        replay: take the replayed rows along, and the rewards that were recorded with them.

    Raises:
        UserError: no run or no whole checkpoint there, a run without components, or the folder is in use.
    """
    checkpoint = open_checkpoint(run)
    home = checkpoint.path.parent
    config = read_config(home)
    if config.agent.kind not in ("model-based", "model-free"):
        raise UserError(f"{home} is a run of '{config.agent.kind}', which has no components to share.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: choose another folder to export to.")
    with disk_errors("the export", folder, "nothing was changed"), undone_on_failure(folder, True):
        folder.mkdir(parents=True, exist_ok=True)
        _write(config, home, checkpoint, folder, replay)


def _write(config: RunConfig, home: Path, checkpoint: Checkpoint, folder: Path, replay: bool) -> None:
    """Write tensors first and the record last: a folder without it counts as none."""
    written = _write_tensors(checkpoint, folder, replay)
    told = {"config.json": _read(home, "config"), "transfer.json": _origin(home)}
    result = read_result(home)
    if result is not None and result["environment_steps"] == checkpoint.step:
        told["result.json"] = result
    files = {name: values for name, values in told.items() if values}
    for name, values in files.items():
        publish_json(folder / name, values)
    (folder / "LICENSE").write_text(licence(), encoding="utf-8")
    card, figure = model_card(config, checkpoint.step, files.get("result.json"), home)
    (folder / "README.md").write_text(card, encoding="utf-8")
    if figure is not None:
        shutil.copyfile(figure, folder / FIGURE)
    write_record(folder, [*files, f"{written.name}/{MANIFEST}"])


def _write_tensors(checkpoint: Checkpoint, folder: Path, replay: bool) -> Path:
    """Write the components, verified as they are read, and return the new checkpoint's folder."""
    kept = [name for name in checkpoint.sections if name not in OF_THE_RUN or (replay and name == "replay")]
    sections = {name: checkpoint.load(name) for name in kept}
    shared = []
    for path in checkpoint.whole_files() if replay else ():
        shared.append(folder / path.relative_to(checkpoint.path.parent))
        shared[-1].parent.mkdir(exist_ok=True)
        shutil.copyfile(path, shared[-1])
    return Checkpointer(folder).save(checkpoint.step, sections, shared, checkpoint.metadata)


def _origin(home: Path) -> dict[str, Any]:
    """What a run of phase 2 carried, without the path of its source, which means nothing elsewhere."""
    found = _read(home, "transfer")
    if isinstance(found.get("source"), Mapping):
        found["source"] = {name: value for name, value in found["source"].items() if name != "folder"}
    return found


def _read(home: Path, name: str) -> dict[str, Any]:
    path = home / f"{name}.json"
    return read_json(path, "restore it") if path.exists() else {}
