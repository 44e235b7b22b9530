"""Sending runs to W&B that were logged offline, by W&B's own `wandb sync`."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from expedition import UserError
from training.logging.wandb_file import cut_torn_end, read_records
from training.logging.wandb_login import has_credentials, server
from training.logging.wandb_run import offline_parts
from training.storage.folder import is_held

ORDER = ("pretrain", "finetune", "report")
"""Who makes an artifact is sent before who uses it, so that the lineage graph names its maker."""
DEPTH = 3
REACH_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Part:
    """An offline file of a run that was not sent yet."""

    folder: Path
    file: Path
    job_type: str
    rows: int

    def told(self) -> str:
        """One line for a person."""
        return f"{self.job_type or 'run':<9} {self.rows:>7,} rows  {self.folder}"


def find_unsent(root: Path) -> list[Part]:
    """What a run, a study or a folder of them has not sent, in the order in which to send it.

    Runs that are under way are left for later, and so are files that hold no run yet.

    Raises:
        UserError: no such folder.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {root}: give that of a run, of a study, or of several.")
    found = [path for depth in range(DEPTH + 1) for path in sorted(root.glob("*/" * depth + "wandb"))]
    parts = [
        part
        for folder in (path.parent for path in found)
        if not is_held(folder)
        for file in offline_parts(folder)
        if (part := _part(folder, file)) is not None
    ]
    return sorted(
        parts, key=lambda part: ORDER.index(part.job_type) if part.job_type in ORDER else len(ORDER)
    )


def check_reach(waiting: int) -> None:
    """Check that this machine can send anything at all, before W&B would ask or wait without end.

    Raises:
        UserError: no login here, or no way to the server.
    """
    kept = f"Nothing was sent and nothing is lost: {waiting} wait."
    if not has_credentials():
        raise UserError(f"W&B has no API key on this machine: run 'wandb login' once. {kept}")
    try:
        urllib.request.urlopen(server(), timeout=REACH_SECONDS).close()  # noqa: S310  as configured
    except urllib.error.HTTPError:  # it answers
        pass
    except (OSError, ValueError) as error:
        raise UserError(f"W&B's server {server()} cannot be reached ({_reason(error)}). {kept}") from error


def send(part: Part) -> None:
    """Send one file by `wandb sync`, which marks it as sent.

    Raises:
        UserError: W&B did not take it; it can be sent again.
    """
    cut_torn_end(part.file)
    command = [sys.executable, "-m", "wandb", "sync", str(part.file.parent.resolve())]
    cache = str((part.folder / "wandb" / "cache").resolve())
    environment = {**os.environ, "WANDB_CACHE_DIR": cache, "WANDB_DATA_DIR": cache}
    environment.pop("WANDB_MODE", None)  # offline there must not hold it back here
    done = subprocess.run(command, cwd=part.folder, env=environment, capture_output=True, text=True)
    if part.file in offline_parts(part.folder):  # W&B's exit code is 0 also where it failed
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = said[-1].rstrip(".") if said else f"exit code {done.returncode}"
        raise UserError(
            f"W&B did not take {part.folder} ({reason}). It is kept, and the same command goes on from there."
        )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)).rstrip(".")


def _part(folder: Path, file: Path) -> Part | None:
    records = [record for record, _ in read_records(file)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    rows = sum(record.WhichOneof("record_type") == "history" for record in records)
    return Part(folder, file, runs[0].job_type, rows) if runs else None
