"""What a study will take, from short trials of each kind of run on this machine."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.program import Mode, choose_mode
from expedition import UserError
from experiments.launchers.worker import Job, Task
from experiments.reporting.report import duration
from experiments.study import PlannedRun
from training import Logistics, from_dict, prepare_process
from training.budget import most_rows, planned_updates
from training.collector import Collector, row_spec
from training.config import RunConfig
from training.logistics import env_factory
from training.runtime import choose_device
from training.session import build_agent
from training.storage.batches import learner_view
from training.storage.state_tree import publish_json

COLLECT_SECONDS = 8.0
"""How long a trial collects at most."""
STEP_SECONDS = 1.0
"""How long it collects at least: the first steps are slower."""
UPDATE_SECONDS = 6.0
"""After so long no other update is tried; a slow one is made once."""
UPDATES = 10
"""Most updates that are tried."""
PPO_STEPS = 256
"""Environment steps of a trial's rollout."""
MOMENTS = 3
"""Numbers that a checkpoint holds for each parameter: its value and two moments."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one kind of run was measured to take.

    Attributes:
        begin: seconds from the start of the process to the first step.
        step: seconds of one environment step, acting included.
        update: seconds of one update, compiled where the run's will be; 0 where the run makes none.
        peak: bytes of memory of the process, without the replay's rows.
        row: bytes of a replayed row.
        parameters: how many.
    """

    begin: float
    step: float
    update: float
    peak: int
    row: int
    parameters: int
    compiling: float = 0.0
    """Seconds of the first step and update beyond those after them, where they are compiled: once a run."""


class _Rows:
    """Stands in for a replay: keeps the first rows that are added."""

    def __init__(self, most: int) -> None:
        self.rows: list[Mapping[str, np.ndarray]] = []
        self.most = most

    @property
    def full(self) -> bool:
        return len(self.rows) >= self.most

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        if not self.full:
            self.rows.append({key: value.copy() for key, value in rows.items()})

    def batch(self, batch: int, length: int) -> dict[str, np.ndarray]:
        """Rows (B, T, ...), repeated where fewer were collected: right in cost, not in sense."""
        times = np.arange(length) % len(self.rows)
        stacked = {key: np.stack([self.rows[t][key] for t in times], 1) for key in self.rows[0]}
        return {key: value[np.arange(batch) % len(value)] for key, value in stacked.items()}


def measure(config: RunConfig, logistics: Logistics) -> Trial:
    """Begin a run, collect for some seconds, make some updates.

    The fastest update counts: the first ones warm up, and other programs only make one slower.
    """
    if config.agent.kind == "ppo":
        return _measure_ppo(config, logistics)
    began = time.monotonic()
    prepare_process(logistics.threads)
    training = config.training
    envs = env_factory(config, logistics)(training.num_envs)
    try:
        agent = build_agent(config, envs, choose_device(logistics.device))
        mode = _mode(config, logistics)
        agent.run_as(mode)
        kept = _Rows(training.length)
        task = config.phase == "finetune"
        collector = Collector(envs, agent, kept, task, config.seed)
        collector.start()
        spec = row_spec(envs, agent, task)
        begin = time.monotonic() - began
        first = _first(lambda: collector.step(0))
        step = _step_seconds(collector, kept)
    finally:
        envs.close()
    update = 0.0
    if planned_updates(config) > 0:
        rows = learner_view(kept.batch(training.batch, training.length))
        first += _first(lambda: agent.update(rows))
        update = _fastest(lambda: float(agent.update(rows)["loss/total"]))
    return Trial(
        begin,
        step,
        update,
        _peak(),
        sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in spec.values()),
        sum(p.numel() for p in agent.parameters()),
        0.0 if mode == "eager" else first,
    )


def _mode(config: RunConfig, logistics: Logistics) -> Mode:
    """How a new run's updates will be carried out."""
    return choose_mode(logistics.compile, choose_device(logistics.device), planned_updates(config))[0]


def _first(action: Callable[[], object]) -> float:
    """Seconds of a call."""
    clock = time.monotonic()
    action()
    return time.monotonic() - clock


def _step_seconds(collector: Collector, kept: _Rows) -> float:
    """Seconds of one environment step, without the first ones."""
    for _ in range(2):
        collector.step(0)
    clock, steps, spent = time.monotonic(), 0, 0.0
    while spent < COLLECT_SECONDS and (spent < STEP_SECONDS or not kept.full):
        steps += collector.step(0)[0]
        spent = time.monotonic() - clock
    return spent / max(1, steps)


