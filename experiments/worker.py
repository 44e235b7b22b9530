"""One run of a study in a process of its own: `python -m experiments.worker JOB.json`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from expedition import UserError
from training import Logistics, Outcome, RunConfig, execute, from_dict, prepare_process, to_dict
from training.state_tree import publish_json
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is told."""

    run_dir: str
    config: RunConfig
    logistics: Logistics
    plan: str | None
    source: str | None
    parent: int

    def save(self, path: Path) -> None:
        """Write the job for `python -m experiments.worker`."""
        publish_json(path, to_dict(self))


def carry_out(
    config: RunConfig, run_dir: Path, logistics: Logistics, plan: str | None, source: Path | None, say: Any
) -> Outcome:
    """Carry out a run of either phase; a fine-tuning run has a plan, and a source where that needs one.

    Raises:
        UserError: whatever a user can mend.
    """
    prepare_process(logistics.threads)
    if config.phase == "pretrain":
        return execute(config, run_dir, logistics, say=say)
    assert plan is not None
    parsed = parse_plan(plan)
    origin = open_source(source) if source is not None else None
    explored = () if origin is None or not parsed.carries else (origin.config.intrinsic or "none",)
    logistics = dataclasses.replace(logistics, tags=(*logistics.tags, parsed.name, *explored))
    transfer = Transfer(parsed, origin, config)
    return execute(config, run_dir, logistics, transfer_record(parsed, origin), transfer, say)


def main() -> int:
    """Carry out the job in the file named on the command line; the exit code tells how it ended."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    _log.setLevel(logging.INFO)
    job = from_dict(Job, json.loads(Path(sys.argv[1]).read_text()))
    threading.Thread(target=_watch_parent, args=(job.parent,), daemon=True).start()
    try:
        source = None if job.source is None else Path(job.source)
        return carry_out(job.config, Path(job.run_dir), job.logistics, job.plan, source, _log.info).exit_code
    except UserError as error:
        _log.error("%s", error)
        return 2


def _watch_parent(parent: int) -> None:
    """Save and leave when the study that started this worker is gone."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
