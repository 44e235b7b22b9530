"""What a study will take, from short trials of each kind of run on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents import Agent
from agents.program import Mode, choose_mode
from envs import cores
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
UPDATE_SECONDS = 6.0
"""How long a trial repeats its update at most; the first is not counted."""
COLD_SECONDS = 20.0
"""A first step and update that take longer than this filled the cache of compiled code: it is tried again."""
PPO_STEPS = 256
"""Environment steps of a trial's rollout."""
MOMENTS = 3
"""Numbers that a checkpoint holds for each parameter: its value and two moments."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one kind of run was measured to take.

    Attributes:
        begin: seconds from the start of the process to the first step.
        first: seconds that the first step and update take beyond those after them; they compile, or load what
            was compiled before.
        step: seconds of one environment step, acting included.
        update: seconds of one update, at its fastest; 0 where the run makes none.
        peak: bytes of memory of the process, without the replay's rows.
        row: bytes of a replayed row.
        parameters: how many.
    """

    begin: float
    first: float
    step: float
    update: float
    peak: int
    row: int
    parameters: int


class _Rows:
    """Stands in for a replay: keeps what is added."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, np.ndarray]] = []

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        self.rows.append({key: value.copy() for key, value in rows.items()})

    def batch(self, batch: int, length: int) -> dict[str, np.ndarray]:
        """Rows (B, T, ...), repeated where fewer were collected: right in cost, not in sense."""
        times = np.arange(length) % len(self.rows)
        stacked = {key: np.stack([self.rows[t][key] for t in times], 1) for key in self.rows[0]}
        return {key: value[np.arange(batch) % len(value)] for key, value in stacked.items()}


def measure(config: RunConfig, logistics: Logistics) -> Trial:
    """Begin a run, collect for some seconds, make some updates, in the mode that the run will have."""
    if config.agent.kind == "ppo":
        return _measure_ppo(config, logistics)
    began = time.monotonic()
    prepare_process(logistics.threads)
    training = config.training
    envs = env_factory(config, logistics)(training.num_envs)
    try:
        agent = build_agent(config, envs, choose_device(logistics.device))
        agent.run_as(mode_of(config, logistics)[0])
        kept = _Rows()
        task = config.phase == "finetune"
        collector = Collector(envs, agent, kept, task, config.seed)
        collector.start()
        spec = row_spec(envs, agent, task)
        begin, clock, steps = time.monotonic() - began, time.monotonic(), 0
        collector.step(0)
        first, clock = time.monotonic() - clock, time.monotonic()
        while steps == 0 or (len(kept.rows) < training.length and time.monotonic() - clock < COLLECT_SECONDS):
            steps += collector.step(0)[0]
        step = (time.monotonic() - clock) / steps
    finally:
        envs.close()
    compiling, update = 0.0, 0.0
    if planned_updates(config) > 0:
        compiling, update = _updates(agent, kept.batch(training.batch, training.length))
    return Trial(
        begin,
        first + compiling,
        step,
        update,
        _peak(),
        sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in spec.values()),
        sum(p.numel() for p in agent.parameters()),
    )


def mode_of(config: RunConfig, logistics: Logistics) -> tuple[Mode, str | None]:
    """How a new run's updates will be carried out, and why not as wished."""
    if config.agent.kind == "ppo":
        return "eager", None
    return choose_mode(logistics.compile, choose_device(logistics.device), planned_updates(config))


def _updates(agent: Agent, batch: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Seconds of the first update beyond a later one, and of a later one.

    The fastest counts: what else this machine does at the moment only ever slows them down.
    """
    rows = learner_view(batch)
    spent: list[float] = []
    began = time.monotonic()
    while len(spent) < 2 or time.monotonic() - began < UPDATE_SECONDS:
        clock = time.monotonic()
        float(agent.update(rows)["loss/total"])
        spent.append(time.monotonic() - clock)
        if len(spent) == 1:
            began = time.monotonic()
    return max(0.0, spent[0] - min(spent[1:])), min(spent[1:])


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
        begin, clock = time.monotonic() - began, time.monotonic()
        rows = max(2, PPO_STEPS // training.num_envs)
        learner.learn(rows, 0, update=False, after_row=lambda: True)
        step = (time.monotonic() - clock) / max(1, learner.bridge.steps)
        collected, clock = learner.bridge.steps, time.monotonic()
        learner.learn(rows, 1, update=True, after_row=lambda: True)
        made = max(1, learner.bridge.steps - collected)
        spent = max(0.0, time.monotonic() - clock - made * step)
    finally:
        envs.close()
    return Trial(begin, 0.0, step, spent / made * config.agent.ppo.rollout, _peak(), 0, learner.parameters)


def _peak() -> int:
    """Most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def estimate_study(
    runs: Sequence[PlannedRun], jobs: int, logistics: Logistics, say: Callable[[str], None]
) -> str:
    """Try each kind of run once, in a process of its own, and return a table of what the study will take.

    Raises:
        UserError: a trial failed, with its own sentence.
    """
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in runs:
        config, (mode, why) = run.config, mode_of(run.config, logistics)
        if why is not None and not groups:
            say(why)
        key: tuple[str, ...] = (
            config.phase,
            config.intrinsic or "task",
            config.agent.kind,
            mode,
            config.env,
        )
        groups.setdefault(key, []).append(run)
    busy = os.getloadavg()[0] / cores()
    if busy > 0.5:
        say(
            f"This machine is busy (load {busy:.1f} a core): left alone, it takes less than what is measured."
        )
    threads = logistics.threads or max(1, cores() // jobs)
    lines, seconds, memory, disk = [], 0.0, 0, 0
    for key, members in groups.items():
        say(f"  trying {', '.join(key)} ...")
        trial = _warm(members[0].config, dataclasses.replace(logistics, threads=threads))
        spent = sum(_seconds(run.config, trial) for run in members)
        most = max(_replay_bytes(run.config, trial) for run in members)
        seconds, memory = seconds + spent, max(memory, trial.peak + most)
        disk += sum(_replay_bytes(run.config, trial) + 2 * MOMENTS * 4 * trial.parameters for run in members)
        lines.append(_line(key, members, trial, spent))
    total = (
        f"About {duration(seconds / jobs)} with {jobs} at a time (evaluation, logging and W&B not counted), "
        f"{memory * jobs / 2**30:.1f} GiB of memory, {disk / 2**30:.1f} GiB of disk."
    )
    return "\n".join([*lines, total])


def _line(key: tuple[str, ...], members: Sequence[PlannedRun], trial: Trial, spent: float) -> str:
    """What a kind of run takes in all, and of what that is made."""
    steps = sum(run.config.steps for run in members)
    updates = sum(planned_updates(run.config) for run in members)
    compiling = "" if key[3] == "eager" else f", {trial.first:.0f} s each to load what is compiled"
    return (
        f"{len(members):>4} x {', '.join(key[:4])}: {steps:,} steps at {trial.step * 1000:.2f} ms, "
        f"{updates:,} updates at {trial.update * 1000:.0f} ms{compiling}: {duration(spent)}"
    )


def _warm(config: RunConfig, logistics: Logistics) -> Trial:
    """A trial that finds what it compiles in the cache, as the runs will: the one before it filled that."""
    trial = _tried(config, logistics)
    if mode_of(config, logistics)[0] != "eager" and trial.first > COLD_SECONDS:
        trial = _tried(config, logistics)
    return trial


def _seconds(config: RunConfig, trial: Trial) -> float:
    return trial.begin + trial.first + config.steps * trial.step + planned_updates(config) * trial.update


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
