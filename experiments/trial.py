"""A short trial of one kind of run, in a process of its own: what each thing that the run does takes here.

`python -m experiments.trial JOB.json TRIAL.json TIME` measures the first task of the job; TIME is when the
process was started, in seconds of `time.time`.

What is not measured is small beside the rest: lines of metrics, coverage, checkpoints (one in
`checkpoint_seconds`), and what W&B does.
"""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents import Agent
from agents.programs.program import Mode, choose_mode
from envs import environment_info
from expedition import UserError
from experiments.launchers.worker import Job
from training import Logistics, from_dict, prepare_process
from training.budget import planned_updates
from training.collecting.collector import Collector, goals_of, row_spec
from training.config import RunConfig
from training.judging.beyond import each_beyond
from training.judging.evaluation import (
    PARALLEL,
    STICKY,
    Check,
    MakeEnvs,
    Policy,
    evaluate_policy,
    go_on,
    heldout_sequences,
)
from training.judging.foresight import PROBE_SEQUENCES, Foresight
from training.process.logistics import env_factory
from training.process.runtime import choose_device
from training.session import build_agent
from training.storage.batches import learner_view
from training.storage.state_tree import publish_json
from world_model import WorldModel
from world_model.decoder import Decoder

COLLECT_SECONDS = 8.0
"""How long a trial collects at most."""
STEP_SECONDS = 1.0
"""How long it collects at least: the first steps are slower."""
UPDATE_SECONDS = 6.0
"""After so long no other update is tried; a slow one is made once."""
UPDATES = 10
"""Most updates that are tried."""
JUDGE_SECONDS = 2.0
"""How long an evaluation, or the collection of held-out sequences, is watched; what is left is reckoned."""
PPO_STEPS = 256
"""Environment steps of a trial's rollout."""


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
        compiling: seconds of the first step and update beyond those after them, where they are compiled.
        evaluation: seconds of one evaluation of the policy.
        heldout: seconds of collecting the held-out sequences; 0 where there is no model to judge.
        open_loop: seconds of measuring and drawing open-loop prediction once.
        beyond: seconds of judging the final policy on unseen levels and with search.
    """

    begin: float
    step: float
    update: float
    peak: int
    row: int
    parameters: int
    compiling: float = 0.0
    evaluation: float = 0.0
    heldout: float = 0.0
    open_loop: float = 0.0
    beyond: float = 0.0


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
    """Begin a run, collect for some seconds, make some updates, judge once."""
    if config.agent.kind == "ppo":
        return _measure_ppo(config, logistics)
    began = time.monotonic()
    prepare_process(logistics.threads)
    training = config.training
    make_envs, goals = env_factory(config, logistics), goals_of(config)
    envs = env_factory(config, logistics, goals is not None)(training.num_envs)
    try:
        agent = build_agent(config, envs, choose_device(logistics.device))
        mode = _mode(config, logistics)
        agent.run_as(mode)
        kept = _Rows(training.length)
        task = config.phase == "finetune"
        collector = Collector(envs, agent, kept, task, config.seed, goals)
        collector.start()
        spec = row_spec(envs, agent, task)
        begin = time.monotonic() - began
        first = _seconds_of(lambda: collector.step(0))
        step, lengths = _collected(collector, kept)
    finally:
        envs.close()
    update = 0.0
    if planned_updates(config) > 0:
        rows = learner_view(kept.batch(training.batch, training.length))
        first += _seconds_of(lambda: agent.update(rows))
        update = _usual(lambda: float(agent.update(rows)["loss/total"]))
    return Trial(
        begin,
        step,
        update,
        _peak(),
        sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in spec.values()),
        sum(p.numel() for p in agent.parameters()),
        0.0 if mode == "eager" else first,
        _evaluation(agent, make_envs, config, lengths),
        *_model_judged(agent, make_envs, config, kept),
        _beyond(agent, config, logistics, lengths),
    )


def _mode(config: RunConfig, logistics: Logistics) -> Mode:
    """How a new run's updates will be carried out."""
    return choose_mode(logistics.compile, choose_device(logistics.device), planned_updates(config))[0]


def _seconds_of(action: Callable[[], object]) -> float:
    """Seconds of a call."""
    clock = time.monotonic()
    action()
    return time.monotonic() - clock


def _collected(collector: Collector, kept: _Rows) -> tuple[float, list[int]]:
    """Seconds of one environment step, without the first ones, and lengths of the episodes that ended."""
    for _ in range(2):
        collector.step(0)
    clock, steps, spent = time.monotonic(), 0, 0.0
    lengths: list[int] = []
    while spent < COLLECT_SECONDS and (spent < STEP_SECONDS or not kept.full):
        collected = collector.step(0)
        steps += collected.steps
        lengths += [int(episode["length"]) for episode in collected.episodes]
        spent = time.monotonic() - clock
    return spent / max(1, steps), lengths


def _usual(action: Callable[[], object]) -> float:
    """Median of the seconds of some calls, or those of the only one where it is slow.

    The first ones warm up. The fastest would be what an idle machine takes, and a run takes longer.
    """
    began, found = time.monotonic(), list[float]()
    while len(found) < UPDATES and time.monotonic() - began <= UPDATE_SECONDS:
        found.append(_seconds_of(action))
    return statistics.median(found)


