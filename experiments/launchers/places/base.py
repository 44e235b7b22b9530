"""Where the runs of a study are carried out: what a launcher asks of this machine or of a cluster."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

LOST = 75
"""Exit code of work of which its place knows nothing more: its machine is lost, or the cluster ended it."""
POLL_SECONDS = 0.2
PARENT = "EXPEDITION_PARENT"
"""Environment variable: the process that began a worker, without which it saves and leaves.

It stands here, where nothing needs torch: a cluster's task only waits for its worker.
"""


@dataclasses.dataclass(frozen=True)
class JobFile:
    """A job as `experiments.launchers.worker` reads it, and where it writes what it has to say."""

    job: Path
    log: Path


def start(file: JobFile) -> subprocess.Popen[bytes]:
    """Begin a job in a process of its own, which saves and leaves when this one is gone."""
    with file.log.open("ab") as log:
        # A session of its own, so that Ctrl-C reaches the launcher alone, which then asks every run to save.
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.launchers.worker", str(file.job)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, PARENT: str(os.getpid())},
        )


def see_out(process: subprocess.Popen[bytes]) -> int:
    """Wait for a job's process to end and return its exit code; where that is cancelled, the run saves.

    It asks again and again, because Ray's cancelling does not wake a process that sleeps in `wait`.
    """
    try:
        while (code := process.poll()) is None:
            time.sleep(POLL_SECONDS)
    except BaseException:
        save(process)
        raise
    return code


def save(process: subprocess.Popen[bytes]) -> None:
    """Ask a job's process to save and leave, and wait until it has; one that has left is left alone."""
    process.terminate()
    process.wait()


class Work(Protocol):
    """A job that was begun."""

    def poll(self) -> int | None:
        """The exit code of its process once that has ended; negative for a signal that ended it."""
        ...

    def stop(self) -> None:
        """Ask it to save and leave."""
        ...

    def kill(self) -> None:
        """End it without asking."""
        ...


class Place(Protocol):
    """Carries jobs out, each in a process of its own.

    Attributes:
        where: for a person, as " on Ray"; empty for this machine.
        jobs: how many at a time.
        threads: of a process, by phase.
        preempts: whether a run may be ended from outside for others' sake; it is then begun again.
    """

    where: str
    jobs: int
    threads: dict[str, int]
    preempts: bool

    def begin(self, files: Sequence[JobFile]) -> list[Work]:
        """Begin jobs, whose files every machine can read under the same path.

        Raises:
            UserError: the place refuses them.
        """
        ...

    def close(self) -> None:
        """Let go of the place."""
        ...