def _fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, or of the only one where it is slow."""
    began, found = time.monotonic(), float("inf")
    for _ in range(UPDATES):
        clock = time.monotonic()
        action()
        found = min(found, time.monotonic() - clock)
        if time.monotonic() - began > UPDATE_SECONDS:
            break
    return found


def _measure_ppo(config: RunConfig, logistics: Logistics) -> Trial:
    """The same of PPO, which learns from short rollouts here and needs no replay."""
    from training.baselines.sb3 import Learner

    began = time.monotonic()
    prepare_process(logistics.threads)
    training = config.training
    envs = env_factory(config, logistics)(training.num_envs)
    try:
        learner = Learner(config, envs, choose_device(logistics.device))
        learner.start()
        begin = time.monotonic() - began
        rows = max(2, PPO_STEPS // training.num_envs)
        learner.learn(rows, 0, update=True, after_row=lambda: True)  # what comes first is slower
        collected, clock = learner.bridge.steps, time.monotonic()
        learner.learn(rows, 1, update=False, after_row=lambda: True)
        step = (time.monotonic() - clock) / max(1, learner.bridge.steps - collected)
        collected, clock = learner.bridge.steps, time.monotonic()
        learner.learn(rows, 2, update=True, after_row=lambda: True)
        made = max(1, learner.bridge.steps - collected)
        spent = max(0.0, time.monotonic() - clock - made * step)
    finally:
        envs.close()
    return Trial(begin, step, spent / made * config.agent.ppo.rollout, _peak(), 0, learner.parameters)


def _peak() -> int:
    """Most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def estimate_study(
    runs: Sequence[PlannedRun],
    jobs: int,
    threads: Mapping[str, int],
    logistics: Logistics,
    say: Callable[[str], None],
) -> str:
    """Try each kind of run once, in a process of its own, and return a table of what the study will take.

    Args:
        runs: what the study consists of, those first that others wait for.
        jobs: runs at a time.
        threads: of a run, by its phase, as the launcher gives them.
        logistics: how the runs are carried out.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: a trial failed, with its own sentence.
    """
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in runs:
        config = run.config
        if config.agent.kind == "random":
            continue  # evaluation is not counted
        groups.setdefault(
            (config.phase, config.intrinsic or "task", config.agent.kind, config.env), []
        ).append(run)
    seconds: dict[str, float] = {run.id: 0.0 for run in runs}
    lines, memory, disk = [], 0, 0
    for key, members in groups.items():
        say(f"  trying {', '.join(key)} ...")
        trial = _tried(members[0].config, dataclasses.replace(logistics, threads=threads[key[0]]))
        seconds |= {run.id: _seconds(run.config, trial) for run in members}
        spent = sum(seconds[run.id] for run in members)
        most = max(_replay_bytes(run.config, trial) for run in members)
        memory = max(memory, trial.peak + most)
        disk += sum(_replay_bytes(run.config, trial) + 2 * MOMENTS * 4 * trial.parameters for run in members)
        steps = sum(run.config.steps for run in members)
        updates = sum(planned_updates(run.config) for run in members)
        lines.append(
            f"{len(members):>4} x {', '.join(key[:3])}: {steps:,} steps at {trial.step * 1000:.2f} ms, "
            f"{updates:,} updates at {trial.update * 1000:.0f} ms: {duration(spent)}{_compiling(trial)}"
        )
    whole = duration(until_all_end(runs, seconds, jobs))
    total = (
        f"About {whole} with {jobs} at a time (evaluation, logging and "
        f"W&B not counted), {memory * jobs / 2**30:.1f} GiB of memory, {disk / 2**30:.1f} GiB of disk."
    )
    return "\n".join([*lines, total])


def until_all_end(runs: Sequence[PlannedRun], seconds: Mapping[str, float], jobs: int) -> float:
    """Return when the last run ends, where each waits for the run that it needs and for a place."""
    places = [0.0] * jobs
    ends: dict[str | None, float] = {None: 0.0}
    waiting: dict[str | None, PlannedRun] = {run.id: run for run in runs}
    while waiting:
        run = min((r for r in waiting.values() if r.needs in ends), key=lambda run: ends[run.needs])
        place = places.index(min(places))
        ends[run.id] = places[place] = max(places[place], ends[run.needs]) + seconds[run.id]
        del waiting[run.id]
    return max(places)


def _compiling(trial: Trial) -> str:
    """What compiling adds; a run that finds it in the cache needs a few seconds."""
    return f", and {trial.compiling:.0f} s to compile, once" if trial.compiling > 1 else ""


def _seconds(config: RunConfig, trial: Trial) -> float:
    return trial.begin + config.steps * trial.step + planned_updates(config) * trial.update


def _replay_bytes(config: RunConfig, trial: Trial) -> int:
    training = config.training
    rows = most_rows(config.steps, training.num_envs) * training.num_envs
    return min(int(training.replay_gib * 2**30), rows * trial.row)


def _tried(config: RunConfig, logistics: Logistics) -> Trial:
    """Measure in a process of its own, whose memory is then the run's alone."""
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.json", Path(folder) / "trial.json"
        Job((Task("", config),), logistics, 0).save(job)
        done = subprocess.run(
            [sys.executable, "-m", "experiments.estimate", str(job), str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
            raise UserError(f"A trial of {config.env} failed: {last}")
        return Trial(**json.loads(out.read_text()))


def main() -> int:
    """Measure the job in the first file and write the trial to the second."""
    job: Any = from_dict(Job, json.loads(Path(sys.argv[1]).read_text()))
    try:
        publish_json(Path(sys.argv[2]), dataclasses.asdict(measure(job.tasks[0].config, job.logistics)))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
