"""This machine: each job is a child process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from envs import cores
from experiments.launchers.places.base import JobFile, Work, start


class LocalWork:
    """A child process that carries out a job.

    Args:
        file: the job.
    """

    def __init__(self, file: JobFile) -> None:
        self.process = start(file)

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to save and leave."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End it without asking."""
        self.process.kill()
        self.process.wait()


class Local:
    """The cores of this machine, shared out.

    Args:
        jobs: runs at a time; 0 takes one for each core, or one on a GPU.
        threads: of each; 0 shares the cores out.
        exploring: how many runs begin with the study, which others wait for.
        processes: of the whole study.
        on_gpu: whether runs learn on a GPU.
    """

    where = ""
    preempts = False

    def __init__(self, jobs: int, threads: int, exploring: int, processes: int, on_gpu: bool) -> None:
        self.jobs = jobs or (1 if on_gpu else min(cores(), processes))
        # Nothing else can run beside pre-training: it may use every core.
        self.threads = {
            "pretrain": threads or max(1, cores() // max(1, exploring)),
            "finetune": threads or max(1, cores() // self.jobs),
        }

    def begin(self, files: Sequence[JobFile]) -> list[Work]:
        """Begin each in a process."""
        return [LocalWork(file) for file in files]

    def close(self) -> None:
        """There is nothing to let go of."""
