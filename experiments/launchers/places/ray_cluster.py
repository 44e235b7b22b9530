"""A Ray cluster: each job is a task that asks for its share of a node."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expedition import UserError
from experiments.launchers.places.base import LOST, JobFile, Work, see_out, start

TIMES = 5
"""So many lost nodes are borne by one task."""
REACH_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class RayOptions:
    """Which cluster, and what each run asks for."""

    address: str = "auto"
    """Of the cluster; `auto` is that of the machine, `local` begins one here."""
    cpus: int = 0
    """Cores; 0 stands for 1."""
    gpus: float = 0.0
    """GPUs, or a share of one."""
    memory: float = 0.0
    """Memory in GiB that is reserved; 0 reserves none."""


def carry(job: str, log: str) -> int:
    """Carry a job out in a process of its own, inside a Ray task; returns its exit code."""
    return see_out(start(JobFile(Path(job), Path(log))))


class RayWork:
    """A task that carries out a job.

    Args:
        ray: the package.
        reference: of the task's result.
    """

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def poll(self) -> int | None:
        """The exit code of its process, `LOST` where Ray gave it up."""
        done, _ = self._ray.wait([self._reference], timeout=0)
        if not done:
            return None
        try:
            return self._ray.get(self._reference)
        except (self._ray.exceptions.RayError, KeyboardInterrupt):
            return LOST

    def stop(self) -> None:
        """Ask it to save and leave."""
        self._ray.cancel(self._reference, force=False)

    def kill(self) -> None:
        """End it without asking."""
        self._ray.cancel(self._reference, force=True)


class RayCluster:
    """A running Ray cluster, whose nodes share the study's folder and have this package installed.

    A node that is lost takes no run with it: Ray begins its tasks on others, where each goes on from its
    last checkpoint.

    Args:
        options: which cluster, and what each run asks for.
        folder: of the study.
        jobs: runs that are handed to Ray at a time.

    Raises:
        UserError: Ray is missing, or no cluster answers.
    """

    preempts = False

    def __init__(self, options: RayOptions, folder: Path, jobs: int) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("Ray is not installed: `pip install 'expedition[ray]'`, or use --launcher local.")
        import ray

        self._ray, self.jobs = ray, jobs
        self.where = f" on Ray at {options.address}"
        cpus = options.cpus or 1
        self.threads = {"pretrain": cpus, "finetune": cpus}
        address = None if options.address == "local" else options.address
        try:
            _check_reach(options.address)
            ray.init(
                address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"No Ray cluster answers at '{options.address}': begin one with `ray start --head`, or give "
                "--launcher ray,address=HOST:PORT."
            ) from error
        reserved = {"memory": int(options.memory * 2**30)} if options.memory else {}
        self._task = ray.remote(carry).options(
            num_cpus=cpus, num_gpus=options.gpus, max_retries=TIMES, **reserved
        )

    def begin(self, files: Sequence[JobFile]) -> list[Work]:
        """Hand each to Ray, which begins it where there is room."""
        return [RayWork(self._ray, self._task.remote(str(file.job), str(file.log))) for file in files]

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def _check_reach(address: str) -> None:
    """Fail at once where nobody answers at HOST:PORT; Ray would try for minutes.

    Raises:
        OSError: nobody does.
        ValueError: the port is no number.
    """
    host, _, port = address.rpartition(":")
    if host and "/" not in host:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
