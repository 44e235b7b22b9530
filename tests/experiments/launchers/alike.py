"""What the tests of launchers share: how a study ended, and waiting for what others do."""

import dataclasses
import json
import time
from pathlib import Path

from experiments.launchers.worker import Job, carry_out_task
from training import Logistics, from_dict

QUIET = Logistics(device="cpu", wandb="off", threads=1, compile="off")


@dataclasses.dataclass
class Ended:
    code: int

    def poll(self):
        return self.code


class InThisProcess:
    """Carries jobs out at once, without a process of their own."""

    where, jobs, preempts = " in this process", 1, False
    threads = {"pretrain": 1, "finetune": 1}  # noqa: RUF012

    def __init__(self):
        self.begun = []

    def begin(self, files):
        return [Ended(self.carried_out(from_dict(Job, json.loads(file.job.read_text())))) for file in files]

    def carried_out(self, job):
        (task,) = job.tasks
        self.begun.append(Path(task.run_dir).name)
        carry_out_task(task, job.logistics, str)
        return 0

    def close(self):
        pass


def finished(folder):
    """The metrics of every finished run by its id, but for what follows the clock."""
    results = {path.parent.name: json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")}
    return {run: result["metrics"] for run, result in results.items()}


def finished_of(seed, folder):
    """The same of the runs of one seed, which other seeds do not change."""
    return {run: metrics for run, metrics in finished(folder).items() if f"-s{seed}-" in run}


def lines(folder):
    """The metrics and episodes that a run logged, but for what follows the clock."""
    found = []
    for name in ("metrics.jsonl", "episodes.jsonl"):
        for line in (folder / name).read_text().splitlines():
            found.append({key: value for key, value in json.loads(line).items() if "second" not in key})
    return found


def step_of(folder):
    """How far a run has logged: sooner there than in status.json, which is written every two seconds."""
    try:
        *_, last, _ = (folder / "metrics.jsonl").read_text().rsplit("\n", 2)
        return json.loads(last)["env_step"]
    except (OSError, ValueError):
        return 0


def children(pid):
    """Processes that a process began."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid):
    """Processes that a process began, and those that they began."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def wait_for(condition, seconds=90):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
