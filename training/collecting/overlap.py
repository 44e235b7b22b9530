"""Collecting and learning at the same time, by a schedule that no clock decides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch

from agents import Agent
from training.collecting.collector import Collected, Collector
from training.config import TrainingConfig
from training.storage.replay import Replay

MOST_STEPS = 64
"""Longest chunk, in steps of every environment: a stop and a checkpoint wait for its end."""


def chunk_steps(training: TrainingConfig) -> int:
    """Steps of every environment between two updates, rounded: the length of a chunk."""
    for_an_update = training.batch * training.length / max(training.train_ratio, 1e-9)
    return int(min(max(1, round(for_an_update / training.num_envs)), MOST_STEPS))


class ActingCopy:
    """A copy of the agent that acts with the parameters of the last `refresh`.

    Args:
        agent: who learns. What acting does not use, or never changes, is shared with the copy.
    """

    def __init__(self, agent: Agent) -> None:
        shared = (agent.optimizer, agent.generator, agent.intrinsic, agent.prior, agent.program)
        self.agent = copy.deepcopy(agent, {id(part): part for part in shared})
        self.agent.run_as(agent.program.mode)  # the program that was copied knows the other's parameters
        mine, its = (dict([*x.named_parameters(), *x.named_buffers()]) for x in (self.agent, agent))
        names = [name for name in mine if mine[name] is not its[name]]
        self._mine, self._its = [mine[name] for name in names], [its[name] for name in names]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the agent's parameters over as they are now."""
        torch._foreach_copy_(self._mine, self._its)


class _Waiting:
    """Stands for the replay while a chunk is collected: rows must not arrive while batches are drawn."""

    def __init__(self) -> None:
        self.rows: list[dict[str, np.ndarray]] = []

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        self.rows.append(dict(rows))


class Overlap:
    """Collects chunks with a copy of the agent while the agent learns in a thread.

    A chunk begins with a copy of the parameters and ends when both are done; only then do its rows enter the
    replay. So acting is one chunk behind, and the result follows from the seed, whichever is faster. The
    environments stay in the thread that made them, for some renderers know no other.

    Args:
        agent: who learns.
        collector: who acts; from here on with the copy.
        replay: where rows go at the end of each chunk.
        steps: of every environment in a chunk.
    """

    def __init__(self, agent: Agent, collector: Collector, replay: Replay, steps: int) -> None:
        self.steps = steps
        self._copy = ActingCopy(agent)
        self._waiting = _Waiting()
        self._collector, self._replay = collector, replay
        collector.agent, collector.replay = self._copy.agent, self._waiting
        self._learner = ThreadPoolExecutor(1, "learner")
        # On a GPU acting has a stream of its own, or it would wait for the updates queued before it.
        self._device = agent.device
        self._stream = torch.cuda.Stream(agent.device) if agent.device.type == "cuda" else None

    def chunk(self, env_step: int, end: int, learn: Callable[[], None]) -> list[Collected]:
        """Collect a chunk while `learn` runs, and put its rows into the replay.

        Args:
            env_step: steps made so far.
            end: steps after which no more are begun.
            learn: makes the updates that are owed.

        Returns:
            What each step of the collector gave, in order.

        Raises:
            Exception: what collecting or learning raised.
        """
        self._copy.refresh()
        learning = self._learner.submit(learn)
        try:
            collected = self._collect(env_step, end)
        finally:
            wait([learning])
        learning.result()
        for rows in self._waiting.rows:
            self._replay.add(rows)
        self._waiting.rows.clear()
        return collected

    def close(self) -> None:
        """Let the thread end."""
        self._learner.shutdown(wait=False)

    def _collect(self, env_step: int, end: int) -> list[Collected]:
        collected: list[Collected] = []
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):  # nothing on a CPU
            while len(collected) < self.steps and env_step < end and self._collector.failure is None:
                collected.append(self._collector.step(env_step))
                env_step += collected[-1].steps
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return collected