class _Enough(Exception):
    """What is watched has taken `JUDGE_SECONDS`."""


class _Watch:
    """Called before each row of what is watched: counts them, and leaves it when it has seen enough."""

    def __init__(self) -> None:
        self.began, self.rows = time.monotonic(), 0

    def __call__(self) -> None:
        now = time.monotonic()
        if self.rows == 0:
            self.began = now
        elif now - self.began > JUDGE_SECONDS:
            raise _Enough
        self.rows += 1


def reckoned(action: Callable[[Check], object], rows: int) -> float:
    """Seconds of what takes some rows, reckoned from its first ones where they take long.

    Args:
        action: given what it calls before each row, after it has made its environments.
        rows: how many it takes, as far as can be known.
    """
    clock, watch = time.monotonic(), _Watch()
    try:
        action(watch)
    except _Enough:
        row = (time.monotonic() - watch.began) / watch.rows
        return watch.began - clock + row * max(rows, watch.rows)
    return time.monotonic() - clock


def rows_of_evaluation(episodes: int, lengths: Sequence[int], limit: int | None) -> int:
    """Rows of each environment of an evaluation.

    Args:
        episodes: of the evaluation.
        lengths: of episodes that ended in the trial: the policy is assumed to go on like them.
        limit: steps after which one is cut off, which is assumed where none ended; None where not known.

    Returns:
        0 where nothing tells of lengths.
    """
    length = float(np.mean(lengths)) if lengths else limit or 0
    rounds = math.ceil(episodes / PARALLEL)
    return math.ceil(rounds * (length + 1)) if length else 0


def _evaluation(policy: Policy, make_envs: MakeEnvs, config: RunConfig, lengths: Sequence[int]) -> float:
    """Seconds of one evaluation, environments made for it included: as it goes with a policy that is new.

    One that ends within `JUDGE_SECONDS` is what it is; another takes as long as `rows_of_evaluation` says.
    A policy that learns to end its episodes sooner or later than at first is misjudged.
    """
    episodes = config.training.evaluation_episodes
    rows = rows_of_evaluation(episodes, lengths, environment_info(config.env).limit)
    return reckoned(lambda check: evaluate_policy(policy, make_envs, episodes, config.seed, check), rows)


def _beyond(policy: Policy, config: RunConfig, logistics: Logistics, lengths: Sequence[int]) -> float:
    """Seconds of judging the final policy on unseen levels and with search, each as `_evaluation` does."""
    each = each_beyond(
        policy, config, logistics, lambda _, make_envs: _evaluation(policy, make_envs, config, lengths)
    )
    return sum(each.values())


def _model_judged(agent: Agent, make_envs: MakeEnvs, config: RunConfig, kept: _Rows) -> tuple[float, float]:
    """Seconds of collecting the held-out sets, and of open-loop prediction on them; 0 without a model."""
    training, model = config.training, agent.world_model
    if not isinstance(model, WorldModel):
        return 0.0, 0.0
    names = ("", STICKY)[: 1 + (training.heldout_repeat > 0)]
    probed = PROBE_SEQUENCES * training.probes(isinstance(model.decoder, Decoder))
    count, length = training.heldout, training.context + training.open_loop
    heldout = reckoned(
        lambda check: heldout_sequences(make_envs, count, length, config.seed, check=check),
        math.ceil(count / PARALLEL) * length,
    )

    def judge(folder: Path) -> None:
        foresight = Foresight(config, folder, make_envs, go_on)
        foresight.heldout = dict.fromkeys(names, kept.batch(count, length))
        foresight.probed = kept.batch(PROBE_SEQUENCES * count * len(names), length)
        foresight.judge(agent, "trial")

    with tempfile.TemporaryDirectory() as folder:
        return len(names) * (1 + probed) * heldout, _seconds_of(lambda: judge(Path(folder)))


def _measure_ppo(config: RunConfig, logistics: Logistics) -> Trial:
    """The same of PPO, which learns from short rollouts here and needs no replay."""
    from training.baselines.sb3 import Learner

    began = time.monotonic()
    prepare_process(logistics.threads)
    training = config.training
    make_envs = env_factory(config, logistics)
    envs = make_envs(training.num_envs)
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
        lengths = [int(episode["length"]) for episode in learner.bridge.episodes]
        evaluation = _evaluation(learner.actor(), make_envs, config, lengths)
        beyond = _beyond(learner.actor(), config, logistics, lengths)
    finally:
        envs.close()
    update = spent / made * config.agent.ppo.rollout
    return Trial(begin, step, update, _peak(), 0, learner.parameters, evaluation=evaluation, beyond=beyond)


def _peak() -> int:
    """Most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> int:
    """Measure the job in the first file and write the trial to the second."""
    started = time.time() - float(sys.argv[3])
    job: Any = from_dict(Job, json.loads(Path(sys.argv[1]).read_text()))
    try:
        trial = measure(job.tasks[0].config, job.logistics)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    trial = dataclasses.replace(trial, begin=trial.begin + started)
    publish_json(Path(sys.argv[2]), dataclasses.asdict(trial))
    return 0


if __name__ == "__main__":
    sys.exit(main())
