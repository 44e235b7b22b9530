"""The loop: collect, learn, log, save; and the same again after a stop."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents import FINITE, Agent
from envs import REACHED, environment_info
from expedition import UserError
from exploration import Coverage
from training.collecting.collector import Collected, Collector
from training.collecting.overlap import Overlap, chunk_steps
from training.config import RunConfig
from training.divergence import Skipped
from training.judging.foresight import RANKED_ROWS, embeddings_rank
from training.judging.midway import Midway
from training.logging.sinks import Sink
from training.process.runtime import Stopped
from training.spaces import SPACES, check_unchanged, describe_spaces
from training.storage.batches import draw
from training.storage.checkpoint import Checkpoint
from training.storage.checkpointer import Checkpointer
from training.storage.replay import Replay, undamaged

Due = tuple[dict[str, torch.Tensor], int]
"""A batch of rows (B, T, ...) to learn from, and the environment step at which that is due."""
REPLAY_FOLDER = "replay"
OFFLINE_LINES = 20
"""About as many lines of metrics tell of the updates before the first step."""


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
        midway: evaluates the policy between steps.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        agent: Agent,
        collector: Collector,
        replay: Replay,
        sink: Sink,
        checkpointer: Checkpointer,
        stopping: Callable[[], bool],
        report: Callable[[int, int, float], None],
        midway: Midway,
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
        self.midway = midway
        self.env_step = 0
        self.updates = 0
        self.seconds = 0.0
        self.episodes = 0
        self.overlap: Overlap | None = None
        if config.training.overlap:
            self.overlap = Overlap(agent, collector, replay, chunk_steps(config.training))
        self._means = Means()
        self._skipped = Skipped(run_dir)
        self._rng = np.random.default_rng([config.seed, 1])
        self.coverage = Coverage(
            collector.envs.observation_space,
            config.training.coverage,
            environment_info(config.env).reachable,
            config.seed,
        )

    def learn(self) -> bool:
        """Train until the budget is spent; return False if a stop came first. Saves in both cases."""
        for batch, env_step in self.work():
            self.updated(batch, self.agent.update(batch, env_step))
        return self.done

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return self.env_step >= self.config.steps

    def work(self) -> Iterator[Due]:
        """Do all but the updates: yield a batch where one is due, and go on when `updated` was called.

        Whoever makes the updates may let a run wait for others, and make those of several runs at once.
        """
        saved_at = clock = time.monotonic()
        while not self.done and not self.stopping():
            if not self.midway.gets_through(self.env_step):
                break
            logged = self.env_step // self.config.training.log_every
            if self.overlap is None:
                yield from self._step()
            else:
                self._collect_beside_updates(self.overlap)
            failure = self.collector.failure or self._skipped.error
            if failure is not None:
                self.save()
                raise failure
            if self.env_step // self.config.training.log_every > logged:
                self._log()
            clock, elapsed = time.monotonic(), time.monotonic() - clock
            self.seconds += elapsed
            self.report(self.env_step, self.updates, self.seconds)
            if clock - saved_at > self.config.training.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
        self.save()

    def updated(self, batch: Mapping[str, Any], metrics: Mapping[str, torch.Tensor]) -> None:
        """Take note of the update from a batch that `work` yielded."""
        told = {name: value for name, value in metrics.items() if name != FINITE}
        skipped = not bool(metrics[FINITE])
        self._skipped.note(skipped, batch, told)
        if not skipped:
            self._means.add(told)
        self.updates += 1

    def learn_offline(self, judge: Callable[[], None], judged: bool) -> bool:
        """Make the updates on carried rows that precede the first step; return False if a stop came first.

        Args:
            judge: called after the last of them and before it is saved, so that a checkpoint that has them
                all is one whose judgement is logged; unless it was left by `Stopped`.
            judged: whether it has been made in an earlier sitting.
        """
        planned = self.config.training.offline_updates
        saved_at = clock = time.monotonic()
        if planned and self.updates == planned and self.env_step == 0 and not judged:
            whole = self._gets_through(judge)
            self.save()
            return whole
        while self.updates < planned:
            if self.stopping():
                self.save()
                return False
            batch = self._draw()
            self.updated(batch, self.agent.update(batch, self.env_step))
            if self._skipped.error is not None:
                self.save()
                raise self._skipped.error
            last = self.updates == planned
            if last or self.updates % max(1, planned // OFFLINE_LINES) == 0:
                self._log("offline/")
            whole = not last or self._gets_through(judge)
            clock, elapsed = time.monotonic(), time.monotonic() - clock
            self.seconds += elapsed
            self.report(self.env_step, self.updates, self.seconds)
            if last or clock - saved_at > self.config.training.checkpoint_seconds:
                self.save()
                saved_at = time.monotonic()
            if not whole:
                return False
        return True

    @staticmethod
    def _gets_through(judge: Callable[[], None]) -> bool:
        try:
            judge()
        except Stopped:
            return False
        return True

    def _step(self) -> Iterator[Due]:
        """Make a step, then the updates that it owes; workers step the environments meanwhile."""
        sent = self.collector.send(self.env_step)
        yield from self._due(self.env_step + sent)
        self._count(self.collector.receive())

    def _collect_beside_updates(self, overlap: Overlap) -> None:
        """Make some steps with the policy as it is now, and at the same time the updates owed before them."""
        learn = functools.partial(self._update, self.env_step)
        for collected in overlap.chunk(self.env_step, self.config.steps, learn):
            self._count(collected)
        if self.env_step >= self.config.steps:
            self._update(self.env_step)

    def _count(self, collected: Collected) -> None:
        self.env_step += collected.steps
        self.coverage.see(collected.rows)
        for episode in collected.episodes:
            self.episodes += 1
            if REACHED in episode:
                self.coverage.reach(episode.pop(REACHED))
            self.sink.episode(self.env_step, episode)

    def _update(self, env_step: int) -> None:
        """Make the updates that the train ratio owes by `env_step`."""
        for batch, step in self._due(env_step):
            self.updated(batch, self.agent.update(batch, step))

    def _due(self, env_step: int) -> Iterator[Due]:
        """Batches of the updates that the train ratio owes by `env_step`, and that step."""
        training = self.config.training
        if env_step < training.learning_starts or not self.replay.can_sample(training.length):
            return
        since = env_step - training.learning_starts
        owed = int(since * training.train_ratio / (training.batch * training.length))
        while self.updates < training.offline_updates + owed:
            yield self._draw(), env_step

    def _draw(self) -> dict[str, torch.Tensor]:
        training = self.config.training
        return draw(self.replay, training.batch, training.length, self._rng, self.agent.device)

    def _log(self, prefix: str = "") -> None:
        metrics = {prefix + name: value for name, value in self._means.pop().items()}
        broken = sorted(name for name, value in metrics.items() if not np.isfinite(value))
        if broken:
            raise UserError(
                f"Training diverged before step {self.env_step:,} ({', '.join(broken[:3])} not finite); the "
                "last checkpoint is intact: lower --agent.optimizer.lr and start a new run."
            )
        metrics |= {"updates": self.updates, "episodes": self.episodes}
        metrics["embeddings/effective_rank"] = self._embeddings_rank()
        if self.collector.envs.restarts:
            metrics["worker_restarts"] = self.collector.envs.restarts
        if self._skipped.total:
            metrics["skipped_updates"] = self._skipped.total
        metrics |= {f"coverage/{name}": value for name, value in self.coverage.metrics().items()}
        self.sink.write(self.env_step, metrics | self.language())

    def language(self) -> dict[str, float]:
        """How often each caption was told and rewarded so far, where the reward is `language`."""
        return {} if self.collector.goals is None else self.collector.goals.metrics()

    def _embeddings_rank(self) -> float:
        """Effective rank of replayed rows' embeddings: 1 where they have collapsed.

        The rows are drawn apart from those of the updates, by what is saved anyway.
        """
        rng = np.random.default_rng([self.config.seed, 2, self.env_step, self.updates])
        return embeddings_rank(self.agent, draw(self.replay, RANKED_ROWS, 1, rng, self.agent.device))

    def close(self) -> None:
        """Let go of the learning thread, where there is one."""
        if self.overlap is not None:
            self.overlap.close()

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
            "midway": self.midway.state_dict(),
            "means": self._means.state_dict(),
            "skipped": self._skipped.state_dict(),
            "coverage": self.coverage.state_dict(),
            "rng": self._rng.bit_generator.state,
        }
        chunks = self.replay.write_chunks(self.run_dir / REPLAY_FOLDER)
        metadata = {"phase": self.config.phase, SPACES: self._spaces()}
        self.checkpointer.save(self.env_step, sections, chunks, metadata)

    def _spaces(self) -> dict[str, Any]:
        return describe_spaces(self.agent.observation_space, self.agent.action_space)

    def resume(self, checkpoint: Checkpoint, drop_damaged: bool = False) -> int:
        """Continue from a checkpoint of this run, as if it had never stopped.

        Args:
            checkpoint: of this run.
            drop_damaged: go on without replayed rows that are damaged, and those before them.

        Returns:
            How many rows were dropped so.

        Raises:
            UserError: the environment's spaces have changed since.
        """
        check_unchanged(checkpoint.metadata, self.config.env, self._spaces())
        for name, module in self.agent.components().items():
            module.load_state_dict(checkpoint.load(name))
        self.agent.load_training_state(checkpoint.load("training"))
        self.collector.load_state_dict(checkpoint.load("collector"))
        files = checkpoint.whole_files(drop_damaged)
        rows, dropped = undamaged(checkpoint.load("replay"), files)
        self.replay.load_state_dict(rows, files)
        loop = checkpoint.load("loop")
        self.env_step = checkpoint.step
        self.updates, self.episodes, self.seconds = loop["updates"], loop["episodes"], loop["seconds"]
        self.midway.load_state_dict(loop["midway"])
        self._means.load_state_dict(loop["means"], self.agent.device)
        self._skipped.load_state_dict(loop["skipped"])
        self.coverage.load_state_dict(loop["coverage"])
        self._rng.bit_generator.state = loop["rng"]
        return dropped
