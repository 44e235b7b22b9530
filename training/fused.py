"""Many runs as one: seeds of one shape that collect each by itself and learn in one batched program."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.programs.fused import FusedAgents, check_alike
from agents.programs.program import Mode
from training.config import RunConfig, to_dict
from training.process.logistics import Logistics
from training.process.runtime import StopSignal
from training.session import Initialiser, Outcome, Session, choose_program
from training.storage.folder import claim_folder, only_process, read_result, undone_on_failure
from training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Errand:
    """One run to carry out: what `execute` is given."""

    config: RunConfig
    run_dir: Path
    logistics: Logistics
    record: Mapping[str, Any] | None = None
    initialiser: Initialiser | None = None


def execute_together(errands: Sequence[Errand], say: Callable[[str], None] = lambda _: None) -> list[Outcome]:
    """Carry runs out side by side in this process, or go on with them, each in its folder.

    Runs of one shape learn as one program. Each keeps its environments, replay, generators and logs, and its
    checkpoints are those of a run by itself: either way of running goes on from the other's.

    Args:
        errands: the runs; device, threads and compiling are those of the first.
        say: told one line at a time what a person wants to know.

    Returns:
        How each ended, in their order.

    Raises:
        UserError: as `execute`; or the runs differ in more than their seeds.
    """
    outcomes: dict[Path, Outcome] = {}
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        sessions = []
        for errand in errands:
            recorded, mode = choose_program(errand.config, errand.run_dir, errand.logistics, say)
            settings = {**to_dict(errand.config), **(errand.record or {}), "program": recorded}
            new = claim_folder(errand.run_dir, settings)
            finished = read_result(errand.run_dir)
            if finished is not None:
                say(f"{errand.run_dir} is finished already: nothing to do.")
                outcomes[errand.run_dir] = Outcome(finished, 0)
                continue
            stack.enter_context(only_process(errand.run_dir))
            with undone_on_failure(errand.run_dir, new):
                sessions.append(_begin(errand, stop, say))
            stack.enter_context(sessions[-1].sitting())
        if all(session.learn_offline() for session in sessions) and sessions:
            learn_together([session.trainer for session in sessions], mode)
        for session in sessions:
            # What has learned to its end is judged later if a stop comes now: its checkpoint is the last one.
            outcomes[session.run_dir] = session.end(session.trainer.done and not stop)
    return [outcomes[errand.run_dir] for errand in errands]


def _begin(errand: Errand, stop: StopSignal, say: Callable[[str], None]) -> Session:
    session = Session(errand.config, errand.run_dir, errand.logistics, errand.initialiser, stop, say)
    session.begin()
    return session


def learn_together(trainers: Sequence[Trainer], mode: Mode = "eager") -> None:
    """Train several agents of one shape until each has spent its budget, or a stop came.

    Each run collects until it owes an update, and waits there for the others; so each meets the same updates
    at the same steps as by itself. The last of them left goes on alone.

    Raises:
        UserError: the agents differ in more than their seeds, or one has a policy prior.
    """
    check_alike([trainer.agent for trainer in trainers])
    working = [(trainer, trainer.work()) for trainer in trainers]
    group: FusedAgents | None = None
    while True:
        due = [(trainer, work, next(work, None)) for trainer, work in working]
        working = [(trainer, work) for trainer, work, found in due if found is not None]
        if not working:
            return
        batches, steps = zip(*(found for _, _, found in due if found is not None), strict=True)
        agents = tuple(trainer.agent for trainer, _ in working)
        if len(agents) == 1:
            metrics = [agents[0].update(batches[0], steps[0])]
        else:
            if group is None or group.agents != agents:
                group = FusedAgents(agents, "captured" if mode == "captured" else "eager")
            metrics = group.update(batches, steps)
        for (trainer, _), batch, found in zip(working, batches, metrics, strict=True):
            trainer.updated(batch, found)
