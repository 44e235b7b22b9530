"""Runs of a study in a process of their own: `python -m experiments.launchers.worker JOB.json`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expedition import UserError
from experiments.launchers.places.base import PARENT
from training import (
    Errand,
    Logistics,
    Outcome,
    RunConfig,
    execute,
    execute_together,
    from_dict,
    prepare_process,
    to_dict,
)
from training.storage.folder import is_held
from training.storage.state_tree import publish_json
from transfer.data.pretraining import PretrainingData, data_record
from transfer.data.sources import Source, open_sources
from transfer.loader import Source as Explored
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan

PATIENCE = 120.0
"""Seconds in which a process that lost the run's launcher has saved it and left."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Task:
    """One run: a fine-tuning run has a plan, and a source where that needs one.

    A pre-training run may have data, named as by `pretrain --data`.
    """

    run_dir: str
    config: RunConfig
    plan: str | None = None
    source: str | None = None
    data: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is told: one run, or several of one shape that learn as one program."""

    tasks: tuple[Task, ...]
    logistics: Logistics

    def save(self, path: Path) -> None:
        """Write the job for `python -m experiments.launchers.worker`."""
        publish_json(path, to_dict(self))


def carry_out(
    config: RunConfig,
    run_dir: Path,
    logistics: Logistics,
    plan: str | None,
    source: Path | Explored | None,
    say: Any,
    data: Sequence[Source] = (),
) -> Outcome:
    """Carry out a run of either phase; a fine-tuning run has a plan, and a source where that needs one.

    A pre-training run may learn from data of others in place of steps. A source may be opened already.

    Raises:
        UserError: whatever a user can mend.
    """
    prepare_process(logistics.threads)
    opened = open_source(source) if isinstance(source, Path) else source
    task = Task(str(run_dir), config, plan, None if opened is None else str(opened.run_dir))
    errand = _errand(task, logistics, opened)
    if data:
        initialiser = PretrainingData(data, config)
        errand = dataclasses.replace(errand, record=data_record(data), initialiser=initialiser)
    return execute(config, run_dir, errand.logistics, errand.record, errand.initialiser, say)


def carry_out_task(task: Task, logistics: Logistics, say: Any) -> Outcome:
    """Carry out one run as a study asks for it.

    Raises:
        UserError: whatever a user can mend.
    """
    source = None if task.source is None else Path(task.source)
    data = open_sources(task.data, task.config.training.image_size)
    return carry_out(task.config, Path(task.run_dir), logistics, task.plan, source, say, data)


def carry_out_together(tasks: Sequence[Task], logistics: Logistics, say: Any) -> list[Outcome]:
    """Carry out several runs of one shape as one program.

    Raises:
        UserError: whatever a user can mend.
    """
    prepare_process(logistics.threads)
    opened = [None if task.source is None else open_source(Path(task.source)) for task in tasks]
    errands = [_errand(task, logistics, source) for task, source in zip(tasks, opened, strict=True)]
    return execute_together(errands, say)


def _errand(task: Task, logistics: Logistics, source: Explored | None) -> Errand:
    """What a run is given beside its settings: what it carries, and tags that say so."""
    config, run_dir = task.config, Path(task.run_dir)
    if config.phase == "pretrain":
        return Errand(config, run_dir, logistics)
    assert task.plan is not None
    plan = parse_plan(task.plan)
    explored = () if source is None or not plan.carries else (source.config.intrinsic or "none",)
    logistics = dataclasses.replace(logistics, tags=(*logistics.tags, plan.name, *explored))
    return Errand(config, run_dir, logistics, transfer_record(plan, source), Transfer(plan, source, config))


def main() -> int:
    """Carry out the job in the file named on the command line; the exit code tells how it ended."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    _log.setLevel(logging.INFO)
    job = from_dict(Job, json.loads(Path(sys.argv[1]).read_text()))
    if parent := os.environ.get(PARENT):
        threading.Thread(target=_watch_parent, args=(int(parent),), daemon=True).start()
    _wait_for([Path(task.run_dir) for task in job.tasks])
    try:
        if len(job.tasks) > 1:
            outcomes = carry_out_together(job.tasks, job.logistics, _log.info)
            return max(outcome.exit_code for outcome in outcomes)
        (task,) = job.tasks
        return carry_out_task(task, job.logistics, _log.info).exit_code
    except UserError as error:
        _log.error("%s", error)
        return 2


def _wait_for(folders: Sequence[Path]) -> None:
    """Wait until nobody works on these runs: who was cut off from the launcher is saving them."""
    deadline = time.monotonic() + PATIENCE
    while any(is_held(folder) for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.5)


def _watch_parent(parent: int) -> None:
    """Save and leave when who started this worker is gone."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os.kill(os.getpid(), signal.SIGUSR1)  # not SIGTERM, which may have come and would then interrupt


if __name__ == "__main__":
    sys.exit(main())
