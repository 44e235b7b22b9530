"""A Slurm cluster, through submitit: each job is one of an array."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expedition import UserError
from experiments.launchers.places.base import LOST, JobFile, Work, save, see_out, start


@dataclasses.dataclass(frozen=True)
class SlurmOptions:
    """What each run asks for."""

    cluster: str = "slurm"
    """`slurm`, or `local` to try it out on this machine."""
    partition: str = ""
    """Partition; empty for the cluster's default."""
    account: str = ""
    """Account that pays; empty for the user's."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features that nodes must have."""
    cpus: int = 0
    """Cores; 0 stands for 1."""
    gpus: int = 0
    """GPUs."""
    memory: float = 8.0
    """Memory in GiB."""
    minutes: int = 240
    """Time limit. A run that reaches it is requeued and goes on."""


class Carrier:
    """Carries a job out in a process of its own; asks it to save, and is requeued, when it is preempted."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, job: str, log: str) -> int:
        """The exit code of the job's process."""
        self._process = start(JobFile(Path(job), Path(log)))
        return see_out(self._process)

    def checkpoint(self, job: str, log: str) -> Any:
        """What is submitted in its place when it is preempted: the same, which goes on from what it saved."""
        import submitit

        if self._process is not None:
            save(self._process)
        return submitit.helpers.DelayedSubmission(Carrier(), job, log)


class SlurmWork:
    """A submitted job.

    Args:
        job: of submitit.
    """

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        """The exit code of its process, `LOST` where Slurm ended it."""
        import submitit

        if not self._job.done():
            return None
        try:
            return self._job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
            return LOST

    def stop(self) -> None:
        """Cancel it; Slurm asks it to save first."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self._job.cancel(check=False)

    kill = stop


class Slurm:
    """A Slurm cluster whose nodes share the study's folder and this Python.

    Args:
        options: what each run asks for.
        folder: of the study; what submitit keeps lies in its `logs/submitit`.
        jobs: runs that are submitted at a time.

    Raises:
        UserError: submitit or Slurm is missing.
    """

    preempts = True

    def __init__(self, options: SlurmOptions, folder: Path, jobs: int) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise UserError(
                "submitit is not installed: `pip install 'expedition[slurm]'`, or use --launcher local."
            )
        if options.cluster == "slurm" and shutil.which("srun") is None:
            raise UserError(
                "There is no Slurm on this machine (no `srun`): run this on the cluster's login node, or use "
                "--launcher local."
            )
        if options.cluster not in ("slurm", "local"):
            raise UserError(f"The launcher's option 'cluster' is slurm or local, not '{options.cluster}'.")
        self.options, self.folder, self.jobs = options, folder, jobs
        self.where = f" on Slurm ({options.cluster})"
        cpus = options.cpus or 1
        self.threads = {"pretrain": cpus, "finetune": cpus}

    def begin(self, files: Sequence[JobFile]) -> list[Work]:
        """Submit all as one array."""
        executor = self._executor()
        with executor.batch():
            jobs = [executor.submit(Carrier(), str(file.job), str(file.log)) for file in files]
        return [SlurmWork(job) for job in jobs]

    def _executor(self) -> Any:
        import submitit

        # A run may be preempted, or reach its time limit, as often as it takes.
        executor = submitit.AutoExecutor(
            self.folder / "logs" / "submitit", cluster=self.options.cluster, slurm_max_num_timeout=1000
        )
        executor.update_parameters(**_asked_for(self.options, self.threads["finetune"]))
        return executor

    def close(self) -> None:
        """There is nothing to let go of."""


def _asked_for(options: SlurmOptions, cpus: int) -> dict[str, Any]:
    """Parameters of submitit's executor."""
    named = {name: getattr(options, name) for name in ("partition", "account", "qos", "constraint")}
    return {
        "name": "expedition",
        "timeout_min": options.minutes,
        "cpus_per_task": cpus,
        "gpus_per_node": options.gpus,
        "mem_gb": options.memory,
        **{f"slurm_{name}": value for name, value in named.items() if value},
    }
