"""A run's folder: claiming it, holding it against other processes, and reading what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from expedition import UserError
from training.config import RunConfig, differences, from_dict
from training.storage.checkpoint import digest
from training.storage.state_tree import disk_errors, publish_json

LOOK_SECONDS = 0.05
"""Longer than looking whether a folder is held takes."""
SEAL = "sha256"
"""Key of config.json that holds the hash of all others, so that a flipped bit is no other setting."""
RECORD = "export.json"
"""Size and SHA-256 of the files of an exported explorer (`training/storage/exported.py`)."""


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported explorer, which learns no further there."""
    return (folder / RECORD).is_file()


def claim_folder(run_dir: Path, settings: Mapping[str, Any], growing: bool = False) -> bool:
    """Write the settings into a new folder, or check that the folder's run has the same.

    Args:
        run_dir: the folder.
        settings: everything that decides what comes out.
        growing: the run may be asked for more steps than the folder's, which `lengthen` then gives it.

    Returns:
        Whether the folder is new.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    if is_exported(run_dir):
        raise UserError(
            f"{run_dir} holds an exported explorer, which learns no further: choose another --out."
        )
    settings = json.loads(json.dumps(settings))
    path = run_dir / "config.json"
    with disk_errors("the run's settings", run_dir, "nothing was changed"):
        if path.exists():
            advice = "restore it, or choose another --out"
            found = unsealed(read_json(path, advice))
            other = differences(found, settings)
            grown = growing and _is_longer(found, settings)
            if other and not (grown and not differences(_with_steps(found, settings), settings)):
                shown = "; ".join(other[:4]) + ("; ..." if len(other) > 4 else "")
                raise UserError(f"{run_dir} holds a run with other settings: {shown}; choose another --out.")
            return False
        if run_dir.is_dir() and any(run_dir.iterdir()):
            raise UserError(f"{run_dir} is not empty and holds no run: choose another --out.")
        run_dir.mkdir(parents=True, exist_ok=True)
        publish_json(path, _sealed(settings))
        return True


def _sealed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the hash of what they are."""
    settings = unsealed(settings)
    return {**settings, SEAL: digest(settings)}


def unsealed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they were before they were written with their hash."""
    return {name: value for name, value in settings.items() if name != SEAL}


def _is_longer(found: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether settings ask for more steps than those that were found."""
    return 0 < found.get("steps", 0) < settings["steps"]


def _with_steps(found: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, but with as many steps as are asked for."""
    return {**found, "steps": settings["steps"]}


def grows(run_dir: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run that was claimed with these settings has fewer steps than they ask for."""
    return _is_longer(read_json(run_dir / "config.json", "restore it, or choose another --out"), settings)


def lengthen(run_dir: Path, settings: Mapping[str, Any]) -> int:
    """Let the folder's run, which `grows`, go on from its end to as many steps as the settings ask for.

    Its result is taken away first, so that a crash in between leaves the shorter run to be judged again.

    Returns:
        The steps that it had.
    """
    path = run_dir / "config.json"
    found = read_json(path, "restore it, or choose another --out")
    with disk_errors("the run's settings", run_dir, "the run goes on with as many steps as it had"):
        (run_dir / "result.json").unlink(missing_ok=True)
        publish_json(path, _sealed(_with_steps(found, settings)))
    return int(found["steps"])


@contextlib.contextmanager
def undone_on_failure(run_dir: Path, new: bool) -> Iterator[None]:
    """Remove a folder that was claimed a moment ago if its run cannot even begin.

    The command with its mistake mended then finds the folder free.
    """
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


@contextlib.contextmanager
def only_process(run_dir: Path) -> Iterator[None]:
    """Hold a folder against other processes; the lock goes with the process, whatever its end.

    Raises:
        UserError: another process is working there.
    """
    with disk_errors("the lock", run_dir, "nothing was changed"):
        file = (run_dir / ".lock").open("w")
    with file:
        if not (_locked(file) or _locked(file)):
            raise UserError(f"Another process is working on {run_dir}: wait for it, or choose another --out.")
        yield


def _locked(file: IO[str]) -> bool:
    """Try to lock a file, and wait a moment where that fails: somebody may just be looking (`is_held`)."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(LOOK_SECONDS)
        return False
    return True


def is_held(run_dir: Path) -> bool:
    """Whether a process is working on a folder."""
    try:
        with (run_dir / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none
    return False


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        advice: what to do if it is broken.

    Raises:
        UserError: it cannot be read, or holds no object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not whole JSON ({error}): {advice}.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a file of Expedition: {advice}.")
    return values


def read_result(run_dir: Path) -> dict[str, Any] | None:
    """Result of a finished run; None where there is none yet.

    Raises:
        UserError: its file is broken.
    """
    path = run_dir / "result.json"
    return read_json(path, "delete it and run the same command again") if path.exists() else None


def read_settings(run_dir: Path) -> dict[str, Any]:
    """All that a run's config.json holds, which is what was written there.

    Raises:
        UserError: the folder holds no run of ours, or the file has been changed.
    """
    path = run_dir / "config.json"
    if not path.is_file():
        raise UserError(f"{run_dir} holds no config.json: give the folder of an Expedition run.")
    values = read_json(path, "restore it, or start a new run")
    settings = unsealed(values)
    if values.get(SEAL, digest(settings)) != digest(settings):
        raise UserError(
            f"{path} has been changed since it was written: restore it, or if you changed it yourself, "
            f"delete its entry '{SEAL}'."
        )
    return settings


def read_config(run_dir: Path) -> RunConfig:
    """Settings of a run from its folder.

    Raises:
        UserError: as `read_settings`, or there are too few.
    """
    path, values = run_dir / "config.json", read_settings(run_dir)
    fields = dataclasses.fields(RunConfig)
    missing = [field.name for field in fields if field.name not in values]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing[:3])}: restore it, or start a new run.")
    return from_dict(RunConfig, {field.name: values[field.name] for field in fields})
