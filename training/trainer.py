"""The loop: collect, learn, log, save; and the same again after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import DreamerAgent
from expedition import UserError
from training.checkpoint import Checkpoint, Checkpointer
from training.collector import Collector, learner_view
from training.config import RunConfig
from training.replay import Replay
from training.sinks import Sink

REPLAY_FOLDER = "replay"


class Means:
    """Running means of metrics between two log lines; they stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def add(self, metrics: Mapping[str, torch.Tensor]) -> None:
        """Take in the metrics of one update."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.detach().clone()
        self._count += 1

    def pop(self) -> dict[str, float]:
        """Return the means as numbers and begin anew."""
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and count."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Inverse of `state_dict`."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._count = state["count"]


class Trainer:
    """Trains one agent for a number of environment steps.

    Args:
        config: the run.
        run_dir: its folder.
        agent: who learns.
        collector: who acts, with its environments.
        replay: what was seen.
        sink: where metrics go.
        checkpointer: where checkpoints go.
        stopping: says whether to save and leave.
        report: called with (env_step, updates, seconds) after each step, for progress and status.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        agent: DreamerAgent,
        collector: Collector,
        replay: Replay,
        sink: Sink,
        checkpointer: Checkpointer,
        stopping: Callable[[], bool],
        report: Callable[[int, int, float], None],
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.agent = agent
        self.collector = collector
        self.replay = replay
        self.sink = sink
        self.checkpointer = checkpointer
        self.stopping = stopping
        self.report = report
        self.env_step = 0
        self.updates = 0
        self.seconds = 0.0
        self.episodes = 0
        self._means = Means()
        self._rng = np.random.default_rng([config.seed, 1])

    def learn(self) -> bool:
        """Train until the budget is spent; return False if a stop came first. Saves in both cases."""
        for batch in self.work():
            self.updated(self.agent.update(batch, self.env_step))
        return self.done

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return self.env_step >= self.config.steps

    def work(self) -> Iterator[dict[str, np.ndarray]]:
        """Do all but the updates: yield a batch where one is due, and go on when `updated` was called.

        Whoever makes the updates may let a run wait for others, and make those of several runs at once.
        """
        saved_at = clock = time.monotonic()
        while not self.done and not self.stopping():
            logged = self.env_step // self.config.training.log_every
            self._collect()
            yield from self._due()
            if self.env_step // self.config.training.log_every > logged:
                self._log()
            clock, elapsed = time.monotonic(), time.monotonic() - clock
            self.seconds += elapsed
            self.report(self.env_step, self.updates, self.seconds)
            if clock - saved_at > self.config.training.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
        self.save()

    def updated(self, metrics: Mapping[str, torch.Tensor]) -> None:
        """Take note of the update from the batch that `work` yielded last."""
        self._means.add(metrics)
        self.updates += 1

    def _collect(self) -> None:
        steps, episodes = self.collector.step(self.env_step)
        self.env_step += steps
        for episode in episodes:
            self.episodes += 1
            self.sink.episode(self.env_step, episode)

    def _due(self) -> Iterator[dict[str, np.ndarray]]:
        """Batches of the updates that the train ratio owes by now."""
        training = self.config.training
        if self.env_step < training.learning_starts or not self.replay.can_sample(training.length):
            return
        since = self.env_step - training.learning_starts
        owed = int(since * training.train_ratio / (training.batch * training.length))
        while self.updates < owed:
            yield learner_view(self.replay.sample(training.batch, training.length, self._rng))

    def _log(self) -> None:
        metrics = self._means.pop()
        broken = sorted(name for name, value in metrics.items() if not np.isfinite(value))
        if broken:
            raise UserError(
                f"Training diverged before step {self.env_step:,} ({', '.join(broken[:3])} not finite); the "
                "last checkpoint is intact: lower --agent.optimizer.lr and start a new run."
            )
        metrics |= {"updates": self.updates, "episodes": self.episodes}
        if self.collector.envs.restarts:
            metrics["worker_restarts"] = self.collector.envs.restarts
        self.sink.write(self.env_step, metrics)

    def save(self) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        sections: dict[str, Mapping[str, Any]] = {
            name: dict(module.state_dict()) for name, module in self.agent.components().items()
        }
        sections["training"] = self.agent.training_state()
        sections["collector"] = self.collector.state_dict()
        sections["replay"] = self.replay.state_dict()
        sections["loop"] = {
            "updates": self.updates,
            "episodes": self.episodes,
            "seconds": self.seconds,
            "means": self._means.state_dict(),
            "rng": self._rng.bit_generator.state,
        }
        chunks = self.replay.write_chunks(self.run_dir / REPLAY_FOLDER)
        self.checkpointer.save(self.env_step, sections, chunks, {"phase": self.config.phase})

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of this run, as if it had never stopped."""
        for name, module in self.agent.components().items():
            module.load_state_dict(checkpoint.load(name))
        self.agent.load_training_state(checkpoint.load("training"))
        self.collector.load_state_dict(checkpoint.load("collector"))
        self.replay.load_state_dict(checkpoint.load("replay"), checkpoint.shared_files)
        loop = checkpoint.load("loop")
        self.env_step = checkpoint.step
        self.updates, self.episodes, self.seconds = loop["updates"], loop["episodes"], loop["seconds"]
        self._means.load_state_dict(loop["means"], self.agent.device)
        self._rng.bit_generator.state = loop["rng"]
